/* SPDX-License-Identifier: Apache-2.0 */
/* replay.h — `fattn run --replay FILE`: a recorded call once more, and whether the bits are the
 * same. */
#ifndef FATTN_TOOLS_REPLAY_H
#define FATTN_TOOLS_REPLAY_H

#include "options.h"

/* `path` is a file of FATTN_DUMP_DIR. Exit status: 0 the same bits, 1 other ones, 65 no such
 * record. */
int replay_file(const cli_values *values, const char *path);

#endif
