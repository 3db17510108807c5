/* SPDX-License-Identifier: Apache-2.0 */
/* damage.c — the ways to be wrong (and some unusual ways to be right: flipped, broadcast,
 * transposed and gapped strides). */
#include "garbage/damage.h"

#include <math.h>
#include <string.h>

#define LL(x) ((long long)(x))

/* ---- tensors ----------------------------------------------------------------------------------
 */

/* Row-major strides with axes a and b changing places in memory; wraps where it overflows. */
static void lay_out(fattn_tensor *t, int a, int b)
{
    int order[FATTN_MAX_RANK];
    uint64_t stride = 1;
    if (t->rank < 0 || t->rank > FATTN_MAX_RANK) return;
    for (int i = 0; i < t->rank; i++) order[i] = i == a ? b : i == b ? a : i;
    for (int i = t->rank - 1; i >= 0; i--) {
        t->strides[order[i]] = (int64_t)stride;
        stride *= (uint64_t)t->shape[order[i]];
    }
}

static int pick_axis(const call_tensor *t, source *s)
{
    const int rank = t->t.rank;
    return rank > 0 && rank <= FATTN_MAX_RANK ? source_pick(s, rank) : 0;
}

static int64_t near(int64_t x, source *s)
{
    static const int steps[] = {-1, 1, 2, -2, 3};
    const int pick = source_pick(s, 7);
    if (pick < 5) return (int64_t)((uint64_t)x + (uint64_t)steps[pick]);
    return pick == 5 ? (int64_t)((uint64_t)x * 2) : 0;
}

static void make_absent(call *c, call_tensor *t)
{
    call_note(c, "%s absent; ", t->field->name);
    if (t->field->kind != FATTN_FIELD_TENSORS_IN) {
        *(const fattn_tensor **)call_at(c, t->field) = NULL;
        return;
    }
    for (int v = 0; v < c->n_vectors; v++)
        for (int i = 0; i < CALL_TENSORS; i++)
            if (c->vectors[v][i] == &t->t) c->vectors[v][i] = NULL;
}

static void damage_dtype(call *c, call_tensor *t, source *s)
{
    static const int wrong[] = {-1, 0, 13, 14, 99, INT32_MAX, INT32_MIN, 65536};
    const int dtype =
        source_pick(s, 2) ? wrong[source_pick(s, 8)] : source_pick(s, FATTN_DTYPE_COUNT);
    t->t.dtype = (fattn_dtype)dtype;
    call_note(c, "%s.dtype=%d; ", t->field->name, dtype);
}

static void damage_rank(call *c, call_tensor *t, source *s)
{
    static const int32_t wrong[] = {-1, 9, INT32_MAX, INT32_MIN, 0, 8, 1, 2, 3, 4, 5};
    t->t.rank = wrong[source_pick(s, 11)];
    call_note(c, "%s.rank=%d; ", t->field->name, (int)t->t.rank);
}

static void damage_shape(call *c, call_tensor *t, source *s)
{
    const int axis = pick_axis(t, s);
    t->t.shape[axis] = source_pick(s, 2) ? source_nasty(s) : near(t->t.shape[axis], s);
    call_note(c, "%s.shape[%d]=%lld; ", t->field->name, axis, LL(t->t.shape[axis]));
    if (source_pick(s, 2)) return;
    lay_out(&t->t, 0, 0);
    call_note(c, "%s contiguous; ", t->field->name);
}

static void damage_stride(call *c, call_tensor *t, source *s)
{
    const int axis = pick_axis(t, s);
    t->t.strides[axis] = source_nasty(s);
    c->strides_changed = true;
    call_note(c, "%s.strides[%d]=%lld; ", t->field->name, axis, LL(t->t.strides[axis]));
}

