/* SPDX-License-Identifier: Apache-2.0 */
/* verify_report.c — one paragraph per output: the errors, the vendor's ratios, the worst element.
 *
 * The vendor's double benchmark divides the errors of a result by those of a competitor in the same
 * dtype, both against the exact answer: the largest and the mean relative error (|got - exact| /
 * (|exact| + 1e-7)) and the root mean square error. A level is reached when all three ratios are
 * within its limits. */
#include "verify_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct ratios {
    double max_rel, mean_rel, rms;
} ratios;

static const struct {
    const char *name;
    ratios most;
} levels[] = {{"L2", {2, 1.2, 1.2}}, {"L1", {5, 1.5, 1.5}}, {"L0", {10, 2, 2}}};
enum { N_LEVELS = sizeof levels / sizeof *levels };

static double ratio(double got, double own)
{
    if (isnan(got) || isnan(own)) return NAN;
    if (got == own) return 1;
    return own > 0 ? got / own : INFINITY;
}

/* false when the call itself was compared. A result with errors that are not finite is in no
 * relation to ours: its figures leave those elements out. */
static bool find_ratios(const verified *v, const fattn_verify_output *o, ratios *r)
{
    for (int i = 0; i < v->own.n_outputs; i++) {
        const fattn_verify_output *own = &v->own.outputs[i];
        if (strcmp(own->name, o->name) != 0) continue;
        *r = (ratios){NAN, NAN, NAN};
        if (o->infinite > 0) return true;
        *r = (ratios){ratio(o->max_rel, own->max_rel), ratio(o->mean_rel, own->mean_rel),
                      ratio(o->rms, own->rms)};
        return true;
    }
    return false;
}

/* The strictest level; NaN reaches none. */
static const char *level_of(const ratios *r)
{
    for (int i = 0; i < N_LEVELS; i++)
        if (r->max_rel <= levels[i].most.max_rel && r->mean_rel <= levels[i].most.mean_rel &&
            r->rms <= levels[i].most.rms)
            return levels[i].name;
    return "none";
}

static const result_file *file_of(const verified *v, const char *name)
{
    for (int i = 0; i < v->files.n; i++)
        if (strcmp(v->files.file[i].field->name, name) == 0) return &v->files.file[i];
    return NULL;
}

/* Is this output one that was to be judged? */
static bool is_wanted(const verified *v, const fattn_verify_output *o)
{
    return v->files.n == 0 || file_of(v, o->name) != NULL;
}

/* All outputs that were to be judged, taken together. */
typedef struct summary {
    int64_t elements, outside;
    const fattn_verify_output *first, *worst; /* NULL when nothing was compared */
} summary;

static summary sum_up(const verified *v)
{
    summary sum = {.elements = 0};
    for (int i = 0; i < v->report.n_outputs; i++) {
        const fattn_verify_output *o = &v->report.outputs[i];
        if (!is_wanted(v, o)) continue;
        sum.elements += o->elements;
        sum.outside += o->outside;
        if (!sum.first) sum.first = o;
        if (!sum.worst || o->worst > sum.worst->worst) sum.worst = o;
    }
    return sum;
}

/* Every element is inside its bound, and still the result fails. */
static const char too_few[] = "too few elements are correctly rounded";

static bool only_share(const verified *v, const summary *sum)
{
    return !v->passed && sum->outside == 0;
}

static void print_place(const fattn_verify_output *o)
{
    printf("%s[", o->name);
    for (int i = 0; i < o->worst_rank; i++)
        printf("%s%lld", i ? "," : "", (long long)o->worst_at[i]);
    putchar(']');
}

static void print_output(const verified *v, const fattn_verify_output *o)
{
    ratios r;
    const result_file *file = file_of(v, o->name);
    printf("  %s: %lld elements, %lld outside", o->name, (long long)o->elements,
           (long long)o->outside);
    if (o->nans) printf(", %lld NaN", (long long)o->nans);
    if (file && file->rounded)
        printf(" (%lld of them rounded from %s)", (long long)file->rounded,
               fattn_dtype_name(file->stored));
    printf(
        "\n    max abs %.3g, rms %.3g, max rel %.3g, mean rel %.3g, cosine %.9g, correctly rounded "
        "%.2f %%\n",
        o->max_abs, o->rms, o->max_rel, o->mean_rel, o->cosine, 100 * o->correctly_rounded);
    if (o->infinite > 0)
        printf("    %lld errors are not finite and in none of these figures%s\n",
               (long long)o->infinite, v->own.n_outputs > 0 ? "; level none" : "");
    else if (find_ratios(v, o, &r))
        printf("    vendor's ratios to our own result: max rel %.3g, mean rel %.3g, rms %.3g; "
               "level %s\n",
               r.max_rel, r.mean_rel, r.rms, level_of(&r));
    printf("    worst ");
    print_place(o);
    printf(": got %.9g, exact %.9g, bound %.3g, error %.3g of it\n", o->worst_got, o->worst_exact,
           o->worst_bound, o->worst);
}

