/* SPDX-License-Identifier: Apache-2.0 */
/* infer_form.c — see infer_form.h. */
#include "api/infer_form.h"

static unsigned random_state;

int form_random(int lo, int hi)
{
    random_state = random_state * 1664525u + 1013904223u;
    return lo + (int)((random_state >> 8) % (unsigned)(hi - lo + 1));
}

/* ---- writing ------------------------------------------------------------------------------------
 */

/* Index of (b, s, n, c) in a tensor of these letters; H = heads of `d` columns. */
static void index_of(const char *letters, int d, int b, int s, int n, int c, int64_t *index)
{
    for (int i = 0; letters[i]; i++)
        index[i] = letters[i] == 'B'   ? b
                   : letters[i] == 'N' ? n
                   : letters[i] == 'D' ? c
                   : letters[i] == 'H' ? n * d + c
                                       : s;
}

fattn_tensor *form_tensor(fattn_dtype dtype, const char *letters, int b, int s, int n, int d)
{
    int e[4] = {1, 1, 1, 1}, rank = 0;
    for (; letters[rank]; rank++)
        e[rank] = letters[rank] == 'B'   ? b
                  : letters[rank] == 'N' ? n
                  : letters[rank] == 'D' ? d
                  : letters[rank] == 'H' ? n * d
                                         : s;
    return rank == 2   ? tensor_new(dtype, 0, 2, e[0], e[1])
           : rank == 3 ? tensor_new(dtype, 0, 3, e[0], e[1], e[2])
                       : tensor_new(dtype, 0, 4, e[0], e[1], e[2], e[3]);
}

/* Columns [c0, c0 + d) of rows [from, from + n) of a book, to rows `to`... of batch b in `t`. */
static void copy_rows(const fattn_tensor *book, int b, int heads, int from, int n, int c0, int d,
                      fattn_tensor *t, const char *letters, int to_b, int to)
{
    int64_t index[4];
    for (int h = 0; h < heads; h++)
        for (int s = 0; s < n; s++)
            for (int c = 0; c < d; c++) {
                index_of(letters, d, to_b, to + s, h, c, index);
                put(t, index, get4(book, b, h, from + s, c0 + c));
            }
}

static int sum_before(const int *length, int b, int minus)
{
    int sum = 0;
    for (int i = 0; i < b; i++) sum += length[i] - minus;
    return sum;
}

/* First row of batch entry b on an S (or T) axis; `minus` keys of each entry lie elsewhere. */
static int first_row(const form *f, const int *length, int b, int room, int pad, int minus)
{
    if (f->packed) return sum_before(length, b, minus);
    return pad >= 0 ? room - pad - (length[b] - minus) : 0;
}

static fattn_tensor *dense(const form *f, const fattn_tensor *book, int heads, int c0, int d,
                           const int *length, int room, int pad, int minus)
{
    const int rows = f->packed ? sum_before(length, f->batch, minus) : room;
    fattn_tensor *t = form_tensor(f->dtype, f->in, f->batch, rows, heads, d);
    fill(t, (double)NAN); /* what belongs to no sequence is never read */
    for (int b = 0; b < f->batch; b++)
        copy_rows(book, b, heads, minus, length[b] - minus, c0, d, t, f->in, f->packed ? 0 : b,
                  first_row(f, length, b, room, pad, minus));
    return t;
}

static fattn_tensor_array list(const form *f, const fattn_tensor *book, int d)
{
    const fattn_tensor **items = harness_alloc((size_t)f->batch * sizeof *items);
    for (int b = 0; b < f->batch; b++) {
        const int own = f->kv_len[b] - f->prefix;
        fattn_tensor *t = form_tensor(f->dtype, f->in, 1, own + (f->exact ? 0 : b), f->kv_heads, d);
        fill(t, (double)NAN);
        copy_rows(book, b, f->kv_heads, f->prefix, own, 0, d, t, f->in, 0, 0);
        items[b] = t;
    }
    return (fattn_tensor_array){items, f->batch};
}

