/* The memory that a backend's kernels read and write: the host's own, or a device's, whose addresses host code must not
 * follow. Everything here happens in order with the kernels: an upload after those before it, a download once they are
 * done. */
#ifndef CM3_CORE_TENSOR_MEMORY_H
#define CM3_CORE_TENSOR_MEMORY_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct cm3_memory {
    bool host; /* host code may read and write it */
    /* Zeroed, aligned to 64 bytes at least; NULL if there is not so much. */
    void *(*take)(size_t bytes);
    void (*give)(void *block, size_t bytes);                             /* `bytes` as taken; NULL is allowed */
    cm3_status (*upload)(void *to, const void *from_host, size_t bytes); /* from_host may be reused on return */
    cm3_status (*download)(void *to_host, const void *from, size_t bytes);
    cm3_status (*copy)(void *to, const void *from, size_t bytes);
    cm3_status (*clear)(void *at, size_t bytes);
    cm3_status (*set)(float *at, float value);
    cm3_status (*wait)(void); /* until all that was asked for is done; reports what failed of it */

    /* Copies for which the host does not wait. `pinned` is memory of the host that a device reaches by itself, of
     * take_pinned(): zeroed; NULL if there is not so much. send() reads it and fetch() writes it some time after their
     * return, in order with the kernels: the host leaves it alone until it has reached a mark behind the copy. */
    void *(*take_pinned)(size_t bytes);
    void (*give_pinned)(void *pinned, size_t bytes); /* NULL is allowed */
    cm3_status (*send)(void *to, const void *pinned, size_t bytes);
    cm3_status (*fetch)(void *pinned, const void *from, size_t bytes);
    /* A mark behind everything that was asked for so far: made where *mark is NULL, and moved otherwise. reach() waits
     * until what is before it is done; of a NULL there is nothing. */
    cm3_status (*mark)(void **mark);
    cm3_status (*reach)(void *mark);
    void (*unmark)(void *mark); /* frees it; NULL is allowed */

    /* Lets the memory go, and what it holds, until it is next written: whole pages of `page_bytes`. NULL and 0 where
     * that cannot be. */
    void (*forget)(void *begin, size_t bytes);
    size_t page_bytes;
} cm3_memory;

extern const cm3_memory cm3_memory_host;

#endif
