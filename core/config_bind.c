/* Names of a recipe to fields: the YAML document, and overrides from the command line. */
#include "core/config_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- one field --------------------------------------------------------------------------------------------------- */

/* What came of setting a field to `text`. */
static void report_value(cm3_faults *faults, int origin, const cm3_section *section, const cm3_field *field,
                         cm3__set_result result, const char *text, const char *found) {
    if (result == CM3__SET_NO_MEMORY) faults->out_of_memory = true;
    if (result != CM3__SET_WRONG) return;
    char full[CM3__FULL_NAME_SIZE], expected[CM3__EXPECTED_SIZE], pair[CM3__FULL_NAME_SIZE];
    cm3__full_name(section->name, field->name, full);
    snprintf(pair, sizeof pair, "%s=%s", full, text);
    const char *now = cm3__renamed(faults->schema, pair);
    cm3__value_expected(field, expected);
    if (now)
        cm3__fault(faults, origin, "%s: %s was renamed to %s", full, found, now);
    else
        cm3__fault(faults, origin, "%s: found %s, expected %s", full, found, expected);
}

static void *target_of(void *recipe, const cm3_section *section, const cm3_field *field) {
    return (char *)recipe + section->offset + field->offset;
}

void cm3__bind_override(cm3_faults *faults, const char *text, void *recipe) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        char quoted[CM3__FOUND_SIZE];
        cm3__quote(text, strlen(text), quoted);
        cm3__fault(faults, CM3__ORIGIN_OVERRIDE, "found %s, expected section.key=value", quoted);
        return;
    }
    const size_t length = (size_t)(equals - text);
    const char *dot = memrchr(text, '.', length), *key = dot ? dot + 1 : text;
    const cm3_section *section = cm3__find_section(faults->schema, text, dot ? (size_t)(dot - text) : 0);
    const cm3_field *field = section ? cm3__find_field(section, key, (size_t)(equals - key)) : NULL;
    if (!field) {
        section = cm3__find_section(faults->schema, text, length);
        if (section)
            cm3__fault(faults, CM3__ORIGIN_OVERRIDE, "%s: is a section, expected %s.key=value", section->name,
                       section->name);
        else
            cm3__fault_name(faults, CM3__ORIGIN_OVERRIDE, "", text, length);
        return;
    }
    *cm3__origin(faults, section, field) = CM3__ORIGIN_OVERRIDE;
    char found[CM3__FOUND_SIZE];
    const cm3__set_result result = cm3__value_from_text(field, target_of(recipe, section, field), equals + 1, found);
    report_value(faults, CM3__ORIGIN_OVERRIDE, section, field, result, equals + 1, found);
}

/* --- the document ------------------------------------------------------------------------------------------------ */

/* One pass over a document. */
typedef struct binding {
    cm3_faults *faults;
    yaml_document_t *document;
    void *recipe;
    int *section_lines; /* of every section, where it is given; 0: not yet */
} binding;

static int line_of(const yaml_node_t *node) {
    return (int)node->start_mark.line + 1;
}

static const char *kind_of(const yaml_node_t *node) {
    return node->type == YAML_SCALAR_NODE     ? "a single value"
           : node->type == YAML_SEQUENCE_NODE ? "a list"
                                              : "a mapping";
}

static bool is_empty_value(const yaml_node_t *node) {
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp((const char *)node->data.scalar.value, words[i]) == 0) return true;
    return false;
}

static void bind_field(binding *b, const cm3_section *section, const cm3_field *field, const yaml_node_t *key,
                       const yaml_node_t *value) {
    int *origin = cm3__origin(b->faults, section, field);
    if (*origin > 0) {
        char full[CM3__FULL_NAME_SIZE];
        cm3__full_name(section->name, field->name, full);
        cm3__fault(b->faults, line_of(key), "%s: given again; it is already on line %d", full, *origin);
        return;
    }
    *origin = line_of(key);
    char found[CM3__FOUND_SIZE];
    const cm3__set_result result =
        cm3__value_from_node(field, target_of(b->recipe, section, field), b->document, value, found);
    const char *text = value->type == YAML_SCALAR_NODE ? (const char *)value->data.scalar.value : "";
    report_value(b->faults, *origin, section, field, result, text, found);
}

/* A section that was renamed says so once, and its keys that went elsewhere each say so, too. */
static void fault_old_section(binding *b, const char *section, const yaml_node_t *node) {
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(b->document, pair->key);
        char path[CM3__FULL_NAME_SIZE];
        if (key->type != YAML_SCALAR_NODE) continue;
        cm3__full_name(section, (const char *)key->data.scalar.value, path);
        const char *now = cm3__renamed(b->faults->schema, path);
        if (now) cm3__fault(b->faults, line_of(key), "%s: renamed to %s", path, now);
    }
}

static void bind_section(binding *b, const cm3_section *section, const yaml_node_t *node);

static void bind_pair(binding *b, const cm3_section *section, const yaml_node_t *key, const yaml_node_t *value) {
    const char *name = (const char *)key->data.scalar.value;
    const size_t length = key->data.scalar.length;
    const cm3_field *field = cm3__find_field(section, name, length);
    char path[CM3__FULL_NAME_SIZE];
    cm3__full_name(section->name, name, path);
    const bool is_path = length > 0 && strlen(name) == length && !memchr(name, '.', length);
    const cm3_section *inner = is_path ? cm3__find_section(b->faults->schema, path, strlen(path)) : NULL;
    if (inner) {
        int *line = &b->section_lines[inner - b->faults->schema->sections];
        if (*line)
            cm3__fault(b->faults, line_of(key), "%s: given again; it is already on line %d", path, *line);
        else
            bind_section(b, inner, value);
        if (!*line) *line = line_of(key);
    } else if (field)
        bind_field(b, section, field, key, value);
    else if (cm3__fault_name(b->faults, line_of(key), section->name, name, length) && value->type == YAML_MAPPING_NODE)
        fault_old_section(b, path, value);
}

static void bind_section(binding *b, const cm3_section *section, const yaml_node_t *node) {
    if (is_empty_value(node)) return; /* "train:" with all of its fields left out, "train: null" */
    if (node->type != YAML_MAPPING_NODE) {
        if (*section->name)
            cm3__fault(b->faults, line_of(node), "%s: found %s, expected fields as key: value", section->name,
                       kind_of(node));
        else
            cm3__fault(b->faults, line_of(node), "found %s, expected sections as name: and their fields below",
                       kind_of(node));
        return;
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(b->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(b->document, pair->value);
        if (key->type == YAML_SCALAR_NODE)
            bind_pair(b, section, key, value);
        else
            cm3__fault(b->faults, line_of(key), "found %s as a name, expected the name of a field", kind_of(key));
    }
}

static void bind_root(cm3_faults *faults, yaml_document_t *document, void *recipe) {
    static const cm3_field none[] = {CM3_FIELD_END};
    static const cm3_section empty = {"", none, 0, ""};
    const yaml_node_t *root = yaml_document_get_root_node(document);
    if (!root) return; /* nothing but comments: a recipe of defaults */
    size_t count = 0;
    while (faults->schema->sections[count].name) count++;
    binding b = {faults, document, recipe, calloc(count + 1, sizeof(int))};
    const cm3_section *top = cm3__find_section(faults->schema, "", 0);
    if (b.section_lines)
        bind_section(&b, top ? top : &empty, root);
    else faults->out_of_memory = true;
    free(b.section_lines);
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
