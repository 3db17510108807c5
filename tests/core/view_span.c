/* SPDX-License-Identifier: Apache-2.0 */
/* view_span.c — where key j lies, in memory whose cells name themselves: random batches, packed
 * rows, pages and tensor lists, each row-major, head-major or in chunks, with and without a shared
 * prefix. A span must hold its rows, and end where the next one does not follow in its stride and
 * nowhere else. */
#include "core/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rng.h"

enum { SEQS = 3, HEADS = 2, KEYS = 24, CHUNK = 4, ROUNDS = 400, MAX_BLOCKS = 80 };

typedef enum order { ROWS_FIRST, HEADS_FIRST, CHUNKS, ORDERS } order;
typedef enum place { BATCHES, PACKED, PAGES, LIST, PLACES } place;

/* One tensor: [outer][row][head][d], [outer][head][row][d] or [outer][head][d / CHUNK][row][CHUNK].
 */
typedef struct tensor {
    order in;
    int64_t rows, d;
    float *cells;
} tensor;

static int64_t cell_of(const tensor *t, int64_t outer, int64_t head, int64_t row, int64_t c)
{
    if (t->in == ROWS_FIRST) return ((outer * t->rows + row) * HEADS + head) * t->d + c;
    if (t->in == HEADS_FIRST) return ((outer * HEADS + head) * t->rows + row) * t->d + c;
    return (((outer * HEADS + head) * (t->d / CHUNK) + c / CHUNK) * t->rows + row) * CHUNK +
           c % CHUNK;
}

static fattn_part part_of(const tensor *t)
{
    const int64_t chunk = t->in == CHUNKS ? CHUNK : 0;
    return (fattn_part){.d = t->d,
                        .batch_stride = cell_of(t, 1, 0, 0, 0),
                        .page_stride = cell_of(t, 1, 0, 0, 0),
                        .head_stride = cell_of(t, 0, 1, 0, 0),
                        .row_stride = cell_of(t, 0, 0, 1, 0),
                        .col_stride = 1,
                        .chunk = chunk,
                        .chunk_stride = chunk ? cell_of(t, 0, 0, 0, CHUNK) : 0};
}

static tensor tensor_make(order in, int64_t outer, int64_t rows, int64_t d)
{
    tensor t = {.in = in, .rows = rows, .d = d};
    t.cells = calloc((size_t)(outer * HEADS * rows * d + 1), sizeof(float));
    assert_non_null(t.cells);
    return t;
}

typedef struct world {
    uint64_t seed;
    place where;
    fattn_problem p;
    fattn_ptrs ptrs;
    fattn_seq seqs[SEQS];
    int64_t table[MAX_BLOCKS], table_cols;
    tensor own[3][SEQS],
        shared[2]; /* own: key part 0, key part 1, value; a list has one per entry */
    fattn_part list_parts[2][SEQS];
    fattn_tensor list_tensors[2][SEQS];
    const fattn_tensor *list[2][SEQS];
} world;

/* Which cell holds column c of row `row` of a sequence's own keys. */
static float *own_cell(const world *w, int operand, int b, int64_t head, int64_t row, int64_t c)
{
    const tensor *t = &w->own[operand][w->where == LIST ? b : 0];
    int64_t outer = w->where == BATCHES ? b : 0;
    if (w->where == PAGES) {
        outer = w->table[b * w->table_cols + row / t->rows];
        row %= t->rows;
    }
    return &t->cells[cell_of(t, outer, head, row, c)];
}

static float name(int operand, int64_t b, int64_t head, int64_t j, int64_t c)
{
    return (float)((((operand * SEQS + b) * HEADS + head) * (KEYS + 1) + j) * 16 + c + 1);
}

