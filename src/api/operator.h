/* SPDX-License-Identifier: Apache-2.0 */
/* operator.h — what the api files share: the operator table and the translators. The first checks
 * of every call (exec/args.h) are made by exec_call() and its siblings. */
#ifndef FATTN_API_OPERATOR_H
#define FATTN_API_OPERATOR_H

#include "base/context.h"
#include "base/error.h"
#include "exec/args.h"
#include "exec/plan.h"
#include "fattn/operators.h"

/* One row per operator, in operators.c; the public face is fattn_operators(). */
enum {
    OP_FUSION_ATTENTION,
    OP_FUSION_ATTENTION_GRAD,
    OP_PROMPT,
    OP_INCRE,
    OP_FUSED_INFER,
    OP_FUSED_INFER_V2,
    OP_ADVANCE_STEP,
    OP_ATTENTION_UPDATE,
    OP_RING_UPDATE,
    OP_GEN_MASK,
    OPERATOR_COUNT
};
extern const fattn_operator operator_table[OPERATOR_COUNT];
#define operator_fusion_attention operator_table[OP_FUSION_ATTENTION]
#define operator_fusion_attention_grad operator_table[OP_FUSION_ATTENTION_GRAD]
#define operator_prompt_flash_attention operator_table[OP_PROMPT]
#define operator_incre_flash_attention operator_table[OP_INCRE]
#define operator_fused_infer_attention_score operator_table[OP_FUSED_INFER]
#define operator_fused_infer_attention_score_v2 operator_table[OP_FUSED_INFER_V2]
#define operator_advance_step_flashattn operator_table[OP_ADVANCE_STEP]
#define operator_attention_update operator_table[OP_ATTENTION_UPDATE]
#define operator_ring_attention_update operator_table[OP_RING_UPDATE]
#define operator_dropout_gen_mask operator_table[OP_GEN_MASK]

/* Defined in their operator's file. */
extern const fattn_translator translator_fusion_attention, translator_fusion_attention_grad,
    translator_prompt_flash_attention,
    translator_incre_flash_attention, translator_fused_infer_attention_score,
    translator_fused_infer_attention_score_v2;

/* The translators of the attention operators, NULL for others; used by verify.c and capabilities.c.
 */
const fattn_translator *operator_translator(const fattn_operator *op);

#endif
