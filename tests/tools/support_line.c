/* SPDX-License-Identifier: Apache-2.0 */
/* support_line.c — one row of the table per form; its line is put together letter by letter, so
 * that a layout that the library learns needs nothing here. */
#include "support_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    TRAIN = 1,
    PROMPT = 2,
    INCRE = 4,
    V1 = 8,
    V2 = 16,
    FIA = V1 | V2,
    INFER = PROMPT | INCRE | FIA,
    ALL = TRAIN | INFER
};
enum {
    BATCH = 2,
    HEADS = 8,
    DIM = 128,
    Q_LEN = 64,
    KV_LEN = 256,
    BLOCK = 128,
    CHUNK = 16,
    SHARED = 128
};
enum { MASK_NONE, MASK_DENSE, MASK_2048, MASK_3072, MASK_TREE, MASK_BATCH };

const support_form support_forms[] = {
    {.name = "plain", .ops = ALL},
    {.name = "grouped heads (8 and 2)", .ops = ALL, .kv_heads = 2},
    {.name = "bf16", .ops = ALL, .dtype = "bf16"},
    {.name = "f32", .ops = ALL, .dtype = "f32"},
    {.name = "f64", .ops = ALL, .dtype = "f64"},
    {.name = "one query row", .ops = TRAIN | PROMPT | FIA, .q_len = 1},
    {.name = "key/value lengths", .ops = INFER, .extra = "kv_lengths"},
    {.name = "cache BnBsH, one row", .ops = INCRE | FIA, .q_len = 1, .cache = CACHE_BNBSH},
    {.name = "cache BnNBsD, one row", .ops = INCRE | FIA, .q_len = 1, .cache = CACHE_BNNBSD},
    {.name = "cache NZ, one row", .ops = INCRE | FIA, .q_len = 1, .cache = CACHE_NZ},
    {.name = "cache BnBsH", .ops = FIA, .cache = CACHE_BNBSH},
    {.name = "cache BnNBsD", .ops = FIA, .cache = CACHE_BNNBSD},
    {.name = "cache NZ", .ops = FIA, .cache = CACHE_NZ},
    {.name = "shared prefix", .ops = V1, .prefix = true},
    {.name = "left padding", .ops = V1, .left_padding = true},
    {.name = "left padding, one row", .ops = INCRE, .left_padding = true},
    {.name = "tensor lists", .ops = FIA, .list = true},
    {.name = "value dim 64", .ops = ALL, .dv = 64},
    {.name = "head dims 192 and 128", .ops = TRAIN | FIA, .d = 192, .dv = 128},
    {.name = "rope 64", .ops = TRAIN | FIA, .rope = 64},
    {.name = "rope 64, dim 512, one kv head, one row",
     .ops = FIA,
     .d = 512,
     .rope = 64,
     .heads = 32,
     .kv_heads = 1,
     .q_len = 1},
    {.name = "the same, cache BnBsH",
     .ops = FIA,
     .d = 512,
     .rope = 64,
     .heads = 32,
     .kv_heads = 1,
     .q_len = 1,
     .cache = CACHE_BNBSH},
    {.name = "the same, cache NZ",
     .ops = FIA,
     .d = 512,
     .rope = 64,
     .heads = 32,
     .kv_heads = 1,
     .q_len = 1,
     .cache = CACHE_NZ},
    {.name = "rope 64, bf16, mode 3",
     .ops = TRAIN | FIA,
     .rope = 64,
     .dtype = "bf16",
     .mode = 3,
     .mask = MASK_2048},
    {.name = "rope 64, dim 512, mode 9, 8 queries, cache BnBsH",
     .ops = V2,
     .d = 512,
     .rope = 64,
     .heads = 32,
     .kv_heads = 1,
     .q_len = 8,
     .cache = CACHE_BNBSH,
     .mode = 9,
     .mask = MASK_TREE},
    {.name = "sink", .ops = TRAIN | V2, .sink = true},
    {.name = "softmax_lse", .ops = FIA, .lse = true},
    {.name = "mode 0, mask", .ops = ALL & ~INCRE, .mask = MASK_DENSE},
    {.name = "mask per batch", .ops = ALL, .mask = MASK_BATCH},
    {.name = "mode 1, mask", .ops = ALL & ~INCRE, .mode = 1, .mask = MASK_DENSE},
    {.name = "mode 2, 2048² mask", .ops = ALL & ~INCRE, .mode = 2, .mask = MASK_2048},
    {.name = "mode 3, 2048² mask", .ops = ALL & ~INCRE, .mode = 3, .mask = MASK_2048},
    {.name = "mode 3, no mask", .ops = ALL & ~INCRE, .mode = 3},
    {.name = "mode 4, 2048² mask",
     .ops = ALL & ~INCRE,
     .mode = 4,
     .mask = MASK_2048,
     .extra = "pre_tokens=128 next_tokens=0"},
    {.name = "mode 5, mask per batch, prefix",
     .ops = TRAIN,
     .mode = 5,
     .mask = MASK_BATCH,
     .extra = "prefix=200,240"},
    {.name = "mode 6, 3072×2048 mask, prefix",
     .ops = TRAIN,
     .mode = 6,
     .mask = MASK_3072,
     .extra = "prefix=200,240"},
    {.name = "mode 7, 2048² mask",
     .ops = TRAIN,
     .mode = 7,
     .mask = MASK_2048,
     .extra = "pre_tokens=65536 next_tokens=0"},
    {.name = "mode 8, 2048² mask",
     .ops = TRAIN,
     .mode = 8,
     .mask = MASK_2048,
     .extra = "pre_tokens=65536 next_tokens=0"},
    {.name = "mode 9, tree mask of 8 queries",
     .ops = FIA,
     .mode = 9,
     .mask = MASK_TREE,
     .q_len = 8},
    {.name = "mode 9, cache BnBsH",
     .ops = V2,
     .mode = 9,
     .mask = MASK_TREE,
     .q_len = 8,
     .cache = CACHE_BNBSH},
    {.name = "position bias [B,N,Sq,Skv]", .ops = ALL, .pse = 1},
    {.name = "slopes (pse_type 2), 256 queries",
     .ops = TRAIN,
     .pse = 2,
     .q_len = KV_LEN,
     .extra = "pse_type=2"},
    {.name = "inner_precise 1", .ops = TRAIN | INCRE | FIA, .extra = "inner_precise=1"},
    {.name = "keep_prob 0.9", .ops = TRAIN, .extra = "keep_prob=0.9"},
    {.name = "int8 keys and values", .ops = FIA, .extra = "int8"},
    {.name = NULL},
};

