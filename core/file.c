#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- reading ----------------------------------------------------------------------------------------------------- */

static cm3_status read_open_file(int descriptor, const char *path, size_t limit, char **data, size_t *length) {
    struct stat info;
    if (fstat(descriptor, &info) != 0) return cm3_fail(CM3_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return cm3_fail(CM3_ERR_IO, "%s: is a folder, not a file", path);
    /* The size is only a first guess: pipes and files of /proc say 0, and a file may grow while it is read. */
    size_t capacity = S_ISREG(info.st_mode) && info.st_size > 0 ? (size_t)info.st_size + 1 : 4096;
    size_t used = 0;
    char *bytes = NULL;
    for (;;) {
        if (capacity > limit + 1) capacity = limit + 1; /* one byte more than allowed shows that the file is too long */
        char *grown = realloc(bytes, capacity + 1);
        if (!grown) {
            free(bytes);
            return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for %zu bytes", path, capacity);
        }
        bytes = grown;
        const ssize_t got = read(descriptor, bytes + used, capacity - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            free(bytes);
            return cm3_fail(CM3_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        }
        if (got == 0) break;
        used += (size_t)got;
        if (used > limit) {
            free(bytes);
            return cm3_fail(CM3_ERR_FORMAT, "%s: longer than the %zu bytes that such a file may have", path, limit);
        }
        if (used == capacity) capacity *= 2;
    }
    bytes[used] = '\0';
    *data = bytes;
    *length = used;
    return CM3_OK;
}

cm3_status cm3_file_read(const char *path, size_t limit, char **data, size_t *length) {
    *data = NULL;
    *length = 0;
    if (limit > SIZE_MAX / 4) limit = SIZE_MAX / 4;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        const cm3_status status = errno == ENOENT ? CM3_ERR_NOT_FOUND : CM3_ERR_IO;
        return cm3_fail(status, "%s: cannot be opened: %s", path, strerror(errno));
    }
    const cm3_status status = read_open_file(descriptor, path, limit, data, length);
    close(descriptor);
    return status;
}

static cm3_status sync_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return cm3_path_sync(".");
    if (slash == path) return cm3_path_sync("/");
    return cm3_path_sync(cm3_path_format("%.*s", (int)(slash - path), path).text);
}

/* Of a file that is synced already. */
static cm3_status replace(const char *aside, const char *path) {
    if (rename(aside, path) != 0)
        return cm3_fail(CM3_ERR_IO, "%s: cannot be given its name: %s", path, strerror(errno));
    return sync_folder_of(path);
}

/* --- writing aside, then renaming -------------------------------------------------------------------------------- */

struct cm3_output {
    cm3_path path, aside;
    int descriptor;
    int fault; /* errno of the first write that failed: stdio keeps only the fact, not the reason */
    FILE *stream;
};

static ssize_t output_write(void *cookie, const char *data, size_t length) {
    cm3_output *output = cookie;
    size_t done = 0;
    while (done < length && !output->fault) {
        const ssize_t written = write(output->descriptor, data + done, length - done);
        if (written > 0) done += (size_t)written;
        else if (written < 0 && errno != EINTR) output->fault = errno;
        else if (written == 0) output->fault = EIO;
    }
    return (ssize_t)done;
}

static int output_seek(void *cookie, off64_t *offset, int whence) {
    const cm3_output *output = cookie;
    const off_t at = lseek(output->descriptor, *offset, whence);
    if (at < 0) return -1;
    *offset = at;
    return 0;
}

static void output_free(cm3_output *output) {
    if (output->descriptor >= 0) close(output->descriptor);
    free(output);
}

cm3_status cm3_output_open(const char *path, cm3_output **result) {
    *result = NULL;
    cm3_output *output = calloc(1, sizeof *output);
    if (!output) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to write it", path);
    output->path = cm3_path_format("%s", path);
    output->aside = cm3_path_format("%s.tmp-%ld", path, (long)getpid());
    output->descriptor = open(output->aside.text, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (output->descriptor < 0) {
        const int reason = errno;
        output_free(output);
        return cm3_fail(CM3_ERR_IO, "%s: cannot be written: %s", path, strerror(reason));
    }
    output->stream = fopencookie(output, "w", (cookie_io_functions_t){.write = output_write, .seek = output_seek});
    if (!output->stream) {
        cm3_output_discard(output);
        return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to write it", path);
    }
    *result = output;
    return CM3_OK;
}

FILE *cm3_output_stream(cm3_output *output) {
    return output->stream;
}

void cm3_output_discard(cm3_output *output) {
    if (!output) return;
    if (output->stream) fclose(output->stream);
    unlink(output->aside.text);
    output_free(output);
}

static cm3_status output_fail(cm3_output *output, int reason) {
    const cm3_status status = cm3_fail(CM3_ERR_IO, "%s: cannot be written: %s", output->path.text, strerror(reason));
    cm3_output_discard(output);
    return status;
}

cm3_status cm3_output_commit(cm3_output *output) {
    errno = 0;
    const int closed = fclose(output->stream);
    const int reason = output->fault ? output->fault : errno ? errno : EIO;
    output->stream = NULL;
    if (closed != 0 || output->fault) return output_fail(output, reason);
    if (fsync(output->descriptor) != 0) return output_fail(output, errno);
    /* Some file systems (network, quota) report a failed write only here. */
    const int descriptor = output->descriptor;
    output->descriptor = -1;
    if (close(descriptor) != 0) return output_fail(output, errno);
    const cm3_status status = replace(output->aside.text, output->path.text);
    cm3_output_discard(output);
    return status;
}

cm3_status cm3_file_commit(const char *aside, const char *path) {
    CM3_TRY(cm3_path_sync(aside));
    return replace(aside, path);
}

cm3_status cm3_file_write(const char *path, const void *data, size_t length) {
    cm3_output *output;
    CM3_TRY(cm3_output_open(path, &output));
    if (length) fwrite(data, 1, length, output->stream);
    return cm3_output_commit(output);
}
