/* SPDX-License-Identifier: Apache-2.0 */
/* quantize.c — codes and scales against their definition: every granularity, format, layout and scale dtype,
 * percentiles against sorted magnitudes, calibration over batches, and the cache that quantises as it stores;
 * then attention over the codes against attention over the numbers. */
#include "api/harness.h"

enum { B = 2, N = 3, S = 11, D = 16 };

static const fattn_dtype formats[] = {FATTN_I8, FATTN_I4, FATTN_E4M3, FATTN_E5M2};

static double largest_code(fattn_dtype dtype)
{
    return dtype == FATTN_I8 ? 127 : dtype == FATTN_I4 ? 7 : dtype == FATTN_E4M3 ? 448 : 57344;
}

/* The value that a code stands for, without its scale. */
static double decode(const fattn_tensor *t, int64_t column)
{
    const uint8_t byte = ((const uint8_t *)t->data)[t->dtype == FATTN_I4 ? column / 2 : column];
    const int nibble = byte >> 4 * (column % 2) & 15;
    if (t->dtype == FATTN_I8) return (int8_t)byte;
    if (t->dtype == FATTN_I4) return nibble < 8 ? nibble : nibble - 16;
    const int bits = t->dtype == FATTN_E4M3 ? 3 : 2, bias = t->dtype == FATTN_E4M3 ? 7 : 15;
    const int exponent = (byte & 127) >> bits, mantissa = byte & ((1 << bits) - 1);
    const double part = (double)mantissa / (1 << bits);
    const double size = exponent ? ldexp(1 + part, exponent - bias) : ldexp(part, 1 - bias);
    return byte & 128 ? -size : size;
}

/* Half the distance between the numbers of the format around x. */
static double half_step(fattn_dtype dtype, double x)
{
    if (dtype == FATTN_I8 || dtype == FATTN_I4) return 0.5;
    const int bits = dtype == FATTN_E4M3 ? 3 : 2, lowest = dtype == FATTN_E4M3 ? -6 : -14;
    int exponent;
    frexp(x, &exponent);
    return ldexp(0.5, (x == 0 || exponent - 1 < lowest ? lowest : exponent - 1) - bits);
}

static fattn_quantize_options options_of(fattn_dtype dtype, fattn_granularity granularity)
{
    fattn_quantize_options o;
    fattn_quantize_options_init(&o);
    o.dtype = dtype, o.granularity = granularity;
    return o;
}

static bool same_group(fattn_granularity g, const int a[4], const int b[4])
{
    switch (g) {
    case FATTN_PER_TENSOR:
        return true;
    case FATTN_PER_CHANNEL:
        return a[1] == b[1] && a[3] == b[3];
    case FATTN_PER_TOKEN:
        return a[0] == b[0] && a[2] == b[2];
    case FATTN_PER_HEAD:
        return a[1] == b[1];
    default:
        return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
    }
}

static double scale_of(const fattn_tensor *t, fattn_granularity g, const int at[4])
{
    switch (g) {
    case FATTN_PER_TENSOR:
        return get1(t, 0);
    case FATTN_PER_CHANNEL:
        return get2(t, at[1], at[3]);
    case FATTN_PER_TOKEN:
        return get2(t, at[0], at[2]);
    case FATTN_PER_HEAD:
        return get1(t, at[1]);
    default:
        return get3(t, at[0], at[1], at[2]);
    }
}

static double numbers[B][N][S][D];

static void index_of(int i, int at[4])
{
    at[3] = i % D, at[2] = i / D % S, at[1] = i / D / S % N, at[0] = i / D / S / N;
}

static double number(const int at[4]) { return numbers[at[0]][at[1]][at[2]][at[3]]; }

/* The percentile's magnitude of a group, from all of its numbers, sorted. */
static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double magnitude(fattn_granularity g, const int of[4], double percentile)
{
    static double all[B * N * S * D];
    int n = 0, at[4];
    for (int i = 0; i < B * N * S * D; i++) {
        index_of(i, at);
        if (same_group(g, of, at)) all[n++] = fabs(number(at));
    }
    qsort(all, (size_t)n, sizeof *all, by_size);
    const int rank = (int)ceil(n * percentile / 100) - 1;
    return all[rank < 0 ? 0 : rank];
}