/* What the operators call the same thing. */
static const struct names {
    const char *op;
    unsigned bit;
    const char *heads, *kv_heads, *q_lengths, *kv_lengths, *pse, *sink, *sink_dtype, *lse;
} table[] = {
    {"fusion_attention", TRAIN, "head_num", NULL, "actual_seq_qlen", "actual_seq_kvlen", "pse",
     "sink", "f32", NULL},
    {"fusion_attention_grad", TRAIN, "head_num", NULL, "actual_seq_qlen", "actual_seq_kvlen", "pse",
     "sink", "f32", NULL},
    {"prompt_flash_attention", PROMPT, "num_heads", "num_key_value_heads", "actual_seq_lengths",
     "actual_seq_lengths_kv", "pse_shift", NULL, NULL, NULL},
    {"incre_flash_attention", INCRE, "num_heads", "num_key_value_heads", NULL, "actual_seq_lengths",
     "pse_shift", NULL, NULL, NULL},
    {"fused_infer_attention_score", V1, "num_heads", "num_key_value_heads", "actual_seq_lengths",
     "actual_seq_lengths_kv", "pse_shift", NULL, NULL, "softmax_lse_flag"},
    {"fused_infer_attention_score_v2", V2, "num_query_heads", "num_key_value_heads",
     "actual_seq_qlen", "actual_seq_kvlen", "pse_shift", "learnable_sink", "bf16",
     "return_softmax_lse"},
};

