/* Inside of data/source: the list of emoji, apart from their images. */
#ifndef CM3_DATA_SOURCE_EMOJI_H
#define CM3_DATA_SOURCE_EMOJI_H

#include "data/source/source.h"

enum { CM3_EMOJI_CODES = 16, CM3_EMOJI_TONES = 5 };

typedef struct cm3__emoji {
    uint32_t codes[CM3_EMOJI_CODES];
    int code_count;
    uint32_t glyph;   /* of the font */
    const char *name; /* "waving hand: dark skin tone" */
    const char *group, *subgroup;
    bool validation;
} cm3__emoji;

typedef struct cm3__emoji_list {
    cm3__emoji *items;
    int64_t count;
    char *text; /* of the file: names and groups point into it */
} cm3__emoji_list;

/* Reads the fully-qualified sequences of Unicode's emoji-test.txt (UTS #51); `path` is for messages. Takes `text`,
 * which has a NUL after its `length` bytes, also on failure. */
cm3_status cm3__emoji_parse(const char *path, char *text, size_t length, cm3__emoji_list *list);
void cm3__emoji_list_free(cm3__emoji_list *list);

/* Keeps what `groups`, `filter` and `limit` ask for. CM3_ERR_RECIPE for a group that does not exist. */
cm3_status cm3__emoji_select(const cm3_source_config *config, cm3__emoji_list *list);

/* Sets `validation` of the combinations that training must not see. */
cm3_status cm3__emoji_split(const cm3_source_config *config, cm3__emoji_list *list);

#endif
