#include "data/store.h"

#include "core/file.h"
#include "data/store_hdf5.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A chunk is what a random read fetches and checks: two images of 1,024 codes. */
enum { DEFLATE_LEVEL = 4, CHUNK_BYTES = 4096, BUFFER_CHUNKS = 64 };

/* One dataset that grows at its end: rows are gathered and written many at a time. */
typedef struct column {
    cm3__layout layout;
    hid_t dataset;
    hsize_t written;            /* rows */
    hsize_t buffered, capacity; /* rows */
    char *buffer;
} column;

struct cm3_store_writer {
    cm3_path path, aside;
    hid_t file;
    cm3_store_info info;
    uint64_t string_ends[CM3_STORE_STRINGS];
    cm3_hasher *content;
    column columns[CM3__COLUMNS];
};

static cm3_status cannot_write(const cm3_store_writer *writer) {
    return cm3__hdf5_fail(CM3_ERR_IO, writer->path.text, "cannot write the token store");
}

static cm3_status column_open(cm3_store_writer *writer, enum cm3__column which) {
    column *c = &writer->columns[which];
    const cm3__layout l = c->layout = cm3__store_layout(&writer->info, which);
    const hsize_t chunk_rows = CHUNK_BYTES / (l.width * l.size);
    c->capacity = chunk_rows * BUFFER_CHUNKS;
    c->buffer = malloc(c->capacity * l.width * l.size);
    if (!c->buffer)
        return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for the buffer of /%s", writer->path.text, l.name);
    const hsize_t dims[2] = {0, l.width}, most[2] = {H5S_UNLIMITED, l.width}, chunk[2] = {chunk_rows, l.width};
    const int rank = l.width == 1 ? 1 : 2;
    const hid_t space = H5Screate_simple(rank, dims, most), create = H5Pcreate(H5P_DATASET_CREATE);
    const bool deflated = !l.deflated || (H5Pset_shuffle(create) >= 0 && H5Pset_deflate(create, DEFLATE_LEVEL) >= 0);
    if (deflated && H5Pset_chunk(create, rank, chunk) >= 0 && H5Pset_fletcher32(create) >= 0)
        c->dataset = H5Dcreate2(writer->file, l.name, cm3__file_type(l.size), space, H5P_DEFAULT, create, H5P_DEFAULT);
    const cm3_status status = c->dataset < 0 ? cannot_write(writer) : CM3_OK;
    H5Pclose(create);
    H5Sclose(space);
    return status;
}

static cm3_status column_flush(cm3_store_writer *writer, column *c) {
    if (c->buffered == 0) return CM3_OK;
    const hsize_t width = c->layout.width, size[2] = {c->written + c->buffered, width}, start[2] = {c->written, 0},
                  count[2] = {c->buffered, width};
    if (H5Dset_extent(c->dataset, size) < 0) return cannot_write(writer);
    const hid_t file_space = H5Dget_space(c->dataset), memory_space = H5Screate_simple(width == 1 ? 1 : 2, count, NULL);
    herr_t result = H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL);
    if (result >= 0)
        result =
            H5Dwrite(c->dataset, cm3__memory_type(c->layout.size), memory_space, file_space, H5P_DEFAULT, c->buffer);
    const cm3_status status = result < 0 ? cannot_write(writer) : CM3_OK;
    H5Sclose(memory_space);
    H5Sclose(file_space);
    CM3_TRY(status);
    c->written += c->buffered;
    c->buffered = 0;
    return CM3_OK;
}

/* Room for some of `*count` rows at the end of the buffer; takes them off `*count`. */
static cm3_status column_room(cm3_store_writer *writer, column *c, hsize_t *count, hsize_t *now, char **to) {
    if (c->buffered == c->capacity) CM3_TRY(column_flush(writer, c));
    *now = c->capacity - c->buffered < *count ? c->capacity - c->buffered : *count;
    *to = c->buffer + c->buffered * c->layout.width * c->layout.size;
    c->buffered += *now;
    *count -= *now;
    return CM3_OK;
}

