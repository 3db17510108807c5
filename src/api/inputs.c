/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.c — query, key and value read through the layout: axes, head counts, dtypes, views. */
#include "api/inputs.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"

#define LL(x) ((long long)(x))

const fattn_tensor *inputs_optional(const fattn_tensor *tensor)
{
    if (!tensor || (tensor->rank == 1 && tensor->shape[0] == 0)) return NULL;
    return tensor;
}

const char *list_print(fattn_int_array list, char *buffer, size_t size)
{
    const size_t room = 24; /* one number and the dots */
    size_t used = 0;
    buffer[0] = '\0';
    for (int64_t i = 0; i < list.count; i++) {
        if (used + room >= size) {
            snprintf(buffer + used, size - used, ",...");
            break;
        }
        used +=
            (size_t)snprintf(buffer + used, size - used, "%s%lld", i ? "," : "", LL(list.data[i]));
    }
    return buffer;
}

/* ---- lenient readings of the layout -------------------------------------------------------------
 */

/* Does a rank-4 key tensor fit BSND, as far as head counts tell? */
static bool keys_fit_bsnd(const fattn_inputs *in)
{
    const fattn_tensor *k = in->key, *v = in->value;
    if (in->paged) return true;
    if (k->rank != 4 || v->rank != 4) return false;
    const int64_t n = k->shape[2];
    if (v->shape[2] != n || v->shape[1] != k->shape[1] || n <= 0) return false;
    if (in->kv_heads > 0) return n == in->kv_heads;
    return in->kv_heads_name ? n == in->heads : in->heads % n == 0;
}

/* "BNSD" with tensors that are BSND: never when dim 1 fits. */
static void read_as_bsnd(fattn_context *context, fattn_inputs *in)
{
    const fattn_tensor *q = in->query;
    if (context->strict || strcmp(in->letters, "BNSD") != 0 || q->rank != 4 || in->heads <= 0)
        return;
    if (q->shape[1] == in->heads || q->shape[2] != in->heads || !keys_fit_bsnd(in)) return;
    char shape[TEXT_SIZE];
    context_warn(
        context, WARN_LAYOUT_READ_AS_BSND,
        "input_layout: BNSD does not fit query %s with %s %lld, BSND does and is used; the "
        "device refuses the call",
        tensor_print(q, shape, sizeof shape), in->heads_name, LL(in->heads));
    in->letters = "BSND";
}

/* "BSH" (often just the default) with rank-4 tensors. */
static fattn_status read_rank4_bsh(fattn_context *context, fattn_inputs *in)
{
    const fattn_tensor *q = in->query;
    if (context->strict || strcmp(in->letters, "BSH") != 0 || q->rank != 4) return FATTN_OK;
    char shape[TEXT_SIZE];
    tensor_print(q, shape, sizeof shape);
    const bool bsnd = q->shape[2] == in->heads, bnsd = q->shape[1] == in->heads;
    REQUIRE(
        bsnd != bnsd, FATTN_E_SHAPE,
        "query: %s has rank 4 under input_layout BSH, and %s %lld fits %s of axes 1 and 2; give "
        "input_layout BSND or BNSD",
        shape, in->heads_name, LL(in->heads), bsnd ? "both" : "neither");
    in->letters = bsnd ? "BSND" : "BNSD";
    context_warn(
        context, WARN_LAYOUT_BSH_RANK4,
        "input_layout: query %s has rank 4 under BSH and is read as %s; the device refuses the "
        "call",
        shape, in->letters);
    return FATTN_OK;
}

/* ---- head counts and shapes ---------------------------------------------------------------------
 */

static bool has_head_axis(const char *letters) { return strchr(letters, 'N') != NULL; }

static fattn_status read_query(fattn_inputs *in)
{
    REQUIRE(in->heads >= 0, FATTN_E_ARG, "%s: %lld is not positive", in->heads_name, LL(in->heads));
    REQUIRE(
        in->heads > 0 || has_head_axis(in->letters), FATTN_E_ARG,
        "%s: 0, but input_layout %s has no N axis to take it from; give the number of query heads",
        in->heads_name, in->letters);
    TRY(layout_read(&in->q, in->letters, in->query, in->heads, "query"));
    char shape[TEXT_SIZE];
    tensor_print(in->query, shape, sizeof shape);
    REQUIRE(in->q.n > 0 && in->q.d > 0, FATTN_E_SHAPE,
            "query: %s has %lld heads of %lld columns in input_layout %s; both must be at least 1",
            shape, LL(in->q.n), LL(in->q.d), in->letters);
    REQUIRE(in->heads == 0 || in->q.n == in->heads, FATTN_E_SHAPE,
            "%s: %lld, but query %s has %lld heads in input_layout %s; give %s %lld",
            in->heads_name, LL(in->heads), shape, LL(in->q.n), in->letters, in->heads_name,
            LL(in->q.n));
    in->n_heads = in->q.n;
    return FATTN_OK;
}

