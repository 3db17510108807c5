/* SPDX-License-Identifier: Apache-2.0 */
/* call_patterns_training.c — how frameworks call fusion_attention (spec fusion-attention, end of
 * 12): BSND without mask, BSND and TND with the 2048 x 2048 mask, SBH with a mask of every cell and
 * tokens, tiles of ring attention. */
#include "api/call_pattern.h"
#include "api/fusion_case.h"

static const int sizes[2] = {37, 1500}; /* S, reduced and real */

static fusion_case *framework_case(int real, const char *layout, int b, int s)
{
    const int heads = real ? 16 : 4, d = real ? 128 : 32;
    fusion_case *c = dense_case(layout, FATTN_BF16, b, heads, heads / 2, s, s, d, d);
    c->sampled = real, c->a.scale = 1 / sqrt(d);
    return c;
}

/* Five positional arguments; pse and padding_mask are absent as given. */
static void t12_bsnd_full(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        fusion_case *c = framework_case(real, "BSND", 2, sizes[real]);
        c->a.pse = c->a.padding_mask = NULL;
        check_case(c, "BSND, no mask");
        assert_int_equal(warnings(), 0);
        harness_reset();
    }
}

static void t12_bsnd_causal(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int mode = 2; mode <= 3; mode++)
            for (int bits = 0; bits < 2; bits++) {
                fusion_case *c = framework_case(real, "BSND", 2, sizes[real]);
                c->mode = mode, c->a.sparse_mode = mode;
                c->a.atten_mask = triu_mask(bits ? FATTN_U8 : FATTN_BOOL, 2);
                check_case(c, "BSND, compressed mask");
                harness_reset();
            }
}

/* Packed sequences; a repeated end is an empty one. */
static void t12_tnd_causal(void **state)
{
    (void)state;
    static const int lengths[2][5] = {{9, 0, 1, 30, 4}, {700, 0, 1, 1024, 259}};
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int mode = 2; mode <= 3; mode++) {
            const int heads = real ? 16 : 4, d = real ? 128 : 32;
            fusion_case *c =
                packed_case(FATTN_BF16, 5, lengths[real], lengths[real], 0, heads, heads, d, d);
            c->sampled = real, c->a.scale = 1 / sqrt(d);
            c->mode = mode, c->a.sparse_mode = mode, c->a.atten_mask = triu_mask(FATTN_BOOL, 2);
            if (mode == 3) c->a.softmax_layout = "TND";
            check_case(c, "TND, compressed mask");
            harness_reset();
        }
}

/* Megatron: a mask [1,1,S,S] in mode 0 with pre 65536 and next 0. */
static void t12_sbh_dense_mask(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        const int s = sizes[real];
        fusion_case *c = framework_case(real, "SBH", 2, s);
        fattn_tensor *mask = tensor_new(FATTN_BOOL, 0, 4, 1, 1, s, s);
        for (int i = 0; i < s; i++)
            for (int j = 0; j < s; j++) put4(mask, 0, 0, i, j, j > i || (j + 2 * i) % 11 == 3);
        c->a.atten_mask = mask, c->use_mask = true, c->mode = 0;
        c->a.sparse_mode = 0, c->a.pre_tokens = 65536, c->a.next_tokens = 0;
        put4(mask, 0, 0, 0, 0, 0); /* row 0 sees itself */
        check_case(c, "SBH, dense mask");
        assert_int_equal(warnings(), 0);
        harness_reset();
    }
}

/* ---- ring attention -------------------------------------------------------------------------- */

enum { TILES = 3 };

/* Rows [from, from + rows) of an SBH tensor, where they are. */
static const fattn_tensor *tile_of(const fattn_tensor *t, int from, int rows)
{
    fattn_tensor *view = harness_alloc(sizeof *view);
    *view = *t;
    view->shape[0] = rows;
    view->data = (char *)t->data + (size_t)(from * t->strides[0]) * fattn_dtype_size(t->dtype);
    return view;
}

