/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_attention: hand-computed anchors (spec fusion-attention 11.4), then every layout, mode,
 * mask shape, bias form and list form against the formula in double. */
#include "api/fusion_case.h"

#include <ctype.h>
#include <float.h>

static const char *const dense_layouts[] = {"BSH", "SBH", "BSND", "BNSD", "BSNH", "bsh", "bNsD"};

static int setup(void **state)
{
    (void)state;
    harness_reset();
    return 0;
}

/* ---- anchors: one head, q = (1, 0), so that the first column of k holds the scores -------------
 */

static fusion_case *scores(int rows, int n_keys, const double *s)
{
    fusion_case *c = dense_case("BNSD", FATTN_F32, 1, 1, 1, rows, n_keys, 2, 2);
    for (int i = 0; i < rows; i++) put4(c->a.query, 0, 0, i, 0, 1), put4(c->a.query, 0, 0, i, 1, 0);
    for (int j = 0; j < n_keys; j++) put4(c->a.key, 0, 0, j, 0, s[j]);
    c->a.scale = 1;
    return c;
}

static float first(const fattn_tensor *t) { return *(const float *)t->data; }

static void near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("%s: %.9g, not %.9g", what, got, want);
}

/* out = weight0 * v0 + weight1 * v1 of row 0 */
static void expect_row(const fusion_case *c, double w0, double w1, double max, double sum,
                       const char *what)
{
    near((double)first(c->a.softmax_max), max, 1e-6, what);
    near((double)first(c->a.softmax_sum), sum, 1e-6, what);
    for (int x = 0; x < 2; x++)
        near(get4(c->a.attention_out, 0, 0, 0, x),
             w0 * get4(c->a.value, 0, 0, 0, x) + w1 * get4(c->a.value, 0, 0, 1, x), 1e-6, what);
}

static void anchor_pse_order(void **state)
{
    (void)state;
    for (int type = 0; type <= 1; type++) {
        fusion_case *c = scores(1, 2, (double[]){2, 4});
        fattn_tensor *pse = tensor_new(FATTN_F32, 0, 4, 1, 1, 1, 2);
        put4(pse, 0, 0, 0, 0, 1), put4(pse, 0, 0, 0, 1, -1);
        c->a.scale = 0.5, c->a.pse = pse, c->a.pse_type = type;
        EXPECT_OK(call_case(c), "pse order");
        if (type == 1)
            expect_row(c, 0.5, 0.5, 1.5, 2, "type 1");
        else
            expect_row(c, 0.731059, 0.268941, 2, 1.367879, "type 0");
    }
}

static void anchor_sink(void **state)
{
    (void)state;
    for (int large = 0; large <= 1; large++) {
        fusion_case *c = scores(1, 2, (double[]){2, 4});
        fattn_tensor *pse = tensor_new(FATTN_F32, 0, 4, 1, 1, 1, 2),
                     *sink = tensor_new(FATTN_F32, 0, 1, 1);
        put4(pse, 0, 0, 0, 0, 1), put4(pse, 0, 0, 0, 1, -1);
        put1(sink, 0, large ? 2.5 : 1.5);
        c->a.scale = 0.5, c->a.pse = pse, c->a.sink = sink;
        EXPECT_OK(call_case(c), "sink");
        if (large)
            expect_row(c, 0.211942, 0.211942, 2.5, 1.735759, "sink 2.5");
        else
            expect_row(c, 1.0 / 3, 1.0 / 3, 1.5, 3, "sink 1.5");
    }
}

static void anchor_slopes(void **state)
{
    (void)state;
    fusion_case *c = scores(2, 2, (double[]){0, 0});
    fattn_tensor *slope = tensor_new(FATTN_F32, 0, 1, 1);
    put1(slope, 0, 0.5);
    c->a.pse = slope, c->a.pse_type = 2;
    EXPECT_OK(call_case(c), "slopes");
    expect_row(c, 1 / (1 + exp(-0.5)), exp(-0.5) / (1 + exp(-0.5)), 0, 1 + exp(-0.5), "type 2");
    c = scores(2, 2, (double[]){0, 0}); /* distances 3,2 and 4,3 */
    c->a.pse = slope, c->a.pse_type = 2, c->a.q_start_idx = list_of(1, 3);
    EXPECT_OK(call_case(c), "slopes from 3");
    expect_row(c, exp(-0.5) / (1 + exp(-0.5)), 1 / (1 + exp(-0.5)), -1, 1 + exp(-0.5), "start 3");
    near((double)((float *)c->a.softmax_max->data)[8], -1.5, 1e-6, "row 1");
}

static void anchor_masked_key(void **state)
{
    (void)state;
    fusion_case *c = scores(1, 2, (double[]){1, 9});
    fattn_tensor *mask = tensor_new(FATTN_BOOL, 0, 2, 1, 2);
    put2(mask, 0, 1, 1);
    c->a.atten_mask = mask;
    EXPECT_OK(call_case(c), "masked key");
    expect_row(c, 1, 0, 1, 1, "masked key");
}

