/* The reference of all fields, from the same tables that read them. */
#include "core/config_internal.h"

#include <string.h>

static const char *default_of(const cm3_field *field) {
    if (!field->fallback) return "must be given";
    return *field->fallback ? field->fallback : field->kind == CM3_KIND_STRING ? "empty" : "[]";
}

static const char *effect_of(const cm3_field *field) {
    static const char *const names[] = {[CM3_CHANGES_RESULTS] = "results",
                                        [CM3_CHANGES_SPEED] = "speed only",
                                        [CM3_CHANGES_MEMORY] = "memory only",
                                        [CM3_CHANGES_REPORTS] = "reports only",
                                        [CM3_CHANGES_LENGTH] = "length of the run"};
    return names[field->effect];
}

static void help_text(const cm3_section *section, FILE *file) {
    if (*section->name) fprintf(file, "%s:\n", section->name);
    if (section->help) fprintf(file, "  # %s\n", section->help);
    for (const cm3_field *field = section->fields; field->name; field++) {
        char expected[CM3__EXPECTED_SIZE];
        cm3__value_expected(field, expected);
        fprintf(file, "  %s\n      %s\n      %s; default: %s; changes: %s\n", field->name, field->help, expected,
                default_of(field), effect_of(field));
    }
    fputc('\n', file);
}

/* In a table's cell only the bar has a meaning. */
static void print_cell(const char *text, FILE *file) {
    for (; *text; text++) {
        if (*text == '|') fputc('\\', file);
        fputc(*text, file);
    }
}

static void help_markdown(const cm3_section *section, FILE *file) {
    fprintf(file, "## %s\n\n", *section->name ? section->name : "Top level");
    if (section->help) fprintf(file, "%s\n\n", section->help);
    fputs("| field | expected | default | changes | meaning |\n|---|---|---|---|---|\n", file);
    for (const cm3_field *field = section->fields; field->name; field++) {
        char expected[CM3__EXPECTED_SIZE];
        cm3__value_expected(field, expected);
        fprintf(file, "| `%s` | ", field->name);
        print_cell(expected, file);
        fprintf(file, " | `");
        print_cell(default_of(field), file);
        fprintf(file, "` | %s | ", effect_of(field));
        print_cell(field->help, file);
        fputs(" |\n", file);
    }
    fputc('\n', file);
}

void cm3_config_help(const cm3_schema *schema, bool markdown, FILE *file) {
    for (const cm3_section *section = schema->sections; section->name; section++) {
        if (markdown) help_markdown(section, file);
        else help_text(section, file);
    }
}
