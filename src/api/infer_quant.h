/* SPDX-License-Identifier: Apache-2.0 */
/* infer_quant.h — the quantisation parameters of an inference call (spec inference 4), by the names that
 * the operator has for them. */
#ifndef FATTN_API_INFER_QUANT_H
#define FATTN_API_INFER_QUANT_H

#include <stdbool.h>

#include "fattn/types.h"

/* A tensor argument and its name; tensor NULL = absent. */
typedef struct infer_param {
    const char *name;
    const fattn_tensor *tensor;
} infer_param;

enum { SIDE_KEY, SIDE_VALUE, SIDES };

/* How scales go with keys and values (4.4). */
enum {
    ANTIQUANT_CHANNEL = 0, /* or one for all */
    ANTIQUANT_TOKEN = 1,
    ANTIQUANT_HEAD = 2,
    ANTIQUANT_TOKEN_HEAD = 3,
    ANTIQUANT_PAGE_TOKEN = 4,
    ANTIQUANT_PAGE_TOKEN_HEAD = 5,
    ANTIQUANT_GROUP = 6, /* 32 columns of a token and head */
    ANTIQUANT_MODES = 7
};

typedef struct infer_quant_args {
    infer_param scale[SIDES], offset[SIDES]; /* the separate style */
    int64_t mode[SIDES];
    const char *mode_name[SIDES];
    infer_param both_scale, both_offset; /* the combined style: axis 0 is key, value */
    int64_t both_mode;
    const char *both_mode_name; /* NULL: the mode follows from the shape */
    infer_param score_scale, p_scale, out_factor; /* full int8: dequant_scale1, quant_scale1,
                                                     dequant_scale2 */
    infer_param out_scale, out_offset;            /* 8-bit output */
    int64_t out_dtype;                            /* a torch type code; -1 = none */
    infer_param query_scale;                      /* MLA int8 */
    int64_t query_mode;
} infer_quant_args;

static inline bool infer_separate(const infer_quant_args *q)
{
    return q->scale[SIDE_KEY].tensor || q->scale[SIDE_VALUE].tensor;
}

typedef enum infer_quant_kind {
    QUANT_NONE,  /* query, key and value of one float dtype */
    QUANT_KV,    /* float query, quantised keys and values */
    QUANT_GUIDE, /* the same with dequant_scale1 as the only scale */
    QUANT_FULL,  /* all int8 */
    QUANT_MLA    /* all quantised, a scale per query row, float rope parts */
} infer_quant_kind;

/* The scale and offset of one side of a quantised cache. */
typedef struct infer_antiquant {
    infer_param scale, offset;
    int64_t mode;
    const char *mode_name;
    int axis0; /* combined style: the index on axis 0, else -1 */
} infer_antiquant;

#endif
