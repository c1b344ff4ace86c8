/* Loading a recipe: defaults, the file, overrides, what is missing, combinations; all faults in one message. */
#include "core/config.h"

#include "core/config_internal.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>

enum { RECIPE_BYTES_MAX = 1 << 20 };

/* One fault is one line; more are listed under a line with their number. What does not fit is counted. */
static cm3_status report(const cm3_faults *faults) {
    if (faults->out_of_memory) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for the recipe", faults->name);
    if (faults->total == 0) return CM3_OK;
    if (faults->total == 1) return cm3_fail(CM3_ERR_RECIPE, "%s", faults->lines[0]);
    char text[CM3_MESSAGE_MAX];
    const size_t room = sizeof text - 32; /* the rest holds the last line */
    size_t used = (size_t)snprintf(text, room, "%d errors in the recipe:", faults->total);
    int shown = 0;
    for (; shown < faults->total && shown < CM3__FAULTS_KEPT; shown++) {
        const size_t length = strlen(faults->lines[shown]);
        if (used + length + 3 >= room) break;
        used += (size_t)snprintf(text + used, room - used, "\n  %s", faults->lines[shown]);
    }
    if (shown < faults->total) snprintf(text + used, sizeof text - used, "\n  and %d more", faults->total - shown);
    return cm3_fail(CM3_ERR_RECIPE, "%s", text);
}

/* --- loading ----------------------------------------------------------------------------------------------------- */

#define FOR_EACH_FIELD(schema, section, field)                                                                         \
    for (const cm3_section *section = (schema)->sections; section->name; section++)                                    \
        for (const cm3_field *field = section->fields; field->name; field++)

static void set_defaults(cm3_faults *faults, void *recipe) {
    FOR_EACH_FIELD(faults->schema, section, field) {
        void *target = (char *)recipe + section->offset + field->offset;
        char found[CM3__FOUND_SIZE], full[CM3__FULL_NAME_SIZE];
        const char *text = field->fallback ? field->fallback : "";
        if (!field->fallback && field->kind != CM3_KIND_STRING) continue; /* strings are never NULL */
        const cm3__set_result result = cm3__value_from_text(field, target, text, found);
        if (result == CM3__SET_NO_MEMORY) faults->out_of_memory = true;
        if (result != CM3__SET_WRONG) continue;
        cm3__full_name(section->name, field->name, full);
        cm3__fault(faults, CM3__ORIGIN_DEFAULT, "%s: its default %s is not valid, a bug in this program", full, found);
    }
}

static void check_missing(cm3_faults *faults) {
    FOR_EACH_FIELD(faults->schema, section, field) {
        if (field->fallback || *cm3__origin(faults, section, field) != CM3__ORIGIN_DEFAULT) continue;
        char full[CM3__FULL_NAME_SIZE], expected[CM3__EXPECTED_SIZE];
        cm3__full_name(section->name, field->name, full);
        cm3__value_expected(field, expected);
        cm3__fault(faults, CM3__ORIGIN_DEFAULT, "%s: missing, expected %s", full, expected);
    }
}

cm3_status cm3_config_parse(const cm3_schema *schema, const cm3_config_text *source, const char *const *overrides,
                            int override_count, void *recipe) {
    memset(recipe, 0, schema->size);
    size_t fields = 0;
    FOR_EACH_FIELD(schema, section, field) fields++;
    cm3_faults faults = {.schema = schema, .name = source->name, .origins = calloc(fields + 1, sizeof(int))};
    if (!faults.origins) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for the recipe", source->name);
    set_defaults(&faults, recipe);
    bool readable = source->length <= RECIPE_BYTES_MAX;
    if (readable)
        readable = cm3__bind_yaml(&faults, source->text, source->length, recipe);
    else
        cm3__fault(&faults, CM3__ORIGIN_DEFAULT, "%zu bytes are too long for a recipe", source->length);
    for (int i = 0; i < override_count; i++) cm3__bind_override(&faults, overrides[i], recipe);
    /* Else everything behind the fault would seem to be missing. */
    if (readable && !faults.renamed) check_missing(&faults);
    if (faults.total == 0 && !faults.out_of_memory && schema->check) schema->check(recipe, &faults);
    const cm3_status status = report(&faults);
    if (status != CM3_OK) cm3_config_free(schema, recipe);
    for (int i = 0; i < CM3__FAULTS_KEPT; i++) free(faults.lines[i]);
    free(faults.origins);
    return status;
}

cm3_status cm3_config_load(const cm3_schema *schema, const char *path, const char *const *overrides, int override_count,
                           void *recipe) {
    memset(recipe, 0, schema->size);
    char *text;
    size_t length;
    const cm3_status status = cm3_file_read(path, RECIPE_BYTES_MAX, &text, &length);
    if (status == CM3_ERR_FORMAT) return CM3_ERR_RECIPE; /* too long: the message says so */
    if (status == CM3_ERR_NOT_FOUND) return CM3_ERR_IO;
    CM3_TRY(status);
    const cm3_status parsed =
        cm3_config_parse(schema, &(cm3_config_text){path, text, length}, overrides, override_count, recipe);
    free(text);
    return parsed;
}

void cm3_config_free(const cm3_schema *schema, void *recipe) {
    FOR_EACH_FIELD(schema, section, field) cm3__value_free(field, (char *)recipe + section->offset + field->offset);
    memset(recipe, 0, schema->size);
}
