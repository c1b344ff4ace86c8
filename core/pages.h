/* Large blocks of memory: zeroed, aligned to 64 bytes at least, on huge pages where the system has them (a matrix read by
 * columns touches a page a row, and there are only some thousand that the processor finds quickly). */
#ifndef CM3_CORE_PAGES_H
#define CM3_CORE_PAGES_H

#include <stddef.h>

/* NULL if the system refuses. No memory is used before it is touched. */
void *cm3_pages_take(size_t bytes);
/* Gives a block back; NULL is allowed. `bytes` as taken. */
void cm3_pages_give(void *block, size_t bytes);

#endif
