/* SPDX-License-Identifier: Apache-2.0 */
/* bench_simd.c — one instruction set's loops (see bench_simd.h). The build compiles this file once
 * per set and defines BENCH_ISA (the name), BENCH_VECTOR (bytes of a vector) and BENCH_CHAINS
 * (independent multiply-adds that fit the registers). Plain C over the compilers' vector types:
 * fast enough for a fair opponent and a true peak, short enough to read. */
#include "bench_simd.h"

#include <string.h>

enum { LANES = BENCH_VECTOR / 4, LINE = 64, AHEAD = 4096 /* bytes of prefetch distance */ };

typedef float vec __attribute__((vector_size(BENCH_VECTOR)));
typedef int32_t ivec __attribute__((vector_size(BENCH_VECTOR)));
typedef uint32_t uvec __attribute__((vector_size(BENCH_VECTOR)));

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

static inline vec splat(float x) { return (vec){0} + x; }

static inline vec load(const float *p)
{
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline void store(float *p, vec x) { memcpy(p, &x, sizeof x); }

static inline vec larger(vec a, vec b)
{
    const ivec mask = a > b;
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}

static float fma_probe(int64_t rounds, float seed)
{
    const vec a = splat(1e-9f * seed); /* too small to change acc: neither growth nor subnormals */
    vec acc[BENCH_CHAINS];
    for (int c = 0; c < BENCH_CHAINS; c++) acc[c] = splat(seed + (float)c);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
        for (int c = 0; c < BENCH_CHAINS; c++) acc[c] += acc[c] * a;
    }
    vec sum = acc[0];
    for (int c = 1; c < BENCH_CHAINS; c++) sum += acc[c];
    return sum[0];
}

/* One pass over `streams` equal parts side by side. */
static inline uint32_t read_body(const char *p, size_t bytes, int streams, int prefetch)
{
    enum { STEP = 4 * LINE };
    const size_t part = bytes / (size_t)streams;
    uvec acc[4] = {{0}};
    for (size_t i = 0; i < part; i += STEP) {
        for (int s = 0; s < streams; s++) {
            const char *from = p + (size_t)s * part + i;
            for (int line = 0; line < STEP / LINE && prefetch; line++)
                __builtin_prefetch(from + AHEAD + line * LINE);
#pragma GCC unroll 16
            for (int v = 0; v < STEP / BENCH_VECTOR; v++) {
                uvec x;
                memcpy(&x, from + v * BENCH_VECTOR, sizeof x);
                acc[v % 4] |= x;
            }
        }
    }
    acc[0] |= acc[1] | acc[2] | acc[3];
    uint32_t all = 0;
    for (int l = 0; l < LANES; l++) all |= acc[0][l];
    return all;
}

static uint32_t read_probe(const void *data, size_t bytes, int kind)
{
    switch (kind) {
    case 0:
        return read_body(data, bytes, 1, 0);
    case 1:
        return read_body(data, bytes, 2, 0);
    case 2:
        return read_body(data, bytes, 1, 1);
    default:
        return read_body(data, bytes, 2, 1);
    }
}

/* e^x for x <= 0: 2^n times the Taylor series of e^r, |r| <= ln2/2, good to one unit in the last
 * place. */
static inline vec exp_negative(vec x)
{
    const vec magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const vec t = larger(x, splat(-87.0f)) * 1.44269504f;
    const vec shifted = t + magic;
    const vec r = (t - (shifted - magic)) * 0.693147181f;
    vec p = splat(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return (vec)((uvec)p + ((uvec)shifted << 23)); /* the low bits of `shifted` are n */
}

static void softmax_row(float *row, int64_t visible, int64_t padded, float scale)
{
    const int64_t used = (visible + LANES - 1) / LANES * LANES;
    for (int64_t j = visible; j < used; j++) row[j] = -1e30f;
    vec most = splat(-1e30f);
    for (int64_t j = 0; j < used; j += LANES) {
        const vec x = load(row + j) * scale;
        store(row + j, x);
        most = larger(x, most);
    }
    float max = most[0];
    for (int l = 1; l < LANES; l++) max = most[l] > max ? most[l] : max;
    vec sums = splat(0.0f);
    for (int64_t j = 0; j < used; j += LANES) {
        const vec e = exp_negative(load(row + j) - max);
        store(row + j, e);
        sums += e;
    }
    float sum = 0;
    for (int l = 0; l < LANES; l++) sum += sums[l];
    const float share = visible > 0 ? 1.0f / sum : 0.0f;
    for (int64_t j = 0; j < used; j += LANES) store(row + j, load(row + j) * share);
    memset(row + visible, 0, (size_t)(padded - visible) * sizeof *row);
}

static void softmax_backward_row(float *gradient, const float *share, int64_t padded, float scale)
{
    vec sums = splat(0.0f);
    for (int64_t j = 0; j < padded; j += LANES) sums += load(gradient + j) * load(share + j);
    float along = 0;
    for (int l = 0; l < LANES; l++) along += sums[l];
    for (int64_t j = 0; j < padded; j += LANES)
        store(gradient + j, (load(gradient + j) - along) * load(share + j) * scale);
}

static void widen_f16(float *to, const uint16_t *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = from[i];
        const uint32_t magnitude = (bits & 0x7fffu) << 13;
        float value;
        memcpy(&value, &magnitude, sizeof value);
        value *= 0x1p112f; /* the two formats' exponent biases differ by 112 */
        uint32_t whole;
        memcpy(&whole, &value, sizeof whole);
        whole |= (bits & 0x8000u) << 16;
        memcpy(&to[i], &whole, sizeof whole);
    }
}

static void widen_bf16(float *to, const uint16_t *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t whole = (uint32_t)from[i] << 16;
        memcpy(&to[i], &whole, sizeof whole);
    }
}

extern const bench_simd JOIN(bench_simd_, BENCH_ISA);
const bench_simd JOIN(bench_simd_, BENCH_ISA) = {
    .isa = TEXT(BENCH_ISA),
    .flops_per_round = 2.0 * BENCH_CHAINS * LANES,
    .fma = fma_probe,
    .read = read_probe,
    .softmax = softmax_row,
    .softmax_backward = softmax_backward_row,
    .widen_f16 = widen_f16,
    .widen_bf16 = widen_bf16,
};
