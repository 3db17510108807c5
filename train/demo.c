/* SPDX-License-Identifier: Apache-2.0 */
/* demo.c — the evidence behind docs/training.md by one command: a model learns through the operators
 * more than an n-gram model knows, the operators change nothing about the loss, and what both cost in
 * memory and time. usage: train_demo OUT_DIR [TEXT]; exits 1 when a claim fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "infer.h"
#include "kneser_ney.h"
#include "plot.h"
#include "train.h"

enum { DEMO_STEPS = 600, SAME_STEPS = 50, LENGTHS = 5, TRIES = 2, CACHE_TOKENS = 4096 };

static const char *const way_names[] = {"operator", "materialised"};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- memory and time of a step ------------------------------------------------------------------
 */

typedef struct cost {
    double megabytes, tokens_per_second; /* NaN = the machine has not the memory */
} cost;

static const int lengths[LENGTHS] = {512, 1024, 2048, 4096, 8192};

static config cost_shape(int length)
{
    config c = train_defaults().shape;
    c.num_hidden_layers = 2;
    c.max_position_embeddings = length;
    return c;
}

static bool fits(attention_way way, int length)
{
    const config c = cost_shape(length);
    const attention a = {.way = way, .batch = 1, .length = length, .n_heads = c.num_attention_heads};
    const double wanted =
        (double)attention_saved_reals(&a) * c.num_hidden_layers * (double)sizeof(real);
    return wanted * 1.3 < (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

/* Runs in a process of its own, whose peak is the step's. */
static cost cost_here(attention_way way, int length)
{
    const config c = cost_shape(length);
    cost result = {(double)NAN, 0};
    struct rusage usage;
    if (!gemm_available()) exit(EXIT_FAILURE);
    llama *m = llama_new(&c, way, NULL, 1, length);
    int32_t *tokens = calloc((size_t)length, sizeof *tokens);
    if (!tokens) exit(EXIT_FAILURE);
    weights_init(&c, &m->params, 1);
    for (int t = 0; t < length; t++)
        tokens[t] = (int32_t)(random_uniform(2, (uint64_t)t) * c.vocab_size);
    for (int i = 0; i < TRIES; i++) {
        const double start = now();
        if (isnan(llama_forward(m, tokens, tokens)) || !llama_backward(m, tokens)) exit(EXIT_FAILURE);
        const double rate = length / (now() - start);
        if (rate > result.tokens_per_second) result.tokens_per_second = rate;
    }
    getrusage(RUSAGE_SELF, &usage);
    result.megabytes = (double)usage.ru_maxrss * 1024 / 1e6;
    return result;
}

static cost cost_of(attention_way way, int length)
{
    cost result = {(double)NAN, (double)NAN};
    int ends[2];
    if (!fits(way, length) || pipe(ends) != 0) return result;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        result = cost_here(way, length);
        _exit(write(ends[1], &result, sizeof result) == (ssize_t)sizeof result ? 0 : 1);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &result, sizeof result) != (ssize_t)sizeof result)
        result = (cost){(double)NAN, (double)NAN};
    close(ends[0]);
    if (child > 0) waitpid(child, NULL, 0);
    return result;
}

static void number(double value)
{
    if (isnan(value))
        printf(" – |");
    else
        printf(" %.0f |", value);
}

/* false when the memory of the operator grows with the square of the length. */
static bool compare_costs(const char *dir)
{
    double x[LENGTHS], megabytes[2][LENGTHS];
    printf("\nA step of 2 layers, one row of S tokens: peak memory of the process and speed\n\n"
           "| S | operator, MB | materialised, MB | operator, tokens/s | materialised, tokens/s |\n"
           "|---|---|---|---|---|\n");
    for (int i = 0; i < LENGTHS; i++) {
        const cost ours = cost_of(ATTENTION_OPERATOR, lengths[i]);
        const cost theirs = cost_of(ATTENTION_MATERIALISED, lengths[i]);
        x[i] = lengths[i];
        megabytes[0][i] = ours.megabytes, megabytes[1][i] = theirs.megabytes;
        printf("| %d |", lengths[i]);
        number(ours.megabytes), number(theirs.megabytes);
        number(ours.tokens_per_second), number(theirs.tokens_per_second);
        printf("\n");
    }
    char path[4096];
    const plot_series curves[] = {{way_names[0], x, megabytes[0], LENGTHS},
                                  {way_names[1], x, megabytes[1], LENGTHS}};
    const plot_axes axes = {"Memory of a training step", "tokens in a row", "MB", true, true};
    snprintf(path, sizeof path, "%s/memory.svg", dir);
    /* from 4k to 8k all that is linear doubles at most */
    return plot_svg(path, &axes, curves, 2) &&
           megabytes[0][LENGTHS - 1] < 2 * megabytes[0][LENGTHS - 2];
}

/* ---- the model ----------------------------------------------------------------------------------
 */

static train_report train(const train_options *o)
{
    char error[800];
    train_report report;
    if (train_run(o, &report, error, sizeof error) == TRAIN_OK) return report;
    fprintf(stderr, "train_demo: %s\n", error);
    exit(EXIT_FAILURE);
}

