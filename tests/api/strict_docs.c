/* SPDX-License-Identifier: Apache-2.0 */
/* docs/strict.md holds the strict tables as they are in the code. With --write the program stores
 * them there. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/strict.h"

static const char page[] = FATTN_SOURCE_DIR "/docs/strict.md";

typedef struct text {
    char *data;
    size_t used, room;
} text;

static void append(text *t, const char *from, size_t n)
{
    if (t->used + n + 1 > t->room) {
        t->room = (t->used + n + 1) * 2;
        t->data = realloc(t->data, t->room);
        if (!t->data) abort();
    }
    memcpy(t->data + t->used, from, n);
    t->used += n;
    t->data[t->used] = '\0';
}

static void put(text *t, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    append(t, line, n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static void put_row(text *t, const strict_row *row)
{
    put(t, "| `%s` | %s | %s | %s | ", row->id, row->rule, row->section,
        row->code ? row->code : row->does);
    if (row->by_default == DEFAULT_WARNS)
        put(t, "warns: `%s` |\n", row->warns);
    else
        put(t, "%s |\n", row->by_default == DEFAULT_REFUSES ? "refuses" : "computes");
}

static void put_table(text *t, const strict_table *table)
{
    put(t, "| row | rule | section | device | default |\n|---|---|---|---|---|\n");
    for (int i = 0; i < table->n_rows; i++) put_row(t, &table->rows[i]);
}

static char *read_page(void)
{
    FILE *f = fopen(page, "rb");
    if (!f) return NULL;
    text t = {0};
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) append(&t, part, n);
    fclose(f);
    return t.data;
}

/* The page with fresh tables; NULL and a word when a table has no place in it. */
static char *renewed(const char *old)
{
    text t = {0};
    for (int i = 0; strict_tables[i]; i++) {
        char head[64];
        snprintf(head, sizeof head, "<!-- table %s -->\n", strict_tables[i]->id);
        const char *from = strstr(old, head), *end = from ? strstr(from, "<!-- end -->") : NULL;
        if (!end) {
            printf(
                "docs/strict.md: no \"%.*s\" ... \"<!-- end -->\", in the order of strict_tables\n",
                (int)strlen(head) - 1, head);
            free(t.data);
            return NULL;
        }
        from += strlen(head);
        append(&t, old, (size_t)(from - old));
        put_table(&t, strict_tables[i]);
        old = end;
    }
    append(&t, old, strlen(old));
    return t.data;
}

static int store(const char *fresh)
{
    FILE *f = fopen(page, "wb");
    if (!f) return 1;
    const size_t n = strlen(fresh);
    const int bad = fwrite(fresh, 1, n, f) != n;
    return fclose(f) != 0 || bad;
}

int main(int argc, char **argv)
{
    char *old = read_page();
    if (!old) {
        printf("docs/strict.md: cannot be read\n");
        return 1;
    }
    char *fresh = renewed(old);
    int status = 1;
    if (fresh && argc > 1 && strcmp(argv[1], "--write") == 0)
        status = store(fresh);
    else if (fresh)
        status = strcmp(old, fresh) != 0;
    if (fresh && status != 0)
        printf("docs/strict.md: its tables are not those of src/api/strict_*.c; run "
               "test_api_strict_docs --write\n");
    free(old);
    free(fresh);
    return status;
}
