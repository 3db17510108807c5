/* SPDX-License-Identifier: Apache-2.0 */
/* drop.c — words of 64 cells, drawn by the kernel or read from the caller's packed mask. */
#include "cpu/drop.h"

#include <string.h>

#include "base/mutant.h"
#include "base/philox.h"
#include "core/dropout.h"
#include "cpu/scores.h"

/* n bits from bit e on; no byte beyond the last of them is read. */
static uint64_t read_bits(const uint8_t *mask, uint64_t e, int n)
{
    const uint8_t *at = mask + (e >> 3);
    const int inside = (int)(e & 7), bytes = (inside + n + 7) / 8;
    uint64_t low = 0;
    for (int i = 0; i < bytes && i < 8; i++) low |= (uint64_t)at[i] << 8 * i;
    low >>= inside;
    return bytes > 8 ? low | (uint64_t)at[8] << MUTANT(154, 64 - inside, 63 - inside) : low;
}

static uint64_t element_of(const fattn_item *it, int64_t r, int64_t j)
{
    return dropout_element(it->seq, item_head(it, r), item_query(it, r), j);
}

static void draw(const fattn_item *it, int64_t r, int rows, int64_t j, uint64_t *kept)
{
    const fattn_dropout *rule = &it->p->dropout;
    uint64_t first[TILE_ROWS];
    fattn_philox philox = {
        .offset = it->ptrs->offset, .word_bits = rule->word_bits, .threshold = rule->threshold};
    philox_keys(it->ptrs->seed, philox.keys);
    for (int row = 0; row < rows; row++) first[row] = element_of(it, r + row, j);
    it->kernels->keep(kept, first, rows, &philox);
}

void drop_rows_kept(const fattn_item *it, int64_t r, int rows, int64_t j, int n, uint64_t *kept)
{
    if (it->p->dropout.kind == DROPOUT_PHILOX) {
        draw(it, r, rows, j, kept);
        return;
    }
    for (int row = 0; row < rows; row++)
        kept[row] = read_bits(it->ptrs->dropout_mask, element_of(it, r + row, j), n);
}

void drop_lanes_kept(const fattn_item *it, int64_t r, int rows, int64_t j, int n, uint64_t *kept,
                     uint64_t *lanes)
{
    drop_rows_kept(it, r, rows, j, n, kept);
    scores_hidden_lanes(kept, rows, lanes);
}

void drop_hide(const fattn_item *it, int rows, bool some, uint64_t *hidden)
{
    for (int row = 0; row < rows; row++)
        hidden[row] = (some ? hidden[row] : 0) | ~it->scratch->kept[row];
}
