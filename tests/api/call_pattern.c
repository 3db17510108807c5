/* SPDX-License-Identifier: Apache-2.0 */
/* call_pattern.c — see call_pattern.h. */
#include "api/call_pattern.h"

int pattern_sizes(int cost) { return cost == QUICK || getenv("FATTN_TEST_FULL") ? 2 : 1; }

static bool packed(const pattern *p) { return strchr(p->in, 'T') != NULL; }

static int longest(const pattern *p, const int *length)
{
    int most = 0;
    for (int b = 0; b < p->batch; b++) most = length[b] > most ? length[b] : most;
    return most;
}

static int sum_of(const int *length, int count)
{
    int sum = 0;
    for (int b = 0; b < count; b++) sum += length[b];
    return sum;
}

int pattern_first(const pattern *p, const int *length, int b)
{
    return packed(p) ? sum_of(length, b) : 0;
}

/* ---- making ---------------------------------------------------------------------------------- */

static fattn_tensor *by_axes(const pattern *p, unsigned seed, const char *axes, int rows, int heads,
                             int d)
{
    int e[4] = {1, 1, 1, 1}, rank = 0;
    for (; axes[rank]; rank++)
        e[rank] = axes[rank] == 'B'   ? p->batch
                  : axes[rank] == 'N' ? heads
                  : axes[rank] == 'D' ? d
                  : axes[rank] == 'H' ? heads * d
                                      : rows;
    return rank == 3 ? tensor_new(p->dtype, seed, 3, e[0], e[1], e[2])
                     : tensor_new(p->dtype, seed, 4, e[0], e[1], e[2], e[3]);
}

static int blocks_of(const pattern *p, int b) { return (p->kv_len[b] + p->block - 1) / p->block; }
static int owners(const pattern *p) { return p->batch - p->dummies; }

static int cache_blocks(const pattern *p)
{
    int n = 2; /* block 0 and one that nobody owns */
    for (int b = 0; b < owners(p); b++) n += blocks_of(p, b);
    return n;
}

/* Block ids fall with the position, entries behind the last key hold p->unused. */
static void make_table(pattern *p)
{
    int next = cache_blocks(p) - 2, most = p->columns;
    for (int b = 0; b < p->batch && !p->columns; b++)
        most = blocks_of(p, b) + 2 > most ? blocks_of(p, b) + 2 : most;
    p->table = tensor_new(FATTN_I32, 0, 2, p->batch, most);
    for (int b = 0; b < p->batch; b++)
        for (int m = 0; m < most; m++)
            put2(p->table, b, m, m >= blocks_of(p, b) ? p->unused : b < owners(p) ? next-- : 0);
}

/* Index of channel c of a slot, for a tensor whose heads have d columns. */
static void cache_index(const pattern *p, const fattn_tensor *t, int block, int slot, int g, int d,
                        int c, int64_t *index)
{
    const int64_t chunk = p->keys == NZ ? t->shape[4] : 1;
    const int64_t forms[][5] = {[BNBSH] = {block, slot, g * d + c},
                                [BNNBSD] = {block, g, slot, c},
                                [NZ] = {block, g, c / chunk, slot, c % chunk}};
    memcpy(index, forms[p->keys], sizeof forms[0]);
}

static fattn_tensor *new_cache(const pattern *p, unsigned seed, int d)
{
    const int n = cache_blocks(p), g = p->kv_heads, c = 16; /* NZ: 32 bytes */
    return p->keys == BNBSH    ? tensor_new(p->dtype, seed, 3, n, p->block, g * d)
           : p->keys == BNNBSD ? tensor_new(p->dtype, seed, 4, n, g, p->block, d)
                               : tensor_new(p->dtype, seed, 5, n, g, d / c, p->block, c);
}

/* Slots behind the last key, and blocks of nobody but the dummies' first slot: NaN. */
static void spoil_unused(const pattern *p, fattn_tensor *t, int d)
{
    unsigned char *used = harness_alloc((size_t)(cache_blocks(p) * p->block));
    int64_t index[5];
    for (int b = 0; b < p->batch; b++)
        for (int j = 0; j < p->kv_len[b]; j++)
            used[(int)get2(p->table, b, j / p->block) * p->block + j % p->block] = 1;
    for (int at = 0; at < cache_blocks(p) * p->block; at++)
        for (int g = 0; g < p->kv_heads && !used[at]; g++)
            for (int c = 0; c < d; c++) {
                cache_index(p, t, at / p->block, at % p->block, g, d, c, index);
                put(t, index, (double)NAN);
            }
}

