/* Names of a recipe to fields: the YAML document, and overrides from the command line. */
#include "core/config_internal.h"

#include "core/names.h"

#include <stdlib.h>
#include <string.h>

static bool is_name(const char *name, const char *text, size_t length) {
    return strlen(name) == length && memcmp(name, text, length) == 0;
}

const cm3_field *cm3__find_field(const cm3_section *section, const char *name, size_t length) {
    for (const cm3_field *field = section->fields; field->name; field++)
        if (is_name(field->name, name, length)) return field;
    return NULL;
}

static const cm3_section *find_section(const cm3_schema *schema, const char *name, size_t length) {
    for (const cm3_section *section = schema->sections; section->name; section++)
        if (is_name(section->name, name, length)) return section;
    return NULL;
}

/* --- names that do not exist -------------------------------------------------------------------------------------- */

static void suggest(char *text, size_t size, const char *section, const char *name) {
    char full[CM3__FULL_NAME_SIZE];
    cm3__full_name(section, name, full);
    snprintf(text, size, "; did you mean %s?", full);
}

/* A name is often right but in the wrong section, so that comes before one that is nearly right in this section. */
static void suggest_field(const cm3_schema *schema, const cm3_section *section, const char *name, size_t length,
                          char *text, size_t size) {
    *text = '\0';
    for (const cm3_section *other = schema->sections; other->name; other++) {
        if (!cm3__find_field(other, name, length)) continue;
        suggest(text, size, other->name, cm3__find_field(other, name, length)->name);
        return;
    }
    cm3_nearest nearest = cm3_nearest_to(name, length);
    for (const cm3_field *field = section->fields; field->name; field++) cm3_nearest_offer(&nearest, field->name);
    if (nearest.best) suggest(text, size, section->name, nearest.best);
}

static void suggest_section(const cm3_schema *schema, const char *name, size_t length, char *text, size_t size) {
    *text = '\0';
    const cm3_section *top = find_section(schema, "", 0);
    if (!top || !*top->name) {
        static const cm3_field none[] = {CM3_FIELD_END};
        const cm3_section empty = {"", none, 0, ""};
        suggest_field(schema, top ? top : &empty, name, length, text, size);
    }
    if (*text) return;
    cm3_nearest nearest = cm3_nearest_to(name, length);
    for (const cm3_section *section = schema->sections; section->name; section++)
        if (*section->name) cm3_nearest_offer(&nearest, section->name);
    if (nearest.best) snprintf(text, size, "; did you mean %s?", nearest.best);
}

static void fault_unknown(cm3_faults *faults, int origin, const cm3_section *section, const char *name, size_t length) {
    char quoted[CM3__FOUND_SIZE], suggestion[CM3__FULL_NAME_SIZE + 32] = "", full[CM3__FULL_NAME_SIZE];
    const bool kept = faults->total < CM3__FAULTS_KEPT; /* a file of nothing but wrong names must not take long */
    if (kept && section) suggest_field(faults->schema, section, name, length, suggestion, sizeof suggestion);
    else if (kept) suggest_section(faults->schema, name, length, suggestion, sizeof suggestion);
    cm3__quote(name, length, quoted);
    cm3__full_name(section ? section->name : "", "", full);
    cm3__fault(faults, origin, "%s%s is no %s%s", full, quoted, section ? "field" : "section or field", suggestion);
}

/* --- one field ---------------------------------------------------------------------------------------------------- */

static void report_value(cm3_faults *faults, int origin, const cm3_section *section, const cm3_field *field,
                         cm3__set_result result, const char *found) {
    if (result == CM3__SET_NO_MEMORY) faults->out_of_memory = true;
    if (result != CM3__SET_WRONG) return;
    char full[CM3__FULL_NAME_SIZE], expected[CM3__EXPECTED_SIZE];
    cm3__full_name(section->name, field->name, full);
    cm3__value_expected(field, expected);
    cm3__fault(faults, origin, "%s: found %s, expected %s", full, found, expected);
}

static void *target_of(void *recipe, const cm3_section *section, const cm3_field *field) {
    return (char *)recipe + section->offset + field->offset;
}

static int line_of(const yaml_node_t *node) {
    return (int)node->start_mark.line + 1;
}

