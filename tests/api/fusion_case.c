/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_case.c — see fusion_case.h. */
#include "api/fusion_case.h"

#include <float.h>

static void set_common(fusion_case *c, const char *layout)
{
    fattn_fusion_attention_args *a = &c->a;
    fattn_fusion_attention_args_init(a);
    a->query =
        tensor_layout(c->dtype, 11, c->letters, c->letters[0] == 'T' ? 1 : c->b, c->sq, c->n, c->d);
    a->key = tensor_layout(c->dtype, 12, c->letters, c->letters[0] == 'T' ? 1 : c->b, c->skv,
                           c->nkv, c->d);
    a->value = tensor_layout(c->dtype, 13, c->letters, c->letters[0] == 'T' ? 1 : c->b, c->skv,
                             c->nkv, c->dv);
    a->head_num = c->n;
    a->input_layout = layout;
    a->scale = 0.7;
}

fusion_case *dense_case(const char *layout, fattn_dtype dtype, int b, int n, int nkv, int sq,
                        int skv, int d, int dv)
{
    fusion_case *c = harness_alloc(sizeof *c);
    *c = (fusion_case){.letters = strcmp(layout, "BSNH") == 0 ? "BSND" : layout,
                       .dtype = dtype,
                       .b = b,
                       .n = n,
                       .nkv = nkv,
                       .sq = sq,
                       .skv = skv,
                       .d = d,
                       .dv = dv,
                       .rows = sq,
                       .mode = 1,
                       .special = -1};
    assert_true(b <= MOST_BATCH);
    for (int i = 0; i < b; i++) c->q_len[i] = sq, c->k_len[i] = skv;
    set_common(c, layout);
    return c;
}

fusion_case *packed_case(fattn_dtype dtype, int b, const int *q_len, const int *k_len, int tail,
                         int n, int nkv, int d, int dv)
{
    fusion_case *c = harness_alloc(sizeof *c);
    *c = (fusion_case){.letters = "TND",
                       .dtype = dtype,
                       .b = b,
                       .n = n,
                       .nkv = nkv,
                       .d = d,
                       .dv = dv,
                       .mode = 1,
                       .special = -1};
    int64_t *q_ends = harness_alloc(sizeof *q_ends * MOST_BATCH);
    int64_t *k_ends = harness_alloc(sizeof *k_ends * MOST_BATCH);
    for (int i = 0; i < b; i++) {
        c->q0[i] = c->sq, c->k0[i] = c->skv;
        c->q_len[i] = q_len[i], c->k_len[i] = k_len[i];
        c->sq += q_len[i], c->skv += k_len[i];
        q_ends[i] = c->sq, k_ends[i] = c->skv;
    }
    c->rows = c->sq;
    c->sq += tail, c->skv += tail;
    set_common(c, "TND");
    c->a.actual_seq_qlen = (fattn_int_array){q_ends, b};
    c->a.actual_seq_kvlen = (fattn_int_array){k_ends, b};
    for (int t = 0; t < tail; t++) { /* nobody may look at these */
        for (int h = 0; h < nkv; h++) {
            for (int x = 0; x < d; x++) put3(c->a.key, c->skv - 1 - t, h, x, NAN);
            for (int x = 0; x < dv; x++) put3(c->a.value, c->skv - 1 - t, h, x, NAN);
        }
    }
    return c;
}

static bool packed(const fusion_case *c) { return c->letters[0] == 'T'; }

static double cell_of(const fusion_case *c, const fattn_tensor *t, const int *start, int b, int s,
                      int h, int x, int head_dim)
{
    return at_layout(t, c->letters, head_dim, packed(c) ? 0 : b, start[b] + s, h, x);
}

/* ---- mask
 * ---------------------------------------------------------------------------------------- */

static bool in_band(const fusion_case *c, int64_t distance)
{
    return distance >= -c->a.pre_tokens && distance <= c->a.next_tokens;
}

static bool predicate(const fusion_case *c, int b, int i, int j)
{
    const int delta = c->k_len[b] - c->q_len[b];
    switch (c->mode) {
    case 0:
        return in_band(c, j - i);
    case 2:
        return j <= i;
    case 3:
        return j <= i + delta;
    case 4:
        return in_band(c, j - i - delta);
    case 6:
        return j <= i + delta || j < c->a.prefix.data[b];
    case 7:
        return b == c->special ? in_band(c, j - i - delta) : j <= i + delta;
    case 8:
        return b == c->special ? in_band(c, j - i - delta) : j <= i;
    default:
        return true;
    }
}

static bool masked(const fusion_case *c, int b, int h, int i, int j)
{
    const fattn_tensor *m = c->a.atten_mask;
    if (!c->use_mask) return false;
    if (m->rank == 2) {
        const bool blocks = c->mask_form == MASK_BLOCKS;
        return get2(m, blocks ? c->q0[b] + i : i, blocks ? c->k0[b] + j : j) != 0;
    }
    return get4(m, m->shape[0] > 1 ? b : 0, m->shape[1] > 1 ? h : 0, m->shape[2] > 1 ? i : 0, j) !=
           0;
}