static int blocks_of(const form *f, int b)
{
    return (f->kv_len[b] - f->prefix + f->block - 1) / f->block;
}

static int table_columns(const form *f)
{
    int most = 1;
    for (int b = 0; b < f->batch; b++) most = blocks_of(f, b) > most ? blocks_of(f, b) : most;
    return most;
}

/* Blocks from the last to the first; unused entries hold nonsense. */
static fattn_tensor *make_table(const form *f)
{
    int next = f->batch * table_columns(f);
    fattn_tensor *t = tensor_new(FATTN_I32, 0, 2, f->batch, table_columns(f));
    for (int b = 0; b < f->batch; b++)
        for (int m = 0; m < table_columns(f); m++) put2(t, b, m, m < blocks_of(f, b) ? --next : -9);
    return t;
}

static fattn_tensor *cache(const form *f, const fattn_tensor *book, int c0, int d)
{
    const int blocks = f->batch * table_columns(f), rows = f->block, g_n = f->kv_heads;
    const int chunk = f->chunk;
    fattn_tensor *t = f->kv == KV_BNBSH ? tensor_new(f->dtype, 0, 3, blocks, rows, g_n * d)
                      : f->kv == KV_BNNBSD
                          ? tensor_new(f->dtype, 0, 4, blocks, g_n, rows, d)
                          : tensor_new(f->dtype, 0, 5, blocks, g_n, d / chunk, rows, chunk);
    fill(t, (double)NAN);
    for (int b = 0; b < f->batch; b++)
        for (int j = 0; j < f->kv_len[b] - f->prefix; j++) {
            const int64_t block = (int64_t)get2(f->a.block_table, b, j / rows), row = j % rows;
            for (int g = 0; g < g_n; g++)
                for (int c = 0; c < d; c++) {
                    const double x = get4(book, b, g, f->prefix + j, c0 + c);
                    if (f->kv == KV_BNBSH) put3(t, block, row, g * d + c, x);
                    if (f->kv == KV_BNNBSD) put4(t, block, g, row, c, x);
                    if (f->kv == KV_NZ) put(t, (int64_t[]){block, g, c / chunk, row, c % chunk}, x);
                }
        }
    return t;
}

/* ---- the call -----------------------------------------------------------------------------------
 */

static fattn_tensor *book(const form *f, unsigned seed, int heads, int rows, int d)
{
    return tensor_new(f->dtype, seed, 4, FORM_BATCH, heads, rows, d);
}

static void share_keys(form *f)
{
    const int same = f->same_keys > f->prefix ? f->same_keys : f->prefix;
    for (int b = 1; b < f->batch; b++)
        for (int g = 0; g < f->kv_heads; g++)
            for (int j = 0; j < same; j++) {
                for (int c = 0; c < f->d + f->rope; c++)
                    put4(f->k, b, g, j, c, get4(f->k, 0, g, j, c));
                for (int c = 0; c < f->d_v; c++) put4(f->v, b, g, j, c, get4(f->v, 0, g, j, c));
            }
}

static fattn_int_array lengths(const form *f, const int *length, bool cumulative, int minus)
{
    int64_t *list = harness_alloc((size_t)f->batch * sizeof *list);
    for (int b = 0; b < f->batch; b++)
        list[b] = cumulative ? sum_before(length, b + 1, minus) : length[b] - minus;
    return (fattn_int_array){list, f->batch};
}

static void make_tree(form *f)
{
    int cells = 0, at = 0;
    for (int b = 0; b < f->batch; b++) cells += f->q_len[b] * f->q_len[b];
    f->tree = f->packed ? tensor_new(FATTN_BOOL, 0, 1, cells)
                        : tensor_new(FATTN_BOOL, 0, 3, f->batch, f->q_room, f->q_room);
    for (int b = 0; b < f->batch; b++)
        for (int i = 0; i < f->q_len[b]; i++)
            for (int j = 0; j < f->q_len[b]; j++, at++) {
                const double x = i == j ? 0 : form_random(0, 1);
                if (f->packed)
                    put1(f->tree, at, x);
                else
                    put3(f->tree, b, i, j, x);
            }
    f->a.atten_mask = f->tree;
}

