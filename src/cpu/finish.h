/* SPDX-License-Identifier: Apache-2.0 */
/* finish.h — from the running softmax to the outputs: division, sink, statistics, rows without a
 * key. */
#ifndef FATTN_CPU_FINISH_H
#define FATTN_CPU_FINISH_H

#include "cpu/item.h"

/* Writes every output of the item's rows. Changes state->o. */
void finish_rows(const fattn_item *it, const fattn_state *state);

#endif
