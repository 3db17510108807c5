/* SPDX-License-Identifier: Apache-2.0 */
/* line_page.c — page=N: the call of the line, with its keys and values in a paged cache.
 *
 * The rows are the same as without page=, so that the results can be compared bit by bit. The cache
 * has two blocks more than it needs; places that no token uses hold NaN and unused table entries
 * hold -1: neither may reach a result. */
#include "line_internal.h"

#include "io/element.h"
#include "io/io.h"

#include <math.h>
#include <string.h>

/* Where the logical rows are, by letter of the layout. */
typedef struct rows {
    int64_t batch, kv_heads, dim;         /* kv_heads * dim elements per token */
    const int64_t *lengths;               /* keys per batch */
    int64_t blocks, per_batch;            /* of the cache; table entries per batch */
    int64_t b_stride, s_stride, n_stride; /* of the logical tensor; b_stride 0 for TND */
    bool packed;
} rows;

static const fattn_field *lengths_field(const problem_line *line)
{
    const fattn_field *field = fattn_field_find(line->op, "actual_seq_lengths_kv");
    return field ? field : fattn_field_find(line->op, "actual_seq_lengths");
}

static line_tensor *logical(const problem_line *line, const char *name)
{
    for (line_tensor *t = line->tensors; t; t = t->next)
        if (!t->derived && strcmp(t->field->name, name) == 0) return t;
    return NULL;
}

static int64_t heads(const problem_line *line)
{
    const int64_t kv = line_int(line, "num_key_value_heads", 0);
    return kv > 0 ? kv : line_int(line, "num_heads", 0);
}

/* Reads the layout of one logical tensor. */
static bool find_rows(const problem_line *line, const fattn_tensor *t, rows *r)
{
    static const struct {
        const char *name;
        int rank, b, s, n;
    } layouts[] = {
        {"BSH", 3, 0, 1, -1}, {"BSND", 4, 0, 1, 2}, {"BNSD", 4, 0, 2, 1}, {"TND", 3, -1, 0, 1}};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (strcmp(line_string(line, "input_layout"), layouts[i].name) != 0) continue;
        const int b = layouts[i].b, s = layouts[i].s, n = layouts[i].n;
        if (t->rank != layouts[i].rank) return false;
        r->packed = b < 0;
        r->batch = b < 0 ? 0 : t->shape[b];
        r->kv_heads = n < 0 ? heads(line) : t->shape[n];
        if (r->kv_heads <= 0 || (n < 0 && t->shape[2] % r->kv_heads != 0)) return false;
        r->dim = n < 0 ? t->shape[2] / r->kv_heads : t->shape[t->rank - 1];
        r->b_stride = b < 0 ? 0 : t->strides[b];
        r->s_stride = t->strides[s];
        r->n_stride = n < 0 ? r->dim * t->strides[2] : t->strides[n];
        return true;
    }
    return false;
}

/* Keys per batch, from the list as the unpaged call reads it; NULL when the list makes no sense. */
static int64_t *find_lengths(problem_line *line, const fattn_tensor *key, rows *r)
{
    const fattn_int_array list = line_ints(line, lengths_field(line)->name);
    const int64_t s =
        r->packed ? key->shape[0] : key->shape[line_string(line, "input_layout")[1] == 'N' ? 2 : 1];
    if (r->packed) r->batch = list.count;
    if (r->batch <= 0 || r->batch > 1 << 20 || s < 0) return NULL;
    int64_t *lengths = line_memory(line, (size_t)r->batch * sizeof *lengths);
    for (int64_t b = 0, before = 0; lengths && b < r->batch; b++) {
        const int64_t said = list.count == 0 ? s : list.data[list.count == 1 ? 0 : b % list.count];
        lengths[b] = r->packed ? said - before : said;
        before = said;
        if (lengths[b] < 0 || said > s) return NULL;
    }
    return lengths;
}

static line_tensor *add_derived(problem_line *line, const char *name, const fattn_tensor *t)
{
    line_tensor *tensor = line_add_tensor(line, fattn_field_find(line->op, name), t);
    if (tensor) tensor->derived = true;
    return tensor;
}

/* The shape of the cache of one logical tensor. */
static fattn_tensor cache_shape(const problem_line *line, fattn_dtype dtype, const rows *r)
{
    const bool by_head = strcmp(line->page_layout, "BnNBsD") == 0;
    const int64_t flat[] = {r->blocks, line->page, r->kv_heads * r->dim};
    const int64_t split[] = {r->blocks, r->kv_heads, line->page, r->dim};
    return fattn_tensor_contiguous(NULL, dtype, by_head ? 4 : 3, by_head ? split : flat);
}

static bool plan_pages(problem_line *line, const line_tensor *key, const line_tensor *value,
                       rows *k, rows *v)
{
    if (!find_rows(line, &key->t, k) || !find_rows(line, &value->t, v)) return false;
    int64_t *lengths = find_lengths(line, &key->t, k);
    if (!lengths) return false;
    k->blocks = 2;
    k->per_batch = 1;
    for (int64_t b = 0; b < k->batch; b++) {
        const int64_t need = lengths[b] / line->page + (lengths[b] % line->page != 0);
        k->blocks += need;
        if (need > k->per_batch) k->per_batch = need;
    }
    k->lengths = v->lengths = lengths;
    v->batch = k->batch;
    v->blocks = k->blocks;
    v->per_batch = k->per_batch;
    return true;
}

