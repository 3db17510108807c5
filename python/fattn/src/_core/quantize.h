/* SPDX-License-Identifier: Apache-2.0 */
/* quantize.h — keys and values in fewer bits, and calibration. */
#ifndef FATTN_CORE_QUANTIZE_H
#define FATTN_CORE_QUANTIZE_H

#include "core.h"

int quantize_init(PyObject *module);

/* "token" to FATTN_PER_TOKEN and so on; 0, or -1 with an exception. */
int quantize_granularity(const char *name, fattn_granularity *granularity);

#endif
