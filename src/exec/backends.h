/* SPDX-License-Identifier: Apache-2.0 */
/* backends.h — who computes a problem: the first backend that accepts it. */
#ifndef FATTN_EXEC_BACKENDS_H
#define FATTN_EXEC_BACKENDS_H

#include "core/backend.h"

/* Honours context->backend. E_UNSUPPORTED with a backend's sentence when nobody accepts. */
fattn_status backend_choose(fattn_context *context, const fattn_problem *problem,
                            const fattn_backend **backend);

/* The backends of this build in their order; NULL behind the last. */
const fattn_backend *backend_at(int index);
/* The context asks for it, or for none in particular. */
bool backend_allowed(const fattn_context *context, const fattn_backend *backend);

#endif
