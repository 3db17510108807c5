/* SPDX-License-Identifier: Apache-2.0 */
/* strict_small.c — the device's rules for the operators without a problem: the decode step (spec
 * inference 12) and the two merges (spec inference 13, fusion-attention 10). Rows see the args
 * struct. */
#include <string.h>

#include "api/strict.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/layout.h"
#include "fattn/attention.h"

#define COUNT(rows) ((int)(sizeof(rows) / sizeof(rows)[0]))

/* ---- advance_step_flashattn
 * ---------------------------------------------------------------------- */

static fattn_status more_seqs(const void *self)
{
    const fattn_advance_step_flashattn_args *a = self;
    const bool speculative = a->spec_token && tensor_elements(a->spec_token) > 0;
    REQUIRE(speculative || a->num_queries < a->num_seqs, FATTN_E_ARG,
            "num_queries: %lld with num_seqs %lld; the device needs num_seqs > num_queries: add a "
            "padding row",
            LL(a->num_queries), LL(a->num_seqs));
    return FATTN_OK;
}

static fattn_status int64_only(const void *self)
{
    const fattn_advance_step_flashattn_args *a = self;
    const struct {
        const char *name;
        const fattn_tensor *tensor;
    } all[] = {{"seq_lens", a->seq_lens},
               {"slot_mapping", a->slot_mapping},
               {"block_tables", a->block_tables}};
    for (int i = 0; i < 3; i++)
        REQUIRE(all[i].tensor->dtype == FATTN_I64, FATTN_E_DTYPE,
                "%s: dtype %s; the device takes i64 only", all[i].name,
                fattn_dtype_name(all[i].tensor->dtype));
    return FATTN_OK;
}

static const strict_row advance_step_rows[] = {
    {"required", "12", "all tensors are given", CODE_NULL, REFUSED_BY(" is required: ")},
    {"num_seqs", "12.1", "num_seqs in 1..199999999", CODE_PARAMETER, REFUSED_BY("num_seqs: ")},
    {"num_queries", "12.1", "num_queries in 1..num_seqs", CODE_PARAMETER,
     REFUSED_BY("is not in 1..num_seqs")},
    {"block_size", "12.1", "block_size at least 1", CODE_PARAMETER, REFUSED_BY("block_size: ")},
    {"more_seqs", "12.1", "num_seqs > num_queries", CODE_PARAMETER, CHECKED_BY(more_seqs)},
    {"shapes", "12.1", "tensors have the shapes of 12.1, 12.4", CODE_PARAMETER,
     REFUSED_BY("its shape %s must be|must be [num_seqs")},
    {"dtypes", "12.1", "token and position tensors are i64", CODE_PARAMETER,
     REFUSED_BY("must be i64%s")},
    {"int64_only", "12", "seq_lens, slot_mapping, block_tables are i64, too", CODE_PARAMETER,
     CHECKED_BY(int64_only)},
    {"table_width", "12.1", "block_tables is wide enough for every position", CODE_PARAMETER,
     REFUSED_BY("the table has %lld columns")},
    {"spec_pair", "12.4", "spec_token and accepted_num come together", CODE_NULL,
     REFUSED_BY("are given together or not at all")},
    {"slot_row", "12.3", "more than one query", NULL,
     "slots of every row come from row 0 of the table, and rows beyond its cores stay as they are",
     .by_default = DEFAULT_COMPUTES},
};

const strict_table strict_advance_step = {"advance_step_flashattn", "advance_step",
                                          advance_step_rows, COUNT(advance_step_rows)};

/* ---- attention_update
 * ---------------------------------------------------------------------------- */

static fattn_status parts_limit(const void *self)
{
    enum { PARTS_MAX = MUTANT(114, 16, 17) };
    const fattn_attention_update_args *a = self;
    REQUIRE(a->lse.count <= PARTS_MAX, FATTN_E_ARG,
            "lse: %lld entries; the device takes 1..%d: merge in two steps", LL(a->lse.count),
            (int)PARTS_MAX);
    return FATTN_OK;
}

static fattn_status merged_head_dim(const void *self)
{
    enum { STEP = 8, MOST = 512 };
    const fattn_attention_update_args *a = self;
    const int64_t d = a->local_out.data[0]->shape[1];
    REQUIRE(d >= STEP && d <= MOST && d % STEP == 0, FATTN_E_SHAPE,
            "local_out: D is %lld; the device takes a multiple of 8 in 8..512: %lld would do",
            LL(d), LL(i64_clamp(i64_round_up(i64_clamp(d, 0, MOST), STEP), STEP, MOST)));
    return FATTN_OK;
}

