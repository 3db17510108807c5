/* SPDX-License-Identifier: Apache-2.0 */
/* quantize.c — `fattn quantize`: keys or values from files become codes and scales; several files give one
 * set of scales, which then serves each of them (docs/quantisation.md). */
#include "verbs.h"

#include "io/element.h"
#include "io/npy.h"
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char granularities[] = "tensor channel token head token-head";

const cli_option quantize_options[] = {
    {"dtype", "NAME", "FATTN_DTYPE", "of the codes (i8)", "i8 i4 e4m3 e5m2"},
    {"granularity", "NAME", "FATTN_GRANULARITY", "what shares a scale (token)", granularities},
    {"percentile", "X", "FATTN_PERCENTILE", "magnitude that is not cut; 100 = the largest (100)",
     NULL},
    {"scale-dtype", "NAME", "FATTN_SCALE_DTYPE", "of the scales (f32)", "f32 f16 bf16"},
    {"input-layout", "NAME", "FATTN_INPUT_LAYOUT", "of the files (BNSD)", "BNSD BSND BSH"},
    {"num-heads", "N", "FATTN_NUM_HEADS", "key/value heads; BSH needs it", NULL},
    {"input-dtype", "NAME", "FATTN_INPUT_DTYPE", "of the files, where they hold raw 16 bits",
     "f64 f32 f16 bf16"},
    {"use-scale", "FILE", "FATTN_USE_SCALE", "scales that are there already", NULL},
    {"out", "FILE.npy", "FATTN_OUT", "where the codes of the only file go", NULL},
    {"scale", "FILE.npy", "FATTN_SCALE", "where the scales go", NULL},
    CLI_JSON_OPTION,
    {NULL, NULL, NULL, NULL, NULL},
};

typedef struct request {
    fattn_quantize_options o;
    fattn_dtype input_dtype;
    const char *use_scale, *out, *scale;
    const char *const *files;
    int n_files;
} request;

static int get_percentile(const cli_values *values, double *out)
{
    const char *text = cli_get(values, "percentile");
    char *end;
    if (!text) return CLI_GO;
    *out = strtod(text, &end);
    if (end != text && *end == '\0' && *out > 0 && *out <= 100) return CLI_GO;
    return cli_error("quantize", CLI_USAGE,
                     "--percentile: '%s' is no number above 0 and at most 100", text);
}

static int get_request(const cli_values *values, request *r)
{
    const char *dtype = cli_get(values, "dtype"), *group = cli_get(values, "granularity");
    const char *scale_dtype = cli_get(values, "scale-dtype"),
               *layout = cli_get(values, "input-layout");
    const char *input_dtype = cli_get(values, "input-dtype");
    *r = (request){.files = values->args, .n_files = values->n_args};
    fattn_quantize_options_init(&r->o);
    if (dtype) r->o.dtype = fattn_dtype_from_name(dtype);
    if (group) r->o.granularity = (fattn_granularity)cli_word_index(granularities, group);
    if (scale_dtype) r->o.scale_dtype = fattn_dtype_from_name(scale_dtype);
    if (layout) r->o.input_layout = layout;
    if (input_dtype) r->input_dtype = fattn_dtype_from_name(input_dtype);
    r->use_scale = cli_get(values, "use-scale"), r->out = cli_get(values, "out");
    r->scale = cli_get(values, "scale");
    int code = cli_check_choices("quantize", quantize_options, values);
    if (code == CLI_GO) code = get_percentile(values, &r->o.percentile);
    if (code == CLI_GO) code = cli_get_int(values, "num-heads", 0, INT32_MAX, &r->o.num_heads);
    if (code != CLI_GO) return code;
    if (r->n_files == 0)
        return cli_error("quantize", CLI_USAGE, "which file? FILE.npy, FILE.safetensors:NAME, ..");
    if (!r->out && !r->scale)
        return cli_error("quantize", CLI_USAGE, "nothing to write: give --out or --scale");
    if (r->out && r->n_files > 1)
        return cli_error(
            "quantize", CLI_USAGE,
            "--out takes the codes of one file; %d give scales: write them with --scale, "
            "then go through the files with --use-scale",
            r->n_files);
    if (r->use_scale && (r->n_files > 1 || r->scale))
        return cli_error("quantize", CLI_USAGE, "--use-scale goes with one file and --out");
    return CLI_GO;
}

