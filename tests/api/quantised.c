/* SPDX-License-Identifier: Apache-2.0 */
/* quantised.c — quantised keys and values in every mode, format, layout, cache form and operator against
 * attention over the dequantised numbers in double (spec inference 4.4); results of 8 bits (4.3); full
 * int8 (4.2); the guide's form (decisions.md). Codes are decoded here by their definitions. */
#include "api/harness.h"

enum {
    B = 2,
    N = 4,
    NKV = 2,
    S = 70,
    D = 64,
    ROWS_MAX = 9,
    BLOCK = 16,
    BLOCKS = 12,
    M = 6,
    PRE = 6
};
enum { HEADS_GROUP = N / NKV, GROUP = 32, NZ_BYTES = 32 };

typedef enum form { BSH, BSND, BNSD, TND, BNBSH, BNNBSD, NZ, LIST, PREFIX, FORMS } form;
static const char *const form_names[FORMS] = {"BSH",    "BSND", "BNSD", "TND",   "BnBsH",
                                              "BnNBsD", "NZ",   "list", "prefix"};
static bool paged(form f) { return f == BNBSH || f == BNNBSD || f == NZ; }

static const fattn_dtype formats[] = {FATTN_I8,   FATTN_I4,   FATTN_E4M3,
                                      FATTN_E5M2, FATTN_E2M1, FATTN_E1M2};

static int pack_of(fattn_dtype dtype)
{
    return dtype == FATTN_I4 ? 8 : dtype == FATTN_E2M1 || dtype == FATTN_E1M2 ? 2 : 1;
}
static int bits_of(fattn_dtype dtype) { return pack_of(dtype) == 1 ? 8 : 4; }

/* sign, exponent, mantissa; bias 2^(e-1) - 1, of a single exponent bit 1 */
static double small_float(int code, int exponent_bits, int mantissa_bits)
{
    const int exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1);
    const double fraction = (double)(code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits);
    const int bias = exponent_bits == 1 ? 1 : (1 << (exponent_bits - 1)) - 1;
    const double size = exponent ? ldexp(1 + fraction, exponent - bias) : ldexp(fraction, 1 - bias);
    return code >> (exponent_bits + mantissa_bits) & 1 ? -size : size;
}

static double decode(fattn_dtype dtype, int code)
{
    switch (dtype) {
    case FATTN_I8:
        return code < 128 ? code : code - 256;
    case FATTN_I4:
        return code < 8 ? code : code - 16;
    case FATTN_E4M3:
        return (code & 127) == 127 ? NAN : small_float(code, 4, 3);
    case FATTN_E5M2:
        if ((code & 127) == 124) return code < 128 ? INFINITY : -INFINITY;
        return (code & 127) > 124 ? NAN : small_float(code, 5, 2);
    case FATTN_E2M1:
        return small_float(code, 2, 1);
    default:
        return small_float(code, 1, 2);
    }
}

static uint64_t seed_state;
static unsigned random_below(unsigned n)
{
    seed_state = seed_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed_state >> 33) % n;
}

/* A code whose value is a small number: no NaN, and e5m2 not beyond 4. */
static int random_code(fattn_dtype dtype)
{
    for (;;) {
        const int code = (int)random_below(1u << bits_of(dtype));
        const double limit = dtype == FATTN_I8 ? 128 : 8;
        if (fabs(decode(dtype, code)) <= limit) return code;
    }
}

/* ---- one call ----------------------------------------------------------------------------------- */

enum { KEYS, VALUES };

typedef struct quantised {
    form form;
    fattn_dtype dtype, query_dtype, scale_dtype;
    int mode[2];
    bool one_scale; /* mode 0: one for all */
    bool offset;
    int sq;
    int kv_len[B]; /* keys, those of the prefix included */
    uint8_t code[2][B][NKV][S][D];
    fattn_tensor *q, *kv[2], *prefix[2], *scale[2], *shift[2];
    fattn_tensor *list[2][B];
    int block[B][M]; /* physical block of each logical one */
} quantised;

static quantised c;

/* Writes the code of one element; `at` counts values. */
static void put_code(const fattn_tensor *t, int64_t at, int code)
{
    const int bits = bits_of(c.dtype);
    uint8_t *byte = (uint8_t *)t->data + at * bits / 8;
    const int shift = bits == 4 ? (int)(at % 2) * 4 : 0, mask = bits == 4 ? 15 : 255;
    *byte = (uint8_t)((*byte & ~(mask << shift)) | code << shift);
}

static fattn_tensor *codes_new(int rank, const int *shape)
{
    int64_t extents[FATTN_MAX_RANK], count = 1;
    for (int i = 0; i < rank; i++)
        extents[i] = i == rank - 1 ? shape[i] / pack_of(c.dtype) : shape[i], count *= shape[i];
    fattn_tensor *t = harness_alloc(sizeof *t);
    *t = fattn_tensor_contiguous(harness_alloc((size_t)count), c.dtype, rank, extents);
    for (int64_t i = 0; i < count; i++) put_code(t, i, random_code(c.dtype)); /* nobody's, too */
    return t;
}

/* Token number of (b, t) in a packed tensor. */
static int packed_row(int b, int t) { return (b ? c.kv_len[0] : 0) + t; }

static int64_t at_key(int b, int g, int t, int d)
{
    const int chunk = NZ_BYTES * 8 / bits_of(c.dtype);
    const int64_t block = paged(c.form) ? c.block[b][t / BLOCK] : 0, row = t % BLOCK;
    switch (c.form) {
    case BSH:
    case BSND:
        return (((int64_t)b * S + t) * NKV + g) * D + d;
    case BNSD:
        return (((int64_t)b * NKV + g) * S + t) * D + d;
    case TND:
        return ((int64_t)packed_row(b, t) * NKV + g) * D + d;
    case BNBSH:
        return ((block * BLOCK + row) * NKV + g) * D + d;
    case BNNBSD:
        return ((block * NKV + g) * BLOCK + row) * D + d;
    case NZ:
        return (((block * NKV + g) * (D / chunk) + d / chunk) * BLOCK + row) * chunk + d % chunk;
    default:
        return 0;
    }
}

