/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.h — everything a run needs to go on as if it had never stopped: parameters, both moments and
 * the numbers that decide the next batch, in DIR/checkpoint.safetensors. */
#ifndef FATTN_TRAIN_CHECKPOINT_H
#define FATTN_TRAIN_CHECKPOINT_H

#include "adamw.h"

typedef struct checkpoint {
    int64_t step; /* done */
    int64_t seed, batch, length, tokens, steps; /* must be those of the run that goes on */
} checkpoint;

/* The old file stays whole until the new one is. */
bool checkpoint_write(const checkpoint *c, const weights *params, const adamw *moments,
                      const char *dir, char *error, size_t size);
/* A sentence in `error`, and nothing changed, when the file is damaged or of another run. */
bool checkpoint_read(checkpoint *c, weights *params, adamw *moments, const char *dir, char *error,
                     size_t size);

#endif
