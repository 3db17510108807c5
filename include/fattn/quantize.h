/* SPDX-License-Identifier: Apache-2.0 */
/* quantize.h — keys or values in fewer bits before a call, and the scales that the operators want with
 * them (docs/quantisation.md).
 *
 * A group of numbers shares a scale: its largest magnitude, or the magnitude below which a percentile of the
 * group lies, divided by the largest number of the format. A number becomes round(x / scale), halves to even,
 * saturated; it stands for scale * code. A group of zeros has scale 1. */
#ifndef FATTN_QUANTIZE_H
#define FATTN_QUANTIZE_H

#include "context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What shares a scale: the shape of the scales, and the antiquant mode they go with (in a paged cache). */
typedef enum fattn_granularity {
    FATTN_PER_TENSOR = 0,    /* [1], mode 0 */
    FATTN_PER_CHANNEL = 1,   /* [Nkv, D], mode 0 */
    FATTN_PER_TOKEN = 2,     /* [B, S], mode 1 (4) */
    FATTN_PER_HEAD = 3,      /* [Nkv], mode 2 */
    FATTN_PER_TOKEN_HEAD = 4 /* [B, Nkv, S], mode 3 (5) */
} fattn_granularity;

typedef struct fattn_quantize_options {
    size_t size;
    fattn_dtype dtype;             /* i8 (default), i4, e4m3, e5m2 */
    fattn_granularity granularity; /* FATTN_PER_TOKEN */
    fattn_dtype scale_dtype;       /* f32 (default), f16, bf16 */
    double percentile;             /* 100 = the largest magnitude; (0, 100] */
    const char *input_layout;      /* "BNSD" (default), "BSND", "BSH" */
    int64_t num_heads;             /* key/value heads; BSH needs it, others have it */
} fattn_quantize_options;

FATTN_API void fattn_quantize_options_init(fattn_quantize_options *options);

/* The antiquant mode of the operators that scales of this granularity go with. */
FATTN_API int fattn_quantize_mode(fattn_granularity granularity, bool paged);

/* Dtype, shape and contiguous strides of codes and scales, data NULL. i4: the last axis in int32s, eight
 * columns each; D must be a multiple of 8. */
FATTN_API fattn_status fattn_quantize_kv_shapes(const fattn_quantize_options *options,
                                                const fattn_tensor *input, fattn_tensor *output,
                                                fattn_tensor *scale);

/* Scales and codes of `input` (f64, f32, f16 or bf16, any strides). E_ARG when it holds NaN or an infinity;
 * no output is touched then. context NULL = the process default. */
FATTN_API fattn_status fattn_quantize_kv(fattn_context *context,
                                         const fattn_quantize_options *options,
                                         const fattn_tensor *input, const fattn_tensor *output,
                                         const fattn_tensor *scale);

/* Codes of `input` by scales that are there already, as a calibration gives them; beyond them it saturates. */
FATTN_API fattn_status fattn_quantize_kv_by(fattn_context *context,
                                            const fattn_quantize_options *options,
                                            const fattn_tensor *input, const fattn_tensor *scale,
                                            const fattn_tensor *output);

/* Scales over several batches: granularities that do not know tokens (tensor, channel, head). Percentiles
 * are those of all numbers seen, to the next 64th of an octave above. One thread at a time. */
typedef struct fattn_calibration fattn_calibration;

FATTN_API fattn_status fattn_calibration_create(fattn_context *context,
                                                const fattn_quantize_options *options,
                                                fattn_calibration **calibration);
FATTN_API void fattn_calibration_destroy(fattn_calibration *calibration);

/* One more batch; all must have the heads and head dim of the first. A batch that is refused leaves the
 * calibration as it was. */
FATTN_API fattn_status fattn_calibration_observe(fattn_calibration *calibration,
                                                 const fattn_tensor *input);

/* The scales of what was seen so far, into a tensor of the shape and dtype that
 * fattn_quantize_kv_shapes() says; E_ARG before the first batch. */
FATTN_API fattn_status fattn_calibration_scales(const fattn_calibration *calibration,
                                                const fattn_tensor *scale);

#ifdef __cplusplus
}
#endif
#endif
