/* SPDX-License-Identifier: Apache-2.0 */
/* train.c — `fattn train`: a Llama-shaped model from a text. The run itself is train/train.c. */
#include "train/train.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "json.h"
#include "verbs.h"

const cli_option train_options_table[] = {
    {"text", "FILE", "FATTN_TEXT", "what to learn from (what Debian's bible-kjv prints)", NULL},
    {"out-dir", "DIR", "FATTN_OUT_DIR", "where the model and the checkpoint go (model)", NULL},
    {"steps", "N", "FATTN_STEPS", "steps of the whole run (1000)", NULL},
    {"batch", "N", "FATTN_BATCH", "rows per step (16)", NULL},
    {"seq-len", "N", "FATTN_SEQ_LEN", "tokens per row (128)", NULL},
    {"vocab", "N", "FATTN_VOCAB", "tokens to learn; 256 = bytes alone (1024)", NULL},
    {"dim", "N", "FATTN_DIM", "width of the model (192)", NULL},
    {"layers", "N", "FATTN_LAYERS", "layers (4)", NULL},
    {"heads", "N", "FATTN_HEADS", "query heads (6)", NULL},
    {"kv-heads", "N", "FATTN_KV_HEADS", "key/value heads (2)", NULL},
    {"hidden", "N", "FATTN_HIDDEN", "width between the two halves of a layer (512)", NULL},
    {"lr", "X", "FATTN_LR", "largest learning rate (0.003)", NULL},
    {"warmup", "N", "FATTN_WARMUP", "steps up to it (50)", NULL},
    {"weight-decay", "X", "FATTN_WEIGHT_DECAY", "of matrices (0.1)", NULL},
    {"clip", "X", "FATTN_CLIP", "largest norm of a gradient, 0 = any (1)", NULL},
    {"keep-prob", "X", "FATTN_KEEP_PROB", "attention dropout: keep rate (1)", NULL},
    {"seed", "N", "FATTN_SEED", "of the parameters, the batches and dropout (1)", NULL},
    {"eval-every", "N", "FATTN_EVAL_EVERY", "steps between looks at the held-out text; 0 = at the end (0)",
     NULL},
    {"checkpoint-every", "N", "FATTN_CHECKPOINT_EVERY", "steps between checkpoints; 0 = at the end (0)",
     NULL},
    {"resume", NULL, "FATTN_RESUME", "go on from the checkpoint in --out-dir", NULL},
    {"attention", "NAME", "FATTN_ATTENTION", "the operator, or all scores in memory (operator)",
     "operator materialised"},
    {"csv", "FILE", "FATTN_CSV", "a line per step", NULL},
    {"plot", "FILE", "FATTN_PLOT", "the loss curve as SVG", NULL},
    CLI_CONTEXT_OPTIONS,
    CLI_JSON_OPTION,
    {0},
};

static volatile sig_atomic_t stop;
static void interrupted(int signal)
{
    (void)signal;
    stop = 1;
}

static int get_real(const cli_values *values, const char *name, double low, double high, double *out)
{
    const char *text = cli_get(values, name);
    char *end;
    if (!text) return CLI_GO;
    *out = strtod(text, &end);
    if (*text && *end == '\0' && *out >= low && *out <= high) return CLI_GO;
    return cli_error("train", CLI_USAGE, "%s: '%s' is not a number in [%g, %g]", name, text, low, high);
}

/* Every integer option and where it goes. */
static int get_integers(const cli_values *values, train_options *o)
{
    const struct {
        const char *name;
        int64_t low, high;
        int *to;
    } all[] = {
        {"steps", 1, 1 << 24, &o->steps},
        {"batch", 1, 1 << 16, &o->batch},
        {"seq-len", 2, 1 << 16, &o->length},
        {"vocab", 256, 1 << 15, &o->shape.vocab_size},
        {"dim", 2, 1 << 14, &o->shape.hidden_size},
        {"layers", 1, 1 << 10, &o->shape.num_hidden_layers},
        {"heads", 1, 1 << 10, &o->shape.num_attention_heads},
        {"kv-heads", 1, 1 << 10, &o->shape.num_key_value_heads},
        {"hidden", 1, 1 << 16, &o->shape.intermediate_size},
        {"warmup", 0, 1 << 24, &o->warmup},
        {"eval-every", 0, 1 << 24, &o->eval_every},
        {"checkpoint-every", 0, 1 << 24, &o->checkpoint_every},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int64_t value = *all[i].to;
        const int code = cli_get_int(values, all[i].name, all[i].low, all[i].high, &value);
        if (code != CLI_GO) return code;
        *all[i].to = (int)value;
    }
    int64_t seed = (int64_t)o->seed;
    const int code = cli_get_int(values, "seed", 0, INT64_MAX, &seed);
    o->seed = (uint64_t)seed;
    return code;
}

