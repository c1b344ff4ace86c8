/* Pairs from JSON lines. Opening parses every line once, so that a broken one is found at the start and not after
 * hours; it keeps 24 bytes a pair. */
#include "data/source/jsonl.h"
#include "data/source/kind.h"

#include "core/file.h"
#include "core/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

static const char *or_default(const char *name, const char *fallback) {
    return name && *name ? name : fallback;
}

static cm3_status need_string(const json_t *object, const char *where, const char *field, const json_t **value) {
    *value = json_object_get(object, field);
    if (!*value) return cm3_fail(CM3_ERR_FORMAT, "%s: there is no \"%s\"", where, field);
    if (!json_is_string(*value)) return cm3_fail(CM3_ERR_FORMAT, "%s: \"%s\" is not a string", where, field);
    return CM3_OK;
}

static cm3_status take_fields(const cm3_source_config *config, const char *where, const json_t *object, cm3_pair *pair,
                              char **image) {
    const json_t *caption, *path, *origin = json_object_get(object, "origin");
    const char *image_field =
        or_default(config->image_field, json_object_get(object, "file_name") ? "file_name" : "image");
    if (!json_is_object(object)) return cm3_fail(CM3_ERR_FORMAT, "%s: not a JSON object", where);
    CM3_TRY(need_string(object, where, or_default(config->text_field, "text"), &caption));
    CM3_TRY(need_string(object, where, image_field, &path));
    if (!json_string_length(path)) return cm3_fail(CM3_ERR_FORMAT, "%s: \"%s\" is empty", where, image_field);
    pair->text_length = json_string_length(caption);
    CM3_TRY(cm3__caption_check(where, json_string_value(caption), pair->text_length));
    CM3_TRY(cm3__text_copy(json_string_value(caption), pair->text_length, &pair->text));
    CM3_TRY(cm3__text_copy(json_is_string(origin) ? json_string_value(origin) : "", json_string_length(origin),
                           &pair->origin));
    return cm3__text_copy(json_string_value(path), json_string_length(path), image);
}

cm3_status cm3__jsonl_parse(const cm3_source_config *config, const char *where, const char *line, size_t length,
                            cm3_pair *pair, char **image) {
    json_error_t error;
    size_t bad;
    *pair = (cm3_pair){0};
    *image = NULL;
    if (!cm3_utf8_is_valid(line, length, &bad))
        return cm3_fail(CM3_ERR_FORMAT, "%s: not UTF-8: byte %zu of the line is 0x%02x", where, bad + 1,
                        (unsigned char)line[bad]);
    json_t *object = json_loadb(line, length, 0, &error);
    if (!object) return cm3_fail(CM3_ERR_FORMAT, "%s: not a whole JSON object: %s", where, error.text);
    const cm3_status status = take_fields(config, where, object, pair, image);
    json_decref(object);
    if (status != CM3_OK) cm3_pair_free(pair);
    return status;
}

static void say_where(const char *path, int64_t line, char where[PATH_MAX + 32]) {
    snprintf(where, PATH_MAX + 32, "%s:%lld", path, (long long)line);
}

/* Reads a line into `buffer` without its end; false at the end of the file. `*offset` moves to the next line. */
static bool next_line(FILE *file, char *buffer, size_t *length, int64_t *offset) {
    int byte;
    size_t n = 0;
    while ((byte = getc_unlocked(file)) != EOF && byte != '\n' && n <= CM3_CAPTION_MAX) buffer[n++] = (char)byte;
    *offset += (int64_t)n + (byte == '\n');
    *length = n;
    return n || byte == '\n';
}

