/* SPDX-License-Identifier: Apache-2.0 */
/* kv_cache.h — the KVCache object. */
#ifndef FATTN_CORE_KV_CACHE_H
#define FATTN_CORE_KV_CACHE_H

#include "core.h"

int kv_cache_init(PyObject *module);

#endif
