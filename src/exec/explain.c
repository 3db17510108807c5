/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c — what a problem asks for, counted: pairs, multiplications, bytes; and each backend's
 * answer. */
#include "exec/explain.h"

#include <stdio.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/mask.h"
#include "exec/backends.h"

static int64_t seen(const fattn_seq *seq, int64_t i)
{
    const fattn_interval row = mask_interval(seq, i);
    return row.hi - row.lo;
}

/* Both ends of the rows' windows grow by 0 or by 1 from row to row, and change over a few times
 * only: between two rows with ends that have not moved, or have moved with every row, the count is
 * linear. */
static bool is_linear(const fattn_seq *seq, int64_t first, int64_t last)
{
    const fattn_interval a = mask_interval(seq, first), b = mask_interval(seq, last);
    const int64_t steps = last - first;
    return (b.lo == a.lo || b.lo - a.lo == steps) && (b.hi == a.hi || b.hi - a.hi == steps);
}

static double pairs_between(const fattn_seq *seq, int64_t first, int64_t last)
{
    if (last - first <= 1 || is_linear(seq, first, last)) {
        const double n = (double)(last - first + 1);
        if (first == last) return (double)seen(seq, first);
        return n * ((double)seen(seq, first) + (double)seen(seq, MUTANT(139, last, first))) / 2;
    }
    const int64_t middle = first + (last - first) / 2;
    return pairs_between(seq, first, middle) + pairs_between(seq, middle + 1, last);
}

double explain_pairs(const fattn_seq *seq)
{
    return seq->q_len > 0 ? pairs_between(seq, 0, seq->q_len - 1) : 0;
}

/* Keys from the first that any row sees to the last. */
static int64_t hull(const fattn_seq *seq)
{
    if (seq->q_len == 0) return 0;
    return i64_max(mask_interval(seq, seq->q_len - 1).hi - mask_interval(seq, 0).lo, 0);
}

static double size_of(fattn_dtype dtype) { return (double)fattn_dtype_size(dtype); }

/* Cells of a mask or bias that a sequence uses; a stride of 0 repeats one row or one head. */
static double cells(const fattn_problem *p, const fattn_seq *seq, int64_t head_stride,
                    int64_t row_stride)
{
    const int64_t rows = row_stride || seq->q_len == 0 ? seq->q_len : 1;
    return (double)(head_stride ? p->n_heads : 1) * (double)rows * (double)hull(seq);
}

static void count_seq(const fattn_problem *p, const fattn_seq *seq, fattn_explanation *out)
{
    const double rows = (double)seq->q_len * (double)p->n_heads;
    const double kv_row =
        (double)p->d_qk * size_of(p->k.dtype) + (double)p->d_v * size_of(p->v.dtype);
    out->query_rows += seq->q_len;
    out->visible_pairs += explain_pairs(seq) * (double)p->n_heads;
    out->query_bytes += rows * (double)p->d_qk * size_of(p->q.dtype);
    out->kv_bytes += (double)hull(seq) * (double)p->n_kv_heads * kv_row;
    out->output_bytes += rows * (double)p->d_v * size_of(p->out.dtype);
    if (p->want_max_sum) out->output_bytes += rows * (double)p->stats_replicas * 2 * sizeof(float);
    if (p->want_lse) out->output_bytes += rows * sizeof(float);
    if (p->mask.present)
        out->mask_bytes += cells(p, seq, p->mask.head_stride, seq->mask_row_stride);
    if (p->bias.kind == BIAS_TENSOR || p->bias.kind == BIAS_COMPRESSED)
        out->mask_bytes +=
            cells(p, seq, seq->bias_head_stride, seq->bias_row_stride) * size_of(p->bias.dtype);
}

/* Every backend of the build is asked, those that the context does not allow too. */
static void ask_all(const fattn_context *context, const fattn_problem *problem,
                    const fattn_backend *chosen, fattn_explanation *out)
{
    const fattn_backend *backend;
    for (int i = 0; i < FATTN_EXPLAIN_BACKENDS && (backend = backend_at(i)); i++) {
        fattn_backend_answer *answer = &out->backends[out->n_backends++];
        answer->name = backend->name;
        answer->allowed = backend_allowed(context, backend);
        answer->accepts = backend->accepts(context, problem) == FATTN_OK;
        answer->chosen = backend == chosen;
        if (!answer->accepts)
            snprintf(answer->why_not, sizeof answer->why_not, "%s", fattn_error_message());
    }
}

void explain_plan(const fattn_context *context, const fattn_problem *problem,
                  const fattn_backend *backend, const void *state, size_t bytes,
                  fattn_explanation *out)
{
    static const fattn_reading nothing = {.keys = "", .values = ""};
    *out = (fattn_explanation){.size = out->size,
                               .backend = backend->name,
                               .isa = "",
                               .compute = "",
                               .threads = context->threads,
                               .sequences = problem->n_seqs,
                               .dense_mask = problem->mask.present,
                               .workspace_bytes = bytes,
                               .tile_reads = nothing,
                               .dot_reads = nothing};
    problem_print(problem, out->problem, sizeof out->problem);
    for (int64_t s = 0; s < problem->n_seqs; s++) count_seq(problem, &problem->seqs[s], out);
    out->flops = 2.0 * (double)(problem->d_qk + problem->d_v) * out->visible_pairs;
    ask_all(context, problem, backend, out);
    backend->explain(problem, state, out);
}
