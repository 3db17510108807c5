/* SPDX-License-Identifier: Apache-2.0 */
/* spell.h — "did you mean": the candidate nearest to a misspelt word. */
#ifndef FATTN_TOOLS_SPELL_H
#define FATTN_TOOLS_SPELL_H

#include <stdbool.h>

typedef struct spell {
    const char *word;
    const char *best; /* NULL until a candidate is near enough */
    int distance;
} spell;

/* word is borrowed as long as the struct is used. */
spell spell_start(const char *word);
void spell_offer(spell *s, const char *candidate);

#endif
