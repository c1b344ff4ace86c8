/* A recipe back to YAML, its hash, and what differs between two. */
#include "core/config_internal.h"

#include "core/hash.h"
#include "core/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char plain_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";

/* Text that means itself in YAML, wherever it stands in a value. */
static bool is_plain(const char *text) {
    return *text && *text != '-' && text[strspn(text, plain_letters)] == '\0';
}

/* Letters that YAML does not keep as they are, inside double quotes. */
static bool needs_escape(uint32_t code) {
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 || code == 0xFEFF ||
           (code & 0xFFFE) == 0xFFFE;
}

static void print_string(const char *text, FILE *file) {
    if (is_plain(text)) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (size_t at = 0, length = strlen(text); at < length;) {
        uint32_t code;
        const int size = cm3_utf8_decode(text + at, length - at, &code);
        if (size == 0) break; /* cannot be: a value is checked when it is read */
        if (code == '"' || code == '\\') fprintf(file, "\\%c", (int)code);
        else if (!needs_escape(code)) fwrite(text + at, 1, (size_t)size, file);
        else fprintf(file, code > 0xFFFF ? "\\U%08x" : "\\u%04x", code);
        at += (size_t)size;
    }
    fputc('"', file);
}

/* The fewest digits that read back to the same number. */
static void print_double(double value, FILE *file) {
    char text[32];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    fputs(text, file);
}

static void print_int_list(const cm3_int_list *list, FILE *file) {
    fputc('[', file);
    for (int i = 0; i < list->count; i++) fprintf(file, "%s%lld", i ? ", " : "", (long long)list->values[i]);
    fputc(']', file);
}

static void print_string_list(const cm3_string_list *list, FILE *file) {
    fputc('[', file);
    for (int i = 0; i < list->count; i++) {
        if (i) fputs(", ", file);
        print_string(list->values[i], file);
    }
    fputc(']', file);
}

static void print_value(const cm3_field *field, const void *value, FILE *file) {
    switch (field->kind) {
    case CM3_KIND_BOOL: fputs(*(const bool *)value ? "yes" : "no", file); break;
    case CM3_KIND_INT: fprintf(file, "%lld", (long long)*(const int64_t *)value); break;
    case CM3_KIND_FLOAT: print_double(*(const double *)value, file); break;
    case CM3_KIND_STRING: print_string(*(char *const *)value, file); break;
    case CM3_KIND_CHOICE: fputs(field->choices[*(const int *)value], file); break;
    case CM3_KIND_INT_LIST: print_int_list(value, file); break;
    case CM3_KIND_STRING_LIST: print_string_list(value, file); break;
    }
}

static void print_section(const cm3_section *section, const void *recipe, FILE *file) {
    int indent = 0;
    const char *last = section->name;
    for (const char *dot; (dot = strchr(last, '.')) != NULL; last = dot + 1) indent += 2;
    if (*last) {
        fprintf(file, "%*s%s:\n", indent, "", last);
        indent += 2;
    }
    for (const cm3_field *field = section->fields; field->name; field++) {
        fprintf(file, "%*s%s: ", indent, "", field->name);
        print_value(field, (const char *)recipe + section->offset + field->offset, file);
        fputc('\n', file);
    }
}

cm3_status cm3_config_print(const cm3_schema *schema, const void *recipe, FILE *file) {
    /* Keys of the top level come first, wherever their table stands: below a section they would be its fields. */
    for (const cm3_section *section = schema->sections; section->name; section++)
        if (!*section->name) print_section(section, recipe, file);
    for (const cm3_section *section = schema->sections; section->name; section++)
        if (*section->name) print_section(section, recipe, file);
    if (ferror(file)) return cm3_fail(CM3_ERR_IO, "the recipe could not be written");
    return CM3_OK;
}

/* --- what changes results ---------------------------------------------------------------------------------------- */

static bool is_named(const char *name, const char *const *names) {
    for (; *names; names++)
        if (strcmp(name, *names) == 0 || (**names && cm3__is_below(name, *names))) return true;
    return false;
}

static char *text_of(const cm3_section *section, const cm3_field *field, const void *recipe) {
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    if (!file) return NULL;
    print_value(field, (const char *)recipe + section->offset + field->offset, file);
    if (fclose(file) == 0) return text;
    free(text);
    return NULL;
}

cm3_hash cm3_config_hash(const cm3_schema *schema, const void *recipe, const char *const *sections) {
    cm3_hasher *hasher = cm3_hasher_new();
    for (const cm3_section *section = schema->sections; section->name; section++) {
        if (!is_named(section->name, sections)) continue;
        for (const cm3_field *field = section->fields; field->name; field++) {
            if (field->effect != CM3_CHANGES_RESULTS) continue;
            char *text = text_of(section, field, recipe), full[CM3__FULL_NAME_SIZE];
            cm3__full_name(section->name, field->name, full);
            cm3_hasher_add(hasher, full, strlen(full) + 1);
            if (text) cm3_hasher_add(hasher, text, strlen(text) + 1);
            free(text);
        }
    }
    const cm3_hash hash = cm3_hasher_value(hasher);
    cm3_hasher_free(hasher);
    return hash;
}

static bool differs(const cm3_section *section, const cm3_field *field, const void *a, const void *b, char *text,
                    size_t size) {
    if (field->effect != CM3_CHANGES_RESULTS) return false;
    char *before = text_of(section, field, a), *now = text_of(section, field, b), full[CM3__FULL_NAME_SIZE];
    const bool other = before && now && strcmp(before, now) != 0;
    cm3__full_name(section->name, field->name, full);
    if (other) snprintf(text, size, "%s was %s, is %s", full, before, now);
    free(before);
    free(now);
    return other;
}

bool cm3_config_difference(const cm3_schema *schema, const void *a, const void *b, const char *const *sections,
                           char *text, size_t size) {
    for (const cm3_section *section = schema->sections; section->name; section++) {
        if (!is_named(section->name, sections)) continue;
        for (const cm3_field *field = section->fields; field->name; field++)
            if (differs(section, field, a, b, text, size)) return true;
    }
    return false;
}
