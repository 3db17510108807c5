/* SPDX-License-Identifier: Apache-2.0 */
/* What fusion_attention refuses (spec fusion-attention 9, 11.2; docs/calls.md): the status, a
 * sentence that names the argument, and outputs that nobody touched. The call, its workspace and
 * its plan agree. */
#include "api/fusion_case.h"

static int setup(void **state)
{
    (void)state;
    harness_reset();
    return 0;
}

/* Allocates the outputs of the legal call, before something is spoilt. */
static fusion_case *armed(fusion_case *c)
{
    fattn_tensor shapes[3];
    EXPECT_OK(fattn_fusion_attention_shapes(plain_context(), &c->a, shapes), "the legal call");
    c->a.attention_out = tensor_like(&shapes[0]);
    c->a.softmax_max = tensor_like(&shapes[1]);
    c->a.softmax_sum = tensor_like(&shapes[2]);
    return c;
}

static void expect_untouched(const fattn_tensor *t, const char *what)
{
    const size_t bytes = t && t->data && t->rank >= 0 ? tensor_bytes(t) : 0;
    for (size_t i = 0; i < bytes && i < 4096; i++)
        if (((const unsigned char *)t->data)[i] != 0xA5)
            fail_msg("%s: an output was touched", what);
}

static void refused(fusion_case *c, fattn_status status, const char *argument, const char *what)
{
    fattn_context *context = c->strict ? strict_context() : plain_context();
    const fattn_tensor *out = c->a.attention_out, *max = c->a.softmax_max, *sum = c->a.softmax_sum;
    int64_t numels = -5, seed = -6;
    c->a.numels = &numels, c->a.seed_out = &seed;
    expect_refused(fattn_fusion_attention(context, &c->a), status, argument, what);
    assert_true(numels == -5 && seed == -6);
    expect_untouched(out, what), expect_untouched(max, what), expect_untouched(sum, what);
    size_t bytes = 77;
    fattn_plan *plan = (fattn_plan *)&bytes;
    expect_refused(fattn_fusion_attention_workspace(context, &c->a, &bytes), status, argument,
                   what);
    assert_int_equal(bytes, 77);
    expect_refused(fattn_fusion_attention_plan(context, &c->a, &plan), status, argument, what);
    assert_ptr_equal(plan, &bytes);
}

