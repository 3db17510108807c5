/* SPDX-License-Identifier: Apache-2.0 */
/* The schedule's corners, one update worked out by hand, and clipping. */
#include "cm.h"

#include <math.h>
#include <stdlib.h>

#include "train/adamw.h"

static void assert_near(double a, double b, double by) { assert_true(fabs(a - b) <= by); }

static const config shape = {.hidden_size = 2,
                             .num_hidden_layers = 1,
                             .num_attention_heads = 1,
                             .num_key_value_heads = 1,
                             .intermediate_size = 1,
                             .vocab_size = 2,
                             .max_position_embeddings = 4};

static void the_rate_warms_up_and_decays_to_a_tenth(void **state)
{
    (void)state;
    const adamw a = {.lr = 0.4, .warmup = 4, .steps = 104};
    assert_near(adamw_rate(&a, 0), 0.1, 1e-15);
    assert_near(adamw_rate(&a, 3), 0.4, 1e-15);
    assert_near(adamw_rate(&a, 4), 0.4, 1e-15);
    assert_near(adamw_rate(&a, 54), 0.4 * 0.55, 1e-12); /* half way: the mean of 1 and 0.1 */
    assert_near(adamw_rate(&a, 104), 0.04, 1e-12);
    assert_near(adamw_rate(&a, 500), 0.04, 1e-12);
}

typedef struct fixture {
    weights params, grads;
    adamw a;
    weight list[16];
    int n;
} fixture;

static fixture new_fixture(double clip)
{
    fixture f = {.params = weights_new(&shape), .grads = weights_new(&shape)};
    f.a = (adamw){.lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 0, .weight_decay = 0.5,
                  .clip = clip, .steps = 1 << 30, .m = reals(f.params.n), .v = reals(f.params.n)};
    f.n = weights_list(&shape, &f.params, f.list);
    for (size_t i = 0; i < f.params.n; i++) f.params.all[i] = 1, f.grads.all[i] = i % 2 ? -3 : 4;
    return f;
}

static void free_fixture(fixture *f)
{
    weights_free(&f->params), weights_free(&f->grads);
    free(f->a.m), free(f->a.v);
}

/* The first step moves every parameter by the rate against the sign of its gradient; matrices shrink
 * by rate * decay first, the embedding and the norms do not. */
static void one_step(void **state)
{
    (void)state;
    fixture f = new_fixture(0);
    const double norm = adamw_step(&f.a, f.list, f.n, &f.params, &f.grads, 0);
    const double half = (double)f.params.n / 2;
    assert_int_equal(f.params.n % 2, 0);
    assert_near(norm, sqrt(half * 25), 1e-5);
    for (int t = 0; t < f.n; t++) {
        const bool norms = f.list[t].rank == 1, embedding = t == 0;
        assert_int_equal(f.list[t].decays, !norms && !embedding);
        for (int i = 0; i < f.list[t].rows * f.list[t].cols; i++) {
            const size_t at = (size_t)(f.list[t].at - f.params.all) + (size_t)i;
            const double kept = f.list[t].decays ? 0.95 : 1, sign = at % 2 ? -1 : 1;
            assert_near((double)f.params.all[at], kept - 0.1 * sign, 1e-6);
        }
    }
    for (size_t i = 0; i < f.grads.n; i++) assert_true(f.grads.all[i] == 0);
    free_fixture(&f);
}

static void clipping_scales_all_gradients_alike(void **state)
{
    (void)state;
    fixture f = new_fixture(1);
    const double norm = adamw_step(&f.a, f.list, f.n, &f.params, &f.grads, 0);
    double squares = 0; /* the first moment is a tenth of the clipped gradient */
    for (size_t i = 0; i < f.params.n; i++) squares += 100 * (double)f.a.m[i] * (double)f.a.m[i];
    assert_true(norm > 1);
    assert_near(sqrt(squares), 1, 1e-5);
    free_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_warms_up_and_decays_to_a_tenth),
        cmocka_unit_test(one_step),
        cmocka_unit_test(clipping_scales_all_gradients_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
