/* SPDX-License-Identifier: Apache-2.0 */
/* bench_rows.c — the suites as lists of rows. A name says the shape: heads[/kv heads] x head dim
 * [/value dim] [x sequence | -kv keys] -b batch, then causal, pN = paged in blocks of N rows, tN = N
 * query tokens. */
#include "bench_rows.h"

#include <stdio.h>
#include <string.h>

#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

static int guide_rows(bench_row *rows)
{
    static const struct {
        int heads, dim, length;
    } shapes[] = {{8, 64, 512}, {16, 64, 1024}, {32, 128, 2048}};
    for (int i = 0; i < COUNT(shapes); i++) {
        const int heads = shapes[i].heads, dim = shapes[i].dim, length = shapes[i].length;
        rows[i] = (bench_row){.suite = "guide",
                              .op = "fusion_attention",
                              .batch = 4,
                              .n_heads = heads,
                              .n_kv_heads = heads,
                              .head_dim = dim,
                              .q_len = length,
                              .kv_len = length};
        snprintf(rows[i].name, BENCH_NAME, "%dx%dx%d-b4", heads, dim, length);
    }
    return COUNT(shapes);
}

static bench_row prefill_row(int heads, int kv_heads, int dim, int length, bool causal)
{
    bench_row row = {.suite = "prefill",
                     .op = "prompt_flash_attention",
                     .batch = 1,
                     .n_heads = heads,
                     .n_kv_heads = kv_heads,
                     .head_dim = dim,
                     .q_len = length,
                     .kv_len = length,
                     .causal = causal};
    char group[16] = "";
    if (kv_heads != heads) snprintf(group, sizeof group, "/%d", kv_heads);
    snprintf(row.name, BENCH_NAME, "%d%sx%dx%d-b1%s", heads, group, dim, length,
             causal ? "-causal" : "");
    return row;
}

static int prefill_rows(bench_row *rows)
{
    static const int dims[] = {64, 128}, lengths[] = {256, 512, 1024, 2048, 4096};
    int n = 0;
    for (int d = 0; d < COUNT(dims); d++)
        for (int s = 0; s < COUNT(lengths); s++)
            for (int causal = 0; causal < 2; causal++)
                rows[n++] = prefill_row(16, 16, dims[d], lengths[s], causal);
    rows[n++] = prefill_row(32, 8, 128, 4096, true);
    return n;
}

static int dims_rows(bench_row *rows)
{
    static const struct {
        int head, value;
    } dims[] = {{72, 72}, {80, 80}, {96, 96}, {192, 128}, {256, 256}, {512, 512}};
    for (int i = 0; i < COUNT(dims); i++) {
        char value[16] = "";
        rows[i] = prefill_row(16, 16, dims[i].head, 2048, false);
        rows[i].suite = "dims";
        rows[i].op = "fusion_attention";
        rows[i].value_dim = dims[i].value;
        if (dims[i].value != dims[i].head) snprintf(value, sizeof value, "/%d", dims[i].value);
        snprintf(rows[i].name, BENCH_NAME, "16x%d%sx2048-b1", dims[i].head, value);
    }
    return COUNT(dims);
}

static bench_row scaling_row(int length, int band)
{
    bench_row row = prefill_row(8, 8, 64, length, true);
    row.suite = "scaling";
    row.op = "fusion_attention";
    row.band = band;
    if (band > 0) snprintf(row.name, BENCH_NAME, "8x64x%d-b1-band%d", length, band);
    return row;
}

/* Time against length: quadratic, and with a band linear up to a million tokens, some 10 seconds. */
static int scaling_rows(bench_row *rows)
{
    enum { K = 1024, BAND = 1024 };
    int n = 0;
    for (int length = 1 * K; length <= 32 * K; length *= 2) rows[n++] = scaling_row(length, 0);
    for (int length = 1 * K; length <= 256 * K; length *= 2) rows[n++] = scaling_row(length, BAND);
    rows[n] = scaling_row(1024 * K, BAND);
    rows[n++].once = true;
    return n;
}

