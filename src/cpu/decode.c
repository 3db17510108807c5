/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c — few query rows: dot products with K and multiples of V, both read where they lie.
 *
 * Scores stand at the key's place in its tile of 64, s[row][key % 64], so that a row's sums do not
 * depend on where its window begins. While one operand is used, the rows needed next are fetched.
 */
#include <math.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "cpu/forward.h"
#include "cpu/drop.h"
#include "cpu/gather.h"
#include "cpu/scales.h"
#include "cpu/scores.h"
#include "cpu/values.h"

/* Keys [j, j + n) of a tile; `at` = where they stand among the 64. */
typedef struct block {
    int64_t j;
    int n, at;
} block;

static block block_from(int64_t j, int64_t end)
{
    const int at = (int)(j % TILE_KEYS);
    return (block){.j = j, .at = at, .n = (int)i64_clamp(end - j, 0, TILE_KEYS - at)};
}

/* The rows that will be read after run `index` of another list, or NULL. */
static const void *ahead_of(const fattn_runs *next, int index)
{
    return next && index < next->count ? next->run[index].at : NULL;
}

static fattn_strips strips_of(const fattn_run *run)
{
    return (fattn_strips){.at = run->at, .ld = run->ld, .stride = run->stride, .chunk = run->chunk};
}

static void dot_keys(const fattn_item *it, const block *b, const fattn_runs *keys,
                     const fattn_runs *next)
{
    const fattn_kernels *kernels = it->kernels;
    const fattn_scratch *s = it->scratch;
    const int rows = it->work->rows, d = (int)it->p->d_qk;
    for (int i = 0; i < keys->count; i++) {
        const fattn_run *run = &keys->run[i];
        const fattn_strips strips = strips_of(run);
        float *scores = s->scores + b->at + run->first;
        if (run->chunk)
            kernels->dot_strips[keys->kernel](scores, s->q, (ptrdiff_t)s->ldk, &strips, rows,
                                              run->n, d, ahead_of(next, i));
        else
            kernels->dot[keys->kernel](scores, s->q, (ptrdiff_t)s->ldk, run->at, run->ld, rows,
                                       run->n, d, ahead_of(next, i));
    }
}

/* Scales by key: on the scores, all rows alike. */
static void scale_scores(const fattn_item *it, const fattn_source *keys, const block *b)
{
    const fattn_scratch *s = it->scratch;
    scales_of_keys(keys, it->kernels, b->j, b->n, s->k_scales.key_mul);
    it->kernels->affine(s->scores + b->at, TILE_KEYS, it->work->rows, b->n, NULL,
                        s->k_scales.key_mul, 0);
}

/* On the weights; a hidden key's scale may be anything. */
static void scale_weights(const fattn_item *it, const fattn_source *values, const block *b,
                          fattn_tile_class class)
{
    const fattn_scratch *s = it->scratch;
    float *weights = s->scores + b->at;
    scales_of_keys(values, it->kernels, b->j, b->n, s->v_scales.key_mul);
    it->kernels->affine(weights, TILE_KEYS, it->work->rows, b->n, NULL, s->v_scales.key_mul, 0);
    for (int row = 0; class == TILE_PARTIAL && row < it->work->rows; row++)
        for (int k = 0; k < b->n; k++)
            if (MUTANT(205, s->hidden[row], 0) >> k & 1) weights[row * TILE_KEYS + k] = 0.0f;
}

static void hide(float *scores, uint64_t hidden, int n)
{
    for (int k = 0; k < n; k++)
        if (hidden >> k & 1) scores[k] = -INFINITY;
}

