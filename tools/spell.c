/* SPDX-License-Identifier: Apache-2.0 */
/* spell.c — edit distance (insert, delete, replace, swap neighbours); '-' and '_' are the same
 * letter. */
#include "spell.h"

#include <stddef.h>
#include <string.h>

enum { MAX_WORD = 63 };

static char letter(char c)
{
    if (c == '_') return '-';
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int least(int a, int b) { return a < b ? a : b; }

static int distance(const char *a, const char *b)
{
    const int na = (int)strnlen(a, MAX_WORD), nb = (int)strnlen(b, MAX_WORD);
    int row[3][MAX_WORD + 1]; /* rows i - 2, i - 1, i of the table, in turn */
    for (int i = 0; i <= na; i++) {
        int *now = row[i % 3], *above = row[(i + 2) % 3], *over = row[(i + 1) % 3];
        for (int j = 0; j <= nb; j++) {
            if (i == 0 || j == 0) {
                now[j] = i + j;
                continue;
            }
            const bool same = letter(a[i - 1]) == letter(b[j - 1]);
            now[j] = least(above[j - 1] + !same, least(above[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && letter(a[i - 1]) == letter(b[j - 2]) &&
                letter(a[i - 2]) == letter(b[j - 1]))
                now[j] = least(now[j], over[j - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

spell spell_start(const char *word)
{
    /* Worth suggesting: at most a third of the letters wrong, and two are always forgiven. */
    const int limit = (int)strnlen(word, MAX_WORD) / 3;
    return (spell){.word = word, .best = NULL, .distance = (limit > 2 ? limit : 2) + 1};
}

void spell_offer(spell *s, const char *candidate)
{
    const int d = distance(s->word, candidate);
    if (d >= s->distance) return;
    s->distance = d;
    s->best = candidate;
}
