/* SPDX-License-Identifier: Apache-2.0 */
/* messages.h — every sentence the library says, in English and in Chinese, from one table.
 *
 * The code holds the English format where it is said; messages.c finds its row by that text.
 * FATTN_LANG chooses the language of a process ("en", "zh"). A test keeps table and code equal. */
#ifndef FATTN_BASE_MESSAGES_H
#define FATTN_BASE_MESSAGES_H

#include <stdarg.h>
#include <stddef.h>

typedef enum fattn_language { LANGUAGE_ENGLISH, LANGUAGE_CHINESE } fattn_language;

/* One row. Formats take the same arguments; Chinese may reorder them (%2$s). */
typedef struct fattn_message {
    const char *english, *chinese;
    const char
        *where; /* page of the documentation, e.g. "docs/masks.md"; NULL for a part of a sentence */
} fattn_message;

extern const fattn_message message_table[];
extern const size_t message_count;

/* The row of an English format, NULL when there is none. */
const fattn_message *message_find(const char *english);

/* The whole sentence: in the language of the process, with the page where to read more behind it;
 * cut to `size` between characters. */
void message_print(char *buffer, size_t size, const char *english, va_list args);

/* A part of a sentence in the language of the process; goes into a "%s". */
const char *message_say(const char *english);

/* The language in use: FATTN_LANG, unless a test has set another one. */
fattn_language message_language(void);
void message_set_language(fattn_language language);

/* "en", "zh" and their locale forms ("zh_CN.UTF-8", "zh-CN", "zh.UTF-8"); -1 = unknown. */
int message_language_from_name(const char *name);

#endif
