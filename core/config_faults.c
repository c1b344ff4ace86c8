/* Faults of a recipe, and the names that they are about: sections, fields, names that do not exist, renamed ones. */
#include "core/config_internal.h"

#include "core/names.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* --- faults ------------------------------------------------------------------------------------------------------ */

int *cm3__origin(cm3_faults *faults, const cm3_section *section, const cm3_field *field) {
    int *origin = faults->origins;
    for (const cm3_section *before = faults->schema->sections; before < section; before++)
        for (const cm3_field *other = before->fields; other->name; other++) origin++;
    return origin + (field - section->fields);
}

static void add_line(cm3_faults *faults, int origin, const char *text) {
    if (faults->total++ >= CM3__FAULTS_KEPT) return;
    char **line = &faults->lines[faults->total - 1];
    int length;
    if (origin == CM3__ORIGIN_OVERRIDE)
        length = asprintf(line, "command line: %s", text);
    else if (origin == CM3__ORIGIN_DEFAULT)
        length = asprintf(line, "%s: %s", faults->name, text);
    else
        length = asprintf(line, "%s:%d: %s", faults->name, origin, text);
    if (length >= 0) return;
    *line = NULL;
    faults->out_of_memory = true;
}

void cm3__fault(cm3_faults *faults, int origin, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add_line(faults, origin, text);
}

void cm3_faults_add(cm3_faults *faults, const char *section_name, const char *field_name, const char *format, ...) {
    char text[1024], full[CM3__FULL_NAME_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const cm3_section *section = cm3__find_section(faults->schema, section_name, strlen(section_name));
    const cm3_field *field = section ? cm3__find_field(section, field_name, strlen(field_name)) : NULL;
    cm3__full_name(section_name, field_name, full);
    cm3__fault(faults, field ? *cm3__origin(faults, section, field) : CM3__ORIGIN_DEFAULT, "%s: %s", full, text);
}

/* --- names ------------------------------------------------------------------------------------------------------- */

void cm3__full_name(const char *section, const char *key, char name[CM3__FULL_NAME_SIZE]) {
    snprintf(name, CM3__FULL_NAME_SIZE, "%s%s%s", section, *section ? "." : "", key);
}

static bool is_name(const char *name, const char *text, size_t length) {
    return strlen(name) == length && memcmp(name, text, length) == 0;
}

const cm3_field *cm3__find_field(const cm3_section *section, const char *name, size_t length) {
    for (const cm3_field *field = section->fields; field->name; field++)
        if (is_name(field->name, name, length)) return field;
    return NULL;
}

const cm3_section *cm3__find_section(const cm3_schema *schema, const char *path, size_t length) {
    for (const cm3_section *section = schema->sections; section->name; section++)
        if (is_name(section->name, path, length)) return section;
    return NULL;
}

bool cm3__is_below(const char *path, const char *section) {
    const size_t length = strlen(section);
    return length == 0 || (strncmp(path, section, length) == 0 && path[length] == '.');
}

/* The last name of a path, and whether all before it is `section`. */
static const char *child_of(const char *path, const char *section) {
    const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path;
    const size_t before = dot ? (size_t)(dot - path) : 0;
    return *path && is_name(section, path, before) ? last : NULL;
}

static bool exists(const cm3_schema *schema, const char *path) {
    const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path;
    const cm3_section *section = cm3__find_section(schema, path, dot ? (size_t)(dot - path) : 0);
    return cm3__find_section(schema, path, strlen(path)) || (section && cm3__find_field(section, last, strlen(last)));
}

/* --- names that are no longer ------------------------------------------------------------------------------------ */

const char *cm3__renamed(const cm3_schema *schema, const char *old) {
    for (const cm3_rename *rename = schema->renames; rename && rename->old; rename++)
        if (strcmp(rename->old, old) == 0) return rename->now;
    return NULL;
}

/* How the document writes a name of several parts: "; write it nested: `train:` / `steps:`". */
static void describe_nested(const char *path, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "; write it nested: ");
    while (*path && used < size) {
        const size_t length = strcspn(path, ".");
        const bool last = path[length] == '\0';
        used += (size_t)snprintf(text + used, size - used, "`%.*s:`%s", (int)length, path, last ? "" : " / ");
        path += length + !last;
    }
}

static bool fault_renamed_to(cm3_faults *faults, int origin, bool dotted, const char *old, const char *now) {
    char nested[2 * CM3__FULL_NAME_SIZE] = "";
    if (dotted && strchr(now, '.')) describe_nested(now, nested, sizeof nested);
    faults->renamed = true;
    cm3__fault(faults, origin, "%s: renamed to %s%s", old, now, nested);
    return true;
}

