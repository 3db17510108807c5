/* SPDX-License-Identifier: Apache-2.0 */
/* load.c — every 16-bit code widened; blocks of any width at every offset from a fence, padded with
 * zeros; packing is the plain transposition. */
#include "check.h"

static void codes(const fattn_kernels *k)
{
    uint16_t *src = malloc(65536 * sizeof *src);
    float *dst = scratch(65536);
    for (int i = 0; i < 65536; i++) src[i] = (uint16_t)i;
    for (int dtype = KERNEL_F16; dtype <= KERNEL_BF16; dtype++) {
        k->load[dtype](dst, 65536, src, 65536, 1, 65536);
        for (size_t i = 0; i < 65536; i++)
            if (!same(dst[i], get(src, i, dtype)))
                fail_msg("%s %s: code %#zx is %a", k->name, dtype_names[dtype], i, (double)dst[i]);
    }
    free(src), free(dst);
}

static void test_codes(void **state)
{
    (void)state;
    each_isa(codes);
}

static int padded(int cols) { return (cols + LANES_MAX - 1) / LANES_MAX * LANES_MAX; }

static void load_one(const fattn_kernels *k, int dtype, int rows, int cols, size_t offset,
                     guard_side side, guard g[2])
{
    uint64_t seed = (uint64_t)cols;
    const size_t size = dtype_size(dtype);
    const ptrdiff_t stride = cols + rows % 3, ld = padded(cols) + rows % 2 * LANES_MAX;
    const size_t n = (size_t)((rows - 1) * stride + cols);
    const size_t out = (size_t)((rows - 1) * ld + padded(cols));
    void *src = guard_place(&g[0], n * size, offset, side);
    float *dst = guard_place(&g[1], out * 4, 0, side);
    for (size_t i = 0; i < n; i++) put(src, i, dtype, 100 * random_float(&seed));

    k->load[dtype](dst, ld, src, stride, rows, cols);

    for (int r = 0; r < rows; r++)
        for (int c = 0; c < padded(cols); c++) {
            const float want = c < cols ? get(src, (size_t)(r * stride + c), dtype) : 0.0f;
            if (!same(dst[r * ld + c], want))
                fail_msg("%s %s: rows=%d cols=%d offset=%zu (%d, %d): %g, want %g", k->name,
                         dtype_names[dtype], rows, cols, offset, r, c, (double)dst[r * ld + c],
                         (double)want);
        }
    if (!guard_intact(&g[0]) || !guard_intact(&g[1]))
        fail_msg("%s %s: rows=%d cols=%d wrote beside", k->name, dtype_names[dtype], rows, cols);
}

static void load_blocks(const fattn_kernels *k)
{
    guard g[2] = {guard_alloc(16384), guard_alloc(16384)};
    for (int dtype = 0; dtype < KERNEL_I4; dtype++) {
        for (int cols = 1; cols <= 70; cols++)
            for (size_t offset = 0; offset < 64; offset += dtype_size(dtype))
                for (int side = GUARD_BEFORE; side <= GUARD_AFTER; side++)
                    load_one(k, dtype, 1 + cols % 4, cols, offset, (guard_side)side, g);
        load_one(k, dtype, 5, 192, 2 * dtype_size(dtype), GUARD_AFTER, g);
    }
    guard_free(&g[0]), guard_free(&g[1]);
}

static void test_load(void **state)
{
    (void)state;
    each_isa(load_blocks);
}

/* The last row of the block lies at the fence, the others in one piece elsewhere. */
static void pack_one(const fattn_kernels *k, int dtype, int n_rows, int cols, size_t offset,
                     guard_side side, guard g[2])
{
    const int lanes = (n_rows + k->lanes - 1) / k->lanes * k->lanes;
    const size_t size = dtype_size(dtype), out = (size_t)((cols - 1) * TILE_ROWS + lanes);
    uint64_t seed = (uint64_t)(n_rows * 100 + cols);
    const float scale = 0.3f;
    const void *rows[TILE_ROWS];
    char *block = malloc((size_t)(n_rows * cols) * size);
    for (int r = 0; r < n_rows; r++) rows[r] = block + (size_t)(r * cols) * size;
    rows[n_rows - 1] = guard_place(&g[0], (size_t)cols * size, offset, side);
    float *qt = guard_place(&g[1], out * 4, 0, side);
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < cols; c++)
            put((void *)(uintptr_t)rows[r], (size_t)c, dtype, random_float(&seed));

    k->pack[dtype](qt, rows, n_rows, cols, scale);

    for (int c = 0; c < cols; c++)
        for (int lane = 0; lane < lanes; lane++) {
            const float got = qt[c * TILE_ROWS + lane];
            const float want = lane < n_rows ? get(rows[lane], (size_t)c, dtype) * scale : 0.0f;
            if (got != want)
                fail_msg("%s %s: pack rows=%d cols=%d row %d col %d: %g, want %g", k->name,
                         dtype_names[dtype], n_rows, cols, lane, c, (double)got, (double)want);
        }
    for (int c = 0; c + 1 < cols; c++)
        for (int lane = lanes; lane < TILE_ROWS; lane++)
            if (float_bits(qt[c * TILE_ROWS + lane]) != GUARD_PATTERN * 0x01010101u)
                fail_msg("%s: pack wrote lane %d of %d", k->name, lane, lanes);
    if (!guard_intact(&g[0]) || !guard_intact(&g[1]))
        fail_msg("%s %s: pack rows=%d cols=%d wrote beside", k->name, dtype_names[dtype], n_rows,
                 cols);
    free(block);
}

static void pack_blocks(const fattn_kernels *k)
{
    guard g[2] = {guard_alloc(16384), guard_alloc(64 * 144 * 4)};
    for (int dtype = 0; dtype < KERNEL_FLOATS; dtype++) {
        for (int n_rows = 1; n_rows <= TILE_ROWS; n_rows += n_rows < 20 ? 1 : 11)
            for (int cols = 1; cols <= 130; cols += cols < 36 ? 1 : 31)
                pack_one(k, dtype, n_rows, cols, 0, cols % 2 ? GUARD_BEFORE : GUARD_AFTER, g);
        for (size_t offset = 0; offset < 64; offset += dtype_size(dtype))
            for (int side = GUARD_BEFORE; side <= GUARD_AFTER; side++)
                pack_one(k, dtype, 5, 37, offset, (guard_side)side, g);
    }
    guard_free(&g[0]), guard_free(&g[1]);
}

static void test_pack(void **state)
{
    (void)state;
    each_isa(pack_blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_pack),
    };
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
