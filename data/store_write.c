#include "data/store.h"

#include "core/file.h"
#include "data/store_hdf5.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFLATE_LEVEL = 4, CHUNK_BYTES = 4096, BUFFER_CHUNKS = 64 };

/* One dataset that grows at its end: rows of `width` elements are gathered and written many at a time. */
typedef struct column {
    const char *name;
    hid_t dataset, memory_type;
    size_t size;   /* of an element in memory */
    hsize_t width; /* elements of a row; 1-dimensional if `flat` */
    bool flat;
    hsize_t written;            /* rows */
    hsize_t buffered, capacity; /* rows */
    char *buffer;
} column;

enum { IMAGE, TEXT, TEXT_OFFSET, NAME, NAME_OFFSET, SPLIT, COLUMNS };

struct cm3_store_writer {
    char *path, *aside;
    hid_t file;
    cm3_store_info info;
    uint64_t name_bytes;
    column columns[COLUMNS];
};

static cm3_status column_open(cm3_store_writer *writer, int which, const char *name, hsize_t width, bool flat,
                              size_t size, hid_t memory_type, hid_t file_type) {
    column *c = &writer->columns[which];
    const hsize_t row_bytes = width * H5Tget_size(file_type),
                  chunk_rows = row_bytes >= CHUNK_BYTES ? 1 : CHUNK_BYTES / row_bytes;
    *c = (column){name, H5I_INVALID_HID, memory_type, size, width, flat, 0, 0, chunk_rows * BUFFER_CHUNKS, NULL};
    c->buffer = malloc(c->capacity * width * size);
    if (!c->buffer) return cm3_fail(CM3_ERR_MEMORY, "%s: no memory for the buffer of /%s", writer->path, name);
    const hsize_t dims[2] = {0, width}, most[2] = {H5S_UNLIMITED, width}, chunk[2] = {chunk_rows, width};
    const int rank = flat ? 1 : 2;
    const hid_t space = H5Screate_simple(rank, dims, most), create = H5Pcreate(H5P_DATASET_CREATE);
    if (H5Pset_chunk(create, rank, chunk) >= 0 && H5Pset_shuffle(create) >= 0 &&
        H5Pset_deflate(create, DEFLATE_LEVEL) >= 0 && H5Pset_fletcher32(create) >= 0)
        c->dataset = H5Dcreate2(writer->file, name, file_type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    const cm3_status status =
        c->dataset < 0 ? cm3__hdf5_fail(CM3_ERR_IO, writer->path, "cannot write the token store") : CM3_OK;
    H5Pclose(create);
    H5Sclose(space);
    return status;
}

static cm3_status column_flush(cm3_store_writer *writer, column *c) {
    if (c->buffered == 0) return CM3_OK;
    const hsize_t size[2] = {c->written + c->buffered, c->width}, start[2] = {c->written, 0},
                  count[2] = {c->buffered, c->width};
    if (H5Dset_extent(c->dataset, size) < 0)
        return cm3__hdf5_fail(CM3_ERR_IO, writer->path, "cannot write the token store");
    const hid_t file_space = H5Dget_space(c->dataset), memory_space = H5Screate_simple(c->flat ? 1 : 2, count, NULL);
    herr_t result = H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL);
    if (result >= 0) result = H5Dwrite(c->dataset, c->memory_type, memory_space, file_space, H5P_DEFAULT, c->buffer);
    const cm3_status status =
        result < 0 ? cm3__hdf5_fail(CM3_ERR_IO, writer->path, "cannot write the token store") : CM3_OK;
    H5Sclose(memory_space);
    H5Sclose(file_space);
    CM3_TRY(status);
    c->written += c->buffered;
    c->buffered = 0;
    return CM3_OK;
}

static cm3_status column_add(cm3_store_writer *writer, int which, const void *rows, hsize_t count) {
    column *c = &writer->columns[which];
    const size_t row = c->width * c->size;
    for (const char *from = rows; count;) {
        hsize_t now = c->capacity - c->buffered;
        if (now > count) now = count;
        memcpy(c->buffer + c->buffered * row, from, now * row);
        c->buffered += now;
        count -= now;
        from += now * row;
        if (c->buffered == c->capacity) CM3_TRY(column_flush(writer, c));
    }
    return CM3_OK;
}

static hid_t type_for(int64_t vocabulary) {
    return vocabulary <= 65536 ? H5T_STD_U16LE : H5T_STD_U32LE;
}