static void bind_field(cm3_faults *faults, const cm3_section *section, yaml_document_t *document,
                       const yaml_node_t *key, const yaml_node_t *value, void *recipe) {
    const char *name = (const char *)key->data.scalar.value;
    const size_t length = key->data.scalar.length;
    const cm3_field *field = cm3__find_field(section, name, length);
    if (!field) {
        fault_unknown(faults, line_of(key), section, name, length);
        return;
    }
    int *origin = cm3__origin(faults, section, field);
    if (*origin > 0) {
        char full[CM3__FULL_NAME_SIZE];
        cm3__full_name(section->name, field->name, full);
        cm3__fault(faults, line_of(key), "%s: given again; it is already on line %d", full, *origin);
        return;
    }
    *origin = line_of(key);
    char found[CM3__FOUND_SIZE];
    const cm3__set_result result =
        cm3__value_from_node(field, target_of(recipe, section, field), document, value, found);
    report_value(faults, *origin, section, field, result, found);
}

void cm3__bind_override(cm3_faults *faults, const char *text, void *recipe) {
    const char *equals = strchr(text, '=');
    const char *dot = equals ? memchr(text, '.', (size_t)(equals - text)) : NULL;
    if (!equals || equals == text) {
        char quoted[CM3__FOUND_SIZE];
        cm3__quote(text, strlen(text), quoted);
        cm3__fault(faults, CM3__ORIGIN_OVERRIDE, "found %s, expected section.key=value", quoted);
        return;
    }
    const size_t section_length = dot ? (size_t)(dot - text) : 0;
    const cm3_section *section = find_section(faults->schema, text, section_length);
    const char *key = dot ? dot + 1 : text;
    const size_t key_length = (size_t)(equals - key);
    if (!section) {
        if (dot) fault_unknown(faults, CM3__ORIGIN_OVERRIDE, NULL, text, section_length);
        else fault_unknown(faults, CM3__ORIGIN_OVERRIDE, NULL, key, key_length);
        return;
    }
    const cm3_field *field = cm3__find_field(section, key, key_length);
    if (!field) {
        fault_unknown(faults, CM3__ORIGIN_OVERRIDE, *section->name ? section : NULL, key, key_length);
        return;
    }
    *cm3__origin(faults, section, field) = CM3__ORIGIN_OVERRIDE;
    char found[CM3__FOUND_SIZE];
    const cm3__set_result result = cm3__value_from_text(field, target_of(recipe, section, field), equals + 1, found);
    report_value(faults, CM3__ORIGIN_OVERRIDE, section, field, result, found);
}

/* --- the document ------------------------------------------------------------------------------------------------- */

static const char *kind_of(const yaml_node_t *node) {
    return node->type == YAML_SCALAR_NODE     ? "a single value"
           : node->type == YAML_SEQUENCE_NODE ? "a list"
                                              : "a mapping";
}

static bool is_empty_value(const yaml_node_t *node) {
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0;
}

static bool is_scalar_key(cm3_faults *faults, const yaml_node_t *key) {
    if (key->type == YAML_SCALAR_NODE) return true;
    cm3__fault(faults, line_of(key), "found %s as a name, expected the name of a field", kind_of(key));
    return false;
}

static void bind_section(cm3_faults *faults, const cm3_section *section, yaml_document_t *document,
                         const yaml_node_t *node, void *recipe) {
    if (is_empty_value(node)) return; /* "train:" with all of its fields left out */
    if (node->type != YAML_MAPPING_NODE) {
        cm3__fault(faults, line_of(node), "%s: found %s, expected fields as key: value", section->name, kind_of(node));
        return;
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(document, pair->value);
        if (is_scalar_key(faults, key)) bind_field(faults, section, document, key, value, recipe);
    }
}

static void bind_top(cm3_faults *faults, yaml_document_t *document, const yaml_node_t *root, int *section_lines,
                     void *recipe) {
    const cm3_section *top = find_section(faults->schema, "", 0);
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(document, pair->value);
        if (!is_scalar_key(faults, key)) continue;
        const char *name = (const char *)key->data.scalar.value;
        const size_t length = key->data.scalar.length;
        const cm3_section *section = length ? find_section(faults->schema, name, length) : NULL;
        if (section) {
            int *line = &section_lines[section - faults->schema->sections];
            if (*line)
                cm3__fault(faults, line_of(key), "%s: given again; it is already on line %d", section->name, *line);
            else bind_section(faults, section, document, value, recipe);
            if (!*line) *line = line_of(key);
        } else if (top && cm3__find_field(top, name, length)) bind_field(faults, top, document, key, value, recipe);
        else fault_unknown(faults, line_of(key), NULL, name, length);
    }
}

