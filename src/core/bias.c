/* SPDX-License-Identifier: Apache-2.0 */
/* bias.c — what is added to a score, for one cell (spec fusion-attention 5).
 *
 * tensor      stored[head][i][j]
 * compressed  only the last 1024 rows of a [total_len, total_len] bias are stored; an earlier row
 * is looked up at the same distance i - j, which is exact for a bias that depends on it alone
 * slopes      -slope * |j - i + distance0|, or of the square root of the distance */
#include "core/bias.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mutant.h"

/* Element `index`, widened exactly. Copies bytes, so any address will do. */
static double load(const void *base, fattn_dtype dtype, int64_t index)
{
    const char *at = (const char *)base + index * (int64_t)fattn_dtype_size(dtype);
    double f64;
    float f32;
    uint16_t bits;
    switch (dtype) {
    case FATTN_F64:
        memcpy(&f64, at, sizeof f64);
        return f64;
    case FATTN_F32:
        memcpy(&f32, at, sizeof f32);
        return (double)f32;
    case FATTN_F16:
        memcpy(&bits, at, sizeof bits);
        return (double)half_from_f16(bits);
    case FATTN_BF16:
        memcpy(&bits, at, sizeof bits);
        return (double)half_from_bf16(bits);
    default:
        assert(false && "the operator lets float biases through only");
        return 0.0;
    }
}

static double tensor_value(const fattn_bias *bias, const void *base, const fattn_seq *seq,
                           int64_t head, int64_t row, int64_t col)
{
    return load(base, bias->dtype,
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
    const double slope = load(
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
