/* SPDX-License-Identifier: Apache-2.0 */
/* pickle_value.h — what the machine of pickle.c works on: values by number, so that cycles and
 * shared values need no care when they are freed. */
#ifndef FATTN_IO_PICKLE_VALUE_H
#define FATTN_IO_PICKLE_VALUE_H

#include "pickle.h"

typedef enum value_kind {
    VALUE_NONE, /* and every number that names nothing */
    VALUE_BOOL,
    VALUE_INT,
    VALUE_OPAQUE, /* nothing that a tensor is made of: a real number, bytes, a set, a device ... */
    VALUE_TEXT,
    VALUE_TUPLE,
    VALUE_LIST,
    VALUE_DICT, /* children: key, value, key, value ... */
    VALUE_GLOBAL,
    VALUE_STORAGE,
    VALUE_TENSOR,
    VALUE_MARK
} value_kind;

typedef struct value {
    value_kind kind;
    int first, last, count; /* children, as links */
    int64_t number;   /* BOOL, INT; GLOBAL: in the table; STORAGE: elements; TENSOR: in tensors */
    const char *text; /* TEXT: inside the pickle; STORAGE: its key */
    size_t length;
    int global; /* STORAGE: its class */
} value;

typedef struct value_link {
    int value, next; /* next 0 = the last */
} value_link;

/* Growing arrays of at most MOST_VALUES entries; number 0 of values and links is nobody's. A value
 * takes a byte of the pickle and some 60 here: without an end, a small file could ask for the
 * machine's memory. */
enum { MOST_VALUES = 1 << 20 };
typedef struct values {
    value *all;
    value_link *links;
    pickle_tensor *tensors;
    int *stack, *memo;
    int n, n_links, n_tensors, n_stack, n_memo;
    int room, room_links, room_tensors, room_stack, room_memo;
} values;

bool values_init(values *v);
void values_free(values *v);

/* An array is full: why something found no room, or the machine had none. */
bool values_too_many(const values *v);

/* A new value, 0 when there is no room. */
int value_new(values *v, value_kind kind);

/* Makes `child` the last child of `parent`. */
bool value_append(values *v, int parent, int child);
bool value_push(values *v, int item);
bool value_remember(values *v, int index, int item); /* index <= n_memo */
int value_tensor(values *v, const pickle_tensor *tensor);

/* Child number `index`, 0 when there is none; linear. */
int value_child(const values *v, int parent, int index);
bool value_is_text(const value *v, const char *text);

/* Follows a path of keys; 0 when it leads to no tensor. */
int value_find(const values *v, int root, const char *name);

/* "a, b.c, ..." — the first tensors under root; returns out. */
const char *value_names(const values *v, int root, char *out, size_t room);

/* The text for a sentence: what is not printable ASCII becomes '?', at most 60 bytes; returns out.
 */
enum { PICKLE_TEXT = 64 };
const char *value_printable(const char *text, size_t length, char out[PICKLE_TEXT]);

#endif
