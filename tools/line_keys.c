/* SPDX-License-Identifier: Apache-2.0 */
/* line_keys.c — the line's own keys: fill, seed, density, the context, paging. */
#include "line_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool line_number(const char *text, double low, double high, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= low && *out <= high;
}

static bool key_fill(problem_line *line, const line_word *w, line_error *error)
{
    line->fill = w->value;
    if (line_fill_index(w->value) >= 0) return true;
    return line_fail(error, w->value_position, "fill: '%s' is not one of %s", w->value, line_fills);
}

static bool key_seed(problem_line *line, const line_word *w, line_error *error)
{
    char *end;
    errno = 0;
    line->seed = strtoull(w->value, &end, 10);
    if (isdigit((unsigned char)w->value[0]) && *end == '\0' && errno == 0) return true;
    return line_fail(error, w->value_position,
                     "seed: '%s' is not an unsigned integer (an operator's own seed is .seed=)",
                     w->value);
}

static bool key_density(problem_line *line, const line_word *w, line_error *error)
{
    if (line_number(w->value, 0, 1, &line->density)) return true;
    return line_fail(error, w->value_position, "density: '%s' is not a share from 0 to 1",
                     w->value);
}

static bool small_int(const line_word *w, line_error *error, int low, int high, int *out)
{
    double value;
    if (line_number(w->value, low, high, &value) && value == (int)value) {
        *out = (int)value;
        return true;
    }
    return line_fail(error, w->value_position, "%s: '%s' is not an integer from %d to %d", w->key,
                     w->value, low, high);
}

static bool key_threads(problem_line *line, const line_word *w, line_error *error)
{
    return small_int(w, error, 1, 65536, &line->threads);
}

static bool key_strict(problem_line *line, const line_word *w, line_error *error)
{
    return small_int(w, error, 0, 1, &line->strict);
}

static bool key_isa(problem_line *line, const line_word *w, line_error *error)
{
    (void)error;
    line->isa = w->value;
    return true;
}

static bool key_backend(problem_line *line, const line_word *w, line_error *error)
{
    (void)error;
    line->backend = w->value;
    return true;
}

static bool key_page(problem_line *line, const line_word *w, line_error *error)
{
    int rows = 0;
    const bool good = small_int(w, error, 0, 1 << 30, &rows);
    line->page = rows;
    return good;
}

/* `words`: NULL-terminated; `text` names them in the sentence. */
static bool one_of(const line_word *w, line_error *error, const char *const *words,
                   const char *text, const char **out)
{
    *out = w->value;
    for (; *words; words++)
        if (strcmp(w->value, *words) == 0) return true;
    return line_fail(error, w->value_position, "%s: '%s' is none of %s", w->key, w->value, text);
}

static bool key_compute(problem_line *line, const line_word *w, line_error *error)
{
    static const char *const words[] = {"f32", "f16", NULL};
    const char *word;
    if (!one_of(w, error, words, "f32, f16", &word)) return false;
    line->compute = strcmp(word, "f16") == 0 ? FATTN_COMPUTE_F16 : FATTN_COMPUTE_F32;
    return true;
}

static bool key_page_layout(problem_line *line, const line_word *w, line_error *error)
{
    static const char *const words[] = {"BnBsH", "BnNBsD", "NZ", NULL};
    return one_of(w, error, words, "BnBsH, BnNBsD, NZ", &line->page_layout);
}

static bool key_page_order(problem_line *line, const line_word *w, line_error *error)
{
    static const char *const words[] = {"shuffled", "sorted", NULL};
    return one_of(w, error, words, "shuffled, sorted", &line->page_order);
}

static const struct {
    const char *name;
    bool (*take)(problem_line *line, const line_word *w, line_error *error);
} keys[] = {
    {"fill", key_fill},
    {"seed", key_seed},
    {"density", key_density},
    {"threads", key_threads},
    {"strict", key_strict},
    {"isa", key_isa},
    {"backend", key_backend},
    {"compute", key_compute},
    {"page", key_page},
    {"page_layout", key_page_layout},
    {"page_order", key_page_order},
};

const char *line_key_name(int key)
{
    return key < (int)(sizeof keys / sizeof *keys) ? keys[key].name : NULL;
}

int line_key_find(const char *name)
{
    for (int i = 0; line_key_name(i); i++)
        if (strcmp(keys[i].name, name) == 0) return i;
    return -1;
}

bool line_key_take(int key, problem_line *line, const line_word *w, line_error *error)
{
    return keys[key].take(line, w, error);
}
