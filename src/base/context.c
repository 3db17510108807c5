/* SPDX-License-Identifier: Apache-2.0 */
/* context.c — settles the caller's choices once: a field of the options wins over the environment,
 * which wins over what the machine offers. Also the default context, its memory and its parallel
 * loop. */
#include "base/context.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/messages.h"
#include "base/mutant.h"
#include "base/pool.h"

enum { ALIGN = 64, THREADS_MAX = 1024, EXTRA_MAX = 4096 }; /* bytes of a later version's options */

static void *libc_alloc(void *self, size_t bytes)
{
    (void)self;
    size_t rounded;
    if (!size_add(bytes, ALIGN - 1, &rounded)) return NULL;
    rounded = rounded / ALIGN * ALIGN;
    return aligned_alloc(ALIGN, rounded ? rounded : ALIGN);
}

static void libc_free(void *self, void *memory)
{
    (void)self;
    free(memory);
}

void fattn_context_options_init(fattn_context_options *options)
{
    if (!options) return;
    *options = (fattn_context_options){.size = sizeof *options, .strict = -1, .pin_threads = -1};
}

static fattn_status check_size(const fattn_context_options *options)
{
    REQUIRE(options->size != 0, FATTN_E_ARG,
            "options: size is 0; call fattn_context_options_init() first");
    REQUIRE(options->size >= sizeof *options, FATTN_E_ARG,
            "options: size %zu is smaller than this library's %zu", options->size, sizeof *options);
    REQUIRE(options->size <= sizeof *options + EXTRA_MAX, FATTN_E_ARG,
            "options: size %zu makes no sense; call fattn_context_options_init() first",
            options->size);
    const unsigned char *bytes = (const unsigned char *)options;
    for (size_t i = sizeof *options; i < options->size; i++)
        REQUIRE(bytes[i] == 0, FATTN_E_ARG,
                "options: a field that this version of the library does not know is set");
    return FATTN_OK;
}

static fattn_status check_values(const fattn_context_options *options)
{
    const fattn_executor *executor = &options->executor;
    REQUIRE(options->strict >= -1 && options->strict <= 1, FATTN_E_ARG,
            "strict: %d is not -1, 0 or 1", options->strict);
    REQUIRE(options->pin_threads >= -1 && options->pin_threads <= 1, FATTN_E_ARG,
            "pin_threads: %d is not -1, 0 or 1", options->pin_threads);
    REQUIRE(options->threads >= 0 && options->threads <= THREADS_MAX, FATTN_E_ARG,
            "threads: %d is not in 0..%d (0 = as many as this process may use)", options->threads,
            (int)THREADS_MAX);
    REQUIRE(!executor->parallel_for ||
                (executor->n_workers >= 1 && executor->n_workers <= THREADS_MAX),
            FATTN_E_ARG, "executor: n_workers %d is not in 1..%d", executor->n_workers,
            (int)THREADS_MAX);
    REQUIRE(!options->allocator.alloc == !options->allocator.free, FATTN_E_ARG,
            "allocator: alloc and free must be given together");
    REQUIRE(options->compute == FATTN_COMPUTE_F32 || options->compute == FATTN_COMPUTE_F16,
            FATTN_E_ARG, "compute: %d is not a known kind", (int)options->compute);
    return FATTN_OK;
}

/* "avx512, avx2, scalar" */
static void join_names(char *text, size_t size, const char *const *names)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; names[i] && used + strlen(names[i]) + 3 < size; i++) {
        const char *parts[] = {i ? ", " : "", names[i]};
        for (int j = 0; j < 2; j++) {
            memcpy(text + used, parts[j], strlen(parts[j]) + 1);
            used += strlen(parts[j]);
        }
    }
}

static fattn_status settle_isa(fattn_context *context, const char *option)
{
    const char *source = option ? "isa" : "FATTN_ISA";
    const char *wanted = option ? option : env_get()->isa;
    char names[128];

    context->isa = isa_best();
    if (!wanted) return FATTN_OK;
    join_names(names, sizeof names, isa_available_names());
    REQUIRE(isa_from_name(wanted, &context->isa), FATTN_E_ARG,
            "%s: \"%.64s\" is not a known instruction set; available here: %s", source, wanted,
            names);
    REQUIRE(isa_available(context->isa), FATTN_E_ARG,
            "%s: \"%s\" is not available on this machine or in this build; available here: %s",
            source, wanted, names);
    return FATTN_OK;
}

