/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_line.c — bytes as a problem line: as they are, or as edits of a good line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "garbage/lines.h"
#include "garbage/outside.h"

static const char *pick_line(source *s)
{
    int n_ops;
    const fattn_operator *ops = fattn_operators(&n_ops);
    const char *line = small_line(&ops[source_pick(s, n_ops)], source_pick(s, 12));
    return line ? line : small_line(&ops[0], 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char text[OUTSIDE_ROOM + 1];
    bool good;
    size_t length;
    source s = source_of_bytes(bytes, n);
    if (source_pick(&s, 2)) {
        const char *line = pick_line(&s);
        length = strlen(line);
        memcpy(text, line, length);
        while (s.left > 0) length = outside_edit((unsigned char *)text, length, &s);
    } else {
        length = s.left < OUTSIDE_ROOM ? s.left : OUTSIDE_ROOM;
        if (length) memcpy(text, s.bytes, length);
    }
    text[length] = '\0';
    const char *bad = outside_judge_line(text, &good);
    if (!bad) return 0;
    fprintf(stderr, "FAILED: %s\n  %s\n", bad, text);
    abort();
}
