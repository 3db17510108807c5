/* SPDX-License-Identifier: Apache-2.0 */
/* ints.h — small integer helpers; sizes go through the checked ones. */
#ifndef FATTN_BASE_INTS_H
#define FATTN_BASE_INTS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline int64_t i64_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t i64_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t i64_clamp(int64_t x, int64_t lo, int64_t hi)
{
    return i64_max(lo, i64_min(x, hi));
}
static inline int64_t i64_div_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }
static inline int64_t i64_round_up(int64_t a, int64_t b) { return i64_div_up(a, b) * b; }

/* false on overflow; *out is then unspecified. */
static inline bool i64_mul(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool i64_add(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* a + b, saturated at the int64 range: token arithmetic with INT64_MAX stays defined. */
static inline int64_t i64_add_sat(int64_t a, int64_t b)
{
    int64_t sum;
    if (i64_add(a, b, &sum)) return sum;
    return a < 0 ? INT64_MIN : INT64_MAX;
}

#endif
