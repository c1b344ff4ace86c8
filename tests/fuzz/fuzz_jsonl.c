/* Indexes any bytes as a file of JSON lines: either all of it is refused in one line, or every pair that is kept parses
 * again. */
#include "data/source/jsonl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const cm3_source_config config = {.validation = 0.5, .filter = {.values = {"!z"}, .count = 1}};
    FILE *file = fmemopen((void *)data, size, "rb");
    if (!file) return 0;
    cm3__jsonl_index index;
    const cm3_status status = cm3__jsonl_index_build(&config, "input", file, &index);
    fclose(file);
    if (status != CM3_OK) {
        if (!*cm3_message() || strchr(cm3_message(), '\n')) __builtin_trap();
        return 0;
    }
    for (size_t i = 0; i < index.count; i++) {
        const cm3__jsonl_line *line = &index.items[i];
        cm3_pair pair;
        char *image;
        if (line->offset < 0 || line->offset + line->length > (int64_t)size) __builtin_trap();
        if (cm3__jsonl_parse(&config, "again", (const char *)data + line->offset, (size_t)line->length, &pair,
                             &image) != CM3_OK)
            __builtin_trap();
        if (strlen(pair.text) != pair.text_length || !pair.text_length) __builtin_trap();
        cm3_pair_free(&pair);
        free(image);
    }
    CM3_LIST_FREE(&index);
    return 0;
}
