/* SPDX-License-Identifier: Apache-2.0 */
/* verify_files.c — `fattn verify` of results that were computed elsewhere: what is judged, what is
 * named, what is refused. The call is the hand-computed example of the specification (inference
 * 18): one head, D = 2, scale 0.5. */
#include "cli_case.h"

#include "io/element.h"
#include "io/npy.h"
#include "io/safetensors.h"

#include <math.h>
#include <sys/stat.h>

static int enter(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof name, "verify_files_%ld", (long)getpid());
    return mkdir(name, 0777) != 0 || chdir(name) != 0;
}

static int leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf verify_files_%ld", (long)getpid());
    return chdir("..") != 0 || system(command) != 0;
}

static void save(const char *path, fattn_dtype dtype, int rank, const int64_t *shape,
                 const double *values)
{
    static unsigned char data[4096];
    int64_t count;
    io_error error;
    io_count(rank, shape, &count);
    for (int64_t i = 0; i < count; i++) io_set(data, dtype, i, values[i]);
    const fattn_tensor t = io_contiguous(data, dtype, rank, shape);
    if (npy_write(path, &t, &error) != IO_OK) fail_msg("%s", error.message);
}

static const int64_t q_shape[] = {1, 1, 2, 2}, kv_shape[] = {1, 1, 3, 2},
                     lse_shape[] = {1, 1, 2, 1};

/* Scores of row 0: 0.5, 0, 0.5; of row 1: 0.25, 0.25, 0.5. */
static void exact(double out[4], double lse[2])
{
    const double scores[2][3] = {{0.5, 0, 0.5}, {0.25, 0.25, 0.5}};
    for (int i = 0; i < 2; i++) {
        double sum = 0, a = 0, b = 0;
        for (int j = 0; j < 3; j++) {
            const double p = exp(scores[i][j]);
            sum += p, a += p * (2 * j + 1), b += p * (2 * j + 2);
        }
        out[2 * i] = a / sum, out[2 * i + 1] = b / sum;
        lse[i] = log(sum);
    }
}

static double out[4], lse[2];

static void save_call(fattn_dtype dtype)
{
    save("q.npy", dtype, 4, q_shape, (const double[]){1, 0, 0.5, 0.5});
    save("k.npy", dtype, 4, kv_shape, (const double[]){1, 0, 0, 1, 1, 1});
    save("v.npy", dtype, 4, kv_shape, (const double[]){1, 2, 3, 4, 5, 6});
    exact(out, lse);
}

#define OPTIONS                                                                                    \
    " --query q.npy --key k.npy --value v.npy --input-layout BNSD --num-heads 1 --scale 0.5"
#define CALL "verify fused_infer_attention_score" OPTIONS
#define LSE " --softmax-lse-flag"

static void the_exact_answer_passes(void **state)
{
    (void)state;
    save_call(FATTN_F32);
    save("r.npy", FATTN_F32, 4, q_shape, out);
    expect_code(CALL " --result r.npy", 0);
    expect_contains("passed: 4 elements, 0 outside");
    expect_contains("correctly rounded 100.00 %");
    expect_contains("level L2");
    expect_code("verify --op fused_infer_attention_score" OPTIONS " --result r.npy", 0);
    expect_code("verify --op=npu_fused_infer_attention_score" OPTIONS " --result=r.npy", 0);
    expect_code("verify" OPTIONS " --op fused_infer_attention_score --result-attention-out r.npy",
                0);
    expect_code("verify --op fused_infer_attention_score_v2 --query q.npy --key k.npy --value v.npy"
                " --input-layout BNSD --num-query-heads 1 --softmax-scale 0.5 --result r.npy",
                0);
    expect_env("FATTN_RESULT=r.npy", CALL, 0, "");
}