static void bind_root(cm3_faults *faults, yaml_document_t *document, void *recipe) {
    const yaml_node_t *root = yaml_document_get_root_node(document);
    if (!root || is_empty_value(root)) return; /* nothing but comments: a recipe of defaults */
    if (root->type != YAML_MAPPING_NODE) {
        cm3__fault(faults, line_of(root), "found %s, expected sections as name: and their fields below", kind_of(root));
        return;
    }
    size_t count = 0;
    while (faults->schema->sections[count].name) count++;
    int *section_lines = calloc(count + 1, sizeof *section_lines);
    if (section_lines) bind_top(faults, document, root, section_lines, recipe);
    else faults->out_of_memory = true;
    free(section_lines);
}

static void fault_yaml(cm3_faults *faults, const yaml_parser_t *parser, const char *text, size_t length) {
    if (parser->error == YAML_MEMORY_ERROR) {
        faults->out_of_memory = true;
    } else if (parser->error == YAML_READER_ERROR) { /* of bytes, with an offset only */
        int line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < length; i++) line += text[i] == '\n';
        cm3__fault(faults, line, "not readable as YAML: %s at byte %zu", parser->problem, parser->problem_offset);
    } else {
        const int line = (int)parser->problem_mark.line + 1;
        if (parser->context && parser->context_mark.line != parser->problem_mark.line)
            cm3__fault(faults, line, "not readable as YAML: %s, %s that began on line %zu", parser->problem,
                       parser->context, parser->context_mark.line + 1);
        else cm3__fault(faults, line, "not readable as YAML: %s", parser->problem ? parser->problem : "bad syntax");
    }
}

static void start_parser(yaml_parser_t *parser, const char *text, size_t length) {
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, length);
}

/* What is wrong with one event for a recipe, NULL if nothing. */
static const char *refuse_event(const yaml_event_t *event, int *depth) {
    enum { DEPTH_MAX = 8 };
    const unsigned char *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT: anchor = event->data.alias.anchor; break;
    case YAML_SCALAR_EVENT: anchor = event->data.scalar.anchor; tag = event->data.scalar.tag; break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        ++*depth;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        ++*depth;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: --*depth; break;
    default: break;
    }
    if (anchor) return "an anchor (&) or alias (*) has no meaning in a recipe; put the value in quotes if it is text";
    if (tag) return "a tag (!) has no meaning in a recipe; put the value in quotes if it is text";
    return *depth > DEPTH_MAX ? "lists and mappings are nested too deep" : NULL;
}

/* A first pass over the events refuses what a recipe never needs. Among it are deep nesting and many anchors, in which
 * libyaml's time grows with the square of the size. */
static bool is_simple_yaml(cm3_faults *faults, const char *text, size_t length) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        faults->out_of_memory = true;
        return false;
    }
    start_parser(&parser, text, length);
    const char *refused = NULL;
    bool ended = false, readable = true;
    for (int depth = 0; readable && !refused && !ended;) {
        yaml_event_t event;
        readable = yaml_parser_parse(&parser, &event);
        if (!readable) {
            fault_yaml(faults, &parser, text, length);
            break;
        }
        refused = refuse_event(&event, &depth);
        if (refused) cm3__fault(faults, (int)event.start_mark.line + 1, "%s", refused);
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return readable && !refused;
}

bool cm3__bind_yaml(cm3_faults *faults, const char *text, size_t length, void *recipe) {
    if (!is_simple_yaml(faults, text, length)) return false;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        faults->out_of_memory = true;
        return false;
    }
    start_parser(&parser, text, length);
    yaml_document_t document;
    bool readable = true, again = true;
    for (int count = 0; again; count++) {
        readable = yaml_parser_load(&parser, &document);
        if (!readable) {
            fault_yaml(faults, &parser, text, length);
            break;
        }
        const yaml_node_t *root = yaml_document_get_root_node(&document);
        again = root != NULL && count == 0;
        if (root && count == 1)
            cm3__fault(faults, line_of(root), "a second document begins, expected one recipe a file");
        if (count == 0) bind_root(faults, &document, recipe);
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    return readable;
}
