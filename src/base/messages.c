/* SPDX-License-Identifier: Apache-2.0 */
/* messages.c — looks sentences up in the table of messages.def. Searched only when something is
 * said. */
#include "base/messages.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/mutant.h"
#include "fattn/types.h"

#define MESSAGE(english, chinese, where) {english, chinese, where},
#define PART(english, chinese) {english, chinese, NULL},
const fattn_message message_table[] = {
#include "base/messages.def"
};
const size_t message_count = sizeof message_table / sizeof message_table[0];

enum { UNSET = -1 };
static atomic_int chosen = UNSET;

const fattn_message *message_find(const char *english)
{
    for (size_t i = 0; i < message_count; i++)
        if (strcmp(message_table[i].english, english) == 0) return &message_table[i];
    return NULL;
}

int message_language_from_name(const char *name)
{
    static const char *const names[] = {[LANGUAGE_ENGLISH] = "en", [LANGUAGE_CHINESE] = "zh"};
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++)
        if (strncmp(name, names[i], 2) == 0 && (name[2] == '\0' || strchr("_-.", name[2])))
            return i;
    return UNSET;
}

fattn_language message_language(void)
{
    const int set = atomic_load(&chosen);
    if (set != UNSET) return (fattn_language)set;
    const char *wanted = env_get()->language;
    const int named = wanted ? message_language_from_name(wanted) : LANGUAGE_ENGLISH;
    return named == UNSET ? LANGUAGE_ENGLISH : (fattn_language)named;
}

void message_set_language(fattn_language language) { atomic_store(&chosen, (int)language); }

const char *message_say(const char *english)
{
    const fattn_message *m = message_language() == LANGUAGE_CHINESE ? message_find(english) : NULL;
    return MUTANT(127, m != NULL, false) ? m->chinese : english;
}

/* Shortens to `size` - 1 bytes without cutting a UTF-8 character in two. */
static void cut(char *buffer, size_t size)
{
    size_t end = size - 1;
    while (end > 0 && ((unsigned char)buffer[end] & 0xc0) == 0x80) end--;
    buffer[end] = '\0';
}

void message_print(char *buffer, size_t size, const char *english, va_list args)
{
    char text[1536];
    const fattn_message *m = message_find(english);
    const bool chinese = m && message_language() == LANGUAGE_CHINESE;
    const int n = vsnprintf(text, sizeof text, chinese ? m->chinese : english, args);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (m && m->where && MUTANT(128, true, false))
        used += (size_t)snprintf(text + used, sizeof text - used, " (%s)", m->where);
    if (used >= sizeof text) used = sizeof text - 1;
    if (used >= size) {
        memcpy(buffer, text, size);
        cut(buffer, size);
        return;
    }
    memcpy(buffer, text, used);
    buffer[used] = '\0';
}