static cm3_status open_columns(cm3_store_writer *w) {
    const cm3_store_info *info = &w->info;
    const hsize_t codes = (hsize_t)(info->image_rows * info->image_columns);
    CM3_TRY(column_open(w, IMAGE, "image", codes, false, 4, H5T_NATIVE_INT32, type_for(info->image_codebook)));
    CM3_TRY(column_open(w, TEXT, "text", 1, true, 4, H5T_NATIVE_INT32, type_for(info->text_vocabulary)));
    CM3_TRY(column_open(w, TEXT_OFFSET, "text_offset", 1, true, 8, H5T_NATIVE_UINT64, H5T_STD_U64LE));
    CM3_TRY(column_open(w, NAME, "name", 1, true, 1, H5T_NATIVE_UINT8, H5T_STD_U8LE));
    CM3_TRY(column_open(w, NAME_OFFSET, "name_offset", 1, true, 8, H5T_NATIVE_UINT64, H5T_STD_U64LE));
    CM3_TRY(column_open(w, SPLIT, "split", 1, true, 1, H5T_NATIVE_UINT8, H5T_STD_U8LE));
    const uint64_t zero = 0;
    CM3_TRY(column_add(w, TEXT_OFFSET, &zero, 1));
    return column_add(w, NAME_OFFSET, &zero, 1);
}

static cm3_status check_info(const char *path, const cm3_store_info *info) {
    if (info->image_rows < 1 || info->image_columns < 1 || info->image_rows > 4096 || info->image_columns > 4096)
        return cm3_fail(CM3_ERR_SHAPE, "%s: an image of %" PRId64 " x %" PRId64 " codes, expected 1..4096 each", path,
                        info->image_rows, info->image_columns);
    if (info->image_codebook < 1 || info->image_codebook > INT32_MAX || info->text_vocabulary < 1 ||
        info->text_vocabulary > INT32_MAX)
        return cm3_fail(CM3_ERR_SHAPE,
                        "%s: a codebook of %" PRId64 " and a text vocabulary of %" PRId64 ", expected 1..2^31-1", path,
                        info->image_codebook, info->text_vocabulary);
    return CM3_OK;
}

static void writer_free(cm3_store_writer *writer) {
    for (int i = 0; i < COLUMNS; i++) {
        if (writer->columns[i].dataset >= 0) H5Dclose(writer->columns[i].dataset);
        free(writer->columns[i].buffer);
    }
    if (writer->file >= 0) H5Fclose(writer->file);
    if (writer->aside) unlink(writer->aside); /* gone already when it has its final name */
    free(writer->aside);
    free(writer->path);
    free(writer);
}

static cm3_status open_file(cm3_store_writer *writer, const char *path) {
    writer->path = strdup(path);
    if (!writer->path || asprintf(&writer->aside, "%s.tmp-%ld", path, (long)getpid()) < 0) {
        writer->aside = NULL;
        return cm3_fail(CM3_ERR_MEMORY, "%s: no memory for its name", path);
    }
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110); /* its metadata carries checksums */
    writer->file = H5Fcreate(writer->aside, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    const cm3_status status =
        writer->file < 0 ? cm3__hdf5_fail(CM3_ERR_IO, path, "cannot create the token store") : CM3_OK;
    H5Pclose(access);
    return status;
}

cm3_status cm3_store_create(const char *path, const cm3_store_info *info, cm3_store_writer **result) {
    *result = NULL;
    CM3_TRY(check_info(path, info));
    cm3_store_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return cm3_fail(CM3_ERR_MEMORY, "%s: no memory for a store's writer", path);
    writer->info = *info;
    writer->info.samples = writer->info.validation = writer->info.text_tokens = 0;
    writer->info.validation_text_tokens = writer->info.longest_text = 0;
    writer->file = H5I_INVALID_HID;
    for (int i = 0; i < COLUMNS; i++) writer->columns[i].dataset = H5I_INVALID_HID;
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    cm3_status status = open_file(writer, path);
    if (status == CM3_OK) status = open_columns(writer);
    if (status != CM3_OK) writer_free(writer);
    cm3__hdf5_quiet_end(quiet);
    if (status == CM3_OK) *result = writer;
    return status;
}

static cm3_status check_numbers(const cm3_store_writer *writer, const char *what, const int32_t *numbers, int64_t count,
                                int64_t limit) {
    for (int64_t i = 0; i < count; i++)
        if (numbers[i] < 0 || numbers[i] >= limit)
            return cm3_fail(CM3_ERR_FORMAT, "%s: sample %" PRId64 ": %s %" PRId32 ", expected 0..%" PRId64,
                            writer->path, writer->info.samples, what, numbers[i], limit - 1);
    return CM3_OK;
}

