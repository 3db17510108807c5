/* SPDX-License-Identifier: Apache-2.0 */
/* isa.h — the kernels of one instruction set. */
#ifndef FATTN_CPU_ISA_H
#define FATTN_CPU_ISA_H

#include "base/cpuinfo.h"
#include "cpu/kernels.h"

/* NULL when this build has none. Whether the machine can run them: isa_available(). */
const fattn_kernels *kernels_for(fattn_isa isa);

/* Its tile family in fp16 arithmetic; NULL when this build has none or the machine cannot run it. */
const fattn_half_kernels *half_kernels_for(fattn_isa isa);

#endif