static void edit_scores(const fattn_item *it, const block *b, fattn_tile_class class)
{
    fattn_scratch *s = it->scratch;
    const bool biased = it->p->bias.kind != BIAS_NONE;
    if (biased) scores_bias_rows(it, it->work->row0, it->work->rows, b->j, b->n, s->bias_rows);
    for (int row = 0; row < it->work->rows; row++) {
        float *scores = s->scores + row * TILE_KEYS;
        if (it->p->round_scores_f16) scores_round_f16(it, scores + b->at, b->n);
        for (int k = 0; biased && k < b->n; k++)
            scores[b->at + k] += s->bias_rows[row * TILE_KEYS + k];
        if (class == TILE_PARTIAL) hide(scores + b->at, s->hidden[row], b->n);
        for (int k = 0; k < b->at; k++) scores[k] = -INFINITY;
        for (int k = b->at + b->n; k < MUTANT(31, TILE_KEYS, 0); k++) scores[k] = -INFINITY;
    }
}

/* Dropout: behind the sums of the softmax. */
static void drop_weights(const fattn_item *it, const block *b)
{
    fattn_scratch *s = it->scratch;
    uint64_t in_tile[DOT_ROWS];
    drop_rows_kept(it, it->work->row0, it->work->rows, b->j, b->n, s->kept);
    for (int row = 0; row < it->work->rows; row++) in_tile[row] = s->kept[row] << b->at;
    it->kernels->drop_rows(s->scores, it->work->rows, in_tile, (float)it->p->dropout.factor);
}

static void rescale(const fattn_item *it, const fattn_state *state)
{
    const int64_t ldo = it->scratch->ldo;
    for (int row = 0; row < it->work->rows; row++)
        for (int64_t c = 0; c < ldo; c++)
            state->o[row * ldo + c] *= MUTANT(30, it->scratch->alpha[row], 1.0f);
}

static void add_values(const fattn_item *it, const fattn_state *state, const block *b,
                       const fattn_runs *values, const fattn_runs *next)
{
    const fattn_kernels *kernels = it->kernels;
    const fattn_scratch *s = it->scratch;
    const int rows = it->work->rows, d = (int)it->p->d_v;
    for (int i = 0; i < values->count; i++) {
        const fattn_run *run = &values->run[i];
        const fattn_strips strips = strips_of(run);
        const float *p = s->scores + b->at + run->first;
        if (run->chunk)
            kernels->axpy_strips[values->kernel](state->o, (ptrdiff_t)s->ldo, p, &strips, rows,
                                                 run->n, d, ahead_of(next, i));
        else
            kernels->axpy[values->kernel](state->o, (ptrdiff_t)s->ldo, p, run->at, run->ld, rows,
                                          run->n, d, ahead_of(next, i));
    }
}

/* The promise of values.h; false when V is finite and nothing was done (rows found before stay
 * valid). Widened values give the same sums as their own dtype. */
static bool add_values_carefully(const fattn_item *it, const fattn_state *state, const block *b,
                                 fattn_tile_class class)
{
    const fattn_scratch *s = it->scratch;
    const fattn_source source = gather_values(it);
    fattn_tile v = gather_folded(&source, it->kernels, b->j, b->n, s->v_clean, s->ldo);
    if (values_finite(it, v, b->n)) return false;

    if (drop_wanted(it)) drop_hide(it, it->work->rows, class == TILE_PARTIAL, s->hidden);
    v = gather_folded(&source, it->kernels, b->j, b->n, s->v, s->ldo);
    const fattn_tile clean = values_clean(it, v, b->n);
    const float *p = s->scores + b->at;
    it->kernels->axpy[KERNEL_F32](state->o, (ptrdiff_t)s->ldo, p, clean.at, clean.ld,
                                  it->work->rows, b->n, (int)it->p->d_v, NULL);
    values_add_non_finite(
        it, v, b->n,
        &(fattn_weights){.at = p, .row_stride = TILE_KEYS, .key_stride = 1, .hidden = s->hidden},
        it->work->rows, state->o);
    return true;
}

/* K and V rows alike: the one may be fetched while the other is used. */
static bool same_strides(const fattn_runs *a, const fattn_runs *b, const fattn_problem *p)
{
    const fattn_run *x = &a->run[0], *y = &b->run[0];
    return a->kernel == b->kernel && x->ld == y->ld && x->chunk == y->chunk &&
           x->stride == y->stride && p->d_qk == p->d_v;
}

