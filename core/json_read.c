#include "core/json.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>

/* --- whole values ------------------------------------------------------------------------------------------------ */

enum { DEPTH_MAX = 512 };

/* jansson stops at 2048 levels, but frees what it read by recursion; this keeps both shallow. Brackets inside strings
 * do not count. */
static bool is_too_deep(const char *text, size_t length) {
    int depth = 0;
    bool inside = false;
    for (size_t i = 0; i < length; i++) {
        const char c = text[i];
        if (inside && c == '\\') i++;
        else if (c == '"') inside = !inside;
        else if (!inside && (c == '{' || c == '[')) {
            if (++depth > DEPTH_MAX) return true;
        } else if (!inside && (c == '}' || c == ']')) depth--;
    }
    return false;
}

cm3_status cm3_json_parse(const char *name, const char *text, size_t length, json_t **root) {
    *root = NULL;
    if (is_too_deep(text, length))
        return cm3_fail(CM3_ERR_FORMAT, "%s: not valid JSON: nested deeper than %d levels", name, DEPTH_MAX);
    if (memchr(text, '\0', length))
        return cm3_fail(CM3_ERR_FORMAT, "%s: not valid JSON: it holds a zero byte", name); /* jansson skips some */
    json_error_t error;
    *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (*root) return CM3_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to read it", name);
    return cm3_fail(CM3_ERR_FORMAT, "%s:%d: not valid JSON: %s", name, error.line > 0 ? error.line : 1, error.text);
}

cm3_status cm3_json_load(const char *path, size_t limit, json_t **root) {
    *root = NULL;
    char *text;
    size_t length;
    CM3_TRY(cm3_file_read(path, limit, &text, &length));
    const cm3_status status = cm3_json_parse(path, text, length, root);
    free(text);
    return status;
}

/* --- members ----------------------------------------------------------------------------------------------------- */

static const char *describe(const json_t *value) {
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "true or false";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

static cm3_status wrong(const json_t *value, const char *name, const char *key, const char *expected) {
    return cm3_fail(CM3_ERR_FORMAT, "%s: %s: found %s, expected %s", name, key, describe(value), expected);
}

cm3_status cm3_json_need_int(const json_t *object, const char *name, const char *key, int64_t min, int64_t max,
                             int64_t *value) {
    const json_t *member = json_object_get(object, key);
    if (!json_is_integer(member)) return wrong(member, name, key, "an integer");
    const int64_t number = json_integer_value(member);
    if (number < min || number > max)
        return cm3_fail(CM3_ERR_FORMAT, "%s: %s: found %lld, expected an integer from %lld to %lld", name, key,
                        (long long)number, (long long)min, (long long)max);
    *value = number;
    return CM3_OK;
}

cm3_status cm3_json_need_double(const json_t *object, const char *name, const char *key, double *value) {
    const json_t *member = json_object_get(object, key);
    if (!json_is_number(member)) return wrong(member, name, key, "a number");
    *value = json_number_value(member);
    return CM3_OK;
}

cm3_status cm3_json_need_bool(const json_t *object, const char *name, const char *key, bool *value) {
    const json_t *member = json_object_get(object, key);
    if (!json_is_boolean(member)) return wrong(member, name, key, "true or false");
    *value = json_is_true(member);
    return CM3_OK;
}

cm3_status cm3_json_need_string(const json_t *object, const char *name, const char *key, const char **value) {
    const json_t *member = json_object_get(object, key);
    if (!json_is_string(member)) return wrong(member, name, key, "a string");
    *value = json_string_value(member);
    return CM3_OK;
}

cm3_status cm3_json_need_hash(const json_t *object, const char *name, const char *key, cm3_hash *hash) {
    const char *hex = "";
    CM3_TRY(cm3_json_need_string(object, name, key, &hex));
    if (!cm3_hash_from_hex(hex, hash))
        return cm3_fail(CM3_ERR_FORMAT, "%s: %s: found \"%.40s\", expected 32 hexadecimal digits", name, key, hex);
    return CM3_OK;
}

cm3_status cm3_json_need_format(const json_t *object, const char *name, const char *format, int64_t version) {
    const char *found = "";
    CM3_TRY(cm3_json_need_string(object, name, "format", &found));
    if (strcmp(found, format) != 0)
        return cm3_fail(CM3_ERR_FORMAT, "%s: format: found \"%.40s\", expected \"%s\"", name, found, format);
    return cm3_json_need_int(object, name, "version", version, version, &version);
}

cm3_status cm3_json_need_array(const json_t *object, const char *name, const char *key, const json_t **value) {
    const json_t *member = json_object_get(object, key);
    if (!json_is_array(member)) return wrong(member, name, key, "an array");
    *value = member;
    return CM3_OK;
}

cm3_status cm3_json_need_object(const json_t *object, const char *name, const char *key, const json_t **value) {
    const json_t *member = json_object_get(object, key);
    if (!json_is_object(member)) return wrong(member, name, key, "an object");
    *value = member;
    return CM3_OK;
}
