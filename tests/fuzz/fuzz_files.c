/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_files.c — bytes as a .npy, .safetensors or torch file, or as a pickle: as they are, or as
 * edits of a good file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "garbage/outside.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    unsigned char file[OUTSIDE_ROOM];
    bool good;
    source s = source_of_bytes(bytes, n);
    const int which = source_pick(&s, 2 * outside_files());
    const fattn_dtype as = (fattn_dtype)source_pick(&s, FATTN_DTYPE_COUNT);
    const bool edits = which < outside_files();
    const outside_kind kind = outside_kind_of(which % outside_files());
    size_t length = edits ? outside_file(which, file) : s.left < sizeof file ? s.left : sizeof file;
    if (!edits && length) memcpy(file, s.bytes, length);
    while (edits && s.left > 0) length = outside_edit(file, length, &s);

    unsigned char *exact = malloc(length ? length : 1); /* the sanitizer sees where it ends */
    if (!exact) return 0;
    memcpy(exact, file, length);
    const char *bad = outside_judge_file(kind, exact, length, as, &good);
    free(exact);
    if (!bad) return 0;
    fprintf(stderr, "FAILED: %s\n", bad);
    abort();
}