static void expect_bits(const fusion_case *c, uint32_t max, uint32_t sum)
{
    uint32_t got[2];
    memcpy(&got[0], c->a.softmax_max->data, 4);
    memcpy(&got[1], c->a.softmax_sum->data, 4);
    assert_int_equal(got[0], max);
    assert_int_equal(got[1], sum);
}

static void anchor_fully_masked(void **state)
{
    (void)state;
    for (int strict = 0; strict <= 1; strict++)
        for (int precise = 0; precise <= 2; precise += 2) {
            fusion_case *c = scores(1, 4, (double[]){1, 2, 3, 4});
            fattn_tensor *mask = tensor_new(FATTN_U8, 0, 2, 1, 4);
            fill(mask, 7);
            c->a.atten_mask = mask, c->a.sparse_mode = 1, c->a.inner_precise = precise;
            c->strict = strict;
            EXPECT_OK(call_case(c), "fully masked");
            const bool mean = strict && precise == 0;
            expect_bits(c, 0xFF7FFFFF, mean ? 0x40800000 : 0x7F7FFFFF);
            double sum = 0;
            for (int j = 0; j < 4; j++) sum += get4(c->a.value, 0, 0, j, 0);
            near(get4(c->a.attention_out, 0, 0, 0, 0), mean ? sum / 4 : 0, 1e-6, "fully masked");
        }
}

/* Memory order of the packed statistics: (b, head, row) 000 010 100 101 110 111, or by token. */
static void anchor_stats_order(void **state)
{
    (void)state;
    for (int by_token = 0; by_token <= 1; by_token++) {
        fusion_case *c = packed_case(FATTN_F32, 2, (int[]){1, 2}, (int[]){1, 2}, 0, 2, 1, 1, 1);
        for (int t = 0; t < 3; t++)
            for (int h = 0; h < 2; h++) put3(c->a.query, t, h, 0, 10 * t + h); /* token and head */
        fill(c->a.key, 1);
        c->a.scale = 1, c->a.softmax_layout = by_token ? "TND" : "";
        EXPECT_OK(call_case(c), "order");
        static const double want[2][6] = {{0, 1, 10, 20, 11, 21}, {0, 1, 10, 11, 20, 21}};
        for (int at = 0; at < 6; at++)
            near((double)((float *)c->a.softmax_max->data)[at * 8], want[by_token][at], 1e-5,
                 "order");
    }
}

static void anchor_numels(void **state)
{
    (void)state;
    int64_t numels = 0, seed = 0, offset = 0;
    fusion_case *c = packed_case(FATTN_F32, 2, (int[]){2, 3}, (int[]){3, 1}, 0, 3, 3, 4, 4);
    c->a.numels = &numels, c->a.seed_out = &seed, c->a.offset_out = &offset;
    c->a.seed = 100, c->a.offset = 200;
    EXPECT_OK(call_case(c), "numels");
    assert_int_equal(numels, 27);
    assert_int_equal(seed, 100);
    assert_int_equal(offset, 200);
    /* trailing zeros: inactive sequences count nothing */
    c = packed_case(FATTN_F32, 3, (int[]){2, 3, 4}, (int[]){2, 3, 4}, 0, 2, 2, 4, 4);
    c->a.actual_seq_qlen = c->a.actual_seq_kvlen = list_of(5, 2, 5, 9, 0, 0);
    check_case(c, "trailing zeros");
}

/* ---- layouts
 * ------------------------------------------------------------------------------------- */

static void every_layout(void **state)
{
    (void)state;
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16, FATTN_F64};
    for (size_t l = 0; l < sizeof dense_layouts / sizeof dense_layouts[0]; l++)
        for (int t = 0; t < 4; t++)
            for (int nkv = 1; nkv <= 4; nkv *= 2) {
                char what[96], upper[8] = {0};
                snprintf(what, sizeof what, "%s %s nkv=%d", dense_layouts[l],
                         fattn_dtype_name(dtypes[t]), nkv);
                for (size_t i = 0; dense_layouts[l][i]; i++) {
                    upper[i] = (char)toupper((unsigned char)dense_layouts[l][i]);
                }
                fusion_case *c =
                    dense_case(upper, dtypes[t], 2, 4, nkv, 5, 9, 12, nkv == 2 ? 7 : 12);
                c->a.input_layout = dense_layouts[l];
                if (strchr(c->letters, 'N'))
                    c->a.head_num = nkv == 4 ? 0 : 4; /* 0: from the axis */
                check_case(c, what);
                harness_reset();
            }
}

