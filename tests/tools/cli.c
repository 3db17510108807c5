/* SPDX-License-Identifier: Apache-2.0 */
/* cli.c — the command line without files: usage, help from the tables, pictures of the masks (the
 * specifications' own, literally), check and verify. */
#include "cli_case.h"

#include "fattn/fattn.h"

static void usage(void **state)
{
    (void)state;
    expect_error("", 64, "which verb");
    expect_error("runn", 64, "nearest: run");
    expect_error("run", 64, "which operator");
    expect_error("run fusion_atention --query q.npy", 64, "nearest: fusion_attention");
    expect_error("run fusion_attention --sparse-mod 3", 64, "nearest: --sparse-mode");
    expect_error("run fusion_attention --elephant 3", 64, "no option --elephant");
    expect_error("run fusion_attention --query", 64, "needs a value");
    expect_error("run fusion_attention -x", 64, "");
    expect_error("run fusion_attention --json=3 --out o.npy", 64, "no value");
    expect_error("run fusion_attention --sparse-mode three --out o.npy", 64, "integer");
    expect_error("run fusion_attention --query-dtype f17 --query q.npy --out o.npy", 64, "dtype");
    expect_error("run fusion_attention stray --out o.npy", 64, "stray");
    expect_error("info stray", 64, "stray");
    expect_error("info --isa mmx", 64, "scalar");
    expect_error("info --threads 0", 64, "1 to");
    expect_error("completions", 64, "bash");
    expect_error("run fusion_attention --strict --pre-tockens 3 --out o.npy", 64, "official");
}

static void help_goes_to_stdout(void **state)
{
    (void)state;
    static const char *const verbs[] = {"info", "run", "check", "verify", "mask", "bench"};
    expect_code("--help", 0);
    for (int i = 0; i < 6; i++) {
        char text[64];
        fattn("--help");
        expect_contains(verbs[i]);
        snprintf(text, sizeof text, "%s --help", verbs[i]);
        expect_code(text, 0);
        expect_contains("Usage: fattn ");
        expect_contains("--json");
        expect_contains("FATTN_JSON");
        assert_string_equal(cli.err, "");
    }
    expect_out("--version", "fattn " FATTN_VERSION_STRING "\n");
}

/* "[FATTN_Q_LEN]" for an option that the man page writes q\-len. */
static void twin_of(const char *roff, size_t n, char *out, size_t room)
{
    size_t used = (size_t)snprintf(out, room, "[FATTN_");
    for (size_t i = 0; i < n && used + 2 < room; i++)
        if (roff[i] != '\\')
            out[used++] = roff[i] == '-' ? '_' : (char)(roff[i] - ('a' <= roff[i]) * ('a' - 'A'));
    snprintf(out + used, room - used, "]");
}

/* The man page walks the option table of every verb; each of them names its twin. */
static void every_option_has_an_environment_twin(void **state)
{
    (void)state;
    static const char entry[] = ".TP\n\\fB\\-\\-";
    int seen = 0;
    expect_code("help-man", 0);
    char *end = strstr(cli.out, ".SH OPERATORS");
    assert_non_null(end);
    *end = '\0';
    for (char *at = cli.out; (at = strstr(at, entry)); seen++) {
        char twin[64];
        at += sizeof entry - 1;
        const char *name_end = strstr(at, "\\fR");
        assert_non_null(name_end);
        twin_of(at, (size_t)(name_end - at), twin, sizeof twin);
        char *help = strchr(at, '\n') + 1;
        help[strcspn(help, "\n")] = ' ';
        char *next = strstr(help, ".TP\n"), *found = strstr(help, twin);
        if (!found || (next && found > next)) fail_msg("no %s in\n%.200s", twin, help);
    }
    assert_true(seen > 30);
    expect_env("FATTN_SUITE=elephants", "bench", 64, "elephants");
    expect_env("FATTN_ONLY=elephants", "bench", 64, "elephants");
    expect_env("FATTN_DTYPE=elephants", "bench", 64, "elephants");
    expect_env("FATTN_RUNS=elephants", "bench", 64, "elephants");
}

