/* The memory that a backend's kernels read and write: the host's own, or a device's, whose addresses host code must not
 * follow. All of it is in order with the kernels: an upload after those before it, a download once they are done. */
#ifndef CM3_CORE_TENSOR_MEMORY_H
#define CM3_CORE_TENSOR_MEMORY_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct cm3_memory {
    bool host; /* host code may read and write it */
    /* Zeroed, aligned to 64 bytes at least; NULL: out of memory. */
    void *(*alloc)(size_t bytes);
    void (*free)(void *block, size_t bytes);                             /* `bytes` as allocated; NULL is allowed */
    cm3_status (*upload)(void *to, const void *from_host, size_t bytes); /* from_host may be reused on return */
    cm3_status (*download)(void *to_host, const void *from, size_t bytes);
    cm3_status (*copy)(void *to, const void *from, size_t bytes);
    cm3_status (*clear)(void *at, size_t bytes);
    cm3_status (*set)(float *at, float value);
    cm3_status (*sync)(void); /* waits for all queued work; returns its first failure */

    /* Asynchronous copies between a device and pinned (page-locked) memory of the host, in order with the kernels. The
     * host must not touch the pinned memory until it has synchronised with an event recorded behind the copy. */
    void *(*alloc_pinned)(size_t bytes);             /* zeroed; NULL: out of memory */
    void (*free_pinned)(void *pinned, size_t bytes); /* NULL is allowed */
    cm3_status (*upload_async)(void *to, const void *pinned, size_t bytes);
    cm3_status (*download_async)(void *pinned, const void *from, size_t bytes);
    /* Records an event after all queued work: made where *event is NULL, recorded again otherwise. event_sync() waits
     * until that work is done; NULL counts as done. */
    cm3_status (*event_record)(void **event);
    cm3_status (*event_sync)(void *event);
    void (*event_free)(void *event); /* NULL is allowed */

    /* Gives the pages back to the system, contents lost, until they are next written: whole pages of `page_bytes`. NULL
     * and 0 where that cannot be done. */
    void (*discard)(void *begin, size_t bytes);
    size_t page_bytes;
} cm3_memory;

extern const cm3_memory cm3_memory_host;

#endif
