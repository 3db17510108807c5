/* SPDX-License-Identifier: Apache-2.0 */
/* ring_attention_update.c — merges two partial training results by their row maxima and sums.
 * (spec fusion-attention 10)
 *
 *   m = max(pm, cm),  a = ps exp(pm - m),  c = cs exp(cm - m),  s = a + c,  out = prev a/s + cur
 * c/s
 *
 * SBH: attn [S,B,H], stats [B,N,S,8]. TND: attn [T,N,D], stats [T,N,8], whose memory holds [N,
 * L(b), 8] per sequence unless input_softmax_layout is "TND". In double, rounded once; every
 * (token, head) is read before it is written, so an output may be the prev or cur tensor itself. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "api/arrays.h"
#include "api/operator.h"
#include "api/strict.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/layout.h"
#include "core/element.h"

typedef fattn_ring_attention_update_args ring_args;

static const fattn_operator *const op = &operator_ring_attention_update;
enum {
    REPLICAS = 8,         /* each statistic is stored this many times */
    BOUNDS_MAX = 1 << 24, /* sanity bound on actual_seq_qlen */
};

typedef struct ring {
    const ring_args *args;
    bool tnd;               /* input_layout */
    bool by_sequence;       /* TND, stats in [N, L(b), 8] blocks */
    int64_t s, b, n, d;     /* SBH: [s, b, n*d]; TND: s = T, b = 1 */
    int64_t n_bounds, skip; /* entries of actual_seq_qlen; 1 when it begins with the 0 */
} ring;

/* One side of a merge at one (token, head). */
typedef struct side {
    double max, sum;
} side;

static fattn_status read_layouts(const ring_args *a, ring *r)
{
    const char *layout = a->input_layout ? a->input_layout : "";
    const char *softmax = a->input_softmax_layout ? a->input_softmax_layout : "";
    r->tnd = strcmp(layout, "TND") == 0;
    REQUIRE(r->tnd || strcmp(layout, "SBH") == 0, FATTN_E_ARG,
            "input_layout: \"%s\" is not \"SBH\" or \"TND\"", layout);
    const bool stats_tnd = strcmp(softmax, "TND") == 0;
    REQUIRE(stats_tnd || strcmp(softmax, "") == 0 || strcmp(softmax, "SBH") == 0, FATTN_E_ARG,
            "input_softmax_layout: \"%s\" is not \"\", \"SBH\" or \"TND\"", softmax);
    r->by_sequence = r->tnd && !stats_tnd;
    return FATTN_OK;
}

static fattn_status read_shape(const ring_args *a, ring *r)
{
    const fattn_tensor *attn = a->prev_attn_out, *stats = a->prev_softmax_max;
    const int stats_rank = r->tnd ? 3 : 4;
    REQUIRE(attn->rank == 3, FATTN_E_SHAPE, "prev_attn_out: rank %d, must be %s", (int)attn->rank,
            r->tnd ? "[T,N,D]" : "[S,B,H]");
    REQUIRE(stats->rank == stats_rank, FATTN_E_SHAPE, "prev_softmax_max: rank %d, must be %s",
            (int)stats->rank, r->tnd ? "[T,N,8]" : "[B,N,S,8]");
    r->s = attn->shape[0];
    if (r->tnd) {
        r->b = 1;
        r->n = attn->shape[1];
        r->d = attn->shape[2];
        return FATTN_OK;
    }
    r->b = attn->shape[1];
    r->n = stats->shape[1];
    REQUIRE(r->n >= 1 && attn->shape[2] % r->n == 0, FATTN_E_SHAPE,
            "prev_attn_out: H = %lld does not divide by the %lld heads of prev_softmax_max",
            LL(attn->shape[2]), LL(r->n));
    r->d = attn->shape[2] / r->n;
    return FATTN_OK;
}

static fattn_status check_attn(const ring *r, const fattn_tensor *tensor, const char *name)
{
    const fattn_tensor *first = r->args->prev_attn_out;
    REQUIRE(tensor->dtype == first->dtype, FATTN_E_DTYPE,
            "%s: is %s, must be %s like prev_attn_out", name, fattn_dtype_name(tensor->dtype),
            fattn_dtype_name(first->dtype));
    return array_check_shape(tensor, name, 3, first->shape);
}