/* Rank-3 caches of equal rows are two views of one tensor [2, blocks, block, Nkv * D], as engines
 * hold them. */
static void make_joint_cache(pattern *p)
{
    const int width = p->kv_heads * p->d;
    fattn_tensor *both = tensor_new(p->dtype, p->seed + 2, 4, 2, cache_blocks(p), p->block, width);
    for (int i = 0; i < 2; i++) {
        fattn_tensor *view = harness_alloc(sizeof *view);
        *view = fattn_tensor_contiguous(both->data, p->dtype, 3, both->shape + 1);
        view->data = (char *)both->data + (size_t)i * tensor_bytes(view);
        *(i ? &p->v : &p->k) = view;
    }
}

static void make_caches(pattern *p)
{
    make_table(p);
    if (p->keys == BNBSH && p->d == p->d_v && !p->latent) {
        make_joint_cache(p);
    } else {
        p->k = new_cache(p, p->seed + 2, p->d);
        p->v = p->latent ? p->k : new_cache(p, p->seed + 3, p->d_v);
    }
    if (p->rope) p->k_rope = new_cache(p, p->seed + 4, p->rope);
    spoil_unused(p, p->k, p->d);
    if (p->v != p->k) spoil_unused(p, p->v, p->d_v);
    if (p->rope) spoil_unused(p, p->k_rope, p->rope);
}

void pattern_tensors(pattern *p)
{
    assert_true(p->batch <= PATTERN_BATCH);
    if (!p->q_room) p->q_room = longest(p, p->q_len);
    if (!p->kv_room) p->kv_room = longest(p, p->kv_len);
    if (!p->out_axes) p->out_axes = p->in;
    if (!p->seed) p->seed = (unsigned)p->name[0] * 100u + (unsigned)p->name[1];
    const int rows = packed(p) ? sum_of(p->q_len, p->batch) : p->q_room;
    const int kv_rows = packed(p) ? sum_of(p->kv_len, p->batch) : p->kv_room;
    p->q = by_axes(p, p->seed, p->in, rows, p->heads, p->d);
    if (p->rope) p->q_rope = by_axes(p, p->seed + 1, p->in, rows, p->heads, p->rope);
    if (p->keys != DENSE_KEYS) {
        make_caches(p);
        return;
    }
    p->k = by_axes(p, p->seed + 2, p->in, kv_rows, p->kv_heads, p->d);
    p->v = by_axes(p, p->seed + 3, p->in, kv_rows, p->kv_heads, p->d_v);
    if (p->rope) p->k_rope = by_axes(p, p->seed + 4, p->in, kv_rows, p->kv_heads, p->rope);
}

fattn_int_array ends_of(const int *length, int count)
{
    int64_t *list = harness_alloc((size_t)count * sizeof *list);
    for (int b = 0; b < count; b++) list[b] = sum_of(length, b + 1);
    return (fattn_int_array){list, count};
}

fattn_int_array counts_of(const int *length, int count)
{
    int64_t *list = harness_alloc((size_t)count * sizeof *list);
    for (int b = 0; b < count; b++) list[b] = length[b];
    return (fattn_int_array){list, count};
}

const fattn_tensor *triu_mask(fattn_dtype dtype, int rank)
{
    static unsigned char cells[TRIU][TRIU];
    static fattn_tensor views[FATTN_DTYPE_COUNT][5];
    static const int64_t shape[] = {1, 1, TRIU, TRIU};
    for (int i = 0; i < TRIU && !cells[0][1]; i++)
        memset(&cells[TRIU - 1 - i][TRIU - i], 1, (size_t)i);
    views[dtype][rank] = fattn_tensor_contiguous(cells, dtype, rank, shape + 4 - rank);
    return &views[dtype][rank];
}