/* The same values in every layout and with gaps: the same bits in every output. */
static void layouts_agree(void **state)
{
    (void)state;
    fusion_case *first_case = dense_case("BNSD", FATTN_F16, 2, 4, 2, 37, 70, 20, 24);
    first_case->a.sparse_mode = 3, first_case->mode = 3;
    EXPECT_OK(call_case(first_case), "BNSD");
    for (size_t l = 0; l < 5; l++)
        for (int spread = 0; spread <= 1; spread++) {
            fusion_case *c = dense_case(dense_layouts[l], FATTN_F16, 2, 4, 2, 37, 70, 20, 24);
            c->a.sparse_mode = 3;
            if (spread) {
                c->a.query = tensor_spread(c->a.query);
                c->a.key = tensor_spread(c->a.key);
                c->a.value = tensor_spread(c->a.value);
            }
            EXPECT_OK(call_case(c), "%s", dense_layouts[l]);
            assert_memory_equal(c->a.softmax_max->data, first_case->a.softmax_max->data,
                                tensor_bytes(c->a.softmax_max));
            assert_memory_equal(c->a.softmax_sum->data, first_case->a.softmax_sum->data,
                                tensor_bytes(c->a.softmax_sum));
            for (int b = 0; b < 2; b++)
                for (int h = 0; h < 4; h++)
                    for (int i = 0; i < 37; i++)
                        for (int x = 0; x < 24; x++)
                            if (at_layout(c->a.attention_out, c->letters, 24, b, i, h, x) !=
                                get4(first_case->a.attention_out, b, h, i, x))
                                fail_msg("%s differs from BNSD at %d %d %d %d", dense_layouts[l], b,
                                         h, i, x);
        }
}

/* Outputs with strides of their own; statistics that nobody asked for. */
static void strided_outputs(void **state)
{
    (void)state;
    fusion_case *c = dense_case("BSND", FATTN_F32, 2, 2, 1, 5, 6, 8, 8);
    fattn_tensor shapes[3];
    EXPECT_OK(fattn_fusion_attention_shapes(plain_context(), &c->a, shapes), "shapes");
    assert_int_equal(shapes[1].rank, 4);
    assert_int_equal(shapes[1].shape[2], 5);
    assert_int_equal(shapes[1].shape[3], 8);
    assert_null(shapes[0].data);
    c->a.attention_out = tensor_spread(tensor_like(&shapes[0]));
    EXPECT_OK(fattn_fusion_attention(plain_context(), &c->a), "out only");
    check_case(c, "strided out");
    fusion_case *d = dense_case("BSND", FATTN_F32, 2, 2, 1, 5, 6, 8, 8);
    d->a.attention_out = tensor_like(&shapes[0]);
    d->a.softmax_sum = tensor_like(&shapes[2]);
    EXPECT_OK(fattn_fusion_attention(plain_context(), &d->a), "sum only");
    assert_memory_equal(d->a.softmax_sum->data, c->a.softmax_sum->data,
                        tensor_bytes(d->a.softmax_sum));
}

static void packed_lists(void **state)
{
    (void)state;
    static const int q[] = {3, 0, 5, 1}, k[] = {4, 2, 0, 6};
    static const char *const orders[] = {"", "TND", NULL};
    for (int tail = 0; tail <= 3; tail += 3)
        for (int o = 0; o < 3; o++) {
            fusion_case *c = packed_case(FATTN_F32, 4, q, k, tail, 4, 2, 8, 5);
            c->a.softmax_layout = orders[o];
            check_case(c, "cumulative");
            assert_int_equal(warnings(), 0);
        }
    fusion_case *c = packed_case(FATTN_F32, 4, q, k, 0, 4, 2, 8, 5); /* lengths instead */
    c->a.actual_seq_qlen = list_of(4, 3, 0, 5, 1);
    c->a.actual_seq_kvlen = list_of(4, 4, 2, 0, 6);
    check_case(c, "lengths");
    assert_true(warned_of("lengths_not_cumulative"));
    c->strict = true;
    expect_refused(call_case(c), FATTN_E_ARG, "actual_seq_qlen", "lengths in strict");
    fusion_case *z =
        packed_case(FATTN_F32, 4, q, k, 2, 4, 2, 8, 5); /* leading zero: an empty sequence */
    z->a.actual_seq_qlen = list_of(5, 0, 3, 3, 8, 9);
    z->a.actual_seq_kvlen = list_of(5, 0, 4, 6, 6, 12);
    check_case(z, "leading zero");
}

static void packed_equals_dense(void **state)
{
    (void)state;
    fusion_case *p =
        packed_case(FATTN_BF16, 3, (int[]){7, 40, 1}, (int[]){9, 70, 130}, 0, 4, 2, 16, 16);
    p->a.softmax_layout = "TND";
    p->a.sparse_mode = 3;
    EXPECT_OK(call_case(p), "packed");
    for (int b = 0; b < 3; b++) {
        fusion_case *d = dense_case("BSND", FATTN_BF16, 1, 4, 2, p->q_len[b], p->k_len[b], 16, 16);
        d->a.sparse_mode = 3;
        memcpy(d->a.query->data, (uint16_t *)p->a.query->data + p->q0[b] * 4 * 16,
               tensor_bytes(d->a.query));
        memcpy(d->a.key->data, (uint16_t *)p->a.key->data + p->k0[b] * 2 * 16,
               tensor_bytes(d->a.key));
        memcpy(d->a.value->data, (uint16_t *)p->a.value->data + p->k0[b] * 2 * 16,
               tensor_bytes(d->a.value));
        EXPECT_OK(call_case(d), "dense");
        assert_memory_equal(d->a.attention_out->data,
                            (uint16_t *)p->a.attention_out->data + p->q0[b] * 4 * 16,
                            tensor_bytes(d->a.attention_out));
    }
}

