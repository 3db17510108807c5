/* SPDX-License-Identifier: Apache-2.0 */
/* dropout_gen_mask.c — the packed keep mask by itself (spec fusion-attention 8.3): bits from the stream,
 * 64 at a time. */
#include <string.h>

#include "api/inputs.h"
#include "api/operator.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/dropout.h"

typedef fattn_dropout_gen_mask_args mask_args;

static fattn_status read_dtype(const mask_args *a, fattn_dtype *dtype)
{
    const char *name = a->dtype && *a->dtype ? a->dtype : "f32";
    *dtype = fattn_dtype_from_name(name);
    REQUIRE(*dtype == FATTN_F32 || *dtype == FATTN_F16 || *dtype == FATTN_BF16, FATTN_E_ARG,
            "dtype: \"%.32s\" is not f32, f16 or bf16, which decide how many random bits count",
            name);
    return FATTN_OK;
}

/* Bytes of the mask. */
static fattn_status read_size(const mask_args *a, int64_t *bytes)
{
    int64_t cells = 1;
    for (int64_t i = 0; i < a->sizes.count; i++) {
        REQUIRE(a->sizes.data[i] >= 0, FATTN_E_ARG, "sizes: entry %lld is %lld; it is negative",
                LL(i), LL(a->sizes.data[i]));
        REQUIRE(i64_mul(cells, a->sizes.data[i], &cells), FATTN_E_ARG,
                "sizes: more cells than 63 bits can count");
    }
    *bytes = dropout_mask_bytes(cells);
    return FATTN_OK;
}

static fattn_status check(const mask_args *a, fattn_dtype *dtype, fattn_tensor *wanted)
{
    int64_t bytes;
    REQUIRE(a->p >= 0 && a->p <= 1, FATTN_E_ARG,
            "p: %g is not in [0, 1]; it is the probability that a cell is dropped", a->p);
    TRY(read_dtype(a, dtype));
    TRY(read_size(a, &bytes));
    *wanted = fattn_tensor_contiguous(NULL, FATTN_U8, 1, &bytes);
    if (!a->mask) return FATTN_OK;
    TRY(output_check(a->mask, wanted, "mask"));
    REQUIRE(tensor_contiguous(a->mask), FATTN_E_SHAPE,
            "mask: is not contiguous; a packed mask is a run of bytes");
    return FATTN_OK;
}

typedef struct fill_job {
    fattn_dropout rule;
    uint64_t seed, offset;
    uint8_t *mask;
    int64_t bytes;
} fill_job;

enum { FILL_BYTES = 1 << 14 }; /* of an item */

static void fill_item(void *arg, int64_t item, int worker)
{
    const fill_job *job = arg;
    const int64_t begin = item * FILL_BYTES, end = i64_min(begin + FILL_BYTES, job->bytes);
    (void)worker;
    for (int64_t at = begin; at < end; at += 8) { /* the size is a multiple of 16 */
        const uint64_t word = dropout_word(&job->rule, job->seed, job->offset, (uint64_t)at * 8);
        for (int i = 0; i < 8; i++)
            job->mask[at + i] = (uint8_t)(word >> 8 * MUTANT(159, i, 7 - i));
    }
}

static fattn_status gen_mask(fattn_context *context, const void *args)
{
    const mask_args *a = args;
    fattn_dtype dtype;
    fattn_tensor wanted;
    TRY(operator_args_check(&operator_dropout_gen_mask, args, ARGS_DATA));
    TRY(check(a, &dtype, &wanted));
    fill_job job = {.seed = (uint64_t)a->seed,
                    .offset = (uint64_t)a->offset,
                    .mask = a->mask->data,
                    .bytes = wanted.shape[0]};
    if (a->draw) generator_draw(&context->generator, &job.seed, &job.offset);
    dropout_rule(&job.rule, dtype, (float)a->p);
    if (a->p == 0 || a->p == 1) {
        if (job.bytes > 0) memset(job.mask, a->p == 0 ? 0xff : 0, (size_t)job.bytes);
    } else {
        context_parallel(context, fill_item, &job, i64_div_up(job.bytes, FILL_BYTES));
    }
    if (a->seed_out) *a->seed_out = (int64_t)job.seed;
    if (a->offset_out) *a->offset_out = (int64_t)job.offset;
    return FATTN_OK;
}

void fattn_dropout_gen_mask_args_init(fattn_dropout_gen_mask_args *args)
{
    operator_args_init(&operator_dropout_gen_mask, args);
}

fattn_status fattn_dropout_gen_mask(fattn_context *context, const fattn_dropout_gen_mask_args *args)
{
    return exec_call_simple(context, &operator_dropout_gen_mask, args, gen_mask);
}

fattn_status fattn_dropout_gen_mask_shapes(fattn_context *context,
                                           const fattn_dropout_gen_mask_args *args,
                                           fattn_tensor *outputs)
{
    fattn_dtype dtype;
    fattn_tensor wanted;
    TRY(context_resolve(&context));
    TRY(operator_args_check(&operator_dropout_gen_mask, args, ARGS_SHAPES));
    REQUIRE(outputs, FATTN_E_ARG, "outputs: is NULL; pass an array of %d tensors", 1);
    TRY(check(args, &dtype, &wanted));
    outputs[0] = wanted;
    return FATTN_OK;
}

fattn_status fattn_dropout_gen_mask_workspace(fattn_context *context,
                                              const fattn_dropout_gen_mask_args *args,
                                              size_t *bytes)
{
    fattn_dtype dtype;
    fattn_tensor wanted;
    REQUIRE(bytes, FATTN_E_ARG, "%s: bytes is NULL; pass where to store the size",
            operator_dropout_gen_mask.name);
    TRY(context_resolve(&context));
    TRY(operator_args_check(&operator_dropout_gen_mask, args, ARGS_SHAPES));
    TRY(check(args, &dtype, &wanted));
    *bytes = 0;
    return FATTN_OK;
}

fattn_status fattn_dropout_gen_mask_plan(fattn_context *context,
                                         const fattn_dropout_gen_mask_args *args, fattn_plan **plan)
{
    fattn_dtype dtype;
    fattn_tensor wanted;
    TRY(context_resolve(&context));
    TRY(operator_args_check(&operator_dropout_gen_mask, args, ARGS_PLAN));
    TRY(check(args, &dtype, &wanted));
    return exec_plan_simple(context, &operator_dropout_gen_mask, args, plan);
}
