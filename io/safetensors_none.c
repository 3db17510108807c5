/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors_none.c — safetensors.h in a build without jansson: says so. */
#include "safetensors.h"

static io_code missing(const char *path, io_error *error)
{
    return io_fail(
        error, IO_E_MISSING,
        "%s: this build was made without jansson, which .safetensors files need; .npy files "
        "work",
        path);
}

bool safetensors_available(void) { return false; }

io_code safetensors_read(const char *path, const char *name, fattn_dtype as, io_tensor *tensor,
                         io_error *error)
{
    (void)name, (void)as;
    *tensor = (io_tensor){.memory = NULL};
    return missing(path, error);
}

io_code safetensors_names(const char *path, char ***names, int *n_names, io_error *error)
{
    *names = NULL;
    *n_names = 0;
    return missing(path, error);
}

io_code safetensors_text(const char *path, const char *name, char **text, io_error *error)
{
    (void)name;
    *text = NULL;
    return missing(path, error);
}

io_code safetensors_write(const char *path, int n, const char *const *names,
                          const fattn_tensor *const *tensors, io_error *error)
{
    (void)n, (void)names, (void)tensors;
    return missing(path, error);
}
