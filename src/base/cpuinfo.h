/* SPDX-License-Identifier: Apache-2.0 */
/* cpuinfo.h — which instruction sets this build has and this machine can run. */
#ifndef FATTN_BASE_CPUINFO_H
#define FATTN_BASE_CPUINFO_H

#include <stdbool.h>

typedef enum fattn_isa { ISA_SCALAR, ISA_AVX2, ISA_AVX512, ISA_NEON, ISA_COUNT } fattn_isa;

const char *isa_name(fattn_isa isa);
/* true and *isa on a known name. */
bool isa_from_name(const char *name, fattn_isa *isa);
/* Built in and usable here (CPU flags and OS state). */
bool isa_available(fattn_isa isa);
/* Available, and with fp16 arithmetic: the scalar set, which computes it in software, and what the
 * processor has beside AVX-512 or NEON. */
bool isa_has_half(fattn_isa isa);
fattn_isa isa_best(void);
/* Names of the available ones, best first, NULL-terminated; constant. */
const char *const *isa_available_names(void);
/* min(affinity mask, cgroup CPU quota rounded up), at least 1. */
int cpu_default_threads(void);

#endif