static const struct names *names_of(const char *op)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].op, op) == 0) return &table[i];
    return NULL;
}

bool support_has(const support_form *form, const char *op)
{
    const struct names *n = names_of(op);
    return n && (form->ops & n->bit);
}

/* ---- the line ---- */

typedef struct writer {
    char *line;
    size_t used;
    const char *layout; /* letters of query and dense keys */
    int n_letters;
    bool packed;
    int batch;
} writer;

__attribute__((format(printf, 2, 3))) static void put(writer *w, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(w->line + w->used, LINE_ROOM - w->used, format, list);
    va_end(list);
    if (n > 0) w->used += (size_t)n;
    if (w->used >= LINE_ROOM) w->used = LINE_ROOM - 1;
}

/* "f16[2,64,1024]" by the letters */
static void put_dense(writer *w, const char *dtype, int b, int s, int n, int d)
{
    put(w, "%s[", dtype);
    for (int i = 0; i < w->n_letters; i++) {
        const char c = w->layout[i];
        const int extent = c == 'B'   ? b
                           : c == 'S' ? s
                           : c == 'T' ? b * s
                           : c == 'N' ? n
                           : c == 'H' ? n * d
                                      : d;
        put(w, "%s%d", i ? "," : "", extent);
    }
    put(w, "]");
}

static void put_cache(writer *w, support_cache cache, const char *dtype, int n, int d)
{
    const int blocks = w->batch * (KV_LEN / BLOCK);
    if (cache == CACHE_BNBSH) put(w, "%s[%d,%d,%d]", dtype, blocks, BLOCK, n * d);
    if (cache == CACHE_BNNBSD) put(w, "%s[%d,%d,%d,%d]", dtype, blocks, n, BLOCK, d);
    if (cache == CACHE_NZ) put(w, "%s[%d,%d,%d,%d,%d]", dtype, blocks, n, d / CHUNK, BLOCK, CHUNK);
}

/* " key=..." in whatever form the keys have. */
static void put_keys(writer *w, const support_form *f, const char *name, const char *dtype, int n,
                     int d)
{
    if (f->list) {
        put(w, " %s_list=", name);
        put_dense(w, dtype, 1, KV_LEN, n, d);
        put(w, "*%d", w->batch);
        return;
    }
    put(w, " %s=", name);
    if (f->cache)
        put_cache(w, f->cache, dtype, n, d);
    else
        put_dense(w, dtype, w->batch, KV_LEN, n, d);
}

/* " NAME=64,128" (ends) or " NAME=64,64" */
static void put_lengths(writer *w, const char *name, int length, bool ends)
{
    put(w, " %s=", name);
    for (int b = 0; b < w->batch; b++)
        put(w, "%s%d", b ? "," : "", ends ? (b + 1) * length : length);
}

static void put_mask(writer *w, const support_form *f, int q_len)
{
    if (f->mask == MASK_DENSE) put(w, " atten_mask=bool[%d,%d]", q_len, KV_LEN);
    if (f->mask == MASK_2048) put(w, " atten_mask=bool[2048,2048]");
    if (f->mask == MASK_3072) put(w, " atten_mask=bool[3072,2048]");
    if (f->mask == MASK_BATCH) put(w, " atten_mask=bool[%d,1,%d,%d]", w->batch, q_len, KV_LEN);
    if (f->mask == MASK_TREE && w->packed) put(w, " atten_mask=bool[%d]", w->batch * q_len * q_len);
    if (f->mask == MASK_TREE && !w->packed)
        put(w, " atten_mask=bool[%d,%d,%d]", w->batch, q_len, q_len);
    if (f->mode) put(w, " sparse_mode=%d", f->mode);
}