static fattn_status check_stats(const ring *r, const fattn_tensor *tensor, const char *name)
{
    const fattn_dtype dtype = r->args->prev_softmax_max->dtype;
    const int64_t tnd[] = {r->s, r->n, REPLICAS}, sbh[] = {r->b, r->n, r->s, REPLICAS};
    REQUIRE(tensor->dtype == dtype, FATTN_E_DTYPE, "%s: is %s, must be %s", name,
            fattn_dtype_name(tensor->dtype), fattn_dtype_name(dtype));
    return array_check_shape(tensor, name, r->tnd ? 3 : 4, r->tnd ? tnd : sbh);
}

static fattn_status check_dtypes(const ring_args *a)
{
    const fattn_dtype attn = a->prev_attn_out->dtype, stats = a->prev_softmax_max->dtype;
    REQUIRE(element_is_float(attn), FATTN_E_DTYPE, "prev_attn_out: is %s, must be f32, f16 or bf16",
            fattn_dtype_name(attn));
    REQUIRE(stats == FATTN_F32 || (stats == FATTN_F64 && attn == FATTN_F64), FATTN_E_DTYPE,
            "prev_softmax_max: is %s, must be f32", fattn_dtype_name(stats));
    return FATTN_OK;
}

typedef struct named {
    const fattn_tensor *tensor;
    const char *name;
    bool stats;
} named;

static fattn_status check_tensors(const ring *r)
{
    const ring_args *a = r->args;
    const named list[] = {
        {a->prev_attn_out, "prev_attn_out", false},
        {a->cur_attn_out, "cur_attn_out", false},
        {a->attn_out, "attn_out", false},
        {a->prev_softmax_max, "prev_softmax_max", true},
        {a->prev_softmax_sum, "prev_softmax_sum", true},
        {a->cur_softmax_max, "cur_softmax_max", true},
        {a->cur_softmax_sum, "cur_softmax_sum", true},
        {a->softmax_max, "softmax_max", true},
        {a->softmax_sum, "softmax_sum", true},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (!list[i].tensor) continue; /* an output that is not there yet, or not wanted */
        TRY((list[i].stats ? check_stats : check_attn)(r, list[i].tensor, list[i].name));
    }
    return FATTN_OK;
}

/* Entry i of the boundaries, the 0 in front included. */
static int64_t bound(const ring *r, int64_t i)
{
    const fattn_tensor *list = r->args->actual_seq_qlen;
    return i == 0 ? 0 : array_get_int(list, (i - 1 + r->skip) * list->strides[0]);
}

static fattn_status check_list(const ring *r)
{
    const fattn_tensor *list = r->args->actual_seq_qlen;
    REQUIRE(list, FATTN_E_ARG, "actual_seq_qlen: is required with input_layout \"TND\"");
    REQUIRE(array_is_int(list->dtype), FATTN_E_DTYPE, "actual_seq_qlen: is %s, must be i64 or i32",
            fattn_dtype_name(list->dtype));
    REQUIRE(list->rank == 1, FATTN_E_SHAPE, "actual_seq_qlen: rank %d, must be 1", (int)list->rank);
    REQUIRE(list->shape[0] <= BOUNDS_MAX && (list->shape[0] > 0 || r->s == 0), FATTN_E_SHAPE,
            "actual_seq_qlen: has %lld entries; 1..%d fit, the last is T = %lld",
            LL(list->shape[0]), BOUNDS_MAX, LL(r->s));
    return FATTN_OK;
}

/* The contents: boundaries from 0 (written or not) to T that never fall. */
static fattn_status read_bounds(ring *r)
{
    const fattn_tensor *list = r->args->actual_seq_qlen;
    r->skip = list->shape[0] > 0 && array_get_int(list, 0) == 0;
    r->n_bounds = list->shape[0] - r->skip + 1;
    for (int64_t i = 1; i < r->n_bounds; i++)
        REQUIRE(bound(r, i) >= bound(r, i - 1), FATTN_E_ARG,
                "actual_seq_qlen: falls from %lld to %lld; boundaries go from 0 to T = %lld",
                LL(bound(r, i - 1)), LL(bound(r, i)), LL(r->s));
    REQUIRE(bound(r, r->n_bounds - 1) == r->s, FATTN_E_ARG,
            "actual_seq_qlen: ends with %lld, must end with T = %lld",
            LL(bound(r, r->n_bounds - 1)), LL(r->s));
    return FATTN_OK;
}