/* The same 50 steps with the operator and with all scores in memory. */
static bool compare_losses(const char *dir, const char *text, fattn_context *context)
{
    char path[4096];
    train_report reports[2];
    for (int way = 0; way < 2; way++) {
        train_options o = train_defaults();
        snprintf(path, sizeof path, "%s/%s", dir, way_names[way]);
        o.text = text, o.out_dir = path, o.context = context;
        o.way = (attention_way)way;
        o.steps = SAME_STEPS, o.quiet = true;
        reports[way] = train(&o);
        printf("loss after %d steps, %-12s attention: %.6f at %.0f tokens/s\n", SAME_STEPS,
               way_names[way], reports[way].loss, reports[way].tokens_per_second);
    }
    const double off = fabs(reports[0].loss - reports[1].loss) / reports[1].loss;
    printf("relative difference %.1e (below 1e-3: %s)\n\n", off, off < 1e-3 ? "ok" : "FAILED");
    return off < 1e-3;
}

static double yardstick(const char *text)
{
    char error[800];
    corpus c;
    if (!corpus_read(&c, text, error, sizeof error)) {
        fprintf(stderr, "train_demo: %s\n", error);
        exit(EXIT_FAILURE);
    }
    kneser_ney *k = kn_train(c.text, c.split);
    if (!k) exit(EXIT_FAILURE);
    const double bits = kn_bits_per_byte(k, c.text + c.split, c.n - c.split);
    kn_free(k);
    corpus_free(&c);
    return bits;
}

static bool learn(const char *dir, const char *text, fattn_context *context)
{
    char model[4096], csv[4096], plot[4096];
    train_options o = train_defaults();
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(csv, sizeof csv, "%s/loss.csv", dir);
    snprintf(plot, sizeof plot, "%s/loss.svg", dir);
    o.text = text, o.out_dir = model, o.csv = csv, o.plot = plot, o.context = context;
    o.steps = DEMO_STEPS, o.eval_every = DEMO_STEPS / 2;
    const double start = now();
    const train_report report = train(&o);
    const double theirs = yardstick(text);
    printf("%zu parameters, %d steps in %.0f s, %.0f tokens/s; held out %zu bytes\n"
           "bits per byte: %.4f; interpolated Kneser-Ney %d-gram of bytes: %.4f (%s)\n",
           report.parameters, report.steps, now() - start, report.tokens_per_second,
           report.held_bytes, report.bits_per_byte, KN_ORDER, theirs,
           report.bits_per_byte < theirs ? "ok" : "FAILED");
    return report.bits_per_byte < theirs;
}

/* ---- what a smaller cache costs -------------------------------------------------------------------
 */

static double bits_with(fattn_dtype cache, const char *model, const bpe *b, const corpus *c,
                        fattn_context *context)
{
    char error[800];
    infer *m = infer_open(model, cache, context, error, sizeof error);
    if (!m) {
        fprintf(stderr, "train_demo: %s\n", error);
        exit(EXIT_FAILURE);
    }
    const double bits = infer_bits_per_byte(m, b, c, CACHE_TOKENS);
    infer_free(m);
    return bits;
}

/* The trained model answers from caches of several dtypes. */
static bool compare_caches(const char *dir, const char *text, fattn_context *context)
{
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_I8, FATTN_E4M3, FATTN_I4};
    char model[4096], error[800];
    corpus c;
    snprintf(model, sizeof model, "%s/model", dir);
    bpe *b = bpe_read(model, error, sizeof error);
    if (!b || !corpus_read(&c, text, error, sizeof error) || !corpus_encode(&c, b)) {
        fprintf(stderr, "train_demo: %s\n", error);
        exit(EXIT_FAILURE);
    }
    printf("\ncache   bits per byte of %d held-out tokens   perplexity of a byte   change\n",
           CACHE_TOKENS);
    double first = 0;
    bool kept = true;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        const double bits = bits_with(dtypes[i], model, b, &c, context);
        if (i == 0) first = bits;
        const double change = bits / first - 1;
        printf("%-5s   %38.5f   %20.5f   %+5.3f %%\n", fattn_dtype_name(dtypes[i]), bits, exp2(bits),
               100 * change);
        if (dtypes[i] != FATTN_I4) kept = kept && change < 0.01;
    }
    printf("f16, int8 and e4m3 lose less than 1 %%: %s\n", kept ? "ok" : "FAILED");
    corpus_free(&c), bpe_free(b);
    return kept;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: train_demo OUT_DIR [TEXT]\n");
        return 64;
    }
    const char *dir = argv[1], *text = argc > 2 ? argv[2] : NULL;
    mkdir(dir, 0777);
    /* first, while this process is small and has no threads */
    const bool linear = compare_costs(dir);
    if (!linear) printf("FAILED: the memory of the operator more than doubles\n");
    printf("\n");
    if (!gemm_available()) {
        fprintf(stderr, "train_demo: there is no OpenBLAS here: install libopenblas0\n");
        return EXIT_FAILURE;
    }
    fattn_context_options options;
    fattn_context *context;
    fattn_context_options_init(&options);
    if (fattn_context_create(&context, &options) != FATTN_OK) return EXIT_FAILURE;
    const bool same = compare_losses(dir, text, context);
    const bool learned = learn(dir, text, context);
    const bool kept = compare_caches(dir, text, context);
    fattn_context_destroy(context);
    printf("\nin %s: model/, loss.csv, loss.svg, memory.svg\n", dir);
    return linear && same && learned && kept ? EXIT_SUCCESS : EXIT_FAILURE;
}