static void name_cells(world *w, int operand, int64_t d)
{
    for (int b = 0; b < SEQS; b++)
        for (int64_t h = 0; h < HEADS; h++)
            for (int64_t j = 0; j < w->seqs[b].kv_len; j++)
                for (int64_t c = 0; c < d; c++) {
                    const tensor *common = &w->shared[operand == 2];
                    const int64_t row = w->seqs[b].kv_row0 + j - w->p.shared_len;
                    if (j < w->p.shared_len)
                        common->cells[cell_of(common, 0, h, j, c)] = name(operand, 0, h, j, c);
                    else
                        *own_cell(w, operand, b, h, row, c) = name(operand, b, h, j, c);
                }
}

static void make_lengths(world *w, rng *r)
{
    int64_t row = 0;
    for (int b = 0; b < SEQS; b++) {
        const int64_t own = rng_between(r, 1, KEYS - w->p.shared_len);
        w->seqs[b] = (fattn_seq){.batch = w->where == PACKED ? 0 : b, .q_len = 1};
        w->seqs[b].kv_len = w->p.shared_len + own;
        w->seqs[b].kv_row0 =
            w->where == PACKED ? row : rng_between(r, 0, KEYS - w->p.shared_len - own);
        row += own;
    }
}

static int64_t make_table(world *w, rng *r, int64_t page_rows)
{
    w->table_cols = (KEYS + page_rows - 1) / page_rows;
    const int64_t n = SEQS * w->table_cols;
    assert_true(n <= MAX_BLOCKS);
    for (int64_t i = 0; i < n; i++) {
        const int64_t other = rng_between(r, 0, i); /* a random permutation */
        w->table[i] = w->table[other];
        w->table[other] = i;
    }
    w->p.table = (fattn_table){FATTN_I64, w->table_cols, 1, w->table_cols};
    w->ptrs.table = w->table;
    return n;
}

static void make_operand(world *w, rng *r, int operand, int64_t outer, int64_t rows, int64_t d)
{
    const order in = (order)rng_between(r, 0, ORDERS - 1);
    const int values = operand == 2;
    fattn_view *view = values ? &w->p.v : &w->p.k,
               *common = values ? &w->p.v_shared : &w->p.k_shared;
    for (int b = 0; b < SEQS; b++) {
        const bool used = b == 0 || w->where == LIST;
        w->own[operand][b] =
            tensor_make(in, used ? outer : 0, rows + (w->where == LIST ? b : 0), d);
        w->list_parts[values][b] = part_of(&w->own[operand][b]);
        w->list_tensors[values][b].data = w->own[operand][b].cells;
        w->list[values][b] = &w->list_tensors[values][b];
    }
    view->dtype = common->dtype = FATTN_F32;
    view->n_parts = operand == 1 ? 2 : 1;
    view->part[operand == 1] = part_of(&w->own[operand][0]);
    if (w->where == LIST) view->list = w->list_parts[values];
    if (w->where == PAGES) view->page_rows = rows;
    if (operand == 1) return;
    w->shared[values] = tensor_make((order)rng_between(r, 0, ORDERS - 1), 1, w->p.shared_len, d);
    common->n_parts = 1;
    common->part[0] = part_of(&w->shared[values]);
}

static void world_make(world *w, uint64_t seed)
{
    rng r = rng_new(seed);
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->where = (place)(seed % PLACES);
    const bool parts = w->where != LIST && rng_between(&r, 0, 2) == 0;
    w->p.shared_len = parts || rng_between(&r, 0, 1) ? 0 : rng_between(&r, 1, KEYS / 2);
    make_lengths(w, &r);
    int64_t outer = w->where == BATCHES ? SEQS : 1, rows = w->where == PACKED ? SEQS * KEYS : KEYS;
    if (w->where == PAGES) rows = rng_between(&r, 1, 9), outer = make_table(w, &r, rows);
    static const int64_t columns[3] = {8, 4, 12};
    for (int operand = 0; operand < 3; operand++) {
        if (operand == 1 && !parts) continue;
        make_operand(w, &r, operand, outer, rows, columns[operand]);
        name_cells(w, operand, columns[operand]);
    }
    w->ptrs.k[0] = w->own[0][0].cells, w->ptrs.k[1] = w->own[1][0].cells;
    w->ptrs.v = w->own[2][0].cells;
    w->ptrs.k_shared = w->shared[0].cells, w->ptrs.v_shared = w->shared[1].cells;
    w->ptrs.k_list = w->list[0], w->ptrs.v_list = w->list[1];
}

