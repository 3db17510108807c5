/* SPDX-License-Identifier: Apache-2.0 */
/* capabilities.c — what this build and machine can do, and what a call will need. */
#include "fattn/capabilities.h"

#include <string.h>

#include "api/infer.h"
#include "api/operator.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/layout.h"

static const char *const dtypes[] = {"f32", "f16", "bf16", "f64", NULL};
static const char *const cache_layouts[] = {"BnBsH", "BnNBsD", "NZ", NULL};
static const char *const quantisation[] = {"i8", "i4", "e4m3", "e5m2", "e2m1", "e1m2", NULL};

/* Bits of the sparse modes; incre_flash_attention has no such parameter. */
enum {
    MODES_0_TO_4 = 0x1f,
    MODES_0_TO_8 = 0x1ff,
    MODE_TREE = 1 << 9,
    MODES_HIDDEN = MODES_0_TO_4 << 10 /* 10..14 of the prefill operator */
};
static const int64_t sparse_modes[OPERATOR_COUNT] = {
    [OP_FUSION_ATTENTION] = MODES_0_TO_8,
    [OP_FUSION_ATTENTION_GRAD] = MODES_0_TO_8,
    [OP_PROMPT] = MODES_0_TO_4 | MODES_HIDDEN,
    [OP_FUSED_INFER] = MODES_0_TO_4,
    [OP_FUSED_INFER_V2] = MODES_0_TO_4 | MODE_TREE,
};
_Static_assert((int)OPERATOR_COUNT <= (int)FATTN_CAPABILITY_OPERATORS,
               "a set has room for all of them");

const char *fattn_version(void) { return FATTN_VERSION_STRING; }

static void add_operators(fattn_capability_set *set)
{
    for (int i = 0; i < OPERATOR_COUNT; i++) {
        const fattn_translator *translator = operator_translator(&operator_table[i]);
        if (!translator) continue;
        set->operators[set->n_operators++] =
            (fattn_operator_capability){.name = translator->op->name,
                                        .layouts = MUTANT(121, translator->layouts, infer_layouts),
                                        .sparse_modes = sparse_modes[i]};
    }
}

fattn_status fattn_capabilities(fattn_context *context, fattn_capability_set *set)
{
    REQUIRE(set && set->size == sizeof *set, FATTN_E_ARG,
            "capabilities: set->size must be sizeof(fattn_capability_set) = %zu", sizeof *set);
    TRY(context_resolve(&context));
    *set = (fattn_capability_set){
        .size = sizeof *set,
        .version = fattn_version(),
        .isa = isa_name(context->isa),
        .isas = isa_available_names(),
        .backends = exec_backend_names(),
        .dtypes = dtypes,
        .cache_layouts = cache_layouts,
        .quantisation = quantisation,
        .sparse_modes_training = sparse_modes[OP_FUSION_ATTENTION],
        .sparse_modes_inference = sparse_modes[OP_FUSED_INFER],
        .threads = context->threads,
    };
    add_operators(set);
    return FATTN_OK;
}

/* Saturated: an estimate of the impossible is "too much", not a wrapped small number. */
static uint64_t add_sat(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t tensor_bytes(const fattn_tensor *tensor)
{
    return tensor ? (uint64_t)tensor_elements(tensor) * fattn_dtype_size(tensor->dtype) : 0;
}

static void add_tensors(const fattn_operator *op, const void *args, fattn_memory_estimate *estimate)
{
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *f = &op->fields[i];
        const void *value = (const char *)args + f->offset;
        if (f->kind == FATTN_FIELD_TENSORS_IN) {
            const fattn_tensor_array *list = value;
            for (int64_t k = 0; k < list->count; k++)
                estimate->input_bytes = add_sat(estimate->input_bytes, tensor_bytes(list->data[k]));
        } else if (f->kind == FATTN_FIELD_TENSOR_IN || f->kind == FATTN_FIELD_TENSOR_INOUT) {
            estimate->input_bytes =
                add_sat(estimate->input_bytes, tensor_bytes(*(const fattn_tensor *const *)value));
        }
    }
}

/* fp32 scores and probabilities in one buffer: heads * Sq * Skv of every sequence at once. */
static fattn_status standard_bytes(fattn_context *context, const fattn_translator *translator,
                                   const void *args, uint64_t *bytes)
{
    fattn_arena arena = context_arena(context);
    fattn_problem problem = {0};
    const fattn_status status = translator->translate(context, args, &arena, &problem);
    double scores = 0;
    for (int64_t s = 0; status == FATTN_OK && s < problem.n_seqs; s++)
        scores += (double)problem.seqs[s].q_len * (double)problem.seqs[s].kv_len;
    scores *= (double)MUTANT(71, problem.n_heads, 1) * (double)sizeof(float);
    *bytes = scores < (double)UINT64_MAX ? (uint64_t)scores : UINT64_MAX;
    arena_free(&arena);
    return status;
}

fattn_status fattn_estimate_memory(fattn_context *context, const fattn_operator *op,
                                   const void *args, fattn_memory_estimate *estimate)
{
    REQUIRE(op, FATTN_E_ARG, "estimate_memory: op is NULL; fattn_operator_find() gives one");
    REQUIRE(estimate && estimate->size == sizeof *estimate, FATTN_E_ARG,
            "estimate_memory: estimate->size must be sizeof(fattn_memory_estimate) = %zu",
            sizeof *estimate);
    TRY(context_resolve(&context));
    fattn_memory_estimate found = {.size = sizeof found};
    size_t workspace = 0;
    fattn_tensor outputs[FATTN_MAX_RANK];
    TRY(op->workspace(context, args, &workspace));
    TRY(op->shapes(context, args, outputs));
    add_tensors(op, args, &found);
    for (int i = 0; i < op->n_outputs; i++)
        found.output_bytes = add_sat(found.output_bytes, tensor_bytes(&outputs[i]));
    found.workspace_bytes = workspace;
    const fattn_translator *translator = operator_translator(op);
    if (translator) TRY(standard_bytes(context, translator, args, &found.standard_bytes));
    *estimate = found;
    return FATTN_OK;
}
