/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.c — query, key and value read through the layout: axes, head counts, dtypes, views. */
#include "api/inputs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/messages.h"
#include "base/mutant.h"

static const double SCALE_MAX = 2.35e38; /* FLT_MAX / log2(e), rounded down */

bool inputs_is_f32(const fattn_inputs *in, const fattn_tensor *tensor)
{
    return tensor->dtype == FATTN_F32 ||
           (tensor->dtype == FATTN_F64 && in->query->dtype == FATTN_F64);
}

fattn_status inputs_scale(const char *name, double scale)
{
    REQUIRE(fabs(scale) <= SCALE_MAX, FATTN_E_ARG,
            "%s: %g is too large for fp32 scores; at most %g in size", name, scale, SCALE_MAX);
    return FATTN_OK;
}

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

/* The tensors lie otherwise than was said; the output like the query unless its layout was named.
 */
static void read_as(fattn_inputs *in, const char *letters)
{
    const bool same = strcmp(in->letters, in->out_letters) == 0;
    snprintf(in->letters, sizeof in->letters, "%s", letters);
    if (same) snprintf(in->out_letters, sizeof in->out_letters, "%s", letters);
}

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
    if (context->strict || strcmp(in->letters, "BNSD") != 0 || strcmp(in->out_letters, "BNSD") != 0)
        return;
    if (q->rank != 4 || in->heads <= 0) return;
    if (q->shape[1] == in->heads || q->shape[2] != in->heads || !keys_fit_bsnd(in)) return;
    char shape[TEXT_SIZE];
    context_warn(
        context, WARN_LAYOUT_READ_AS_BSND,
        "input_layout: BNSD does not fit query %s with %s %lld, BSND does and is used; the "
        "device refuses the call",
        tensor_print(q, shape, sizeof shape), in->heads_name, LL(in->heads));
    read_as(in, "BSND");
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
        shape, in->heads_name, LL(in->heads), message_say(bsnd ? "both" : "neither"));
    read_as(in, bsnd ? "BSND" : "BNSD");
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
    REQUIRE(in->heads >= 0, FATTN_E_ARG, "%s: %lld is negative", in->heads_name, LL(in->heads));
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
int64_t keys_heads(const fattn_inputs *in, int64_t n_axis, int64_t h)
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

fattn_status keys_groups(const fattn_inputs *in)
{
    const char *name = in->kv_heads_name ? in->kv_heads_name : "key";
    if (in->n_kv_heads > 0 && in->n_heads % in->n_kv_heads == 0) return FATTN_OK;
    const int64_t most = i64_clamp(in->n_kv_heads, 1, i64_max(in->n_heads, 1));
    enum { MOST_HEADS = 1 << 20 }; /* beyond, no search */
    return error_set(
        FATTN_E_SHAPE,
        "%s: %lld key/value heads; they must divide the %lld query heads: %lld would do", name,
        LL(in->n_kv_heads), LL(in->n_heads),
        LL(in->n_heads <= MOST_HEADS ? divisor_below(in->n_heads, most) : 1));
}

/* What a sentence calls the number of key/value heads: the argument, if there is one. */
static const char *kv_heads_name(const fattn_inputs *in)
{
    return in->kv_heads_name ? in->kv_heads_name : message_say("number of key/value heads");
}

/* key and value agree with the head counts, with each other and with query. */
fattn_status keys_check(const fattn_inputs *in)
{
    char key[TEXT_SIZE], value[TEXT_SIZE];
    tensor_print(in->key, key, sizeof key);
    tensor_print(in->value, value, sizeof value);
    REQUIRE(in->k.n == in->n_kv_heads, FATTN_E_SHAPE,
            "key: %s has %lld heads, but %s is %lld; give %s %lld", key, LL(in->k.n),
            kv_heads_name(in), LL(in->n_kv_heads), kv_heads_name(in), LL(in->k.n));
    REQUIRE(in->v.n == in->k.n && in->v.b == in->k.b && in->v.s == in->k.s, FATTN_E_SHAPE,
            "value: %s does not fit key %s: they may differ in the head dim only", value, key);
    REQUIRE(in->k.d == in->q.d, FATTN_E_SHAPE,
            "key: %s has head dim %lld, query has %lld; they must be equal", key, LL(in->k.d),
            LL(in->q.d));
    REQUIRE(in->v.d > 0, FATTN_E_SHAPE, "value: %s has head dim 0; it must be at least 1", value);
    REQUIRE(in->paged || in->listed || in->k.b == in->q.b, FATTN_E_SHAPE,
            "key: %s has batch %lld, query has %lld; they must be equal", key, LL(in->k.b),
            LL(in->q.b));
    return FATTN_OK;
}

