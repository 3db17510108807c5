/* SPDX-License-Identifier: Apache-2.0 */
/* cli_files.c — `fattn run` on real files: the hand-computed vectors of the specifications, every
 * way to say the same call, what goes in and comes out of files. */
#include "cli_case.h"

#include "io/element.h"
#include "io/npy.h"
#include "io/safetensors.h"

#include <math.h>
#include <sys/stat.h>

/* A scratch directory that the tests run in. */
static int enter(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof name, "cli_files_%ld", (long)getpid());
    return mkdir(name, 0777) != 0 || chdir(name) != 0;
}

static int leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf cli_files_%ld", (long)getpid());
    return chdir("..") != 0 || system(command) != 0;
}

static void save(const char *path, fattn_dtype dtype, int rank, const int64_t *shape,
                 const double *values)
{
    unsigned char data[1024];
    int64_t count;
    io_error error;
    io_count(rank, shape, &count);
    for (int64_t i = 0; i < count; i++) io_set(data, dtype, i, values[i]);
    const fattn_tensor t = io_contiguous(data, dtype, rank, shape);
    if (npy_write(path, &t, &error) != IO_OK) fail_msg("%s", error.message);
}

/* The values in a file, in order, within 1e-5 of the wanted ones. */
static void expect_file(const char *where, fattn_dtype dtype, int rank, const int64_t *shape,
                        const double *values)
{
    io_tensor t;
    io_error error;
    int64_t count;
    if (io_tensor_read(where, FATTN_DTYPE_NONE, &t, &error) != IO_OK) fail_msg("%s", error.message);
    assert_int_equal(t.t.dtype, dtype);
    assert_int_equal(t.t.rank, rank);
    for (int i = 0; i < rank; i++) assert_int_equal(t.t.shape[i], shape[i]);
    io_count(rank, shape, &count);
    for (int64_t i = 0; i < count; i++) {
        const double got = io_get(t.t.data, t.t.dtype, io_offset(&t.t, i));
        if (!(fabs(got - values[i]) < 1e-5))
            fail_msg("%s[%lld]: %.9g instead of %.9g", where, (long long)i, got, values[i]);
    }
    io_tensor_free(&t);
}

/* inference 18: one head, D = 2, scale 0.5. */
static const double q_values[] = {1, 0, 0.5, 0.5}, k_values[] = {1, 0, 0, 1, 1, 1},
                    v_values[] = {1, 2, 3, 4, 5, 6};
static const int64_t q_shape[] = {1, 1, 2, 2}, kv_shape[] = {1, 1, 3, 2};

static void save_vectors(fattn_dtype dtype)
{
    save("q.npy", dtype, 4, q_shape, q_values);
    save("k.npy", dtype, 4, kv_shape, k_values);
    save("v.npy", dtype, 4, kv_shape, v_values);
}

#define TENSORS " --query q.npy --key k.npy --value v.npy"

static void anchors_of_the_specification(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        double out[4], lse[2];
    } cases[] = {
        {"", {3, 4, 3.172974, 4.172974}, {1.458020, 1.439070}},
        {"--sparse-mode 3", {1.755081, 2.755081, 3.172974, 4.172974}, {0.974077, 1.439070}},
        {"--sparse-mode 2", {1, 2, 2, 3}, {0.5, 0.943147}},
        {"--sparse-mode 3 --pse-shift pse.npy",
         {1.620051, 2.620051, 3.092169, 4.092169},
         {0.971101, 1.506098}},
    };
    static const double pse[] = {.1, -.2, 0, 0, .3, -.1};
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F64};
    for (int d = 0; d < 2; d++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char arguments[512];
            save_vectors(dtypes[d]);
            save("pse.npy", dtypes[d], 4, (const int64_t[]){1, 1, 2, 3}, pse);
            snprintf(arguments, sizeof arguments,
                     "run fused_infer_attention_score" TENSORS
                     " --input-layout BNSD --scale 0.5 --out o.npy "
                     "--softmax-lse-flag --softmax-lse lse.npy %s%s",
                     cases[i].options, d ? " --backend ref" : "");
            expect_code(arguments, 0);
            expect_file("o.npy", dtypes[d], 4, q_shape, cases[i].out);
            expect_file("lse.npy", FATTN_F32, 4, (const int64_t[]){1, 1, 2, 1}, cases[i].lse);
        }
}

