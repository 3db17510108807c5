/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_handles.c — what takes no args struct: contexts and their options, capabilities, names,
 * tensors, and plans and reports without any. One input is up to 16 calls. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/functions.h"
#include "fuzz/room.h"

enum { CALLS = 16, TEXT = 80 };

static fattn_context *context;
static int n_ops;
static const fattn_operator *ops;

static void start(void)
{
    setenv("FATTN_THREADS", "1", 1);
    context = room_context(0, NULL);
    ops = fattn_operators(&n_ops);
    functions_report_at_exit();
    room_mark();
}

/* A known name, a name cut off or with a byte changed, or bytes of the input. */
static const char *some_text(source *s, const char *known)
{
    static char text[TEXT];
    const int how = source_pick(s, 8);
    if (how == 0) return NULL;
    if (how < 4) return known;
    strncpy(text, how < 6 ? known : "", sizeof text - 1);
    text[sizeof text - 1] = '\0';
    if (how == 4) text[source_pick(s, TEXT)] = '\0';
    if (how == 5) text[source_pick(s, TEXT)] = (char)source_pick(s, 256);
    for (int i = 0; how > 5 && i < 12; i++) text[i] = (char)source_pick(s, 256);
    text[TEXT - 1] = '\0';
    return text;
}

static void loop(void *self, fattn_task task, void *arg, int64_t n)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) task(arg, i, 0);
}

static void change_options(fattn_context_options *o, source *s)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    switch (source_pick(s, 10)) {
    case 0: { /* a size that is too big must be refused unread */
        const size_t size = (size_t)source_nasty(s);
        o->size = size > sizeof *o && size <= sizeof *o + 4096 ? sizeof *o - 1 : size;
        return;
    }
    case 1:
        o->threads = source_int(s);
        return;
    case 2:
        o->strict = source_int(s);
        return;
    case 3:
        o->pin_threads = source_pick(s, 2) ? 0 : source_int(s);
        return;
    case 4:
        o->isa = some_text(s, isas[source_pick(s, 4)]);
        return;
    case 5:
        o->backend = some_text(s, source_pick(s, 2) ? "cpu" : "ref");
        return;
    case 6:
        o->compute = (fattn_compute)source_int(s);
        return;
    case 7:
        o->executor = (fattn_executor){.n_workers = source_int(s), .parallel_for = loop};
        return;
    case 8:
        o->allocator.free = NULL;
        return;
    default:
        o->allocator.alloc = NULL;
    }
}

static void try_capabilities(fattn_context *c, source *s)
{
    fattn_capability_set set = {.size =
                                    source_pick(s, 4) ? sizeof set : (size_t)source_pick(s, 200)};
    const bool right = set.size == sizeof set;
    const fattn_status status = CALL(fattn_capabilities, c, source_pick(s, 16) ? &set : NULL);
    check_status(status, "capabilities");
    if (status == FATTN_OK && (!right || !set.isa || set.threads < 1))
        failed("capabilities of nothing");
}

static void try_generator(fattn_context *made, source *s)
{
    uint8_t state[FATTN_GENERATOR_STATE], back[FATTN_GENERATOR_STATE];
    for (int i = 0; i < FATTN_GENERATOR_STATE; i++) state[i] = (uint8_t)source_pick(s, 256);
    check_status(CALL(fattn_generator_seed, made, (uint64_t)source_nasty(s)), "generator_seed");
    if (CALL(fattn_generator_set_state, made, NULL) == FATTN_OK ||
        CALL(fattn_generator_get_state, made, NULL) == FATTN_OK)
        failed("generator: no state is a state");
    const fattn_status a = CALL(fattn_generator_set_state, made, state);
    const fattn_status b = CALL(fattn_generator_get_state, made, back);
    if (a != FATTN_OK || b != FATTN_OK || memcmp(state, back, sizeof state) != 0)
        failed("generator: another state comes back");
}

static void try_context(source *s)
{
    fattn_context_options o;
    fattn_context *made = NULL;
    CALL(fattn_context_options_init, &o);
    o.allocator = room_allocator();
    o.threads = 1;
    for (int n = source_pick(s, 4); n > 0; n--) change_options(&o, s);
    const fattn_status status = CALL(fattn_context_create, source_pick(s, 32) ? &made : NULL, &o);
    check_status(status, "context_create");
    if (status != FATTN_OK && made) failed("context_create: a handle on error");
    if (made && (CALL(fattn_context_threads, made) < 1 || !CALL(fattn_context_isa, made)[0]))
        failed("a context without threads or ISA");
    if (made && CALL(fattn_context_compute, made) != o.compute)
        failed("a context with another arithmetic");
    if (made) CALL(fattn_context_strict, made), try_capabilities(made, s);
    if (made) try_generator(made, s);
    CALL(fattn_context_destroy, made);
}

