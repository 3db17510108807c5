/* SPDX-License-Identifier: Apache-2.0 */
/* line_data.c — the data of problem lines: the same everywhere, legal where it means something, and
 * paged without a change. */
#include "cm.h"

#include "io/element.h"
#include "io/io.h"
#include "tools/problem_line.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static problem_line *open_line(const char *text)
{
    line_error error;
    problem_line *line = line_open(text, &error);
    if (!line) fail_msg("%s\n  position %d: %s", text, error.position, error.text);
    return line;
}

static const fattn_tensor *tensor(const problem_line *line, const char *name)
{
    const fattn_tensor *t = line_tensor_of(line, name, 0);
    assert_non_null(t);
    return t;
}

static double at(const fattn_tensor *t, int64_t i)
{
    return io_get(t->data, t->dtype, io_offset(t, i));
}

/* Computed from the formulas of docs/problem-line.md by another program. */
static void the_same_on_every_machine(void **state)
{
    (void)state;
    static const double normal[] = {-0x1.1a7172c8p-1, 0x1.0053416ep+0, -0x1.d2c8932cp-1,
                                    0x1.8632fd58p-2};
    static const double uniform[] = {0x1.89d3c508a622ep-1, -0x1.8f15829dc3ce4p-2,
                                     -0x1.1bf16252b78d8p-2, -0x1.ce527cefcebe0p-5};
    problem_line *a = open_line("fusion_attention query=f64[4] seed=7");
    problem_line *b = open_line("fusion_attention query=f64[2,2] seed=7 key=f16[9] fill=uniform");
    for (int i = 0; i < 4; i++) {
        assert_true(at(tensor(a, "query"), i) == normal[i]);
        assert_true(at(tensor(b, "query"), i) == uniform[i]);
    }
    line_destroy(a);
    line_destroy(b);
}

/* What line_fill() puts into memory of its own, line_fill_tensor() puts into the caller's; of a list,
 * every item its own. */
static void into_the_callers_memory(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "fused_infer_attention_score query=f32[3] key=f16[5] atten_mask=bool[8,8]"
        " block_table=i32[2,3] query_padding_size=i64[1]{7} seed=3",
        "attention_update lse=f32[7]*3 local_out=f16[9]*2",
    };
    line_error error;
    int n = 0;
    for (int l = 0; l < 2; l++) {
        problem_line *whole = open_line(lines[l]), *bare = line_parse(lines[l], &error);
        assert_non_null(bare);
        const line_tensor *expected = whole->tensors;
        unsigned char memory[64];
        for (line_tensor *t = bare->tensors; t; t = t->next, expected = expected->next, n++) {
            int64_t count;
            memset(memory, 0, sizeof memory);
            io_count(t->t.rank, t->t.shape, &count);
            t->t.data = memory;
            assert_true(line_fill_tensor(bare, t, &error));
            assert_memory_equal(memory, expected->t.data,
                                (size_t)count * fattn_dtype_size(t->t.dtype));
        }
        bare->tensors->values = "1,2"; /* too few */
        assert_false(line_fill_tensor(bare, bare->tensors, &error));
        assert_non_null(strstr(error.text, bare->tensors->field->name));
        line_destroy(bare);
        line_destroy(whole);
    }
    assert_int_equal(n, 5 + 5);
}

static void a_dtype_rounds_once(void **state)
{
    (void)state;
    problem_line *exact = open_line("fusion_attention query=f64[500] fill=n100_25 seed=2");
    static const char *const dtypes[] = {"f32", "f16", "bf16", "e4m3"};
    for (int d = 0; d < 4; d++) {
        char text[100];
        snprintf(text, sizeof text, "fusion_attention query=%s[500] fill=n100_25 seed=2",
                 dtypes[d]);
        problem_line *line = open_line(text);
        const fattn_tensor *t = tensor(line, "query");
        for (int i = 0; i < 500; i++) {
            double one;
            io_set(&one, t->dtype, 0, at(tensor(exact, "query"), i));
            assert_true(io_get(&one, t->dtype, 0) == at(t, i));
        }
        line_destroy(line);
    }
    line_destroy(exact);
}

static void strides_do_not_change_data(void **state)
{
    (void)state;
    problem_line *plain = open_line("fusion_attention query=f16[2,3,4] seed=4");
    problem_line *strided =
        open_line("fusion_attention query=f16[2,3,4] seed=4 query.strides=-3,1,-6");
    for (int i = 0; i < 24; i++)
        assert_true(at(tensor(plain, "query"), i) == at(tensor(strided, "query"), i));
    line_destroy(plain);
    line_destroy(strided);
}