/* Columns of key's H axis, the last one; 0 when the letters have none. */
static int64_t h_extent(const fattn_inputs *in)
{
    const bool none = has_head_axis(in->letters);
    return none ? 0 : keys_columns(in, in->key->shape[in->key->rank - 1]);
}

static fattn_status read_pair(fattn_inputs *in)
{
    const char *letters = in->letters, *n = strchr(letters, 'N');
    char key[TEXT_SIZE];
    tensor_print(in->key, key, sizeof key);
    REQUIRE(in->key->rank == (int)strlen(letters), FATTN_E_SHAPE,
            "key: %s has rank %d, %s needs %d", key, (int)in->key->rank, letters,
            (int)strlen(letters));
    const int64_t h = h_extent(in);
    in->n_kv_heads = keys_heads(in, n ? in->key->shape[n - letters] : 0, h);
    REQUIRE(n || h > 0, FATTN_E_SHAPE, "key: %s has no columns; H must be Nkv * %lld", key,
            LL(in->q.d));
    int64_t columns = 0;
    REQUIRE(n || (i64_mul(in->n_kv_heads, in->q.d, &columns) && columns == h), FATTN_E_SHAPE,
            "key: %s: H = %lld is not %s %lld times the head dim of query, %lld", key, LL(h),
            in->kv_heads_name ? in->kv_heads_name : "Nkv =", LL(in->n_kv_heads), LL(in->q.d));
    TRY(keys_groups(in));
    TRY(keys_axes(in, &in->k, letters, in->key, "key"));
    TRY(keys_axes(in, &in->v, letters, in->value, "value"));
    return keys_check(in);
}