void verified_print(const verified *v, const call_source *source)
{
    if (v->status != FATTN_OK || !v->passed) call_print_place(source);
    if (v->status != FATTN_OK) {
        printf("not verified: %s: %s\n", fattn_status_name(v->status), call_sentence(v->status));
        call_print_line(source);
        return;
    }
    const summary sum = sum_up(v);
    printf("%s: %lld elements, %lld outside, worst error %.3g of its bound%s%s\n",
           v->passed ? "passed" : "FAILED", (long long)sum.elements, (long long)sum.outside,
           sum.worst ? sum.worst->worst : 0, only_share(v, &sum) ? "; " : "",
           only_share(v, &sum) ? too_few : "");
    for (int i = 0; i < v->report.n_outputs; i++)
        if (is_wanted(v, &v->report.outputs[i])) print_output(v, &v->report.outputs[i]);
    if (!v->passed && source->text) printf("  %s\n", source->text);
}

/* ---- JSON ---- */

/* o NULL: nothing was compared, all figures 0. */
static void put_worst(json_node *object, const fattn_verify_output *o)
{
    json_put_real(object, "worst", o ? o->worst : 0);
    json_put_real(object, "worst_got", o ? o->worst_got : 0);
    json_put_real(object, "worst_exact", o ? o->worst_exact : 0);
    json_put_real(object, "worst_bound", o ? o->worst_bound : 0);
}

static void put_metrics(json_node *object, const fattn_verify_output *o)
{
    json_put_real(object, "max_abs", o ? o->max_abs : 0);
    json_put_real(object, "rms", o ? o->rms : 0);
    json_put_real(object, "max_rel", o ? o->max_rel : 0);
    json_put_real(object, "mean_rel", o ? o->mean_rel : 0);
    json_put_real(object, "cosine", o ? o->cosine : 1);
    json_put_real(object, "correctly_rounded", o ? o->correctly_rounded : 1);
}

static json_node *output_json(const verified *v, const fattn_verify_output *o)
{
    json_node *object = json_node_object(), *at = json_node_array();
    json_put_text(object, "name", o->name);
    json_put_int(object, "elements", o->elements);
    json_put_int(object, "outside", o->outside);
    json_put_int(object, "nans", o->nans);
    json_put_int(object, "infinite", o->infinite);
    for (int i = 0; i < o->worst_rank; i++) json_add_int(at, o->worst_at[i]);
    json_put(object, "worst_at", at);
    put_worst(object, o);
    put_metrics(object, o);
    const result_file *file = file_of(v, o->name);
    if (file) {
        json_put_text(object, "file", file->where);
        json_put_text(object, "stored", fattn_dtype_name(file->stored));
        json_put_int(object, "rounded", file->rounded);
    }
    ratios r;
    if (!find_ratios(v, o, &r)) return object;
    json_put_real(object, "ratio_max_rel", r.max_rel);
    json_put_real(object, "ratio_mean_rel", r.mean_rel);
    json_put_real(object, "ratio_rms", r.rms);
    json_put_text(object, "level", level_of(&r));
    return object;
}

json_node *verified_json(const verified *v, const char *text)
{
    json_node *object = json_node_object();
    json_put_bool(object, "passed", v->status == FATTN_OK && v->passed);
    json_put_text(object, "status", fattn_status_name(v->status));
    const fattn_verify_report *r = &v->report;
    const summary sum = v->status == FATTN_OK ? sum_up(v) : (summary){.outside = -1};
    json_put_text(object, "message",
                  v->status != FATTN_OK ? call_sentence(v->status)
                  : only_share(v, &sum) ? too_few
                                        : NULL);
    json_put_text(object, "line", text);
    if (v->status != FATTN_OK) return object;
    json_put_int(object, "elements", sum.elements);
    json_put_int(object, "outside", sum.outside);
    json_put_text(object, "worst_output", sum.worst ? sum.worst->name : "");
    json_put_int(object, "worst_index", sum.worst ? sum.worst->worst_index : 0);
    put_worst(object, sum.worst);
    put_metrics(object, sum.first);
    json_node *outputs = json_node_array();
    for (int i = 0; i < r->n_outputs; i++)
        if (is_wanted(v, &r->outputs[i])) json_add(outputs, output_json(v, &r->outputs[i]));
    json_put(object, "outputs", outputs);
    return object;
}
