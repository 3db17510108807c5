/* SPDX-License-Identifier: Apache-2.0 */
/* line.c — problem lines as text: what they mean, that they come back, that bad ones are refused
 * where they are bad. */
#include "cm.h"

#include "tools/problem_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static problem_line *parse(const char *text)
{
    line_error error;
    problem_line *line = line_parse(text, &error);
    if (!line) fail_msg("%s\n  position %d: %s", text, error.position, error.text);
    return line;
}

#define DECISIONS                                                                                  \
    "fusion_attention input_layout=TND head_num=8 query=f16[6,8,128] key=f16[12,2,128] "           \
    "value=f16[12,2,128] actual_seq_qlen=1,3,6 actual_seq_kvlen=3,7,12 sparse_mode=3 fill=normal " \
    "seed=7 threads=2"

static void means_what_it_says(void **state)
{
    (void)state;
    problem_line *line = parse(DECISIONS " scale=0.125 pre_tokens=-5 query_rope=none sync=true");
    const fattn_fusion_attention_args *args = line->args;
    assert_string_equal(line->op->name, "fusion_attention");
    assert_int_equal(args->size, sizeof *args);
    assert_string_equal(args->input_layout, "TND");
    assert_int_equal(args->head_num, 8);
    assert_int_equal(args->query->dtype, FATTN_F16);
    assert_int_equal(args->query->rank, 3);
    assert_int_equal(args->query->shape[0], 6);
    assert_int_equal(args->query->strides[0], 8 * 128);
    assert_null(args->query->data);
    assert_int_equal(args->actual_seq_kvlen.count, 3);
    assert_int_equal(args->actual_seq_kvlen.data[2], 12);
    assert_int_equal(args->sparse_mode, 3);
    assert_int_equal(args->pre_tokens, -5);
    assert_int_equal(args->next_tokens, INT32_MAX);
    assert_true(args->scale == 0.125);
    assert_true(args->sync);
    assert_null(args->query_rope);
    assert_non_null(args->numels);
    assert_int_equal(line->seed, 7);
    assert_int_equal(line->threads, 2);
    fattn_context_options options;
    fattn_context_options_init(&options);
    line_options(line, &options);
    assert_int_equal(options.threads, 2);
    line_destroy(line);
}

static const char *const good[] = {
    DECISIONS,
    "npu_fusion_attention input_layout=BSH head_num=2 query=f32[1,3,8] key=f32[1,3,8] "
    "value=f32[1,3,8]",
    "fusion_attention query=bf16[1,2,4,64] input_layout=BNSD key=bf16[1,2,6,64] "
    "value=bf16[1,2,6,64] "
    "query.fill=extreme key.strides=0,384,64,1 atten_mask=bool[4,6] atten_mask.density=0.5 "
    "sink=f32[2]{1,-2.5}",
    "fusion_attention input_layout=BSND query=f32[1,2,4,64] key=f32[1,2,6,64] value=f32[1,2,6,64] "
    ".seed=5 "
    "seed=18446744073709551615 scale=0.08838834764831845 softmax_layout=\"\" "
    "gen_mask_parallel=false",
    "fusion_attention input_layout=BSND query=f32[9223372036854775807,-1,0] prefix= "
    "softmax_max=none isa=scalar "
    "backend=ref strict=0 density=0.1",
    "incre_flash_attention input_layout=BNSD query=f16[2,4,1,16] key=f16[2,2,40,16] "
    "value=f16[2,2,40,16] "
    "actual_seq_lengths=40,7 page=16 page_layout=BnNBsD page_order=sorted "
    "inner_precise=high_precise",
    "fused_infer_attention_score input_layout=TND query=f16[5,4,16] key=f16[9,2,16] "
    "value=f16[9,2,16] "
    "actual_seq_lengths=2,5 actual_seq_lengths_kv=4,9 softmax_lse_flag=true page=4",
    "attention_update lse=f32[7]*3 local_out=f16[7,8],f16[7,8],f16[7,8] update_type=1 "
    "local_out.fill=uniform",
    "advance_step_flashattn input_tokens=i64[3] sampled_token_ids=i64[2,1] input_positions=i64[3] "
    "seq_lens=i32[3]{5,8,0} slot_mapping=i32[3] block_tables=i32[3,4] num_seqs=3 num_queries=2 "
    "block_size=4",
    "ring_attention_update prev_attn_out=f16[3,1,8] prev_softmax_max=f32[1,1,3,8] "
    "prev_softmax_sum=f32[1,1,3,8] "
    "cur_attn_out=f16[3,1,8] cur_softmax_max=f32[1,1,3,8] cur_softmax_sum=f32[1,1,3,8]",
    "prompt_flash_attention num_heads=2 query=f16[1,4,32] key=f16[1,4,32] value=f16[1,4,32] "
    "scale=0.25",
};