static const double mode3[] = {1.755081, 2.755081, 3.172974, 4.172974};

/* Dashes and underscores, aliases, '=' and blank, the operator's own name for the first output. */
static void many_ways_to_say_it(void **state)
{
    (void)state;
    static const char *const ways[] = {
        "run fusion_attention" TENSORS
        " --input-layout BNSD --head-num 1 --sparse-mode 3 --scale 0.5 --out o.npy",
        "run npu_fusion_attention" TENSORS
        " --input_layout=BNSD --sparse_mode=3 --scale=0.5 --attention-out o.npy",
        "run --threads 1 fusion_attention" TENSORS
        " --input-layout bnsd --sparse-mode 4 --pre-tokens 5 "
        "--next-tockens 0 --scale-value 5e-1 --out o.npy --sync --gen-mask-parallel false",
        "run fusion_attention" TENSORS
        " --input-layout BNSD --sparse-mode 4 --pre-tokens 5 --next-tokens -0 "
        "--scale 0.5 --prefix '' --sync=false --isa scalar --out=o.npy",
        "run prompt_flash_attention" TENSORS
        " --input-layout BNSD --sparse-mode 3 --scale 0.5 --num-heads 1 --out o.npy",
    };
    save_vectors(FATTN_F32);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        unlink("o.npy");
        expect_code(ways[i], 0);
        expect_file("o.npy", FATTN_F32, 4, q_shape, mode3);
        expect_contains("f32[1,1,2,2] o.npy");
    }
}

/* The statistics are eight copies; only what is asked for is written. */
static void several_outputs(void **state)
{
    (void)state;
    const double max[] = {.5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5};
    save_vectors(FATTN_F32);
    expect_code(
        "run fusion_attention" TENSORS " --input-layout BNSD --scale 0.5 --softmax-max m.npy", 0);
    expect_file("m.npy", FATTN_F32, 4, (const int64_t[]){1, 1, 2, 8}, max);
    if (FATTN_WITH_JANSSON) {
        expect_code("run fusion_attention" TENSORS
                    " --input-layout BNSD --scale 0.5 --softmax-max all.safetensors:m "
                    "--out all.safetensors:out --seed 5 --json",
                    0);
        expect_file("all.safetensors:m", FATTN_F32, 4, (const int64_t[]){1, 1, 2, 8}, max);
        expect_file("all.safetensors:out", FATTN_F32, 4, q_shape,
                    (const double[]){3, 4, 3.172974, 4.172974});
        expect_contains("\"numels\": ");
        expect_contains("\"seed_out\": 5");
        expect_contains("\"file\": \"all.safetensors:out\"");
        expect_code("run fusion_attention --query q.npy --key k.npy --value v.npy --input-layout "
                    "BNSD --json",
                    0);
    }
}

/* bf16 in uint16, converted floats, Fortran order: the same numbers. */
static void dtypes_in_files(void **state)
{
    (void)state;
    save_vectors(FATTN_BF16); /* written as <u2 */
    expect_error("run fusion_attention" TENSORS " --input-layout BNSD --out o.npy", 65, "dtype");
    expect_code("run fusion_attention" TENSORS
                " --query-dtype bf16 --key-dtype bf16 --value-dtype bf16 "
                "--input-layout BNSD --scale 0.5 --sparse-mode 2 --out o.npy",
                0);
    io_tensor t;
    io_error error;
    assert_int_equal(npy_read("o.npy", FATTN_BF16, &t, &error), IO_OK);
    for (int i = 0; i < 4; i++)
        assert_true(io_get(t.t.data, FATTN_BF16, i) == (i == 0 ? 1 : i == 3 ? 3 : 2));
    io_tensor_free(&t);
    save_vectors(FATTN_F64);
    expect_code("run fusion_attention" TENSORS
                " --query-dtype f32 --key-dtype f32 --value-dtype f32 "
                "--input-layout BNSD --scale 0.5 --sparse-mode 3 --out o.npy",
                0);
    expect_file("o.npy", FATTN_F32, 4, q_shape, mode3);
    expect_error("run fusion_attention" TENSORS " --query-dtype i8 --input-layout BNSD --out o.npy",
                 65, "i8");
}