static const strict_row attention_update_rows[] = {
    {"required", "13", "lse, local_out and outputs are given", CODE_NULL,
     REFUSED_BY(" is required: ")},
    {"update_type", "13", "update_type is 0 or 1", CODE_PARAMETER, REFUSED_BY("update_type: ")},
    {"list_lengths", "13", "lse and local_out are equally long, 1..32", CODE_PARAMETER,
     REFUSED_BY("entries, lse has|entries, 1..%d are legal")},
    {"parts_limit", "13", "at most 16 entries", CODE_PARAMETER, CHECKED_BY(parts_limit)},
    {"dtypes", "13", "lse is f32, local_out f32, f16 or bf16, all alike (or all f64)",
     CODE_PARAMETER, REFUSED_BY("like the first local_out|must be f32|%s: is %s, must be %s")},
    {"shapes", "13", "lse is (M), local_out (M, D), all alike", CODE_PARAMETER,
     REFUSED_BY("its shape %s must be|must be (M, D)")},
    {"head_dim", "13", "D is a multiple of 8 in 8..512", CODE_PARAMETER,
     CHECKED_BY(merged_head_dim)},
    {"nothing_valid", "13", "a row has an entry with a key", NULL, "NaN in out and lse_out",
     .by_default = DEFAULT_COMPUTES},
};

const strict_table strict_attention_update = {"attention_update", "attention_update",
                                              attention_update_rows, COUNT(attention_update_rows)};

/* ---- ring_attention_update
 * ----------------------------------------------------------------------- */

static bool packed(const fattn_ring_attention_update_args *a)
{
    return strcmp(a->input_layout, "TND") == 0;
}

static fattn_status ring_head_dim(const void *self)
{
    enum { STEP = 64, MOST = 768 };
    const fattn_ring_attention_update_args *a = self;
    const int64_t d = packed(a) ? a->prev_attn_out->shape[2] : STEP;
    REQUIRE(d > 0 && d <= MOST && d % STEP == 0, FATTN_E_SHAPE,
            "prev_attn_out: head dim %lld; with input_layout TND the device takes multiples of 64 "
            "up to 768",
            LL(d));
    return FATTN_OK;
}

static fattn_status ring_heads(const void *self)
{
    enum { MOST = 256 };
    const fattn_ring_attention_update_args *a = self;
    REQUIRE(!packed(a) || a->prev_attn_out->shape[1] <= MOST, FATTN_E_SHAPE,
            "prev_attn_out: %lld heads; with input_layout TND the device takes at most %d",
            LL(a->prev_attn_out->shape[1]), (int)MOST);
    return FATTN_OK;
}

static fattn_status ring_list(const void *self)
{
    const fattn_ring_attention_update_args *a = self;
    REQUIRE(!packed(a) || a->actual_seq_qlen->dtype == FATTN_I64, FATTN_E_DTYPE,
            "actual_seq_qlen: dtype %s; the device takes i64",
            fattn_dtype_name(a->actual_seq_qlen->dtype));
    return FATTN_OK;
}

static const strict_row ring_update_rows[] = {
    {"required", "10", "attn and softmax tensors are given", CODE_NULL,
     REFUSED_BY(" is required: ")},
    {"layout", "10", "input_layout is SBH or TND", CODE_VALUE,
     REFUSED_BY("is not \"SBH\" or \"TND\"")},
    {"softmax_layout", "10", "input_softmax_layout is \"\", SBH or TND", CODE_TILING,
     REFUSED_BY("input_softmax_layout: ")},
    {"dtypes", "10", "attn tensors alike in f32, f16 or bf16, statistics f32 (or all f64)",
     CODE_TYPE, REFUSED_BY("like prev_attn_out|must be f32|%s: is %s, must be %s")},
    {"list_dtype", "10", "TND: actual_seq_qlen is i64", CODE_TYPE, .said = "must be i64 or i32",
     CHECKED_BY(ring_list)},
    {"list", "10", "TND: actual_seq_qlen is given and goes from 0 to T", CODE_PARAM,
     REFUSED_BY("actual_seq_qlen: ")},
    {"shapes", "10", "shapes of section 10", CODE_PARAM,
     REFUSED_BY("rank %d, must be|its shape %s must be|does not divide by")},
    {"head_dim", "10", "TND: D is a multiple of 64 and at most 768", CODE_TILING,
     CHECKED_BY(ring_head_dim)},
    {"heads", "10", "TND: at most 256 heads", CODE_TILING, CHECKED_BY(ring_heads)},
};

const strict_table strict_ring_update = {"ring_attention_update", "ring_update", ring_update_rows,
                                         COUNT(ring_update_rows)};