/* Every parameter that is no tensor or string is the same bytes; strings and lists by content. */
static bool same_field(const fattn_field *field, const void *a, const void *b)
{
    switch (field->kind) {
    case FATTN_FIELD_INT:
        return memcmp(a, b, sizeof(int64_t)) == 0;
    case FATTN_FIELD_FLOAT:
        return memcmp(a, b, sizeof(double)) == 0;
    case FATTN_FIELD_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case FATTN_FIELD_STRING: {
        const char *x = *(const char *const *)a, *y = *(const char *const *)b;
        return strcmp(x ? x : "", y ? y : "") == 0;
    }
    case FATTN_FIELD_INTS: {
        const fattn_int_array *x = a, *y = b;
        return x->count == y->count && !x->data == !y->data &&
               (x->count == 0 || memcmp(x->data, y->data, (size_t)x->count * 8) == 0);
    }
    default:
        return true;
    }
}

static bool same_tensor(const fattn_tensor *a, const fattn_tensor *b)
{
    if (!a || !b) return a == b;
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
           memcmp(a->strides, b->strides, sizeof a->strides) == 0;
}

/* Parsing what was printed gives the same call, and printing that the same text. */
static void round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        problem_line *first = parse(good[i]);
        char *text = line_print(first);
        problem_line *second = parse(text);
        char *again = line_print(second);
        assert_string_equal(text, again);
        for (int f = 0; f < first->op->n_fields; f++) {
            const fattn_field *field = &first->op->fields[f];
            const char *a = first->args, *b = second->args;
            if (!same_field(field, a + field->offset, b + field->offset))
                fail_msg("%s is lost:\n  %s\n  %s", field->name, good[i], text);
            for (int k = 0; k < 4; k++)
                if (!same_tensor(line_tensor_of(first, field->name, k),
                                 line_tensor_of(second, field->name, k)))
                    fail_msg("%s is lost:\n  %s\n  %s", field->name, good[i], text);
        }
        assert_true(first->seed == second->seed && first->density == second->density);
        assert_string_equal(first->fill, second->fill);
        assert_int_equal(first->unwanted, second->unwanted);
        free(text);
        free(again);
        line_destroy(first);
        line_destroy(second);
    }
}

static void head_counts_come_from_the_layout(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t num_heads;
    } cases[] = {
        {"prompt_flash_attention input_layout=BSND", 0},
        {"prompt_flash_attention input_layout=TND num_heads=3", 3},
        {"prompt_flash_attention input_layout=BSH", 1},
        {"prompt_flash_attention", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        problem_line *line = parse(cases[i].text);
        const fattn_prompt_flash_attention_args *args = line->args;
        if (args->num_heads != cases[i].num_heads)
            fail_msg("%s: %lld", cases[i].text, (long long)args->num_heads);
        line_destroy(line);
    }
}

static const struct {
    const char *text;
    int position;
    const char *says;
} bad[] = {
    {"", 1, "empty"},
    {"   \t", 5, "empty"},
    {"fusion_atention x=1", 1, "nearest: fusion_attention"},
    {"fusion_attention qeury=f16[2]", 18, "nearest: query"},
    {"fusion_attention query", 18, "KEY=VALUE"},
    {"fusion_attention =3", 18, "KEY=VALUE"},
    {"fusion_attention query=f16", 24, "f16[2,128]"},
    {"fusion_attention query=f17[2]", 24, "f16[2,128]"},
    {"fusion_attention query=f16[2", 29, "f16[2,128]"},
    {"fusion_attention query=f16[2,]", 30, "f16[2,128]"},
    {"fusion_attention query=f16[1,1,1,1,1,1,1,1,1]", 0, "f16[2,128]"},
    {"fusion_attention query=f16[99999999999999999999]", 0, "f16[2,128]"},
    {"fusion_attention query=f16[2]*2", 0, "f16[2,128]"},
    {"fusion_attention query=f16[2],f16[2]", 0, "f16[2,128]"},
    {"fusion_attention query=f16[2]{1,2", 0, "f16[2,128]"},
    {"attention_update lse=f32[2]*0", 0, "list"},
    {"attention_update lse=f32[2],", 0, "list"},
    {"fusion_attention query=f16[2] query=f16[2]", 31, "twice"},
    {"fusion_attention pre_tokens=1 pre_tockens=1", 31, "twice"},
    {"fusion_attention sparse_mode=x", 30, "integer"},
    {"fusion_attention sparse_mode=", 30, "integer"},
    {"fusion_attention sparse_mode=3.5", 30, "integer"},
    {"fusion_attention sparse_mode=99999999999999999999", 30, "integer"},
    {"fusion_attention scale=abc", 24, "number"},
    {"fusion_attention sync=maybe", 23, "true"},
    {"fusion_attention prefix=1,,2", 25, "list"},
    {"fusion_attention prefix=1,2,", 25, "list"},
    {"fusion_attention numels=3", 25, "result"},
    {"fusion_attention fill=nice", 23, "normal uniform"},
    {"fusion_attention seed=-1", 23, ".seed="},
    {"fusion_attention density=1.5", 26, "0 to 1"},
    {"fusion_attention threads=0", 26, "1 to"},
    {"fusion_attention strict=2", 25, "0 to 1"},
    {"fusion_attention query=f16[2] query.fill=nice", 42, "normal uniform"},
    {"fusion_attention query=f16[2] query.colour=red", 31, "fill, density and strides"},
    {"fusion_attention query=f16[2] query.strides=1,2", 45, "one per axis"},
    {"fusion_attention query.fill=ones", 18, "no tensor"},
    {"fusion_attention strict=1 pre_tockens=1", 27, "official"},
    {"fusion_attention page=16", 0, "page"},
    {"incre_flash_attention input_layout=BSND page=16", 0, "page"},
    {"incre_flash_attention input_layout=BNSD key=f16[1,1,4,8] value=f16[1,1,4,8] "
     "actual_seq_lengths=5 "
     "page=2",
     0, "page"},
    {"incre_flash_attention key=f16[1] page_layout=BSND", 46, "BnBsH"},
};

