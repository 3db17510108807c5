/* SPDX-License-Identifier: Apache-2.0 */
/* json_none.c — json.h in a build without jansson: not available. cli_parse() refuses --json before
 * any of the others could be called, so they do nothing. */
#include "json.h"

#include <stddef.h>

bool json_available(void) { return false; }
json_node *json_node_object(void) { return NULL; }
json_node *json_node_array(void) { return NULL; }
void json_put(json_node *o, const char *k, json_node *c) { (void)o, (void)k, (void)c; }
void json_put_text(json_node *o, const char *k, const char *t) { (void)o, (void)k, (void)t; }
void json_put_int(json_node *o, const char *k, int64_t v) { (void)o, (void)k, (void)v; }
void json_put_real(json_node *o, const char *k, double v) { (void)o, (void)k, (void)v; }
void json_put_bool(json_node *o, const char *k, bool v) { (void)o, (void)k, (void)v; }
void json_put_null(json_node *o, const char *k) { (void)o, (void)k; }
void json_add(json_node *a, json_node *c) { (void)a, (void)c; }
void json_add_text(json_node *a, const char *t) { (void)a, (void)t; }
void json_add_int(json_node *a, int64_t v) { (void)a, (void)v; }
int json_count(const json_node *array) { return (void)array, 0; }
json_node *json_take(json_node *array) { return array; }
void json_print_free(json_node *node) { (void)node; }
bool json_printed(void) { return false; }
