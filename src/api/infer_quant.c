/* SPDX-License-Identifier: Apache-2.0 */
/* infer_quant.c — quantised inference: which kind of call it is, the dtypes that go with it, and scales and
 * offsets as grids (spec inference 4).
 *
 * Keys and values mean (x + offset) * scale; two styles of parameters and the guide's own form end in the
 * same two sides. A full int8 call multiplies its scores by dequant_scale1 and its result by quant_scale1 *
 * dequant_scale2; between them the weights stay fp32, where the device rounds them to int8. */
#include <stdio.h>
#include <string.h>

#include "api/infer.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/messages.h"
#include "base/mutant.h"
#include "core/element.h"

enum { GROUP_COLUMNS = 32, MLA_QUERY_MODE = 3 };
enum { CODE_I8 = 1, CODE_F16 = 5, CODE_BF16 = 15, CODE_E5M2 = 23, CODE_E4M3 = 24, CODE_HIF8 = 290 };

/* ---- what kind of call -------------------------------------------------------------------------- */

/* int32 keys hold eight int4 columns each. */
static fattn_dtype stored_dtype(const fattn_tensor *tensor)
{
    return tensor->dtype == FATTN_I32 ? FATTN_I4 : tensor->dtype;
}

static const fattn_tensor *first_of(const fattn_tensor *tensor, const fattn_tensor_array *list)
{
    return list->count > 0 ? list->data[0] : tensor;
}

static const fattn_tensor *key_of(const infer_args *a) { return first_of(a->key, &a->key_list); }
static const fattn_tensor *value_of(const infer_args *a)
{
    return first_of(a->value, &a->value_list);
}

static bool has_separate(const infer_quant_args *q)
{
    return q->scale[SIDE_KEY].tensor || q->scale[SIDE_VALUE].tensor;
}

static infer_quant_kind kind_of(const infer_args *a)
{
    const infer_quant_args *q = &a->quant;
    if (!element_is_float(a->query->dtype))
        return a->query_rope || q->query_scale.tensor ? QUANT_MLA : QUANT_FULL;
    if (element_is_float(key_of(a)->dtype)) return QUANT_NONE;
    const bool guide = q->score_scale.tensor && !q->both_scale.tensor && !has_separate(q);
    return guide ? QUANT_GUIDE : QUANT_KV;
}

