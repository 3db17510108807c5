/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h — shapes once, addresses at every run.
 *
 * A plan is made from an args struct: it keeps every shape, dtype, stride, list and number, and no
 * address. fattn_plan_run() takes args of the same operator that differ in addresses only (and in
 * the contents of block tables and masks, which are data), so one plan serves every layer of a
 * model. */
#ifndef FATTN_PLAN_H
#define FATTN_PLAN_H

#include "context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fattn_plan fattn_plan;

/* Bytes of workspace one run needs; exact, independent of Sq * Skv. */
FATTN_API size_t fattn_plan_workspace(const fattn_plan *plan);

/* Runs. `args` is the operator's args struct. workspace NULL = the plan's own, which serves one run
 * at a time (a second gets E_BUSY); with callers' workspaces (64-byte aligned, `bytes` >=
 * fattn_plan_workspace()) any number run together. Nothing is allocated. E_ARG: args differ from
 * the plan's in something else than an address, or the workspace is short; block ids are checked
 * here. */
FATTN_API fattn_status fattn_plan_run(fattn_plan *plan, const void *args, void *workspace,
                                      size_t bytes);

/* One line: operator, shapes, backend, ISA, items. Valid as long as the plan; for logs only. */
FATTN_API const char *fattn_plan_describe(const fattn_plan *plan);

/* Frees the plan. NULL is fine. */
FATTN_API void fattn_plan_destroy(fattn_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