/* The third of four numbers is wrong by a little, by an ulp, by everything. */
static void the_worst_element_is_named(void **state)
{
    (void)state;
    char says[128];
    save_call(FATTN_F32);
    double wrong[4] = {out[0], out[1], out[2] + 1e-4, out[3]};
    save("r.npy", FATTN_F32, 4, q_shape, wrong);
    expect_code(CALL " --result r.npy", 1);
    expect_contains("FAILED: 4 elements, 1 outside");
    snprintf(says, sizeof says, "worst attention_out[0,0,1,0]: got %.9g, exact %.9g, bound ",
             (double)(float)wrong[2], out[2]);
    expect_contains(says);
    expect_contains("level none");
    wrong[2] = (double)nextafterf((float)out[2], 10);
    save("r.npy", FATTN_F32, 4, q_shape, wrong);
    expect_code(CALL " --result r.npy", 0);
    wrong[2] = NAN;
    save("r.npy", FATTN_F32, 4, q_shape, wrong);
    expect_code(CALL " --result r.npy", 1);
    expect_contains("1 outside, 1 NaN");
    expect_contains("attention_out[0,0,1,0]: got nan");
    expect_contains("1 errors are not finite and in none of these figures; level none");
    assert_null(strstr(cli.out, "vendor's ratios"));
    const double nothing[4] = {NAN, NAN, NAN, NAN};
    save("r.npy", FATTN_F32, 4, q_shape, nothing);
    if (FATTN_WITH_JANSSON) {
        expect_code(CALL " --result r.npy --json", 1);
        static const char *const keys[] = {"rms", "max_rel", "cosine", "ratio_rms"};
        for (int i = 0; i < 4; i++) {
            char null[40];
            snprintf(null, sizeof null, "\"%s\": null", keys[i]);
            expect_contains(null);
        }
        expect_contains("\"infinite\": 4");
    }
    wrong[2] = INFINITY;
    save("r.npy", FATTN_F32, 4, q_shape, wrong);
    expect_code(CALL " --result r.npy", 1);
    expect_contains("got inf");
}

static double json_number(const char *key)
{
    const char *at = strstr(cli.out, key);
    if (!at) fail_msg("%s is missing in\n%s", key, cli.out);
    return strtod(at + strlen(key), NULL);
}

/* The figures of a result that is off by 1 % in one element and exact in the others, by hand. */
static void figures_and_ratios(void **state)
{
    (void)state;
    if (!FATTN_WITH_JANSSON) skip();
    static const char *const keys[] = {
        "\"max_rel\": ", "\"mean_rel\": ", "\"rms\": ", "\"max_abs\": "};
    save_call(FATTN_F64);
    const double wrong[4] = {out[0], out[1], out[2], out[3] * 1.01}, off = wrong[3] - out[3];
    const double wanted[] = {off / (out[3] + 1e-7), off / (out[3] + 1e-7) / 4, sqrt(off * off / 4),
                             off};
    save("r.npy", FATTN_F64, 4, q_shape, wrong);
    expect_code(CALL " --result r.npy --json", 1);
    for (int i = 0; i < 4; i++) {
        const double got = json_number(keys[i]);
        if (!(fabs(got - wanted[i]) < 1e-9))
            fail_msg("%s%.17g instead of %.17g", keys[i], got, wanted[i]);
    }
    expect_contains("\"passed\": false");
    expect_contains("\"worst_at\": [");
    expect_contains("\"ratio_rms\": ");
    expect_contains("\"level\": \"none\"");
    expect_contains("\"stored\": \"f64\"");
    expect_contains("\"nans\": 0");
}

/* A result two steps of fp16 beside our own: the ratios by their definition. */
static void ratios_to_our_own_result(void **state)
{
    (void)state;
    io_tensor own;
    io_error error;
    double worse[4], errors[2][3] = {{0}};
    save_call(FATTN_F16);
    expect_code("run fused_infer_attention_score" OPTIONS " --out own.npy", 0);
    expect_code(CALL " --result own.npy", 0);
    expect_contains("max rel 1, mean rel 1, rms 1; level L2");
    assert_int_equal(npy_read("own.npy", FATTN_DTYPE_NONE, &own, &error), IO_OK);
    for (int i = 0; i < 4; i++) {
        const double mine = io_get(own.t.data, FATTN_F16, i);
        worse[i] = mine + ldexp(1, -8); /* 2 to 4 has steps of 2^-9, 4 to 8 of 2^-8 */
        const double both[2] = {mine, worse[i]};
        for (int k = 0; k < 2; k++) {
            const double off = fabs(both[k] - out[i]), relative = off / (out[i] + 1e-7);
            errors[k][0] = fmax(errors[k][0], relative);
            errors[k][1] += relative;
            errors[k][2] += off * off;
        }
    }
    io_tensor_free(&own);
    save("r.npy", FATTN_F16, 4, q_shape, worse);
    expect_code(CALL " --result r.npy", 1);
    if (!FATTN_WITH_JANSSON) return;
    expect_code(CALL " --result r.npy --json", 1);
    static const char *const keys[] = {
        "\"ratio_max_rel\": ", "\"ratio_mean_rel\": ", "\"ratio_rms\": "};
    for (int i = 0; i < 3; i++) {
        const double wanted =
            i < 2 ? errors[1][i] / errors[0][i] : sqrt(errors[1][i] / errors[0][i]);
        if (!(fabs(json_number(keys[i]) / wanted - 1) < 1e-9)) fail_msg("%s%.17g", keys[i], wanted);
    }
}