/* Bias and full-size mask, addressed by positions of the tensors: prefix first, then the S axis. */
static void make_cells(form *f)
{
    const int width = f->prefix + f->kv_room + FORM_BATCH;
    if (f->pse)
        f->a.pse_shift = f->pse_tensor =
            tensor_new(f->dtype, 11, 4, f->batch, f->heads, f->q_room, width);
    if (!f->mask) return;
    f->a.atten_mask = f->mask_tensor = tensor_new(FATTN_I8, 0, 4, f->batch, 1, f->q_room, width);
    fill_mask(f->mask_tensor, 13, 4);
}

static void make_keys(form *f)
{
    fattn_fused_infer_attention_score_v2_args *a = &f->a;
    const int d = f->split_rope ? f->d : f->d + f->rope, minus = f->prefix;
    if (f->kv == KV_LIST) {
        a->key_list = list(f, f->k, d), a->value_list = list(f, f->v, f->d_v);
    } else if (f->kv == KV_DENSE) {
        a->key = dense(f, f->k, f->kv_heads, 0, d, f->kv_len, f->kv_room, f->kv_pad, minus);
        a->value = dense(f, f->v, f->kv_heads, 0, f->d_v, f->kv_len, f->kv_room, f->kv_pad, minus);
        if (f->split_rope)
            a->key_rope =
                dense(f, f->k, f->kv_heads, d, f->rope, f->kv_len, f->kv_room, f->kv_pad, minus);
    } else {
        a->block_table = make_table(f), a->block_size = f->block;
        a->key = cache(f, f->k, 0, d), a->value = cache(f, f->v, 0, f->d_v);
        if (f->split_rope) a->key_rope = cache(f, f->k, d, f->rope);
    }
}

static void make_prefix(form *f)
{
    const int d = f->d + f->rope, rows = f->prefix + (f->exact ? 0 : 1);
    fattn_tensor *k = form_tensor(f->dtype, f->in, 1, rows, f->kv_heads, d);
    fattn_tensor *v = form_tensor(f->dtype, f->in, 1, rows, f->kv_heads, f->d_v);
    fill(k, (double)NAN), fill(v, (double)NAN);
    copy_rows(f->k, 0, f->kv_heads, 0, f->prefix, 0, d, k, f->in, 0, 0);
    copy_rows(f->v, 0, f->kv_heads, 0, f->prefix, 0, f->d_v, v, f->in, 0, 0);
    f->shared[0] = k, f->shared[1] = v;
    if (!f->exact) f->shared_len = list_of(1, f->prefix);
}

const fattn_tensor *form_rows(int rows)
{
    fattn_tensor *t = tensor_new(FATTN_I64, 0, 1, 1);
    put1(t, 0, rows);
    return t;
}

static const double *numbers_of(const fattn_tensor *book)
{
    const int64_t n = tensor_count(book);
    double *numbers = harness_alloc((size_t)n * sizeof *numbers);
    fattn_tensor flat = fattn_tensor_contiguous(book->data, book->dtype, 1, &n);
    if (n > 0) get_run(&flat, (int64_t[]){0}, (int)n, numbers);
    return numbers;
}

static void make_books(form *f)
{
    const char *behind = strchr(f->layout, '_');
    snprintf(f->in, sizeof f->in, "%.*s", behind ? (int)(behind - f->layout) : 7, f->layout);
    snprintf(f->out, sizeof f->out, "%s", behind ? behind + 1 : f->layout);
    f->packed = strchr(f->in, 'T') != NULL;
    f->q = book(f, 1, f->heads, f->q_room, f->d + f->rope);
    f->k = book(f, 2, f->kv_heads, f->kv_room, f->d + f->rope);
    f->v = book(f, 3, f->kv_heads, f->kv_room, f->d_v);
    share_keys(f);
    f->q_numbers = numbers_of(f->q);
    f->k_numbers = numbers_of(f->k), f->v_numbers = numbers_of(f->v);
}

