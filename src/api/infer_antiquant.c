/* SPDX-License-Identifier: Apache-2.0 */
/* infer_antiquant.c — scales and offsets of quantised keys and values as grids (spec inference 4.4, 4.5).
 *
 * A stored x means (x + offset) * scale. Two styles of parameters and the guide's own form end in the same
 * two sides. */
#include <stdio.h>
#include <string.h>

#include "api/infer.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"

enum { GROUP_COLUMNS = 32 };

/* The scale and offset of one side: the separate style before the combined one. */
infer_antiquant infer_side(const infer_args *a, infer_quant_kind kind, int side)
{
    const infer_quant_args *q = &a->quant;
    if (kind == QUANT_GUIDE) return (infer_antiquant){.scale = q->score_scale, .axis0 = -1};
    if (kind == QUANT_FULL) return (infer_antiquant){.scale = q->out_factor, .axis0 = -1};
    if (infer_separate(q) || !q->both_scale.tensor)
        return (infer_antiquant){.scale = q->scale[side],
                                 .offset = q->offset[side],
                                 .mode = q->mode[side],
                                 .mode_name = q->mode_name[side],
                                 .axis0 = -1};
    return (infer_antiquant){.scale = q->both_scale,
                             .offset = q->both_offset,
                             .mode = q->both_mode,
                             .mode_name = q->both_mode_name,
                             .axis0 = side};
}

/* ---- grids -------------------------------------------------------------------------------------- */

/* Numbers that a scale may be. */
static fattn_status check_grid_dtype(const infer_call *call, const infer_param *p, int64_t mode)
{
    const fattn_dtype dtype = p->tensor->dtype;
    const bool group = mode == ANTIQUANT_GROUP;
    const bool exponent = dtype == FATTN_E8M0 || dtype == FATTN_U8;
    REQUIRE(!group || exponent, FATTN_E_DTYPE,
            "%s: dtype %s; mode 6 has e8m0 scales (or their bytes as u8)", p->name,
            fattn_dtype_name(dtype));
    REQUIRE(group || dtype == FATTN_F32 || dtype == FATTN_F16 || dtype == FATTN_BF16 ||
                inputs_is_f32(&call->in, p->tensor),
            FATTN_E_DTYPE, "%s: dtype %s; it must be f32, f16 or bf16", p->name,
            fattn_dtype_name(dtype));
    return FATTN_OK;
}

/* A tensor without its axes of extent 1 and, in the combined style, without the first. */
typedef struct squeezed {
    int rank;
    int64_t shape[FATTN_MAX_RANK], strides[FATTN_MAX_RANK];
} squeezed;

static squeezed squeeze(const fattn_tensor *t, bool combined)
{
    squeezed s = {0};
    for (int i = combined; i < t->rank; i++) {
        if (t->shape[i] == 1) continue;
        s.shape[s.rank] = t->shape[i];
        s.strides[s.rank++] = t->strides[i];
    }
    return s;
}

static bool read_channels(const squeezed *s, int64_t heads, int64_t d, fattn_grid *grid)
{
    if (s->rank == 0) return true;
    if (s->rank == 1) {
        grid->head_stride = d * s->strides[0];
        grid->col_stride = s->strides[0];
        return s->shape[0] == heads * d;
    }
    grid->head_stride = s->strides[0];
    grid->col_stride = s->strides[1];
    return s->rank == 2 && s->shape[0] == heads && s->shape[1] == d;
}

static bool read_heads(const squeezed *s, int64_t heads, fattn_grid *grid)
{
    grid->head_stride = s->rank ? s->strides[0] : 0;
    return s->rank == 0 ? heads == 1 : s->rank == 1 && s->shape[0] == heads;
}

/* The axes of per-token scales by letter: B batch, N heads, S keys (at least), P blocks, R rows of a
 * block, G groups of columns. */