static fattn_status check_compute(const fattn_context *context)
{
    const bool ref = context->backend && strcmp(context->backend, "ref") == 0; /* in double anyway */
    REQUIRE(context->compute != FATTN_COMPUTE_F16 || ref || isa_has_half(context->isa),
            FATTN_E_UNSUPPORTED,
            "compute: \"%s\" has no fp16 arithmetic on this machine or in this build; use "
            "FATTN_COMPUTE_F32, or isa \"scalar\", which computes it in software",
            isa_name(context->isa));
    return FATTN_OK;
}

static fattn_status settle_backend(fattn_context *context, const char *option)
{
    static const char *const names[] = {"cpu", "ref", NULL};
    const char *wanted = option ? option : env_get()->backend;

    context->backend = NULL;
    if (!wanted || strcmp(wanted, "any") == 0) return FATTN_OK;
    for (int i = 0; names[i]; i++)
        if (strcmp(wanted, names[i]) == 0) context->backend = names[i];
    REQUIRE(context->backend, FATTN_E_ARG,
            "%s: \"%.64s\" is not a backend; there are cpu, ref, any",
            option ? "backend" : "FATTN_BACKEND", wanted);
    return FATTN_OK;
}

static fattn_status check_language(void)
{
    const char *wanted = env_get()->language;
    REQUIRE(!wanted || message_language_from_name(wanted) >= 0, FATTN_E_ARG,
            "FATTN_LANG: \"%s\" is not a language; there are en, zh", wanted);
    return FATTN_OK;
}

/* FATTN_LOG: words with commas between them; every word but 0 lets warnings out, too. */
static fattn_status settle_log(fattn_context *context)
{
    static const struct {
        const char *word;
        bool log;
        unsigned record;
    } words[] = {
        {"0", false, 0}, {"1", true, 0}, {"plan", true, RECORD_PLAN}, {"call", true, RECORD_CALL}};
    const char *all = env_get()->log_words;

    if (context->dump_dir) context->record |= RECORD_DUMP;
    for (const char *at = all ? all : ""; *at; at += *at == ',') {
        const size_t n = strcspn(at, ",");
        bool known = false;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            if (strlen(words[i].word) != n || strncmp(words[i].word, at, n) != 0) continue;
            context->log |= words[i].log;
            context->record |= words[i].record;
            known = true;
        }
        REQUIRE(known, FATTN_E_ARG, "FATTN_LOG: \"%s\" is not made of the words 0, 1, plan, call",
                all);
        at += n;
    }
    return FATTN_OK;
}

static fattn_status settle_threads(fattn_context *context, const fattn_context_options *options)
{
    const char *text = env_get()->threads_text;

    if (options->executor.parallel_for) {
        context->threads = options->executor.n_workers;
    } else if (options->threads > 0) {
        context->threads = options->threads;
    } else if (text) {
        char *end;
        const long value = strtol(text, &end, 10);
        REQUIRE(*end == '\0' && value >= 1 && value <= THREADS_MAX, FATTN_E_ARG,
                "FATTN_THREADS: \"%s\" is not a number in 1..%d", text, (int)THREADS_MAX);
        context->threads = (int)value;
    } else {
        context->threads = cpu_default_threads();
    }
    return FATTN_OK;
}

static fattn_status settle(fattn_context *context, const fattn_context_options *options)
{
    static const fattn_allocator libc = {.alloc = libc_alloc, .free = libc_free};

    *context = (fattn_context){
        .strict = MUTANT(2, options->strict < 0, true) ? env_get()->strict : options->strict == 1,
        .dump_dir = env_get()->dump_dir,
        .compute = options->compute,
        .allocator = options->allocator.alloc ? options->allocator : libc,
        .executor = options->executor,
        .warn = options->warn,
        .warn_self = options->warn_self,
    };
    TRY(check_language());
    TRY(settle_log(context));
    TRY(settle_isa(context, options->isa));
    TRY(settle_backend(context, options->backend));
    TRY(check_compute(context));
    return settle_threads(context, options);
}