/* ---- sparse modes
 * -------------------------------------------------------------------------------- */

static fattn_tensor *compressed(int rows)
{
    fattn_tensor *mask = tensor_new(FATTN_BOOL, 0, 2, rows, 2048);
    for (int i = 0; i < rows; i++)
        for (int j = i < 2048 ? i + 1 : 1024; j < 2048; j++) put2(mask, i, j, 1);
    return mask;
}

static void modes_dense(void **state)
{
    (void)state;
    static const int sizes[][2] = {{4, 6}, {6, 4}, {5, 5}, {1, 7}, {70, 131}};
    static const int tokens[][2] = {{2, 0}, {1, 1}, {-1, 3}, {3, -1}, {1000, 0}, {0, 0}};
    fattn_tensor *square = compressed(2048), *tall = compressed(3072);
    for (int with = 0; with <= 1; with++)
        for (int mode = 0; mode <= 6; mode++)
            for (size_t s = 0; s < 5; s++)
                for (size_t t = 0; t < (mode == 0 || mode == 4 ? 6 : 1); t++) {
                    char what[96];
                    const int sq = sizes[s][0], skv = sizes[s][1];
                    snprintf(what, sizeof what, "mode %d %dx%d tokens %d %d mask %d", mode, sq, skv,
                             tokens[t][0], tokens[t][1], with);
                    fusion_case *c = dense_case("BNSD", FATTN_F32, 2, 2, 1, sq, skv, 4, 4);
                    c->a.sparse_mode = mode;
                    c->a.pre_tokens = tokens[t][0], c->a.next_tokens = tokens[t][1];
                    c->mode = mode;
                    if (mode >= 5) c->a.prefix = list_of(2, skv > 2 ? 3 : 0, skv);
                    if (with && (mode == 0 || mode == 1 || mode == 5)) {
                        fattn_tensor *mask = tensor_new(FATTN_U8, 0, 4, 2, 1, sq, skv);
                        fill_mask(mask, (unsigned)mode, 4);
                        c->a.atten_mask = mask, c->use_mask = true;
                        if (mode == 5) c->mode = 1; /* the mask says it all */
                    } else if (with) {
                        c->a.atten_mask = mode == 6 ? tall : square;
                    } else if (mode == 5) {
                        c->mode = 6;
                    } else if (mode == 0) {
                        c->mode = 1; /* without a mask tokens are ignored */
                    }
                    check_case(c, what);
                }
}

static void modes_packed(void **state)
{
    (void)state;
    static const int q[] = {3, 0, 6, 4, 0}, k[] = {5, 3, 4, 4, 2};
    fattn_tensor *square = compressed(2048), *tall = compressed(3072);
    for (int with = 0; with <= 1; with++)
        for (int mode = 2; mode <= 8; mode++) {
            char what[64];
            if (mode == 5) continue;
            snprintf(what, sizeof what, "packed mode %d mask %d", mode, with);
            fusion_case *c = packed_case(FATTN_F32, 5, q, k, 0, 2, 2, 4, 4);
            c->a.sparse_mode = c->mode = mode;
            c->a.pre_tokens = 2, c->a.next_tokens = 1;
            c->special = mode == 7 ? 3 : 0;
            if (mode == 6) c->a.prefix = list_of(5, 4, 0, 2, 0, 1);
            if (with) c->a.atten_mask = mode == 6 ? tall : square;
            check_case(c, what);
        }
}

/* Vendor's examples for modes 7 and 8 (spec 4.2). */
static void modes_7_and_8_examples(void **state)
{
    (void)state;
    fusion_case *c = packed_case(FATTN_F32, 2, (int[]){3, 2}, (int[]){3, 6}, 0, 1, 1, 1, 1);
    fill(c->a.query, 0);
    c->a.sparse_mode = 7, c->a.pre_tokens = 6, c->a.next_tokens = -2;
    EXPECT_OK(call_case(c), "mode 7");
    static const float seven[] = {1, 2, 3, 3, 4}; /* keys seen: sum of equal weights */
    for (int t = 0; t < 5; t++) assert_true(((float *)c->a.softmax_sum->data)[t * 8] == seven[t]);
    c = packed_case(FATTN_F32, 3, (int[]){3, 5, 4}, (int[]){4, 5, 4}, 0, 1, 1, 1, 1);
    fill(c->a.query, 0);
    c->a.sparse_mode = 8, c->a.pre_tokens = 4, c->a.next_tokens = 1;
    EXPECT_OK(call_case(c), "mode 8");
    static const float eight[] = {3, 4, 4, 1, 2, 3, 4, 5, 1, 2, 3, 4};
    for (int t = 0; t < 12; t++) assert_true(((float *)c->a.softmax_sum->data)[t * 8] == eight[t]);
}

