/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c — every layout against its index formula written out, the sentences of refusals, and
 * shapes and strides made of arbitrary int64. */
#include "core/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rng.h"

__extension__ typedef __int128 wide;

enum { B = 2, S = 5, N = 3, D = 4, H = N * D };

/* Flat position of (b, s, n, d) in a contiguous tensor of each layout. */
static int64_t at_bsh(int b, int s, int n, int d) { return (b * S + s) * H + n * D + d; }
static int64_t at_sbh(int b, int s, int n, int d) { return (s * B + b) * H + n * D + d; }
static int64_t at_bsnd(int b, int s, int n, int d) { return ((b * S + s) * N + n) * D + d; }
static int64_t at_bnsd(int b, int s, int n, int d) { return ((b * N + n) * S + s) * D + d; }
static int64_t at_tnd(int b, int s, int n, int d) { return (b * 0 + s * N + n) * D + d; }
static int64_t at_ntd(int b, int s, int n, int d) { return (b * 0 + n * S + s) * D + d; }
static int64_t at_nbsd(int b, int s, int n, int d) { return ((n * B + b) * S + s) * D + d; }
static int64_t at_sh(int b, int s, int n, int d) { return b * 0 + s * H + n * D + d; }
static int64_t at_dsnb(int b, int s, int n, int d) { return ((d * S + s) * N + n) * B + b; }

