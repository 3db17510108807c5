/* SPDX-License-Identifier: Apache-2.0 */
/* functions.c — the fuzzers' list of public functions and the headers name the same functions. */
#include "cm.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fattn/fattn.h"
#include "fuzz/functions.h"

static bool listed(const char *name, size_t length)
{
    for (int i = 0; i < FUNCTION_COUNT; i++)
        if (strncmp(function_names[i], name, length) == 0 && function_names[i][length] == '\0')
            return true;
    return false;
}

static size_t word(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyz_0123456789");
}

/* FATTN_API <type> fattn_<name>( in one header; returns how many. */
static int check_functions(const char *text, const char *file)
{
    int found = 0;
    for (const char *at = text; (at = strstr(at, "FATTN_API ")); at++) {
        const char *open = strchr(at, '('), *name = open;
        while (name > at && word(name - 1) > 0) name--;
        if (strncmp(name, "fattn_", 6) != 0 || memchr(at, '#', (size_t)(open - at))) continue;
        if (!listed(name, (size_t)(open - name)))
            fail_msg("%s: %.*s has no fuzzer: tests/fuzz/functions.def does not name it", file,
                     (int)(open - name), name);
        found++;
    }
    return found;
}

static int check_operators(const char *text, const char *file)
{
    static const char *const ends[OP_FUNCTIONS] = {"_args_init", "", "_shapes", "_workspace",
                                                   "_plan"};
    static const char macro[] = "\nFATTN_DECLARE_OPERATOR(";
    int found = 0;
    for (const char *at = text; (at = strstr(at, macro)); found += OP_FUNCTIONS) {
        at += strlen(macro);
        for (int i = 0; i < OP_FUNCTIONS; i++) {
            char name[128];
            snprintf(name, sizeof name, "fattn_%.*s%s", (int)word(at), at, ends[i]);
            if (!listed(name, strlen(name)))
                fail_msg("%s: %s has no fuzzer: tests/fuzz/functions.def does not name it", file,
                         name);
        }
    }
    return found;
}

static char *read_header(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/include/fattn/%s", FATTN_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 18);
    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 18) - 1, file) < (1 << 18) - 1);
    fclose(file);
    return text;
}

static void test_headers_and_list_agree(void **state)
{
    (void)state;
    int found = 0;
    DIR *folder = opendir(FATTN_SOURCE_DIR "/include/fattn");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        const size_t length = strlen(entry->d_name);
        if (length < 3 || strcmp(entry->d_name + length - 2, ".h") != 0) continue;
        char *text = read_header(entry->d_name);
        found += check_functions(text, entry->d_name) + check_operators(text, entry->d_name);
        free(text);
    }
    closedir(folder);
    assert_int_equal(found, FUNCTION_COUNT); /* none is listed that no header has */
}

static void test_operators_have_their_place(void **state)
{
    (void)state;
    int n;
    const fattn_operator *ops = fattn_operators(&n);
    for (int i = 0; i < n; i++) {
        const int first = function_of_operator(ops[i].name);
        assert_int_equal(first % OP_FUNCTIONS, 0); /* operators come first in the list */
        assert_non_null(strstr(function_names[first + OP_PLAN], "_plan"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_and_list_agree),
        cmocka_unit_test(test_operators_have_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