/* Legal for inputs: backwards, broadcast, transposed in memory, with gaps. */
static void unusual_strides(call *c, call_tensor *t, source *s)
{
    const int axis = pick_axis(t, s), how = source_pick(s, 4);
    c->strides_changed = true;
    if (how == 0) t->t.strides[axis] = (int64_t) - (uint64_t)t->t.strides[axis];
    if (how == 1) t->t.strides[axis] = 0;
    if (how == 2) lay_out(&t->t, axis, pick_axis(t, s));
    for (int i = 0; how == 3 && i < FATTN_MAX_RANK; i++)
        t->t.strides[i] = (int64_t)((uint64_t)t->t.strides[i] * 3);
    static const char *const words[] = {"flipped", "broadcast", "transposed", "gapped"};
    call_note(c, "%s axis %d %s; ", t->field->name, axis, words[how]);
}

static void insert_axis(call *c, call_tensor *t, source *s)
{
    const int axis = pick_axis(t, s);
    if (t->t.rank < 0 || t->t.rank >= FATTN_MAX_RANK) return;
    memmove(&t->t.shape[axis + 1], &t->t.shape[axis], (size_t)(t->t.rank - axis) * sizeof(int64_t));
    memmove(&t->t.strides[axis + 1], &t->t.strides[axis],
            (size_t)(t->t.rank - axis) * sizeof(int64_t));
    t->t.shape[axis] = 1;
    t->t.rank++;
    call_note(c, "%s one more axis %d; ", t->field->name, axis);
}

static void borrow_shape(call *c, call_tensor *t, source *s)
{
    const call_tensor *other = &c->tensors[source_pick(s, c->n_tensors)];
    t->t = other->legal;
    call_note(c, "%s as %s; ", t->field->name, other->field->name);
}

/* One integer of a block table, a length, a position. */
static void damage_content(call *c, call_tensor *t, source *s)
{
    const int64_t count = (int64_t)(t->bytes / fattn_dtype_size(t->legal.dtype));
    if ((t->legal.dtype != FATTN_I32 && t->legal.dtype != FATTN_I64) || count == 0 || count > 256 ||
        t->field->kind == FATTN_FIELD_TENSOR_OUT)
        return;
    const int at = source_pick(s, (int)count);
    call_patch(t, (size_t)at, source_nasty(s));
    call_note(c, "%s{%d from the end}=%lld; ", t->field->name, at, LL(t->patch));
}

static void damage_tensor(call *c, call_tensor *t, source *s)
{
    switch (source_pick(s, 14)) {
    case 0:
        make_absent(c, t);
        return;
    case 1:
        t->no_data = true;
        call_note(c, "%s.data=NULL; ", t->field->name);
        return;
    case 2:
        damage_dtype(c, t, s);
        return;
    case 3:
        damage_rank(c, t, s);
        return;
    case 4:
    case 5:
    case 6:
        damage_shape(c, t, s);
        return;
    case 7:
        damage_stride(c, t, s);
        return;
    case 8:
    case 9:
        unusual_strides(c, t, s);
        return;
    case 10:
        insert_axis(c, t, s);
        return;
    case 11:
        borrow_shape(c, t, s);
        return;
    default:
        damage_content(c, t, s);
        return;
    }
}

/* An extent that several tensors share changes in all of them: the first check lets it pass. */
static void damage_extent(call *c, source *s)
{
    const call_tensor *from = &c->tensors[source_pick(s, c->n_tensors)];
    const int axis = from->legal.rank > 0 ? source_pick(s, from->legal.rank) : 0;
    const int64_t old = from->legal.shape[axis],
                  new = source_pick(s, 3) ? source_nasty(s) : near(old, s);
    for (int i = 0; i < c->n_tensors; i++) {
        fattn_tensor *t = &c->tensors[i].t;
        bool any = false;
        for (int a = 0; a < t->rank && a < FATTN_MAX_RANK; a++) {
            if (t->shape[a] != old) continue;
            t->shape[a] = new;
            any = true;
        }
        if (any) lay_out(t, 0, 0);
    }
    call_note(c, "every extent %lld is %lld; ", LL(old), LL(new));
}

/* A parameter that was absent is some tensor of the call. */
static void make_present(call *c, const fattn_field *f, source *s)
{
    const call_tensor *other = &c->tensors[source_pick(s, c->n_tensors)];
    if (!is_input(other) || f->kind != FATTN_FIELD_TENSOR_IN) return;
    *(const fattn_tensor **)call_at(c, f) = &other->t;
    call_note(c, "%s is %s; ", f->name, other->field->name);
}