/* Without a mask the modes mean what they say, and say so; strict: full attention. */
static void modes_without_mask(void **state)
{
    (void)state;
    for (int mode = 1; mode <= 6; mode++) {
        harness_reset();
        fusion_case *c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 4, 6, 4, 4);
        c->a.sparse_mode = mode;
        if (mode >= 5) c->a.prefix = list_of(1, 3);
        c->mode = mode == 5 ? 6 : mode;
        check_case(c, "default");
        /* mode 1 is the same on the device and has a place of its own */
        assert_int_equal(warned_of("sparse_mode_without_mask"), mode > 1);
        assert_int_equal(warned_of("full_mode_without_mask"), mode == 1);
        c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 4, 6, 4, 4);
        c->a.sparse_mode = mode, c->strict = true;
        check_case(c, "strict: full");
    }
    harness_reset();
    fusion_case *c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 4, 6, 4, 4);
    c->a.pre_tokens = 1;
    check_case(c, "tokens ignored");
    assert_true(warned_of("tokens_without_mask"));
    c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 4, 6, 4, 4);
    c->a.prefix = list_of(1, 3);
    check_case(c, "prefix ignored");
    assert_true(warned_of("prefix_ignored"));
    c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 4, 6, 4, 4);
    c->a.actual_seq_qlen = list_of(1, 4);
    check_case(c, "one list ignored");
    assert_true(warned_of("lengths_ignored"));
    c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 4, 6, 4, 4);
    c->a.q_start_idx = list_of(1, 2);
    check_case(c, "start index ignored");
    assert_true(warned_of("start_index_ignored"));
}

static void mask_shapes(void **state)
{
    (void)state;
    static const int shapes[][4] = {{2, 4, 5, 7}, {2, 1, 5, 7}, {1, 1, 5, 7}, {1, 4, 5, 7},
                                    {2, 1, 1, 7}, {1, 1, 1, 7}, {2, 4, 1, 7}};
    for (size_t s = 0; s < 7; s++)
        for (int mode = 0; mode <= 1; mode++) {
            fusion_case *c = dense_case("BSND", FATTN_F32, 2, 4, 2, 5, 7, 4, 4);
            fattn_tensor *mask = tensor_new(mode ? FATTN_BOOL : FATTN_U8, 0, 4, shapes[s][0],
                                            shapes[s][1], shapes[s][2], shapes[s][3]);
            fill_mask(mask, (unsigned)s + 1, 3);
            c->a.atten_mask = s % 2 ? tensor_spread(mask) : mask;
            c->a.sparse_mode = c->mode = mode, c->use_mask = true;
            check_case(c, "rank 4");
        }
    fusion_case *c = dense_case("BSND", FATTN_F32, 2, 4, 2, 5, 7, 4, 4);
    fattn_tensor *mask = tensor_new(FATTN_BOOL, 0, 2, 5, 7);
    fill_mask(mask, 5, 3);
    c->a.atten_mask = mask, c->use_mask = true;
    check_case(c, "rank 2");
    /* packed: max form, T x T, rank 4 */
    for (int form = 0; form < 4; form++) {
        c = packed_case(FATTN_F32, 3, (int[]){3, 0, 5}, (int[]){4, 2, 3}, form == 1 ? 2 : 0, 2, 1,
                        4, 4);
        fattn_tensor *m = form == 0   ? tensor_new(FATTN_U8, 0, 2, 5, 4)
                          : form == 1 ? tensor_new(FATTN_U8, 0, 2, 8, 9)
                          : form == 2 ? tensor_new(FATTN_U8, 0, 4, 3, 2, 5, 4)
                                      : tensor_new(FATTN_U8, 0, 4, 1, 1, 5, 4);
        fill_mask(m, (unsigned)form + 9, 3);
        c->a.atten_mask = m, c->a.sparse_mode = 1, c->use_mask = true;
        c->mask_form = form == 1 ? MASK_BLOCKS : MASK_SHARED;
        check_case(c, "packed mask");
    }
}

/* NaN and Inf in masked keys never reach a result. */
static void masked_nan(void **state)
{
    (void)state;
    fusion_case *c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 70, 140, 8, 8);
    fattn_tensor *mask = tensor_new(FATTN_BOOL, 0, 2, 70, 140);
    for (int j = 0; j < 140; j += 3) {
        for (int i = 0; i < 70; i++) put2(mask, i, j, 1);
        for (int x = 0; x < 8; x++) put4(c->a.key, 0, 0, j, x, x ? INFINITY : NAN);
        for (int x = 0; x < 8; x++) put4(c->a.value, 0, 0, j, x, x ? NAN : -INFINITY);
    }
    c->a.atten_mask = mask, c->use_mask = true;
    check_case(c, "masked NaN");
}

/* ---- bias
 * ---------------------------------------------------------------------------------------- */

