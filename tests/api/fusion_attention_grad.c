/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_attention_grad.c — every gradient against the complex-step derivative of the forward's formula,
 * written here from spec fusion-attention 2 in complex numbers: with h = 1e-200 there is no difference
 * to cancel, so the float64 operator must agree to 1e-12. Then finite differences, rows without a key,
 * non-finite numbers under masks, and what is refused. */
#include "api/harness.h"

#include <complex.h>
#include <float.h>

enum { B = 2, N = 4, NKV = 2, G = N / NKV, SQ = 5, D = 4, DR = 2, DV = 3, MOST_SK = 7 };
static const double STEP = 1e-200;

/* One call. Cells of the bias by (b, n, i, j) or (b, n); what is shared lies in the strides. */
typedef struct model {
    int sk, mode, pse_type, q_start, kv_start;
    bool pse, slopes_by_batch, pse_by_batch, pse_by_row, sink, rope, mask, dropout;
    double scale, keep_prob;
} model;

typedef struct numbers {
    double complex q[B][N][SQ][D], qr[B][N][SQ][DR], k[B][NKV][MOST_SK][D], kr[B][NKV][MOST_SK][DR];
    double complex v[B][NKV][MOST_SK][DV], pse[B][N][SQ][MOST_SK], sink[N];
    double dy[B][N][SQ][DV];
    bool hidden[B][SQ][MOST_SK], kept[B][N][SQ][MOST_SK];
} numbers;

static double next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(int64_t)(*state >> 12) * 0x1p-51 - 1;
}

static void fill_numbers(const model *m, numbers *x, uint64_t seed)
{
    double complex *at = &x->q[0][0][0][0];
    const size_t n = offsetof(numbers, dy) / sizeof *at;
    for (size_t i = 0; i < n; i++) at[i] = next(&seed);
    for (int b = 0; b < B; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i < SQ; i++) {
                for (int c = 0; c < DV; c++) x->dy[b][h][i][c] = next(&seed);
                for (int j = 0; j < m->sk; j++) {
                    x->hidden[b][i][j] = m->mask && next(&seed) < -0.4 && j > 0;
                    x->kept[b][h][i][j] = !m->dropout || next(&seed) < 2 * m->keep_prob - 1;
                }
            }
}

/* The cell of the stored bias that (b, h, i, j) reads. */
static double complex *cell(const model *m, numbers *x, int b, int h, int i, int j)
{
    if (m->pse_type >= 2) return &x->pse[m->slopes_by_batch ? b : 0][h][0][0];
    return &x->pse[m->pse_by_batch ? b : 0][h][m->pse_by_row ? i : 0][j];
}

static double complex score(const model *m, numbers *x, int b, int h, int i, int j)
{
    double complex s = 0;
    for (int c = 0; c < D; c++) s += x->q[b][h][i][c] * x->k[b][h / G][j][c];
    for (int c = 0; c < DR && m->rope; c++) s += x->qr[b][h][i][c] * x->kr[b][h / G][j][c];
    if (!m->pse) return s * m->scale;
    const double complex bias = *cell(m, x, b, h, i, j);
    const double distance = fabs((double)(j + m->kv_start - i - m->q_start));
    switch (m->pse_type) {
    case 0:
        return s * m->scale + bias;
    case 1:
        return (s + bias) * m->scale;
    case 2:
        return s * m->scale - bias * distance;
    default:
        return s * m->scale - bias * sqrt(distance);
    }
}

/* A row of the output; max and sum as the statistics hold them. */
static void forward_row(const model *m, numbers *x, int b, int h, int i, double complex out[DV],
                        double *max, double *sum)
{
    double complex e[MOST_SK], total = 0, p[MOST_SK];
    double top = m->sink ? creal(x->sink[h]) : -INFINITY;
    for (int j = 0; j < m->sk; j++) {
        const bool seen = !x->hidden[b][i][j] && (m->mode != 3 || j <= i + m->sk - SQ);
        e[j] = seen ? score(m, x, b, h, i, j) : -INFINITY;
        if (seen && creal(e[j]) > top) top = creal(e[j]);
    }
    for (int j = 0; j < m->sk; j++) {
        p[j] = creal(e[j]) == -INFINITY ? 0 : cexp(e[j] - top);
        total += p[j];
    }
    if (m->sink) total += cexp(x->sink[h] - top);
    for (int c = 0; c < DV; c++) out[c] = 0;
    for (int j = 0; j < m->sk; j++)
        for (int c = 0; c < DV && x->kept[b][h][i][j]; c++)
            out[c] += p[j] / total * x->v[b][h / G][j][c] / (m->dropout ? m->keep_prob : 1);
    *max = top;
    *sum = creal(total);
}

