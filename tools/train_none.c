/* SPDX-License-Identifier: Apache-2.0 */
/* train_none.c — a build without jansson, which the files of a model need, has no trainer. */
#include "verbs.h"

const cli_option train_options_table[] = {{0}}, generate_options[] = {{0}};

static int missing(const char *verb)
{
    return cli_error(verb, CLI_FAIL, "this build has no jansson; install libjansson-dev and build again");
}

int verb_train(int argc, char **argv)
{
    (void)argc, (void)argv;
    return missing("train");
}

int verb_generate(int argc, char **argv)
{
    (void)argc, (void)argv;
    return missing("generate");
}
