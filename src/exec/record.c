/* SPDX-License-Identifier: Apache-2.0 */
/* record.c — a call written down: before it the inputs (dump.h), behind it one line
 *
 *   fusion_attention input_layout=BNSD query=f16[1,8,64,64] ... # FATTN_OK 81.4 us, avx512, 2
 * threads
 *
 * whose beginning is a problem line and whose end a comment of that grammar. */
#include "exec/record.h"

#include <time.h>

#include "base/error.h"
#include "base/mutant.h"
#include "base/text.h"
#include "exec/args.h"
#include "exec/dump.h"
#include "exec/line.h"

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

typedef struct made_call {
    const fattn_context *context;
    const fattn_operator *op;
    const void *args;
    fattn_status status;
    int64_t ns;
} made_call;

static void add_call(fattn_text *text, const made_call *c)
{
    line_add(text, c->context, c->op, c->args);
    text_add(text, " # %s %lld.%lld us, %s, %d threads", fattn_status_name(c->status),
             (long long)(c->ns / 1000), (long long)(c->ns / 100 % 10), isa_name(c->context->isa),
             c->context->threads);
    if (c->status != FATTN_OK) text_add(text, ": %s", fattn_error_message());
    text_add(text, "\n");
}

static void log_call(const made_call *c)
{
    fattn_text text = {0};
    add_call(&text, c);
    const size_t room = text.length + 1;
    char *buffer = context_alloc(c->context, room);
    if (!buffer) return;
    text = (fattn_text){.buffer = buffer, .size = room};
    add_call(&text, c);
    for (size_t i = 0; i + 2 < room; i++) /* a sentence may quote what the caller wrote */
        if ((unsigned char)buffer[i] < ' ') buffer[i] = '?';
    log_write(buffer, room - 1);
    context_free(c->context, buffer);
}

/* Everything that can be checked without reading data is in order, so that all data may be read.
 * The call itself will warn. */
static bool readable(fattn_context *context, const fattn_operator *op, const void *args)
{
    size_t bytes;
    warn_list unsaid;
    if (operator_args_check(op, args, ARGS_DATA) != FATTN_OK) return false;
    warn_hold(&unsaid);
    const fattn_status status = op->workspace(context, args, &bytes);
    warn_release(&unsaid);
    return MUTANT(117, status == FATTN_OK, false);
}

fattn_status record_call(fattn_context *context, const fattn_operator *op, const void *args,
                         record_body body, void *self)
{
    fattn_dump dump = {.file = -1};
    if (context->record & RECORD_DUMP)
        dump_begin(&dump, context, op, args, readable(context, op, args));
    const int64_t start = now_ns();
    const fattn_status status = body(self);
    const int64_t ns = now_ns() - start;
    dump_end(&dump, status, ns);
    if (context->record & RECORD_CALL)
        log_call(
            &(made_call){.context = context, .op = op, .args = args, .status = status, .ns = ns});
    return status;
}

void record_plan(const fattn_context *context, const char *description)
{
    if (!(context->record & RECORD_PLAN)) return;
    char line[512];
    fattn_text text = {.buffer = line, .size = sizeof line};
    text_add(&text, "# plan %s", description);
    const size_t length = text.length < sizeof line - 1 ? text.length : sizeof line - 2;
    line[length] = '\n';
    log_write(line, length + 1);
}
