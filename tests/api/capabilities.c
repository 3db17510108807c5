/* SPDX-License-Identifier: Apache-2.0 */
/* What a call needs, told beforehand: checked against numbers counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bnsd_case.h"

static void an_estimate_counts_every_byte(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_memory_estimate estimate = {.size = sizeof estimate};
    size_t workspace = 0;
    assert_int_equal(fattn_estimate_memory(NULL, fattn_operator_find("fusion_attention"), &c->args,
                                           &estimate),
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
    assert_int_equal(fattn_estimate_memory(NULL, fattn_operator_find("attention_update"), &args,
                                           &estimate),
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_estimate_counts_every_byte),
        cmocka_unit_test(an_estimate_of_no_attention_has_no_scores),
        cmocka_unit_test(the_set_describes_the_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
