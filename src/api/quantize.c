/* SPDX-License-Identifier: Apache-2.0 */
/* quantize.c — keys or values become codes and scales, head by head and token by token. */
#include "api/quantize.h"

#include <math.h>
#include <string.h>

#include "base/context.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

enum { EXTRA_MAX = 4096 /* of a newer caller */, NAME_SIZE = 96 };

void fattn_quantize_options_init(fattn_quantize_options *options)
{
    if (!options) return;
    *options = (fattn_quantize_options){.size = sizeof *options,
                                        .dtype = FATTN_I8,
                                        .granularity = FATTN_PER_TOKEN,
                                        .scale_dtype = FATTN_F32,
                                        .percentile = 100.0,
                                        .input_layout = "BNSD"};
}

int fattn_quantize_mode(fattn_granularity granularity, bool paged)
{
    switch (granularity) {
    case FATTN_PER_TOKEN:
        return paged ? 4 : 1;
    case FATTN_PER_TOKEN_HEAD:
        return paged ? 5 : 3;
    case FATTN_PER_HEAD:
        return 2;
    default:
        return 0;
    }
}

bool quantize_dtype(fattn_dtype dtype)
{
    return dtype == FATTN_I8 || dtype == FATTN_I4 || dtype == FATTN_E4M3 || dtype == FATTN_E5M2;
}

bool quantize_scale_dtype(fattn_dtype dtype)
{
    return dtype == FATTN_F32 || dtype == FATTN_F16 || dtype == FATTN_BF16;
}

fattn_status quantize_check_options(const fattn_quantize_options *o)
{
    REQUIRE(o, FATTN_E_ARG, "options: is NULL; call fattn_quantize_options_init() on one");
    REQUIRE(o->size >= sizeof *o && o->size <= sizeof *o + EXTRA_MAX, FATTN_E_ARG,
            "options: size is %zu, this version knows %zu; call fattn_quantize_options_init() first",
            o->size, sizeof *o);
    for (size_t i = sizeof *o; i < o->size; i++)
        REQUIRE(((const unsigned char *)o)[i] == 0, FATTN_E_ARG,
                "options: a field that this version of the library does not know is set");
    REQUIRE(quantize_dtype(o->dtype), FATTN_E_DTYPE, "dtype: is %s, must be i8, i4, e4m3 or e5m2",
            fattn_dtype_name(o->dtype));
    REQUIRE(quantize_scale_dtype(o->scale_dtype), FATTN_E_DTYPE,
            "scale_dtype: is %s, must be f32, f16 or bf16", fattn_dtype_name(o->scale_dtype));
    REQUIRE((int)o->granularity >= FATTN_PER_TENSOR &&
                (int)o->granularity <= FATTN_PER_TOKEN_HEAD,
            FATTN_E_ARG, "granularity: %d is not in 0..4", (int)o->granularity);
    REQUIRE(o->percentile > 0.0 && o->percentile <= 100.0, FATTN_E_ARG,
            "percentile: %g is not above 0 and at most 100", o->percentile);
    return FATTN_OK;
}

static bool is_layout(const char *name)
{
    static const char *const names[] = {"BNSD", "BSND", "BSH"};
    bool found = false;
    for (int i = 0; name && i < 3; i++) found |= strcmp(name, names[i]) == 0;
    return found;
}