static void pse_dense(void **state)
{
    (void)state;
    static const int shapes[][3] = {{2, 4, 5}, {1, 4, 5}, {2, 4, 1}, {1, 4, 1}};
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
    for (int type = 0; type <= 1; type++)
        for (int t = 0; t < 3; t++)
            for (size_t s = 0; s < 4; s++) {
                fusion_case *c = dense_case("BSH", dtypes[t], 2, 4, 2, 5, 7, 4, 4);
                fattn_tensor *pse =
                    tensor_new(dtypes[t], 21, 4, shapes[s][0], shapes[s][1], shapes[s][2], 7);
                c->a.pse = s == 1 ? tensor_spread(pse) : pse, c->a.pse_type = type;
                check_case(c, "pse");
            }
}

/* 1024 rows that stand for a longer bias of the distance. */
static fattn_tensor *alibi(fattn_dtype dtype, int b, int n, int total)
{
    fattn_tensor *pse = tensor_new(dtype, 0, 4, b, n, 1024, total);
    for (int ib = 0; ib < b; ib++)
        for (int h = 0; h < n; h++)
            for (int r = 0; r < 1024; r++)
                for (int k = 0; k < total; k++)
                    put4(pse, ib, h, r, k, -0.01 * (h + 1 + 2 * ib) * abs(r + total - 1024 - k));
    return pse;
}

static void pse_compressed(void **state)
{
    (void)state;
    for (int mode = 2; mode <= 3; mode++) {
        fusion_case *c = dense_case("BNSD", FATTN_F32, 2, 2, 1, 1100, 1100, 2, 1);
        c->a.pse = alibi(FATTN_F32, mode - 1, 2, 1100), c->pse_form = PSE_COMPRESSED;
        c->pse_total = 1100;
        c->a.sparse_mode = c->mode = mode;
        check_case(c, "compressed");
        harness_reset();
    }
    fusion_case *c =
        packed_case(FATTN_F32, 3, (int[]){30, 0, 1060}, (int[]){30, 0, 1060}, 0, 1, 1, 2, 1);
    c->a.pse = alibi(FATTN_F32, 3, 1, 1060), c->pse_form = PSE_COMPRESSED, c->pse_total = 1060;
    c->a.sparse_mode = c->mode = 3;
    check_case(c, "packed compressed");
    harness_reset();
    c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 1024, 1024, 2,
                   1); /* 1024 rows: just the full form */
    c->a.pse = tensor_new(FATTN_F32, 3, 4, 1, 1, 1024, 1024);
    check_case(c, "1024 is full");
}

static void pse_packed(void **state)
{
    (void)state;
    static const int q[] = {3, 0, 2}, k[] = {4, 5, 6};
    for (int type = 0; type <= 1; type++)
        for (int form = PSE_FLAT; form <= PSE_FLAT_ROWS; form++)
            for (int spread = 0; spread <= 1; spread++) {
                fusion_case *c = packed_case(FATTN_F32, 3, q, k, 0, 2, 1, 4, 4);
                fattn_tensor *pse =
                    tensor_new(FATTN_F32, 5, 1, form == PSE_FLAT ? 2 * (12 + 12) : 2 * (4 + 5 + 6));
                if (spread) { /* every second element */
                    fattn_tensor *wide = tensor_new(FATTN_F32, 5, 1, 2 * (int)pse->shape[0]);
                    wide->shape[0] /= 2, wide->strides[0] = 2;
                    pse = wide;
                }
                c->a.pse = pse, c->a.pse_type = type, c->pse_form = (pse_form)form;
                check_case(c, "flat pse");
            }
}

static void pse_slopes(void **state)
{
    (void)state;
    for (int type = 2; type <= 3; type++)
        for (int by_batch = 0; by_batch <= 1; by_batch++)
            for (int start = 0; start <= 1; start++) {
                fusion_case *c = dense_case("BNSD", FATTN_F16, 2, 4, 2, 6, 6, 4, 4);
                c->a.pse =
                    by_batch ? tensor_new(FATTN_F32, 6, 2, 2, 4) : tensor_new(FATTN_F32, 6, 1, 4);
                c->a.pse_type = type;
                if (start) c->a.q_start_idx = list_of(2, 3, 99), c->a.kv_start_idx = list_of(1, 5);
                check_case(c, "slopes");
                c = packed_case(FATTN_F32, 2, (int[]){4, 3}, (int[]){start ? 6 : 4, 3}, 0, 4, 2, 4,
                                4);
                c->a.pse =
                    by_batch ? tensor_new(FATTN_F32, 6, 2, 2, 4) : tensor_new(FATTN_F32, 6, 1, 4);
                c->a.pse_type = type;
                if (start) c->a.q_start_idx = list_of(1, 7), c->a.kv_start_idx = list_of(1, 5);
                check_case(c, "packed slopes");
            }
}

/* ---- sink, rope, empties
 * ------------------------------------------------------------------------- */

/* fp64 beside an fp64 query, too. */
static void sink_and_slopes_f64(void **state)
{
    (void)state;
    fusion_case *c = dense_case("BNSD", FATTN_F64, 2, 4, 2, 6, 6, 4, 4);
    c->a.sink = tensor_new(FATTN_F64, 8, 1, 4);
    c->a.pse = tensor_new(FATTN_F64, 6, 2, 2, 4), c->a.pse_type = 2;
    check_case(c, "f64 sink and slopes");
}

