#include "data/store.h"

#include "data/store_hdf5.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* HDF5 clears its whole buffer of type conversion at every read, 1 MiB unless told otherwise: more than the read
 * itself. */
enum { CONVERSION_BYTES = 16384 };
enum {
    CACHE_BYTES = 8 << 20,
    CACHE_SLOTS = 12289
}; /* chunks that stay unpacked, of each dataset; a prime number of slots */

/* A dataset of `rows` rows of `width` elements. */
typedef struct column {
    const char *name;
    hid_t dataset, space;
    int rank;
    hsize_t rows, width;
} column;

struct cm3_store {
    char *path;
    hid_t file, transfer;
    cm3_store_info info;
    pthread_mutex_t mutex; /* one read at a time: the selections of `space` are shared */
    column image, text, text_offset, name, name_offset, split;
    int64_t codes;       /* of a sample */
    int64_t *validation; /* (info.validation) indices, ascending */
    uint64_t *offsets;   /* text_offset, or NULL when it stays in the file */
    int32_t *all_text;   /* (text_tokens) and (samples, codes) of a store in memory, else NULL */
    int32_t *all_images;
};

static cm3_status damaged(const cm3_store *store, const char *what, int64_t index) {
    return cm3_fail(CM3_ERR_FORMAT, "%s: the token store is damaged: %s of sample %" PRId64, store->path, what, index);
}

static cm3_status read_rows(cm3_store *store, column *c, int64_t first, int64_t count, hid_t type, void *rows) {
    if (count == 0) return CM3_OK;
    const hsize_t start[2] = {(hsize_t)first, 0}, size[2] = {(hsize_t)count, c->width};
    const hid_t memory = H5Screate_simple(c->rank, size, NULL);
    herr_t result = H5Sselect_hyperslab(c->space, H5S_SELECT_SET, start, NULL, size, NULL);
    if (result >= 0) result = H5Dread(c->dataset, type, memory, c->space, store->transfer, rows);
    const cm3_status status =
        result < 0 ? cm3__hdf5_fail(CM3_ERR_FORMAT, store->path, "the token store is damaged or cannot be read")
                   : CM3_OK;
    H5Sclose(memory);
    return status;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static cm3_status no_attribute(const cm3_store *store, const char *name) {
    char what[64];
    snprintf(what, sizeof what, "not a token store, or damaged: no attribute \"%s\"", name);
    return cm3__hdf5_fail(CM3_ERR_FORMAT, store->path, what);
}

static cm3_status get_int(cm3_store *store, const char *name, int64_t min, int64_t max, int64_t *value) {
    const hid_t attribute = H5Aopen(store->file, name, H5P_DEFAULT);
    if (attribute < 0) return no_attribute(store, name);
    /* A wrong type or shape must not write past `value`. */
    const hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    const bool fits = H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(type) == H5T_INTEGER;
    const bool good = fits && H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    H5Tclose(type);
    H5Sclose(space);
    H5Aclose(attribute);
    if (!good) return cm3_fail(CM3_ERR_FORMAT, "%s: attribute \"%s\" is not a number", store->path, name);
    if (*value < min || *value > max)
        return cm3_fail(CM3_ERR_FORMAT, "%s: attribute \"%s\": found %" PRId64 ", expected %" PRId64 "..%" PRId64,
                        store->path, name, *value, min, max);
    return CM3_OK;
}

static cm3_status get_string(cm3_store *store, const char *name, char *text, size_t size) {
    const hid_t attribute = H5Aopen(store->file, name, H5P_DEFAULT);
    if (attribute < 0) return no_attribute(store, name);
    const hid_t space = H5Aget_space(attribute), found = H5Aget_type(attribute), wanted = H5Tcopy(H5T_C_S1);
    H5Tset_size(wanted, size);
    const bool fits =
        H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(found) == H5T_STRING && H5Tis_variable_str(found) == 0;
    const bool good = fits && H5Aread(attribute, wanted, text) >= 0;
    text[size - 1] = 0;
    H5Tclose(wanted);
    H5Tclose(found);
    H5Sclose(space);
    H5Aclose(attribute);
    return good ? CM3_OK
                : cm3_fail(CM3_ERR_FORMAT, "%s: attribute \"%s\" is not text of a fixed length", store->path, name);
}

static cm3_status get_hash(cm3_store *store, const char *name, cm3_hash *hash) {
    char hex[CM3_HASH_HEX];
    CM3_TRY(get_string(store, name, hex, sizeof hex));
    if (!cm3_hash_from_hex(hex, hash))
        return cm3_fail(CM3_ERR_FORMAT, "%s: attribute \"%s\" is not 32 hexadecimal digits", store->path, name);
    return CM3_OK;
}

static cm3_status read_info(cm3_store *store, const cm3_hash *vocabulary) {
    cm3_store_info *info = &store->info;
    char format[64];
    int64_t version;
    CM3_TRY(get_string(store, "format", format, sizeof format));
    if (strcmp(format, CM3_STORE_FORMAT) != 0)
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: not a token store: its format is \"%s\", expected \"" CM3_STORE_FORMAT "\"", store->path,
                        format);
    CM3_TRY(get_int(store, "version", 1, CM3_STORE_VERSION, &version));
    CM3_TRY(get_hash(store, "vocabulary", &info->vocabulary));
    CM3_TRY(get_hash(store, "source", &info->source));
    if (vocabulary && !cm3_hash_equal(*vocabulary, info->vocabulary)) {
        char found[CM3_HASH_HEX], expected[CM3_HASH_HEX];
        cm3_hash_to_hex(info->vocabulary, found);
        cm3_hash_to_hex(*vocabulary, expected);
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: made with another vocabulary: found %.12s, expected %.12s; run the tokenize stage again",
                        store->path, found, expected);
    }
    CM3_TRY(get_int(store, "samples", 0, INT64_MAX / 4096 / 4096 / 8, &info->samples));
    if (info->samples == 0) return cm3_fail(CM3_ERR_FORMAT, "%s: the token store holds no samples", store->path);
    CM3_TRY(get_int(store, "validation", 0, info->samples, &info->validation));
    CM3_TRY(get_int(store, "text_tokens", 0, INT64_MAX / 64, &info->text_tokens));
    CM3_TRY(get_int(store, "validation_text_tokens", 0, info->text_tokens, &info->validation_text_tokens));
    CM3_TRY(get_int(store, "longest_text", 0, 1 << 24, &info->longest_text));
    CM3_TRY(get_int(store, "image_rows", 1, 4096, &info->image_rows));
    CM3_TRY(get_int(store, "image_columns", 1, 4096, &info->image_columns));
    CM3_TRY(get_int(store, "image_codebook", 1, INT32_MAX, &info->image_codebook));
    CM3_TRY(get_int(store, "text_vocabulary", 1, INT32_MAX, &info->text_vocabulary));
    store->codes = info->image_rows * info->image_columns;
    return CM3_OK;
}

