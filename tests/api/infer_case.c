/* SPDX-License-Identifier: Apache-2.0 */
/* infer_case.c — see infer_case.h. */
#include "api/infer_case.h"

#include <float.h>

/* ---- making
 * -------------------------------------------------------------------------------------- */

static void set_common(infer_case *c, const char *layout)
{
    fattn_fused_infer_attention_score_args *a = &c->a;
    const int batch = c->letters[0] == 'T' ? 1 : c->b;
    fattn_fused_infer_attention_score_args_init(a);
    if (c->op == PROMPT) a->next_tokens = 0; /* its default */
    if (c->op == INCRE) a->inner_precise = 1;
    a->query = tensor_layout(c->dtype, 11, c->letters, batch, c->sq, c->n, c->d);
    a->key = tensor_layout(c->dtype, 12, c->letters, batch, c->skv, c->nkv, c->d);
    a->value = tensor_layout(c->dtype, 13, c->letters, batch, c->skv, c->nkv, c->dv);
    a->num_heads = c->n;
    a->num_key_value_heads = c->nkv == c->n ? 0 : c->nkv;
    a->input_layout = layout;
    a->scale = 0.7;
    a->softmax_lse_flag = c->op == FUSED;
    c->empty_lse = (double)INFINITY;
    c->mode = 1;
}

infer_case *padded_case(which op, const char *layout, fattn_dtype dtype, int b, int n, int nkv,
                        int sq, int skv, int d, int dv)
{
    infer_case *c = harness_alloc(sizeof *c);
    *c = (infer_case){.op = op,
                      .letters = layout,
                      .dtype = dtype,
                      .b = b,
                      .n = n,
                      .nkv = nkv,
                      .sq = sq,
                      .skv = skv,
                      .d = d,
                      .dv = dv};
    for (int i = 0; i < b; i++) c->q_len[i] = sq, c->k_len[i] = skv;
    set_common(c, layout);
    return c;
}

infer_case *packed_infer(which op, fattn_dtype dtype, int b, const int *q_len, const int *k_len,
                         int tail, int n, int nkv, int d, int dv)
{
    infer_case *c = harness_alloc(sizeof *c);
    *c = (infer_case){
        .op = op, .letters = "TND", .dtype = dtype, .b = b, .n = n, .nkv = nkv, .d = d, .dv = dv};
    int64_t *q_ends = harness_alloc(sizeof *q_ends * MOST_BATCH);
    int64_t *k_ends = harness_alloc(sizeof *k_ends * MOST_BATCH);
    for (int i = 0; i < b; i++) {
        c->q0[i] = c->sq, c->k0[i] = c->skv;
        c->q_len[i] = q_len[i], c->k_len[i] = k_len[i];
        c->sq += q_len[i], c->skv += k_len[i];
        q_ends[i] = c->sq, k_ends[i] = c->skv;
    }
    c->sq += tail, c->skv += tail;
    set_common(c, "TND");
    c->a.actual_seq_lengths = (fattn_int_array){q_ends, b};
    c->a.actual_seq_lengths_kv = (fattn_int_array){k_ends, b};
    return c;
}

static double dense_key(const infer_case *c, const fattn_tensor *t, int b, int j, int g, int x,
                        int head)
{
    return at_layout(t, c->letters, head, c->letters[0] == 'T' ? 0 : b, c->k0[b] + j, g, x);
}

static void put_cache(const infer_case *c, const fattn_tensor *t, int block, int slot, int g, int x,
                      int head, double value)
{
    if (c->cache == BNBSH)
        put3(t, block, slot, g * head + x, value);
    else if (c->cache == BNNBSD)
        put4(t, block, g, slot, x, value);
    else
        put4(t, block, slot, g, x, value);
}

static fattn_tensor *new_cache(const infer_case *c, int n_blocks, int head)
{
    const int bs = c->block_size, g = c->nkv;
    fattn_tensor *t = c->cache == BNBSH    ? tensor_new(c->dtype, 1, 3, n_blocks, bs, g * head)
                      : c->cache == BNNBSD ? tensor_new(c->dtype, 1, 4, n_blocks, g, bs, head)
                                           : tensor_new(c->dtype, 1, 4, n_blocks, bs, g, head);
    fill(t, (double)NAN);
    return t;
}

