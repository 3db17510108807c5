/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.h — query, key and value of an attention call, read through the layout string.
 *
 * What the caller wrote comes in, axes with strides and checked head counts come out. The lenient
 * readings of a layout (BSNH, BSND tensors under "BNSD" or "BSH") end here. */
#ifndef FATTN_API_INPUTS_H
#define FATTN_API_INPUTS_H

#include "base/arena.h"
#include "base/context.h"
#include "core/layout.h"
#include "core/problem.h"

enum { LETTERS_MAX = 8 };

typedef struct fattn_inputs {
    /* given */
    const fattn_tensor *query, *key, *value;
    fattn_tensor_array key_list,
        value_list; /* instead of key and value: a tensor per batch entry */
    const fattn_tensor *query_rope, *key_rope; /* both or neither */
    const fattn_tensor *key_shared,
        *value_shared;         /* keys before everybody's own; both or neither */
    int64_t heads, kv_heads;   /* the caller's head counts; 0 = not said */
    const char *heads_name;    /* what the operator calls them */
    const char *kv_heads_name; /* NULL: the operator has no such argument, the keys tell */
    bool paged;                /* key and value are caches: read by cache_read() */

    /* found */
    char letters[LETTERS_MAX];     /* how query and dense keys really lie */
    char out_letters[LETTERS_MAX]; /* how the output lies: the same, or the part behind "_" */
    bool packed;                   /* letters contain T */
    bool listed;                   /* a tensor per batch entry; key and value stand for the first */
    fattn_axes q, k, v, q_rope,
        k_rope; /* paged: b = blocks, s = rows of a block; listed: s = the most */
    fattn_axes k_shared, v_shared;
    int64_t n_heads, n_kv_heads;
    fattn_dtype kv_dtype;  /* of key and value: I4 where an int32 holds eight columns */
    fattn_dtype out_dtype; /* of attention_out */
} fattn_inputs;

/* An optional tensor: NULL when absent or when it is the empty list of the vendor's faces ([0]). */
const fattn_tensor *inputs_optional(const fattn_tensor *tensor);

/* Is the tensor fp32, or fp64 beside an fp64 query? For numbers that are fp32 whatever the query
 * is. */
bool inputs_is_f32(const fattn_inputs *in, const fattn_tensor *tensor);

/* Scores are fp32: a scale that is none, times log2(e), would turn zeros into NaN. */
fattn_status inputs_scale(const char *name, double scale);

/* Settles `in->letters` and `in->out_letters` from the caller's layout string; `names` are the
 * operator's layouts (NULL-terminated). */
fattn_status inputs_layout(fattn_context *context, fattn_inputs *in, const char *layout,
                           bool any_case, const char *const *names);

/* Settles the lenient readings of the layout and reads query. */
fattn_status inputs_read_query(fattn_context *context, fattn_inputs *in);
/* Then the rope part of query, and unless paged key, value and key_rope: everything that follows
 * from shapes and head counts. */
fattn_status inputs_read_keys(fattn_inputs *in);

/* Reads key, value and key_rope as block caches: [blocks, rows, Nkv*D], [blocks, Nkv, rows, D],
 * [blocks, rows, Nkv, D] where only that fits, or [blocks, Nkv, D/c, rows, c] (NZ). block_size 0 =
 * as the cache says. */
fattn_status cache_read(fattn_context *context, fattn_inputs *in, int64_t block_size);

/* What inputs_read_keys() and cache_read() share: head counts of key and value that were read. */
fattn_status keys_check(const fattn_inputs *in);
int64_t keys_heads(const fattn_inputs *in, int64_t n_axis, int64_t h);
fattn_status keys_groups(const fattn_inputs *in);
fattn_status shared_read(fattn_inputs *in);
/* query_rope, and key_rope once in->k_rope is read. */
fattn_status rope_check(fattn_inputs *in);

/* query, key, value (and rope) share one float dtype, which becomes that of the result. */
fattn_status inputs_dtypes(fattn_inputs *in);
/* Columns of key or value in `extent` elements; INT64_MAX beyond 63 bits. */
int64_t keys_columns(const fattn_inputs *in, int64_t extent);
/* Axes of a tensor of keys or values: layout_read(), or layout_read_nz() with letters NULL, with d in columns
 * where kv_dtype packs several in an element. */
fattn_status keys_axes(const fattn_inputs *in, fattn_axes *axes, const char *letters,
                       const fattn_tensor *tensor, const char *name);

/* Head counts, head dims and the input views of the problem; the strides of listed tensors go to
 * the arena. */
fattn_status inputs_fill(const fattn_inputs *in, fattn_arena *arena, fattn_problem *problem);

/* Shape of attention_out: out_letters with the head dim of value. */
fattn_tensor inputs_output(const fattn_inputs *in);

/* An output tensor has the dtype and shape of `wanted`. */
fattn_status output_check(const fattn_tensor *given, const fattn_tensor *wanted, const char *name);

/* A tensor that lies like query, key or the output. */
typedef struct output_kind {
    const char *name, *letters;
    int64_t heads;
    fattn_tensor wanted; /* shape and dtype; contiguous */
} output_kind;

/* Checks such a tensor and adds it to a view (empty before) as its next part. */
fattn_status output_part(const fattn_inputs *in, const output_kind *kind, const fattn_tensor *given,
                         fattn_view *view);

/* Checks attention_out and fills problem->out. NULL (while only sizes are asked for) = contiguous.
 * `any_shape`: contiguous memory with the right number of elements will do. */
fattn_status output_fill(const fattn_inputs *in, const fattn_tensor *attention_out, bool any_shape,
                         fattn_problem *problem);

/* "1,3,6" or "1,3,6,..."; returns buffer. */
const char *list_print(fattn_int_array list, char *buffer, size_t size);

enum { TEXT_SIZE = 96 }; /* buffers for tensor_print() and list_print() in sentences */

#endif