/* `rows` or `width` -1: as found. */
static cm3_status open_column(cm3_store *store, column *c, const char *name, int rank, int64_t rows, int64_t width) {
    c->name = name;
    c->rank = rank;
    const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    H5Pset_chunk_cache(access, CACHE_SLOTS, CACHE_BYTES,
                       0); /* 0: the oldest goes, without a walk through all for a better one */
    c->dataset = H5Dopen2(store->file, name, access);
    const cm3_status status =
        c->dataset < 0 ? cm3__hdf5_fail(CM3_ERR_FORMAT, store->path, "the token store is damaged") : CM3_OK;
    H5Pclose(access);
    CM3_TRY(status);
    hsize_t dims[2] = {0, 1};
    c->space = H5Dget_space(c->dataset);
    const hid_t type = H5Dget_type(c->dataset);
    const bool good = H5Sget_simple_extent_ndims(c->space) == rank && H5Tget_class(type) == H5T_INTEGER &&
                      H5Sget_simple_extent_dims(c->space, dims, NULL) == rank;
    H5Tclose(type);
    c->rows = dims[0];
    c->width = dims[1];
    if (!good || (rows >= 0 && c->rows != (hsize_t)rows) || (width >= 0 && c->width != (hsize_t)width))
        return cm3_fail(CM3_ERR_FORMAT, "%s: /%s: its shape or type is not what the attributes say", store->path, name);
    return CM3_OK;
}

