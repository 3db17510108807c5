/* SPDX-License-Identifier: Apache-2.0 */
/* text.c — text into a fixed buffer. */
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mutant.h"

void text_add(fattn_text *text, const char *format, ...)
{
    const size_t left = text->length < text->size ? text->size - text->length : 0;
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(left ? text->buffer + text->length : NULL, left, format, args);
    va_end(args);
    if (n > 0) text->length += (size_t)n;
}

void text_put(fattn_text *text, const char *part)
{
    for (; *part; part++, text->length++)
        if (text->length + 1 < text->size) text->buffer[text->length] = *part;
    if (text->size == 0) return;
    text->buffer[text->length < text->size ? text->length : text->size - 1] = '\0';
}

void text_put_int(fattn_text *text, int64_t value)
{
    char digits[24], *first = digits + sizeof digits - 1;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    *first = '\0';
    do *--first = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0) *--first = '-';
    text_put(text, first);
}

void text_add_ints(fattn_text *text, const int64_t *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) text_add(text, "%s%lld", i ? "," : "", (long long)values[i]);
}

void text_add_double(fattn_text *text, double value)
{
    char digits[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    for (char *c = digits; *c; c++)
        if (!strchr("0123456789+-einfa", *c)) *c = '.'; /* the locale's own */
    text_add(text, "%s", digits);
}

void text_add_json(fattn_text *text, const char *value)
{
    for (; *value; value++) {
        const unsigned char c = (unsigned char)*value;
        if (c < 0x20)
            text_add(text, "\\u%04x", c);
        else
            text_add(text, MUTANT(129, c == '"' || c == '\\', c == '"') ? "\\%c" : "%c", c);
    }
}