static void sink_and_rope(void **state)
{
    (void)state;
    for (int mode = 1; mode <= 3;
         mode += 2) { /* mode 3 with Sq > Skv: rows that see the sink alone */
        fusion_case *c = dense_case("SBH", FATTN_F32, 2, 4, 2, 7, 4, 6, 6);
        c->a.sink = tensor_new(FATTN_F32, 8, 1, 4);
        c->a.sparse_mode = c->mode = mode;
        check_case(c, "sink");
        c->strict = true, c->mode = 1; /* no mask: full */
        check_case(c, "sink strict");
    }
    for (int strict = 0; strict <= 1;
         strict++) { /* a row whose keys are all masked: the sink alone */
        fusion_case *c = dense_case("BNSD", FATTN_F32, 1, 2, 1, 3, 4, 6, 6);
        fattn_tensor *mask = tensor_new(FATTN_U8, 0, 2, 3, 4);
        for (int j = 0; j < 4; j++) put2(mask, 1, j, 1);
        c->a.sink = tensor_new(FATTN_F32, 8, 1, 2);
        c->a.atten_mask = mask, c->a.sparse_mode = 1, c->use_mask = true, c->strict = strict;
        check_case(c, "sink alone");
    }
    static const char *const layouts[] = {"BSH", "SBH", "BSND", "BNSD"};
    for (int l = 0; l < 4; l++) {
        fusion_case *c = dense_case(layouts[l], FATTN_BF16, 2, 4, 2, 5, 6, 8, 8);
        c->a.query_rope = tensor_layout(FATTN_BF16, 31, layouts[l], 2, 5, 4, 3), c->dr = 3;
        c->a.key_rope = tensor_layout(FATTN_BF16, 32, layouts[l], 2, 6, 2, 3);
        check_case(c, "rope");
    }
    fusion_case *c = packed_case(FATTN_F32, 2, (int[]){3, 4}, (int[]){5, 4}, 0, 4, 2, 8, 8);
    c->a.query_rope = tensor_new(FATTN_F32, 31, 3, 7, 4, 4), c->dr = 4;
    c->a.key_rope = tensor_new(FATTN_F32, 32, 3, 9, 2, 4);
    check_case(c, "packed rope");
    c = packed_case(FATTN_F32, 2, (int[]){3, 4}, (int[]){5, 0}, 0, 4, 2, 8,
                    8); /* no keys, but a sink */
    c->a.sink = tensor_new(FATTN_F32, 8, 1, 4);
    check_case(c, "sink without keys");
}

static void empty_tensors(void **state)
{
    (void)state;
    static const char *const layouts[] = {"BSH", "SBH", "BSND", "BNSD"};
    for (int l = 0; l < 4; l++) {
        check_case(dense_case(layouts[l], FATTN_F32, 2, 2, 1, 3, 0, 4, 4), "no keys");
        check_case(dense_case(layouts[l], FATTN_F32, 2, 2, 1, 0, 3, 4, 4), "no queries");
        check_case(dense_case(layouts[l], FATTN_F32, 0, 2, 1, 3, 3, 4, 4), "no batch");
        check_case(dense_case(layouts[l], FATTN_F32, 2, 2, 1, 0, 0, 4, 4), "nothing");
    }
    check_case(packed_case(FATTN_F32, 2, (int[]){0, 0}, (int[]){3, 1}, 0, 2, 1, 4, 4), "no tokens");
    check_case(packed_case(FATTN_F32, 2, (int[]){2, 1}, (int[]){0, 0}, 0, 2, 1, 4, 4),
               "no packed keys");
}

/* Strict 2.3: means where invalid-row handling is off, zeros where it is on. */
static void strict_empty_rows(void **state)
{
    (void)state;
    fattn_tensor *square = compressed(2048), *tall = compressed(3072);
    static const struct {
        int mode, sq, skv, pre, next, prefix, precise;
        bool mean;
    } cases[] = {
        {3, 6, 4, 9, 9, 0, 0, false}, /* on by itself: Sq > Skv */
        {4, 4, 6, 2, -1, 0, 0, true}, /* next' = 1: off, yet no row of this band is empty */
        {4, 6, 4, 3, 0, 0, 0, false}, /* next' < 0 */
        {4, 6, 4, 0, 2, 0, 0, true},  /* off: rows below the band */
        {4, 6, 4, 0, 2, 0, 2, false}, /* inner_precise 2 */
        {6, 6, 4, 0, 0, 0, 0, false}, /* Sq > Skv, a prefix of 0 */
        {2, 6, 4, 0, 0, 0, 0, true},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        char what[64];
        snprintf(what, sizeof what, "strict row %zu", n);
        fusion_case *c = dense_case("BNSD", FATTN_F32, 1, 2, 1, cases[n].sq, cases[n].skv, 4, 4);
        c->strict = true, c->mean = cases[n].mean;
        c->a.sparse_mode = c->mode = cases[n].mode;
        c->a.pre_tokens = cases[n].pre, c->a.next_tokens = cases[n].next;
        c->a.inner_precise = cases[n].precise;
        c->a.atten_mask = cases[n].mode == 6 ? tall : square;
        if (cases[n].mode == 6) c->a.prefix = list_of(1, cases[n].prefix);
        check_case(c, what);
    }
    /* a mask that hides whole rows inside a window */
    fusion_case *c = dense_case("BNSD", FATTN_F32, 1, 2, 1, 5, 6, 4, 4);
    fattn_tensor *mask = tensor_new(FATTN_U8, 0, 2, 5, 6);
    for (int j = 0; j < 6; j++) put2(mask, 2, j, 1);
    c->a.atten_mask = mask, c->use_mask = true, c->mode = 0, c->strict = c->mean = true;
    c->a.pre_tokens = 1, c->a.next_tokens = 1;
    check_case(c, "strict mean of the window");
}