/* Makes a legal case `c`, runs the statements on it, expects the refusal. */
#define REFUSE(status, argument, made, ...)                                                        \
    do {                                                                                           \
        fusion_case *c = armed(made);                                                              \
        __VA_ARGS__;                                                                               \
        refused(c, status, argument, #__VA_ARGS__);                                                \
    } while (0)

static fusion_case *dense(const char *layout)
{
    return dense_case(layout, FATTN_F32, 2, 4, 2, 6, 8, 4, 4);
}

static fusion_case *sized(int b, int sq, int skv)
{
    return dense_case("BSND", FATTN_F32, b, 2, 1, sq, skv, 2, 2);
}

static fusion_case *packed(void)
{
    return packed_case(FATTN_F32, 3, (int[]){3, 1, 2}, (int[]){4, 2, 3}, 0, 4, 2, 4, 4);
}

#define SHAPE FATTN_E_SHAPE
#define ARG FATTN_E_ARG

/* The sentence ends with a call that would do. */
static void the_nearest_head_count_is_named(void **state)
{
    (void)state;
    static const struct {
        int given;
        const char *advice;
    } cases[] = {{5, "4 would do"}, {8, "6 would do"}, {7, "6 would do"}, {13, "12 would do"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int64_t q[] = {1, 12, 2, 4}, k[] = {1, cases[i].given, 2, 4};
        const fattn_tensor query = fattn_tensor_contiguous(NULL, FATTN_F32, 4, q);
        const fattn_tensor key = fattn_tensor_contiguous(NULL, FATTN_F32, 4, k);
        fattn_fusion_attention_args a;
        size_t bytes = 0;
        fattn_fusion_attention_args_init(&a);
        a.query = &query, a.key = a.value = &key, a.input_layout = "BNSD";
        assert_int_equal(fattn_fusion_attention_workspace(NULL, &a, &bytes), FATTN_E_SHAPE);
        if (!strstr(fattn_error_message(), cases[i].advice)) fail_msg("%s", fattn_error_message());
    }
}

static void layouts_and_heads(void **state)
{
    (void)state;
    REFUSE(ARG, "input_layout", dense("BSH"), c->a.input_layout = "HBS");
    REFUSE(ARG, "input_layout", dense("BSH"), c->a.input_layout = "");
    REFUSE(ARG, "input_layout", dense("BSH"), c->a.input_layout = NULL);
    REFUSE(ARG, "head_num", dense("BSH"), c->a.head_num = 0);
    REFUSE(ARG, "head_num", dense("BNSD"), c->a.head_num = -4);
    REFUSE(SHAPE, "head_num", dense("BNSD"), c->a.head_num = 3);
    REFUSE(SHAPE, "head_num", dense("BSND"), c->a.head_num = 8);
    REFUSE(SHAPE, "query", dense("BSH"), c->a.head_num = 3);
    REFUSE(SHAPE, "query", dense("BNSD"), c->a.query = tensor_new(FATTN_F32, 1, 3, 2, 6, 16));
    REFUSE(SHAPE, "query", packed(), c->a.query = tensor_new(FATTN_F32, 1, 4, 1, 6, 4, 4));
    REFUSE(SHAPE, "key", dense("BSND"), c->a.key = tensor_new(FATTN_F32, 1, 3, 2, 8, 8));
    REFUSE(SHAPE, "value", dense("BSND"), c->a.value = tensor_new(FATTN_F32, 1, 3, 2, 8, 8));
    REFUSE(SHAPE, "key", dense("BSND"), c->a.key = tensor_new(FATTN_F32, 1, 4, 3, 8, 2, 4);
           c->a.value = c->a.key);
    REFUSE(SHAPE, "key", dense("BSND"), c->a.key = tensor_new(FATTN_F32, 1, 4, 2, 8, 2, 5));
    REFUSE(SHAPE, "key", dense("BSND"),
           c->a.key = c->a.value = tensor_new(FATTN_F32, 1, 4, 2, 8, 3, 4));
    REFUSE(SHAPE, "key", dense("BSND"),
           c->a.key = c->a.value = tensor_new(FATTN_F32, 1, 4, 2, 8, 0, 4));
    REFUSE(SHAPE, "value", dense("BSND"), c->a.value = tensor_new(FATTN_F32, 1, 4, 2, 9, 2, 4));
    REFUSE(SHAPE, "value", dense("BSND"), c->a.value = tensor_new(FATTN_F32, 1, 4, 2, 8, 1, 4));
    REFUSE(SHAPE, "value", dense("BSND"), c->a.value = tensor_new(FATTN_F32, 1, 4, 2, 8, 2, 0));
    REFUSE(SHAPE, "query", dense("BSND"), c->a.query = tensor_new(FATTN_F32, 1, 4, 2, 6, 4, 0));
    REFUSE(SHAPE, "key", dense("SBH"), c->a.key = tensor_new(FATTN_F32, 1, 3, 8, 2, 9));
    REFUSE(SHAPE, "value", dense("SBH"), c->a.value = tensor_new(FATTN_F32, 1, 3, 8, 2, 9));
}

static void dtypes_and_numbers(void **state)
{
    (void)state;
    REFUSE(FATTN_E_DTYPE, "key", dense("BSND"), c->a.key = tensor_new(FATTN_F16, 1, 4, 2, 8, 2, 4));
    REFUSE(FATTN_E_DTYPE, "value", dense("BSND"),
           c->a.value = tensor_new(FATTN_BF16, 1, 4, 2, 8, 2, 4));
    REFUSE(FATTN_E_DTYPE, "query", dense("BSND"),
           c->a.query = tensor_new(FATTN_BOOL, 1, 4, 2, 6, 4, 4));
    REFUSE(FATTN_E_DTYPE, "query", dense("BSND"),
           c->a.query = tensor_new(FATTN_I8, 1, 4, 2, 6, 4, 4));
    static const double bad[] = {1.2, 0, -0.1, 1 + 1e-8}, dropout[] = {0.9, 1e-12, 1 - 1e-8};
    static const double none_at_all[] = {1, 1 - 1e-10, 1 + 1e-10};
    for (int n = 0; n < 4; n++) REFUSE(ARG, "keep_prob", dense("BSND"), c->a.keep_prob = bad[n]);
    assert_non_null(strstr(fattn_error_message(), "(0, 1]"));
    for (int n = 0; n < 3; n++) {
        fusion_case *legal = armed(dense("BSND")), *random = armed(dense("BSND"));
        legal->a.keep_prob = none_at_all[n];
        random->a.keep_prob = dropout[n];
        EXPECT_OK(fattn_fusion_attention(plain_context(), &legal->a), "keep_prob near 1");
        EXPECT_OK(fattn_fusion_attention(plain_context(), &random->a), "keep_prob below 1");
    }
    REFUSE(ARG, "keep_prob", dense("BSND"), c->a.keep_prob = (double)NAN);
    REFUSE(FATTN_E_DTYPE, "dropout_mask", dense("BSND"),
           c->a.dropout_mask = tensor_new(FATTN_I8, 1, 1, 64));
    REFUSE(FATTN_E_SHAPE, "dropout_mask", dense("BSND"),
           c->a.dropout_mask = tensor_new(FATTN_U8, 1, 1, 1));
    REFUSE(ARG, "scale", dense("BSND"), c->a.scale = (double)NAN);
    REFUSE(ARG, "scale", dense("BSND"), c->a.scale = (double)INFINITY);
    REFUSE(ARG, "scale", dense("BSND"), c->a.scale = -2.36e38); /* times log2(e) no fp32 number */
    REFUSE(ARG, "sparse_mode", dense("BSND"), c->a.sparse_mode = 99);
    REFUSE(ARG, "sparse_mode", dense("BSND"), c->a.sparse_mode = 100);
    REFUSE(ARG, "sparse_mode", dense("BSND"), c->a.sparse_mode = -1);
    REFUSE(ARG, "sparse_mode", dense("BSND"), c->a.sparse_mode = 7);
    REFUSE(ARG, "sparse_mode", dense("BSND"), c->a.sparse_mode = 8);
    REFUSE(ARG, "sparse_mode", packed(), c->a.sparse_mode = 5);
    REFUSE(ARG, "softmax_layout", dense("BSND"), c->a.softmax_layout = "TND");
    REFUSE(ARG, "softmax_layout", packed(), c->a.softmax_layout = "SBH");
    REFUSE(ARG, "query", dense("BSND"), c->a.query = NULL);
    REFUSE(ARG, "value", dense("BSND"), c->a.value = NULL);
    REFUSE(ARG, "args_init", dense("BSND"), c->a.size = 0);
    REFUSE(ARG, "args_init", dense("BSND"), c->a.size = 8);
    REFUSE(ARG, "query_rope", dense("BSND"),
           c->a.key_rope = tensor_new(FATTN_F32, 1, 4, 2, 8, 2, 2));
    REFUSE(SHAPE, "key_rope", dense("BSND"),
           c->a.query_rope = tensor_new(FATTN_F32, 1, 4, 2, 6, 4, 2);
           c->a.key_rope = tensor_new(FATTN_F32, 1, 4, 2, 8, 2, 3));
    REFUSE(FATTN_E_DTYPE, "sink", dense("BSND"), c->a.sink = tensor_new(FATTN_F16, 1, 1, 4));
    REFUSE(SHAPE, "sink", dense("BSND"), c->a.sink = tensor_new(FATTN_F32, 1, 1, 2));
    fattn_fusion_attention_args none;
    fattn_fusion_attention_args_init(&none);
    expect_refused(fattn_fusion_attention(plain_context(), &none), ARG, "query", "nothing set");
    expect_refused(fattn_fusion_attention(plain_context(), NULL), ARG, "args", "NULL args");
    expect_refused(fattn_fusion_attention_shapes(plain_context(), &dense("BSND")->a, NULL), ARG,
                   "outputs", "NULL outputs");
}

static void mask_refusals(void **state)
{
    (void)state;
#define MASK(dtype, ...) c->a.atten_mask = tensor_new(dtype, 0, __VA_ARGS__)
    REFUSE(SHAPE, "atten_mask", sized(1, 6, 8), MASK(FATTN_U8, 4, 3, 2, 6, 8));
    REFUSE(SHAPE, "atten_mask", sized(1, 6, 8), MASK(FATTN_U8, 4, 1, 3, 6, 8));
    REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 2, 1000, 1000));
    REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 2, 8, 6));
    REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 3, 2, 6, 8));
    REFUSE(FATTN_E_DTYPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_F32, 2, 6, 8));
    REFUSE(FATTN_E_DTYPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_I8, 2, 6, 8));
    for (int mode = 2; mode <= 4; mode++) {
        REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 2, 1024, 1024);
               c->a.sparse_mode = mode);
        REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 2, 6, 8);
               c->a.sparse_mode = mode);
    }
    REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 2, 512, 1020); c->a.sparse_mode = 6;
           c->a.prefix = list_of(2, 0, 0));
    REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 2, 2048, 2048); c->a.sparse_mode = 6;
           c->a.prefix = list_of(2, 0, 0));
    REFUSE(SHAPE, "atten_mask", sized(3, 6, 8), MASK(FATTN_U8, 2, 6, 8); c->a.sparse_mode = 5;
           c->a.prefix = list_of(3, 0, 0, 0));
    REFUSE(SHAPE, "atten_mask", packed(), MASK(FATTN_U8, 2, 3, 3));
    REFUSE(SHAPE, "atten_mask", packed(), MASK(FATTN_U8, 4, 2, 1, 3, 4));
    /* extensions that strict does not have */
    REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 4, 1, 2, 6, 8); c->strict = true);
    REFUSE(SHAPE, "atten_mask", sized(2, 6, 8), MASK(FATTN_U8, 4, 2, 1, 1, 8); c->strict = true);
}

