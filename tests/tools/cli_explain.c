/* SPDX-License-Identifier: Apache-2.0 */
/* `fattn explain`: with both ceilings given everything that it prints follows from the call. */
#include "cli_case.h"

#define LINE                                                                                       \
    "fusion_attention input_layout=BNSD query=f32[1,2,200,64] key=f32[1,1,200,64] "                \
    "value=f32[1,1,200,64] "                                                                       \
    "softmax_max=none softmax_sum=none threads=2 isa=scalar"

#define OTHER                                                                                      \
    "fusion_attention input_layout=BNSD query=f32[1,2,200,64] key=f32[1,1,200,64] "                \
    "value=f32[1,1,200,64] "                                                                       \
    "softmax_max=none softmax_sum=none threads=2 isa=avx2"

static int needs_json(void) { return FATTN_WITH_JANSSON; }

static const char keys[] =
    "legal status message line warnings problem backend isa compute threads dense_mask sequences "
    "query_rows items tile_items "
    "dot_items split_items merges tile_rows tile_keys item_rows visible_pairs flops query_bytes "
    "kv_bytes mask_bytes "
    "output_bytes kv_read_bytes workspace_bytes dot_below dot_sequences tile_sequences split_keys "
    "split_q_len "
    "split_sequences many_rows one_split peak_gflops peak_gbps compute_ms memory_ms predicted_ms "
    "binds gflops_given gbps_given "
    "tile_keys_read tile_values_read dot_keys_read dot_values_read backends reasons";

/* The keys of the outer object, one blank deep, are these and no others, in this order. */
static void the_keys_are_these(void **state)
{
    (void)state;
    if (!needs_json()) skip();
    char found[2048] = "";
    expect_code("explain '" LINE "' --json --peak-gflops 100 --peak-gbps 20", 0);
    for (const char *at = strstr(cli.out, "\n \""); at; at = strstr(at + 1, "\n \"")) {
        const size_t used = strlen(found), n = strcspn(at + 3, "\"");
        snprintf(found + used, sizeof found - used, "%s%.*s", used ? " " : "", (int)n, at + 3);
    }
    assert_string_equal(found, keys);
}

/* 80000 pairs of 2 * 128 operations; 102400 bytes each of queries, of keys and values, of output.
 */
static void the_figures_follow_from_the_call(void **state)
{
    (void)state;
    if (!needs_json()) skip();
    expect_code("explain '" LINE "' --json --peak-gflops 100 --peak-gbps 20", 0);
    static const char *const parts[] = {
        "\"backend\": \"cpu\"",
        "\"isa\": \"scalar\"",
        "\"visible_pairs\": 80000,",
        "\"flops\": 20480000,",
        "\"query_bytes\": 102400,",
        "\"kv_bytes\": 102400,",
        "\"output_bytes\": 102400,",
        "\"mask_bytes\": 0,",
        "\"items\": 7,",
        "\"kv_read_bytes\": 716800,",
        "\"peak_gflops\": 100.0",
        "\"peak_gbps\": 20.0",
        "\"compute_ms\": 0.2048",
        "\"memory_ms\": 0.01536",
        "\"predicted_ms\": 0.2048",
        "\"binds\": \"compute\"",
        "\"dot_keys_read\": null",
        "\"tile_keys_read\": \"in_place\"",
        "\"backend cpu: the first that accepts\"",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) expect_contains(parts[i]);
    expect_code("explain '" LINE "' --json --peak-gflops 10000 --peak-gbps 0.2", 0);
    expect_contains("\"binds\": \"memory\"");
    expect_contains("\"predicted_ms\": 1.536");
}

static void the_text_says_the_same(void **state)
{
    (void)state;
    expect_code("explain '" LINE "' --peak-gflops 100 --peak-gbps 20", 0);
    expect_contains("problem    heads 2/1 d 64/64 ");
    expect_contains("computed   by cpu, scalar, 2 threads\n");
    expect_contains("flops      20480000 over 80000 visible pairs\n");
    expect_contains("time       0.2048 ms, compute binds: 0.2048 ms at 100 GFLOP/s (given), "
                    "0.01536 ms at 20 GB/s (given)\n");
    expect_contains("why        backend ref: would compute it, too");
    assert_string_equal(cli.err, "");
    fattn_with("FATTN_PEAK_GFLOPS=100 FATTN_PEAK_GBPS=20", "explain '" LINE "'");
    expect_contains("0.2048 ms at 100 GFLOP/s");
}

