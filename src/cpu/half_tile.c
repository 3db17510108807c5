/* SPDX-License-Identifier: Apache-2.0 */
/* half_tile.c — operands in halves, made from the fp32 tiles that every layout ends in: once per tile of keys and
 * values for all its panels, and exact, because they were f16 in memory. */
#include "cpu/half_tile.h"

#include <assert.h>
#include <string.h>

#include "base/mutant.h"
#include "core/quant.h"
#include "cpu/isa.h"

static bool is_f16(const fattn_view *view)
{
    for (int part = 0; part < view->n_parts; part++)
        if (view_dtype(view, part) != FATTN_F16) return false;
    return true;
}

const fattn_half_kernels *half_for(const fattn_context *context, const fattn_problem *p)
{
    const bool all = is_f16(&p->q) && is_f16(&p->k) && is_f16(&p->v);
    const bool wanted = context->compute == FATTN_COMPUTE_F16 && p->kind == KIND_FORWARD && all &&
                        !p->round_scores_f16;
    assert(!wanted || !grid_present(&p->q_scale)); /* of quantised queries only */
    return wanted ? half_kernels_for(context->isa) : NULL;
}

/* Lanes of a row of the tile that hold something. */
static int used_lanes(const fattn_item *it, int vectors) { return vectors * it->kernels->lanes; }

void half_queries(const fattn_item *it, const float *qt, int n, uint16_t *half)
{
    const int lanes = it->kernels->lanes, used = used_lanes(it, (n + lanes - 1) / lanes);
    for (int64_t c = 0; c < it->p->d_qk; c++, qt += TILE_ROWS, half += TILE_ROWS) {
        it->half->narrow(half, qt, used);
        memset(half + used, 0, (size_t)(TILE_ROWS - used) * sizeof *half);
    }
}

void half_keys(const fattn_item *it, int n, fattn_tile *k)
{
    uint32_t *pairs = it->scratch->half.k;
    for (int key = 0; key < n; key++)
        it->half->pairs(pairs + key * k->ld, k->at + key * k->ld, (int)it->scratch->ldk, 1);
    k->pairs = pairs;
}

void half_values(const fattn_item *it, int64_t j, int n, uint16_t *half, fattn_tile *v)
{
    const int64_t ldo = it->scratch->ldo, ldv = it->scratch->half.ldv;
    for (int key = 0; key < n; key++) {
        it->half->narrow(half + key * ldv, v->at + key * v->ld, (int)ldo);
        memset(half + key * ldv + ldo, 0, (size_t)(ldv - ldo) * sizeof *half);
    }
    v->half = half;
    v->half_ld = (ptrdiff_t)ldv;
    v->key = MUTANT(222, j, 0);
}

void half_weights(const fattn_item *it, int n, int vectors)
{
    const int used = used_lanes(it, vectors);
    for (int key = 0; key < MUTANT(220, n, n - 1); key++)
        it->half->pairs(it->scratch->half.weights + key * TILE_ROWS,
                        it->scratch->scores + key * TILE_ROWS, used, HALF_WEIGHT);
}