void pattern_v1(const pattern *p, fattn_fused_infer_attention_score_args *a)
{
    fattn_fused_infer_attention_score_args_init(a);
    a->query = p->q, a->key = p->k, a->value = p->v;
    a->query_rope = p->q_rope, a->key_rope = p->k_rope;
    a->block_table = p->table, a->block_size = p->block;
    a->num_heads = p->heads, a->num_key_value_heads = p->kv_heads, a->scale = p->scale;
}

void pattern_v2(const pattern *p, fattn_fused_infer_attention_score_v2_args *a)
{
    fattn_fused_infer_attention_score_v2_args_init(a);
    a->query = p->q, a->key = p->k, a->value = p->v;
    a->query_rope = p->q_rope, a->key_rope = p->k_rope;
    a->block_table = p->table, a->block_size = p->block;
    a->num_query_heads = p->heads, a->num_key_value_heads = p->kv_heads,
    a->softmax_scale = p->scale;
}

void pattern_run_v1(pattern *p, fattn_fused_infer_attention_score_args *a)
{
    call_v1(a, p->name);
    p->out = a->attention_out, p->lse = a->softmax_lse_flag ? a->softmax_lse : NULL;
    pattern_check(p);
}

void pattern_run_v2(pattern *p, fattn_fused_infer_attention_score_v2_args *a)
{
    call_v2(a, p->name);
    p->out = a->attention_out, p->lse = a->return_softmax_lse ? a->softmax_lse : NULL;
    pattern_check(p);
}

void *pattern_workspace(const fattn_fused_infer_attention_score_args *a, size_t *bytes)
{
    EXPECT_OK(fattn_fused_infer_attention_score_workspace(plain_context(), a, bytes), "workspace");
    void *memory = aligned_alloc(64, (*bytes + 64) / 64 * 64);
    assert_non_null(memory);
    return memory;
}

void pattern_replay(const pattern *p, const fattn_fused_infer_attention_score_args *a,
                    void *workspace, size_t bytes)
{
    fattn_plan *plan = NULL;
    fill(p->out, (double)NAN);
    EXPECT_OK(fattn_fused_infer_attention_score_plan(plain_context(), a, &plan), "%s", p->name);
    assert_true(fattn_plan_workspace(plan) <= bytes);
    EXPECT_OK(fattn_plan_run(plan, a, workspace, bytes), "%s", p->name);
    fattn_plan_destroy(plan);
    pattern_check(p);
}

/* ---- the formula (spec inference 1) ---------------------------------------------------------- */

/* `n` columns of head h, row s of entry b. */
static void read_axes(const fattn_tensor *t, const char *axes, int b, int s, int h, int d,
                      double *into)
{
    int64_t index[4];
    for (int a = 0; axes[a]; a++)
        index[a] = axes[a] == 'B'   ? b
                   : axes[a] == 'N' ? h
                   : axes[a] == 'D' ? 0
                   : axes[a] == 'H' ? h * d
                                    : s;
    get_run(t, index, d, into);
}

static void read_query(const pattern *p, const fattn_tensor *t, int b, int i, int h, int d,
                       double *into)
{
    read_axes(t, p->in, b, pattern_first(p, p->q_len, b) + i, h, d, into);
}

static void read_key(const pattern *p, const fattn_tensor *t, int b, int j, int g, int d,
                     double *into)
{
    int64_t index[5];
    if (p->keys == DENSE_KEYS) {
        read_axes(t, p->in, b, pattern_first(p, p->kv_len, b) + j, g, d, into);
        return;
    }
    const int block = (int)get2(p->table, b, j / p->block),
              run = p->keys == NZ ? (int)t->shape[4] : d;
    for (int c = 0; c < d; c += run) {
        cache_index(p, t, block, j % p->block, g, d, c, index);
        get_run(t, index, run, into + c);
    }
}

static bool masked(const pattern *p, int b, int i, int j)
{
    const fattn_tensor *m = p->mask;
    if (!m) return false;
    if (m->rank == 2) return get2(m, i, j) != 0;
    const int64_t batch = m->shape[0] > 1 ? b : 0;
    return (m->rank == 3 ? get3(m, batch, i, j) : get4(m, batch, 0, i, j)) != 0;
}

static bool sees(const pattern *p, int b, int i, int j)
{
    const int64_t last = p->mode == 2 ? i : (int64_t)i + p->kv_len[b] - p->q_len[b];
    if (masked(p, b, i, j)) return false;
    if (p->mode == 4) return j >= last - p->pre && j <= last + p->next;
    return p->mode == 0 || j <= last;
}

