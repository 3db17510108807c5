/* SPDX-License-Identifier: Apache-2.0 */
/* train.c — read, tokenise, step, evaluate, write. */
#include "train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint.h"
#include "plot.h"

train_options train_defaults(void)
{
    return (train_options){
        .shape = {.hidden_size = 192,
                  .num_hidden_layers = 4,
                  .num_attention_heads = 6,
                  .num_key_value_heads = 2,
                  .intermediate_size = 512,
                  .vocab_size = 1024,
                  .rms_norm_eps = 1e-5,
                  .rope_theta = 10000},
        .steps = 1000,
        .batch = 16,
        .length = 128,
        .warmup = 50,
        .lr = 3e-3,
        .weight_decay = 0.1,
        .clip = 1,
        .keep_prob = 1,
        .seed = 1,
    };
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One run: what lives as long as it. */
typedef struct run {
    const train_options *o;
    train_report *report;
    corpus corpus;
    bpe *tokenizer;
    llama *model;
    adamw optimizer;
    weight *list; /* the model's tensors */
    int n_list;
    int32_t *tokens, *targets;
    double *at, *losses, *eval_at, *evals; /* curves */
    int n_losses, n_evals, first;
    FILE *csv;
    char *error;
    size_t size;
} run;

static train_code fail(const run *r, train_code code, const char *sentence)
{
    snprintf(r->error, r->size, "%s", sentence);
    return code;
}

/* ---- evaluation ---------------------------------------------------------------------------------
 */

double train_bits_per_byte(llama *m, const corpus *c)
{
    const int batch = m->attention.batch, length = m->attention.length, half = length / 2;
    const attention usual = m->attention;
    int32_t *tokens = calloc((size_t)(batch * length), sizeof *tokens);
    int32_t *targets = calloc((size_t)(batch * length), sizeof *targets);
    size_t *starts = calloc((size_t)batch, sizeof *starts);
    if (!tokens || !targets || !starts) abort();
    m->attention.keep_prob = 1;
    /* the very first token has nothing before it: any of the vocabulary */
    double nats = log(m->shape.vocab_size);
    size_t done = 1, next = 0; /* tokens before `done` are paid for */
    while (done < c->n_held) {
        int rows = 0;
        for (; rows < batch && next + 1 < c->n_held; rows++, next += (size_t)half) {
            starts[rows] = next;
            for (int t = 0; t < length; t++) {
                const size_t at = next + (size_t)t;
                tokens[rows * length + t] = at < c->n_held ? c->held[at] : 0;
                targets[rows * length + t] = at + 1 < c->n_held ? c->held[at + 1] : 0;
            }
        }
        llama_forward(m, tokens, targets);
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < length; t++) {
                const size_t predicted = starts[r] + (size_t)t + 1;
                if (predicted != done || predicted >= c->n_held) continue;
                nats += m->losses[r * length + t];
                done++;
            }
        if (rows == 0) break;
    }
    free(tokens), free(targets), free(starts);
    m->attention = usual;
    return nats / log(2) / (double)(c->n - c->split);
}

/* ---- progress -----------------------------------------------------------------------------------
 */

static void show(const run *r, int step, double loss, double rate, bool last)
{
    enum { BAR = 30 };
    const int steps = r->o->steps, full = (step + 1) * BAR / steps;
    if (r->o->quiet) return;
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r[%.*s%*s] %d/%d  loss %.4f  %.0f tokens/s \033[K%s", full,
                "##############################", BAR - full, "", step + 1, steps, loss, rate,
                last ? "\n" : "");
    } else if (last || (step + 1) % (steps / 10 > 0 ? steps / 10 : 1) == 0) {
        fprintf(stderr, "step %d/%d  loss %.4f  %.0f tokens/s\n", step + 1, steps, loss, rate);
    }
}

static void note(run *r, int step, double loss, double rate, double norm, double bits)
{
    r->at[r->n_losses] = step + 1;
    r->losses[r->n_losses++] = loss;
    if (!isnan(bits)) r->eval_at[r->n_evals] = step + 1, r->evals[r->n_evals++] = bits;
    if (!r->csv) return;
    fprintf(r->csv, "%d,%.6f,%.6g,%.6g,%.0f,", step + 1, loss, adamw_rate(&r->optimizer, step), norm,
            rate);
    if (isnan(bits))
        fprintf(r->csv, "\n");
    else
        fprintf(r->csv, "%.5f\n", bits);
}

