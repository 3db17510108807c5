/* SPDX-License-Identifier: Apache-2.0 */
/* What the inference operators refuse (spec inference 11, docs/calls.md): the status, a sentence
 * that names the argument, and outputs that nobody touched. */
#include "api/infer_case.h"

static int setup(void **state)
{
    (void)state;
    harness_reset();
    return 0;
}

/* Allocates the outputs of the legal call, before something is spoilt. */
static infer_case *armed(infer_case *c)
{
    EXPECT_OK(call_infer(c), "the legal call");
    memset(c->a.attention_out->data, 0xA5, tensor_bytes(c->a.attention_out));
    if (c->a.softmax_lse) memset(c->a.softmax_lse->data, 0xA5, tensor_bytes(c->a.softmax_lse));
    return c;
}

static void expect_untouched(const fattn_tensor *t, const char *what)
{
    for (size_t i = 0; t && i < tensor_bytes(t); i++)
        if (((const unsigned char *)t->data)[i] != 0xA5)
            fail_msg("%s: an output was touched", what);
}

static void refused(infer_case *c, fattn_status status, const char *argument, const char *what)
{
    const fattn_tensor *out = c->a.attention_out, *lse = c->a.softmax_lse;
    expect_refused(call_infer(c), status, argument, what);
    expect_untouched(out, what);
    expect_untouched(lse, what);
}