static double complex loss(const model *m, numbers *x)
{
    double complex sum = 0, out[DV];
    double max, total;
    for (int b = 0; b < B; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i < SQ; i++) {
                forward_row(m, x, b, h, i, out, &max, &total);
                for (int c = 0; c < DV; c++) sum += x->dy[b][h][i][c] * out[c];
            }
    return sum;
}

static double derivative(const model *m, numbers *x, double complex *of)
{
    const double complex kept = *of;
    *of = kept + STEP * I;
    const double slope = cimag(loss(m, x)) / STEP;
    *of = kept;
    return slope;
}

/* ---- the operator -------------------------------------------------------------------------------
 */

typedef struct tensors {
    fattn_tensor *q, *qr, *k, *kr, *v, *pse, *sink, *mask, *drop, *dy, *out, *max, *sum;
    fattn_tensor *dq, *dqr, *dk, *dkr, *dv, *dpse, *dsink;
} tensors;

static fattn_tensor *tensor_f64(const double complex *from, int64_t b, int64_t n, int64_t s,
                                int64_t s_room, int64_t d)
{
    fattn_tensor *t = tensor_new(FATTN_F64, 1, 4, (int)b, (int)n, (int)s, (int)d);
    for (int64_t r = 0; r < b * n; r++)
        for (int64_t i = 0; i < s * d; i++)
            ((double *)t->data)[r * s * d + i] = from ? creal(from[r * s_room * d + i]) : 0;
    return t;
}

static fattn_tensor *pse_tensor(const model *m, numbers *x)
{
    if (m->pse_type >= 2) {
        fattn_tensor *t =
            m->slopes_by_batch ? tensor_new(FATTN_F64, 1, 2, B, N) : tensor_new(FATTN_F64, 1, 1, N);
        for (int i = 0; i < (m->slopes_by_batch ? B : 1) * N; i++)
            ((double *)t->data)[i] = creal(x->pse[i / N][i % N][0][0]);
        return t;
    }
    const int b = m->pse_by_batch ? B : 1, rows = m->pse_by_row ? SQ : 1;
    fattn_tensor *t = tensor_new(FATTN_F64, 1, 4, b, N, rows, m->sk);
    for (int i = 0; i < b; i++)
        for (int h = 0; h < N; h++)
            for (int r = 0; r < rows; r++)
                for (int j = 0; j < m->sk; j++) put4(t, i, h, r, j, creal(x->pse[i][h][r][j]));
    return t;
}

static fattn_tensor *like(const fattn_tensor *t) { return t ? tensor_like(t) : NULL; }

static tensors make_tensors(const model *m, numbers *x)
{
    tensors t = {0};
    t.q = tensor_f64(&x->q[0][0][0][0], B, N, SQ, SQ, D);
    t.k = tensor_f64(&x->k[0][0][0][0], B, NKV, m->sk, MOST_SK, D);
    t.v = tensor_f64(&x->v[0][0][0][0], B, NKV, m->sk, MOST_SK, DV);
    if (m->rope) t.qr = tensor_f64(&x->qr[0][0][0][0], B, N, SQ, SQ, DR);
    if (m->rope) t.kr = tensor_f64(&x->kr[0][0][0][0], B, NKV, m->sk, MOST_SK, DR);
    if (m->pse) t.pse = pse_tensor(m, x);
    if (m->sink) t.sink = tensor_new(FATTN_F64, 1, 1, N);
    for (int h = 0; m->sink && h < N; h++) put1(t.sink, h, creal(x->sink[h]));
    if (m->mask) t.mask = tensor_new(FATTN_U8, 0, 4, B, 1, SQ, m->sk);
    if (m->dropout) t.drop = tensor_new(FATTN_U8, 0, 1, (B * N * SQ * m->sk + 7) / 8);
    t.dy = tensor_new(FATTN_F64, 1, 4, B, N, SQ, DV);
    t.out = tensor_new(FATTN_F64, 1, 4, B, N, SQ, DV);
    t.max = tensor_new(FATTN_F64, 1, 4, B, N, SQ, 8);
    t.sum = tensor_new(FATTN_F64, 1, 4, B, N, SQ, 8);
    for (int b = 0; b < B; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i < SQ; i++) {
                for (int c = 0; c < DV; c++) put4(t.dy, b, h, i, c, x->dy[b][h][i][c]);
                for (int j = 0; j < m->sk; j++) {
                    const int e = ((b * N + h) * SQ + i) * m->sk + j;
                    if (m->mask) put4(t.mask, b, 0, i, j, x->hidden[b][i][j]);
                    if (m->dropout && x->kept[b][h][i][j])
                        ((uint8_t *)t.drop->data)[e >> 3] |= (uint8_t)(1 << (e & 7));
                }
            }
    t.dq = like(t.q), t.dqr = like(t.qr), t.dk = like(t.k), t.dkr = like(t.kr), t.dv = like(t.v);
    t.dpse = like(t.pse), t.dsink = like(t.sink);
    return t;
}

