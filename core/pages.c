#include "core/pages.h"

#include <stdint.h>
#include <sys/mman.h>

void *cm3_pages_take(size_t bytes) {
    void *block = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return NULL;
    madvise(block, bytes, MADV_HUGEPAGE); /* a wish: the system may have none */
    return block;
}

void cm3_pages_give(void *block, size_t bytes) {
    if (block) munmap(block, bytes ? bytes : 1);
}