/* The tokens that are refused by default too: both negative, or an empty band. */
static void token_refusals(void **state)
{
    (void)state;
    static const int tokens[][2] = {{-2, -2}, {-6, 3}, {3, -6}, {0, -1}};
    for (int n = 0; n < 4; n++) {
        REFUSE(ARG, "tokens", sized(1, 6, 8), MASK(FATTN_U8, 2, 6, 8);
               c->a.pre_tokens = tokens[n][0]; c->a.next_tokens = tokens[n][1]);
        REFUSE(ARG, "tokens", sized(1, 6, 8), c->a.sparse_mode = 4; c->a.pre_tokens = tokens[n][0];
               c->a.next_tokens = tokens[n][1]);
        REFUSE(ARG, "tokens", packed(), c->a.sparse_mode = 7; c->a.pre_tokens = tokens[n][0];
               c->a.next_tokens = tokens[n][1]);
    }
    REFUSE(ARG, "tokens", sized(1, 6, 8), c->a.sparse_mode = 4; c->a.pre_tokens = INT64_MIN;
           c->a.next_tokens = 5);
}

static void prefix_refusals(void **state)
{
    (void)state;
    for (int mode = 5; mode <= 6; mode++) {
        REFUSE(ARG, "prefix", sized(3, 6, 8), c->a.sparse_mode = mode);
        REFUSE(ARG, "prefix", sized(3, 6, 8), c->a.sparse_mode = mode;
               c->a.prefix = list_of(2, 3, 3));
        REFUSE(ARG, "prefix", sized(3, 6, 8), c->a.sparse_mode = mode;
               c->a.prefix = list_of(4, 3, 3, 3, 3));
        REFUSE(ARG, "prefix", sized(3, 6, 8), c->a.sparse_mode = mode;
               c->a.prefix = list_of(3, 9, 3, 3));
        REFUSE(ARG, "prefix", sized(3, 6, 8), c->a.sparse_mode = mode;
               c->a.prefix = list_of(3, 3, -1, 3));
    }
    REFUSE(ARG, "prefix", packed(), c->a.sparse_mode = 6; c->a.prefix = list_of(3, 4, 3, 3));
    /* strict: not below Lk - Lq either */
    REFUSE(ARG, "prefix", sized(3, 6, 8), MASK(FATTN_U8, 2, 3072, 2048); c->a.sparse_mode = 6;
           c->a.prefix = list_of(3, 6, 1, 6); c->strict = true);
}