#define REFUSE(status, argument, made, ...)                                                        \
    do {                                                                                           \
        infer_case *c = armed(made);                                                               \
        __VA_ARGS__;                                                                               \
        refused(c, status, argument, #__VA_ARGS__);                                                \
    } while (0)

static infer_case *prefill(which op, const char *layout)
{
    return padded_case(op, layout, FATTN_F32, 2, 4, 2, 6, 8, 4, 4);
}

/* What the device takes: 16 bits, head dims of 16. */
static infer_case *device(which op, const char *layout)
{
    return padded_case(op, layout, FATTN_F16, 2, 4, 2, 6, 8, 16, 16);
}

static infer_case *decode(which op, const char *layout)
{
    return padded_case(op, layout, FATTN_F32, 2, 4, 2, 1, 8, 4, 4);
}

static infer_case *packed(which op)
{
    return packed_infer(op, FATTN_F32, 3, (int[]){3, 1, 2}, (int[]){4, 2, 3}, 0, 4, 2, 4, 4);
}

static infer_case *paged(const char *layout)
{
    infer_case *c = prefill(FUSED, layout);
    make_paged(c, BNBSH, 4, FATTN_I32);
    return c;
}

#define SHAPE FATTN_E_SHAPE
#define ARG FATTN_E_ARG
#define NEW(...) tensor_new(FATTN_F32, 1, __VA_ARGS__)

static void shapes_and_heads(void **state)
{
    (void)state;
    for (int op = PROMPT; op <= FUSED; op += 2) {
        const which o = (which)op;
        REFUSE(ARG, "input_layout", prefill(o, "BSND"), c->a.input_layout = "bsnd");
        REFUSE(ARG, "input_layout", prefill(o, "BSND"), c->a.input_layout = "SBH");
        REFUSE(ARG, "; BSND is nearest", prefill(o, "BSND"), c->a.input_layout = "BSNX");
        REFUSE(ARG, "; TND is nearest", packed(o), c->a.input_layout = "TNDD");
        REFUSE(ARG, "input_layout", prefill(o, "BSND"), c->a.input_layout = "LLAMA");
        assert_null(strstr(fattn_error_message(), "nearest"));
        REFUSE(ARG, "input_layout", prefill(o, "BSND"), c->a.input_layout = NULL);
        REFUSE(ARG, "input_layout", prefill(o, "BNSD"), c->a.input_layout = "BNSD_SBH");
        REFUSE(ARG, "input_layout", prefill(o, "BNSD"), c->a.input_layout = "BNSD_");
        REFUSE(ARG, "input_layout", prefill(o, "BSND"), c->a.input_layout = "BSNH";
               c->strict = true);
        REFUSE(ARG, "num_heads: -1 is negative", prefill(o, "BSND"), c->a.num_heads = -1);
        REFUSE(ARG, "num_heads", prefill(o, "BSH"), c->a.num_heads = 0);
        REFUSE(SHAPE, "num_heads", prefill(o, "BSND"), c->a.num_heads = 1);
        REFUSE(SHAPE, "query", prefill(o, "BSH"), c->a.num_heads = 5);
        REFUSE(SHAPE, "num_key_value_heads", prefill(o, "BSND"), c->a.num_key_value_heads = 0);
        REFUSE(SHAPE, "num_key_value_heads", prefill(o, "BSND"), c->a.num_key_value_heads = 3);
        REFUSE(SHAPE, "key", prefill(o, "BSH"), c->a.num_key_value_heads = 4);
        REFUSE(ARG, "num_key_value_heads", prefill(o, "BSND"), c->a.num_key_value_heads = -2);
        REFUSE(SHAPE, "times the head dim", prefill(o, "BSH"),
               c->a.num_key_value_heads = ((int64_t)1 << 62) + 2); /* times 4 wraps to H */
        REFUSE(SHAPE, "must be at least 1", prefill(o, "BSND"), c->a.query = NEW(4, 2, 6, 0, 4));
        REFUSE(SHAPE, "query", prefill(o, "BSND"), c->a.query = NEW(3, 2, 6, 16));
        REFUSE(SHAPE, "query", packed(o),
               c->a.query = NEW(4, 1, 6, 4, 4)); /* the broken official test */
        REFUSE(SHAPE, "key", prefill(o, "BSND"), c->a.key = NEW(4, 3, 8, 2, 4);
               c->a.value = c->a.key);
        REFUSE(SHAPE, "key", prefill(o, "BSND"), c->a.key = NEW(4, 2, 8, 2, 3));
        REFUSE(SHAPE, "value", prefill(o, "BSND"), c->a.value = NEW(4, 2, 7, 2, 4));
        REFUSE(FATTN_E_DTYPE, "key", prefill(o, "BSND"),
               c->a.key = tensor_new(FATTN_F16, 1, 4, 2, 8, 2, 4));
        REFUSE(FATTN_E_DTYPE, "value", prefill(o, "BSND"), c->a.key = tensor_new(FATTN_I8, 1, 4, 2, 8, 2, 4));
        REFUSE(SHAPE, "attention_out", prefill(o, "BSND"),
               c->a.attention_out = tensor_like(c->a.key));
        REFUSE(ARG, "scale", prefill(o, "BSND"), c->a.scale = (double)NAN);
        REFUSE(ARG, "scale", prefill(o, "BSND"), c->a.scale = 1e300);
    }
    for (int op = PROMPT; op <= FUSED; op++) { /* strict: one head dim (11.1) */
        infer_case *c = armed(padded_case((which)op, "BNSD", FATTN_F16, 2, 4, 2, 1, 8, 4, 6));
        c->strict = true;
        refused(c, SHAPE, "value", "Dv differs from D");
    }
    REFUSE(ARG, "input_layout", decode(INCRE, "BSND"), c->a.input_layout = "TND");
    expect_refused(call_infer(prefill(INCRE, "BSND")), SHAPE, "query", "six rows to decode");
    REFUSE(ARG, "incre_flash_attention takes no other", decode(INCRE, "BSND"),
           c->a.inner_precise = 2);
    REFUSE(ARG, "inner_precise", prefill(FUSED, "BSND"), c->a.inner_precise = 4);
    REFUSE(ARG, "inner_precise", prefill(FUSED, "BSND"), c->a.inner_precise = -1);
    REFUSE(ARG, "inner_precise", padded_case(FUSED, "BSND", FATTN_F16, 2, 4, 2, 1, 8, 16, 16),
           c->a.inner_precise = 2;
           c->strict = true);
    REFUSE(SHAPE, "softmax_lse", prefill(FUSED, "BSND"),
           c->a.softmax_lse = tensor_like(NEW(4, 2, 6, 4, 1)));
}

static void lengths(void **state)
{
    (void)state;
    for (int op = PROMPT; op <= FUSED; op += 2) {
        const which o = (which)op;
        infer_case *three = padded_case(o, "BSND", FATTN_F32, 3, 4, 2, 6, 8, 4, 4);
        armed(three);
        three->a.actual_seq_lengths = list_of(2, 1, 1);
        refused(three, ARG, "actual_seq_lengths", "2 entries for a batch of 3");
        REFUSE(ARG, "actual_seq_lengths", prefill(o, "BSND"),
               c->a.actual_seq_lengths = list_of(2, 6, 7));
        REFUSE(ARG, "actual_seq_lengths", prefill(o, "BSND"),
               c->a.actual_seq_lengths = list_of(2, 6, -1));
        REFUSE(ARG, "actual_seq_lengths_kv", prefill(o, "BSND"),
               c->a.actual_seq_lengths_kv = list_of(2, 9, 1));
        REFUSE(ARG, "actual_seq_lengths_kv", prefill(o, "BSND"),
               c->a.actual_seq_lengths_kv = list_of(1, -1));
        REFUSE(ARG, "actual_seq_lengths", packed(o), c->a.actual_seq_lengths.count = 0);
        REFUSE(ARG, "actual_seq_lengths_kv", packed(o),
               c->a.actual_seq_lengths_kv = (fattn_int_array){NULL, 0});
        REFUSE(ARG, "actual_seq_lengths_kv", packed(o),
               c->a.actual_seq_lengths_kv = list_of(2, 4, 9));
        REFUSE(ARG, "actual_seq_lengths", packed(o), c->a.actual_seq_lengths = list_of(3, 4, 3, 6));
        REFUSE(ARG, "actual_seq_lengths_kv", packed(o),
               c->a.actual_seq_lengths_kv = list_of(3, 4, 6, 10));
    }
    REFUSE(ARG, "actual_seq_lengths", decode(INCRE, "BSH"),
           c->a.actual_seq_lengths_kv = list_of(2, 8, 9));
    REFUSE(ARG, "actual_seq_lengths", decode(INCRE, "BSH"),
           c->a.actual_seq_lengths_kv = list_of(1, -1));
}

static void paging(void **state)
{
    (void)state;
    REFUSE(ARG, "actual_seq_lengths_kv", paged("BSND"),
           c->a.actual_seq_lengths_kv = (fattn_int_array){0});
    REFUSE(ARG, "actual_seq_lengths_kv", paged("BSND"),
           c->a.actual_seq_lengths_kv = list_of(2, 8, 13));
    REFUSE(ARG, "actual_seq_lengths_kv", paged("BSND"),
           c->a.actual_seq_lengths_kv = list_of(2, 8, -1));
    REFUSE(SHAPE, "block_size", paged("BSND"), c->a.block_size = 5);
    REFUSE(ARG, "block_size", paged("BSND"), c->a.block_size = -4);
    {
        infer_case *p = padded_case(FUSED, "BSND", FATTN_F16, 2, 4, 2, 1, 40, 16, 16);
        make_paged(p, BNBSH, 16, FATTN_I32);
        REFUSE(ARG, "block_size", p, c->a.block_size = 0; c->strict = true);
    }
    REFUSE(SHAPE, "block_table", paged("BSND"),
           c->a.block_table = tensor_new(FATTN_I32, 0, 2, 3, 3));
    REFUSE(SHAPE, "block_table", paged("BSND"), c->a.block_table = tensor_new(FATTN_I32, 0, 1, 6));
    REFUSE(FATTN_E_DTYPE, "block_table", paged("BSND"),
           c->a.block_table = tensor_new(FATTN_F32, 0, 2, 2, 3));
    REFUSE(ARG, "block_table", paged("BSND"), put2(c->a.block_table, 0, 1, 99));
    REFUSE(SHAPE, "key", paged("BSND"), c->a.key = NEW(2, 4, 8));
    REFUSE(SHAPE, "key", paged("BSND"), c->a.value = NEW(4, 6, 2, 4, 4));
    REFUSE(SHAPE, "value", paged("BSND"), c->a.value = NEW(3, 5, 4, 8));
    REFUSE(SHAPE, "key", paged("BSND"), c->a.key = NEW(3, 6, 4, 12));
    REFUSE(SHAPE, "key", paged("BSND"),
           c->a.key = c->a.value = NEW(5, 6, 2, 2, 4, 4)); /* NZ, head dim 8 */
    infer_case *c = packed(FUSED);
    make_paged(c, BNBSH, 4, FATTN_I32);
    armed(c);
    c->a.actual_seq_lengths_kv = list_of(1, 2); /* no broadcast for packed ones */
    refused(c, ARG, "actual_seq_lengths_kv", "one entry for three sequences");
}

static void masks(void **state)
{
    (void)state;
#define MASK(dtype, ...) c->a.atten_mask = tensor_new(dtype, 0, __VA_ARGS__)
    for (int op = PROMPT; op <= FUSED; op += 2) {
        const which o = (which)op;
        static const int modes[] = {-1, 5, 6, 7, 8, 9, 10, 99};
        for (int m = 0; m < 8; m++)
            if (o == FUSED || modes[m] != 10) /* prompt_flash_attention has 10..14 */
                REFUSE(ARG, "sparse_mode", prefill(o, "BSND"), c->a.sparse_mode = modes[m]);
        for (int mode = 2; mode <= 4; mode++) {
            REFUSE(SHAPE, "atten_mask", prefill(o, "BSND"), c->a.sparse_mode = mode;
                   MASK(FATTN_U8, 2, 6, 8));
            REFUSE(SHAPE, "atten_mask", prefill(o, "BSND"), c->a.sparse_mode = mode;
                   MASK(FATTN_U8, 3, 2, 2048, 2048));
            REFUSE(ARG, "atten_mask", device(o, "BSND"), c->a.sparse_mode = mode; c->strict = true);
        }
        REFUSE(ARG, "atten_mask", device(o, "BSND"), c->a.sparse_mode = 1; c->strict = true);
        REFUSE(SHAPE, "atten_mask", prefill(o, "BSND"), MASK(FATTN_U8, 2, 5, 8));
        REFUSE(SHAPE, "atten_mask", prefill(o, "BSND"), MASK(FATTN_U8, 2, 6, 7));
        REFUSE(SHAPE, "atten_mask", prefill(o, "BSND"), MASK(FATTN_U8, 3, 3, 6, 8));
        REFUSE(SHAPE, "atten_mask", prefill(o, "BSND"), MASK(FATTN_U8, 4, 2, 4, 6, 8));
        REFUSE(SHAPE, "atten_mask", prefill(o, "BSND"), MASK(FATTN_U8, 1, 8));
        REFUSE(FATTN_E_DTYPE, "atten_mask", prefill(o, "BSND"), MASK(FATTN_F32, 2, 6, 8));
        REFUSE(ARG, "atten_mask", packed(o), MASK(FATTN_U8, 2, 3, 4));
        REFUSE(ARG, "atten_mask", packed(o), MASK(FATTN_U8, 2, 3, 4); c->a.sparse_mode = 1);
        REFUSE(ARG, "pse_shift", packed(o), c->a.pse_shift = NEW(4, 3, 4, 3, 4));
        REFUSE(SHAPE, "pse_shift", prefill(o, "BSND"), c->a.pse_shift = NEW(4, 2, 2, 6, 8));
        REFUSE(SHAPE, "pse_shift", prefill(o, "BSND"), c->a.pse_shift = NEW(4, 2, 4, 5, 8));
        REFUSE(SHAPE, "pse_shift", device(o, "BSND"),
               c->a.pse_shift = tensor_new(FATTN_F16, 1, 4, 2, 1, 6, 8);
               c->strict = true);
        REFUSE(FATTN_E_DTYPE, "pse_shift", prefill(o, "BSND"),
               c->a.pse_shift = tensor_new(FATTN_BF16, 1, 4, 2, 4, 6, 8));
        REFUSE(ARG, "tokens", prefill(o, "BSND"), c->a.sparse_mode = 4; c->a.pre_tokens = -1;
               c->a.next_tokens = -1);
        REFUSE(ARG, "tokens", prefill(o, "BSND"), c->a.sparse_mode = 4; c->a.pre_tokens = 2;
               c->a.next_tokens = -3);
        REFUSE(ARG, "tokens", prefill(o, "BSND"), MASK(FATTN_U8, 2, 6, 8); c->a.pre_tokens = -3;
               c->a.next_tokens = 2);
    }
    for (int op = INCRE; op <= FUSED; op++) {
        const which o = (which)op;
        REFUSE(SHAPE, "atten_mask", decode(o, "BSND"), MASK(FATTN_U8, 2, 2, 7));
        REFUSE(SHAPE, "atten_mask", decode(o, "BSND"), MASK(FATTN_U8, 2, 3, 8));
        REFUSE(SHAPE, "atten_mask", decode(o, "BSND"), MASK(FATTN_U8, 4, 2, 4, 1, 8));
        REFUSE(SHAPE, "pse_shift", decode(o, "BSND"), c->a.pse_shift = NEW(4, 2, 4, 2, 8));
        REFUSE(SHAPE, "pse_shift", decode(o, "BSND"), c->a.pse_shift = NEW(4, 2, 4, 1, 7));
    }
    REFUSE(SHAPE, "atten_mask", decode(FUSED, "BSND"), c->a.sparse_mode = 3;
           MASK(FATTN_U8, 2, 2, 8));
    REFUSE(ARG, "tokens", decode(FUSED, "BSND"), c->a.sparse_mode = 4; c->a.pre_tokens = -1;
           c->a.next_tokens = -1);
    REFUSE(ARG, "sparse_mode", decode(FUSED, "BSND"), c->a.sparse_mode = 5);
}

/* Scales beside float keys. */
static void scales_of_floats(void **state)
{
    (void)state;
    REFUSE(ARG, "key_antiquant_scale", prefill(FUSED, "BSND"),
           c->a.key_antiquant_scale = NEW(1, 1));
    REFUSE(ARG, "antiquant_scale", decode(FUSED, "BSND"), c->a.antiquant_scale = NEW(1, 2));
}

/* One warning per process and place (include/fattn/context.h), which a call that is not computed
 * must not use up. */
static void a_refused_call_warns_of_nothing(void **state)
{
    (void)state;
    infer_case *c = armed(paged("BSND"));
    forget_warnings();
    c->a.sparse_mode = 3;
    put2(c->a.block_table, 0, 1, 99); /* seen last of all */
    refused(c, ARG, "block_table", "an entry outside the cache");
    assert_int_equal(warnings(), 0);
    put2(c->a.block_table, 0, 1, 0);
    EXPECT_OK(call_infer(c), "a legal table");
    assert_true(warned_of("infer_mode_without_mask"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        TEST(shapes_and_heads),
        TEST(lengths),
        TEST(paging),
        TEST(masks),
        TEST(scales_of_floats),
        TEST(a_refused_call_warns_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
