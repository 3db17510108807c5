/* SPDX-License-Identifier: Apache-2.0 */
/* torchzip_none.c — torchzip.h in a build without libzip: says so. */
#include "torchzip.h"

bool torchzip_available(void) { return false; }

io_code torchzip_read(const char *path, const char *name, fattn_dtype as, io_tensor *tensor,
                      io_error *error)
{
    (void)name, (void)as;
    *tensor = (io_tensor){.memory = NULL};
    return io_fail(
        error, IO_E_MISSING,
        "%s: this build was made without libzip, which torch's .pt files need; .npy files work",
        path);
}