static void pse_refusals(void **state)
{
    (void)state;
#define PSE(...) c->a.pse = tensor_new(FATTN_F32, 0, __VA_ARGS__)
    REFUSE(SHAPE, "pse", sized(2, 16, 8), PSE(4, 2, 2, 10, 8));
    REFUSE(SHAPE, "pse", sized(2, 16, 8), PSE(4, 2, 1, 16, 8));
    REFUSE(SHAPE, "pse", sized(2, 16, 8), PSE(4, 3, 2, 16, 8));
    REFUSE(SHAPE, "pse", sized(2, 16, 8), PSE(3, 2, 16, 8));
    REFUSE(SHAPE, "pse", sized(2, 512, 512), PSE(4, 2, 2, 1024, 512); c->a.sparse_mode = 2);
    REFUSE(FATTN_E_DTYPE, "pse", sized(2, 16, 8),
           c->a.pse = tensor_new(FATTN_F16, 0, 4, 2, 2, 16, 8));
    REFUSE(SHAPE, "pse", packed(), PSE(4, 3, 4, 1, 4));
    REFUSE(SHAPE, "pse", packed(), PSE(1, 7));
    REFUSE(ARG, "pse", sized(1, 1100, 1100), PSE(4, 1, 2, 1024, 1100)); /* no causal mask */
    REFUSE(ARG, "pse", sized(1, 1100, 1100), PSE(4, 1, 2, 1024, 1100);
           MASK(FATTN_U8, 2, 1100, 1100); c->a.pre_tokens = 1024; c->a.next_tokens = 0);
    REFUSE(ARG, "pse", sized(1, 1100, 1100), PSE(4, 1, 2, 1024, 1100); c->a.sparse_mode = 2;
           c->strict = true); /* without a mask strict is full attention */
    REFUSE(SHAPE, "pse", sized(1, 1100, 1101), PSE(4, 1, 2, 1024, 1101); c->a.sparse_mode = 2);
    REFUSE(ARG, "pse", packed_case(FATTN_F32, 1, (int[]){1100}, (int[]){1100}, 0, 2, 1, 2, 2),
           PSE(4, 1, 2, 1024, 1100));
    REFUSE(SHAPE, "pse",
           packed_case(FATTN_F32, 2, (int[]){1100, 3}, (int[]){1100, 4}, 0, 2, 1, 2, 2),
           PSE(4, 1, 2, 1024, 1100);
           c->a.sparse_mode = 3);
    REFUSE(ARG, "pse", sized(2, 8, 8), c->a.pse_type = 0);
    REFUSE(ARG, "pse", sized(2, 8, 8), c->a.pse_type = 2);
    REFUSE(ARG, "pse_type", sized(2, 8, 8), c->a.pse_type = 4; PSE(1, 2));
    REFUSE(ARG, "pse_type", sized(2, 8, 8), c->a.pse_type = -1; PSE(1, 2));
    REFUSE(FATTN_E_DTYPE, "pse", sized(2, 8, 8), c->a.pse_type = 2;
           c->a.pse = tensor_new(FATTN_BF16, 0, 1, 2));
    REFUSE(SHAPE, "pse", sized(2, 8, 8), c->a.pse_type = 2; PSE(2, 3, 2));
    REFUSE(SHAPE, "pse_type", sized(2, 2048, 1024), c->a.pse_type = 2; PSE(2, 2, 2);
           c->a.q_start_idx = list_of(1, 1));
    REFUSE(SHAPE, "pse_type", packed(), c->a.pse_type = 3; PSE(1, 4));
}

