/* SPDX-License-Identifier: Apache-2.0 */
/* line_internal.h — what the files of the problem line share and nobody else needs. */
#ifndef FATTN_TOOLS_LINE_INTERNAL_H
#define FATTN_TOOLS_LINE_INTERNAL_H

#include "problem_line.h"

/* A key=value word of the text. Strings live as long as the line. */
typedef struct line_word {
    const char *key, *sub, *value; /* "query.fill=ones": query, fill, ones; sub "" when absent */
    int position, value_position;
    bool own; /* ".seed": the operator's parameter, not the line's key */
} line_word;

/* The line's own keys by number: name (NULL behind the last), number (-1 when unknown), effect. */
const char *line_key_name(int key);
int line_key_find(const char *name);
bool line_key_take(int key, problem_line *line, const line_word *w, line_error *error);

/* A number in [low, high] and nothing after it. */
bool line_number(const char *text, double low, double high, double *out);

/* 64 random bits number `index` of a stream (splitmix64 as a counter): the only source of
 * randomness. A stream is a seed and a name, so tensors do not depend on each other or on their
 * order. */
uint64_t line_stream(uint64_t seed, const char *name);
uint64_t line_random(uint64_t stream, uint64_t index);

/* A random integer in [0, n), n > 0. */
int64_t line_below(uint64_t stream, uint64_t index, int64_t n);

/* Whether fill= takes the word; an index into line_fill.c's table, -1 when not. */
int line_fill_index(const char *name);

/* Data with a meaning (block ids, lengths, masks, statistics) for a tensor that has neither values
 * nor a fill of its own. false = the tensor is ordinary. */
bool line_fill_special(const problem_line *line, line_tensor *tensor);

/* page=: replaces key and value in args by caches of the same logical rows, shapes only. */
bool line_page(problem_line *line, line_error *error);

/* fusion_attention_grad: the tensors of the forward that a line may leave out, shapes only; then their
 * data. */
bool line_forward(problem_line *line, line_error *error);
bool line_forward_data(problem_line *line, line_error *error);
/* The line's own fill, from the tensor's own stream. */
void line_fill_plain(const problem_line *line, line_tensor *tensor);

/* Copies the filled rows into the caches and writes the block table. */
bool line_page_data(problem_line *line, line_error *error);

/* Typed access to a field of an args struct. */
static inline void *line_at(const void *args, const fattn_field *field)
{
    return (char *)(uintptr_t)args + field->offset;
}
static inline int line_field_index(const fattn_operator *op, const fattn_field *field)
{
    return (int)(field - op->fields);
}
int64_t line_int(const problem_line *line, const char *name, int64_t otherwise);
const char *line_string(const problem_line *line, const char *name); /* "" when absent */
fattn_int_array line_ints(const problem_line *line, const char *name);

#endif
