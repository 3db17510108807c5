/* SPDX-License-Identifier: Apache-2.0 */
/* bias.c — what is added to a score, for one cell (spec fusion-attention 5).
 *
 * tensor      stored[head][i][j]
 * compressed  only the last 1024 rows of a [total_len, total_len] bias are stored; an earlier row
 * is looked up at the same distance i - j, which is exact for a bias that depends on it alone
 * slopes      -slope * |j - i + distance0|, or of the square root of the distance */
#include "core/bias.h"

#include <math.h>

#include "base/mutant.h"
#include "core/element.h"

static double tensor_value(const fattn_bias *bias, const void *base, const fattn_seq *seq,
                           int64_t head, int64_t row, int64_t col)
{
    return element_load(base, bias->dtype,
                        seq->bias_base + head * seq->bias_head_stride + row * seq->bias_row_stride +
                            col * bias->col_stride);
}

static double compressed_value(const fattn_bias *bias, const void *base, const fattn_seq *seq,
                               int64_t head, int64_t i, int64_t j)
{
    if (j > i) return 0.0;
    const int64_t first = bias->total_len - BIAS_COMPRESSED_ROWS; /* row of the stored row 0 */
    if (i >= first) return tensor_value(bias, base, seq, head, i - first, j);
    const int64_t row = i % BIAS_COMPRESSED_ROWS;
    return tensor_value(bias, base, seq, head, row, MUTANT(14, first + row - (i - j), j));
}

static double slope_value(const fattn_bias *bias, const void *base, const fattn_seq *seq,
                          int64_t head, int64_t i, int64_t j)
{
    const double slope = element_load(
        base, bias->dtype, seq->batch * bias->slope_batch_stride + head * bias->slope_head_stride);
    const int64_t signed_distance = j - i + MUTANT(15, seq->distance0, 0);
    const double distance = (double)(signed_distance < 0 ? -signed_distance : signed_distance);
    return -slope * (bias->kind == BIAS_SLOPE_SQRT ? sqrt(distance) : distance);
}

double bias_value(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
                  int64_t head, int64_t i, int64_t j)
{
    switch (p->bias.kind) {
    case BIAS_NONE:
        return 0.0;
    case BIAS_TENSOR:
        return tensor_value(&p->bias, ptrs->bias, seq, head, i, j);
    case BIAS_COMPRESSED:
        return compressed_value(&p->bias, ptrs->bias, seq, head, i, j);
    case BIAS_SLOPE:
    case BIAS_SLOPE_SQRT:
        return slope_value(&p->bias, ptrs->bias, seq, head, i, j);
    }
    return 0.0;
}
