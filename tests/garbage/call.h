/* SPDX-License-Identifier: Apache-2.0 */
/* call.h — a legal call whose memory is all between fences, to be damaged and put right again.
 *
 * Everything args point at lies flush against an inaccessible page: tensors, lists, strings, the
 * struct itself. Slots of inputs are read-only. A tensor that claims more than its slot holds
 * points into the wild region instead. */
#ifndef FATTN_TESTS_GARBAGE_CALL_H
#define FATTN_TESTS_GARBAGE_CALL_H

#include "garbage/memory.h"
#include "tools/problem_line.h"

enum { CALL_TENSORS = 40, CALL_LISTS = 6, CALL_TEXTS = 2, CALL_CELLS = 4, CALL_LOG = 1200 };

typedef enum tensor_state {
    TENSOR_TAME,      /* what it claims is inside its slot */
    TENSOR_WILD,      /* well-formed, claims more: points into the wild region */
    TENSOR_FAR,       /* well-formed, claims more than the wild region holds */
    TENSOR_MALFORMED, /* no operator can read it: rank, dtype, extents or span */
} tensor_state;

typedef struct call_tensor {
    const fattn_field *field;
    fattn_tensor legal, t; /* as the line made it; as the call gets it */
    fenced slot;
    const unsigned char *content; /* the legal bytes */
    size_t bytes;
    bool no_data; /* data was made NULL on purpose */
    bool silent;  /* an output that this call leaves alone (set by the judge) */
    bool patched; /* integers only: one element, counted from the end, holds another value */
    size_t patch_at;
    int64_t patch;
} call_tensor;

typedef struct call_list {
    const fattn_field *field;
    fenced slot;
    const int64_t *content;
    int64_t count;
} call_list;

typedef struct call_text {
    const fattn_field *field;
    fenced slot;
    const char *content;
} call_text;

typedef struct call {
    const fattn_operator *op;
    const char *text;
    problem_line *line;
    fenced args_slot;
    unsigned char *args; /* what is passed; NULL only by damage */
    call_tensor tensors[CALL_TENSORS];
    call_list lists[CALL_LISTS];
    call_text texts[CALL_TEXTS];
    int64_t cells[CALL_CELLS];
    int n_tensors, n_lists, n_texts, n_cells;
    const fattn_tensor *vectors[4][CALL_TENSORS]; /* of tensor lists */
    int n_vectors;
    wild_ranges wild_lists; /* integer lists that point into the wild region */
    bool strides_changed;
    bool extreme;       /* numbers for which the accuracy bound, a linearisation, says nothing */
    char log[CALL_LOG]; /* what was damaged */
} call;

/* Parses and fills a line; NULL (and a sentence on stderr) when that fails. */
call *call_new(const char *text, fattn_context *context);
void call_free(call *c);

/* Puts everything back to the legal call. */
void call_restore(call *c);

/* Where a field of the args struct is. */
static inline void *call_at(const call *c, const fattn_field *f) { return c->args + f->offset; }

/* After tensors were changed: data pointers that fit what the tensors claim. */
void call_place(call *c);
tensor_state call_state(const call_tensor *t);

static inline bool is_input(const call_tensor *t)
{
    return t->field->kind == FATTN_FIELD_TENSOR_IN || t->field->kind == FATTN_FIELD_TENSORS_IN;
}
/* Gives one element (counted from the end, from 0) of an i32 or i64 tensor another value. */
void call_patch(call_tensor *t, size_t at, int64_t value);

/* A tensor or list that args still point at. */
bool call_uses(const call *c, const call_tensor *t);

/* An output or in-place tensor that the call writes. */
static inline bool call_writes(const call *c, const call_tensor *t)
{
    return !is_input(t) && !t->silent && call_uses(c, t);
}

/* Every byte that may be written: outputs and cells get `canary`, in-place tensors their legal
 * content. */
void call_arm(call *c, unsigned char canary);
/* Nothing of that was touched since. */
bool call_untouched(const call *c, unsigned char canary);
/* Nothing outside the elements of the outputs was. */
bool call_only_elements(const call *c, unsigned char canary);

/* Span of the elements, in elements from data: [*low, *high]; false when the tensor is malformed.
 */
bool tensor_span(const fattn_tensor *t, int64_t *low, int64_t *high);
/* The byte offset of element number i in row-major order, from data. */
int64_t tensor_byte(const fattn_tensor *t, int64_t i);
int64_t tensor_count(const fattn_tensor *t); /* of a well-formed one */
bool tensor_empty(const fattn_tensor *t);

void call_note(call *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
