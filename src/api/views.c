/* SPDX-License-Identifier: Apache-2.0 */
/* views.c — what was read becomes the views of the problem: dtypes, strides, the output. */
#include "api/inputs.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

/* ---- dtypes, views, outputs ---------------------------------------------------------------------
 */

fattn_status inputs_dtypes(fattn_inputs *in)
{
    const struct {
        const char *name;
        const fattn_tensor *tensor;
    } all[] = {{"query", in->query},
               {"key", in->key},
               {"value", in->value},
               {"query_rope", in->query_rope},
               {"key_rope", in->key_rope},
               {"key_shared_prefix", in->key_shared},
               {"value_shared_prefix", in->value_shared}};
    const fattn_dtype dtype = in->query->dtype;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!all[i].tensor) continue;
        const fattn_dtype got = all[i].tensor->dtype;
        REQUIRE(got == FATTN_F32 || got == FATTN_F16 || got == FATTN_BF16 || got == FATTN_F64,
                FATTN_E_DTYPE, "%s: dtype %s is none of f32, f16, bf16, f64", all[i].name,
                fattn_dtype_name(got));
        REQUIRE(got == dtype, FATTN_E_DTYPE,
                "%s: dtype %s differs from query's %s; they must be equal", all[i].name,
                fattn_dtype_name(got), fattn_dtype_name(dtype));
    }
    in->kv_dtype = in->out_dtype = dtype;
    return FATTN_OK;
}

int64_t keys_columns(const fattn_inputs *in, int64_t extent)
{
    int64_t columns;
    return i64_mul(extent, element_pack(in->kv_dtype), &columns) ? columns : INT64_MAX;
}

fattn_status keys_axes(const fattn_inputs *in, fattn_axes *axes, const char *letters,
                       const fattn_tensor *tensor, const char *name)
{
    TRY(letters ? layout_read(axes, letters, tensor, in->n_kv_heads, name)
                : layout_read_nz(axes, tensor, name));
    axes->d = keys_columns(in, axes->d);
    return FATTN_OK;
}

static fattn_part part_of(const fattn_axes *axes, bool packed, bool paged)
{
    return (fattn_part){.d = axes->d,
                        .batch_stride = MUTANT(84, packed || paged, true) ? 0 : axes->b_stride,
                        .head_stride = axes->n_stride,
                        .row_stride = axes->s_stride,
                        .col_stride = axes->d_stride,
                        .page_stride = paged ? axes->b_stride : 0,
                        .chunk = axes->chunk,
                        .chunk_stride = axes->chunk_stride};
}

static fattn_view view_of(const fattn_inputs *in, fattn_dtype dtype, const fattn_axes *axes,
                          const fattn_axes *rope, bool paged)
{
    fattn_view view = {.dtype = dtype,
                       .rope_dtype = in->query_rope && rope ? in->query_rope->dtype : dtype,
                       .n_parts = in->query_rope && rope ? 2 : 1,
                       .page_rows = paged ? axes->s : 0,
                       .n_pages = paged ? axes->b : 0};
    view.part[0] = part_of(axes, in->packed, paged);
    if (view.n_parts == 2) view.part[1] = part_of(rope, in->packed, paged);
    return view;
}

/* Strides of every tensor of a list. */
static fattn_status fill_list(const fattn_inputs *in, const fattn_tensor_array *list,
                              const char *name, fattn_arena *arena, fattn_view *view)
{
    fattn_part *parts = arena_alloc(arena, (size_t)list->count, sizeof *parts);
    REQUIRE(parts, FATTN_E_NOMEM, "out of memory: %lld sequences; a smaller batch would fit",
            LL(list->count));
    for (int64_t b = 0; b < list->count; b++) {
        fattn_axes axes;
        TRY(keys_axes(in, &axes, in->letters, list->data[b], name));
        parts[b] = part_of(&axes, false, false);
    }
    view->list = parts;
    return FATTN_OK;
}

fattn_status inputs_fill(const fattn_inputs *in, fattn_arena *arena, fattn_problem *problem)
{
    problem->n_heads = in->n_heads;
    problem->n_kv_heads = in->n_kv_heads;
    problem->group = in->n_heads / in->n_kv_heads;
    problem->d_qk = in->q.d + (in->query_rope ? in->q_rope.d : 0);
    problem->d_v = in->v.d;
    problem->q = view_of(in, in->query->dtype, &in->q, &in->q_rope, false);
    problem->k = view_of(in, in->kv_dtype, &in->k, &in->k_rope, in->paged);
    problem->v = view_of(in, in->kv_dtype, &in->v, NULL, in->paged);
    if (in->key_shared) { /* batch 1: no batch stride */
        problem->k_shared = view_of(in, in->kv_dtype, &in->k_shared, NULL, false);
        problem->v_shared = view_of(in, in->kv_dtype, &in->v_shared, NULL, false);
    }
    if (!in->listed) return FATTN_OK;
    TRY(fill_list(in, &in->key_list, "key_list", arena, &problem->k));
    return fill_list(in, &in->value_list, "value_list", arena, &problem->v);
}

fattn_tensor inputs_output(const fattn_inputs *in)
{
    int64_t shape[FATTN_MAX_RANK];
    const int rank = layout_shape(shape, in->out_letters, in->q.b, in->q.s, in->n_heads, in->v.d);
    return fattn_tensor_contiguous(NULL, in->out_dtype, rank, shape);
}

fattn_status output_check(const fattn_tensor *given, const fattn_tensor *wanted, const char *name)
{
    char got[TEXT_SIZE], want[TEXT_SIZE];
    tensor_print(given, got, sizeof got);
    tensor_print(wanted, want, sizeof want);
    REQUIRE(given->dtype == wanted->dtype, FATTN_E_DTYPE, "%s: %s must be %s", name, got, want);
    bool same = given->rank == wanted->rank;
    for (int i = 0; same && i < wanted->rank; i++) same = given->shape[i] == wanted->shape[i];
    REQUIRE(same, FATTN_E_SHAPE, "%s: %s must be %s", name, got, want);
    return FATTN_OK;
}

fattn_status output_part(const fattn_inputs *in, const output_kind *kind, const fattn_tensor *given,
                         fattn_view *view)
{
    fattn_axes axes;
    TRY(output_check(given, &kind->wanted, kind->name));
    TRY(layout_read(&axes, kind->letters, given, kind->heads, kind->name));
    view->dtype = given->dtype;
    view->part[view->n_parts++] = part_of(&axes, in->packed, false);
    return FATTN_OK;
}

fattn_status output_fill(const fattn_inputs *in, const fattn_tensor *attention_out, bool any_shape,
                         fattn_problem *problem)
{
    const output_kind kind = {"attention_out", in->out_letters, in->n_heads, inputs_output(in)};
    const fattn_tensor *out = attention_out ? attention_out : &kind.wanted;
    TRY(tensor_check(&kind.wanted, kind.name, false));
    if (any_shape && out->dtype == kind.wanted.dtype && tensor_contiguous(out) &&
        tensor_elements(out) == tensor_elements(&kind.wanted))
        out = &kind.wanted; /* another view of the same memory */
    return output_part(in, &kind, out, &problem->out);
}
