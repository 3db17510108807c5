/* SPDX-License-Identifier: Apache-2.0 */
/* json_jansson.c — json.h on jansson. */
#include "json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

/* A json_node is a json_t behind another name. */
static json_t *t(json_node *node) { return (json_t *)node; }
static json_node *n(json_t *value) { return (json_node *)value; }

bool json_available(void) { return true; }
json_node *json_node_object(void) { return n(json_object()); }
json_node *json_node_array(void) { return n(json_array()); }

void json_put(json_node *object, const char *key, json_node *child)
{
    json_object_set_new(t(object), key, t(child));
}

/* Text that is not UTF-8 (a file name may be anything) becomes null rather than a missing key. */
static json_t *text_value(const char *text)
{
    json_t *value = text ? json_string(text) : NULL;
    return value ? value : json_null();
}

static json_t *real_value(double value) { return isfinite(value) ? json_real(value) : json_null(); }

void json_put_text(json_node *object, const char *key, const char *text)
{
    json_object_set_new(t(object), key, text_value(text));
}

void json_put_int(json_node *object, const char *key, int64_t value)
{
    json_object_set_new(t(object), key, json_integer(value));
}

void json_put_real(json_node *object, const char *key, double value)
{
    json_object_set_new(t(object), key, real_value(value));
}

void json_put_bool(json_node *object, const char *key, bool value)
{
    json_object_set_new(t(object), key, json_boolean(value));
}

void json_put_null(json_node *object, const char *key)
{
    json_object_set_new(t(object), key, json_null());
}

void json_add(json_node *array, json_node *child) { json_array_append_new(t(array), t(child)); }

void json_add_text(json_node *array, const char *text)
{
    json_array_append_new(t(array), text_value(text));
}

void json_add_int(json_node *array, int64_t value)
{
    json_array_append_new(t(array), json_integer(value));
}

int json_count(const json_node *array) { return (int)json_array_size((const json_t *)array); }

json_node *json_take(json_node *array)
{
    json_t *first = json_incref(json_array_get(t(array), 0));
    json_decref(t(array));
    return n(first);
}

static bool printed;

bool json_printed(void) { return printed; }

void json_print_free(json_node *node)
{
    if (!node) return;
    printed = true;
    json_dumpf(t(node), stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(t(node));
}