static void damage_vector(call *c, const fattn_field *f, source *s)
{
    fattn_tensor_array *list = call_at(c, f);
    switch (source_pick(s, 4)) {
    case 0:
        list->data = NULL;
        break;
    case 1:
        list->count = -1 - source_pick(s, 3);
        break;
    case 2:
        list->count = INT64_MAX - source_pick(s, 3);
        break;
    default:
        list->count -= list->count > 0;
    }
    call_note(c, "%s: %s, %lld entries; ", f->name, list->data ? "list" : "NULL", LL(list->count));
}

static void damage_tensor_field(call *c, const fattn_field *f, source *s)
{
    call_tensor *all[CALL_TENSORS];
    int n = 0;
    for (int i = 0; i < c->n_tensors; i++)
        if (c->tensors[i].field == f) all[n++] = &c->tensors[i];
    if (f->kind == FATTN_FIELD_TENSORS_IN && source_pick(s, 3) == 0)
        damage_vector(c, f, s);
    else if (n > 0)
        damage_tensor(c, all[source_pick(s, n)], s);
    else
        make_present(c, f, s);
}

/* ---- everything else --------------------------------------------------------------------------
 */

static void damage_int(call *c, const fattn_field *f, source *s)
{
    int64_t *value = call_at(c, f);
    *value = source_pick(s, 2) ? source_nasty(s) : near(*value, s);
    call_note(c, "%s=%lld; ", f->name, LL(*value));
}

static void damage_float(call *c, const fattn_field *f, source *s)
{
    static const double values[] = {(double)NAN,
                                    (double)INFINITY,
                                    -(double)INFINITY,
                                    0.0,
                                    -0.0,
                                    1e300,
                                    -1e300,
                                    5e-324,
                                    -1.0,
                                    0.5,
                                    1e38,
                                    3.5e38};
    double *value = call_at(c, f);
    *value = values[source_pick(s, 12)];
    c->extreme = true;
    call_note(c, "%s=%g; ", f->name, *value);
}

/* Words of the family, and none at all, too long, and dangerous ones. */
static void damage_text(call *c, const fattn_field *f, source *s)
{
    static const char *const words[] = {
        "",          "BSH",          "SBH",         "BSND",  "BNSD",  "TND", "BSNH", "NTD",
        "BNSD_BSND", "TND_NTD",      "bsh",         "BNS",   "BNSDX", "B",   "DDDD", "BBBB",
        "%s%n%s%n",  "\xff\xfe\x01", " BSH",        "BSH\n", "NBSD",  "SH",  "NSD",  "BSH_NBSD",
        "T",         "NDT",          "HHHHHHHHHHHH"};
    const int n = (int)(sizeof words / sizeof words[0]), pick = source_pick(s, n + 4);
    const char **text = call_at(c, f);
    for (int i = 0; i < c->n_texts; i++) {
        if (c->texts[i].field != f) continue;
        const fenced *slot = &c->texts[i].slot;
        static const size_t lengths[] = {10000, 63, 64, 65};
        const size_t room = (pick < n ? strlen(words[pick]) : lengths[pick - n]) + 1;
        char *at = (char *)fenced_end(slot) - room;
        if (pick < n)
            memcpy(at, words[pick], room);
        else
            memset(at, 'B', room - 1), at[room - 1] = '\0';
        *text = at;
        call_note(c, "%s=\"%.12s\" (%zu bytes); ", f->name, at, room - 1);
    }
    if (source_pick(s, 8)) return;
    *text = NULL;
    call_note(c, "%s=NULL; ", f->name);
}

/* Another length, with memory behind it up to the fence; beyond, the wild region is behind it. */
static void damage_count(call *c, const call_list *own, fattn_int_array *list, source *s)
{
    const int64_t count = source_pick(s, 2) ? source_nasty(s) : near(list->count, s);
    list->count = count;
    if (!list->data) return;
    const int64_t room = (int64_t)(own->slot.capacity / sizeof(int64_t));
    if (count >= 0 && count <= room) {
        int64_t *data = (int64_t *)(void *)fenced_end(&own->slot) - count;
        for (int64_t i = 0; i < count; i++)
            data[i] = own->count > 0 ? own->content[i < own->count ? i : own->count - 1] : i;
        list->data = data;
        return;
    }
    unsigned char *wild = wild_middle();
    list->data = (const int64_t *)(const void *)wild;
    const int64_t most = wild_reach() / 8;
    if (count < 0) return;
    c->wild_lists.range[c->wild_lists.n].begin = wild;
    c->wild_lists.range[c->wild_lists.n++].end = wild + 8 * (count < most ? count : most);
}

