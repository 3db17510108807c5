/* SPDX-License-Identifier: Apache-2.0 */
/* infer_dtypes.c — which kind of quantised call it is, the dtypes that go with it, and that of the result
 * (spec inference 4). */
#include "api/infer.h"
#include "base/error.h"
#include "base/mutant.h"
#include "core/element.h"

enum { MLA_QUERY_MODE = 3 };
enum { CODE_I8 = 1, CODE_F16 = 5, CODE_BF16 = 15, CODE_E5M2 = 23, CODE_E4M3 = 24, CODE_HIF8 = 290 };

/* int32 keys hold eight int4 columns each. */
static fattn_dtype stored_dtype(const fattn_tensor *tensor)
{
    return tensor->dtype == FATTN_I32 ? MUTANT(213, FATTN_I4, FATTN_I8) : tensor->dtype;
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

infer_quant_kind infer_kind(const infer_args *a)
{
    const infer_quant_args *q = &a->quant;
    if (!element_is_float(a->query->dtype))
        return a->query_rope || q->query_scale.tensor ? QUANT_MLA : QUANT_FULL;
    if (element_is_float(key_of(a)->dtype)) return QUANT_NONE;
    const bool guide = q->score_scale.tensor && !q->both_scale.tensor && !infer_separate(q);
    return guide ? QUANT_GUIDE : QUANT_KV;
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
    call->quant = infer_kind(a);
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