static void make_side(int side)
{
    const int chunk = NZ_BYTES * 8 / bits_of(c.dtype);
    const int shapes[FORMS][5] = {{B, S, NKV * D},
                                  {B, S, NKV, D},
                                  {B, NKV, S, D},
                                  {c.kv_len[0] + c.kv_len[1], NKV, D},
                                  {BLOCKS, BLOCK, NKV * D},
                                  {BLOCKS, NKV, BLOCK, D},
                                  {BLOCKS, NKV, D / chunk, BLOCK, chunk},
                                  {1, NKV, S, D},
                                  {B, NKV, S - PRE, D}};
    static const int ranks[FORMS] = {3, 4, 4, 3, 3, 4, 5, 4, 4};
    const int one[4] = {1, NKV, PRE, D};
    fattn_tensor *all = NULL;
    if (c.form != LIST) all = c.kv[side] = codes_new(ranks[c.form], shapes[c.form]);
    if (c.form == PREFIX) c.prefix[side] = codes_new(4, one);
    for (int b = 0; b < B; b++) {
        if (c.form == LIST) all = c.list[side][b] = codes_new(4, shapes[LIST]);
        for (int t = 0; t < c.kv_len[b]; t++)
            for (int g = 0; g < NKV; g++)
                for (int d = 0; d < D; d++) {
                    const bool shared = c.form == PREFIX && t < PRE;
                    int code = random_code(c.dtype);
                    if (shared && b > 0) code = c.code[side][0][g][t][d];
                    c.code[side][b][g][t][d] = (uint8_t)code;
                    if (c.form == LIST)
                        put_code(all, ((int64_t)g * S + t) * D + d, code);
                    else if (shared)
                        put_code(c.prefix[side], ((int64_t)g * PRE + t) * D + d, code);
                    else if (c.form == PREFIX)
                        put_code(all, (((int64_t)b * NKV + g) * (S - PRE) + t - PRE) * D + d, code);
                    else
                        put_code(all, at_key(b, g, t, d), code);
                }
    }
}

/* Scales between 1/64 and 1/32 (powers of two in mode 6), offsets between -3 and 3. */
static fattn_tensor *numbers_new(int mode, bool offset, unsigned seed)
{
    const fattn_dtype dtype = mode == 6 ? FATTN_E8M0 : c.scale_dtype;
    fattn_tensor *t = NULL;
    switch (mode) {
    case 0:
        t = c.one_scale ? tensor_new(dtype, seed, 1, 1) : tensor_new(dtype, seed, 3, NKV, 1, D);
        break;
    case 1:
        t = tensor_new(dtype, seed, 2, B, S + 3);
        break;
    case 2:
        t = tensor_new(dtype, seed, 1, NKV);
        break;
    case 3:
        t = tensor_new(dtype, seed, 3, B, NKV, S);
        break;
    case 4:
        t = tensor_new(dtype, seed, 2, BLOCKS, BLOCK);
        break;
    case 5:
        t = tensor_new(dtype, seed, 3, BLOCKS, NKV, BLOCK);
        break;
    default:
        t = tensor_new(dtype, seed, 5, 1, B, NKV, S, D / GROUP);
        for (int64_t i = 0; i < tensor_count(t); i++)
            ((uint8_t *)t->data)[i] = (uint8_t)(121 + random_below(3));
        return t;
    }
    fattn_tensor flat = *t;
    flat.rank = 1, flat.shape[0] = tensor_count(t), flat.strides[0] = 1;
    for (int64_t i = 0; i < flat.shape[0]; i++) {
        const double x = (double)random_below(1000) / 1000;
        put1(&flat, i, offset ? 6 * x - 3 : (1 + x) / 64);
    }
    return t;
}

static double number(const fattn_tensor *t, int mode, int b, int g, int s, int d)
{
    const int block = paged(c.form) ? c.block[b][s / BLOCK] : 0, row = s % BLOCK;
    switch (mode) {
    case 0:
        return c.one_scale ? get1(t, 0) : get3(t, g, 0, d);
    case 1:
        return get2(t, b, s);
    case 2:
        return get1(t, g);
    case 3:
        return get3(t, b, g, s);
    case 4:
        return get2(t, block, row);
    case 5:
        return get3(t, block, g, row);
    default:
        return ldexp(
            1, ((const uint8_t *)t->data)[((b * NKV + g) * S + s) * (D / GROUP) + d / GROUP] - 127);
    }
}

static double value_of(int side, int b, int g, int t, int d)
{
    double x = decode(c.dtype, c.code[side][b][g][t][d]);
    if (c.shift[side]) x += number(c.shift[side], c.mode[side], b, g, t, d);
    return c.scale[side] ? x * number(c.scale[side], c.mode[side], b, g, t, d) : x;
}

static void make(void)
{
    seed_state =
        (uint64_t)(c.form * 1000u + c.dtype * 100u) + (unsigned)(c.mode[0] * 10 + c.mode[1] + c.sq);
    c.kv_len[0] = S, c.kv_len[1] = 37;
    for (int i = 0; i < B * M; i++) c.block[i / M][i % M] = (i * 5 + 2) % BLOCKS;
    for (int side = 0; side < 2; side++) {
        c.prefix[side] = c.kv[side] = NULL;
        make_side(side);
        c.scale[side] = numbers_new(c.mode[side], false, 3);
        c.shift[side] = c.offset ? numbers_new(c.mode[side], true, 4) : NULL;
    }
    if (c.form == BSH || c.form == BNBSH)
        c.q = tensor_new(c.query_dtype, 9, 3, B, c.sq, N * D);
    else if (c.form == TND)
        c.q = tensor_new(c.query_dtype, 9, 3, B * c.sq, N, D);
    else if (c.form == BSND)
        c.q = tensor_new(c.query_dtype, 9, 4, B, c.sq, N, D);
    else
        c.q = tensor_new(c.query_dtype, 9, 4, B, N, c.sq, D);
}

static const char *layout(void)
{
    static const char *const names[FORMS] = {"BSH",  "BSND", "BNSD", "TND", "BSH",
                                             "BNSD", "BNSD", "BNSD", "BNSD"};
    return names[c.form];
}

static double query_at(const fattn_tensor *t, int b, int h, int i, int d)
{
    return strcmp(layout(), "TND") == 0 ? at_layout(t, "TND", D, 0, b * c.sq + i, h, d)
                                        : at_layout(t, layout(), D, b, i, h, d);
}

typedef struct where {
    int b, g;
} where;

static double naive_value(const void *self, int key, int column)
{
    const where *w = self;
    return value_of(VALUES, w->b, w->g, key, column);
}

static naive_row row;

