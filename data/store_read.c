#include "data/store_hdf5.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const cm3_store_info *cm3_store_get_info(const cm3_store *store) {
    return &store->info;
}

const char *cm3_store_path(const cm3_store *store) {
    return store->path;
}

/* --- inputs ------------------------------------------------------------------------------------------------------ */

/* A hash, a number or a text, as text. */
static const char *print_input(const cm3__attribute *a, const cm3_store_inputs *inputs, char text[CM3_HASH_HEX]) {
    const void *member = (const char *)inputs + (a->offset - offsetof(cm3_store_info, inputs));
    if (a->kind == CM3__STRING_OF) return member;
    if (a->kind == CM3__HASH)
        cm3_hash_to_hex(*(const cm3_hash *)member, text);
    else
        snprintf(text, CM3_HASH_HEX, "%" PRId64, *(const int64_t *)member);
    return text;
}

cm3_status cm3_store_check_inputs(const cm3_store *store, const cm3_store_inputs *expected) {
    const cm3_store_inputs *found = &store->info.inputs;
    const size_t begin = offsetof(cm3_store_info, inputs), end = begin + sizeof *found;
    for (const cm3__attribute *a = cm3__store_attributes; a->name; a++) {
        char x[CM3_HASH_HEX], y[CM3_HASH_HEX];
        if (a->offset < begin || a->offset >= end) continue;
        const char *was = print_input(a, found, x), *is = print_input(a, expected, y);
        const bool hash = a->kind == CM3__HASH;
        const int digits = hash ? 12 : -1; /* all of a text */
        if (strcmp(was, is) != 0)
            return cm3_fail(CM3_ERR_FORMAT,
                            "%s: made %s: %s: found %.*s, expected %.*s; run `cm3leon tokenize` again", store->path,
                            hash ? "with another vocabulary" : "of other images", a->name, digits, was, digits, is);
    }
    return CM3_OK;
}

/* --- which samples ----------------------------------------------------------------------------------------------- */

/* validation[j] - j training samples come before the j-th validation sample. The k-th training sample stands behind all
 * those that have at most k before them. */
int64_t cm3_store_training(const cm3_store *store, int64_t k) {
    int64_t low = 0, high = store->info.validation;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (store->validation[middle] - middle <= k)
            low = middle + 1;
        else
            high = middle;
    }
    return k + low;
}

int64_t cm3_store_validation(const cm3_store *store, int64_t k) {
    return store->validation[k];
}

