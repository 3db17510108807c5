/* SPDX-License-Identifier: Apache-2.0 */
/* env.c — the environment is read once, at the first context, and a field of the options wins.
 * Every case runs in a child process that has not met the library before; the parent never calls
 * it. */
#include "cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/context.h"

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s; message: %s\n", __LINE__, #condition,                    \
                    fattn_error_message());                                                        \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* 0 when all went as expected. `setting` is "NAME=value NAME=value" or "". */
static void in_child(const char *setting, int (*body)(void))
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        char text[256], *rest;
        const char *all[] = {"FATTN_ISA", "FATTN_BACKEND", "FATTN_THREADS", "FATTN_STRICT",
                             "FATTN_LOG", "FATTN_LANG",    "FATTN_DUMP_DIR"};
        for (int i = 0; i < 7; i++) unsetenv(all[i]);
        snprintf(text, sizeof text, "%s", setting);
        for (char *pair = strtok_r(text, " ", &rest); pair; pair = strtok_r(NULL, " ", &rest)) {
            char *equals = strchr(pair, '=');
            *equals = '\0';
            setenv(pair, equals + 1, 1);
        }
        _exit(body());
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0) print_error("with \"%s\"\n", setting);
    assert_int_equal(status, 0);
}

static fattn_context_options defaults(void)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    return options;
}

static int body_nothing(void)
{
    EXPECT(fattn_context_threads(NULL) == cpu_default_threads());
    EXPECT(strcmp(fattn_context_isa(NULL), isa_name(isa_best())) == 0);
    EXPECT(!fattn_context_strict(NULL));
    return 0;
}

static int body_set(void)
{
    EXPECT(fattn_context_threads(NULL) == 5);
    EXPECT(strcmp(fattn_context_isa(NULL), "scalar") == 0);
    EXPECT(fattn_context_strict(NULL));
    fattn_context *context = NULL;
    EXPECT(context_resolve(&context) == FATTN_OK);
    EXPECT(strcmp(context->backend, "ref") == 0 && context->log);
    setenv("FATTN_THREADS", "7", 1); /* read once: too late */
    EXPECT(fattn_context_create(&context, NULL) == FATTN_OK && context->threads == 5);
    fattn_context_destroy(context);
    return 0;
}

static int body_option_wins(void)
{
    fattn_context_options options = defaults();
    fattn_context *context = NULL;
    options.threads = 2;
    options.strict = 0;
    options.isa = "scalar";
    options.backend = "cpu";
    EXPECT(fattn_context_create(&context, &options) == FATTN_OK);
    EXPECT(context->threads == 2 && !context->strict && context->isa == ISA_SCALAR);
    EXPECT(strcmp(context->backend, "cpu") == 0);
    fattn_context_destroy(context);
    return 0;
}

static int body_bad(void)
{
    fattn_context *context = NULL;
    EXPECT(fattn_context_create(&context, NULL) == FATTN_E_ARG);
    EXPECT(context == NULL);
    EXPECT(strstr(fattn_error_message(), "FATTN_"));
    EXPECT(fattn_context_threads(NULL) ==
           0); /* the default context fails the same way, every time */
    EXPECT(strcmp(fattn_context_isa(NULL), "") == 0);
    EXPECT(!fattn_context_strict(NULL));
    return 0;
}

static int body_bad_isa(void)
{
    if (body_bad()) return 1;
    EXPECT(strstr(fattn_error_message(), "FATTN_ISA"));
    for (const char *const *name = isa_available_names(); *name; name++)
        EXPECT(strstr(fattn_error_message(), *name));
    return 0;
}

static int body_chinese(void)
{
    fattn_context_options options = defaults();
    fattn_context *context = NULL;
    options.strict = 7;
    EXPECT(fattn_context_create(&context, &options) == FATTN_E_ARG);
    EXPECT(strstr(fattn_error_message(), "strict：7 不是"));
    return 0;
}

static int body_strict_off(void)
{
    EXPECT(!fattn_context_strict(NULL));
    return 0;
}

static int body_log(void)
{
    fattn_context *context = NULL;
    int ends[2];
    char text[512] = {0};
    EXPECT(context_resolve(&context) == FATTN_OK);
    EXPECT(pipe(ends) == 0);
    const int kept = dup(2);
    dup2(ends[1], 2);
    context_warn(context, WARN_HIDDEN_WINDOW, "key %d", 4711);
    context_warn(context, WARN_HIDDEN_WINDOW, "key %d", 4712);
    dup2(kept, 2);
    close(ends[1]);
    EXPECT(read(ends[0], text, sizeof text - 1) > 0);
    EXPECT(strstr(text, "4711") && !strstr(text, "4712") && strstr(text, "hidden_window"));
    return 0;
}