static fattn_tensor *given(const fattn_tensor *shape)
{
    fattn_tensor *t = harness_alloc(sizeof *t);
    *t = *shape;
    t->data = harness_alloc(tensor_bytes(shape) + 8);
    memset(t->data, 0xa5, tensor_bytes(shape) + 8);
    return t;
}

/* Random numbers in the layout, a few groups of them large, a token of zeros. */
static fattn_tensor *make_input(fattn_dtype dtype, const char *layout)
{
    fattn_tensor *t = tensor_layout(dtype, 5, layout, B, S, N, D);
    for (int b = 0; b < B; b++)
        for (int n = 0; n < N; n++)
            for (int s = 0; s < S; s++)
                for (int d = 0; d < D; d++) {
                    const double size = s == 4 && b == 1 ? 0 : s == 2 ? 30 : n + 1;
                    const int64_t bsh[] = {b, s, n * D + d}, bsnd[] = {b, s, n, d},
                                  bnsd[] = {b, n, s, d};
                    const int64_t *at = strcmp(layout, "BSH") == 0    ? bsh
                                        : strcmp(layout, "BSND") == 0 ? bsnd
                                                                      : bnsd;
                    put(t, at, size * get(t, at));
                    numbers[b][n][s][d] = get(t, at);
                }
    return t;
}

static int64_t code_column(const char *layout, const int at[4])
{
    if (strcmp(layout, "BNSD") == 0) return (((int64_t)at[0] * N + at[1]) * S + at[2]) * D + at[3];
    return (((int64_t)at[0] * S + at[2]) * N + at[1]) * D + at[3];
}

static void check_codes(const fattn_quantize_options *o, const fattn_tensor *codes,
                        const fattn_tensor *scale)
{
    int at[4];
    for (int i = 0; i < B * N * S * D; i++) {
        index_of(i, at);
        const double s = scale_of(scale, o->granularity, at), most = largest_code(o->dtype);
        const double exact = number(at) / s,
                     low = o->dtype == FATTN_I8 || o->dtype == FATTN_I4 ? -most - 1 : -most;
        const double wanted = fmin(fmax(exact, low), most);
        const double got = decode(codes, code_column(o->input_layout, at));
        if (!(fabs(got - wanted) <= half_step(o->dtype, wanted) * (1 + 1e-12)))
            fail_msg("%s granularity %d (%d,%d,%d,%d): code %g for %.9g",
                     fattn_dtype_name(o->dtype), (int)o->granularity, at[0], at[1], at[2], at[3],
                     got, exact);
    }
}