static void run_operators(const model *m, const tensors *t)
{
    const int64_t q_start = m->q_start, kv_start = m->kv_start;
    fattn_fusion_attention_args f;
    fattn_fusion_attention_grad_args g;
    fattn_fusion_attention_args_init(&f);
    fattn_fusion_attention_grad_args_init(&g);
    f.query = g.query = t->q, f.key = g.key = t->k, f.value = g.value = t->v;
    f.query_rope = g.query_rope = t->qr, f.key_rope = g.key_rope = t->kr;
    f.input_layout = g.input_layout = "BNSD";
    f.scale = g.scale_value = m->scale, f.sparse_mode = g.sparse_mode = m->mode;
    f.pse = g.pse = t->pse, f.sink = g.sink = t->sink, f.atten_mask = g.atten_mask = t->mask;
    f.dropout_mask = g.dropout_mask = t->drop;
    if (m->pse) f.pse_type = g.pse_type = m->pse_type;
    if (m->dropout) f.keep_prob = g.keep_prob = m->keep_prob;
    if (m->q_start) f.q_start_idx = g.q_start_idx = (fattn_int_array){&q_start, 1};
    if (m->kv_start) f.kv_start_idx = g.kv_start_idx = (fattn_int_array){&kv_start, 1};
    f.attention_out = g.attention_in = t->out;
    f.softmax_max = g.softmax_max = t->max, f.softmax_sum = g.softmax_sum = t->sum;
    g.dy = t->dy, g.dq = t->dq, g.dk = t->dk, g.dv = t->dv, g.dq_rope = t->dqr;
    g.dk_rope = t->dkr, g.dpse = t->dpse, g.dsink = t->dsink;
    EXPECT_OK(fattn_fusion_attention(plain_context(), &f), "the forward");
    EXPECT_OK(fattn_fusion_attention_grad(plain_context(), &g), "the backward");
}

static void same(double got, double want, const char *what, int at)
{
    if (!(fabs(got - want) <= 1e-12 * fmax(1, fabs(want))))
        fail_msg("%s %d: %.17g, the derivative is %.17g", what, at, got, want);
}

static void check_all(const model *m, numbers *x, const double complex *from, size_t room,
                      const fattn_tensor *grad, const char *what)
{
    if (!grad) return;
    const int64_t *s = grad->shape;
    for (int64_t r = 0; r < s[0] * s[1]; r++)
        for (int64_t i = 0; i < s[2] * s[3]; i++) {
            double complex *of = (double complex *)(uintptr_t)from + r * (int64_t)room + i;
            same(((double *)grad->data)[r * s[2] * s[3] + i], derivative(m, x, of), what,
                 (int)(r * s[2] * s[3] + i));
        }
}

