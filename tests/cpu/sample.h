/* SPDX-License-Identifier: Apache-2.0 */
/* sample.h — random canonical problems for the tests of src/cpu.
 *
 * The meaning of a sample (lengths, masks, values) comes from its seed; how it lies in memory comes
 * from a storage description. Two samples with the same meaning and different storage must give the
 * same bits. */
#ifndef FATTN_TESTS_CPU_SAMPLE_H
#define FATTN_TESTS_CPU_SAMPLE_H

#include "core/problem.h"
#include "fattn/context.h"

enum { SAMPLE_SEQS = 4, SAMPLE_HEADS = 12 };

typedef struct storage {
    bool packed;      /* sequences one after the other in the row axis, else a batch axis */
    bool heads_first; /* [.., head, row, d], else [.., row, head, d] */
    int64_t gap;      /* unused elements between rows */
    int64_t col_stride;
    int64_t page_rows; /* 0 = contiguous K and V */
    bool wide_table;   /* int64 block table */
    int64_t chunk;     /* K and V columns in chunks of so many; 0 = in strips */
    bool shared;       /* the keys that all sequences begin with are stored once */
    bool list;         /* K and V are a tensor per sequence */
} storage;

/* What a random sample may look like. */
typedef struct sample_limits {
    int64_t q_len, kv_len, group, n_kv_heads, d; /* largest values */
    bool dense_mask, bias, sink, empty_rows;
} sample_limits;

typedef struct sample {
    uint64_t seed;
    fattn_problem p;
    fattn_ptrs ptrs;
    fattn_seq seqs[SAMPLE_SEQS];
    storage how;
    /* logical values, already rounded to the dtype: q[seq][head][row][d], k and v per kv head */
    float *q[SAMPLE_SEQS], *k[SAMPLE_SEQS], *v[SAMPLE_SEQS];
    double *out_bits[SAMPLE_SEQS]; /* results after sample_collect: [head][row][d_v], widened */
    fattn_tensor k_tensors[SAMPLE_SEQS], v_tensors[SAMPLE_SEQS]; /* storage.list */
    const fattn_tensor *k_list[SAMPLE_SEQS], *v_list[SAMPLE_SEQS];
    void *memory[96];
    int n_memory;
    int64_t common; /* keys that all sequences begin with */
    int64_t d_nope; /* columns of the first part, d_qk when there is one */
    int64_t stats_count;
} sample;

/* The same seed, dtype and limits give the same meaning whatever `how`. */
void sample_make(sample *s, uint64_t seed, fattn_dtype dtype, const sample_limits *limits,
                 const storage *how);
void sample_free(sample *s);

/* Fills outputs with a pattern, so that a row nobody wrote is noticed. */
void sample_clear(sample *s);

/* Runs the cpu backend; the workspace comes from malloc with its exact size. */
void sample_run(sample *s, fattn_context *context);

/* Reads the strided output into out_bits. */
void sample_collect(sample *s);

/* Address of a value in storage. */
char *sample_q_at(const sample *s, int seq, int64_t head, int64_t row, int64_t c);
char *sample_k_at(const sample *s, int seq, int64_t kv_head, int64_t row, int64_t c);
char *sample_v_at(const sample *s, int seq, int64_t kv_head, int64_t row, int64_t c);
void sample_store(char *at, fattn_dtype dtype, float value);

/* true when row i of the head sees key j, written out from the definition. */
bool sample_sees(const sample *s, int seq, int64_t head, int64_t i, int64_t j);

/* One line that reproduces the sample. */
const char *sample_print(const sample *s);

/* The naive answer of one row in double and the error bound of the contract. */
typedef struct naive_row {
    double out[256], bound[256];
    double max, sum, lse, lse_bound;
    int64_t visible;
} naive_row;

void sample_naive(const sample *s, int seq, int64_t head, int64_t i, naive_row *row);

/* A context with these threads and this instruction set; NULL when the machine lacks it. */
fattn_context *sample_context(const char *isa, int threads);
/* The same with fp16 arithmetic; NULL where the instruction set has none. */
fattn_context *sample_half_context(const char *isa, int threads);
/* Like `context`, with so many threads. */
fattn_context *sample_context_like(const fattn_context *context, int threads);

#endif
