/* SPDX-License-Identifier: Apache-2.0 */
/* ring_training.c — ring attention in one process: keys and values in P parts, a forward each, merged by
 * ring_attention_update, a backward each with the merged statistics; the sum of the parts' gradients is
 * the undivided gradient within its bound. Even, uneven and empty parts, causal, dense and packed. */
#include "api/harness.h"

enum { B = 2, N = 4, NKV = 2, D = 16, S = 48, MOST_PARTS = 8 };

typedef struct ring {
    bool packed, causal;
    const char *stats; /* softmax_layout of packed calls */
    int64_t ends[B];   /* packed: where the sequences end */
    fattn_tensor *q, *k, *v, *dy, *out, *max, *sum;
    fattn_tensor *dq, *dk, *dv; /* sums of the parts */
} ring;

static fattn_tensor *tensor_for(const ring *r, unsigned seed, int rows, int heads)
{
    return r->packed ? tensor_new(FATTN_F32, seed, 3, rows * B, heads, D)
                     : tensor_new(FATTN_F32, seed, 3, rows, B, heads * D);
}

static fattn_tensor *stats_for(const ring *r)
{
    return r->packed ? tensor_new(FATTN_F32, 1, 3, S * B, N, 8)
                     : tensor_new(FATTN_F32, 1, 4, B, N, S, 8);
}

static ring make_ring(bool packed, bool causal, const char *stats)
{
    ring r = {.packed = packed, .causal = causal, .stats = stats, .ends = {S, 2 * S}};
    r.q = tensor_for(&r, 1, S, N), r.k = tensor_for(&r, 2, S, NKV), r.v = tensor_for(&r, 3, S, NKV);
    r.dy = tensor_for(&r, 4, S, N), r.out = tensor_for(&r, 5, S, N);
    r.max = stats_for(&r), r.sum = stats_for(&r);
    r.dq = tensor_for(&r, 6, S, N), r.dk = tensor_for(&r, 7, S, NKV);
    r.dv = tensor_for(&r, 8, S, NKV);
    fill(r.dq, 0), fill(r.dk, 0), fill(r.dv, 0);
    return r;
}

/* Rows [from, to) of every sequence of a key-like tensor, copied; `back` adds them to the whole. */
static fattn_tensor *rows_of(const ring *r, const fattn_tensor *whole, int from, int to, bool back,
                             fattn_tensor *part)
{
    const int n = to - from, width = NKV * D;
    if (!back) part = tensor_for(r, 9, n, NKV);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < n; i++)
            for (int c = 0; c < width; c++) {
                const int at =
                    r->packed ? (b * S + from + i) * width + c : ((from + i) * B + b) * width + c;
                const int to_at = r->packed ? (b * n + i) * width + c : (i * B + b) * width + c;
                if (back)
                    ((float *)whole->data)[at] += ((float *)part->data)[to_at];
                else
                    ((float *)part->data)[to_at] = ((float *)whole->data)[at];
            }
    return part;
}

/* What part [from, to) of the keys is for all queries: causal, the band that ends where it would in the
 * whole. Left-up origin: key j of the part is key from + j. */
typedef struct part_call {
    fattn_fusion_attention_args f;
    int64_t kv_ends[B];
    fattn_tensor *mask;
} part_call;

static void set_part(const ring *r, part_call *c, int from, int to)
{
    fattn_fusion_attention_args *f = &c->f;
    fattn_fusion_attention_args_init(f);
    f->query = r->q;
    f->key = rows_of(r, r->k, from, to, false, NULL);
    f->value = rows_of(r, r->v, from, to, false, NULL);
    f->input_layout = r->packed ? "TND" : "SBH";
    f->head_num = N, f->scale = 0.3;
    for (int b = 0; b < B; b++) c->kv_ends[b] = (to - from) * (b + 1);
    if (r->packed) {
        f->actual_seq_qlen = (fattn_int_array){r->ends, B};
        f->actual_seq_kvlen = (fattn_int_array){c->kv_ends, B};
        f->softmax_layout = r->stats;
    }
    if (!r->causal || to == from) return;
    c->mask = tensor_new(FATTN_BOOL, 0, 2, S, to - from);
    for (int i = 0; i < S; i++)
        for (int j = from; j < to; j++) put2(c->mask, i, j - from, j > i);
    f->atten_mask = c->mask, f->sparse_mode = 1;
}

