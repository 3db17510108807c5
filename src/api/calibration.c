/* SPDX-License-Identifier: Apache-2.0 */
/* calibration.c — magnitudes of groups over any number of batches: the largest, and for percentiles a
 * histogram of 64 bins an octave from 2^-32 to 2^32. */
#include <math.h>
#include <string.h>

#include "api/quantize.h"
#include "base/context.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

enum { LAYOUT_SIZE = 8 };
enum { BINS_PER_OCTAVE = 64, LOWEST = -32, OCTAVES = 64, BINS = OCTAVES * BINS_PER_OCTAVE };

struct quantize_groups {
    int64_t n;
    double percentile;
    float *most;    /* [n] */
    uint64_t *bins; /* [n][BINS]; NULL with percentile 100 */
};

quantize_groups *quantize_groups_new(const fattn_context *context, int64_t n, double percentile)
{
    size_t floats, counts = 0;
    quantize_groups *g = context_alloc(context, sizeof *g);
    if (!g) return NULL;
    *g = (quantize_groups){.n = n, .percentile = percentile};
    bool fits = size_mul((size_t)n, sizeof *g->most, &floats);
    if (percentile < 100.0)
        fits = fits && size_mul((size_t)n, BINS * sizeof *g->bins, &counts) && counts <= PTRDIFF_MAX;
    if (fits) g->most = context_alloc(context, floats);
    if (fits && counts) g->bins = context_alloc(context, counts);
    if (!g->most || (counts && !g->bins)) {
        quantize_groups_free(context, g);
        return NULL;
    }
    memset(g->most, 0, floats);
    if (counts) memset(g->bins, 0, counts);
    return g;
}

void quantize_groups_free(const fattn_context *context, quantize_groups *groups)
{
    if (!groups) return;
    context_free(context, groups->most);
    context_free(context, groups->bins);
    context_free(context, groups);
}

void quantize_groups_clear(quantize_groups *g, int64_t group)
{
    g->most[group] = 0.0f;
    if (g->bins) memset(g->bins + group * BINS, 0, BINS * sizeof *g->bins);
}

/* Of a magnitude; what is smaller or larger than all bins goes to the outermost. */
static int bin_of(float x)
{
    int exponent;
    if (x == 0.0f) return 0;
    const float mantissa = frexpf(x, &exponent); /* [1/2, 1) */
    const int step = (int)((mantissa - 0.5f) * (2 * BINS_PER_OCTAVE));
    return (int)i64_clamp((int64_t)(exponent - 1 - LOWEST) * BINS_PER_OCTAVE + step, 0, BINS - 1);
}

static double upper_edge(int bin)
{
    const double step = 1.0 + (double)(bin % BINS_PER_OCTAVE + 1) / BINS_PER_OCTAVE;
    return ldexp(step, bin / BINS_PER_OCTAVE + LOWEST);
}

void quantize_groups_add(quantize_groups *g, int64_t group, float value)
{
    const float x = fabsf(value);
    if (x > g->most[group]) g->most[group] = x;
    if (g->bins) g->bins[group * BINS + bin_of(x)]++;
}

void quantize_groups_observe(quantize_groups *groups, fattn_granularity granularity,
                             const quantize_input *in, float *row)
{
    const fattn_axes *a = &in->axes;
    for (int64_t b = 0; b < in->batches; b++)
        for (int64_t n = 0; n < a->n; n++)
            for (int64_t s = 0; s < a->s; s++) {
                quantize_load(in, b, n, s, row);
                for (int64_t d = 0; d < a->d; d++)
                    quantize_groups_add(groups, quantize_scale_at(a, granularity, b, n, s, d),
                                        row[d]);
            }
}

double quantize_groups_magnitude(const quantize_groups *g, int64_t group)
{
    const double most = (double)g->most[group];
    if (!g->bins) return most;
    const uint64_t *bins = g->bins + group * BINS;
    uint64_t all = 0, below = 0;
    for (int i = 0; i < BINS; i++) all += bins[i];
    const double wanted = (double)all * MUTANT(209, g->percentile, 100.0) / 100.0;
    for (int i = 0; i < BINS; i++) {
        below += bins[i];
        if ((double)below >= wanted) return fmin(upper_edge(i), most);
    }
    return most;
}

/* ---- the public object */

struct fattn_calibration {
    fattn_context *context;
    fattn_quantize_options options;
    char input_layout[LAYOUT_SIZE];
    quantize_groups *groups; /* NULL before the first batch */
    fattn_axes axes;         /* of the first batch */
};