static cm3_status column_add(cm3_store_writer *writer, enum cm3__column which, const void *rows, hsize_t count) {
    column *c = &writer->columns[which];
    const size_t row = c->layout.width * c->layout.size;
    for (const char *from = rows; count;) {
        hsize_t now;
        char *to;
        CM3_TRY(column_room(writer, c, &count, &now, &to));
        memcpy(to, from, now * row);
        from += now * row;
    }
    return CM3_OK;
}

/* Numbers as wide as the file's: HDF5 has nothing to convert. */
static cm3_status column_add_ids(cm3_store_writer *writer, enum cm3__column which, const int32_t *ids, hsize_t count) {
    column *c = &writer->columns[which];
    while (count) {
        hsize_t now;
        char *to;
        CM3_TRY(column_room(writer, c, &count, &now, &to));
        if (c->layout.size == 1)
            for (hsize_t i = 0; i < now; i++) ((uint8_t *)to)[i] = (uint8_t)ids[i];
        else if (c->layout.size == 2)
            for (hsize_t i = 0; i < now; i++) ((uint16_t *)(void *)to)[i] = (uint16_t)ids[i];
        else
            memcpy(to, ids, now * sizeof *ids);
        ids += now;
    }
    return CM3_OK;
}

/* --- creating ---------------------------------------------------------------------------------------------------- */

static cm3_status check_info(const char *path, const cm3_store_info *info) {
    if (info->image_codebook < 1 || info->image_codebook > INT32_MAX || info->text_vocabulary < 1 ||
        info->text_vocabulary > INT32_MAX)
        return cm3_fail(CM3_ERR_SHAPE,
                        "%s: a codebook of %" PRId64 " and a text vocabulary of %" PRId64 ", expected 1..2^31-1", path,
                        info->image_codebook, info->text_vocabulary);
    return CM3_OK;
}

static void writer_free(cm3_store_writer *writer) {
    for (int i = 0; i < CM3__COLUMNS; i++) {
        if (writer->columns[i].dataset >= 0) H5Dclose(writer->columns[i].dataset);
        free(writer->columns[i].buffer);
    }
    if (writer->file >= 0) H5Fclose(writer->file);
    cm3_hasher_free(writer->content);
    unlink(writer->aside.text); /* gone already when it has its final name */
    free(writer);
}

static cm3_status open_file(cm3_store_writer *writer, const char *path) {
    writer->path = cm3_path_format("%s", path);
    writer->aside = cm3_path_format("%s.tmp", path);
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110); /* its metadata carries checksums */
    writer->file = H5Fcreate(writer->aside.text, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    const cm3_status status =
        writer->file < 0 ? cm3__hdf5_fail(CM3_ERR_IO, path, "cannot create the token store") : CM3_OK;
    H5Pclose(access);
    return status;
}

/* Where everything behind the samples so far begins. */
static cm3_status add_places(cm3_store_writer *w) {
    const uint64_t place[3] = {(uint64_t)w->info.segments, (uint64_t)w->info.text_tokens, (uint64_t)w->info.codes};
    CM3_TRY(column_add(w, CM3__SAMPLE, place, 1));
    return column_add(w, CM3__STRING, w->string_ends, 1);
}

cm3_status cm3_store_create(const char *path, const cm3_store_info *info, cm3_store_writer **result) {
    *result = NULL;
    CM3_TRY(check_info(path, info));
    cm3_store_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for a store's writer", path);
    writer->info = (cm3_store_info){.inputs = info->inputs,
                                    .vocabulary = info->vocabulary,
                                    .image_codebook = info->image_codebook,
                                    .text_vocabulary = info->text_vocabulary};
    writer->content = cm3_hasher_new();
    writer->file = H5I_INVALID_HID;
    for (int i = 0; i < CM3__COLUMNS; i++) writer->columns[i].dataset = H5I_INVALID_HID;
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    cm3_status status =
        writer->content ? open_file(writer, path) : cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for a hash", path);
    for (int i = 0; i < CM3__COLUMNS && status == CM3_OK; i++) status = column_open(writer, (enum cm3__column)i);
    if (status == CM3_OK) status = add_places(writer);
    if (status != CM3_OK) writer_free(writer);
    cm3__hdf5_quiet_end(quiet);
    if (status == CM3_OK) *result = writer;
    return status;
}

