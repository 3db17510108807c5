/* SPDX-License-Identifier: Apache-2.0 */
/* mask_draw.h — pictures of masks: text, JSON, SVG. */
#ifndef FATTN_TOOLS_MASK_DRAW_H
#define FATTN_TOOLS_MASK_DRAW_H

#include "json.h"

/* One sequence: q_len rows of kv_len cells, '#' = attends, '.' = does not. */
typedef struct mask_grid {
    int64_t q_len, kv_len;
    char *cells;
} mask_grid;

/* One line per query row, all sequences in order, to stdout. */
void mask_text(const mask_grid *grids, int n);
json_node *mask_json(const mask_grid *grids, int n);

/* false when the file cannot be written. */
bool mask_svg(const char *path, int64_t sparse_mode, const mask_grid *grids, int n);

#endif
