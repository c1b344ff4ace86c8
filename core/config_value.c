/* One field's value: from text, what may be in it, and how it is named in a message. */
#include "core/config_internal.h"

#include "core/utf8.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- text for messages ------------------------------------------------------------------------------------------- */

void cm3__quote(const char *text, size_t length, char quoted[CM3__FOUND_SIZE]) {
    enum { SHOWN = 64 };
    size_t used = 0, at = 0;
    quoted[used++] = '"';
    while (at < length && used < SHOWN) {
        uint32_t code;
        const int size = cm3_utf8_decode(text + at, length - at, &code);
        if (size == 0 || code < 0x20 || (code >= 0x7F && code < 0xA0)) {
            used += (size_t)snprintf(quoted + used, CM3__FOUND_SIZE - used, "\\x%02x", (unsigned char)text[at]);
            at++;
        } else {
            memcpy(quoted + used, text + at, (size_t)size);
            used += (size_t)size;
            at += (size_t)size;
        }
    }
    snprintf(quoted + used, CM3__FOUND_SIZE - used, "%s", at < length ? "...\"" : "\"");
}

static bool is_limited(const cm3_field *field) {
    return field->min != field->max; /* both the same, as in a table that says nothing of limits: none */
}

static bool is_endless(double limit) {
    return fabs(limit) >= 9e18; /* the ends of int64_t, or infinity: not worth telling a person */
}

static void describe_range(const cm3_field *field, char *text, size_t size) {
    *text = '\0';
    if (!is_limited(field)) return;
    if (!is_endless(field->min) && !is_endless(field->max))
        snprintf(text, size, " from %.15g to %.15g", field->min, field->max);
    else if (!is_endless(field->min)) snprintf(text, size, " of at least %.15g", field->min);
    else if (!is_endless(field->max)) snprintf(text, size, " of at most %.15g", field->max);
}

static void describe_choices(const cm3_field *field, char expected[CM3__EXPECTED_SIZE]) {
    int used = snprintf(expected, CM3__EXPECTED_SIZE, "one of");
    for (int i = 0; field->choices[i] && used < CM3__EXPECTED_SIZE; i++)
        used += snprintf(expected + used, CM3__EXPECTED_SIZE - (size_t)used, "%s %s", i ? "," : "", field->choices[i]);
}

void cm3__value_expected(const cm3_field *field, char expected[CM3__EXPECTED_SIZE]) {
    char range[96], unit[64] = "";
    describe_range(field, range, sizeof range);
    if (field->unit && *field->unit) snprintf(unit, sizeof unit, " (%s)", field->unit);
    switch (field->kind) {
    case CM3_KIND_BOOL: snprintf(expected, CM3__EXPECTED_SIZE, "yes or no"); break;
    case CM3_KIND_INT: snprintf(expected, CM3__EXPECTED_SIZE, "an integer%s%s", range, unit); break;
    case CM3_KIND_FLOAT: snprintf(expected, CM3__EXPECTED_SIZE, "a number%s%s", range, unit); break;
    case CM3_KIND_STRING: snprintf(expected, CM3__EXPECTED_SIZE, "text"); break;
    case CM3_KIND_CHOICE: describe_choices(field, expected); break;
    case CM3_KIND_INT_LIST:
        snprintf(expected, CM3__EXPECTED_SIZE, "a list [..] of at most %d integers%s%s", CM3_LIST_MAX, range, unit);
        break;
    case CM3_KIND_STRING_LIST:
        snprintf(expected, CM3__EXPECTED_SIZE, "a list [..] of at most %d texts", CM3_LIST_MAX);
        break;
    }
}

/* --- scalars ----------------------------------------------------------------------------------------------------- */

typedef struct scalar {
    const char *text; /* not empty inside: no zero byte counts as an end */
    size_t length;
    bool quoted; /* "5" in quotes is text, never a number */
} scalar;

static bool equals(const scalar *value, const char *word) {
    return strlen(word) == value->length && memcmp(value->text, word, value->length) == 0;
}

static bool in_range(const cm3_field *field, double value) {
    return !is_limited(field) || (value >= field->min && value <= field->max);
}

static bool read_bool(const scalar *value, bool *result) {
    if (value->quoted) return false;
    *result = equals(value, "yes") || equals(value, "true");
    return *result || equals(value, "no") || equals(value, "false");
}

