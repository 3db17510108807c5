/* SPDX-License-Identifier: Apache-2.0 */
/* half.h — fp16 and bf16 in portable integer arithmetic; round to nearest even, NaN stays NaN. */
#ifndef FATTN_BASE_HALF_H
#define FATTN_BASE_HALF_H

#include <stdint.h>

float half_from_f16(uint16_t bits);
uint16_t half_to_f16(float value);
uint16_t half_to_f16_from_double(double value); /* one rounding */
float half_from_bf16(uint16_t bits);
uint16_t half_to_bf16(float value);
uint16_t half_to_bf16_from_double(double value); /* one rounding */

#endif
