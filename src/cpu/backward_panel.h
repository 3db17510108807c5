/* SPDX-License-Identifier: Apache-2.0 */
/* backward_panel.h — up to 64 packed rows in the backward pass, and what they make of a tile of keys:
 * the weights P R and the gradient dS of the scores (spec fusion-attention 7, steps 1 to 7).
 *
 * The statistics and the output are the caller's and are taken as they are. */
#ifndef FATTN_CPU_BACKWARD_PANEL_H
#define FATTN_CPU_BACKWARD_PANEL_H

#include "core/mask.h"
#include "cpu/gather.h"

typedef struct fattn_grad_panel {
    int64_t r; /* first packed row */
    int n, vectors;
    int64_t k0, k1; /* hull of the keys they see */
    const float *qt, *dyt, *q_rows, *dy_rows;
    float *dq;
    fattn_grad_rows rows;
    uint64_t dead; /* bit per row: contributes nothing, whatever it sees */
    uint64_t mean; /* bit per row: sees no key and was the mean of some: P = 1 / sum, x is constant */
    bool finite;   /* all of q and dy */
} fattn_grad_panel;

/* Rows first, first + 1, ... of a block of `rows` packed rows that begins at row r0; `first` is a
 * multiple of TILE_ROWS. Uses the k and v tiles and dp. */
fattn_grad_panel panel_load(const fattn_item *it, int64_t r0, int first, int rows);

/* The panel against keys [j, j + n): scratch->scores = P R, scratch->grad.dp = dS, both 0 in hidden
 * cells. PARTIAL: scratch->hidden_lanes[key] has a bit for every row that must not see the key; with
 * dropout scratch->kept_lanes[key] one for every row whose cell is kept.
 * With EMPTY nothing is computed. */
fattn_tile_class panel_grads(const fattn_item *it, const fattn_grad_panel *panel, fattn_tile k,
                             fattn_tile v, int64_t j, int n);

/* Adds the share of the panel's rows in dsink, by head of the group. */
void panel_sink(const fattn_item *it, const fattn_grad_panel *panel, double *sums);

#endif