static void fills(void **state)
{
    (void)state;
    static const struct {
        const char *fill;
        int i;
        double value;
    } known[] = {
        {"ones", 5, 1},   {"zeros", 5, 0},       {"equal", 5, 0.75},   {"arange", 5, 5},
        {"onehot", 0, 1}, {"onehot", 5, 1},      {"onehot", 6, 0},     {"triu", 1, 1},
        {"triu", 4, 0},   {"increasing", 11, 4}, {"decreasing", 0, 4},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        char text[100];
        snprintf(text, sizeof text, "fusion_attention query=f32[3,4] query.fill=%s", known[k].fill);
        problem_line *line = open_line(text);
        if (at(tensor(line, "query"), known[k].i) != known[k].value)
            fail_msg("%s: element %d is %g", text, known[k].i,
                     at(tensor(line, "query"), known[k].i));
        line_destroy(line);
    }
    static const struct {
        const char *fill;
        double low, high; /* of |x| */
    } ranges[] = {{"extreme", 88, 90}, {"big", 1e4, 1e4}, {"f16max", 65504, 65504},
                  {"uniform", 0, 1},   {"normal", 0, 6},  {"n100_25", 0, 250}};
    for (size_t k = 0; k < sizeof ranges / sizeof *ranges; k++) {
        char text[100];
        bool negative = false, positive = false;
        snprintf(text, sizeof text, "fusion_attention query=f16[1000] fill=%s", ranges[k].fill);
        problem_line *line = open_line(text);
        for (int i = 0; i < 1000; i++) {
            const double x = at(tensor(line, "query"), i);
            negative = negative || x < 0, positive = positive || x > 0;
            if (!(fabs(x) >= ranges[k].low && fabs(x) <= ranges[k].high))
                fail_msg("%s: %g", text, x);
        }
        assert_true(positive && (negative || strcmp(ranges[k].fill, "n100_25") == 0));
        line_destroy(line);
    }
    /* Every word of the list is a fill. */
    char words[256], *rest = words, *word;
    snprintf(words, sizeof words, "%s", line_fills);
    while ((word = strsep(&rest, " "))) {
        char text[100];
        snprintf(text, sizeof text, "fusion_attention query=f32[3,4] fill=%s", word);
        line_destroy(open_line(text));
    }
}

static void moments(void **state)
{
    (void)state;
    problem_line *line = open_line("fusion_attention query=f64[100000]");
    double sum = 0, squares = 0;
    for (int i = 0; i < 100000; i++) {
        const double x = at(tensor(line, "query"), i);
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / 1e5) < 0.015 && fabs(squares / 1e5 - 1) < 0.03);
    line_destroy(line);
}

static double share(const char *text)
{
    problem_line *line = open_line(text);
    const fattn_tensor *t = tensor(line, "atten_mask");
    double sum = 0;
    for (int i = 0; i < 10000; i++) sum += at(t, i);
    line_destroy(line);
    return sum / 10000;
}

static void masks(void **state)
{
    (void)state;
    assert_true(fabs(share("fusion_attention atten_mask=bool[100,100]") - 0.25) < 0.03);
    assert_true(fabs(share("fusion_attention atten_mask=u8[100,100] density=0.75") - 0.75) < 0.03);
    assert_true(share("fusion_attention atten_mask=u8[100,100] density=0.5 atten_mask.density=0") ==
                0);
    assert_true(share("fusion_attention atten_mask=bool[100,100] atten_mask.fill=ones") == 1);
    problem_line *line = open_line("fusion_attention sparse_mode=3 atten_mask=bool[2048,2048]");
    const fattn_tensor *t = tensor(line, "atten_mask");
    for (int64_t i = 0; i < 2048 * 2048; i += 777) assert_true(at(t, i) == (i % 2048 > i / 2048));
    line_destroy(line);
}

static void tables_and_lengths(void **state)
{
    (void)state;
    problem_line *line = open_line(
        "incre_flash_attention input_layout=BSH query=f16[3,1,8] key=f16[20,4,8] value=f16[20,4,8] "
        "block_table=i32[3,6] block_size=4 actual_seq_lengths=24,3,9 seed=3");
    bool seen[20] = {false}, in_order = true;
    for (int i = 0; i < 18; i++) {
        const int id = (int)at(tensor(line, "block_table"), i);
        assert_true(id >= 0 && id < 20 && !seen[id]);
        seen[id] = true;
        in_order = in_order && id == i;
    }
    assert_false(in_order);
    line_destroy(line);
    line = open_line(
        "advance_step_flashattn input_tokens=i64[30] sampled_token_ids=i64[10,3] "
        "input_positions=i64[30] seq_lens=i64[30] slot_mapping=i64[30] block_tables=i64[10,4] "
        "num_seqs=10 num_queries=10 block_size=4 spec_token=i64[10,2] accepted_num=i64[10]");
    for (int r = 0; r < 10; r++) {
        const double accepted = at(tensor(line, "accepted_num"), r);
        assert_true(accepted >= 0 && accepted <= 2);
        for (int k = 0; k < 3; k++) {
            assert_true((at(tensor(line, "sampled_token_ids"), r * 3 + k) >= 0) == (k <= accepted));
            assert_true(at(tensor(line, "input_positions"), r * 3 + k) + accepted + 1 < 16);
        }
    }
    line_destroy(line);
}