static const struct layout_case {
    const char *letters;
    int64_t (*at)(int b, int s, int n, int d);
    int rank;
    int64_t shape[4];
    int batches;
    bool packed;
} layouts[] = {
    {"BSH", at_bsh, 3, {B, S, H, 0}, B, false},   {"SBH", at_sbh, 3, {S, B, H, 0}, B, false},
    {"BSND", at_bsnd, 4, {B, S, N, D}, B, false}, {"BNSD", at_bnsd, 4, {B, N, S, D}, B, false},
    {"TND", at_tnd, 3, {S, N, D, 0}, 1, true},    {"NTD", at_ntd, 3, {N, S, D, 0}, 1, true},
    {"NSD", at_ntd, 3, {N, S, D, 0}, 1, false},   {"NBSD", at_nbsd, 4, {N, B, S, D}, B, false},
    {"SH", at_sh, 2, {S, H, 0, 0}, 1, false},     {"DSNB", at_dsnb, 4, {D, S, N, B}, B, false},
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

static void index_formulas(void **state)
{
    (void)state;
    float data[B * S * H];
    for (int l = 0; l < LAYOUTS; l++) {
        const struct layout_case *c = &layouts[l];
        const fattn_tensor tensor = fattn_tensor_contiguous(data, FATTN_F32, c->rank, c->shape);
        fattn_axes axes;
        assert_int_equal(layout_read(&axes, c->letters, &tensor, N, "query"), FATTN_OK);
        assert_int_equal(axes.b, c->batches);
        assert_int_equal(axes.s, S);
        assert_int_equal(axes.n, N);
        assert_int_equal(axes.d, D);
        for (int b = 0; b < c->batches; b++)
            for (int s = 0; s < S; s++)
                for (int n = 0; n < N; n++)
                    for (int d = 0; d < D; d++) {
                        const int64_t got = b * axes.b_stride + s * axes.s_stride +
                                            n * axes.n_stride + d * axes.d_stride;
                        if (got != c->at(b, s, n, d))
                            fail_msg("%s (%d,%d,%d,%d): %lld", c->letters, b, s, n, d,
                                     (long long)got);
                    }
        assert_int_equal(layout_packed(c->letters), c->packed);
    }
}

/* Strides that are no permutation of a dense array: a slice of a larger one, broadcast, reversed.
 */
static void given_strides(void **state)
{
    (void)state;
    float cell;
    const fattn_tensor tensor = {&cell, FATTN_F32, 3, {B, S, H}, {0, -100, 7}};
    fattn_axes axes;
    assert_int_equal(layout_read(&axes, "BSH", &tensor, N, "key"), FATTN_OK);
    assert_int_equal(axes.b_stride, 0);
    assert_int_equal(axes.s_stride, -100);
    assert_int_equal(axes.n_stride, 7 * D);
    assert_int_equal(axes.d_stride, 7);
}

/* The strides of extents <= 1, and of empty tensors, must not matter: they come out as 0 (columns:
 * 1). */
static void strides_nobody_uses(void **state)
{
    (void)state;
    float cell;
    const fattn_tensor one = {&cell, FATTN_F32, 4, {1, 1, 1, 1}, {INT64_MAX, INT64_MIN, -5, 9}};
    const fattn_tensor none = {NULL, FATTN_F32, 3, {4, 0, 6}, {INT64_MAX, INT64_MIN, INT64_MAX}};
    fattn_axes axes;
    assert_int_equal(layout_read(&axes, "BSND", &one, 0, "key"), FATTN_OK);
    assert_int_equal(axes.b_stride | axes.s_stride | axes.n_stride, 0);
    assert_int_equal(axes.d_stride, 1);
    assert_int_equal(layout_read(&axes, "BSH", &none, 2, "key"), FATTN_OK);
    assert_int_equal(axes.b_stride | axes.s_stride | axes.n_stride, 0);
    assert_int_equal(axes.d_stride, 1);
    assert_int_equal(axes.b, 4);
    assert_int_equal(axes.s, 0);
    assert_int_equal(axes.d, 3);
}

static void shapes(void **state)
{
    (void)state;
    for (int l = 0; l < LAYOUTS; l++) {
        int64_t shape[FATTN_MAX_RANK];
        assert_int_equal(layout_shape(shape, layouts[l].letters, layouts[l].batches, S, N, D),
                         layouts[l].rank);
        for (int i = 0; i < layouts[l].rank; i++)
            if (shape[i] != layouts[l].shape[i]) fail_msg("%s axis %d", layouts[l].letters, i);
    }
    int64_t shape[FATTN_MAX_RANK];
    assert_int_equal(layout_shape(shape, "BSH", 1, 1, 1ll << 40, 1ll << 40), 3);
    assert_true(shape[2] == INT64_MAX);
}

static void expect(fattn_status got, fattn_status want, const char *sentence)
{
    /* the page behind it is the business of base/messages */
    if (got != want || strncmp(fattn_error_message(), sentence, strlen(sentence)) != 0)
        fail_msg("status %d, \"%s\"\ninstead of %d, \"%s\"", got, fattn_error_message(), want,
                 sentence);
}

static void sentences(void **state)
{
    (void)state;
    char data[4];
    fattn_axes axes;
    const fattn_tensor bsh = fattn_tensor_contiguous(data, FATTN_F16, 3, (int64_t[]){2, 5, 96});
    expect(layout_read(&axes, "BSH", &bsh, 5, "key"), FATTN_E_SHAPE,
           "key: shape f16[2,5,96] does not fit BSH with 5 heads: 96 is not a multiple of 5");
    expect(layout_read(&axes, "BSH", &bsh, 0, "key"), FATTN_E_SHAPE,
           "key: layout BSH needs a positive head count, not 0");
    expect(layout_read(&axes, "BSND", &bsh, 4, "query"), FATTN_E_SHAPE,
           "query: shape f16[2,5,96] does not fit BSND: rank 3 instead of 4");
    expect(layout_read(&axes, "BXH", &bsh, 4, "query"), FATTN_E_ARG,
           "query: layout BXH: 'X' is none of the letters B S T N H D");
    expect(layout_read(&axes, "BNH", &bsh, 4, "query"), FATTN_E_ARG,
           "query: layout BNH: 'H' names an axis twice");
    expect(layout_read(&axes, "STH", &bsh, 4, "query"), FATTN_E_ARG,
           "query: layout STH: 'T' names an axis twice");
    expect(layout_read(&axes, "", &bsh, 4, "query"), FATTN_E_ARG, "query: the layout is empty");
    expect(layout_read(&axes, NULL, &bsh, 4, "query"), FATTN_E_ARG, "query: the layout is empty");
    expect(layout_read(&axes, "BSH", NULL, 4, "value"), FATTN_E_ARG, "value: missing");
}

static fattn_tensor tensor_of(void *data, fattn_dtype dtype, int rank, int64_t extent,
                              int64_t stride)
{
    fattn_tensor t = {.data = data, .dtype = dtype, .rank = rank};
    for (int i = 0; i < FATTN_MAX_RANK; i++) t.shape[i] = extent, t.strides[i] = stride;
    return t;
}

static void refused_tensors(void **state)
{
    (void)state;
    char data[8];
    const struct {
        fattn_tensor tensor;
        fattn_status want;
    } list[] = {
        {tensor_of(data, FATTN_F32, -1, 1, 1), FATTN_E_SHAPE},
        {tensor_of(data, FATTN_F32, 9, 1, 1), FATTN_E_SHAPE},
        {tensor_of(data, FATTN_F32, INT32_MAX, 1, 1), FATTN_E_SHAPE},
        {tensor_of(data, FATTN_F32, INT32_MIN, 1, 1), FATTN_E_SHAPE},
        {tensor_of(data, FATTN_DTYPE_NONE, 2, 1, 1), FATTN_E_DTYPE},
        {tensor_of(data, (fattn_dtype)77, 2, 1, 1), FATTN_E_DTYPE},
        {tensor_of(data, (fattn_dtype)-1, 2, 1, 1), FATTN_E_DTYPE},
        {tensor_of(data, FATTN_F32, 2, -1, 1), FATTN_E_SHAPE},
        {tensor_of(data, FATTN_F32, 2, INT64_MIN, 1), FATTN_E_SHAPE},
        {tensor_of(data, FATTN_F32, 1, INT64_MAX, 0), FATTN_E_SHAPE}, /* bytes */
        {tensor_of(data, FATTN_U8, 1, INT64_MAX, 0), FATTN_OK},       /* broadcast of one byte */
        {tensor_of(data, FATTN_U8, 2, 1ll << 32, 0), FATTN_E_SHAPE},
        {tensor_of(data, FATTN_F32, 2, 2, INT64_MAX / 8 + 1), FATTN_E_SHAPE}, /* span */
        {tensor_of(data, FATTN_F32, 1, 2, INT64_MIN), FATTN_E_SHAPE},
        {tensor_of(data, FATTN_F32, 1, 2, INT64_MAX / 4 - 1), FATTN_OK},
        {tensor_of(data, FATTN_F32, 1, 2, -(INT64_MAX / 4 - 1)), FATTN_OK},
        {tensor_of(data, FATTN_F32, 1, 2, INT64_MAX / 4), FATTN_E_SHAPE},
        {tensor_of(NULL, FATTN_F32, 1, 2, 1), FATTN_E_ARG},
        {tensor_of(NULL, FATTN_F32, 1, 0, 1), FATTN_OK},
        {tensor_of(NULL, FATTN_F32, 8, 0, INT64_MIN), FATTN_OK},
        {tensor_of(data, FATTN_F32, 0, 0, 0), FATTN_OK}, /* a scalar has one element */
        {tensor_of(NULL, FATTN_F32, 0, 0, 0), FATTN_E_ARG},
    };
    for (size_t n = 0; n < sizeof list / sizeof list[0]; n++) {
        const fattn_status got = tensor_check(&list[n].tensor, "key", true);
        if (got != list[n].want)
            fail_msg("case %zu: status %d instead of %d (%s)", n, got, list[n].want,
                     fattn_error_message());
        if (got != FATTN_OK) assert_memory_equal(fattn_error_message(), "key: ", 5);
    }
    assert_int_equal(tensor_check(NULL, "key", false), FATTN_E_ARG);
    assert_int_equal(tensor_check(&list[17].tensor, "key", false), FATTN_OK);
}

/* The rule for extents and strides once more, in 128 bits. */
static bool is_legal(const fattn_tensor *t)
{
    const wide limit = INT64_MAX, size = (wide)fattn_dtype_size(t->dtype);
    wide count = size, span = 1;
    bool empty = false;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0) return false;
        empty |= t->shape[i] == 0;
        count *= t->shape[i] > 1 ? t->shape[i] : 1;
        if (count > limit) return false;
    }
    for (int i = 0; !empty && i < t->rank; i++) {
        if (t->shape[i] <= 1) continue;
        const wide stride = t->strides[i] < 0 ? -(wide)t->strides[i] : t->strides[i];
        if (stride * (t->shape[i] - 1) > limit) return false;
        span += stride * (t->shape[i] - 1);
    }
    return span * size <= limit;
}

