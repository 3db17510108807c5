/* SPDX-License-Identifier: Apache-2.0 */
/* frame.h — one call: the operator's args struct, and everything its pointers point at. Lives on the
 * stack of the call; small calls allocate nothing. */
#ifndef FATTN_CORE_FRAME_H
#define FATTN_CORE_FRAME_H

#include "core.h"
#include "table.h"
#include "tensor.h"

enum { INTS_MAX = 64 };

typedef struct frame {
    int number; /* of the operator */
    const fattn_operator *op;
    int first_output; /* number of the first TENSOR_OUT field; they stand together */
    alignas(max_align_t) unsigned char args[ARGS_MAX];
    uint64_t given; /* bit i: field i has a value */

    held_tensor tensors[FIELDS_MAX]; /* by field, those of `given` */
    uint64_t held;                   /* bit i: tensors[i] is in use */

    struct {
        held_tensor *tensors;
        const fattn_tensor **pointers;
        int64_t count;
    } lists[LISTS_MAX];
    int n_lists;

    int64_t ints[INTS_MAX]; /* short lists, one behind the other */
    int n_ints;
    int64_t *long_ints[FIELDS_MAX]; /* longer ones */
    int n_long_ints;

    PyObject *outputs[OUTPUTS_MAX]; /* TENSOR_OUT fields in order: the objects given or made; or NULL */

    PyObject *texts[FIELDS_MAX]; /* strings that args points into */
    int n_texts;

    int64_t int_out[INT_OUT_MAX];
    int n_int_out;
} frame;

/* An empty call of operator `number`. */
void frame_init(frame *f, int number);

/* Sets what the dict `fields` names; None = absent. 0, or -1 with an exception. */
int frame_fill(frame *f, PyObject *fields);

/* The same, but what has a value already keeps it: the fields of a plan behind those of a run. */
int frame_fill_missing(frame *f, PyObject *fields);

/* What the call would give for its outputs, whose `shapes` the library told: each that is missing is made by
 * allocate(dtype, shape). */
int frame_allocate(frame *f, const fattn_tensor *shapes, PyObject *allocate);

/* Before a plan is made: where no output is given, a shape without memory stands for each. */
void frame_fill_outputs(frame *f, const fattn_tensor *shapes);
bool frame_has_output(const frame *f, int i);

/* Field by name: values other than tensors, as the frame holds them now. */
PyObject *frame_values(const frame *f);

/* Lets go of everything. */
void frame_drop(frame *f);

/* The numbers of the INT_OUT fields, in the table's order. */
PyObject *frame_int_out(const frame *f);

/* All outputs, then those numbers. */
PyObject *frame_results(const frame *f);

#endif