static bool write_plot(const run *r)
{
    const plot_series curves[] = {{"loss, nats per token", r->at, r->losses, r->n_losses},
                                  {"held out, bits per byte", r->eval_at, r->evals, r->n_evals}};
    const plot_axes axes = {"Training", "step", "loss", false, false};
    return plot_svg(r->o->plot, &axes, curves, 2);
}

/* ---- the run ------------------------------------------------------------------------------------
 */

static train_code open_tokenizer(run *r)
{
    char why[600];
    const train_options *o = r->o;
    if (o->resume) {
        r->tokenizer = bpe_read(o->out_dir, why, sizeof why);
        return r->tokenizer ? TRAIN_OK : fail(r, TRAIN_BAD_DATA, why);
    }
    r->tokenizer = bpe_train(r->corpus.text, r->corpus.split, o->shape.vocab_size);
    if (!r->tokenizer) return fail(r, TRAIN_FAIL, "out of memory: the tokenizer");
    if (mkdir(o->out_dir, 0777) != 0 && errno != EEXIST) {
        snprintf(r->error, r->size, "%s: %s", o->out_dir, strerror(errno));
        return TRAIN_FAIL;
    }
    return bpe_write(r->tokenizer, o->out_dir, why, sizeof why) ? TRAIN_OK : fail(r, TRAIN_FAIL, why);
}

static checkpoint checkpoint_of(const run *r, int step)
{
    return (checkpoint){.step = step,
                        .seed = (int64_t)r->o->seed,
                        .batch = r->o->batch,
                        .length = r->o->length,
                        .tokens = (int64_t)r->corpus.n_tokens,
                        .steps = r->o->steps};
}

static train_code open_model(run *r)
{
    char why[600];
    const train_options *o = r->o;
    config shape = o->shape;
    shape.vocab_size = bpe_vocab_size(r->tokenizer);
    shape.max_position_embeddings = o->length;
    if (o->resume && !config_read(&shape, o->out_dir, why, sizeof why))
        return fail(r, TRAIN_BAD_DATA, why);
    if (!config_check(&shape, why, sizeof why)) return fail(r, TRAIN_FAIL, why);
    if (!o->resume && !config_write(&shape, o->out_dir, why, sizeof why))
        return fail(r, TRAIN_FAIL, why);
    r->model = llama_new(&shape, o->way, o->context, o->batch, o->length);
    r->model->attention.keep_prob = o->keep_prob;
    r->model->attention.seed = (int64_t)(o->seed ^ 0x5eed) | 1;
    weights *params = &r->model->params;
    r->optimizer = (adamw){.lr = o->lr,
                           .beta1 = 0.9,
                           .beta2 = 0.95,
                           .eps = 1e-8,
                           .weight_decay = o->weight_decay,
                           .clip = o->clip,
                           .warmup = o->warmup,
                           .steps = o->steps,
                           .m = reals(params->n),
                           .v = reals(params->n)};
    r->n_list = weights_list(&shape, params, NULL);
    if (!(r->list = calloc((size_t)r->n_list, sizeof *r->list))) abort();
    weights_list(&shape, params, r->list);
    r->report->parameters = params->n;
    if (!o->resume) {
        weights_init(&shape, params, o->seed);
        return TRAIN_OK;
    }
    checkpoint c = checkpoint_of(r, 0);
    if (!checkpoint_read(&c, params, &r->optimizer, o->out_dir, why, sizeof why))
        return fail(r, TRAIN_BAD_DATA, why);
    r->first = (int)c.step;
    return TRAIN_OK;
}

static train_code open_run(run *r)
{
    char why[600];
    const train_options *o = r->o;
    if (!gemm_available())
        return fail(r, TRAIN_FAIL, "there is no OpenBLAS here: install libopenblas0");
    if (!corpus_read(&r->corpus, o->text, why, sizeof why)) return fail(r, TRAIN_BAD_DATA, why);
    train_code code = open_tokenizer(r);
    if (code != TRAIN_OK) return code;
    if (!corpus_encode(&r->corpus, r->tokenizer)) return fail(r, TRAIN_FAIL, "out of memory: tokens");
    if (r->corpus.n_tokens <= (size_t)o->length + 1) {
        snprintf(r->error, r->size, "the text has %zu tokens, fewer than one row of %d; give a "
                 "longer text or a smaller --seq-len", r->corpus.n_tokens, o->length);
        return TRAIN_BAD_DATA;
    }
    code = open_model(r);
    if (code != TRAIN_OK) return code;
    const size_t cells = (size_t)o->batch * (size_t)o->length, points = (size_t)o->steps + 1;
    r->tokens = calloc(cells, sizeof *r->tokens), r->targets = calloc(cells, sizeof *r->targets);
    r->at = calloc(points, sizeof *r->at), r->losses = calloc(points, sizeof *r->losses);
    r->eval_at = calloc(points, sizeof *r->at), r->evals = calloc(points, sizeof *r->evals);
    if (!r->tokens || !r->targets || !r->at || !r->losses || !r->eval_at || !r->evals) abort();
    if (o->csv && !(r->csv = fopen(o->csv, o->resume ? "a" : "w"))) {
        snprintf(r->error, r->size, "%s: %s", o->csv, strerror(errno));
        return TRAIN_FAIL;
    }
    if (r->csv && !o->resume) fprintf(r->csv, "step,loss,lr,grad_norm,tokens_per_second,bits_per_byte\n");
    return TRAIN_OK;
}

