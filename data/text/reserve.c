#include "data/text/bpe_internal.h"

#include <stdlib.h>

cm3_status cm3__reserve(void **memory, size_t *capacity, size_t count, size_t item_size) {
    if (count <= *capacity) return CM3_OK;
    const size_t wanted = count + count / 2 + 16;
    void *grown = count < SIZE_MAX / 4 / item_size ? realloc(*memory, wanted * item_size) : NULL;
    if (!grown) return cm3_fail(CM3_ERR_MEMORY, "tokenizer: no memory for %zu items of %zu bytes", wanted, item_size);
    *memory = grown;
    *capacity = wanted;
    return CM3_OK;
}
