/* SPDX-License-Identifier: Apache-2.0 */
/* capabilities.h — what this build and machine can do, and what a call will need. */
#ifndef FATTN_CAPABILITIES_H
#define FATTN_CAPABILITIES_H

#include "operators.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An attention operator. Everything it takes beyond that is in docs/support.md. */
typedef struct fattn_operator_capability {
    const char *name;
    const char *const *layouts; /* values of input_layout, NULL-terminated */
    int64_t sparse_modes;       /* bit m set = mode m; 0 = it has none */
} fattn_operator_capability;

enum { FATTN_CAPABILITY_OPERATORS = 16 };

/* Lists end with NULL; everything is constant and owned by the library. */
typedef struct fattn_capability_set {
    size_t size;
    const char *version;
    const char *isa;         /* in use by the context */
    const char *const *isas; /* built in and usable on this machine, best first */
    const char *const *backends;
    const char *const *dtypes;        /* of the attention operators */
    const char *const *cache_layouts; /* of block caches */
    const char *const *quantisation;  /* element types of quantised keys and values */
    int64_t
        sparse_modes_training; /* those of fusion_attention and of fused_infer_attention_score; */
    int64_t sparse_modes_inference; /* bit m set = mode m */
    int threads;
    int n_operators; /* attention operators, in the order of fattn_operators() */
    fattn_operator_capability operators[FATTN_CAPABILITY_OPERATORS];
} fattn_capability_set;

/* Fills *set (set->size must be sizeof *set). context NULL = the process default. */
FATTN_API fattn_status fattn_capabilities(fattn_context *context, fattn_capability_set *set);

typedef struct fattn_memory_estimate {
    size_t size;
    uint64_t input_bytes;     /* of the tensors as given */
    uint64_t output_bytes;    /* of every output of shapes(), wanted or not */
    uint64_t workspace_bytes; /* of fattn */
    uint64_t standard_bytes;  /* of attention with materialised fp32 scores */
} fattn_memory_estimate;

/* What a call will need, without computing it; data pointers may be NULL. estimate->size must be
 * set. */
FATTN_API fattn_status fattn_estimate_memory(fattn_context *context, const fattn_operator *op,
                                             const void *args, fattn_memory_estimate *estimate);

/* FATTN_VERSION_STRING of the library that is loaded. */
FATTN_API const char *fattn_version(void);

#ifdef __cplusplus
}
#endif
#endif