static cm3_status add_sample(cm3_store_writer *writer, const int32_t *text, int64_t text_count, const int32_t *codes,
                             const char *name, bool validation) {
    cm3_store_info *info = &writer->info;
    const size_t name_length = name ? strlen(name) : 0;
    const uint8_t split = validation;
    const uint64_t text_end = (uint64_t)(info->text_tokens + text_count), name_end = writer->name_bytes + name_length;
    CM3_TRY(column_add(writer, IMAGE, codes, 1));
    CM3_TRY(column_add(writer, TEXT, text, (hsize_t)text_count));
    CM3_TRY(column_add(writer, TEXT_OFFSET, &text_end, 1));
    CM3_TRY(column_add(writer, NAME, name, name_length));
    CM3_TRY(column_add(writer, NAME_OFFSET, &name_end, 1));
    CM3_TRY(column_add(writer, SPLIT, &split, 1));
    info->text_tokens = (int64_t)text_end;
    writer->name_bytes = name_end;
    if (text_count > info->longest_text) info->longest_text = text_count;
    info->samples++;
    info->validation += validation;
    info->validation_text_tokens += validation ? text_count : 0;
    return CM3_OK;
}

cm3_status cm3_store_add(cm3_store_writer *writer, const int32_t *text, int64_t text_count, const int32_t *codes,
                         const char *name, bool validation) {
    const cm3_store_info *info = &writer->info;
    if (text_count < 0 || text_count > 1 << 24)
        return cm3_fail(CM3_ERR_FORMAT, "%s: sample %" PRId64 ": %" PRId64 " text tokens, expected at most %d",
                        writer->path, info->samples, text_count, 1 << 24);
    CM3_TRY(check_numbers(writer, "text token", text, text_count, info->text_vocabulary));
    CM3_TRY(check_numbers(writer, "image code", codes, info->image_rows * info->image_columns, info->image_codebook));
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    const cm3_status status = add_sample(writer, text, text_count, codes, name, validation);
    cm3__hdf5_quiet_end(quiet);
    return status;
}

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

static bool put_attributes(hid_t file, const cm3_store_info *info) {
    char vocabulary[CM3_HASH_HEX], source[CM3_HASH_HEX];
    cm3_hash_to_hex(info->vocabulary, vocabulary);
    cm3_hash_to_hex(info->source, source);
    return put_string(file, "format", CM3_STORE_FORMAT) && put_int(file, "version", CM3_STORE_VERSION) &&
           put_string(file, "vocabulary", vocabulary) && put_string(file, "source", source) &&
           put_int(file, "samples", info->samples) && put_int(file, "validation", info->validation) &&
           put_int(file, "text_tokens", info->text_tokens) &&
           put_int(file, "validation_text_tokens", info->validation_text_tokens) &&
           put_int(file, "longest_text", info->longest_text) && put_int(file, "image_rows", info->image_rows) &&
           put_int(file, "image_columns", info->image_columns) &&
           put_int(file, "image_codebook", info->image_codebook) &&
           put_int(file, "text_vocabulary", info->text_vocabulary);
}

/* Everything to the disk, under the temporary name; the file is closed. */
static cm3_status finish_file(cm3_store_writer *writer) {
    for (int i = 0; i < COLUMNS; i++) CM3_TRY(column_flush(writer, &writer->columns[i]));
    if (!put_attributes(writer->file, &writer->info) || H5Fflush(writer->file, H5F_SCOPE_GLOBAL) < 0)
        return cm3__hdf5_fail(CM3_ERR_IO, writer->path, "cannot write the token store");
    for (int i = 0; i < COLUMNS; i++) {
        H5Dclose(writer->columns[i].dataset);
        writer->columns[i].dataset = H5I_INVALID_HID;
    }
    const herr_t closed = H5Fclose(writer->file);
    writer->file = H5I_INVALID_HID;
    return closed < 0 ? cm3__hdf5_fail(CM3_ERR_IO, writer->path, "cannot finish the token store") : CM3_OK;
}

static cm3_status rename_and_sync(const cm3_store_writer *writer) {
    CM3_TRY(cm3_path_sync(writer->aside));
    if (rename(writer->aside, writer->path) != 0)
        return cm3_fail(CM3_ERR_IO, "%s: cannot give the file its name: %s", writer->path, strerror(errno));
    const char *slash = strrchr(writer->path, '/');
    char *folder =
        slash ? strndup(writer->path, slash == writer->path ? 1 : (size_t)(slash - writer->path)) : strdup(".");
    if (!folder) return cm3_fail(CM3_ERR_MEMORY, "%s: no memory for its folder's name", writer->path);
    const cm3_status status = cm3_path_sync(folder);
    free(folder);
    return status;
}

cm3_status cm3_store_commit(cm3_store_writer *writer) {
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    cm3_status status = CM3_OK;
    if (writer->info.samples == 0)
        status = cm3_fail(CM3_ERR_FORMAT, "%s: no samples: the data set is empty", writer->path);
    if (status == CM3_OK) status = finish_file(writer);
    if (status == CM3_OK) status = rename_and_sync(writer);
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
