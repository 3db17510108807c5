/* SPDX-License-Identifier: Apache-2.0 */
/* log.c — warnings: each place speaks once per process, to the context's callback or, when
 * FATTN_LOG is set, to stderr. A context that can tell nobody uses up no warning, nor does a call
 * that is refused. A record that was asked for and cannot be written is told on stderr in any
 * event. */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/context.h"
#include "base/messages.h"
#include "base/mutant.h"

static atomic_bool warned[WARN_PLACE_COUNT];
static _Thread_local warn_list
    *holding; /* of the call that this thread is in; NULL = speak at once */

const char *warn_place_name(warn_place place)
{
    static const char *const names[WARN_PLACE_COUNT] = {
        [WARN_SPARSE_MODE_WITHOUT_MASK] = "sparse_mode_without_mask",
        [WARN_FULL_MODE_WITHOUT_MASK] = "full_mode_without_mask",
        [WARN_INFER_MODE_WITHOUT_MASK] = "infer_mode_without_mask",
        [WARN_TOKENS_WITHOUT_MASK] = "tokens_without_mask",
        [WARN_DECODE_SPARSE_MODE] = "decode_sparse_mode",
        [WARN_LAYOUT_READ_AS_BSND] = "layout_read_as_bsnd",
        [WARN_LAYOUT_BSH_RANK4] = "layout_bsh_rank4",
        [WARN_LENGTHS_NOT_CUMULATIVE] = "lengths_not_cumulative",
        [WARN_Q_LENGTH_CLAMPED] = "q_length_clamped",
        [WARN_HIDDEN_WINDOW] = "hidden_window",
        [WARN_LAYOUT_ALIAS] = "layout_alias",
        [WARN_CACHE_READ_AS_BNBSND] = "cache_read_as_bnbsnd",
        [WARN_LENGTHS_IGNORED] = "lengths_ignored",
        [WARN_PREFIX_IGNORED] = "prefix_ignored",
        [WARN_START_INDEX_IGNORED] = "start_index_ignored",
        [WARN_PADDING_IGNORED] = "padding_ignored",
        [WARN_KV_BY_DEQUANT_SCALE1] = "kv_by_dequant_scale1",
        [WARN_UNDOCUMENTED_SIZE] = "undocumented_size",
        [WARN_INNER_PRECISE_BITS] = "inner_precise_bits",
        [WARN_DUMP_FAILED] = "dump_failed",
    };
    return names[place];
}

/* Beside logged calls a warning is a comment, so that the whole log is a file of problem lines. */
static void log_warning(const fattn_context *context, const char *place, const char *sentence)
{
    char line[WARN_SENTENCE + 80];
    const bool comment = context->record & (RECORD_PLAN | RECORD_CALL);
    const int n = snprintf(line, sizeof line, "%sfattn: warning (%s): %s", comment ? "# " : "",
                           place, sentence);
    for (int i = 0; i < n; i++) /* a sentence may quote what the caller wrote */
        if ((unsigned char)line[i] < ' ') line[i] = '?';
    line[n] = '\n';
    log_write(line, (size_t)n + 1);
}

static void say(const fattn_context *context, warn_place place, const char *sentence)
{
    if (atomic_exchange(&warned[place], true)) return;
    if (context->warn)
        context->warn(context->warn_self, warn_place_name(place), sentence);
    else
        log_warning(context, warn_place_name(place), sentence);
}

/* Where a sentence goes in the list; NULL when it is there or has no room. */
static char *keep(warn_list *list, warn_place place)
{
    for (int i = 0; i < list->count; i++)
        if (list->held[i].place == place) return NULL;
    if (list->count == WARN_HELD_MAX) return NULL;
    list->held[list->count].place = place;
    return list->held[list->count++].sentence;
}

void context_warn(fattn_context *context, warn_place place, const char *format, ...)
{
    const bool heard = context->warn || context->log || place == WARN_DUMP_FAILED;
    char now[WARN_SENTENCE], *sentence = now;
    if (MUTANT(9, !heard, false) || atomic_load(&warned[place])) return;
    if (holding) sentence = keep(holding, place);
    if (!sentence) return;
    va_list args;
    va_start(args, format);
    message_print(sentence, WARN_SENTENCE, format, args);
    va_end(args);
    if (!holding) say(context, place, sentence);
}

void warn_hold(warn_list *list)
{
    list->outer = holding;
    list->count = 0;
    holding = list;
}

void warn_release(const warn_list *list) { holding = list->outer; }

void warn_say(const warn_list *list, const fattn_context *context)
{
    for (int i = 0; i < list->count; i++) {
        const warn_place place = list->held[i].place;
        char *sentence = holding ? keep(holding, place) : NULL;
        if (sentence) memcpy(sentence, list->held[i].sentence, WARN_SENTENCE);
        if (!holding) say(context, place, list->held[i].sentence);
    }
}

void warn_settle(const warn_list *list, const fattn_context *context, fattn_status status)
{
    warn_release(list);
    if (status == FATTN_OK) warn_say(list, context);
}

void log_write(const char *text, size_t length)
{
    while (length > 0) {
        const ssize_t n = write(STDERR_FILENO, text, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return; /* nobody is there to be told */
        text += n;
        length -= (size_t)n;
    }
}

void warn_reset(void)
{
    for (int i = 0; i < WARN_PLACE_COUNT; i++) atomic_store(&warned[i], false);
}
