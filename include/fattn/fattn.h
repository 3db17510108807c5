/* SPDX-License-Identifier: Apache-2.0 */
/* fattn.h — everything. The Ascend NPU flash-attention operator family on any machine. */
#ifndef FATTN_FATTN_H
#define FATTN_FATTN_H

#include "attention.h"
#include "capabilities.h"
#include "context.h"
#include "explain.h"
#include "generator.h"
#include "kv_cache.h"
#include "operators.h"
#include "plan.h"
#include "quantize.h"
#include "status.h"
#include "types.h"
#include "verify.h"

#endif