/* How many heads key and value have: as said, or as the keys tell. `h` = their H axis, 0 = none. */
static int64_t count_kv_heads(const fattn_inputs *in, int64_t n_axis, int64_t h)
{
    if (in->kv_heads > 0) return in->kv_heads;
    if (in->kv_heads_name && in->heads > 0) return in->heads;
    return h > 0 ? h / in->q.d : n_axis;
}

/* The largest divisor of n that is not above `most`; 1 <= most. */
static int64_t divisor_below(int64_t n, int64_t most)
{
    int64_t best = 1;
    for (int64_t d = 1; d <= n / d; d++) {
        if (n % d != 0) continue;
        if (d <= most) best = i64_max(best, d);
        if (n / d <= most) best = i64_max(best, n / d);
    }
    return best;
}

static fattn_status check_groups(const fattn_inputs *in)
{
    const char *name = in->kv_heads_name ? in->kv_heads_name : "key";
    if (in->n_kv_heads > 0 && in->n_heads % in->n_kv_heads == 0) return FATTN_OK;
    const int64_t most = i64_clamp(in->n_kv_heads, 1, i64_max(in->n_heads, 1));
    enum { MOST_HEADS = 1 << 20 }; /* beyond, no search */
    return error_set(FATTN_E_SHAPE,
                     "%s: %lld key/value heads; they must divide the %lld query heads: %lld would do",
                     name, LL(in->n_kv_heads), LL(in->n_heads),
                     LL(in->n_heads <= MOST_HEADS ? divisor_below(in->n_heads, most) : 1));
}

/* key and value agree with the head counts, with each other and with query. */
static fattn_status check_keys(const fattn_inputs *in)
{
    char key[TEXT_SIZE], value[TEXT_SIZE];
    tensor_print(in->key, key, sizeof key);
    tensor_print(in->value, value, sizeof value);
    const char *name = in->kv_heads_name ? in->kv_heads_name : "number of key/value heads";
    REQUIRE(in->k.n == in->n_kv_heads, FATTN_E_SHAPE,
            "key: %s has %lld heads, but %s is %lld; give %s %lld", key, LL(in->k.n), name,
            LL(in->n_kv_heads), name, LL(in->k.n));
    REQUIRE(in->v.n == in->k.n && in->v.b == in->k.b && in->v.s == in->k.s, FATTN_E_SHAPE,
            "value: %s does not fit key %s: they may differ in the head dim only", value, key);
    REQUIRE(in->k.d == in->q.d, FATTN_E_SHAPE,
            "key: %s has head dim %lld, query has %lld; they must be equal", key, LL(in->k.d),
            LL(in->q.d));
    REQUIRE(in->v.d > 0, FATTN_E_SHAPE, "value: %s has head dim 0; it must be at least 1", value);
    REQUIRE(in->paged || in->k.b == in->q.b, FATTN_E_SHAPE,
            "key: %s has batch %lld, query has %lld; they must be equal", key, LL(in->k.b),
            LL(in->q.b));
    return FATTN_OK;
}

/* H axis of a tensor that may have one: the last extent of a rank-3 tensor without N axis. */
static int64_t h_extent(const char *letters, const fattn_tensor *tensor)
{
    return has_head_axis(letters) || tensor->rank != 3 ? 0 : tensor->shape[2];
}

static fattn_status read_pair(fattn_inputs *in, const char *letters)
{
    const char *n = strchr(letters, 'N');
    char key[TEXT_SIZE];
    tensor_print(in->key, key, sizeof key);
    REQUIRE(in->key->rank == (int)strlen(letters), FATTN_E_SHAPE,
            "key: %s has rank %d, %s needs %d", key, (int)in->key->rank, letters,
            (int)strlen(letters));
    const int64_t h = h_extent(letters, in->key);
    in->n_kv_heads = count_kv_heads(in, n ? in->key->shape[n - letters] : 0, h);
    REQUIRE(n || h > 0, FATTN_E_SHAPE, "key: %s has no columns; H must be Nkv * %lld", key,
            LL(in->q.d));
    int64_t columns = 0;
    REQUIRE(n || (i64_mul(in->n_kv_heads, in->q.d, &columns) && columns == h), FATTN_E_SHAPE,
            "key: %s: H = %lld is not %s %lld times the head dim of query, %lld", key, LL(h),
            in->kv_heads_name ? in->kv_heads_name : "Nkv =", LL(in->n_kv_heads), LL(in->q.d));
    TRY(check_groups(in));
    TRY(layout_read(&in->k, letters, in->key, in->n_kv_heads, "key"));
    TRY(layout_read(&in->v, letters, in->value, in->n_kv_heads, "value"));
    return check_keys(in);
}