static train_code write_checkpoint(run *r, int step)
{
    char why[600];
    const checkpoint c = checkpoint_of(r, step);
    const bool fine = checkpoint_write(&c, &r->model->params, &r->optimizer, r->o->out_dir, why,
                                       sizeof why);
    return fine ? TRAIN_OK : fail(r, TRAIN_FAIL, why);
}

static bool due(int step, int every) { return every > 0 && (step + 1) % every == 0; }

static train_code one_step(run *r, int step)
{
    const train_options *o = r->o;
    llama *m = r->model;
    const double start = now();
    corpus_batch(&r->corpus, o->seed, step, o->batch, o->length, r->tokens, r->targets);
    m->attention.offset = step + 1;
    const double loss = llama_forward(m, r->tokens, r->targets);
    if (!isfinite(loss) || !llama_backward(m, r->tokens)) {
        snprintf(r->error, r->size, "step %d: the loss is %g: %s", step + 1, loss,
                 *fattn_error_message() ? fattn_error_message() : "try a smaller --lr");
        return TRAIN_FAIL;
    }
    const double norm = adamw_step(&r->optimizer, r->list, r->n_list, &m->params, &m->grads, step);
    const double rate = o->batch * o->length / (now() - start);
    const bool last = step + 1 == o->steps || *o->stop;
    r->report->loss = loss;
    r->report->steps = step + 1;
    if (rate > r->report->tokens_per_second) r->report->tokens_per_second = rate;
    const bool evaluate = due(step, o->eval_every) || step + 1 == o->steps;
    const double bits = evaluate ? train_bits_per_byte(m, &r->corpus) : (double)NAN;
    r->report->bits_per_byte = bits;
    show(r, step, loss, rate, last);
    note(r, step, loss, rate, norm, bits);
    return last || due(step, o->checkpoint_every) ? write_checkpoint(r, step + 1) : TRAIN_OK;
}

static train_code all_steps(run *r)
{
    char why[600];
    train_code code = TRAIN_OK;
    int step = r->first;
    for (; step < r->o->steps && code == TRAIN_OK && !*r->o->stop; step++) code = one_step(r, step);
    r->report->stopped = step < r->o->steps;
    if (code != TRAIN_OK) return code;
    if (!weights_write(&r->model->shape, &r->model->params, r->o->out_dir, why, sizeof why))
        return fail(r, TRAIN_FAIL, why);
    if (r->o->plot && !write_plot(r)) {
        snprintf(r->error, r->size, "%s: cannot be written", r->o->plot);
        return TRAIN_FAIL;
    }
    return TRAIN_OK;
}

train_code train_run(const train_options *o, train_report *report, char *error, size_t size)
{
    static const volatile sig_atomic_t never;
    train_options options = *o;
    if (!options.stop) options.stop = &never;
    *report = (train_report){.bits_per_byte = (double)NAN};
    run r = {.o = &options, .report = report, .error = error, .size = size};
    train_code code = open_run(&r);
    report->train_tokens = r.corpus.n_tokens;
    report->held_bytes = r.corpus.n - r.corpus.split;
    if (code == TRAIN_OK) code = all_steps(&r);
    if (r.csv && fclose(r.csv) != 0 && code == TRAIN_OK)
        code = fail(&r, TRAIN_FAIL, "csv: cannot be written");
    llama_free(r.model);
    bpe_free(r.tokenizer);
    corpus_free(&r.corpus);
    free(r.list), free(r.optimizer.m), free(r.optimizer.v), free(r.tokens), free(r.targets);
    free(r.at), free(r.losses), free(r.eval_at), free(r.evals);
    return code;
}
