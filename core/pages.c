#include "core/pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* A mapping ends where its last page ends. */
static size_t whole_pages(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return bytes ? (bytes + page - 1) / page * page : page;
}

/* Bytes from here to the next address that begins a huge page. */
static size_t to_huge_page(const void *at) {
    return (size_t) - (uintptr_t)at % CM3_HUGE_PAGE;
}

void *cm3_pages_alloc(size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    const size_t length = whole_pages(bytes), spare = bytes >= CM3_HUGE_PAGE ? CM3_HUGE_PAGE : 0;
    char *block = mmap(NULL, length + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return NULL;
    if (spare) { /* what lies before and behind the aligned block is let go */
        const size_t before = to_huge_page(block);
        if (before) munmap(block, before);
        if (before < spare) munmap(block + before + length, spare - before);
        block += before;
    }
    madvise(block, length, MADV_HUGEPAGE); /* a wish: the system may have none */
    return block;
}

void cm3_pages_free(void *block, size_t bytes) {
    if (block) munmap(block, whole_pages(bytes));
}

void cm3_pages_discard(void *begin, size_t bytes) {
    const size_t before = to_huge_page(begin);
    if (bytes < before + CM3_HUGE_PAGE) return;
    madvise((char *)begin + before, (bytes - before) / CM3_HUGE_PAGE * CM3_HUGE_PAGE, MADV_DONTNEED);
}
