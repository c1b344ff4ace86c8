/* Files and folders as the outside world sees them: whole or not at all.
 *
 * A file is written aside ("NAME.tmp-PID"), synced, renamed over NAME, and its folder is synced: after a crash, a kill
 * or a full disk there is either the old file or the new one. Every fault is one CM3_ERR_IO with the path and the
 * system's reason. Paths are UTF-8 by convention and bytes in fact. */
#ifndef CM3_CORE_FILE_H
#define CM3_CORE_FILE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Reads a whole file. `*data` is the caller's to free, and holds a zero byte after its `*length` bytes. A file of more
 * than `limit` bytes is CM3_ERR_FORMAT; one that is not there is CM3_ERR_NOT_FOUND. */
cm3_status cm3_file_read(const char *path, size_t limit, char **data, size_t *length);

/* Writes a whole file atomically. */
cm3_status cm3_file_write(const char *path, const void *data, size_t length);

/* The same for a file that is made piece by piece: print to the stream, then commit or discard. The stream remembers
 * its first fault, so single writes need no check; commit reports it. Both end the output and free it. */
typedef struct cm3_output cm3_output;
cm3_status cm3_output_open(const char *path, cm3_output **output);
FILE *cm3_output_stream(cm3_output *output);
cm3_status cm3_output_commit(cm3_output *output);
void cm3_output_discard(cm3_output *output); /* NULL is allowed */

/* A path by value: nothing to free, nothing that fails. One that is too long for the system (PATH_MAX) is cut, but
 * stays too long, so that opening it fails with the system's own reason. */
typedef struct cm3_path {
    char text[4096 + 1];
} cm3_path;

/* "folder/name": as cm3_file_write(cm3_path_join(folder, name).text, ...), or kept in a variable. */
cm3_path cm3_path_join(const char *folder, const char *name);
cm3_path cm3_path_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool cm3_path_exists(const char *path);
bool cm3_path_is_folder(const char *path);

/* Makes a folder and those above it; one that exists is fine. */
cm3_status cm3_folder_make(const char *path);
/* The names in a folder without "." and "..", sorted by bytes, so that their order is the same on every machine. */
typedef struct cm3_names { char **names; size_t count, capacity; } cm3_names;
cm3_status cm3_folder_list(const char *path, cm3_names *names);
void cm3_names_free(cm3_names *names);
/* Removes a folder and all in it, never following a symbolic link. One that is not there is fine. Meant for folders
 * that this program made itself. */
cm3_status cm3_folder_remove(const char *path);
/* Gives a folder that was written aside its final name: syncs every file in it, renames, syncs the folder above. Fails
 * if `path` exists. */
cm3_status cm3_folder_commit(const char *aside, const char *path);
/* The same for a file: syncs it, renames it over `path`, syncs the folder above. */
cm3_status cm3_file_commit(const char *aside, const char *path);
/* Waits until a file's or a folder's content is on the disk. */
cm3_status cm3_path_sync(const char *path);

/* A run folder belongs to one process at a time. Acquiring the lock of a folder that another process holds is
 * CM3_ERR_BUSY, and the message names the process and its host. The system drops the lock when its process dies,
 * however it dies. */
typedef struct cm3_lock cm3_lock;
cm3_status cm3_lock_acquire(const char *folder, cm3_lock **lock);
void cm3_lock_release(cm3_lock *lock); /* NULL is allowed */

#endif