static cm3_status check_index(const cm3_store *store, int64_t index) {
    if (index < 0 || index >= store->info.samples)
        return cm3_fail(CM3_ERR_NOT_FOUND, "%s: sample %" PRId64 ", expected 0..%" PRId64, store->path, index,
                        store->info.samples - 1);
    return CM3_OK;
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

static cm3_status damaged(const cm3_store *store, const char *what, int64_t index) {
    return cm3_fail(CM3_ERR_FORMAT, "%s: the token store is damaged: %s of sample %" PRId64, store->path, what, index);
}

static cm3_status read_file(cm3_store *store, cm3__column_in *c, int64_t first, int64_t count, void *rows) {
    const hsize_t start[2] = {(hsize_t)first, 0}, size[2] = {(hsize_t)count, c->layout.width};
    const hid_t memory = H5Screate_simple(c->layout.width == 1 ? 1 : 2, size, NULL);
    herr_t result = H5Sselect_hyperslab(c->space, H5S_SELECT_SET, start, NULL, size, NULL);
    if (result >= 0)
        result = H5Dread(c->dataset, cm3__memory_type(c->layout.size), memory, c->space, store->transfer, rows);
    const cm3_status status =
        result < 0 ? cm3__hdf5_fail(CM3_ERR_FORMAT, store->path, "the token store is damaged or cannot be read")
                   : CM3_OK;
    H5Sclose(memory);
    return status;
}

/* The same without a copy: `*rows` points into memory, or to the caller's `scratch`. */
static cm3_status find_rows(cm3_store *store, enum cm3__column which, int64_t first, int64_t count, void *scratch,
                            const void **rows) {
    cm3__column_in *c = &store->columns[which];
    *rows = c->all ? (const char *)c->all + (size_t)first * c->layout.width * c->layout.size : scratch;
    return c->all ? CM3_OK : read_file(store, c, first, count, scratch);
}

cm3_status cm3__store_rows(cm3_store *store, enum cm3__column which, int64_t first, int64_t count, void *rows) {
    cm3__column_in *c = &store->columns[which];
    const size_t row = c->layout.width * c->layout.size;
    if (count == 0) return CM3_OK;
    if (!c->all) return read_file(store, c, first, count, rows);
    memcpy(rows, (const char *)c->all + (size_t)first * row, (size_t)count * row);
    return CM3_OK;
}

/* What touches the file does so between these two, one thread at a time. */
typedef struct file_access {
    bool needed;
    cm3__hdf5_quiet quiet;
} file_access;

static file_access file_begin(cm3_store *store, bool needed) {
    file_access a = {.needed = needed};
    if (!needed) return a;
    pthread_mutex_lock(&store->mutex);
    a.quiet = cm3__hdf5_quiet_begin();
    return a;
}

static cm3_status file_end(cm3_store *store, file_access a, cm3_status status) {
    if (!a.needed) return status;
    cm3__hdf5_quiet_end(a.quiet);
    pthread_mutex_unlock(&store->mutex);
    return status;
}

/* --- documents --------------------------------------------------------------------------------------------------- */

/* Where a sample's parts lie in /segment, /text and /code. */
typedef struct place {
    uint64_t segment, text, code;
} place;

static cm3_status read_place(cm3_store *store, int64_t index, place *begin, place *end) {
    place scratch[2];
    const void *rows;
    CM3_TRY(find_rows(store, CM3__SAMPLE, index, 2, scratch, &rows));
    *begin = ((const place *)rows)[0];
    *end = ((const place *)rows)[1];
    const cm3_store_info *info = &store->info;
    if (begin->segment >= end->segment || end->segment > (uint64_t)info->segments ||
        end->segment - begin->segment > CM3_STORE_SEGMENTS_MAX)
        return damaged(store, "the segments' place", index);
    if (begin->text > end->text || end->text > (uint64_t)info->text_tokens || begin->code > end->code ||
        end->code > (uint64_t)info->codes || end->text - begin->text + end->code - begin->code > CM3_STORE_TOKENS_MAX)
        return damaged(store, "the tokens' place", index);
    return CM3_OK;
}

/* A row of /segment. */
static cm3_status to_segment(const cm3_store *store, int64_t index, const uint32_t row[2], cm3_segment *segment) {
    const bool image = row[0] > 0;
    if (row[1] < 1 || row[0] > CM3_STORE_GRID_MAX || row[1] > (image ? CM3_STORE_GRID_MAX : CM3_STORE_TOKENS_MAX))
        return damaged(store, "the size of a segment", index);
    *segment = (cm3_segment){.modality = image ? CM3_MODALITY_IMAGE : CM3_MODALITY_TEXT,
                             .rows = image ? (int32_t)row[0] : 0,
                             .columns = image ? (int32_t)row[1] : 0,
                             .count = image ? (size_t)row[0] * row[1] : row[1],
                             .begin = CM3_SEGMENT_ABSENT};
    return CM3_OK;
}

static cm3_status read_segments(cm3_store *store, int64_t index, place begin, place end, cm3_document *document) {
    enum { AT_ONCE = 32 };
    CM3_TRY(CM3_LIST_RESERVE(&document->segments, (size_t)(end.segment - begin.segment)));
    for (uint64_t at = begin.segment; at < end.segment;) {
        uint32_t scratch[AT_ONCE][2];
        const void *rows;
        const uint64_t count = end.segment - at < AT_ONCE ? end.segment - at : AT_ONCE;
        CM3_TRY(find_rows(store, CM3__SEGMENT, (int64_t)at, (int64_t)count, scratch, &rows));
        for (uint64_t i = 0; i < count; i++) {
            cm3_segment *segment = &document->segments.items[document->segments.count++];
            CM3_TRY(to_segment(store, index, (const uint32_t *)rows + 2 * i, segment));
            *(segment->modality == CM3_MODALITY_IMAGE ? &begin.code : &begin.text) += segment->count;
        }
        at += count;
    }
    return begin.text == end.text && begin.code == end.code ? CM3_OK : damaged(store, "the segments' sizes", index);
}

/* Token ids as wide as the file's to 32 bits; the bits that any of them has, at least as large as the largest. */
static uint32_t widen(const void *from, size_t size, size_t count, int32_t *ids) {
    uint32_t bits = 0;
    if (size == 1)
        for (size_t i = 0; i < count; i++) bits |= (uint32_t)(ids[i] = ((const uint8_t *)from)[i]);
    else if (size == 2)
        for (size_t i = 0; i < count; i++) bits |= (uint32_t)(ids[i] = ((const uint16_t *)from)[i]);
    else
        for (size_t i = 0; i < count; i++) bits |= (uint32_t)(ids[i] = (int32_t)((const uint32_t *)from)[i]);
    return bits;
}

/* Token ids of a segment, which begin at `at` in their dataset. */
static cm3_status read_ids(cm3_store *store, int64_t index, uint64_t at, cm3_segment *segment, cm3_tokens *ids) {
    const bool image = segment->modality == CM3_MODALITY_IMAGE;
    const enum cm3__column which = image ? CM3__CODE : CM3__TEXT;
    const size_t size = store->columns[which].layout.size;
    const uint32_t limit = (uint32_t)(image ? store->info.image_codebook : store->info.text_vocabulary);
    const void *from;
    CM3_TRY(CM3_LIST_RESERVE(ids, segment->count));
    if (!store->columns[which].all) CM3_TRY(CM3_LIST_RESERVE(&store->scratch, segment->count * size));
    CM3_TRY(find_rows(store, which, (int64_t)at, (int64_t)segment->count, store->scratch.items, &from));
    int32_t *to = ids->items + ids->count;
    const uint32_t bits = widen(from, size, segment->count, to);
    for (size_t i = 0; i < segment->count && bits >= limit; i++)
        if ((uint32_t)to[i] >= limit) return damaged(store, image ? "an image code" : "a text token", index);
    segment->begin = ids->count;
    ids->count += segment->count;
    return CM3_OK;
}

static cm3_status read_sample(cm3_store *store, int64_t index, cm3_range wanted, cm3_document *document) {
    place at, end;
    CM3_TRY(read_place(store, index, &at, &end));
    CM3_TRY(read_segments(store, index, at, end, document));
    const int64_t count = (int64_t)document->segments.count;
    for (int64_t i = 0; i < count && i < wanted.end; i++) {
        cm3_segment *segment = &document->segments.items[i];
        uint64_t *next = segment->modality == CM3_MODALITY_IMAGE ? &at.code : &at.text;
        if (i >= wanted.begin) CM3_TRY(read_ids(store, index, *next, segment, &document->token_ids));
        *next += segment->count;
    }
    return CM3_OK;
}

cm3_status cm3_store_read(cm3_store *store, int64_t index, cm3_range segments, cm3_document *document) {
    CM3_TRY(check_index(store, index));
    cm3_document_clear(document);
    const bool index_in_memory = store->columns[CM3__SAMPLE].all && store->columns[CM3__SEGMENT].all,
               tokens_in_memory = store->columns[CM3__TEXT].all && store->columns[CM3__CODE].all;
    const file_access a = file_begin(store, !index_in_memory || (segments.end > 0 && !tokens_in_memory));
    const cm3_status status = file_end(store, a, read_sample(store, index, segments, document));
    if (status != CM3_OK) cm3_document_clear(document);
    return status;
}

static cm3_status read_string(cm3_store *store, int64_t index, cm3_store_string which, char **text) {
    uint64_t rows[2][CM3_STORE_STRINGS];
    CM3_TRY(cm3__store_rows(store, CM3__STRING, index, 2, rows));
    const enum cm3__column column = (enum cm3__column)(CM3__NAME + which);
    const uint64_t begin = rows[0][which], end = rows[1][which];
    if (begin > end || end > (uint64_t)store->columns[column].rows || end - begin > CM3_STORE_STRING_MAX)
        return damaged(store, "the name, caption or origin", index);
    char *bytes = calloc(1, (size_t)(end - begin) + 1);
    if (!bytes) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for a string", store->path);
    const cm3_status status = cm3__store_rows(store, column, (int64_t)begin, (int64_t)(end - begin), bytes);
    if (status == CM3_OK)
        *text = bytes;
    else
        free(bytes);
    return status;
}

cm3_status cm3_store_read_string(cm3_store *store, int64_t index, cm3_store_string which, char **text) {
    *text = NULL;
    CM3_TRY(check_index(store, index));
    const file_access a = file_begin(store, true);
    return file_end(store, a, read_string(store, index, which, text));
}
