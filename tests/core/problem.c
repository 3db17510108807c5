/* SPDX-License-Identifier: Apache-2.0 */
/* problem.c — the invariants stop what breaks them (in a child process, by SIGABRT), and the
 * canonical form says what a problem is. */
#include "core/problem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct legal {
    fattn_problem p;
    fattn_seq seqs[2];
} legal;

static void legal_init(legal *x)
{
    const fattn_view qk = {.dtype = FATTN_F16, .n_parts = 1, .part = {{.d = 64}}};
    const fattn_view values = {.dtype = FATTN_F16, .n_parts = 1, .part = {{.d = 32}}};
    *x = (legal){
        .p = {.n_heads = 8,
              .n_kv_heads = 2,
              .group = 4,
              .d_qk = 64,
              .d_v = 32,
              .q = qk,
              .k = qk,
              .v = values,
              .out = values,
              .n_seqs = 2,
              .scale = 0.125},
        .seqs = {{.q_len = 3, .kv_len = 9, .band_lo = -12, .band_hi = 12},
                 {.batch = 1, .q_len = 5, .kv_len = 9, .band_lo = -14, .band_hi = 14}},
    };
    x->p.seqs = x->seqs;
}

static bool aborts(const fattn_problem *p)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        problem_assert(p);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void invariants(void **state)
{
    (void)state;
    legal x;
    legal_init(&x);
    problem_assert(&x.p);

#define BREAKS(change)                                                                             \
    do {                                                                                           \
        legal_init(&x);                                                                            \
        change;                                                                                    \
        if (!aborts(&x.p)) fail_msg("not noticed: %s", #change);                                   \
    } while (0)
    BREAKS(x.p.n_heads = 0);
    BREAKS(x.p.group = 3);
    BREAKS(x.p.d_qk = 63);
    BREAKS(x.p.d_v = 33);
    BREAKS(x.p.k.n_parts = 2);
    BREAKS(x.p.q.page_rows = 16);
    BREAKS(x.p.k.page_rows = 16); /* without a table */
    BREAKS(x.seqs[1].q_len = -1);
    BREAKS(x.seqs[1].kv_len = -1);
    BREAKS(x.seqs[1].band_lo = -15);
    BREAKS(x.seqs[1].band_hi = 15);
    BREAKS(x.seqs[1].prefix = 10);
    BREAKS(x.seqs[1].pad = true);
    BREAKS(x.p.want_max_sum = true); /* without replicas */
    BREAKS((x.p.bias.kind = BIAS_SLOPE, x.p.bias.before_scale = true));
#undef BREAKS
}

static void check_text(const fattn_problem *p, const char *want)
{
    char text[256];
    const int length = problem_print(p, text, sizeof text);
    assert_string_equal(text, want);
    assert_int_equal(length, strlen(want));
}

static void canonical_form(void **state)
{
    (void)state;
    legal x;
    legal_init(&x);
    check_text(&x.p, "heads 8/2 d 64/32 q f16 k f16 v f16 out f16 seqs 2 q_len 3..5 kv_len 9 scale "
                     "0.125");
    x.seqs[0].band_hi = x.seqs[1].band_hi = 0;
    x.seqs[0].band_lo = x.seqs[1].band_lo = -2;
    x.seqs[0].prefix = x.seqs[1].prefix = 3;
    x.p.mask.present = x.p.sink = x.p.want_max_sum = x.p.want_lse = true;
    x.p.bias.kind = BIAS_COMPRESSED, x.p.bias.before_scale = true;
    x.p.k.page_rows = 16;
    x.p.round_scores_f16 = true;
    check_text(&x.p,
               "heads 8/2 d 64/32 q f16 k f16 v f16 out f16 seqs 2 q_len 3..5 kv_len 9 paged "
               "16 scale 0.125 band -2..0 prefix 3 mask bias=compressed*scale sink f16_scores "
               "max_sum lse");
    x.seqs[1].band_hi = 4;
    char text[256];
    problem_print(&x.p, text, sizeof text);
    assert_non_null(strstr(text, "prefix 3+"));
}

/* Like snprintf: the length is that of the whole text, and nothing is written past the end. */
static void cut_short(void **state)
{
    (void)state;
    legal x;
    legal_init(&x);
    char whole[256], part[256];
    const int length = problem_print(&x.p, whole, sizeof whole);
    assert_int_equal(problem_print(&x.p, NULL, 0), length);
    for (size_t size = 1; size <= (size_t)length + 1; size++) {
        memset(part, 'x', sizeof part);
        assert_int_equal(problem_print(&x.p, part, size), length);
        assert_memory_equal(part, whole, size - 1);
        assert_int_equal(part[size - 1], 0);
        assert_int_equal(part[size], 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invariants),
        cmocka_unit_test(canonical_form),
        cmocka_unit_test(cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