/* ---- lenient readings
 * ---------------------------------------------------------------------------- */

static void lenient_layouts(void **state)
{
    (void)state;
    fusion_case *c = dense_case("BSND", FATTN_F32, 2, 4, 2, 5, 6, 8, 8);
    c->a.input_layout = "BNSD";
    check_case(c, "BSND under BNSD");
    assert_true(warned_of("layout_read_as_bsnd"));
    c = dense_case("BSND", FATTN_F32, 2, 4, 2, 5, 6, 8, 8);
    c->a.input_layout = "BNSD", c->strict = true;
    expect_refused(call_case(c), FATTN_E_SHAPE, "head_num", "BSND under BNSD, strict");
    c = dense_case("BNSD", FATTN_F32, 2, 4, 2, 4, 4, 8, 8); /* dim 1 == heads: never */
    check_case(c, "BNSD stays");
    static const char *const real[] = {"BSND", "BNSD"};
    for (int l = 0; l < 2; l++) {
        harness_reset();
        c = dense_case(real[l], FATTN_F32, 2, 4, 2, 5, 6, 8, 8);
        c->a.input_layout = "BSH";
        check_case(c, "rank 4 under BSH");
        assert_true(warned_of("layout_bsh_rank4"));
        c->strict = true;
        expect_refused(call_case(c), FATTN_E_SHAPE, "query", "rank 4 under BSH, strict");
    }
    c = dense_case("BNSD", FATTN_F32, 2, 4, 2, 4, 6, 8, 8);
    c->a.input_layout = "BSH";
    expect_refused(call_case(c), FATTN_E_SHAPE, "query", "ambiguous");
    c = dense_case("BSNH", FATTN_F32, 2, 4, 2, 5, 6, 8, 8);
    c->strict = true;
    expect_refused(call_case(c), FATTN_E_ARG, "input_layout", "BSNH, strict");
    c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 2, 2, 4, 6);
    check_case(c, "Dv > D");
    c = dense_case("BNSD", FATTN_F32, 1, 1, 1, 2, 2, 4, 6);
    c->strict = true;
    expect_refused(call_case(c), FATTN_E_SHAPE, "value", "Dv > D, strict");
}

/* A plan runs with other addresses and gives the bits of the call. */
static void plan_equals_call(void **state)
{
    (void)state;
    fusion_case *c = packed_case(FATTN_F32, 2, (int[]){5, 9}, (int[]){7, 70}, 2, 4, 2, 16, 16);
    c->a.sparse_mode = 3;
    EXPECT_OK(call_case(c), "call");
    fattn_plan *plan = NULL;
    size_t bytes = 1;
    EXPECT_OK(fattn_fusion_attention_plan(plain_context(), &c->a, &plan), "plan");
    EXPECT_OK(fattn_fusion_attention_workspace(plain_context(), &c->a, &bytes), "workspace");
    assert_int_equal(bytes, fattn_plan_workspace(plan));
    fattn_fusion_attention_args other = c->a;
    other.attention_out = tensor_like(c->a.attention_out);
    EXPECT_OK(fattn_plan_run(plan, &other, NULL, 0), "run");
    assert_memory_equal(other.attention_out->data, c->a.attention_out->data,
                        tensor_bytes(c->a.attention_out));
    fattn_plan_destroy(plan);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        TEST(anchor_pse_order),   TEST(anchor_sink),         TEST(anchor_slopes),
        TEST(anchor_masked_key),  TEST(anchor_fully_masked), TEST(anchor_stats_order),
        TEST(anchor_numels),      TEST(every_layout),        TEST(layouts_agree),
        TEST(strided_outputs),    TEST(packed_lists),        TEST(packed_equals_dense),
        TEST(modes_dense),        TEST(modes_packed),        TEST(modes_7_and_8_examples),
        TEST(modes_without_mask), TEST(mask_shapes),         TEST(masked_nan),
        TEST(pse_dense),          TEST(pse_compressed),      TEST(pse_packed),
        TEST(pse_slopes),         TEST(sink_and_slopes_f64), TEST(sink_and_rope),
        TEST(empty_tensors),      TEST(strict_empty_rows),   TEST(lenient_layouts),
        TEST(plan_equals_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