static void random_garbage(void **state)
{
    (void)state;
    rng r = rng_new(7);
    int legal = 0, read = 0;
    char data[8];
    for (int n = 0; n < 100000; n++) {
        fattn_tensor t = {.data = data, .dtype = (fattn_dtype)rng_between(&r, 1, 12)};
        t.rank = (int32_t)rng_between(&r, 0, FATTN_MAX_RANK);
        for (int i = 0; i < t.rank; i++) {
            t.shape[i] = rng_nasty(&r);
            if (rng_between(&r, 0, 1)) t.shape[i] = rng_between(&r, 0, 6);
            t.strides[i] = rng_nasty(&r);
        }
        const bool want = is_legal(&t);
        if ((tensor_check(&t, "key", true) == FATTN_OK) != want) {
            char text[256];
            fail_msg("iteration %d: %s should be %s", n, tensor_print(&t, text, sizeof text),
                     want ? "accepted" : "refused");
        }
        legal += want;
        if (want) assert_true(tensor_elements(&t) >= 0);
        if (want) (void)tensor_contiguous(&t);
        fattn_axes axes;
        const char *letters = layouts[rng_between(&r, 0, LAYOUTS - 1)].letters;
        if (layout_read(&axes, letters, &t, rng_nasty(&r), "key") == FATTN_OK) {
            assert_true(want && axes.b >= 0 && axes.s >= 0 && axes.n >= 0 && axes.d >= 0);
            read++;
        }
    }
    assert_true(legal > 1000 && read > 100);
}