static int read_tensor(const char *where, fattn_dtype as, io_tensor *tensor)
{
    io_error error;
    if (io_tensor_read(where, as, tensor, &error) == IO_OK) return CLI_GO;
    return cli_error("quantize", CLI_DATA, "%s", error.message);
}

static int write_tensor(const char *option, const char *path, const fattn_tensor *tensor)
{
    io_error error;
    if (!path || npy_write(path, tensor, &error) == IO_OK) return CLI_GO;
    return cli_error("quantize", CLI_DATA, "--%s: %s", option, error.message);
}

static bool give_memory(fattn_tensor *tensor)
{
    int64_t count;
    if (!io_count(tensor->rank, tensor->shape, &count)) return false;
    tensor->data = io_memory((size_t)count * fattn_dtype_size(tensor->dtype));
    return tensor->data != NULL;
}

/* ---- what was lost */

typedef struct loss {
    double error2, size2, worst;
} loss;

static double code_at(const fattn_tensor *codes, int64_t at)
{
    if (codes->dtype != FATTN_I4) return io_get(codes->data, codes->dtype, at);
    const int nibble = ((const uint8_t *)codes->data)[at / 2] >> at % 2 * 4 & 15;
    return nibble < 8 ? nibble : nibble - 16;
}

/* Position of element `i` of the input, row-major in its layout, as batch, head, token, column. */
static void place(const request *r, const fattn_tensor *input, int64_t i, int64_t at[4])
{
    const bool bnsd = strcmp(r->o.input_layout, "BNSD") == 0,
               bsh = strcmp(r->o.input_layout, "BSH") == 0;
    const int64_t *n = input->shape;
    const int64_t d = bsh ? n[2] / r->o.num_heads : n[3], inner = bsh ? r->o.num_heads : n[2];
    at[3] = i % d, i /= d;
    const int64_t second = i % inner;
    i /= inner;
    at[bnsd ? 2 : 1] = second;
    at[bnsd ? 1 : 2] = i % n[1];
    at[0] = i / n[1];
}

static int64_t scale_index(const request *r, const fattn_tensor *scale, const int64_t at[4])
{
    const int64_t *n = scale->shape;
    switch (r->o.granularity) {
    case FATTN_PER_CHANNEL:
        return at[1] * n[1] + at[3];
    case FATTN_PER_TOKEN:
        return at[0] * n[1] + at[2];
    case FATTN_PER_HEAD:
        return at[1];
    case FATTN_PER_TOKEN_HEAD:
        return (at[0] * n[1] + at[1]) * n[2] + at[2];
    default:
        return 0;
    }
}

static loss measure(const request *r, const fattn_tensor *input, const fattn_tensor *codes,
                    const fattn_tensor *scale)
{
    loss l = {0};
    int64_t count = 0, at[4];
    io_count(input->rank, input->shape, &count);
    for (int64_t i = 0; i < count; i++) {
        place(r, input, i, at);
        const double x = io_get(input->data, input->dtype, io_offset(input, i));
        const double s = io_get(scale->data, scale->dtype, scale_index(r, scale, at));
        const double error = fabs(s * code_at(codes, i) - x);
        l.error2 += error * error, l.size2 += x * x, l.worst = fmax(l.worst, error);
    }
    return l;
}

/* ---- the verb */

static void report(const cli_values *values, const request *r, const fattn_tensor *scale,
                   const loss *l)
{
    const int mode = fattn_quantize_mode(r->o.granularity, false);
    const int paged = fattn_quantize_mode(r->o.granularity, true);
    const double relative = l && l->size2 > 0 ? sqrt(l->error2 / l->size2) : 0;
    const char *name = cli_get(values, "granularity");
    if (!name) name = "token";
    if (cli_flag(values, "json")) {
        json_node *object = json_node_object();
        json_put_text(object, "dtype", fattn_dtype_name(r->o.dtype));
        json_put_text(object, "granularity", name);
        json_put_int(object, "mode", mode);
        json_put_int(object, "paged_mode", paged);
        json_put_int(object, "files", r->n_files);
        json_put_text(object, "out", r->out);
        json_put_text(object, "scale", r->scale);
        if (l)
            json_put_real(object, "relative_rms_error", relative),
                json_put_real(object, "max_error", l->worst);
        json_print_free(object);
        return;
    }
    int64_t count = 0;
    io_count(scale->rank, scale->shape, &count);
    printf("%s, %lld scales per %s: antiquant mode %d", fattn_dtype_name(r->o.dtype),
           (long long)count, name, mode);
    if (paged != mode) printf(" (%d in the scales of a paged cache)", paged);
    if (l) printf("; relative rms error %.3g, largest error %.3g", relative, l->worst);
    printf("\n");
}

