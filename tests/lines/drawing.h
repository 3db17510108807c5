/* SPDX-License-Identifier: Apache-2.0 */
/* drawing.h — what is drawn before a line is written, and how its words are written; shared by the
 * files that make random lines, and by nobody else. */
#ifndef FATTN_TESTS_LINES_DRAWING_H
#define FATTN_TESTS_LINES_DRAWING_H

#include "generate.h"

enum { BATCH_MAX = 4, KEY_TILE = 64, KEY_SPLIT = 512, NZ_CHUNK = 16 };

typedef struct drawing {
    uint64_t state;
    random_line *line;
    size_t used;
    const char *op, *layout, *dtype;
    bool training, packed, decode; /* decode: incre_flash_attention, one query row */
    bool prompt, v1, v2;           /* the other inference operators */
    bool listed, rope;
    bool mla;            /* absorbed: 512 + 64 columns, one key head */
    bool long_bias;      /* square and longer than the 1024 rows of a compressed pse */
    bool has_shared;     /* shared prefix: `shared` keys of a tensor of shared_rows */
    bool shared_omitted; /* nobody says how many: all */
    int64_t shared, shared_rows;
    int64_t pad_q, pad_kv; /* left padding, -1 = none */
    int64_t b, n, nkv, d, dv, sq, skv;
    int64_t q_len[BATCH_MAX], kv_len[BATCH_MAX]; /* of each sequence */
    int64_t t, tkv;                              /* rows of packed tensors, tail included */
    bool trailing_zero; /* the last entry of packed lists is 0 instead of the end */
    int mode;
    bool tokens; /* pre and next count */
    int64_t pre, next, prefix[BATCH_MAX];
    bool dense_mask, compressed_mask, all_masked;
    bool paged;        /* keys and values in a cache ... */
    const char *cache; /* ... that the line spells out in this layout; NULL = by the key page= */
    int64_t block_rows, blocks;
    enum { NOT_QUANTISED, QUANTISED_KV, QUANTISED_ALL } quant;
    const char *kv_dtype, *rope_dtype; /* of key and value; of rope parts */
    bool one_scale, out_quant;
} drawing;

uint64_t draw(drawing *g);
int64_t between(drawing *g, int64_t lo, int64_t hi); /* both included */
bool chance(drawing *g, int percent);

#define PICK(g, ...) pick_text(g, (const char *const[]){__VA_ARGS__, NULL})
const char *pick_text(drawing *g, const char *const *list);

void put(drawing *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void put_shape(drawing *g, const char *name, const char *dtype, const int64_t *shape, int rank);
void feature(drawing *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* draw_quant.c: quantised keys and values, int8 queries, 8-bit results. */
void draw_quant(drawing *g);
void put_quant(drawing *g);

/* draw_mask.c: sparse_mode and atten_mask; at the end, what the rows see. */
void draw_mode(drawing *g);
void put_mask(drawing *g);
void put_decode_mask(drawing *g);
void note_visible(drawing *g);

#endif
