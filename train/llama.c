/* SPDX-License-Identifier: Apache-2.0 */
/* llama.c — forward reads like the paper; backward is the same lines from the end. */
#include "llama.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers.h"

/* Sizes of a step, by their usual letters. */
typedef struct sizes {
    int rows, dim, heads, kv_heads, head_dim, q, kv, hidden, vocab;
} sizes;

static sizes sizes_of(const llama *m)
{
    const config *c = &m->shape;
    const int d = config_head_dim(c);
    return (sizes){.rows = m->attention.batch * m->attention.length,
                   .dim = c->hidden_size,
                   .heads = c->num_attention_heads,
                   .kv_heads = c->num_key_value_heads,
                   .head_dim = d,
                   .q = c->num_attention_heads * d,
                   .kv = c->num_key_value_heads * d,
                   .hidden = c->intermediate_size,
                   .vocab = c->vocab_size};
}

static real *take(llama *m, int rows, int cols)
{
    const size_t n = (size_t)rows * (size_t)cols;
    m->reals += n;
    return reals(n);
}

static layer_saved new_layer(llama *m, const sizes *s)
{
    layer_saved l = {
        .x = take(m, s->rows, s->dim),       .normed = take(m, s->rows, s->dim),
        .inverse = take(m, s->rows, 1),      .q = take(m, s->rows, s->q),
        .k = take(m, s->rows, s->kv),        .v = take(m, s->rows, s->kv),
        .attended = take(m, s->rows, s->q),  .x2 = take(m, s->rows, s->dim),
        .normed2 = take(m, s->rows, s->dim), .inverse2 = take(m, s->rows, 1),
        .gate = take(m, s->rows, s->hidden), .up = take(m, s->rows, s->hidden),
        .active = take(m, s->rows, s->hidden),
    };
    l.attention = attention_save(&m->attention);
    m->reals += attention_saved_reals(&m->attention);
    return l;
}

llama *llama_new(const config *shape, attention_way way, fattn_context *context, int batch,
                 int length)
{
    llama *m = calloc(1, sizeof *m);
    if (!m) abort();
    m->shape = *shape;
    m->params = weights_new(shape);
    m->grads = weights_new(shape);
    m->attention = (attention){.way = way,
                               .context = context,
                               .batch = batch,
                               .length = length,
                               .keys = length,
                               .sparse_mode = 3,
                               .n_heads = shape->num_attention_heads,
                               .n_kv_heads = shape->num_key_value_heads,
                               .dim = config_head_dim(shape),
                               .keep_prob = 1};
    const sizes s = sizes_of(m);
    m->layers = calloc((size_t)shape->num_hidden_layers, sizeof *m->layers);
    m->losses = calloc((size_t)s.rows, sizeof *m->losses);
    if (!m->layers || !m->losses) abort();
    for (int l = 0; l < shape->num_hidden_layers; l++) m->layers[l] = new_layer(m, &s);
    m->out = take(m, s.rows, s.dim), m->normed = take(m, s.rows, s.dim);
    m->inverse = take(m, s.rows, 1), m->logits = take(m, s.rows, s.vocab);
    m->dx = take(m, s.rows, s.dim), m->dnormed = take(m, s.rows, s.dim);
    m->dq = take(m, s.rows, s.q), m->dk = take(m, s.rows, s.kv), m->dv = take(m, s.rows, s.kv);
    m->dattended = take(m, s.rows, s.q), m->dgate = take(m, s.rows, s.hidden);
    m->dup = take(m, s.rows, s.hidden), m->dactive = take(m, s.rows, s.hidden);
    return m;
}

void llama_free(llama *m)
{
    if (!m) return;
    for (int l = 0; l < m->shape.num_hidden_layers; l++) {
        layer_saved *x = &m->layers[l];
        real *const all[] = {x->x,  x->normed,  x->inverse,  x->q,    x->k,  x->v,     x->attended,
                             x->x2, x->normed2, x->inverse2, x->gate, x->up, x->active};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
        attention_saved_free(&x->attention);
    }
    real *const all[] = {m->out, m->normed, m->inverse,   m->logits, m->dx,  m->dnormed, m->dq,
                         m->dk,  m->dv,     m->dattended, m->dgate,  m->dup, m->dactive};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    weights_free(&m->params), weights_free(&m->grads);
    free(m->layers), free(m->losses), free(m);
}

/* ---- forward ------------------------------------------------------------------------------------
 */

static void add(real *to, const real *from, size_t n)
{
    for (size_t i = 0; i < n; i++) to[i] += from[i];
}

/* A dropout mask of its own for every layer of every step. */
static attention attention_of(const llama *m, int layer)
{
    attention a = m->attention;
    a.offset = (a.offset * m->shape.num_hidden_layers + layer) * 12;
    return a;
}