static void statistics_alone_and_together(void **state)
{
    (void)state;
    save_call(FATTN_F32);
    save("r.npy", FATTN_F32, 4, q_shape, out);
    save("l.npy", FATTN_F32, 4, lse_shape, lse);
    expect_code(CALL LSE " --result r.npy --result-lse l.npy", 0);
    expect_contains("passed: 6 elements");
    expect_code(CALL LSE " --result-softmax-lse l.npy", 0);
    expect_contains("passed: 2 elements");
    assert_null(strstr(cli.out, "attention_out:"));
    save("l.npy", FATTN_F32, 4, lse_shape, (const double[]){lse[0], lse[1] + 1e-4});
    expect_code(CALL LSE " --result-lse l.npy --result r.npy", 1);
    expect_contains("worst softmax_lse[0,0,1,0]: got ");
    expect_code(CALL LSE " --result-lse l.npy", 1);
    expect_error(CALL " --result-lse l.npy", 64,
                 "this call does not return softmax_lse; --softmax-lse-flag asks");
    expect_error("verify fused_infer_attention_score_v2 --query q.npy --key k.npy --value v.npy "
                 "--input-layout BNSD "
                 "--num-query-heads 1 --result-lse l.npy",
                 64, "; --return-softmax-lse asks");
    expect_error(CALL " --result-softmax-max l.npy", 64, "has no such output");
    expect_error(CALL LSE " --result-lse l.npy --result-softmax-lse l.npy", 64,
                 "are both softmax_lse");
    expect_error(CALL " --result r.npy --out r.npy", 64, "are both attention_out");
}

static void training_statistics(void **state)
{
    (void)state;
    const int64_t shape[] = {1, 1, 2, 8};
    double max[16], sum[16];
    save_call(FATTN_F32);
    for (int i = 0; i < 16; i++) max[i] = 0.5, sum[i] = exp(lse[i / 8] - 0.5);
    save("m.npy", FATTN_F32, 4, shape, max);
    save("s.npy", FATTN_F32, 4, shape, sum);
#define TRAINING                                                                                   \
    "verify fusion_attention --query q.npy --key k.npy --value v.npy --input-layout BNSD --scale " \
    "0.5"
    expect_code(TRAINING " --result-max m.npy --result-sum s.npy", 0);
    expect_contains("passed: 32 elements");
    sum[13] *= 1.01;
    save("s.npy", FATTN_F32, 4, shape, sum);
    expect_code(TRAINING " --result-max m.npy --result-sum s.npy", 1);
    expect_contains("worst softmax_sum[0,0,1,5]: got ");
}

static void dtypes_of_dumps(void **state)
{
    (void)state;
    save_call(FATTN_BF16);
#define BF16 " --query-dtype bf16 --key-dtype bf16 --value-dtype bf16"
    save("r.npy", FATTN_BF16, 4, q_shape, out); /* u2 in the file */
    expect_code(CALL BF16 " --result r.npy", 0);
    expect_code(CALL BF16 " --result r.npy --result-dtype bf16", 0);
    expect_code(CALL BF16 " --result r.npy --result-dtype f16", 65); /* these bits are no fp16 */
    double widened[4];
    uint16_t cell[1];
    for (int i = 0; i < 4; i++)
        io_set(cell, FATTN_BF16, 0, out[i]), widened[i] = io_get(cell, FATTN_BF16, 0);
    save("r.npy", FATTN_F32, 4, q_shape, widened);
    expect_code(CALL BF16 " --result r.npy", 0);
    assert_null(strstr(cli.out, "rounded from"));
    save("r.npy", FATTN_F32, 4, q_shape, out); /* more exact than asked for */
    expect_code(CALL BF16 " --result r.npy", 0);
    expect_contains("rounded from f32");
    save("r.npy", FATTN_F16, 4, q_shape, out);
    expect_error(CALL BF16 " --result r.npy", 65, "--query-dtype f16");
    save("r.npy", FATTN_I32, 4, q_shape, out);
    expect_code(CALL BF16 " --result r.npy", 65);
    assert_null(strstr(cli.err, "--query-dtype")); /* no query is i32 */
    save("r.npy", FATTN_BF16, 4, q_shape, out);
    fattn_with("cat r.npy |", CALL BF16 " --result /dev/stdin"); /* raw elements are read once */
    assert_int_equal(cli.code, 0);
    save_call(FATTN_F32);
    save("r.npy", FATTN_F16, 4, q_shape, out);
    expect_error(CALL " --result r.npy", 65,
                 "f16[1,1,2,2], but attention_out of this call is f32[1,1,2,2]");
    expect_error(CALL " --result r.npy --result-dtype f77", 64, "f77");
}

