/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c — draws a problem first (sizes, lengths, mask, bias), then writes it down as a line.
 * Every line is legal by construction; one that the library refuses is a failure of one of the two.
 */
#include <stdarg.h>
#include <string.h>

#include "drawing.h"

/* --- drawing and writing --- */

uint64_t draw(drawing *g)
{
    uint64_t x = g->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

int64_t between(drawing *g, int64_t lo, int64_t hi)
{
    return lo + (int64_t)(draw(g) % (uint64_t)(hi - lo + 1));
}

bool chance(drawing *g, int percent) { return between(g, 0, 99) < percent; }

const char *pick_text(drawing *g, const char *const *list)
{
    int64_t n = 0;
    while (list[n]) n++;
    return list[between(g, 0, n - 1)];
}

void put(drawing *g, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(g->line->text + g->used, LINE_SIZE - g->used, format, list);
    va_end(list);
    g->used += (size_t)n;
    if (g->used >= LINE_SIZE) g->used = LINE_SIZE - 1;
}

void put_shape(drawing *g, const char *name, const char *dtype, const int64_t *shape, int rank)
{
    put(g, " %s=%s[", name, dtype);
    for (int i = 0; i < rank; i++) put(g, "%s%lld", i ? "," : "", (long long)shape[i]);
    put(g, "]");
}

void feature(drawing *g, const char *format, ...)
{
    char name[FEATURE_SIZE];
    random_line *line = g->line;
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    for (int i = 0; i < line->n_features; i++)
        if (strcmp(line->features[i], name) == 0) return;
    if (line->n_features < FEATURES_MAX)
        memcpy(line->features[line->n_features++], name, sizeof name);
}

/* --- sizes --- */

static void draw_heads(drawing *g)
{
    static const int64_t groups[] = {1, 1, 2, 3, 4, 8};
    static const int64_t dims[] = {1, 3, 8, 16, 20, 32, 33, 40, 64, 64, 72, 80, 96, 128};
    static const int64_t large[] = {192, 256, 512, 576};
    const int64_t group = groups[between(g, 0, 5)];
    g->nkv = between(g, 1, 3);
    g->n = g->nkv * group;
    g->d = chance(g, 5) ? large[between(g, 0, 3)] : dims[between(g, 0, 13)];
    g->dv = chance(g, 75) ? g->d : chance(g, 80) ? between(g, 1, g->d) : g->d + between(g, 1, 40);
    feature(g, "group %d", (int)group);
}

/* Absorbed decode: keys of 512 columns and 64 of rope, one key head, a few draft rows. */
static void draw_mla(drawing *g)
{
    g->mla = g->rope = true;
    g->n /= g->nkv;
    g->nkv = 1;
    g->d = g->dv = 512;
    feature(g, "MLA 512 + 64");
}

/* A bias as long as it is wide, of which 1024 rows are stored. */
static void draw_long_bias(drawing *g)
{
    g->long_bias = true;
    g->n /= g->nkv;
    g->n = g->n > 2 ? 2 : g->n;
    g->nkv = 1;
    if (g->d > 33) g->d = 33, g->dv = g->dv < 33 ? g->dv : 33;
    g->b = 1;
    g->sq = g->skv = between(g, 1025, 1060);
}

/* Many small problems, some that cross key tiles, some that cross splits. */
static void draw_lengths(drawing *g)
{
    const int64_t kind = between(g, 0, 99);
    const bool wide = g->d > 128;
    g->b = between(g, 1, 3);
    if (kind < 18)
        g->sq = between(g, 1, 16), g->skv = between(g, 513, 1400);
    else if (kind < 40)
        g->sq = between(g, 1, 110), g->skv = between(g, 1, 180);
    else
        g->sq = between(g, 1, 24), g->skv = between(g, 1, 40);
    if (wide) g->sq = between(g, 1, 8), g->skv = between(g, 1, kind < 30 ? 150 : 40);
    if (wide && kind < 10) g->skv = between(g, 513, 700);
    if (g->decode) g->sq = 1;
    if (!g->decode && chance(g, 10)) g->sq = 1;
    if (chance(g, 15)) g->skv = g->sq;
    if (g->training && !wide && chance(g, 1)) draw_long_bias(g);
}

static void draw_sizes(drawing *g)
{
    draw_heads(g);
    if ((g->v1 || g->v2) && chance(g, 4)) draw_mla(g);
    draw_lengths(g);
    if (!g->packed && strcspn(g->layout, "B") >= strcspn(g->layout, "_")) g->b = 1;
    for (int64_t i = 0; i < BATCH_MAX; i++) g->q_len[i] = g->sq, g->kv_len[i] = g->skv;
    if (g->dv < g->d) feature(g, "Dv < D");
    if (g->dv > g->d) feature(g, "Dv > D");
    if (g->d > 128) feature(g, "D > 128");
    if (g->sq == 1 && !g->packed) feature(g, "one query row");
}

/* --- tensors and lengths --- */

/* Strides that leave gaps, or the axes in another order. */
static void put_strides(drawing *g, const char *name, const int64_t *shape, int rank)
{
    int64_t strides[8], step = chance(g, 15) ? 2 : 1;
    const bool turned = rank == 4 && chance(g, 30); /* the middle axes change places */
    for (int at = rank - 1; at >= 0; at--) {
        const int i = turned && (at == 1 || at == 2) ? 3 - at : at;
        strides[i] = step;
        step = step * (shape[i] > 0 ? shape[i] : 1) + between(g, 0, 3);
    }
    put(g, " %s.strides=", name);
    for (int i = 0; i < rank; i++) put(g, "%s%lld", i ? "," : "", (long long)strides[i]);
}

static void put_operand(drawing *g, const char *name, int64_t heads, int64_t rows,
                        int64_t packed_rows, int64_t cols)
{
    int64_t shape[4];
    int rank = 0;
    const bool keys = strncmp(name, "query", 5) != 0 && !strstr(name, "rope");
    const char *dtype = keys ? g->kv_dtype : strstr(name, "rope") ? g->rope_dtype : g->dtype;
    if (keys && strcmp(dtype, "i4") == 0) cols /= 8; /* eight in a container */
    for (const char *c = g->layout; *c && *c != '_'; c++)
        shape[rank++] = *c == 'B'   ? g->b
                        : *c == 'S' ? rows
                        : *c == 'N' ? heads
                        : *c == 'H' ? heads * cols
                        : *c == 'T' ? packed_rows
                                    : cols;
    put_shape(g, name, dtype, shape, rank);
    const bool query = strcmp(name, "query") == 0;
    if (!chance(g, 6) || (!query && (g->paged || g->listed))) return;
    put_strides(g, name, shape, rank);
    feature(g, query ? "query strides" : "other strides");
}

/* A cache that the line spells out: block_table finds the rows. */
static void put_cache(drawing *g, const char *name, int64_t cols)
{
    const char *dtype = strstr(name, "rope") ? g->rope_dtype : g->kv_dtype;
    if (strcmp(dtype, "i4") == 0) cols /= 8;
    const int64_t rows = g->block_rows, blocks = g->blocks;
    const int64_t flat[] = {blocks, rows, g->nkv * cols}, by_head[] = {blocks, g->nkv, rows, cols};
    const int64_t by_row[] = {blocks, rows, g->nkv, cols};
    const int64_t nz[] = {blocks, g->nkv, cols / NZ_CHUNK, rows, NZ_CHUNK};
    const int64_t *shape = strcmp(g->cache, "NZ") == 0       ? nz
                           : strcmp(g->cache, "BnBsH") == 0  ? flat
                           : strcmp(g->cache, "BnBsND") == 0 ? by_row
                                                             : by_head;
    const int rank = shape == nz ? 5 : shape == flat ? 3 : 4;
    put_shape(g, name, dtype, shape, rank);
    if (!chance(g, 50)) return;
    put_strides(g, name, shape, rank);
    feature(g, "cache strides");
}

static void put_list(drawing *g, const char *name, const int64_t *values, bool cumulative)
{
    int64_t sum = 0;
    put(g, " %s=", name);
    for (int64_t i = 0; i < g->b; i++) {
        sum += values[i];
        const bool slot = cumulative && g->trailing_zero && i == g->b - 1; /* 0: takes no part */
        put(g, "%s%lld", i ? "," : "", (long long)(slot ? 0 : cumulative ? sum : values[i]));
    }
}

/* What a reader makes of the list who takes the ends in it for lengths. */
static int64_t sum_of_ends(const drawing *g, const int64_t *values)
{
    int64_t end = 0, sum = 0;
    for (int64_t i = 0; i < g->b - g->trailing_zero; i++) sum += end += values[i];
    return sum;
}

/* Rows at the end that belong to nobody. */
static void draw_tail(drawing *g)
{
    const int64_t t = g->t + between(g, 1, 5);
    const int64_t tkv = g->tkv + (!g->paged && chance(g, 40) ? between(g, 1, 5) : 0);
    const bool as_lengths =
        sum_of_ends(g, g->q_len) == t && (g->paged || sum_of_ends(g, g->kv_len) == tkv);
    if (!chance(g, 15) || as_lengths) return;
    g->t = t;
    g->tkv = tkv;
    feature(g, "tail rows");
    if (g->paged) feature(g, "tail paged");
}

/* As many queries as keys, the first sequence long. */
static void make_square(drawing *g)
{
    g->b = between(g, 1, 2);
    g->q_len[1] = g->kv_len[1] = between(g, 0, 20);
    g->q_len[0] = g->kv_len[0] = g->skv;
    g->t = g->tkv = g->skv + (g->b > 1 ? g->q_len[1] : 0);
}

/* Packed: every sequence its own lengths, some of them empty, sometimes a tail that belongs to
 * nobody. */
static void draw_packed(drawing *g)
{
    g->t = g->tkv = 0;
    for (int64_t i = 0; i < g->b; i++) {
        g->q_len[i] = chance(g, 10) ? 0 : between(g, 1, g->sq);
        g->kv_len[i] = chance(g, 10) ? 0 : between(g, 1, g->skv);
        if (i == 0) g->kv_len[i] = g->skv; /* keep the long one */
        if (!g->training && chance(g, 30))
            g->kv_len[i] = g->kv_len[i] < g->q_len[i] ? g->q_len[i] : g->kv_len[i];
        g->t += g->q_len[i];
        g->tkv += g->kv_len[i];
    }
    if (g->t == 0) g->q_len[0] = g->t = 1;
    if (g->long_bias) make_square(g);
    if (chance(g, 12)) {
        g->trailing_zero = true;
        g->q_len[g->b] = g->kv_len[g->b] = 0;
        g->b++;
        feature(g, g->paged ? "trailing zero paged" : "trailing zero");
    }
    draw_tail(g);
}

static void put_lengths_dense(drawing *g)
{
    const char *q_name = g->v2 ? "actual_seq_qlen" : "actual_seq_lengths";
    const char *kv_name = g->v2       ? "actual_seq_kvlen"
                          : g->decode ? "actual_seq_lengths"
                                      : "actual_seq_lengths_kv";
    if (g->training) return;
    if (g->mode == 9) {
        if (g->paged || chance(g, 45)) put_list(g, kv_name, g->kv_len, false);
        return;
    }
    if (!g->decode && g->sq > 1 && (g->pad_q >= 0 || chance(g, 30))) {
        for (int64_t i = 0; i < g->b; i++)
            g->q_len[i] = between(g, 0, g->pad_q > 0 ? g->sq - g->pad_q : g->sq);
        put_list(g, q_name, g->q_len, false);
        feature(g, "q lengths");
    }
    if (g->paged || g->pad_kv >= 0 || chance(g, 45)) {
        const bool one = chance(g, 20);
        const int64_t most = g->pad_kv > 0 ? g->skv - g->pad_kv : g->skv;
        for (int64_t i = 0; i < g->b; i++)
            g->kv_len[i] = chance(g, 6) ? 0 : between(g, (most + 1) / 2, most);
        for (int64_t i = 0; i < g->b && g->listed; i++)
            g->kv_len[i] = g->kv_len[i] > g->skv - i ? (g->skv > i ? g->skv - i : 0) : g->kv_len[i];
        if (g->listed && one) g->kv_len[0] = g->kv_len[g->b - 1];
        if (one) {
            for (int64_t i = 1; i < g->b; i++) g->kv_len[i] = g->kv_len[0];
            put(g, " %s=%lld", kv_name, (long long)g->kv_len[0]);
        } else {
            put_list(g, kv_name, g->kv_len, false);
        }
        feature(g, "kv lengths");
    }
}

static void put_lengths(drawing *g)
{
    if (!g->packed) {
        put_lengths_dense(g);
        return;
    }
    const bool t = g->training;
    put_list(g, t || g->v2 ? "actual_seq_qlen" : "actual_seq_lengths", g->q_len, true);
    g->trailing_zero &= !g->paged; /* page= reads ends, a cache has lengths */
    put_list(g, t || g->v2 ? "actual_seq_kvlen" : "actual_seq_lengths_kv", g->kv_len, !g->cache);
}

/* With page= the line's reader lays the rows out, and they can be compared with the unpaged ones; a
 * cache that the line spells out may have any strides, and a table of i64. */
static void draw_cache(drawing *g)
{
    static const int64_t sizes[] = {1, 7, 16, 64, 128, 100};
    if (!g->paged || !chance(g, 30)) return;
    const bool chunks = !g->decode && g->d % NZ_CHUNK == 0 && g->dv % NZ_CHUNK == 0;
    g->block_rows = sizes[between(g, 0, 5)];
    g->blocks = between(g, 1, 1 + g->b * (g->skv / g->block_rows + 1));
    g->cache =
        chunks ? PICK(g, "BnBsH", "BnNBsD", "BnBsND", "NZ") : PICK(g, "BnBsH", "BnNBsD", "BnBsND");
    if (strcmp(g->cache, "BnBsND") == 0 && g->block_rows == g->nkv)
        g->cache = "BnNBsD"; /* two readings */
}

static void put_table(drawing *g)
{
    const char *dtype = PICK(g, "i32", "i64");
    int64_t most = 1; /* a table without columns is none */
    for (int64_t i = 0; i < g->b; i++) most = g->kv_len[i] > most ? g->kv_len[i] : most;
    const int64_t columns = (most + g->block_rows - 1) / g->block_rows + between(g, 0, 1);
    put_shape(g, "block_table", dtype, (const int64_t[]){g->b, columns}, 2);
    put(g, " block_size=%lld", (long long)g->block_rows);
    if (strcmp(dtype, "i64") == 0) feature(g, "i64 table");
}

static void put_pages(drawing *g)
{
    const char *layout = g->cache;
    if (!g->paged) return;
    if (layout) {
        put_table(g);
    } else {
        layout = g->decode ? PICK(g, "BnBsH", "BnNBsD") : PICK(g, "BnBsH", "BnNBsD", "NZ");
        put(g, " page=%s page_layout=%s", PICK(g, "1", "7", "16", "64", "128", "100"), layout);
    }
    feature(g, "paged %s", layout);
}

/* --- bias, sink, rope --- */

static bool square(const drawing *g)
{
    for (int64_t i = 0; i < g->b; i++)
        if (g->q_len[i] != g->kv_len[i]) return false;
    return true;
}

static void put_slopes(drawing *g)
{
    put(g, " pse_type=%s pse=f32[", PICK(g, "2", "3"));
    if (chance(g, 50)) put(g, "%lld,", (long long)g->b);
    put(g, "%lld]", (long long)g->n);
    feature(g, "slopes");
}

static void put_compressed_pse(drawing *g)
{
    const int64_t shape[] = {chance(g, 50) ? g->b : 1, g->n, 1024, g->skv};
    put(g, " pse_type=%s", PICK(g, "0", "1"));
    put_shape(g, "pse", g->dtype, shape, 4);
    feature(g, "pse compressed");
}

static void put_training_pse(drawing *g)
{
    int64_t cells = 0, keys = 0;
    if (g->long_bias) {
        put_compressed_pse(g);
        return;
    }
    if (!chance(g, g->mode >= 7 ? 50 : 35)) return;
    for (int64_t i = 0; i < g->b; i++) cells += g->q_len[i] * g->kv_len[i], keys += g->kv_len[i];
    if (g->packed && cells == 0) return; /* a tensor without elements is none */
    if (g->mode >= 7) feature(g, "pse mode %d", g->mode);
    if (square(g) && g->mode != 7 && chance(g, 60)) {
        put_slopes(g);
        return;
    }
    put(g, " pse_type=%s", PICK(g, "0", "1"));
    feature(g, "pse");
    const int64_t flat = g->n * (chance(g, 50) ? cells : keys);
    const int64_t shape[] = {chance(g, 50) ? g->b : 1, g->n, chance(g, 60) ? g->sq : 1, g->skv};
    if (g->packed)
        put_shape(g, "pse", g->dtype, &flat, 1);
    else
        put_shape(g, "pse", g->dtype, shape, 4);
}

/* Drawn from seed and offset, or the caller's packed mask. */
static void put_dropout(drawing *g)
{
    int64_t cells = 0;
    if (!chance(g, 12)) return;
    put(g, " keep_prob=%s", PICK(g, "0.9", "0.5", "0.8"));
    feature(g, "dropout");
    for (int64_t i = 0; i < g->b; i++) cells += g->q_len[i] * g->kv_len[i];
    if (!g->packed) cells = g->b * g->sq * g->skv;
    if (chance(g, 40) && cells > 0) {
        put(g, " dropout_mask=u8[%lld]", (long long)((g->n * cells + 7) / 8 + between(g, 0, 9)));
        feature(g, "dropout_mask");
    } else {
        put(g, " .seed=%lld .offset=%lld", (long long)between(g, 1, 99999),
            (long long)between(g, 0, 3) * 12);
    }
}

static void put_training_extras(drawing *g)
{
    put_training_pse(g);
    if (chance(g, 15)) {
        put(g, " sink=f32[%lld]", (long long)g->n);
        feature(g, "sink");
    }
    if (g->packed && chance(g, 40)) {
        put(g, " softmax_layout=TND");
        feature(g, "softmax_layout TND");
    }
    put(g, " inner_precise=%lld", (long long)between(g, 0, 2));
    put_dropout(g);
}

/* A buffer of the caller's with another shape and as many elements. */
static void put_flat_output(drawing *g)
{
    const int64_t elements = (g->packed ? g->t : g->b * g->sq) * g->n * g->dv;
    if (elements == 0 || g->quant || g->out_quant || !chance(g, 8)) return;
    put_shape(g, "attention_out", g->dtype, &elements, 1);
    feature(g, "output flat");
}

static void put_infer_extras(drawing *g)
{
    if (!g->packed && chance(g, 25)) {
        put(g, " pse_shift=%s[%lld,%lld,%lld,%lld]", g->quant == QUANTISED_ALL ? "f16" : g->dtype,
            chance(g, 50) ? (long long)g->b : 1LL, (long long)g->n, (long long)g->sq,
            (long long)(g->skv + g->shared));
        feature(g, "pse");
    }
    if ((g->v1 || g->v2) && chance(g, 60)) {
        put(g, g->v2 ? " return_softmax_lse=1" : " softmax_lse_flag=1");
        feature(g, "lse");
    }
    if (g->v2 && chance(g, 25)) {
        put(g, " learnable_sink=%s[%lld]", PICK(g, "bf16", "f32"), (long long)g->n);
        feature(g, "sink");
    }
    if (!g->prompt && chance(g, 40)) {
        put(g, " inner_precise=%lld", (long long)between(g, 0, g->decode ? 1 : 3));
        feature(g, "inner_precise");
    }
    put_flat_output(g);
    if (g->pad_q >= 0) put(g, " query_padding_size=i64[1]{%lld}", (long long)g->pad_q);
    if (g->pad_kv >= 0) put(g, " kv_padding_size=i64[1]{%lld}", (long long)g->pad_kv);
    if (g->pad_q >= 0 || g->pad_kv >= 0) feature(g, "left padding");
}

/* All rows of the prefix tensors, some of them, or none. */
static void draw_shared(drawing *g)
{
    const int64_t how = between(g, 0, 99);
    g->has_shared = true;
    g->shared_rows = between(g, 1, 70);
    g->shared = how < 30 ? g->shared_rows : how < 45 ? 0 : between(g, 1, g->shared_rows);
    g->shared_omitted = how < 20;
}

/* Forms that exclude one another: a list, a shared prefix, left padding, rope parts, or none of
 * them. */
static void draw_form(drawing *g)
{
    const int64_t kind = between(g, 0, 99);
    const bool dense = !g->packed && !g->paged;
    if (g->decode && dense && kind < 10) g->pad_kv = between(g, 0, g->skv / 4);
    if ((!g->v1 && !g->v2) || g->mla) return;
    if (kind < 12)
        g->rope = true;
    else if (kind < 22 && dense) {
        g->listed = true; /* the first tensor is the longest */
        for (int64_t i = 0; i < g->b; i++) g->kv_len[i] = g->skv > i ? g->skv - i : 0;
    } else if (kind < 36 && g->v1)
        draw_shared(g);
    else if (kind < 50 && g->v1 && dense) {
        if (g->sq > 1) g->pad_q = between(g, 0, g->sq / 4);
        if (g->sq == 1 || chance(g, 60)) g->pad_kv = between(g, 0, g->skv / 4);
    }
}

/* key and value, or a list of tensors that differ in length, the first one the longest. */
static void put_keys(drawing *g, const char *name, int64_t cols)
{
    const int64_t batch = g->b;
    char list_name[16];
    if (!g->listed) {
        if (g->cache)
            put_cache(g, name, cols);
        else
            put_operand(g, name, g->nkv, g->skv, g->tkv, cols);
        return;
    }
    g->b = 1;
    snprintf(list_name, sizeof list_name, "%s_list", name);
    put_operand(g, list_name, g->nkv, g->skv, 0, cols);
    for (int64_t i = 1; i < batch; i++) {
        const size_t at = g->used;
        put_operand(g, "", g->nkv, g->skv > i ? g->skv - i : 0, 0, cols); /* " =dtype[...]" */
        memmove(g->line->text + at, g->line->text + at + 1, g->used - at);
        g->line->text[at] = ',';
        g->used--;
    }
    g->b = batch;
    feature(g, "tensor list");
}

static void put_shared(drawing *g)
{
    if (!g->has_shared) return;
    const int64_t batch = g->b, rows = g->shared_rows;
    g->b = 1;
    put_operand(g, "key_shared_prefix", g->nkv, rows, rows, g->d);
    put_operand(g, "value_shared_prefix", g->nkv, rows, rows, g->dv);
    g->b = batch;
    if (!g->shared_omitted) put(g, " actual_shared_prefix_len=%lld", (long long)g->shared);
    feature(g, "shared prefix");
    if (g->shared_omitted) feature(g, "prefix omitted");
    if (g->shared == 0) feature(g, "prefix 0");
    if (g->packed) feature(g, "prefix packed");
    if (g->paged) feature(g, "prefix paged");
}

static void put_rope(drawing *g)
{
    enum { ROPE_MAX = 128 };
    if (!g->rope && !(g->training && chance(g, 10))) return;
    int64_t dr = g->mla ? 64 : between(g, 1, g->d < ROPE_MAX ? g->d : ROPE_MAX);
    if (g->cache && strcmp(g->cache, "NZ") == 0) dr = (dr + NZ_CHUNK - 1) / NZ_CHUNK * NZ_CHUNK;
    put_operand(g, "query_rope", g->n, g->sq, g->t, dr);
    if (g->cache)
        put_cache(g, "key_rope", dr);
    else
        put_operand(g, "key_rope", g->nkv, g->skv, g->tkv, dr);
    feature(g, "rope");
}

/* Scores in fp32 have an error that grows with D times the scale, and with the scales of keys: where
 * they are large, no fp16 result can be correctly rounded in 98 of 100 elements. */
static void put_scale(drawing *g)
{
    put(g, " %s=%s",
        g->training || g->v1 ? "scale"
        : g->v2              ? "softmax_scale"
                             : "scale_value",
        g->d > 128 || g->quant ? PICK(g, "0.0417", "0.0625", "0.125", "-0.1")
                               : PICK(g, "0.125", "0.3", "1", "-0.5"));
}

/* --- the whole --- */

void generate_line(random_line *line, const char *op, uint64_t seed, uint64_t number)
{
    drawing g = {.op = op,
                 .line = line,
                 .state = seed * 0x2545f4914f6cdd1du + number,
                 .pad_q = -1,
                 .pad_kv = -1};
    line->n_features = 0;
    for (const char *c = op; *c; c++) g.state = draw(&g) + (uint64_t)*c;
    g.training = strncmp(op, "fusion_attention", 16) == 0;
    g.decode = strcmp(op, "incre_flash_attention") == 0;
    g.prompt = strcmp(op, "prompt_flash_attention") == 0;
    g.v1 = strcmp(op, "fused_infer_attention_score") == 0;
    g.v2 = strcmp(op, "fused_infer_attention_score_v2") == 0;
    g.layout = g.training ? PICK(&g, "BSH", "SBH", "BSND", "BNSD", "TND", "TND")
               : g.decode ? PICK(&g, "BSH", "BSND", "BNSD")
               : g.prompt ? PICK(&g, "BSH", "BSND", "BNSD", "TND", "BNSD_BSND", "NSD", "SH")
                          : PICK(&g, "BSH", "BSND", "BNSD", "TND", "BSH", "BSND", "BNSD", "TND",
                                 "NTD", "NSD", "BNSD_BSND", "BSH_BNSD", "BSND_BNSD", "NTD_TND",
                                 "TND_NTD", "BSH_NBSD", "BSND_NBSD", "BNSD_NBSD");
    g.dtype = PICK(&g, "f32", "f16", "bf16");
    g.packed = strcspn(g.layout, "T") < strcspn(g.layout, "_");
    g.paged = !g.training && !g.prompt && chance(&g, 40);
    feature(&g, "layout %s", g.layout);
    feature(&g, "dtype %s", g.dtype);

    draw_sizes(&g);
    draw_form(&g);
    if (g.packed) draw_packed(&g);
    draw_cache(&g);
    g.rope_dtype = g.dtype;
    draw_quant(&g);
    draw_mode(&g);

    put(&g, "%s input_layout=%s %s=%lld", op, g.layout,
        g.training ? "head_num"
        : g.v2     ? "num_query_heads"
                   : "num_heads",
        (long long)g.n);
    if (!g.training) put(&g, " num_key_value_heads=%lld", (long long)g.nkv);
    put_operand(&g, "query", g.n, g.sq, g.t, g.d);
    put_keys(&g, "key", g.d);
    put_keys(&g, "value", g.dv);
    put_shared(&g);
    put_rope(&g);
    put_lengths(&g);
    put_pages(&g);
    if (!g.decode)
        put_mask(&g);
    else if (chance(&g, 35))
        put_decode_mask(&g);
    if (g.training)
        put_training_extras(&g);
    else
        put_infer_extras(&g), put_quant(&g);
    put_scale(&g);
    put(&g, " fill=%s seed=%llu",
        PICK(&g, "normal", "normal", "normal", "uniform", "increasing", "onehot"),
        (unsigned long long)(draw(&g) % 100000));
    note_visible(&g);
}