static bool is_blank(const char *line, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

static cm3_status index_line(const cm3_source_config *config, const char *path, const char *line, cm3__jsonl_line entry,
                             cm3__jsonl_index *index) {
    char where[PATH_MAX + 32], *image;
    cm3_pair pair;
    say_where(path, entry.number, where);
    if (entry.length > CM3_CAPTION_MAX)
        return cm3_fail(CM3_ERR_FORMAT, "%s: the line has more than %d bytes", where, CM3_CAPTION_MAX);
    if (is_blank(line, (size_t)entry.length)) return CM3_OK;
    CM3_TRY(cm3__jsonl_parse(config, where, line, (size_t)entry.length, &pair, &image));
    cm3_status status = CM3_OK;
    if (cm3__words_keep(&config->filter, pair.text)) {
        entry.validation = cm3__split_of(config, image) == CM3_SPLIT_VALIDATION;
        status = CM3_LIST_PUSH(index, entry);
    }
    cm3_pair_free(&pair);
    free(image);
    return status;
}

cm3_status cm3__jsonl_index_build(const cm3_source_config *config, const char *path, FILE *file,
                                  cm3__jsonl_index *index) {
    *index = (cm3__jsonl_index){0};
    char *buffer = malloc(CM3_CAPTION_MAX + 1);
    if (!buffer) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a line of %s", path);
    cm3_status status = CM3_OK;
    int64_t offset = 0, start = 0;
    size_t length;
    for (int64_t number = 1; status == CM3_OK && cm3__limit_allows(config, (int64_t)index->count);
         number++, start = offset) {
        if (!next_line(file, buffer, &length, &offset)) break;
        const cm3__jsonl_line entry = {.offset = start, .number = number, .length = (int32_t)length};
        status = index_line(config, path, buffer, entry, index);
    }
    if (status == CM3_OK && ferror(file))
        status = cm3_fail(CM3_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    free(buffer);
    if (status != CM3_OK) CM3_LIST_FREE(index);
    return status;
}

/* --- the source -------------------------------------------------------------------------------------------------- */

typedef struct jsonl_state {
    char *path, *folder;
    char *text_field, *image_field;
    int descriptor;
    cm3__jsonl_index index;
} jsonl_state;

static void jsonl_close(void *opaque) {
    jsonl_state *state = opaque;
    if (state->descriptor >= 0) close(state->descriptor);
    CM3_LIST_FREE(&state->index);
    free(state->path);
    free(state->folder);
    free(state->text_field);
    free(state->image_field);
    free(state);
}

/* All of a pair but the image, whose path is given; `pair` is empty after a failure. */
static cm3_status read_line(const jsonl_state *state, int64_t index, cm3_pair *pair, char **image) {
    const cm3__jsonl_line *line = &state->index.items[index];
    const cm3_source_config fields = {.text_field = state->text_field, .image_field = state->image_field};
    char where[PATH_MAX + 32];
    say_where(state->path, line->number, where);
    char *bytes = malloc((size_t)line->length);
    if (!bytes) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for the line", where);
    cm3_status status;
    if (pread(state->descriptor, bytes, (size_t)line->length, line->offset) != line->length)
        status = cm3_fail(CM3_ERR_IO, "%s: the line cannot be read again; did the file change?", where);
    else
        status = cm3__jsonl_parse(&fields, where, bytes, (size_t)line->length, pair, image);
    free(bytes);
    return status == CM3_OK ? cm3__text_copy(where, strlen(where), &pair->name) : status;
}

static cm3_status jsonl_label(void *opaque, int64_t index, cm3_pair *pair) {
    char *image = NULL;
    const cm3_status status = read_line(opaque, index, pair, &image);
    free(image);
    return status;
}

static cm3_status read_image(const jsonl_state *state, const char *file, int least, cm3_image *image) {
    if (file[0] == '/') return cm3_image_read(file, least, image);
    return cm3_image_read(cm3_path_join(state->folder, file).text, least, image);
}

static cm3_status jsonl_read(void *opaque, int64_t index, int least, cm3_pair *pair) {
    char *image = NULL;
    cm3_status status = read_line(opaque, index, pair, &image);
    if (status == CM3_OK) {
        status = read_image(opaque, image, least, &pair->image);
        if (status != CM3_OK) cm3_fail_context(status, "%s", pair->name);
    }
    free(image);
    return status;
}

static cm3_split jsonl_split(const void *opaque, int64_t index) {
    const jsonl_state *state = opaque;
    return state->index.items[index].validation ? CM3_SPLIT_VALIDATION : CM3_SPLIT_TRAIN;
}

static cm3_status copy_settings(const cm3_source_config *config, const char *path, jsonl_state *state) {
    const char *slash = strrchr(path, '/');
    const char *text_field = or_default(config->text_field, ""), *image_field = or_default(config->image_field, "");
    CM3_TRY(cm3__text_copy(path, strlen(path), &state->path));
    CM3_TRY(cm3__text_copy(slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1, &state->folder));
    CM3_TRY(cm3__text_copy(text_field, strlen(text_field), &state->text_field));
    return cm3__text_copy(image_field, strlen(image_field), &state->image_field);
}

static cm3_status build(const cm3_source_config *config, jsonl_state *state) {
    state->descriptor = open(state->path, O_RDONLY | O_CLOEXEC);
    FILE *file = state->descriptor < 0 ? NULL : fopen(state->path, "rb");
    if (!file)
        return cm3_fail(errno == ENOENT ? CM3_ERR_NOT_FOUND : CM3_ERR_IO, "%s: cannot be opened: %s", state->path,
                        strerror(errno));
    const cm3_status status = cm3__jsonl_index_build(config, state->path, file, &state->index);
    fclose(file);
    return status;
}

cm3_status cm3__jsonl_open(const cm3_source_config *config, const char *path, cm3_source *source) {
    static const cm3__source_kind kind = {jsonl_read, jsonl_label, jsonl_split, jsonl_close};
    jsonl_state *state = calloc(1, sizeof *state);
    if (!state) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a source");
    state->descriptor = -1;
    cm3_status status = copy_settings(config, path, state);
    if (status == CM3_OK) status = build(config, state);
    return cm3__source_opened(status, &kind, state, (int64_t)state->index.count, source);
}
