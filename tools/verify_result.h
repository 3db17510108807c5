/* SPDX-License-Identifier: Apache-2.0 */
/* verify_result.h — results that were computed elsewhere, as files, and what became of them. */
#ifndef FATTN_TOOLS_VERIFY_RESULT_H
#define FATTN_TOOLS_VERIFY_RESULT_H

#include "call.h"

enum { MOST_RESULTS = FATTN_VERIFY_OUTPUTS };

/* One file that stands for one output. */
typedef struct result_file {
    const fattn_field *field;
    const char *option, *where; /* borrowed */
    fattn_dtype stored;         /* the file's own dtype */
    int64_t rounded; /* elements that the output's narrower dtype cannot hold as they are */
} result_file;

typedef struct result_files {
    result_file file[MOST_RESULTS];
    int n;
} result_files;

/* Which results the command line names, for an operator. CLI_GO, or CLI_USAGE after a sentence. */
int results_find(const cli_values *values, const fattn_operator *op, result_files *files);

/* Reads a result as the output `wanted` (its dtype and shape) into *tensor, row-major; the line
 * owns the memory. CLI_GO, or an exit status after a sentence. */
int results_read(const cli_values *values, problem_line *line, result_file *file,
                 const fattn_tensor *wanted, fattn_tensor *tensor);

#endif
