/* SPDX-License-Identifier: Apache-2.0 */
/* mask.c — `fattn mask`: which keys each query row sees, asked of the library itself.
 *
 * The predicate is not written here a second time: fusion_attention runs with zero queries and
 * one-hot values, 128 keys at a time, so that output (row, d) is above zero exactly where row sees
 * key d. Query, key and mask are one zero each, seen through strides of 0. */
#include "verbs.h"

#include "json.h"
#include "mask_draw.h"
#include "problem_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cli_option mask_options[] = {
    {"sparse-mode", "N", "FATTN_SPARSE_MODE", "a training mode; fattn info lists them", NULL},
    {"q-len", "N", "FATTN_Q_LEN", "queries of the only sequence", NULL},
    {"kv-len", "N", "FATTN_KV_LEN", "keys of the only sequence", NULL},
    {"pre-tokens", "N", "FATTN_PRE_TOKENS", "keys before the diagonal (2147483647)", NULL},
    {"next-tokens", "N", "FATTN_NEXT_TOKENS", "keys after the diagonal (2147483647)", NULL},
    {"prefix", "N,N,...", "FATTN_PREFIX", "keys that all rows see, per sequence; modes 5 and 6",
     NULL},
    {"actual-seq-qlen", "N,N,...", "FATTN_ACTUAL_SEQ_QLEN", "several sequences: cumulative queries",
     NULL},
    {"actual-seq-kvlen", "N,N,...", "FATTN_ACTUAL_SEQ_KVLEN", "several sequences: cumulative keys",
     NULL},
    {"svg", "FILE", "FATTN_SVG", "draw it, too", NULL},
    CLI_JSON_OPTION,
    {NULL, NULL, NULL, NULL, NULL},
};

enum { CHUNK = 128, MAX_CELLS = 1 << 28 };

/* What is asked, as the options say it. The lists belong to `line`. */
typedef struct request {
    problem_line *line;
    int64_t sparse_mode, pre_tokens, next_tokens;
    fattn_int_array prefix, q_ends, kv_ends; /* cumulative, one entry per sequence */
} request;

/* ---- the question to the library ---- */

/* One call: n sequences one after another, their first query row and key in the whole. */
typedef struct batch {
    const request *r;
    mask_grid *grids;
    int n, first;       /* sequences of the call; the first one's number */
    int64_t rows, keys; /* of all of them */
    float *values, *out;
} batch;

static fattn_tensor shape3(void *data, fattn_dtype dtype, int64_t a, int64_t b)
{
    return fattn_tensor_contiguous(data, dtype, 3, (const int64_t[]){a, 1, b});
}

/* The same as shape3 for tensors that are zero everywhere. */
static fattn_tensor zeros3(void *zero, int64_t a, int64_t b)
{
    fattn_tensor t = shape3(zero, FATTN_F32, a, b);
    memset(t.strides, 0, sizeof t.strides);
    return t;
}

/* [T,1,D] -> [1,T,1,D] */
static void make_dense(fattn_tensor *t)
{
    memmove(t->shape + 1, t->shape, 3 * sizeof *t->shape);
    memmove(t->strides + 1, t->strides, 3 * sizeof *t->strides);
    t->shape[0] = 1;
    t->strides[0] = 0;
    t->rank = 4;
}

/* Keys [begin, begin + CHUNK) of every sequence, in its own count. */
static void one_hot(const batch *b, int64_t begin)
{
    float *row = b->values;
    memset(b->values, 0, (size_t)(b->keys * CHUNK) * sizeof *row);
    for (int s = 0; s < b->n; s++)
        for (int64_t j = 0; j < b->grids[s].kv_len; j++, row += CHUNK)
            if (j >= begin && j < begin + CHUNK) row[j - begin] = 1.0f;
}

static void collect(const batch *b, int64_t begin)
{
    const float *row = b->out;
    for (int s = 0; s < b->n; s++) {
        mask_grid *g = &b->grids[s];
        const int64_t end = begin + CHUNK < g->kv_len ? begin + CHUNK : g->kv_len;
        for (int64_t i = 0; i < g->q_len; i++, row += CHUNK)
            for (int64_t j = begin; j < end; j++)
                g->cells[i * g->kv_len + j] = row[j - begin] > 0 ? '#' : '.';
    }
}

