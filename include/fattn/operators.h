/* SPDX-License-Identifier: Apache-2.0 */
/* operators.h — the family as data: every operator, every field of its args struct, its default.
 *
 * The command line, problem lines and the tests are loops over these tables, so a name is spelt
 * once. The tables are constant and need no context. */
#ifndef FATTN_OPERATORS_H
#define FATTN_OPERATORS_H

#include "attention.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fattn_field_kind {
    FATTN_FIELD_TENSOR_IN,    /* const fattn_tensor * */
    FATTN_FIELD_TENSOR_OUT,   /* const fattn_tensor *, caller-allocated */
    FATTN_FIELD_TENSOR_INOUT, /* const fattn_tensor *, changed in place */
    FATTN_FIELD_TENSORS_IN,   /* fattn_tensor_array */
    FATTN_FIELD_INT,          /* int64_t */
    FATTN_FIELD_FLOAT,        /* double */
    FATTN_FIELD_BOOL,         /* bool */
    FATTN_FIELD_STRING,       /* const char * */
    FATTN_FIELD_INTS,         /* fattn_int_array */
    FATTN_FIELD_INT_OUT       /* int64_t *, may be NULL */
} fattn_field_kind;

typedef enum fattn_field_flag {
    FATTN_FIELD_REQUIRED = 1,
    FATTN_FIELD_IGNORED = 2, /* accepted, never changes anything; documented */
    FATTN_FIELD_HEADS = 8,   /* a head count that the layout may supply */
    FATTN_FIELD_HOST =
        16, /* a tensor of one number that is read with the shapes: a plan keeps its value */
    FATTN_FIELD_BY_FLAG =
        32, /* an output that another argument asks for; else any tensor is left alone */
    FATTN_FIELD_PER_RUN = 64 /* a number that may differ from run to run of a plan */
} fattn_field_flag;

typedef struct fattn_field {
    const char *name;
    fattn_field_kind kind;
    unsigned flags;
    size_t offset;            /* into the args struct */
    int64_t default_int;      /* INT, BOOL */
    double default_float;     /* FLOAT */
    const char *default_text; /* STRING */
    const char *aliases;      /* other spellings, space separated, or NULL */
    const char *help;         /* one line */
} fattn_field;

typedef struct fattn_operator {
    const char *name; /* "fusion_attention" */
    const char *help; /* one line */
    const fattn_field *fields;
    int n_fields;
    int n_outputs; /* TENSOR_OUT fields; they stand together, in the order of shapes() */
    size_t args_size;
    void (*args_init)(void *args);
    fattn_status (*call)(fattn_context *context, const void *args);
    fattn_status (*shapes)(fattn_context *context, const void *args, fattn_tensor *outputs);
    fattn_status (*workspace)(fattn_context *context, const void *args, size_t *bytes);
    fattn_status (*plan)(fattn_context *context, const void *args, fattn_plan **plan);
} fattn_operator;

/* All operators; *count receives how many unless count is NULL. */
FATTN_API const fattn_operator *fattn_operators(int *count);

/* By name, with or without an "npu_" prefix; NULL when unknown. */
FATTN_API const fattn_operator *fattn_operator_find(const char *name);

/* By name or alias; NULL when unknown. */
FATTN_API const fattn_field *fattn_field_find(const fattn_operator *op, const char *name);

#ifdef __cplusplus
}
#endif
#endif