static void lists_of_tensors(void **state)
{
    (void)state;
    /* inference 18: lse 0.5 and 1.5, outputs all 1 and all 3 */
    save("l0.npy", FATTN_F32, 1, (const int64_t[]){1}, (const double[]){0.5});
    save("l1.npy", FATTN_F32, 1, (const int64_t[]){1}, (const double[]){1.5});
    save("o0.npy", FATTN_F32, 2, (const int64_t[]){1, 8}, (const double[]){1, 1, 1, 1, 1, 1, 1, 1});
    save("o1.npy", FATTN_F32, 2, (const int64_t[]){1, 8}, (const double[]){3, 3, 3, 3, 3, 3, 3, 3});
    expect_code(
        "run attention_update --lse l0.npy --lse l1.npy --local-out o0.npy --local-out o1.npy "
        "--update-type 1 --out o.npy --lse-out l.npy",
        0);
    const double merged[] = {2.462117, 2.462117, 2.462117, 2.462117,
                             2.462117, 2.462117, 2.462117, 2.462117};
    expect_file("o.npy", FATTN_F32, 2, (const int64_t[]){1, 8}, merged);
    expect_file("l.npy", FATTN_F32, 1, (const int64_t[]){1}, (const double[]){1.813262});
    expect_error("run attention_update --lse l0.npy --local-out o0.npy --out o.npy --update-type 0 "
                 "--update-type 7",
                 1, "update_type");
}

/* inference 18: advance_step, bs 4, M 3. The input files stay as they were. */
static void in_place_operators(void **state)
{
    (void)state;
    const int64_t two[] = {2};
    const double zeros[] = {0, 0}, lengths[] = {5, 8};
    save("tokens.npy", FATTN_I64, 1, two, zeros);
    save("positions.npy", FATTN_I64, 1, two, zeros);
    save("slots.npy", FATTN_I64, 1, two, zeros);
    save("lens.npy", FATTN_I64, 1, two, lengths);
    save("sampled.npy", FATTN_I64, 2, (const int64_t[]){2, 1}, (const double[]){7, 9});
    save("tables.npy", FATTN_I64, 2, (const int64_t[]){2, 3},
         (const double[]){10, 11, 12, 20, 21, 22});
#define STEP                                                                                       \
    "run advance_step_flashattn --input-tokens tokens.npy --sampled-token-ids sampled.npy "        \
    "--input-positions positions.npy --seq-lens lens.npy --slot-mapping slots.npy "                \
    "--block-tables tables.npy --num-seqs 2 --num-queries 2 --block-size 4"
    expect_error(STEP, 64, "out-dir");
    expect_code(STEP " --out-dir stepped", 0);
    expect_file("stepped/input_tokens.npy", FATTN_I64, 1, two, (const double[]){7, 9});
    expect_file("stepped/input_positions.npy", FATTN_I64, 1, two, (const double[]){5, 8});
    expect_file("stepped/seq_lens.npy", FATTN_I64, 1, two, (const double[]){6, 9});
    expect_file("stepped/slot_mapping.npy", FATTN_I64, 1, two, (const double[]){45, 88});
    expect_file("lens.npy", FATTN_I64, 1, two, lengths);
    assert_int_not_equal(access("stepped/block_tables.npy", F_OK), 0);
}