static void check_model(const model *given, uint64_t seed)
{
    model m = *given;
    numbers *x = harness_alloc(sizeof *x);
    if (m.sk == 0) m.sk = MOST_SK;
    if (m.scale == 0) m.scale = 0.7;
    if (m.keep_prob == 0) m.keep_prob = 0.6;
    fill_numbers(&m, x, seed);
    const tensors t = make_tensors(&m, x);
    run_operators(&m, &t);

    double complex out[DV];
    double max, sum;
    forward_row(&m, x, 1, 3, 2, out, &max, &sum);
    same(get4(t.out, 1, 3, 2, 1), creal(out[1]), "attention_out", 0);
    same(get4(t.max, 1, 3, 2, 7), max, "softmax_max", 0);
    same(get4(t.sum, 1, 3, 2, 0), sum, "softmax_sum", 0);

    check_all(&m, x, &x->q[0][0][0][0], SQ * D, t.dq, "dq");
    check_all(&m, x, &x->k[0][0][0][0], MOST_SK * D, t.dk, "dk");
    check_all(&m, x, &x->v[0][0][0][0], MOST_SK * DV, t.dv, "dv");
    check_all(&m, x, &x->qr[0][0][0][0], SQ * DR, t.dqr, "dq_rope");
    check_all(&m, x, &x->kr[0][0][0][0], MOST_SK * DR, t.dkr, "dk_rope");
    for (int h = 0; m.sink && h < N; h++)
        same(get1(t.dsink, h), derivative(&m, x, &x->sink[h]), "dsink", h);
    for (int b = 0; m.pse && b < B; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i < SQ; i++)
                for (int j = 0; j < m.sk; j++) {
                    if (m.pse_type >= 2) {
                        const double got = m.slopes_by_batch ? get2(t.dpse, b, h) : get1(t.dpse, h);
                        same(got, derivative(&m, x, cell(&m, x, b, h, 0, 0)), "dslope", h);
                        continue;
                    }
                    const double got =
                        get4(t.dpse, m.pse_by_batch ? b : 0, h, m.pse_by_row ? i : 0, j);
                    same(got, derivative(&m, x, cell(&m, x, b, h, i, j)), "dpse", h);
                }
    harness_reset();
}

static const model models[] = {
    {0},
    {.mode = 3},
    {.mask = true, .mode = 1},
    {.pse = true, .pse_type = 1, .pse_by_batch = true, .pse_by_row = true},
    {.pse = true, .pse_type = 0, .pse_by_row = true},
    {.pse = true, .pse_type = 1},
    {.pse = true, .pse_type = 0, .pse_by_batch = true},
    {.pse = true, .pse_type = 2, .sk = SQ},
    {.pse = true, .pse_type = 3, .sk = SQ, .slopes_by_batch = true},
    {.pse = true, .pse_type = 2, .sk = SQ, .q_start = 3, .kv_start = 1, .slopes_by_batch = true},
    {.sink = true},
    {.sink = true, .mode = 3},
    {.dropout = true},
    {.rope = true},
    {.scale = -1.3, .mode = 3, .sk = SQ},
    {.pse = true,
     .pse_type = 1,
     .pse_by_row = true,
     .sink = true,
     .dropout = true,
     .rope = true,
     .mask = true,
     .mode = 1},
    {.pse = true, .pse_type = 3, .sk = SQ, .sink = true, .dropout = true, .rope = true, .mode = 3},
};

static void complex_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) check_model(&models[i], 100 + i);
}

/* Sum over the keys of dS is 0 in every row: a constant added to a row of scores changes nothing. */
static void rows_sum_to_zero(void **state)
{
    const model m = {.pse = true,
                     .pse_type = 0,
                     .pse_by_batch = true,
                     .pse_by_row = true,
                     .sk = MOST_SK,
                     .scale = 0.7};
    numbers *x = harness_alloc(sizeof *x);
    (void)state;
    fill_numbers(&m, x, 9);
    const tensors t = make_tensors(&m, x);
    run_operators(&m, &t);
    for (int r = 0; r < B * N * SQ; r++) {
        double sum = 0, size = 0;
        for (int j = 0; j < MOST_SK; j++) {
            const double ds = ((double *)t.dpse->data)[r * MOST_SK + j];
            sum += ds, size += fabs(ds);
        }
        assert_true(size > 0 && fabs(sum) <= 1e-14 * size);
    }
    harness_reset();
}

/* The same without complex numbers. */
static void finite_differences(void **state)
{
    const model m = {.pse = true, .pse_type = 1, .sink = true, .sk = MOST_SK, .scale = 0.7};
    const double h = 1e-5;
    numbers *x = harness_alloc(sizeof *x);
    (void)state;
    fill_numbers(&m, x, 10);
    const tensors t = make_tensors(&m, x);
    run_operators(&m, &t);
    for (int n = 0; n < N; n++) {
        double complex *const of[] = {&x->sink[n], &x->pse[0][n][0][3]};
        const double got[] = {get1(t.dsink, n), get4(t.dpse, 0, n, 0, 3)};
        for (int i = 0; i < 2; i++) {
            const double complex kept = *of[i];
            *of[i] = kept + h;
            const double up = creal(loss(&m, x));
            *of[i] = kept - h;
            const double slope = (up - creal(loss(&m, x))) / (2 * h);
            *of[i] = kept;
            assert_true(fabs(got[i] - slope) < 1e-8);
        }
    }
    harness_reset();
}