static fattn_status read_rope(fattn_inputs *in)
{
    if (!in->query_rope && !in->key_rope) return FATTN_OK;
    REQUIRE(in->query_rope && in->key_rope, FATTN_E_ARG,
            "%s: missing; query_rope and key_rope come together",
            in->query_rope ? "key_rope" : "query_rope");
    TRY(layout_read(&in->q_rope, in->letters, in->query_rope, in->n_heads, "query_rope"));
    TRY(layout_read(&in->k_rope, in->letters, in->key_rope, in->n_kv_heads, "key_rope"));
    const fattn_axes *q = &in->q, *qr = &in->q_rope, *k = &in->k, *kr = &in->k_rope;
    char shape[TEXT_SIZE];
    REQUIRE(qr->b == q->b && qr->s == q->s && qr->n == q->n && qr->d > 0, FATTN_E_SHAPE,
            "query_rope: %s does not fit query: only the head dim may differ",
            tensor_print(in->query_rope, shape, sizeof shape));
    REQUIRE(kr->b == k->b && kr->s == k->s && kr->n == k->n && kr->d == qr->d, FATTN_E_SHAPE,
            "key_rope: %s does not fit key with head dim %lld of query_rope",
            tensor_print(in->key_rope, shape, sizeof shape), LL(qr->d));
    return FATTN_OK;
}

fattn_status inputs_read(fattn_context *context, fattn_inputs *in)
{
    read_as_bsnd(context, in);
    TRY(read_rank4_bsh(context, in));
    TRY(read_query(in));
    REQUIRE(in->kv_heads >= 0, FATTN_E_ARG, "%s: %lld is negative; 0 = as many as %s",
            in->kv_heads_name, LL(in->kv_heads), in->heads_name);
    if (in->paged) return FATTN_OK;
    TRY(read_pair(in, in->letters));
    return read_rope(in);
}

/* ---- block caches -------------------------------------------------------------------------------
 */

/* Which way round a rank-4 cache lies: [blocks, Nkv, rows, D] unless only [blocks, rows, Nkv, D]
 * fits. */
static const char *cache_letters(const fattn_inputs *in, int64_t kv_heads, int64_t block_size)
{
    const fattn_tensor *k = in->key;
    const bool bnsd = k->shape[1] == kv_heads && (block_size == 0 || k->shape[2] == block_size);
    const bool bsnd = k->shape[2] == kv_heads && (block_size == 0 || k->shape[1] == block_size);
    return !bnsd && bsnd ? "BSND" : "BNSD";
}

fattn_status cache_read(fattn_context *context, fattn_inputs *in, int64_t block_size)
{
    const fattn_tensor *k = in->key;
    char shape[TEXT_SIZE];
    tensor_print(k, shape, sizeof shape);
    REQUIRE(block_size >= 0, FATTN_E_ARG,
            "block_size: %lld is negative; give the rows of a cache block", LL(block_size));
    REQUIRE(k->rank != 5, FATTN_E_UNSUPPORTED,
            "key: %s: the NZ cache layout is not computed in version " FATTN_VERSION_STRING
            "; use [blocks, rows, Nkv*D] or [blocks, Nkv, rows, D]",
            shape);
    REQUIRE((k->rank == 3 || k->rank == 4) && in->value->rank == k->rank, FATTN_E_SHAPE,
            "key: %s with block_table: the caches must both be [blocks, rows, Nkv*D] or both "
            "[blocks, Nkv, rows, D]",
            shape);
    const char *letters = "BSH";
    if (k->rank == 4)
        letters = context->strict
                      ? "BNSD"
                      : cache_letters(in, count_kv_heads(in, k->shape[1], 0), block_size);
    if (strcmp(letters, "BSND") == 0)
        context_warn(
            context, WARN_CACHE_READ_AS_BNBSND,
            "key: %s fits [blocks, rows, Nkv, D] only and is read so; the device reads a rank-4 "
            "cache as [blocks, Nkv, rows, D]",
            shape);
    TRY(read_pair(in, letters));
    REQUIRE(in->k.s > 0, FATTN_E_SHAPE, "key: %s: a block must hold at least one row", shape);
    REQUIRE(block_size == 0 || block_size == in->k.s, FATTN_E_SHAPE,
            "block_size: %lld, but the blocks of key %s have %lld rows; give block_size %lld",
            LL(block_size), shape, LL(in->k.s), LL(in->k.s));
    REQUIRE(block_size > 0 || !context->strict, FATTN_E_ARG,
            "block_size: 0 with block_table; the device wants %lld, the rows of a cache block",
            LL(in->k.s));
    return FATTN_OK;
}