static fattn_status ask_chunk(const batch *b, fattn_context *context, bool packed, int64_t begin)
{
    float zero = 0;
    unsigned char all_seen = 0;
    fattn_tensor query = zeros3(&zero, b->rows, CHUNK), key = zeros3(&zero, b->keys, CHUNK);
    fattn_tensor value = shape3(b->values, FATTN_F32, b->keys, CHUNK);
    fattn_tensor out = shape3(b->out, FATTN_F32, b->rows, CHUNK);
    fattn_tensor mask = {
        .data = &all_seen, .dtype = FATTN_U8, .rank = 2, .shape = {b->rows, b->keys}};
    fattn_fusion_attention_args args;
    fattn_fusion_attention_args_init(&args);
    args.head_num = 1;
    args.input_layout = packed ? "TND" : "BSND";
    args.sparse_mode = b->r->sparse_mode;
    args.pre_tokens = b->r->pre_tokens;
    args.next_tokens = b->r->next_tokens;
    if (b->r->sparse_mode <= 1) args.atten_mask = &mask;
    if (b->r->prefix.count > 0) args.prefix = (fattn_int_array){b->r->prefix.data + b->first, b->n};
    if (packed) {
        args.actual_seq_qlen = b->r->q_ends;
        args.actual_seq_kvlen = b->r->kv_ends;
    } else {
        make_dense(&query), make_dense(&key), make_dense(&value), make_dense(&out);
    }
    args.query = &query, args.key = &key, args.value = &value, args.attention_out = &out;
    one_hot(b, begin);
    const fattn_status status = fattn_fusion_attention(context, &args);
    if (status == FATTN_OK) collect(b, begin);
    return status;
}

static fattn_status ask(batch *b, fattn_context *context, bool packed)
{
    int64_t widest = 0;
    for (int s = 0; s < b->n; s++) {
        b->rows += b->grids[s].q_len;
        b->keys += b->grids[s].kv_len;
        if (b->grids[s].kv_len > widest) widest = b->grids[s].kv_len;
    }
    b->values = calloc((size_t)b->keys + 1, CHUNK * sizeof *b->values);
    b->out = calloc((size_t)b->rows + 1, CHUNK * sizeof *b->out);
    fattn_status status = b->values && b->out ? FATTN_OK : FATTN_E_NOMEM;
    /* An empty picture is asked, too: the library says whether the question is legal. */
    for (int64_t begin = 0; status == FATTN_OK && (begin == 0 || begin < widest); begin += CHUNK)
        status = ask_chunk(b, context, packed, begin);
    free(b->values);
    free(b->out);
    return status;
}

/* Modes 7 and 8 treat the last or first sequence differently and are asked as a whole; the others,
 * of which mode 5 has no packed form, sequence by sequence. */
static fattn_status ask_all(const request *r, fattn_context *context, mask_grid *grids, int n)
{
    const bool packed = r->sparse_mode >= 7;
    fattn_status status = FATTN_OK;
    for (int s = 0; s < n && status == FATTN_OK; s += packed ? n : 1) {
        batch b = {.r = r, .grids = grids + s, .n = packed ? n : 1, .first = s};
        status = ask(&b, context, packed);
    }
    return status;
}

/* ---- options ---- */

static int get_list(const cli_values *values, problem_line *line, const char *name,
                    const char *field, fattn_int_array *list)
{
    const char *text = cli_get(values, name);
    *list = (fattn_int_array){NULL, 0};
    if (!text) return CLI_GO;
    line_error error;
    const fattn_field *f = fattn_field_find(line->op, field);
    if (!line_set(line, f, text, &error))
        return cli_error("mask", CLI_USAGE, "--%s: %s", name, error.text);
    *list = *(const fattn_int_array *)((char *)line->args + f->offset);
    return CLI_GO;
}

/* --q-len as a list of one. */
static int get_single(const cli_values *values, problem_line *line, const char *name,
                      fattn_int_array *list)
{
    if (!cli_get(values, name))
        return cli_error("mask", CLI_USAGE,
                         "--%s N is missing (or --actual-seq-qlen and "
                         "--actual-seq-kvlen)",
                         name);
    int64_t *cell = line_memory(line, sizeof *cell);
    if (!cell) return cli_error("mask", CLI_FAIL, "out of memory");
    *list = (fattn_int_array){cell, 1};
    return cli_get_int(values, name, 0, 1 << 28, cell);
}

static int get_lengths(const cli_values *values, request *r)
{
    int code = get_list(values, r->line, "actual-seq-qlen", "actual_seq_qlen", &r->q_ends);
    if (code == CLI_GO)
        code = get_list(values, r->line, "actual-seq-kvlen", "actual_seq_kvlen", &r->kv_ends);
    if (code != CLI_GO) return code;
    if (r->q_ends.count == 0 && r->kv_ends.count == 0) {
        code = get_single(values, r->line, "q-len", &r->q_ends);
        return code == CLI_GO ? get_single(values, r->line, "kv-len", &r->kv_ends) : code;
    }
    if (r->q_ends.count == r->kv_ends.count) return CLI_GO;
    return cli_error("mask", CLI_USAGE,
                     "--actual-seq-qlen has %lld entries, --actual-seq-kvlen %lld",
                     (long long)r->q_ends.count, (long long)r->kv_ends.count);
}

