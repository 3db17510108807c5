/* SPDX-License-Identifier: Apache-2.0 */
/* problem.h — the canonical attention problem. Every operator is translated into this once
 * (src/api); below, nobody knows which one was called.
 *
 * For sequence b, query head h (kv head h / group), query row i, key j of the sequence:
 *   x(i,j) = bias_before_scale ? (q.k + bias) * scale : q.k * scale + bias
 *   row i sees key j iff  lo(i) <= j < hi(i)  (mask.h)  and the dense mask is 0 there
 *   out(i) = sum_j p v_j, p = softmax over the seen keys (and the sink, which has no value)
 * All strides count elements. Shapes live here, addresses in fattn_ptrs, so a problem serves many
 * runs. */
#ifndef FATTN_CORE_PROBLEM_H
#define FATTN_CORE_PROBLEM_H

#include "base/arena.h"
#include "base/mutant.h"
#include "fattn/status.h"

/* Where row (batch, head, s) of one operand starts: base + batch*batch_stride + head*head_stride
 * + s*row_stride, columns col_stride apart. Paged: s lies in page table[batch*table_batch + (s /
 * page_rows)*table_col], at page*page_stride + head*head_stride + (s % page_rows)*row_stride.
 * Chunked (NZ caches): column c stands at (c / chunk)*chunk_stride + (c % chunk)*col_stride. Of dtypes that
 * pack several columns in an element, c counts elements there, and all strides do. */
typedef struct fattn_part {
    int64_t d; /* columns */
    int64_t batch_stride, head_stride, row_stride, col_stride, page_stride;
    int64_t chunk, chunk_stride; /* chunk 0 = columns lie in one strip */
} fattn_part;

typedef struct fattn_view {
    fattn_dtype dtype;      /* of part 0 */
    fattn_dtype rope_dtype; /* of part 1; NONE = the same */
    int n_parts;            /* 1, or 2: nope and rope columns, each with its own address */
    fattn_part part[2];
    const fattn_part *list; /* tensor list: part[0] of each batch entry, which has an address of its
                               own; arena, NULL = one tensor */
    int64_t page_rows;      /* 0 = not paged */
    int64_t n_pages;        /* pages in the cache, for the check of used ids */
} fattn_view;

/* Numbers that go with the elements of an operand: one for all of them, for a head, a column, a row; a
 * stride is 0 where they are shared. The number of (batch, head, row, column) is element
 *   batch*batch_stride + head*head_stride + row*row_stride + column/col_group*col_stride,
 * by page: page*page_stride instead of the batch's, and the row counts from the page's first. */
typedef struct fattn_grid {
    fattn_dtype dtype; /* NONE = there are none; F32, F16, BF16, F64, E8M0; I64: an fp32 in the low half */
    int64_t batch_stride, head_stride, row_stride, col_stride, page_stride;
    int64_t col_group; /* columns that share a number; at least 1 */
    bool by_page;
} fattn_grid;

/* A stored number x stands for (x + offset) * scale; without scale and offset for itself. */
typedef struct fattn_affine {
    fattn_grid scale, offset;
} fattn_affine;

typedef struct fattn_table { /* block table of a paged problem */
    fattn_dtype dtype;       /* I32 or I64 */
    int64_t batch_stride, col_stride, cols;
} fattn_table;

/* One run of query rows with its keys. Variable lengths and sparse modes end here. */
typedef struct fattn_seq {
    int64_t batch;         /* index for the views' batch stride, masks, biases and block table */
    int64_t q_row0, q_len; /* rows of the q and out views */
    int64_t kv_row0,
        kv_len; /* kv_len counts the shared prefix; key j is row j of the shared views for
                   j < shared_len, else row kv_row0 + j - shared_len of the k and v views */
    int64_t band_lo, band_hi; /* visible keys of row i: [max(0, i+band_lo), min(kv_len, max(prefix,
                                 i+band_hi+1))); clamped to +-(q_len + kv_len) */
    int64_t prefix;
    int64_t scale_row0; /* key j has row scale_row0 + j in the scales of the k and v views */
    int64_t mask_from;                  /* the dense mask speaks of keys [mask_from, kv_len) only */
    int64_t mask_base, mask_row_stride; /* element offset of (head 0, row 0, key mask_from) in it */
    int64_t bias_base;                  /* element offset of (head 0, row 0, col 0) in the bias */
    int64_t bias_head_stride, bias_row_stride;
    int64_t distance0; /* slopes: distance = |j - i + distance0| */
    int64_t dbias_base, dbias_head_stride, dbias_row_stride; /* the same places in the gradient */
    int64_t drop_base; /* dropout: cell (head, i, j) is element drop_base + (head * q_len + i) *
                          kv_len + j */
    int64_t stats_base, stats_head_stride, stats_row_stride; /* softmax_max, softmax_sum */
    int64_t lse_base, lse_head_stride, lse_row_stride;
    bool pad; /* rows that belong to no sequence, written as problem->empty_pad says: kv_len 0.
                 Backward: query rows and keys outside all sequences, gradients 0 */
} fattn_seq;

