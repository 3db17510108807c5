/* SPDX-License-Identifier: Apache-2.0 */
/* weights.c — the list of tensors is the only place that knows their names, shapes and order. */
#include "weights.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "replace.h"

enum { PER_LAYER = 9, OUTSIDE = 3 };

static int add(weight *list, int n, real **at, size_t *used, real *base, bool decays, int rank,
               int rows, int cols, const char *format, ...) __attribute__((format(printf, 10, 11)));

/* Appends a tensor to the list (when there is one) and points *at into the block (when there is one). */
static int add(weight *list, int n, real **at, size_t *used, real *base, bool decays, int rank,
               int rows, int cols, const char *format, ...)
{
    real *here = base ? base + *used : NULL;
    if (at) *at = here;
    *used += (size_t)rows * (size_t)cols;
    if (list) {
        va_list names;
        list[n] = (weight){.at = here, .rank = rank, .rows = rows, .cols = cols, .decays = decays};
        va_start(names, format);
        vsnprintf(list[n].name, sizeof list[n].name, format, names);
        va_end(names);
    }
    return n + 1;
}

static int walk(const config *c, weights *w, weight *list, size_t *used)
{
    const int dim = c->hidden_size, kv = c->num_key_value_heads * config_head_dim(c);
    const int hidden = c->intermediate_size;
    real *base = w->all;
    int n = 0;
    *used = 0;
    n = add(list, n, &w->embedding, used, base, false, 2, c->vocab_size, dim,
            "model.embed_tokens.weight");
    for (int l = 0; l < c->num_hidden_layers; l++) {
        layer_weights unused, *x = w->layers ? &w->layers[l] : &unused;
        n = add(list, n, &x->attention_norm, used, base, false, 1, dim, 1,
                "model.layers.%d.input_layernorm.weight", l);
        n = add(list, n, &x->q, used, base, true, 2, dim, dim,
                "model.layers.%d.self_attn.q_proj.weight", l);
        n = add(list, n, &x->k, used, base, true, 2, kv, dim,
                "model.layers.%d.self_attn.k_proj.weight", l);
        n = add(list, n, &x->v, used, base, true, 2, kv, dim,
                "model.layers.%d.self_attn.v_proj.weight", l);
        n = add(list, n, &x->o, used, base, true, 2, dim, dim,
                "model.layers.%d.self_attn.o_proj.weight", l);
        n = add(list, n, &x->mlp_norm, used, base, false, 1, dim, 1,
                "model.layers.%d.post_attention_layernorm.weight", l);
        n = add(list, n, &x->gate, used, base, true, 2, hidden, dim,
                "model.layers.%d.mlp.gate_proj.weight", l);
        n = add(list, n, &x->up, used, base, true, 2, hidden, dim,
                "model.layers.%d.mlp.up_proj.weight", l);
        n = add(list, n, &x->down, used, base, true, 2, dim, hidden,
                "model.layers.%d.mlp.down_proj.weight", l);
    }
    n = add(list, n, &w->norm, used, base, false, 1, dim, 1, "model.norm.weight");
    return add(list, n, &w->head, used, base, true, 2, c->vocab_size, dim, "lm_head.weight");
}

weights weights_new(const config *c)
{
    weights w = {0};
    walk(c, &w, NULL, &w.n);
    w.all = reals(w.n);
    w.layers = calloc((size_t)c->num_hidden_layers, sizeof *w.layers);
    if (!w.layers) abort();
    walk(c, &w, NULL, &w.n);
    return w;
}

void weights_free(weights *w)
{
    free(w->all), free(w->layers);
    *w = (weights){0};
}

int weights_list(const config *c, const weights *w, weight *list)
{
    weights copy = {.all = w->all};
    size_t used;
    return walk(c, &copy, list, &used);
}

static weight *list_of(const config *c, const weights *w, int *n)
{
    *n = c->num_hidden_layers * PER_LAYER + OUTSIDE;
    weight *list = calloc((size_t)*n, sizeof *list);
    if (!list) abort();
    weights_list(c, w, list);
    return list;
}

double random_uniform(uint64_t seed, uint64_t index) /* splitmix64 as a counter */
{
    uint64_t x = seed * UINT64_C(0xd1342543de82ef95) + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static double normal(uint64_t seed, uint64_t index) /* Box and Muller 1958 */
{
    const double radius = sqrt(-2 * log(1 - random_uniform(seed, 2 * index)));
    return radius * cos(6.283185307179586 * random_uniform(seed, 2 * index + 1));
}

void weights_init(const config *c, weights *w, uint64_t seed)
{
    int n;
    uint64_t index = 0;
    weight *list = list_of(c, w, &n);
    for (int i = 0; i < n; i++) {
        const bool adds = strstr(list[i].name, "o_proj") || strstr(list[i].name, "down_proj");
        const double deviation = 0.02 / (adds ? sqrt(2.0 * c->num_hidden_layers) : 1);
        const size_t count = (size_t)list[i].rows * (size_t)list[i].cols;
        for (size_t k = 0; k < count; k++)
            list[i].at[k] = list[i].rank == 1 ? 1 : (real)(deviation * normal(seed, index++));
    }
    free(list);
}

/* ---- files --------------------------------------------------------------------------------------
 */

static fattn_tensor tensor_of(const weight *x)
{
    const int64_t shape[] = {x->rows, x->cols};
    return fattn_tensor_contiguous(x->at, REAL_DTYPE, x->rank, shape);
}

bool weights_write(const config *c, const weights *w, const char *dir, char *error, size_t size)
{
    int n;
    weight *list = list_of(c, w, &n);
    replace_tensor *tensors = calloc((size_t)n, sizeof *tensors);
    if (!tensors) abort();
    for (int i = 0; i < n; i++) tensors[i] = (replace_tensor){list[i].name, tensor_of(&list[i])};
    const bool fine = replace_file(dir, "model.safetensors", tensors, n, error, size);
    free(tensors), free(list);
    return fine;
}

static bool read_one(const char *path, const weight *x, char *error, size_t size)
{
    io_tensor tensor = {0};
    io_error bad;
    if (safetensors_read(path, x->name, REAL_DTYPE, &tensor, &bad) != IO_OK) {
        snprintf(error, size, "%s", bad.message);
        return false;
    }
    const fattn_tensor want = tensor_of(x);
    const bool fits = tensor.t.rank == want.rank && tensor.t.shape[0] == want.shape[0] &&
                      (want.rank == 1 || tensor.t.shape[1] == want.shape[1]);
    if (fits)
        memcpy(x->at, tensor.t.data, (size_t)x->rows * (size_t)x->cols * sizeof(real));
    else
        snprintf(error, size, "%s: %s has another shape than config.json says", path, x->name);
    io_tensor_free(&tensor);
    return fits;
}

bool weights_read(const config *c, weights *w, const char *dir, char *error, size_t size)
{
    int n;
    char path[4096];
    bool fine = true;
    weight *list = list_of(c, w, &n);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    for (int i = 0; i < n && fine; i++) fine = read_one(path, &list[i], error, size);
    free(list);
    return fine;
}
