/* SPDX-License-Identifier: Apache-2.0 */
/* problem_line.h — one text line that names a call, and the call that it becomes.
 *
 *   fusion_attention input_layout=BSND query=f16[1,4,2,64] key=f16[1,6,2,64] value=f16[1,6,2,64]
 * seed=7
 *
 * The grammar is docs/problem-line.md. Data comes from fills and a seed and is the same on every
 * machine. Everything that walks parameters is a loop over the operator's field table. */
#ifndef FATTN_TOOLS_PROBLEM_LINE_H
#define FATTN_TOOLS_PROBLEM_LINE_H

#include "fattn/fattn.h"

typedef struct line_error {
    int position; /* column in the text, from 1; 0 = not about one place */
    bool memory;  /* the line is fine, the machine is too small for it */
    char text[400];
} line_error;

/* One tensor of the call, in or out. */
typedef struct line_tensor {
    struct line_tensor *next;
    const fattn_field *field;
    fattn_tensor t;     /* args point here */
    void *memory;       /* what t.data points into; NULL until filled */
    const char *fill;   /* its own fill, NULL = the line's */
    double density;     /* its own, < 0 = the line's */
    const char *values; /* the literal elements "1,2,3", or NULL */
    bool strided;       /* the line gave strides */
    bool derived;       /* made by page= or by shapes(): not printed */
} line_tensor;

typedef struct problem_line {
    const fattn_operator *op;
    void *args;                /* op's args struct, to be passed to op's functions */
    void *printed;             /* the args as the line said them (page= changes args) */
    line_tensor *tensors;      /* in the order of appearance */
    uint64_t unwanted;         /* bit i: output field i of the table is "none" */
    const char *fill;          /* "normal" */
    uint64_t seed;             /* 0 */
    double density;            /* share of masked elements, 0.25 */
    int threads, strict;       /* 0, -1 = not said */
    const char *isa, *backend; /* NULL = not said */
    int compute;               /* of fattn_compute, -1 = not said */
    int64_t page;              /* rows per block, 0 = key and value are what the line says */
    const char *page_layout;   /* BnBsH, BnNBsD or NZ */
    const char *page_order;    /* shuffled or sorted */
    size_t bytes;              /* of tensors so far */
    struct line_block *blocks;
} problem_line;

/* An empty call with the operator's defaults; NULL when there is no memory. */
problem_line *line_new(const fattn_operator *op);
void line_destroy(problem_line *line); /* NULL is fine */

/* Parses; tensors have shapes and no data. NULL and *error on a bad line. */
problem_line *line_parse(const char *text, line_error *error);

/* Strict takes official spellings only. Who asks for it: only the line, with strict=1; whoever made
 * the context, where the line does not say strict= itself; or that one whatever the line says. */
typedef enum line_strictness { LINE_ASKS, LINE_MAY_OBJECT, LINE_MUST_OBEY } line_strictness;
problem_line *line_parse_for(const char *text, line_strictness strict, line_error *error);

/* Allocates and fills every input. false and *error when a shape cannot be held. */
bool line_fill(problem_line *line, line_error *error);

/* The same data into memory of the caller's: t->t.data points to it. */
bool line_fill_tensor(problem_line *line, line_tensor *t, line_error *error);

/* Asks the operator for its output shapes and allocates them, every byte 0xFF. A second call
 * changes nothing. */
fattn_status line_outputs(problem_line *line, fattn_context *context);

/* The same without memory: enough for the workspace and the estimate. */
fattn_status line_shapes(problem_line *line, fattn_context *context);

/* line_parse() and line_fill(). */
problem_line *line_open(const char *text, line_error *error);

/* line_outputs() and the call. */
fattn_status line_call(problem_line *line, fattn_context *context);

/* The line as text, for free(); parsing it gives the same call. NULL when there is no memory. */
char *line_print(const problem_line *line);

/* Sets the fields of *options that the line names (threads, strict, isa, backend, compute). */
void line_options(const problem_line *line, fattn_context_options *options);

/* The words that fill= takes, space separated. */
extern const char line_fills[];

/* The tensor behind a field of `line->args` ("query"; item i of a list); NULL when absent. */
const fattn_tensor *line_tensor_of(const problem_line *line, const char *name, int item);

/* --- for what builds calls by hand (call.c) and for this library's own files --- */

/* Zeroed memory that lives as long as the line. */
void *line_memory(problem_line *line, size_t bytes);
char *line_text(problem_line *line, const char *begin, size_t length);

/* Takes over memory from malloc: freed with the line, at once on failure. */
bool line_adopt(problem_line *line, void *memory);

/* A new tensor of a field: hooked into args (the first, or one more of a list). */
line_tensor *line_add_tensor(problem_line *line, const fattn_field *field, const fattn_tensor *t);

/* Sets a parameter that is no tensor from its text. false and the sentence in *error. */
bool line_set(problem_line *line, const fattn_field *field, const char *text, line_error *error);

/* "0 = from the layout" for head counts that were not given, where the layout has an N axis.
 * `given` has a bit for every field of the table that was. */
void line_default_heads(problem_line *line, uint64_t given);

/* Memory for the elements of a tensor, whatever its strides. */
bool line_allocate(problem_line *line, line_tensor *tensor, line_error *error);

/* Fills *error; returns false. */
bool line_fail(line_error *error, int position, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