static void list_refusals(void **state)
{
    (void)state;
    REFUSE(ARG, "actual_seq_qlen", packed(), c->a.actual_seq_qlen.count = 0);
    REFUSE(ARG, "actual_seq_kvlen", packed(), c->a.actual_seq_kvlen = (fattn_int_array){NULL, 0});
    REFUSE(ARG, "actual_seq_kvlen", packed(), c->a.actual_seq_kvlen = list_of(2, 4, 9));
    REFUSE(ARG, "actual_seq_qlen", packed(), c->a.actual_seq_qlen = list_of(3, 3, 4, 7));
    REFUSE(ARG, "actual_seq_qlen", packed(), c->a.actual_seq_qlen = list_of(3, 3, -1, 6));
    REFUSE(ARG, "actual_seq_qlen", packed(), c->a.actual_seq_qlen = list_of(3, 4, 3, 6));
    REFUSE(ARG, "actual_seq_kvlen", packed(), c->a.actual_seq_kvlen = list_of(3, 4, 2, 4));
    REFUSE(ARG, "actual_seq_kvlen", packed(),
           c->a.actual_seq_kvlen = list_of(3, 4, 2, 3)); /* mixed */
    REFUSE(ARG, "actual_seq_qlen", packed(),
           c->a.actual_seq_qlen.data = (const int64_t[]){INT64_MAX, INT64_MAX, 8});
    REFUSE(ARG, "actual_seq_qlen", dense("BSND"), c->a.actual_seq_qlen = list_of(2, 6, 12);
           c->a.actual_seq_kvlen = list_of(2, 8, 16));
    REFUSE(ARG, "actual_seq_qlen", packed(), c->a.actual_seq_qlen = list_of(3, 3, 1, 2);
           c->a.actual_seq_kvlen = list_of(3, 4, 2, 3); c->strict = true); /* lengths */
}

