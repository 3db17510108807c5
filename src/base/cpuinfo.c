/* SPDX-License-Identifier: Apache-2.0 */
/* cpuinfo.c — instruction sets: built in (the build defines FATTN_HAVE_<ISA>), offered by the
 * processor, and allowed by the operating system, which must save the registers (XCR0). */
#include "base/cpuinfo.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "base/mutant.h"

#if defined(FATTN_HAVE_AVX2)
enum { BUILT_AVX2 = 1 };
#else
enum { BUILT_AVX2 = 0 };
#endif
#if defined(FATTN_HAVE_AVX512)
enum { BUILT_AVX512 = 1 };
#else
enum { BUILT_AVX512 = 0 };
#endif
#if defined(FATTN_HAVE_NEON)
enum { BUILT_NEON = 1 };
#else
enum { BUILT_NEON = 0 };
#endif

#if defined(FATTN_HAVE_HALF_AVX512)
enum { BUILT_HALF_AVX512 = 1 };
#else
enum { BUILT_HALF_AVX512 = 0 };
#endif
#if defined(FATTN_HAVE_HALF_NEON)
enum { BUILT_HALF_NEON = 1 };
#else
enum { BUILT_HALF_NEON = 0 };
#endif

#if defined(__x86_64__)
#include <cpuid.h>

static bool has(unsigned flags, unsigned wanted) { return (flags & wanted) == wanted; }

/* Register sets that the operating system saves. */
static unsigned saved_state(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static void probe(bool usable[ISA_COUNT], bool half[ISA_COUNT])
{
    enum { FP16 = 1 << 23 }; /* of leaf 7, edx */
    enum { STATE_AVX = 0x6, STATE_AVX512 = 0xe6 }; /* xmm, ymm; opmask, zmm, upper zmm */
    const unsigned leaf7_avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    if (!has(c, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C)) return;
    const unsigned state = saved_state();
    if (!has(state, STATE_AVX) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;

    usable[ISA_AVX2] = has(b, bit_AVX2);
    usable[ISA_AVX512] = usable[ISA_AVX2] && has(b, leaf7_avx512) && has(state, STATE_AVX512);
    half[ISA_AVX512] = usable[ISA_AVX512] && has(d, FP16);
}
#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>

static bool has_half(void)
{
    enum { ASIMDHP = 1 << 10 };
    return (getauxval(AT_HWCAP) & ASIMDHP) != 0;
}
#elif defined(__APPLE__)
static bool has_half(void) { return true; } /* since its first 64-bit machines with macOS */
#else
static bool has_half(void) { return false; } /* nobody to ask */
#endif

static void probe(bool usable[ISA_COUNT], bool half[ISA_COUNT])
{
    usable[ISA_NEON] = true; /* part of the base architecture */
    half[ISA_NEON] = has_half();
}
#else
static void probe(bool usable[ISA_COUNT], bool half[ISA_COUNT]) { (void)usable, (void)half; }
#endif

static const char *const names[ISA_COUNT] = {
    [ISA_SCALAR] = "scalar",
    [ISA_AVX2] = "avx2",
    [ISA_AVX512] = "avx512",
    [ISA_NEON] = "neon",
};

static bool available[ISA_COUNT], with_half[ISA_COUNT];
static const char *available_names[ISA_COUNT + 1];
static fattn_isa best;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_available(void)
{
    static const fattn_isa best_first[ISA_COUNT] = {ISA_AVX512, ISA_AVX2, ISA_NEON, ISA_SCALAR};
    static const int built[ISA_COUNT] = {1, BUILT_AVX2, BUILT_AVX512, BUILT_NEON};
    static const int built_half[ISA_COUNT] = {1, 0, BUILT_HALF_AVX512, BUILT_HALF_NEON};
    bool usable[ISA_COUNT] = {[ISA_SCALAR] = true}, half[ISA_COUNT] = {[ISA_SCALAR] = true};
    int count = 0;

    probe(usable, half);
    for (int i = 0; i < ISA_COUNT; i++) {
        const fattn_isa isa = best_first[i];
        available[isa] = built[isa] && usable[isa];
        with_half[isa] = available[isa] && built_half[isa] && half[isa];
        if (!available[isa]) continue;
        if (MUTANT(4, count == 0, true)) best = isa;
        available_names[count++] = names[isa];
    }
}

const char *isa_name(fattn_isa isa)
{
    const int index = (int)isa;
    return index >= 0 && index < ISA_COUNT ? names[index] : "?";
}

bool isa_from_name(const char *name, fattn_isa *isa)
{
    for (int i = 0; name && i < ISA_COUNT; i++)
        if (strcmp(name, names[i]) == 0) {
            *isa = (fattn_isa)i;
            return true;
        }
    return false;
}

bool isa_available(fattn_isa isa)
{
    pthread_once(&once, find_available);
    const int index = (int)isa;
    return index >= 0 && index < ISA_COUNT && available[index];
}

bool isa_has_half(fattn_isa isa)
{
    return isa_available(isa) && with_half[(int)isa];
}

fattn_isa isa_best(void)
{
    pthread_once(&once, find_available);
    return best;
}

const char *const *isa_available_names(void)
{
    pthread_once(&once, find_available);
    return available_names;
}
