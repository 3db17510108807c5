/* SPDX-License-Identifier: Apache-2.0 */
/* info.c — `fattn info`: what this build and this machine can do. */
#include "verbs.h"

#include "call.h"
#include "io/safetensors.h"
#include "standard.h"

#include <stdio.h>
#include <string.h>

const cli_option info_options[] = {
    CLI_CONTEXT_OPTIONS,
    CLI_JSON_OPTION,
    {NULL, NULL, NULL, NULL, NULL},
};

/* The parts of the command line that a build may lack. */
typedef struct part {
    const char *name, *state, *what;
} part;
enum { N_PARTS = 2 };

static void find_parts(part *parts)
{
    const char *blas = standard_library();
    parts[0] = (part){"jansson", json_available() && safetensors_available() ? "yes" : "no",
                      "--json and .safetensors files"};
    parts[1] = (part){"OpenBLAS", blas ? blas : "no", "standard attention in fattn bench"};
}

static void print_list(const char *label, const char *const *list)
{
    printf("%-22s", label);
    if (!list || !list[0]) printf(" none");
    for (; list && *list; list++) printf(" %s", *list);
    putchar('\n');
}

static void print_modes(const char *label, int64_t modes)
{
    printf("%-22s", label);
    for (int m = 0; m < 63; m++)
        if (modes >> m & 1) printf(" %d", m);
    putchar('\n');
}

static void print_text(const fattn_capability_set *set)
{
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    part parts[N_PARTS];
    find_parts(parts);
    printf("%-22s %s\n", "fattn", set->version);
    printf("%-22s %s\n", "isa", set->isa);
    print_list("isas here", set->isas);
    printf("%-22s %d\n", "threads", set->threads);
    print_list("backends", set->backends);
    print_list("dtypes", set->dtypes);
    print_list("layouts", set->layouts);
    print_list("cache layouts", set->cache_layouts);
    print_list("quantisation", set->quantisation);
    print_modes("sparse modes, training", set->sparse_modes_training);
    print_modes("sparse modes, infer", set->sparse_modes_inference);
    puts("operators");
    for (int i = 0; i < count; i++) printf("  %-28s %s\n", ops[i].name, ops[i].help);
    puts("optional parts");
    for (int i = 0; i < N_PARTS; i++)
        printf("  %-12s %s (%s)\n", parts[i].name, parts[i].state, parts[i].what);
}

static json_node *list_json(const char *const *list)
{
    json_node *array = json_node_array();
    for (; list && *list; list++) json_add_text(array, *list);
    return array;
}

static json_node *modes_json(int64_t modes)
{
    json_node *array = json_node_array();
    for (int m = 0; m < 63; m++)
        if (modes >> m & 1) json_add_int(array, m);
    return array;
}

static json_node *operators_json(void)
{
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    json_node *array = json_node_array();
    for (int i = 0; i < count; i++) json_add_text(array, ops[i].name);
    return array;
}

static void print_json(const fattn_capability_set *set)
{
    part parts[N_PARTS];
    find_parts(parts);
    json_node *object = json_node_object(), *optional = json_node_object();
    json_put_text(object, "version", set->version);
    json_put_text(object, "isa", set->isa);
    json_put(object, "isas", list_json(set->isas));
    json_put_int(object, "threads", set->threads);
    json_put(object, "backends", list_json(set->backends));
    json_put(object, "operators", operators_json());
    json_put(object, "dtypes", list_json(set->dtypes));
    json_put(object, "layouts", list_json(set->layouts));
    json_put(object, "cache_layouts", list_json(set->cache_layouts));
    json_put(object, "quantisation", list_json(set->quantisation));
    json_put(object, "sparse_modes_training", modes_json(set->sparse_modes_training));
    json_put(object, "sparse_modes_inference", modes_json(set->sparse_modes_inference));
    for (int i = 0; i < N_PARTS; i++) json_put_text(optional, parts[i].name, parts[i].state);
    json_put(object, "optional_parts", optional);
    json_print_free(object);
}

int verb_info(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    fattn_capability_set set = {.size = sizeof set};
    call_warnings warnings = {.verb = "info"};
    fattn_context *context = NULL;
    if (values.n_args > 0)
        code = cli_error("info", CLI_USAGE, "'%s': only options are expected", values.args[0]);
    if (code == CLI_GO) code = call_context(&values, NULL, &warnings, &context);
    if (code == CLI_GO && fattn_capabilities(context, &set) != FATTN_OK)
        code = cli_error("info", CLI_FAIL, "%s", fattn_error_message());
    if (code == CLI_GO) {
        if (cli_flag(&values, "json"))
            print_json(&set);
        else
            print_text(&set);
        code = CLI_OK;
    }
    fattn_context_destroy(context);
    call_warnings_free(&warnings);
    cli_values_free(&values);
    return code;
}
