/* SPDX-License-Identifier: Apache-2.0 */
/* multimodal.c — a small model that says what a picture shows. Three kinds of attention learn together:
 * the patches of a picture see their neighbours (sparse_mode 4, a band), the words see the words before
 * them (sparse_mode 3), and every word sees all patches (cross attention, more keys than queries); all
 * with dropout, keep_prob 0.9. The pictures are drawn here, with noise; the answer counts only when all
 * of its words are right.
 *
 *   multimodal [STEPS]      exits 1 when fewer than 90 % of the pictures are told
 *
 * The layers and attention with its gradients are those of train/. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/adamw.h"
#include "train/attention.h"
#include "train/layers.h"

enum {
    SIDE = 16, /* pixels of a picture */
    PATCH = 2, /* and of a patch */
    PER_ROW = SIDE / PATCH,
    PATCHES = PER_ROW * PER_ROW,
    PIXELS = PATCH * PATCH,
    BAND = PER_ROW + 1, /* a patch sees the row above and the row below */
    WORDS = 4,          /* size, shape, height, side */
    TEXT = WORDS + 1,   /* begin w w w w -> w w w w end */
    VOCABULARY = 12,
    DIM = 32,
    HEADS = 4,
    HIDDEN = 64,
    BATCH = 64,
    STEPS = 400,
    TESTED = 512,
    TENSORS = 48
};

static const char *const words[VOCABULARY] = {"(begin)", "(end)", "small", "big",    "box",  "ring",
                                              "cross",   "bar",   "upper", "lower", "left", "right"};

/* ---- pictures ------------------------------------------------------------------------------------ */

typedef struct picture {
    real pixels[PATCHES][PIXELS];
    int32_t words[WORDS];
} picture;

static bool inside(int shape, int dx, int dy, int radius)
{
    const int far = abs(dx) > abs(dy) ? abs(dx) : abs(dy);
    switch (shape) {
    case 0:
        return far <= radius;
    case 1:
        return far == radius;
    case 2:
        return far <= radius && (dx == 0 || dy == 0);
    default:
        return far <= radius && dy == 0;
    }
}

/* Number `index` of a stream: learned from are those of stream 1, tested those of stream 2. */
static void draw(picture *p, uint64_t stream, uint64_t index)
{
    enum { DRAWS = SIDE * SIDE + 6 };
    const uint64_t first = index * DRAWS;
    double u[6];
    for (uint64_t i = 0; i < 6; i++) u[i] = random_uniform(stream, first + i);
    const int big = u[0] < 0.5, shape = (int)(u[1] * 4), low = u[2] < 0.5, right = u[3] < 0.5;
    const int x = (right ? 10 : 4) + (int)(u[4] * 2), y = (low ? 10 : 4) + (int)(u[5] * 2);
    for (int r = 0; r < SIDE; r++)
        for (int c = 0; c < SIDE; c++) {
            const uint64_t at = first + 6 + (uint64_t)(r * SIDE + c);
            const double noise = 0.6 * (random_uniform(stream, at) - 0.5);
            p->pixels[r / PATCH * PER_ROW + c / PATCH][r % PATCH * PATCH + c % PATCH] =
                (real)((inside(shape, c - x, r - y, big ? 3 : 2) ? 1 : 0) + noise);
        }
    p->words[0] = 2 + big, p->words[1] = 4 + shape;
    p->words[2] = 8 + low, p->words[3] = 10 + right;
}

static void show(const picture *p)
{
    static const char shades[] = " .:+#";
    for (int r = 0; r < SIDE; r++) {
        printf("    ");
        for (int c = 0; c < SIDE; c++) {
            const double x = (double)p->pixels[r / PATCH * PER_ROW + c / PATCH]
                                              [r % PATCH * PATCH + c % PATCH];
            const int shade = (int)((x + 0.3) / 1.6 * 5);
            printf("%c ", shades[shade < 0 ? 0 : shade > 4 ? 4 : shade]);
        }
        printf("\n");
    }
}

/* ---- parts of the model -------------------------------------------------------------------------- */

typedef struct param {
    real *w, *g; /* values, gradients */
} param;

typedef struct attention_block {
    param norm, q, k, v, o;
    attention form;
    attention_saved saved;
    const real *source; /* rows that give keys and values: other ones in cross attention */
    real *x, *normed, *inverse, *queries, *keys, *values, *out;
    real *dqueries, *dkeys, *dvalues, *dout, *dnormed;
} attention_block;

