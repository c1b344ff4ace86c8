/* Inside of data/source: what a kind of source provides, and what all kinds share. */
#ifndef CM3_DATA_SOURCE_KIND_H
#define CM3_DATA_SOURCE_KIND_H

#include "data/source/source.h"

enum { CM3_CAPTION_MAX = 1 << 20 }; /* bytes; also of a whole JSON line: more is a broken file, not a caption */

/* All thread-safe but close. `label` delivers text, name and origin, `read` the image as it is, too; `least` as in
 * cm3_image_decode. */
typedef struct cm3__source_kind {
    cm3_status (*read)(void *state, int64_t index, int least, cm3_pair *pair);
    cm3_status (*label)(void *state, int64_t index, cm3_pair *pair);
    cm3_split (*split)(const void *state, int64_t index);
    void (*close)(void *state);
} cm3__source_kind;

struct cm3_source {
    const cm3__source_kind *kind;
    void *state;
    int64_t count;
    int image_size;
    cm3_fit fit;
    cm3_colour background;
};

/* The kinds. Fill kind, state and count; on failure there is nothing to close. */
cm3_status cm3__emoji_open(const cm3_source_config *config, cm3_source *source);
cm3_status cm3__folder_open(const cm3_source_config *config, cm3_source *source);
/* The images' paths are relative to the file's folder. */
cm3_status cm3__jsonl_open(const cm3_source_config *config, const char *path, cm3_source *source);

/* --- what all kinds share ---------------------------------------------------------------------------------------- */

/* Whether a list of words keeps something: one of them must match; those that start with "!" must not. An empty list
 * keeps everything. */
bool cm3__list_keeps(const cm3_string_list *words, bool (*matches)(const void *what, const char *word),
                     const void *what);
/* The same for a text, which matches the words that it contains, in letters of either case. */
bool cm3__words_keep(const cm3_string_list *words, const char *text);
/* What opening a kind ends with: `status` and its state go into the source, or the state is closed. */
cm3_status cm3__source_opened(cm3_status status, const cm3__source_kind *kind, void *state, int64_t count,
                              cm3_source *source);
/* Whether another pair may be added to the `count` there are. */
bool cm3__limit_allows(const cm3_source_config *config, int64_t count);
/* The random share of sources without combinations; `key` is the image's path. */
cm3_split cm3__split_of(const cm3_source_config *config, const char *key);
/* CM3_ERR_FORMAT, beginning with "where: ", unless it is a caption: UTF-8, no NUL, neither empty nor enormous. */
cm3_status cm3__caption_check(const char *where, const char *text, size_t length);
cm3_status cm3__text_copy(const char *from, size_t length, char **text);

#endif
