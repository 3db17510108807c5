/* SPDX-License-Identifier: Apache-2.0 */
/* Random problem lines against float64: every element of every output inside its bound, the same
 * bits with another number of threads, and a histogram of what was covered.
 *
 * usage: test_lines [--count N] [--seed S] [--op NAME]    per operator; 5,000 lines are what CI
 * runs, 30,000 with FATTN_TEST_FULL (FATTN_LINES_COUNT sets N too) */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generate.h"
#include "sets.h"
#include "tools/problem_line.h"

enum { CONTEXTS_MAX = 8, SEEN_MAX = 128 };

typedef struct seen {
    char feature[FEATURE_SIZE];
    long count;
} seen;

typedef struct session {
    fattn_context *contexts[CONTEXTS_MAX]; /* one per available ISA, two threads */
    fattn_context *alone;                  /* one thread, best ISA */
    int n_contexts;
    seen seen[SEEN_MAX];
    int n_seen;
    long failures;
    double worst; /* error / bound */
} session;

static fattn_context *context_of(const char *isa, int threads)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.isa = isa;
    options.threads = threads;
    fattn_context *context = NULL;
    if (fattn_context_create(&context, &options) != FATTN_OK) {
        fprintf(stderr, "%s\n", fattn_error_message());
        exit(1);
    }
    return context;
}

static void count(session *s, const char *feature)
{
    for (int i = 0; i < s->n_seen; i++)
        if (strcmp(s->seen[i].feature, feature) == 0) {
            s->seen[i].count++;
            return;
        }
    if (s->n_seen == SEEN_MAX) abort();
    snprintf(s->seen[s->n_seen].feature, FEATURE_SIZE, "%s", feature);
    s->seen[s->n_seen++].count = 1;
}

static void fail(session *s, const char *line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fail(session *s, const char *line, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("FAILED: ");
    vprintf(format, list);
    printf("\n  %s\n", line);
    va_end(list);
    s->failures++;
}

/* Every element inside its bound; the share of correctly rounded ones speaks only where values do
 * not repeat and fp32 can tell: one-hot data has a handful of distinct results, and one that lies near
 * a tie is all of them; increasing data has scores in the thousands, whose rounding moves a
 * probability by more than half an ulp of a 16-bit result, and where dropout takes cells away the
 * errors of the others do not cancel. */
static bool passes(const char *text, const fattn_verify_report *report)
{
    const bool repeats = strstr(text, "fill=onehot");
    const bool moved = strstr(text, "fill=increasing") && strstr(text, "keep_prob");
    return report->passed || (report->outside == 0 && (repeats || moved));
}

/* Runs the line and verifies it; the caller destroys what comes back (NULL after a failure). */
static problem_line *run(session *s, const char *text, fattn_context *context, bool verify)
{
    line_error error;
    problem_line *line = line_open(text, &error);
    if (!line) {
        fail(s, text, "the line does not parse: %s (column %d)", error.text, error.position);
        return NULL;
    }
    fattn_verify_report report = {.size = sizeof report, .passed = true};
    fattn_status status = line_call(line, context);
    if (status == FATTN_OK && verify) status = fattn_verify(context, line->op, line->args, &report);
    if (status == FATTN_OK && passes(text, &report)) {
        s->worst = report.worst > s->worst ? report.worst : s->worst;
        return line;
    }
    if (status != FATTN_OK)
        fail(s, text, "%s: %s", fattn_status_name(status), fattn_error_message());
    else
        fail(s, text,
             "isa %s: %lld of %lld outside; worst %s[%lld] = %.9g, exact %.9g, bound %.3g; %.4f "
             "rounded",
             fattn_context_isa(context), (long long)report.outside, (long long)report.elements,
             report.worst_output, (long long)report.worst_index, report.worst_got,
             report.worst_exact, report.worst_bound, report.correctly_rounded);
    line_destroy(line);
    return NULL;
}

static size_t bytes_of(const fattn_tensor *t)
{
    size_t bytes = fattn_dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++) bytes *= (size_t)t->shape[i];
    return bytes;
}

/* Outputs come from shapes(), so they are contiguous. */
static bool same_outputs(const problem_line *a, const problem_line *b)
{
    for (int i = 0; i < a->op->n_fields; i++) {
        const fattn_field *f = &a->op->fields[i];
        if (f->kind != FATTN_FIELD_TENSOR_OUT) continue;
        const fattn_tensor *x = line_tensor_of(a, f->name, 0), *y = line_tensor_of(b, f->name, 0);
        if (x && memcmp(x->data, y->data, bytes_of(x)) != 0) return false;
    }
    return true;
}

