/* SPDX-License-Identifier: Apache-2.0 */
/* mask_draw.c — pictures of masks. The SVG is one grey rectangle per sequence and one blue
 * rectangle per run of visible keys, so a wide mask stays a small file. */
#include "mask_draw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mask_text(const mask_grid *grids, int n)
{
    for (int s = 0; s < n; s++)
        for (int64_t i = 0; i < grids[s].q_len; i++) {
            fwrite(grids[s].cells + i * grids[s].kv_len, 1, (size_t)grids[s].kv_len, stdout);
            putchar('\n');
        }
}

json_node *mask_json(const mask_grid *grids, int n)
{
    json_node *sequences = json_node_array();
    for (int s = 0; s < n; s++) {
        json_node *one = json_node_object(), *rows = json_node_array();
        json_put_int(one, "q_len", grids[s].q_len);
        json_put_int(one, "kv_len", grids[s].kv_len);
        for (int64_t i = 0; i < grids[s].q_len; i++) {
            char *row = strndup(grids[s].cells + i * grids[s].kv_len, (size_t)grids[s].kv_len);
            json_add_text(rows, row);
            free(row);
        }
        json_put(one, "rows", rows);
        json_add(sequences, one);
    }
    return sequences;
}

/* Pixels per cell: large for small masks, at least one. */
static double cell_size(const mask_grid *grids, int n)
{
    int64_t most = 1;
    for (int s = 0; s < n; s++) {
        if (grids[s].kv_len > most) most = grids[s].kv_len;
        if (grids[s].q_len > most) most = grids[s].q_len;
    }
    return most < 40 ? 20 : most < 800 ? 800.0 / (double)most : 1;
}

static void put_runs(FILE *file, const mask_grid *g, double cell, double top)
{
    for (int64_t i = 0; i < g->q_len; i++) {
        const char *row = g->cells + i * g->kv_len;
        for (int64_t j = 0, end; j < g->kv_len; j = end) {
            for (end = j; end < g->kv_len && row[end] == row[j]; end++) {
            }
            if (row[j] != '#') continue;
            fprintf(file, "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" fill=\"#1f6feb\"/>\n",
                    20 + (double)j * cell, top + (double)i * cell, (double)(end - j) * cell, cell);
        }
    }
}

/* White lines between the cells while they are large enough to be told apart. */
static void put_lines(FILE *file, const mask_grid *g, double cell, double top)
{
    if (cell < 4) return;
    const double width = (double)g->kv_len * cell, height = (double)g->q_len * cell;
    fprintf(file, "<path stroke=\"#ffffff\" d=\"");
    for (int64_t j = 1; j < g->kv_len; j++)
        fprintf(file, "M%g %gv%g", 20 + (double)j * cell, top, height);
    for (int64_t i = 1; i < g->q_len; i++)
        fprintf(file, "M20 %gh%g", top + (double)i * cell, width);
    fprintf(file, "\"/>\n");
}

bool mask_svg(const char *path, int64_t sparse_mode, const mask_grid *grids, int n)
{
    enum { TITLE = 24, GAP = 20 };
    const double cell = cell_size(grids, n);
    double width = 260, height = GAP;
    for (int s = 0; s < n; s++) {
        const double w = 40 + (double)grids[s].kv_len * cell;
        if (w > width) width = w;
        height += TITLE + (double)grids[s].q_len * cell + GAP;
    }
    FILE *file = fopen(path, "w");
    if (!file) return false;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" viewBox=\"0 0 %g "
            "%g\" "
            "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%%\" height=\"100%%\" "
            "fill=\"#ffffff\"/>\n",
            width, height, width, height);
    double top = GAP;
    for (int s = 0; s < n; s++) {
        const mask_grid *g = &grids[s];
        fprintf(file, "<text x=\"20\" y=\"%g\">sparse_mode %lld: %lld queries, %lld keys</text>\n",
                top + 12, (long long)sparse_mode, (long long)g->q_len, (long long)g->kv_len);
        top += TITLE;
        fprintf(file, "<rect x=\"20\" y=\"%g\" width=\"%g\" height=\"%g\" fill=\"#d8dee4\"/>\n",
                top, (double)g->kv_len * cell, (double)g->q_len * cell);
        put_runs(file, g, cell, top);
        put_lines(file, g, cell, top);
        top += (double)g->q_len * cell + GAP;
    }
    fprintf(file, "</svg>\n");
    const bool good = ferror(file) == 0;
    return fclose(file) == 0 && good;
}
