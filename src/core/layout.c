/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c — layout strings and the shape checks every tensor argument passes first.
 *
 * A layout is read letter by letter through one table; nobody else knows what "BSH" means. Extents
 * and strides come from outside and may be any int64, so all products are checked. */
#include "core/layout.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "base/text.h"

enum { SHAPE_TEXT = 224 }; /* "bf16[" + 8 extents of at most 20 characters and a comma + "]" */

enum axis { AXIS_B, AXIS_S, AXIS_N, AXIS_D, AXIS_COUNT };

enum { BIT_B = 1 << AXIS_B, BIT_S = 1 << AXIS_S, BIT_N = 1 << AXIS_N, BIT_D = 1 << AXIS_D };

/* Which axes a letter stands for. H is the only one that names two. */
static const struct {
    char letter;
    unsigned axes;
} letter_table[] = {{'B', BIT_B}, {'S', BIT_S}, {'T', BIT_S},
                    {'N', BIT_N}, {'D', BIT_D}, {'H', BIT_N | BIT_D}};

/* Axes of a letter; 0 when it is none. */
static unsigned letter_axes(char letter)
{
    for (size_t i = 0; i < sizeof letter_table / sizeof letter_table[0]; i++)
        if (letter_table[i].letter == letter) return letter_table[i].axes;
    return 0;
}

/* Every letter known and no axis named twice. */
static fattn_status letters_check(const char *letters, const char *name)
{
    REQUIRE(letters && *letters, FATTN_E_ARG, "%s: the layout is empty", name);
    unsigned seen = 0;
    for (const char *letter = letters; *letter; letter++) {
        const unsigned axes = letter_axes(*letter);
        REQUIRE(axes, FATTN_E_ARG, "%s: layout %.16s: '%c' is none of the letters B S T N H D",
                name, letters, *letter);
        REQUIRE(!(seen & axes), FATTN_E_ARG, "%s: layout %.16s: '%c' names an axis twice", name,
                letters, *letter);
        seen |= axes;
    }
    return FATTN_OK;
}

/* Splits an H axis into heads and head dim. Only strides that strides_tidy() clears can overflow
 * here. */
static fattn_status split_heads(int64_t extent[AXIS_COUNT], int64_t stride[AXIS_COUNT], int64_t h,
                                int64_t h_stride, int64_t heads, const char *letters,
                                const char *shape, const char *name)
{
    REQUIRE(heads > 0, FATTN_E_SHAPE, "%s: layout %s needs a positive head count, not %lld", name,
            letters, (long long)heads);
    REQUIRE(h % heads == 0, FATTN_E_SHAPE,
            "%s: shape %s does not fit %s with %lld heads: %lld is not a multiple of %lld", name,
            shape, letters, (long long)heads, (long long)h, (long long)heads);
    extent[AXIS_N] = heads;
    extent[AXIS_D] = h / heads;
    stride[AXIS_D] = h_stride;
    if (!i64_mul(extent[MUTANT(16, AXIS_D, AXIS_N)], h_stride, &stride[AXIS_N])) stride[AXIS_N] = 0;
    return FATTN_OK;
}

/* Strides that no index multiplies are cleared: whatever stood there cannot overflow an offset
 * later. A single column counts as dense. */
static void strides_tidy(const int64_t extent[AXIS_COUNT], int64_t stride[AXIS_COUNT])
{
    bool empty = false;
    for (int a = 0; a < AXIS_COUNT; a++) empty |= extent[a] == 0;
    for (int a = 0; a < AXIS_COUNT; a++)
        if (empty || extent[a] <= 1) stride[a] = a == AXIS_D ? 1 : 0;
}