/* ---- dtypes, views, outputs ---------------------------------------------------------------------
 */

fattn_status inputs_dtypes(const fattn_inputs *in)
{
    const struct {
        const char *name;
        const fattn_tensor *tensor;
    } all[] = {{"query", in->query},
               {"key", in->key},
               {"value", in->value},
               {"query_rope", in->query_rope},
               {"key_rope", in->key_rope}};
    const fattn_dtype dtype = in->query->dtype;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!all[i].tensor) continue;
        const fattn_dtype got = all[i].tensor->dtype;
        REQUIRE(got != FATTN_I8 && got != FATTN_I4 && got != FATTN_I32 && got != FATTN_E4M3 &&
                    got != FATTN_E5M2,
                FATTN_E_UNSUPPORTED,
                "%s: dtype %s: quantised tensors are not computed in version " FATTN_VERSION_STRING
                "; give f32, f16 or bf16",
                all[i].name, fattn_dtype_name(got));
        REQUIRE(got == FATTN_F32 || got == FATTN_F16 || got == FATTN_BF16 || got == FATTN_F64,
                FATTN_E_DTYPE, "%s: dtype %s is none of f32, f16, bf16, f64", all[i].name,
                fattn_dtype_name(got));
        REQUIRE(got == dtype, FATTN_E_DTYPE,
                "%s: dtype %s differs from query's %s; they must be equal", all[i].name,
                fattn_dtype_name(got), fattn_dtype_name(dtype));
    }
    return FATTN_OK;
}

static fattn_part part_of(const fattn_axes *axes, bool packed, bool paged)
{
    return (fattn_part){.d = axes->d,
                        .batch_stride = MUTANT(84, packed || paged, true) ? 0 : axes->b_stride,
                        .head_stride = axes->n_stride,
                        .row_stride = axes->s_stride,
                        .col_stride = axes->d_stride,
                        .page_stride = paged ? axes->b_stride : 0};
}

static fattn_view view_of(const fattn_inputs *in, const fattn_axes *axes, const fattn_axes *rope,
                          bool paged)
{
    fattn_view view = {.dtype = in->query->dtype,
                       .n_parts = in->query_rope && rope ? 2 : 1,
                       .page_rows = paged ? axes->s : 0,
                       .n_pages = paged ? axes->b : 0};
    view.part[0] = part_of(axes, in->packed, paged);
    if (view.n_parts == 2) view.part[1] = part_of(rope, in->packed, paged);
    return view;
}

void inputs_fill(const fattn_inputs *in, fattn_problem *problem)
{
    problem->n_heads = in->n_heads;
    problem->n_kv_heads = in->n_kv_heads;
    problem->group = in->n_heads / in->n_kv_heads;
    problem->d_qk = in->q.d + (in->query_rope ? in->q_rope.d : 0);
    problem->d_v = in->v.d;
    problem->q = view_of(in, &in->q, &in->q_rope, false);
    problem->k = view_of(in, &in->k, &in->k_rope, in->paged);
    problem->v = view_of(in, &in->v, NULL, in->paged);
}

fattn_tensor inputs_output(const fattn_inputs *in)
{
    int64_t shape[FATTN_MAX_RANK];
    const int rank = layout_shape(shape, in->letters, in->q.b, in->q.s, in->n_heads, in->v.d);
    return fattn_tensor_contiguous(NULL, in->query->dtype, rank, shape);
}

fattn_status output_check(const fattn_tensor *given, const fattn_tensor *wanted, const char *name)
{
    char got[TEXT_SIZE], want[TEXT_SIZE];
    tensor_print(given, got, sizeof got);
    tensor_print(wanted, want, sizeof want);
    REQUIRE(given->dtype == wanted->dtype, FATTN_E_DTYPE, "%s: %s must be %s", name, got, want);
    bool same = given->rank == wanted->rank;
    for (int i = 0; same && i < wanted->rank; i++) same = given->shape[i] == wanted->shape[i];
    REQUIRE(same, FATTN_E_SHAPE, "%s: %s must be %s", name, got, want);
    return FATTN_OK;
}

fattn_status output_fill(const fattn_inputs *in, const fattn_tensor *attention_out,
                         fattn_problem *problem)
{
    const fattn_tensor wanted = inputs_output(in);
    const fattn_tensor *out = attention_out ? attention_out : &wanted;
    fattn_axes axes;
    TRY(output_check(out, &wanted, "attention_out"));
    TRY(layout_read(&axes, in->letters, out, in->n_heads, "attention_out"));
    problem->out = (fattn_view){.dtype = out->dtype, .n_parts = 1};
    problem->out.part[0] = part_of(&axes, in->packed, false);
    return FATTN_OK;
}