static void answer(int b, int h, int i, double scale)
{
    const int g = h / HEADS_GROUP;
    row = (naive_row){.keys = c.kv_len[b], .columns = D, .d = D, .sink = -INFINITY};
    for (int t = 0; t < row.keys; t++) {
        double sum = 0, absolute = 0;
        for (int d = 0; d < D; d++) {
            const double product = query_at(c.q, b, h, i, d) * value_of(KEYS, b, g, t, d);
            sum += product, absolute += fabs(product);
        }
        row.key[t] = t, row.x[t] = scale * sum, row.sigma[t] = fabs(scale) * absolute;
    }
    naive_finish(&row, naive_value, &(where){b, g});
}

static const double SCALE = 0.125;

static void check(const fattn_tensor *out, const char *what)
{
    for (int b = 0; b < B; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i<c.sq; i += c.sq> 4 ? 4 : 1) {
                answer(b, h, i, SCALE);
                for (int d = 0; d < D; d++) {
                    const double got = query_at(out, b, h, i, d);
                    if (!close_out(c.query_dtype, got, row.out[d], row.bound[d]))
                        fail_msg("%s %s %s modes %d %d, %s query, sq %d, %s: (%d,%d,%d,%d): %.9g, "
                                 "want %.9g",
                                 what, form_names[c.form], fattn_dtype_name(c.dtype), c.mode[0],
                                 c.mode[1], fattn_dtype_name(c.query_dtype), c.sq,
                                 c.offset ? "offsets" : "no offsets", b, h, i, d, got, row.out[d]);
                }
            }
}

static fattn_tensor *table(void)
{
    fattn_tensor *t = tensor_new(FATTN_I32, 1, 2, B, M);
    for (int i = 0; i < B * M; i++) {
        const int b = i / M, needed = (c.kv_len[b] + BLOCK - 1) / BLOCK;
        put2(t, b, i % M, i % M < needed ? c.block[b][i % M] : -1);
    }
    return t;
}

static fattn_int_array own_lengths(void)
{
    const int less = c.form == PREFIX ? PRE : 0;
    if (c.form == TND) return list_of(2, c.kv_len[0], c.kv_len[0] + c.kv_len[1]);
    return list_of(2, c.kv_len[0] - less, c.kv_len[1] - less);
}

/* The fields that both versions have. */
#define COMMON(a)                                                                                  \
    do {                                                                                           \
        a.query = c.q, a.input_layout = layout(), a.num_key_value_heads = NKV;                     \
        if (c.form == LIST)                                                                        \
            a.key_list = (fattn_tensor_array){(const fattn_tensor *const *)c.list[0], B},          \
            a.value_list = (fattn_tensor_array){(const fattn_tensor *const *)c.list[1], B};        \
        else                                                                                       \
            a.key = c.kv[0], a.value = c.kv[1];                                                    \
        if (paged(c.form)) a.block_table = table(), a.block_size = BLOCK;                          \
    } while (0)

static void call_separate(void)
{
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    COMMON(a);
    a.num_heads = N, a.scale = SCALE, a.actual_seq_lengths_kv = own_lengths();
    if (c.form == TND) a.actual_seq_lengths = list_of(2, c.sq, 2 * c.sq);
    a.key_shared_prefix = c.prefix[0], a.value_shared_prefix = c.prefix[1];
    a.key_antiquant_scale = c.scale[0], a.value_antiquant_scale = c.scale[1];
    a.key_antiquant_offset = c.shift[0], a.value_antiquant_offset = c.shift[1];
    a.key_antiquant_mode = c.mode[0], a.value_antiquant_mode = c.mode[1];
    call_v1(&a, form_names[c.form]);
    check(a.attention_out, "v1");
}

static void call_version2(void)
{
    fattn_fused_infer_attention_score_v2_args a;
    fattn_fused_infer_attention_score_v2_args_init(&a);
    if (c.form == PREFIX) return;
    COMMON(a);
    a.num_query_heads = N, a.softmax_scale = SCALE, a.actual_seq_kvlen = own_lengths();
    if (c.form == TND) a.actual_seq_qlen = list_of(2, c.sq, 2 * c.sq);
    a.dequant_scale_key = c.scale[0], a.dequant_scale_value = c.scale[1];
    a.dequant_offset_key = c.shift[0], a.dequant_offset_value = c.shift[1];
    a.key_quant_mode = c.mode[0], a.value_quant_mode = c.mode[1];
    call_v2(&a, form_names[c.form]);
    check(a.attention_out, "v2");
}

/* Two tensors of one shape behind each other. */
static fattn_tensor *joined(fattn_tensor *const part[2])
{
    if (!part[0]) return NULL;
    const size_t bytes = tensor_bytes(part[0]);
    fattn_tensor *t = harness_alloc(sizeof *t);
    int64_t shape[FATTN_MAX_RANK] = {2};
    int rank = 1;
    for (int i = 0; i < part[0]->rank; i++)
        if (part[0]->rank == 3 || part[0]->shape[i] > 1) shape[rank++] = part[0]->shape[i];
    *t = fattn_tensor_contiguous(harness_alloc(2 * bytes), part[0]->dtype, rank, shape);
    memcpy(t->data, part[0]->data, bytes);
    memcpy((char *)t->data + bytes, part[1]->data, bytes);
    return t;
}

static void call_combined(void)
{
    if (c.mode[0] != c.mode[1] || c.mode[0] > 1) return;
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    COMMON(a);
    a.num_heads = N, a.scale = SCALE, a.actual_seq_lengths_kv = own_lengths();
    if (c.form == TND) a.actual_seq_lengths = list_of(2, c.sq, 2 * c.sq);
    a.key_shared_prefix = c.prefix[0], a.value_shared_prefix = c.prefix[1];
    a.antiquant_scale = joined(c.scale), a.antiquant_offset = joined(c.shift);
    a.antiquant_mode = c.mode[0];
    call_v1(&a, form_names[c.form]);
    check(a.attention_out, "combined");
    if (c.sq > 1 || c.form == TND || c.form == LIST || c.form == PREFIX) return;

    fattn_incre_flash_attention_args i;
    fattn_incre_flash_attention_args_init(&i);
    i.query = c.q, i.key = c.kv[0], i.value = c.kv[1], i.input_layout = layout();
    i.num_heads = N, i.num_key_value_heads = NKV, i.scale_value = SCALE;
    i.actual_seq_lengths = own_lengths();
    if (paged(c.form)) i.block_table = table(), i.block_size = BLOCK;
    i.antiquant_scale = a.antiquant_scale, i.antiquant_offset = a.antiquant_offset;
    fattn_tensor out[1];
    EXPECT_OK(fattn_incre_flash_attention_shapes(plain_context(), &i, out), "incre shapes");
    out[0].data = harness_alloc(tensor_bytes(&out[0]));
    i.attention_out = &out[0];
    EXPECT_OK(fattn_incre_flash_attention(plain_context(), &i), "incre %s", form_names[c.form]);
    check(i.attention_out, "incre");
}

