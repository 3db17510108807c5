/* SPDX-License-Identifier: Apache-2.0 */
/* call.h — call(), shapes() and run() of the module. */
#ifndef FATTN_CORE_CALL_H
#define FATTN_CORE_CALL_H

#include "core.h"

int call_init(PyObject *module);

#endif