/* One of the modes that the library has. */
static int get_mode(const cli_values *values, int64_t *mode)
{
    fattn_capability_set set = {.size = sizeof set};
    if (fattn_capabilities(NULL, &set) != FATTN_OK)
        return cli_error("mask", CLI_FAIL, "%s", fattn_error_message());
    const uint64_t modes = (uint64_t)set.sparse_modes_training;
    const int last = modes ? 63 - __builtin_clzll(modes) : 0;
    const int code = cli_get_int(values, "sparse-mode", 0, last, mode);
    if (code != CLI_GO || (modes >> *mode & 1)) return code;
    return cli_error("mask", CLI_USAGE, "--sparse-mode: there is no mode %lld; see fattn info",
                     (long long)*mode);
}

static int get_request(const cli_values *values, request *r)
{
    r->pre_tokens = r->next_tokens = INT32_MAX;
    int code = get_mode(values, &r->sparse_mode);
    if (code == CLI_GO)
        code = cli_get_int(values, "pre-tokens", INT64_MIN, INT64_MAX, &r->pre_tokens);
    if (code == CLI_GO)
        code = cli_get_int(values, "next-tokens", INT64_MIN, INT64_MAX, &r->next_tokens);
    if (code == CLI_GO) code = get_list(values, r->line, "prefix", "prefix", &r->prefix);
    if (code == CLI_GO) code = get_lengths(values, r);
    if (code != CLI_GO) return code;
    if (r->prefix.count != 0 && r->prefix.count != r->q_ends.count)
        return cli_error("mask", CLI_USAGE, "--prefix has %lld entries for %lld sequences",
                         (long long)r->prefix.count, (long long)r->q_ends.count);
    return CLI_GO;
}

static int make_grids(const request *r, mask_grid *grids)
{
    int64_t q_before = 0, kv_before = 0, all = 0;
    for (int64_t s = 0; s < r->q_ends.count; s++) {
        int64_t cells;
        mask_grid *g = &grids[s];
        if (r->q_ends.data[s] < q_before || r->kv_ends.data[s] < kv_before)
            return cli_error("mask", CLI_USAGE,
                             "the lists are cumulative: entry %lld must not be below the "
                             "one before",
                             (long long)s);
        g->q_len = r->q_ends.data[s] - q_before;
        g->kv_len = r->kv_ends.data[s] - kv_before;
        q_before = r->q_ends.data[s];
        kv_before = r->kv_ends.data[s];
        if (__builtin_mul_overflow(g->q_len, g->kv_len, &cells) || q_before > MAX_CELLS ||
            kv_before > MAX_CELLS || (all += cells) > MAX_CELLS)
            return cli_error("mask", CLI_USAGE, "a picture has at most %d cells", MAX_CELLS);
        g->cells = calloc((size_t)cells + 1, 1);
        if (!g->cells) return cli_error("mask", CLI_FAIL, "out of memory");
    }
    return CLI_GO;
}

/* ---- the verb ---- */

static int draw(const cli_values *values, const request *r, const mask_grid *grids, int n)
{
    if (cli_flag(values, "json")) {
        json_node *object = json_node_object();
        json_put_int(object, "sparse_mode", r->sparse_mode);
        json_put(object, "sequences", mask_json(grids, n));
        json_print_free(object);
    } else {
        mask_text(grids, n);
    }
    const char *svg = cli_get(values, "svg");
    if (!svg || mask_svg(svg, r->sparse_mode, grids, n)) return CLI_OK;
    return cli_error("mask", CLI_DATA, "--svg: %s cannot be written", svg);
}

/* The library's warnings (a mode without its mask) are what this verb is for. */
static void no_warning(void *self, const char *place, const char *sentence)
{
    (void)self, (void)place, (void)sentence;
}

static int ask_and_draw(const cli_values *values, const request *r, mask_grid *grids)
{
    const int n = (int)r->q_ends.count;
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.strict = 0; /* strict wants mask tensors; the pictures are of the modes */
    options.warn = no_warning;
    fattn_status status = fattn_context_create(&context, &options);
    if (status == FATTN_OK) status = ask_all(r, context, grids, n);
    const int code = status == FATTN_OK ? draw(values, r, grids, n)
                                        : cli_refused("mask", status, fattn_error_message());
    fattn_context_destroy(context);
    return code;
}

int verb_mask(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    request r = {.line = line_new(fattn_operator_find("fusion_attention"))};
    mask_grid *grids = NULL;
    if (!r.line) code = cli_error("mask", CLI_FAIL, "out of memory");
    if (code == CLI_GO && values.n_args > 0)
        code = cli_error("mask", CLI_USAGE, "'%s': only options are expected", values.args[0]);
    if (code == CLI_GO) code = get_request(&values, &r);
    if (code == CLI_GO && !(grids = calloc((size_t)r.q_ends.count + 1, sizeof *grids)))
        code = cli_error("mask", CLI_FAIL, "out of memory");
    if (code == CLI_GO) code = make_grids(&r, grids);
    if (code == CLI_GO) code = ask_and_draw(&values, &r, grids);
    for (int64_t s = 0; grids && s < r.q_ends.count; s++) free(grids[s].cells);
    free(grids);
    line_destroy(r.line);
    cli_values_free(&values);
    return code;
}