fattn_status quantize_read(const fattn_quantize_options *o, const fattn_tensor *tensor,
                           const char *name, quantize_input *input)
{
    char shape[NAME_SIZE];
    REQUIRE(tensor, FATTN_E_ARG, "%s: is NULL", name);
    REQUIRE(is_layout(o->input_layout), FATTN_E_ARG, "input_layout: must be BNSD, BSND or BSH");
    TRY(layout_read(&input->axes, o->input_layout, tensor, o->num_heads, name));
    tensor_print(tensor, shape, sizeof shape);
    REQUIRE(element_is_float(tensor->dtype), FATTN_E_DTYPE,
            "%s: %s must be f32, f16 or bf16 (f64)", name, shape);
    REQUIRE(o->num_heads == 0 || input->axes.n == o->num_heads, FATTN_E_SHAPE,
            "%s: %s has %lld heads, num_heads is %lld", name, shape, LL(input->axes.n),
            LL(o->num_heads));
    REQUIRE(input->axes.n > 0, FATTN_E_SHAPE,
            "%s: %s has no heads; only batch entries and tokens may be none", name, shape);
    REQUIRE(input->axes.d > 0, FATTN_E_SHAPE,
            "%s: %s has no columns; only batch entries and tokens may be none", name, shape);
    REQUIRE(input->axes.d % element_pack(o->dtype) == 0, FATTN_E_SHAPE,
            "%s: %s has head dim %lld; eight int4 columns fill an int32, so it must be a multiple of 8",
            name, shape, LL(input->axes.d));
    input->tensor = tensor;
    input->batches = input->axes.s > 0 ? input->axes.b : 0;
    return FATTN_OK;
}

void quantize_load(const quantize_input *in, int64_t b, int64_t n, int64_t s, float *row)
{
    const fattn_axes *a = &in->axes;
    const int64_t at = b * a->b_stride + n * a->n_stride + s * a->s_stride;
    for (int64_t d = 0; d < a->d; d++)
        row[d] = (float)element_load(in->tensor->data, in->tensor->dtype, at + d * a->d_stride);
}

fattn_status quantize_check_finite(const quantize_input *in, float *row)
{
    const fattn_axes *a = &in->axes;
    for (int64_t b = 0; b < in->batches; b++)
        for (int64_t n = 0; n < a->n; n++)
            for (int64_t s = 0; s < a->s; s++) {
                quantize_load(in, b, n, s, row);
                for (int64_t d = 0; d < a->d; d++)
                    REQUIRE(isfinite(row[d]), FATTN_E_ARG,
                            "input: batch %lld, head %lld, token %lld, column %lld is %g in fp32; it "
                            "has no scale",
                            LL(b), LL(n), LL(s), LL(d), (double)row[d]);
            }
    return FATTN_OK;
}

double quantize_scale(fattn_dtype dtype, double magnitude)
{
    static const double I8_MAX = 127, I4_MAX = 7, E4M3_MAX = 448, E5M2_MAX = 57344;
    const double most = dtype == FATTN_I8     ? I8_MAX
                        : dtype == FATTN_I4   ? I4_MAX
                        : dtype == FATTN_E4M3 ? E4M3_MAX
                                              : E5M2_MAX;
    return magnitude == 0.0 ? 1.0 : magnitude / MUTANT(207, most, most + 1);
}

void quantize_put(void *row, fattn_dtype dtype, int64_t c, double value, double scale)
{
    const int pack = element_pack(dtype);
    element_store_packed(row, dtype, c / pack, (int)(c % pack), scale == 0.0 ? 0.0 : value / scale);
}

/* ---- shapes */

int quantize_scale_shape(const quantize_input *in, fattn_granularity granularity,
                         int64_t shape[FATTN_MAX_RANK])
{
    const fattn_axes *a = &in->axes;
    const int64_t shapes[][3] = {[FATTN_PER_TENSOR] = {1},
                                 [FATTN_PER_CHANNEL] = {a->n, a->d},
                                 [FATTN_PER_TOKEN] = {a->b, a->s},
                                 [FATTN_PER_HEAD] = {a->n},
                                 [FATTN_PER_TOKEN_HEAD] = {a->b, a->n, a->s}};
    static const int ranks[] = {1, 2, 2, 1, 3};
    for (int i = 0; i < ranks[granularity]; i++) shape[i] = shapes[granularity][i];
    return ranks[granularity];
}

int64_t quantize_scale_at(const fattn_axes *a, fattn_granularity granularity, int64_t b, int64_t n,
                          int64_t s, int64_t d)
{
    switch (granularity) {
    case FATTN_PER_CHANNEL:
        return n * a->d + d;
    case FATTN_PER_TOKEN:
        return b * a->s + s;
    case FATTN_PER_HEAD:
        return n;
    case FATTN_PER_TOKEN_HEAD:
        return (b * a->n + n) * a->s + s;
    default:
        return 0;
    }
}

