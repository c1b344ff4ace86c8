/* Large blocks of memory: zeroed, on huge pages where the system has them (a matrix read by columns touches a page a
 * row, and there are only some thousand that the processor finds quickly). */
#ifndef CM3_CORE_PAGES_H
#define CM3_CORE_PAGES_H

#include <stddef.h>

enum { CM3_HUGE_PAGE = 2 << 20 }; /* bytes */

/* NULL if the system refuses. Aligned to a huge page if it is as large as one, else to 64 bytes at least. No memory is
 * used before it is touched. */
void *cm3_pages_alloc(size_t bytes);
/* Frees a block; NULL is allowed. `bytes` as allocated. */
void cm3_pages_free(void *block, size_t bytes);
/* Discards the content of all huge pages that lie whole in the range: their memory goes back to the system, the
 * addresses stay, and the next touch of one finds zeros. */
void cm3_pages_discard(void *begin, size_t bytes);

#endif
