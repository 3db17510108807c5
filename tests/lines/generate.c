/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c — draws a problem first (sizes, lengths, mask, bias), then writes it down as a line. Every
 * line is legal by construction; one that the library refuses is a failure of one of the two. */
#include "generate.h"

#include <stdarg.h>
#include <string.h>

enum { BATCH_MAX = 4 };

/* What is drawn before anything is written. */
typedef struct drawing {
    uint64_t state;
    random_line *line;
    size_t used;
    const char *op, *layout, *dtype;
    bool training, packed, decode; /* decode: incre_flash_attention, one query row */
    bool prompt, v1, v2;           /* the other inference operators */
    bool listed, rope;
    int64_t shared, pad_q, pad_kv; /* shared prefix; left padding, -1 = none */
    int64_t b, n, nkv, d, dv, sq, skv;
    int64_t q_len[BATCH_MAX], kv_len[BATCH_MAX]; /* of each sequence */
    int64_t t, tkv;                              /* rows of packed tensors, tail included */
    int mode;
    bool dense_mask, compressed_mask, paged;
} drawing;

static uint64_t draw(drawing *g)
{
    uint64_t x = g->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static int64_t between(drawing *g, int64_t lo, int64_t hi)
{
    return lo + (int64_t)(draw(g) % (uint64_t)(hi - lo + 1));
}

static bool chance(drawing *g, int percent) { return between(g, 0, 99) < percent; }

#define PICK(g, ...) pick_text(g, (const char *const[]){__VA_ARGS__, NULL})
static const char *pick_text(drawing *g, const char *const *list)
{
    int64_t n = 0;
    while (list[n]) n++;
    return list[between(g, 0, n - 1)];
}

static void put(drawing *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(drawing *g, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(g->line->text + g->used, LINE_SIZE - g->used, format, list);
    va_end(list);
    g->used += (size_t)n;
    if (g->used >= LINE_SIZE) g->used = LINE_SIZE - 1;
}

static void feature(drawing *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void feature(drawing *g, const char *format, ...)
{
    if (g->line->n_features == FEATURES_MAX) return;
    va_list list;
    va_start(list, format);
    vsnprintf(g->line->features[g->line->n_features], FEATURE_SIZE, format, list);
    va_end(list);
    for (int i = 0; i < g->line->n_features; i++)
        if (strcmp(g->line->features[i], g->line->features[g->line->n_features]) == 0) return;
    g->line->n_features++;
}

/* --- sizes --- */

static void draw_heads(drawing *g)
{
    static const int64_t groups[] = {1, 1, 2, 3, 4, 8};
    static const int64_t dims[] = {1, 3, 8, 16, 20, 32, 33, 40, 64, 64, 72, 80, 96, 128};
    const int64_t group = groups[between(g, 0, 5)];
    g->nkv = between(g, 1, 3);
    g->n = g->nkv * group;
    g->d = dims[between(g, 0, 13)];
    g->dv = chance(g, 75) ? g->d : between(g, 1, g->d);
    feature(g, "group %d", (int)group);
    if (g->dv < g->d) feature(g, "Dv < D");
}

/* Many small problems, some that cross key tiles, some that cross splits. */
static void draw_lengths(drawing *g)
{
    const int64_t kind = between(g, 0, 99);
    g->b = between(g, 1, 3);
    if (kind < 15) g->sq = between(g, 1, 16), g->skv = between(g, 513, 1400);
    else if (kind < 55) g->sq = between(g, 1, 150), g->skv = between(g, 1, 200);
    else g->sq = between(g, 1, 24), g->skv = between(g, 1, 40);
    if (g->decode) g->sq = 1;
    if (!g->decode && chance(g, 10)) g->sq = 1;
    if (chance(g, 15)) g->skv = g->sq;
    for (int64_t i = 0; i < BATCH_MAX; i++) g->q_len[i] = g->sq, g->kv_len[i] = g->skv;
}

/* --- masks --- */

static bool mode_needs_packed(int mode) { return mode >= 7; }

/* Tree mask: no more queries than keys. */
static void draw_tree(drawing *g)
{
    g->mode = 9;
    for (int64_t i = 0; i < g->b; i++)
        if (g->kv_len[i] < g->q_len[i]) g->mode = 3;
}

static void draw_mode(drawing *g)
{
    do g->mode = (int)between(g, 0, g->training ? 8 : 4);
    while ((mode_needs_packed(g->mode) && !g->packed) || (g->mode == 5 && g->packed) ||
           (!g->training && g->mode == 1 && g->packed));
    if (g->decode) g->mode = 0;
    if (g->v2 && chance(g, 8)) draw_tree(g);
    const bool dense_mode = g->mode == 0 || g->mode == 1 || g->mode == 5;
    g->dense_mask = dense_mode && chance(g, g->mode == 0 ? 50 : 85);
    if (!g->training && g->packed) g->dense_mask = false;
    if (!g->training && g->mode == 1) g->dense_mask = true;
    g->compressed_mask = !dense_mode && g->mode != 9 && chance(g, 10);
}

/* Tokens for the band modes: never both negative, never an empty band. */
static void put_tokens(drawing *g)
{
    const bool counts = g->mode == 4 || g->mode >= 7 || (g->mode == 0 && g->dense_mask);
    if (!counts || (g->mode == 0 && chance(g, 40))) {
        if (g->mode == 0 && g->dense_mask && strcmp(g->op, "prompt_flash_attention") == 0)
            put(g, " next_tokens=2147483647");
        return;
    }
    int64_t pre = between(g, 0, g->skv + 4), next = between(g, 0, g->skv / 2 + 2);
    const bool negative_ok = g->training ? !g->packed : true;
    if (negative_ok && chance(g, 15) && pre > 2) next = -between(g, 1, pre < g->sq ? pre - 1 : 1);
    put(g, " pre_tokens=%lld next_tokens=%lld", (long long)pre, (long long)next);
    if (next < 0) feature(g, "negative token");
}

static void put_prefix(drawing *g)
{
    if (g->mode != 5 && g->mode != 6) return;
    put(g, " prefix=");
    for (int64_t i = 0; i < g->b; i++)
        put(g, "%s%lld", i ? "," : "", (long long)between(g, 0, g->kv_len[i]));
}

/* Longest lengths and their sums, as the packed mask forms need them. */
static void put_packed_mask(drawing *g, const char *dtype)
{
    int64_t q_max = 0, kv_max = 0, q_sum = 0, kv_sum = 0;
    for (int64_t i = 0; i < g->b; i++) {
        q_max = g->q_len[i] > q_max ? g->q_len[i] : q_max;
        kv_max = g->kv_len[i] > kv_max ? g->kv_len[i] : kv_max;
        q_sum += g->q_len[i], kv_sum += g->kv_len[i];
    }
    const bool whole = chance(g, 50);
    put(g, " atten_mask=%s[%lld,%lld]", dtype, (long long)(whole ? q_sum : q_max),
        (long long)(whole ? kv_sum : kv_max));
    feature(g, whole ? "mask T x T" : "mask of packed");
}

static void put_dense_mask(drawing *g, const char *dtype)
{
    const long long b = g->b, n = g->n, sq = g->sq, skv = g->skv + g->shared;
    int64_t form = between(g, 0, 3);
    if (g->decode) {
        put(g, form == 0 ? " atten_mask=%s[%lld,%lld]"
               : form == 1 ? " atten_mask=%s[%lld,1,%lld]"
                           : " atten_mask=%s[%lld,1,1,%lld]",
            dtype, b, skv);
        feature(g, "mask rank %d", form == 0 ? 2 : form == 1 ? 3 : 4);
        return;
    }
    if (g->mode == 5 && (form == 0 || form == 2)) form = 1;
    if (!g->training && form == 3) form = 1;
    if (!g->training && g->sq == 1 && form == 0) form = 1;
    switch (form) {
    case 0:
        put(g, " atten_mask=%s[%lld,%lld]", dtype, sq, skv);
        feature(g, "mask rank 2");
        break;
    case 1:
        put(g, " atten_mask=%s[%lld,1,%lld,%lld]", dtype, b, sq, skv);
        feature(g, "mask rank 4");
        break;
    case 2:
        put(g, " atten_mask=%s[1,1,%lld,%lld]", dtype, sq, skv);
        feature(g, "mask shared");
        break;
    default:
        put(g, " atten_mask=%s[%lld,%lld,%lld,%lld]", dtype, b, n, sq, skv);
        feature(g, "mask per head");
    }
}

static void put_tree(drawing *g, const char *dtype)
{
    int64_t cells = 0;
    for (int64_t i = 0; i < g->b; i++) cells += g->q_len[i] * g->q_len[i];
    if (g->packed) put(g, " atten_mask=%s[%lld]", dtype, (long long)cells);
    else put(g, " atten_mask=%s[%lld,%lld,%lld]", dtype, (long long)g->b, (long long)g->sq, (long long)g->sq);
    feature(g, "tree mask");
}

static void put_mask(drawing *g)
{
    put(g, " sparse_mode=%d", g->mode);
    feature(g, "mode %d", g->mode);
    put_prefix(g);
    put_tokens(g);
    const char *dtype = g->training ? PICK(g, "bool", "u8") : PICK(g, "bool", "u8", "i8");
    if (g->mode == 9) {
        put_tree(g, dtype);
    } else if (g->compressed_mask) {
        put(g, " atten_mask=%s[%d,2048]", dtype, g->mode == 6 ? 3072 : 2048);
        feature(g, "mask compressed");
    } else if (g->dense_mask) {
        if (g->packed) put_packed_mask(g, dtype);
        else put_dense_mask(g, dtype);
        const bool all = chance(g, 8);
        put(g, " density=%s", all ? "1" : PICK(g, "0.1", "0.3", "0.6", "0.95"));
        if (all) feature(g, "empty row");
    } else {
        feature(g, "no mask");
    }
}

/* --- tensors and lengths --- */

static void put_operand(drawing *g, const char *name, int64_t heads, int64_t rows, int64_t packed_rows,
                        int64_t cols)
{
    put(g, " %s=%s[", name, g->dtype);
    for (const char *c = g->layout; *c && *c != '_'; c++) {
        const int64_t extent = *c == 'B'   ? g->b
                               : *c == 'S' ? rows
                               : *c == 'N' ? heads
                               : *c == 'H' ? heads * cols
                               : *c == 'T' ? packed_rows
                                           : cols;
        put(g, "%s%lld", c == g->layout ? "" : ",", (long long)extent);
    }
    put(g, "]");
}

static void put_list(drawing *g, const char *name, const int64_t *values, bool cumulative)
{
    int64_t sum = 0;
    put(g, " %s=", name);
    for (int64_t i = 0; i < g->b; i++) {
        sum += values[i];
        put(g, "%s%lld", i ? "," : "", (long long)(cumulative ? sum : values[i]));
    }
}

/* Packed: every sequence its own lengths, some of them empty, sometimes a tail that belongs to nobody. */
static void draw_packed(drawing *g)
{
    g->t = g->tkv = 0;
    for (int64_t i = 0; i < g->b; i++) {
        g->q_len[i] = chance(g, 10) ? 0 : between(g, 1, g->sq);
        g->kv_len[i] = chance(g, 10) ? 0 : between(g, 1, g->skv);
        if (i == 0) g->kv_len[i] = g->skv; /* keep the long one */
        if (!g->training && chance(g, 30)) g->kv_len[i] = g->kv_len[i] < g->q_len[i] ? g->q_len[i] : g->kv_len[i];
        g->t += g->q_len[i];
        g->tkv += g->kv_len[i];
    }
    if (g->t == 0) g->q_len[0] = g->t = 1;
    if (chance(g, 15)) {
        g->t += between(g, 1, 5);
        feature(g, "tail rows");
    }
}

static void put_lengths_dense(drawing *g)
{
    const char *q_name = g->v2 ? "actual_seq_qlen" : "actual_seq_lengths";
    const char *kv_name = g->v2 ? "actual_seq_kvlen" : g->decode ? "actual_seq_lengths" : "actual_seq_lengths_kv";
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
    put_list(g, t || g->v2 ? "actual_seq_kvlen" : "actual_seq_lengths_kv", g->kv_len, true);
}

static void put_pages(drawing *g)
{
    if (!g->paged) return;
    const char *layout = g->decode ? PICK(g, "BnBsH", "BnNBsD") : PICK(g, "BnBsH", "BnNBsD", "NZ");
    put(g, " page=%s page_layout=%s", PICK(g, "1", "7", "16", "64", "128", "100"), layout);
    feature(g, "paged %s", layout);
}

/* --- bias, sink, rope --- */

static bool square(const drawing *g)
{
    for (int64_t i = 0; i < g->b; i++)
        if (g->q_len[i] != g->kv_len[i]) return false;
    return true;
}

static void put_training_pse(drawing *g)
{
    const long long b = g->b, n = g->n, sq = g->sq, skv = g->skv;
    if (g->mode >= 7 || !chance(g, 35)) return;
    if (square(g) && (g->packed ? g->t > 0 : true) && chance(g, 60)) {
        const char *type = PICK(g, "2", "3");
        put(g, " pse_type=%s pse=f32[", type);
        if (chance(g, 50)) put(g, "%lld,", b);
        put(g, "%lld]", n);
        feature(g, "slopes");
        return;
    }
    put(g, " pse_type=%s", PICK(g, "0", "1"));
    feature(g, "pse");
    if (g->packed) {
        int64_t cells = 0, keys = 0;
        for (int64_t i = 0; i < g->b; i++) cells += g->q_len[i] * g->kv_len[i], keys += g->kv_len[i];
        put(g, " pse=%s[%lld]", g->dtype, (long long)(g->n * (chance(g, 50) ? cells : keys)));
        return;
    }
    put(g, " pse=%s[%lld,%lld,%lld,%lld]", g->dtype, chance(g, 50) ? b : 1, n, chance(g, 60) ? sq : 1,
        skv);
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
}

static void put_infer_extras(drawing *g)
{
    if (!g->packed && chance(g, 25)) {
        put(g, " pse_shift=%s[%lld,%lld,%lld,%lld]", g->dtype, chance(g, 50) ? (long long)g->b : 1LL,
            (long long)g->n, (long long)g->sq, (long long)(g->skv + g->shared));
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
    if (g->pad_q >= 0) put(g, " query_padding_size=i64[1]{%lld}", (long long)g->pad_q);
    if (g->pad_kv >= 0) put(g, " kv_padding_size=i64[1]{%lld}", (long long)g->pad_kv);
    if (g->pad_q >= 0 || g->pad_kv >= 0) feature(g, "left padding");
}

/* Forms that exclude one another: a list, a shared prefix, left padding, rope parts, or none of them. */
static void draw_form(drawing *g)
{
    const int64_t kind = between(g, 0, 99);
    const bool dense = !g->packed && !g->paged;
    g->pad_q = g->pad_kv = -1;
    if (g->decode && dense && kind < 10) g->pad_kv = between(g, 0, g->skv / 4);
    if (!g->v1 && !g->v2) return;
    if (kind < 12) g->rope = true;
    else if (kind < 22 && dense) {
        g->listed = true; /* the first tensor is the longest */
        for (int64_t i = 0; i < g->b; i++) g->kv_len[i] = g->skv > i ? g->skv - i : 0;
    }
    else if (kind < 36 && g->v1) g->shared = between(g, 1, 70);
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
    if (g->shared == 0) return;
    const int64_t batch = g->b;
    g->b = 1;
    put_operand(g, "key_shared_prefix", g->nkv, g->shared + 2, g->shared + 2, g->d);
    put_operand(g, "value_shared_prefix", g->nkv, g->shared + 2, g->shared + 2, g->dv);
    g->b = batch;
    put(g, " actual_shared_prefix_len=%lld", (long long)g->shared);
    feature(g, "shared prefix");
}

static void put_rope(drawing *g)
{
    if (!g->rope && !(g->training && chance(g, 10))) return;
    const int64_t dr = between(g, 1, g->d);
    put_operand(g, "query_rope", g->n, g->sq, g->t, dr);
    put_operand(g, "key_rope", g->nkv, g->skv, g->tkv, dr);
    feature(g, "rope");
}

/* --- the whole --- */

static void note_lengths(drawing *g)
{
    for (int64_t i = 0; i < g->b; i++) {
        if (g->q_len[i] == 0) continue;
        if (g->kv_len[i] == 0 || (g->q_len[i] > g->kv_len[i] && (g->mode == 3 || g->mode == 4)))
            feature(g, "empty row");
        if (g->kv_len[i] > 64) feature(g, "crosses a tile");
        if (g->kv_len[i] > 512 && g->q_len[i] <= 16) feature(g, "crosses a split");
    }
}

void generate_line(random_line *line, const char *op, uint64_t seed, uint64_t number)
{
    drawing g = {.op = op, .line = line, .state = seed * 0x2545f4914f6cdd1du + number};
    line->n_features = 0;
    for (const char *c = op; *c; c++) g.state = draw(&g) + (uint64_t)*c;
    g.training = strcmp(op, "fusion_attention") == 0;
    g.decode = strcmp(op, "incre_flash_attention") == 0;
    g.prompt = strcmp(op, "prompt_flash_attention") == 0;
    g.v1 = strcmp(op, "fused_infer_attention_score") == 0;
    g.v2 = strcmp(op, "fused_infer_attention_score_v2") == 0;
    g.layout = g.training ? PICK(&g, "BSH", "SBH", "BSND", "BNSD", "TND", "TND")
               : g.decode ? PICK(&g, "BSH", "BSND", "BNSD")
               : g.prompt ? PICK(&g, "BSH", "BSND", "BNSD", "TND", "BNSD_BSND", "NSD", "SH")
                          : PICK(&g, "BSH", "BSND", "BNSD", "TND", "BSH", "BSND", "BNSD", "TND", "NTD",
                                 "NSD", "BNSD_BSND", "BSH_BNSD", "BSND_BNSD", "NTD_TND", "TND_NTD",
                                 "BSH_NBSD", "BSND_NBSD", "BNSD_NBSD");
    g.dtype = PICK(&g, "f32", "f16", "bf16");
    g.packed = strcspn(g.layout, "T") < strcspn(g.layout, "_");
    g.paged = !g.training && !g.prompt && chance(&g, 40);
    feature(&g, "layout %s", g.layout);
    feature(&g, "dtype %s", g.dtype);

    draw_heads(&g);
    draw_lengths(&g);
    if (!g.packed && strcspn(g.layout, "B") >= strcspn(g.layout, "_")) g.b = 1;
    draw_form(&g);
    if (g.packed) draw_packed(&g);
    draw_mode(&g);

    put(&g, "%s input_layout=%s %s=%lld", op, g.layout,
        g.training ? "head_num" : g.v2 ? "num_query_heads" : "num_heads", (long long)g.n);
    if (!g.training) put(&g, " num_key_value_heads=%lld", (long long)g.nkv);
    put_operand(&g, "query", g.n, g.sq, g.t, g.d);
    put_keys(&g, "key", g.d);
    put_keys(&g, "value", g.dv);
    put_shared(&g);
    put_rope(&g);
    put_lengths(&g);
    put_pages(&g);
    if (!g.decode) put_mask(&g);
    else if (chance(&g, 35)) g.dense_mask = true, put_dense_mask(&g, PICK(&g, "bool", "u8", "i8"));
    if (g.training) put_training_extras(&g);
    else put_infer_extras(&g);
    put(&g, " %s=%s", g.training || g.v1 ? "scale" : g.v2 ? "softmax_scale" : "scale_value",
        PICK(&g, "0.125", "0.3", "1", "-0.5"));
    put(&g, " fill=%s seed=%llu", PICK(&g, "normal", "normal", "normal", "uniform", "increasing", "onehot"),
        (unsigned long long)(draw(&g) % 100000));
    note_lengths(&g);
}

/* --- goals --- */

typedef struct goal {
    const char *op, *feature; /* op NULL = every operator */
    int per_mille;
} goal;

static const goal goals[] = {
    {NULL, "dtype f32", 20},      {NULL, "dtype f16", 20},      {NULL, "dtype bf16", 20},
    {NULL, "layout BSH", 20},     {NULL, "layout BSND", 20},    {NULL, "layout BNSD", 20},
    {NULL, "group 1", 20},        {NULL, "group 2", 20},        {NULL, "group 3", 20},
    {NULL, "group 4", 20},        {NULL, "group 8", 20},        {NULL, "Dv < D", 20},
    {NULL, "crosses a tile", 100}, {NULL, "crosses a split", 50}, {NULL, "mask rank 4", 20},
    {NULL, "pse", 20},            {NULL, "empty row", 20},
    {"fusion_attention", "layout SBH", 20},
    {"fusion_attention", "layout TND", 20},
    {"fusion_attention", "mode 0", 20},
    {"fusion_attention", "mode 1", 20},
    {"fusion_attention", "mode 2", 20},
    {"fusion_attention", "mode 3", 20},
    {"fusion_attention", "mode 4", 20},
    {"fusion_attention", "mode 5", 20},
    {"fusion_attention", "mode 6", 20},
    {"fusion_attention", "mode 7", 20},
    {"fusion_attention", "mode 8", 20},
    {"fusion_attention", "mask rank 2", 20},
    {"fusion_attention", "mask shared", 20},
    {"fusion_attention", "mask per head", 20},
    {"fusion_attention", "mask compressed", 20},
    {"fusion_attention", "mask T x T", 20},
    {"fusion_attention", "mask of packed", 20},
    {"fusion_attention", "no mask", 20},
    {"fusion_attention", "slopes", 20},
    {"fusion_attention", "sink", 20},
    {"fusion_attention", "rope", 20},
    {"fusion_attention", "tail rows", 20},
    {"fusion_attention", "softmax_layout TND", 20},
    {"prompt_flash_attention", "layout TND", 20},
    {"prompt_flash_attention", "mode 0", 20},
    {"prompt_flash_attention", "mode 1", 20},
    {"prompt_flash_attention", "mode 2", 20},
    {"prompt_flash_attention", "mode 3", 20},
    {"prompt_flash_attention", "mode 4", 20},
    {"prompt_flash_attention", "mask compressed", 20},
    {"prompt_flash_attention", "q lengths", 20},
    {"prompt_flash_attention", "kv lengths", 20},
    {"incre_flash_attention", "mask rank 2", 20},
    {"incre_flash_attention", "mask rank 3", 20},
    {"incre_flash_attention", "paged BnBsH", 20},
    {"incre_flash_attention", "paged BnNBsD", 20},
    {"prompt_flash_attention", "layout BNSD_BSND", 20},
    {"prompt_flash_attention", "layout NSD", 20},
    {"prompt_flash_attention", "layout SH", 20},
    {"incre_flash_attention", "left padding", 20},
    {"fused_infer_attention_score", "layout NTD", 20},
    {"fused_infer_attention_score", "layout NSD", 20},
    {"fused_infer_attention_score", "layout BNSD_BSND", 20},
    {"fused_infer_attention_score", "layout BSH_BNSD", 20},
    {"fused_infer_attention_score", "layout BSND_BNSD", 20},
    {"fused_infer_attention_score", "layout NTD_TND", 20},
    {"fused_infer_attention_score", "layout TND_NTD", 20},
    {"fused_infer_attention_score", "layout BSH_NBSD", 20},
    {"fused_infer_attention_score", "layout BSND_NBSD", 20},
    {"fused_infer_attention_score", "layout BNSD_NBSD", 20},
    {"fused_infer_attention_score", "paged NZ", 20},
    {"fused_infer_attention_score", "rope", 20},
    {"fused_infer_attention_score", "tensor list", 20},
    {"fused_infer_attention_score", "shared prefix", 20},
    {"fused_infer_attention_score", "left padding", 20},
    {"fused_infer_attention_score_v2", "layout TND", 20},
    {"fused_infer_attention_score_v2", "layout TND_NTD", 20},
    {"fused_infer_attention_score_v2", "layout BNSD_NBSD", 20},
    {"fused_infer_attention_score_v2", "paged BnBsH", 20},
    {"fused_infer_attention_score_v2", "paged BnNBsD", 20},
    {"fused_infer_attention_score_v2", "paged NZ", 20},
    {"fused_infer_attention_score_v2", "mode 0", 20},
    {"fused_infer_attention_score_v2", "mode 1", 20},
    {"fused_infer_attention_score_v2", "mode 2", 20},
    {"fused_infer_attention_score_v2", "mode 3", 20},
    {"fused_infer_attention_score_v2", "mode 4", 20},
    {"fused_infer_attention_score_v2", "tree mask", 20},
    {"fused_infer_attention_score_v2", "sink", 20},
    {"fused_infer_attention_score_v2", "rope", 20},
    {"fused_infer_attention_score_v2", "tensor list", 20},
    {"fused_infer_attention_score_v2", "lse", 20},
    {"fused_infer_attention_score", "layout TND", 20},
    {"fused_infer_attention_score", "mode 0", 20},
    {"fused_infer_attention_score", "mode 1", 20},
    {"fused_infer_attention_score", "mode 2", 20},
    {"fused_infer_attention_score", "mode 3", 20},
    {"fused_infer_attention_score", "mode 4", 20},
    {"fused_infer_attention_score", "mask compressed", 20},
    {"fused_infer_attention_score", "paged BnBsH", 20},
    {"fused_infer_attention_score", "paged BnNBsD", 20},
    {"fused_infer_attention_score", "lse", 20},
    {"fused_infer_attention_score", "q lengths", 20},
    {"fused_infer_attention_score", "kv lengths", 20},
};

bool generate_goal(const char *op, int index, const char **name, int *per_mille)
{
    for (size_t i = 0; i < sizeof goals / sizeof goals[0]; i++) {
        if (goals[i].op && strcmp(goals[i].op, op) != 0) continue;
        if (index-- > 0) continue;
        *name = goals[i].feature;
        *per_mille = goals[i].per_mille;
        return true;
    }
    return false;
}