fattn_status fattn_calibration_create(fattn_context *context,
                                      const fattn_quantize_options *options,
                                      fattn_calibration **calibration)
{
    TRY(quantize_check_options(options));
    REQUIRE(calibration, FATTN_E_ARG, "calibration: is NULL; pass where to store the handle");
    REQUIRE(options->granularity != FATTN_PER_TOKEN &&
                options->granularity != FATTN_PER_TOKEN_HEAD,
            FATTN_E_ARG,
            "granularity: %d has scales of its own for every token; calibrate per tensor, channel or "
            "head",
            (int)options->granularity);
    REQUIRE(options->input_layout && strlen(options->input_layout) < LAYOUT_SIZE,
            FATTN_E_ARG, "input_layout: must be BNSD, BSND or BSH");
    TRY(context_resolve(&context));
    fattn_calibration *made = context_alloc(context, sizeof *made);
    REQUIRE(made, FATTN_E_NOMEM, "out of memory: a calibration of %zu bytes", sizeof *made);
    *made = (fattn_calibration){.context = context, .options = *options};
    made->options.size = sizeof made->options;
    memcpy(made->input_layout, options->input_layout, strlen(options->input_layout) + 1);
    made->options.input_layout = made->input_layout;
    *calibration = made;
    return FATTN_OK;
}

void fattn_calibration_destroy(fattn_calibration *calibration)
{
    if (!calibration) return;
    const fattn_context *context = calibration->context;
    quantize_groups_free(context, calibration->groups);
    context_free(context, calibration);
}

/* Memory with the first batch, which says how many groups there are. */
static fattn_status begin(fattn_calibration *c, const quantize_input *in)
{
    int64_t shape[FATTN_MAX_RANK], n = 1;
    const int rank = quantize_scale_shape(in, c->options.granularity, shape);
    for (int i = 0; i < rank; i++) n *= shape[i];
    c->groups = quantize_groups_new(c->context, n, c->options.percentile);
    REQUIRE(c->groups, FATTN_E_NOMEM, "out of memory: the magnitudes of %lld groups", LL(n));
    c->axes = in->axes;
    return FATTN_OK;
}

fattn_status fattn_calibration_observe(fattn_calibration *c, const fattn_tensor *input)
{
    quantize_input in;
    REQUIRE(c, FATTN_E_ARG, "calibration: is NULL");
    TRY(quantize_read(&c->options, input, "input", &in));
    TRY(tensor_check(input, "input", true));
    REQUIRE(!c->groups || (in.axes.n == c->axes.n && in.axes.d == c->axes.d), FATTN_E_SHAPE,
            "input: %lld heads of %lld columns; the first batch had %lld of %lld", LL(in.axes.n),
            LL(in.axes.d), LL(c->axes.n), LL(c->axes.d));
    float *row = context_alloc(c->context, (size_t)in.axes.d * sizeof *row);
    REQUIRE(row, FATTN_E_NOMEM, "out of memory: a row of %lld columns", LL(in.axes.d));
    fattn_status status = quantize_check_finite(&in, row);
    if (status == FATTN_OK && !c->groups) status = begin(c, &in);
    if (status == FATTN_OK) quantize_groups_observe(c->groups, c->options.granularity, &in, row);
    context_free(c->context, row);
    return status;
}

fattn_status fattn_calibration_scales(const fattn_calibration *c, const fattn_tensor *scale)
{
    REQUIRE(c, FATTN_E_ARG, "calibration: is NULL");
    REQUIRE(c->groups, FATTN_E_ARG, "calibration: has seen no batch; call "
                                    "fattn_calibration_observe() first");
    REQUIRE(scale, FATTN_E_ARG, "scale: is NULL; fattn_quantize_kv_shapes() tells its shape");
    TRY(tensor_check(scale, "scale", true));
    REQUIRE(scale->dtype == c->options.scale_dtype && tensor_elements(scale) == c->groups->n &&
                tensor_contiguous(scale),
            FATTN_E_SHAPE, "scale: it must be contiguous %s with %lld numbers",
            fattn_dtype_name(c->options.scale_dtype), LL(c->groups->n));
    for (int64_t g = 0; g < c->groups->n; g++)
        element_store(scale->data, scale->dtype, g,
                      quantize_scale(c->options.dtype, quantize_groups_magnitude(c->groups, g)));
    return FATTN_OK;
}