/* ---- fp32 on every instruction set --------------------------------------------------------------
 */

typedef struct small {
    fattn_fusion_attention_args f;
    fattn_fusion_attention_grad_args g;
    fattn_tensor *q, *k, *v, *dy, *out, *max, *sum, *dq, *dk, *dv;
} small;

static small small_case(const char *layout, int b, int n, int sq, int sk)
{
    small s = {.q = tensor_layout(FATTN_F32, 1, layout, b, sq, n, 8)};
    s.k = tensor_layout(FATTN_F32, 2, layout, b, sk, 1, 8);
    s.v = tensor_layout(FATTN_F32, 3, layout, b, sk, 1, 8);
    s.dy = tensor_layout(FATTN_F32, 4, layout, b, sq, n, 8);
    s.out = tensor_like(s.q), s.dq = tensor_like(s.q), s.dk = tensor_like(s.k);
    s.dv = tensor_like(s.v);
    const bool packed = strchr(layout, 'T');
    s.max =
        packed ? tensor_new(FATTN_F32, 1, 3, sq, n, 8) : tensor_new(FATTN_F32, 1, 4, b, n, sq, 8);
    s.sum = tensor_like(s.max);
    fattn_fusion_attention_args_init(&s.f);
    fattn_fusion_attention_grad_args_init(&s.g);
    s.f.query = s.g.query = s.q, s.f.key = s.g.key = s.k, s.f.value = s.g.value = s.v;
    s.f.input_layout = s.g.input_layout = layout;
    s.f.head_num = s.g.head_num = n;
    s.f.attention_out = s.g.attention_in = s.out;
    s.f.softmax_max = s.g.softmax_max = s.max, s.f.softmax_sum = s.g.softmax_sum = s.sum;
    s.g.dy = s.dy, s.g.dq = s.dq, s.g.dk = s.dk, s.g.dv = s.dv;
    return s;
}

static void run_small(small *s, fattn_context *context)
{
    EXPECT_OK(fattn_fusion_attention(context, &s->f), "the forward");
    EXPECT_OK(fattn_fusion_attention_grad(context, &s->g), "the backward");
}

static bool all_zero(const fattn_tensor *t, int64_t from, int64_t count)
{
    for (int64_t i = from; i < from + count; i++)
        if (((const float *)t->data)[i] != 0) return false;
    return true;
}

/* Invalid rows (spec 2.3 b), sequences without queries or keys, tails: gradients 0 there. */
static void nothing_to_see(void **state)
{
    (void)state;
    small s = small_case("BSND", 1, 2, 6, 4); /* mode 3: the first two rows see nothing */
    s.f.sparse_mode = s.g.sparse_mode = 3;
    run_small(&s, plain_context());
    assert_true(get4(s.max, 0, 0, 1, 0) == -(double)FLT_MAX);
    assert_true(all_zero(s.dq, 0, 2 * 2 * 8) && !all_zero(s.dq, 3 * 2 * 8, 8));
    /* such rows change nothing, whatever stands in them */
    fattn_tensor *dk = tensor_like(s.dk), *dv = tensor_like(s.dv);
    memcpy(dk->data, s.dk->data, tensor_bytes(dk));
    memcpy(dv->data, s.dv->data, tensor_bytes(dv));
    for (int c = 0; c < 8; c++) {
        put4(s.q, 0, 1, 0, c, (double)NAN);
        put4(s.dy, 0, 0, 1, c, (double)INFINITY);
    }
    run_small(&s, plain_context());
    assert_memory_equal(dk->data, s.dk->data, tensor_bytes(dk));
    assert_memory_equal(dv->data, s.dv->data, tensor_bytes(dv));

    small t = small_case("TND", 1, 2, 9, 11);
    const int64_t q[] = {2, 2, 5, 7}, kv[] = {3, 5, 5, 9};
    t.f.actual_seq_qlen = t.g.actual_seq_qlen = (fattn_int_array){q, 4};
    t.f.actual_seq_kvlen = t.g.actual_seq_kvlen = (fattn_int_array){kv, 4};
    run_small(&t, plain_context());
    assert_true(all_zero(t.dq, 2 * 16, 3 * 16));                               /* Lk = 0 */
    assert_true(all_zero(t.dq, 7 * 16, 2 * 16));                               /* the tail */
    assert_true(all_zero(t.dk, 3 * 8, 2 * 8) && all_zero(t.dv, 3 * 8, 2 * 8)); /* Lq = 0 */
    assert_true(all_zero(t.dk, 9 * 8, 2 * 8) && all_zero(t.dv, 9 * 8, 2 * 8));
    assert_false(all_zero(t.dk, 0, 8) || all_zero(t.dq, 0, 8));

    small e = small_case("BSND", 2, 2, 3, 0);
    run_small(&e, plain_context());
    assert_true(all_zero(e.dq, 0, 2 * 3 * 2 * 8));
    harness_reset();
}

