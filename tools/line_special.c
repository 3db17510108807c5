/* SPDX-License-Identifier: Apache-2.0 */
/* line_special.c — data that means something: block ids, lengths, tokens, masks, softmax
 * statistics. A line that gives such a tensor neither values nor a fill gets legal data here. */
#include "line_internal.h"

#include "io/element.h"
#include "io/io.h"

#include <math.h>
#include <string.h>

static void set(const line_tensor *tensor, int64_t index, int64_t value)
{
    io_set_int(tensor->t.data, tensor->t.dtype, io_offset(&tensor->t, index), value);
}

static int64_t count_of(const line_tensor *tensor)
{
    int64_t count = 0;
    io_count(tensor->t.rank, tensor->t.shape, &count);
    return count;
}

static int64_t extent(const fattn_tensor *t, int axis, int64_t otherwise)
{
    return t && axis >= 0 && axis < t->rank ? t->shape[axis] : otherwise;
}

/* A stream of this tensor; tensors whose data hang together share one by name. */
static uint64_t stream_of(const problem_line *line, const char *name)
{
    return line_stream(line->seed, name);
}

/* Block ids: a permutation of the cache's blocks, begun again when the table is larger than the
 * cache. */
static bool fill_block_table(const problem_line *line, line_tensor *tensor)
{
    const int64_t count = count_of(tensor);
    const fattn_tensor *cache = line_tensor_of(line, "key", 0);
    const int64_t blocks = extent(cache, 0, count);
    if (blocks <= 0) return false;
    const uint64_t stream = stream_of(line, "block_table");
    for (int64_t i = 0; i < count; i++) set(tensor, i, i % blocks);
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t j = line_below(stream, (uint64_t)i, i + 1);
        const int64_t a = io_offset(&tensor->t, i), b = io_offset(&tensor->t, j);
        const int64_t at_a = io_get_int(tensor->t.data, tensor->t.dtype, a);
        io_set_int(tensor->t.data, tensor->t.dtype, a,
                   io_get_int(tensor->t.data, tensor->t.dtype, b));
        io_set_int(tensor->t.data, tensor->t.dtype, b, at_a);
    }
    return true;
}

/* Tokens that fit into one row of block_tables. */
static int64_t capacity(const problem_line *line)
{
    const fattn_tensor *tables = line_tensor_of(line, "block_tables", 0);
    const int64_t blocks = extent(tables, 1, 0), rows = line_int(line, "block_size", 1);
    int64_t tokens;
    return blocks > 0 && rows > 0 && !__builtin_mul_overflow(blocks, rows, &tokens) ? tokens : 1;
}

/* Slots per request of the speculative variant, 1 of the plain one. */
static int64_t slots(const problem_line *line)
{
    return 1 + extent(line_tensor_of(line, "spec_token", 0), 1, 0);
}

static bool fill_below(const problem_line *line, line_tensor *tensor, int64_t limit)
{
    const uint64_t stream = stream_of(line, tensor->field->name);
    for (int64_t i = 0; i < count_of(tensor); i++)
        set(tensor, i, line_below(stream, (uint64_t)i, limit > 0 ? limit : 1));
    return true;
}

static bool fill_tokens(const problem_line *line, line_tensor *tensor)
{
    return fill_below(line, tensor, 32000);
}

/* The step itself needs one more place than the length says. */
static bool fill_seq_lens(const problem_line *line, line_tensor *tensor)
{
    return fill_below(line, tensor, capacity(line));
}

/* A request's slots hold consecutive positions, and there is room for what it accepts. */
static bool fill_positions(const problem_line *line, line_tensor *tensor)
{
    const int64_t k = slots(line), room = capacity(line) - 2 * k;
    const uint64_t stream = stream_of(line, "input_positions");
    for (int64_t i = 0; i < count_of(tensor); i++)
        set(tensor, i, line_below(stream, (uint64_t)(i / k), room > 0 ? room : 1) + i % k);
    return true;
}

