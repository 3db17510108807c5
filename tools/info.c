/* SPDX-License-Identifier: Apache-2.0 */
/* info.c — `fattn info`: what this build and this machine can do. */
#include "verbs.h"

#include "call.h"
#include "io/safetensors.h"
#include "io/torchzip.h"
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
enum { N_PARTS = 3 };

static void find_parts(part *parts)
{
    const char *blas = standard_library();
    parts[0] = (part){"jansson", json_available() && safetensors_available() ? "yes" : "no",
                      "--json and .safetensors files"};
    parts[1] = (part){"libzip", torchzip_available() ? "yes" : "no", "torch's .pt files"};
    parts[2] = (part){"OpenBLAS", blas ? blas : "no", "standard attention in fattn bench, projections in fattn train"};
}

static void print_list(const char *label, const char *const *list)
{
    printf("%-22s", label);
    if (!list || !list[0]) printf(" none");
    for (; list && *list; list++) printf(" %s", *list);
    putchar('\n');
}

/* NULL for an operator that is no attention. */
static const fattn_operator_capability *find_capability(const fattn_capability_set *set,
                                                        const char *name)
{
    for (int i = 0; i < set->n_operators; i++)
        if (strcmp(set->operators[i].name, name) == 0) return &set->operators[i];
    return NULL;
}

static void print_operator(const fattn_operator_capability *op)
{
    if (!op) return;
    print_list("    layouts", op->layouts);
    if (op->sparse_modes == 0) return;
    printf("%-22s", "    sparse modes");
    for (int m = 0; m < 63; m++)
        if (op->sparse_modes >> m & 1) printf(" %d", m);
    putchar('\n');
}

enum { N_FORMATS = 3 };

/* The tensor files that this build reads, NULL-terminated. */
static void find_formats(const char *formats[N_FORMATS + 1])
{
    int n = 0;
    formats[n++] = ".npy";
    if (safetensors_available()) formats[n++] = ".safetensors";
    if (torchzip_available()) formats[n++] = ".pt";
    formats[n] = NULL;
}

static void print_text(const fattn_capability_set *set)
{
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    part parts[N_PARTS];
    const char *formats[N_FORMATS + 1];
    find_parts(parts);
    find_formats(formats);
    printf("%-22s %s\n", "fattn", set->version);
    printf("%-22s %s\n", "isa", set->isa);
    print_list("isas here", set->isas);
    printf("%-22s %d\n", "threads", set->threads);
    print_list("backends", set->backends);
    print_list("dtypes", set->dtypes);
    print_list("cache layouts", set->cache_layouts);
    print_list("quantisation", set->quantisation);
    print_list("tensor files", formats);
    puts("operators");
    for (int i = 0; i < count; i++) {
        printf("  %-30s %s\n", ops[i].name, ops[i].help);
        print_operator(find_capability(set, ops[i].name));
    }
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

/* {"fusion_attention": {"layouts": [...], "sparse_modes": [...]}, ...} */
static json_node *attention_json(const fattn_capability_set *set)
{
    json_node *object = json_node_object();
    for (int i = 0; i < set->n_operators; i++) {
        json_node *one = json_node_object();
        json_put(one, "layouts", list_json(set->operators[i].layouts));
        json_put(one, "sparse_modes", modes_json(set->operators[i].sparse_modes));
        json_put(object, set->operators[i].name, one);
    }
    return object;
}

static void print_json(const fattn_capability_set *set)
{
    part parts[N_PARTS];
    const char *formats[N_FORMATS + 1];
    find_parts(parts);
    find_formats(formats);
    json_node *object = json_node_object(), *optional = json_node_object();
    json_put_text(object, "version", set->version);
    json_put_text(object, "isa", set->isa);
    json_put(object, "isas", list_json(set->isas));
    json_put_int(object, "threads", set->threads);
    json_put(object, "backends", list_json(set->backends));
    json_put(object, "operators", operators_json());
    json_put(object, "dtypes", list_json(set->dtypes));
    json_put(object, "attention", attention_json(set));
    json_put(object, "cache_layouts", list_json(set->cache_layouts));
    json_put(object, "quantisation", list_json(set->quantisation));
    json_put(object, "tensor_files", list_json(formats));
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