static int blocks_of(const infer_case *c, int b)
{
    return (c->k_len[b] + c->block_size - 1) / c->block_size;
}

void make_paged(infer_case *c, cache_form form, int block_size, fattn_dtype table_dtype)
{
    int used = 0, most = 0, next = 0;
    c->cache = form, c->block_size = block_size;
    for (int b = 0; b < c->b; b++) {
        used += blocks_of(c, b);
        if (blocks_of(c, b) > most) most = blocks_of(c, b);
    }
    const int n_blocks = used + 2;
    fattn_tensor *table = tensor_new(table_dtype, 0, 2, c->b, most + 1);
    fattn_tensor *key = new_cache(c, n_blocks, c->d), *value = new_cache(c, n_blocks, c->dv);
    fill(table, -1);
    for (int b = 0; b < c->b; b++)
        for (int p = 0; p < blocks_of(c, b); p++)
            put2(table, b, p, n_blocks - 1 - next++); /* backwards */
    for (int b = 0; b < c->b; b++)
        for (int j = 0; j < c->k_len[b]; j++) {
            const int block = (int)get2(table, b, j / block_size), slot = j % block_size;
            for (int g = 0; g < c->nkv; g++) {
                for (int x = 0; x < c->d; x++)
                    put_cache(c, key, block, slot, g, x, c->d,
                              dense_key(c, c->a.key, b, j, g, x, c->d));
                for (int x = 0; x < c->dv; x++)
                    put_cache(c, value, block, slot, g, x, c->dv,
                              dense_key(c, c->a.value, b, j, g, x, c->dv));
            }
        }
    int64_t *lengths = harness_alloc(sizeof *lengths * MOST_BATCH);
    for (int b = 0; b < c->b; b++) lengths[b] = c->k_len[b];
    c->a.key = key, c->a.value = value, c->a.block_table = table, c->a.block_size = block_size;
    c->a.actual_seq_lengths_kv = (fattn_int_array){lengths, c->b};
}

/* ---- reading
 * ------------------------------------------------------------------------------------- */

static double key_at(const infer_case *c, const fattn_tensor *t, int b, int j, int g, int x,
                     int head)
{
    if (c->cache == DENSE) return dense_key(c, t, b, j, g, x, head);
    const int64_t block = (int64_t)get2(c->a.block_table, b, j / c->block_size);
    const int slot = j % c->block_size;
    if (c->cache == BNBSH) return get3(t, block, slot, g * head + x);
    return c->cache == BNNBSD ? get4(t, block, g, slot, x) : get4(t, block, slot, g, x);
}

double out_at(const infer_case *c, int b, int h, int i, int x)
{
    return at_layout(c->a.attention_out, c->letters, c->dv, c->letters[0] == 'T' ? 0 : b,
                     c->letters[0] == 'T' ? c->q0[b] + i : i, h, x);
}

static bool in_band(const infer_case *c, int64_t distance)
{
    return distance >= -c->a.pre_tokens && distance <= c->a.next_tokens;
}

static bool predicate(const infer_case *c, int b, int i, int j)
{
    const int delta = c->k_len[b] - c->q_len[b];
    if (c->first_key && j > 0) return false;
    if (c->window && j < c->k_len[b] - c->window) return false;
    switch (c->mode) {
    case 0:
        return in_band(c, j - i);
    case 2:
        return j <= i;
    case 3:
        return j <= i + delta;
    case 4:
        return in_band(c, j - i - delta);
    default:
        return true;
    }
}

static bool masked(const infer_case *c, int b, int i, int j)
{
    const fattn_tensor *m = c->a.atten_mask;
    if (!c->use_mask) return false;
    const int64_t first = m->shape[0] > 1 ? b : 0;
    if (m->rank == 2) return get2(m, c->mask_row0 ? first : i, j) != 0;
    return (m->rank == 3 ? get3(m, first, i, j) : get4(m, first, 0, i, j)) != 0;
}

static double bias(const infer_case *c, int b, int h, int i, int j)
{
    const fattn_tensor *pse = c->a.pse_shift;
    return pse ? get4(pse, pse->shape[0] > 1 ? b : 0, pse->shape[1] > 1 ? h : 0, i, j) : 0;
}