/* The modes are the library's own. */
static void mask_has_every_mode(void **state)
{
    (void)state;
    fattn_capability_set set = {.size = sizeof set};
    assert_int_equal(fattn_capabilities(NULL, &set), FATTN_OK);
    for (int mode = 0; mode < 64; mode++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments,
                 "mask --sparse-mode %d --actual-seq-qlen 2 --actual-seq-kvlen 2%s", mode,
                 mode == 5 || mode == 6 ? " --prefix 1" : "");
        expect_code(arguments, set.sparse_modes_training >> mode & 1 ? 0 : 64);
    }
}

static void words_that_are_nearly_right(void **state)
{
    (void)state;
    static const char *const verbs[] = {"info", "run", "check", "verify", "mask", "bench"};
    expect_error("attention_update --lse x.npy", 64, "did you mean: fattn run attention_update");
    expect_error("npu_fusion_attention", 64, "did you mean: fattn run fusion_attention");
    expect_error("run fusion_attention --num-heads 3", 64, "nearest: --head-num");
    expect_error("run fusion_attention --layout-input BSH", 64, "nearest: --input-layout");
    expect_error("completions zsh", 64, "none for 'zsh', only for bash: fattn completions bash");
    expect_error("completions bash --json", 64, "no --json");
    expect_error("help-man --json", 64, "no --json");
    expect_error("help runn", 64, "nearest: run");
    for (int i = 0; i < 6; i++) {
        static cli_result long_form;
        char text[64];
        snprintf(text, sizeof text, "%s --help", verbs[i]);
        expect_code(text, 0);
        long_form = cli;
        snprintf(text, sizeof text, "%s -h", verbs[i]);
        expect_out(text, long_form.out);
        snprintf(text, sizeof text, "help %s", verbs[i]);
        expect_out(text, long_form.out);
    }
    expect_code("help run attention_update", 0);
    expect_contains("--local-out");
}

/* A verdict on a line of a file says which. */
static void places_in_files(void **state)
{
    (void)state;
    FILE *file = fopen("cli_case.list", "w");
    fprintf(file, "# one\nattention_update lse=f32[7]*2 local_out=f16[7,8]*2\n\n"
                  "attention_update lse=f32[7]*2 local_out=f16[7,8]*3\n");
    fclose(file);
    expect_code("check @cli_case.list", 1);
    expect_contains("cli_case.list:4: illegal: FATTN_E_");
    expect_contains("\n  attention_update lse=f32[7]*2 local_out=f16[7,8]*3\n");
    assert_memory_equal(cli.out, "legal: ", 7);
    expect_code("verify @cli_case.list", 1);
    expect_contains("cli_case.list:2: not verified: FATTN_E_UNSUPPORTED");
    expect_contains("\n  attention_update lse=f32[7]*2 local_out=f16[7,8]*2\n");
    file = fopen("cli_case.list", "w");
    fprintf(file, "\nattention_update lze=f32[7]*2\n");
    fclose(file);
    expect_error("check @cli_case.list", 65, "cli_case.list:2: position 18");
    unlink("cli_case.list");
}

static void dashed(const char *name, char *out, size_t room)
{
    snprintf(out, room, "--%s", name);
    for (char *c = out; *c; c++)
        if (*c == '_') *c = '-';
}

/* Every parameter of every operator is in its help, the man page and the completion. */
static void every_parameter_is_documented(void **state)
{
    (void)state;
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    for (int page = 0; page < 3; page++)
        for (int i = 0; i < count; i++) {
            char text[128], option[128];
            snprintf(text, sizeof text, "run %s --help", ops[i].name);
            expect_code(page == 0 ? text : page == 1 ? "help-man" : "completions bash", 0);
            for (int f = 0; f < ops[i].n_fields; f++) {
                if (ops[i].fields[f].kind == FATTN_FIELD_INT_OUT) continue;
                dashed(ops[i].fields[f].name, option, sizeof option);
                if (page == 1) { /* the man page writes \-\-name\-rest */
                    char roff[256] = "", *to = roff;
                    for (const char *c = option; *c; c++) {
                        if (*c == '-') *to++ = '\\';
                        *to++ = *c;
                    }
                    expect_contains(roff);
                } else {
                    expect_contains(option);
                }
            }
        }
}