/* --- adding ------------------------------------------------------------------------------------------------------ */

static cm3_status check_segment(const cm3_store_writer *writer, const cm3_document *document,
                                const cm3_segment *segment) {
    const bool image = segment->modality == CM3_MODALITY_IMAGE;
    const int64_t limit = image ? writer->info.image_codebook : writer->info.text_vocabulary;
    const char *what = image ? "image code" : "text token";
    if (segment->count == 0 || segment->begin == CM3_SEGMENT_ABSENT)
        return cm3_fail(CM3_ERR_FORMAT, "%s: sample %" PRId64 ": a segment without tokens, expected none",
                        writer->path.text, writer->info.samples);
    if (image && (segment->rows < 1 || segment->columns < 1 || segment->rows > CM3_STORE_GRID_MAX ||
                  segment->columns > CM3_STORE_GRID_MAX))
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: sample %" PRId64 ": an image of %" PRId32 " x %" PRId32 " codes, expected 1..%d each",
                        writer->path.text, writer->info.samples, segment->rows, segment->columns, CM3_STORE_GRID_MAX);
    const int32_t *ids = cm3_segment_ids(document, segment);
    for (size_t i = 0; i < segment->count; i++)
        if (ids[i] < 0 || ids[i] >= limit)
            return cm3_fail(CM3_ERR_FORMAT, "%s: sample %" PRId64 ": %s %" PRId32 ", expected 0..%" PRId64,
                            writer->path.text, writer->info.samples, what, ids[i], limit - 1);
    return CM3_OK;
}

static cm3_status check_sample(const cm3_store_writer *writer, const cm3_store_sample *sample) {
    const cm3_document *document = sample->document;
    const size_t segments = document->segments.count, tokens = document->token_ids.count;
    if (segments < 1 || segments > CM3_STORE_SEGMENTS_MAX || tokens > CM3_STORE_TOKENS_MAX)
        return cm3_fail(
            CM3_ERR_FORMAT, "%s: sample %" PRId64 ": %zu segments of %zu tokens, expected 1..%d segments of at most %d",
            writer->path.text, writer->info.samples, segments, tokens, CM3_STORE_SEGMENTS_MAX, CM3_STORE_TOKENS_MAX);
    for (size_t i = 0; i < segments; i++) CM3_TRY(check_segment(writer, document, &document->segments.items[i]));
    for (int s = 0; s < CM3_STORE_STRINGS; s++)
        if (sample->strings[s] && strlen(sample->strings[s]) > CM3_STORE_STRING_MAX)
            return cm3_fail(CM3_ERR_FORMAT, "%s: sample %" PRId64 ": a name, caption or origin of over %d bytes",
                            writer->path.text, writer->info.samples, CM3_STORE_STRING_MAX);
    return CM3_OK;
}

static cm3_status add_segment(cm3_store_writer *writer, const cm3_document *document, const cm3_segment *segment) {
    cm3_store_info *info = &writer->info;
    const bool image = segment->modality == CM3_MODALITY_IMAGE;
    const uint32_t row[2] = {image ? (uint32_t)segment->rows : 0,
                             image ? (uint32_t)segment->columns : (uint32_t)segment->count};
    cm3_hasher_add(writer->content, row, sizeof row);
    cm3_hasher_add(writer->content, cm3_segment_ids(document, segment), segment->count * sizeof(int32_t));
    CM3_TRY(column_add(writer, CM3__SEGMENT, row, 1));
    CM3_TRY(column_add_ids(writer, image ? CM3__CODE : CM3__TEXT, cm3_segment_ids(document, segment), segment->count));
    *(image ? &info->codes : &info->text_tokens) += (int64_t)segment->count;
    info->images += image;
    info->segments++;
    return CM3_OK;
}