static bool read_axes(const infer_call *call, const fattn_tensor *t, int first, const char *axes,
                      int64_t d, fattn_grid *grid)
{
    const int64_t keys = infer_kv_cols(call);
    if (t->rank == first + (int)strlen(axes) + 1 && t->shape[first] == 1) first++;
    if (t->rank != first + (int)strlen(axes)) return false;
    for (int i = first; *axes; i++, axes++) {
        const int64_t extent = t->shape[i], stride = extent > 1 ? t->strides[i] : 0;
        const bool fits = *axes == 'B'   ? extent == call->n_batch
                          : *axes == 'N' ? extent == call->in.n_kv_heads
                          : *axes == 'S' ? extent >= keys
                          : *axes == 'P' ? extent == call->in.k.b
                          : *axes == 'R' ? extent == call->in.k.s
                                         : extent == i64_div_up(d, GROUP_COLUMNS);
        if (!MUTANT(200, fits, true)) return false;
        if (*axes == 'B') grid->batch_stride = stride;
        if (*axes == 'N') grid->head_stride = stride;
        if (*axes == 'S' || *axes == 'R') grid->row_stride = stride;
        if (*axes == 'P') grid->page_stride = stride;
        if (*axes == 'G') grid->col_stride = stride, grid->col_group = GROUP_COLUMNS;
    }
    return true;
}

static const char *const token_axes[ANTIQUANT_MODES] = {
    [ANTIQUANT_TOKEN] = "BS",      [ANTIQUANT_TOKEN_HEAD] = "BNS", [ANTIQUANT_PAGE_TOKEN] = "PR",
    [ANTIQUANT_PAGE_TOKEN_HEAD] = "PNR", [ANTIQUANT_GROUP] = "BNSG"};

/* "[2,>=100]" */
static void wanted_shape(const infer_call *call, const infer_antiquant *side, int64_t d,
                         char *text, size_t size)
{
    const long long heads = LL(call->in.n_kv_heads), batch = LL(call->n_batch);
    const int64_t keys = infer_kv_cols(call);
    const char *two = side->axis0 >= 0 ? "2," : "";
    switch (side->mode) {
    case ANTIQUANT_CHANNEL:
        snprintf(text, size, "[%s1] | [%s%lld,%lld] | [%s%lld]", two, two, heads, LL(d), two,
                 LL(d) * heads);
        break;
    case ANTIQUANT_TOKEN:
        snprintf(text, size, "[%s%lld,>=%lld]", two, batch, LL(keys));
        break;
    case ANTIQUANT_HEAD:
        snprintf(text, size, "[%lld]", heads);
        break;
    case ANTIQUANT_TOKEN_HEAD:
        snprintf(text, size, "[%lld,%lld,>=%lld]", batch, heads, LL(keys));
        break;
    case ANTIQUANT_PAGE_TOKEN:
        snprintf(text, size, "[%lld,%lld]", LL(call->in.k.b), LL(call->in.k.s));
        break;
    case ANTIQUANT_PAGE_TOKEN_HEAD:
        snprintf(text, size, "[%lld,%lld,%lld]", LL(call->in.k.b), heads, LL(call->in.k.s));
        break;
    default:
        snprintf(text, size, "[1,%lld,%lld,>=%lld,%lld]", batch, heads, LL(keys),
                 LL(i64_div_up(d, GROUP_COLUMNS)));
    }
}

static fattn_status read_grid(const infer_call *call, const infer_antiquant *side,
                              const infer_param *p, int64_t d, fattn_grid *grid)
{
    const fattn_tensor *t = p->tensor;
    const bool combined = side->axis0 >= 0;
    char shape[TEXT_SIZE], wanted[TEXT_SIZE];
    if (!t) return FATTN_OK;
    TRY(check_grid_dtype(call, p, side->mode));
    *grid = (fattn_grid){.dtype = t->dtype == FATTN_U8 ? FATTN_E8M0 : t->dtype,
                         .col_group = 1,
                         .by_page = side->mode == ANTIQUANT_PAGE_TOKEN ||
                                    side->mode == ANTIQUANT_PAGE_TOKEN_HEAD};
    bool fits = !combined || (t->rank > 0 && t->shape[0] == SIDES);
    if (fits && token_axes[side->mode]) {
        fits = read_axes(call, t, combined, token_axes[side->mode], d, grid);
    } else if (fits) {
        const squeezed s = squeeze(t, combined);
        fits = side->mode == ANTIQUANT_HEAD ? read_heads(&s, call->in.n_kv_heads, grid)
                                            : read_channels(&s, call->in.n_kv_heads, d, grid);
    }
    wanted_shape(call, side, d, wanted, sizeof wanted);
    REQUIRE(fits, FATTN_E_SHAPE, "%s: %s does not fit mode %lld; it must be %s", p->name,
            tensor_print(t, shape, sizeof shape), LL(side->mode), wanted);
    return FATTN_OK;
}