static void completion_is_bash(void **state)
{
    (void)state;
    char command[8192];
    snprintf(
        command, sizeof command,
        "command -v bash >/dev/null || exit 77; '%s' completions bash > cli_case.bash && bash -c "
        "'. "
        "./cli_case.bash; COMP_WORDS=(fattn run fusion_attention --sp); COMP_CWORD=3; _fattn; [[ "
        "${COMPREPLY[*]} == --sparse-mode ]] || exit 1; COMP_WORDS=(fattn bench --dtype b); "
        "COMP_CWORD=3; "
        "_fattn; [[ ${COMPREPLY[*]} == bf16 ]] || exit 1; COMP_WORDS=(fattn quantize --dtype e5); "
        "_fattn; [[ ${COMPREPLY[*]} == e5m2 ]] || exit 1; "
        "COMP_WORDS=(fattn run fusion_attention --key-dtype bf); COMP_CWORD=4; _fattn; "
        "[[ ${COMPREPLY[*]} == bf16 ]]'",
        FATTN_CLI);
    const int status = system(command);
    unlink("cli_case.bash");
    if (WEXITSTATUS(status) == 77) {
        printf("not run: completion, bash is missing\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void info(void **state)
{
    (void)state;
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    expect_code("info", 0);
    expect_contains(FATTN_VERSION_STRING);
    expect_contains("jansson");
    expect_contains("OpenBLAS");
    for (int i = 0; i < count; i++) expect_contains(ops[i].name);
    fattn_with("FATTN_ISA=scalar FATTN_THREADS=1", "info");
    assert_int_equal(cli.code, 0);
    assert_non_null(strstr(cli.out, "scalar"));
    fattn("info --isa scalar --threads 3");
    assert_non_null(strstr(cli.out, " 3\n"));
}

/* The pictures of the specification of the training operator (4.2) and of inference (1.4). */
static const struct {
    const char *options, *picture;
} masks[] = {
    {"--sparse-mode 4 --q-len 4 --kv-len 6 --pre-tokens 2 --next-tokens 0",
     "###... .###.. ..###. ...###"},
    {"--sparse-mode 0 --q-len 4 --kv-len 6 --pre-tokens 1 --next-tokens 1",
     "##.... ###... .###.. ..###."},
    {"--sparse-mode 2 --q-len 4 --kv-len 6", "#..... ##.... ###... ####.."},
    {"--sparse-mode 3 --q-len 4 --kv-len 6", "###... ####.. #####. ######"},
    {"--sparse-mode 4 --q-len 4 --kv-len 6 --pre-tokens 1 --next-tokens 1",
     ".###.. ..###. ...### ....##"},
    {"--sparse-mode 6 --q-len 4 --kv-len 6 --prefix 3", "###... ####.. #####. ######"},
    {"--sparse-mode 5 --q-len 4 --kv-len 6 --prefix 5", "#####. #####. #####. ######"},
    {"--sparse-mode 0 --q-len 6 --kv-len 4 --pre-tokens 1 --next-tokens 1",
     "##.. ###. .### ..## ...# ...."},
    {"--sparse-mode 2 --q-len 6 --kv-len 4", "#... ##.. ###. #### #### ####"},
    {"--sparse-mode 3 --q-len 6 --kv-len 4", ".... .... #... ##.. ###. ####"},
    {"--sparse-mode 4 --q-len 6 --kv-len 4 --pre-tokens 2 --next-tokens 0",
     ".... .... #... ##.. ###. .###"},
    {"--sparse-mode 4 --q-len 6 --kv-len 4 --pre-tokens=1 --next-tokens=1",
     ".... #... ##.. ###. .### ..##"},
    {"--sparse-mode 6 --q-len 6 --kv-len 4 --prefix 3", "###. ###. ###. ###. ###. ####"},
    {"--sparse-mode 4 --q-len 3 --kv-len 5 --pre-tokens 1 --next-tokens 0", ".##.. ..##. ...##"},
    {"--sparse-mode 4 --q-len 3 --kv-len 5 --pre-tokens 2 --next-tokens 1", "####. .#### ..###"},
    {"--sparse-mode 4 --q-len 3 --kv-len 5 --pre-tokens -1 --next-tokens 2", "...## ....# ....."},
    {"--sparse-mode 4 --q-len 5 --kv-len 3 --pre-tokens -1 --next-tokens 2", "#.. ##. .## ..# ..."},
    {"--sparse-mode 7 --actual-seq-qlen 3,5 --actual-seq-kvlen 3,9 --pre-tokens 6 --next-tokens -2",
     "#.. ##. ### ###... ####.."},
    {"--sparse-mode 8 --actual-seq-qlen 3,8,12 --actual-seq-kvlen 4,9,13 --pre-tokens 4 "
     "--next-tokens 1",
     "###. #### #### #.... ##... ###.. ####. ##### #... ##.. ###. ####"},
    {"--sparse-mode 3 --actual-seq-qlen 1,3,6 --actual-seq-kvlen 3,7,12",
     "### ###. #### ###.. ####. #####"},
    {"--sparse-mode 6 --actual-seq-qlen 2,4 --actual-seq-kvlen 3,6 --prefix 2,3",
     "##. ### ### ###"},
    {"--sparse-mode 1 --q-len 2 --kv-len 3", "### ###"},
    {"--q-len 2 --kv-len 3", "### ###"},
    {"--sparse-mode 3 --q-len 2 --kv-len 0", " "},
    {"--sparse-mode 3 --q-len 0 --kv-len 2", NULL},
};

static void mask_pictures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        char arguments[256], lines[256] = "";
        snprintf(arguments, sizeof arguments, "mask %s", masks[i].options);
        if (masks[i].picture) snprintf(lines, sizeof lines, "%s\n", masks[i].picture);
        for (char *c = lines; *c; c++)
            if (*c == ' ') *c = '\n';
        expect_out(arguments, lines);
    }
}

/* 13 x 16, pre 6, next 4: the vendor's example, row 0 keeps 0..7 and row 12 keeps 9..15; and a
 * picture wider than one chunk of keys. */
static void mask_rows(void **state)
{
    (void)state;
    expect_code("mask --sparse-mode 4 --q-len 13 --kv-len 16 --pre-tokens 6 --next-tokens 4", 0);
    assert_memory_equal(cli.out, "########........\n", 17);
    assert_memory_equal(cli.out + 12 * 17, ".........#######\n", 17);
    expect_code("mask --sparse-mode 3 --q-len 2 --kv-len 300", 0);
    for (int j = 0; j < 300; j++) {
        assert_int_equal(cli.out[j], j < 299 ? '#' : '.');
        assert_int_equal(cli.out[301 + j], '#');
    }
    assert_string_equal(cli.out + 601, "\n");
}

static void mask_errors(void **state)
{
    (void)state;
    expect_error("mask --sparse-mode 9 --q-len 2 --kv-len 2", 64, "0 to 8");
    expect_error("mask --sparse-mode 3 --kv-len 2", 64, "q-len");
    expect_error("mask --sparse-mode 6 --q-len 2 --kv-len 2", 1, "prefix");
    expect_error("mask --sparse-mode 6 --q-len 2 --kv-len 2 --prefix 1,1", 64, "prefix");
    expect_error("mask --sparse-mode 6 --q-len 2 --kv-len 2 --prefix 3", 1, "prefix");
    expect_error("mask --sparse-mode 4 --q-len 2 --kv-len 2 --pre-tokens -1 --next-tokens -1", 1,
                 "tokens");
    expect_error("mask --actual-seq-qlen 3,2 --actual-seq-kvlen 3,4", 64, "cumulative");
    expect_error("mask --actual-seq-qlen 3 --actual-seq-kvlen 3,4", 64, "entries");
    expect_error("mask --q-len 100000000 --kv-len 100000000", 64, "cells");
    expect_error("mask --q-len 2 --kv-len 2 --svg no/such/place.svg", 65, "no/such/place.svg");
    expect_error("mask --q-len -2 --kv-len 2", 64, "q-len");
}

static void mask_svg_and_environment(void **state)
{
    (void)state;
    expect_out("mask --sparse-mode 2 --q-len 2 --kv-len 2 --svg cli_case.svg", "#.\n##\n");
    FILE *file = fopen("cli_case.svg", "r");
    assert_non_null(file);
    read_all(file, cli.out, sizeof cli.out);
    fclose(file);
    unlink("cli_case.svg");
    assert_memory_equal(cli.out, "<svg ", 5);
    int cells = 0;
    for (const char *at = cli.out; (at = strstr(at, "#1f6feb")); at++) cells++;
    assert_int_equal(cells, 2); /* two runs of visible keys */
    fattn_with("FATTN_SPARSE_MODE=2 FATTN_STRICT=1", "mask --q-len 2 --kv-len 2");
    assert_string_equal(cli.out, "#.\n##\n");
    fattn_with("FATTN_SPARSE_MODE=2", "mask --q-len 2 --kv-len 2 --sparse-mode 1");
    assert_string_equal(cli.out, "##\n##\n");
}

#define LINE                                                                                       \
    "fusion_attention input_layout=TND head_num=8 query=f16[6,8,128] key=f16[12,2,128] "           \
    "value=f16[12,2,128] actual_seq_qlen=1,3,6 actual_seq_kvlen=3,7,12 sparse_mode=3 fill=normal " \
    "seed=7 threads=2"

/* Strict takes the official spelling only, whoever asks for strict: the option, else the line, else
 * the environment. */
static void official_spellings(void **state)
{
    (void)state;
    static const char alias[] = "check " LINE " pre_tockens=9";
    expect_code(alias, 0);
    expect_error("check " LINE " pre_tockens=9 --strict", 64, "strict wants pre_tokens");
    expect_error("check " LINE " pre_tockens=9 strict=0 --strict", 64, "strict wants pre_tokens");
    fattn_with("FATTN_STRICT=1", alias);
    assert_int_equal(cli.code, 64);
    assert_non_null(strstr(cli.err, "strict wants pre_tokens"));
    fattn_with("FATTN_STRICT=1", "check " LINE " pre_tockens=9 strict=0");
    assert_int_equal(cli.code, 0);
    fattn_with("FATTN_STRICT=1", "run fusion_attention --pre-tockens 3 --out o.npy");
    assert_int_equal(cli.code, 64);
    assert_non_null(strstr(cli.err, "strict wants pre_tokens"));
    fattn_with("FATTN_STRICT=1", "bench '" LINE " pre_tockens=9'");
    assert_int_equal(cli.code, 64);
}

static void check(void **state)
{
    (void)state;
    expect_code("check " LINE, 0);
    expect_contains("legal: ");
    expect_contains("attention_out f16[6,8,128]");
    expect_contains("softmax_max f32[6,8,8]");
    assert_non_null(strstr(cli.err, "warning"));
    expect_code("check '" LINE "'", 0);
    expect_code("check '" LINE "' --strict", 0);
    expect_code("check " LINE " pse_type=7", 1);
    expect_contains("illegal: FATTN_E_ARG: ");
    expect_contains("pse_type");
    expect_code("check fusion_attention input_layout=BSND query=f16[9223372036854775807,3,3,3] "
                "key=f16[1,1,1,3] value=f16[1,1,1,3]",
                1);
    expect_contains("illegal: ");
    /* No memory is taken for the tensors: this is 32 GiB of keys. */
    expect_code(
        "check fusion_attention input_layout=BSND query=f16[1,1,1,64] key=f16[1,268435456,1,64] "
        "value=f16[1,268435456,1,64]",
        0);
    expect_error("check fusion_attention qeury=f16[2]", 64, "position 18");
    expect_error("check 'fusion_atention x=1'", 64, "nearest: fusion_attention");
    expect_error("check @no/such/file", 65, "no/such/file");
    expect_error("check", 64, "which operator");
}

static void lines_from_a_file(void **state)
{
    (void)state;
    FILE *file = fopen("cli_case.list", "w");
    fprintf(file, "# two good lines\n" LINE "\n\n   " LINE " sparse_mode=3\n");
    fclose(file);
    expect_error("check @cli_case.list", 65, "twice");
    file = fopen("cli_case.list", "w");
    fprintf(file, "# two good lines\n\n" LINE "\n  " LINE " scale=0.1\n");
    fclose(file);
    expect_code("check @cli_case.list", 0);
    expect_code("verify @cli_case.list", 0);
    int passed = 0;
    for (const char *at = cli.out; (at = strstr(at, "passed: ")); at++) passed++;
    assert_int_equal(passed, 2);
    unlink("cli_case.list");
    fattn_with("printf '" LINE " pse_type=9\\n' |", "check @-");
    assert_int_equal(cli.code, 1);
}

static void verify(void **state)
{
    (void)state;
    expect_code("verify " LINE, 0);
    expect_contains("passed: 6912 elements, 0 outside");
    expect_contains("cosine");
    expect_code("verify '" LINE "' --isa scalar --threads 1", 0);
    expect_code("verify " LINE " pse_type=9", 1);
    expect_error("verify " LINE " pse_tipe=9", 64, "nearest: pse_type");
    expect_code("verify attention_update lse=f32[7]*3 local_out=f16[7,8]*3", 1);
    expect_contains("FATTN_E_UNSUPPORTED");
    expect_code("verify fusion_attention query=f16[9223372036854775807]", 1);
    expect_error(
        "verify fusion_attention input_layout=BSND query=f16[1,1,1,64] key=f16[1,34359738368,1,64] "
        "value=f16[1,34359738368,1,64]",
        1, "out of memory");
    expect_error("verify " LINE " sink=f32[8]{1,2}", 64, "exactly 8");
}

static void json(void **state)
{
    (void)state;
    if (!FATTN_WITH_JANSSON) {
        expect_error("info --json", 64, "jansson");
        return;
    }
    expect_code("info --json", 0);
    expect_contains("\"operators\": [");
    fattn_with("FATTN_JSON=1", "mask --sparse-mode 2 --q-len 2 --kv-len 2");
    expect_contains("\"##\"");
    expect_code("check --json " LINE, 0);
    expect_contains("\"legal\": true");
    expect_contains("\"workspace_bytes\": ");
    expect_code("check --json " LINE " pse_type=9", 1);
    expect_contains("\"legal\": false");
    expect_contains("\"status\": \"FATTN_E_ARG\"");
    expect_code("verify --json '" LINE "'", 0);
    expect_contains("\"passed\": true");
    expect_contains("\"worst\": 0.");
}

/* A line in separate words, as check, verify and explain take it; what is about suites is not about
 * a line. */
static void bench_takes_lines(void **state)
{
    (void)state;
#define WORDS                                                                                      \
    "fusion_attention input_layout=BNSD query=f32[1,1,8,16] key=f32[1,1,8,16] value=f32[1,1,8,16]"
    expect_code("bench --runs 1 " WORDS, 0);
    expect_code("bench --runs 1 '" WORDS "'", 0);
    expect_error("bench " WORDS " --suite serving", 64, "--suite: is about a suite");
    expect_error("bench --only x '" WORDS "'", 64, "--only: is about a suite");
    if (!FATTN_WITH_JANSSON) return;
    expect_code("bench --suite serving --only serving-prefix --runs 1 --no-standard --json", 0);
    expect_contains("\"standard_ms\": null");
}

static void a_full_disk_is_a_failure(void **state)
{
    (void)state;
    expect_code("info >/dev/full", 65);
    expect_code("run --help >/dev/full", 65);
    expect_code("--help >/dev/full", 65);
    expect_code("check 'fusion_attention query=f32[1]' >/dev/full", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage),
        cmocka_unit_test(help_goes_to_stdout),
        cmocka_unit_test(every_parameter_is_documented),
        cmocka_unit_test(every_option_has_an_environment_twin),
        cmocka_unit_test(words_that_are_nearly_right),
        cmocka_unit_test(places_in_files),
        cmocka_unit_test(mask_has_every_mode),
        cmocka_unit_test(completion_is_bash),
        cmocka_unit_test(info),
        cmocka_unit_test(mask_pictures),
        cmocka_unit_test(mask_rows),
        cmocka_unit_test(mask_errors),
        cmocka_unit_test(mask_svg_and_environment),
        cmocka_unit_test(official_spellings),
        cmocka_unit_test(check),
        cmocka_unit_test(lines_from_a_file),
        cmocka_unit_test(verify),
        cmocka_unit_test(json),
        cmocka_unit_test(bench_takes_lines),
        cmocka_unit_test(a_full_disk_is_a_failure),
    };
    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