static void shapes_of_dumps(void **state)
{
    (void)state;
    static const int64_t flat[] = {4}, turned[] = {1, 2, 1, 2}, more[] = {1, 1, 2, 3};
    const double six[6] = {0};
    save_call(FATTN_F32);
    save("r.npy", FATTN_F32, 1, flat, out);
    expect_error(
        CALL " --result r.npy", 65,
        "r.npy is f32[4], but attention_out of this call is f32[1,1,2,2]; as many elements");
    save("r.npy", FATTN_F32, 4, turned, out);
    expect_error(CALL " --result r.npy", 65, "f32[1,1,2,2]");
    save("r.npy", FATTN_F32, 4, more, six);
    expect_error(CALL " --result r.npy", 65, "f32[1,1,2,3]");
    assert_null(strstr(cli.err, "as many elements"));
    expect_error(CALL " --result none.npy", 65, "none.npy");
    expect_error(CALL " --result q.txt:x", 65, "q.txt");
}

static void problem_lines_with_a_result(void **state)
{
    (void)state;
#define LINE                                                                                       \
    "'fused_infer_attention_score input_layout=BSND query=f16[1,3,2,16] key=f16[1,9,2,16]"         \
    " value=f16[1,9,2,16] num_heads=2 softmax_lse_flag=true"
    const double zeros[96] = {0};
    expect_code("verify " LINE " seed=3'", 0);
    expect_contains("softmax_lse: 6 elements");
    save("r.npy", FATTN_F16, 4, (const int64_t[]){1, 3, 2, 16}, zeros);
    expect_code("verify " LINE " seed=3' --result r.npy", 1);
    expect_contains("FAILED: 96 elements");
    expect_contains("seed=3");
    expect_error("verify " LINE "' --result r.npy --result-lse r.npy", 65,
                 "softmax_lse of this call");
    FILE *file = fopen("lines", "w");
    assert_non_null(file);
    fclose(file);
    expect_error("verify @lines --result r.npy", 64, "not with the lines of @lines");
}

/* Strict semantics: an fp16 dump of inner_precise 1, where the device rounds the scores to fp16, is
 * inside the strict contract; and a mask over everything gives the mean of the values in strict
 * training. */
static void strict_answers(void **state)
{
    (void)state;
    const double mean[4] = {3, 4, 3, 4}, zero[4] = {0};
    save_call(FATTN_F32);
    save("m.npy", FATTN_BOOL, 2, (const int64_t[]){2, 3}, (const double[]){1, 1, 1, 1, 1, 1});
#define MASKED TRAINING " --head-num 1 --atten-mask m.npy --sparse-mode 1"
    save("r.npy", FATTN_F32, 4, q_shape, mean);
    expect_code(MASKED " --result r.npy", 1);
    expect_code(MASKED " --strict --result r.npy", 0);
    save("r.npy", FATTN_F32, 4, q_shape, zero);
    expect_code(MASKED " --result r.npy", 0);
    expect_code(MASKED " --strict --result r.npy", 1);
}

