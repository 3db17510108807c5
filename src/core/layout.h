/* SPDX-License-Identifier: Apache-2.0 */
/* layout.h — a layout string describes itself: its letters, left to right, name the axes.
 * B batch, S sequence, N heads, D head dim, H = N*D in one axis, T = tokens of all sequences. */
#ifndef FATTN_CORE_LAYOUT_H
#define FATTN_CORE_LAYOUT_H

#include "fattn/status.h"

/* A tensor read through a layout: extents and element strides by meaning. T is s with b = 1. */
typedef struct fattn_axes {
    int64_t b, s, n, d;
    int64_t b_stride, s_stride, n_stride, d_stride;
    int64_t chunk,
        chunk_stride; /* columns in chunks of `chunk`, chunk_stride apart; 0 = in one strip */
} fattn_axes;

/* Reads `tensor` as `letters` says. `heads` is the head count that splits an H axis (unused
 * otherwise; 0 with an H axis is an error). E_SHAPE when rank or divisibility does not fit, with
 * `name` in the sentence. Strides of extents <= 1 may be anything. */
fattn_status layout_read(fattn_axes *axes, const char *letters, const fattn_tensor *tensor,
                         int64_t heads, const char *name);

/* Reads an NZ cache [blocks, N, D/c, rows, c]: b = blocks, s = rows, chunks of c columns. */
fattn_status layout_read_nz(fattn_axes *axes, const fattn_tensor *tensor, const char *name);

/* Shape of a contiguous tensor with these axes in the order of `letters`; returns the rank. */
int layout_shape(int64_t shape[FATTN_MAX_RANK], const char *letters, int64_t b, int64_t s,
                 int64_t n, int64_t d);

/* true when the letters contain T: sequences are packed. */
bool layout_packed(const char *letters);

/* Refuses what no operator can read: rank outside 0..8, negative extents, NULL data with elements
 * (when `need_data`), an element count or byte span that overflows, a dtype without a size. */
fattn_status tensor_check(const fattn_tensor *tensor, const char *name, bool need_data);

/* Number of elements of a checked tensor. */
int64_t tensor_elements(const fattn_tensor *tensor);
/* true when strides are row-major without gaps. */
bool tensor_contiguous(const fattn_tensor *tensor);
/* true when its strides may put two elements into one place; an output must not. Exact for what
 * slicing, transposing and padding make; other interleavings count as overlapping. */
bool tensor_overlaps(const fattn_tensor *tensor);
/* Refuses an output that overlaps itself; the tensor is checked. */
fattn_status tensor_check_output(const fattn_tensor *tensor, const char *name);
/* "f16[2,8,64]" into buffer; returns buffer. */
const char *tensor_print(const fattn_tensor *tensor, char *buffer, size_t size);

#endif