static void literal_values(void **state)
{
    (void)state;
    problem_line *line = open_line("advance_step_flashattn seq_lens=i64[2]{5,-9223372036854775808} "
                                   "spec_token=i32[1,2]{7,8}");
    assert_int_equal(io_get_int(tensor(line, "seq_lens")->data, FATTN_I64, 1), INT64_MIN);
    line_destroy(line);
    static const char *const bad[] = {
        "fusion_attention query=f32[2]{1}",   "fusion_attention query=f32[2]{1,2,3}",
        "fusion_attention query=f32[2]{1,x}", "fusion_attention query=f32[2]{1,2,}",
        "fusion_attention query=f32[0]{1}",   "fusion_attention query=i32[1]{1.5}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        line_error error;
        if (line_open(bad[i], &error)) fail_msg("accepted: %s", bad[i]);
        assert_non_null(strstr(error.text, "query"));
    }
}

static void too_large(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "fusion_attention query=f16[9223372036854775807,9223372036854775807]",
        "fusion_attention query=f16[4611686018427387904]",
        "fusion_attention query=f64[1099511627776]",
        "fusion_attention query=f16[-1]",
        "fusion_attention query=f16[2,2] query.strides=9223372036854775807,9223372036854775807",
        "fusion_attention query=f16[3] query.strides=-4611686018427387904",
        "fusion_attention query=f16[2] query.strides=-9223372036854775808",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        line_error error;
        problem_line *line = line_parse(lines[i], &error);
        assert_non_null(line); /* the operator is to judge the shape */
        if (line_fill(line, &error)) fail_msg("filled: %s", lines[i]);
        assert_non_null(strstr(error.text, "query"));
        line_destroy(line);
    }
}

/* Follows the block table by hand: row (b, s, n) of the cache is the row of the unpaged line. */
static void check_paged(const char *text, bool by_head)
{
    char with_page[600];
    snprintf(with_page, sizeof with_page, "%s page=5 page_layout=%s", text,
             by_head ? "BnNBsD" : "BnBsH");
    problem_line *dense = open_line(text), *paged = open_line(with_page);
    const fattn_tensor *key = tensor(dense, "key"), *cache = tensor(paged, "key");
    const fattn_tensor *table = tensor(paged, "block_table");
    const int64_t lengths[] = {12, 3}, heads = 2, dim = 4;
    assert_int_equal(table->shape[0], 2);
    assert_int_equal(table->shape[1], 3);
    assert_int_equal(cache->shape[0], 3 + 1 + 2);
    int64_t reads = 0;
    for (int64_t b = 0; b < 2; b++)
        for (int64_t s = 0; s < lengths[b]; s++)
            for (int64_t n = 0; n < heads; n++)
                for (int64_t d = 0; d < dim; d++, reads++) {
                    const int64_t block = (int64_t)at(table, b * 3 + s / 5), slot = s % 5;
                    const int64_t in_cache = by_head ? ((block * heads + n) * 5 + slot) * dim + d
                                                     : ((block * 5 + slot) * heads + n) * dim + d;
                    /* all test lines are [B=2][S=12][N=2][D=4] or packed [15][2][4] in memory */
                    const int64_t first = key->rank == 3 && key->shape[0] == 15 ? b * 12 : b * 12;
                    const int64_t in_key = ((first + s) * heads + n) * dim + d;
                    assert_true(io_get(cache->data, cache->dtype, in_cache) ==
                                io_get(key->data, key->dtype, in_key));
                }
    int64_t nans = 0, count;
    io_count(cache->rank, cache->shape, &count);
    for (int64_t i = 0; i < count; i++) nans += isnan(at(cache, i));
    assert_int_equal(nans, count - reads);
    assert_true(at(table, 4) == -1 && at(table, 5) == -1);
    line_destroy(dense);
    line_destroy(paged);
}

static void paging_keeps_the_rows(void **state)
{
    (void)state;
    for (int by_head = 0; by_head < 2; by_head++) {
        check_paged(
            "fused_infer_attention_score input_layout=BSND query=f16[2,1,2,4] key=f16[2,12,2,4] "
            "value=f16[2,12,2,4] actual_seq_lengths_kv=12,3 seed=9",
            by_head);
        check_paged(
            "incre_flash_attention input_layout=BSH num_heads=2 query=f32[2,1,8] key=f32[2,12,8] "
            "value=f32[2,12,8] actual_seq_lengths=12,3 seed=9",
            by_head);
        check_paged("fused_infer_attention_score input_layout=TND query=f16[2,2,4] key=f16[15,2,4] "
                    "value=f16[15,2,4] actual_seq_lengths=1,2 actual_seq_lengths_kv=12,15 seed=9",
                    by_head);
    }
}