static void usage(void **state)
{
    (void)state;
    save_call(FATTN_F32);
    save("r.npy", FATTN_F32, 4, q_shape, out);
    expect_error(CALL, 64, "which result");
    expect_error("verify --op nonsense --result r.npy", 64, "'nonsense' is not an operator");
    expect_error("verify --op fusion_attention prompt_flash_attention --result r.npy", 64,
                 "'prompt_flash_attention': only the operator's name stands alone");
    expect_env("FATTN_OP=fused_infer_attention_score", "verify" OPTIONS " --result r.npy", 0, "");
    expect_env("FATTN_OP=prompt_flash_attention", CALL " --result r.npy", 0, "");
    expect_error("verify --result r.npy", 64, "which operator");
    expect_error("run fusion_attention --result r.npy", 64, "--result");
    expect_code("verify --op fusion_attention" OPTIONS " --sparse-mode 99 --result r.npy", 64);
    expect_code(CALL " --sparse-mode 99 --result r.npy", 1);
    expect_contains("not verified: FATTN_E_ARG");
    expect_code("run --op fused_infer_attention_score" OPTIONS " --out o.npy", 0);
    expect_code("check --op fused_infer_attention_score" OPTIONS, 0);
}

/* What a build can read, and which layouts an operator has, is in `fattn info`. */
static void info_about_files_and_layouts(void **state)
{
    (void)state;
    expect_code("info", 0);
    expect_contains("tensor files           .npy");
    expect_contains("libzip       ");
    const char *v2 = strstr(cli.out, "\n  fused_infer_attention_score_v2 "),
               *decode = strstr(cli.out, "\n  incre_");
    assert_non_null(v2);
    assert_non_null(decode);
    assert_non_null(strstr(v2, "TND_NTD"));
    assert_non_null(strstr(v2, "    sparse modes       0 1 2 3 4 9\n"));
    assert_non_null(strstr(decode, "    layouts            BSH BSND BNSD\n"));
    if (!FATTN_WITH_JANSSON) return;
    expect_code("info --json", 0);
    expect_contains("\"tensor_files\": [");
    expect_contains("\"sparse_modes\": [");
}

/* Every element one step of fp16 beside the right one: inside its bound, and still not good enough.
 */
static void too_few_correctly_rounded(void **state)
{
    (void)state;
    enum { ROWS = 64, D = 16, N = ROWS * D };
    static double ones[N], beside[N];
    static const int64_t shape[] = {1, 1, ROWS, D};
    for (int i = 0; i < N; i++) ones[i] = 1, beside[i] = 1 - 0x1p-11;
    save("q.npy", FATTN_F16, 4, shape, ones);
    save("r.npy", FATTN_F16, 4, shape, beside);
#define SAME                                                                                       \
    "verify fused_infer_attention_score --query q.npy --key q.npy --value q.npy --input-layout "   \
    "BNSD "                                                                                        \
    "--num-heads 1 --result r.npy"
    expect_code(SAME, 1);
    expect_contains(" 0 outside, worst error ");
    expect_contains("; too few elements are correctly rounded\n");
    if (!FATTN_WITH_JANSSON) return;
    expect_code(SAME " --json", 1);
    expect_contains("\"message\": \"too few elements are correctly rounded\"");
}

/* Results and inputs from one archive. */
static void archives(void **state)
{
    (void)state;
    if (!FATTN_WITH_JANSSON) skip();
    float data[4];
    io_error error;
    save_call(FATTN_F32);
    for (int i = 0; i < 4; i++) data[i] = (float)out[i];
    const fattn_tensor t = io_contiguous(data, FATTN_F32, 4, q_shape);
    assert_int_equal(safetensors_write("r.safetensors", 1, (const char *[]){"dump.out"},
                                       (const fattn_tensor *[]){&t}, &error),
                     IO_OK);
    expect_code(CALL " --result r.safetensors:dump.out", 0);
    expect_error(CALL " --result r.safetensors:other", 65, "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exact_answer_passes),
        cmocka_unit_test(the_worst_element_is_named),
        cmocka_unit_test(figures_and_ratios),
        cmocka_unit_test(ratios_to_our_own_result),
        cmocka_unit_test(statistics_alone_and_together),
        cmocka_unit_test(training_statistics),
        cmocka_unit_test(dtypes_of_dumps),
        cmocka_unit_test(shapes_of_dumps),
        cmocka_unit_test(problem_lines_with_a_result),
        cmocka_unit_test(strict_answers),
        cmocka_unit_test(usage),
        cmocka_unit_test(info_about_files_and_layouts),
        cmocka_unit_test(too_few_correctly_rounded),
        cmocka_unit_test(archives),
    };
    return cmocka_run_group_tests_name("verify_files", tests, enter, leave);
}
