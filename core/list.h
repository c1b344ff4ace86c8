/* A growing array of one type.
 *
 *     typedef CM3_LIST(int32_t) cm3_tokens;
 *
 *     cm3_tokens tokens = {0};
 *     CM3_TRY(CM3_LIST_PUSH(&tokens, id));
 *     CM3_TRY(CM3_LIST_APPEND(&tokens, ids, count));
 *     for (size_t i = 0; i < tokens.count; i++) use(tokens.items[i]);
 *     CM3_LIST_FREE(&tokens);
 *
 * A zeroed struct is an empty list. Growing moves `items`, by half of their number at a time, so that appending takes
 * linear time. The macros return a cm3_status (CM3_ERR_MEMORY, the list as it was) and evaluate `list` several times.
 */
#ifndef CM3_CORE_LIST_H
#define CM3_CORE_LIST_H

#include "core/status.h"

#include <stddef.h>
#include <stdlib.h>

#define CM3_LIST(type)                                                                                                 \
    struct {                                                                                                           \
        type *items;                                                                                                   \
        size_t count, capacity;                                                                                        \
    }

/* Makes room for `more` items behind those that are there. */
#define CM3_LIST_RESERVE(list, more)                                                                                   \
    cm3__list_reserve(&(list)->items, (list)->count, &(list)->capacity, (more), sizeof *(list)->items)
/* Copies `more` items of the list's type to its end. */
#define CM3_LIST_APPEND(list, from, more)                                                                              \
    cm3__list_append(&(list)->items, &(list)->count, &(list)->capacity, 1 ? (from) : (list)->items, (more),            \
                     sizeof *(list)->items)
/* The same with one item: a variable or a compound literal. */
#define CM3_LIST_PUSH(list, ...) CM3_LIST_APPEND(list, &(__VA_ARGS__), 1)
/* Frees the items; the list is empty. */
#define CM3_LIST_FREE(list) (free((list)->items), (list)->items = NULL, (list)->count = (list)->capacity = 0)

/* `items` is the address of a pointer to items of `size` bytes. */
cm3_status cm3__list_reserve(void *items, size_t count, size_t *capacity, size_t more, size_t size);
cm3_status cm3__list_append(void *items, size_t *count, size_t *capacity, const void *from, size_t more, size_t size);

#endif
