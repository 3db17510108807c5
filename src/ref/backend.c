/* SPDX-License-Identifier: Apache-2.0 */
/* backend.c — the reference as a backend: ref_row() for every row, written out in the caller's
 * dtypes.
 *
 * It takes every float dtype, mixed ones too, and is the only backend for f64. One item of the
 * parallel loop is a block of rows of one head of one sequence; every worker has its own scratch.
 */
#include <assert.h>
#include <stdio.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/backend.h"
#include "core/element.h"
#include "core/quant.h"
#include "ref/grad.h"
#include "ref/grad_backend.h"
#include "ref/ref.h"

enum {
    BLOCK_ROWS = 16,  /* rows of one item */
    SLAB_DOUBLES = 8, /* workers' slabs are multiples of 64 bytes */
};

typedef struct ref_state {
    int64_t *first_item; /* [n_seqs + 1], items before each sequence; the last entry counts all */
    int64_t n_seqs;
    size_t slab; /* doubles per worker: one output row, then ref_scratch() */
} ref_state;

typedef struct ref_job {
    const fattn_problem *p;
    const ref_state *state;
    const fattn_ptrs *ptrs;
    double *workspace;
} ref_job;

/* Operands and results of 8 bits and less; whether they have scales is the translator's business. */
static bool takes(fattn_dtype dtype)
{
    return element_is_float(dtype) || element_is_quantised(dtype);
}

static fattn_status ref_accepts(const fattn_context *context, const fattn_problem *p)
{
    (void)context; /* in double, whatever it asks for */
    const struct {
        const char *name;
        fattn_dtype dtype;
    } operands[] = {
        {"query", p->q.dtype},
        {"key", p->k.dtype},
        {"value", p->v.dtype},
        {"output", p->out.dtype},
        {"bias", p->bias.kind == BIAS_NONE ? FATTN_F32 : p->bias.dtype},
        {"sink", p->sink ? p->sink_dtype : FATTN_F32},
        {"dy", p->kind == KIND_BACKWARD ? p->dout.dtype : FATTN_F32},
    };
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++)
        REQUIRE(takes(operands[i].dtype), FATTN_E_UNSUPPORTED,
                "%s: the reference backend computes floats and quantised dtypes, not %s",
                operands[i].name, fattn_dtype_name(operands[i].dtype));
    return FATTN_OK;
}

/* Fills first_item; false when the rows cannot be counted. */
static bool count_items(const fattn_problem *p, int64_t *first_item)
{
    first_item[0] = 0;
    for (int64_t s = 0; s < p->n_seqs; s++) {
        int64_t items;
        if (!i64_mul(p->n_heads, i64_div_up(p->seqs[s].q_len, BLOCK_ROWS), &items) ||
            !i64_add(first_item[s], items, &first_item[s + 1]))
            return false;
    }
    return true;
}

static bool slab_size(const fattn_problem *p, int workers, size_t *slab, size_t *bytes)
{
    const size_t scratch = p->kind == KIND_BACKWARD ? ref_grad_scratch(p) : ref_scratch(p);
    if (scratch == SIZE_MAX || !size_add(scratch, (size_t)p->d_v + SLAB_DOUBLES - 1, slab))
        return false;
    *slab -= *slab % SLAB_DOUBLES;
    return size_mul(*slab, sizeof(double), bytes) && size_mul(*bytes, (size_t)workers, bytes);
}

static fattn_status ref_plan(fattn_context *context, const fattn_problem *p, fattn_arena *arena,
                             void **state, size_t *bytes)
{
    problem_assert(p);
    ref_state *made = arena_alloc(arena, 1, sizeof *made);
    REQUIRE(made, FATTN_E_NOMEM, "out of memory: %zu bytes for a plan", sizeof *made);
    made->n_seqs = p->n_seqs;
    made->first_item = arena_alloc(arena, (size_t)p->n_seqs + 1, sizeof *made->first_item);
    REQUIRE(made->first_item, FATTN_E_NOMEM, "out of memory: a plan for %lld sequences",
            (long long)p->n_seqs);
    REQUIRE(count_items(p, made->first_item), FATTN_E_UNSUPPORTED,
            "query: more rows than 63 bits can count");
    REQUIRE(slab_size(p, context->threads, &made->slab, bytes), FATTN_E_NOMEM,
            "out of memory: the workspace does not fit the address space; split the keys");
    *state = made;
    return FATTN_OK;
}

