#include "data/source/source.h"
#include "data/source/kind.h"

#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"emoji", "folder", "jsonl", NULL};

const cm3_field cm3_source_fields[] = {
    CM3_FIELD_CHOICE(cm3_source_config, kind, "emoji", kinds, "where the pairs come from"),
    CM3_FIELD_STRING(cm3_source_config, path, "",
                     "the folder, or the JSON lines file; of emoji: what to read instead of /usr/share"),
    CM3_FIELD_INT(cm3_source_config, image_size, "0", 0, 4096, "pixels",
                  "side of the square that images are fitted to; 0: as they are"),
    CM3_FIELD_CHOICE(cm3_source_config, fit, "crop", cm3_fit_names,
                     "crop: centred square; pad: whole image on background; stretch: whole image"),
    CM3_FIELD_STRING(cm3_source_config, background, "white",
                     "#rrggbb, black, grey or white: under transparent pixels and padding"),
    CM3_FIELD_FLOAT(cm3_source_config, validation, "0", 0, 1, "share",
                    "pairs kept out of training; emoji: combinations of a person and a skin tone"),
    CM3_FIELD_INT(cm3_source_config, seed, "0", 0, 9e15, "", "of the validation split"),
    CM3_FIELD_STRING_LIST(cm3_source_config, groups, "[]",
                          "emoji: only these groups and subgroups; \"!name\" leaves one out"),
    CM3_FIELD_STRING_LIST(cm3_source_config, filter, "[]",
                          "only captions with one of these words; \"!word\" leaves captions with it out"),
    CM3_FIELD_INT(cm3_source_config, limit, "0", 0, 9e15, "pairs", "only the first so many; 0: all"),
    CM3_FIELD_STRING(cm3_source_config, text_field, "", "JSON lines: where the caption stands; empty: \"text\""),
    CM3_FIELD_STRING(cm3_source_config, image_field, "",
                     "JSON lines: where the image's path stands; empty: \"image\" or \"file_name\""),
    CM3_FIELD_END};

static bool given(const char *text) {
    return text && *text;
}

void cm3_source_check(const cm3_source_config *config, const char *section, cm3_faults *faults) {
    cm3_colour colour;
    if (config->kind != CM3_SOURCE_EMOJI && !given(config->path))
        cm3_faults_add(faults, section, "path", "a source of kind %s needs a path", kinds[config->kind]);
    if (config->kind != CM3_SOURCE_EMOJI && config->groups.count)
        cm3_faults_add(faults, section, "groups", "only emoji have groups, the kind is %s", kinds[config->kind]);
    if (given(config->background) && cm3_colour_parse(config->background, &colour) != CM3_OK)
        cm3_faults_add(faults, section, "background", "%s", cm3_message());
}

static cm3_status open_kind(const cm3_source_config *config, cm3_source *source) {
    if (config->kind != CM3_SOURCE_EMOJI && !given(config->path))
        return cm3_fail(CM3_ERR_RECIPE, "source: a path is needed");
    switch (config->kind) {
    case CM3_SOURCE_EMOJI:
        return cm3__emoji_open(config, source);
    case CM3_SOURCE_FOLDER:
        return cm3__folder_open(config, source);
    case CM3_SOURCE_JSONL:
        return cm3__jsonl_open(config, config->path, source);
    default:
        return cm3_fail(CM3_ERR_RECIPE, "source: no kind has the number %d", config->kind);
    }
}

cm3_status cm3_source_open(const cm3_source_config *config, cm3_source **source) {
    *source = NULL;
    cm3_source *opened = calloc(1, sizeof *opened);
    if (!opened) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a source");
    opened->image_size = (int)config->image_size;
    opened->fit = (cm3_fit)config->fit;
    opened->background = (cm3_colour){255, 255, 255};
    cm3_status status = CM3_OK;
    if (given(config->background) && cm3_colour_parse(config->background, &opened->background) != CM3_OK)
        status = cm3_fail_context(CM3_ERR_RECIPE, "source.background");
    if (status == CM3_OK) status = open_kind(config, opened);
    if (status == CM3_OK && !opened->count)
        status = cm3_fail(CM3_ERR_FORMAT, "%s: the data set is empty%s", given(config->path) ? config->path : "emoji",
                          config->groups.count || config->filter.count ? ": no pair passes groups and filter" : "");
    if (status == CM3_OK)
        *source = opened;
    else
        cm3_source_close(opened);
    return status;
}

void cm3_source_close(cm3_source *source) {
    if (!source) return;
    if (source->kind) source->kind->close(source->state);
    free(source);
}

int64_t cm3_source_count(const cm3_source *source) {
    return source->count;
}

static cm3_status check_index(const cm3_source *source, int64_t index) {
    if (index >= 0 && index < source->count) return CM3_OK;
    return cm3_fail(CM3_ERR_INTERNAL, "pair %lld of a source of %lld", (long long)index, (long long)source->count);
}

static cm3_status fit_image(const cm3_source *source, cm3_image *image) {
    if (!source->image_size) return CM3_OK;
    cm3_image fitted;
    cm3_image_flatten(image, source->background);
    CM3_TRY(cm3_image_fit(image, source->image_size, source->fit, source->background, &fitted));
    cm3_image_free(image);
    *image = fitted;
    return CM3_OK;
}

cm3_status cm3_source_read(const cm3_source *source, int64_t index, cm3_pair *pair) {
    *pair = (cm3_pair){0};
    CM3_TRY(check_index(source, index));
    /* Twice the size leaves the antialiasing to our filter: the result can hardly be told from the full decode's. */
    cm3_status status = source->kind->read(source->state, index, 2 * source->image_size, pair);
    if (status == CM3_OK) status = fit_image(source, &pair->image);
    if (status == CM3_OK)
        pair->split = cm3_source_split(source, index);
    else
        cm3_pair_free(pair);
    return status;
}

cm3_status cm3_source_label(const cm3_source *source, int64_t index, cm3_pair *pair) {
    *pair = (cm3_pair){0};
    CM3_TRY(check_index(source, index));
    const cm3_status status = source->kind->label(source->state, index, pair);
    if (status == CM3_OK)
        pair->split = cm3_source_split(source, index);
    else
        cm3_pair_free(pair);
    return status;
}

cm3_status cm3_source_text(const cm3_source *source, int64_t index, char **text, size_t *length) {
    cm3_pair pair;
    const cm3_status status = cm3_source_label(source, index, &pair);
    *text = pair.text;
    *length = pair.text_length;
    pair.text = NULL;
    cm3_pair_free(&pair);
    return status;
}

cm3_split cm3_source_split(const cm3_source *source, int64_t index) {
    if (index < 0 || index >= source->count) return CM3_SPLIT_TRAIN;
    return source->kind->split(source->state, index);
}