static void forward_part(ring *r, int from, int to, bool first)
{
    part_call c;
    set_part(r, &c, from, to);
    fattn_tensor *out = tensor_like(r->out), *max = tensor_like(r->max), *sum = tensor_like(r->sum);
    c.f.attention_out = out, c.f.softmax_max = max, c.f.softmax_sum = sum;
    EXPECT_OK(fattn_fusion_attention(plain_context(), &c.f), "forward of keys %d..%d", from, to);
    if (first) {
        r->out = out, r->max = max, r->sum = sum;
        return;
    }
    const int64_t ends[] = {0, S, 2 * S};
    fattn_tensor *list = tensor_new(FATTN_I64, 0, 1, 3);
    memcpy(list->data, ends, sizeof ends);
    fattn_ring_attention_update_args u;
    fattn_ring_attention_update_args_init(&u);
    u.prev_attn_out = r->out, u.prev_softmax_max = r->max, u.prev_softmax_sum = r->sum;
    u.cur_attn_out = out, u.cur_softmax_max = max, u.cur_softmax_sum = sum;
    u.input_layout = r->packed ? "TND" : "SBH";
    if (r->packed) u.actual_seq_qlen = list, u.input_softmax_layout = r->stats;
    fattn_tensor *merged = tensor_like(out), *m = tensor_like(max), *l = tensor_like(sum);
    u.attn_out = merged, u.softmax_max = m, u.softmax_sum = l;
    EXPECT_OK(fattn_ring_attention_update(plain_context(), &u), "merge");
    r->out = merged, r->max = m, r->sum = l;
}

static void add(fattn_tensor *sum, const fattn_tensor *t)
{
    for (int64_t i = 0; i < tensor_count(sum); i++)
        ((float *)sum->data)[i] += ((const float *)t->data)[i];
}

static fattn_fusion_attention_grad_args grad_of(const ring *r, const part_call *c)
{
    fattn_fusion_attention_grad_args g;
    fattn_fusion_attention_grad_args_init(&g);
    g.query = c->f.query, g.key = c->f.key, g.value = c->f.value, g.dy = r->dy;
    g.head_num = N, g.scale_value = c->f.scale, g.input_layout = c->f.input_layout;
    g.atten_mask = c->f.atten_mask, g.sparse_mode = c->f.sparse_mode;
    g.actual_seq_qlen = c->f.actual_seq_qlen, g.actual_seq_kvlen = c->f.actual_seq_kvlen;
    g.softmax_layout = c->f.softmax_layout;
    g.softmax_max = r->max, g.softmax_sum = r->sum, g.attention_in = r->out;
    return g;
}

static void backward_part(ring *r, int from, int to)
{
    part_call c;
    set_part(r, &c, from, to);
    fattn_fusion_attention_grad_args g = grad_of(r, &c);
    fattn_tensor *dq = tensor_like(r->dq), *dk = tensor_like(g.key), *dv = tensor_like(g.value);
    g.dq = dq, g.dk = dk, g.dv = dv;
    EXPECT_OK(fattn_fusion_attention_grad(plain_context(), &g), "backward of keys %d..%d", from,
              to);
    add(r->dq, dq);
    rows_of(r, r->dk, from, to, true, dk);
    rows_of(r, r->dv, from, to, true, dv);
}

/* The undivided call's own verification takes the sums as if it had made them: its bound, to which the
 * few additions of the parts are small. */
static void check_ring(bool packed, bool causal, const char *stats, const int *cuts, int parts)
{
    ring r = make_ring(packed, causal, stats);
    for (int p = 0; p < parts; p++) forward_part(&r, cuts[p], cuts[p + 1], p == 0);
    for (int p = 0; p < parts; p++) backward_part(&r, cuts[p], cuts[p + 1]);

    part_call whole;
    fattn_verify_report report = {.size = sizeof report};
    set_part(&r, &whole, 0, S);
    whole.f.attention_out = r.out, whole.f.softmax_max = r.max, whole.f.softmax_sum = r.sum;
    EXPECT_OK(
        fattn_verify(plain_context(), fattn_operator_find("fusion_attention"), &whole.f, &report),
        "verify");
    if (!report.passed)
        fail_msg("%d parts, forward: %s %g", parts, report.worst_output, report.worst);
    fattn_fusion_attention_grad_args g = grad_of(&r, &whole);
    g.dq = r.dq, g.dk = r.dk, g.dv = r.dv;
    EXPECT_OK(
        fattn_verify(plain_context(), fattn_operator_find("fusion_attention_grad"), &g, &report),
        "verify");
    if (!report.passed)
        fail_msg("%d parts, backward: %s %g", parts, report.worst_output, report.worst);
    harness_reset();
}

static void rings(void **state)
{
    static const int uneven[][MOST_PARTS + 1] = {
        {0, 1, S}, {0, 0, 17, 17, 40, S}, {0, 47, S, S}, {0, 5, 5, 6, 30, 31, 48}};
    static const int counts[] = {2, 5, 3, 6};
    (void)state;
    for (int form = 0; form < 6; form++) {
        const bool packed = form >= 2, causal = form % 2;
        const char *stats = form >= 4 ? "TND" : "";
        for (int parts = 1; parts <= MOST_PARTS; parts++) {
            int cuts[MOST_PARTS + 1];
            for (int p = 0; p <= parts; p++) cuts[p] = p * S / parts;
            check_ring(packed, causal, stats, cuts, parts);
        }
        for (int i = 0; i < 4; i++) check_ring(packed, causal, stats, uneven[i], counts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