/* Lists of one entry per sequence are cut where a layout has one sequence. */
static void put_extra(writer *w, const support_form *f, const struct names *n)
{
    if (!f->extra || strcmp(f->extra, "kv_lengths") == 0) return;
    if (strcmp(f->extra, "int8") == 0) {
        put(w,
            n->bit == V1 ? " antiquant_scale=f16[2,%d]"
                         : " dequant_scale_key=f32[%d] dequant_scale_value=f32[%d]",
            HEADS * DIM, HEADS * DIM);
        return;
    }
    const int length = w->batch == 1 ? (int)strcspn(f->extra, ",") : (int)strlen(f->extra);
    put(w, " %.*s", length, f->extra);
}

static int or_else(int value, int otherwise) { return value ? value : otherwise; }

static void put_inputs(writer *w, const support_form *f, const struct names *n, int q_len)
{
    const char *dtype = f->dtype ? f->dtype : "f16";
    const char *kv_dtype = f->extra && strcmp(f->extra, "int8") == 0 ? "i8" : dtype;
    const int heads = or_else(f->heads, HEADS), kv = or_else(f->kv_heads, heads),
              d = or_else(f->d, DIM);
    put(w, " %s=%d", n->heads, heads);
    if (n->kv_heads) put(w, " %s=%d", n->kv_heads, kv);
    put(w, " query=");
    put_dense(w, dtype, w->batch, q_len, heads, d);
    put_keys(w, f, "key", kv_dtype, kv, d);
    put_keys(w, f, "value", kv_dtype, kv, or_else(f->dv, d));
    if (!f->rope) return;
    put(w, " query_rope=");
    put_dense(w, dtype, w->batch, q_len, heads, f->rope);
    put_keys(w, f, "key_rope", dtype, kv, f->rope);
}

static void put_sequences(writer *w, const support_form *f, const struct names *n, int q_len)
{
    const bool kv_lengths =
        f->cache || f->left_padding || (f->extra && strcmp(f->extra, "kv_lengths") == 0);
    if (f->cache) put(w, " block_table=i32[%d,%d] block_size=%d", w->batch, KV_LEN / BLOCK, BLOCK);
    if (n->q_lengths && (w->packed || (f->left_padding && n->bit == V1)))
        put_lengths(w, n->q_lengths, w->packed ? q_len : q_len - 4, w->packed);
    if (w->packed || kv_lengths)
        put_lengths(w, n->kv_lengths, w->packed ? KV_LEN : KV_LEN - 8, w->packed && !f->cache);
    if (f->left_padding && n->bit == V1) put(w, " query_padding_size=i64[1]{0}");
    if (f->left_padding) put(w, " kv_padding_size=i64[1]{0}");
}

void support_line(char line[LINE_ROOM], const char *op, const char *layout, const support_form *f)
{
    const struct names *n = names_of(op);
    const int q_len = n->bit == INCRE ? 1 : or_else(f->q_len, Q_LEN),
              heads = or_else(f->heads, HEADS);
    writer w = {.line = line, .layout = layout, .n_letters = (int)strcspn(layout, "_")};
    w.packed = memchr(layout, 'T', (size_t)w.n_letters) != NULL;
    w.batch = w.packed || memchr(layout, 'B', (size_t)w.n_letters) ? BATCH : 1;
    put(&w, "%s input_layout=%s", op, layout);
    put_inputs(&w, f, n, q_len);
    put_sequences(&w, f, n, q_len);
    if (f->prefix) {
        put(&w, " key_shared_prefix=");
        put_dense(&w, f->dtype ? f->dtype : "f16", 1, SHARED, heads, DIM);
        put(&w, " value_shared_prefix=");
        put_dense(&w, f->dtype ? f->dtype : "f16", 1, SHARED, heads, DIM);
    }
    put_mask(&w, f, q_len);
    if (f->pse == 1) put(&w, " %s=f16[%d,%d,%d,%d]", n->pse, w.batch, heads, q_len, KV_LEN);
    if (f->pse == 2) put(&w, " %s=f32[%d]", n->pse, heads);
    if (f->sink) put(&w, " %s=%s[%d]", n->sink, n->sink_dtype, heads);
    if (f->lse) put(&w, " %s=true", n->lse);
    put_extra(&w, f, n);
}
