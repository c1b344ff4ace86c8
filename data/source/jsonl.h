/* Inside of data/source: JSON lines. */
#ifndef CM3_DATA_SOURCE_JSONL_H
#define CM3_DATA_SOURCE_JSONL_H

#include "core/list.h"
#include "data/source/source.h"

#include <stdio.h>

typedef struct cm3__jsonl_line {
    int64_t offset, number; /* in the file; lines count from 1 */
    int32_t length;
    bool validation;
} cm3__jsonl_line;

typedef CM3_LIST(cm3__jsonl_line) cm3__jsonl_index;

/* Checks every line of a file; keeps where those are that `filter` and `limit` ask for. `path` is for messages. */
cm3_status cm3__jsonl_index_build(const cm3_source_config *config, const char *path, FILE *file,
                                  cm3__jsonl_index *index);

/* One line: the caption, the origin (its field "origin", or empty) and the image's path, all the caller's. `where`
 * ("pairs.jsonl:12") is for messages. */
cm3_status cm3__jsonl_parse(const cm3_source_config *config, const char *where, const char *line, size_t length,
                            cm3_pair *pair, char **image);

#endif
