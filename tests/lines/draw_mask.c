/* SPDX-License-Identifier: Apache-2.0 */
/* draw_mask.c — sparse_mode with its tokens and prefixes, every form of atten_mask, and which keys
 * a row sees (from the predicates of the specs, not from the library). */
#include <string.h>

#include "drawing.h"

enum { COMPRESSED = 2048, PREFIX_ROWS = 3072 };

/* --- modes --- */

static bool mode_needs_packed(int mode) { return mode >= 7; }

/* Tree mask: no more queries than keys. */
static void draw_tree(drawing *g)
{
    g->mode = 9;
    for (int64_t i = 0; i < g->b; i++)
        if (g->kv_len[i] < g->q_len[i]) g->mode = 3;
}

static void draw_any_mode(drawing *g)
{
    do g->mode = (int)between(g, 0, g->training ? 8 : 4);
    while ((mode_needs_packed(g->mode) && !g->packed) || (g->mode == 5 && g->packed) ||
           (!g->training && g->mode == 1 && g->packed));
    if (g->decode) g->mode = 0;
    if (g->long_bias) g->mode = chance(g, 50) ? 2 : 3;
    if (g->v2 && chance(g, g->packed ? 14 : 8)) draw_tree(g);
}

void draw_mode(drawing *g)
{
    draw_any_mode(g);
    const bool dense_mode = g->mode == 0 || g->mode == 1 || g->mode == 5;
    g->dense_mask = dense_mode && chance(g, g->mode == 0 ? 50 : 85);
    if (!g->training && g->packed) g->dense_mask = false;
    if (!g->training && g->mode == 1) g->dense_mask = true;
    g->compressed_mask = !dense_mode && g->mode != 9 && chance(g, 8);
}

/* Tokens for the band modes: never both negative, never an empty band. */
static void put_tokens(drawing *g)
{
    const bool counts = g->mode == 4 || g->mode >= 7 || (g->mode == 0 && g->dense_mask);
    if (g->mode == 9) return;
    if (!counts || (g->mode == 0 && chance(g, 40))) {
        if (g->mode == 0 && g->dense_mask && g->prompt) put(g, " next_tokens=2147483647");
        return;
    }
    g->pre = between(g, 0, g->skv + 4);
    g->next = between(g, 0, g->skv / 2 + 2);
    g->tokens = true;
    const bool negative_ok = g->training ? !g->packed : true;
    if (negative_ok && chance(g, 15) && g->pre > 2)
        g->next = -between(g, 1, g->pre < g->sq ? g->pre - 1 : 1);
    put(g, " pre_tokens=%lld next_tokens=%lld", (long long)g->pre, (long long)g->next);
    if (g->next < 0) feature(g, "negative token");
}

static void put_prefix(drawing *g)
{
    if (g->mode != 5 && g->mode != 6) return;
    put(g, " prefix=");
    for (int64_t i = 0; i < g->b; i++) {
        g->prefix[i] = between(g, 0, g->kv_len[i]);
        put(g, "%s%lld", i ? "," : "", (long long)g->prefix[i]);
    }
}

/* --- mask tensors --- */

/* Packed: as large as the longest sequence, or one over all tokens; where these are the same there
 * is no telling them apart, and it counts as the former. */
static void put_packed_mask(drawing *g, const char *dtype)
{
    int64_t q_max = 0, kv_max = 0, q_sum = 0, kv_sum = 0;
    for (int64_t i = 0; i < g->b; i++) {
        q_max = g->q_len[i] > q_max ? g->q_len[i] : q_max;
        kv_max = g->kv_len[i] > kv_max ? g->kv_len[i] : kv_max;
        q_sum += g->q_len[i], kv_sum += g->kv_len[i];
    }
    const bool differ = q_max != q_sum || kv_max != kv_sum, whole = differ && chance(g, 75);
    put(g, " atten_mask=%s[%lld,%lld]", dtype, (long long)(whole ? q_sum : q_max),
        (long long)(whole ? kv_sum : kv_max));
    feature(g, whole ? "mask T x T" : "mask of packed");
}

typedef enum form { FORM_RANK2, FORM_RANK4, FORM_SHARED, FORM_RANK3, FORM_PER_HEAD, FORMS } form;

static form draw_form_of_mask(drawing *g)
{
    form f = (form)between(g, 0, FORMS - 1);
    if (g->training && f == FORM_RANK3) f = FORM_PER_HEAD;
    if (!g->training && f == FORM_PER_HEAD) f = FORM_RANK2;
    if (g->mode == 5 && (f == FORM_RANK2 || f == FORM_SHARED))
        f = FORM_RANK4;                                                /* mode 5: one per batch */
    if (!g->training && g->sq == 1 && f == FORM_RANK2) f = FORM_RANK4; /* there [B,Skv] */
    return f;
}

static void put_dense_mask(drawing *g, const char *dtype)
{
    const int64_t b = g->b, n = g->n, sq = g->sq, skv = g->skv + g->shared;
    static const char *const names[FORMS] = {"mask rank 2", "mask rank 4", "mask shared",
                                             "mask rank 3", "mask per head"};
    const form f = draw_form_of_mask(g);
    const int64_t shapes[FORMS][4] = {{sq, skv},
                                      {b, 1, sq, skv},
                                      {1, 1, sq, skv},
                                      {chance(g, 50) ? b : 1, sq, skv},
                                      {b, n, sq, skv}};
    put_shape(g, "atten_mask", dtype, shapes[f], f == FORM_RANK2 ? 2 : f == FORM_RANK3 ? 3 : 4);
    feature(g, "%s", names[f]);
}

