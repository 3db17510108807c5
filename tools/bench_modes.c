/* SPDX-License-Identifier: Apache-2.0 */
/* bench_modes.c — the suite `modes`: 16 heads x 128, 2048 tokens, under one kind of mask or bias each,
 * as problem lines ("T" stands for the dtype). A mask or bias in a tensor, and slopes, have the same
 * call without it beside them; so has the call in fp16 arithmetic, in fp32. */
#include "bench_rows.h"

#include <math.h>
#include <stdio.h>

enum { HEADS = 16, DIM = 128, TOKENS = 2048, BAND = 256, PREFIX = 512, FORMS = 7, LINE = 1024 };

/* Of the packed row: long and short, none a multiple of a tile, TOKENS in all. */
static const int lengths[] = {300, 1, 1000, 20, 500, 7, 150, 70};
static const int n_lengths = sizeof lengths / sizeof *lengths;

static const char op[] = "fusion_attention head_num=16 scale=0.08838834764831845"
                         " softmax_max=none softmax_sum=none";
static const char dense[] = "input_layout=BNSD query=T[1,16,2048,128] key=T[1,16,2048,128]"
                            " value=T[1,16,2048,128]";
static const char packed[] = "input_layout=TND query=T[2048,16,128] key=T[2048,16,128]"
                             " value=T[2048,16,128]";

/* Pairs of n queries that see the keys up to their own place. */
static double triangle(double n) { return n * (n + 1) / 2; }

static double packed_pairs(void)
{
    double pairs = 0;
    for (int i = 0; i < n_lengths; i++) pairs += triangle(lengths[i]);
    return pairs;
}

/* The packed sequences' ends, 300,301,1301,... */
static void print_ends(char *text, size_t size)
{
    char ends[128];
    int n = 0, end = 0;
    for (int i = 0; i < n_lengths; i++) {
        end += lengths[i];
        n += snprintf(ends + n, sizeof ends - (size_t)n, "%s%d", i ? "," : "", end);
    }
    snprintf(text, size, "sparse_mode=3 atten_mask=bool[2048,2048] actual_seq_qlen=%s actual_seq_kvlen=%s",
             ends, ends);
}

/* ALiBi's slopes for 16 heads: 2^(-8 h / 16), h = 1 ... 16. */
static void print_slopes(char *text, size_t size)
{
    int n = snprintf(text, size, "pse_type=2 pse=f32[%d]{", HEADS);
    for (int h = 1; h <= HEADS; h++)
        n += snprintf(text + n, size - (size_t)n, "%.9g%s", exp2(-8.0 * h / HEADS),
                      h < HEADS ? "," : "}");
}

int bench_modes_rows(bench_row *rows)
{
    static char lines[FORMS + 2][LINE]; /* the last two: no mask, no bias; and in fp32 whatever is asked for */
    char ends[LINE / 2], slopes[LINE / 2];
    print_ends(ends, sizeof ends);
    print_slopes(slopes, sizeof slopes);
    const double all = (double)TOKENS * TOKENS;
    const struct {
        const char *name, *tensors, *mode;
        double pairs; /* of one head */
        bool beside;  /* the call without it runs in turn */
        bool half;
    } forms[FORMS] = {
        {"band256", dense, "sparse_mode=4 pre_tokens=256 next_tokens=0 atten_mask=bool[2048,2048]",
         triangle(TOKENS) - triangle(TOKENS - BAND - 1), false, false},
        {"prefix512", dense, "sparse_mode=6 prefix=512 atten_mask=bool[3072,2048]",
         triangle(TOKENS) + triangle(PREFIX - 1), false, false},
        {"tndmix", packed, ends, packed_pairs(), false, false},
        {"mask", dense, "sparse_mode=1 atten_mask=bool[2048,2048] density=0.25", 0.75 * all, true,
         false},
        {"pse", dense, "pse=T[1,16,2048,2048]", all, true, false},
        {"alibi", dense, slopes, all, true, false},
        {"f16arith", dense, "compute=f16", all, true, true},
    };
    snprintf(lines[FORMS], LINE, "%s %s", op, dense);
    snprintf(lines[FORMS + 1], LINE, "%s %s compute=f32", op, dense);
    for (int i = 0; i < FORMS; i++) {
        snprintf(lines[i], LINE, "%s %s %s", op, forms[i].tensors, forms[i].mode);
        const char *plain = lines[forms[i].half ? FORMS + 1 : FORMS];
        rows[i] = (bench_row){.suite = "modes",
                              .lines = {lines[i], forms[i].beside ? plain : NULL},
                              .pairs = HEADS * forms[i].pairs,
                              .dims = 2 * DIM,
                              .half = forms[i].half};
        snprintf(rows[i].name, BENCH_NAME, "16x128x2048-b1-%s", forms[i].name);
    }
    return FORMS;
}
