/* SPDX-License-Identifier: Apache-2.0 */
/* pickle.h — the pickles that torch.save() writes, read as data.
 *
 * A pickle is a program for a small machine. Ours knows the operations that describe tensors and
 * the dicts, lists and tuples they stand in, and refuses every other operation and every other
 * name: nothing that a file says is ever called. */
#ifndef FATTN_IO_PICKLE_H
#define FATTN_IO_PICKLE_H

#include "stored.h"

enum { PICKLE_LONGEST = 2 << 20, PICKLE_KEY = 32 }; /* bytes; a key, its end included */

/* A tensor as it is described; its elements lie elsewhere, in the storage named `key`. */
typedef struct pickle_tensor {
    io_stored stored;
    char key[PICKLE_KEY];
    int64_t elements; /* of the storage */
    int64_t offset;   /* of the first element in it */
    int rank;
    int64_t shape[FATTN_MAX_RANK], strides[FATTN_MAX_RANK]; /* inside the storage: checked */
} pickle_tensor;

/* The tensor that the path of keys `name` leads to ("layer.0.q"; numbers count in lists); NULL: the
 * pickle is a tensor. `file` is for the sentences. */
io_code pickle_read(const void *bytes, size_t n, const char *file, const char *name,
                    pickle_tensor *tensor, io_error *error);

#endif