typedef struct mlp_block {
    param norm, gate, up, down;
    int rows;
    real *x, *normed, *inverse, *gated, *upped, *active, *dgated, *dupped, *dactive, *dnormed;
} mlp_block;

typedef struct model {
    weights params, grads;
    weight list[TENSORS];
    int n_list;
    param patch, patch_place, word, word_place, seen_norm, last_norm, head;
    attention_block look, read, cross;
    mlp_block look_mlp, read_mlp;
    real *pixels, *vision, *seen, *seen_inverse, *text, *last, *last_inverse, *logits;
    real *dvision, *dseen, *dtext, *dlast;
} model;

static const int patches = BATCH * PATCHES, tokens_in_batch = BATCH * TEXT;

/* The next rows x cols numbers of the parameters; cols 1 = a norm's weights. */
static param take(model *m, int rows, int cols)
{
    size_t used = 0;
    for (int i = 0; i < m->n_list; i++) used += (size_t)m->list[i].rows * (size_t)m->list[i].cols;
    m->list[m->n_list++] = (weight){.at = m->params.all + used,
                                    .rank = cols == 1 ? 1 : 2,
                                    .rows = rows,
                                    .cols = cols,
                                    .decays = cols > 1};
    for (size_t i = 0; i < (size_t)(rows * cols); i++) {
        const double u = random_uniform(7, used + i), v = random_uniform(8, used + i);
        m->params.all[used + i] = (real)(cols == 1 ? 1 : 0.2 * (u + v - 1)); /* about 0.08 wide */
    }
    return (param){m->params.all + used, m->grads.all + used};
}

static attention_block new_attention(model *m, attention form)
{
    const size_t rows = (size_t)(BATCH * form.length * DIM), keys = (size_t)(BATCH * form.keys * DIM);
    attention_block b = {.form = form};
    b.norm = take(m, DIM, 1);
    b.q = take(m, DIM, DIM), b.k = take(m, DIM, DIM), b.v = take(m, DIM, DIM), b.o = take(m, DIM, DIM);
    b.form.batch = BATCH, b.form.n_heads = b.form.n_kv_heads = HEADS, b.form.dim = DIM / HEADS;
    b.form.seed = m->n_list; /* a stream of its own */
    b.saved = attention_save(&b.form);
    b.x = reals(rows), b.normed = reals(rows), b.inverse = reals(rows), b.queries = reals(rows);
    b.out = reals(rows), b.dqueries = reals(rows), b.dout = reals(rows), b.dnormed = reals(rows);
    b.keys = reals(keys), b.values = reals(keys), b.dkeys = reals(keys), b.dvalues = reals(keys);
    return b;
}

static mlp_block new_mlp(model *m, int rows)
{
    const size_t n = (size_t)(rows * DIM), wide = (size_t)(rows * HIDDEN);
    mlp_block b = {.rows = rows, .norm = take(m, DIM, 1)};
    b.gate = take(m, HIDDEN, DIM), b.up = take(m, HIDDEN, DIM), b.down = take(m, DIM, HIDDEN);
    b.x = reals(n), b.normed = reals(n), b.inverse = reals(n), b.dnormed = reals(n);
    b.gated = reals(wide), b.upped = reals(wide), b.active = reals(wide);
    b.dgated = reals(wide), b.dupped = reals(wide), b.dactive = reals(wide);
    return b;
}