static fattn_status check_args(const ring_args *a, fattn_args_need need, ring *r)
{
    TRY(operator_args_check(op, a, need));
    *r = (ring){.args = a};
    TRY(read_layouts(a, r));
    TRY(check_dtypes(a));
    TRY(read_shape(a, r));
    TRY(check_tensors(r));
    return r->tnd ? check_list(r) : FATTN_OK;
}

static fattn_status check(const fattn_context *context, const ring_args *a, fattn_args_need need,
                          ring *r)
{
    fattn_status status = check_args(a, need, r);
    if (status == FATTN_OK) status = strict_check(&strict_ring_update, STAGE_CALL, context, a);
    if (status == FATTN_OK && r->tnd && need == ARGS_DATA) status = read_bounds(r);
    return strict_refused(&strict_ring_update, context, status);
}

/* The sequence of token t: the last i with bound(i) <= t. */
static int64_t sequence_of(const ring *r, int64_t t)
{
    int64_t low = 0, high = r->n_bounds - 1; /* bound(low) <= t < bound(high) */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (bound(r, middle) <= t)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Element offset of the statistics of (token s, batch b, head h). */
static int64_t stats_offset(const ring *r, const fattn_tensor *stats, int64_t s, int64_t b,
                            int64_t h)
{
    const int64_t *stride = stats->strides;
    if (!r->tnd) return b * stride[0] + h * stride[1] + s * stride[2];
    if (!r->by_sequence) return s * stride[0] + h * stride[1];

    const int64_t i = sequence_of(r, s), start = bound(r, i), length = bound(r, i + 1) - start;
    const int64_t row =
        /* of the T*N rows in memory order */
        r->n * start + h * MUTANT(96, length, 1) + (s - start) * MUTANT(96, 1, r->n);
    return row / r->n * stride[0] + row % r->n * stride[1];
}

static int64_t attn_offset(const ring *r, const fattn_tensor *attn, int64_t s, int64_t b, int64_t h)
{
    const int64_t *stride = attn->strides;
    return s * stride[0] + (r->tnd ? h * stride[1] : b * stride[1] + h * r->d * stride[2]);
}

static side read_side(const ring *r, const fattn_tensor *max, const fattn_tensor *sum, int64_t s,
                      int64_t b, int64_t h)
{
    return (side){element_load(max->data, max->dtype, stats_offset(r, max, s, b, h)),
                  element_load(sum->data, sum->dtype, stats_offset(r, sum, s, b, h))};
}

/* What the forward operator writes for a row that sees no key although there are some. */
static bool is_invalid(side x) { return x.max == -(double)FLT_MAX && x.sum == (double)FLT_MAX; }

/* Merges two sides and says with which weights. A side without keys (sum 0) yields to the other
 * one, an invalid one to a valid one; two of a kind give that kind again, with out 0. */
static side merge_sides(side prev, side cur, double weight[2])
{
    const int prev_rank = prev.sum == 0 ? 0 : is_invalid(prev) ? 1 : 2;
    const int cur_rank = cur.sum == 0 ? 0 : is_invalid(cur) ? 1 : 2;
    const double top = prev.max > cur.max ? prev.max : cur.max;

    weight[0] = prev_rank > cur_rank;
    weight[1] = cur_rank > prev_rank;
    if (prev_rank > cur_rank) return prev;
    if (cur_rank > prev_rank) return cur;
    if (prev_rank == 0) return (side){top, 0};
    if (prev_rank == 1) return prev;

    const double a = prev.sum * exp(prev.max - top), c = cur.sum * exp(cur.max - top);
    weight[MUTANT(95, 0, 1)] = a / (a + c);
    weight[MUTANT(95, 1, 0)] = c / (a + c);
    return (side){top, a + c};
}

static void write_stats(const ring *r, const fattn_tensor *stats, int64_t s, int64_t b, int64_t h,
                        double value)
{
    if (!stats) return; /* not wanted */
    const int64_t offset = stats_offset(r, stats, s, b, h),
                  stride = stats->strides[stats->rank - 1];
    for (int i = 0; i < REPLICAS; i++)
        element_store(stats->data, stats->dtype, offset + i * stride, value);
}

static void merge_head(const ring *r, int64_t s, int64_t b, int64_t h)
{
    const ring_args *a = r->args;
    const fattn_tensor *attn[2] = {a->prev_attn_out, a->cur_attn_out};
    const int64_t from[2] = {attn_offset(r, attn[0], s, b, h), attn_offset(r, attn[1], s, b, h)};
    const int64_t to = attn_offset(r, a->attn_out, s, b, h);
    double weight[2];
    const side merged =
        merge_sides(read_side(r, a->prev_softmax_max, a->prev_softmax_sum, s, b, h),
                    read_side(r, a->cur_softmax_max, a->cur_softmax_sum, s, b, h), weight);

    for (int64_t d = 0; d < r->d; d++) {
        double out = 0;
        for (int i = 0; i < 2; i++)
            if (weight[i] != 0)
                out += weight[i] * element_load(attn[i]->data, attn[i]->dtype,
                                                from[i] + d * attn[i]->strides[2]);
        element_store(a->attn_out->data, a->attn_out->dtype, to + d * a->attn_out->strides[2], out);
    }
    write_stats(r, a->softmax_max, s, b, h, merged.max);
    write_stats(r, a->softmax_sum, s, b, h, merged.sum);
}

static void merge_token(void *arg, int64_t item, int worker)
{
    const ring *r = arg;
    (void)worker;
    for (int64_t h = 0; h < r->n; h++) merge_head(r, item / r->b, item % r->b, h);
}

void fattn_ring_attention_update_args_init(fattn_ring_attention_update_args *args)
{
    operator_args_init(op, args);
}

static fattn_status call(fattn_context *context, const void *given)
{
    const fattn_ring_attention_update_args *args = given;
    ring r;
    TRY(check(context, args, ARGS_DATA, &r));
    if (r.n > 0) context_parallel(context, merge_token, &r, r.s * r.b);
    return FATTN_OK;
}

fattn_status fattn_ring_attention_update(fattn_context *context,
                                         const fattn_ring_attention_update_args *args)
{
    return exec_call_simple(context, op, args, call);
}

fattn_status fattn_ring_attention_update_shapes(fattn_context *context,
                                                const fattn_ring_attention_update_args *args,
                                                fattn_tensor *outputs)
{
    ring r;
    REQUIRE(outputs, FATTN_E_ARG, "%s: outputs is NULL; pass room for 3 tensors", op->name);
    TRY(context_resolve(&context));
    TRY(check(context, args, ARGS_SHAPES, &r));
    const fattn_tensor *like[] = {args->prev_attn_out, args->prev_softmax_max,
                                  args->prev_softmax_sum};
    for (int i = 0; i < 3; i++)
        outputs[i] = fattn_tensor_contiguous(NULL, like[i]->dtype, like[i]->rank, like[i]->shape);
    return FATTN_OK;
}

fattn_status fattn_ring_attention_update_workspace(fattn_context *context,
                                                   const fattn_ring_attention_update_args *args,
                                                   size_t *bytes)
{
    ring r;
    REQUIRE(bytes, FATTN_E_ARG, "%s: bytes is NULL; pass where to store the size", op->name);
    TRY(context_resolve(&context));
    TRY(check(context, args, ARGS_SHAPES, &r));
    *bytes = 0;
    return FATTN_OK;
}

fattn_status fattn_ring_attention_update_plan(fattn_context *context,
                                              const fattn_ring_attention_update_args *args,
                                              fattn_plan **plan)
{
    ring r;
    TRY(context_resolve(&context));
    TRY(check(context, args, ARGS_SHAPES, &r));
    return exec_plan_simple(context, op, args, plan);
}
