/* SPDX-License-Identifier: Apache-2.0 */
/* call_patterns_merge.c — attention over parts of the keys, merged by attention_update: cached
 * context in chunks, context-parallel decode and prefill of vllm-ascend (spec inference 13, 15.1:
 * A9, A12, A16).
 *
 * Every part is checked by itself, then the merged rows against one row over the keys of all parts.
 */
#include "api/call_pattern.h"

typedef fattn_fused_infer_attention_score_args v1_args;

enum { PARTS = 3 };

static const double SCALE_192 = 0.07216878364870322, SCALE_128 = 0.08838834764831845;
static const double UNIT = 0x1p-24;

/* ---- merged rows ----------------------------------------------------------------------------- */

typedef struct merged {
    const pattern *parts[PARTS];
    int n;
    const fattn_tensor *out, *lse; /* fp32 [T*N,D], [T*N]; lse may be absent */
} merged;

/* What a part may be off by, weighted; what its lse may be off by, times what that moves; and the
 * merge's own fp32 rounding. */
static double allowed(const naive_row *whole, const naive_row *part, fattn_dtype dtype, int c)
{
    const double weight = exp(part->lse - whole->lse), lse = fabs(part->lse) + fabs(whole->lse);
    return weight * (allowed_out(dtype, part->out[c], part->bound[c]) +
                     fabs(part->out[c] - whole->out[c]) * (part->stats_bound + UNIT * lse) +
                     4 * UNIT * fabs(part->out[c]));
}

static void check_merged_row(const merged *m, int b, int h, int i, int64_t at)
{
    static naive_row whole, part[PARTS];
    for (int k = 0; k < m->n; k++) pattern_row(&m->parts[k], 1, b, h, i, &part[k]);
    pattern_row(m->parts, m->n, b, h, i, &whole);
    double lse_error = whole.keys > 0 ? UNIT * fabs(whole.lse) : 0; /* no key: exactly +inf */
    for (int k = 0; k < m->n; k++) lse_error = fmax(lse_error, 2 * part[k].stats_bound);
    for (int c = 0; c < whole.columns; c++) {
        double most = 0;
        for (int k = 0; k < m->n; k++)
            if (part[k].keys > 0) most += allowed(&whole, &part[k], m->parts[k]->dtype, c);
        const double got = get2(m->out, at, c);
        if (!(fabs(got - whole.out[c]) <= most))
            fail_msg(
                "%s merged: out[b %d, row %d, head %d, column %d] is %.9g, not %.9g (within %.2g)",
                m->parts[0]->name, b, i, h, c, got, whole.out[c], most);
    }
    if (m->lse && !close_stat(get1(m->lse, at), whole.lse, lse_error))
        fail_msg("%s merged: lse[b %d, row %d, head %d] is %.9g, not %.9g", m->parts[0]->name, b, i,
                 h, get1(m->lse, at), whole.lse);
}

static void check_merged(const merged *m)
{
    const pattern *p = m->parts[0];
    const int64_t rows = m->out->shape[0];
    int64_t t = 0;
    for (int b = 0; b < p->batch; b++)
        for (int i = 0; i < p->q_len[b]; i++, t++)
            for (int h = 0; h < p->heads; h++)
                if (rows < 300 || sampled(t * p->heads + h, rows))
                    check_merged_row(m, b, h, i, t * p->heads + h);
}

/* ---- inputs of the merge --------------------------------------------------------------------- */

typedef struct merge_inputs {
    const fattn_tensor *lse[PARTS], *out[PARTS];
} merge_inputs;

/* fp32 rows of D + 1 numbers, the last one the lse; `apart`: two tensors instead. [T,N,D] and
 * [T,N,1] flattened. */
static void widen(merge_inputs *m, int k, const fattn_tensor *out, const fattn_tensor *lse,
                  bool apart)
{
    const int d = (int)out->shape[2], heads = (int)out->shape[1], rows = (int)out->shape[0] * heads;
    fattn_tensor *both = tensor_new(FATTN_F32, 0, 2, rows, d + 1);
    fattn_tensor *rows_out = harness_alloc(sizeof *both), *rows_lse = harness_alloc(sizeof *both);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < d; c++) put2(both, r, c, get3(out, r / heads, r % heads, c));
        put2(both, r, d, get3(lse, r / heads, r % heads, 0));
    }
    *rows_out = *rows_lse = *both;
    rows_out->shape[1] = d;
    rows_lse->rank = 1, rows_lse->data = (float *)both->data + d;
    m->out[k] = rows_out, m->lse[k] = rows_lse;
    if (!apart) return;
    m->out[k] = tensor_like(rows_out), m->lse[k] = tensor_like(rows_lse);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < d; c++) put2(m->out[k], r, c, get2(rows_out, r, c));
        put1(m->lse[k], r, get1(rows_lse, r));
    }
}

