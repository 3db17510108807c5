/* SPDX-License-Identifier: Apache-2.0 */
/* isa.c — the rows of kernel/table.c that this build has, by instruction set. */
#include "cpu/isa.h"

#include "base/mutant.h"

extern const fattn_kernels fattn_kernels_scalar, fattn_kernels_avx2, fattn_kernels_avx512,
    fattn_kernels_neon;

static const fattn_kernels *const rows[ISA_COUNT] = {
    [ISA_SCALAR] = &fattn_kernels_scalar,
#if defined(FATTN_HAVE_AVX2)
    [ISA_AVX2] = &fattn_kernels_avx2,
#endif
#if defined(FATTN_HAVE_AVX512)
    [ISA_AVX512] = &fattn_kernels_avx512,
#endif
#if defined(FATTN_HAVE_NEON)
    [ISA_NEON] = &fattn_kernels_neon,
#endif
};

extern const fattn_half_kernels fattn_half_kernels_scalar, fattn_half_kernels_avx512,
    fattn_half_kernels_neon;

static const fattn_half_kernels *const half_rows[ISA_COUNT] = {
    [ISA_SCALAR] = &fattn_half_kernels_scalar,
#if defined(FATTN_HAVE_HALF_AVX512)
    [ISA_AVX512] = &fattn_half_kernels_avx512,
#endif
#if defined(FATTN_HAVE_HALF_NEON)
    [ISA_NEON] = &fattn_half_kernels_neon,
#endif
};

const fattn_kernels *kernels_for(fattn_isa isa)
{
    return isa >= 0 && isa < ISA_COUNT ? rows[MUTANT(39, isa, ISA_SCALAR)] : NULL;
}

const fattn_half_kernels *half_kernels_for(fattn_isa isa)
{
    return isa_has_half(isa) ? half_rows[isa] : NULL;
}
