/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of an explanation against ones worked out by hand, and pairs against a count row by
 * row. */
#include "cm.h"

#include <stdio.h>
#include <string.h>

#include "core/mask.h"
#include "core/rng.h"
#include "exec/explain.h"
#include "fattn/fattn.h"

static fattn_context *context_of(const char *backend)
{
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = 2;
    options.isa = "scalar";
    options.backend = backend;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    return context;
}

static fattn_explanation explain(const char *backend, const char *op, const void *args)
{
    fattn_context *context = context_of(backend);
    fattn_explanation e = {.size = sizeof e};
    const fattn_status status = fattn_explain(context, fattn_operator_find(op), args, &e);
    if (status != FATTN_OK) fail_msg("%s", fattn_error_message());
    fattn_context_destroy(context);
    return e;
}

/* Two heads of 200 rows and keys, one kv head, d 64, full: 2 * 200 * 200 pairs, each 64 + 64
 * multiply-adds. 400 packed rows are seven panels of 64; 2 threads want more than eight items, so
 * that each is one. */
static void full_attention(void **state)
{
    (void)state;
    fattn_fusion_attention_args a;
    fattn_fusion_attention_args_init(&a);
    fattn_tensor q = fattn_tensor_contiguous(NULL, FATTN_F32, 4, (const int64_t[]){1, 2, 200, 64});
    fattn_tensor kv = fattn_tensor_contiguous(NULL, FATTN_F32, 4, (const int64_t[]){1, 1, 200, 64});
    a.query = &q, a.key = a.value = &kv, a.head_num = 2, a.input_layout = "BNSD";
    const fattn_explanation e = explain(NULL, "fusion_attention", &a);
    assert_string_equal(e.backend, "cpu");
    assert_string_equal(e.isa, "scalar");
    assert_int_equal(e.threads, 2);
    assert_int_equal(e.sequences, 1);
    assert_int_equal(e.query_rows, 200);
    assert_true(e.visible_pairs == 80000);
    assert_true(e.flops == 80000.0 * 2 * 128);
    assert_true(e.query_bytes == 2 * 200 * 64 * 4);
    assert_true(e.kv_bytes == 2 * 200 * 64 * 4);
    assert_true(e.mask_bytes == 0);
    assert_false(e.dense_mask);
    assert_true(e.output_bytes == 2 * 200 * 64 * 4); /* the statistics are not asked for */
    assert_int_equal(e.items, 7);
    assert_int_equal(e.tile_items, 7);
    assert_int_equal(e.dot_items, 0);
    assert_int_equal(e.item_rows, 64);
    assert_int_equal(e.merges, 0);
    assert_true(e.kv_read_bytes == 7 * e.kv_bytes);
    assert_int_equal(e.tile_sequences, 1);
    assert_int_equal(e.one_split, 1); /* 200 keys are fewer than 512 */
    assert_string_equal(e.tile_reads.keys, "in_place");
    assert_string_equal(e.tile_reads.values, "in_place");
    assert_string_equal(e.dot_reads.keys, "");
    size_t bytes = 0;
    fattn_context *context = context_of(NULL);
    assert_int_equal(fattn_fusion_attention_workspace(context, &a, &bytes), FATTN_OK);
    fattn_context_destroy(context);
    assert_true(e.workspace_bytes == bytes);
    assert_non_null(strstr(e.problem, "heads 2/1 d 64/64"));
}

/* One query row of 4 heads, 2 kv heads, 1300 keys in blocks of 16, f16, d 32: splits
 * 0..512..1024..1300. */
static void decode_from_blocks(void **state)
{
    (void)state;
    fattn_incre_flash_attention_args a;
    fattn_incre_flash_attention_args_init(&a);
    const int64_t length = 1300;
    fattn_tensor q = fattn_tensor_contiguous(NULL, FATTN_F16, 3, (const int64_t[]){1, 1, 128});
    fattn_tensor kv = fattn_tensor_contiguous(NULL, FATTN_F16, 3, (const int64_t[]){90, 16, 64});
    fattn_tensor table = fattn_tensor_contiguous(NULL, FATTN_I32, 2, (const int64_t[]){1, 82});
    a.query = &q, a.key = a.value = &kv, a.block_table = &table;
    a.num_heads = 4, a.num_key_value_heads = 2, a.block_size = 16;
    a.actual_seq_lengths = (fattn_int_array){&length, 1};
    const fattn_explanation e = explain(NULL, "incre_flash_attention", &a);
    assert_true(e.visible_pairs == 4 * 1300);
    assert_true(e.flops == 4.0 * 1300 * 2 * 64);
    assert_true(e.kv_bytes == 1300.0 * 2 * 64 * 2);
    assert_true(e.kv_read_bytes == e.kv_bytes);
    assert_true(e.query_bytes == 4 * 32 * 2);
    assert_true(e.output_bytes == 4 * 32 * 2);
    assert_int_equal(e.split_keys, 512);
    assert_int_equal(e.items, 3 * 2);
    assert_int_equal(e.split_items, 6);
    assert_int_equal(e.dot_items, 6);
    assert_int_equal(e.merges, 2);
    assert_int_equal(e.item_rows, 2);
    assert_int_equal(e.split_sequences, 1);
    assert_int_equal(e.dot_sequences, 1);
    assert_string_equal(e.dot_reads.keys, "in_place");
    assert_string_equal(e.tile_reads.keys, "");
}

/* Packed sequences of 20 and 4 rows against 700 and 10 keys, causal: the first is too long to be
 * split, and its last row sees all 700 keys, the one before 699 and so on. */