static double values[MOST_KEYS][MOST_COLUMNS]; /* of the keys of one row */

static double value_of(const void *self, int key, int column)
{
    (void)self;
    return values[key][column];
}

static void add_key(const pattern *p, const double *q, int b, int h, int i, int j, naive_row *row)
{
    double k[MOST_COLUMNS + 64], s = 0, absolute = 0;
    const int g = h / (p->heads / p->kv_heads);
    const double bias = p->pse ? get4(p->pse, p->pse->shape[0] > 1 ? b : 0, h, i, j) : 0;
    read_key(p, p->k, b, j, g, p->d, k);
    if (p->rope) read_key(p, p->k_rope, b, j, g, p->rope, k + p->d);
    for (int c = 0; c < p->d + p->rope; c++) s += q[c] * k[c], absolute += fabs(q[c] * k[c]);
    assert_true(row->keys < MOST_KEYS);
    read_key(p, p->v, b, j, g, p->d_v, values[row->keys]);
    row->x[row->keys] = s * p->scale + bias;
    row->sigma[row->keys] = fabs(p->scale) * absolute + fabs(bias);
    row->key[row->keys] = row->keys, row->keys++;
}

void pattern_row(const pattern *const *parts, int n, int b, int h, int i, naive_row *row)
{
    const pattern *p = parts[0];
    double q[MOST_COLUMNS + 64];
    row->keys = 0, row->columns = p->d_v, row->d = p->d + p->rope;
    row->sink = p->sink ? get1(p->sink, h) : -(double)INFINITY;
    read_query(p, p->q, b, i, h, p->d, q);
    if (p->rope) read_query(p, p->q_rope, b, i, h, p->rope, q + p->d);
    for (int part = 0; part < n; part++)
        for (int j = 0; j < parts[part]->kv_len[b]; j++)
            if (sees(parts[part], b, i, j)) add_key(parts[part], q, b, h, i, j, row);
    if (row->keys > 0) {
        naive_finish(row, value_of, NULL);
        return;
    }
    memset(row->out, 0, sizeof row->out);
    memset(row->bound, 0, sizeof row->bound);
    row->lse = (double)INFINITY, row->stats_bound = 0;
}

/* ---- comparison ------------------------------------------------------------------------------ */

static double lse_at(const pattern *p, int b, int i, int h)
{
    return packed(p) ? get3(p->lse, pattern_first(p, p->q_len, b) + i, h, 0)
                     : get4(p->lse, b, h, i, 0);
}

static void check_row(const pattern *p, int b, int h, int i)
{
    static naive_row row;
    double got[MOST_COLUMNS];
    pattern_row(&p, 1, b, h, i, &row);
    read_axes(p->out, p->out_axes, b, pattern_first(p, p->q_len, b) + i, h, p->d_v, got);
    for (int c = 0; c < p->d_v; c++)
        if (!close_out(p->dtype, got[c], row.out[c], row.bound[c]))
            fail_msg("%s: out[b %d, row %d, head %d, column %d] is %.9g, not %.9g (bound %.2g)",
                     p->name, b, i, h, c, got[c], row.out[c], row.bound[c]);
    if (p->lse && !close_stat(lse_at(p, b, i, h), row.lse, row.stats_bound))
        fail_msg("%s: lse[b %d, row %d, head %d] is %.9g, not %.9g", p->name, b, i, h,
                 lse_at(p, b, i, h), row.lse);
}

/* Every row while that is cheap, else a sample. */
static bool looked_at(const pattern *p, int64_t at)
{
    enum { CHEAP = 1 << 18 }; /* pairs of row and key */
    const int64_t rows = (int64_t)p->heads * sum_of(p->q_len, p->batch);
    return rows * longest(p, p->kv_len) < CHEAP || sampled(at, rows);
}

void pattern_check(const pattern *p)
{
    int64_t at = 0;
    for (int b = 0; b < p->batch; b++)
        for (int h = 0; h < p->heads; h++)
            for (int i = 0; i < p->q_len[b]; i++)
                if (looked_at(p, at++)) check_row(p, b, h, i);
}
