/* SPDX-License-Identifier: Apache-2.0 */
/* scores.c — visibility as one 64-bit word per row, biases in log2 units. */
#include "cpu/scores.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/bias.h"

/* Bits [0, n), n <= 64. */
static uint64_t low_bits(int64_t n) { return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1; }

/* Keys [j, j + n) outside the row's interval. */
static uint64_t hidden_by_interval(const fattn_seq *seq, int64_t i, int64_t j, int n)
{
    const fattn_interval seen = mask_interval(seq, i);
    const uint64_t before = low_bits(i64_clamp(seen.lo - j, 0, n));
    const uint64_t up_to = low_bits(i64_clamp(seen.hi - j, 0, n));
    return low_bits(n) & (before | ~up_to);
}

/* Bit b = byte b of the word is not 0. */
static uint64_t nonzero_bytes(uint64_t word)
{
    const uint64_t low7 = UINT64_C(0x7f7f7f7f7f7f7f7f);
    const uint64_t high = (((word & low7) + low7) | word) & ~low7; /* bit 7 of each nonzero byte */
    return (high >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

/* Byte 0 lowest; written so that compilers see one load. */
static uint64_t load_word(const uint8_t *at)
{
    return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24 |
           (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 | (uint64_t)at[6] << 48 |
           (uint64_t)at[7] << 56;
}

static uint64_t hidden_by_bytes(const uint8_t *cells, int64_t stride, int n)
{
    uint64_t hidden = 0;
    int k = 0;
    if (stride == 1)
        for (; k + 8 <= n; k += 8) hidden |= nonzero_bytes(load_word(cells + k)) << k;
    for (; k < n; k++) hidden |= (uint64_t)(cells[k * stride] != 0) << k;
    return hidden;
}

enum { LINE = 64 }; /* bytes of a cache line */

/* Rows of a mask or a bias lie far apart and a tile takes a piece of each, so nobody but us can know what the
 * next tile will want: the same bytes further on. */
static void ask_for(const char *next, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += LINE) __builtin_prefetch(next + at);
}

/* Keys [j, j + n) that the dense mask hides from a row; it says nothing about keys before
 * mask_from. */
static uint64_t hidden_by_cells(const fattn_item *it, int64_t head, int64_t i, int64_t j, int n)
{
    const fattn_mask *mask = &it->p->mask;
    const fattn_seq *seq = it->seq;
    const int64_t free_keys = i64_clamp(seq->mask_from - j, 0, MUTANT(102, n, 0));
    if (free_keys == n) return 0;
    const uint8_t *cells = it->ptrs->mask + seq->mask_base + head * mask->head_stride +
                           i * seq->mask_row_stride +
                           (j + free_keys - seq->mask_from) * mask->col_stride;
    if (mask->col_stride == 1) ask_for((const char *)cells + n - free_keys, TILE_KEYS);
    return hidden_by_bytes(cells, mask->col_stride, n - (int)free_keys) << free_keys;
}

/* Heads of a group that share a row of the mask come one after the other: its word is computed
 * once. */
static uint64_t hidden_by_mask(const fattn_item *it, int64_t r, int64_t j, int n, uint64_t previous)
{
    const int64_t i = item_query(it, r), head = item_head(it, r);
    const bool same_row = r % it->p->group != 0 && MUTANT(43, it->p->mask.head_stride == 0, true);
    if (same_row) return previous;
    return hidden_by_cells(it, head, i, j, n);
}

fattn_tile_class scores_hidden(const fattn_item *it, int64_t r, int rows, int64_t j, int n,
                               uint64_t *hidden)
{
    const bool dense = it->p->mask.present;
    const int64_t i0 = item_query(it, r), i1 = item_query(it, r + rows - 1) + 1;
    const fattn_tile_class band = mask_class(it->seq, i0, i1, j, j + n);
    if (band == TILE_EMPTY || (band == TILE_FULL && !dense)) return band;

    uint64_t any = 0, all = low_bits(n), by_mask = 0;
    if (dense && rows > 0) /* the first row may begin inside a group */
        by_mask = hidden_by_cells(it, item_head(it, r), i0, j, n);
    for (int row = 0; row < rows; row++) {
        if (dense && row > 0) by_mask = hidden_by_mask(it, r + row, j, n, by_mask);
        hidden[row] = by_mask;
        if (band != TILE_FULL)
            hidden[row] |= hidden_by_interval(it->seq, item_query(it, r + row), j, n);
        any |= hidden[row];
        all &= hidden[row];
    }
    if (any == 0) return TILE_FULL;
    return all == low_bits(n) ? TILE_EMPTY : TILE_PARTIAL;
}

/* Swaps the off-diagonal quarters of a 64 x 64 bit matrix, then of its quarters, and so on
 * (Hacker's Delight 7-3). */
void scores_hidden_lanes(const uint64_t *hidden, int rows, uint64_t *lanes)
{
    memcpy(lanes, hidden, (size_t)rows * sizeof *lanes);
    memset(lanes + rows, 0, (size_t)(TILE_ROWS - rows) * sizeof *lanes);
    uint64_t mask = UINT64_C(0x00000000ffffffff);
    for (int width = 32; width != 0; width /= 2, mask ^= mask << width)
        for (int row = 0; row < 64; row = (row + width + 1) & ~width) {
            const uint64_t swap = ((lanes[row] >> width) ^ lanes[row + width]) & mask;
            lanes[row] ^= swap << width;
            lanes[row + width] ^= swap;
        }
}

/* true when a row of the bias is a strip of adjacent elements. */
static bool bias_direct(const fattn_bias *bias)
{
    return bias->kind == BIAS_TENSOR && bias->col_stride == 1;
}

static bool bias_slopes(const fattn_bias *bias)
{
    return bias->kind == BIAS_SLOPE || bias->kind == BIAS_SLOPE_SQRT;
}

static const void *bias_cells(const fattn_item *it, int64_t head, int64_t i, int64_t j)
{
    const int64_t at =
        it->seq->bias_base + head * it->seq->bias_head_stride + i * it->seq->bias_row_stride + j;
    return (const char *)it->ptrs->bias + at * (int64_t)fattn_dtype_size(it->p->bias.dtype);
}

static void tensor_row(const fattn_item *it, int64_t head, int64_t i, int64_t j, int n, float *row)
{
    const fattn_bias *bias = &it->p->bias;
    if (bias_direct(bias))
        it->kernels->load[item_dtype(bias->dtype)](row, TILE_KEYS, bias_cells(it, head, i, j), 0, 1,
                                                   n);
    else
        for (int k = 0; k < n; k++)
            row[k] = (float)bias_value(it->p, it->ptrs, it->seq, head, i, j + k);
}

/* What comes of a finite bias stays finite: -FLT_MAX is a common way to say "almost never". */
static float narrow(double x, bool finite)
{
    return finite && fabs(x) > (double)FLT_MAX ? (float)copysign(FLT_MAX, x) : (float)x;
}

/* To log2 units. */
static void scale_row(float *row, int n, float factor)
{
    for (int k = 0; k < n; k++) {
        const float scaled = row[k] * factor;
        row[k] = isinf(scaled) && !isinf(row[k]) ? copysignf(FLT_MAX, scaled) : scaled;
    }
}

void scores_distances(bool root, int64_t first, int n, double *out)
{
    for (int k = 0; k < n; k++) {
        const double distance = fabs((double)(first + k));
        out[k] = root ? sqrt(distance) : distance;
    }
}

/* All rows of a tile share a window of TILE_ROWS + TILE_KEYS distances. */
static void slope_rows(const fattn_item *it, int64_t r, int rows, int64_t j, int n, float *bias)
{
    double distance[TILE_ROWS + TILE_KEYS];
    const fattn_bias *b = &it->p->bias;
    const int64_t i0 = item_query(it, r), last = item_query(it, r + rows - 1);
    scores_distances(b->kind == BIAS_SLOPE_SQRT, j - last + it->seq->distance0, (int)(n + last - i0),
              distance);
    for (int row = 0; row < rows; row++) {
        const float *slopes = it->ptrs->bias;
        const int64_t at =
            it->seq->batch * b->slope_batch_stride + item_head(it, r + row) * b->slope_head_stride;
        const double slope = -(double)slopes[at] * LOG2_E;
        const double *first = distance + (last - item_query(it, r + row));
        for (int k = 0; k < n; k++)
            bias[row * TILE_KEYS + k] = narrow(slope * first[k], isfinite(slope));
    }
}

/* From natural units to log2 units, the scale included where it belongs. */
static float bias_factor(const fattn_item *it)
{
    return MUTANT(44, it->p->bias.before_scale, false) ? item_factor(it) : (float)LOG2_E;
}

void scores_bias_rows(const fattn_item *it, int64_t r, int rows, int64_t j, int n, float *bias)
{
    if (bias_slopes(&it->p->bias)) {
        slope_rows(it, r, rows, j, n, bias);
        return;
    }
    for (int row = 0; row < rows; row++) {
        float *at = bias + row * TILE_KEYS;
        tensor_row(it, item_head(it, r + row), item_query(it, r + row), j, n, at);
        scale_row(at, n, bias_factor(it));
    }
}

/* The usual case in one step, q's packing: rows of adjacent elements, scaled and transposed. false
 * when the result is not finite; then scale_row must look at every element. */
static bool pack_bias(const fattn_item *it, int64_t r, int rows, int64_t j, int n, float *by_key)
{
    const void *cells[TILE_ROWS];
    const int64_t bytes = n * (int64_t)fattn_dtype_size(it->p->bias.dtype);
    for (int row = 0; row < rows; row++) {
        cells[row] = bias_cells(it, item_head(it, r + row), item_query(it, r + row), j);
        ask_for((const char *)cells[row] + bytes, bytes);
    }
    it->kernels->pack[item_dtype(it->p->bias.dtype)](by_key, cells, rows, n, bias_factor(it));
    return it->kernels->finite(by_key, TILE_ROWS, n, rows) != 0;
}

/* by_key[k * TILE_ROWS + row] = by_row[row * TILE_KEYS + k], rows beyond `rows` 0. */
static void transpose(float *by_key, const float *by_row, int rows, int keys)
{
    for (int k = 0; k < keys; k++) {
        float *to = by_key + k * TILE_ROWS;
        for (int row = 0; row < rows; row++) to[row] = by_row[row * TILE_KEYS + k];
        memset(to + rows, 0, (size_t)(TILE_ROWS - rows) * sizeof *to);
    }
}

/* By key and lane a bias of slopes is one list: the distance falls by one from a row to the next and rises by
 * one from a key to the next, so the lanes of key k are `group` numbers on from those of key k + 1. The same
 * numbers as slope_rows(). */
enum { LIST_GROUP = 8, LIST = (2 * TILE_KEYS + 1) * LIST_GROUP };

static void slope_list(const fattn_item *it, int64_t r, int rows, int64_t j, int n, float *list)
{
    double distance[TILE_ROWS + TILE_KEYS];
    const fattn_bias *b = &it->p->bias;
    const int64_t group = it->p->group, i0 = item_query(it, r), last = item_query(it, r + rows - 1);
    const int count = (int)(n + last - i0);
    scores_distances(b->kind == BIAS_SLOPE_SQRT, j - last + it->seq->distance0, count, distance);
    for (int64_t g = 0; g < group; g++) {
        const float *slopes = it->ptrs->bias;
        const int64_t head = it->work->kv_head * group + g;
        const double slope = -(double)slopes[it->seq->batch * b->slope_batch_stride +
                                             head * b->slope_head_stride] *
                             LOG2_E;
        for (int at = 0; at < count; at++)
            list[at * group + g] = narrow(slope * distance[count - 1 - at], isfinite(slope));
    }
}

static void slope_lanes(const fattn_item *it, int64_t r, int rows, int64_t j, int n, float *by_key)
{
    float list[LIST];
    const int64_t group = it->p->group;
    slope_list(it, r, rows, j, n, list);
    for (int k = 0; k < n; k++) {
        float *to = by_key + k * TILE_ROWS;
        memcpy(to, list + r % group + (n - 1 - k) * MUTANT(218, group, 1),
               (size_t)rows * sizeof *to);
        memset(to + rows, 0, (size_t)(TILE_ROWS - rows) * sizeof *to);
    }
}

void scores_bias_lanes(const fattn_item *it, int64_t r, int rows, int64_t j, int n)
{
    fattn_scratch *s = it->scratch;
    if (bias_slopes(&it->p->bias) && it->p->group <= LIST_GROUP) {
        slope_lanes(it, r, rows, j, n, s->bias);
        return;
    }
    if (bias_direct(&it->p->bias) && pack_bias(it, r, rows, j, n, s->bias)) return;
    scores_bias_rows(it, r, rows, j, n, s->bias_rows);
    transpose(s->bias, s->bias_rows, rows, n);
}

void scores_round_f16(const fattn_item *it, float *scores, int n)
{
    const float factor = item_factor(it);
    for (int k = 0; k < n; k++) scores[k] = half_from_f16(half_to_f16(scores[k])) * factor;
}
