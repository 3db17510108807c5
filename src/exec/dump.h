/* SPDX-License-Identifier: Apache-2.0 */
/* dump.h — a call in a .safetensors file (docs/explain.md): inputs as they were before it, outputs
 * after it as out.NAME, the problem line and what else decides the bits in __metadata__. */
#ifndef FATTN_EXEC_DUMP_H
#define FATTN_EXEC_DUMP_H

#include "base/context.h"
#include "fattn/operators.h"

typedef struct fattn_dump {
    fattn_context *context;
    const fattn_operator *op;
    const void *args;
    bool tensors; /* the call passed the checks that need no data, so its tensors can be read */
    int file;     /* -1 = none */
    char *header; /* room for it, what is written later included */
    size_t header_bytes; /* its length in the file */
    int64_t outputs_at;  /* offset of the outputs in the file */
    const char *status;  /* "unfinished" until the end: the file of a call that never came back */
    int64_t ns;
    uint64_t seed, offset; /* of the context's generator before the call */
} fattn_dump;

/* Makes the file and writes the inputs; without `tensors` the line and the status are all there is.
 * A file that cannot be written is told once, by a warning; then nothing is done. */
void dump_begin(fattn_dump *dump, fattn_context *context, const fattn_operator *op,
                const void *args, bool tensors);

/* The status and, where it is FATTN_OK, the outputs. */
void dump_end(fattn_dump *dump, fattn_status status, int64_t ns);

#endif