/* NaN and Inf in keys, values, queries and dy that a mask hides from each other: the same bits. */
static void masked_nonsense(void **state)
{
    (void)state;
    small s = small_case("BNSD", 1, 2, 6, 6);
    s.f.sparse_mode = s.g.sparse_mode = 2;
    run_small(&s, plain_context());
    fattn_tensor *kept[3] = {s.dq, s.dk, s.dv};
    s.dq = tensor_like(s.q), s.dk = tensor_like(s.k), s.dv = tensor_like(s.v);
    s.g.dq = s.dq, s.g.dk = s.dk, s.g.dv = s.dv;
    for (int c = 0; c < 8; c++) { /* key 5 is seen by row 5 alone, row 5 alone sees it */
        put4(s.k, 0, 0, 5, c, (double)NAN);
        put4(s.v, 0, 0, 5, c, (double)INFINITY);
    }
    run_small(&s, plain_context());
    for (int h = 0; h < 2; h++)
        assert_memory_equal((float *)s.dq->data + h * 48, (float *)kept[0]->data + h * 48,
                            5 * 8 * sizeof(float));
    small r = small_case("BNSD", 1, 2, 6, 6);
    r.f.sparse_mode = r.g.sparse_mode = 2;
    for (int h = 0; h < 2; h++)
        for (int c = 0; c < 8; c++) { /* row 0 sees key 0 alone */
            put4(r.q, 0, h, 0, c, (double)NAN);
            put4(r.dy, 0, h, 0, c, (double)-INFINITY);
        }
    run_small(&r, plain_context());
    assert_memory_equal((float *)r.dk->data + 8, (float *)kept[1]->data + 8, 5 * 8 * sizeof(float));
    assert_memory_equal((float *)r.dv->data + 8, (float *)kept[2]->data + 8, 5 * 8 * sizeof(float));
    harness_reset();
}

/* Statistics are consumed: twice the sum is half the probability. */
static void statistics_are_taken(void **state)
{
    (void)state;
    small s = small_case("BNSD", 1, 2, 6, 6);
    run_small(&s, plain_context());
    fattn_tensor *once = s.dv;
    s.g.dv = s.dv = tensor_like(s.v);
    for (int64_t i = 0; i < tensor_count(s.sum); i++) ((float *)s.sum->data)[i] *= 2;
    EXPECT_OK(fattn_fusion_attention_grad(plain_context(), &s.g), "twice the sums");
    for (int64_t i = 0; i < tensor_count(s.dv); i++)
        assert_true(((float *)s.dv->data)[i] == ((float *)once->data)[i] / 2);
    /* those of a row without a key make it one, whatever it sees */
    for (int c = 0; c < 8; c++) {
        put4(s.max, 0, 1, 2, c, -(double)FLT_MAX);
        put4(s.sum, 0, 1, 2, c, (double)FLT_MAX);
    }
    EXPECT_OK(fattn_fusion_attention_grad(plain_context(), &s.g), "an invalid row");
    for (int i = 0; i < 6; i++) assert_int_equal(all_zero(s.dq, (6 + i) * 8, 8), i == 2);
    for (int64_t i = 0; i < tensor_count(s.dv); i++) assert_true(isfinite(((float *)s.dv->data)[i]));
    harness_reset();
}

