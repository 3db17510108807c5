/* SPDX-License-Identifier: Apache-2.0 */
/* context.h — who computes and with what: threads, memory, ISA, strictness, warnings.
 *
 * Every operator takes a context; NULL means the process default, created at first use from the
 * environment. A context is immutable after creation, but for its generator (generator.h), and may be
 * used from any number of threads.
 *
 * Environment, read once at the first context (a field of the options wins):
 *   FATTN_ISA      scalar | avx2 | avx512 | neon      FATTN_THREADS  number of threads
 *   FATTN_STRICT   1 = the vendor's behaviour          FATTN_PIN      1 = bind the library's
 * threads FATTN_BACKEND  cpu | ref | any                      FATTN_LANG     en | zh, also as a
 * locale (zh_CN.UTF-8): language of the sentences FATTN_LOG      words with commas between them, to
 * stderr: 1 = warnings; call = a problem line per call, plan = a comment line ("# plan ...") per
 * plan, both with the warnings FATTN_DUMP_DIR a directory: each call is recorded there, one
 * .safetensors file with its inputs, outputs and problem line, for `fattn run --replay FILE` */
#ifndef FATTN_CONTEXT_H
#define FATTN_CONTEXT_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fattn_context fattn_context;

/* One item of a parallel loop. `worker` is in [0, n_workers) and no two items that run at the same
 * time share it. */
typedef void (*fattn_task)(void *arg, int64_t item, int worker);

/* The caller's own thread pool. parallel_for runs task(arg, i, worker) for every i in [0, n_items)
 * and returns when all are done; order and distribution are free (they never change a result). */
typedef struct fattn_executor {
    void *self;
    int n_workers;
    void (*parallel_for)(void *self, fattn_task task, void *arg, int64_t n_items);
} fattn_executor;

/* The caller's own memory. alloc returns `bytes` aligned to 64, or NULL; free(NULL) never happens.
 */
typedef struct fattn_allocator {
    void *self;
    void *(*alloc)(void *self, size_t bytes);
    void (*free)(void *self, void *memory);
} fattn_allocator;

/* Called at most once per process and place. `place` is a stable short id
 * ("sparse_mode_without_mask"), `sentence` names the argument and what the device would do. A call
 * that is refused warns of nothing. Must not call back into fattn. */
typedef void (*fattn_warn_fn)(void *self, const char *place, const char *sentence);

typedef enum fattn_compute {
    FATTN_COMPUTE_F32 = 0, /* fp32 scores, softmax and accumulation, whatever the storage */
    /* The products of f16 queries, keys and values in fp16 arithmetic where there are nine query rows
     * or more for each key/value head, everything else as F32; how exact that is, beside bf16 storage,
     * docs/accuracy.md says, and what overflows is computed again in fp32. E_UNSUPPORTED where the
     * instruction set has none: it takes AVX512_FP16 or Armv8.2 FP16; "scalar" computes it in software. */
    FATTN_COMPUTE_F16 = 1
} fattn_compute;

/* "f32" or "f16", as options and problem lines spell it. */
FATTN_API const char *fattn_compute_name(fattn_compute compute);

typedef struct fattn_context_options {
    size_t size;     /* set by fattn_context_options_init() */
    int threads;     /* 0 = FATTN_THREADS, else min(affinity mask, cgroup quota) */
    int strict;      /* -1 = FATTN_STRICT, 0 = default behaviour, 1 = the vendor's */
    int pin_threads; /* -1 = FATTN_PIN, 1 = each of the library's own threads keeps to one CPU of
                        the mask at creation (the caller's thread is left alone), 0 = none does */
    const char *isa; /* NULL = FATTN_ISA, else the best one; copied */
    const char
        *backend; /* NULL = FATTN_BACKEND, else "any": the first that accepts; "cpu" or "ref" */
    fattn_compute compute;   /* FATTN_COMPUTE_F32 */
    fattn_executor executor; /* parallel_for NULL = a pool of our own, started at the first call */
    fattn_allocator allocator; /* alloc NULL = the C library's */
    fattn_warn_fn warn;        /* NULL = silent unless FATTN_LOG is set */
    void *warn_self;
} fattn_context_options;

/* Fills the defaults. Compulsory before the first field is set. */
FATTN_API void fattn_context_options_init(fattn_context_options *options);

/* Creates a context; options NULL = all defaults. The caller destroys it, after every plan and
 * cache made with it. E_ARG: an unknown or unavailable ISA (the sentence lists the names), bad
 * size. */
FATTN_API fattn_status fattn_context_create(fattn_context **context,
                                            const fattn_context_options *options);

/* Joins the threads and frees the context. NULL is fine. */
FATTN_API void fattn_context_destroy(fattn_context *context);

/* What the context settled on. context NULL = the process default. */
FATTN_API int fattn_context_threads(fattn_context *context);
FATTN_API const char *fattn_context_isa(fattn_context *context);
FATTN_API bool fattn_context_strict(fattn_context *context);
FATTN_API fattn_compute fattn_context_compute(fattn_context *context);

#ifdef __cplusplus
}
#endif
#endif
