/* SPDX-License-Identifier: Apache-2.0 */
/* pickle_value.c — the values of a pickle: growing arrays, children, and the way from a name to a
 * tensor.
 *
 * Values may contain each other in circles and share children: walks have a depth and a budget. */
#include "pickle_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 16, BUDGET = 100000, LISTED = 8 };

/* Room for one more of `size` bytes. */
static bool grow(void *array, int *room, int n, size_t size)
{
    void **at = array;
    if (n < *room) return true;
    if (n >= MOST_VALUES) return false;
    const int twice = *room * 2 + 32, wider = twice < MOST_VALUES ? twice : MOST_VALUES;
    void *longer = realloc(*at, (size_t)wider * size);
    if (!longer) return false;
    *at = longer;
    *room = wider;
    return true;
}

bool values_init(values *v)
{
    *v = (values){.n = 1, .n_links = 1};
    if (!grow(&v->all, &v->room, v->n, sizeof *v->all) ||
        !grow(&v->links, &v->room_links, v->n_links, sizeof *v->links))
        return false;
    v->all[0] = (value){.kind = VALUE_NONE};
    v->links[0] = (value_link){0, 0};
    return true;
}

void values_free(values *v)
{
    free(v->all);
    free(v->links);
    free(v->tensors);
    free(v->stack);
    free(v->memo);
}

bool values_too_many(const values *v)
{
    return v->n == MOST_VALUES || v->n_links == MOST_VALUES || v->n_tensors == MOST_VALUES ||
           v->n_stack == MOST_VALUES || v->n_memo == MOST_VALUES;
}

int value_new(values *v, value_kind kind)
{
    if (!grow(&v->all, &v->room, v->n, sizeof *v->all)) return 0;
    v->all[v->n] = (value){.kind = kind};
    return v->n++;
}

bool value_append(values *v, int parent, int child)
{
    if (!grow(&v->links, &v->room_links, v->n_links, sizeof *v->links)) return false;
    const int link = v->n_links++;
    value *p = &v->all[parent];
    v->links[link] = (value_link){child, 0};
    if (p->count++ == 0)
        p->first = link;
    else
        v->links[p->last].next = link;
    p->last = link;
    return true;
}

bool value_push(values *v, int item)
{
    if (item == 0 || !grow(&v->stack, &v->room_stack, v->n_stack, sizeof *v->stack)) return false;
    v->stack[v->n_stack++] = item;
    return true;
}

bool value_remember(values *v, int index, int item)
{
    if (!grow(&v->memo, &v->room_memo, index, sizeof *v->memo)) return false;
    v->memo[index] = item;
    if (index == v->n_memo) v->n_memo++;
    return true;
}

int value_tensor(values *v, const pickle_tensor *tensor)
{
    const int made = value_new(v, VALUE_TENSOR);
    if (!made || !grow(&v->tensors, &v->room_tensors, v->n_tensors, sizeof *v->tensors)) return 0;
    v->tensors[v->n_tensors] = *tensor;
    v->all[made].number = v->n_tensors++;
    return made;
}

int value_child(const values *v, int parent, int index)
{
    int link = v->all[parent].first;
    while (link && index-- > 0) link = v->links[link].next;
    return v->links[link].value;
}

bool value_is_text(const value *v, const char *text)
{
    return v->kind == VALUE_TEXT && strlen(text) == v->length &&
           memcmp(v->text, text, v->length) == 0;
}

static bool is_sequence(const value *v) { return v->kind == VALUE_LIST || v->kind == VALUE_TUPLE; }

typedef struct entry {
    char digits[24]; /* of a number as key */
    const char *key;
    size_t length;
    int value;
} entry;

/* The next entry of a container; false at the end. *link begins as its first, index counts. */
static bool next_entry(const values *v, const value *container, int *link, int index, entry *e)
{
    if (*link == 0) return false;
    const value *key = &v->all[v->links[*link].value];
    if (is_sequence(container)) {
        e->value = v->links[*link].value;
    } else {
        *link = v->links[*link].next;
        e->value = v->links[*link].value;
    }
    *link = v->links[*link].next;
    if (!is_sequence(container) && key->kind == VALUE_TEXT) {
        e->key = key->text;
        e->length = key->length;
        return true;
    }
    const long long number = is_sequence(container) ? index : (long long)key->number;
    e->length = (size_t)snprintf(e->digits, sizeof e->digits, "%lld", number);
    e->key = e->digits;
    return true;
}

static bool is_container(const value *v) { return v->kind == VALUE_DICT || is_sequence(v); }

static int find(const values *v, int at, const char *name, int depth, int *budget)
{
    const value *container = &v->all[at];
    if (!is_container(container) || depth == DEEPEST) return 0;
    entry e;
    int found = 0;
    for (int link = container->first, i = 0; next_entry(v, container, &link, i, &e); i++) {
        if (--*budget < 0) return found;
        if (strlen(name) < e.length || memcmp(name, e.key, e.length) != 0) continue;
        const char *rest = name + e.length;
        int here = 0;
        if (*rest == '\0' && v->all[e.value].kind == VALUE_TENSOR) here = e.value;
        if (*rest == '.') here = find(v, e.value, rest + 1, depth + 1, budget);
        if (here) found = here; /* of two with one key the last counts, as in Python */
    }
    return found;
}

int value_find(const values *v, int root, const char *name)
{
    int budget = BUDGET;
    return find(v, root, name, 0, &budget);
}

const char *value_printable(const char *text, size_t length, char out[PICKLE_TEXT])
{
    const size_t most = PICKLE_TEXT - 4, n = length < most ? length : most;
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        out[i] = (char)(c < 0x20 || c >= 0x7f ? '?' : c);
    }
    memcpy(out + n, length > most ? "..." : "", length > most ? 4 : 1);
    return out;
}

/* Names so far, and the path of the container that is being walked. */
typedef struct listing {
    const values *v;
    char *out;
    size_t room, used;
    int n, budget;
    char path[200];
} listing;

static void put(listing *l, const char *text)
{
    const int n = snprintf(l->out + l->used, l->room - l->used, "%s%s", l->n ? ", " : "", text);
    if (n > 0 && (size_t)n < l->room - l->used) l->used += (size_t)n;
    l->out[l->used] = '\0';
    l->n++;
}

static void list_names(listing *l, int at, size_t path, int depth)
{
    const value *container = &l->v->all[at];
    entry e;
    if (!is_container(container) || depth == DEEPEST) return;
    for (int link = container->first, i = 0; next_entry(l->v, container, &link, i, &e); i++) {
        char key[PICKLE_TEXT];
        if (--l->budget < 0 || l->n > LISTED) return;
        const int n = snprintf(l->path + path, sizeof l->path - path, "%s%s", path ? "." : "",
                               value_printable(e.key, e.length, key));
        if (n < 0 || (size_t)n >= sizeof l->path - path) continue;
        const bool tensor = l->v->all[e.value].kind == VALUE_TENSOR;
        if (tensor)
            put(l, l->n == LISTED ? "..." : l->path);
        else
            list_names(l, e.value, path + (size_t)n, depth + 1);
    }
}

const char *value_names(const values *v, int root, char *out, size_t room)
{
    listing l = {.v = v, .out = out, .room = room, .budget = 1000};
    out[0] = '\0';
    list_names(&l, root, 0, 0);
    return l.n ? out : "no tensor";
}
