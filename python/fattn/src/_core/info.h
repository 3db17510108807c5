/* SPDX-License-Identifier: Apache-2.0 */
/* info.h — what the library says about itself and about a call: capabilities, memory, explain, verify. */
#ifndef FATTN_CORE_INFO_H
#define FATTN_CORE_INFO_H

#include "core.h"

int info_init(PyObject *module);

#endif
