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
    int64_t value_dim;  /* 0 = head_dim; forward only */
    int64_t block_size; /* 0 = contiguous keys and values */
    bool causal;        /* query i sees the keys up to kv_len - q_len + i */
    int64_t band;       /* of a causal row of fusion_attention: so many keys before that, 0 = all */
    bool once;          /* so long that it is run once, not warmed up */
    bool decode;        /* judged by bytes of keys and values per second */
    bool backward;      /* the gradients of dq, dk, dv; op is fusion_attention_grad */

    /* rows that are problem lines, with T for the dtype; the others leave these alone */
    const char *lines[3]; /* the call; its plain form, of one call or two */
    double pairs;         /* visible, of all heads */
    int dims;             /* D + Dv */
    int64_t kv_numbers;   /* elements of the keys and values that are read, 0 = not asked */
    bool latent;          /* values are the first columns of the keys */
    bool plan_timed;      /* plan_us and call_us are asked for */
    bool plan_only;       /* the plan is timed and nothing else: no memory for tensors */
    const char *quant;    /* suite quant: how keys and values are stored */
    bool half;            /* f16, whatever --dtype says; its first line is computed in fp16 arithmetic */
} bench_row;

/* Fills rows[BENCH_MAX_ROWS]; the number of rows, 0 for an unknown suite. */
int bench_rows(const char *suite, bench_row *rows);

/* The suites of problem lines (bench_serving_rows.c). Texts stay valid until the suites are asked
 * for often. */
int bench_serving_rows(bench_row *rows);
int bench_call_rows(bench_row *rows);
int bench_quant_rows(bench_row *rows); /* bench_quant.c */
int bench_modes_rows(bench_row *rows); /* bench_modes.c */
/* The row decode-mla128 of the suite `decode`. */
bench_row bench_mla_row(void);

/* Visible (query, key) pairs of all heads and batch entries. */
double bench_row_pairs(const bench_row *row);
/* Columns of the values and of the result. */
int64_t bench_row_value_dim(const bench_row *row);
/* Two products a pair, five in the backward. */
double bench_row_flops(const bench_row *row);

#endif