/* A rank without keys writes its own part: 0 and -inf. */
static void no_part(merge_inputs *m, int k, const fattn_tensor *like)
{
    fattn_tensor *out =
        tensor_new(FATTN_F32, 0, 3, (int)like->shape[0], (int)like->shape[1], (int)like->shape[2]);
    fattn_tensor *lse = tensor_new(FATTN_F32, 0, 3, (int)like->shape[0], (int)like->shape[1], 1);
    fill(out, 0), fill(lse, -(double)INFINITY);
    widen(m, k, out, lse, false);
}

static void merge(const merge_inputs *in, int n, int update_type, merged *into)
{
    fattn_attention_update_args a;
    fattn_tensor shapes[2];
    fattn_attention_update_args_init(&a);
    a.lse = (fattn_tensor_array){in->lse, n}, a.local_out = (fattn_tensor_array){in->out, n};
    a.update_type = update_type;
    EXPECT_OK(fattn_attention_update_shapes(plain_context(), &a, shapes), "merge");
    a.out = into->out = tensor_like(&shapes[0]);
    if (update_type) a.lse_out = into->lse = tensor_like(&shapes[1]);
    EXPECT_OK(fattn_attention_update(plain_context(), &a), "merge");
}

/* ---- A9: context in chunks ------------------------------------------------------------------- */

/* New tokens, then two chunks of context; a sequence without context has no keys there. */
static const struct {
    int batch, heads, q_len[PATTERN_BATCH], context[2][PATTERN_BATCH];
} chunked[2] = {
    {4, 3, {5, 1, 9, 2}, {{64, 64, 0, 64}, {30, 0, 0, 64}}},
    {4, 16, {512, 1, 300, 64}, {{1024, 1024, 0, 1024}, {1024, 0, 0, 500}}},
};

static pattern chunk(int real, int k, const pattern *first)
{
    pattern p = {.name = "A9",
                 .dtype = FATTN_BF16,
                 .in = "TND",
                 .batch = chunked[real].batch,
                 .heads = chunked[real].heads,
                 .kv_heads = chunked[real].heads,
                 .d = 128,
                 .rope = 64,
                 .d_v = 128,
                 .mode = k ? 0 : 3,
                 .scale = SCALE_192,
                 .seed = 90u + 10u * (unsigned)k};
    memcpy(p.q_len, chunked[real].q_len, sizeof p.q_len);
    memcpy(p.kv_len, k ? chunked[real].context[k - 1] : chunked[real].q_len, sizeof p.kv_len);
    pattern_tensors(&p);
    if (first) p.q = first->q, p.q_rope = first->q_rope;
    return p;
}

static void a9_context_chunks(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p[PARTS];
        merge_inputs in;
        merged m = {.n = PARTS};
        for (int k = 0; k < PARTS; k++) {
            v1_args a;
            p[k] = chunk(real, k, k ? &p[0] : NULL), m.parts[k] = &p[k];
            pattern_v1(&p[k], &a);
            a.input_layout = "TND", a.softmax_lse_flag = true;
            a.actual_seq_lengths = ends_of(p[k].q_len, p[k].batch);
            a.actual_seq_lengths_kv = ends_of(p[k].kv_len, p[k].batch);
            if (k == 0) a.sparse_mode = 3, a.atten_mask = triu_mask(FATTN_I8, 2);
            pattern_run_v1(&p[k], &a);
            widen(&in, k, p[k].out, p[k].lse, true);
        }
        merge(&in, PARTS, 0, &m);
        check_merged(&m);
        harness_reset();
    }
}

/* ---- A12: context-parallel decode ------------------------------------------------------------ */

/* Keys per rank; the last request is padding and has none anywhere. */
static const struct {
    int batch, heads, kv_heads, kv_len[PARTS][PATTERN_BATCH];
} ranks[2] = {
    {4, 4, 2, {{130, 7, 0, 0}, {128, 0, 40, 0}, {100, 0, 0, 0}}},
    {5, 32, 8, {{2048, 700, 0, 129, 0}, {2048, 0, 4000, 0, 0}, {1500, 0, 1, 0, 0}}},
};