static fattn_tensor codes_of(const fattn_quantize_options *o, const quantize_input *in)
{
    int64_t shape[FATTN_MAX_RANK];
    const int rank = layout_shape(shape, o->input_layout, in->axes.b, in->axes.s, in->axes.n,
                                  in->axes.d / element_pack(o->dtype));
    return fattn_tensor_contiguous(NULL, o->dtype, rank, shape);
}

static fattn_tensor scales_of(const fattn_quantize_options *o, const quantize_input *in)
{
    int64_t shape[FATTN_MAX_RANK];
    const int rank = quantize_scale_shape(in, o->granularity, shape);
    return fattn_tensor_contiguous(NULL, o->scale_dtype, rank, shape);
}

fattn_status fattn_quantize_kv_shapes(const fattn_quantize_options *options,
                                      const fattn_tensor *input, fattn_tensor *output,
                                      fattn_tensor *scale)
{
    quantize_input in;
    TRY(quantize_check_options(options));
    TRY(quantize_read(options, input, "input", &in));
    if (output) *output = codes_of(options, &in);
    if (scale) *scale = scales_of(options, &in);
    return FATTN_OK;
}

/* A tensor that is given must be as `wanted`, contiguous. */
static fattn_status check_given(const fattn_tensor *given, const fattn_tensor *wanted,
                                const char *name)
{
    char got[NAME_SIZE], want[NAME_SIZE];
    REQUIRE(given, FATTN_E_ARG, "%s: is NULL", name);
    TRY(tensor_check(given, name, true));
    tensor_print(given, got, sizeof got);
    tensor_print(wanted, want, sizeof want);
    bool same = given->dtype == wanted->dtype && given->rank == wanted->rank;
    for (int i = 0; same && i < wanted->rank; i++) same = given->shape[i] == wanted->shape[i];
    REQUIRE(same && tensor_contiguous(given), FATTN_E_SHAPE, "%s: %s must be a contiguous %s", name,
            got, want);
    return FATTN_OK;
}

/* ---- codes */

typedef struct job {
    const fattn_quantize_options *o;
    const quantize_input *in;
    const fattn_tensor *output, *scale;
    fattn_axes out; /* of output, columns in elements */
    float *rows;    /* one per worker */
} job;

static double scale_at(const job *j, int64_t b, int64_t n, int64_t s, int64_t d)
{
    return element_load(j->scale->data, j->scale->dtype,
                        quantize_scale_at(&j->in->axes, j->o->granularity, b, n, s, d));
}

/* All tokens of one head of one batch entry. */
static void encode_head(void *arg, int64_t item, int worker)
{
    const job *j = arg;
    const fattn_axes *a = &j->in->axes, *o = &j->out;
    const int64_t b = item / a->n, n = item % a->n;
    const bool by_column = j->o->granularity == FATTN_PER_CHANNEL;
    const size_t size = fattn_dtype_size(j->o->dtype);
    float *row = j->rows + worker * a->d;
    for (int64_t s = 0; s < a->s; s++) {
        char *to = (char *)j->output->data +
                   (b * o->b_stride + n * o->n_stride + s * o->s_stride) * (int64_t)size;
        quantize_load(j->in, b, n, s, row);
        double scale = scale_at(j, b, n, s, 0);
        for (int64_t d = 0; d < a->d; d++) {
            if (by_column) scale = scale_at(j, b, n, s, d);
            quantize_put(to, j->o->dtype, d, (double)row[d], scale);
        }
    }
}

/* With the rows, which the caller frees. */
static fattn_status open_job(fattn_context *context, const fattn_quantize_options *o,
                             const quantize_input *in, const fattn_tensor *output,
                             const fattn_tensor *scale, job *j)
{
    size_t floats, bytes;
    *j = (job){.o = o, .in = in, .output = output, .scale = scale};
    TRY(layout_read(&j->out, o->input_layout, output, in->axes.n, "output"));
    if (size_mul((size_t)in->axes.d, (size_t)context->threads, &floats) &&
        size_mul(floats, sizeof *j->rows, &bytes))
        j->rows = context_alloc(context, bytes);
    REQUIRE(j->rows, FATTN_E_NOMEM, "out of memory: a row of %lld columns for each thread",
            LL(in->axes.d));
    return FATTN_OK;
}

