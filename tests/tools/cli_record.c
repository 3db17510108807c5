/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded calls, replayed: FATTN_DUMP_DIR and `fattn run --replay`. The same bits for every
 * operator, single and planned; other bits are found and named; what is no record is refused as bad
 * data. */
#include "cli_case.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/context.h"
#include "io/safetensors.h"
#include "record_cases.h"
#include "tests/lines/generate.h"
#include "tools/problem_line.h"

enum { RANDOM_LINES = 12, NAMES = 64 };

static int enter(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof name, "cli_record_%ld", (long)getpid());
    return mkdir(name, 0777) != 0 || chdir(name) != 0;
}

static int leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf cli_record_%ld", (long)getpid());
    return chdir("..") != 0 || system(command) != 0;
}

static void clear(void) { assert_int_equal(system("rm -rf rec"), 0); }

/* The records in rec/, sorted; how many. */
static int records(char names[NAMES][300])
{
    int n = 0;
    struct dirent **all;
    const int found = scandir("rec", &all, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        if (strstr(all[i]->d_name, ".safetensors") && n < NAMES)
            snprintf(names[n++], sizeof names[0], "rec/%s", all[i]->d_name);
        free(all[i]);
    }
    if (found >= 0) free(all);
    return n;
}

static void replay_all(const char *line, int wanted)
{
    static char names[NAMES][300];
    char command[400];
    const int n = records(names);
    static const char *const environments[] = {
        "", "FATTN_STRICT=1 FATTN_BACKEND=ref FATTN_ISA=scalar", "FATTN_BACKEND=cpu"};
    if (n != wanted) fail_msg("%s\n  %d records instead of %d", line, n, wanted);
    for (int i = 0; i < n; i++) {
        snprintf(command, sizeof command, "run --replay %.*s", (int)sizeof names[i], names[i]);
        fattn_with(environments[i % 3], command); /* today's environment changes nothing */
        if (cli.code != 0 || strncmp(cli.out, "same bits", 9) != 0)
            fail_msg("%s\n  fattn %s\n  exit %d: %s%s", line, command, cli.code, cli.out, cli.err);
    }
}

/* Calls the line in this process with a record; its status. */
static fattn_status record(const char *text)
{
    line_error error;
    problem_line *line = line_open(text, &error);
    if (!line) fail_msg("%s\n  %s", text, error.text);
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    line_options(line, &options);
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    context->log = false;
    context->record = RECORD_DUMP;
    context->dump_dir = "rec";
    fattn_generator_seed(context, 2024); /* not that of a new context */
    clear();
    fattn_status status = line_outputs(line, context);
    status = line->op->call(context, line->args); /* an illegal call is recorded, too */
    fattn_context_destroy(context);
    line_destroy(line);
    return status;
}

static void every_operator_has_the_same_bits(void **state)
{
    (void)state;
    if (!safetensors_available()) skip();
    int legal = 0;
    for (int i = 0; i < CORNERS; i++) {
        legal += record(corners[i]) == FATTN_OK;
        replay_all(corners[i], 1);
    }
    assert_true(legal >= CORNERS - 3); /* the illegal ones are meant to be */
}

static void dropout_draws_the_same_again(void **state)
{
    (void)state;
    if (!safetensors_available()) skip();
    static const char *const lines[] = {
        "fusion_attention input_layout=BNSD head_num=2 query=f32[1,2,40,16] key=f32[1,2,40,16] "
        "value=f32[1,2,40,16] keep_prob=0.5",
        "dropout_gen_mask sizes=100 p=0.5 draw=1",
    };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(record(lines[i]), FATTN_OK);
        replay_all(lines[i], 1);
    }
}

static void random_calls_have_the_same_bits(void **state)
{
    (void)state;
    if (!safetensors_available()) skip();
    static const char *const ops[] = {"fusion_attention",       "fusion_attention_grad",
                                      "prompt_flash_attention", "incre_flash_attention",
                                      "fused_infer_attention_score",
                                      "fused_infer_attention_score_v2"};
    static random_line line;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        for (uint64_t n = 0; n < RANDOM_LINES; n++) {
            generate_line(&line, ops[i], 99, n);
            record(line.text);
            replay_all(line.text, 1);
        }
}

