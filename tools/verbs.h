/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.h — the verbs of `fattn`, one file each. A new verb is a file, a line here and a line in
 * verbs.c. */
#ifndef FATTN_TOOLS_VERBS_H
#define FATTN_TOOLS_VERBS_H

#include "options.h"

/* Defined in <name>.c: the verb (argv[0] is its name; returns the exit status) and its option
 * table. The rows of verbs.c tie the two together; a verb finds its own row with
 * cli_verb_find(argv[0]). */
int verb_info(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_verify(int argc, char **argv);
int verb_explain(int argc, char **argv);
int verb_mask(int argc, char **argv);
int verb_quantize(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_train(int argc, char **argv);
int verb_generate(int argc, char **argv);
extern const cli_option info_options[], run_options[], check_options[], verify_options[],
    explain_options[], mask_options[], quantize_options[], bench_options[], train_options_table[],
    generate_options[];

/* NULL-terminated, in the order of the help text. */
extern const cli_verb *const cli_verbs[];

const cli_verb *cli_verb_find(const char *name); /* NULL when unknown */

/* From the tables, to stdout. */
void help_overview(void);
void help_man(void);
void help_bash(void);

#endif
