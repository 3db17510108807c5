/* SPDX-License-Identifier: Apache-2.0 */
/* replace.c — write, fsync, rename. */
#include "replace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/safetensors.h"

static bool to_disk(const char *path)
{
    const int file = open(path, O_RDONLY);
    if (file < 0) return false;
    const bool fine = fsync(file) == 0;
    close(file);
    return fine;
}

bool replace_file(const char *dir, const char *name, const replace_tensor *tensors, int n,
                  char *error, size_t size)
{
    char path[4096], draft[4096];
    io_error bad;
    const char **names = calloc((size_t)n, sizeof *names);
    const fattn_tensor **list = calloc((size_t)n, sizeof *list);
    if (!names || !list) abort();
    for (int i = 0; i < n; i++) names[i] = tensors[i].name, list[i] = &tensors[i].tensor;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(draft, sizeof draft, "%s/%s.new", dir, name);
    bool fine = safetensors_write(draft, n, names, list, &bad) == IO_OK;
    if (!fine) {
        snprintf(error, size, "%s", bad.message);
    } else if (!to_disk(draft) || rename(draft, path) != 0) {
        snprintf(error, size, "%s: cannot be written", path);
        unlink(draft);
        fine = false;
    } else {
        to_disk(dir); /* the new name, too */
    }
    free(names), free(list);
    return fine;
}