static fattn_tensor *spread(const fattn_tensor *t)
{
    fattn_tensor *gaps = tensor_spread(t);
    memset(gaps->data, 0xA5, tensor_bytes(gaps));
    return gaps;
}

static void output_refusals(void **state)
{
    (void)state;
#define OUT(field, t) c->a.field = tensor_like(t)
    REFUSE(SHAPE, "attention_out", dense("BSND"), OUT(attention_out, c->a.key));
    REFUSE(FATTN_E_DTYPE, "attention_out", dense("BSND"),
           OUT(attention_out, tensor_new(FATTN_F16, 0, 4, 2, 6, 4, 4)));
    REFUSE(SHAPE, "softmax_max", dense("BSND"),
           OUT(softmax_max, tensor_new(FATTN_F32, 0, 4, 2, 6, 4, 8)));
    REFUSE(SHAPE, "softmax_sum", dense("BSND"),
           OUT(softmax_sum, tensor_new(FATTN_F32, 0, 3, 2, 4, 6)));
    REFUSE(FATTN_E_DTYPE, "softmax_sum", dense("BSND"),
           OUT(softmax_sum, tensor_new(FATTN_F64, 0, 4, 2, 4, 6, 8)));
    REFUSE(SHAPE, "give both the same", dense("BSND"), c->a.softmax_sum = spread(c->a.softmax_sum));
    REFUSE(SHAPE, "give contiguous memory", packed(), c->a.softmax_max = spread(c->a.softmax_max);
           c->a.softmax_sum = spread(c->a.softmax_sum));
    fusion_case *c = armed(dense("BSND"));
    fattn_tensor folded = *c->a.attention_out;
    folded.strides[1] = 0; /* all rows in one place */
    c->a.attention_out = &folded;
    refused(c, SHAPE, "attention_out", "stride 0");
    folded.strides[1] = 7; /* rows that run into each other */
    refused(c, SHAPE, "attention_out", "stride 7");
    c = armed(dense("BSND"));
    expect_refused((c->a.attention_out = NULL, fattn_fusion_attention(plain_context(), &c->a)), ARG,
                   "attention_out", "no output");
}

/* Memory of a machine of normal size. */
static void *limited_alloc(void *self, size_t bytes)
{
    (void)self;
    return bytes < (size_t)1 << 40 ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
}

static void limited_free(void *self, void *memory)
{
    (void)self;
    free(memory);
}