/* bench runs a plan: once to begin with, then as often as asked. */
static void runs_of_a_plan_are_recorded(void **state)
{
    (void)state;
    char command[1024];
    if (!safetensors_available()) skip();
    static const char *const lines[] = {
        "incre_flash_attention input_layout=BSH num_heads=4 num_key_value_heads=2 "
        "query=f16[3,1,64] key=f16[3,40,32] "
        "value=f16[3,40,32] actual_seq_lengths=7,40,12 page=16",
        "attention_update update_type=1 lse=f32[7]*2 local_out=f16[7,8]*2",
        "ring_attention_update prev_attn_out=f32[5,2,16] prev_softmax_max=f32[2,1,5,8] "
        "prev_softmax_sum=f32[2,1,5,8] cur_attn_out=f32[5,2,16] cur_softmax_max=f32[2,1,5,8] "
        "cur_softmax_sum=f32[2,1,5,8] input_layout=SBH",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        clear();
        snprintf(command, sizeof command, "bench --runs 2 '%s'", lines[i]);
        fattn_with("FATTN_DUMP_DIR=rec", command);
        if (cli.code != 0) fail_msg("%s\n%s", command, cli.err);
        replay_all(lines[i], 3);
    }
}

#define LINE                                                                                       \
    "fusion_attention input_layout=BNSD query=f32[1,2,5,8] key=f32[1,2,5,8] value=f32[1,2,5,8] "   \
    ".seed=5 seed=3"

/* The only record there is. */
static const char *one_record(void)
{
    static char names[NAMES][300];
    assert_int_equal(records(names), 1);
    return names[0];
}