/* The scale and offset of one side: the separate style before the combined one. */
static infer_antiquant side_of(const infer_args *a, infer_quant_kind kind, int side)
{
    const infer_quant_args *q = &a->quant;
    if (kind == QUANT_GUIDE) return (infer_antiquant){.scale = q->score_scale, .axis0 = -1};
    if (kind == QUANT_FULL) return (infer_antiquant){.scale = q->out_factor, .axis0 = -1};
    if (has_separate(q) || !q->both_scale.tensor)
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

/* ---- dtypes ------------------------------------------------------------------------------------- */

static fattn_status check_computed(const char *name, const fattn_tensor *tensor)
{
    REQUIRE(!tensor || tensor->dtype != FATTN_HIF8, FATTN_E_UNSUPPORTED,
            "%s: dtype hif8 (hifloat8) is not computed; e4m3 is the 8-bit float that is", name);
    return FATTN_OK;
}

static fattn_status check_names(const infer_args *a)
{
    TRY(check_computed("query", a->query));
    TRY(check_computed("key", key_of(a)));
    TRY(check_computed("value", value_of(a)));
    REQUIRE(a->quant.out_dtype != CODE_HIF8, FATTN_E_UNSUPPORTED,
            "out_dtype: 290 (hifloat8) is not computed; 24 is e4m3, 23 e5m2");
    return FATTN_OK;
}

/* An unquantised call has none of the parameters. */
static fattn_status check_none(const infer_args *a)
{
    const infer_quant_args *q = &a->quant;
    const infer_param antiquant[] = {q->scale[SIDE_KEY], q->scale[SIDE_VALUE], q->both_scale};
    for (size_t i = 0; i < sizeof antiquant / sizeof antiquant[0]; i++)
        REQUIRE(!antiquant[i].tensor, FATTN_E_ARG,
                "%s: given with key of dtype %s; it belongs to quantised keys and values: leave it "
                "out",
                antiquant[i].name, fattn_dtype_name(key_of(a)->dtype));
    return FATTN_OK;
}

/* Modes and offsets without their scales. */
static fattn_status check_scales_given(const infer_args *a)
{
    const infer_quant_args *q = &a->quant;
    const struct {
        const char *name;
        int64_t mode;
        const infer_param *scale, *offset;
    } all[] = {
        {q->mode_name[SIDE_KEY], q->mode[SIDE_KEY], &q->scale[SIDE_KEY], &q->offset[SIDE_KEY]},
        {q->mode_name[SIDE_VALUE], q->mode[SIDE_VALUE], &q->scale[SIDE_VALUE],
         &q->offset[SIDE_VALUE]},
        {q->both_mode_name, q->both_mode, &q->both_scale, &q->both_offset}};
    for (int i = 0; i < 3; i++) {
        REQUIRE(all[i].scale->tensor || all[i].mode == 0, FATTN_E_ARG,
                "%s: %lld without %s; it tells how that goes with the keys: give 0", all[i].name,
                LL(all[i].mode), all[i].scale->name);
        REQUIRE(all[i].scale->tensor || !all[i].offset->tensor, FATTN_E_ARG,
                "%s: given without %s; an offset goes with a scale", all[i].offset->name,
                all[i].scale->name);
    }
    return FATTN_OK;
}

/* The three of full int8: together, and with an int8 query only. The guide's form has the first. */
static fattn_status check_full(const infer_args *a, infer_quant_kind kind)
{
    const infer_quant_args *q = &a->quant;
    const infer_param three[] = {q->score_scale, q->p_scale, q->out_factor};
    for (int i = 0; i < 3; i++) {
        const bool given = three[i].tensor != NULL;
        REQUIRE(kind != QUANT_FULL || given, FATTN_E_ARG,
                "%s: missing; an int8 query needs %s, %s and %s",
                three[i].name ? three[i].name : "dequant_scale1",
                three[0].name ? three[0].name : "dequant_scale1",
                three[1].name ? three[1].name : "quant_scale1",
                three[2].name ? three[2].name : "dequant_scale2");
        REQUIRE(kind == QUANT_FULL || (kind == QUANT_GUIDE && i == 0) || !given, FATTN_E_ARG,
                "%s: given with query of dtype %s; it goes with an int8 query only: leave it out",
                three[i].name, fattn_dtype_name(a->query->dtype));
    }
    return FATTN_OK;
}

static fattn_status check_query_scale(const infer_args *a, infer_quant_kind kind)
{
    const infer_param *scale = &a->quant.query_scale;
    REQUIRE(kind == QUANT_MLA || !scale->tensor, FATTN_E_ARG,
            "%s: given with query of dtype %s; it goes with a quantised query only: leave it out",
            scale->name, fattn_dtype_name(a->query->dtype));
    REQUIRE(kind == QUANT_MLA || a->quant.query_mode == 0, FATTN_E_ARG,
            "query_quant_mode: %lld with query of dtype %s; it goes with a quantised query only: "
            "give 0",
            LL(a->quant.query_mode), fattn_dtype_name(a->query->dtype));
    if (kind != QUANT_MLA) return FATTN_OK;
    REQUIRE(scale->tensor, FATTN_E_ARG,
            "dequant_scale_query: missing; a quantised query with rope parts needs it (and "
            "fused_infer_attention_score_v2)");
    REQUIRE(a->quant.query_mode == MLA_QUERY_MODE, FATTN_E_ARG,
            "query_quant_mode: %lld; a quantised query has mode 3, one scale per row and head",
            LL(a->quant.query_mode));
    REQUIRE(a->query_rope && a->key_rope, FATTN_E_ARG,
            "dequant_scale_query: given without query_rope and key_rope; they come together");
    return FATTN_OK;
}

/* Keys and values of `wanted`, rope parts of a float dtype. */
static fattn_status check_rest(const infer_args *a, fattn_dtype wanted, fattn_dtype rope)
{
    const struct {
        const char *name;
        const fattn_tensor *tensor;
        fattn_dtype dtype;
    } all[] = {{"key", key_of(a), wanted},
               {"value", value_of(a), wanted},
               {"key_shared_prefix", a->key_shared_prefix, wanted},
               {"value_shared_prefix", a->value_shared_prefix, wanted},
               {"query_rope", a->query_rope, rope},
               {"key_rope", a->key_rope, rope}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        REQUIRE(!all[i].tensor || stored_dtype(all[i].tensor) == all[i].dtype, FATTN_E_DTYPE,
                "%s: dtype %s; in this quantised call it must be %s", all[i].name,
                fattn_dtype_name(all[i].tensor->dtype), fattn_dtype_name(all[i].dtype));
    return FATTN_OK;
}

static fattn_status check_quantised(const infer_args *a, infer_quant_kind kind, fattn_dtype *kv)
{
    const fattn_dtype query = a->query->dtype;
    fattn_dtype rope = query;
    *kv = stored_dtype(key_of(a));
    if (kind == QUANT_FULL) {
        REQUIRE(query == FATTN_I8, FATTN_E_DTYPE,
                "query: dtype %s; f32, f16, bf16, i8, or with rope parts e4m3, is computed",
                fattn_dtype_name(query));
        *kv = query;
    } else if (kind == QUANT_MLA) {
        REQUIRE(query == FATTN_I8 || query == FATTN_E4M3, FATTN_E_DTYPE,
                "query: dtype %s; with rope parts and quantised it is i8 or e4m3",
                fattn_dtype_name(query));
        *kv = query;
        rope = a->query_rope->dtype;
        REQUIRE(rope == FATTN_BF16 || rope == FATTN_F16 || rope == FATTN_F32, FATTN_E_DTYPE,
                "query_rope: dtype %s; beside a quantised query it is bf16, f16 or f32",
                fattn_dtype_name(rope));
    }
    REQUIRE(element_is_quantised(*kv), FATTN_E_DTYPE,
            "key: dtype %s is neither query's nor one of i8, i4, i32 (eight int4), e4m3, e5m2, "
            "e2m1, e1m2",
            fattn_dtype_name(key_of(a)->dtype));
    return check_rest(a, *kv, rope);
}

/* NONE: no dtype has this code. */
static fattn_dtype dtype_of_code(int64_t code)
{
    switch (code) {
    case CODE_I8:
        return FATTN_I8;
    case CODE_F16:
        return FATTN_F16;
    case CODE_BF16:
        return FATTN_BF16;
    case CODE_E5M2:
        return FATTN_E5M2;
    case CODE_E4M3:
        return FATTN_E4M3;
    default:
        return FATTN_DTYPE_NONE;
    }
}

fattn_dtype infer_out_dtype(const infer_args *a)
{
    const fattn_dtype query = a->query->dtype;
    const fattn_dtype asked =
        a->quant.out_dtype == -1 ? FATTN_DTYPE_NONE : dtype_of_code(a->quant.out_dtype);
    if (a->quant.out_scale.tensor) return asked ? asked : FATTN_I8;
    if (element_is_float(query)) return query;
    if (asked) return asked;
    return a->query_rope ? a->query_rope->dtype : FATTN_F16;
}

static fattn_status check_out(const infer_args *a)
{
    const infer_quant_args *q = &a->quant;
    const fattn_dtype out = infer_out_dtype(a), asked = dtype_of_code(q->out_dtype);
    const bool small = out == FATTN_I8 || out == FATTN_E4M3 || out == FATTN_E5M2;
    REQUIRE(q->out_dtype == -1 || asked, FATTN_E_ARG,
            "out_dtype: %lld is no type code of a result; 1 is i8, 5 f16, 15 bf16, 23 e5m2, 24 e4m3",
            LL(q->out_dtype));
    REQUIRE(!asked || asked == out, FATTN_E_ARG,
            "out_dtype: %lld (%s) without an output scale; the result has query's dtype, %s",
            LL(q->out_dtype), fattn_dtype_name(asked), fattn_dtype_name(out));
    REQUIRE(small == (q->out_scale.tensor != NULL), FATTN_E_ARG,
            "out_dtype: %lld (%s); with an output scale the result is i8, e4m3 or e5m2, without one "
            "a float",
            LL(q->out_dtype), fattn_dtype_name(out));
    REQUIRE(!q->out_offset.tensor || q->out_scale.tensor, FATTN_E_ARG,
            "%s: given without %s; the result is not quantised then: leave it out",
            q->out_offset.name, q->out_scale.name);
    return FATTN_OK;
}

fattn_status infer_check_out(const infer_args *a)
{
    const fattn_tensor *out = a->attention_out;
    REQUIRE(!a->quant.out_scale.tensor || !out || !element_is_float(out->dtype), FATTN_E_DTYPE,
            "%s: given with attention_out of dtype %s; it goes with a quantised output only, %s here: "
            "leave it out",
            a->quant.out_scale.name, fattn_dtype_name(out->dtype),
            fattn_dtype_name(infer_out_dtype(a)));
    return FATTN_OK;
}

static void warn_guide_form(const infer_call *call)
{
    if (call->quant == QUANT_GUIDE)
        context_warn(call->context, WARN_KV_BY_DEQUANT_SCALE1,
                     "dequant_scale1: taken as the scale of %s keys and values, which have none; the "
                     "device wants antiquant_scale for that and refuses the call",
                     fattn_dtype_name(call->in.kv_dtype));
}

fattn_status infer_dtypes(infer_call *call)
{
    const infer_args *a = call->args;
    fattn_inputs *in = &call->in;
    TRY(check_names(a));
    call->quant = kind_of(a);
    TRY(check_full(a, call->quant));
    TRY(check_query_scale(a, call->quant));
    TRY(check_scales_given(a));
    TRY(check_out(a));
    if (call->quant == QUANT_NONE) {
        TRY(inputs_dtypes(in));
        TRY(check_none(a));
    } else {
        TRY(check_quantised(a, call->quant, &in->kv_dtype));
    }
    in->out_dtype = infer_out_dtype(a);
    warn_guide_form(call);
    return FATTN_OK;
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

static fattn_status read_kv(infer_call *call, fattn_problem *problem)
{
    for (int side = 0; side < SIDES; side++) {
        call->antiquant[side] = side_of(call->args, call->quant, side);
        TRY(infer_mode(call, &call->antiquant[side]));
    }
    TRY(check_pair(call));
    TRY(read_side(call, &call->antiquant[SIDE_KEY], call->in.k.d, &problem->k_affine));
    return read_side(call, &call->antiquant[SIDE_VALUE], call->in.v.d, &problem->v_affine);
}

/* One number; the device's packed scales are 64 bits with an fp32 in the low half. */
static fattn_status read_factor(const infer_param *p, bool packed, fattn_grid *grid)
{
    char shape[TEXT_SIZE];
    const bool dtype = p->tensor->dtype == FATTN_F32 || (packed && p->tensor->dtype == FATTN_I64);
    REQUIRE(tensor_elements(p->tensor) == 1 && dtype, FATTN_E_SHAPE,
            "%s: %s must be one number, f32%s", p->name,
            tensor_print(p->tensor, shape, sizeof shape),
            packed ? message_say(" (or i64 with the bits of an f32 in its low half)") : "");
    *grid = (fattn_grid){.dtype = p->tensor->dtype, .col_group = 1};
    return FATTN_OK;
}

static fattn_status read_full(const infer_call *call, fattn_problem *problem)
{
    const infer_quant_args *q = &call->args->quant;
    TRY(read_factor(&q->score_scale, true, &problem->score_scale));
    TRY(read_factor(&q->p_scale, false, &problem->p_scale));
    return read_factor(&q->out_factor, true, &problem->v_affine.scale);
}

/* dequant_scale_query: query without its columns. */
static fattn_status read_query_scale(const infer_call *call, fattn_grid *grid)
{
    const infer_param *p = &call->args->quant.query_scale;
    char letters[LETTERS_MAX], shape[TEXT_SIZE];
    int n = 0;
    for (const char *l = call->in.letters; *l; l++)
        if (*l != 'D') letters[n++] = *l == 'H' ? 'N' : *l;
    letters[n] = '\0';
    fattn_axes axes;
    TRY(layout_read(&axes, letters, p->tensor, call->in.n_heads, p->name));
    const fattn_axes *q = &call->in.q;
    REQUIRE(p->tensor->dtype == FATTN_F32 && axes.b == q->b && axes.s == q->s && axes.n == q->n,
            FATTN_E_SHAPE,
            "%s: %s must be f32 with the shape of query less its columns: batch %lld, %lld rows, %lld "
            "heads",
            p->name, tensor_print(p->tensor, shape, sizeof shape), LL(q->b), LL(q->s), LL(q->n));
    *grid = (fattn_grid){.dtype = FATTN_F32,
                         .batch_stride = call->in.packed ? 0 : axes.b_stride,
                         .head_stride = axes.n_stride,
                         .row_stride = axes.s_stride,
                         .col_group = 1};
    return FATTN_OK;
}

static fattn_status read_mla(const infer_call *call, fattn_problem *problem)
{
    const infer_quant_args *q = &call->args->quant;
    for (int side = 0; side < SIDES; side++) {
        const infer_param *scale = &q->scale[side];
        REQUIRE(scale->tensor, FATTN_E_ARG,
                "%s: missing; dequant_scale_query, dequant_scale_key and dequant_scale_value come "
                "together",
                scale->name);
        REQUIRE(!q->offset[side].tensor, FATTN_E_ARG,
                "%s: given with dequant_scale_query; such a call has no offsets: leave it out",
                q->offset[side].name);
        REQUIRE(q->mode[side] == 0, FATTN_E_ARG,
                "%s: %lld with dequant_scale_query; such a call has one scale for all: give 0",
                q->mode_name[side], LL(q->mode[side]));
    }
    TRY(read_query_scale(call, &problem->q_scale));
    TRY(read_factor(&q->scale[SIDE_KEY], false, &problem->score_scale));
    return read_factor(&q->scale[SIDE_VALUE], false, &problem->v_affine.scale);
}

/* One number or one per head and column of the result, in this order. */
static fattn_status read_out(const infer_call *call, const infer_param *p, fattn_grid *grid)
{
    const fattn_tensor *t = p->tensor;
    const int64_t n = call->in.n_heads, d = call->in.v.d;
    char shape[TEXT_SIZE];
    if (!t) return FATTN_OK;
    tensor_print(t, shape, sizeof shape);
    const int64_t count = tensor_elements(t);
    REQUIRE(t->dtype == FATTN_F32 || t->dtype == FATTN_BF16 || t->dtype == FATTN_F16,
            FATTN_E_DTYPE, "%s: dtype %s; it must be f32, f16 or bf16", p->name,
            fattn_dtype_name(t->dtype));
    REQUIRE(count == 1 || (count == n * d && tensor_contiguous(t)), FATTN_E_SHAPE,
            "%s: %s must be one number, or contiguous with %lld: a number for each column of each "
            "head",
            p->name, shape, LL(n * d));
    const bool one = MUTANT(201, count == 1, true);
    *grid = (fattn_grid){.dtype = t->dtype,
                         .head_stride = one ? 0 : d,
                         .col_stride = one ? 0 : 1,
                         .col_group = 1};
    return FATTN_OK;
}

static fattn_status read_output(const infer_call *call, fattn_problem *problem)
{
    const infer_param *scale = &call->args->quant.out_scale, *offset = &call->args->quant.out_offset;
    TRY(read_out(call, scale, &problem->out_affine.scale));
    REQUIRE(!offset->tensor || (offset->tensor->dtype == scale->tensor->dtype &&
                                tensor_elements(offset->tensor) == tensor_elements(scale->tensor)),
            FATTN_E_SHAPE, "%s: it must have the dtype and the number of elements of %s",
            offset->name, scale->name);
    return read_out(call, offset, &problem->out_affine.offset);
}

fattn_status infer_quant(infer_call *call, fattn_problem *problem)
{
    if (call->quant == QUANT_KV || call->quant == QUANT_GUIDE) TRY(read_kv(call, problem));
    if (call->quant == QUANT_FULL) TRY(read_full(call, problem));
    if (call->quant == QUANT_MLA) TRY(read_mla(call, problem));
    return read_output(call, problem);
}

/* ---- addresses ---------------------------------------------------------------------------------- */

static const void *data_of(const infer_param *p, int axis0)
{
    const fattn_tensor *t = p->tensor;
    if (!t) return NULL;
    const int64_t at = axis0 > 0 ? MUTANT(202, axis0, 0) * t->strides[0] : 0;
    return (const char *)t->data + at * (int64_t)fattn_dtype_size(t->dtype);
}

void infer_quant_bind(const infer_args *a, fattn_ptrs *ptrs)
{
    const infer_quant_args *q = &a->quant;
    if (infer_no_query(a)) return;
    const infer_quant_kind kind = kind_of(a);
    ptrs->out_scale = data_of(&q->out_scale, -1);
    ptrs->out_offset = data_of(&q->out_offset, -1);
    if (kind == QUANT_NONE) return;
    const infer_antiquant k = side_of(a, kind, SIDE_KEY), v = side_of(a, kind, SIDE_VALUE);
    const bool own = kind == QUANT_KV || kind == QUANT_GUIDE; /* of the keys; else of the scores */
    ptrs->k_scale = own ? data_of(&k.scale, k.axis0) : NULL;
    ptrs->k_offset = own ? data_of(&k.offset, k.axis0) : NULL;
    ptrs->v_scale = data_of(&v.scale, v.axis0);
    ptrs->v_offset = own ? data_of(&v.offset, v.axis0) : NULL;
    ptrs->q_scale = kind == QUANT_MLA ? data_of(&q->query_scale, -1) : NULL;
    ptrs->score_scale = kind == QUANT_FULL  ? data_of(&q->score_scale, -1)
                        : kind == QUANT_MLA ? data_of(&q->scale[SIDE_KEY], -1)
                                            : NULL;
    ptrs->p_scale = kind == QUANT_FULL ? data_of(&q->p_scale, -1) : NULL;
}