/* Rows of q in log2 units, with everything that multiplies all scores of a row. */
static void load_queries(const fattn_item *it)
{
    const fattn_work *work = it->work;
    const fattn_scratch *s = it->scratch;
    const fattn_rows queries = gather_queries(it);
    gather_rows(it, &queries, work->row0, work->rows, s->q, s->ldk);
    float factors[DOT_ROWS];
    for (int row = 0; row < work->rows; row++) factors[row] = gather_factor(it, work->row0 + row);
    it->kernels->affine(s->q, (ptrdiff_t)s->ldk, work->rows, (int)s->ldk, NULL, factors, 1);
    if (scales_kind_of(&it->p->k_affine) == SCALES_BY_COLUMN)
        it->kernels->affine(s->q, (ptrdiff_t)s->ldk, work->rows, (int)it->p->k.part[0].d, NULL,
                            s->k_scales.mul, 0);
}

/* Does the block begin another split of the item? */
static bool crosses_border(const fattn_item *it, const block *b)
{
    return it->work->splits > MUTANT(212, 1, 2) && b->j > it->work->k0 &&
           b->j % it->kernels->split_keys == 0;
}

/* What multiplies all values of a column alike. */
static void close_split(const fattn_item *it, const fattn_state *state)
{
    const fattn_source v = gather_values(it);
    if (scales_folded(&v) == SCALES_BY_COLUMN)
        it->kernels->affine(state->o, (ptrdiff_t)it->scratch->ldo, it->work->rows, (int)it->p->d_v,
                            NULL, it->scratch->v_scales.mul, 0);
}

static fattn_state next_split(const fattn_item *it, const fattn_state *state)
{
    const int64_t far = it->next_state;
    return (fattn_state){
        .m = state->m + far, .top = state->top + far, .l = state->l + far, .o = state->o + far};
}

void forward_dots(const fattn_item *it, const fattn_state *state)
{
    const fattn_work *work = it->work;
    fattn_scratch *s = it->scratch;
    const fattn_source k = gather_keys(it), v = gather_values(it);
    const fattn_scales_kind k_scales = scales_folded(&k), v_scales = scales_folded(&v);
    scales_open(it);
    load_queries(it);
    fattn_state own = *state; /* of the split at hand */
    state_reset(&own, work->rows, s->ldo);

    fattn_runs keys, values;
    block b = block_from(work->k0, work->k1);
    gather_runs(&k, it->kernels, b.j, b.n, s->k, s->ldk, &keys);
    while (b.n > 0) {
        if (crosses_border(it, &b)) {
            close_split(it, &own);
            own = next_split(it, &own);
            state_reset(&own, work->rows, s->ldo);
        }
        const block next = block_from(b.j + b.n, work->k1);
        const fattn_tile_class class =
            scores_hidden(it, work->row0, work->rows, b.j, b.n, s->hidden);
        gather_runs(&v, it->kernels, b.j, b.n, s->v, s->ldo, &values);
        const bool alike = same_strides(&keys, &values, it->p);
        if (class != TILE_EMPTY) {
            dot_keys(it, &b, &keys, alike ? &values : NULL);
            if (k_scales == SCALES_BY_KEY) scale_scores(it, &k, &b);
            edit_scores(it, &b, class);
        }
        gather_runs(&k, it->kernels, next.j, next.n, s->k, s->ldk, &keys);
        if (class != TILE_EMPTY) {
            if (it->kernels->softmax_rows(s->scores, work->rows, own.m, own.top, own.l, s->alpha))
                rescale(it, &own);
            if (drop_wanted(it)) drop_weights(it, &b);
            if (v_scales == SCALES_BY_KEY) scale_weights(it, &v, &b, class);
            const bool zeros = class == TILE_PARTIAL || drop_wanted(it); /* hidden or dropped */
            if (!zeros || !add_values_carefully(it, &own, &b, class))
                add_values(it, &own, &b, &values, alike ? &keys : NULL);
        }
        b = next;
    }
    close_split(it, &own);
}