static bool same_shape(const fattn_tensor *a, const fattn_tensor *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) same = a->shape[i] == b->shape[i];
    return same;
}

static fattn_status read_side(const infer_call *call, const infer_antiquant *side, int64_t d,
                              fattn_affine *affine)
{
    const int64_t mode = side->mode;
    REQUIRE(mode >= 0 && mode < ANTIQUANT_MODES, FATTN_E_ARG, "%s: %lld is not in 0..6",
            side->mode_name, LL(mode));
    REQUIRE(side->axis0 < 0 || mode <= ANTIQUANT_TOKEN, FATTN_E_ARG,
            "%s: %lld; scales of keys and values in one tensor have mode 0 or 1",
            side->mode_name, LL(mode));
    REQUIRE((mode != ANTIQUANT_PAGE_TOKEN && mode != ANTIQUANT_PAGE_TOKEN_HEAD) ||
                (call->in.paged && call->shared_len == 0),
            FATTN_E_ARG,
            "%s: %lld has a scale per row of a block; it needs block_table and no shared prefix: "
            "mode %lld goes without",
            side->mode_name, LL(mode), LL(mode == ANTIQUANT_PAGE_TOKEN ? 1 : 3));
    REQUIRE(mode != ANTIQUANT_GROUP || !side->offset.tensor, FATTN_E_ARG,
            "%s: given in mode 6, whose scales are powers of two without offsets: leave it out",
            side->offset.name);
    TRY(read_grid(call, side, &side->scale, d, &affine->scale));
    REQUIRE(!side->offset.tensor || same_shape(side->offset.tensor, side->scale.tensor),
            FATTN_E_SHAPE, "%s: its shape must be that of %s", side->offset.name, side->scale.name);
    return read_grid(call, side, &side->offset, d, &affine->offset);
}

/* incre_flash_attention does not say which; (2,B,S) may also be (2,Nkv,D) (decisions.md). */
static fattn_status infer_mode(const infer_call *call, infer_antiquant *side)
{
    const fattn_tensor *t = side->scale.tensor;
    fattn_grid unused = {.col_group = 1};
    if (side->axis0 < 0 || side->mode_name || !t || t->rank < 1) return FATTN_OK;
    const squeezed s = squeeze(t, true);
    const bool channel = t->shape[0] == SIDES &&
                         read_channels(&s, call->in.n_kv_heads, call->in.k.d, &unused);
    const bool token = read_axes(call, t, 1, token_axes[ANTIQUANT_TOKEN], call->in.k.d, &unused);
    const bool both = channel && token && s.rank > 0;
    REQUIRE(!both || call->in.query->dtype != FATTN_F32, FATTN_E_ARG,
            "%s: its shape fits a scale per column and one per key, and the dtypes do not tell which; "
            "use fused_infer_attention_score, which has antiquant_mode",
            side->scale.name);
    const bool by_dtype = t->dtype == FATTN_F32 && call->in.query->dtype != FATTN_F32;
    const bool per_token = call->context->strict ? by_dtype && token : token && (!channel || by_dtype);
    side->mode = per_token ? ANTIQUANT_TOKEN : ANTIQUANT_CHANNEL;
    return FATTN_OK;
}

static fattn_status check_pair(const infer_call *call)
{
    const infer_antiquant *k = &call->antiquant[SIDE_KEY], *v = &call->antiquant[SIDE_VALUE];
    const char *any = k->scale.name ? k->scale.name : "antiquant_scale";
    REQUIRE(k->scale.tensor || v->scale.tensor, FATTN_E_ARG,
            "%s: missing; keys and values of dtype %s need scales", any,
            fattn_dtype_name(call->in.kv_dtype));
    REQUIRE(k->scale.tensor && v->scale.tensor, FATTN_E_ARG,
            "%s: missing; keys and values are quantised together",
            k->scale.tensor ? v->scale.name : k->scale.name);
    return FATTN_OK;
}

fattn_status infer_antiquant_read(infer_call *call, fattn_problem *problem)
{
    for (int side = 0; side < SIDES; side++) {
        call->antiquant[side] = infer_side(call->args, call->quant, side);
        TRY(infer_mode(call, &call->antiquant[side]));
    }
    TRY(check_pair(call));
    TRY(read_side(call, &call->antiquant[SIDE_KEY], call->in.k.d, &problem->k_affine));
    return read_side(call, &call->antiquant[SIDE_VALUE], call->in.v.d, &problem->v_affine);
}
