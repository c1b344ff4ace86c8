/* Images with their captions beside them: x.jpg and x.txt. A folder with a metadata.jsonl is read as JSON lines. */
#include "data/source/kind.h"

#include "core/file.h"
#include "core/list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32 }; /* of subfolders: a link to a folder above would never end */

typedef struct entry {
    char *image; /* path relative to the root */
    char *text;
    bool validation;
} entry;

typedef struct folder_state {
    char *root;
    CM3_LIST(entry) entries;
} folder_state;

static void folder_close(void *opaque) {
    folder_state *state = opaque;
    for (size_t i = 0; i < state->entries.count; i++) {
        free(state->entries.items[i].image);
        free(state->entries.items[i].text);
    }
    CM3_LIST_FREE(&state->entries);
    free(state->root);
    free(state);
}

static bool is_image(const char *name) {
    static const char *const extensions[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && name[0] != '.' && i < sizeof extensions / sizeof *extensions; i++)
        if (!strcasecmp(dot, extensions[i])) return true;
    return false;
}

/* Reads the caption beside an image, without blanks at its ends. */
static cm3_status read_caption(const char *image, char **text) {
    char *data;
    size_t length;
    const cm3_path path = cm3_path_format("%.*s.txt", (int)(strrchr(image, '.') - image), image);
    cm3_status status = cm3_file_read(path.text, CM3_CAPTION_MAX, &data, &length);
    if (status == CM3_ERR_NOT_FOUND) cm3_fail(status, "%s: its caption %s is missing", image, path.text);
    if (status == CM3_OK) {
        size_t start = 0;
        while (length && isspace((unsigned char)data[length - 1])) length--;
        while (start < length && isspace((unsigned char)data[start])) start++;
        status = cm3__caption_check(path.text, data + start, length - start);
        if (status == CM3_OK) status = cm3__text_copy(data + start, length - start, text);
        free(data);
    }
    return status;
}

static cm3_status add(const cm3_source_config *config, folder_state *state, const char *relative) {
    entry e = {0};
    cm3_status status = read_caption(cm3_path_join(state->root, relative).text, &e.text);
    if (status != CM3_OK || !cm3__words_keep(&config->filter, e.text)) {
        free(e.text);
        return status;
    }
    e.validation = cm3__split_of(config, relative) == CM3_SPLIT_VALIDATION;
    status = cm3__text_copy(relative, strlen(relative), &e.image);
    if (status == CM3_OK) status = CM3_LIST_PUSH(&state->entries, e);
    if (status == CM3_OK) return CM3_OK;
    free(e.image);
    free(e.text);
    return status;
}

static cm3_status scan(const cm3_source_config *config, folder_state *state, const char *relative, int depth);

static cm3_status visit(const cm3_source_config *config, folder_state *state, const char *relative, int depth) {
    if (is_image(relative)) return add(config, state, relative);
    const bool folder = cm3_path_is_folder(cm3_path_join(state->root, relative).text);
    return folder ? scan(config, state, relative, depth + 1) : CM3_OK;
}

static cm3_status scan(const cm3_source_config *config, folder_state *state, const char *relative, int depth) {
    if (depth > DEPTH_MAX)
        return cm3_fail(CM3_ERR_FORMAT, "%s/%s: folders %d deep; is a link going round?", state->root, relative, depth);
    cm3_names names;
    cm3_status status = cm3_folder_list(cm3_path_join(state->root, relative).text, &names);
    for (size_t i = 0; status == CM3_OK && i < names.count && cm3__limit_allows(config, (int64_t)state->entries.count);
         i++) {
        if (names.names[i][0] == '.') continue;
        status = visit(config, state, cm3_path_join(relative, names.names[i]).text, depth);
    }
    cm3_names_free(&names);
    return status;
}

static cm3_status folder_label(void *opaque, int64_t index, cm3_pair *pair) {
    const folder_state *state = opaque;
    const entry *e = &state->entries.items[index];
    pair->text_length = strlen(e->text);
    CM3_TRY(cm3__text_copy(e->text, pair->text_length, &pair->text));
    CM3_TRY(cm3__text_copy(e->image, strlen(e->image), &pair->name));
    return cm3__text_copy("", 0, &pair->origin);
}

static cm3_status folder_read(void *opaque, int64_t index, int least, cm3_pair *pair) {
    const folder_state *state = opaque;
    CM3_TRY(folder_label(opaque, index, pair));
    return cm3_image_read(cm3_path_join(state->root, pair->name).text, least, &pair->image);
}

static cm3_split folder_split(const void *opaque, int64_t index) {
    const folder_state *state = opaque;
    return state->entries.items[index].validation ? CM3_SPLIT_VALIDATION : CM3_SPLIT_TRAIN;
}

static cm3_status open_sidecars(const cm3_source_config *config, cm3_source *source) {
    static const cm3__source_kind kind = {folder_read, folder_label, folder_split, folder_close};
    folder_state *state = calloc(1, sizeof *state);
    if (!state) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a source");
    cm3_status status = cm3__text_copy(config->path, strlen(config->path), &state->root);
    if (status == CM3_OK) status = scan(config, state, "", 0);
    return cm3__source_opened(status, &kind, state, (int64_t)state->entries.count, source);
}

cm3_status cm3__folder_open(const cm3_source_config *config, cm3_source *source) {
    if (!cm3_path_is_folder(config->path))
        return cm3_fail(CM3_ERR_NOT_FOUND, "%s: there is no such folder", config->path);
    const cm3_path metadata = cm3_path_join(config->path, "metadata.jsonl");
    return cm3_path_exists(metadata.text) ? cm3__jsonl_open(config, metadata.text, source)
                                          : open_sidecars(config, source);
}