/* A sink takes part although it has no value; a bias of which cells are never read has gradient 0. */
static void cells_that_nobody_reads(void **state)
{
    (void)state;
    small s = small_case("BNSD", 1, 2, 3, 70);
    s.f.sparse_mode = s.g.sparse_mode = 2;
    fattn_tensor *pse = tensor_new(FATTN_F32, 7, 4, 1, 2, 3, 70), *dpse = tensor_like(pse);
    s.f.pse = s.g.pse = pse, s.g.dpse = dpse;
    run_small(&s, plain_context());
    for (int i = 0; i < 3; i++)
        for (int j = i + 1; j < 70; j++) assert_true(get4(dpse, 0, 1, i, j) == 0);
    assert_true(get4(dpse, 0, 1, 2, 1) != 0);
    harness_reset();
}

/* A compressed bias stands for a full one: its gradient is that one's, added where it was read. */
static void compressed_bias(void **state)
{
    enum { S = 1100, FIRST = S - 1024 };
    (void)state;
    small s = small_case("BNSD", 1, 1, S, S);
    fattn_tensor *full = tensor_new(FATTN_F32, 7, 4, 1, 1, S, S);
    fattn_tensor *pse = tensor_new(FATTN_F32, 7, 4, 1, 1, 1024, S);
    fattn_tensor *dfull = tensor_like(full), *dpse = tensor_like(pse);
    double *want = harness_alloc(sizeof(double) * 1024 * S),
           *size = harness_alloc(sizeof(double) * 1024 * S);
    for (int r = 0; r < 1024; r++)
        for (int j = 0; j < S; j++) put4(pse, 0, 0, r, j, 0.01 * ((r + FIRST - j) % 50));
    s.f.sparse_mode = s.g.sparse_mode = 3, s.f.scale = s.g.scale_value = 0.3;
    for (int i = 0; i < S; i++)
        for (int j = 0; j <= i; j++) {
            const int r = i >= FIRST ? i - FIRST : i % 1024, c = i >= FIRST ? j : FIRST + r - i + j;
            put4(full, 0, 0, i, j, get4(pse, 0, 0, r, c));
        }
    s.f.pse = s.g.pse = full, s.g.dpse = dfull;
    run_small(&s, plain_context());
    for (int i = 0; i < S; i++)
        for (int j = 0; j <= i; j++) {
            const int r = i >= FIRST ? i - FIRST : i % 1024, c = i >= FIRST ? j : FIRST + r - i + j;
            want[r * S + c] += get4(dfull, 0, 0, i, j);
            size[r * S + c] += fabs(get4(dfull, 0, 0, i, j));
        }
    s.f.pse = s.g.pse = pse, s.g.dpse = dpse;
    run_small(&s, plain_context());
    for (int i = 0; i < 1024 * S; i++)
        if (!(fabs((double)((float *)dpse->data)[i] - want[i]) <= 0x1p-21 * size[i]))
            fail_msg("cell %d: %g, want %g", i, (double)((float *)dpse->data)[i], want[i]);
    harness_reset();
}

static void verify(small *s, fattn_verify_report *report)
{
    *report = (fattn_verify_report){.size = sizeof *report};
    const fattn_operator *op = fattn_operator_find("fusion_attention_grad");
    EXPECT_OK(fattn_verify(plain_context(), op, &s->g, report), "verify");
}

/* Long sequences are cut and their parts added: still every element inside its bound. Scales and biases
 * on either side of them, too. */
static void inside_the_bound(void **state)
{
    (void)state;
    fattn_verify_report report;
    for (int pse_type = 0; pse_type < 2; pse_type++) {
        small s = small_case("BNSD", 1, 2, 40, 70);
        fattn_tensor *pse = tensor_new(FATTN_F32, 8, 4, 1, 2, 40, 70), *dpse = tensor_like(pse);
        s.f.pse = s.g.pse = pse, s.g.dpse = dpse, s.f.pse_type = s.g.pse_type = pse_type;
        s.f.scale = s.g.scale_value = 0.3;
        run_small(&s, plain_context());
        verify(&s, &report);
        assert_true(report.passed);
        harness_reset();
    }
    small s = small_case("BNSD", 1, 2, 9001, 5);
    s.f.scale = s.g.scale_value = 0.3;
    run_small(&s, plain_context());
    verify(&s, &report);
    assert_true(report.passed);
    harness_reset();
}

