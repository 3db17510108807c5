/* SPDX-License-Identifier: Apache-2.0 */
/* writer.c — a file being written. */
#include "writer.h"

#include "element.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static io_code failed(const io_writer *writer, io_error *error)
{
    return io_fail(error, IO_E_FILE, "%s: cannot be written: %s", writer->path, strerror(errno));
}

io_code io_writer_open(io_writer *writer, const char *path, io_error *error)
{
    writer->path = path;
    writer->file = fopen(path, "wb");
    return writer->file ? IO_OK : failed(writer, error);
}

io_code io_writer_put(io_writer *writer, const void *bytes, size_t n, io_error *error)
{
    return fwrite(bytes, 1, n, writer->file) == n ? IO_OK : failed(writer, error);
}

io_code io_writer_tensor(io_writer *writer, const fattn_tensor *tensor, io_error *error)
{
    const size_t size = fattn_dtype_size(tensor->dtype);
    const char *data = tensor->data;
    int64_t count = 0;
    if (!io_count(tensor->rank, tensor->shape, &count))
        return io_fail(error, IO_E_FORMAT, "%s: the tensor's shape is illegal", writer->path);
    if (count == 0) return IO_OK;
    if (io_is_contiguous(tensor)) return io_writer_put(writer, data, (size_t)count * size, error);
    for (int64_t i = 0; i < count; i++) {
        const ptrdiff_t at = (ptrdiff_t)io_offset(tensor, i) * (ptrdiff_t)size;
        if (fwrite(data + at, 1, size, writer->file) != size) return failed(writer, error);
    }
    return IO_OK;
}

io_code io_writer_close(io_writer *writer, io_code so_far, io_error *error)
{
    if (!writer->file) return so_far;
    struct stat about;
    const bool regular = fstat(fileno(writer->file), &about) == 0 && S_ISREG(about.st_mode);
    if (fclose(writer->file) != 0 && so_far == IO_OK) so_far = failed(writer, error);
    if (so_far != IO_OK && regular) unlink(writer->path);
    return so_far;
}
