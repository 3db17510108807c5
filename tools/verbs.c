/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.c — the table of verbs: one row each. */
#include "verbs.h"

#include <string.h>

static const cli_verb info = {
    .name = "info",
    .args = "",
    .help = "what this build and machine can do",
    .options = info_options,
    .run = verb_info,
};

static const cli_verb run = {
    .name = "run",
    .args = "OPERATOR",
    .help = "compute an operator on tensors in files",
    .more = "Tensors are FILE.npy or FILE.safetensors:NAME. Lists are written 1,3,6. An option "
            "that takes a "
            "tensor list may be repeated. Each output has an option of its own name; --out is the "
            "first.",
    .options = run_options,
    .operator_fields = true,
    .run = verb_run,
};

static const cli_verb check = {
    .name = "check",
    .args = "OPERATOR | LINE | @FILE",
    .help = "is a call legal, and why not",
    .more =
        "Takes the options of `fattn run`, a problem line, or a file of problem lines. A plan "
        "is made; nothing is computed and no tensor is allocated for a line. Exits 1 when a call "
        "is illegal.",
    .options = check_options,
    .operator_fields = true,
    .run = verb_check,
};

static const cli_verb verify = {
    .name = "verify",
    .args = "LINE | @FILE | OPERATOR",
    .help = "compare a result with the exact answer",
    .more =
        "A problem line is computed and compared with float64. With an operator and its options "
        "the output files are read instead, wherever they were computed. Attention operators only. "
        "Exits 1 when an element is outside its bound.",
    .options = verify_options,
    .operator_fields = true,
    .run = verb_verify,
};

static const cli_verb mask = {
    .name = "mask",
    .args = "",
    .help = "draw which keys each query row sees",
    .more =
        "One line per query row: # attends, . does not. The rows of all sequences in order; each "
        "line has as many characters as its sequence has keys. Mode 0 draws the band as if an "
        "all-zero mask were given.",
    .options = mask_options,
    .run = verb_mask,
};

static const cli_verb bench = {
    .name = "bench",
    .args = "[LINE]",
    .help = "measure: time, share of the machine's peak, standard attention beside it",
    .options = bench_options,
    .run = verb_bench,
};

const cli_verb *const cli_verbs[] = {&info, &run, &check, &verify, &mask, &bench, NULL};

const cli_verb *cli_verb_find(const char *name)
{
    for (int i = 0; cli_verbs[i]; i++)
        if (strcmp(cli_verbs[i]->name, name) == 0) return cli_verbs[i];
    return NULL;
}
