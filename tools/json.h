/* SPDX-License-Identifier: Apache-2.0 */
/* json.h — building one JSON object for --json; jansson underneath (json_jansson.c). In a build
 * without jansson (json_none.c) json_available() is false, cli_parse() refuses --json and nothing
 * here is called.
 *
 * Every function takes ownership of the child it is given; NaN and infinities become null. */
#ifndef FATTN_TOOLS_JSON_H
#define FATTN_TOOLS_JSON_H

#include <stdbool.h>
#include <stdint.h>

typedef struct json_node json_node;

bool json_available(void);
json_node *json_node_object(void);
json_node *json_node_array(void);
void json_put(json_node *object, const char *key, json_node *child);
void json_put_text(json_node *object, const char *key, const char *text); /* NULL: null */
void json_put_int(json_node *object, const char *key, int64_t value);
void json_put_real(json_node *object, const char *key, double value);
void json_put_bool(json_node *object, const char *key, bool value);
void json_put_null(json_node *object, const char *key);
void json_add(json_node *array, json_node *child);
void json_add_text(json_node *array, const char *text);
void json_add_int(json_node *array, int64_t value);
int json_count(const json_node *array);
json_node *json_take(json_node *array); /* the first element, on its own; frees the array */
void json_print_free(json_node *node);  /* to stdout, with a newline; NULL is fine */
bool json_printed(void);                /* something was */

#endif