fattn_status layout_read(fattn_axes *axes, const char *letters, const fattn_tensor *tensor,
                         int64_t heads, const char *name)
{
    TRY(letters_check(letters, name));
    TRY(tensor_check(tensor, name, false));
    char shape[SHAPE_TEXT];
    tensor_print(tensor, shape, sizeof shape);
    const int n_letters = (int)strlen(letters);
    REQUIRE(tensor->rank == n_letters, FATTN_E_SHAPE,
            "%s: shape %s does not fit %s: rank %d instead of %d", name, shape, letters,
            (int)tensor->rank, n_letters);

    int64_t extent[AXIS_COUNT] = {1, 1, 1, 1}, stride[AXIS_COUNT] = {0, 0, 0, 0};
    for (int i = 0; i < n_letters; i++) {
        const unsigned bits = letter_axes(letters[i]);
        if (bits == (BIT_N | BIT_D)) {
            TRY(split_heads(extent, stride, tensor->shape[i], tensor->strides[i], heads, letters,
                            shape, name));
            continue;
        }
        for (int a = 0; a < AXIS_COUNT; a++) {
            if (!(bits & 1u << a)) continue;
            extent[a] = tensor->shape[i];
            stride[a] = tensor->strides[i];
        }
    }
    strides_tidy(extent, stride);
    *axes = (fattn_axes){.b = extent[AXIS_B],
                         .s = extent[AXIS_S],
                         .n = extent[AXIS_N],
                         .d = extent[AXIS_D],
                         .b_stride = stride[AXIS_B],
                         .s_stride = stride[AXIS_S],
                         .n_stride = stride[AXIS_N],
                         .d_stride = stride[AXIS_D]};
    return FATTN_OK;
}

fattn_status layout_read_nz(fattn_axes *axes, const fattn_tensor *tensor, const char *name)
{
    enum { BLOCKS, HEADS, CHUNKS, ROWS, COLUMNS, NZ_RANK };
    TRY(tensor_check(tensor, name, false));
    char shape[SHAPE_TEXT];
    const int64_t *n = tensor->shape, *stride = tensor->strides;
    REQUIRE(
        tensor->rank == NZ_RANK && n[COLUMNS] > 0, FATTN_E_SHAPE,
        "%s: shape %s is no NZ cache; that is [blocks, Nkv, D/c, rows, c] with c columns per chunk",
        name, tensor_print(tensor, shape, sizeof shape));
    int64_t strides[AXIS_COUNT] = {stride[BLOCKS], stride[ROWS], stride[HEADS], stride[COLUMNS]};
    const int64_t extent[AXIS_COUNT] = {n[BLOCKS], n[ROWS], n[HEADS], n[CHUNKS] * n[COLUMNS]};
    strides_tidy(extent, strides);
    *axes = (fattn_axes){.b = extent[AXIS_B],
                         .s = extent[AXIS_S],
                         .n = extent[AXIS_N],
                         .d = extent[AXIS_D],
                         .b_stride = strides[AXIS_B],
                         .s_stride = strides[AXIS_S],
                         .n_stride = strides[AXIS_N],
                         .d_stride = strides[AXIS_D],
                         .chunk = n[COLUMNS],
                         .chunk_stride =
                             tensor_elements(tensor) > 0 && n[CHUNKS] > 1 ? stride[CHUNKS] : 0};
    return FATTN_OK;
}

int layout_shape(int64_t shape[FATTN_MAX_RANK], const char *letters, int64_t b, int64_t s,
                 int64_t n, int64_t d)
{
    const int64_t extent[AXIS_COUNT] = {b, s, n, d};
    int rank = 0;
    for (const char *letter = letters; *letter && rank < FATTN_MAX_RANK; letter++, rank++) {
        const unsigned bits = letter_axes(*letter);
        shape[rank] = 1;
        for (int a = 0; a < AXIS_COUNT; a++)
            if (bits & 1u << a && !i64_mul(shape[rank], extent[a], &shape[rank]))
                shape[rank] =
                    INT64_MAX; /* no tensor has it: tensor_check() refuses what is given */
    }
    return rank;
}

bool layout_packed(const char *letters) { return letters && strchr(letters, 'T') != NULL; }

/* Bytes between the first and the last element, both ways counted as positive: false on overflow.
 */
static bool span_fits(const fattn_tensor *tensor)
{
    int64_t span = 1;
    for (int i = 0; i < tensor->rank; i++) {
        int64_t reach;
        const int64_t last = tensor->shape[i] - 1, stride = tensor->strides[i];
        if (last <= 0) continue;
        if (stride == INT64_MIN || !i64_mul(stride < 0 ? -stride : stride, last, &reach) ||
            !i64_add(span, reach, &span))
            return false;
    }
    return i64_mul(span, (int64_t)fattn_dtype_size(tensor->dtype), &span);
}

/* The product of the extents, zeros counted as ones, so that any partial product fits too. */
static bool count_fits(const fattn_tensor *tensor)
{
    int64_t count = (int64_t)fattn_dtype_size(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++)
        if (!i64_mul(count, i64_max(tensor->shape[i], 1), &count)) return false;
    return true;
}