static bool read_int(const scalar *value, int64_t *result) {
    static const struct { const char *suffix; int64_t factor; } scales[] = {
        {"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}};
    if (value->quoted || !value->length) return false;
    const bool negative = value->text[0] == '-';
    size_t at = negative || value->text[0] == '+';
    const size_t first = at;
    int64_t number = 0;
    for (; at < value->length && isdigit((unsigned char)value->text[at]); at++) {
        if (__builtin_mul_overflow(number, 10, &number)) return false;
        if (__builtin_add_overflow(number, value->text[at] - '0', &number)) return false;
    }
    if (at == first) return false;
    const scalar rest = {value->text + at, value->length - at, false};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        if (!equals(&rest, scales[i].suffix)) continue;
        if (__builtin_mul_overflow(number, scales[i].factor, &number)) return false;
        *result = negative ? -number : number;
        return true;
    }
    return false;
}

static bool read_float(const scalar *value, double *result) {
    char text[64];
    if (value->quoted || !value->length || value->length >= sizeof text) return false;
    memcpy(text, value->text, value->length);
    text[value->length] = '\0';
    /* strtod alone would also take hexadecimal, "inf" and "nan". */
    if (strspn(text, "+-.0123456789eE") != value->length) return false;
    char *end;
    *result = strtod(text, &end);
    return *end == '\0' && end != text && isfinite(*result);
}

static bool read_choice(const cm3_field *field, const scalar *value, int *result) {
    for (int i = 0; field->choices[i]; i++) {
        if (!equals(value, field->choices[i])) continue;
        *result = i;
        return true;
    }
    return false;
}

/* A text that a C string and a YAML file can both hold. */
static bool is_clean(const scalar *value) {
    return cm3_utf8_is_valid(value->text, value->length, NULL) && !memchr(value->text, '\0', value->length);
}

static void describe_scalar(const cm3_field *field, const scalar *value, char found[CM3__FOUND_SIZE]) {
    if (!value->length) {
        snprintf(found, CM3__FOUND_SIZE, "nothing");
        return;
    }
    cm3__quote(value->text, value->length, found);
    const size_t used = strlen(found);
    if (!is_clean(value)) snprintf(found + used, CM3__FOUND_SIZE - used, " (not UTF-8, or with a zero byte)");
    else if (value->quoted && field->kind != CM3_KIND_CHOICE)
        snprintf(found + used, CM3__FOUND_SIZE - used, " (in quotes, so it is text)");
}

static cm3__set_result wrong_scalar(const cm3_field *field, const scalar *value, char found[CM3__FOUND_SIZE]) {
    describe_scalar(field, value, found);
    return CM3__SET_WRONG;
}

static cm3__set_result set_string(char **target, const scalar *value) {
    char *copy = strndup(value->text, value->length);
    if (!copy) return CM3__SET_NO_MEMORY;
    free(*target);
    *target = copy;
    return CM3__SET_OK;
}

static cm3__set_result set_scalar(const cm3_field *field, void *target, const scalar *value,
                                  char found[CM3__FOUND_SIZE]) {
    bool good = false;
    union { bool flag; int64_t number; double real; int choice; } read = {0};
    switch (field->kind) {
    case CM3_KIND_BOOL:
        if ((good = read_bool(value, &read.flag))) *(bool *)target = read.flag;
        break;
    case CM3_KIND_INT:
        good = read_int(value, &read.number) && in_range(field, (double)read.number);
        if (good) *(int64_t *)target = read.number;
        break;
    case CM3_KIND_FLOAT:
        good = read_float(value, &read.real) && in_range(field, read.real);
        if (good) *(double *)target = read.real;
        break;
    case CM3_KIND_CHOICE:
        if ((good = read_choice(field, value, &read.choice))) *(int *)target = read.choice;
        break;
    case CM3_KIND_STRING:
        if (is_clean(value)) return set_string(target, value);
        break;
    case CM3_KIND_INT_LIST:
    case CM3_KIND_STRING_LIST: break; /* a single value is no list */
    }
    return good ? CM3__SET_OK : wrong_scalar(field, value, found);
}

/* --- lists ------------------------------------------------------------------------------------------------------- */

static scalar scalar_of(const yaml_node_t *node) {
    return (scalar){(const char *)node->data.scalar.value, node->data.scalar.length,
                    node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE};
}

static void describe_element(int index, const char *what, char found[CM3__FOUND_SIZE]) {
    char copy[CM3__FOUND_SIZE];
    snprintf(copy, sizeof copy, "%s", what);
    snprintf(found, CM3__FOUND_SIZE, "%s as element %d", copy, index + 1);
}

static cm3__set_result set_element(const cm3_field *field, void *list, int index, const yaml_node_t *node,
                                   char found[CM3__FOUND_SIZE]) {
    if (!node || node->type != YAML_SCALAR_NODE) {
        describe_element(index, "a list or a mapping", found);
        return CM3__SET_WRONG;
    }
    const scalar value = scalar_of(node);
    if (field->kind == CM3_KIND_STRING_LIST) {
        if (is_clean(&value)) return set_string(&((cm3_string_list *)list)->values[index], &value);
    } else {
        int64_t number;
        if (read_int(&value, &number) && in_range(field, (double)number)) {
            ((cm3_int_list *)list)->values[index] = number;
            return CM3__SET_OK;
        }
    }
    describe_scalar(field, &value, found);
    describe_element(index, found, found);
    return CM3__SET_WRONG;
}

static cm3__set_result set_list(const cm3_field *field, void *target, yaml_document_t *document,
                                const yaml_node_t *node, char found[CM3__FOUND_SIZE]) {
    union { cm3_int_list ints; cm3_string_list strings; } list;
    memset(&list, 0, sizeof list);
    const yaml_node_item_t *items = node->data.sequence.items.start;
    const ptrdiff_t count = node->data.sequence.items.top - items;
    if (count > CM3_LIST_MAX) {
        snprintf(found, CM3__FOUND_SIZE, "a list of %td", count);
        return CM3__SET_WRONG;
    }
    if (field->kind == CM3_KIND_STRING_LIST) list.strings.count = (int)count;
    else list.ints.count = (int)count;
    for (int i = 0; i < count; i++) {
        const cm3__set_result result = set_element(field, &list, i, yaml_document_get_node(document, items[i]), found);
        if (result == CM3__SET_OK) continue;
        cm3__value_free(field, &list);
        return result;
    }
    cm3__value_free(field, target);
    memcpy(target, &list, field->kind == CM3_KIND_STRING_LIST ? sizeof list.strings : sizeof list.ints);
    return CM3__SET_OK;
}

/* --- any value --------------------------------------------------------------------------------------------------- */

static bool is_list(const cm3_field *field) {
    return field->kind == CM3_KIND_INT_LIST || field->kind == CM3_KIND_STRING_LIST;
}

cm3__set_result cm3__value_from_node(const cm3_field *field, void *target, yaml_document_t *document,
                                     const yaml_node_t *node, char found[CM3__FOUND_SIZE]) {
    if (node && node->type == YAML_SCALAR_NODE) {
        const scalar value = scalar_of(node);
        return set_scalar(field, target, &value, found);
    }
    if (node && node->type == YAML_SEQUENCE_NODE && is_list(field))
        return set_list(field, target, document, node, found);
    snprintf(found, CM3__FOUND_SIZE, "%s", node && node->type == YAML_SEQUENCE_NODE ? "a list" : "a mapping");
    return CM3__SET_WRONG;
}

static cm3__set_result value_from_yaml(const cm3_field *field, void *target, const char *text, size_t length,
                                       char found[CM3__FOUND_SIZE]) {
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser)) return CM3__SET_NO_MEMORY;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    cm3__set_result result = CM3__SET_WRONG;
    cm3__quote(text, length, found);
    if (yaml_parser_load(&parser, &document)) {
        const yaml_node_t *root = yaml_document_get_root_node(&document);
        if (root) result = cm3__value_from_node(field, target, &document, root, found);
        yaml_document_delete(&document);
    } else if (parser.error == YAML_MEMORY_ERROR) result = CM3__SET_NO_MEMORY;
    yaml_parser_delete(&parser);
    return result;
}

/* Text beside a field's name needs no quoting: only a list, or text that was quoted all the same, is read as YAML. */
cm3__set_result cm3__value_from_text(const cm3_field *field, void *target, const char *text,
                                     char found[CM3__FOUND_SIZE]) {
    const size_t length = strlen(text);
    const bool quoted = length >= 2 && (text[0] == '"' || text[0] == '\'') && text[length - 1] == text[0];
    if (is_list(field) || quoted) return value_from_yaml(field, target, text, length, found);
    const scalar value = {text, length, false};
    return set_scalar(field, target, &value, found);
}

void cm3__value_free(const cm3_field *field, void *target) {
    if (field->kind == CM3_KIND_STRING) {
        free(*(char **)target);
        *(char **)target = NULL;
    }
    if (field->kind == CM3_KIND_STRING_LIST) {
        cm3_string_list *list = target;
        for (int i = 0; i < list->count; i++) free(list->values[i]);
        memset(list, 0, sizeof *list);
    }
}
