/* Large blocks of memory: zeroed, on huge pages where the system has them (a matrix read by columns touches a page a
 * row, and there are only some thousand that the processor finds quickly). */
#ifndef CM3_CORE_PAGES_H
#define CM3_CORE_PAGES_H

#include <stddef.h>

enum { CM3_HUGE_PAGE = 2 << 20 }; /* bytes */

/* NULL if the system refuses. Aligned to a huge page if it is as large as one, else to 64 bytes at least. No memory is
 * used before it is touched. */
void *cm3_pages_alloc(size_t bytes);
/* Gives a block back; NULL is allowed. `bytes` as taken. */
void cm3_pages_free(void *block, size_t bytes);
/* Lets the memory go, and what it holds, but not the addresses: of all huge pages that lie whole in the range. The next
 * touch of one finds zeros. */
void cm3_pages_forget(void *begin, size_t bytes);

#endif
