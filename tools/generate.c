/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c — `fattn generate`: a model that `fattn train` wrote continues a text. */
#include "train/infer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "call.h"
#include "json.h"
#include "train/sampler.h"
#include "verbs.h"

const cli_option generate_options[] = {
    {"model", "DIR", "FATTN_MODEL", "what `fattn train` wrote (model)", NULL},
    {"prompt", "TEXT", "FATTN_PROMPT", "what to continue", NULL},
    {"max-tokens", "N", "FATTN_MAX_TOKENS", "tokens to add (as many as the model's length allows)", NULL},
    {"temperature", "X", "FATTN_TEMPERATURE", "0 = always the likeliest token (0)", NULL},
    {"top-k", "N", "FATTN_TOP_K", "choose among the k likeliest; 0 = all (0)", NULL},
    {"top-p", "X", "FATTN_TOP_P", "choose among the fewest that have this probability together (1)", NULL},
    {"seed", "N", "FATTN_SEED", "of the choice (1)", NULL},
    {"cache-dtype", "NAME", "FATTN_CACHE_DTYPE", "of keys and values in the cache (f32)",
     "f32 f16 i8 i4 e4m3 e5m2"},
    {"check", NULL, "FATTN_CHECK", "compare every token with a computation without the cache", NULL},
    CLI_CONTEXT_OPTIONS,
    CLI_JSON_OPTION,
    {0},
};

/* Two best logits nearer than this may change places by rounding. */
static const double TIE = 1e-4;

typedef struct generation {
    const cli_values *values;
    fattn_context *context;
    bpe *tokenizer;
    infer *model;
    sampler sampler;
    int32_t *tokens;
    int n_prompt, n, most; /* of tokens: prompt, all so far, room */
    int ties, differences;
    bool check;
    double prefill_seconds, decode_seconds;
} generation;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int get_real(const cli_values *values, const char *name, double high, double *out)
{
    const char *text = cli_get(values, name);
    char *end;
    if (!text) return CLI_GO;
    *out = strtod(text, &end);
    if (*text && *end == '\0' && *out >= 0 && *out <= high) return CLI_GO;
    return cli_error("generate", CLI_USAGE, "%s: '%s' is not a number in [0, %g]", name, text, high);
}

static int open_model(generation *g)
{
    char error[800];
    const char *dir = cli_get(g->values, "model") ? cli_get(g->values, "model") : "model";
    g->tokenizer = bpe_read(dir, error, sizeof error);
    const char *name = cli_get(g->values, "cache-dtype");
    const fattn_dtype cache = name ? fattn_dtype_from_name(name) : FATTN_F32;
    if (g->check && cache != FATTN_F32)
        return cli_error("generate", CLI_USAGE, "check: a cache of %s may change tokens by itself; "
                         "leave one of check and cache-dtype out", name);
    if (g->tokenizer) g->model = infer_open(dir, cache, g->context, error, sizeof error);
    if (!g->model) return cli_error("generate", CLI_DATA, "%s", error);
    if (bpe_vocab_size(g->tokenizer) == infer_config(g->model)->vocab_size) return CLI_GO;
    return cli_error("generate", CLI_DATA, "%s: the tokenizer has %d tokens, the model %d", dir,
                     bpe_vocab_size(g->tokenizer), infer_config(g->model)->vocab_size);
}

static int open_prompt(generation *g)
{
    const char *prompt = cli_get(g->values, "prompt");
    const int room = infer_config(g->model)->max_position_embeddings;
    int64_t wanted = room;
    if (!prompt || !*prompt)
        return cli_error("generate", CLI_USAGE, "prompt: is missing; --prompt TEXT is what to continue");
    g->n_prompt = (int)bpe_encode(g->tokenizer, (const uint8_t *)prompt, strlen(prompt), NULL);
    if (g->n_prompt >= room)
        return cli_error("generate", CLI_USAGE, "prompt: %d tokens; the model was trained on %d, so "
                         "at most %d can be continued", g->n_prompt, room, room - 1);
    const int code = cli_get_int(g->values, "max-tokens", 1, 1 << 24, &wanted);
    if (code != CLI_GO) return code;
    if (cli_get(g->values, "max-tokens") && g->n_prompt + wanted > room)
        return cli_error("generate", CLI_USAGE, "max-tokens: %lld and %d of the prompt are more than "
                         "the %d that the model was trained on; at most %d", (long long)wanted,
                         g->n_prompt, room, room - g->n_prompt);
    g->most = wanted < room - g->n_prompt ? g->n_prompt + (int)wanted : room;
    g->tokens = calloc((size_t)room, sizeof *g->tokens);
    if (!g->tokens) return cli_error("generate", CLI_FAIL, "out of memory");
    bpe_encode(g->tokenizer, (const uint8_t *)prompt, strlen(prompt), g->tokens);
    g->n = g->n_prompt;
    return CLI_GO;
}