static int refused(fattn_status status)
{
    return cli_refused("quantize", status, fattn_error_message());
}

static int quantize_one(const cli_values *values, request *r)
{
    io_tensor input = {0}, by = {0};
    fattn_tensor codes = {0}, scale = {0};
    int code = read_tensor(r->files[0], r->input_dtype, &input);
    if (code != CLI_GO) return code;
    fattn_status status = fattn_quantize_kv_shapes(&r->o, &input.t, &codes, &scale);
    if (status != FATTN_OK) code = refused(status);
    if (code == CLI_GO && (!give_memory(&codes) || !give_memory(&scale)))
        code = cli_error("quantize", CLI_FAIL, "out of memory");
    if (code == CLI_GO && r->use_scale) {
        code = read_tensor(r->use_scale, IO_RAW_AS(r->o.scale_dtype), &by);
        if (code == CLI_GO) status = fattn_quantize_kv_by(NULL, &r->o, &input.t, &by.t, &codes);
    } else if (code == CLI_GO) {
        status = fattn_quantize_kv(NULL, &r->o, &input.t, &codes, &scale);
    }
    if (code == CLI_GO && status != FATTN_OK) code = refused(status);
    if (code == CLI_GO) code = write_tensor("out", r->out, &codes);
    if (code == CLI_GO) code = write_tensor("scale", r->scale, &scale);
    if (code == CLI_GO) {
        const fattn_tensor *used = r->use_scale ? &by.t : &scale;
        if (strcmp(r->o.input_layout, "BSH") != 0) r->o.num_heads = 0;
        const loss l = measure(r, &input.t, &codes, used);
        report(values, r, used, &l);
        code = CLI_OK;
    }
    io_tensor_free(&input), io_tensor_free(&by);
    free(codes.data), free(scale.data);
    return code;
}

static int calibrate(const cli_values *values, const request *r)
{
    fattn_calibration *calibration = NULL;
    fattn_tensor scale = {0};
    int code = CLI_GO;
    fattn_status status = fattn_calibration_create(NULL, &r->o, &calibration);
    if (status != FATTN_OK) return refused(status);
    for (int i = 0; code == CLI_GO && i < r->n_files; i++) {
        io_tensor input = {0};
        code = read_tensor(r->files[i], r->input_dtype, &input);
        if (code != CLI_GO) break;
        if (i == 0) status = fattn_quantize_kv_shapes(&r->o, &input.t, NULL, &scale);
        if (status == FATTN_OK) status = fattn_calibration_observe(calibration, &input.t);
        if (status != FATTN_OK)
            code = cli_error("quantize", CLI_FAIL, "%s: %s: %s", r->files[i],
                             fattn_status_name(status), fattn_error_message());
        io_tensor_free(&input);
    }
    if (code == CLI_GO && !give_memory(&scale))
        code = cli_error("quantize", CLI_FAIL, "out of memory");
    if (code == CLI_GO) {
        status = fattn_calibration_scales(calibration, &scale);
        code = status == FATTN_OK ? write_tensor("scale", r->scale, &scale) : refused(status);
    }
    if (code == CLI_GO) {
        report(values, r, &scale, NULL);
        code = CLI_OK;
    }
    fattn_calibration_destroy(calibration);
    free(scale.data);
    return code;
}

int verb_quantize(int argc, char **argv)
{
    cli_values values;
    request r;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code == CLI_GO) {
        code = get_request(&values, &r);
        if (code == CLI_GO)
            code = r.n_files == 1 ? quantize_one(&values, &r) : calibrate(&values, &r);
        cli_values_free(&values);
    }
    return code;
}