fattn_status rope_check(fattn_inputs *in)
{
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

static fattn_status read_query_rope(fattn_inputs *in)
{
    REQUIRE(in->query_rope && in->key_rope, FATTN_E_ARG,
            "%s: missing; query_rope and key_rope come together",
            in->query_rope ? "key_rope" : "query_rope");
    return layout_read(&in->q_rope, in->letters, in->query_rope, in->n_heads, "query_rope");
}

/* One tensor of a list: like the first one but for its length. */
static fattn_status read_listed(const fattn_inputs *in, const fattn_tensor *tensor, int64_t b,
                                const char *name, const fattn_axes *first, fattn_axes *axes)
{
    char shape[TEXT_SIZE];
    tensor_print(tensor, shape, sizeof shape);
    REQUIRE(tensor->dtype == in->key->dtype, FATTN_E_DTYPE,
            "%s: entry %lld is %s; its dtype must be that of the first entry, %s", name, LL(b), shape,
            fattn_dtype_name(in->key->dtype));
    TRY(keys_axes(in, axes, in->letters, tensor, name));
    REQUIRE(
        axes->b == 1 && axes->n == first->n && axes->d == first->d, FATTN_E_SHAPE,
        "%s: entry %lld is %s; it must have batch 1, %lld heads and head dim %lld like the first",
        name, LL(b), shape, LL(first->n), LL(first->d));
    return FATTN_OK;
}

/* Lists: every entry fits, and in->k.s becomes the longest. */
static fattn_status read_lists(fattn_inputs *in)
{
    const fattn_axes first_k = in->k, first_v = in->v;
    REQUIRE(!in->packed, FATTN_E_ARG,
            "key_list: input_layout %s packs all sequences into one tensor; give key and value",
            in->letters);
    REQUIRE(
        in->key_list.count == in->q.b && in->value_list.count == in->q.b, FATTN_E_SHAPE,
        "key_list: %lld tensors and %lld in value_list; query has batch %lld: one each is needed",
        LL(in->key_list.count), LL(in->value_list.count), LL(in->q.b));
    for (int64_t b = 0; b < in->q.b; b++) {
        fattn_axes k, v;
        TRY(read_listed(in, in->key_list.data[b], b, "key_list", &first_k, &k));
        TRY(read_listed(in, in->value_list.data[b], b, "value_list", &first_v, &v));
        REQUIRE(k.s == v.s, FATTN_E_SHAPE,
                "value_list: entry %lld has %lld keys, that of key_list %lld; they must be equal",
                LL(b), LL(v.s), LL(k.s));
        in->k.s = in->v.s = MUTANT(138, i64_max(in->k.s, k.s), k.s);
    }
    return FATTN_OK;
}

/* Keys before everybody's own: key's layout, batch 1. */
fattn_status shared_read(fattn_inputs *in)
{
    const fattn_axes *k = &in->k_shared, *v = &in->v_shared;
    char key[TEXT_SIZE], value[TEXT_SIZE];
    REQUIRE(in->key_shared && in->value_shared, FATTN_E_ARG,
            "%s: missing; key_shared_prefix and value_shared_prefix come together",
            in->key_shared ? "value_shared_prefix" : "key_shared_prefix");
    REQUIRE(
        !in->query_rope, FATTN_E_UNSUPPORTED,
        "key_shared_prefix: there is no rope part of a prefix; leave out query_rope or the prefix");
    TRY(keys_axes(in, &in->k_shared, in->letters, in->key_shared, "key_shared_prefix"));
    TRY(keys_axes(in, &in->v_shared, in->letters, in->value_shared, "value_shared_prefix"));
    tensor_print(in->key_shared, key, sizeof key);
    tensor_print(in->value_shared, value, sizeof value);
    REQUIRE(k->b == 1 && k->n == in->n_kv_heads && k->d == in->k.d, FATTN_E_SHAPE,
            "key_shared_prefix: %s; it needs batch 1, and %lld heads of %lld columns like key", key,
            LL(in->n_kv_heads), LL(in->k.d));
    REQUIRE(v->b == 1 && v->n == in->n_kv_heads && v->d == in->v.d && v->s == k->s, FATTN_E_SHAPE,
            "value_shared_prefix: %s; it needs batch 1, %lld rows like key_shared_prefix, and %lld "
            "heads of "
            "%lld columns like value",
            value, LL(k->s), LL(in->n_kv_heads), LL(in->v.d));
    return FATTN_OK;
}

fattn_status inputs_read_query(fattn_context *context, fattn_inputs *in)
{
    read_as_bsnd(context, in);
    TRY(read_rank4_bsh(context, in));
    return read_query(in);
}

fattn_status inputs_read_keys(fattn_inputs *in)
{
    REQUIRE(in->kv_heads >= 0, FATTN_E_ARG, "%s: %lld is negative; 0 = as many as %s",
            in->kv_heads_name, LL(in->kv_heads), in->heads_name);
    if (in->query_rope || in->key_rope) TRY(read_query_rope(in));
    if (in->paged) return FATTN_OK;
    TRY(read_pair(in));
    if (in->listed) TRY(read_lists(in));
    if (in->key_shared || in->value_shared) TRY(shared_read(in));
    if (!in->query_rope) return FATTN_OK;
    REQUIRE(!in->listed, FATTN_E_UNSUPPORTED,
            "key_list: given with query_rope, and a list has no rope parts; give key and key_rope, "
            "or put the rope "
            "columns behind those of query and of every tensor");
    TRY(layout_read(&in->k_rope, in->letters, in->key_rope, in->n_kv_heads, "key_rope"));
    return rope_check(in);
}