static void bad_data(void **state)
{
    (void)state;
    save_vectors(FATTN_F32);
    FILE *file = fopen("bad.npy", "w");
    fputs("this is no tensor at all", file);
    fclose(file);
    unlink("o.npy");
    expect_error("run fusion_attention --query bad.npy --input-layout BNSD --out o.npy", 65,
                 "--query: bad.npy");
    expect_error("run fusion_attention --query none.npy --input-layout BNSD --out o.npy", 65,
                 "none.npy");
    expect_error("run fusion_attention --query x.safetensors --input-layout BNSD --out o.npy", 65,
                 ":NAME");
    expect_error("run fusion_attention" TENSORS " --input-layout BNSD", 64, "--out");
    expect_error("run fusion_attention" TENSORS " --query q.npy --input-layout BNSD --out o.npy",
                 64, "twice");
    expect_error("run fusion_attention" TENSORS " --input-layout XYZ --out o.npy", 1, "XYZ");
    expect_error("run fusion_attention --query q.npy --key k.npy --input-layout BNSD --out o.npy",
                 1, "value");
    expect_error("run fusion_attention" TENSORS " --input-layout BNSD --keep-prob 1.5 --out o.npy",
                 1, "keep_prob");
    expect_error("run fusion_attention" TENSORS
                 " --input-layout BNSD --isa avx2 --compute f16 --out o.npy",
                 1, "avx2");
    assert_int_not_equal(access("o.npy", F_OK), 0); /* no output on error */
    expect_error("run fusion_attention" TENSORS " --input-layout BNSD --out no/such/o.npy", 65,
                 "no/such/o.npy");
}

/* Two outputs never share a file, however it is spelt; nothing is written then. */
static void outputs_do_not_overwrite_each_other(void **state)
{
    (void)state;
    static const char *const ways[] = {
        "--out t.npy --softmax-max t.npy",
        "--out t.npy --softmax-max ./t.npy",
        "--softmax-max t.npy --softmax-sum \"$PWD/t.npy\"",
        "--out t.safetensors:a --softmax-max t.safetensors:a",
        "--out t.safetensors:a --softmax-max ./t.safetensors:b",
        "--out t.npy --out u.npy",
        "--out t.npy --attention-out u.npy",
        "--softmax-max t.npy --softmax-max=u.npy",
    };
    save_vectors(FATTN_F32);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char arguments[512];
        snprintf(arguments, sizeof arguments,
                 "run fusion_attention" TENSORS " --input-layout BNSD %s", ways[i]);
        expect_error(arguments, 64, i < 5 ? "file of its own" : "given twice");
        assert_int_not_equal(access("t.npy", F_OK), 0);
        assert_int_not_equal(access("u.npy", F_OK), 0);
        assert_int_not_equal(access("t.safetensors", F_OK), 0);
    }
}

/* A name that promises another format is refused before anything is computed; nothing is written.
 */
static void outputs_are_what_their_names_say(void **state)
{
    (void)state;
    static const char *const names[] = {"x.pt",           "x.pth", "x.pt:q", "x.safetensors",
                                        "x.safetensors:", "x.npz", "''"};
    save_vectors(FATTN_F32);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char arguments[512];
        snprintf(arguments, sizeof arguments,
                 "run fusion_attention" TENSORS " --input-layout BNSD --out %s", names[i]);
        expect_error(arguments, 64, "outputs are FILE.npy or FILE.safetensors:NAME");
        assert_int_not_equal(access(names[i], F_OK), 0);
    }
    expect_code("run fusion_attention" TENSORS " --input-layout BNSD --out x.pt.npy", 0);
}

static void endless_data(void **state)
{
    (void)state;
    save_vectors(FATTN_F32);
#define KV " --key k.npy --value v.npy --input-layout BNSD --scale 0.5"
    expect_error("run fusion_attention --query /dev/zero" KV " --out o.npy", 65, "/dev/zero");
    expect_error("run fusion_attention --query /dev/zero --query-dtype f16" KV " --out o.npy", 65,
                 "/dev/zero");
    expect_error("check @/dev/zero", 65, "/dev/zero");
    fattn_with("cat q.npy /dev/zero 2>/dev/null |",
               "run fusion_attention --query /dev/stdin" KV " --out o.npy");
    assert_int_equal(cli.code, 65);
    fattn_with("cat q.npy |", "run fusion_attention --query /dev/stdin" KV " --out o.npy");
    assert_int_equal(cli.code, 0);
}

