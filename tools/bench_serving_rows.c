/* SPDX-License-Identifier: Apache-2.0 */
/* bench_serving_rows.c — the suites `serving` and `call`: calls as serving systems make them, as
 * problem lines. "T" stands for the dtype. A serving row has a plain form beside it, of one call or
 * two, with the same visible pairs. */
#include "bench_rows.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { HEADS = 32, KV_HEADS = 8, DIM = 128, PREFILL = 2048, LINE = 8192, LISTS = 256 };

/* Keys of decode number i: 1k to 8k, spread evenly, in no order. */
static int64_t decode_keys(int i) { return 1024 + (int64_t)i * 2654435761 % 7169; }

typedef struct text {
    char at[LINE];
    size_t n;
} text;

static void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(text *t, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(t->at + t->n, sizeof t->at - t->n, format, list);
    va_end(list);
    t->n += (size_t)n < sizeof t->at - t->n ? (size_t)n : sizeof t->at - t->n - 1;
}

static void add_list(text *t, const char *name, const int64_t *x, int n, bool sums)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        sum = sums ? sum + x[i] : x[i];
        add(t, "%s%" PRId64, i ? "," : name, sum);
    }
}

/* One call of sequences with q[i] queries and k[i] keys. */
typedef struct batch {
    int n;
    int64_t q[LISTS], k[LISTS];
} batch;

/* `prefills` of PREFILL / prefills tokens each, over as many keys, then decodes. */
static batch mixed(int prefills, int decodes)
{
    batch b = {.n = prefills + decodes};
    for (int i = 0; i < prefills; i++) b.q[i] = b.k[i] = PREFILL / prefills;
    for (int i = 0; i < decodes; i++) b.q[prefills + i] = 1, b.k[prefills + i] = decode_keys(i);
    return b;
}

static double visible_pairs(const batch *b)
{
    double pairs = 0;
    for (int i = 0; i < b->n; i++)
        pairs += (double)b->q[i] * (double)(b->k[i] - b->q[i]) +
                 (double)b->q[i] * (double)(b->q[i] + 1) / 2;
    return pairs * HEADS;
}

static int64_t total(const int64_t *x, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return sum;
}

static const char op[] = "fused_infer_attention_score num_heads=32 num_key_value_heads=8"
                         " scale=0.08838834764831845";
/* [blocks, heads, rows, D], or chunked [blocks, heads, D/16, rows, 16]. */
static void add_cache(text *t, const batch *b, int page, bool chunked)
{
    static const char *const names[] = {"key", "value"};
    int64_t blocks = 0, most = 0;
    for (int i = 0; i < b->n; i++) {
        const int64_t own = (b->k[i] + page - 1) / page;
        blocks += own;
        most = own > most ? own : most;
    }
    for (int i = 0; i < 2; i++) {
        if (chunked) add(t, " %s=T[%" PRId64 ",8,8,%d,16]", names[i], blocks, page);
        if (!chunked) add(t, " %s=T[%" PRId64 ",8,%d,128]", names[i], blocks, page);
    }
    add(t, " block_table=i32[%d,%" PRId64 "] block_size=%d", b->n, most, page);
}

/* All in one call, packed, in a paged cache (page > 0) or with packed keys, too. */
static void packed_line(text *t, const batch *b, int page)
{
    const int64_t tokens = total(b->q, b->n), keys = total(b->k, b->n);
    add(t, "%s input_layout=TND sparse_mode=3 query=T[%" PRId64 ",32,128]", op, tokens);
    if (page > 0) add_cache(t, b, page, false);
    if (page == 0) add(t, " key=T[%" PRId64 ",8,128] value=T[%" PRId64 ",8,128]", keys, keys);
    add_list(t, " actual_seq_lengths=", b->q, b->n, true);
    add_list(t, " actual_seq_lengths_kv=", b->k, b->n, page == 0);
}