/* The guide's three and one with shared heads and a mask. */
static int backward_rows(bench_row *rows)
{
    int n = guide_rows(rows);
    rows[n++] = prefill_row(32, 8, 128, 4096, true);
    for (int i = 0; i < n; i++) {
        rows[i].suite = "backward";
        rows[i].op = "fusion_attention_grad";
        rows[i].backward = true;
    }
    return n;
}

static bench_row decode_row(int kv_heads, int kv_len, int batch, int block_size, int tokens)
{
    bench_row row = {.suite = "decode",
                     .op = "incre_flash_attention",
                     .batch = batch,
                     .n_heads = 32,
                     .n_kv_heads = kv_heads,
                     .head_dim = 128,
                     .q_len = tokens,
                     .kv_len = kv_len,
                     .block_size = block_size,
                     .decode = true};
    char end[16] = "";
    if (block_size > 0) snprintf(end, sizeof end, "-p%d", block_size);
    if (tokens > 1) {
        snprintf(end, sizeof end, "-t%d", tokens);
        row.op = "fused_infer_attention_score";
        row.causal = true;
    }
    snprintf(row.name, BENCH_NAME, "decode-32/%dx128-kv%d-b%d%s", kv_heads, kv_len, batch, end);
    return row;
}

static int decode_rows(bench_row *rows)
{
    static const int kv_heads[] = {8, 32}, kv_lens[] = {4096, 32768}, batches[] = {1, 8};
    static const int block_sizes[] = {0, 16, 64, 128};
    int n = 0;
    for (int h = 0; h < COUNT(kv_heads); h++)
        for (int k = 0; k < COUNT(kv_lens); k++)
            for (int b = 0; b < COUNT(batches); b++)
                for (int p = 0; p < COUNT(block_sizes); p++)
                    rows[n++] = decode_row(kv_heads[h], kv_lens[k], batches[b], block_sizes[p], 1);
    rows[n++] = decode_row(32, 32768, 1, 0, 8);
    rows[n++] = decode_row(8, 32768, 1, 0, 8);
    rows[n++] = bench_mla_row();
    return n;
}

int bench_rows(const char *suite, bench_row *rows)
{
    static const struct {
        const char *name;
        int (*list)(bench_row *rows);
    } suites[] = {{"guide", guide_rows},
                  {"prefill", prefill_rows},
                  {"modes", bench_modes_rows},
                  {"dims", dims_rows},
                  {"scaling", scaling_rows},
                  {"decode", decode_rows},
                  {"backward", backward_rows},
                  {"quant", bench_quant_rows},
                  {"serving", bench_serving_rows},
                  {"call", bench_call_rows}};
    for (int i = 0; i < COUNT(suites); i++)
        if (strcmp(suites[i].name, suite) == 0) return suites[i].list(rows);
    return 0;
}

/* Of one head that sees the keys up to kv - q + i, or the last `most` of them. */
static double causal_pairs(double q, double kv, double most)
{
    const double first = kv - q + 1;                     /* keys of query 0, one more of the next */
    double growing = most < kv ? most - first + 1 : q;   /* queries that see all of theirs */
    if (growing < 0) growing = 0;
    return growing * (first + first + growing - 1) / 2 + (q - growing) * most;
}

double bench_row_pairs(const bench_row *row)
{
    const double q = (double)row->q_len, kv = (double)row->kv_len;
    const double most = row->band > 0 ? (double)row->band + 1 : kv;
    const double pairs = row->causal ? causal_pairs(q, kv, most) : q * kv;
    return pairs * (double)(row->n_heads * row->batch);
}

int64_t bench_row_value_dim(const bench_row *row)
{
    return row->value_dim > 0 ? row->value_dim : row->head_dim;
}

double bench_row_flops(const bench_row *row)
{
    const double pairs = bench_row_pairs(row);
    if (row->backward) return 5 * 2.0 * (double)row->head_dim * pairs;
    return 2.0 * (double)(row->head_dim + bench_row_value_dim(row)) * pairs;
}