fattn_status fattn_context_create(fattn_context **context, const fattn_context_options *options)
{
    fattn_context_options defaults;
    fattn_context settled;

    REQUIRE(context, FATTN_E_ARG, "context: is NULL");
    if (!options) {
        fattn_context_options_init(&defaults);
        options = &defaults;
    }
    TRY(check_size(options));
    TRY(check_values(options));
    TRY(settle(&settled, options));

    fattn_context *made = context_alloc(&settled, sizeof *made);
    REQUIRE(made, FATTN_E_NOMEM, "out of memory: a context takes %zu bytes", sizeof *made);
    *made = settled;
    if (made->threads > 1 && !made->executor.parallel_for) {
        made->pool = pool_create(&made->allocator, made->threads);
        if (!made->pool) {
            context_free(&settled, made);
            return error_set(FATTN_E_NOMEM, "out of memory: no room for a pool of %d threads",
                             settled.threads);
        }
        const bool pin = options->pin_threads < 0 ? env_get()->pin : options->pin_threads == 1;
        if (pin) pool_pin(made->pool);
    }
    *context = made;
    return FATTN_OK;
}

void fattn_context_destroy(fattn_context *context)
{
    if (!context) return;
    const fattn_allocator allocator = context->allocator; /* outlives it */
    pool_destroy(context->pool);
    spare_free(&context->spare, &allocator);
    allocator.free(allocator.self, context);
}

/* Published once and never freed. Two threads may both make one; the second is thrown away, so no
 * lock is needed and a fork at any moment leaves nothing locked. */
static _Atomic(fattn_context *) default_context;

fattn_status context_resolve(fattn_context **context)
{
    if (*context) return FATTN_OK;
    fattn_context *existing = atomic_load(&default_context);
    if (!existing) {
        fattn_context *made;
        TRY(fattn_context_create(&made, NULL));
        if (atomic_compare_exchange_strong(&default_context, &existing, made))
            existing = made;
        else
            fattn_context_destroy(made);
    }
    *context = existing;
    return FATTN_OK;
}

int fattn_context_threads(fattn_context *context)
{
    return context_resolve(&context) == FATTN_OK ? context->threads : 0;
}

const char *fattn_context_isa(fattn_context *context)
{
    return context_resolve(&context) == FATTN_OK ? isa_name(context->isa) : "";
}

bool fattn_context_strict(fattn_context *context)
{
    return context_resolve(&context) == FATTN_OK && context->strict;
}

const char *fattn_compute_name(fattn_compute compute)
{
    return compute == FATTN_COMPUTE_F16 ? "f16" : "f32";
}

fattn_compute fattn_context_compute(fattn_context *context)
{
    return context_resolve(&context) == FATTN_OK ? context->compute : FATTN_COMPUTE_F32;
}

void *context_alloc(const fattn_context *context, size_t bytes)
{
    return context->allocator.alloc(context->allocator.self, bytes ? bytes : ALIGN);
}

void context_free(const fattn_context *context, void *memory)
{
    if (memory) context->allocator.free(context->allocator.self, memory);
}

fattn_arena context_arena(fattn_context *context)
{
    const bool own = context->allocator.alloc == libc_alloc;
    return (fattn_arena){.allocator = &context->allocator, .spare = own ? &context->spare : NULL};
}

typedef struct executor_loop {
    fattn_task task;
    void *arg;
} executor_loop;

static void executor_item(void *arg, int64_t item, int worker)
{
    const executor_loop *loop = arg;
    pool_run_item(loop->task, loop->arg, item, worker);
}

void context_parallel(fattn_context *context, fattn_task task, void *arg, int64_t n)
{
    if (n > 1 && context->threads > 1 && !pool_in_item()) {
        if (context->executor.parallel_for) {
            executor_loop loop = {task, arg};
            context->executor.parallel_for(context->executor.self, executor_item, &loop, n);
            return;
        }
        if (pool_run(context->pool, task, arg, n)) return;
    }
    pool_run_here(task, arg, n);
}