static void packed_causal(void **state)
{
    (void)state;
    fattn_fusion_attention_args a;
    fattn_fusion_attention_args_init(&a);
    const int64_t q_ends[] = {20, 24}, kv_ends[] = {700, 710};
    fattn_tensor q = fattn_tensor_contiguous(NULL, FATTN_BF16, 3, (const int64_t[]){24, 1, 40});
    fattn_tensor kv = fattn_tensor_contiguous(NULL, FATTN_BF16, 3, (const int64_t[]){710, 1, 40});
    a.query = &q, a.key = a.value = &kv, a.head_num = 1, a.input_layout = "TND", a.sparse_mode = 3;
    a.actual_seq_qlen = (fattn_int_array){q_ends, 2};
    a.actual_seq_kvlen = (fattn_int_array){kv_ends, 2};
    const fattn_explanation e = explain(NULL, "fusion_attention", &a);
    assert_true(e.visible_pairs == 20.0 * (681 + 700) / 2 + 7 + 8 + 9 + 10);
    assert_true(e.kv_bytes == (700 + 10) * 2.0 * 40 * 2);
    assert_int_equal(e.sequences, 2);
    assert_int_equal(e.query_rows, 24);
    assert_int_equal(e.many_rows, 1);
    assert_int_equal(e.one_split, 1);
    assert_int_equal(e.split_sequences, 0);
    assert_int_equal(e.tile_sequences, 1);
    assert_int_equal(e.dot_sequences, 1);
    assert_string_equal(e.tile_reads.keys, "widened");
    assert_string_equal(e.dot_reads.values, "in_place");
}

static void each_backend_answers(void **state)
{
    (void)state;
    fattn_fusion_attention_args a;
    fattn_fusion_attention_args_init(&a);
    fattn_tensor t = fattn_tensor_contiguous(NULL, FATTN_F64, 4, (const int64_t[]){1, 1, 20, 8});
    a.query = a.key = a.value = &t, a.head_num = 1, a.input_layout = "BNSD";
    fattn_explanation e = explain(NULL, "fusion_attention", &a);
    assert_string_equal(e.backend, "ref");
    assert_int_equal(e.n_backends, 2);
    assert_string_equal(e.backends[0].name, "cpu");
    assert_true(e.backends[0].allowed && !e.backends[0].accepts && !e.backends[0].chosen);
    assert_non_null(strstr(e.backends[0].why_not, "f64"));
    assert_true(e.backends[1].accepts && e.backends[1].chosen);
    assert_int_equal(e.items, 2); /* blocks of 16 rows */
    t.dtype = FATTN_F32;
    e = explain("ref", "fusion_attention", &a);
    assert_string_equal(e.backend, "ref");
    assert_true(e.backends[0].accepts && !e.backends[0].allowed);
    assert_string_equal(e.backends[0].why_not, "");
}

static void what_has_no_plan_is_refused(void **state)
{
    (void)state;
    fattn_explanation e = {.size = sizeof e};
    fattn_attention_update_args u;
    fattn_attention_update_args_init(&u);
    const fattn_operator *fusion = fattn_operator_find("fusion_attention");
    assert_int_equal(fattn_explain(NULL, fattn_operator_find("attention_update"), &u, &e),
                     FATTN_E_UNSUPPORTED);
    assert_int_equal(fattn_explain(NULL, NULL, &u, &e), FATTN_E_ARG);
    assert_int_equal(fattn_explain(NULL, fusion, NULL, &e), FATTN_E_ARG);
    fattn_fusion_attention_args a;
    fattn_fusion_attention_args_init(&a);
    assert_int_equal(fattn_explain(NULL, fusion, &a, NULL), FATTN_E_ARG);
    assert_int_equal(fattn_explain(NULL, fusion, &a, &e), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "query"));
    e.size--;
    assert_int_equal(fattn_explain(NULL, fusion, &a, &e), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "explanation->size"));
}

/* The count that jumps over linear stretches is the count row by row. */
static void pairs_of_random_bands(void **state)
{
    (void)state;
    rng r = {5};
    for (int round = 0; round < 20000; round++) {
        fattn_seq seq = {.q_len = rng_between(&r, 0, 40), .kv_len = rng_between(&r, 0, 60)};
        seq.band_lo = rng_between(&r, -100, 100);
        seq.band_hi = rng_between(&r, -100, 100);
        seq.prefix = rng_between(&r, 0, 1) ? rng_between(&r, 0, seq.kv_len) : 0;
        double wanted = 0;
        for (int64_t i = 0; i < seq.q_len; i++) {
            const fattn_interval row = mask_interval(&seq, i);
            wanted += (double)(row.hi - row.lo);
        }
        if (explain_pairs(&seq) != wanted)
            fail_msg("q_len %lld kv_len %lld band %lld..%lld prefix %lld: %g instead of %g pairs",
                     (long long)seq.q_len, (long long)seq.kv_len, (long long)seq.band_lo,
                     (long long)seq.band_hi, (long long)seq.prefix, explain_pairs(&seq), wanted);
    }
    const int64_t many = INT64_C(1) << 40; /* no loop over rows */
    fattn_seq wide = {.q_len = many, .kv_len = many, .band_lo = -many, .band_hi = 0};
    assert_true(explain_pairs(&wide) == (double)many * ((double)many + 1) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_attention),
        cmocka_unit_test(decode_from_blocks),
        cmocka_unit_test(packed_causal),
        cmocka_unit_test(each_backend_answers),
        cmocka_unit_test(what_has_no_plan_is_refused),
        cmocka_unit_test(pairs_of_random_bands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
