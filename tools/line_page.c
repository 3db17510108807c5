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
    int64_t batch, kv_heads, dim; /* kv_heads * dim elements per token */
    const int64_t *lengths;       /* keys per batch */
    int64_t blocks, per_batch;    /* of the cache; table entries per batch */
    int64_t b_stride, s_stride, n_stride,
        d_stride; /* of the logical tensor; b_stride 0 when packed */
    int64_t room; /* its S or T axis */
    bool packed;
} rows;

/* What goes through the cache; key_rope only where the line has it. */
static const char *const cached[] = {"key", "value", "key_rope"};
enum { CACHED = sizeof cached / sizeof *cached, KEY = 0 };

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

/* Axis of a letter in the layout of the keys, the part before "_"; -1 = it has none. */
static int axis_of(const problem_line *line, char letter)
{
    const char *layout = line_string(line, "input_layout");
    const size_t n = strcspn(layout, "_");
    const char *at = memchr(layout, letter, n);
    return at ? (int)(at - layout) : -1;
}

/* Reads the layout of one logical tensor. */
static bool find_rows(const problem_line *line, const fattn_tensor *t, rows *r)
{
    const int b = axis_of(line, 'B'), n = axis_of(line, 'N'), h = axis_of(line, 'H');
    const int packed = axis_of(line, 'T'), s = packed >= 0 ? packed : axis_of(line, 'S');
    const int d = h >= 0 ? h : axis_of(line, 'D');
    const int rank = (int)strcspn(line_string(line, "input_layout"), "_");
    if (t->rank != rank || s < 0 || d < 0 || (n < 0 && h < 0)) return false;
    r->packed = packed >= 0;
    r->batch = b < 0 ? 1 : t->shape[b];
    r->kv_heads = n < 0 ? heads(line) : t->shape[n];
    if (r->kv_heads <= 0 || (n < 0 && t->shape[h] % r->kv_heads != 0)) return false;
    r->dim = n < 0 ? t->shape[h] / r->kv_heads : t->shape[d];
    r->b_stride = b < 0 ? 0 : t->strides[b];
    r->s_stride = t->strides[s];
    r->n_stride = n < 0 ? r->dim * t->strides[h] : t->strides[n];
    r->d_stride = t->strides[d];
    r->room = t->shape[s];
    return true;
}

/* Keys per batch, from the list as the unpaged call reads it; NULL when the list makes no sense. */
static int64_t *find_lengths(problem_line *line, rows *r)
{
    const fattn_int_array list = line_ints(line, lengths_field(line)->name);
    if (r->packed) r->batch = list.count;
    if (r->batch <= 0 || r->batch > 1 << 20 || r->room < 0) return NULL;
    int64_t *lengths = line_memory(line, (size_t)r->batch * sizeof *lengths);
    for (int64_t b = 0, before = 0; lengths && b < r->batch; b++) {
        const int64_t said =
            list.count == 0 ? r->room : list.data[list.count == 1 ? 0 : b % list.count];
        lengths[b] = r->packed ? said - before : said;
        before = said;
        if (lengths[b] < 0 || said > r->room) return NULL;
    }
    return lengths;
}

static line_tensor *add_derived(problem_line *line, const char *name, const fattn_tensor *t)
{
    line_tensor *tensor = line_add_tensor(line, fattn_field_find(line->op, name), t);
    if (tensor) tensor->derived = true;
    return tensor;
}

/* Columns per chunk of an NZ cache. */
static int64_t chunk_of(const rows *r) { return r->dim % 16 == 0 ? 16 : r->dim; }

/* The shape of the cache of one logical tensor. */
static fattn_tensor cache_shape(const problem_line *line, fattn_dtype dtype, const rows *r)
{
    const int64_t chunk = chunk_of(r);
    const int64_t flat[] = {r->blocks, line->page, r->kv_heads * r->dim};
    const int64_t split[] = {r->blocks, r->kv_heads, line->page, r->dim};
    const int64_t nz[] = {r->blocks, r->kv_heads, r->dim / chunk, line->page, chunk};
    if (strcmp(line->page_layout, "NZ") == 0) return fattn_tensor_contiguous(NULL, dtype, 5, nz);
    const bool by_head = strcmp(line->page_layout, "BnNBsD") == 0;
    return fattn_tensor_contiguous(NULL, dtype, by_head ? 4 : 3, by_head ? split : flat);
}