/* Sequences [first, end) as a plain BNSD call: paged, or padded to the longest. */
static void plain_line(text *t, const batch *b, int first, int end, int page)
{
    batch part = {.n = end - first};
    int64_t most = 0;
    memcpy(part.q, b->q + first, (size_t)part.n * sizeof *part.q);
    memcpy(part.k, b->k + first, (size_t)part.n * sizeof *part.k);
    for (int i = 0; i < part.n; i++) most = part.k[i] > most ? part.k[i] : most;
    add(t, "%s input_layout=BNSD query=T[%d,32,%" PRId64 ",128]%s", op, part.n, part.q[0],
        part.q[0] > 1 ? " sparse_mode=3" : "");
    if (page > 0) add_cache(t, &part, page, false);
    if (page == 0)
        add(t, " key=T[%d,8,%" PRId64 ",128] value=T[%d,8,%" PRId64 ",128]", part.n, most, part.n,
            most);
    add_list(t, " actual_seq_lengths_kv=", part.k, part.n, false);
}

static text texts[BENCH_MAX_ROWS];
static int n_texts;

static text *new_text(void)
{
    text *t = &texts[n_texts++ % BENCH_MAX_ROWS];
    t->n = 0;
    t->at[0] = '\0';
    return t;
}

static bench_row line_row(const char *suite, const char *name, double pairs, int dims)
{
    bench_row row = {.suite = suite, .pairs = pairs, .dims = dims, .plan_timed = true};
    snprintf(row.name, BENCH_NAME, "%s", name);
    return row;
}

static const char *literal(const char *args)
{
    text *t = new_text();
    add(t, "%s %s", op, args);
    return t->at;
}

static bench_row mixed_row(const char *name, int decodes, int page)
{
    const batch b = mixed(1, decodes);
    bench_row row = line_row("serving", name, visible_pairs(&b), 2 * DIM);
    text *t[] = {new_text(), new_text(), new_text()};
    packed_line(t[0], &b, page);
    plain_line(t[1], &b, 0, 1, page);
    plain_line(t[2], &b, 1, b.n, page);
    for (int i = 0; i < 3; i++) row.lines[i] = t[i]->at;
    return row;
}

/* 63 decodes from chunked pages against the same from row-major ones. */
static bench_row nz_row(void)
{
    const batch b = mixed(0, 63);
    bench_row row = line_row("serving", "serving-nz", visible_pairs(&b), 2 * DIM);
    text *chunked = new_text(), *plain = new_text();
    add(chunked, "%s input_layout=BNSD query=T[%d,32,1,128]", op, b.n);
    add_cache(chunked, &b, 128, true);
    add_list(chunked, " actual_seq_lengths_kv=", b.k, b.n, false);
    plain_line(plain, &b, 0, b.n, 128);
    row.lines[0] = chunked->at, row.lines[1] = plain->at;
    return row;
}

static bench_row left_padded_row(void)
{
    const batch b = {.n = 4, .q = {2048, 1500, 1024, 700}, .k = {2048, 1500, 1024, 700}};
    bench_row row = line_row("serving", "serving-leftpad", visible_pairs(&b), 2 * DIM);
    static const char args[] = "input_layout=BNSD query=T[4,32,2048,128] key=T[4,8,2048,128]"
                               " value=T[4,8,2048,128] actual_seq_lengths=2048,1500,1024,700 "
                               "actual_seq_lengths_kv=2048,1500,1024,700"
                               " sparse_mode=3";
    text *t = new_text();
    add(t, "%s %s query_padding_size=i64[1]{0} kv_padding_size=i64[1]{0}", op, args);
    row.lines[0] = t->at, row.lines[1] = literal(args);
    return row;
}

