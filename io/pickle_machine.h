/* SPDX-License-Identifier: Apache-2.0 */
/* pickle_machine.h — the machine that reads a pickle: its operations are in pickle.c, the names
 * that it knows and what becomes of them in pickle_names.c. A function that fails has said why in
 * *error. */
#ifndef FATTN_IO_PICKLE_MACHINE_H
#define FATTN_IO_PICKLE_MACHINE_H

#include "pickle_value.h"

typedef struct pickle_machine {
    values v;
    const unsigned char *begin, *at, *end;
    const char *file;
    io_error *error;
} pickle_machine;

/* Damaged; returns false. */
bool pickle_fail(pickle_machine *m, const char *what);

/* Out of memory, or more values than any description of tensors has; returns false. */
bool pickle_full(pickle_machine *m);

/* `item` 0 is a value that found no room. */
bool pickle_push(pickle_machine *m, int item);
bool pickle_push_number(pickle_machine *m, value_kind kind, int64_t number);

/* The topmost value, taken or left; 0 after a sentence. A mark is no value. */
int pickle_pop(pickle_machine *m);
int pickle_top(pickle_machine *m);

/* GLOBAL: two lines, a module and a name in it. */
bool pickle_global(pickle_machine *m, int unused);

/* BINPERSID: ('storage', class, key, device, elements) becomes a storage. */
bool pickle_persistent(pickle_machine *m, int unused);

/* REDUCE: a name and a tuple of arguments become what torch would make of them, as data. */
bool pickle_reduce(pickle_machine *m, int unused);

/* BUILD: attributes, which are ignored where they say nothing about a tensor. */
bool pickle_build(pickle_machine *m, int unused);

#endif
