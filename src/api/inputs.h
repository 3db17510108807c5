/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.h — query, key and value of an attention call, read through the layout string.
 *
 * What the caller wrote comes in, axes with strides and checked head counts come out. The lenient
 * readings of a layout (BSNH, BSND tensors under "BNSD" or "BSH") end here. */
#ifndef FATTN_API_INPUTS_H
#define FATTN_API_INPUTS_H

#include "base/context.h"
#include "core/layout.h"
#include "core/problem.h"

typedef struct fattn_inputs {
    /* given */
    const fattn_tensor *query, *key, *value;
    const fattn_tensor *query_rope, *key_rope; /* both or neither */
    int64_t heads, kv_heads;                   /* the caller's head counts; 0 = not said */
    const char *heads_name;                    /* what the operator calls them */
    const char *kv_heads_name; /* NULL: the operator has no such argument, the keys tell */
    bool paged;                /* key and value are caches: read by cache_read() */

    /* found */
    const char *letters;                /* how the tensors really lie */
    bool packed;                        /* letters contain T */
    fattn_axes q, k, v, q_rope, k_rope; /* paged: b = blocks, s = rows of a block */
    int64_t n_heads, n_kv_heads;
} fattn_inputs;

/* An optional tensor: NULL when absent or when it is the empty list of the vendor's faces ([0]). */
const fattn_tensor *inputs_optional(const fattn_tensor *tensor);

/* Settles `in->letters` from the caller's layout string. `names` are the operator's layouts
 * (NULL-terminated), `later` those of the family that this version cannot answer (may be NULL). */
fattn_status inputs_layout(fattn_context *context, fattn_inputs *in, const char *layout,
                           bool any_case, const char *const *names, const char *const *later);

/* Reads query, and unless paged key, value and rope, and checks everything that follows from shapes
 * and head counts. */
fattn_status inputs_read(fattn_context *context, fattn_inputs *in);

/* Reads key and value as block caches, [blocks, rows, Nkv*D] or [blocks, Nkv, rows, D]; also
 * [blocks, rows, Nkv, D] where only that fits. block_size 0 = as the cache says. */
fattn_status cache_read(fattn_context *context, fattn_inputs *in, int64_t block_size);

/* query, key, value (and rope) share one float dtype. */
fattn_status inputs_dtypes(const fattn_inputs *in);

/* Head counts, head dims and the three input views of the problem. */
void inputs_fill(const fattn_inputs *in, fattn_problem *problem);

/* Shape of attention_out: query's letters with the head dim of value. */
fattn_tensor inputs_output(const fattn_inputs *in);

/* An output tensor has the dtype and shape of `wanted`. */
fattn_status output_check(const fattn_tensor *given, const fattn_tensor *wanted, const char *name);

/* Checks attention_out and fills problem->out. NULL (while only sizes are asked for) = contiguous.
 */
fattn_status output_fill(const fattn_inputs *in, const fattn_tensor *attention_out,
                         fattn_problem *problem);

/* "1,3,6" or "1,3,6,..."; returns buffer. */
const char *list_print(fattn_int_array list, char *buffer, size_t size);

enum { TEXT_SIZE = 96 }; /* buffers for tensor_print() and list_print() in sentences */

#endif