static int body_log_off(void)
{
    fattn_context *context = NULL;
    EXPECT(context_resolve(&context) == FATTN_OK);
    EXPECT(!context->log && context->record == 0 && !context->dump_dir);
    return 0;
}

static int body_log_calls(void)
{
    fattn_context *context = NULL;
    EXPECT(context_resolve(&context) == FATTN_OK);
    EXPECT(context->log && context->record == RECORD_CALL);
    return 0;
}

static int body_log_both(void)
{
    fattn_context *context = NULL;
    EXPECT(context_resolve(&context) == FATTN_OK);
    EXPECT(context->log && context->record == (RECORD_PLAN | RECORD_CALL));
    return 0;
}

static int body_dump(void)
{
    fattn_context *context = NULL;
    EXPECT(context_resolve(&context) == FATTN_OK);
    EXPECT(!context->log && context->record == RECORD_DUMP);
    EXPECT(strcmp(context->dump_dir, "some/where") == 0);
    setenv("FATTN_DUMP_DIR", "elsewhere", 1); /* read once: too late */
    EXPECT(fattn_context_create(&context, NULL) == FATTN_OK);
    EXPECT(strcmp(context->dump_dir, "some/where") == 0);
    fattn_context_destroy(context);
    return 0;
}

static int body_bad_log(void)
{
    if (body_bad()) return 1;
    EXPECT(strstr(fattn_error_message(), "FATTN_LOG") &&
           strstr(fattn_error_message(), "0, 1, plan, call"));
    return 0;
}

static void test_log_words(void **state)
{
    (void)state;
    in_child("FATTN_LOG=0", body_log_off);
    in_child("FATTN_LOG=", body_log_off);
    in_child("FATTN_LOG=call", body_log_calls);
    in_child("FATTN_LOG=0,call,1", body_log_calls);
    in_child("FATTN_LOG=plan,call", body_log_both);
    in_child("FATTN_LOG=call,plan", body_log_both);
    in_child("FATTN_DUMP_DIR=some/where", body_dump);
    in_child("FATTN_DUMP_DIR= FATTN_LOG=0", body_log_off);
    const char *const bad[] = {"calls", "2", "plan;call", ",", "call,,plan", "CALL", "pla"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char setting[64];
        snprintf(setting, sizeof setting, "FATTN_LOG=%s", bad[i]);
        in_child(setting, body_bad_log);
    }
}

static void test_language(void **state)
{
    (void)state;
    in_child("FATTN_LANG=zh", body_chinese);
    in_child("FATTN_LANG=zh_CN.UTF-8", body_chinese);
    in_child("FATTN_LANG=en", body_nothing);
}

static void test_unset(void **state)
{
    (void)state;
    in_child("", body_nothing);
    in_child("FATTN_ISA= FATTN_THREADS= FATTN_BACKEND= FATTN_STRICT=0", body_nothing);
}

static void test_set(void **state)
{
    (void)state;
    in_child("FATTN_ISA=scalar FATTN_THREADS=5 FATTN_BACKEND=ref FATTN_STRICT=1 FATTN_LOG=1",
             body_set);
}

static void test_option_wins(void **state)
{
    (void)state;
    in_child("FATTN_ISA=scalar FATTN_THREADS=5 FATTN_BACKEND=ref FATTN_STRICT=1", body_option_wins);
    in_child("FATTN_ISA=nonsense FATTN_THREADS=many FATTN_BACKEND=none", body_option_wins);
}

static void test_bad(void **state)
{
    (void)state;
    in_child("FATTN_ISA=sse", body_bad_isa);
    in_child("FATTN_ISA=AVX2", body_bad_isa);
#if defined(__x86_64__)
    in_child("FATTN_ISA=neon", body_bad_isa);
#else
    in_child("FATTN_ISA=avx2", body_bad_isa);
#endif
    in_child("FATTN_BACKEND=cuda", body_bad);
    in_child("FATTN_LANG=de", body_bad);
    const char *const threads[] = {"0", "-1", "1025", "2x", "x", "99999999999999999999", "1.5"};
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        char setting[64];
        snprintf(setting, sizeof setting, "FATTN_THREADS=%s", threads[i]);
        in_child(setting, body_bad);
    }
}

static void test_switches(void **state)
{
    (void)state;
    in_child("FATTN_STRICT=0", body_strict_off);
    in_child("FATTN_STRICT=", body_strict_off);
    in_child("FATTN_LOG=1", body_log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unset),     cmocka_unit_test(test_language),
        cmocka_unit_test(test_set),       cmocka_unit_test(test_option_wins),
        cmocka_unit_test(test_bad),       cmocka_unit_test(test_switches),
        cmocka_unit_test(test_log_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
