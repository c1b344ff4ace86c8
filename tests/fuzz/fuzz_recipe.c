/* Any bytes as a recipe: a status, and what loads prints to YAML that loads to the same print. The first line, if it
 * begins with "%", is an override. */
#include "tests/core/recipe_schema.h"

#include <stdlib.h>
#include <string.h>

static char *printed(const test_recipe *recipe, size_t *length) {
    char *text = NULL;
    FILE *file = open_memstream(&text, length);
    if (!file || cm3_config_print(&test_schema, recipe, file) != CM3_OK) abort();
    fclose(file);
    return text;
}

static void check_round_trip(const test_recipe *recipe) {
    size_t length, again_length;
    char *text = printed(recipe, &length);
    test_recipe copy;
    if (cm3_config_parse(&test_schema, &(cm3_config_text){"printed", text, length}, NULL, 0, &copy) != CM3_OK) abort();
    char *again = printed(&copy, &again_length);
    if (length != again_length || memcmp(text, again, length) != 0) abort();
    cm3_config_free(&test_schema, &copy);
    free(text);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *line_end = size && data[0] == '%' ? memchr(data, '\n', size) : NULL;
    char *override = NULL;
    if (line_end) {
        override = strndup((const char *)data + 1, (size_t)(line_end - data - 1));
        size -= (size_t)(line_end + 1 - data);
        data = line_end + 1;
    }
    const char *const overrides[] = {override};
    test_recipe recipe;
    if (cm3_config_parse(&test_schema, &(cm3_config_text){"fuzz", (const char *)data, size}, overrides,
                         override != NULL, &recipe) == CM3_OK) {
        check_round_trip(&recipe);
        cm3_config_free(&test_schema, &recipe);
    }
    free(override);
    return 0;
}
