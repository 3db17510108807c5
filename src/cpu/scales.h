/* SPDX-License-Identifier: Apache-2.0 */
/* scales.h — scales and offsets of quantised keys and values as the kernels want them: fp32, by column or
 * by key.
 *
 * The tile family dequantises the tiles that it gathers. The dot family reads stored numbers where they
 * lie and puts the scales where they cost least: those of columns on q and on the result, those of keys on
 * scores and weights. Numbers with offsets are gathered first, x + offset, and scaled in the same way.
 * Scales by both, and scales by key beside rope columns, which they don't apply to, fold into nothing. */
#ifndef FATTN_CPU_SCALES_H
#define FATTN_CPU_SCALES_H

#include "core/quant.h"
#include "cpu/gather.h"

/* How the numbers of one operand vary inside a tile of its head. */
typedef enum fattn_scales_kind {
    SCALES_NONE,
    SCALES_BY_COLUMN, /* or one number for all */
    SCALES_BY_KEY,
    SCALES_BY_BOTH
} fattn_scales_kind;

fattn_scales_kind scales_kind_of(const fattn_affine *affine);

/* What the dot family puts elsewhere; SCALES_NONE when values must be dequantised as they are gathered. */
fattn_scales_kind scales_folded(const fattn_source *source);

/* Numbers by column of the item's head, once per item, before anything is gathered. */
void scales_open(const fattn_item *it);

/* Stored numbers of keys [j, j + n), rows ld apart, become values; `folded`: without the scales that
 * scales_folded names. */
void scales_apply(const fattn_source *source, const fattn_kernels *kernels, int64_t j, int n,
                  bool folded, float *tile, int64_t ld);

/* Scales of keys [j, j + n) of an operand with SCALES_BY_KEY: dst[TILE_KEYS + LANES_MAX]. */
void scales_of_keys(const fattn_source *source, const fattn_kernels *kernels, int64_t j, int n,
                    float *dst);

#endif