static cm3_status open_columns(cm3_store *store) {
    const cm3_store_info *info = &store->info;
    CM3_TRY(open_column(store, &store->image, "image", 2, info->samples, store->codes));
    CM3_TRY(open_column(store, &store->text, "text", 1, info->text_tokens, 1));
    CM3_TRY(open_column(store, &store->text_offset, "text_offset", 1, info->samples + 1, 1));
    CM3_TRY(open_column(store, &store->name, "name", 1, -1, 1));
    CM3_TRY(open_column(store, &store->name_offset, "name_offset", 1, info->samples + 1, 1));
    return open_column(store, &store->split, "split", 1, info->samples, 1);
}

static void *allocate(int64_t count, size_t size) {
    return calloc(count > 0 ? (size_t)count : 1, size);
}

/* Reads /split a piece at a time and keeps the indices that are validation. */
static cm3_status read_split(cm3_store *store) {
    enum { PIECE = 65536 };
    const cm3_store_info *info = &store->info;
    store->validation = allocate(info->validation, sizeof *store->validation);
    uint8_t *piece = malloc(PIECE);
    cm3_status status =
        store->validation && piece ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "%s: no memory for its split", store->path);
    int64_t found = 0;
    for (int64_t first = 0; first < info->samples && status == CM3_OK; first += PIECE) {
        const int64_t count = info->samples - first < PIECE ? info->samples - first : PIECE;
        status = read_rows(store, &store->split, first, count, H5T_NATIVE_UINT8, piece);
        for (int64_t i = 0; i < count && status == CM3_OK; i++) {
            if (piece[i] > 1 || (piece[i] && found == info->validation))
                status = damaged(store, "the split", first + i);
            else if (piece[i])
                store->validation[found++] = first + i;
        }
    }
    free(piece);
    if (status == CM3_OK && found != info->validation)
        status = cm3_fail(CM3_ERR_FORMAT, "%s: /split: %" PRId64 " validation, expected %" PRId64, store->path, found,
                          info->validation);
    return status;
}

static cm3_status check_offsets(const cm3_store *store, uint64_t begin, uint64_t end, int64_t index) {
    if (begin > end || end > (uint64_t)store->info.text_tokens || end - begin > (uint64_t)store->info.longest_text)
        return damaged(store, "the text's place", index);
    return CM3_OK;
}

static cm3_status check_numbers(const cm3_store *store, const int32_t *numbers, int64_t count, int64_t limit,
                                const char *what, int64_t index) {
    int32_t largest = 0, smallest = 0; /* a loop without branches: every sample read passes through it */
    for (int64_t i = 0; i < count; i++) {
        largest = numbers[i] > largest ? numbers[i] : largest;
        smallest = numbers[i] < smallest ? numbers[i] : smallest;
    }
    return smallest < 0 || largest >= limit ? damaged(store, what, index) : CM3_OK;
}

static cm3_status load_offsets(cm3_store *store) {
    const cm3_store_info *info = &store->info;
    store->offsets = allocate(info->samples + 1, sizeof *store->offsets);
    if (!store->offsets)
        return cm3_fail(CM3_ERR_MEMORY, "%s: no memory for %" PRId64 " offsets", store->path, info->samples);
    CM3_TRY(read_rows(store, &store->text_offset, 0, info->samples + 1, H5T_NATIVE_UINT64, store->offsets));
    for (int64_t i = 0; i < info->samples; i++)
        CM3_TRY(check_offsets(store, store->offsets[i], store->offsets[i + 1], i));
    return CM3_OK;
}

static cm3_status load_all(cm3_store *store) {
    const cm3_store_info *info = &store->info;
    int32_t *text = allocate(info->text_tokens, sizeof *text),
            *images = allocate(info->samples, (size_t)store->codes * sizeof *images);
    cm3_status status = text && images ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "%s: no memory to hold it", store->path);
    if (status == CM3_OK) status = read_rows(store, &store->text, 0, info->text_tokens, H5T_NATIVE_INT32, text);
    if (status == CM3_OK) status = read_rows(store, &store->image, 0, info->samples, H5T_NATIVE_INT32, images);
    for (int64_t i = 0; i < info->samples && status == CM3_OK; i++) {
        const uint64_t begin = store->offsets[i], end = store->offsets[i + 1];
        status = check_numbers(store, text + begin, (int64_t)(end - begin), info->text_vocabulary, "a text token", i);
        if (status == CM3_OK)
            status =
                check_numbers(store, images + i * store->codes, store->codes, info->image_codebook, "an image code", i);
    }
    if (status != CM3_OK) {
        free(text);
        free(images);
        return status;
    }
    store->all_text = text;
    store->all_images = images;
    return CM3_OK;
}