/* The sequence that owns an item: the last one whose first item is not beyond it. */
static int64_t seq_of_item(const ref_state *state, int64_t item)
{
    int64_t lo = 0, hi = state->n_seqs;
    while (hi - lo > 1) {
        const int64_t middle = lo + (hi - lo) / 2;
        if (state->first_item[middle] <= item)
            lo = middle;
        else
            hi = middle;
    }
    return lo;
}

static void write_stats(const ref_job *job, const fattn_seq *seq, int64_t head, int64_t i,
                        const fattn_ref_row *row)
{
    const fattn_problem *p = job->p;
    const fattn_ptrs *ptrs = job->ptrs;
    if (p->want_max_sum) {
        const int64_t at =
            seq->stats_base + head * seq->stats_head_stride + i * seq->stats_row_stride;
        for (int64_t r = 0; r < p->stats_replicas; r++) {
            const int64_t to = at + r * p->max_replica_stride;
            if (ptrs->max) element_store(ptrs->max, p->stats_dtype, to, row->max);
            if (ptrs->sum) element_store(ptrs->sum, p->stats_dtype, to, row->sum);
        }
    }
    if (p->want_lse && ptrs->lse)
        ptrs->lse[seq->lse_base + head * seq->lse_head_stride + i * seq->lse_row_stride] =
            (float)row->lse;
}

/* Rows that belong to no sequence are 0 in every dtype. */
static void write_out(const ref_job *job, const fattn_seq *seq, int64_t head, int64_t i,
                      const fattn_ref_row *row)
{
    const fattn_problem *p = job->p;
    const int64_t at = view_offset(p, &p->out, 0, NULL, seq->batch, head, seq->q_row0 + i);
    for (int64_t c = 0; job->ptrs->out && c < p->d_v; c++)
        element_store(job->ptrs->out, p->out.dtype, at + c * p->out.part[0].col_stride,
                      seq->pad ? 0.0 : quant_out(p, job->ptrs, head, c, row->out[c]));
}

static void ref_item(void *arg, int64_t item, int worker)
{
    const ref_job *job = arg;
    const fattn_problem *p = job->p;
    const int64_t s = seq_of_item(job->state, item);
    const fattn_seq *seq = &p->seqs[s];
    const int64_t local = item - job->state->first_item[s];
    const int64_t blocks = i64_div_up(seq->q_len, BLOCK_ROWS);
    const int64_t head = local / blocks, i0 = local % blocks * MUTANT(25, BLOCK_ROWS, 0);

    double *slab = job->workspace + (size_t)worker * job->state->slab;
    fattn_ref_row row = {.out = slab};
    for (int64_t i = i0; i < i64_min(i0 + BLOCK_ROWS, seq->q_len); i++) {
        ref_row(p, job->ptrs, seq, head, i, slab + p->d_v, &row);
        write_out(job, seq, head, i, &row);
        write_stats(job, seq, head, i, &row);
    }
}

static void ref_run(fattn_context *context, const fattn_problem *p, const void *state,
                    const fattn_ptrs *ptrs, void *workspace)
{
    const ref_state *plan = state;
    if (p->kind == KIND_BACKWARD) {
        ref_grad_run(context, p, ptrs, workspace, plan->slab);
        return;
    }
    ref_job job = {.p = p, .state = plan, .ptrs = ptrs, .workspace = workspace};
    context_parallel(context, ref_item, &job, plan->first_item[plan->n_seqs]);
}

static int ref_describe(const void *state, char *buffer, size_t size)
{
    const ref_state *plan = state;
    return snprintf(buffer, size, "float64, %lld items", (long long)plan->first_item[plan->n_seqs]);
}

static void ref_explain(const fattn_problem *p, const void *state, fattn_explanation *out)
{
    const ref_state *plan = state;
    (void)p;
    out->items = plan->first_item[plan->n_seqs];
    out->item_rows = BLOCK_ROWS;
}

const fattn_backend fattn_backend_ref = {
    .name = "ref",
    .accepts = ref_accepts,
    .plan = ref_plan,
    .run = ref_run,
    .describe = ref_describe,
    .explain = ref_explain,
};