/* Shapes up to 2^63: an answer, no crash, no hour of work. */
static void absurd_shapes(void **state)
{
    (void)state;
    static const int64_t extents[] = {INT64_MAX, INT64_MAX / 2, (int64_t)1 << 62, (int64_t)1 << 50,
                                      -1,        INT64_MIN};
    for (size_t e = 0; e < sizeof extents / sizeof extents[0]; e++)
        for (int axis = 0; axis < 4; axis++)
            for (int which = 0; which < 3; which++)
                for (int stride = 0; stride <= 1; stride++) {
                    fusion_case *c = armed(dense("BSND"));
                    const fattn_tensor **all[] = {&c->a.query, &c->a.key, &c->a.value};
                    fattn_tensor absurd = **all[which];
                    absurd.shape[axis] = extents[e];
                    if (stride == 0) absurd.strides[axis] = 0;
                    *all[which] = &absurd;
                    size_t bytes;
                    assert_int_not_equal(fattn_fusion_attention(plain_context(), &c->a), FATTN_OK);
                    assert_int_not_equal(
                        fattn_fusion_attention_workspace(plain_context(), &c->a, &bytes), FATTN_OK);
                    expect_untouched(c->a.attention_out, "absurd");
                    harness_reset();
                }
    /* a batch that only broadcasting can reach */
    fusion_case *c = dense("BSND");
    fattn_tensor q = *c->a.query, k = *c->a.key, v = *c->a.value;
    q.shape[0] = k.shape[0] = v.shape[0] = (int64_t)1 << 48;
    q.strides[0] = k.strides[0] = v.strides[0] = 0;
    c->a.query = &q, c->a.key = &k, c->a.value = &v;
    size_t bytes;
    fattn_context *limited;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.allocator = (fattn_allocator){.alloc = limited_alloc, .free = limited_free};
    assert_int_equal(fattn_context_create(&limited, &options), FATTN_OK);
    expect_refused(fattn_fusion_attention_workspace(limited, &c->a, &bytes), FATTN_E_NOMEM,
                   "out of memory", "2^48 sequences");
    /* packed, as many tokens as can be counted, and nobody asks for statistics */
    c = packed_case(FATTN_F16, 2, (int[]){3, 1}, (int[]){4, 2}, 0, 4, 2, 4, 4);
    const int64_t ends[] = {((int64_t)1 << 57) - 1, (int64_t)1 << 57};
    q = *c->a.query;
    q.shape[0] = ends[1], q.strides[0] = 0;
    c->a.query = &q, c->a.actual_seq_qlen = (fattn_int_array){ends, 2};
    fattn_status status = fattn_fusion_attention_workspace(limited, &c->a, &bytes);
    assert_true(status == FATTN_OK || status == FATTN_E_NOMEM);
    fattn_context_destroy(limited);
}

/* One warning per process and place (include/fattn/context.h), which a call that is not computed
 * must not use up. */
static void a_refused_call_warns_of_nothing(void **state)
{
    (void)state;
    REFUSE(ARG, "prefix", dense("BSND"), c->a.sparse_mode = 6);
    assert_int_equal(warnings(), 0);
    fusion_case *c = armed(dense("BSND"));
    fattn_verify_report report = {.size = sizeof report};
    c->a.sparse_mode = 6;
    expect_refused(
        fattn_verify(plain_context(), fattn_operator_find("fusion_attention"), &c->a, &report), ARG,
        "prefix", "verify");
    assert_int_equal(warnings(), 0);
    c->a.sparse_mode = 3;
    EXPECT_OK(fattn_fusion_attention(plain_context(), &c->a), "mode 3 alone");
    assert_true(warned_of("sparse_mode_without_mask"));
    assert_int_equal(warnings(), 1);
    forget_warnings();
    fattn_tensor shapes[3];
    c = armed(dense("BSND"));
    c->a.input_layout = "BSNH", c->a.head_num = 3;
    expect_refused(fattn_fusion_attention_shapes(plain_context(), &c->a, shapes), SHAPE, "head_num",
                   "shapes");
    assert_int_equal(warnings(), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        TEST(the_nearest_head_count_is_named),
        TEST(layouts_and_heads),
        TEST(dtypes_and_numbers),
        TEST(mask_refusals),
        TEST(token_refusals),
        TEST(prefix_refusals),
        TEST(pse_refusals),
        TEST(list_refusals),
        TEST(output_refusals),
        TEST(absurd_shapes),
        TEST(a_refused_call_warns_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