static char *slurp(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *bytes = malloc(1 << 20);
    *n = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void spit(const char *path, const char *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

/* Replaces `old`, which must be there once or more, by `now` of the same length. */
static void swap(char *bytes, size_t n, const char *old, const char *now)
{
    char *at = memmem(bytes, n, old, strlen(old));
    if (!at) fail_msg("the record has no %s", old);
    assert_int_equal(strlen(old), strlen(now));
    memcpy(at, now, strlen(now));
}

/* Outputs stand last, softmax_sum behind softmax_max behind attention_out. */
static void other_bits_are_found(void **state)
{
    (void)state;
    size_t n;
    if (!safetensors_available()) skip();
    assert_int_equal(record(LINE), FATTN_OK);
    char *bytes = slurp(one_record(), &n);
    const size_t statistics = 2 * 5 * 8 * sizeof(float);
    bytes[n - 2 * statistics - 4] ^= 1; /* the last element of attention_out */
    spit("changed.safetensors", bytes, n);
    expect_code("run --replay changed.safetensors", 1);
    expect_contains("different: attention_out[0,1,4,7] is ");
    expect_contains("; 1 of 80 elements differ");
    fattn("run --replay changed.safetensors --json");
    assert_int_equal(cli.code, 1);
    expect_contains("\"same\": false");
    expect_contains("\"output\": \"attention_out\"");
    expect_contains("\"index\": 79");
    bytes[n - 2 * statistics - 4] ^= 1;
    swap(bytes, n, "\"out.seed_out\":\"5\"", "\"out.seed_out\":\"6\"");
    spit("changed.safetensors", bytes, n);
    expect_code("run --replay changed.safetensors", 1);
    expect_contains("seed_out is 5, recorded 6");
    swap(bytes, n, "\"out.seed_out\":\"6\"", "\"out.seed_out\":\"5\"");
    swap(bytes, n, "\"FATTN_OK\"", "\"FATTN_NO\"");
    spit("changed.safetensors", bytes, n);
    expect_code("run --replay changed.safetensors", 1);
    expect_contains("answers FATTN_OK, recorded FATTN_NO");
    free(bytes);
}

/* An instruction set that this machine has not: another one takes its place, and that is said. */
static void another_instruction_set_is_told(void **state)
{
    (void)state;
    size_t n;
    if (!safetensors_available()) skip();
    assert_int_equal(record(LINE " isa=scalar"), FATTN_OK);
    char *bytes = slurp(one_record(), &n);
    expect_code("run --replay rec/*", 0);
    assert_string_equal(cli.err, ""); /* replayed on scalar, whatever is best here */
    swap(bytes, n, "\"isa\":\"scalar\"", "\"isa\":\"scolar\"");
    spit("changed.safetensors", bytes, n);
    fattn("run --replay changed.safetensors --isa scalar");
    assert_int_equal(cli.code, 0);
    assert_non_null(strstr(cli.err, "recorded on scolar, replayed on scalar"));
    free(bytes);
}

/* So is the arithmetic: in fp32 the bits would be others. */
static void the_arithmetic_is_recorded(void **state)
{
    (void)state;
    size_t n;
    if (!safetensors_available()) skip();
    assert_int_equal(record("fusion_attention input_layout=BNSD query=f16[1,1,20,16] "
                            "key=f16[1,1,90,16] value=f16[1,1,90,16] isa=scalar compute=f16"),
                     FATTN_OK);
    char *bytes = slurp(one_record(), &n);
    expect_code("run --replay rec/*", 0);
    swap(bytes, n, "\"compute\":\"f16\"", "\"compute\":\"f32\"");
    spit("changed.safetensors", bytes, n);
    expect_code("run --replay changed.safetensors", 1);
    fattn_with("FATTN_COMPUTE=f16", "run --replay changed.safetensors");
    assert_int_equal(cli.code, 1); /* as it was, not as the environment of today says */
    expect_code("run --replay changed.safetensors --compute f16", 0); /* unless it is asked for */
    free(bytes);
}

/* What was computed without strict is computed so again, whatever the environment of the replay
 * says; so does a line of the log. A mask over everything: 0 by default, the mean of the values in
 * strict mode. */
static void the_environment_of_the_replay_is_not_that_of_the_call(void **state)
{
    (void)state;
#define HIDDEN                                                                                     \
    "fusion_attention input_layout=BNSD query=f32[1,2,5,8] key=f32[1,2,5,8] value=f32[1,2,5,8] "   \
    "atten_mask=bool[5,5] atten_mask.fill=ones sparse_mode=1"
    static const char *const others[] = {"FATTN_STRICT=1", "FATTN_BACKEND=ref",
                                         "FATTN_STRICT=1 FATTN_BACKEND=ref"};
    char command[2048];
    if (!safetensors_available()) skip();
    assert_int_equal(record(HIDDEN), FATTN_OK);
    for (int i = 0; i < 3; i++) {
        fattn_with(others[i], "run --replay rec/*");
        if (cli.code != 0) fail_msg("%s\n%s%s", others[i], cli.out, cli.err);
    }
    fattn("run --replay rec/* --strict"); /* asked for in so many words */
    assert_int_equal(cli.code, 1);
    fattn_with("FATTN_LOG=call", "verify '" HIDDEN "'");
    snprintf(command, sizeof command, "explain '%.*s' --peak-gflops 1 --peak-gbps 1",
             (int)strcspn(cli.err, "\n"), cli.err);
    expect_code(command, 0);
    char plain[CLI_TEXT];
    strcpy(plain, cli.out);
    fattn_with("FATTN_STRICT=1 FATTN_BACKEND=ref", command);
    assert_int_equal(cli.code, 0);
    assert_string_equal(cli.out, plain);
}

/* Strides of a file may ask for any memory. A gap costs nothing as long as nobody looks into it;
 * what does not fit into the machine is bad data, not a failure of ours. */
static void hostile_strides(void **state)
{
    (void)state;
    size_t n;
    if (!safetensors_available()) skip();
    assert_int_equal(record("fusion_attention input_layout=BNSD query=f32[1,2,5,8] "
                            "query.strides=9000000,1000000,8,1 "
                            "key=f32[1,2,5,8] value=f32[1,2,5,8]"),
                     FATTN_OK);
    char *bytes = slurp(one_record(), &n);
#define STRIDES "\"query.strides\":\""
    swap(bytes, n, STRIDES "9000000,1000000,8,1\"",
         STRIDES "1,0001000000000,8,1\""); /* 4 GB, 80 numbers in it */
    spit("changed.safetensors", bytes, n);
    expect_code("run --replay changed.safetensors", 0);
    struct rusage used;
    assert_int_equal(getrusage(RUSAGE_CHILDREN, &used), 0);
    assert_true(used.ru_maxrss < 2 << 20); /* KiB; the sanitizers have their share */
    swap(bytes, n, STRIDES "1,0001000000000,8,1\"", STRIDES "1,9e18,99999999,8,1\"");
    spit("changed.safetensors", bytes, n);
    expect_code("run --replay changed.safetensors", 65);
    swap(bytes, n, STRIDES "1,9e18,99999999,8,1\"", STRIDES "1,9999999999999,8,1\"");
    spit("changed.safetensors", bytes, n);
    expect_error("run --replay changed.safetensors", 65, "larger than this machine");
    free(bytes);
}

static void no_record_is_bad_data(void **state)
{
    (void)state;
    size_t n;
    if (!safetensors_available()) skip();
    assert_int_equal(record(LINE), FATTN_OK);
    char *bytes = slurp(one_record(), &n);
    for (size_t cut = 0; cut < n; cut += cut < 32 ? 1 : 61) { /* whatever is missing */
        spit("cut.safetensors", bytes, cut);
        expect_code("run --replay cut.safetensors", 65);
    }
    static const char *const changes[][2] = {
        {"query=f32[1,2,5,8]", "query=f32[1,2,5,9]"},
        {"query=f32[", "query=f64["},
        {"\"line\":", "\"lime\":"},
        {"\"isa\":", "\"iza\":"},
        {"fusion_attention query", "fusion_attentoin query"},
        {"\"key\":{", "\"kye\":{"},
        {"\"out.softmax_max\":{", "\"out.softmax_mix\":{"},
        {"{\"__metadata__\"", "{\"__metedata__\""},
        {" head_num", " heed_num"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        char *changed = malloc(n);
        memcpy(changed, bytes, n);
        if (!memmem(bytes, n, changes[i][0], strlen(changes[i][0]))) {
            assert_non_null(strstr(changes[i][0], "head_num")); /* the layout tells the heads */
        } else {
            swap(changed, n, changes[i][0], changes[i][1]);
            spit("changed.safetensors", changed, n);
            fattn("run --replay changed.safetensors");
            if (cli.code != 65)
                fail_msg("%s -> %s: exit %d", changes[i][0], changes[i][1], cli.code);
        }
        free(changed);
    }
    free(bytes);
    expect_code("run --replay nowhere.safetensors", 65);
}

static void a_replay_stands_alone(void **state)
{
    (void)state;
    expect_error("run --replay x.safetensors fusion_attention", 64,
                 "takes its operator from the file");
    expect_error("run fusion_attention --scale 2 --replay x.safetensors", 64,
                 "takes its parameters from the file");
    expect_error("run --op fusion_attention --replay x.safetensors", 64,
                 "--op: a replay takes its operator from");
    expect_error("run --out-dir here --replay x.safetensors", 64, "--out-dir: a replay");
}

/* A call that never came back: its inputs are there and can be computed, its outputs are not. */
static void an_unfinished_record_is_told(void **state)
{
    (void)state;
    size_t n;
    if (!safetensors_available()) skip();
    assert_int_equal(record(LINE), FATTN_OK);
    char *bytes = slurp(one_record(), &n);
    swap(bytes, n, "\"FATTN_OK\",\"us\":\"", "\"crashed!\",\"us\":\"");
    spit("changed.safetensors", bytes, n);
    expect_code("run --replay changed.safetensors", 1);
    expect_contains("answers FATTN_OK, recorded crashed!");
    free(bytes);
}

/* What a log says can be pasted into check, verify and bench, and a whole log is a file of lines.
 */
static void a_log_is_a_file_of_lines(void **state)
{
    (void)state;
    fattn_with("FATTN_LOG=plan,call", "verify '" LINE "'");
    assert_int_equal(cli.code, 0);
    assert_ptr_equal(strstr(cli.err, "# plan fusion_attention: "), cli.err);
    FILE *file = fopen("calls.list", "w");
    fputs(cli.err, file);
    fclose(file);
    const char *call = strchr(cli.err, '\n') + 1;
    char pasted[2048];
    snprintf(pasted, sizeof pasted, "check '%.*s'", (int)strcspn(call, "\n"), call);
    expect_code(pasted, 0);
    memcpy(pasted, "bench", 5);
    expect_code(pasted, 0);
    expect_code("check @calls.list", 0);
    expect_code("verify @calls.list", 0);
    expect_contains("passed: 240 elements");
    fattn_with("FATTN_LOG=plan,call",
               "verify '" LINE " sparse_mode=3'"); /* warns: there is no mask */
    assert_int_equal(cli.code, 0);
    assert_non_null(strstr(cli.err, "# fattn verify: warning: "));
    file = fopen("calls.list", "w");
    fputs(cli.err, file);
    fclose(file);
    expect_code("check @calls.list", 0);
    fattn_with("FATTN_LOG=call", "verify '" LINE " sparse_mode=99'"); /* refused */
    assert_int_equal(cli.code, 1);
    expect_env("FATTN_LOG=call", "check '" LINE " sparse_mod=3'", 64, "# fattn check: position ");
    expect_env("FATTN_LOG=call", "check '" LINE " sparse_mod=3'", 64, "#   in: fusion_attention ");
    expect_env("FATTN_LOG=loud", "check '" LINE "'", 64, "0, 1, plan, call");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_has_the_same_bits),
        cmocka_unit_test(dropout_draws_the_same_again),
        cmocka_unit_test(random_calls_have_the_same_bits),
        cmocka_unit_test(runs_of_a_plan_are_recorded),
        cmocka_unit_test(other_bits_are_found),
        cmocka_unit_test(another_instruction_set_is_told),
        cmocka_unit_test(the_arithmetic_is_recorded),
        cmocka_unit_test(the_environment_of_the_replay_is_not_that_of_the_call),
        cmocka_unit_test(hostile_strides),
        cmocka_unit_test(no_record_is_bad_data),
        cmocka_unit_test(a_replay_stands_alone),
        cmocka_unit_test(an_unfinished_record_is_told),
        cmocka_unit_test(a_log_is_a_file_of_lines),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
