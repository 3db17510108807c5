/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.c — three blocks of numbers and six integers. */
#include "checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/safetensors.h"
#include "replace.h"

enum { NUMBERS = 6, BLOCKS = 3 };
static const char *const names[BLOCKS + 1] = {"parameters", "moment1", "moment2", "run"};

static void pack(const checkpoint *c, int64_t *numbers)
{
    const int64_t all[NUMBERS] = {c->step, c->seed, c->batch, c->length, c->tokens, c->steps};
    memcpy(numbers, all, sizeof all);
}

bool checkpoint_write(const checkpoint *c, const weights *params, const adamw *moments,
                      const char *dir, char *error, size_t size)
{
    int64_t numbers[NUMBERS];
    const int64_t n = (int64_t)params->n, count = NUMBERS;
    real *const blocks[BLOCKS] = {params->all, moments->m, moments->v};
    replace_tensor tensors[BLOCKS + 1];
    pack(c, numbers);
    for (int i = 0; i < BLOCKS; i++)
        tensors[i] =
            (replace_tensor){names[i], fattn_tensor_contiguous(blocks[i], REAL_DTYPE, 1, &n)};
    tensors[BLOCKS] =
        (replace_tensor){names[BLOCKS], fattn_tensor_contiguous(numbers, FATTN_I64, 1, &count)};
    return replace_file(dir, "checkpoint.safetensors", tensors, BLOCKS + 1, error, size);
}

static bool all_finite(const real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static bool read_block(const char *path, const char *name, fattn_dtype dtype, int64_t n,
                       io_tensor *tensor, char *error, size_t size)
{
    io_error bad;
    if (safetensors_read(path, name, dtype, tensor, &bad) != IO_OK) {
        snprintf(error, size, "%s", bad.message);
        return false;
    }
    const bool fits = tensor->t.rank == 1 && tensor->t.shape[0] == n;
    if (!fits)
        snprintf(error, size, "%s: %s is not of this model: %lld numbers, it needs %lld", path, name,
                 (long long)tensor->t.shape[0], (long long)n);
    if (fits && dtype == REAL_DTYPE && !all_finite(tensor->t.data, (size_t)n)) {
        snprintf(error, size, "%s: %s holds numbers that are not finite", path, name);
        return false;
    }
    return fits;
}

/* What the run asks for, by name. */
static bool same_run(const checkpoint *c, const int64_t *numbers, const char *path, char *error,
                     size_t size)
{
    static const char *const what[NUMBERS] = {"step", "seed", "batch", "seq-len", "tokens of the text",
                                              "steps"};
    int64_t wanted[NUMBERS];
    pack(c, wanted);
    for (int i = 1; i < NUMBERS; i++) {
        if (wanted[i] == numbers[i]) continue;
        snprintf(error, size, "%s: was written with %s %lld, this run has %lld; resume with the same "
                 "options and text", path, what[i], (long long)numbers[i], (long long)wanted[i]);
        return false;
    }
    return true;
}

bool checkpoint_read(checkpoint *c, weights *params, adamw *moments, const char *dir, char *error,
                     size_t size)
{
    char path[4096];
    io_tensor blocks[BLOCKS + 1] = {0};
    bool fine = true;
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", dir);
    for (int i = 0; i < BLOCKS && fine; i++)
        fine = read_block(path, names[i], REAL_DTYPE, (int64_t)params->n, &blocks[i], error, size);
    fine = fine && read_block(path, names[BLOCKS], FATTN_I64, NUMBERS, &blocks[BLOCKS], error, size) &&
           same_run(c, blocks[BLOCKS].t.data, path, error, size);
    if (fine) {
        real *const to[BLOCKS] = {params->all, moments->m, moments->v};
        for (int i = 0; i < BLOCKS; i++) memcpy(to[i], blocks[i].t.data, params->n * sizeof(real));
        c->step = ((const int64_t *)blocks[BLOCKS].t.data)[0];
    }
    for (int i = 0; i <= BLOCKS; i++) io_tensor_free(&blocks[i]);
    return fine;
}