static bool fill_accepted(const problem_line *line, line_tensor *tensor)
{
    const uint64_t stream = stream_of(line, "accepted_num");
    const int64_t k = slots(line);
    for (int64_t i = 0; i < count_of(tensor); i++)
        set(tensor, i, line_below(stream, (uint64_t)i, k));
    return true;
}

/* Row r samples accepted_num[r] + 1 tokens, the rest of its row is -1. */
static bool fill_sampled(const problem_line *line, line_tensor *tensor)
{
    const uint64_t accepted = stream_of(line, "accepted_num"), tokens = stream_of(line, "sampled");
    const int64_t k = slots(line), columns = extent(&tensor->t, 1, 1);
    for (int64_t i = 0; i < count_of(tensor); i++) {
        const int64_t row = i / columns, column = i % columns;
        const bool sampled = column <= line_below(accepted, (uint64_t)row, k);
        set(tensor, i, sampled ? line_below(tokens, (uint64_t)i, 32000) : -1);
    }
    return true;
}

/* Boundaries of equal sequences: T/n, 2T/n, ... T (ring_attention_update). */
static bool fill_boundaries(const problem_line *line, line_tensor *tensor)
{
    const int64_t n = count_of(tensor);
    const int64_t tokens = extent(line_tensor_of(line, "prev_attn_out", 0), 0, 0);
    if (tokens < 0 || tokens > INT64_MAX / (n + 1)) return false;
    for (int64_t i = 0; i < n; i++) set(tensor, i, tokens * (i + 1) / n);
    return true;
}

/* The compressed mask of sparse modes 2, 3, 4, 6, 7, 8: strict upper triangle; below it (mode 6 has
 * 3072 rows) the right half. */
static void fill_compressed(const line_tensor *tensor)
{
    const fattn_tensor *t = &tensor->t;
    const int64_t count = count_of(tensor), rows = extent(t, t->rank - 2, 1);
    const bool plain = io_is_contiguous(t);
    for (int64_t i = 0; i < count; i++) {
        const int64_t column = i % 2048, row = i / 2048 % rows;
        io_set_int(t->data, t->dtype, plain ? i : io_offset(t, i),
                   row < 2048 ? column > row : column >= 1024);
    }
}

static bool fill_mask(const problem_line *line, line_tensor *tensor)
{
    const fattn_tensor *t = &tensor->t;
    if (io_dtype_is_float(t->dtype)) return false;
    const int64_t mode = line_int(line, "sparse_mode", 0);
    const bool compressed = t->rank >= 2 && mode >= 2 && mode != 5 &&
                            t->shape[t->rank - 1] == 2048 && t->shape[t->rank - 2] >= 2048;
    if (compressed) {
        fill_compressed(tensor);
        return true;
    }
    const uint64_t stream = stream_of(line, tensor->field->name);
    const double density = tensor->density >= 0 ? tensor->density : line->density;
    const int64_t count = count_of(tensor);
    const bool plain = io_is_contiguous(t);
    for (int64_t i = 0; i < count; i++)
        io_set_int(t->data, t->dtype, plain ? i : io_offset(t, i),
                   (double)(line_random(stream, (uint64_t)i) >> 11) * 0x1p-53 < density);
    return true;
}

/* Row statistics: 8 copies of each value; sums are positive. */
static bool fill_statistics(const problem_line *line, line_tensor *tensor)
{
    const fattn_tensor *t = &tensor->t;
    const bool sum = strstr(tensor->field->name, "sum") != NULL;
    const int64_t copies = extent(t, t->rank - 1, 1);
    const uint64_t stream = stream_of(line, tensor->field->name);
    for (int64_t i = 0; i < count_of(tensor); i++) {
        const uint64_t bits = line_random(stream, (uint64_t)(i / (copies > 0 ? copies : 1)));
        const double share = (double)(bits >> 11) * 0x1p-53; /* [0, 1) */
        io_set(t->data, t->dtype, io_offset(t, i), sum ? 1 + 15 * share : 8 * share - 4);
    }
    return true;
}

