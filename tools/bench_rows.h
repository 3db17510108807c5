/* SPDX-License-Identifier: Apache-2.0 */
/* bench_rows.h — what is measured: the rows of the suites, by name (bench/README.md lists them). */
#ifndef FATTN_TOOLS_BENCH_ROWS_H
#define FATTN_TOOLS_BENCH_ROWS_H

#include <stdbool.h>
#include <stdint.h>

enum { BENCH_MAX_ROWS = 64, BENCH_NAME = 48 };

typedef struct bench_row {
    const char *suite;
    char name[BENCH_NAME];
    const char *op; /* the operator that is timed */
    int64_t batch, n_heads, n_kv_heads, head_dim, q_len, kv_len;
    int64_t block_size; /* 0 = contiguous keys and values */
    bool causal;        /* query i sees the keys up to kv_len - q_len + i */
    bool decode;        /* judged by bytes of keys and values per second */
    const char *skip;   /* why there is no figure for this row, or NULL */
} bench_row;

/* Fills rows[BENCH_MAX_ROWS]; the number of rows, 0 for an unknown suite. */
int bench_rows(const char *suite, bench_row *rows);

/* Visible (query, key) pairs of all heads and batch entries. */
double bench_row_pairs(const bench_row *row);

#endif
