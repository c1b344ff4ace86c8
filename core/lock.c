#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct cm3_lock {
    int descriptor;
};

static cm3_status fail_busy(int descriptor, const char *folder) {
    char holder[128] = "";
    const ssize_t got = pread(descriptor, holder, sizeof holder - 1, 0);
    holder[got > 0 ? got : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return cm3_fail(CM3_ERR_BUSY, "%s: in use by another run (%s); wait for it, stop it, or use another folder", folder,
                    *holder ? holder : "its process is not known");
}

/* The note only helps a person, the lock itself is the system's: a note that cannot be written is no fault. */
static void write_holder(int descriptor) {
    char host[64] = "", note[128];
    gethostname(host, sizeof host - 1);
    const int length = snprintf(note, sizeof note, "process %ld on %s\n", (long)getpid(), host);
    if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, note, (size_t)length, 0) != length) return;
}

cm3_status cm3_lock_acquire(const char *folder, cm3_lock **lock) {
    *lock = NULL;
    const cm3_path path = cm3_path_join(folder, ".lock");
    cm3_lock *taken = malloc(sizeof *taken);
    if (!taken) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to lock it", folder);
    taken->descriptor = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    cm3_status status = CM3_OK;
    if (taken->descriptor < 0)
        status = cm3_fail(CM3_ERR_IO, "%s: cannot be written: %s", path.text, strerror(errno));
    else if (flock(taken->descriptor, LOCK_EX | LOCK_NB) == 0) write_holder(taken->descriptor);
    else if (errno == EWOULDBLOCK) status = fail_busy(taken->descriptor, folder);
    else
        status = cm3_fail(CM3_ERR_IO, "%s: cannot be locked: %s", path.text, strerror(errno));
    if (status != CM3_OK) {
        if (taken->descriptor >= 0) close(taken->descriptor);
        free(taken);
        return status;
    }
    *lock = taken;
    return CM3_OK;
}

void cm3_lock_release(cm3_lock *lock) {
    if (!lock) return;
    /* The file stays: removing it would let two processes lock two files of one name. */
    if (ftruncate(lock->descriptor, 0) != 0) errno = 0;
    close(lock->descriptor);
    free(lock);
}