static pattern rank_of(int real, int k, const char *in, int rows)
{
    pattern p = {.name = "A12",
                 .dtype = FATTN_BF16,
                 .in = in,
                 .batch = ranks[real].batch,
                 .heads = ranks[real].heads,
                 .kv_heads = ranks[real].kv_heads,
                 .d = 128,
                 .d_v = 128,
                 .keys = BNBSH,
                 .block = 128,
                 .unused = -1,
                 .scale = SCALE_128,
                 .seed = 120u + 10u * (unsigned)k};
    for (int b = 0; b < p.batch; b++) p.q_len[b] = rows;
    memcpy(p.kv_len, ranks[real].kv_len[k], sizeof p.kv_len);
    pattern_tensors(&p);
    return p;
}

static void rank_args(pattern *p, v1_args *a)
{
    pattern_v1(p, a);
    a->input_layout = p->in, a->sparse_mode = 0, a->softmax_lse_flag = true;
    a->actual_seq_lengths_kv = counts_of(p->kv_len, p->batch);
}

static void a12_context_parallel_decode(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p[PARTS];
        merge_inputs in;
        merged m = {.n = PARTS};
        for (int k = 0; k < PARTS; k++) {
            v1_args a;
            p[k] = rank_of(real, k, "TND", 1), m.parts[k] = &p[k];
            p[k].q = p[0].q;
            rank_args(&p[k], &a);
            a.actual_seq_lengths = ends_of(p[k].q_len, p[k].batch);
            pattern_run_v1(&p[k], &a);
            widen(&in, k, p[k].out, p[k].lse, false);
        }
        merge(&in, PARTS, 1, &m);
        check_merged(&m);
        const int64_t last = m.out->shape[0] - 1; /* of the request that has no keys anywhere */
        assert_true(get2(m.out, last, 0) == 0 && get1(m.lse, last) == (double)INFINITY);
        harness_reset();
    }
}

/* Speculation: BSND with a bool mask of all positions; one rank may hold keys that only later
 * drafts see. */
static void a12_speculation_with_mask(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int k = 0; k < PARTS; k++) {
            enum { ROWS = 3, MOST = 8192 };
            pattern p = rank_of(real, k, "BSND", ROWS);
            v1_args a;
            const int width = real ? MOST : 512;
            fattn_tensor *mask = tensor_new(FATTN_BOOL, 0, 3, p.batch, ROWS, width);
            fill(mask, 1);
            for (int b = 0; b < p.batch; b++)
                for (int i = 0; i < ROWS; i++)
                    for (int j = 0; j < p.kv_len[b] - (ROWS - 1 - i); j++) put3(mask, b, i, j, 0);
            p.name = "A12 with drafts", p.mask = mask;
            rank_args(&p, &a);
            a.atten_mask = mask;
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* ---- A16: context-parallel prefill ----------------------------------------------------------- */

/* Local chunks of 192 columns without rope parts; the last rank holds nothing. */
static void a16_context_parallel_prefill(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p[PARTS];
        merge_inputs in;
        merged m = {.n = PARTS - 1};
        for (int k = 0; k < PARTS - 1; k++) {
            v1_args a;
            p[k] = chunk(real, k + 1, NULL), m.parts[k] = &p[k];
            p[k].name = "A16", p[k].d = 192, p[k].rope = 0, p[k].q_rope = p[k].k_rope = NULL;
            pattern_tensors(&p[k]);
            p[k].q = p[0].q;
            pattern_v1(&p[k], &a);
            a.input_layout = "TND", a.sparse_mode = 0, a.softmax_lse_flag = true;
            a.antiquant_mode = 0, a.antiquant_scale = NULL;
            a.actual_seq_lengths = ends_of(p[k].q_len, p[k].batch);
            a.actual_seq_lengths_kv = ends_of(p[k].kv_len, p[k].batch);
            pattern_run_v1(&p[k], &a);
            widen(&in, k, p[k].out, p[k].lse, false);
        }
        no_part(&in, PARTS - 1, p[0].out);
        merge(&in, PARTS, 0, &m);
        check_merged(&m);
        harness_reset();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a9_context_chunks),
        cmocka_unit_test(a12_context_parallel_decode),
        cmocka_unit_test(a12_speculation_with_mask),
        cmocka_unit_test(a16_context_parallel_prefill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