static void encode(fattn_context *context, job *j)
{
    context_parallel(context, encode_head, j, j->in->batches * j->in->axes.n);
}

/* Everything that a caller of either function can have wrong. */
static fattn_status check_call(const fattn_quantize_options *options, const fattn_tensor *input,
                               const fattn_tensor *output, const fattn_tensor *scale,
                               quantize_input *in)
{
    TRY(quantize_check_options(options));
    TRY(quantize_read(options, input, "input", in));
    TRY(tensor_check(input, "input", true));
    const fattn_tensor codes = codes_of(options, in), scales = scales_of(options, in);
    TRY(check_given(output, &codes, "output"));
    return check_given(scale, &scales, "scale");
}

fattn_status fattn_quantize_kv_by(fattn_context *context, const fattn_quantize_options *options,
                                  const fattn_tensor *input, const fattn_tensor *scale,
                                  const fattn_tensor *output)
{
    quantize_input in;
    TRY(check_call(options, input, output, scale, &in));
    TRY(context_resolve(&context));
    job j;
    TRY(open_job(context, options, &in, output, scale, &j));
    encode(context, &j);
    context_free(context, j.rows);
    return FATTN_OK;
}

/* ---- scales */

static void put_scale(const fattn_quantize_options *o, const fattn_tensor *scale, int64_t at,
                      double magnitude)
{
    element_store(scale->data, scale->dtype, at, quantize_scale(o->dtype, magnitude));
}

/* Groups of one token, of one head or of all: one after the other. */
static void find_tokens(const fattn_quantize_options *o, const quantize_input *in, float *row,
                        quantize_groups *groups, const fattn_tensor *scale)
{
    const fattn_axes *a = &in->axes;
    const bool each = o->granularity == FATTN_PER_TOKEN_HEAD;
    for (int64_t b = 0; b < in->batches; b++)
        for (int64_t s = 0; s < a->s; s++)
            for (int64_t n = 0; n < a->n; n++) {
                quantize_load(in, b, n, s, row);
                if (each || n == 0) quantize_groups_clear(groups, 0);
                for (int64_t d = 0; d < a->d; d++) quantize_groups_add(groups, 0, row[d]);
                if (each || n == MUTANT(208, a->n - 1, 0))
                    put_scale(o, scale, quantize_scale_at(a, o->granularity, b, n, s, 0),
                              quantize_groups_magnitude(groups, 0));
            }
}

static fattn_status find_scales(fattn_context *context, const fattn_quantize_options *o,
                                const quantize_input *in, float *row, const fattn_tensor *scale)
{
    const bool tokens =
        o->granularity == FATTN_PER_TOKEN || o->granularity == FATTN_PER_TOKEN_HEAD;
    const int64_t n = tokens ? 1 : tensor_elements(scale);
    quantize_groups *groups = quantize_groups_new(context, n, o->percentile);
    REQUIRE(groups, FATTN_E_NOMEM, "out of memory: the magnitudes of %lld groups", LL(n));
    if (tokens) {
        find_tokens(o, in, row, groups, scale);
    } else {
        quantize_groups_observe(groups, o->granularity, in, row);
        for (int64_t g = 0; g < n; g++)
            put_scale(o, scale, g, quantize_groups_magnitude(groups, g));
    }
    quantize_groups_free(context, groups);
    return FATTN_OK;
}

fattn_status fattn_quantize_kv(fattn_context *context, const fattn_quantize_options *options,
                               const fattn_tensor *input, const fattn_tensor *output,
                               const fattn_tensor *scale)
{
    quantize_input in;
    TRY(check_call(options, input, output, scale, &in));
    TRY(context_resolve(&context));
    job j;
    TRY(open_job(context, options, &in, output, scale, &j));
    fattn_status status = quantize_check_finite(&in, j.rows);
    if (status == FATTN_OK) status = find_scales(context, options, &in, j.rows, scale);
    if (status == FATTN_OK) encode(context, &j);
    context_free(context, j.rows);
    return status;
}