/* ---- bias
 * ---------------------------------------------------------------------------------------- */

static int cells_before(const fusion_case *c, int b, bool rows)
{
    int sum = 0;
    for (int i = 0; i < b; i++) sum += c->n * (rows ? c->q_len[i] : 1) * c->k_len[i];
    return sum;
}

static double slope_bias(const fusion_case *c, int b, int h, int i, int j)
{
    const fattn_tensor *pse = c->a.pse;
    const bool shifted = !packed(c) || b == 0;
    const double q0 = shifted && c->a.q_start_idx.count ? (double)c->a.q_start_idx.data[0] : 0;
    const double k0 = shifted && c->a.kv_start_idx.count ? (double)c->a.kv_start_idx.data[0] : 0;
    const double distance = fabs((j + k0) - (i + q0));
    const double slope = pse->rank == 1 ? get1(pse, h) : get2(pse, b, h);
    return -slope * (c->a.pse_type == 2 ? distance : sqrt(distance));
}

static double bias(const fusion_case *c, int b, int h, int i, int j)
{
    const fattn_tensor *pse = c->a.pse;
    if (!pse) return 0;
    if (c->a.pse_type >= 2) return slope_bias(c, b, h, i, j);
    const int lq = c->q_len[b], lk = c->k_len[b];
    if (c->pse_form == PSE_FLAT) return get1(pse, cells_before(c, b, true) + (h * lq + i) * lk + j);
    if (c->pse_form == PSE_FLAT_ROWS) return get1(pse, cells_before(c, b, false) + h * lk + j);
    const int64_t pb = pse->shape[0] > 1 ? b : 0;
    /* the last stored row holds every distance */
    if (c->pse_form == PSE_COMPRESSED) return get4(pse, pb, h, 1023, c->pse_total - 1 - (i - j));
    return get4(pse, pb, h, pse->shape[2] > 1 ? i : 0, j);
}

/* ---- one row
 * ------------------------------------------------------------------------------------- */

typedef struct where {
    const fusion_case *c;
    int b, h;
} where;

static double value_at(const void *self, int key, int column)
{
    const where *w = self;
    const fusion_case *c = w->c;
    return cell_of(c, c->a.value, c->k0, w->b, key, w->h / (c->n / c->nkv), column, c->dv);
}

static void add_key(const fusion_case *c, naive_row *row, int b, int h, int i, int j)
{
    const int g = h / (c->n / c->nkv);
    double s = 0, absolute = 0;
    for (int x = 0; x < c->d; x++) {
        const double p = cell_of(c, c->a.query, c->q0, b, i, h, x, c->d) *
                         cell_of(c, c->a.key, c->k0, b, j, g, x, c->d);
        s += p, absolute += fabs(p);
    }
    for (int x = 0; x < c->dr; x++) {
        const double p = cell_of(c, c->a.query_rope, c->q0, b, i, h, x, c->dr) *
                         cell_of(c, c->a.key_rope, c->k0, b, j, g, x, c->dr);
        s += p, absolute += fabs(p);
    }
    const double add = bias(c, b, h, i, j), scale = c->a.scale;
    const bool before = c->a.pse_type == 1;
    assert_true(row->keys < MOST_KEYS);
    row->x[row->keys] = before ? (s + add) * scale : s * scale + add;
    row->sigma[row->keys] =
        fabs(scale) * (absolute + (before ? fabs(add) : 0)) + (before ? 0 : fabs(add));
    row->key[row->keys++] = j;
}

/* What a row without a key holds (include/fattn/attention.h; strict: spec 2.3). */
static void empty_row(const fusion_case *c, const where *w, int i, naive_row *row)
{
    memset(row->out, 0, sizeof row->out);
    memset(row->bound, 0, sizeof row->bound);
    row->stats_bound = 0;
    if (c->a.sink) {
        row->max = get1(c->a.sink, w->h), row->sum = 1;
        return;
    }
    /* no key in this sequence: case (c); no key in any: case (e) */
    const bool nothing = c->k_len[w->b] == 0 && (c->strict || c->skv == 0);
    row->max = nothing ? 0 : -(double)FLT_MAX;
    row->sum = nothing ? 0 : (double)FLT_MAX;
    if (!c->mean || !c->k_len[w->b]) return;
    int window[MOST_KEYS], n = 0;
    for (int j = 0; j < c->k_len[w->b]; j++)
        if (predicate(c, w->b, i, j)) window[n++] = j;
    if (n == 0)
        for (int j = 0; j < c->k_len[w->b]; j++) window[n++] = j;
    row->sum = n;
    for (int x = 0; x < c->dv; x++) {
        double sum = 0;
        for (int j = 0; j < n; j++) sum += value_at(w, window[j], x);
        row->out[x] = sum / n;
        row->bound[x] = 0x1p-24 * 2 * n;
    }
}