static cm3_status add_sample(cm3_store_writer *writer, const cm3_store_sample *sample) {
    const cm3_document *document = sample->document;
    const uint8_t split = sample->validation;
    for (size_t i = 0; i < document->segments.count; i++)
        CM3_TRY(add_segment(writer, document, &document->segments.items[i]));
    for (int s = 0; s < CM3_STORE_STRINGS; s++) {
        const size_t length = sample->strings[s] ? strlen(sample->strings[s]) : 0;
        CM3_TRY(column_add(writer, (enum cm3__column)(CM3__NAME + s), sample->strings[s], length));
        writer->string_ends[s] += length;
    }
    cm3_hasher_add(writer->content, &split, sizeof split);
    CM3_TRY(column_add(writer, CM3__SPLIT, &split, 1));
    writer->info.samples++;
    writer->info.validation += sample->validation;
    return add_places(writer);
}

cm3_status cm3_store_add(cm3_store_writer *writer, const cm3_store_sample *sample) {
    CM3_TRY(check_sample(writer, sample));
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    const cm3_status status = add_sample(writer, sample);
    cm3__hdf5_quiet_end(quiet);
    return status;
}

/* --- finishing --------------------------------------------------------------------------------------------------- */

static bool put_int(hid_t file, const char *name, int64_t value) {
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, &value) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    return good;
}

static bool put_string(hid_t file, const char *name, const char *value) {
    const hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(value) + 1);
    const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    H5Tclose(type);
    H5Sclose(space);
    return good;
}

static bool put_hash(hid_t file, const char *name, cm3_hash hash) {
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(hash, hex);
    return put_string(file, name, hex);
}

static bool put_attributes(hid_t file, const cm3_store_info *info) {
    bool good = put_string(file, "format", CM3_STORE_FORMAT) && put_int(file, "version", CM3_STORE_VERSION);
    for (const cm3__attribute *a = cm3__store_attributes; a->name && good; a++) {
        const void *member = (const char *)info + a->offset;
        good = a->kind == CM3__HASH        ? put_hash(file, a->name, *(const cm3_hash *)member)
               : a->kind == CM3__STRING_OF ? put_string(file, a->name, member)
                                           : put_int(file, a->name, *(const int64_t *)member);
    }
    return good;
}

/* Everything to the disk, under the temporary name; the file is closed. */
static cm3_status finish_file(cm3_store_writer *writer) {
    for (int i = 0; i < CM3__COLUMNS; i++) CM3_TRY(column_flush(writer, &writer->columns[i]));
    writer->info.content = cm3_hasher_value(writer->content);
    if (!put_attributes(writer->file, &writer->info) || H5Fflush(writer->file, H5F_SCOPE_GLOBAL) < 0)
        return cannot_write(writer);
    for (int i = 0; i < CM3__COLUMNS; i++) {
        H5Dclose(writer->columns[i].dataset);
        writer->columns[i].dataset = H5I_INVALID_HID;
    }
    const herr_t closed = H5Fclose(writer->file);
    writer->file = H5I_INVALID_HID;
    return closed < 0 ? cm3__hdf5_fail(CM3_ERR_IO, writer->path.text, "cannot finish the token store") : CM3_OK;
}

cm3_status cm3_store_commit(cm3_store_writer *writer) {
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    cm3_status status = CM3_OK;
    if (writer->info.samples == 0)
        status = cm3_fail(CM3_ERR_FORMAT, "%s: no samples: the data set is empty", writer->path.text);
    if (status == CM3_OK) status = finish_file(writer);
    if (status == CM3_OK) status = cm3_file_commit(writer->aside.text, writer->path.text);
    writer_free(writer);
    cm3__hdf5_quiet_end(quiet);
    return status;
}

void cm3_store_discard(cm3_store_writer *writer) {
    if (!writer) return;
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    writer_free(writer);
    cm3__hdf5_quiet_end(quiet);
}