void form_make(form *f)
{
    fattn_fused_infer_attention_score_v2_args *a = &f->a;
    const int d = f->split_rope ? f->d : f->d + f->rope;
    fattn_fused_infer_attention_score_v2_args_init(a);
    make_books(f);
    a->query = dense(f, f->q, f->heads, 0, d, f->q_len, f->q_room, f->q_pad, 0);
    if (f->split_rope)
        a->query_rope = dense(f, f->q, f->heads, d, f->rope, f->q_len, f->q_room, f->q_pad, 0);
    make_keys(f);
    if (f->prefix) make_prefix(f);
    const bool cached = f->kv == KV_BNBSH || f->kv == KV_BNNBSD || f->kv == KV_NZ;
    a->actual_seq_qlen = lengths(f, f->q_len, f->packed, 0);
    if (!f->exact || f->kv != KV_LIST)
        a->actual_seq_kvlen = lengths(f, f->kv_len, f->packed && !cached, f->prefix);
    if (f->q_pad >= 0) f->padding[0] = form_rows(f->q_pad);
    if (f->kv_pad >= 0) f->padding[1] = form_rows(f->kv_pad);
    make_cells(f);
    if (f->mode == 9) make_tree(f);
    if (f->sink)
        f->sink_tensor = tensor_new(f->dtype == FATTN_F32 ? FATTN_F32 : FATTN_BF16, 7, 1, f->heads);
    a->learnable_sink = f->sink_tensor;
    a->input_layout = f->layout;
    a->num_query_heads = f->heads, a->num_key_value_heads = f->kv_heads;
    a->softmax_scale = 0.3;
    a->sparse_mode = f->mode, a->pre_tokens = f->pre, a->next_tokens = f->next;
    a->return_softmax_lse = f->lse;
}

void form_to_v1(const form *f, fattn_fused_infer_attention_score_args *a)
{
    fattn_fused_infer_attention_score_args_init(a);
    a->query = f->a.query, a->key = f->a.key, a->value = f->a.value;
    a->key_list = f->a.key_list, a->value_list = f->a.value_list;
    a->query_rope = f->a.query_rope, a->key_rope = f->a.key_rope;
    a->key_shared_prefix = f->shared[0], a->value_shared_prefix = f->shared[1];
    a->actual_shared_prefix_len = f->shared_len;
    a->query_padding_size = f->padding[0], a->kv_padding_size = f->padding[1];
    a->pse_shift = f->a.pse_shift, a->atten_mask = f->a.atten_mask;
    a->block_table = f->a.block_table, a->block_size = f->a.block_size;
    a->actual_seq_lengths = f->a.actual_seq_qlen, a->actual_seq_lengths_kv = f->a.actual_seq_kvlen;
    a->num_heads = f->heads, a->num_key_value_heads = f->kv_heads, a->scale = f->a.softmax_scale;
    a->input_layout = f->layout, a->softmax_lse_flag = f->lse;
    a->sparse_mode = f->mode, a->pre_tokens = f->pre, a->next_tokens = f->next;
    a->attention_out = f->a.attention_out, a->softmax_lse = f->a.softmax_lse;
}

static void to_incre(const form *f, fattn_incre_flash_attention_args *a)
{
    fattn_incre_flash_attention_args_init(a);
    a->query = f->a.query, a->key = f->a.key, a->value = f->a.value;
    a->pse_shift = f->a.pse_shift, a->atten_mask = f->a.atten_mask;
    a->block_table = f->a.block_table, a->block_size = f->a.block_size;
    a->actual_seq_lengths = f->a.actual_seq_kvlen, a->kv_padding_size = f->padding[1];
    a->num_heads = f->heads, a->num_key_value_heads = f->kv_heads,
    a->scale_value = f->a.softmax_scale;
    a->input_layout = f->layout, a->attention_out = f->a.attention_out;
}