static void contiguity(void **state)
{
    (void)state;
    const int64_t shape[] = {2, 1, 3};
    fattn_tensor t = fattn_tensor_contiguous(NULL, FATTN_F32, 3, shape);
    assert_true(tensor_contiguous(&t));
    t.strides[1] = 77; /* of an extent of one */
    assert_true(tensor_contiguous(&t));
    t.strides[0] = 4;
    assert_false(tensor_contiguous(&t));
    t.strides[0] = 3, t.strides[2] = 2;
    assert_false(tensor_contiguous(&t));
    t.shape[2] = 0;
    assert_true(tensor_contiguous(&t));
    assert_int_equal(tensor_elements(&t), 0);
}

/* What an output may look like: every element its own place. */
static void overlapping(void **state)
{
    (void)state;
    static const struct {
        int64_t strides[3];
        bool overlaps;
    } cases[] = {
        {{12, 4, 1}, false}, {{1, 2, 6}, false},   {{1, 2, 5}, true},   {{-12, 4, -1}, false},
        {{0, 4, 1}, true},   {{100, 4, 1}, false}, {{8, 4, 1}, true},   {{12, 3, 1}, true},
        {{9, 4, 1}, true},   {{4, 8, 1}, false},   {{24, 8, 2}, false}, {{11, 4, 1}, true},
    };
    const int64_t shape[] = {2, 3, 4};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fattn_tensor t = fattn_tensor_contiguous(NULL, FATTN_F32, 3, shape);
        memcpy(t.strides, cases[i].strides, sizeof cases[i].strides);
        if (tensor_overlaps(&t) != cases[i].overlaps) fail_msg("case %zu", i);
        t.shape[2] = 0; /* nothing there */
        assert_false(tensor_overlaps(&t));
    }
}

static void printing(void **state)
{
    (void)state;
    char text[256], small[8];
    fattn_tensor t = fattn_tensor_contiguous(NULL, FATTN_BF16, 3, (int64_t[]){2, 8, 64});
    assert_string_equal(tensor_print(&t, text, sizeof text), "bf16[2,8,64]");
    assert_string_equal(tensor_print(&t, small, sizeof small), "bf16[2,");
    t.rank = 0;
    assert_string_equal(tensor_print(&t, text, sizeof text), "bf16[]");
    t = tensor_of(NULL, (fattn_dtype)99, 4000, 1, 1);
    assert_string_equal(tensor_print(&t, text, sizeof text), "?[?]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_formulas),      cmocka_unit_test(given_strides),
        cmocka_unit_test(strides_nobody_uses), cmocka_unit_test(shapes),
        cmocka_unit_test(sentences),           cmocka_unit_test(refused_tensors),
        cmocka_unit_test(random_garbage),      cmocka_unit_test(contiguity),
        cmocka_unit_test(overlapping),         cmocka_unit_test(printing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
