/* SPDX-License-Identifier: Apache-2.0 */
/* cli_case.h — runs the command line as its users do and keeps what it says. */
#ifndef FATTN_TESTS_CLI_CASE_H
#define FATTN_TESTS_CLI_CASE_H

#include "cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLI_TEXT = 1 << 17 };

typedef struct cli_result {
    int code;
    char out[CLI_TEXT], err[8192];
} cli_result;

static cli_result cli;

static inline size_t read_all(FILE *file, char *out, size_t room)
{
    const size_t n = fread(out, 1, room - 1, file);
    out[n] = '\0';
    return n;
}

/* `fattn ARGUMENTS`, through the shell, `environment` before it ("FATTN_JSON=1" or ""). The result
 * is in `cli`. */
static inline void fattn_with(const char *environment, const char *arguments)
{
    char command[8192], errors[64];
    snprintf(errors, sizeof errors, "cli_case_%ld.err", (long)getpid());
    snprintf(command, sizeof command, "%s '%s' %s 2>%s", environment, FATTN_CLI, arguments, errors);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    read_all(pipe, cli.out, sizeof cli.out);
    const int status = pclose(pipe);
    cli.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    FILE *file = fopen(errors, "r");
    assert_non_null(file);
    read_all(file, cli.err, sizeof cli.err);
    fclose(file);
    unlink(errors);
}

static inline void fattn(const char *arguments) { fattn_with("", arguments); }

static inline void expect_code(const char *arguments, int code)
{
    fattn(arguments);
    if (cli.code != code)
        fail_msg("fattn %s\n  exit %d instead of %d\n%s", arguments, cli.code, code, cli.err);
}

/* "says" on stderr. */
static inline void expect_error(const char *arguments, int code, const char *says)
{
    expect_code(arguments, code);
    if (!strstr(cli.err, says))
        fail_msg("fattn %s\n  does not say '%s':\n%s", arguments, says, cli.err);
}

static inline void expect_env(const char *environment, const char *arguments, int code,
                              const char *says)
{
    fattn_with(environment, arguments);
    if (cli.code != code || !strstr(cli.err, says))
        fail_msg("%s fattn %s\n  exit %d instead of %d, or does not say '%s':\n%s", environment,
                 arguments, cli.code, code, says, cli.err);
}

static inline void expect_out(const char *arguments, const char *out)
{
    expect_code(arguments, 0);
    if (strcmp(cli.out, out) != 0)
        fail_msg("fattn %s printed\n%s\ninstead of\n%s", arguments, cli.out, out);
}

static inline void expect_contains(const char *says)
{
    if (!strstr(cli.out, says)) fail_msg("'%s' is missing in\n%s", says, cli.out);
}

#endif