static void free_attention(attention_block *b)
{
    real *const all[] = {b->x,   b->normed, b->inverse,  b->queries, b->keys,  b->values,
                         b->out, b->dkeys,  b->dqueries, b->dvalues, b->dout, b->dnormed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    attention_saved_free(&b->saved);
}

static void free_mlp(mlp_block *b)
{
    real *const all[] = {b->x,      b->normed, b->inverse, b->gated,   b->upped,
                         b->active, b->dgated, b->dupped,  b->dactive, b->dnormed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void add(real *to, const real *from, size_t n)
{
    for (size_t i = 0; i < n; i++) to[i] += from[i];
}

/* What a program can do when a call is refused that it has written itself. */
static void must(bool done)
{
    if (done) return;
    fprintf(stderr, "multimodal: %s\n", fattn_error_message());
    exit(EXIT_FAILURE);
}

/* x += attention(norm(x)); source NULL = x itself. */
static void attention_forward_block(attention_block *b, real *x, const real *source)
{
    const int rows = BATCH * b->form.length, keys = BATCH * b->form.keys;
    const size_t n = (size_t)(rows * DIM);
    memcpy(b->x, x, n * sizeof *x);
    norm_forward(b->normed, b->inverse, x, b->norm.w, rows, DIM, 1e-5);
    b->source = source ? source : b->normed;
    linear_forward(b->queries, b->normed, b->q.w, rows, DIM, DIM);
    linear_forward(b->keys, b->source, b->k.w, keys, DIM, DIM);
    linear_forward(b->values, b->source, b->v.w, keys, DIM, DIM);
    must(attention_forward(&b->form, b->out, b->queries, b->keys, b->values, &b->saved));
    linear_forward(b->dnormed, b->out, b->o.w, rows, DIM, DIM); /* dnormed is free now */
    add(x, b->dnormed, n);
}

static void attention_backward_block(attention_block *b, real *dx, real *dsource)
{
    const int rows = BATCH * b->form.length, keys = BATCH * b->form.keys;
    const size_t n = (size_t)(rows * DIM);
    memset(b->dout, 0, n * sizeof *dx);
    linear_backward(b->dout, b->o.g, dx, b->out, b->o.w, rows, DIM, DIM);
    must(attention_backward(&b->form, b->dqueries, b->dkeys, b->dvalues, b->dout, b->out,
                            b->queries, b->keys, b->values, &b->saved));
    memset(b->dnormed, 0, n * sizeof *dx);
    linear_backward(b->dnormed, b->q.g, b->dqueries, b->normed, b->q.w, rows, DIM, DIM);
    if (!dsource) dsource = b->dnormed;
    linear_backward(dsource, b->k.g, b->dkeys, b->source, b->k.w, keys, DIM, DIM);
    linear_backward(dsource, b->v.g, b->dvalues, b->source, b->v.w, keys, DIM, DIM);
    norm_backward(dx, b->norm.g, b->dnormed, b->x, b->norm.w, b->inverse, rows, DIM);
}

static void mlp_forward(mlp_block *b, real *x)
{
    const size_t n = (size_t)(b->rows * DIM), wide = (size_t)(b->rows * HIDDEN);
    memcpy(b->x, x, n * sizeof *x);
    norm_forward(b->normed, b->inverse, x, b->norm.w, b->rows, DIM, 1e-5);
    linear_forward(b->gated, b->normed, b->gate.w, b->rows, DIM, HIDDEN);
    linear_forward(b->upped, b->normed, b->up.w, b->rows, DIM, HIDDEN);
    swiglu_forward(b->active, b->gated, b->upped, wide);
    linear_forward(b->dnormed, b->active, b->down.w, b->rows, HIDDEN, DIM);
    add(x, b->dnormed, n);
}

static void mlp_backward(mlp_block *b, real *dx)
{
    const size_t n = (size_t)(b->rows * DIM), wide = (size_t)(b->rows * HIDDEN);
    memset(b->dactive, 0, wide * sizeof *dx);
    linear_backward(b->dactive, b->down.g, dx, b->active, b->down.w, b->rows, HIDDEN, DIM);
    swiglu_backward(b->dgated, b->dupped, b->dactive, b->gated, b->upped, wide);
    memset(b->dnormed, 0, n * sizeof *dx);
    linear_backward(b->dnormed, b->gate.g, b->dgated, b->normed, b->gate.w, b->rows, DIM, HIDDEN);
    linear_backward(b->dnormed, b->up.g, b->dupped, b->normed, b->up.w, b->rows, DIM, HIDDEN);
    norm_backward(dx, b->norm.g, b->dnormed, b->x, b->norm.w, b->inverse, b->rows, DIM);
}

/* ---- the model ----------------------------------------------------------------------------------- */

static model *new_model(void)
{
    enum { ROOM = 1 << 17 };
    const size_t see = (size_t)(patches * DIM), text = (size_t)(tokens_in_batch * DIM);
    model *m = calloc(1, sizeof *m);
    if (!m) abort();
    m->params = (weights){.all = reals(ROOM)}, m->grads = (weights){.all = reals(ROOM)};
    m->patch = take(m, DIM, PIXELS), m->patch_place = take(m, PATCHES, DIM);
    m->word = take(m, VOCABULARY, DIM), m->word_place = take(m, TEXT, DIM);
    m->seen_norm = take(m, DIM, 1), m->last_norm = take(m, DIM, 1);
    m->head = take(m, VOCABULARY, DIM);
    m->look = new_attention(m, (attention){.length = PATCHES, .keys = PATCHES, .sparse_mode = 4,
                                           .pre_tokens = BAND, .next_tokens = BAND});
    m->read = new_attention(m, (attention){.length = TEXT, .keys = TEXT, .sparse_mode = 3});
    m->cross = new_attention(m, (attention){.length = TEXT, .keys = PATCHES, .sparse_mode = 0});
    m->look_mlp = new_mlp(m, patches), m->read_mlp = new_mlp(m, tokens_in_batch);
    for (int i = 0; i < m->n_list; i++)
        m->params.n += (size_t)m->list[i].rows * (size_t)m->list[i].cols;
    m->grads.n = m->params.n;
    if (m->params.n > ROOM || m->n_list > TENSORS) abort();
    m->pixels = reals((size_t)(patches * PIXELS));
    m->vision = reals(see), m->seen = reals(see), m->dvision = reals(see), m->dseen = reals(see);
    m->seen_inverse = reals((size_t)patches);
    m->text = reals(text), m->last = reals(text), m->dtext = reals(text), m->dlast = reals(text);
    m->last_inverse = reals((size_t)tokens_in_batch);
    m->logits = reals((size_t)(tokens_in_batch * VOCABULARY));
    return m;
}

static void free_model(model *m)
{
    real *const all[] = {m->params.all, m->grads.all,    m->pixels, m->vision,
                         m->seen,       m->seen_inverse, m->text,   m->last,
                         m->last_inverse, m->logits, m->dvision, m->dseen, m->dtext, m->dlast};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free_attention(&m->look), free_attention(&m->read), free_attention(&m->cross);
    free_mlp(&m->look_mlp), free_mlp(&m->read_mlp);
    free(m);
}

static void set_dropout(model *m, double keep_prob, int step)
{
    attention *const forms[] = {&m->look.form, &m->read.form, &m->cross.form};
    for (int i = 0; i < 3; i++) forms[i]->keep_prob = keep_prob, forms[i]->offset = 12 * step;
}

/* m->logits for all places of the text. */
static void forward(model *m, const picture *pictures, const int32_t *text)
{
    const size_t rows = (size_t)PATCHES * DIM;
    for (int b = 0; b < BATCH; b++)
        memcpy(m->pixels + (size_t)b * PATCHES * PIXELS, pictures[b].pixels,
               sizeof pictures[b].pixels);
    linear_forward(m->vision, m->pixels, m->patch.w, patches, PIXELS, DIM);
    for (int b = 0; b < BATCH; b++) add(m->vision + (size_t)b * rows, m->patch_place.w, rows);
    attention_forward_block(&m->look, m->vision, NULL);
    mlp_forward(&m->look_mlp, m->vision);
    norm_forward(m->seen, m->seen_inverse, m->vision, m->seen_norm.w, patches, DIM, 1e-5);

    for (int r = 0; r < tokens_in_batch; r++) {
        memcpy(m->text + r * DIM, m->word.w + text[r] * DIM, DIM * sizeof(real));
        add(m->text + r * DIM, m->word_place.w + r % TEXT * DIM, DIM);
    }
    attention_forward_block(&m->read, m->text, NULL);
    attention_forward_block(&m->cross, m->text, m->seen);
    mlp_forward(&m->read_mlp, m->text);
    norm_forward(m->last, m->last_inverse, m->text, m->last_norm.w, tokens_in_batch, DIM, 1e-5);
    linear_forward(m->logits, m->last, m->head.w, tokens_in_batch, DIM, VOCABULARY);
}

/* m->logits are their gradient (cross_entropy()). */
static void backward(model *m, const int32_t *text)
{
    const size_t see = (size_t)(patches * DIM), rows = (size_t)PATCHES * DIM;
    const size_t all = (size_t)(tokens_in_batch * DIM);
    memset(m->dlast, 0, all * sizeof(real)), memset(m->dtext, 0, all * sizeof(real));
    memset(m->dseen, 0, see * sizeof(real)), memset(m->dvision, 0, see * sizeof(real));
    linear_backward(m->dlast, m->head.g, m->logits, m->last, m->head.w, tokens_in_batch, DIM,
                    VOCABULARY);
    norm_backward(m->dtext, m->last_norm.g, m->dlast, m->text, m->last_norm.w, m->last_inverse,
                  tokens_in_batch, DIM);
    mlp_backward(&m->read_mlp, m->dtext);
    attention_backward_block(&m->cross, m->dtext, m->dseen);
    attention_backward_block(&m->read, m->dtext, NULL);
    for (int r = 0; r < tokens_in_batch; r++) {
        add(m->word.g + text[r] * DIM, m->dtext + r * DIM, DIM);
        add(m->word_place.g + r % TEXT * DIM, m->dtext + r * DIM, DIM);
    }

    norm_backward(m->dvision, m->seen_norm.g, m->dseen, m->vision, m->seen_norm.w, m->seen_inverse,
                  patches, DIM);
    mlp_backward(&m->look_mlp, m->dvision);
    attention_backward_block(&m->look, m->dvision, NULL);
    for (int b = 0; b < BATCH; b++) add(m->patch_place.g, m->dvision + (size_t)b * rows, rows);
    real *unused = reals((size_t)(patches * PIXELS)); /* nobody trains pixels */
    linear_backward(unused, m->patch.g, m->dvision, m->pixels, m->patch.w, patches, PIXELS, DIM);
    free(unused);
}

/* ---- learning and telling ------------------------------------------------------------------------ */

static double learn(model *m, adamw *optimizer, picture *pictures, int step)
{
    int32_t text[BATCH * TEXT], targets[BATCH * TEXT];
    double losses[BATCH * TEXT], sum = 0;
    for (int b = 0; b < BATCH; b++) {
        draw(&pictures[b], 1, (uint64_t)(step * BATCH + b));
        text[b * TEXT] = 0, targets[b * TEXT + WORDS] = 1;
        for (int w = 0; w < WORDS; w++)
            text[b * TEXT + w + 1] = targets[b * TEXT + w] = pictures[b].words[w];
    }
    set_dropout(m, 0.9, step);
    forward(m, pictures, text);
    cross_entropy(losses, m->logits, targets, tokens_in_batch, VOCABULARY, 1.0 / tokens_in_batch);
    backward(m, text);
    adamw_step(optimizer, m->list, m->n_list, &m->params, &m->grads, step);
    for (int r = 0; r < tokens_in_batch; r++) sum += losses[r];
    return sum / tokens_in_batch;
}

static int32_t likeliest(const real *logits)
{
    int32_t best = 0;
    for (int32_t w = 1; w < VOCABULARY; w++)
        if (logits[w] > logits[best]) best = w;
    return best;
}

/* Word after word, each from the ones before it; text[b][1..] are the answers. */
static void tell(model *m, const picture *pictures, int32_t *text)
{
    memset(text, 0, (size_t)tokens_in_batch * sizeof *text);
    set_dropout(m, 1, 0);
    for (int w = 0; w < WORDS; w++) {
        forward(m, pictures, text);
        for (int b = 0; b < BATCH; b++)
            text[b * TEXT + w + 1] = likeliest(m->logits + (b * TEXT + w) * VOCABULARY);
    }
}

/* The share of pictures that were never learned from and whose words are all right. */
static double exact_match(model *m, picture *pictures)
{
    int32_t text[BATCH * TEXT];
    int right = 0;
    for (int first = 0; first < TESTED; first += BATCH) {
        for (int b = 0; b < BATCH; b++) draw(&pictures[b], 2, (uint64_t)(first + b));
        tell(m, pictures, text);
        for (int b = 0; b < BATCH; b++)
            right += memcmp(text + b * TEXT + 1, pictures[b].words, sizeof pictures[b].words) == 0;
    }
    show(&pictures[0]);
    printf("    told:");
    for (int w = 1; w <= WORDS; w++) printf(" %s", words[text[w]]);
    printf("\n\n");
    return (double)right / TESTED;
}

int main(int argc, char **argv)
{
    const int steps = argc > 1 ? atoi(argv[1]) : STEPS;
    if (argc > 2 || steps <= 0) {
        fprintf(stderr, "usage: multimodal [STEPS]\n");
        return 64;
    }
    if (!gemm_available()) {
        printf("not run: multimodal: no OpenBLAS\n");
        return 77;
    }
    model *m = new_model();
    picture *pictures = calloc(BATCH, sizeof *pictures);
    adamw optimizer = {.lr = 4e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.05,
                       .clip = 1, .warmup = 20, .steps = steps, .m = reals(m->params.n),
                       .v = reals(m->params.n)};
    if (!pictures) abort();
    printf("%zu parameters; %d pictures a step, %d patches, %d words\n", m->params.n, BATCH, PATCHES,
           WORDS);
    for (int step = 0; step < steps; step++) {
        const double loss = learn(m, &optimizer, pictures, step);
        if ((step + 1) % 100 == 0 || step + 1 == steps)
            printf("step %d  loss %.4f\n", step + 1, loss);
    }
    printf("\n");
    const double share = exact_match(m, pictures);
    printf("exact match: %.1f %% of %d pictures\n", 100 * share, TESTED);
    free(optimizer.m), free(optimizer.v), free(pictures);
    free_model(m);
    return share >= 0.9 ? EXIT_SUCCESS : EXIT_FAILURE;
}
