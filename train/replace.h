/* SPDX-License-Identifier: Apache-2.0 */
/* replace.h — files that are never half: a .safetensors file is written under another name, brought to
 * the disk, and renamed. An interruption at any moment leaves the old one. */
#ifndef FATTN_TRAIN_REPLACE_H
#define FATTN_TRAIN_REPLACE_H

#include <stddef.h>

#include "fattn/types.h"

typedef struct replace_tensor {
    const char *name;
    fattn_tensor tensor;
} replace_tensor;

bool replace_file(const char *dir, const char *name, const replace_tensor *tensors, int n,
                  char *error, size_t size);

#endif
