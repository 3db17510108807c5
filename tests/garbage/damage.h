/* SPDX-License-Identifier: Apache-2.0 */
/* damage.h — turns a legal call into a garbage one, field by field through the table. */
#ifndef FATTN_TESTS_GARBAGE_DAMAGE_H
#define FATTN_TESTS_GARBAGE_DAMAGE_H

#include "garbage/call.h"
#include "garbage/source.h"

/* Restores the call and does it one to four damages; what was done is in c->log. */
void call_damage(call *c, source *s);

#endif
