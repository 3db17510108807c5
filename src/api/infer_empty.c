/* SPDX-License-Identifier: Apache-2.0 */
/* infer_empty.c — a query without elements is answered at once, with outputs that have none either
 * (spec inference 11.1): ranks of a data-parallel job that have nothing to do make such calls, with
 * whatever else is at hand. The form of every argument, layout, rank and heads of the query, the
 * scale and the outputs are checked; how keys, lengths, masks and modes fit is not. */
#include <string.h>

#include "api/infer.h"
#include "base/error.h"
#include "base/mutant.h"
#include "core/element.h"
#include "core/layout.h"

bool infer_no_query(const infer_args *args) { return tensor_elements(args->query) == 0; }

/* The head dim of value as its rank tells it, query's where that is none (spec 2.1). */
static int64_t value_columns(const fattn_inputs *in)
{
    enum { CACHE_BNBSH = 3, CACHE_BNNBSD = 4, CACHE_NZ = 5 };
    const fattn_tensor *v = in->value;
    const int rank = v->rank;
    const bool by_layout = !in->paged && rank == (int)strlen(in->letters);
    const int64_t heads = in->kv_heads > 0 ? in->kv_heads : in->n_heads;
    int64_t columns = 0;
    if (in->paged ? rank == CACHE_BNBSH : by_layout && strchr(in->letters, 'H'))
        columns = v->shape[rank - 1] / heads;
    else if (in->paged ? rank == CACHE_BNNBSD : by_layout)
        columns = v->shape[rank - 1];
    else if (in->paged && rank == CACHE_NZ)
        columns = v->shape[2] * v->shape[4];
    return columns > 0 ? columns : in->q.d;
}

/* The call goes on as one whose keys are as empty as its query. */
fattn_status infer_read_empty(infer_call *call)
{
    fattn_inputs *in = &call->in;
    fattn_inputs query = {.query = in->query};
    in->out_dtype = infer_out_dtype(call->args);
    in->kv_dtype = in->query->dtype;
    if (!element_is_quantised(in->query->dtype)) TRY(inputs_dtypes(&query));
    in->k = in->v = in->q;
    in->v.d = MUTANT(141, value_columns(in), in->q.d);
    in->n_kv_heads = in->n_heads;
    in->query_rope = in->key_rope = in->key_shared = in->value_shared = NULL;
    in->paged = in->listed = false;
    call->empty = true;
    return FATTN_OK;
}