void put_decode_mask(drawing *g)
{
    const int64_t b = g->b, skv = g->skv, shapes[3][4] = {{b, skv}, {b, 1, skv}, {b, 1, 1, skv}};
    const int rank = (int)between(g, 2, 4);
    put_shape(g, "atten_mask", PICK(g, "bool", "u8", "i8"), shapes[rank - 2], rank);
    feature(g, "mask rank %d", rank);
}

/* 2048 x 2048 whatever the lengths; behind leading ones, where the operator takes them. */
static void put_compressed_mask(drawing *g, const char *dtype)
{
    const int64_t shape[] = {1, 1, g->mode == 6 ? PREFIX_ROWS : COMPRESSED, COMPRESSED};
    int rank = (int)between(g, 2, 4);
    if (g->training && rank == 3) rank = 2;
    put_shape(g, "atten_mask", dtype, shape + 4 - rank, rank);
    feature(g, "mask compressed");
    if (rank > 2) feature(g, "compressed rank %d", rank);
}

static void put_tree(drawing *g, const char *dtype)
{
    const int64_t shape[] = {g->b, g->sq, g->sq};
    int64_t cells = 0;
    for (int64_t i = 0; i < g->b; i++) cells += g->q_len[i] * g->q_len[i];
    if (g->packed)
        put_shape(g, "atten_mask", dtype, &cells, 1);
    else
        put_shape(g, "atten_mask", dtype, shape, 3);
    feature(g, "tree mask");
    if (g->packed) feature(g, "tree packed");
}

/* prompt_flash_attention: 10 + mode is the mode, with inner_precise 0. */
static void put_mode(drawing *g)
{
    const bool switched = g->prompt && chance(g, 15);
    put(g, " sparse_mode=%d", g->mode + (switched ? 10 : 0));
    feature(g, "mode %d", g->mode);
    if (switched) feature(g, "mode 10 to 14");
}

void put_mask(drawing *g)
{
    put_mode(g);
    put_prefix(g);
    put_tokens(g);
    const char *dtype = g->training ? PICK(g, "bool", "u8") : PICK(g, "bool", "u8", "i8");
    if (g->mode == 9) {
        put_tree(g, dtype);
    } else if (g->compressed_mask) {
        put_compressed_mask(g, dtype);
    } else if (g->dense_mask) {
        if (g->packed)
            put_packed_mask(g, dtype);
        else
            put_dense_mask(g, dtype);
        g->all_masked = chance(g, 8);
        put(g, " density=%s", g->all_masked ? "1" : PICK(g, "0.1", "0.3", "0.6", "0.95"));
    } else {
        feature(g, "no mask");
    }
}

/* --- what rows see --- */

static int64_t special_sequence(const drawing *g)
{
    int64_t found = 0;
    for (int64_t i = g->b - 1; i >= 0; i--)
        if (g->q_len[i] > 0) {
            found = i;
            if (g->mode == 7) break;
        }
    return found;
}

/* The mode that rules sequence s: without a mask of their own modes 0 and 1 are full attention, and
 * one query row of inference sees every key unless there is a band. */
static int ruling_mode(const drawing *g, int64_t s)
{
    const bool one_row = !g->training && !g->packed && g->sq == 1 && !g->rope;
    if (g->mode == 7) return s == special_sequence(g) ? 4 : 3;
    if (g->mode == 8) return s == special_sequence(g) ? 4 : 2;
    if (g->mode == 0) return g->dense_mask && g->tokens && g->pad_q < 0 && g->pad_kv < 0 ? 0 : 1;
    if (g->mode == 9 || (g->mode == 5 && g->dense_mask)) return 1;
    return one_row && g->mode < 4 ? 1 : g->mode;
}

/* Keys [lo, hi) are those that row i of sequence s may see. */
static void window(const drawing *g, int64_t s, int64_t i, int64_t *lo, int64_t *hi)
{
    const int64_t keys = g->kv_len[s] + g->shared, delta = keys - g->q_len[s];
    const int mode = ruling_mode(g, s);
    const int64_t origin = mode == 0 ? i : i + delta;
    *lo = 0, *hi = keys;
    if (mode == 0 || mode == 4) *lo = origin - g->pre, *hi = origin + g->next + 1;
    if (mode == 2) *hi = i + 1;
    if (mode == 3 || mode == 5 || mode == 6) *hi = i + delta + 1;
    if ((mode == 5 || mode == 6) && *hi < g->prefix[s]) *hi = g->prefix[s];
    if (*lo < 0) *lo = 0;
    if (*hi > keys) *hi = keys;
}

void note_visible(drawing *g)
{
    int64_t lo, hi;
    for (int64_t s = 0; s < g->b; s++)
        for (int64_t i = 0; i < g->q_len[s]; i++) {
            window(g, s, i, &lo, &hi);
            const bool none = hi <= lo || g->all_masked;
            if (none) feature(g, "empty row");
            if (!none && hi - lo > KEY_TILE) feature(g, "crosses a tile");
            if (!none && hi - lo > KEY_SPLIT && g->q_len[s] <= 16) feature(g, "crosses a split");
        }
}
