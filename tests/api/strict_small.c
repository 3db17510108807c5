/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of strict_small.c (spec inference 12, 13, fusion-attention 10), one or more cases each.
 */
#include "api/strict_case.h"

static fattn_tensor *ints(int rank, int a, ...)
{
    va_list more;
    va_start(more, a);
    const int b = rank > 1 ? va_arg(more, int) : 0;
    va_end(more);
    return rank > 1 ? tensor_new(FATTN_I64, 0, 2, a, b) : tensor_new(FATTN_I64, 0, 1, a);
}

/* `n` rows, blocks of 4 slots, two blocks each. */
static strict_case *step(int n, int queries)
{
    strict_case *c = strict_case_new("advance_step_flashattn");
    fattn_advance_step_flashattn_args *s = &c->a.step;
    s->num_seqs = n, s->num_queries = queries, s->block_size = 4;
    s->input_tokens = ints(1, n), s->input_positions = ints(1, n), s->seq_lens = ints(1, n);
    s->slot_mapping = ints(1, n), s->block_tables = ints(2, n, 2);
    s->sampled_token_ids = ints(2, queries, 1);
    return c;
}

static fattn_tensor_array same(const fattn_tensor *t, int n)
{
    const fattn_tensor **items = harness_alloc((size_t)n * sizeof *items);
    for (int i = 0; i < n; i++) items[i] = t;
    return (fattn_tensor_array){items, n};
}

static fattn_tensor_array pair(const fattn_tensor *first, const fattn_tensor *second)
{
    const fattn_tensor **items = harness_alloc(2 * sizeof *items);
    items[0] = first, items[1] = second;
    return (fattn_tensor_array){items, 2};
}

static void parts(fattn_attention_update_args *u, fattn_dtype dtype, int n, int d)
{
    u->lse = same(tensor_new(FATTN_F32, 1, 1, 3), n);
    u->local_out = same(tensor_new(dtype, 2, 2, 3, d), n);
}

static strict_case *update(int n, int d)
{
    strict_case *c = strict_case_new("attention_update");
    parts(&c->a.update, FATTN_F32, n, d);
    c->a.update.update_type = 1;
    return c;
}

/* 0, 2, 3: two sequences in three tokens. */
static fattn_tensor *bounds(fattn_dtype dtype)
{
    fattn_tensor *t = tensor_new(dtype, 0, 1, 3);
    put1(t, 1, 2), put1(t, 2, 3);
    return t;
}

static void sides(fattn_ring_attention_update_args *r, int n, int d)
{
    r->prev_attn_out = r->cur_attn_out = tensor_new(FATTN_F32, 1, 3, 3, n, d);
    fattn_tensor *stats = tensor_new(FATTN_F32, 2, 3, 3, n, 8);
    fill(stats, 1);
    r->prev_softmax_max = r->prev_softmax_sum = r->cur_softmax_max = r->cur_softmax_sum = stats;
}

static strict_case *ring(const char *layout, int d)
{
    strict_case *c = strict_case_new("ring_attention_update");
    fattn_ring_attention_update_args *r = &c->a.ring;
    sides(r, 2, d);
    r->input_layout = layout, r->actual_seq_qlen = bounds(FATTN_I64);
    return c;
}

#define ROW(id, code, by_default, status, argument, made, ...)                                     \
    static strict_case *STRICT_NAME(__LINE__, make_)(void) { return made; }                        \
    static void STRICT_NAME(__LINE__, spoil_)(strict_case * c)                                     \
    {                                                                                              \
        fattn_advance_step_flashattn_args *s = &c->a.step;                                         \
        fattn_attention_update_args *u = &c->a.update;                                             \
        fattn_ring_attention_update_args *r = &c->a.ring;                                          \
        (void)s, (void)u, (void)r;                                                                 \
        __VA_ARGS__;                                                                               \
    }
#define ROWS_STEP
#define ROWS_UPDATE
#define ROWS_RING
#include "api/strict_small.def"
#undef ROW
#undef ROWS_UPDATE
#undef ROWS_RING

#define ROW(id, code, by_default, status, argument, made, ...)                                     \
    STRICT_ENTRY(id, code, by_default, status, argument, #__VA_ARGS__),
static const strict_test step_tests[] = {
#include "api/strict_small.def"
};
#undef ROWS_STEP
#define ROWS_UPDATE
static const strict_test update_tests[] = {
#include "api/strict_small.def"
};
#undef ROWS_UPDATE
#define ROWS_RING
static const strict_test ring_tests[] = {
#include "api/strict_small.def"
};

#define RUN(table, tests) strict_main(&table, tests, (int)(sizeof tests / sizeof tests[0]))

int main(void)
{
    return RUN(strict_advance_step, step_tests) + RUN(strict_attention_update, update_tests) +
           RUN(strict_ring_update, ring_tests);
}