void case_row(const fusion_case *c, int b, int h, int i, naive_row *row)
{
    const where w = {c, b, h};
    row->keys = 0, row->columns = c->dv, row->d = c->d + c->dr;
    row->sink = c->a.sink ? get1(c->a.sink, h) : -INFINITY;
    for (int j = 0; j < c->k_len[b]; j++)
        if (predicate(c, b, i, j) && !masked(c, b, h, i, j)) add_key(c, row, b, h, i, j);
    if (row->keys == 0)
        empty_row(c, &w, i, row);
    else
        naive_finish(row, value_at, &w);
}

/* ---- comparison
 * ---------------------------------------------------------------------------------- */

int64_t stat_at(const fusion_case *c, int b, int h, int i)
{
    if (!packed(c)) return (((int64_t)b * c->n + h) * c->sq + i) * 8;
    if (c->a.softmax_layout && *c->a.softmax_layout)
        return ((int64_t)(c->q0[b] + i) * c->n + h) * 8;
    return ((int64_t)c->q0[b] * c->n + (int64_t)h * c->q_len[b] + i) * 8;
}

static void check_row(const fusion_case *c, int b, int h, int i, const char *what)
{
    static naive_row row;
    case_row(c, b, h, i, &row);
    for (int x = 0; x < c->dv; x++) {
        const double got = cell_of(c, c->a.attention_out, c->q0, b, i, h, x, c->dv);
        if (!close_out(c->dtype, got, row.out[x], row.bound[x]))
            fail_msg("%s: out[b %d, head %d, row %d, column %d] is %.9g, not %.9g (bound %.2g)",
                     what, b, h, i, x, got, row.out[x], row.bound[x]);
    }
    const float *max = c->a.softmax_max->data, *sum = c->a.softmax_sum->data;
    for (int copy = 0; copy < 8; copy++) {
        const int64_t at = stat_at(c, b, h, i) + copy;
        const double got_max = (double)max[at], got_sum = (double)sum[at];
        const bool sum_fits = row.stats_bound == 0
                                  ? got_sum == row.sum
                                  : close_stat(log(got_sum), log(row.sum), row.stats_bound);
        if (!close_stat(got_max, row.stats_bound == 0 ? (double)(float)row.max : row.max,
                        row.stats_bound))
            fail_msg("%s: max[b %d, head %d, row %d, copy %d] is %.9g, not %.9g", what, b, h, i,
                     copy, got_max, row.max);
        if (!sum_fits)
            fail_msg("%s: sum[b %d, head %d, row %d, copy %d] is %.9g, not %.9g", what, b, h, i,
                     copy, got_sum, row.sum);
    }
}

/* Rows past the covered tokens: zeros everywhere. */
static void check_tail(const fusion_case *c, const char *what)
{
    const float *max = c->a.softmax_max->data, *sum = c->a.softmax_sum->data;
    for (int t = c->rows; packed(c) && t < c->sq; t++)
        for (int h = 0; h < c->n; h++)
            for (int x = 0; x < c->dv; x++)
                if (get3(c->a.attention_out, t, h, x) != 0)
                    fail_msg("%s: row %d past the sequences is not 0", what, t);
    for (int64_t at = (int64_t)c->rows * c->n * 8; packed(c) && at < (int64_t)c->sq * c->n * 8;
         at++)
        if (max[at] != 0 || sum[at] != 0)
            fail_msg("%s: statistics past the sequences are not 0", what);
}

static int64_t rows_in(const fusion_case *c)
{
    int64_t rows = 0;
    for (int b = 0; b < c->b; b++) rows += (int64_t)c->n * c->q_len[b];
    return rows;
}

fattn_status call_case(fusion_case *c)
{
    fattn_tensor shapes[3];
    fattn_context *context = c->strict ? strict_context() : plain_context();
    const fattn_status status = fattn_fusion_attention_shapes(context, &c->a, shapes);
    if (status != FATTN_OK) return status;
    if (!c->a.attention_out) c->a.attention_out = tensor_like(&shapes[0]);
    if (!c->a.softmax_max) c->a.softmax_max = tensor_like(&shapes[1]);
    if (!c->a.softmax_sum) c->a.softmax_sum = tensor_like(&shapes[2]);
    return fattn_fusion_attention(context, &c->a);
}

void check_case(fusion_case *c, const char *what)
{
    int64_t numels = -1, pairs = 0, at = 0;
    c->a.numels = &numels;
    EXPECT_OK(call_case(c), "%s", what);
    for (int b = 0; b < c->b; b++) {
        pairs += (int64_t)c->q_len[b] * c->k_len[b];
        for (int h = 0; h < c->n; h++)
            for (int i = 0; i < c->q_len[b]; i++)
                if (!c->sampled || sampled(at++, rows_in(c))) check_row(c, b, h, i, what);
    }
    check_tail(c, what);
    if (numels != pairs * c->n)
        fail_msg("%s: numels is %lld, not %lld", what, (long long)numels, (long long)pairs * c->n);
    c->a.numels = NULL;
}