static void to_prompt(const form *f, fattn_prompt_flash_attention_args *a)
{
    fattn_prompt_flash_attention_args_init(a);
    a->query = f->a.query, a->key = f->a.key, a->value = f->a.value;
    a->pse_shift = f->a.pse_shift, a->atten_mask = f->a.atten_mask;
    a->actual_seq_lengths = f->a.actual_seq_qlen, a->actual_seq_lengths_kv = f->a.actual_seq_kvlen;
    a->num_heads = f->heads, a->num_key_value_heads = f->kv_heads,
    a->scale_value = f->a.softmax_scale;
    a->sparse_mode = f->mode, a->pre_tokens = f->pre, a->next_tokens = f->next;
    a->input_layout = f->layout, a->attention_out = f->a.attention_out;
}

/* Through the operator: its _shapes() into `shapes`, or the call. */
static fattn_status through(const form *f, fattn_tensor *shapes)
{
    fattn_context *context = plain_context();
    fattn_fused_infer_attention_score_args v1;
    fattn_incre_flash_attention_args incre;
    fattn_prompt_flash_attention_args prompt;
    switch (f->op) {
    case V1:
        form_to_v1(f, &v1);
        return shapes ? fattn_fused_infer_attention_score_shapes(context, &v1, shapes)
                      : fattn_fused_infer_attention_score(context, &v1);
    case INCRE_OP:
        to_incre(f, &incre);
        return shapes ? fattn_incre_flash_attention_shapes(context, &incre, shapes)
                      : fattn_incre_flash_attention(context, &incre);
    case PROMPT_OP:
        to_prompt(f, &prompt);
        return shapes ? fattn_prompt_flash_attention_shapes(context, &prompt, shapes)
                      : fattn_prompt_flash_attention(context, &prompt);
    default:
        return shapes ? fattn_fused_infer_attention_score_v2_shapes(context, &f->a, shapes)
                      : fattn_fused_infer_attention_score_v2(context, &f->a);
    }
}

void form_call(form *f, const char *what)
{
    fattn_tensor shapes[2];
    const bool has_lse = f->op == V1 || f->op == V2;
    EXPECT_OK(through(f, shapes), "%s: shapes", what);
    f->a.attention_out = tensor_like(&shapes[0]);
    f->a.softmax_lse = has_lse ? tensor_like(&shapes[1]) : NULL;
    EXPECT_OK(through(f, NULL), "%s", what);
}

/* ---- what came out ------------------------------------------------------------------------------
 */

double form_out(const form *f, int b, int s, int h, int c)
{
    int64_t index[4];
    index_of(f->out, f->d_v, b, s, h, c, index);
    return get(f->a.attention_out, index);
}

double form_lse(const form *f, int b, int s, int h)
{
    return f->packed ? get3(f->a.softmax_lse, s, h, 0) : get4(f->a.softmax_lse, b, h, s, 0);
}

int form_first_row(const form *f, int b)
{
    return first_row(f, f->q_len, b, f->q_room, f->q_pad, 0);
}

form form_usual(const char *layout, kv_form kv, unsigned seed)
{
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
    random_state = seed * 7919u + 1;
    form f = {.layout = layout,
              .dtype = dtypes[seed % 3],
              .batch = FORM_BATCH,
              .kv_heads = form_random(1, 2),
              .d = 32,
              .d_v = form_random(0, 1) ? 32 : 16,
              .kv = kv,
              .block = form_random(0, 1) ? 16 : 5,
              .chunk = 16,
              .q_pad = -1,
              .kv_pad = -1,
              .pre = INT32_MAX,
              .next = INT32_MAX,
              .lse = true,
              .q_room = Q_MOST,
              .kv_room = KV_MOST};
    f.heads = f.kv_heads * form_random(1, 3);
    if (!strpbrk(layout, "BT")) f.batch = 1;
    for (int b = 0; b < FORM_BATCH; b++) {
        f.q_len[b] = form_random(0, Q_MOST);
        f.kv_len[b] = form_random(f.q_len[b], KV_MOST);
    }
    if (f.q_len[0] == 0) f.q_len[0] = 3, f.kv_len[0] = form_random(3, KV_MOST);
    return f;
}
