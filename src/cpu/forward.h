/* SPDX-License-Identifier: Apache-2.0 */
/* forward.h — attention of one work item: the running softmax over its keys, not yet divided. Both
 * fill the state of the item's rows; many rows go by tiles, few by dot products. These fill the states of
 * all splits of the item, `next_state` floats apart. */
#ifndef FATTN_CPU_FORWARD_H
#define FATTN_CPU_FORWARD_H

#include "cpu/item.h"

void forward_tiles(const fattn_item *it, const fattn_state *state); /* forward.c */
void forward_dots(const fattn_item *it, const fattn_state *state);  /* decode.c */

#endif
