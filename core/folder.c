#include "core/file.h"

#include "core/list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool cm3_path_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool cm3_path_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

cm3_path cm3_path_format(const char *format, ...) {
    cm3_path path;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path.text, sizeof path.text, format, arguments);
    va_end(arguments);
    return path;
}

cm3_path cm3_path_join(const char *folder, const char *name) {
    const size_t length = strlen(folder);
    return cm3_path_format("%s%s%s", folder, length == 0 || folder[length - 1] == '/' || !*name ? "" : "/", name);
}

cm3_status cm3_folder_make(const char *path) {
    char *part = strdup(path);
    if (!part) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to make the folder", path);
    int failed = 0;
    for (char *end = part + 1; *part && !failed; end++) {
        const char stop = *end;
        if (stop != '/' && stop != '\0') continue;
        *end = '\0';
        if (mkdir(part, 0777) != 0 && !(errno == EEXIST && cm3_path_is_folder(part))) failed = errno;
        *end = stop;
        if (stop == '\0') break;
    }
    const bool empty = !*part;
    free(part);
    if (empty) return cm3_fail(CM3_ERR_IO, "the name of a folder to make is empty");
    if (failed) return cm3_fail(CM3_ERR_IO, "%s: the folder cannot be made: %s", path, strerror(failed));
    return CM3_OK;
}

/* --- listing ----------------------------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void cm3_names_free(cm3_names *names) {
    for (size_t i = 0; i < names->count; i++) free(names->names[i]);
    free(names->names);
    *names = (cm3_names){0};
}

static bool is_dot_name(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static cm3_status read_names(DIR *folder, const char *path, cm3_names *names) {
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) break;
        if (is_dot_name(entry->d_name)) continue;
        CM3_TRY(cm3__list_reserve(&names->names, names->count, &names->capacity, 1, sizeof *names->names));
        char *name = strdup(entry->d_name);
        if (!name) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to list it", path);
        names->names[names->count++] = name;
    }
    if (errno) return cm3_fail(CM3_ERR_IO, "%s: cannot be listed: %s", path, strerror(errno));
    if (names->count) qsort(names->names, names->count, sizeof *names->names, by_bytes);
    return CM3_OK;
}

cm3_status cm3_folder_list(const char *path, cm3_names *names) {
    *names = (cm3_names){0};
    DIR *folder = opendir(path);
    if (!folder) {
        const cm3_status status = errno == ENOENT ? CM3_ERR_NOT_FOUND : CM3_ERR_IO;
        return cm3_fail(status, "%s: cannot be listed: %s", path, strerror(errno));
    }
    const cm3_status status = read_names(folder, path, names);
    closedir(folder);
    if (status != CM3_OK) cm3_names_free(names);
    return status;
}

/* --- removing ---------------------------------------------------------------------------------------------------- */

/* Works below an open folder, so that a folder swapped for a symbolic link meanwhile cannot lead it elsewhere. */
static int remove_entries(int parent, const char *name, int depth) {
    const int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) return errno;
    DIR *folder = fdopendir(descriptor);
    if (!folder) {
        const int reason = errno;
        close(descriptor);
        return reason;
    }
    int reason = depth > 64 ? ELOOP : 0;
    while (!reason) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            reason = errno;
            break;
        }
        if (is_dot_name(entry->d_name)) continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) == 0) continue;
        reason = errno == EISDIR || errno == EPERM ? remove_entries(dirfd(folder), entry->d_name, depth + 1) : errno;
    }
    closedir(folder);
    if (!reason && unlinkat(parent, name, AT_REMOVEDIR) != 0) reason = errno;
    return reason;
}

cm3_status cm3_folder_remove(const char *path) {
    const int reason = remove_entries(AT_FDCWD, path, 0);
    if (reason && reason != ENOENT)
        return cm3_fail(CM3_ERR_IO, "%s: the folder cannot be removed: %s", path, strerror(reason));
    return CM3_OK;
}

/* --- making durable ---------------------------------------------------------------------------------------------- */

cm3_status cm3_path_sync(const char *path) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return cm3_fail(CM3_ERR_IO, "%s: cannot be synced: %s", path, strerror(errno));
    /* File systems that cannot sync a folder say EINVAL; there is nothing more to do on them. */
    const int reason = fsync(descriptor) != 0 && errno != EINVAL ? errno : 0;
    close(descriptor);
    if (reason) return cm3_fail(CM3_ERR_IO, "%s: cannot be synced: %s", path, strerror(reason));
    return CM3_OK;
}

static cm3_status sync_tree(const char *path, int depth) {
    cm3_names names;
    CM3_TRY(cm3_folder_list(path, &names));
    cm3_status status = depth > 64 ? cm3_fail(CM3_ERR_IO, "%s: folders too deep", path) : CM3_OK;
    for (size_t i = 0; i < names.count && status == CM3_OK; i++) {
        const cm3_path below = cm3_path_join(path, names.names[i]);
        struct stat info;
        if (lstat(below.text, &info) != 0)
            status = cm3_fail(CM3_ERR_IO, "%s: %s", below.text, strerror(errno));
        else if (S_ISDIR(info.st_mode))
            status = sync_tree(below.text, depth + 1);
        else if (S_ISREG(info.st_mode))
            status = cm3_path_sync(below.text);
    }
    cm3_names_free(&names);
    return status != CM3_OK ? status : cm3_path_sync(path);
}

cm3_status cm3_folder_commit(const char *aside, const char *path) {
    CM3_TRY(sync_tree(aside, 0));
    /* Plain rename would put a folder over an empty one without a word. */
    if (renameat2(AT_FDCWD, aside, AT_FDCWD, path, RENAME_NOREPLACE) != 0) {
        if (errno == EINVAL || errno == ENOSYS) { /* a file system without that flag */
            if (cm3_path_exists(path)) errno = EEXIST;
            else if (rename(aside, path) == 0) errno = 0;
        }
        if (errno) return cm3_fail(CM3_ERR_IO, "%s: cannot be given its name: %s", path, strerror(errno));
    }
    return cm3_path_sync(cm3_path_join(path, "..").text);
}
