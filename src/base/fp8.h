/* SPDX-License-Identifier: Apache-2.0 */
/* fp8.h — the floats of 8 and 4 bits in portable integer arithmetic. From bits: exact. To bits: round to
 * nearest even, beyond the largest finite value that value, NaN stays NaN. */
#ifndef FATTN_BASE_FP8_H
#define FATTN_BASE_FP8_H

#include <stdint.h>

float fp8_from_e4m3(uint8_t bits); /* e4m3fn: no infinity, 0x7f and 0xff are NaN */
float fp8_from_e5m2(uint8_t bits);
float fp8_from_e8m0(uint8_t bits); /* 2^(bits - 127), 255 = NaN */
float fp4_from_e2m1(unsigned nibble); /* 0 0.5 1 1.5 2 3 4 6, bit 3 = sign */
float fp4_from_e1m2(unsigned nibble); /* multiples of 0.25 below 2 */

uint8_t fp8_to_e4m3(double value);
uint8_t fp8_to_e5m2(double value);

#endif
