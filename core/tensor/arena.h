/* Places for buffers in one block of memory, decided ahead of time.
 *
 * cm3_arena_take and cm3_arena_give follow the order in which buffers come and go and answer with offsets (best fit,
 * lowest offset among equals), so the same order gives the same offsets every time. The block itself is taken once,
 * when it is first needed, and grows no more. */
#ifndef CM3_CORE_TENSOR_ARENA_H
#define CM3_CORE_TENSOR_ARENA_H

#include "core/status.h"
#include "core/tensor/memory.h"

#include <stddef.h>

enum { CM3_ARENA_ALIGNMENT = 64 };

typedef struct cm3_arena cm3_arena;

cm3_status cm3_arena_create(const cm3_memory *memory, cm3_arena **arena);
void cm3_arena_free(cm3_arena *arena);

/* The offset of `bytes` (rounded up to the alignment) of free space. */
cm3_status cm3_arena_take(cm3_arena *arena, size_t bytes, size_t *offset);
/* Gives back what was taken with the same numbers. */
cm3_status cm3_arena_give(cm3_arena *arena, size_t bytes, size_t offset);

/* The most that was ever in use at once, holes between buffers included: the size of the block. */
size_t cm3_arena_peak(const cm3_arena *arena);
/* The block, taken at the first call; CM3_ERR_MEMORY names the size. Nothing more may be placed after that. */
cm3_status cm3_arena_base(cm3_arena *arena, void **base);

#endif
