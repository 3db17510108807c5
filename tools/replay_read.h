/* SPDX-License-Identifier: Apache-2.0 */
/* replay_read.h — a record (docs/explain.md) as a call that can be made, and what it once answered.
 */
#ifndef FATTN_TOOLS_REPLAY_READ_H
#define FATTN_TOOLS_REPLAY_READ_H

#include "io/io.h"
#include "options.h"
#include "problem_line.h"

/* A tensor that the call wrote. */
typedef struct recorded_output {
    line_tensor *tensor; /* of the call */
    io_tensor was;       /* as it was written, row-major */
} recorded_output;

enum { RECORD_OUTPUTS = 16 };

typedef struct call_record {
    const char *path;
    problem_line *line;        /* inputs and outputs have their data */
    char *text, *isa, *status; /* the line, the instruction set, "FATTN_OK" and so on */
    bool tensors;              /* a call that was refused before its data was read has none */
    recorded_output outputs[RECORD_OUTPUTS];
    int n_outputs;
} call_record;

/* CLI_GO, or CLI_DATA (CLI_FAIL: no memory) after a sentence. record_close() in any event. */
int record_open(const char *verb, const char *path, call_record *record);
void record_close(call_record *record);

/* A text of the file's metadata, for free(); NULL when there is none. */
char *record_text(const call_record *record, const char *name);

#endif