static bool layer_forward(llama *m, int index, real *x)
{
    const sizes s = sizes_of(m);
    const layer_weights *w = &m->params.layers[index];
    layer_saved *l = &m->layers[index];
    const attention a = attention_of(m, index);
    const size_t stream = (size_t)s.rows * (size_t)s.dim;
    const double eps = m->shape.rms_norm_eps, theta = m->shape.rope_theta;

    memcpy(l->x, x, stream * sizeof *x);
    norm_forward(l->normed, l->inverse, x, w->attention_norm, s.rows, s.dim, eps);
    linear_forward(l->q, l->normed, w->q, s.rows, s.dim, s.q);
    linear_forward(l->k, l->normed, w->k, s.rows, s.dim, s.kv);
    linear_forward(l->v, l->normed, w->v, s.rows, s.dim, s.kv);
    rope(l->q, s.rows, s.heads, s.head_dim, 0, a.length, theta, false);
    rope(l->k, s.rows, s.kv_heads, s.head_dim, 0, a.length, theta, false);
    if (!attention_forward(&a, l->attended, l->q, l->k, l->v, &l->attention)) return false;
    linear_forward(m->dnormed, l->attended, w->o, s.rows, s.q, s.dim); /* dnormed is free now */
    add(x, m->dnormed, stream);

    memcpy(l->x2, x, stream * sizeof *x);
    norm_forward(l->normed2, l->inverse2, x, w->mlp_norm, s.rows, s.dim, eps);
    linear_forward(l->gate, l->normed2, w->gate, s.rows, s.dim, s.hidden);
    linear_forward(l->up, l->normed2, w->up, s.rows, s.dim, s.hidden);
    swiglu_forward(l->active, l->gate, l->up, (size_t)s.rows * (size_t)s.hidden);
    linear_forward(m->dnormed, l->active, w->down, s.rows, s.hidden, s.dim);
    add(x, m->dnormed, stream);
    return true;
}

double llama_forward(llama *m, const int32_t *tokens, const int32_t *targets)
{
    const sizes s = sizes_of(m);
    double sum = 0;
    for (int r = 0; r < s.rows; r++)
        memcpy(m->out + (size_t)r * (size_t)s.dim,
               m->params.embedding + (size_t)tokens[r] * (size_t)s.dim,
               (size_t)s.dim * sizeof(real));
    for (int l = 0; l < m->shape.num_hidden_layers; l++)
        if (!layer_forward(m, l, m->out)) return (double)NAN;
    norm_forward(m->normed, m->inverse, m->out, m->params.norm, s.rows, s.dim,
                 m->shape.rms_norm_eps);
    linear_forward(m->logits, m->normed, m->params.head, s.rows, s.dim, s.vocab);
    cross_entropy(m->losses, m->logits, targets, s.rows, s.vocab, 1.0 / s.rows);
    for (int r = 0; r < s.rows; r++) sum += m->losses[r];
    return sum / s.rows;
}

/* ---- backward -----------------------------------------------------------------------------------
 */

static void zero(real *x, size_t n) { memset(x, 0, n * sizeof *x); }

/* m->dx is the gradient of the layer's output and becomes that of its input. */
static bool layer_backward(llama *m, int index)
{
    const sizes s = sizes_of(m);
    const layer_weights *w = &m->params.layers[index], *g = &m->grads.layers[index];
    const layer_saved *l = &m->layers[index];
    const attention a = attention_of(m, index);
    const size_t stream = (size_t)s.rows * (size_t)s.dim, wide = (size_t)s.rows * (size_t)s.hidden;
    const double theta = m->shape.rope_theta;

    zero(m->dactive, wide);
    linear_backward(m->dactive, g->down, m->dx, l->active, w->down, s.rows, s.hidden, s.dim);
    swiglu_backward(m->dgate, m->dup, m->dactive, l->gate, l->up, wide);
    zero(m->dnormed, stream);
    linear_backward(m->dnormed, g->gate, m->dgate, l->normed2, w->gate, s.rows, s.dim, s.hidden);
    linear_backward(m->dnormed, g->up, m->dup, l->normed2, w->up, s.rows, s.dim, s.hidden);
    norm_backward(m->dx, g->mlp_norm, m->dnormed, l->x2, w->mlp_norm, l->inverse2, s.rows, s.dim);

    zero(m->dattended, (size_t)s.rows * (size_t)s.q);
    linear_backward(m->dattended, g->o, m->dx, l->attended, w->o, s.rows, s.q, s.dim);
    if (!attention_backward(&a, m->dq, m->dk, m->dv, m->dattended, l->attended, l->q, l->k, l->v,
                            &l->attention))
        return false;
    rope(m->dq, s.rows, s.heads, s.head_dim, 0, a.length, theta, true);
    rope(m->dk, s.rows, s.kv_heads, s.head_dim, 0, a.length, theta, true);
    zero(m->dnormed, stream);
    linear_backward(m->dnormed, g->q, m->dq, l->normed, w->q, s.rows, s.dim, s.q);
    linear_backward(m->dnormed, g->k, m->dk, l->normed, w->k, s.rows, s.dim, s.kv);
    linear_backward(m->dnormed, g->v, m->dv, l->normed, w->v, s.rows, s.dim, s.kv);
    norm_backward(m->dx, g->attention_norm, m->dnormed, l->x, w->attention_norm, l->inverse, s.rows,
                  s.dim);
    return true;
}

bool llama_backward(llama *m, const int32_t *tokens)
{
    const sizes s = sizes_of(m);
    const size_t stream = (size_t)s.rows * (size_t)s.dim;
    zero(m->dnormed, stream), zero(m->dx, stream);
    linear_backward(m->dnormed, m->grads.head, m->logits, m->normed, m->params.head, s.rows, s.dim,
                    s.vocab);
    norm_backward(m->dx, m->grads.norm, m->dnormed, m->out, m->params.norm, m->inverse, s.rows,
                  s.dim);
    for (int l = m->shape.num_hidden_layers - 1; l >= 0; l--)
        if (!layer_backward(m, l)) return false;
    for (int r = 0; r < s.rows; r++)
        add(m->grads.embedding + (size_t)tokens[r] * (size_t)s.dim,
            m->dx + (size_t)r * (size_t)s.dim, (size_t)s.dim);
    return true;
}