typedef enum fattn_bias_kind {
    BIAS_NONE,
    BIAS_TENSOR,
    BIAS_COMPRESSED, /* pse rows = the last 1024 of a longer bias, found by distance (bias.h) */
    BIAS_SLOPE,      /* -slope * |distance| */
    BIAS_SLOPE_SQRT  /* -slope * sqrt(|distance|) */
} fattn_bias_kind;

typedef struct fattn_bias {
    fattn_bias_kind kind;
    fattn_dtype dtype;
    bool before_scale;  /* (s + bias) * scale; tensor kinds only */
    int64_t col_stride; /* tensor kinds; row and head strides are per sequence */
    int64_t total_len;  /* COMPRESSED: length whose last 1024 rows are stored */
    int64_t slope_batch_stride, slope_head_stride; /* slope kinds */
} fattn_bias;

typedef struct fattn_mask { /* dense, one byte per cell, nonzero = masked */
    bool present;
    int64_t head_stride, col_stride; /* 0 = broadcast; base and row stride are per sequence */
} fattn_mask;

/* Dropout: p is multiplied by `factor` where the cell is kept, else by 0; after the sum
 * (core/dropout.h). */
typedef enum fattn_dropout_kind {
    DROPOUT_NONE,
    DROPOUT_BITS,  /* the caller's mask: bit e & 7 of byte e >> 3, 1 = keep */
    DROPOUT_PHILOX /* drawn from (seed, offset, e): kept iff (word & word_bits) >= threshold */
} fattn_dropout_kind;

typedef struct fattn_dropout {
    fattn_dropout_kind kind;
    double factor; /* 1 / keep_prob */
    uint32_t word_bits, threshold;
} fattn_dropout;

/* Backward: where the gradient of the bias goes. A cell that several batch entries or rows read
 * gets the sum of theirs. All of it is 0 when a run starts. */
typedef struct fattn_dbias {
    bool want;
    fattn_dtype dtype;
    bool over_batch; /* all sequences share the cells */
    bool over_rows;  /* all rows of a sequence share them; tensor kinds */
    int64_t col_stride;
    int64_t slope_batch_stride, slope_head_stride;
} fattn_dbias;

/* What a row without a key yields. */
typedef struct fattn_empty {
    bool mean; /* out = mean of V over its window (all keys if the window is empty), else 0 */
    float max, sum, lse; /* written as they are; with mean, sum = number of keys averaged */
    bool lse_mean;       /* with mean: lse = this lse + ln(number of keys) */
} fattn_empty;

typedef enum fattn_kind { KIND_FORWARD, KIND_BACKWARD } fattn_kind;