static void bad_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        line_error error = {.position = -1};
        problem_line *line = line_parse(bad[i].text, &error);
        if (line) fail_msg("accepted: %s", bad[i].text);
        if (!strstr(error.text, bad[i].says)) fail_msg("%s\n  says: %s", bad[i].text, error.text);
        if (bad[i].position && error.position != bad[i].position)
            fail_msg("%s\n  position %d instead of %d", bad[i].text, error.position,
                     bad[i].position);
    }
}

/* Who is strict: an option, else the line, where it says so, else the environment. */
static void spelling_follows_strictness(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        line_strictness strict;
        bool legal;
    } cases[] = {
        {"fusion_attention pre_tockens=1", LINE_ASKS, true},
        {"fusion_attention pre_tockens=1", LINE_MAY_OBJECT, false},
        {"fusion_attention pre_tockens=1", LINE_MUST_OBEY, false},
        {"fusion_attention strict=0 pre_tockens=1", LINE_MAY_OBJECT, true},
        {"fusion_attention strict=0 pre_tockens=1", LINE_MUST_OBEY, false},
        {"fusion_attention strict=1 pre_tockens=1", LINE_ASKS, false},
        {"fusion_attention pre_tokens=1", LINE_MUST_OBEY, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        line_error error = {.position = -1};
        problem_line *line = line_parse_for(cases[i].text, cases[i].strict, &error);
        if ((line != NULL) != cases[i].legal)
            fail_msg("%s, strict %d", cases[i].text, (int)cases[i].strict);
        if (!line) assert_non_null(strstr(error.text, "strict wants pre_tokens"));
        line_destroy(line);
    }
}

/* Any text: a call, or a sentence with a position inside the text. */
static void garbage(void **state)
{
    (void)state;
    static const char likely[] = "0123456789[]{}(),.=*\" -_abfinx\t";
    uint64_t seed = 3;
    int accepted = 0;
    for (int round = 0; round < 20000; round++) {
        char text[600];
        snprintf(text, sizeof text, "%s", good[round % (int)(sizeof good / sizeof *good)]);
        const size_t length = strlen(text);
        for (int hits = 1 + round % 3; hits > 0; hits--) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            const size_t at = (seed >> 33) % length;
            text[at] = round % 7 ? likely[(seed >> 20) % (sizeof likely - 1)] : (char)(seed >> 20);
            if (!text[at]) text[at] = 'z';
        }
        line_error error = {.position = -1};
        problem_line *line = line_parse(text, &error);
        if (!line) {
            assert_true(error.text[0] != '\0');
            if (error.position < 0 || error.position > (int)length + 1)
                fail_msg("%s\n  position %d", text, error.position);
            continue;
        }
        char *printed = line_print(line);
        line_destroy(parse(printed));
        free(printed);
        line_destroy(line);
        accepted++;
    }
    if (accepted < 500) fail_msg("only %d of 20000 were lines", accepted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_what_it_says),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(head_counts_come_from_the_layout),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(spelling_follows_strictness),
        cmocka_unit_test(garbage),
    };
    return cmocka_run_group_tests_name("problem_line", tests, NULL, NULL);
}
