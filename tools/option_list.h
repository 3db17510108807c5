/* SPDX-License-Identifier: Apache-2.0 */
/* option_list.h — every long option of one command line: the verb's table and, for a verb that
 * takes an operator, the operator's field table. Parsing, --help, man page and completion walk this
 * list. */
#ifndef FATTN_TOOLS_OPTION_LIST_H
#define FATTN_TOOLS_OPTION_LIST_H

#include "options.h"

typedef struct list_option {
    const char *name;         /* with dashes; aliases are entries of their own */
    const char *arg;          /* placeholder, NULL = a switch */
    const char *help;         /* one line, the environment twin included */
    const char *choices;      /* the words it takes, or NULL */
    const fattn_field *field; /* of the operator; NULL for the verb's own */
    cli_role role;
    bool alias;    /* not the official spelling */
    bool optional; /* the value may be left out (booleans) */
} list_option;

typedef struct option_list {
    list_option *options;
    int n, room;
    char **texts; /* owned names and help lines */
    int n_texts, texts_room;
} option_list;

/* op NULL: only the verb's own options. NULL when there is no memory. */
option_list *option_list_make(const cli_verb *verb, const fattn_operator *op);
void option_list_free(option_list *list);

#endif
