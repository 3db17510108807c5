/* SPDX-License-Identifier: Apache-2.0 */
/* ref.c — the hand-computed anchors of the specification as problems, rows without a key, and what
 * NaN and infinity may reach. Figures are the specification's own, compared to the digits it gives.
 */
#include "core/element.h"
#include "ref/ref.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "small.h"

static const double DIGITS = 1e-6; /* the anchors are given to six decimals */

#define CLOSE(got, want)                                                                           \
    do {                                                                                           \
        const double got_ = (got), want_ = (want);                                                 \
        if (!(fabs(got_ - want_) <= DIGITS)) fail_msg("%s = %.9g, not %.9g", #got, got_, want_);   \
    } while (0)

/* One query row whose scores are s = k (q = 1, d = 1); two-column V makes each key's weight
 * visible: out = (weight of key 0, weight of key 1). */
static const double q_one[] = {1.0};
static const double v_unit[] = {1.0, 0.0, 0.0, 1.0};
static const small_shape two_keys = {1, 1, 1, 2, 1, 2};

/* Training 11.4 "pse order": s = [2, 4], scale 0.5, pse [1, -1]. */
static small pse_case(const double *scores, const double *bias)
{
    small s;
    small_init(&s, &two_keys, FATTN_F64, q_one, scores, v_unit);
    s.p.scale = 0.5;
    s.p.bias = (fattn_bias){
        .kind = BIAS_TENSOR, .dtype = FATTN_F64, .before_scale = true, .col_stride = 1};
    s.ptrs.bias = bias;
    return s;
}

static const double pse_scores[] = {2.0, 4.0}, pse_bias[] = {1.0, -1.0};

static void pse_order(void **state)
{
    (void)state;
    double out[2];
    small s = pse_case(pse_scores, pse_bias);
    s.p.seqs = &s.seq;
    fattn_ref_row row = small_row(&s, 0, 0, out, NULL);
    CLOSE(row.max, 1.5);
    CLOSE(row.sum, 2.0);
    CLOSE(out[0], 0.5);
    CLOSE(out[1], 0.5);
    s.p.bias.before_scale = false;
    row = small_row(&s, 0, 0, out, NULL);
    CLOSE(row.max, 2.0);
    CLOSE(row.sum, 1.367879);
    CLOSE(out[0], 0.731059);
    CLOSE(out[1], 0.268941);
    CLOSE(row.lse, row.max + log(row.sum));
}

static void sinks(void **state)
{
    (void)state;
    double out[2];
    float sink = 1.5f;
    small s = pse_case(pse_scores, pse_bias);
    s.p.seqs = &s.seq;
    s.p.sink = s.p.sink_in_stats = true;
    s.p.sink_dtype = FATTN_F32;
    s.ptrs.sink = &sink;
    fattn_ref_row row = small_row(&s, 0, 0, out, NULL);
    CLOSE(row.max, 1.5);
    CLOSE(row.sum, 3.0);
    CLOSE(out[0], 1.0 / 3);
    CLOSE(out[1], 1.0 / 3);
    sink = 2.5f;
    row = small_row(&s, 0, 0, out, NULL);
    CLOSE(row.max, 2.5);
    CLOSE(row.sum, 1.735759);
    CLOSE(out[0], 0.211942);
    CLOSE(out[1], 0.211942);
    CLOSE(row.lse, 1.5 + log(2.0)); /* lse never holds the sink */
    s.p.sink_in_stats = false;
    row = small_row(&s, 0, 0, out, NULL);
    CLOSE(row.max, 1.5);
    CLOSE(row.sum, 2.0);
    CLOSE(out[0], 0.211942);
}

static void masked_key(void **state)
{
    (void)state;
    static const double scores[] = {1.0, 9.0};
    static const uint8_t mask[] = {0, 1};
    double out[2];
    small s;
    small_init(&s, &two_keys, FATTN_F64, q_one, scores, v_unit);
    s.p.mask = (fattn_mask){.present = true, .col_stride = 1};
    s.ptrs.mask = mask;
    const fattn_ref_row row = small_row(&s, 0, 0, out, NULL);
    assert_false(row.empty);
    CLOSE(row.max, 1.0);
    CLOSE(row.sum, 1.0);
    CLOSE(out[0], 1.0);
    CLOSE(out[1], 0.0);
}

static void slopes(void **state)
{
    (void)state;
    static const double zeros[] = {0.0, 0.0};
    static const small_shape shape = {1, 1, 2, 2, 1, 2};
    static const float slope = 0.5f;
    double out[2];
    small s;
    small_init(&s, &shape, FATTN_F64, zeros, zeros, v_unit);
    s.p.bias = (fattn_bias){.kind = BIAS_SLOPE, .dtype = FATTN_F32};
    s.ptrs.bias = &slope;
    fattn_ref_row row = small_row(&s, 0, 0, out, NULL); /* x = [0, -0.5] */
    CLOSE(row.max, 0.0);
    CLOSE(row.sum, 1.0 + exp(-0.5));
    CLOSE(out[0], 1.0 / (1.0 + exp(-0.5)));
    s.seq.distance0 = -3;                 /* q_start_idx [3] */
    row = small_row(&s, 0, 1, out, NULL); /* distances 4, 3: x = [-2, -1.5] */
    CLOSE(row.max, -1.5);
    CLOSE(row.sum, 1.0 + exp(-0.5));
}

/* Inference 18: one head, D = 2, scale 0.5. */
static const double q18[] = {1, 0, 0.5, 0.5}, k18[] = {1, 0, 0, 1, 1, 1},
                    v18[] = {1, 2, 3, 4, 5, 6};
static const small_shape shape18 = {1, 1, 2, 3, 2, 2};

static void check18(const small *s, const double want[2][2], const double lse[2])
{
    for (int i = 0; i < 2; i++) {
        double out[2];
        const fattn_ref_row row = small_row(s, 0, i, out, NULL);
        CLOSE(out[0], want[i][0]);
        CLOSE(out[1], want[i][1]);
        CLOSE(row.lse, lse[i]);
    }
}

static void inference_vectors(void **state)
{
    (void)state;
    static const float sink = 0.25f;
    static const double pse[] = {.1, -.2, 0, 0, .3, -.1};
    small s;
    small_init(&s, &shape18, FATTN_F64, q18, k18, v18);
    s.p.scale = 0.5;
    check18(&s, (const double[2][2]){{3.0, 4.0}, {3.172974, 4.172974}},
            (const double[2]){1.458020, 1.439070});
    mask_translate(&s.seq, 2, true, 0, 0, 0, false);
    check18(&s, (const double[2][2]){{1, 2}, {2, 3}}, (const double[2]){0.5, 0.943147});
    mask_translate(&s.seq, 3, true, 0, 0, 0, false);
    check18(&s, (const double[2][2]){{1.755081, 2.755081}, {3.172974, 4.172974}},
            (const double[2]){0.974077, 1.439070});
    s.p.sink = true;
    s.p.sink_dtype = FATTN_F32;
    s.ptrs.sink = &sink;
    check18(&s, (const double[2][2]){{1.182055, 1.855559}, {2.432321, 3.198896}},
            (const double[2]){0.974077, 1.439070});
    s.p.sink = false;
    s.p.bias = (fattn_bias){.kind = BIAS_TENSOR, .dtype = FATTN_F64, .col_stride = 1};
    s.seq.bias_row_stride = 3;
    s.ptrs.bias = pse;
    check18(&s, (const double[2][2]){{1.620051, 2.620051}, {3.092169, 4.092169}},
            (const double[2]){0.971101, 1.506098});
}

/* N = 4, Nkv = 2: query heads 0, 1 use kv head 0; 2, 3 use kv head 1. The weights of its keys are
 * 1/4, 3/4 there and 3/4, 1/4 here, so that keys and values of the wrong head both show. */
static void grouped_heads(void **state)
{
    (void)state;
    static const double ln3 = 1.0986122886681098;
    const double q[4] = {1, 1, 1, 1}, k[4] = {0, ln3, ln3, 0}, v[4] = {0, 8, 9, 1};
    small s;
    small_init(&s, &(small_shape){4, 2, 1, 2, 1, 1}, FATTN_F64, q, k, v);
    for (int h = 0; h < 4; h++) {
        double out;
        (void)small_row(&s, h, 0, &out, NULL);
        CLOSE(out, h < 2 ? 6 : 7);
    }
}

/* Two parts: their products add before the scale. */
static void rope_parts(void **state)
{
    (void)state;
    static const double q[] = {2}, qr[] = {3, 5}, k[] = {1, 2}, kr[] = {1, 0, 0, 1};
    double out[2];
    small s;
    small_init(&s, &two_keys, FATTN_F64, q, k, v_unit);
    s.p.d_qk = 3;
    s.p.q.n_parts = s.p.k.n_parts = 2;
    s.p.q.part[1] = (fattn_part){.d = 2, .row_stride = 2, .col_stride = 1};
    s.p.k.part[1] = s.p.q.part[1];
    s.ptrs.q[1] = qr;
    s.ptrs.k[1] = kr;
    s.p.scale = 0.1;
    const fattn_ref_row row = small_row(&s, 0, 0, out, NULL); /* 0.1 * (2 + 3), 0.1 * (4 + 5) */
    CLOSE(row.max, 0.9);
    CLOSE(row.sum, 1.0 + exp(-0.4));
}

static void paged_keys(void **state)
{
    (void)state;
    static const double cache[3][2] = {{30, 40}, {-1, -1}, {10, 20}}; /* pages of two rows, d = 1 */
    static const int32_t table[] = {2, 0};
    static const double q[] = {0};
    double out;
    small s;
    small_init(&s, &(small_shape){1, 1, 1, 3, 1, 1}, FATTN_F64, q, cache, cache);
    s.p.k.page_rows = s.p.v.page_rows = 2;
    s.p.k.n_pages = s.p.v.n_pages = 3;
    s.p.k.part[0].page_stride = s.p.v.part[0].page_stride = 2;
    s.p.table = (fattn_table){FATTN_I32, 2, 1, 2};
    s.ptrs.table = table;
    (void)small_row(&s, 0, 0, &out, NULL);
    CLOSE(out, (10 + 20 + 30) / 3.0);
}

/* strict inner_precise: q.k = 1 + 2^-11 lies half way and goes to the even 1. */
static void rounded_scores(void **state)
{
    (void)state;
    static const double scores[] = {1.0 + 0x1p-11, 1.0 + 0x1p-11 + 0x1p-30};
    double out[2], bound[2];
    small s;
    small_init(&s, &two_keys, FATTN_F64, q_one, scores, v_unit);
    s.p.scale = 256.0;
    s.p.round_scores_f16 = true;
    const fattn_ref_row row = small_row(&s, 0, 0, out, bound);
    CLOSE(row.max, 256.0 * (1.0 + 0x1p-10));
    CLOSE(row.sum, 1.0 + exp(-0.25));
    assert_true(bound[0] > 0.01); /* an fp32 sum cannot know to which side key 1 goes */
}

/* -------- rows without a visible key -------- */

static void empties(void **state)
{
    (void)state;
    static const uint8_t all[] = {1, 1, 1};
    double out[2] = {5, 5}, bound[2] = {5, 5};
    small s;
    small_init(&s, &shape18, FATTN_F64, q18, k18, v18);
    s.p.empty_no_keys = (fattn_empty){.max = 1, .sum = 2, .lse = 3};
    s.p.empty_no_window = (fattn_empty){.max = 4, .sum = 5, .lse = INFINITY};
    s.p.empty_masked = (fattn_empty){.max = -FLT_MAX, .sum = FLT_MAX, .lse = 9};
    s.p.empty_pad = (fattn_empty){.max = 10, .sum = 11, .lse = 12};
    s.p.mask = (fattn_mask){.present = true, .col_stride = 1};
    s.ptrs.mask = all;
    fattn_ref_row row = small_row(&s, 0, 0, out, bound);
    const float max = (float)row.max, sum = (float)row.sum;
    uint32_t max_bits, sum_bits;
    memcpy(&max_bits, &max, 4);
    memcpy(&sum_bits, &sum, 4);
    assert_true(row.empty && row.lse == 9 && out[0] == 0 && out[1] == 0 && bound[0] == 0);
    assert_int_equal(max_bits, 0xFF7FFFFF);
    assert_int_equal(sum_bits, 0x7F7FFFFF);

    s.p.empty_masked.mean = true; /* inner_precise 0, mode 1 */
    row = small_row(&s, 0, 0, out, bound);
    CLOSE(out[0], 3.0);
    CLOSE(out[1], 4.0);
    assert_true(row.sum == 3.0 && row.max == (double)-FLT_MAX && row.lse == 9 && bound[0] > 0);
    s.p.empty_masked.lse_mean = true;
    row = small_row(&s, 0, 0, out, NULL);
    CLOSE(row.lse, 9 + log(3.0));

    mask_translate(&s.seq, 2, true, 0, 0, 0, false); /* row 0 has a window of one key */
    row = small_row(&s, 0, 0, out, NULL);
    assert_true(row.sum == 1.0 && out[0] == 1 && out[1] == 2);

    mask_translate(&s.seq, 4, true, -2, 3, 0, false); /* row 1 begins behind the last key */
    row = small_row(&s, 0, 1, out, NULL);
    assert_true(row.empty && row.max == 4 && row.sum == 5 && isinf(row.lse) && out[0] == 0);
    s.p.empty_no_window.mean = true; /* no window: all keys */
    row = small_row(&s, 0, 1, out, NULL);
    assert_true(row.sum == 3.0);
    CLOSE(out[0], 3.0);

    s.seq.kv_len = 0;
    row = small_row(&s, 0, 1, out, NULL);
    assert_true(row.empty && row.max == 1 && row.sum == 2 && row.lse == 3 && out[0] == 0);
    s.seq.pad = true;
    row = small_row(&s, 0, 1, out, NULL);
    assert_true(row.empty && row.max == 10 && row.sum == 11 && row.lse == 12);
}

/* With a sink and no key the sink has all the weight; its value is 0. */
static void empties_with_sink(void **state)
{
    (void)state;
    static const float sink = 2.5f;
    double out[2] = {5, 5};
    small s;
    small_init(&s, &shape18, FATTN_F64, q18, k18, v18);
    s.p.empty_no_keys = (fattn_empty){.max = -1, .sum = -2, .lse = -3};
    s.p.empty_no_window.mean = true;
    s.p.sink = s.p.sink_in_stats = true;
    s.p.sink_dtype = FATTN_F32;
    s.ptrs.sink = &sink;
    s.seq.kv_len = 0;
    fattn_ref_row row = small_row(&s, 0, 0, out, NULL);
    assert_true(row.empty && row.max == 2.5 && row.sum == 1.0 && out[0] == 0);
    s.p.sink_in_stats = false;
    row = small_row(&s, 0, 0, out, NULL);
    assert_true(row.max == -1 && row.sum == -2 && row.lse == -3);
    s.seq.kv_len = 3;
    s.p.sink_in_stats = true;
    mask_translate(&s.seq, 4, true, -2, 3, 0, false);
    row =
        small_row(&s, 0, 1, out, NULL); /* the mean is over scores, and the sink outweighs those */
    assert_true(row.empty && row.max == 2.5 && row.sum == 1.0 && out[0] == 0);
}

/* -------- NaN and infinity -------- */

static void poison_stays_out(void **state)
{
    (void)state;
    enum { KEYS = 6 };
    static const small_shape shape = {1, 1, 2, KEYS, 1, 1};
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    static const double q[] = {1, 1};
    static const uint8_t mask[] = {0, 0, 1, 0, 0, 0};
    for (int b = 0; b < 3; b++) {
        /* row 0: window [0, 4) without key 2; keys 4, 5 lie outside */
        double k[KEYS] = {0.5, 1, bad[b], 0.25, bad[b], bad[b]}, bias[KEYS] = {0};
        double v[KEYS] = {1, 2, bad[b], 4, bad[b], bad[b]};
        bias[2] = bias[5] = bad[b];
        small s;
        small_init(&s, &shape, FATTN_F64, q, k, v);
        mask_translate(&s.seq, 0, true, 100, 3, 0, false);
        s.p.mask = (fattn_mask){.present = true, .col_stride = 1};
        s.ptrs.mask = mask;
        s.p.bias = (fattn_bias){.kind = BIAS_TENSOR, .dtype = FATTN_F64, .col_stride = 1};
        s.ptrs.bias = bias;
        double out, bound;
        fattn_ref_row row = small_row(&s, 0, 0, &out, &bound);
        const double e0 = exp(0.5), e1 = exp(1.0), e3 = exp(0.25), sum = e0 + e1 + e3;
        CLOSE(out, (e0 + 2 * e1 + 4 * e3) / sum);
        CLOSE(row.lse, log(sum));
        assert_true(bound > 0 && bound < 1e-4 && row.lse_bound < 1e-4 && row.max_bound < 1e-4);
        row = small_row(&s, 0, 1, &out, &bound); /* sees key 4 */
        assert_true(isnan(out) || bad[b] < 0);
    }
}

static void poison_that_is_seen(void **state)
{
    (void)state;
    static const double q[] = {1, NAN};
    double out[2];
    small s;
    small_init(&s, &(small_shape){1, 1, 2, 2, 1, 2}, FATTN_F64, q, pse_scores, v_unit);
    fattn_ref_row row = small_row(&s, 0, 0, out, NULL);
    assert_true(isfinite(out[0]) && isfinite(row.lse));
    row = small_row(&s, 0, 1, out, NULL); /* NaN in this query row only */
    assert_true(isnan(out[0]) && isnan(out[1]) && isnan(row.max) && isnan(row.lse));
    const double v[] = {1, NAN, 0, 1};
    s.ptrs.v = v;
    (void)small_row(&s, 0, 0, out, NULL); /* NaN in column 1 of a visible value */
    assert_true(isfinite(out[0]) && isnan(out[1]));
}

/* A bias of -inf takes a key out exactly; on every key it leaves nothing to see. */
static void bias_of_minus_infinity(void **state)
{
    (void)state;
    const double one[] = {0, -INFINITY}, both[] = {-INFINITY, -INFINITY};
    double out[2], bound[2];
    small s = pse_case(pse_scores, one);
    s.p.seqs = &s.seq;
    s.p.bias.before_scale = false;
    fattn_ref_row row = small_row(&s, 0, 0, out, bound);
    assert_true(!row.empty && out[0] == 1.0 && out[1] == 0.0 && row.sum == 1.0);
    assert_true(bound[0] < 1e-5 && bound[1] < 1e-5 && row.lse_bound < 1e-5 && row.max_bound < 1e-5);
    s.ptrs.bias = both;
    s.p.empty_masked.lse = INFINITY;
    row = small_row(&s, 0, 0, out, bound);
    assert_true(row.empty && out[0] == 0.0 && isinf(row.lse));
}

/* Large scores must not overflow on the way. */
static void large_scores(void **state)
{
    (void)state;
    static const double scores[] = {1e6, 1e6 - 1};
    double out[2];
    small s;
    small_init(&s, &two_keys, FATTN_F64, q_one, scores, v_unit);
    const fattn_ref_row row = small_row(&s, 0, 0, out, NULL);
    CLOSE(row.max, 1e6);
    CLOSE(out[0], 0.731059);
    CLOSE(out[1], 0.268941);
}

static void load_and_store(void **state)
{
    (void)state;
    static const struct {
        fattn_dtype dtype;
        double exact, rounded;
    } list[] = {
        {FATTN_F64, 0.1, 0.1},
        {FATTN_F32, 0.1, (double)0.1f},
        {FATTN_F16, 1.0 + 0x1p-11, 1.0},                     /* tie to even */
        {FATTN_F16, 1.0 + 0x1p-11 + 0x1p-40, 1.0 + 0x1p-10}, /* rounded once, not via fp32 */
        {FATTN_BF16, 1.0 + 0x1p-8 + 0x1p-40, 1.0 + 0x1p-7},
        {FATTN_F16, 1e6, INFINITY},
    };
    for (size_t n = 0; n < sizeof list / sizeof list[0]; n++) {
        uint64_t cells[3] = {0, 0, 0};
        element_store(cells, list[n].dtype, 1, list[n].exact);
        assert_true(element_load(cells, list[n].dtype, 1) == list[n].rounded);
        assert_true(element_load(cells, list[n].dtype, 0) == 0.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pse_order),           cmocka_unit_test(sinks),
        cmocka_unit_test(masked_key),          cmocka_unit_test(slopes),
        cmocka_unit_test(inference_vectors),   cmocka_unit_test(grouped_heads),
        cmocka_unit_test(rope_parts),          cmocka_unit_test(paged_keys),
        cmocka_unit_test(rounded_scores),      cmocka_unit_test(empties),
        cmocka_unit_test(empties_with_sink),   cmocka_unit_test(poison_stays_out),
        cmocka_unit_test(poison_that_is_seen), cmocka_unit_test(bias_of_minus_infinity),
        cmocka_unit_test(large_scores),        cmocka_unit_test(load_and_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