/* The line without its word `name=...`; false when it has none. */
static bool without(const char *text, const char *name, char *out, size_t size)
{
    char word[32];
    snprintf(word, sizeof word, " %s=", name);
    const char *at = strstr(text, word);
    if (!at) return false;
    const char *rest = at + 1 + strcspn(at + 1, " ");
    snprintf(out, size, "%.*s%s", (int)(at - text), text, rest);
    return true;
}

/* The same rows in a cache of another form, and in no cache at all. */
static void other_places(session *s, const random_line *line, const problem_line *first,
                         fattn_context *context)
{
    static const char *const others[] = {"", " page=16 page_layout=BnBsH",
                                         " page=33 page_layout=BnNBsD", " page=128 page_layout=NZ"};
    char bare[LINE_SIZE], text[LINE_SIZE + 64], plain[LINE_SIZE];
    if (!without(line->text, "page", bare, sizeof bare)) return;
    if (!without(bare, "page_layout", plain, sizeof plain))
        snprintf(plain, sizeof plain, "%s", bare);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(text, sizeof text, "%s%s", plain, others[i]);
        problem_line *again = run(s, text, context, false);
        if (again && !same_outputs(first, again)) fail(s, text, "not the bits of: %s", line->text);
        line_destroy(again);
    }
}

static void one_line(session *s, const char *op, uint64_t seed, uint64_t number)
{
    random_line line;
    generate_line(&line, op, seed, number);
    for (int i = 0; i < line.n_features; i++) count(s, line.features[i]);
    problem_line *first = run(s, line.text, s->contexts[number % (uint64_t)s->n_contexts], true);
    if (first && number % (uint64_t)s->n_contexts == 0) {
        problem_line *again = run(s, line.text, s->alone, false);
        if (again && !same_outputs(first, again)) fail(s, line.text, "one thread gives other bits");
        line_destroy(again);
    }
    if (first && number % 8 == 1)
        other_places(s, &line, first, s->contexts[number % (uint64_t)s->n_contexts]);
    line_destroy(first);
}

static void check_goals(session *s, const char *op, long lines)
{
    const char *feature;
    int per_mille;
    printf("%s: %ld lines, worst error / bound %.3f\n", op, lines, s->worst);
    for (int i = 0; i < s->n_seen; i++)
        printf("  %5.1f %%  %s\n", 100.0 * (double)s->seen[i].count / (double)lines,
               s->seen[i].feature);
    for (int i = 0; generate_goal(op, i, &feature, &per_mille); i++) {
        long found = 0;
        for (int k = 0; k < s->n_seen; k++)
            if (strcmp(s->seen[k].feature, feature) == 0) found = s->seen[k].count;
        if (found * 1000 >= (long)per_mille * lines) continue;
        printf("FAILED: %s: \"%s\" in %ld of %ld lines, %d per mille wanted\n", op, feature, found,
               lines, per_mille);
        s->failures++;
    }
}

static long run_operator(session *s, const char *op, uint64_t seed, long lines)
{
    s->n_seen = 0;
    s->worst = 0;
    s->failures = 0;
    for (long i = 0; i < lines && s->failures < 10; i++) one_line(s, op, seed, (uint64_t)i);
    check_goals(s, op, lines);
    return s->failures;
}

static long default_lines(void)
{
    const char *wanted = getenv("FATTN_LINES_COUNT");
    return wanted ? atol(wanted) : getenv("FATTN_TEST_FULL") ? 30000 : 5000;
}

int main(int argc, char **argv)
{
    static const char *const operators[] = {"fusion_attention", "prompt_flash_attention",
                                            "incre_flash_attention", "fused_infer_attention_score",
                                            "fused_infer_attention_score_v2",
                                            "fusion_attention_grad"};
    const char *only = NULL;
    long lines = default_lines(), passed = 0, failed = 0;
    uint64_t seed = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--count") == 0) lines = atol(argv[i + 1]);
        if (strcmp(argv[i], "--seed") == 0) seed = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--op") == 0) only = argv[i + 1];
    }
    session s = {.alone = context_of(NULL, 1)};
    fattn_capability_set set = {.size = sizeof set};
    if (fattn_capabilities(NULL, &set) != FATTN_OK) return 1;
    for (int i = 0; set.isas[i] && i < CONTEXTS_MAX; i++)
        s.contexts[s.n_contexts++] = context_of(set.isas[i], 2);

    printf("seed %llu, %ld lines per operator\n", (unsigned long long)seed, lines);
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (only && strcmp(only, operators[i]) != 0) continue;
        const long bad = run_operator(&s, operators[i], seed, lines);
        passed += bad == 0;
        failed += bad != 0;
    }
    for (int i = 0; i < s.n_contexts; i++) fattn_context_destroy(s.contexts[i]);
    fattn_context_destroy(s.alone);
    printf("%ld passed, %ld failed\n", passed, failed);
    return report_sets(failed != 0 || passed == 0);
}
