/* SPDX-License-Identifier: Apache-2.0 */
/* quantize.h — the pieces of quantising that files share: one group's magnitude, one row's codes. */
#ifndef FATTN_API_QUANTIZE_H
#define FATTN_API_QUANTIZE_H

#include "core/layout.h"
#include "fattn/quantize.h"

/* Dtypes that numbers are quantised to, and scales of theirs. */
bool quantize_dtype(fattn_dtype dtype);
bool quantize_scale_dtype(fattn_dtype dtype);

/* The scale of a group with this largest magnitude, before it is rounded to its dtype. */
double quantize_scale(fattn_dtype dtype, double magnitude);

/* value / scale into column c of a row of stored numbers; scale 0 gives 0. */
void quantize_put(void *row, fattn_dtype dtype, int64_t c, double value, double scale);

/* A tensor of keys or values, read through its layout. */
typedef struct quantize_input {
    const fattn_tensor *tensor;
    fattn_axes axes;  /* at least one head and one column */
    int64_t batches;  /* to walk: axes.b, or 0 without tokens, whatever the other extents say */
} quantize_input;

fattn_status quantize_read(const fattn_quantize_options *options, const fattn_tensor *tensor,
                           const char *name, quantize_input *input);
fattn_status quantize_check_options(const fattn_quantize_options *options);
/* Columns of (b, n, s), widened. */
void quantize_load(const quantize_input *input, int64_t b, int64_t n, int64_t s, float *row);
/* E_ARG when there is a number that is none. */
fattn_status quantize_check_finite(const quantize_input *input, float *row);

/* The scales of a granularity: where that of (b, n, s, d) stands in a contiguous tensor. */
int quantize_scale_shape(const quantize_input *input, fattn_granularity granularity,
                         int64_t shape[FATTN_MAX_RANK]);
int64_t quantize_scale_at(const fattn_axes *axes, fattn_granularity granularity, int64_t b,
                          int64_t n, int64_t s, int64_t d);

/* ---- magnitudes of groups (calibration.c) */

typedef struct quantize_groups quantize_groups;

/* Memory for `n` groups; NULL when there is none. percentile 100 needs no histograms. */
quantize_groups *quantize_groups_new(const fattn_context *context, int64_t n, double percentile);
void quantize_groups_free(const fattn_context *context, quantize_groups *groups);
void quantize_groups_clear(quantize_groups *groups, int64_t group);
void quantize_groups_add(quantize_groups *groups, int64_t group, float value);
/* All numbers of a tensor, to the groups of a granularity without tokens; row: of d columns. */
void quantize_groups_observe(quantize_groups *groups, fattn_granularity granularity,
                             const quantize_input *input, float *row);
double quantize_groups_magnitude(const quantize_groups *groups, int64_t group);

#endif
