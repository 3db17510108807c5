/* SPDX-License-Identifier: Apache-2.0 */
/* explain.h — what a call would do, in figures: who computes it and how it is cut, what it moves
 * and multiplies, and what stood in the way of the other paths. Nothing is computed, no data is
 * read.
 *
 * `fattn explain` is a printout of this, with the time that the machine's ceilings allow
 * (docs/explain.md). */
#ifndef FATTN_EXPLAIN_H
#define FATTN_EXPLAIN_H

#include "operators.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One backend, asked whether it can compute the call. */
typedef struct fattn_backend_answer {
    const char *name; /* "cpu" */
    bool allowed;     /* by FATTN_BACKEND or the context */
    bool accepts;
    bool chosen;       /* the first that is allowed and accepts */
    char why_not[256]; /* its sentence when it does not accept */
} fattn_backend_answer;

/* How the keys or values of a call reach the kernels. The words are part of the interface:
 *   "in_place"  read where they lie             "widened"  16-bit storage, widened a tile at a time
 *   "parts"     nope and rope columns lie apart "columns"  the columns of a row do not lie together
 *   "rows"      the rows of a head do not follow each other directly
 *   "pages"     a tile of keys crosses blocks   "seam"     a shared prefix ends inside a tile
 *   "tail"      the head dim fills no whole vectors
 *   ""          nothing is read this way */
typedef struct fattn_reading {
    const char *keys, *values;
} fattn_reading;

enum { FATTN_EXPLAIN_BACKENDS = 4 };

typedef struct fattn_explanation {
    size_t size;         /* set by the caller to sizeof(fattn_explanation) */
    char problem[320];   /* the canonical problem in one line */
    const char *backend; /* that computes it */
    const char *isa;     /* of its kernels; "" where it has none */
    const char *compute; /* "f16" where tiles are multiplied in fp16 arithmetic, else "f32"; "" like isa */
    int threads;
    int n_backends; /* asked, in their order */
    fattn_backend_answer backends[FATTN_EXPLAIN_BACKENDS];

    /* The question */
    int64_t sequences;
    int64_t query_rows;   /* of one head, all sequences together */
    double visible_pairs; /* of query row and key, all heads */
    bool dense_mask;      /* an additional mask hides some of these */
    double flops;         /* multiplications and additions of Q K^T and P V over visible pairs */
    /* bytes that have to move once; keys and values per sequence, from the first visible one to the
     * last */
    double query_bytes, kv_bytes, mask_bytes, output_bytes;

    /* How it is cut. An item is a block of query rows of one key/value head against a range of
     * keys. */
    int64_t items;
    int64_t tile_items, dot_items; /* by kernel family; both 0 for a backend without families */
    int64_t split_items;           /* of these: items that see one split of the keys */
    int64_t merges;                /* of splits */
    int64_t tile_rows, tile_keys;  /* of the tile family; 0 = no tiles */
    int64_t item_rows;             /* most rows of an item */
    double kv_read_bytes;          /* keys and values as often as items read them; 0 = not told */
    uint64_t workspace_bytes;

    /* Why so. A sequence has q_len rows, and q_len * group packed rows for each key/value head. */
    int64_t dot_below; /* fewer packed rows: dot family */
    int64_t dot_sequences, tile_sequences;
    int64_t split_keys;      /* keys per split */
    int64_t split_q_len;     /* most rows of a sequence whose keys are split */
    int64_t split_sequences; /* keys are split */
    int64_t
        many_rows; /* sequences whose keys are not split because they have more rows than that */
    int64_t one_split; /* sequences whose visible keys lie inside one split anyway */
    fattn_reading tile_reads, dot_reads;
} fattn_explanation;

/* Fills *explanation (its size must be set). `args` is an args struct of `op`; data may be NULL and
 * outputs may be missing. Attention operators only, others answer E_UNSUPPORTED. A call that would
 * be refused is refused here with the same sentence. */
FATTN_API fattn_status fattn_explain(fattn_context *context, const fattn_operator *op,
                                     const void *args, fattn_explanation *explanation);

#ifdef __cplusplus
}
#endif
#endif
