/* SPDX-License-Identifier: Apache-2.0 */
/* fusion.h — the parts of the training operator's translation, forward and backward: arguments as
 * read, then mask, bias, dropout, statistics, sequences. The backward presents its arguments as the
 * forward's. */
#ifndef FATTN_API_FUSION_H
#define FATTN_API_FUSION_H

#include "api/inputs.h"
#include "api/lengths.h"
#include "fattn/attention.h"
#include "fattn/operators.h"

enum { FUSION_REPLICAS = 8 }; /* each maximum and sum stands 8 times in its output */

extern const char *const fusion_layouts[];

typedef struct fusion_call {
    fattn_context *context;
    const fattn_fusion_attention_args *args;
    fattn_inputs in;
    const fattn_tensor *mask, *pse, *sink, *dropout_mask; /* NULL = absent */
    int64_t n_batch;                       /* sequences */
    fattn_lengths q, kv;                   /* packed layouts only */
    bool stats_by_token;                   /* softmax_layout TND */
    fattn_tensor stats;                    /* shape and strides of softmax_max and softmax_sum */

    /* fusion_mask.c */
    int64_t mode;     /* what mask_translate() gets: predicate actually applied */
    bool dense_mask;  /* the mask's content takes part */
    bool mask_blocks; /* T x T form: a sequence reads the block at its own origin */
    int64_t mask_batch_stride, mask_row_stride;
    int64_t special; /* sequence that modes 7 and 8 give the band to, -1 = none */

    /* fusion_bias.c */
    int64_t bias_batch_stride, bias_head_stride, bias_row_stride; /* 4-D forms */
    bool bias_flat, bias_flat_rows; /* 1-D forms: blocks [N,Lq,Lk], or [N,Lk] shared by all rows */
    int64_t bias_next;              /* 1-D forms: cells of the sequences before this one */
    const fattn_tensor *dpse;       /* backward: where the gradient goes, NULL = not wanted */
    int64_t dbias_batch_stride, dbias_head_stride, dbias_row_stride;

    int64_t drop_next; /* fusion_dropout.c: elements of the sequences before this one */
} fusion_call;

static inline int64_t fusion_q_len(const fusion_call *call, int64_t b)
{
    return call->in.packed ? call->q.length[b] : call->in.q.s;
}

static inline int64_t fusion_kv_len(const fusion_call *call, int64_t b)
{
    return call->in.packed ? call->kv.length[b] : call->in.k.s;
}

/* Longest sequence. */
int64_t fusion_max_q_len(const fusion_call *call);
int64_t fusion_max_kv_len(const fusion_call *call);

/* sparse_mode, tokens, prefix, atten_mask: checks them, fills call and problem->mask. */
fattn_status fusion_mask(fusion_call *call, fattn_problem *problem);
/* Band and mask origin of sequence b, whose lengths and rows are set. */
void fusion_mask_seq(const fusion_call *call, int64_t b, fattn_seq *seq);
/* Strict: rows without a key are 0 (invalid-row handling is on) instead of a mean (spec 2.3). */
bool fusion_invalid_rows(const fusion_call *call);

/* pse, pse_type, start indices: checks them, fills call and problem->bias. */
fattn_status fusion_bias(fusion_call *call, fattn_problem *problem);
/* Origin of sequence b in the bias; to be called for b ascending, empty sequences included. */
void fusion_bias_seq(fusion_call *call, int64_t b, fattn_seq *seq);

/* keep_prob and dropout_mask: checks them, fills problem->dropout. The first needs no shapes. */
fattn_status fusion_keep_prob(const fusion_call *call);
fattn_status fusion_dropout(const fusion_call *call, fattn_problem *problem);
/* First element of sequence b; to be called for b ascending, empty sequences included. */
void fusion_dropout_seq(fusion_call *call, int64_t b, fattn_seq *seq);
/* Neither seed nor offset is given: the forward takes them from the context's generator. */
bool fusion_draws(const fattn_fusion_attention_args *args);

/* What shapes() and translate() both need; `scale_name` is what the operator calls its scale. */
fattn_status fusion_read(fattn_context *context, const fattn_fusion_attention_args *args,
                         const char *scale_name, fusion_call *call);
/* The rest; problem->kind is set. */
fattn_status fusion_translate(fusion_call *call, fattn_arena *arena, fattn_problem *problem);

/* softmax_max and softmax_sum, contiguous. */
fattn_tensor fusion_stats_shape(const fattn_inputs *in);
/* Cells of the score matrices, masked ones included; saturated. */
int64_t fusion_numels(const fattn_problem *problem);
/* Address of a tensor's data, NULL when absent. */
void *fusion_data(const fattn_tensor *tensor);
void fusion_bind(const fattn_fusion_attention_args *args, fattn_ptrs *ptrs);
fattn_status fusion_refused(const fattn_context *context, const fattn_operator *op,
                            const void *args, fattn_status status);

#endif