/* ---- one row
 * ------------------------------------------------------------------------------------- */

typedef struct where {
    const infer_case *c;
    int b, h;
} where;

static double value_at(const void *self, int key, int column)
{
    const where *w = self;
    return key_at(w->c, w->c->a.value, w->b, key, w->h / (w->c->n / w->c->nkv), column, w->c->dv);
}

static void add_key(const infer_case *c, naive_row *row, int b, int h, int i, int j)
{
    const bool packed = c->letters[0] == 'T';
    double s = 0, absolute = 0;
    for (int x = 0; x < c->d; x++) {
        const double p = at_layout(c->a.query, c->letters, c->d, packed ? 0 : b,
                                   packed ? c->q0[b] + i : i, h, x) *
                         key_at(c, c->a.key, b, j, h / (c->n / c->nkv), x, c->d);
        s += p, absolute += fabs(p);
    }
    const double add = bias(c, b, h, i, j);
    assert_true(row->keys < MOST_KEYS);
    row->x[row->keys] = s * c->a.scale + add;
    row->sigma[row->keys] = fabs(c->a.scale) * absolute + fabs(add);
    row->key[row->keys++] = j;
}

static void empty_row(const infer_case *c, const where *w, int i, naive_row *row)
{
    int window[MOST_KEYS], n = 0;
    memset(row->out, 0, sizeof row->out);
    memset(row->bound, 0, sizeof row->bound);
    row->stats_bound = 0;
    row->lse = c->k_len[w->b] == 0 ? c->empty_lse : (double)INFINITY;
    for (int j = 0; j < c->k_len[w->b]; j++)
        if (predicate(c, w->b, i, j)) window[n++] = j;
    if (!c->mean || n == 0) return;
    row->lse = (double)(float)(c->mean_lse + log(n));
    row->stats_bound = fabs(row->lse) * 0x1p-22;
    for (int x = 0; x < c->dv; x++) {
        double sum = 0;
        for (int j = 0; j < n; j++) sum += value_at(w, window[j], x);
        row->out[x] = sum / n;
        row->bound[x] = 0x1p-24 * 2 * n;
    }
}

static void naive(const infer_case *c, int b, int h, int i, naive_row *row)
{
    const where w = {c, b, h};
    row->keys = 0, row->columns = c->dv, row->d = c->d;
    row->sink = -(double)INFINITY;
    for (int j = 0; j < c->k_len[b]; j++)
        if (predicate(c, b, i, j) && !masked(c, b, i, j)) add_key(c, row, b, h, i, j);
    if (row->keys == 0)
        empty_row(c, &w, i, row);
    else
        naive_finish(row, value_at, &w);
}

/* ---- calling
 * ------------------------------------------------------------------------------------- */

static fattn_status call_prompt(infer_case *c, fattn_context *context, fattn_tensor *shapes)
{
    fattn_prompt_flash_attention_args a;
    fattn_prompt_flash_attention_args_init(&a);
    a.query = c->a.query, a.key = c->a.key, a.value = c->a.value;
    a.atten_mask = c->a.atten_mask, a.pse_shift = c->a.pse_shift;
    a.actual_seq_lengths = c->a.actual_seq_lengths;
    a.actual_seq_lengths_kv = c->a.actual_seq_lengths_kv;
    a.num_heads = c->a.num_heads, a.num_key_value_heads = c->a.num_key_value_heads;
    a.scale_value = c->a.scale, a.input_layout = c->a.input_layout;
    a.pre_tokens = c->a.pre_tokens, a.next_tokens = c->a.next_tokens;
    a.sparse_mode = c->a.sparse_mode;
    a.attention_out = c->a.attention_out;
    return shapes ? fattn_prompt_flash_attention_shapes(context, &a, shapes)
                  : fattn_prompt_flash_attention(context, &a);
}