typedef struct fattn_problem {
    fattn_kind kind;
    int64_t n_heads, n_kv_heads, group; /* query heads, kv heads, n_heads / n_kv_heads */
    int64_t d_qk, d_v;                  /* d_qk over all parts */
    fattn_view q, k, v, out;     /* q, k: equal parts; out, v: one part; backward: out is read */
    fattn_view dout, dq, dk, dv; /* backward; dout like out, dq, dk, dv like q, k, v */
    fattn_dbias dbias;           /* backward */
    fattn_affine k_affine, v_affine; /* quantised keys and values; forward only, as are the next four */
    fattn_affine out_affine;         /* 8-bit results: round(value * scale + offset), saturated */
    fattn_grid q_scale;     /* a factor for the scores of each query row, rope columns included */
    fattn_grid score_scale; /* one factor for all scores */
    fattn_grid p_scale;     /* one factor for all weights, after the sums */
    fattn_dropout dropout;
    int64_t shared_len; /* keys that stand before every sequence's own; 0 = none */
    fattn_view k_shared,
        v_shared;      /* used when shared_len > 0; one part, no pages, batch stride 0 */
    fattn_table table; /* used when k.page_rows > 0 */
    fattn_seq *seqs;   /* arena */
    int64_t n_seqs;
    fattn_bias bias;
    fattn_mask mask;
    double scale;
    bool round_scores_f16;  /* strict inner_precise: q.k is rounded to fp16 before the scale */
    bool sink;              /* one extra logit per query head, without a value */
    fattn_dtype sink_dtype; /* F32 or BF16 */
    int64_t sink_stride;
    bool sink_in_stats;          /* max and sum include the sink (training); lse never does */
    bool want_max_sum, want_lse; /* forward; backward reads max and sum */
    int64_t dsink_stride;        /* backward with a sink */
    fattn_dtype stats_dtype; /* of max and sum: F32, or F64 beside F64 operands */
    int64_t stats_replicas; /* each max and sum is written this many times, stats_replica_stride
                               apart */
    int64_t max_replica_stride;
    fattn_empty empty_no_keys;   /* kv_len == 0 */
    fattn_empty empty_no_window; /* interval empty although kv_len > 0 */
    fattn_empty empty_masked;    /* interval not empty, dense mask hides all of it */
    fattn_empty empty_pad;       /* seq.pad */
} fattn_problem;

/* The addresses of one run; absent ones NULL. */
typedef struct fattn_ptrs {
    const void *q[2], *k[2], *v;
    const void *k_shared, *v_shared;
    const fattn_tensor *const *k_list,
        *const *v_list; /* by batch entry; used where the view has a list */
    const void *table;
    const uint8_t *mask;
    const void *bias; /* tensor or slopes */
    const void *sink;
    const void *k_scale, *k_offset, *v_scale, *v_offset; /* of the affines */
    const void *out_scale, *out_offset, *q_scale, *score_scale, *p_scale;
    const uint8_t *dropout_mask;
    uint64_t seed, offset; /* DROPOUT_PHILOX */
    void *out;
    void *max, *sum; /* stats_dtype */
    float *lse;
    const void *dout; /* backward, as are the following; gradients that are NULL are not wanted */
    void *dq[2], *dk[2], *dv, *dbias;
    void *dsink; /* sink_dtype */
} fattn_ptrs;

/* Invariants that every translator must establish, stated once: positive heads, group * n_kv_heads
 * == n_heads, lengths non-negative, band clamped. Asserts only. */
void problem_assert(const fattn_problem *p);

/* Checks the block ids that the sequences use: every one in [0, n_pages). Called before every run
 * of a paged problem. E_ARG names batch, position and id. */
fattn_status problem_check_table(const fattn_problem *p, const fattn_ptrs *ptrs);

/* Page id of logical page `index` of `batch`. */
int64_t table_page(const fattn_problem *p, const void *table, int64_t batch, int64_t index);

/* Element offset of (batch, head, row) of one part of a view. Paged views read the table. */
int64_t view_offset(const fattn_problem *p, const fattn_view *view, int part, const void *table,
                    int64_t batch, int64_t head, int64_t row);

static inline fattn_dtype view_dtype(const fattn_view *view, int part)
{
    return part == 0 || view->rope_dtype == FATTN_DTYPE_NONE ? view->dtype : view->rope_dtype;
}

/* Container of column c, counted from the start of its row; packed dtypes: column / element_pack(). */
static inline int64_t part_column(const fattn_part *part, int64_t c)
{
    if (part->chunk == 0) return c * part->col_stride;
    return c / part->chunk * MUTANT(99, part->chunk_stride, part->chunk) +
           c % part->chunk * part->col_stride;
}

typedef enum fattn_operand { OPERAND_KEY, OPERAND_VALUE } fattn_operand;

/* Rows of keys or values that lie part->row_stride apart. */
typedef struct fattn_span {
    const void *at;         /* the first row's column 0 of this part */
    const fattn_part *part; /* strides of these rows */
    int64_t n;              /* how many */
} fattn_span;

/* Where key (or value) j of a sequence lies, and how many of the n >= 1 rows from there follow in
 * the same stride: pages, shared prefixes and tensor lists end a span. The only place that reads a
 * block table. */
fattn_span view_span(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
                     fattn_operand operand, int part, int64_t kv_head, int64_t j, int64_t n);

/* The short canonical form, for logs and fattn_plan_describe(); returns the length snprintf-style.
 */
int problem_print(const fattn_problem *p, char *buffer, size_t size);

#endif