/* Queries of tile q against keys of tile k: causal on the diagonal, everything left of it. */
static fusion_case *tile_case(const fusion_case *whole, int q, int k, int rows)
{
    fusion_case *c = harness_alloc(sizeof *c);
    *c = *whole;
    c->sq = c->skv = c->rows = rows, c->mode = q == k ? 3 : 1;
    for (int b = 0; b < c->b; b++) c->q_len[b] = c->k_len[b] = rows;
    c->a.query = tile_of(whole->a.query, q * rows, rows);
    c->a.key = tile_of(whole->a.key, k * rows, rows),
    c->a.value = tile_of(whole->a.value, k * rows, rows);
    c->a.atten_mask = q == k ? triu_mask(FATTN_BOOL, 2) : NULL;
    c->a.sparse_mode = q == k ? 3 : 0;
    c->a.attention_out = c->a.softmax_max = c->a.softmax_sum = NULL;
    return c;
}

typedef struct ring_state {
    const fattn_tensor *out, *max, *sum;
} ring_state;

static void ring_step(ring_state *have, const fusion_case *tile)
{
    fattn_ring_attention_update_args a;
    fattn_ring_attention_update_args_init(&a);
    a.prev_attn_out = have->out, a.prev_softmax_max = have->max, a.prev_softmax_sum = have->sum;
    a.cur_attn_out = tile->a.attention_out, a.cur_softmax_max = tile->a.softmax_max;
    a.cur_softmax_sum = tile->a.softmax_sum;
    a.input_layout = "SBH";
    a.attn_out = tensor_like(have->out), a.softmax_max = tensor_like(have->max),
    a.softmax_sum = tensor_like(have->sum);
    EXPECT_OK(fattn_ring_attention_update(plain_context(), &a), "ring");
    *have = (ring_state){a.attn_out, a.softmax_max, a.softmax_sum};
}

/* Tiles are fp32 here, so that the merge adds rounding of that size only: a few units per step. */
static void check_ring_rows(fusion_case *whole, int q, int rows, const ring_state *got)
{
    static naive_row row;
    for (int b = 0; b < whole->b; b++)
        for (int h = 0; h < whole->n; h++)
            for (int i = 0; i < rows; i++) {
                const int64_t at = ((int64_t)(b * whole->n + h)) * rows + i;
                if (whole->sampled && !sampled(at, (int64_t)whole->b * whole->n * rows)) continue;
                case_row(whole, b, h, q * rows + i, &row);
                if (!close_stat(get4(got->max, b, h, i, 7), row.max, row.stats_bound) ||
                    !close_stat(log(get4(got->sum, b, h, i, 7)), log(row.sum), 2 * row.stats_bound))
                    fail_msg("ring: statistics of b %d, head %d, row %d of tile %d", b, h, i, q);
                for (int x = 0; x < whole->dv; x++) {
                    const double have = get3(got->out, i, b, h * whole->dv + x);
                    const double spare = TILES * (row.bound[x] + 0x1p-22);
                    if (!close_out(FATTN_F32, have, row.out[x], row.bound[x] + spare))
                        fail_msg("ring: out[%d,%d,%d] of tile %d is %.9g, not %.9g", i, b, h, q,
                                 have, row.out[x]);
                }
            }
}

static void t12_ring_tiles(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        const int rows = real ? 512 : 19, heads = real ? 8 : 2, d = real ? 128 : 16;
        fusion_case *whole =
            dense_case("SBH", FATTN_F32, 2, heads, heads, TILES * rows, TILES * rows, d, d);
        whole->mode = 3, whole->sampled = real, whole->a.scale = 1 / sqrt(d);
        for (int q = 0; q < TILES; q++) {
            ring_state have = {0};
            for (int step = 0; step <= q;
                 step++) { /* own keys first, then those that come around */
                fusion_case *tile = tile_case(whole, q, q - step, rows);
                check_case(tile, step ? "ring tile" : "diagonal ring tile");
                if (step)
                    ring_step(&have, tile);
                else
                    have = (ring_state){tile->a.attention_out, tile->a.softmax_max,
                                        tile->a.softmax_sum};
            }
            check_ring_rows(whole, q, rows, &have);
        }
        harness_reset();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t12_bsnd_full),  cmocka_unit_test(t12_bsnd_causal),
        cmocka_unit_test(t12_tnd_causal), cmocka_unit_test(t12_sbh_dense_mask),
        cmocka_unit_test(t12_ring_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
