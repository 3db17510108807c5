/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h — the Plan object. */
#ifndef FATTN_CORE_PLAN_H
#define FATTN_CORE_PLAN_H

#include "core.h"

int plan_init(PyObject *module);

#endif