/* float64 runs where the ceilings say nothing, and cpu says why not. */
static void refusals_are_given(void **state)
{
    (void)state;
    expect_code("explain fusion_attention input_layout=BNSD query=f64[1,1,9,8] key=f64[1,1,9,8] "
                "value=f64[1,1,9,8] "
                "--peak-gflops 100 --peak-gbps 20",
                0);
    expect_contains("why        backend cpu: refuses: cpu: dtype f64");
    expect_contains("why        backend ref: the first that accepts");
    expect_contains("time       not predicted");
    expect_code("explain fusion_attention input_layout=BNSD query=f32[1,1,9,8] key=f32[1,1,9,8] "
                "value=f32[1,1,8,8]",
                1);
    expect_contains("illegal: FATTN_E_SHAPE: ");
    expect_code("explain attention_update lse=f32[7]*2 local_out=f16[7,8]*2 update_type=1", 1);
    expect_contains("illegal: FATTN_E_UNSUPPORTED: explain: attention_update makes no plan");
    expect_error("explain '" LINE "' --peak-gbps -3", 64,
                 "--peak-gbps: '-3' is not a positive number");
    expect_error("explain fusion_attention qeury=f32[1]", 64, "nearest: query");
}

/* Without them they are measured: nothing is known of the figures but that there are some. */
static void ceilings_are_measured(void **state)
{
    (void)state;
    expect_code("explain '" LINE "'", 0);
    expect_contains(" GFLOP/s (measured), ");
    expect_contains(" GB/s (measured)\n");
    expect_code("explain '" LINE "' --peak-gbps 20", 0);
    expect_contains(" GFLOP/s (measured), ");
    expect_contains(" GB/s (given)\n");
}

/* Each line of a file has the ceiling of its own instruction set and threads, not the first one's. No
 * two measurements agree to the last bit. */
static void ceilings_are_of_the_line(void **state)
{
    (void)state;
    if (!needs_json()) skip();
    fattn("check '" OTHER "'");
    const int avx2 = strstr(cli.out, "legal") == cli.out;
    fattn_with("printf '%s\\n%s\\n%s\\n' '" LINE "' '" LINE "' '" OTHER "' |",
               "explain @- --json --peak-gbps 20");
    assert_int_equal(cli.code, 0);
    double found[3];
    const char *at = cli.out;
    for (int i = 0; i < 3; i++) {
        at = strstr(at, "\"peak_gflops\": ");
        assert_non_null(at);
        found[i] = strtod(at + strlen("\"peak_gflops\": "), NULL);
        at++;
    }
    assert_true(found[0] > 0 && found[0] == found[1]); /* the same: measured once */
    if (avx2) assert_true(found[2] > 0 && found[2] != found[0]);
}

/* Sizes that no integer holds: clamped, not whatever the conversion makes of them. */
static void counts_beyond_integers(void **state)
{
    (void)state;
    if (!needs_json()) skip();
    expect_code(
        "explain fusion_attention input_layout=BNSD query=f16[1,1,4294967296,64] "
        "key=f16[1,1,4294967296,64] value=f16[1,1,4294967296,64] query.strides=0,0,64,1 --json "
        "--peak-gflops 100 --peak-gbps 20",
        0);
    expect_contains("\"visible_pairs\": 9223372036854775807,"); /* 2^64 */
    expect_contains("\"flops\": 9223372036854775807,");
}

static void files_of_lines(void **state)
{
    (void)state;
    FILE *file = fopen("cli_explain.list", "w");
    assert_non_null(file);
    fputs("# two\n" LINE "\n" LINE " mask=1\n", file);
    fclose(file);
    expect_code("explain @cli_explain.list --peak-gflops 100 --peak-gbps 20", 65);
    expect_contains("cli_explain.list:2: fusion_attention ");
    unlink("cli_explain.list");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_keys_are_these),
        cmocka_unit_test(the_figures_follow_from_the_call),
        cmocka_unit_test(the_text_says_the_same),
        cmocka_unit_test(refusals_are_given),
        cmocka_unit_test(ceilings_are_measured),
        cmocka_unit_test(files_of_lines),
        cmocka_unit_test(ceilings_are_of_the_line),
        cmocka_unit_test(counts_beyond_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