static void damage_list(call *c, const fattn_field *f, source *s)
{
    fattn_int_array *list = call_at(c, f);
    const call_list *own = c->lists;
    while (own->field != f) own++;
    const int how = source_pick(s, 6);
    if (how == 0) {
        list->data = NULL;
        call_note(c, "%s.data=NULL; ", f->name);
    } else if (how <= 2) {
        if (!list->data) list->data = (const int64_t *)(const void *)fenced_end(&own->slot);
        if (c->wild_lists.n < CALL_LISTS) damage_count(c, own, list, s);
        call_note(c, "%s has %lld entries; ", f->name, LL(list->count));
    } else if (list->data && list->count > 0 && list->count <= 64) {
        const int at = source_pick(s, (int)list->count);
        int64_t *data = (int64_t *)(void *)fenced_end(&own->slot) - list->count;
        if (list->data != data) return;
        data[at] = source_pick(s, 2) ? source_nasty(s) : near(data[at], s);
        c->extreme |= data[at] > 1 << 16 || data[at] < -(1 << 16); /* a position of pse_type 2, 3 */
        call_note(c, "%s[%d]=%lld; ", f->name, at, LL(data[at]));
    }
}

static void damage_size(call *c, source *s)
{
    const size_t known = c->op->args_size, extra = 8 * (size_t)source_pick(s, 100);
    static const size_t sizes[] = {0, 1, 8, SIZE_MAX, SIZE_MAX - 7, (size_t)1 << 63, 1 << 20};
    const int how = source_pick(s, 12);
    size_t size = known + extra;
    if (how < 7)
        size = sizes[how];
    else if (how < 9)
        size = known - 8;
    else {
        unsigned char *args = c->args - extra;
        memmove(args, c->args, known);
        memset(args + known, 0, extra);
        if (how == 9 && extra > 0) args[known + (size_t)source_pick(s, (int)extra)] = 1;
        c->args = args;
    }
    memcpy(c->args, &size, sizeof size);
    call_note(c, "size=%zu%s; ", size, how == 9 ? ", bytes beyond set" : "");
}

static void damage_field(call *c, const fattn_field *f, source *s)
{
    switch (f->kind) {
    case FATTN_FIELD_INT:
        damage_int(c, f, s);
        return;
    case FATTN_FIELD_FLOAT:
        damage_float(c, f, s);
        return;
    case FATTN_FIELD_BOOL: {
        bool *value = call_at(c, f);
        *value = !*value;
        call_note(c, "%s=%d; ", f->name, *value);
        return;
    }
    case FATTN_FIELD_STRING:
        damage_text(c, f, s);
        return;
    case FATTN_FIELD_INTS:
        damage_list(c, f, s);
        return;
    case FATTN_FIELD_INT_OUT:
        *(int64_t **)call_at(c, f) = NULL;
        call_note(c, "%s=NULL; ", f->name);
        return;
    default:
        damage_tensor_field(c, f, s);
        return;
    }
}

void call_damage(call *c, source *s)
{
    call_restore(c);
    const int rounds =
        1 + (source_pick(s, 4) > 1) + (source_pick(s, 6) == 1) + (source_pick(s, 8) == 1);
    for (int i = 0; i < rounds; i++) {
        const int what = source_pick(s, 40);
        if (what == 0)
            damage_size(c, s);
        else if (what < 6)
            damage_extent(c, s);
        else if (what < 20)
            damage_tensor(c, &c->tensors[source_pick(s, c->n_tensors)], s);
        else
            damage_field(c, &c->op->fields[source_pick(s, c->op->n_fields)], s);
    }
    call_place(c);
}