static void every_granularity(void **state)
{
    (void)state;
    static const char *const layouts[] = {"BNSD", "BSND", "BSH"};
    static const fattn_dtype scales[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
    static const double percentiles[] = {100, 90};
    int turn = 0;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (int g = 0; g <= FATTN_PER_TOKEN_HEAD; g++)
            for (int l = 0; l < 3; l++)
                for (int p = 0; p < 2; p++, turn++) {
                    fattn_quantize_options o = options_of(formats[f], (fattn_granularity)g);
                    o.input_layout = layouts[l], o.num_heads = N, o.percentile = percentiles[p];
                    o.scale_dtype = scales[turn % 3];
                    fattn_tensor *in = make_input(turn % 2 ? FATTN_F16 : FATTN_F32, layouts[l]);
                    fattn_tensor codes, scale;
                    EXPECT_OK(fattn_quantize_kv_shapes(&o, in, &codes, &scale), "shapes");
                    const fattn_tensor *c = given(&codes), *s = given(&scale);
                    EXPECT_OK(fattn_quantize_kv(NULL, &o, turn % 3 ? in : tensor_spread(in), c, s),
                              "quantize");
                    int at[4];
                    for (int i = 0; i < B * N * S * D; i++) {
                        index_of(i, at);
                        const double most = magnitude(o.granularity, at, o.percentile);
                        const double want = most == 0 ? 1 : most / largest_code(o.dtype);
                        const double got = scale_of(s, o.granularity, at);
                        const double above = p ? 1.0 / 64 : 0,
                                     unit = o.scale_dtype == FATTN_F32 ? 1e-6 : 0.004;
                        if (!(got >= want * (1 - unit) - 1e-7 &&
                              got <= want * (1 + above + unit) + 1e-7))
                            fail_msg("%s granularity %d percentile %g: scale %.9g, want %.9g",
                                     fattn_dtype_name(o.dtype), g, o.percentile, got, want);
                    }
                    check_codes(&o, c, s);
                    assert_memory_equal((char *)c->data + tensor_bytes(c), "\xa5\xa5\xa5\xa5", 4);
                    harness_reset();
                }
}

static void calibration(void **state)
{
    (void)state;
    static const fattn_granularity static_ones[] = {FATTN_PER_TENSOR, FATTN_PER_CHANNEL,
                                                    FATTN_PER_HEAD};
    for (int i = 0; i < 6; i++) {
        fattn_quantize_options o = options_of(FATTN_I8, static_ones[i % 3]);
        o.percentile = i < 3 ? 100 : 80;
        fattn_calibration *c = NULL;
        fattn_tensor *in = make_input(FATTN_F32, "BNSD"), halves[2], whole, codes;
        EXPECT_OK(fattn_calibration_create(NULL, &o, &c), "create");
        EXPECT_OK(fattn_quantize_kv_shapes(&o, in, &codes, &whole), "shapes");
        const fattn_tensor *by_two = given(&whole), *at_once = given(&whole), *all = given(&codes);
        expect_refused(fattn_calibration_scales(c, by_two), FATTN_E_ARG, "calibration", "no batch");
        for (int half = 0; half < 2; half++) {
            halves[half] = *in;
            halves[half].shape[0] = 1;
            halves[half].data = (float *)in->data + half * N * S * D;
            EXPECT_OK(fattn_calibration_observe(c, &halves[half]), "observe");
        }
        const fattn_tensor *other = tensor_new(FATTN_F32, 1, 4, 1, N, 2, D + 1);
        expect_refused(fattn_calibration_observe(c, other), FATTN_E_SHAPE, "input", "first batch");
        fattn_tensor *bad = tensor_new(FATTN_F32, 1, 4, 1, N, 2, D);
        put4(bad, 0, 1, 1, 3, INFINITY);
        expect_refused(fattn_calibration_observe(c, bad), FATTN_E_ARG, "input", "no scale");
        EXPECT_OK(fattn_calibration_scales(c, by_two), "scales");
        EXPECT_OK(fattn_quantize_kv(NULL, &o, in, all, at_once), "at once");
        assert_memory_equal(by_two->data, at_once->data, tensor_bytes(at_once));
        const fattn_tensor *by = given(&codes);
        EXPECT_OK(fattn_quantize_kv_by(NULL, &o, in, by_two, by), "by");
        assert_memory_equal(by->data, all->data, tensor_bytes(all));
        fattn_calibration_destroy(c);
        harness_reset();
    }
    fattn_quantize_options o = options_of(FATTN_I8, FATTN_PER_TOKEN);
    fattn_calibration *c = NULL;
    expect_refused(fattn_calibration_create(NULL, &o, &c), FATTN_E_ARG, "granularity",
                   "every token");
    fattn_calibration_destroy(NULL);
}

static void refusals(void **state)
{
    (void)state;
    fattn_quantize_options o = options_of(FATTN_I4, FATTN_PER_TOKEN);
    fattn_tensor codes, scale;
    const fattn_tensor *odd = tensor_new(FATTN_F32, 1, 4, 1, 1, 2, 12),
                       *in = tensor_new(FATTN_F32, 1, 4, 1, 1, 2, 8);
    expect_refused(fattn_quantize_kv_shapes(&o, odd, &codes, &scale), FATTN_E_SHAPE, "input",
                   "multiple of 8");
    expect_refused(
        fattn_quantize_kv_shapes(&o, tensor_new(FATTN_I8, 1, 4, 1, 1, 2, 8), &codes, &scale),
        FATTN_E_DTYPE, "input", "f32, f16");
    EXPECT_OK(fattn_quantize_kv_shapes(&o, in, &codes, &scale), "shapes");
    assert_int_equal(codes.shape[3], 1);
    const fattn_tensor *c = given(&codes), *s = given(&scale);
    fattn_tensor *bad = tensor_new(FATTN_F32, 1, 4, 1, 1, 2, 8);
    put4(bad, 0, 0, 1, 3, NAN);
    expect_refused(fattn_quantize_kv(NULL, &o, bad, c, s), FATTN_E_ARG, "input",
                   "token 1, column 3");
    for (size_t i = 0; i < tensor_bytes(c); i++) assert_int_equal(((uint8_t *)c->data)[i], 0xa5);
    for (size_t i = 0; i < tensor_bytes(s); i++) assert_int_equal(((uint8_t *)s->data)[i], 0xa5);
    expect_refused(fattn_quantize_kv(NULL, &o, in, s, c), FATTN_E_SHAPE, "output", "contiguous");
    o.percentile = 0;
    expect_refused(fattn_quantize_kv(NULL, &o, in, c, s), FATTN_E_ARG, "percentile", "above 0");
    o = options_of(FATTN_F16, FATTN_PER_TOKEN);
    expect_refused(fattn_quantize_kv(NULL, &o, in, c, s), FATTN_E_DTYPE, "dtype", "i8, i4");
    o = options_of(FATTN_I8, (fattn_granularity)9);
    expect_refused(fattn_quantize_kv(NULL, &o, in, c, s), FATTN_E_ARG, "granularity", "0..4");
    o = options_of(FATTN_I8, FATTN_PER_TOKEN), o.input_layout = "TND";
    expect_refused(fattn_quantize_kv(NULL, &o, in, c, s), FATTN_E_ARG, "input_layout", "BNSD");
    o = options_of(FATTN_I8, FATTN_PER_TOKEN), o.size = 3;
    expect_refused(fattn_quantize_kv(NULL, &o, in, c, s), FATTN_E_ARG, "options", "size");
    harness_reset();
}

/* ---- memory -------------------------------------------------------------------------------------- */

typedef struct counter {
    int live, calls, fail_at;
} counter;

static void *count_alloc(void *self, size_t bytes)
{
    counter *c = self;
    if (++c->calls == c->fail_at) return NULL;
    c->live++;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void count_free(void *self, void *memory)
{
    ((counter *)self)->live--;
    free(memory);
}

static void expect_untouched(const fattn_tensor *t)
{
    for (size_t i = 0; i < tensor_bytes(t); i++)
        assert_int_equal(((const uint8_t *)t->data)[i], 0xa5);
}

/* Quantises and calibrates; every step is tried again after a failure, which must then work. */
static bool quantise_all(fattn_context *context, counter *c)
{
    fattn_quantize_options o = options_of(FATTN_I8, FATTN_PER_HEAD);
    o.percentile = 99;
    fattn_tensor codes, scale, *in = make_input(FATTN_F32, "BNSD");
    fattn_calibration *seen = NULL;
    EXPECT_OK(fattn_quantize_kv_shapes(&o, in, &codes, &scale), "shapes");
    const fattn_tensor *x = given(&codes), *s = given(&scale);
    fattn_status status = fattn_quantize_kv(context, &o, in, x, s);
    if (status != FATTN_OK) {
        assert_int_equal(status, FATTN_E_NOMEM);
        expect_untouched(x);
        expect_untouched(s);
        EXPECT_OK(fattn_quantize_kv(context, &o, in, x, s), "again");
    }
    const fattn_tensor *by = given(&codes);
    status = fattn_quantize_kv_by(context, &o, in, s, by);
    if (status != FATTN_OK) {
        assert_int_equal(status, FATTN_E_NOMEM);
        expect_untouched(by);
        EXPECT_OK(fattn_quantize_kv_by(context, &o, in, s, by), "again");
    }
    if (fattn_calibration_create(context, &o, &seen) != FATTN_OK) {
        assert_null(seen);
        EXPECT_OK(fattn_calibration_create(context, &o, &seen), "again");
    }
    if (fattn_calibration_observe(seen, in) != FATTN_OK)
        EXPECT_OK(fattn_calibration_observe(seen, in), "again");
    const fattn_tensor *found = given(&scale);
    EXPECT_OK(fattn_calibration_scales(seen, found), "scales");
    assert_memory_equal(found->data, s->data, tensor_bytes(s)); /* the failed batch was not counted */
    fattn_calibration_destroy(seen);
    harness_reset();
    return c->calls < c->fail_at;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    counter c = {0};
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = 1;
    options.allocator = (fattn_allocator){&c, count_alloc, count_free};
    EXPECT_OK(fattn_context_create(&context, &options), "context");
    const int at_rest = c.live;
    int n = 0;
    for (bool whole = false; !whole;) {
        c.calls = 0;
        c.fail_at = ++n;
        whole = quantise_all(context, &c);
        assert_int_equal(c.live, at_rest);
    }
    assert_true(n > 8); /* rows, groups and histograms, twice; rows; the object */
    fattn_context_destroy(context);
    assert_int_equal(c.live, 0);
}

/* No heads or no columns are refused; no tokens or batch entries are nothing to do, at once, whatever the
 * other extents say, and groups that saw no number have scale 1. */
static void without_numbers(void **state)
{
    (void)state;
    static const int64_t MANY = INT64_C(1) << 50;
    const int64_t no_columns[] = {1, 1, MANY, 0}, no_heads[] = {1, 0, 4, 8};
    const int64_t no_tokens[] = {MANY, 2, 0, 8}, no_entries[] = {0, 2, MANY, 8};
    const int64_t *const empty[] = {no_tokens, no_entries};
    fattn_quantize_options o = options_of(FATTN_I8, FATTN_PER_HEAD);
    fattn_tensor codes, scale, in = fattn_tensor_contiguous(NULL, FATTN_F32, 4, no_columns);
    expect_refused(fattn_quantize_kv_shapes(&o, &in, &codes, &scale), FATTN_E_SHAPE, "input",
                   "no columns");
    in = fattn_tensor_contiguous(NULL, FATTN_F32, 4, no_heads);
    expect_refused(fattn_quantize_kv_shapes(&o, &in, &codes, &scale), FATTN_E_SHAPE, "input",
                   "no heads");
    fattn_quantize_options flat = o;
    flat.input_layout = "BSH", flat.num_heads = MANY;
    in = fattn_tensor_contiguous(NULL, FATTN_F32, 3, no_heads);
    in.shape[2] = 0;
    expect_refused(fattn_quantize_kv_shapes(&flat, &in, &codes, &scale), FATTN_E_SHAPE, "input",
                   "no columns");
    for (int i = 0; i < 2; i++)
        for (int g = FATTN_PER_TENSOR; g <= FATTN_PER_TOKEN_HEAD; g++) {
            o.granularity = (fattn_granularity)g;
            in = fattn_tensor_contiguous(NULL, FATTN_F32, 4, empty[i]);
            EXPECT_OK(fattn_quantize_kv_shapes(&o, &in, &codes, &scale), "shapes");
            const fattn_tensor *s = given(&scale);
            EXPECT_OK(fattn_quantize_kv(NULL, &o, &in, &codes, s), "nothing");
            EXPECT_OK(fattn_quantize_kv_by(NULL, &o, &in, s, &codes), "nothing, by scales");
            if (g == FATTN_PER_TOKEN || g == FATTN_PER_TOKEN_HEAD) continue;
            const int64_t n = g == FATTN_PER_TENSOR ? 1 : g == FATTN_PER_HEAD ? 2 : 2 * 8;
            for (int64_t k = 0; k < n; k++)
                assert_true(((const float *)s->data)[k] == 1.0f);
            fattn_calibration *seen;
            EXPECT_OK(fattn_calibration_create(NULL, &o, &seen), "create");
            EXPECT_OK(fattn_calibration_observe(seen, &in), "observe nothing");
            EXPECT_OK(fattn_calibration_scales(seen, s), "scales of nothing");
            assert_true(((const float *)s->data)[0] == 1.0f);
            fattn_calibration_destroy(seen);
        }
    harness_reset();
}

/* ---- the cache ----------------------------------------------------------------------------------- */

enum { TOKENS = 21, ROWS = 4, BLOCKS = 16 };

/* Attention over the cache against attention over the same codes, dequantised by hand. */
static void cache_attends(fattn_dtype dtype, fattn_granularity granularity,
                          fattn_cache_layout layout)
{
    fattn_kv_cache_options o;
    fattn_kv_cache_options_init(&o);
    o.layout = layout, o.dtype = dtype, o.n_blocks = BLOCKS, o.block_size = ROWS;
    o.n_kv_heads = N, o.head_dim = D, o.granularity = granularity, o.n_layers = 2;
    fattn_tensor *rows[2] = {tensor_new(FATTN_F16, 3, 3, TOKENS, N, D),
                             tensor_new(FATTN_F16, 4, 3, TOKENS, N, D)};
    const fattn_tensor *by_hand[2];
    fattn_tensor *wide[2], *four[2];
    for (int side = 0; side < 2; side++) { /* the same tokens as a batch, quantised at once */
        fattn_quantize_options q = options_of(dtype, granularity);
        q.input_layout = "BSND";
        four[side] = tensor_new(FATTN_F16, 1, 4, 1, TOKENS, N, D);
        memcpy(four[side]->data, rows[side]->data, tensor_bytes(four[side]));
        fattn_tensor codes, scale;
        EXPECT_OK(fattn_quantize_kv_shapes(&q, four[side], &codes, &scale), "shapes");
        const fattn_tensor *c = given(&codes), *s = given(&scale);
        EXPECT_OK(fattn_quantize_kv(NULL, &q, four[side], c, s), "by hand");
        by_hand[side] = s;
        wide[side] = tensor_new(FATTN_F32, 1, 4, 1, N, TOKENS, D);
        for (int t = 0; t < TOKENS; t++)
            for (int n = 0; n < N; n++)
                for (int d = 0; d < D; d++) {
                    const int at[] = {0, n, t, d};
                    put4(wide[side], 0, n, t, d,
                         scale_of(s, granularity, at) * decode(c, ((int64_t)t * N + n) * D + d));
                }
    }
    const bool by_row = granularity == FATTN_PER_TOKEN || granularity == FATTN_PER_TOKEN_HEAD;
    if (!by_row) o.key_scale = by_hand[0], o.value_scale = by_hand[1];
    fattn_kv_cache *cache = NULL;
    int64_t first, second;
    EXPECT_OK(fattn_kv_cache_create(NULL, &o, &cache), "create");
    EXPECT_OK(fattn_kv_cache_add(cache, &first), "add");
    fattn_tensor part[2];
    for (int t = 0; t < TOKENS; t += 3) { /* in threes */
        for (int side = 0; side < 2; side++) {
            part[side] = *rows[side];
            part[side].shape[0] = 3;
            part[side].data = (uint16_t *)rows[side]->data + t * N * D;
        }
        EXPECT_OK(fattn_kv_cache_append(cache, first, &part[0], &part[1]), "append");
    }
    EXPECT_OK(fattn_kv_cache_fork(cache, first, &second), "fork");
    EXPECT_OK(fattn_kv_cache_append(cache, second, &part[0], &part[1]),
              "append"); /* copies a block */
    EXPECT_OK(fattn_kv_cache_truncate(cache, second, TOKENS), "truncate");

    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    fattn_tensor key, value, key_scale, value_scale;
    int mode;
    EXPECT_OK(fattn_kv_cache_tensors(cache, 1, &key, &value), "tensors");
    EXPECT_OK(fattn_kv_cache_scales(cache, 1, &key_scale, &value_scale, &mode), "scales");
    assert_int_equal(mode, fattn_quantize_mode(granularity, true));
    fattn_tensor *table = tensor_new(FATTN_I32, 1, 2, 2, 8);
    EXPECT_OK(fattn_kv_cache_block_table(cache, (const int64_t[]){first, second}, 2, table),
              "table");
    fattn_tensor *query = tensor_new(FATTN_F32, 7, 4, 2, 2 * N, 1, D);
    a.query = query, a.key = &key, a.value = &value, a.input_layout = "BNSD", a.num_heads = 2 * N;
    a.num_key_value_heads = N, a.block_table = table, a.block_size = ROWS, a.scale = 0.25;
    a.actual_seq_lengths_kv = list_of(1, TOKENS);
    a.key_antiquant_scale = &key_scale, a.value_antiquant_scale = &value_scale;
    a.key_antiquant_mode = a.value_antiquant_mode = mode;
    call_v1(&a, "over the cache");

    fattn_fused_infer_attention_score_args w;
    fattn_fused_infer_attention_score_args_init(&w);
    for (int b = 0; b < 2; b++) {
        fattn_tensor one = *query;
        one.shape[0] = 1, one.data = (float *)query->data + b * 2 * N * D;
        w.query = &one, w.key = wide[0], w.value = wide[1], w.input_layout = "BNSD";
        w.num_heads = 2 * N, w.num_key_value_heads = N, w.scale = 0.25;
        call_v1(&w, "over numbers");
        for (int h = 0; h < 2 * N; h++)
            for (int d = 0; d < D; d++) {
                const double got = get4(a.attention_out, b, h, 0, d),
                             want = get4(w.attention_out, 0, h, 0, d);
                if (!(fabs(got - want) <= 3e-6))
                    fail_msg("%s granularity %d layout %d (%d,%d,%d): %.9g, want %.9g",
                             fattn_dtype_name(dtype), (int)granularity, (int)layout, b, h, d, got,
                             want);
            }
    }
    fattn_kv_cache_destroy(cache);
    harness_reset();
}

static void caches(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (int g = 0; g <= FATTN_PER_TOKEN_HEAD; g++)
            for (int l = 0; l < 2; l++)
                cache_attends(formats[f], (fattn_granularity)g, (fattn_cache_layout)l);
}

static void cache_refusals(void **state)
{
    (void)state;
    fattn_kv_cache_options o;
    fattn_kv_cache_options_init(&o);
    fattn_kv_cache *cache = NULL;
    o.dtype = FATTN_I8, o.n_blocks = 2, o.n_kv_heads = 1, o.head_dim = 8;
    o.key_scale = tensor_new(FATTN_F32, 1, 1, 1);
    expect_refused(fattn_kv_cache_create(NULL, &o, &cache), FATTN_E_ARG, "key_scale", "its own");
    o.granularity = FATTN_PER_TENSOR;
    expect_refused(fattn_kv_cache_create(NULL, &o, &cache), FATTN_E_ARG, "value_scale", "both");
    o.value_scale = tensor_new(FATTN_F32, 1, 1, 2);
    expect_refused(fattn_kv_cache_create(NULL, &o, &cache), FATTN_E_SHAPE, "value_scale",
                   "1 numbers");
    o.key_scale = o.value_scale = NULL, o.granularity = FATTN_PER_TOKEN;
    EXPECT_OK(fattn_kv_cache_create(NULL, &o, &cache), "create");
    int64_t id;
    EXPECT_OK(fattn_kv_cache_add(cache, &id), "add");
    fattn_tensor *row = tensor_new(FATTN_F32, 1, 3, 1, 1, 8);
    const fattn_tensor *codes = tensor_new(FATTN_I8, 1, 3, 1, 1, 8);
    expect_refused(fattn_kv_cache_append(cache, id, codes, codes), FATTN_E_DTYPE, "key",
                   "f32, f16");
    put3(row, 0, 0, 2, NAN);
    expect_refused(fattn_kv_cache_append(cache, id, row, row), FATTN_E_ARG, "key", "no scale");
    assert_int_equal(fattn_kv_cache_length(cache, id), 0);
    fattn_kv_cache_destroy(cache);
    o.dtype = FATTN_F16;
    EXPECT_OK(fattn_kv_cache_create(NULL, &o, &cache), "floats");
    expect_refused(fattn_kv_cache_scales(cache, 0, NULL, NULL, NULL), FATTN_E_ARG, "cache",
                   "no scales");
    fattn_kv_cache_destroy(cache);
    harness_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_granularity),
                                       cmocka_unit_test(calibration), cmocka_unit_test(refusals),
                                       cmocka_unit_test(without_numbers),
                                       cmocka_unit_test(every_allocation_fails_once),
                                       cmocka_unit_test(caches), cmocka_unit_test(cache_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