/* Rows of what the line gives of `cached`; all have the keys' lengths and blocks. */
static bool plan_pages(problem_line *line, rows all[CACHED])
{
    for (int i = 0; i < CACHED; i++) {
        const line_tensor *t = logical(line, cached[i]);
        if (t && !find_rows(line, &t->t, &all[i])) return false;
    }
    rows *k = &all[KEY];
    int64_t *lengths = find_lengths(line, k);
    if (!lengths) return false;
    k->blocks = 2;
    k->per_batch = 1;
    for (int64_t b = 0; b < k->batch; b++) {
        const int64_t need = lengths[b] / line->page + (lengths[b] % line->page != 0);
        k->blocks += need;
        if (need > k->per_batch) k->per_batch = need;
    }
    for (int i = 0; i < CACHED; i++) {
        all[i].lengths = lengths;
        all[i].batch = k->batch;
        all[i].blocks = k->blocks;
        all[i].per_batch = k->per_batch;
    }
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
    rows all[CACHED] = {{.batch = 0}};
    if (!fattn_field_find(line->op, "block_table") || logical(line, "block_table"))
        return line_fail(error, 0, "page: %s has no block_table, or the line gives one",
                         line->op->name);
    if (!logical(line, "key") || !logical(line, "value") || !plan_pages(line, all))
        return line_fail(
            error, 0,
            "page: needs key and value in the unpaged shapes of the layout, head counts, and key "
            "lengths that fit them");
    void *args = line_memory(line, line->op->args_size);
    if (!args) return line_fail(error, 0, "out of memory for the line");
    memcpy(args, line->args, line->op->args_size);
    line->args = args; /* line->printed keeps what the line said */
    for (int i = 0; i < CACHED; i++) {
        const line_tensor *t = logical(line, cached[i]);
        if (!t) continue;
        const fattn_tensor cache = cache_shape(line, t->t.dtype, &all[i]);
        if (!add_derived(line, cached[i], &cache))
            return line_fail(error, 0, "out of memory for the line");
    }
    const fattn_tensor table = fattn_tensor_contiguous(
        NULL, FATTN_I32, 2, (const int64_t[]){all[KEY].batch, all[KEY].per_batch});
    if (!add_derived(line, "block_table", &table))
        return line_fail(error, 0, "out of memory for the line");
    set_numbers(line, &all[KEY]);
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

/* Element (block, head, slot, column) of a cache. */
static int64_t place(const line_tensor *cache, const rows *r, int64_t page, int64_t block,
                     int64_t head, int64_t slot, int64_t column)
{
    const int64_t chunk = chunk_of(r);
    if (cache->t.rank == 3) return ((block * page + slot) * r->kv_heads + head) * r->dim + column;
    if (cache->t.rank == 4) return ((block * r->kv_heads + head) * page + slot) * r->dim + column;
    return (((block * r->kv_heads + head) * (r->dim / chunk) + column / chunk) * page + slot) *
               chunk +
           column % chunk;
}

static void copy_rows(const problem_line *line, const rows *r, const line_tensor *from,
                      const line_tensor *to, const int32_t *table)
{
    const size_t size = fattn_dtype_size(from->t.dtype);
    const int64_t page = line->page;
    int64_t first = 0; /* row of the packed tensor where the sequence begins */
    for (int64_t b = 0; b < r->batch; first += r->lengths[b++])
        for (int64_t s = 0; s < r->lengths[b]; s++)
            for (int64_t n = 0; n < r->kv_heads; n++) {
                const int64_t row = r->packed ? first + s : s;
                const int64_t source = b * r->b_stride + row * r->s_stride + n * r->n_stride;
                const int64_t block = table[b * r->per_batch + s / page];
                for (int64_t d = 0; d < r->dim; d++)
                    memcpy((char *)to->t.data +
                               (size_t)place(to, r, page, block, n, s % page, d) * size,
                           (const char *)from->t.data + (source + d * r->d_stride) * (int64_t)size,
                           size);
            }
}

bool line_page_data(problem_line *line, line_error *error)
{
    rows all[CACHED] = {{.batch = 0}};
    line_tensor *table = derived(line, "block_table");
    /* find_lengths() reads the list as the line said it. */
    void *paged = line->args;
    line->args = line->printed;
    const bool good = plan_pages(line, all);
    line->args = paged;
    int32_t *ids = good ? line_memory(line, (size_t)all[KEY].blocks * sizeof *ids) : NULL;
    if (!ids) return line_fail(error, 0, "page: out of memory");
    if (!line_allocate(line, table, error)) return false;
    write_table(line, &all[KEY], table->t.data, ids);
    for (int i = 0; i < CACHED; i++) {
        line_tensor *cache = derived(line, cached[i]);
        if (!cache) continue;
        if (!line_allocate(line, cache, error)) return false;
        poison(cache);
        copy_rows(line, &all[i], logical(line, cached[i]), cache, table->t.data);
    }
    return true;
}