static bench_row prefix_row(void)
{
    const batch b = {.n = 4, .q = {512, 512, 512, 512}, .k = {2048, 2048, 2048, 2048}};
    bench_row row = line_row("serving", "serving-prefix", visible_pairs(&b), 2 * DIM);
    row.lines[0] =
        literal("input_layout=BNSD query=T[4,32,512,128] key=T[4,8,512,128] value=T[4,8,512,128]"
                " key_shared_prefix=T[1,8,1536,128] value_shared_prefix=T[1,8,1536,128]"
                " sparse_mode=3");
    row.lines[1] =
        literal("input_layout=BNSD query=T[4,32,512,128] key=T[4,8,2048,128] value=T[4,8,2048,128]"
                " sparse_mode=3");
    return row;
}

static const char latent[] = "fused_infer_attention_score_v2 input_layout=BNSD num_query_heads=128"
                             " num_key_value_heads=1 softmax_scale=0.07216878364870323";

/* Latent attention: rope columns apart, and keys and values from the same memory when decoding. */
bench_row bench_mla_row(void)
{
    bench_row row = line_row("decode", "decode-mla128", 8.0 * 128 * 4096, 576 + 512);
    text *t = new_text();
    add(t,
        "%s query=T[8,128,1,512] query_rope=T[8,128,1,64] key=T[8,1,4096,512] value=T[8,1,4096,512]"
        " key_rope=T[8,1,4096,64]",
        latent);
    row.lines[0] = t->at;
    row.latent = true;
    row.decode = true;
    row.plan_timed = false;
    row.kv_numbers = INT64_C(8) * 4096 * 576;
    return row;
}

static bench_row mla_decode_row(void)
{
    bench_row row = line_row("serving", "serving-mla-decode", 8.0 * 128 * 4096, 576 + 512);
    text *plain = new_text();
    add(plain, "%s query=T[8,128,1,576] key=T[8,1,4096,576] value=T[8,1,4096,512]", latent);
    row.lines[0] = bench_mla_row().lines[0], row.lines[1] = plain->at;
    row.latent = true;
    return row;
}

static bench_row mla_prefill_row(void)
{
    static const char name[] =
        "fused_infer_attention_score_v2 input_layout=BNSD num_query_heads=16"
        " num_key_value_heads=16 softmax_scale=0.07216878364870323 sparse_mode=3";
    bench_row row = line_row("serving", "serving-mla-prefill", 16.0 * 2048 * 2049 / 2, 192 + 128);
    text *apart = new_text(), *plain = new_text();
    add(apart,
        "%s query=T[1,16,2048,128] query_rope=T[1,16,2048,64] key=T[1,16,2048,128]"
        " value=T[1,16,2048,128] key_rope=T[1,16,2048,64]",
        name);
    add(plain, "%s query=T[1,16,2048,192] key=T[1,16,2048,192] value=T[1,16,2048,128]", name);
    row.lines[0] = apart->at, row.lines[1] = plain->at;
    return row;
}

int bench_serving_rows(bench_row *rows)
{
    int n = 0;
    rows[n++] = mixed_row("serving-mix-p16", 63, 16);
    rows[n++] = mixed_row("serving-mix-p128", 63, 128);
    rows[n++] = mixed_row("serving-tndmix", 15, 0);
    rows[n++] = left_padded_row();
    rows[n++] = prefix_row();
    rows[n++] = nz_row();
    rows[n++] = mla_prefill_row();
    rows[n++] = mla_decode_row();
    return n;
}

int bench_call_rows(bench_row *rows)
{
    const batch b = mixed(32, 224);
    text *many = new_text(), *tiny = new_text();
    rows[0] = line_row("call", "tiny", 128, 128);
    add(tiny,
        "fused_infer_attention_score num_heads=1 input_layout=BNSD scale=0.125 query=T[1,1,1,64]"
        " key=T[1,1,128,64] value=T[1,1,128,64]");
    rows[0].lines[0] = tiny->at;
    rows[1] = line_row("call", "plan256", visible_pairs(&b), 2 * DIM);
    packed_line(many, &b, 128);
    rows[1].lines[0] = many->at;
    rows[1].plan_only = true;
    return 2;
}
