/* SPDX-License-Identifier: Apache-2.0 */
/* check.h — what the kernel tests share: every instruction set this machine can run, random numbers
 * with a seed, numbers in their storage types, and the clock of --bench. */
#ifndef FATTN_TESTS_KERNEL_CHECK_H
#define FATTN_TESTS_KERNEL_CHECK_H

#include "cm.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fp8.h"
#include "base/half.h"
#include "cpu/isa.h"
#include "guard.h"
#include "sets.h"

static const double unit = 0x1p-24; /* rounding of fp32 */
static const char *const dtype_names[KERNEL_DTYPES] = {"f32",  "f16",  "bf16", "i8",
                                                       "e4m3", "e5m2", "i4"};

/* Runs test(kernels) for every set that is built and usable. */
static inline void each_isa(void (*test)(const fattn_kernels *k))
{
    for (int isa = 0; isa < ISA_COUNT; isa++)
        if (isa_available((fattn_isa)isa)) test(kernels_for((fattn_isa)isa));
}

static inline uint32_t random_bits(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = *seed;
    x = (x ^ (x >> 32)) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(x >> 32);
}

/* Uniform in [-1, 1). */
static inline float random_float(uint64_t *seed)
{
    return (float)(int32_t)random_bits(seed) * 0x1p-31f;
}

static inline void random_fill(float *x, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++) x[i] = random_float(seed);
}

/* Of the types with whole bytes: all but the last, KERNEL_I4. */
static inline size_t dtype_size(int dtype)
{
    return dtype == KERNEL_F32 ? 4 : dtype < KERNEL_FLOATS ? 2 : 1;
}

static inline void put(void *p, size_t i, int dtype, float x)
{
    if (dtype == KERNEL_F32) ((float *)p)[i] = x;
    if (dtype == KERNEL_F16) ((uint16_t *)p)[i] = half_to_f16(x);
    if (dtype == KERNEL_BF16) ((uint16_t *)p)[i] = half_to_bf16(x);
    if (dtype == KERNEL_I8) ((int8_t *)p)[i] = (int8_t)(int)(127 * x);
    if (dtype == KERNEL_E4M3) ((uint8_t *)p)[i] = fp8_to_e4m3((double)x);
    if (dtype == KERNEL_E5M2) ((uint8_t *)p)[i] = fp8_to_e5m2((double)x);
}

static inline float get(const void *p, size_t i, int dtype)
{
    if (dtype == KERNEL_F16) return half_from_f16(((const uint16_t *)p)[i]);
    if (dtype == KERNEL_BF16) return half_from_bf16(((const uint16_t *)p)[i]);
    if (dtype == KERNEL_I8) return (float)((const int8_t *)p)[i];
    if (dtype == KERNEL_E4M3) return fp8_from_e4m3(((const uint8_t *)p)[i]);
    if (dtype == KERNEL_E5M2) return fp8_from_e5m2(((const uint8_t *)p)[i]);
    return ((const float *)p)[i];
}

static inline uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Equal bits, or both NaN. */
static inline int same(float a, float b)
{
    return float_bits(a) == float_bits(b) || (isnan(a) && isnan(b));
}

/* Scratch as the drivers have it: 64-byte aligned. */
static inline float *scratch(size_t floats)
{
    void *p = aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64);
    if (!p) abort();
    memset(p, 0, (floats * sizeof(float) + 63) / 64 * 64);
    return p;
}

/* Processor time: others may be running. */
static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call, best of `rounds` rounds of about a millisecond each. */
static inline double best_time(void (*call)(void *arg), void *arg, int rounds)
{
    int calls = 1;
    double best = 1e9;
    for (;; calls *= 2) {
        const double start = now();
        for (int i = 0; i < calls; i++) call(arg);
        if (now() - start > 1e-3) break;
    }
    for (int r = 0; r < rounds; r++) {
        const double start = now();
        for (int i = 0; i < calls; i++) call(arg);
        const double time = (now() - start) / calls;
        if (time < best) best = time;
    }
    return best;
}

/* FLOP/s of independent multiply-adds on registers, best of `rounds`. */
static inline double probe_peak(const fattn_kernels *k, int rounds)
{
    double best = 0;
    for (int r = 0; r < rounds; r++) {
        const double start = now();
        const double flops = k->fma_probe(100000);
        const double rate = flops / (now() - start);
        if (rate > best) best = rate;
    }
    return best;
}

#endif