static int get_options(generation *g)
{
    int64_t top_k = 0, seed = 1;
    g->sampler = (sampler){.top_p = 1};
    int code = get_real(g->values, "temperature", 100, &g->sampler.temperature);
    if (code == CLI_GO) code = get_real(g->values, "top-p", 1, &g->sampler.top_p);
    if (code == CLI_GO) code = cli_get_int(g->values, "top-k", 0, 1 << 24, &top_k);
    if (code == CLI_GO) code = cli_get_int(g->values, "seed", 0, INT64_MAX, &seed);
    g->sampler.top_k = (int)top_k;
    g->sampler.seed = (uint64_t)seed;
    g->check = cli_flag(g->values, "check");
    if (code == CLI_GO && g->check && g->sampler.temperature > 0)
        return cli_error("generate", CLI_USAGE, "check: compares the likeliest token; leave out "
                         "--temperature");
    return code;
}

/* The same token without the cache; where the two best logits are nearly equal either will do. */
static bool agrees(generation *g, int32_t token, const float *cached, int vocab)
{
    float best = -INFINITY, second = -INFINITY;
    for (int t = 0; t < vocab; t++) {
        if (cached[t] > best) second = best, best = cached[t];
        else if (cached[t] > second) second = cached[t];
    }
    const bool tie = (double)(best - second) < TIE;
    const float *logits = infer_recompute(g->model, g->tokens, g->n);
    sampler greedy = {0};
    if (!logits) return false;
    if (sampler_next(&greedy, logits, vocab) == token) return true;
    g->ties += tie, g->differences += !tie;
    return true;
}

static bool generate(generation *g, bool stream)
{
    const int vocab = infer_config(g->model)->vocab_size;
    const double start = now();
    const float *logits = infer_prefill(g->model, g->tokens, g->n);
    g->prefill_seconds = now() - start;
    while (logits) {
        const int32_t token = sampler_next(&g->sampler, logits, vocab);
        if (g->check && !agrees(g, token, logits, vocab)) return false;
        g->tokens[g->n++] = token;
        if (stream) {
            size_t bytes;
            const uint8_t *text = bpe_token(g->tokenizer, token, &bytes);
            fwrite(text, 1, bytes, stdout);
            fflush(stdout);
        }
        if (g->n == g->most) return true;
        const double step = now();
        logits = infer_decode(g->model, token);
        g->decode_seconds += now() - step;
    }
    return false;
}

static char *text_of(const generation *g)
{
    size_t n = 0, bytes;
    for (int i = g->n_prompt; i < g->n; i++) bpe_token(g->tokenizer, g->tokens[i], &bytes), n += bytes;
    char *text = malloc(n + 1), *to = text;
    for (int i = g->n_prompt; text && i < g->n; i++) {
        const uint8_t *from = bpe_token(g->tokenizer, g->tokens[i], &bytes);
        for (size_t k = 0; k < bytes; k++) *to++ = from[k] ? (char)from[k] : '?';
    }
    if (text) *to = '\0';
    return text;
}

static void print_json(const generation *g)
{
    json_node *object = json_node_object(), *tokens = json_node_array();
    char *text = text_of(g);
    const int steps = g->n - g->n_prompt - 1;
    json_put_text(object, "text", text ? text : "");
    for (int i = g->n_prompt; i < g->n; i++) json_add_int(tokens, g->tokens[i]);
    json_put(object, "tokens", tokens);
    json_put_int(object, "prompt_tokens", g->n_prompt);
    json_put_real(object, "prefill_tokens_per_second", g->n_prompt / g->prefill_seconds);
    json_put_real(object, "decode_tokens_per_second", steps > 0 ? steps / g->decode_seconds : (double)NAN);
    if (g->check) json_put_int(object, "ties", g->ties), json_put_int(object, "differences", g->differences);
    json_print_free(object);
    free(text);
}

static int run(generation *g)
{
    int code = cli_check_choices("generate", generate_options, g->values);
    if (code == CLI_GO) code = get_options(g);
    if (code == CLI_GO) code = open_model(g);
    if (code == CLI_GO) code = open_prompt(g);
    if (code != CLI_GO) return code;
    const bool json = cli_flag(g->values, "json");
    if (!json) fputs(cli_get(g->values, "prompt"), stdout);
    const bool fine = generate(g, !json);
    if (!json) fputc('\n', stdout);
    if (!fine) return cli_error("generate", CLI_FAIL, "%s", fattn_error_message());
    if (json) print_json(g);
    if (g->check)
        fprintf(stderr, "fattn generate: %d tokens compared with full recomputation: %d differ where "
                "the two best logits are within %g, %d elsewhere\n", g->n - g->n_prompt, g->ties, TIE,
                g->differences);
    return g->differences > 0 ? CLI_FAIL : CLI_OK;
}

int verb_generate(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    generation g = {.values = &values};
    fattn_context_options options;
    fattn_context_options_init(&options);
    code = call_options(&values, NULL, &options);
    if (code == CLI_GO && fattn_context_create(&g.context, &options) != FATTN_OK)
        code = cli_error("generate", CLI_FAIL, "%s", fattn_error_message());
    if (code == CLI_GO) code = run(&g);
    infer_free(g.model), bpe_free(g.tokenizer), free(g.tokens);
    fattn_context_destroy(g.context);
    cli_values_free(&values);
    return code;
}