/* A line of each operator runs: the data it gets by itself is legal. */
static const char *const runnable[] = {
    "fusion_attention input_layout=BSND query=f32[1,3,4,8] key=f32[1,5,2,8] value=f32[1,5,2,8]",
    "prompt_flash_attention input_layout=BNSD query=f16[1,2,3,8] key=f16[1,2,5,8] "
    "value=f16[1,2,5,8] "
    "atten_mask=bool[3,5]",
    "incre_flash_attention input_layout=BSND query=f16[2,1,4,8] key=f16[2,9,2,8] "
    "value=f16[2,9,2,8] page=4 "
    "actual_seq_lengths=9,5",
    "fused_infer_attention_score input_layout=TND query=f16[5,4,8] key=f16[9,2,8] value=f16[9,2,8] "
    "actual_seq_lengths=2,5 actual_seq_lengths_kv=4,9 softmax_lse_flag=true page=4",
    "advance_step_flashattn input_tokens=i64[8] sampled_token_ids=i64[6,1] input_positions=i64[8] "
    "seq_lens=i64[8] slot_mapping=i64[8] block_tables=i64[8,4] num_seqs=8 num_queries=6 "
    "block_size=4",
    "advance_step_flashattn input_tokens=i64[12] sampled_token_ids=i64[4,3] "
    "input_positions=i64[12] "
    "seq_lens=i64[12] slot_mapping=i64[12] block_tables=i64[4,8] num_seqs=4 num_queries=4 "
    "block_size=4 "
    "spec_token=i64[4,2] accepted_num=i64[4]",
    "attention_update lse=f32[7]*3 local_out=f16[7,8]*3 update_type=1",
    "ring_attention_update input_layout=TND prev_attn_out=f16[6,2,8] prev_softmax_max=f32[6,2,8] "
    "prev_softmax_sum=f32[6,2,8] cur_attn_out=f16[6,2,8] cur_softmax_max=f32[6,2,8] "
    "cur_softmax_sum=f32[6,2,8] actual_seq_qlen=i64[2]",
};

static void every_operator_runs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof runnable / sizeof *runnable; i++) {
        problem_line *line = open_line(runnable[i]);
        const fattn_status status = line_call(line, NULL);
        if (status != FATTN_OK)
            fail_msg("%s\n  %s: %s", runnable[i], fattn_status_name(status), fattn_error_message());
        for (const line_tensor *t = line->tensors; t; t = t->next) {
            if (t->field->kind != FATTN_FIELD_TENSOR_OUT) continue;
            int64_t count;
            io_count(t->t.rank, t->t.shape, &count);
            for (int64_t k = 0; k < count; k++) /* outputs begin as NaN: all are written */
                if (isnan(at(&t->t, k)))
                    fail_msg("%s\n  %s[%lld] is NaN", runnable[i], t->field->name, (long long)k);
        }
        line_destroy(line);
    }
}

static void unwanted_outputs(void **state)
{
    (void)state;
    problem_line *line =
        open_line("fusion_attention input_layout=BSND query=f32[1,3,4,8] key=f32[1,5,2,8] "
                  "value=f32[1,5,2,8] softmax_max=none");
    assert_int_equal(line_shapes(line, NULL), FATTN_OK);
    assert_null(line_tensor_of(line, "softmax_max", 0));
    assert_null(tensor(line, "softmax_sum")->data);
    assert_int_equal(line_call(line, NULL), FATTN_OK);
    assert_non_null(tensor(line, "softmax_sum")->data);
    const void *place = tensor(line, "attention_out")->data;
    assert_int_equal(line_call(line, NULL), FATTN_OK); /* a second call writes to the same place */
    assert_ptr_equal(place, tensor(line, "attention_out")->data);
    line_destroy(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_on_every_machine),
        cmocka_unit_test(into_the_callers_memory),
        cmocka_unit_test(a_dtype_rounds_once),
        cmocka_unit_test(strides_do_not_change_data),
        cmocka_unit_test(fills),
        cmocka_unit_test(moments),
        cmocka_unit_test(masks),
        cmocka_unit_test(tables_and_lengths),
        cmocka_unit_test(literal_values),
        cmocka_unit_test(too_large),
        cmocka_unit_test(paging_keeps_the_rows),
        cmocka_unit_test(every_operator_runs),
        cmocka_unit_test(unwanted_outputs),
    };
    return cmocka_run_group_tests_name("problem_line_data", tests, NULL, NULL);
}
