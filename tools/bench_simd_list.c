/* SPDX-License-Identifier: Apache-2.0 */
/* bench_simd_list.c — the instruction sets this build stamped bench_simd.c for: BENCH_ISAS is a
 * list X(scalar) X(avx2) ... from the build. */
#include "bench_simd.h"

#include <string.h>

#define X(isa) extern const bench_simd bench_simd_##isa;
BENCH_ISAS
#undef X

const bench_simd *bench_simd_find(const char *isa)
{
#define X(name) &bench_simd_##name,
    static const bench_simd *const tables[] = {BENCH_ISAS};
#undef X
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (strcmp(tables[i]->isa, isa) == 0) return tables[i];
    return NULL;
}