static void try_operators(source *s)
{
    int count = -1;
    if (CALL(fattn_operators, source_pick(s, 2) ? &count : NULL) != ops ||
        (count != -1 && count != n_ops))
        failed("operators: another table");
    const fattn_operator *known = &ops[source_pick(s, n_ops)];
    const fattn_operator *op = CALL(fattn_operator_find, some_text(s, known->name));
    if (op && (op < ops || op >= ops + n_ops)) failed("operator_find: not in the table");
    const fattn_field *some = &known->fields[source_pick(s, known->n_fields)];
    const fattn_field *f = CALL(fattn_field_find, op, some_text(s, some->name));
    if (f && (f < op->fields || f >= op->fields + op->n_fields))
        failed("field_find: not in the table");
}

static void try_names(source *s)
{
    const fattn_dtype dtype =
        (fattn_dtype)(source_pick(s, 2) ? source_pick(s, 16) - 1 : source_int(s));
    const char *name = CALL(fattn_dtype_name, dtype);
    const size_t size = CALL(fattn_dtype_size, dtype);
    const bool known = (int)dtype > FATTN_DTYPE_NONE && (int)dtype < FATTN_DTYPE_COUNT;
    if ((size > 0) != known || (strcmp(name, "?") != 0) != known)
        failed("dtype %d: %s", (int)dtype, name);
    const fattn_dtype back = CALL(fattn_dtype_from_name, some_text(s, name));
    if ((int)back < 0 || (int)back >= FATTN_DTYPE_COUNT) failed("dtype_from_name: %d", (int)back);
    if (!CALL(fattn_status_name, (fattn_status)source_int(s))) failed("status_name: NULL");
    if (strcmp(CALL0(fattn_version), FATTN_VERSION_STRING) != 0) failed("version");
    if (!CALL0(fattn_error_message)) failed("error_message: NULL");
}

static void try_tensor(source *s)
{
    int64_t shape[FATTN_MAX_RANK];
    const int rank = source_pick(s, 4) ? source_pick(s, 10) : source_int(s);
    for (int i = 0; i < FATTN_MAX_RANK; i++) shape[i] = source_extent(s);
    const bool good = rank >= 0 && rank <= FATTN_MAX_RANK;
    const fattn_tensor t = CALL(fattn_tensor_contiguous, shape, FATTN_F16, rank, shape);
    if (t.rank != (good ? rank : -1)) failed("tensor_contiguous: rank %d of %d", t.rank, rank);
    for (int i = 0; good && i < rank; i++)
        if (t.shape[i] != shape[i]) failed("tensor_contiguous: another extent");
}

/* Handles that are not there, and structs that nobody set up. */
static void try_nothing(source *s)
{
    _Alignas(64) unsigned char nothing[2048] = {0};
    fattn_kv_cache_options cache;
    fattn_memory_estimate estimate = {.size = (size_t)source_pick(s, 64)};
    fattn_verify_report report = {.size = (size_t)source_pick(s, 200)};
    fattn_explanation explanation = {.size = (size_t)source_pick(s, 256) * 8};
    const fattn_operator *op = source_pick(s, 4) ? &ops[source_pick(s, n_ops)] : NULL;
    check_status(CALL(fattn_plan_run, NULL, nothing, NULL, (size_t)source_nasty(s)), "plan_run");
    if (CALL(fattn_plan_workspace, NULL) != 0 || !CALL(fattn_plan_describe, NULL))
        failed("no plan");
    CALL(fattn_plan_destroy, NULL);
    CALL(fattn_kv_cache_destroy, NULL);
    CALL(fattn_kv_cache_options_init, source_pick(s, 2) ? &cache : NULL);
    CALL(fattn_context_threads, NULL), CALL(fattn_context_isa, NULL),
        CALL(fattn_context_strict, NULL), CALL(fattn_context_compute, NULL),
        CALL(fattn_compute_name, (fattn_compute)source_pick(s, 3));
    try_capabilities(NULL, s);
    const fattn_status a = CALL(fattn_estimate_memory, context, op, nothing, &estimate);
    const fattn_status b = CALL(fattn_verify, context, op, nothing, &report);
    const fattn_status c =
        CALL(fattn_explain, context, op, nothing, source_pick(s, 2) ? &explanation : NULL);
    check_status(a, "estimate_memory");
    check_status(b, "verify");
    check_status(c, "explain");
    if (a == FATTN_OK || b == FATTN_OK || c == FATTN_OK) failed("args that nobody set up are fine");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (!context) start();
    source s = source_of_bytes(bytes, n);
    for (int i = 0; i < CALLS && s.left > 0; i++) switch (source_pick(&s, 6)) {
        case 0:
            try_context(&s);
            break;
        case 1:
            try_operators(&s);
            break;
        case 2:
            try_names(&s);
            break;
        case 3:
            try_tensor(&s);
            break;
        default:
            try_nothing(&s);
        }
    room_check();
    return 0;
}
