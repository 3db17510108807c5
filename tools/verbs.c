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
    .args = "OPERATOR | --replay FILE",
    .help = "compute an operator on tensors in files",
    .more =
        "Tensors are FILE.npy, FILE.safetensors:NAME or torch's FILE.pt[:NAME]. Lists are written "
        "1,3,6. An option "
        "that takes a "
        "tensor list may be repeated. Each output has an option of its own name; --out is the "
        "first. --replay FILE repeats a call that FATTN_DUMP_DIR recorded and compares the bits.",
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
    .more = "--result FILE and --result-OUTPUT FILE are what a device computed; they are compared "
            "with float64, "
            "element by element. The call is an operator with its options, or a problem line. "
            "Without --result "
            "a problem line is computed here. Attention operators only. Exits 1 when an element is "
            "outside its "
            "bound (docs/verify.md).",
    .options = verify_options,
    .operator_fields = true,
    .results = true,
    .run = verb_verify,
};

static const cli_verb explain = {
    .name = "explain",
    .args = "LINE | @FILE | OPERATOR",
    .help = "how a call is computed, how long it must take, and why so",
    .more = "Canonical problem, backend, kernels, work items, splits, bytes and FLOPs over visible "
            "pairs; the time "
            "that the machine's two ceilings allow, which are measured unless they are given; why "
            "other paths are "
            "refused (docs/explain.md). Nothing is computed. Attention operators only.",
    .options = explain_options,
    .operator_fields = true,
    .run = verb_explain,
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

static const cli_verb quantize = {
    .name = "quantize",
    .args = "FILE...",
    .help = "keys or values as codes and scales",
    .more = "Files are FILE.npy, FILE.safetensors:NAME or torch's FILE.pt[:NAME]. One file gives codes and "
            "scales; several give the scales of all of them, per tensor, channel or head, and --use-scale "
            "makes the codes of each with those. Prints the antiquant mode to pass with the scales, and what "
            "was lost.",
    .options = quantize_options,
    .run = verb_quantize,
};

static const cli_verb bench = {
    .name = "bench",
    .args = "[LINE]",
    .help = "measure: time, share of the machine's peak, standard attention beside it",
    .options = bench_options,
    .run = verb_bench,
};

static const cli_verb train = {
    .name = "train",
    .args = "",
    .help = "train a small language model on a text",
    .more = "A Llama-shaped transformer with its tokenizer, trained through fusion_attention and "
            "fusion_attention_grad (docs/training.md). Writes config.json, model.safetensors and "
            "tokenizer.json under Hugging Face's names, and a checkpoint from which --resume goes on "
            "bit by bit. Ctrl-C finishes the step and writes the checkpoint. Needs OpenBLAS.",
    .options = train_options_table,
    .run = verb_train,
};

static const cli_verb generate = {
    .name = "generate",
    .args = "",
    .help = "continue a text with a model that `fattn train` wrote",
    .more = "Prefill, then one token at a time from a paged cache. --check compares every token with "
            "a computation without the cache and exits 1 when one differs although its logits are no "
            "tie.",
    .options = generate_options,
    .run = verb_generate,
};

const cli_verb *const cli_verbs[] = {&info,     &run,   &check, &verify,   &explain, &mask,
                                     &quantize, &bench, &train, &generate, NULL};

const cli_verb *cli_verb_find(const char *name)
{
    for (int i = 0; cli_verbs[i]; i++)
        if (strcmp(cli_verbs[i]->name, name) == 0) return cli_verbs[i];
    return NULL;
}
