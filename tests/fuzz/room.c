/* SPDX-License-Identifier: Apache-2.0 */
/* room.c — memory, contexts and checks of the fast fuzzers. */
#include "fuzz/room.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 64 << 20, ALIGN = 64 };

#if defined(__has_feature)
#define FEATURE(x) __has_feature(x)
#else
#define FEATURE(x) 0
#endif
#if FEATURE(address_sanitizer)
enum { UNDER_ASAN = 1 }; /* blocks of their own, so that it sees where they end */
#else
enum { UNDER_ASAN = 0 };
#endif

static _Alignas(ALIGN) unsigned char memory[ROOM];
static size_t used, used_at_mark;
static long out, out_at_mark;

static void *take(void *self, size_t bytes)
{
    (void)self;
    if (bytes > ROOM_LARGEST) return NULL;
    const size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    void *block = memory + used;
    if (rounded > ROOM - used) return NULL;
    if (UNDER_ASAN && posix_memalign(&block, ALIGN, bytes) != 0) return NULL;
    used += rounded;
    out++;
    return block;
}

static void give(void *self, void *block)
{
    (void)self;
    if (UNDER_ASAN) free(block);
    if (--out == out_at_mark) used = used_at_mark;
}

fattn_allocator room_allocator(void) { return (fattn_allocator){.alloc = take, .free = give}; }
long room_out(void) { return out; }

void room_mark(void)
{
    out_at_mark = out;
    used_at_mark = used;
}

void room_check(void)
{
    if (out != out_at_mark) failed("%ld blocks of memory are lost", out - out_at_mark);
}

fattn_context *room_context(int strict, const char *backend)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = 1;
    options.strict = strict;
    options.backend = backend;
    options.allocator = room_allocator();
    fattn_context *context = NULL;
    if (fattn_context_create(&context, &options) != FATTN_OK) failed("%s", fattn_error_message());
    return context;
}

void failed(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("FAILED: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    abort();
}

void check_status(fattn_status status, const char *what)
{
    if (status == FATTN_OK) return;
    const char *text = fattn_error_message();
    if ((int)status < 0 || status > FATTN_E_NOMEM)
        failed("%s: status %d: %s", what, (int)status, text);
    if (!text[0]) failed("%s: %s without a sentence", what, fattn_status_name(status));
    if (status == FATTN_E_NOMEM && !strstr(text, "out of memory"))
        failed("%s: E_NOMEM, but the sentence is: %s", what, text);
}

int64_t source_extent(source *s)
{
    const int how = source_pick(s, 32);
    if (how < 16) return source_pick(s, 40);
    if (how < 20) return INT64_C(1) << source_pick(s, 63);
    if (how < 31) return source_nasty(s);
    return (int64_t)source_bits(s, 4);
}

int source_int(source *s)
{
    static const int values[] = {-1, -2, 0, 1, 2, 3, 7, 1024, 1025, INT32_MAX, INT32_MIN, 1 << 20};
    const int pick = source_pick(s, 16);
    return pick < 12 ? values[pick] : (int)(int32_t)source_bits(s, 4);
}

static bool reaches(const fattn_tensor *t, __int128 *low, __int128 *high, __int128 *count)
{
    const __int128 far = (__int128)1 << 100;
    *low = *high = 0, *count = 1;
    if (t->rank < 0 || t->rank > FATTN_MAX_RANK || fattn_dtype_size(t->dtype) == 0) return false;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0) return false;
        if (t->shape[i] == 0) *count = 0;
    }
    for (int i = 0; i<t->rank && * count> 0; i++) {
        const __int128 reach = (__int128)(t->shape[i] - 1) * t->strides[i];
        if (reach > far || reach < -far || *count > INT64_MAX) return false;
        *(reach < 0 ? low : high) += reach;
        *count *= t->shape[i];
    }
    return true;
}

bool claim_fits(const fattn_tensor *t, int64_t before, int64_t after, int64_t most)
{
    __int128 low, high, count;
    return reaches(t, &low, &high, &count) &&
           (count == 0 || (low >= -before && high < after && count <= most));
}

void claim_span(const fattn_tensor *t, int64_t *low, int64_t *high)
{
    __int128 down, up, count;
    const bool any = reaches(t, &down, &up, &count) && count > 0;
    *low = any ? (int64_t)down : 0;
    *high = any ? (int64_t)up : -1;
}