static fattn_status call_incre(infer_case *c, fattn_context *context, fattn_tensor *shapes)
{
    fattn_incre_flash_attention_args a;
    fattn_incre_flash_attention_args_init(&a);
    a.query = c->a.query, a.key = c->a.key, a.value = c->a.value;
    a.atten_mask = c->a.atten_mask, a.pse_shift = c->a.pse_shift;
    a.actual_seq_lengths = c->a.actual_seq_lengths_kv;
    a.block_table = c->a.block_table, a.block_size = c->a.block_size;
    a.num_heads = c->a.num_heads, a.num_key_value_heads = c->a.num_key_value_heads;
    a.scale_value = c->a.scale, a.input_layout = c->a.input_layout;
    a.inner_precise = c->a.inner_precise;
    a.attention_out = c->a.attention_out;
    return shapes ? fattn_incre_flash_attention_shapes(context, &a, shapes)
                  : fattn_incre_flash_attention(context, &a);
}

static fattn_status call_op(infer_case *c, fattn_context *context, fattn_tensor *shapes)
{
    if (c->op == PROMPT) return call_prompt(c, context, shapes);
    if (c->op == INCRE) return call_incre(c, context, shapes);
    return shapes ? fattn_fused_infer_attention_score_shapes(context, &c->a, shapes)
                  : fattn_fused_infer_attention_score(context, &c->a);
}

fattn_status call_infer(infer_case *c)
{
    fattn_context *context = c->strict ? strict_context() : plain_context();
    fattn_tensor shapes[2];
    const fattn_status status = call_op(c, context, shapes);
    if (status != FATTN_OK) return status;
    if (!c->a.attention_out) c->a.attention_out = tensor_like(&shapes[0]);
    if (c->op == FUSED && !c->a.softmax_lse) c->a.softmax_lse = tensor_like(&shapes[1]);
    return call_op(c, context, NULL);
}

/* ---- comparison
 * ---------------------------------------------------------------------------------- */

static double lse_at(const infer_case *c, int b, int h, int i)
{
    if (c->letters[0] == 'T') return get3(c->a.softmax_lse, c->q0[b] + i, h, 0);
    return get4(c->a.softmax_lse, b, h, i, 0);
}

static void check_row(const infer_case *c, int b, int h, int i, const char *what)
{
    static naive_row row;
    naive(c, b, h, i, &row);
    for (int x = 0; x < c->dv; x++) {
        const double got = out_at(c, b, h, i, x);
        if (!close_out(c->dtype, got, row.out[x], row.bound[x]))
            fail_msg("%s: out[b %d, head %d, row %d, column %d] is %.9g, not %.9g (bound %.2g)",
                     what, b, h, i, x, got, row.out[x], row.bound[x]);
    }
    if (c->op != FUSED || !c->a.softmax_lse_flag) return;
    if (!close_stat(lse_at(c, b, h, i), row.lse, row.stats_bound))
        fail_msg("%s: lse[b %d, head %d, row %d] is %.9g, not %.9g", what, b, h, i,
                 lse_at(c, b, h, i), row.lse);
}

/* Rows of nobody: out 0, lse +inf. */
static void check_pad(const infer_case *c, int b, int h, int i, const char *what)
{
    for (int x = 0; x < c->dv; x++)
        if (out_at(c, b, h, i, x) != 0)
            fail_msg("%s: padding row b %d, row %d is not 0", what, b, i);
    if (c->op == FUSED && c->a.softmax_lse_flag && lse_at(c, b, h, i) != (double)INFINITY)
        fail_msg("%s: lse of padding row b %d, row %d is not +inf", what, b, i);
}

void check_infer(infer_case *c, const char *what)
{
    EXPECT_OK(call_infer(c), "%s", what);
    const bool packed = c->letters[0] == 'T';
    int covered = 0;
    for (int b = 0; b < c->b; b++) {
        covered += c->q_len[b];
        for (int h = 0; h < c->n; h++) {
            for (int i = 0; i < c->q_len[b]; i++) check_row(c, b, h, i, what);
            for (int i = c->q_len[b]; !packed && i < c->sq; i++) check_pad(c, b, h, i, what);
        }
    }
    for (int t = covered; packed && t < c->sq; t++)
        for (int h = 0; h < c->n; h++) check_pad(c, 0, h, t, what);
    if (c->op == FUSED && !c->a.softmax_lse_flag)
        assert_true(*(float *)c->a.softmax_lse->data == 0);
}
