/* SPDX-License-Identifier: Apache-2.0 */
/* line_fill.c — the data of a problem line: element i of a tensor is a function of (seed, name, i).
 *
 * Integer arithmetic and exactly rounded operations only, so that every machine gets the same
 * doubles; a dtype rounds them once at the end. */
#include "line_internal.h"

#include "io/element.h"
#include "io/io.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t line_stream(uint64_t seed, const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return mix(hash + mix(seed + UINT64_C(0x9e3779b97f4a7c15)));
}

uint64_t line_random(uint64_t stream, uint64_t index)
{
    return mix(stream + (index + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

int64_t line_below(uint64_t stream, uint64_t index, int64_t n)
{
    return (int64_t)(line_random(stream, index) % (uint64_t)n);
}

/* Where an element stands. */
typedef struct place {
    uint64_t stream;
    int64_t index, count; /* row-major, of the whole tensor */
    int64_t last;         /* extent of the last axis, at least 1 */
} place;

/* (-1, 1), 53 bits */
static double uniform(const place *p)
{
    return ((double)(line_random(p->stream, (uint64_t)p->index) >> 11) - 0x1p52) * 0x1p-52;
}

/* Twelve uniforms minus six: mean 0, variance 1, |x| < 6, and no libm, whose logarithms differ. */
static double normal(const place *p)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 6; i++) {
        const uint64_t bits = line_random(p->stream, (uint64_t)p->index * 6 + i);
        sum += (bits >> 32) + (bits & UINT32_MAX);
    }
    return ((double)sum - 6 * 0x1p32) * 0x1p-32;
}

static double sign(const place *p)
{
    return line_random(p->stream, (uint64_t)p->index) >> 63 ? -1.0 : 1.0;
}

static double zeros(const place *p) { return (void)p, 0.0; }
static double ones(const place *p) { return (void)p, 1.0; }
static double equal(const place *p) { return (void)p, 0.75; }
static double arange(const place *p) { return (double)(p->index % 2048); } /* exact in fp16 */
static double onehot(const place *p)
{
    return p->index % p->last == p->index / p->last % p->last ? 1.0 : 0.0;
}
static double extreme(const place *p)
{
    const uint64_t bits = line_random(p->stream, (uint64_t)p->index);
    return sign(p) *
           (88.0 + (double)(bits & 0xffff) * 0x1p-15); /* 88..90: exp() nearly overflows */
}
static double big(const place *p) { return sign(p) * 1e4; }
static double f16max(const place *p) { return sign(p) * 65504.0; }
static double increasing(const place *p) { return 4.0 * (double)(p->index + 1) / (double)p->count; }
static double decreasing(const place *p)
{
    return 4.0 * (double)(p->count - p->index) / (double)p->count;
}
static double n100_25(const place *p) { return 100.0 + 25.0 * normal(p); }
static double triu(const place *p) { return p->index % p->last > p->index / p->last ? 1.0 : 0.0; }

/* line_fills names the same words. */
static const struct {
    const char *name;
    double (*value)(const place *p); /* NULL: fill_random() */
} fills[] = {
    {"normal", normal},
    {"uniform", uniform},
    {"ones", ones},
    {"zeros", zeros},
    {"arange", arange},
    {"onehot", onehot},
    {"extreme", extreme},
    {"big", big},
    {"f16max", f16max},
    {"equal", equal},
    {"increasing", increasing},
    {"decreasing", decreasing},
    {"n100_25", n100_25},
    {"triu", triu},
    {"random", NULL},
};
const char line_fills[] =
    "normal uniform ones zeros arange onehot extreme big f16max equal increasing "
    "decreasing n100_25 triu random";

int line_fill_index(const char *name)
{
    for (int i = 0; i < (int)(sizeof fills / sizeof *fills); i++)
        if (strcmp(fills[i].name, name) == 0) return i;
    return -1;
}

/* 1 with probability density. */
static void fill_random(const fattn_tensor *t, uint64_t stream, int64_t count, double density)
{
    const bool plain = io_is_contiguous(t);
    for (int64_t i = 0; i < count; i++) {
        const place p = {.stream = stream, .index = i};
        io_set_int(t->data, t->dtype, plain ? i : io_offset(t, i), (uniform(&p) + 1) / 2 < density);
    }
}

/* Integers that nobody gave a meaning; quantised numbers use all their codes. */
static void fill_integers(const fattn_tensor *t, uint64_t stream, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const uint64_t bits = line_random(stream, (uint64_t)i);
        const int64_t value = t->dtype == FATTN_I4   ? (int32_t)(uint32_t)bits
                              : t->dtype == FATTN_I8 ? (int8_t)(uint8_t)bits
                              : t->dtype == FATTN_E2M1 || t->dtype == FATTN_E1M2
                                  ? (int64_t)(bits & 255)
                                  : line_below(stream, (uint64_t)i, 100);
        io_set_int(t->data, t->dtype, io_offset(t, i), value);
    }
}

