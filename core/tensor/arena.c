#include "core/tensor/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct hole {
    size_t offset, bytes;
} hole;

struct cm3_arena {
    const cm3_memory *memory;
    hole *holes; /* sorted by offset, never adjacent; what lies behind `end` is free too */
    size_t count, capacity;
    size_t end, peak;
    void *base;
    size_t mapped;
};

static size_t rounded(size_t bytes) {
    const size_t unit = CM3_ARENA_ALIGNMENT;
    return bytes ? (bytes + unit - 1) / unit * unit : unit;
}

cm3_status cm3_arena_create(const cm3_memory *memory, cm3_arena **arena) {
    *arena = calloc(1, sizeof **arena);
    if (!*arena) return cm3_fail(CM3_ERR_MEMORY, "out of memory for an arena");
    (*arena)->memory = memory;
    return CM3_OK;
}

void cm3_arena_free(cm3_arena *arena) {
    if (!arena) return;
    arena->memory->free(arena->base, arena->mapped);
    free(arena->holes);
    free(arena);
}

cm3_status cm3_arena_take(cm3_arena *arena, size_t bytes, size_t *offset) {
    bytes = rounded(bytes);
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < arena->count; i++)
        if (arena->holes[i].bytes >= bytes && (best == SIZE_MAX || arena->holes[i].bytes < arena->holes[best].bytes))
            best = i;
    if (best == SIZE_MAX) {
        if (arena->end > SIZE_MAX - bytes)
            return cm3_fail(CM3_ERR_MEMORY, "the step's memory passes the address space");
        *offset = arena->end;
        arena->end += bytes;
        if (arena->end > arena->peak) arena->peak = arena->end;
        return CM3_OK;
    }
    hole *found = &arena->holes[best];
    *offset = found->offset;
    found->offset += bytes;
    found->bytes -= bytes;
    if (!found->bytes) memmove(found, found + 1, (--arena->count - best) * sizeof *found);
    return CM3_OK;
}

cm3_status cm3_arena_give(cm3_arena *arena, size_t bytes, size_t offset) {
    bytes = rounded(bytes);
    size_t at = 0;
    while (at < arena->count && arena->holes[at].offset < offset) at++;
    const bool joins_left = at > 0 && arena->holes[at - 1].offset + arena->holes[at - 1].bytes == offset;
    const bool joins_right = at < arena->count && offset + bytes == arena->holes[at].offset;
    if (joins_left && joins_right) {
        arena->holes[at - 1].bytes += bytes + arena->holes[at].bytes;
        memmove(&arena->holes[at], &arena->holes[at + 1], (--arena->count - at) * sizeof(hole));
    } else if (joins_left) {
        arena->holes[at - 1].bytes += bytes;
    } else if (joins_right) {
        arena->holes[at].offset = offset;
        arena->holes[at].bytes += bytes;
    } else {
        if (arena->count == arena->capacity) {
            const size_t capacity = arena->capacity ? 2 * arena->capacity : 64;
            hole *holes = realloc(arena->holes, capacity * sizeof *holes);
            if (!holes) return cm3_fail(CM3_ERR_MEMORY, "out of memory for the arena's list of holes");
            arena->holes = holes;
            arena->capacity = capacity;
        }
        memmove(&arena->holes[at + 1], &arena->holes[at], (arena->count++ - at) * sizeof(hole));
        arena->holes[at] = (hole){.offset = offset, .bytes = bytes};
    }
    /* A hole at the end is no hole: the block would end before it. */
    if (arena->count && arena->holes[arena->count - 1].offset + arena->holes[arena->count - 1].bytes == arena->end)
        arena->end = arena->holes[--arena->count].offset;
    return CM3_OK;
}

size_t cm3_arena_peak(const cm3_arena *arena) {
    return arena->peak;
}

cm3_status cm3_arena_base(cm3_arena *arena, void **base) {
    if (!arena->base && arena->peak) {
        void *block = arena->memory->alloc(arena->peak);
        if (!block)
            return cm3_fail(CM3_ERR_MEMORY, "the step needs %.2f GiB of memory, which the system refuses",
                            (double)arena->peak / 0x1p30);
        arena->base = block;
        arena->mapped = arena->peak;
    }
    if (arena->peak > arena->mapped)
        return cm3_fail(CM3_ERR_INTERNAL, "a tape was planned on memory that another one uses already");
    *base = arena->base;
    return CM3_OK;
}