fattn_status tensor_check(const fattn_tensor *tensor, const char *name, bool need_data)
{
    REQUIRE(tensor, FATTN_E_ARG, "%s: missing", name);
    REQUIRE(tensor->rank >= 0 && tensor->rank <= FATTN_MAX_RANK, FATTN_E_SHAPE,
            "%s: rank %d is outside 0..%d", name, (int)tensor->rank, FATTN_MAX_RANK);
    REQUIRE(fattn_dtype_size(tensor->dtype) > 0, FATTN_E_DTYPE, "%s: unknown dtype %d", name,
            (int)tensor->dtype);
    char shape[SHAPE_TEXT]; /* printed for a sentence only: this is on the path of every call */
    for (int i = 0; i < tensor->rank; i++)
        REQUIRE(tensor->shape[i] >= 0, FATTN_E_SHAPE, "%s: shape %s: extent %d is negative", name,
                tensor_print(tensor, shape, sizeof shape), i);
    REQUIRE(count_fits(tensor), FATTN_E_SHAPE, "%s: shape %s has more bytes than 63 bits can count",
            name, tensor_print(tensor, shape, sizeof shape));
    if (tensor_elements(tensor) == 0) return FATTN_OK;
    REQUIRE(span_fits(tensor), FATTN_E_SHAPE,
            "%s: shape %s: its strides span more bytes than 63 bits can count", name,
            tensor_print(tensor, shape, sizeof shape));
    REQUIRE(tensor->data || !need_data, FATTN_E_ARG, "%s: shape %s, but data is NULL", name,
            tensor_print(tensor, shape, sizeof shape));
    return FATTN_OK;
}

int64_t tensor_elements(const fattn_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 0) return 0;
        count *= tensor->shape[i];
    }
    return count;
}

bool tensor_contiguous(const fattn_tensor *tensor)
{
    int64_t expected = 1;
    if (tensor_elements(tensor) == 0) return true;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        if (tensor->shape[i] > 1 && tensor->strides[i] != expected) return false;
        expected *= tensor->shape[i];
    }
    return true;
}

/* |stride|; INT64_MIN, which no checked tensor with elements has, stays out of the way. */
static int64_t step_of(const fattn_tensor *tensor, int axis)
{
    const int64_t stride = tensor->strides[axis];
    return stride == INT64_MIN ? INT64_MAX : stride < 0 ? -stride : stride;
}

/* The axis not yet taken with the smallest step; -1 when none has more than one element. */
static int next_axis(const fattn_tensor *tensor, const bool *taken)
{
    int next = -1;
    for (int i = 0; i < tensor->rank; i++) {
        if (taken[i] || tensor->shape[i] <= 1) continue;
        if (next < 0 || step_of(tensor, i) < step_of(tensor, next)) next = i;
    }
    return next;
}

bool tensor_overlaps(const fattn_tensor *tensor)
{
    bool taken[FATTN_MAX_RANK] = {false};
    int64_t reach = 0; /* from the first to the last element along the axes taken so far */
    if (tensor_elements(tensor) == 0) return false;
    for (int i = next_axis(tensor, taken); i >= 0; i = next_axis(tensor, taken)) {
        if (step_of(tensor, i) <= reach) return true;
        reach += step_of(tensor, i) * (tensor->shape[i] - 1);
        taken[i] = true;
    }
    return false;
}

fattn_status tensor_check_output(const fattn_tensor *tensor, const char *name)
{
    char shape[SHAPE_TEXT];
    REQUIRE(
        !tensor_overlaps(tensor), FATTN_E_SHAPE,
        "%s: %s: its strides put several elements into one place; an output needs memory for each",
        name, tensor_print(tensor, shape, sizeof shape));
    return FATTN_OK;
}

const char *tensor_print(const fattn_tensor *tensor, char *buffer, size_t size)
{
    const bool sane = tensor->rank >= 0 && tensor->rank <= FATTN_MAX_RANK;
    fattn_text text = {.buffer = buffer, .size = size};
    text_put(&text, fattn_dtype_name(tensor->dtype));
    text_put(&text, "[");
    for (int i = 0; sane && i < tensor->rank; i++) {
        if (i) text_put(&text, ",");
        text_put_int(&text, tensor->shape[i]);
    }
    text_put(&text, sane ? "]" : "?]");
    return buffer;
}