static void set_numbers(problem_line *line, const rows *r)
{
    *(int64_t *)line_at(line->args, fattn_field_find(line->op, "block_size")) = line->page;
    *(fattn_int_array *)line_at(line->args, lengths_field(line)) =
        (fattn_int_array){r->lengths, r->batch};
}

bool line_page(problem_line *line, line_error *error)
{
    rows k = {.batch = 0}, v = {.batch = 0};
    const line_tensor *key = logical(line, "key"), *value = logical(line, "value");
    if (!fattn_field_find(line->op, "block_table") || logical(line, "block_table"))
        return line_fail(error, 0, "page: %s has no block_table, or the line gives one",
                         line->op->name);
    if (!key || !value || !plan_pages(line, key, value, &k, &v))
        return line_fail(error, 0,
                         "page: needs key and value in the unpaged shapes of BSH, BSND, BNSD or "
                         "TND, head counts, and key lengths that fit them");
    void *args = line_memory(line, line->op->args_size);
    if (!args) return line_fail(error, 0, "out of memory for the line");
    memcpy(args, line->args, line->op->args_size);
    line->args = args; /* line->printed keeps what the line said */
    const fattn_tensor kc = cache_shape(line, key->t.dtype, &k),
                       vc = cache_shape(line, value->t.dtype, &v);
    const fattn_tensor table =
        fattn_tensor_contiguous(NULL, FATTN_I32, 2, (const int64_t[]){k.batch, k.per_batch});
    if (!add_derived(line, "key", &kc) || !add_derived(line, "value", &vc) ||
        !add_derived(line, "block_table", &table))
        return line_fail(error, 0, "out of memory for the line");
    set_numbers(line, &k);
    return true;
}

static line_tensor *derived(const problem_line *line, const char *name)
{
    for (line_tensor *t = line->tensors; t; t = t->next)
        if (t->derived && strcmp(t->field->name, name) == 0) return t;
    return NULL;
}

/* Block ids in the order of page_order; unused entries -1. */
static void write_table(const problem_line *line, const rows *r, int32_t *table, int32_t *ids)
{
    const bool shuffled = strcmp(line->page_order, "shuffled") == 0;
    const uint64_t stream = line_stream(line->seed, "page");
    for (int64_t i = 0; i < r->blocks; i++) ids[i] = (int32_t)i;
    for (int64_t i = r->blocks - 1; shuffled && i > 0; i--) {
        const int64_t j = line_below(stream, (uint64_t)i, i + 1);
        const int32_t id = ids[i];
        ids[i] = ids[j];
        ids[j] = id;
    }
    int64_t next = 0;
    for (int64_t b = 0; b < r->batch; b++)
        for (int64_t m = 0; m < r->per_batch; m++)
            table[b * r->per_batch + m] = m * line->page < r->lengths[b] ? ids[next++] : -1;
}

/* Bits that must never be read: NaN in every float dtype. */
static void poison(const line_tensor *cache)
{
    int64_t count = 0;
    io_count(cache->t.rank, cache->t.shape, &count);
    memset(cache->t.data, 0xff, (size_t)count * fattn_dtype_size(cache->t.dtype));
}

static void copy_rows(const problem_line *line, const rows *r, const line_tensor *from,
                      const line_tensor *to, const int32_t *table)
{
    const bool by_head = to->t.rank == 4;
    const size_t size = fattn_dtype_size(from->t.dtype);
    const int64_t d_stride = from->t.strides[from->t.rank - 1], page = line->page;
    int64_t first = 0; /* row of the packed tensor where the sequence begins */
    for (int64_t b = 0; b < r->batch; first += r->lengths[b++])
        for (int64_t s = 0; s < r->lengths[b]; s++)
            for (int64_t n = 0; n < r->kv_heads; n++) {
                const int64_t row = r->packed ? first + s : s;
                const int64_t source = b * r->b_stride + row * r->s_stride + n * r->n_stride;
                const int64_t block = table[b * r->per_batch + s / page], slot = s % page;
                const int64_t line_no = by_head ? (block * r->kv_heads + n) * page + slot
                                                : (block * page + slot) * r->kv_heads + n;
                for (int64_t d = 0; d < r->dim; d++)
                    memcpy((char *)to->t.data + (size_t)(line_no * r->dim + d) * size,
                           (const char *)from->t.data + (source + d * d_stride) * (int64_t)size,
                           size);
            }
}

bool line_page_data(problem_line *line, line_error *error)
{
    rows k = {.batch = 0}, v = {.batch = 0};
    const line_tensor *key = logical(line, "key"), *value = logical(line, "value");
    line_tensor *kc = derived(line, "key"), *vc = derived(line, "value"),
                *table = derived(line, "block_table");
    /* find_lengths() reads the list as the line said it. */
    void *paged = line->args;
    line->args = line->printed;
    const bool good = plan_pages(line, key, value, &k, &v);
    line->args = paged;
    int32_t *ids = good ? line_memory(line, (size_t)k.blocks * sizeof *ids) : NULL;
    if (!ids) return line_fail(error, 0, "page: out of memory");
    if (!line_allocate(line, kc, error) || !line_allocate(line, vc, error) ||
        !line_allocate(line, table, error))
        return false;
    poison(kc);
    poison(vc);
    write_table(line, &k, table->t.data, ids);
    copy_rows(line, &k, key, kc, table->t.data);
    copy_rows(line, &v, value, vc, table->t.data);
    return true;
}
