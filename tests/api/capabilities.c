/* SPDX-License-Identifier: Apache-2.0 */
/* What a call needs, told beforehand: checked against numbers counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bnsd_case.h"

static void an_estimate_counts_every_byte(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_memory_estimate estimate = {.size = sizeof estimate};
    size_t workspace = 0;
    assert_int_equal(
        fattn_estimate_memory(NULL, fattn_operator_find("fusion_attention"), &c->args, &estimate),
        FATTN_OK);
    assert_int_equal(fattn_fusion_attention_workspace(NULL, &c->args, &workspace), FATTN_OK);
    assert_int_equal(estimate.input_bytes, 4 * (Q_ELEMENTS + 2 * K_ELEMENTS));
    assert_int_equal(estimate.output_bytes, 4 * (Q_ELEMENTS + 2 * B * N * SQ * 8));
    assert_int_equal(estimate.workspace_bytes, workspace);
    assert_int_equal(estimate.standard_bytes, 4 * B * N * SQ * SKV);
    free(c);
}

static void an_estimate_of_no_attention_has_no_scores(void **state)
{
    (void)state;
    float out[6] = {0}, lse[2] = {0};
    const fattn_tensor t_out = fattn_tensor_contiguous(out, FATTN_F32, 2, (const int64_t[]){2, 3});
    const fattn_tensor t_lse = fattn_tensor_contiguous(lse, FATTN_F32, 1, (const int64_t[]){2});
    const fattn_tensor *outs[] = {&t_out, &t_out}, *lses[] = {&t_lse, &t_lse};
    fattn_attention_update_args args;
    fattn_attention_update_args_init(&args);
    args.lse = (fattn_tensor_array){lses, 2};
    args.local_out = (fattn_tensor_array){outs, 2};
    args.update_type = 1;
    fattn_memory_estimate estimate = {.size = sizeof estimate};
    assert_int_equal(
        fattn_estimate_memory(NULL, fattn_operator_find("attention_update"), &args, &estimate),
        FATTN_OK);
    assert_int_equal(estimate.input_bytes, 2 * (24 + 8));
    assert_int_equal(estimate.output_bytes, 24 + 8);
    assert_int_equal(estimate.standard_bytes, 0);
}

static void the_set_describes_the_context(void **state)
{
    (void)state;
    fattn_context_options options;
    fattn_context *context = NULL;
    fattn_capability_set set = {.size = sizeof set};
    fattn_context_options_init(&options);
    options.isa = "scalar";
    options.threads = 3;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    assert_int_equal(fattn_capabilities(context, &set), FATTN_OK);
    assert_string_equal(set.version, FATTN_VERSION_STRING);
    assert_string_equal(set.isa, "scalar");
    assert_int_equal(set.threads, 3);
    assert_int_equal(set.sparse_modes_training, 0x1ff); /* 0..8 */
    assert_int_equal(set.sparse_modes_inference, 0x1f); /* 0..4 */
    set.size--;
    assert_int_equal(fattn_capabilities(context, &set), FATTN_E_ARG);
    fattn_context_destroy(context);
}

static bool has(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (strcmp(*list, word) == 0) return true;
    return false;
}

/* The layouts of the specifications: fusion 3.1, inference 6, 7, 8. */
static void layouts_by_operator(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int n;
        const char *has, *has_not;
        int64_t modes;
    } wanted[] = {
        {"fusion_attention", 5, "SBH", "NTD", 0x1ff},
        {"fusion_attention_grad", 5, "SBH", "NTD", 0x1ff},
        {"prompt_flash_attention", 7, "SH", "SBH", 0x7c1f},
        {"incre_flash_attention", 3, "BSND", "TND", 0},
        {"fused_infer_attention_score", 14, "BSH_NBSD", "SBH", 0x1f},
        {"fused_infer_attention_score_v2", 14, "TND_NTD", "SH", 0x21f},
    };
    fattn_capability_set set = {.size = sizeof set};
    assert_int_equal(fattn_capabilities(NULL, &set), FATTN_OK);
    assert_int_equal(set.n_operators, 6);
    for (int i = 0; i < 6; i++) {
        int n = 0;
        assert_string_equal(set.operators[i].name, wanted[i].name);
        while (set.operators[i].layouts[n]) n++;
        if (n != wanted[i].n)
            fail_msg("%s has %d layouts instead of %d", wanted[i].name, n, wanted[i].n);
        assert_true(has(set.operators[i].layouts, wanted[i].has));
        assert_false(has(set.operators[i].layouts, wanted[i].has_not));
        assert_int_equal(set.operators[i].sparse_modes, wanted[i].modes);
    }
    assert_true(has(set.cache_layouts, "NZ"));
}

/* Refusing a mode's number names the modes that there are: "sparse_mode: 17 is not in 0..8". */
static bool mode_is_known(fattn_status status)
{
    return status == FATTN_OK || !strstr(fattn_error_message(), "is not in 0..");
}

/* A mode is said to be there exactly when the checker does not refuse its number. */
static void modes_are_the_checkers(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_capability_set set = {.size = sizeof set};
    fattn_fused_infer_attention_score_v2_args v2;
    fattn_fused_infer_attention_score_v2_args_init(&v2);
    v2.query = &c->tq, v2.key = &c->tk, v2.value = &c->tv, v2.attention_out = &c->tout;
    v2.num_query_heads = N, v2.num_key_value_heads = NKV, v2.input_layout = "BNSD";
    assert_int_equal(fattn_capabilities(NULL, &set), FATTN_OK);
    for (int mode = 0; mode < 20; mode++) {
        c->args.sparse_mode = v2.sparse_mode = mode;
        const bool training = mode_is_known(fattn_fusion_attention(NULL, &c->args));
        const bool inference = mode_is_known(fattn_fused_infer_attention_score_v2(NULL, &v2));
        if (training != (set.operators[0].sparse_modes >> mode & 1))
            fail_msg("training, mode %d", mode);
        if (inference != (set.operators[5].sparse_modes >> mode & 1))
            fail_msg("inference, mode %d", mode);
    }
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_estimate_counts_every_byte),
        cmocka_unit_test(an_estimate_of_no_attention_has_no_scores),
        cmocka_unit_test(the_set_describes_the_context),
        cmocka_unit_test(layouts_by_operator),
        cmocka_unit_test(modes_are_the_checkers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