static int get_options(const cli_values *values, train_options *o)
{
    int code = get_integers(values, o);
    if (code == CLI_GO) code = get_real(values, "lr", 0, 10, &o->lr);
    if (code == CLI_GO) code = get_real(values, "weight-decay", 0, 10, &o->weight_decay);
    if (code == CLI_GO) code = get_real(values, "clip", 0, 1e9, &o->clip);
    if (code == CLI_GO) code = get_real(values, "keep-prob", 1e-3, 1, &o->keep_prob);
    if (code != CLI_GO) return code;
    const char *way = cli_get(values, "attention");
    o->way = way && strcmp(way, "materialised") == 0 ? ATTENTION_MATERIALISED : ATTENTION_OPERATOR;
    o->text = cli_get(values, "text");
    o->out_dir = cli_get(values, "out-dir") ? cli_get(values, "out-dir") : "model";
    o->csv = cli_get(values, "csv");
    o->plot = cli_get(values, "plot");
    o->resume = cli_flag(values, "resume");
    o->stop = &stop;
    char why[200];
    config shape = o->shape;
    shape.max_position_embeddings = o->length;
    if (o->resume || config_check(&shape, why, sizeof why)) return CLI_GO;
    return cli_error("train", CLI_USAGE, "%s", why);
}

static void print_report(const cli_values *values, const train_options *o, const train_report *r)
{
    if (cli_flag(values, "json")) {
        json_node *object = json_node_object();
        json_put_text(object, "out_dir", o->out_dir);
        json_put_int(object, "parameters", (int64_t)r->parameters);
        json_put_int(object, "steps", r->steps);
        json_put_int(object, "train_tokens", (int64_t)r->train_tokens);
        json_put_int(object, "held_bytes", (int64_t)r->held_bytes);
        json_put_real(object, "loss", r->loss);
        json_put_real(object, "bits_per_byte", r->bits_per_byte);
        json_put_real(object, "tokens_per_second", r->tokens_per_second);
        json_print_free(object);
        return;
    }
    printf("%s: %zu parameters, %d steps, loss %.4f", o->out_dir, r->parameters, r->steps, r->loss);
    if (!isnan(r->bits_per_byte))
        printf(", held out %.4f bits per byte (%zu bytes)", r->bits_per_byte, r->held_bytes);
    printf("\n");
    if (r->stopped)
        fprintf(stderr, "fattn train: stopped; the same command with --resume goes on\n");
}

static int run(const cli_values *values)
{
    train_options o = train_defaults();
    fattn_context_options options;
    fattn_context_options_init(&options);
    int code = get_options(values, &o);
    if (code == CLI_GO) code = call_options(values, NULL, &options);
    if (code != CLI_GO) return code;
    if (fattn_context_create(&o.context, &options) != FATTN_OK)
        return cli_error("train", CLI_FAIL, "%s", fattn_error_message());
    signal(SIGINT, interrupted), signal(SIGTERM, interrupted);
    char error[800];
    train_report report;
    const train_code result = train_run(&o, &report, error, sizeof error);
    if (result == TRAIN_OK)
        print_report(values, &o, &report), code = CLI_OK;
    else
        code = cli_error("train", result == TRAIN_BAD_DATA ? CLI_DATA : CLI_FAIL, "%s", error);
    fattn_context_destroy(o.context);
    return code;
}

int verb_train(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    code = run(&values);
    cli_values_free(&values);
    return code;
}