static void fill_values(const fattn_tensor *t, int fill, uint64_t stream, int64_t count)
{
    const int64_t last = t->rank > 0 && t->shape[t->rank - 1] > 0 ? t->shape[t->rank - 1] : 1;
    const bool plain = io_is_contiguous(t);
    for (int64_t i = 0; i < count; i++) {
        const place p = {.stream = stream, .index = i, .count = count, .last = last};
        io_set(t->data, t->dtype, plain ? i : io_offset(t, i), fills[fill].value(&p));
    }
}

/* "1,2,3": exactly as many as there are elements. */
static bool fill_literal(const line_tensor *tensor, int64_t count, line_error *error)
{
    const fattn_tensor *t = &tensor->t;
    const char *at = tensor->values;
    const bool real = io_dtype_is_float(t->dtype);
    int64_t n = 0;
    while (*at && n < count) {
        char *end;
        if (real)
            io_set(t->data, t->dtype, io_offset(t, n), strtod(at, &end));
        else
            io_set_int(t->data, t->dtype, io_offset(t, n), strtoll(at, &end, 10));
        if (end == at || (*end != ',' && *end != '\0') || (*end == ',' && n + 1 == count)) break;
        n++;
        at = *end == ',' ? end + 1 : end;
    }
    if (n == count && *at == '\0') return true;
    return line_fail(error, 0, "%s: {%s} does not hold exactly %lld numbers", tensor->field->name,
                     tensor->values, (long long)count);
}

static bool fill_tensor(problem_line *line, line_tensor *tensor, int item, line_error *error)
{
    const fattn_tensor *t = &tensor->t;
    int64_t count;
    io_count(t->rank, t->shape, &count); /* line_allocate() has seen that it fits */
    if (tensor->values) return fill_literal(tensor, count, error);
    if (!tensor->fill && line_fill_special(line, tensor)) return true;

    const uint64_t stream = line_stream(line->seed + (uint64_t)item, tensor->field->name);
    const bool real = io_dtype_is_float(t->dtype);
    const int fill = line_fill_index(tensor->fill ? tensor->fill : line->fill);
    const double density = tensor->density >= 0 ? tensor->density : line->density;
    const bool bits = t->dtype == FATTN_BOOL && !tensor->fill;
    if (bits || !fills[fill].value)
        fill_random(t, stream, count, density);
    else if (!real && !tensor->fill)
        fill_integers(t, stream, count);
    else
        fill_values(t, fill, stream, count);
    return true;
}

bool line_fill_tensor(problem_line *line, line_tensor *t, line_error *error)
{
    int item = 0; /* its number in its list */
    for (const line_tensor *x = line->tensors; x && x != t; x = x->next)
        item = x->field == t->field ? item + 1 : 0;
    return fill_tensor(line, t, item, error);
}

void line_fill_plain(const problem_line *line, line_tensor *tensor)
{
    int64_t count;
    io_count(tensor->t.rank, tensor->t.shape, &count);
    const uint64_t stream = line_stream(line->seed, tensor->field->name);
    const int fill = line_fill_index(line->fill);
    if (fills[fill].value)
        fill_values(&tensor->t, fill, stream, count);
    else
        fill_random(&tensor->t, stream, count, line->density);
}

bool line_fill(problem_line *line, line_error *error)
{
    const line_tensor *before = NULL;
    int item = 0; /* the tensors of one list get different data */
    for (line_tensor *t = line->tensors; t; t = t->next) {
        if (t->field->kind == FATTN_FIELD_TENSOR_OUT || t->derived) continue;
        item = before && before->field == t->field ? item + 1 : 0;
        if (!line_allocate(line, t, error) || !fill_tensor(line, t, item, error)) return false;
        before = t;
    }
    if (line->page > 0 && !line_page_data(line, error)) return false;
    return line_forward_data(line, error);
}

problem_line *line_open(const char *text, line_error *error)
{
    problem_line *line = line_parse(text, error);
    if (!line || line_fill(line, error)) return line;
    line_destroy(line);
    return NULL;
}
