/* SPDX-License-Identifier: Apache-2.0 */
/* infer_same_bits.c — the same bits whatever the form (docs/accuracy.md): layouts, caches, tensor
 * lists, a shared prefix given apart or inline, left padding, rope parts, sink, modes. One logical
 * call per form; memcmp decides. */
#include "api/infer_form.h"

enum { ROWS = 70, KEYS = 400, NUMBERS = 1 << 18 };

static double first_numbers[NUMBERS], numbers[NUMBERS];

/* Every number that the form yields, in logical order; so those of one sequence come first. */
static size_t collect(const form *f, double *into)
{
    size_t n = 0;
    for (int b = 0; b < f->batch; b++)
        for (int i = 0; i < f->q_len[b]; i++)
            for (int h = 0; h < f->heads; h++) {
                const int s = form_first_row(f, b) + i;
                assert_true(n + (size_t)f->d_v + 1 <= NUMBERS);
                for (int c = 0; c < f->d_v; c++)
                    into[n++] = form_out(f, f->packed ? 0 : b, s, h, c);
                into[n++] = f->lse ? form_lse(f, b, s, h) : 0;
            }
    return n;
}

static size_t answer(form f, const char *what, double *into)
{
    form_make(&f);
    form_call(&f, what);
    const size_t n = collect(&f, into);
    harness_reset();
    return n;
}

static void expect_same(const form *f, size_t n)
{
    char what[120];
    snprintf(what, sizeof what, "%s keys %d block %d prefix %d pads %d %d mode %d %s", f->layout,
             f->kv, f->block, f->prefix, f->q_pad, f->kv_pad, f->mode, fattn_dtype_name(f->dtype));
    const size_t have = answer(*f, what, numbers);
    if (f->batch == FORM_BATCH)
        assert_int_equal(have, n);
    else
        assert_in_range(have, 1, n - 1);
    if (memcmp(numbers, first_numbers, have * sizeof *numbers) == 0) return;
    for (size_t i = 0; i < have; i++)
        if (memcmp(&numbers[i], &first_numbers[i], sizeof *numbers) != 0)
            fail_msg("%s: number %zu is %.9g, not %.9g", what, i, numbers[i], first_numbers[i]);
}

static const char *const layouts[] = {"BSH",       "BSND",      "TND",     "NTD",     "BNSD_BSND",
                                      "BSH_BNSD",  "BSND_BNSD", "NTD_TND", "TND_NTD", "BSH_NBSD",
                                      "BSND_NBSD", "BNSD_NBSD", "BNSD",    "NSD"};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* NSD holds the first sequence only. */
static void take_layout(form *f, const char *layout)
{
    f->layout = layout, f->batch = strpbrk(layout, "BT") ? FORM_BATCH : 1;
}

static form base_form(fattn_dtype dtype, int mode, int rows)
{
    form f = form_usual("BNSD", KV_DENSE, 99);
    f.dtype = dtype, f.mode = mode, f.pre = mode == 4 ? 200 : f.pre,
    f.next = mode == 4 ? 40 : f.next;
    f.heads = 4, f.kv_heads = 2, f.d = 16, f.d_v = 16, f.rope = 8, f.chunk = 8;
    f.q_room = rows, f.kv_room = KEYS, f.same_keys = 130;
    for (int b = 0; b < FORM_BATCH; b++) {
        f.q_len[b] = rows - b * rows / 4;
        f.kv_len[b] = KEYS - 20 - 120 * b;
    }
    return f;
}

/* Calls `f` in every layout with keys at every place. */
static void every_place(form f, size_t n)
{
    for (int l = 0; l < LAYOUTS; l++)
        for (int kv = 0; kv < KV_FORMS; kv++) {
            const bool packed = strchr(layouts[l], 'T') != NULL;
            if (kv == KV_LIST && (packed || f.split_rope)) continue;
            take_layout(&f, layouts[l]), f.kv = (kv_form)kv, f.block = kv == KV_NZ ? 128 : 33;
            expect_same(&f, n);
            if (kv != KV_DENSE || packed || f.prefix > 0) continue;
            f.op = V1, f.q_pad = 0, f.kv_pad = 15;
            expect_same(&f, n);
            f.op = V2, f.q_pad = f.kv_pad = -1;
        }
}

static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};

static void every_form_has_the_same_bits(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++)
        for (int mode = 0; mode <= 4; mode += 3 - mode / 3 * 2) { /* 0, 3, 4 */
            form f = base_form(dtypes[t], mode, mode == 0 ? 2 : ROWS);
            const size_t n = answer(f, "BNSD", first_numbers);
            every_place(f, n);
        }
}

static void a_shared_prefix_is_a_concatenation(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++)
        for (int prefix = 1; prefix <= 130; prefix += 129) {
            form f = base_form(dtypes[t], 3, t == 0 ? ROWS : 3);
            const size_t n = answer(f, "inline", first_numbers);
            f.op = V1, f.prefix = prefix;
            every_place(f, n);
        }
}

static void rope_parts_and_sinks(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++) {
        form f = base_form(dtypes[t], 4, 5);
        f.split_rope = f.sink = true;
        const size_t n = answer(f, "BNSD with rope and sink", first_numbers);
        f.op = V2;
        for (int l = 0; l < LAYOUTS; l++)
            for (int kv = 0; kv < KV_LIST; kv++) {
                take_layout(&f, layouts[l]), f.kv = (kv_form)kv, f.block = kv == KV_NZ ? 16 : 100;
                expect_same(&f, n);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_has_the_same_bits),
        cmocka_unit_test(a_shared_prefix_is_a_concatenation),
        cmocka_unit_test(rope_parts_and_sinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
