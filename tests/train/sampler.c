/* SPDX-License-Identifier: Apache-2.0 */
/* Greedy, and the frequencies of drawn tokens against the softmax that temperature, top-k and top-p
 * leave. */
#include "cm.h"

#include <math.h>

#include "train/sampler.h"

enum { VOCAB = 5, DRAWS = 20000 };
static const float logits[VOCAB] = {1.0f, 3.0f, -2.0f, 3.0f, 2.0f};

static void greedy_takes_the_first_of_the_largest(void **state)
{
    (void)state;
    sampler s = {.top_p = 1};
    assert_int_equal(sampler_next(&s, logits, VOCAB), 1);
}

/* Frequencies of `s` are within five standard deviations of `expected`; what has none is never drawn. */
static void check_draws(sampler s, const double *expected)
{
    int drawn[VOCAB] = {0};
    for (int i = 0; i < DRAWS; i++) drawn[sampler_next(&s, logits, VOCAB)]++;
    for (int t = 0; t < VOCAB; t++) {
        const double p = expected[t], deviation = sqrt(p * (1 - p) * DRAWS);
        assert_true(fabs(drawn[t] - p * DRAWS) <= 5 * deviation);
    }
}

static void temperature(void **state)
{
    (void)state;
    double p[VOCAB], sum = 0;
    for (int t = 0; t < VOCAB; t++) sum += p[t] = exp((double)logits[t] / 1.5);
    for (int t = 0; t < VOCAB; t++) p[t] /= sum;
    check_draws((sampler){.temperature = 1.5, .top_p = 1, .seed = 7}, p);
}

static void top_k(void **state)
{
    (void)state;
    const double two[VOCAB] = {0, 0.5, 0, 0.5, 0};
    check_draws((sampler){.temperature = 1, .top_k = 2, .top_p = 1, .seed = 8}, two);
    const double first[VOCAB] = {0, 1, 0, 0, 0};
    check_draws((sampler){.temperature = 1, .top_k = 1, .top_p = 1, .seed = 8}, first);
}

/* e^3, e^3, e^2, e, e^-2: 0.40, 0.40, 0.15, ... The fewest that make 0.9 are three. */
static void top_p(void **state)
{
    (void)state;
    const double three = 2 * exp(3) + exp(2);
    const double p[VOCAB] = {0, exp(3) / three, 0, exp(3) / three, exp(2) / three};
    check_draws((sampler){.temperature = 1, .top_p = 0.9, .seed = 9}, p);
    const double first[VOCAB] = {0, 1, 0, 0, 0};
    check_draws((sampler){.temperature = 1, .top_p = 0.3, .seed = 9}, first);
}

static void a_seed_repeats(void **state)
{
    (void)state;
    sampler a = {.temperature = 2, .top_p = 1, .seed = 5}, b = a, c = a;
    c.seed = 6;
    int same = 0;
    for (int i = 0; i < 200; i++) {
        const int32_t token = sampler_next(&a, logits, VOCAB);
        assert_int_equal(token, sampler_next(&b, logits, VOCAB));
        same += token == sampler_next(&c, logits, VOCAB);
    }
    assert_true(same < 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_first_of_the_largest),
        cmocka_unit_test(temperature),
        cmocka_unit_test(top_k),
        cmocka_unit_test(top_p),
        cmocka_unit_test(a_seed_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
