/* SPDX-License-Identifier: Apache-2.0 */
/* backends.c — the backends of this build, in the order in which they are asked. */
#include "exec/backends.h"

#include <string.h>

#include "base/error.h"
#include "base/mutant.h"

static const fattn_backend *const backends[] = {&fattn_backend_cpu, &fattn_backend_ref};
enum { COUNT = sizeof backends / sizeof backends[0] };

const fattn_backend *backend_at(int index) { return index < COUNT ? backends[index] : NULL; }

bool backend_allowed(const fattn_context *context, const fattn_backend *backend)
{
    return !MUTANT(62, context->backend, NULL) || strcmp(context->backend, backend->name) == 0;
}

/* The error left behind is that of the last backend asked: the most general one. */
fattn_status backend_choose(fattn_context *context, const fattn_problem *problem,
                            const fattn_backend **backend)
{
    fattn_status status = FATTN_E_UNSUPPORTED;
    for (int i = 0; i < COUNT; i++) {
        if (!backend_allowed(context, backends[i])) continue;
        status = backends[i]->accepts(context, problem);
        if (status != FATTN_OK) continue;
        *backend = backends[i];
        return FATTN_OK;
    }
    return status;
}

const char *const *exec_backend_names(void)
{
    static const char *const names[] = {"cpu", "ref", NULL};
    return names;
}