/* Every option of run may stay where it is when the verb becomes check or verify. */
static void the_same_options(void **state)
{
    (void)state;
    static const char *const verbs[] = {"run", "check", "verify"};
    save_vectors(FATTN_F32);
    expect_code("run fusion_attention" TENSORS " --input-layout BNSD --out o.npy", 0);
    for (int i = 0; i < 3; i++) {
        char arguments[512];
        snprintf(arguments, sizeof arguments,
                 "%s fusion_attention" TENSORS
                 " --input-layout BNSD --out o.npy --compute f32 --out-dir same.d",
                 verbs[i]);
        expect_code(arguments, 0);
        assert_int_equal(access("same.d", F_OK) == 0, i == 0);
        rmdir("same.d");
        /* f32 tensors are computed in fp32 whatever is asked for; verify has no bound for f16 */
        snprintf(arguments, sizeof arguments,
                 "%s fusion_attention" TENSORS
                 " --input-layout BNSD --out o.npy --isa scalar --compute f16",
                 verbs[i]);
        expect_code(arguments, i < 2 ? 0 : 1);
        if (i == 2) expect_contains("fp16 arithmetic has no bound");
        snprintf(arguments, sizeof arguments,
                 "%s fusion_attention" TENSORS
                 " --input-layout BNSD --out o.npy --isa avx2 --compute f16",
                 verbs[i]);
        expect_error(arguments, 1, "avx2");
    }
}

static void json_of_failures(void **state)
{
    (void)state;
    if (!FATTN_WITH_JANSSON) skip();
    static const struct {
        const char *arguments;
        int code;
        const char *status, *says;
    } cases[] = {
        {"run fusion_attention" TENSORS " --input-layout BNSD --pse-type 9 --out o.npy --json", 1,
         "\"status\": \"FATTN_E_ARG\"", "pse_type"},
        {"run fusion_attention --query none.npy --out o.npy --json", 65, "\"status\": \"data\"",
         "none.npy"},
        {"run fusion_attention --jsonn --json", 64, "\"status\": \"usage\"", "no option --jsonn"},
        {"run --json", 64, "\"status\": \"usage\"", "which operator"},
        {"check --json 'fusion_attention sparse_mod=3'", 64, "\"status\": \"usage\"",
         "nearest: sparse_mode"},
        {"check --json @none.list", 65, "\"status\": \"data\"", "none.list"},
        {"verify --json 'fusion_attention sparse_mod=3'", 64, "\"status\": \"usage\"",
         "position 18"},
        {"mask --json --sparse-mode 77 --q-len 1 --kv-len 1", 64, "\"status\": \"usage\"", "77"},
    };
    save_vectors(FATTN_F32);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_error(cases[i].arguments, cases[i].code, cases[i].says);
        expect_contains(cases[i].status);
        expect_contains("\"message\": ");
        expect_contains(cases[i].says);
        assert_int_equal(cli.out[0], '{');
        assert_null(strstr(cli.out, "}\n{"));
    }
    fattn_with("printf 'attention_update\nfusion_attention x=1\n' |", "check --json @-");
    assert_int_equal(cli.code, 65);
    expect_contains("\"results\": [");
    expect_contains("'x' is not a parameter");
}

/* check with the options of run; verify of a result that was computed elsewhere. */
static void check_and_verify_files(void **state)
{
    (void)state;
    save_vectors(FATTN_F32);
#define CALL " fusion_attention" TENSORS " --input-layout BNSD --scale 0.5"
    expect_code("check" CALL " --sparse-mode 3", 0);
    expect_contains("attention_out f32[1,1,2,2]");
    expect_code("check" CALL " --sparse-mode 31", 1);
    expect_code("run" CALL " --out o.npy", 0);
    expect_code("verify" CALL " --out o.npy", 0);
    expect_contains("passed: 4 elements");
    save("wrong.npy", FATTN_F32, 4, q_shape, (const double[]){3, 4, 3.1729, 4.172974});
    expect_code("verify" CALL " --out wrong.npy", 1);
    expect_contains("FAILED: 4 elements");
    expect_contains("attention_out[0,0,1,0]");
    expect_error("verify" CALL, 64, "which result");
}

