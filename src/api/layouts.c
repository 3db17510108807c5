/* SPDX-License-Identifier: Apache-2.0 */
/* layouts.c — from the caller's layout string to the letters the tensors really lie in.
 *
 * Three readings are wider than the device's: BSNH is BSND; rank-4 tensors under "BSH" are BSND or
 * BNSD; BSND tensors under "BNSD" are BSND where nothing else fits. Each warns; strict refuses
 * them. */
#include <ctype.h>
#include <string.h>

#include "api/inputs.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "base/text.h"

enum { NAME_MAX_LETTERS = 16, NAMES_TEXT = 160 };

static void join(const char *const *names, char *buffer, size_t size)
{
    fattn_text text = {.buffer = buffer, .size = size};
    for (int i = 0; names[i]; i++) {
        if (i) text_put(&text, ", ");
        text_put(&text, names[i]);
    }
}

static const char *find(const char *const *names, const char *name)
{
    for (int i = 0; names && names[i]; i++)
        if (strcmp(names[i], name) == 0) return names[i];
    return NULL;
}

/* Letters to add, drop or change between two names (Levenshtein). */
static int64_t distance(const char *a, const char *b)
{
    int64_t row[NAME_MAX_LETTERS + 1];
    const size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) row[j] = (int64_t)j;
    for (size_t i = 0; a[i]; i++) {
        int64_t diagonal = row[0];
        row[0] = (int64_t)i + 1;
        for (size_t j = 0; j < n; j++) {
            const int64_t change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = i64_min(change, 1 + i64_min(diagonal, row[j]));
        }
    }
    return row[n];
}

/* A name that is at most two letters away; NULL when there is none. */
static const char *nearest(const char *const *names, const char *name)
{
    const char *best = NULL;
    int64_t least = 3;
    for (int i = 0; names[i]; i++) {
        const int64_t d = distance(name, names[i]);
        if (d >= least || d >= (int64_t)strlen(name)) continue;
        least = d;
        best = names[i];
    }
    return best;
}

static void upper(char *out, const char *in)
{
    size_t i = 0;
    for (; in[i] && i + 1 < NAME_MAX_LETTERS; i++) out[i] = (char)toupper((unsigned char)in[i]);
    out[i] = '\0';
}

/* "X_Y": queries and dense keys in X, the output in Y. */
static void split(fattn_inputs *in, const char *name)
{
    const char *behind = strchr(name, '_');
    fattn_text letters = {.buffer = in->letters, .size = sizeof in->letters};
    fattn_text out_letters = {.buffer = in->out_letters, .size = sizeof in->out_letters};
    text_put(&letters, name);
    text_put(&out_letters, behind ? behind + 1 : name);
    if (behind && (size_t)(behind - name) < sizeof in->letters) in->letters[behind - name] = '\0';
}

fattn_status inputs_layout(fattn_context *context, fattn_inputs *in, const char *layout,
                           bool any_case, const char *const *names)
{
    char text[NAMES_TEXT], folded[NAME_MAX_LETTERS];
    join(names, text, sizeof text);
    REQUIRE(layout, FATTN_E_ARG, "input_layout: is NULL; give one of %s", text);
    upper(folded, layout);
    const char *wanted =
        MUTANT(90, any_case, true) && strlen(layout) < NAME_MAX_LETTERS ? folded : layout;

    if (strcmp(wanted, "BSNH") == 0 && find(names, "BSND") && !context->strict) {
        context_warn(context, WARN_LAYOUT_ALIAS,
                     "input_layout: BSNH is read as BSND; the device refuses it");
        wanted = "BSND";
    }
    const char *name = find(names, wanted);
    REQUIRE(name || !find(names, folded), FATTN_E_ARG,
            "input_layout: \"%.32s\" must be written in capitals: \"%s\"", layout, folded);
    REQUIRE(name || strcmp(wanted, "BSNH") != 0, FATTN_E_ARG,
            "input_layout: \"BSNH\" is not one of %s; it is spelt BSND", text);
    const char *near = name ? name : nearest(names, folded);
    REQUIRE(name || !near, FATTN_E_ARG, "input_layout: \"%.32s\" is not one of %s; %s is nearest",
            layout, text, near);
    REQUIRE(name, FATTN_E_ARG, "input_layout: \"%.32s\" is not one of %s", layout, text);
    split(in, name);
    in->packed = layout_packed(in->letters);
    return FATTN_OK;
}
