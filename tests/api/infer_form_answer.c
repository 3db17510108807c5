/* SPDX-License-Identifier: Apache-2.0 */
/* infer_form_answer.c — the rows of a form by the formula, in double (spec inference 1), and the
 * comparison. */
#include "api/infer_form.h"

/* Column of key j in mask and bias: the prefix first, then positions of the S axis (spec 1.4.1). */
static int column_of(const form *f, int b, int j)
{
    const int own = f->kv_len[b] - f->prefix;
    const int first = f->kv_pad >= 0 ? f->kv_room - f->kv_pad - own : 0;
    return j < f->prefix ? j : j + first;
}

/* One row without rope in these layouts goes through the device's decode branch (spec 10). */
static bool decodes(const form *f)
{
    const bool out_like_in = strcmp(f->in, f->out) == 0 || f->out[1] == 'B';
    return f->q_room == 1 && !f->packed && !f->split_rope && f->in[0] == 'B' && out_like_in &&
           f->op != PROMPT_OP;
}

/* spec 1.4 with lengths that count the prefix; docs/masks.md on one query row and on left padding
 * (mode 0). */
static bool in_band(const form *f, int b, int i, int j)
{
    const int shift = f->kv_len[b] - f->q_len[b];
    const bool one_row = f->q_room == 1 && !f->packed && !f->split_rope;
    const bool tokens = f->mask && f->q_pad < 0 && f->kv_pad < 0 && !decodes(f);
    if (f->mode == 0 && tokens) return j >= i - f->pre && j <= (int64_t)i + f->next;
    if (f->mode == 2) return one_row || j <= i;
    if (f->mode == 3) return j <= i + shift;
    if (f->mode == 4) return j >= i + shift - f->pre && j <= i + shift + f->next;
    return true;
}

static bool keeps(const form *f, int b, int i, int j, int cell)
{
    const int lq = f->q_len[b], shift = f->kv_len[b] - lq;
    if (!in_band(f, b, i, j)) return false;
    if (f->mask) {
        const int row = f->packed ? i : form_first_row(f, b) + i;
        return get4(f->mask_tensor, b, 0, row, column_of(f, b, j)) == 0;
    }
    if (f->mode != 9 || j < shift) return true;
    return (f->packed ? get1(f->tree, cell + i * lq + j - shift)
                      : get3(f->tree, b, i, j - shift)) == 0;
}

typedef struct where {
    const form *f;
    int b, g;
} where;

/* Row s of head h in the numbers of a book. */
static const double *row_of(const double *numbers, int b, int h, int s, int heads, int room,
                            int columns)
{
    return numbers + (((int64_t)b * heads + h) * room + s) * columns;
}

static double value_of(const void *self, int key, int column)
{
    const where *w = self;
    const form *f = w->f;
    return row_of(f->v_numbers, w->b, w->g, key, f->kv_heads, f->kv_room, f->d_v)[column];
}

static void add_key(const form *f, int b, int h, int g, int i, int j, naive_row *row)
{
    const int d = f->d + f->rope;
    const double *q = row_of(f->q_numbers, b, h, i, f->heads, f->q_room, d);
    const double *k = row_of(f->k_numbers, b, g, j, f->kv_heads, f->kv_room, d);
    double s = 0, absolute = 0, bias = 0;
    for (int c = 0; c < d; c++) s += q[c] * k[c], absolute += fabs(q[c] * k[c]);
    if (f->pse) bias = get4(f->pse_tensor, b, h, form_first_row(f, b) + i, column_of(f, b, j));
    row->x[row->keys] = s * f->a.softmax_scale + bias;
    row->sigma[row->keys] = fabs(f->a.softmax_scale) * absolute + fabs(bias);
    row->key[row->keys++] = j;
}

static void naive(const form *f, int b, int h, int i, int cell, naive_row *row)
{
    const where w = {f, b, h / (f->heads / f->kv_heads)};
    row->keys = 0, row->columns = f->d_v, row->d = f->d + f->rope;
    row->sink = f->sink ? get1(f->sink_tensor, h) : -(double)INFINITY;
    for (int j = 0; j < f->kv_len[b]; j++)
        if (keeps(f, b, i, j, cell)) add_key(f, b, h, w.g, i, j, row);
    if (row->keys > 0) {
        naive_finish(row, value_of, &w);
        return;
    }
    memset(row->out, 0, sizeof row->out);
    memset(row->bound, 0, sizeof row->bound);
    row->lse = (double)INFINITY, row->stats_bound = 0;
}

static void check_row(const form *f, int b, int i, int s, int h, int cell, const char *what)
{
    static naive_row row;
    naive(f, b, h, i, cell, &row);
    for (int c = 0; c < f->d_v; c++) {
        const double got = form_out(f, f->packed ? 0 : b, s, h, c);
        if (!close_out(f->dtype, got, row.out[c], row.bound[c]))
            fail_msg("%s: out[b %d, row %d, head %d, column %d] is %.9g, not %.9g (bound %.2g)",
                     what, b, i, h, c, got, row.out[c], row.bound[c]);
    }
    if (f->lse && !close_stat(form_lse(f, b, s, h), row.lse, row.stats_bound))
        fail_msg("%s: lse[b %d, row %d, head %d] is %.9g, not %.9g", what, b, i, h,
                 form_lse(f, b, s, h), row.lse);
}

/* Rows of the tensor that belong to no sequence: 0 and +inf. */
static void check_outside(const form *f, int b, int first, const char *what)
{
    for (int s = 0; s < f->q_room && !f->packed; s++) {
        if (s >= first && s < first + f->q_len[b]) continue;
        for (int h = 0; h < f->heads; h++) {
            for (int c = 0; c < f->d_v; c++)
                if (form_out(f, b, s, h, c) != 0) fail_msg("%s: row %d of %d is not 0", what, s, b);
            if (f->lse && form_lse(f, b, s, h) != (double)INFINITY)
                fail_msg("%s: lse of row %d of %d is not +inf", what, s, b);
        }
    }
}

void form_check(form *f, const char *what)
{
    int cell = 0;
    form_make(f);
    form_call(f, what);
    for (int b = 0; b < f->batch; b++) {
        const int first = form_first_row(f, b);
        for (int i = 0; i < f->q_len[b]; i++)
            for (int h = 0; h < f->heads; h++) check_row(f, b, i, first + i, h, cell, what);
        check_outside(f, b, first, what);
        cell += f->q_len[b] * f->q_len[b];
    }
}

static void describe(const form *f, char *text, size_t size)
{
    static const char *const kv[] = {"dense", "BnBsH", "BnNBsD", "NZ", "list"};
    static const char *const ops[] = {"v2", "v1", "incre", "prompt"};
    snprintf(text, size,
             "%s %s %s %s heads %d/%d d %d+%d/%d lengths %d/%d %d/%d %d/%d prefix %d pads %d %d "
             "mode %d%s%s%s",
             ops[f->op], f->layout, kv[f->kv], fattn_dtype_name(f->dtype), f->heads, f->kv_heads,
             f->d, f->rope, f->d_v, f->q_len[0], f->kv_len[0], f->q_len[1], f->kv_len[1],
             f->q_len[2], f->kv_len[2], f->prefix, f->q_pad, f->kv_pad, f->mode,
             f->sink ? " sink" : "", f->pse ? " pse" : "", f->mask ? " mask" : "");
}

void form_run(form f)
{
    char what[240];
    describe(&f, what, sizeof what);
    form_check(&f, what);
    harness_reset();
}