static void world_free(world *w)
{
    for (int operand = 0; operand < 3; operand++)
        for (int b = 0; b < SEQS; b++) free(w->own[operand][b].cells);
    free(w->shared[0].cells), free(w->shared[1].cells);
}

/* Rows from key j on until something ends them. */
static int64_t rows_left(const world *w, int b, int64_t j, int64_t n)
{
    int64_t left = n;
    const int64_t row = w->seqs[b].kv_row0 + j - w->p.shared_len, page = w->p.k.page_rows;
    if (j < w->p.shared_len)
        left = w->p.shared_len - j;
    else if (w->where == PAGES)
        left = page - row % page;
    return left < n ? left : n;
}

static void check_span(const world *w, int operand, int b, int64_t head, int64_t j, int64_t n)
{
    const fattn_operand which = operand == 2 ? OPERAND_VALUE : OPERAND_KEY;
    const fattn_span span =
        view_span(&w->p, &w->ptrs, &w->seqs[b], which, operand == 1, head, j, n);
    if (span.n != rows_left(w, b, j, n))
        fail_msg("seed %d operand %d seq %d key %d: %d rows of %d", (int)w->seed, operand, b,
                 (int)j, (int)span.n, (int)n);
    for (int64_t i = 0; i < span.n; i++)
        for (int64_t c = 0; c < span.part->d; c++) {
            const float got =
                ((const float *)span.at)[i * span.part->row_stride + part_column(span.part, c)];
            const float want = name(operand, j + i < w->p.shared_len ? 0 : b, head, j + i, c);
            if (got != want)
                fail_msg("seed %d operand %d seq %d head %d key %d + %d column %d: cell %g, not %g",
                         (int)w->seed, operand, b, (int)head, (int)j, (int)i, (int)c, (double)got,
                         (double)want);
        }
}

static void spans(void **state)
{
    (void)state;
    int met[PLACES][2] = {{0}};
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        static world w;
        world_make(&w, seed);
        met[w.where][w.p.shared_len > 0]++;
        for (int operand = 0; operand < 3; operand++)
            for (int b = 0; b < SEQS && w.own[operand][0].cells; b++)
                for (int64_t head = 0; head < HEADS; head++)
                    for (int64_t j = 0; j < w.seqs[b].kv_len; j++) {
                        check_span(&w, operand, b, head, j, 1);
                        check_span(&w, operand, b, head, j, w.seqs[b].kv_len - j);
                    }
        world_free(&w);
    }
    for (int where = 0; where < PLACES; where++)
        assert_true(met[where][0] >= ROUNDS / 20 && met[where][1] >= ROUNDS / 20);
}

/* Only the pages of a sequence's own keys are looked at. */
static void pages_behind_a_prefix(void **state)
{
    (void)state;
    const int32_t table[] = {2, -1};
    fattn_seq seq = {.q_len = 1, .kv_len = 9};
    const fattn_view view = {.n_parts = 1, .page_rows = 4, .n_pages = 3};
    fattn_problem p = {.k = view,
                       .v = view,
                       .shared_len = 5,
                       .table = {FATTN_I32, 2, 1, 2},
                       .seqs = &seq,
                       .n_seqs = 1};
    const fattn_ptrs ptrs = {.table = table};
    assert_int_equal(problem_check_table(&p, &ptrs), FATTN_OK);
    p.shared_len = 4; /* five keys of its own: one more page */
    assert_int_equal(problem_check_table(&p, &ptrs), FATTN_E_ARG);
    seq.kv_len = 4; /* none of its own */
    assert_int_equal(problem_check_table(&p, &(fattn_ptrs){.table = table + 1}), FATTN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans),
        cmocka_unit_test(pages_behind_a_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
