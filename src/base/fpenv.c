/* SPDX-License-Identifier: Apache-2.0 */
/* fpenv.c — one version per machine: x86-64 keeps everything in MXCSR, AArch64 in FPCR and FPSR;
 * elsewhere <fenv.h> does what the C standard can do. The functions are never inlined into
 * arithmetic, so no operation moves across them. */
#include "base/fpenv.h"

#include "base/mutant.h"

#if defined(__x86_64__)

/* nearest even, all exceptions masked, no FTZ, no DAZ, no flags */
enum { MXCSR_DEFAULT = MUTANT(6, 0x1f80, 0x9fc0) };

fattn_fpenv fpenv_enter(void)
{
    const fattn_fpenv saved = {.control = __builtin_ia32_stmxcsr()};
    __builtin_ia32_ldmxcsr(MXCSR_DEFAULT);
    return saved;
}

void fpenv_leave(fattn_fpenv saved) { __builtin_ia32_ldmxcsr((unsigned)saved.control); }

#elif defined(__aarch64__)

fattn_fpenv fpenv_enter(void)
{
    fattn_fpenv saved;
    __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(saved.control), "=r"(saved.status));
    __asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %0" : : "r"(UINT64_C(0)));
    return saved;
}

void fpenv_leave(fattn_fpenv saved)
{
    __asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(saved.control), "r"(saved.status));
}

#else

#include <fenv.h>

fattn_fpenv fpenv_enter(void)
{
    const fattn_fpenv saved = {.control = (uint64_t)fegetround(),
                               .status = (uint64_t)fetestexcept(FE_ALL_EXCEPT)};
    fesetround(FE_TONEAREST);
    return saved;
}

void fpenv_leave(fattn_fpenv saved)
{
    feclearexcept(FE_ALL_EXCEPT);
    feraiseexcept((int)saved.status);
    fesetround((int)saved.control);
}

#endif