/* Verification sees one wrong element in any gradient. */
static void verify_sees(void **state)
{
    (void)state;
    const fattn_operator *op = fattn_operator_find("fusion_attention_grad");
    small s = small_case("BNSD", 1, 2, 6, 6);
    fattn_tensor *sink = tensor_new(FATTN_F32, 7, 1, 2), *dsink = tensor_like(sink);
    fattn_tensor *pse = tensor_new(FATTN_F32, 8, 4, 1, 2, 6, 6), *dpse = tensor_like(pse);
    s.f.sink = s.g.sink = sink, s.g.dsink = dsink, s.f.pse = s.g.pse = pse, s.g.dpse = dpse;
    run_small(&s, plain_context());
    fattn_verify_report report = {.size = sizeof report};
    EXPECT_OK(fattn_verify(plain_context(), op, &s.g, &report), "verify");
    assert_true(report.passed && report.n_outputs == 5);
    fattn_tensor *const all[] = {s.dq, s.dk, s.dv, dpse, dsink};
    static const char *const names[] = {"dq", "dk", "dv", "dpse", "dsink"};
    for (int i = 0; i < 5; i++) {
        float *x = (float *)all[i]->data + 1;
        const float right = *x;
        *x += 1e-3f;
        EXPECT_OK(fattn_verify(plain_context(), op, &s.g, &report), "verify");
        assert_false(report.passed);
        assert_string_equal(report.worst_output, names[i]);
        assert_int_equal(report.outside, 1);
        *x = right;
    }
    harness_reset();
}

#define REFUSED(text, status, change)                                                              \
    do {                                                                                           \
        small s = small_case("BNSD", 1, 2, 6, 6);                                                  \
        change;                                                                                    \
        expect_refused(fattn_fusion_attention_grad(plain_context(), &s.g), status, text, #change); \
        harness_reset();                                                                           \
    } while (0)

static void refusals(void **state)
{
    (void)state;
    REFUSED("dy", FATTN_E_ARG, s.g.dy = NULL);
    REFUSED("softmax_max", FATTN_E_ARG, s.g.softmax_max = NULL);
    REFUSED("attention_in", FATTN_E_ARG, s.g.attention_in = NULL);
    REFUSED("dy", FATTN_E_SHAPE, s.g.dy = tensor_new(FATTN_F32, 1, 4, 1, 2, 6, 7));
    REFUSED("dy", FATTN_E_DTYPE, s.g.dy = tensor_new(FATTN_F16, 1, 4, 1, 2, 6, 8));
    REFUSED("attention_in", FATTN_E_SHAPE,
            s.g.attention_in = tensor_new(FATTN_F32, 1, 4, 1, 2, 5, 8));
    REFUSED("softmax_sum", FATTN_E_SHAPE,
            s.g.softmax_sum = tensor_new(FATTN_F32, 1, 4, 1, 2, 6, 7));
    REFUSED("softmax_max", FATTN_E_DTYPE,
            s.g.softmax_max = tensor_new(FATTN_F16, 1, 4, 1, 2, 6, 8));
    REFUSED("dk", FATTN_E_SHAPE, s.g.dk = tensor_new(FATTN_F32, 1, 4, 1, 2, 6, 8));
    REFUSED("dpse", FATTN_E_ARG, s.g.dpse = tensor_new(FATTN_F32, 1, 4, 1, 2, 6, 6));
    REFUSED("dsink", FATTN_E_ARG, s.g.dsink = tensor_new(FATTN_F32, 1, 1, 2));
    REFUSED("dq_rope", FATTN_E_ARG, s.g.dq_rope = tensor_new(FATTN_F32, 1, 4, 1, 2, 6, 2));
    REFUSED("scale_value", FATTN_E_ARG, s.g.scale_value = (double)NAN);
    REFUSED("keep_prob", FATTN_E_ARG, s.g.keep_prob = 0);
    REFUSED("sparse_mode", FATTN_E_ARG, s.g.sparse_mode = 9);
    small s = small_case("BNSD", 1, 2, 6, 6);
    s.g.keep_prob = 0.5, s.g.dropout_mask = tensor_new(FATTN_U8, 1, 1, 16);
    expect_refused(fattn_fusion_attention_grad(strict_context(), &s.g), FATTN_E_ARG, "dropout_mask",
                   "strict");
    harness_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complex_step),
        cmocka_unit_test(rows_sum_to_zero),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(nothing_to_see),
        cmocka_unit_test(masked_nonsense),
        cmocka_unit_test(statistics_are_taken),
        cmocka_unit_test(cells_that_nobody_reads),
        cmocka_unit_test(compressed_bias),
        cmocka_unit_test(inside_the_bound),
        cmocka_unit_test(verify_sees),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