static void run(void)
{
    make();
    call_separate();
    call_version2();
    call_combined();
    assert_int_equal(warnings(), 0);
    harness_reset();
}

static bool fits(int mode, form f) { return (mode != 4 && mode != 5) || paged(f); }

static void modes_and_forms(void **state)
{
    (void)state;
    static const fattn_dtype queries[] = {FATTN_F16, FATTN_BF16, FATTN_F32, FATTN_F64};
    static const fattn_dtype scales[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
    int turn = 0;
    for (form f = 0; f < FORMS; f++)
        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
            for (int mode = 0; mode <= 6; mode++) {
                if (!fits(mode, f)) continue;
                for (int sq = 1; sq <= ROWS_MAX; sq += 4, turn++) {
                    c.form = f, c.dtype = formats[i], c.mode[0] = c.mode[1] = mode, c.sq = sq;
                    c.query_dtype = queries[turn % 4], c.scale_dtype = scales[turn % 3];
                    c.one_scale = turn % 5 == 0, c.offset = mode != 6 && turn % 2;
                    run();
                }
            }
}

/* Key and value each in a mode of its own. */
static void mixed_modes(void **state)
{
    (void)state;
    c.one_scale = false, c.scale_dtype = FATTN_F32, c.query_dtype = FATTN_F16;
    for (int k = 0; k <= 5; k++)
        for (int v = 0; v <= 5; v++)
            for (int sq = 1; sq <= ROWS_MAX; sq += 8) {
                c.form = BNNBSD, c.dtype = FATTN_I8, c.mode[0] = k, c.mode[1] = v, c.sq = sq;
                c.offset = (k + v) % 2;
                run();
            }
}

/* ---- codes -------------------------------------------------------------------------------------- */

/* One key: its value comes out as it is, times the scale, in fp32. */
static void every_code(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (int sq = 1; sq <= 9; sq += 8) {
            enum { CODES = 256 };
            c.dtype = formats[f];
            const int shape[] = {1, 1, 1, CODES};
            fattn_tensor *v = codes_new(4, shape), *k = codes_new(4, shape);
            for (int i = 0; i < CODES; i++)
                put_code(v, i, i % (1 << bits_of(c.dtype))), put_code(k, i, 0);
            fattn_fused_infer_attention_score_args a;
            fattn_fused_infer_attention_score_args_init(&a);
            a.query = tensor_new(FATTN_F32, 1, 4, 1, 1, sq, CODES), a.key = k, a.value = v;
            a.input_layout = "BNSD";
            fattn_tensor *scale = tensor_new(FATTN_F32, 1, 1, 1);
            put1(scale, 0, 0.25);
            a.key_antiquant_scale = a.value_antiquant_scale = scale;
            call_v1(&a, "codes");
            for (int i = 0; i < CODES; i++) {
                const double want = 0.25 * decode(c.dtype, i % (1 << bits_of(c.dtype)));
                const double got = get4(a.attention_out, 0, 0, sq - 1, i);
                if (!(got == want || (isnan(got) && isnan(want))))
                    fail_msg("%s: code %d is %g, want %g", fattn_dtype_name(c.dtype), i, got, want);
            }
            harness_reset();
        }
}

/* The vectors of the specification, section 18 and case F10. */
static void hand_vectors(void **state)
{
    (void)state;
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    fattn_tensor *k = tensor_new(FATTN_I8, 1, 4, 1, 1, 1, 2),
                 *scale = tensor_new(FATTN_F16, 1, 1, 1);
    fattn_tensor *offset = tensor_new(FATTN_F16, 1, 1, 1);
    ((int8_t *)k->data)[0] = 3, ((int8_t *)k->data)[1] = -7;
    put1(scale, 0, 0.5), put1(offset, 0, 1);
    a.query = tensor_new(FATTN_F16, 1, 4, 1, 1, 1, 2), a.key = a.value = k, a.input_layout = "BNSD";
    a.key_antiquant_scale = a.value_antiquant_scale = scale;
    a.key_antiquant_offset = a.value_antiquant_offset = offset;
    call_v1(&a, "k_int 3, offset 1, scale 0.5");
    assert_true(get4(a.attention_out, 0, 0, 0, 0) == 2.0);
    assert_true(get4(a.attention_out, 0, 0, 0, 1) == -3.0);

    /* F10: every key 1, values all ones */
    fattn_fused_infer_attention_score_args_init(&a);
    fattn_tensor *key = tensor_new(FATTN_I32, 1, 4, 2, 1, 256, 16);
    fattn_tensor *value = tensor_new(FATTN_I32, 1, 4, 2, 1, 256, 16);
    for (int i = 0; i < 2 * 256 * 16; i++)
        ((int32_t *)key->data)[i] = 1, ((int32_t *)value->data)[i] = 0x11111111;
    fattn_tensor *ones = tensor_new(FATTN_F16, 1, 2, 1, 128);
    fill(ones, 1);
    a.query = tensor_new(FATTN_F16, 1, 4, 2, 1, 1, 128), a.key = key, a.value = value;
    a.input_layout = "BNSD", a.key_antiquant_scale = a.value_antiquant_scale = ones;
    call_v1(&a, "F10");
    for (int i = 0; i < 2 * 128; i++)
        assert_true(get4(a.attention_out, i / 128, 0, 0, i % 128) == 1.0);

    /* the nibbles of 0x111111D9 from the lowest: 9, D, 1, .. = -7, -3, 1, .. */
    for (int i = 0; i < 2 * 256 * 16; i++) ((int32_t *)value->data)[i] = 0x111111D9;
    call_v1(&a, "nibbles");
    for (int d = 0; d < 128; d++)
        assert_true(get4(a.attention_out, 1, 0, 0, d) == (d % 8 == 0 ? -7 : d % 8 == 1 ? -3 : 1));
    harness_reset();

    /* V3: fp4 bytes 0x44, scale byte 1: 2^-126 is 0 in fp16 */
    fattn_fused_infer_attention_score_v2_args v;
    fattn_fused_infer_attention_score_v2_args_init(&v);
    fattn_tensor *four = tensor_new(FATTN_E1M2, 1, 4, 1, 1, 8, 32);
    fattn_tensor *tiny = tensor_new(FATTN_U8, 1, 5, 1, 1, 1, 8, 2);
    memset(four->data, 0x44, tensor_bytes(four)), memset(tiny->data, 1, tensor_bytes(tiny));
    v.query = tensor_new(FATTN_F16, 1, 4, 1, 1, 1, 64), v.key = v.value = four;
    v.input_layout = "BNSD", v.key_quant_mode = v.value_quant_mode = 6;
    v.dequant_scale_key = v.dequant_scale_value = tiny;
    call_v2(&v, "V3");
    for (int d = 0; d < 64; d++) assert_true(get4(v.attention_out, 0, 0, 0, d) == 0.0);
    harness_reset();
}

/* Scales of keys that nobody sees, and the keys, hold NaN; scales may be 0 and denormal. */
static void hidden_scales(void **state)
{
    (void)state;
    for (int sq = 1; sq <= 9; sq += 8) {
        c.form = BNSD, c.dtype = FATTN_E4M3, c.mode[0] = c.mode[1] = 3, c.sq = sq;
        c.query_dtype = FATTN_F32, c.scale_dtype = FATTN_F32, c.offset = false;
        make();
        for (int side = 0; side < 2; side++) {
            for (int t = c.kv_len[1]; t < S; t++)
                for (int g = 0; g < NKV; g++) {
                    put3(c.scale[side], 1, g, t, NAN);
                    for (int d = 0; d < D; d++) put_code(c.kv[side], at_key(1, g, t, d), 0x7f);
                }
            put3(c.scale[side], 0, 0, 5, 0);
            put3(c.scale[side], 0, 1, 6, 1e-44);
        }
        call_separate();
        /* the same keys hidden by a mask, inside the tile */
        fattn_fused_infer_attention_score_args a;
        fattn_fused_infer_attention_score_args_init(&a);
        COMMON(a);
        fattn_tensor *mask = tensor_new(FATTN_BOOL, 1, 4, B, 1, sq, S);
        for (int i = 0; i < sq; i++)
            for (int t = 0; t < S; t++)
                put4(mask, 0, 0, i, t, 0), put4(mask, 1, 0, i, t, t >= c.kv_len[1]);
        a.num_heads = N, a.scale = SCALE, a.atten_mask = mask;
        a.key_antiquant_scale = c.scale[0], a.value_antiquant_scale = c.scale[1];
        a.key_antiquant_mode = a.value_antiquant_mode = 3;
        call_v1(&a, "masked");
        check(a.attention_out, "masked");
        harness_reset();
    }
}

/* ---- full int8, the guide's form, results of 8 bits ------------------------------------------------ */

static double clamp8(double x) { return fmin(fmax(nearbyint(x), -128), 127); }

/* scale, offset per (head, column) or one; written as the operator's tensors. */
static fattn_tensor *out_numbers(fattn_dtype dtype, bool channels, double base)
{
    fattn_tensor *t = channels ? tensor_new(dtype, 1, 2, N, D) : tensor_new(dtype, 1, 1, 1);
    for (int i = 0; i < (channels ? N * D : 1); i++) {
        const double x = base * (1 + (double)random_below(100) / 100);
        if (channels)
            put2(t, i / D, i % D, x);
        else
            put1(t, 0, x);
    }
    return t;
}

static double out_number(const fattn_tensor *t, int h, int d)
{
    return t->rank == 1 ? get1(t, 0) : get2(t, h, d);
}

/* Checks an int8 result against row `answer` within the contract and one rounding. */
static void check_int8(const fattn_tensor *out, const fattn_tensor *scale,
                       const fattn_tensor *offset, double factor, double score)
{
    for (int b = 0; b < B; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i < c.sq; i++) {
                answer(b, h, i, score);
                for (int d = 0; d < D; d++) {
                    const double s = out_number(scale, h, d) * factor;
                    const double o = offset ? out_number(offset, h, d) : 0;
                    const double exact = row.out[d] * s + o;
                    const double slack =
                        2 * row.bound[d] * fabs(s) + 1e-6 * (fabs(exact) + fabs(o));
                    const int64_t index[] = {b, h, i, d};
                    const double got =
                        (double)((const int8_t *)
                                     out->data)[((index[0] * N + index[1]) * c.sq + index[2]) * D +
                                                index[3]];
                    if (got < clamp8(exact - slack) || got > clamp8(exact + slack))
                        fail_msg("int8 result (%d,%d,%d,%d): %g, exact %.9g", b, h, i, d, got,
                                 exact);
                }
            }
}

static void int8_results(void **state)
{
    (void)state;
    for (int sq = 1; sq <= 9; sq += 8)
        for (int which = 0; which < 8; which++) {
            const bool channels = which & 1, with_offset = which & 2, quantised_kv = which & 4;
            c.form = BNSD, c.dtype = FATTN_I8, c.mode[0] = c.mode[1] = 0, c.sq = sq;
            c.query_dtype = FATTN_F16, c.scale_dtype = FATTN_F16, c.offset = false;
            c.one_scale = true;
            make();
            fattn_fused_infer_attention_score_args a;
            fattn_fused_infer_attention_score_args_init(&a);
            COMMON(a);
            if (!quantised_kv) { /* the same numbers as fp16 */
                fattn_tensor *plain[2];
                for (int side = 0; side < 2; side++) {
                    put1(c.scale[side], 0, 0.015625);
                    plain[side] = tensor_new(FATTN_F16, 1, 4, B, NKV, S, D);
                    for (int b = 0; b < B; b++)
                        for (int g = 0; g < NKV; g++)
                            for (int t = 0; t < c.kv_len[b]; t++)
                                for (int d = 0; d < D; d++)
                                    put4(plain[side], b, g, t, d, value_of(side, b, g, t, d));
                }
                a.key = plain[0], a.value = plain[1];
            } else {
                a.key_antiquant_scale = c.scale[0], a.value_antiquant_scale = c.scale[1];
            }
            a.num_heads = N, a.scale = SCALE, a.actual_seq_lengths_kv = own_lengths();
            a.quant_scale2 = out_numbers(FATTN_F32, channels, which % 3 ? 40 : 400);
            if (with_offset) a.quant_offset2 = out_numbers(FATTN_F32, channels, -3.5);
            call_v1(&a, "int8 result");
            assert_int_equal(a.attention_out->dtype, FATTN_I8);
            check_int8(a.attention_out, a.quant_scale2, a.quant_offset2, 1, SCALE);
            harness_reset();
        }
}

/* Halves go to even, the ends saturate; a row that sees nothing gives the offset, a row of no sequence 0. */
static void rounding_of_results(void **state)
{
    (void)state;
    static const double values[] = {0.5, 1.5, 2.5, -0.5, -1.5, 200, -200, 127.5, -128.5, 3};
    static const int wanted[] = {0, 2, 2, 0, -2, 127, -128, 127, -128, 3};
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    fattn_tensor *v = tensor_new(FATTN_F32, 1, 4, 1, 1, 1, 10),
                 *scale = tensor_new(FATTN_F32, 1, 1, 1);
    for (int d = 0; d < 10; d++) put4(v, 0, 0, 0, d, values[d]);
    put1(scale, 0, 1);
    a.query = tensor_new(FATTN_F32, 1, 4, 1, 1, 1, 10), a.key = a.value = v;
    a.input_layout = "BNSD", a.quant_scale2 = scale;
    call_v1(&a, "halves");
    for (int d = 0; d < 10; d++) assert_int_equal(((int8_t *)a.attention_out->data)[d], wanted[d]);

    fattn_tensor *offset = tensor_new(FATTN_F32, 1, 1, 1);
    put1(offset, 0, 6.5);
    a.query = tensor_new(FATTN_F32, 1, 4, 1, 1, 4, 10), a.quant_offset2 = offset;
    a.actual_seq_lengths = list_of(1, 3), a.actual_seq_lengths_kv = list_of(1, 0);
    call_v1(&a, "rows without a key");
    for (int i = 0; i < 40; i++)
        assert_int_equal(((int8_t *)a.attention_out->data)[i], i < 30 ? 6 : 0);

    fattn_fused_infer_attention_score_v2_args b;
    static const double floats[] = {0.5, 1.0625, 1000, -1e6, 0.001, 17, 19, -2.25, 0, 448};
    static const double e4m3[] = {0.5, 1, 448, -448, 0.001953125 / 2, 16, 20, -2.25, 0, 448};
    static const double e5m2[] = {0.5, 1, 1024, -57344, 0.0009765625, 16, 20, -2, 0, 448};
    for (int code = 23; code <= 24; code++) {
        fattn_fused_infer_attention_score_v2_args_init(&b);
        for (int d = 0; d < 10; d++) put4(v, 0, 0, 0, d, floats[d]);
        b.query = tensor_new(FATTN_F32, 1, 4, 1, 1, 1, 10), b.key = b.value = v;
        b.input_layout = "BNSD", b.quant_scale_out = scale, b.out_dtype = code;
        call_v2(&b, "fp8");
        assert_int_equal(b.attention_out->dtype, code == 24 ? FATTN_E4M3 : FATTN_E5M2);
        for (int d = 0; d < 10; d++) {
            const double got =
                decode(b.attention_out->dtype, ((const uint8_t *)b.attention_out->data)[d]);
            const double want = code == 24 ? e4m3[d] : e5m2[d];
            if (d == 4 ? fabs(got - floats[d]) > 0.001 : got != want)
                fail_msg("out_dtype %d: %g became %g, not %g", code, floats[d], got, want);
        }
    }
    harness_reset();
}

static fattn_tensor *packed_scale(double x)
{
    const float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    fattn_tensor *t = tensor_new(FATTN_I64, 1, 1, 1);
    ((uint64_t *)t->data)[0] = UINT64_C(0x123400000000) | bits; /* the upper half is the device's */
    return t;
}

static fattn_tensor *one_number(double x)
{
    fattn_tensor *t = tensor_new(FATTN_F32, 1, 1, 1);
    put1(t, 0, x);
    return t;
}

/* out = (sum p qs1 v) ds2 / Z over integers; int8 or fp16. */
static void full_int8(void **state)
{
    (void)state;
    for (int sq = 1; sq <= 9; sq += 8)
        for (int which = 0; which < 4; which++) {
            c.form = BNSD, c.dtype = FATTN_I8, c.mode[0] = c.mode[1] = 0, c.sq = sq;
            c.query_dtype = FATTN_F16, c.scale_dtype = FATTN_F32, c.offset = false;
            make();
            c.scale[0] = c.scale[1] = NULL; /* integers as they are */
            fattn_tensor *q8 = tensor_new(FATTN_I8, 1, 4, B, N, sq, D);
            for (int b = 0; b < B; b++)
                for (int h = 0; h < N; h++)
                    for (int i = 0; i < sq; i++)
                        for (int d = 0; d < D; d++) {
                            const int x = (int)random_below(255) - 127;
                            ((int8_t *)q8->data)[((b * N + h) * sq + i) * D + d] = (int8_t)x;
                            put4(c.q, b, h, i, d, x);
                        }
            const float ds1 = 0.0003f, qs1 = 127.0f, ds2 = 0.00011f;
            fattn_fused_infer_attention_score_args a;
            fattn_fused_infer_attention_score_args_init(&a);
            COMMON(a);
            a.query = q8, a.num_heads = N, a.scale = SCALE, a.actual_seq_lengths_kv = own_lengths();
            a.dequant_scale1 = which & 1 ? packed_scale((double)ds1) : one_number((double)ds1);
            a.quant_scale1 = one_number((double)qs1);
            a.dequant_scale2 = which & 1 ? packed_scale((double)ds2) : one_number((double)ds2);
            const double score = SCALE * (double)ds1, factor = (double)qs1 * (double)ds2;
            if (which & 2) {
                a.quant_scale2 = one_number(30);
                call_v1(&a, "full int8");
                check_int8(a.attention_out, a.quant_scale2, NULL, factor, score);
            } else {
                call_v1(&a, "full int8");
                assert_int_equal(a.attention_out->dtype, FATTN_F16);
                for (int b = 0; b < B; b++)
                    for (int h = 0; h < N; h++) {
                        answer(b, h, sq - 1, score);
                        for (int d = 0; d < D; d++)
                            assert_true(close_out(FATTN_F16, get4(a.attention_out, b, h, sq - 1, d),
                                                  row.out[d] * factor, row.bound[d] * factor));
                    }
            }
            harness_reset();
        }
}

/* F8: all ones, every scale 1. */
static void full_int8_of_ones(void **state)
{
    (void)state;
    fattn_prompt_flash_attention_args a;
    fattn_prompt_flash_attention_args_init(&a);
    fattn_tensor *q = tensor_new(FATTN_I8, 1, 4, 1, 32, 2, 128);
    fattn_tensor *k = tensor_new(FATTN_I8, 1, 4, 1, 32, 2048, 128);
    memset(q->data, 1, tensor_bytes(q)), memset(k->data, 1, tensor_bytes(k));
    a.query = q, a.key = a.value = k, a.num_heads = 32, a.input_layout = "BNSD",
    a.scale_value = 128;
    a.deq_scale1 = a.quant_scale1 = a.deq_scale2 = a.quant_scale2 = one_number(1);
    fattn_tensor out[1];
    EXPECT_OK(fattn_prompt_flash_attention_shapes(plain_context(), &a, out), "F8 shapes");
    assert_int_equal(out[0].dtype, FATTN_I8);
    out[0].data = harness_alloc(tensor_bytes(&out[0]));
    a.attention_out = &out[0];
    EXPECT_OK(fattn_prompt_flash_attention(plain_context(), &a), "F8");
    for (size_t i = 0; i < tensor_bytes(&out[0]); i++)
        assert_int_equal(((int8_t *)out[0].data)[i], 1);
    harness_reset();
}

static void guides_form(void **state)
{
    (void)state;
    c.form = BSND, c.dtype = FATTN_I8, c.mode[0] = c.mode[1] = 0, c.sq = 1, c.one_scale = true;
    c.query_dtype = FATTN_F16, c.scale_dtype = FATTN_F32, c.offset = false;
    make();
    c.scale[0] = c.scale[1] = one_number(0.02);
    fattn_incre_flash_attention_args a;
    fattn_incre_flash_attention_args_init(&a);
    a.query = c.q, a.key = c.kv[0], a.value = c.kv[1], a.input_layout = "BSND", a.num_heads = N;
    a.num_key_value_heads = NKV, a.scale_value = SCALE, a.actual_seq_lengths = own_lengths();
    a.dequant_scale1 = c.scale[0];
    fattn_tensor out[1];
    EXPECT_OK(fattn_incre_flash_attention_shapes(plain_context(), &a, out), "guide");
    out[0].data = harness_alloc(tensor_bytes(&out[0]));
    a.attention_out = &out[0];
    EXPECT_OK(fattn_incre_flash_attention(plain_context(), &a), "guide");
    check(&out[0], "guide");
    assert_true(warned_of("kv_by_dequant_scale1"));
    assert_non_null(strstr(warning_text("kv_by_dequant_scale1"), "antiquant_scale"));
    a.quant_scale2 = one_number(40), a.quant_offset2 = one_number(2);
    fattn_tensor *small = tensor_new(FATTN_I8, 1, 4, B, 1, N, D);
    a.attention_out = small;
    EXPECT_OK(fattn_incre_flash_attention(plain_context(), &a), "guide, int8");
    for (int b = 0; b < B; b++)
        for (int h = 0; h < N; h++) {
            answer(b, h, 0, SCALE);
            for (int d = 0; d < D; d++) {
                const double exact = row.out[d] * 40 + 2, slack = 80 * row.bound[d] + 1e-5;
                const double got = (double)((const int8_t *)small->data)[(b * N + h) * D + d];
                assert_true(got >= clamp8(exact - slack) && got <= clamp8(exact + slack));
            }
        }
    harness_reset();
}

/* ---- MLA ----------------------------------------------------------------------------------------- */

enum { MLA_D = 96, MLA_R = 16, MLA_S = 75, MLA_N = 5 };

typedef struct mla {
    const fattn_tensor *q, *k, *q_rope, *k_rope;
    fattn_dtype dtype;
    int b;
    double value_scale;
} mla;

static double code_at(const mla *m, const fattn_tensor *t, int64_t at)
{
    return decode(m->dtype, ((const uint8_t *)t->data)[at]);
}

static double mla_value(const void *self, int key, int column)
{
    const mla *m = self;
    return m->value_scale * code_at(m, m->k, ((int64_t)m->b * MLA_S + key) * MLA_D + column);
}

static fattn_tensor *mla_codes(fattn_dtype dtype, int b, int n, int s)
{
    c.dtype = dtype;
    return codes_new(4, (const int[]){b, n, s, MLA_D});
}

/* x = (q.k + qr.kr) * dsq * dsk * scale: the rope product has both scales (4.6). */
static void mla_int8(void **state)
{
    (void)state;
    static const fattn_dtype codes[] = {FATTN_I8, FATTN_E4M3};
    static const fattn_dtype ropes[] = {FATTN_BF16, FATTN_F16, FATTN_F32};
    for (int turn = 0; turn < 12; turn++) {
        const int sq = turn % 4 < 2 ? 1 : 7;
        mla m = {.dtype = codes[turn % 2], .value_scale = 0.03125};
        m.q = mla_codes(m.dtype, B, MLA_N, sq), m.k = mla_codes(m.dtype, B, 1, MLA_S);
        const fattn_dtype rope = ropes[turn / 4];
        m.q_rope = tensor_new(rope, 5, 4, B, MLA_N, sq, MLA_R);
        m.k_rope = tensor_new(rope, 6, 4, B, 1, MLA_S, MLA_R);
        fattn_tensor *dsq = tensor_new(FATTN_F32, 7, 3, B, MLA_N, sq);
        fattn_fused_infer_attention_score_v2_args a;
        fattn_fused_infer_attention_score_v2_args_init(&a);
        a.query = m.q, a.key = a.value = m.k, a.query_rope = m.q_rope, a.key_rope = m.k_rope;
        a.input_layout = "BNSD", a.num_query_heads = MLA_N, a.num_key_value_heads = 1;
        a.dequant_scale_query = dsq, a.dequant_scale_key = one_number(0.5);
        a.dequant_scale_value = one_number(m.value_scale), a.query_quant_mode = 3;
        a.softmax_scale = m.dtype == FATTN_I8 ? 0.0001 : 0.05, a.return_softmax_lse = true;
        call_v2(&a, "mla");
        assert_int_equal(a.attention_out->dtype, rope);
        for (m.b = 0; m.b < B; m.b++)
            for (int h = 0; h < MLA_N; h++)
                for (int i = 0; i < sq; i++) {
                    row = (naive_row){
                        .keys = MLA_S, .columns = MLA_D, .d = MLA_D + MLA_R, .sink = -INFINITY};
                    const double factor = get3(dsq, m.b, h, i) * 0.5 * a.softmax_scale;
                    for (int t = 0; t < MLA_S; t++) {
                        double sum = 0, absolute = 0;
                        for (int d = 0; d < MLA_D + MLA_R; d++) {
                            const int64_t q_at = (((int64_t)m.b * MLA_N + h) * sq + i) * MLA_D + d;
                            const int64_t k_at = ((int64_t)m.b * MLA_S + t) * MLA_D + d;
                            const double x = d < MLA_D
                                                 ? code_at(&m, m.q, q_at) * code_at(&m, m.k, k_at)
                                                 : get4(m.q_rope, m.b, h, i, d - MLA_D) *
                                                       get4(m.k_rope, m.b, 0, t, d - MLA_D);
                            sum += x, absolute += fabs(x);
                        }
                        row.key[t] = t, row.x[t] = factor * sum;
                        row.sigma[t] = fabs(factor) * absolute;
                    }
                    naive_finish(&row, mla_value, &m);
                    for (int d = 0; d < MLA_D; d++)
                        if (!close_out(rope, get4(a.attention_out, m.b, h, i, d), row.out[d],
                                       row.bound[d]))
                            fail_msg("mla %s, turn %d (%d,%d,%d,%d): %.9g, want %.9g",
                                     fattn_dtype_name(m.dtype), turn, m.b, h, i, d,
                                     get4(a.attention_out, m.b, h, i, d), row.out[d]);
                    assert_true(
                        close_stat(get4(a.softmax_lse, m.b, h, i, 0), row.lse, row.stats_bound));
                }
        harness_reset();
    }
}

/* A float output beside an output scale, in both modes of behaviour. */
static void a_float_output_is_refused(void **state)
{
    (void)state;
    for (int strict = 0; strict < 2; strict++) {
        fattn_fused_infer_attention_score_args a;
        fattn_fused_infer_attention_score_args_init(&a);
        a.query = a.key = a.value = tensor_new(FATTN_F16, 1, 4, 1, 2, 4, 16), a.num_heads = 2;
        a.input_layout = "BNSD", a.quant_scale2 = one_number(3);
        a.attention_out = tensor_new(FATTN_F16, 1, 4, 1, 2, 4, 16);
        fattn_context *context = strict ? strict_context() : plain_context();
        expect_refused(fattn_fused_infer_attention_score(context, &a), FATTN_E_DTYPE,
                       "quant_scale2", "quantised output only");
        if (strict) assert_non_null(strstr(fattn_error_message(), "[device error 561002]"));
        a.attention_out = tensor_new(FATTN_I8, 1, 4, 1, 2, 4, 16);
        EXPECT_OK(fattn_fused_infer_attention_score(context, &a), "an int8 output");
        harness_reset();
    }
}

/* One element less than a scale must have: refused by name, in every mode and where lengths are packed. */
static void one_element_short(void **state)
{
    (void)state;
    static const form forms[] = {BNSD, TND, BNNBSD};
    static const int axis[] = {2, 1, 0, 2, 1, 2, 3};
    static const int least[] = {D, S, NKV, S, BLOCK, BLOCK, S};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (int mode = 0; mode <= 6; mode++)
            for (int side = 0; side < 2; side++) {
                if (!fits(mode, forms[f])) continue;
                c.form = forms[f], c.dtype = FATTN_I8, c.mode[0] = c.mode[1] = mode, c.sq = 1;
                c.query_dtype = c.scale_dtype = FATTN_F16, c.one_scale = c.offset = false;
                make();
                fattn_fused_infer_attention_score_v2_args a;
                fattn_fused_infer_attention_score_v2_args_init(&a);
                COMMON(a);
                a.num_query_heads = N, a.actual_seq_kvlen = own_lengths();
                if (c.form == TND) a.actual_seq_qlen = list_of(2, 1, 2);
                a.dequant_scale_key = c.scale[0], a.dequant_scale_value = c.scale[1];
                a.key_quant_mode = a.value_quant_mode = mode;
                c.scale[side]->shape[axis[mode]] = least[mode] - 1;
                a.attention_out = c.q;
                expect_refused(fattn_fused_infer_attention_score_v2(plain_context(), &a),
                               FATTN_E_SHAPE,
                               side ? "dequant_scale_value" : "dequant_scale_key", "must be");
                harness_reset();
            }
}

/* Rope columns of a key are not quantised: a scale of the whole key does not apply to them. */
static void rope_beside_scales(void **state)
{
    (void)state;
    c.form = BNSD, c.dtype = FATTN_I8, c.query_dtype = FATTN_F16, c.scale_dtype = FATTN_F32;
    c.one_scale = false;
    for (int mode = 0; mode <= 3; mode++)
        for (int turn = 0; turn < 4; turn++) {
            c.mode[0] = c.mode[1] = mode, c.sq = turn % 2 ? ROWS_MAX : 1, c.offset = turn / 2;
            make();
            fattn_fused_infer_attention_score_args a;
            fattn_fused_infer_attention_score_args_init(&a);
            COMMON(a);
            a.num_heads = N, a.scale = SCALE, a.actual_seq_lengths_kv = own_lengths();
            a.query_rope = tensor_new(FATTN_F16, 5, 4, B, N, c.sq, 16);
            a.key_rope = tensor_new(FATTN_F16, 6, 4, B, NKV, S, 16);
            a.key_antiquant_scale = c.scale[0], a.value_antiquant_scale = c.scale[1];
            a.key_antiquant_offset = c.shift[0], a.value_antiquant_offset = c.shift[1];
            a.key_antiquant_mode = a.value_antiquant_mode = mode;
            call_v1(&a, "rope");
            fattn_verify_report report = {.size = sizeof report};
            EXPECT_OK(fattn_verify(plain_context(), fattn_operator_find("fused_infer_attention_score"), &a,
                                   &report),
                      "verify");
            if (!report.passed)
                fail_msg("mode %d, %d rows: %lld of %lld outside", mode, c.sq,
                         (long long)report.outside, (long long)report.elements);
            harness_reset();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_float_output_is_refused),
        cmocka_unit_test(modes_and_forms),
        cmocka_unit_test(mixed_modes),
        cmocka_unit_test(one_element_short),
        cmocka_unit_test(rope_beside_scales),
        cmocka_unit_test(every_code),
        cmocka_unit_test(hand_vectors),
        cmocka_unit_test(hidden_scales),
        cmocka_unit_test(int8_results),
        cmocka_unit_test(rounding_of_results),
        cmocka_unit_test(full_int8),
        cmocka_unit_test(full_int8_of_ones),
        cmocka_unit_test(guides_form),
        cmocka_unit_test(mla_int8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