static cm3_status open_file(cm3_store *store) {
    FILE *file = fopen(store->path, "rb");
    if (!file) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: no token store here; run the tokenize stage first", store->path);
    fclose(file);
    if (H5Fis_hdf5(store->path) <= 0)
        return cm3_fail(CM3_ERR_FORMAT, "%s: not a token store: not an HDF5 file", store->path);
    store->file = H5Fopen(store->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (store->file < 0) return cm3__hdf5_fail(CM3_ERR_FORMAT, store->path, "the token store is damaged or cut short");
    return CM3_OK;
}

static cm3_status open_store(cm3_store *store, const cm3_hash *vocabulary, int64_t memory_limit) {
    store->transfer = H5Pcreate(H5P_DATASET_XFER);
    if (store->transfer < 0 || H5Pset_buffer(store->transfer, CONVERSION_BYTES, NULL, NULL) < 0)
        return cm3__hdf5_fail(CM3_ERR_MEMORY, store->path, "cannot set up reading");
    CM3_TRY(open_file(store));
    CM3_TRY(read_info(store, vocabulary));
    CM3_TRY(open_columns(store));
    CM3_TRY(read_split(store));
    const int64_t offset_bytes = (store->info.samples + 1) * 8;
    if (offset_bytes > memory_limit) return CM3_OK;
    CM3_TRY(load_offsets(store));
    const double bytes = (double)offset_bytes +
                         4.0 * ((double)store->info.text_tokens + (double)store->info.samples * (double)store->codes);
    return bytes <= (double)memory_limit ? load_all(store) : CM3_OK;
}

cm3_status cm3_store_open(const char *path, const cm3_hash *vocabulary, int64_t memory_limit, cm3_store **result) {
    *result = NULL;
    cm3_store *store = calloc(1, sizeof *store);
    if (!store) return cm3_fail(CM3_ERR_MEMORY, "%s: no memory to open it", path);
    pthread_mutex_init(&store->mutex, NULL);
    store->file = store->transfer = H5I_INVALID_HID;
    column *columns[] = {&store->image, &store->text,        &store->text_offset,
                         &store->name,  &store->name_offset, &store->split};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        columns[i]->dataset = columns[i]->space = H5I_INVALID_HID;
    store->path = strdup(path);
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    const cm3_status status =
        store->path ? open_store(store, vocabulary, memory_limit) : cm3_fail(CM3_ERR_MEMORY, "%s: no memory", path);
    cm3__hdf5_quiet_end(quiet);
    if (status == CM3_OK)
        *result = store;
    else
        cm3_store_close(store);
    return status;
}

void cm3_store_close(cm3_store *store) {
    if (!store) return;
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    column *columns[] = {&store->image, &store->text,        &store->text_offset,
                         &store->name,  &store->name_offset, &store->split};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        if (columns[i]->space >= 0) H5Sclose(columns[i]->space);
        if (columns[i]->dataset >= 0) H5Dclose(columns[i]->dataset);
    }
    if (store->file >= 0) H5Fclose(store->file);
    if (store->transfer >= 0) H5Pclose(store->transfer);
    cm3__hdf5_quiet_end(quiet);
    pthread_mutex_destroy(&store->mutex);
    free(store->validation);
    free(store->offsets);
    free(store->all_text);
    free(store->all_images);
    free(store->path);
    free(store);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

const cm3_store_info *cm3_store_get_info(const cm3_store *store) {
    return &store->info;
}

const char *cm3_store_path(const cm3_store *store) {
    return store->path;
}

bool cm3_store_in_memory(const cm3_store *store) {
    return store->all_images != NULL;
}

/* How many validation indices are at most `index`. */
static int64_t validation_up_to(const cm3_store *store, int64_t index) {
    int64_t low = 0, high = store->info.validation;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (store->validation[middle] <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* validation[j] - j training samples stand before the j-th validation one. The k-th training sample stands behind all
 * those
 * that have at most k before them. */
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

bool cm3_store_is_validation(const cm3_store *store, int64_t index) {
    const int64_t upto = validation_up_to(store, index);
    return upto > 0 && store->validation[upto - 1] == index;
}

static cm3_status check_index(const cm3_store *store, int64_t index) {
    if (index < 0 || index >= store->info.samples)
        return cm3_fail(CM3_ERR_NOT_FOUND, "%s: sample %" PRId64 ", expected 0..%" PRId64, store->path, index,
                        store->info.samples - 1);
    return CM3_OK;
}

/* Everything that touches HDF5 goes through here, one thread at a time. */
typedef struct reading {
    cm3__hdf5_quiet quiet;
} reading;

static reading reading_begin(cm3_store *store) {
    pthread_mutex_lock(&store->mutex);
    return (reading){cm3__hdf5_quiet_begin()};
}

static cm3_status reading_end(cm3_store *store, reading r, cm3_status status) {
    cm3__hdf5_quiet_end(r.quiet);
    pthread_mutex_unlock(&store->mutex);
    return status;
}

static cm3_status text_place(cm3_store *store, int64_t index, uint64_t place[2]) {
    if (store->offsets) {
        place[0] = store->offsets[index];
        place[1] = store->offsets[index + 1];
        return CM3_OK;
    }
    const reading r = reading_begin(store);
    CM3_TRY(reading_end(store, r, read_rows(store, &store->text_offset, index, 2, H5T_NATIVE_UINT64, place)));
    return check_offsets(store, place[0], place[1], index);
}

cm3_status cm3_store_text_count(cm3_store *store, int64_t index, int64_t *count) {
    uint64_t place[2];
    CM3_TRY(check_index(store, index));
    CM3_TRY(text_place(store, index, place));
    *count = (int64_t)(place[1] - place[0]);
    return CM3_OK;
}

cm3_status cm3_store_text(cm3_store *store, int64_t index, int32_t *text, int64_t *count) {
    uint64_t place[2];
    CM3_TRY(check_index(store, index));
    CM3_TRY(text_place(store, index, place));
    *count = (int64_t)(place[1] - place[0]);
    if (store->all_text) {
        memcpy(text, store->all_text + place[0], (size_t)*count * sizeof *text);
        return CM3_OK;
    }
    const reading r = reading_begin(store);
    CM3_TRY(reading_end(store, r, read_rows(store, &store->text, (int64_t)place[0], *count, H5T_NATIVE_INT32, text)));
    return check_numbers(store, text, *count, store->info.text_vocabulary, "a text token", index);
}

cm3_status cm3_store_image(cm3_store *store, int64_t index, int32_t *codes) {
    CM3_TRY(check_index(store, index));
    if (store->all_images) {
        memcpy(codes, store->all_images + index * store->codes, (size_t)store->codes * sizeof *codes);
        return CM3_OK;
    }
    const reading r = reading_begin(store);
    CM3_TRY(reading_end(store, r, read_rows(store, &store->image, index, 1, H5T_NATIVE_INT32, codes)));
    return check_numbers(store, codes, store->codes, store->info.image_codebook, "an image code", index);
}

cm3_status cm3_store_name(cm3_store *store, int64_t index, char **name) {
    uint64_t place[2];
    *name = NULL;
    CM3_TRY(check_index(store, index));
    reading r = reading_begin(store);
    CM3_TRY(reading_end(store, r, read_rows(store, &store->name_offset, index, 2, H5T_NATIVE_UINT64, place)));
    if (place[0] > place[1] || place[1] > store->name.rows || place[1] - place[0] > 1 << 20)
        return damaged(store, "the name", index);
    const int64_t length = (int64_t)(place[1] - place[0]);
    char *text = malloc((size_t)length + 1);
    if (!text) return cm3_fail(CM3_ERR_MEMORY, "%s: no memory for a name", store->path);
    r = reading_begin(store);
    const cm3_status status =
        reading_end(store, r, read_rows(store, &store->name, (int64_t)place[0], length, H5T_NATIVE_UINT8, text));
    text[length] = 0;
    if (status == CM3_OK)
        *name = text;
    else
        free(text);
    return status;
}
