#include "core/list.h"

#include <stdint.h>
#include <string.h>

cm3_status cm3__list_reserve(void *items, size_t count, size_t *capacity, size_t more, size_t size) {
    if (more <= *capacity - count) return CM3_OK;
    if (more > SIZE_MAX - count) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a list of %zu items", count);
    size_t wanted = *capacity + *capacity / 2 + 8;
    if (wanted < count + more) wanted = count + more;
    void *memory;
    memcpy(&memory, items, sizeof memory); /* a pointer to whatever type: not to be read as a void * */
    void *grown = wanted > SIZE_MAX / size ? NULL : realloc(memory, wanted * size);
    if (!grown) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a list of %zu items", wanted);
    memcpy(items, &grown, sizeof grown);
    *capacity = wanted;
    return CM3_OK;
}

cm3_status cm3__list_append(void *items, size_t *count, size_t *capacity, const void *from, size_t more, size_t size) {
    if (more == 0) return CM3_OK;
    CM3_TRY(cm3__list_reserve(items, *count, capacity, more, size));
    char *memory;
    memcpy(&memory, items, sizeof memory);
    memcpy(memory + *count * size, from, more * size);
    *count += more;
    return CM3_OK;
}