/* Every bit for itself. */
static bool fill_bits(const problem_line *line, line_tensor *tensor)
{
    const uint64_t stream = stream_of(line, tensor->field->name);
    if (tensor->t.dtype != FATTN_U8) return false;
    for (int64_t i = 0; i < count_of(tensor); i++)
        set(tensor, i, (int64_t)(line_random(stream, (uint64_t)i) & 255));
    return true;
}

/* Scales of quantised calls: `least` up to twice that; powers of two near it in e8m0. */
static bool fill_scales(const problem_line *line, line_tensor *tensor, double least)
{
    const fattn_tensor *t = &tensor->t;
    const uint64_t stream = stream_of(line, tensor->field->name);
    const int64_t bias = 127 + ilogb(least);
    for (int64_t i = 0; i < count_of(tensor); i++) {
        const uint64_t bits = line_random(stream, (uint64_t)i);
        if (t->dtype == FATTN_E8M0 || t->dtype == FATTN_U8)
            set(tensor, i, bias + (int64_t)(bits % 3) - 1);
        else
            io_set(t->data, t->dtype, io_offset(t, i), least * (1 + (double)(bits >> 11) * 0x1p-53));
    }
    return true;
}

static bool fill_cache_scales(const problem_line *line, line_tensor *tensor)
{
    return fill_scales(line, tensor, 1.0 / 64);
}

static bool fill_score_scale(const problem_line *line, line_tensor *tensor)
{
    return tensor->t.dtype == FATTN_F32 && fill_scales(line, tensor, 1.0 / 4096);
}

static bool fill_weight_scale(const problem_line *line, line_tensor *tensor)
{
    return fill_scales(line, tensor, 127);
}

static bool fill_sum_scale(const problem_line *line, line_tensor *tensor)
{
    return tensor->t.dtype == FATTN_F32 && fill_scales(line, tensor, 1.0 / 16384);
}

static bool fill_out_scale(const problem_line *line, line_tensor *tensor)
{
    return fill_scales(line, tensor, 32);
}

static const struct {
    const char *name;
    bool (*fill)(const problem_line *line, line_tensor *tensor);
} specials[] = {
    {"antiquant_scale", fill_cache_scales},
    {"key_antiquant_scale", fill_cache_scales},
    {"value_antiquant_scale", fill_cache_scales},
    {"dequant_scale_query", fill_cache_scales},
    {"dequant_scale_key", fill_cache_scales},
    {"dequant_scale_value", fill_cache_scales},
    {"dequant_scale1", fill_score_scale},
    {"deq_scale1", fill_score_scale},
    {"quant_scale1", fill_weight_scale},
    {"dequant_scale2", fill_sum_scale},
    {"deq_scale2", fill_sum_scale},
    {"quant_scale2", fill_out_scale},
    {"quant_scale_out", fill_out_scale},
    {"block_table", fill_block_table},     {"block_tables", fill_block_table},
    {"seq_lens", fill_seq_lens},           {"input_tokens", fill_tokens},
    {"spec_token", fill_tokens},           {"input_positions", fill_positions},
    {"accepted_num", fill_accepted},       {"sampled_token_ids", fill_sampled},
    {"actual_seq_qlen", fill_boundaries},  {"atten_mask", fill_mask},
    {"prev_softmax_max", fill_statistics}, {"prev_softmax_sum", fill_statistics},
    {"dropout_mask", fill_bits},           {"cur_softmax_max", fill_statistics},  {"cur_softmax_sum", fill_statistics},
};

bool line_fill_special(const problem_line *line, line_tensor *tensor)
{
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        if (strcmp(specials[i].name, tensor->field->name) == 0)
            return specials[i].fill(line, tensor);
    return false;
}