/* The new name of `path` by its own entry, or by that of a section above. `dotted`: it is so in a document. */
static bool fault_renamed(cm3_faults *faults, int origin, bool dotted, const char *path) {
    const char *now = cm3__renamed(faults->schema, path);
    if (now) return fault_renamed_to(faults, origin, dotted, path, now);
    for (const cm3_rename *rename = faults->schema->renames; rename && rename->old; rename++) {
        if (!cm3__is_below(path, rename->old)) continue;
        char moved[CM3__FULL_NAME_SIZE];
        snprintf(moved, sizeof moved, "%s%s", rename->now, path + strlen(rename->old));
        if (exists(faults->schema, moved)) return fault_renamed_to(faults, origin, dotted, path, moved);
        if (!exists(faults->schema, rename->old)) /* or the section of that name is another one now */
            return fault_renamed_to(faults, origin, dotted, rename->old, rename->now);
    }
    return false;
}

/* --- names that never were --------------------------------------------------------------------------------------- */

typedef struct suggestion {
    cm3_nearest nearest;
    const char *section, *name; /* of the best so far */
} suggestion;

static void offer(suggestion *s, const char *candidate, const char *section, const char *name) {
    const char *before = s->nearest.best;
    cm3_nearest_offer(&s->nearest, candidate);
    if (s->nearest.best == before) return;
    s->section = section;
    s->name = name;
}

/* A name is often right but in the wrong section, so that comes before one that is nearly right in this section. */
static bool find_elsewhere(const cm3_schema *schema, const cm3_section *section, const char *name, size_t length,
                           suggestion *s) {
    for (int below = 1; below >= 0; below--)
        for (const cm3_section *other = schema->sections; other->name; other++) {
            const cm3_field *field = cm3__find_field(other, name, length);
            if (!field || (below && !cm3__is_below(other->name, section->name))) continue;
            *s = (suggestion){.section = other->name, .name = field->name};
            return true;
        }
    return false;
}

static void find_nearest(const cm3_schema *schema, const cm3_section *section, const char *name, size_t length,
                         suggestion *s) {
    *s = (suggestion){.nearest = cm3_nearest_to(name, length)};
    for (const cm3_field *field = section->fields; field->name; field++)
        offer(s, field->name, section->name, field->name);
    for (const cm3_section *other = schema->sections; other->name; other++) {
        const char *child = child_of(other->name, section->name);
        if (child) offer(s, child, "", other->name);
    }
    if (s->name) return;
    for (const cm3_section *other = schema->sections; other->name; other++) {
        const char *dot = strrchr(other->name, '.');
        if (dot) offer(s, dot + 1, "", other->name);
    }
}

static bool has_sections(const cm3_schema *schema, const char *section) {
    for (const cm3_section *other = schema->sections; other->name; other++)
        if (child_of(other->name, section)) return true;
    return false;
}

/* The name at `name` is neither a field of the section nor a section below it. */
static void fault_unknown(cm3_faults *faults, int origin, const cm3_section *section, const char *name, size_t length) {
    char quoted[CM3__FOUND_SIZE], full[CM3__FULL_NAME_SIZE];
    suggestion s = {0};
    if (faults->total < CM3__FAULTS_KEPT && /* a file of nothing but wrong names must not take long */
        !find_elsewhere(faults->schema, section, name, length, &s))
        find_nearest(faults->schema, section, name, length, &s);
    cm3__quote(name, length, quoted);
    if (s.name) cm3__full_name(s.section, s.name, full);
    cm3__fault(faults, origin, "%s%sno %s %s%s%s%s", section->name, *section->name ? ": " : "",
               has_sections(faults->schema, section->name) ? "section or field" : "field", quoted,
               s.name ? "; did you mean " : "", s.name ? full : "", s.name ? "?" : "");
}

bool cm3__fault_name(cm3_faults *faults, int origin, const char *section, const char *name, size_t length) {
    static const cm3_field none[] = {CM3_FIELD_END};
    static const cm3_section empty = {"", none, 0, ""};
    const cm3_section *known = cm3__find_section(faults->schema, section, strlen(section));
    char path[CM3__FULL_NAME_SIZE];
    cm3__full_name(section, "", path);
    const size_t before = strlen(path);
    if (!known) known = &empty;
    if (length < sizeof path - before && !memchr(name, '\0', length)) {
        memcpy(path + before, name, length);
        path[before + length] = '\0';
        const bool dotted = origin != CM3__ORIGIN_OVERRIDE && memchr(name, '.', length);
        if (faults->total < CM3__FAULTS_KEPT && fault_renamed(faults, origin, dotted, path)) return true;
        if (dotted && exists(faults->schema, path)) {
            char nested[2 * CM3__FULL_NAME_SIZE];
            describe_nested(path, nested, sizeof nested);
            cm3__fault(faults, origin, "%s: dots are of the command line%s", path, nested);
            return false;
        }
        /* The first name of the path that does not exist. */
        for (const cm3_section *other = faults->schema->sections; other->name; other++)
            if (cm3__is_below(path, other->name) && strlen(other->name) > strlen(known->name)) known = other;
        name = path + strlen(known->name) + (*known->name != '\0');
        length = strcspn(name, ".");
    }
    fault_unknown(faults, origin, known, name, length);
    return false;
}