/* Codes and scales made by one verb and used by the other: -1 and 1 are the ends of the scale, and the only
 * key's value comes out, times its scale. */
static void quantised_files(void **state)
{
    (void)state;
    const int64_t rows[] = {1, 1, 2, 8}, one[] = {1, 1, 1, 8}, scales[] = {1, 2};
    const double x[] = {1, -1, 0.5, 0, 0.25, -0.125, 0, 1, 2, 4, -4, 1, 0, 3, -2, 0.5};
    const double q[] = {1, 0, 0, 0, 0, 0, 0, 0}, wanted_scales[] = {1.0 / 127, 4.0 / 127};
    const double codes[] = {127, -127, 64, 0, 32, -16, 0, 127, 64, 127, -127, 32, 0, 95, -64, 16};
    save("x.npy", FATTN_F32, 4, rows, x), save("q1.npy", FATTN_F32, 4, one, q);
    expect_code("quantize x.npy --out x8.npy --scale xs.npy", 0);
    expect_contains("antiquant mode 1");
    expect_file("x8.npy", FATTN_I8, 4, rows, codes);
    expect_file("xs.npy", FATTN_F32, 2, scales, wanted_scales);
    expect_code("run fused_infer_attention_score --query q1.npy --key x8.npy --value x8.npy "
                "--key-antiquant-scale xs.npy --value-antiquant-scale xs.npy --key-antiquant-mode 1 "
                "--value-antiquant-mode 1 --actual-seq-lengths-kv 1 --input-layout BNSD --num-heads 1 "
                "--out o8.npy",
                0);
    double first[8];
    for (int i = 0; i < 8; i++) first[i] = codes[i] / 127;
    expect_file("o8.npy", FATTN_F32, 4, one, first);

    expect_code("quantize x.npy --dtype i4 --granularity channel --out x4.npy --scale s4.npy --json", 0);
    expect_contains("\"mode\": 0");
    expect_code("quantize x.npy x.npy --granularity tensor --percentile 50 --scale st.npy", 0);
    expect_code("quantize x.npy --granularity tensor --use-scale st.npy --out xt.npy", 0);
    expect_error("quantize x.npy x.npy --scale st.npy", 1, "every token");
    expect_error("quantize x.npy x.npy --out st.npy", 64, "one file");
    expect_error("quantize x.npy", 64, "--out or --scale");
    expect_error("quantize --out y.npy", 64, "which file");
    expect_error("quantize x.npy --granularity row --out y.npy", 64, "none of tensor");
    expect_error("quantize x.npy --percentile 101 --out y.npy", 64, "at most 100");
    expect_error("quantize nothing.npy --out y.npy", 65, "nothing.npy");
    expect_error("quantize x.npy --use-scale xs.npy --granularity head --out y.npy", 1, "scale");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantised_files),
        cmocka_unit_test(anchors_of_the_specification),
        cmocka_unit_test(many_ways_to_say_it),
        cmocka_unit_test(several_outputs),
        cmocka_unit_test(dtypes_in_files),
        cmocka_unit_test(lists_of_tensors),
        cmocka_unit_test(in_place_operators),
        cmocka_unit_test(bad_data),
        cmocka_unit_test(outputs_do_not_overwrite_each_other),
        cmocka_unit_test(outputs_are_what_their_names_say),
        cmocka_unit_test(endless_data),
        cmocka_unit_test(the_same_options),
        cmocka_unit_test(json_of_failures),
        cmocka_unit_test(check_and_verify_files),
    };
    return cmocka_run_group_tests_name("cli_files", tests, enter, leave);
}
