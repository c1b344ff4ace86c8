/* Opening a token store: nothing that its header or its datasets' shapes claim is believed before it is checked. */
#include "data/store_hdf5.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* HDF5 clears its whole buffer of type conversion at every read, 1 MiB unless told otherwise: more than the read
 * itself. */
enum { CONVERSION_BYTES = 16384 };
/* Chunks that stay in memory, of each dataset, and a prime number of places for them. */
enum { CACHE_BYTES = 8 << 20, CACHE_SLOTS = 12289, CHUNK_MAX = 1 << 20 };

/* --- attributes -------------------------------------------------------------------------------------------------- */

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

static cm3_status read_version(cm3_store *store) {
    char format[64];
    int64_t version;
    CM3_TRY(get_string(store, "format", format, sizeof format));
    if (strcmp(format, CM3_STORE_FORMAT) != 0)
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: not a token store: its format is \"%s\", expected \"" CM3_STORE_FORMAT "\"", store->path,
                        format);
    CM3_TRY(get_int(store, "version", INT64_MIN, INT64_MAX, &version));
    if (version != CM3_STORE_VERSION)
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: a token store of format version %" PRId64 ", expected %d; run `cm3leon tokenize` again",
                        store->path, version, CM3_STORE_VERSION);
    return CM3_OK;
}

static cm3_status read_info(cm3_store *store) {
    cm3_store_info *info = &store->info;
    CM3_TRY(read_version(store));
    for (const cm3__attribute *a = cm3__store_attributes; a->name; a++) {
        void *member = (char *)info + a->offset;
        if (a->kind == CM3__HASH)
            CM3_TRY(get_hash(store, a->name, member));
        else if (a->kind == CM3__STRING_OF)
            CM3_TRY(get_string(store, a->name, member, a->size));
        else
            CM3_TRY(get_int(store, a->name, a->min, a->max ? a->max : store->file_bytes, member));
    }
    if (info->samples == 0) return cm3_fail(CM3_ERR_FORMAT, "%s: the token store holds no samples", store->path);
    if (info->validation > info->samples)
        return cm3_fail(CM3_ERR_FORMAT, "%s: attribute \"validation\": found %" PRId64 ", expected 0..%" PRId64,
                        store->path, info->validation, info->samples);
    return CM3_OK;
}

/* --- datasets ---------------------------------------------------------------------------------------------------- */

static cm3_status open_dataset(cm3_store *store, cm3__column_in *c) {
    const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    /* 0: the oldest goes, without a walk through all for a better one */
    H5Pset_chunk_cache(access, CACHE_SLOTS, CACHE_BYTES, 0);
    c->dataset = H5Dopen2(store->file, c->layout.name, access);
    const cm3_status status =
        c->dataset < 0 ? cm3__hdf5_fail(CM3_ERR_FORMAT, store->path, "the token store is damaged") : CM3_OK;
    H5Pclose(access);
    return status;
}

/* Chunks as small as ours: HDF5 allocates what a file asks for. */
static bool is_chunked(hid_t dataset, int rank, size_t size) {
    const hid_t create = H5Dget_create_plist(dataset);
    hsize_t chunk[2] = {0, 1};
    const bool good = H5Pget_layout(create) == H5D_CHUNKED && H5Pget_chunk(create, rank, chunk) == rank &&
                      chunk[0] <= CHUNK_MAX && chunk[1] <= CHUNK_MAX && chunk[0] * chunk[1] * size <= CHUNK_MAX;
    H5Pclose(create);
    return good;
}

/* Exactly the filters that the writer makes: the checksums are promised, and no other filter's code is to run. */
static bool has_filters(hid_t dataset, bool deflated) {
    static const H5Z_filter_t expected[] = {H5Z_FILTER_SHUFFLE, H5Z_FILTER_DEFLATE, H5Z_FILTER_FLETCHER32};
    const hid_t create = H5Dget_create_plist(dataset);
    const int first = deflated ? 0 : 2;
    bool good = H5Pget_nfilters(create) == 3 - first;
    for (int i = first; i < 3 && good; i++) {
        size_t values = 0;
        unsigned flags, config;
        good = H5Pget_filter2(create, (unsigned)(i - first), &flags, &values, NULL, 0, NULL, &config) == expected[i];
    }
    H5Pclose(create);
    return good;
}

/* `rows` -1: as found. */
static cm3_status open_column(cm3_store *store, enum cm3__column which, int64_t rows) {
    cm3__column_in *c = &store->columns[which];
    c->layout = cm3__store_layout(&store->info, which);
    CM3_TRY(open_dataset(store, c));
    const int rank = c->layout.width == 1 ? 1 : 2;
    hsize_t dims[2] = {0, 1};
    c->space = H5Dget_space(c->dataset);
    const hid_t type = H5Dget_type(c->dataset);
    const bool good =
        H5Sget_simple_extent_ndims(c->space) == rank && H5Tequal(type, cm3__file_type(c->layout.size)) > 0 &&
        H5Sget_simple_extent_dims(c->space, dims, NULL) == rank && is_chunked(c->dataset, rank, c->layout.size);
    H5Tclose(type);
    const hsize_t most = (hsize_t)store->file_bytes * (c->layout.deflated ? 1024 : 1);
    if (!good || dims[1] != c->layout.width || dims[0] > most / (c->layout.width * c->layout.size) ||
        (rows >= 0 && dims[0] != (hsize_t)rows))
        return cm3_fail(CM3_ERR_FORMAT, "%s: /%s: its shape or type is not what the attributes say", store->path,
                        c->layout.name);
    if (!has_filters(c->dataset, c->layout.deflated))
        return cm3_fail(CM3_ERR_FORMAT, "%s: /%s: not as written: its checksums are gone, or it has other filters",
                        store->path, c->layout.name);
    c->rows = (int64_t)dims[0];
    return CM3_OK;
}

static cm3_status open_columns(cm3_store *store) {
    cm3_store_info *info = &store->info;
    const int64_t rows[CM3__COLUMNS] = {info->samples + 1, -1, -1, -1, info->samples, info->samples + 1, -1, -1, -1};
    for (int c = 0; c < CM3__COLUMNS; c++) CM3_TRY(open_column(store, (enum cm3__column)c, rows[c]));
    info->segments = store->columns[CM3__SEGMENT].rows;
    info->text_tokens = store->columns[CM3__TEXT].rows;
    info->codes = store->columns[CM3__CODE].rows;
    uint64_t end[3];
    CM3_TRY(cm3__store_rows(store, CM3__SAMPLE, info->samples, 1, end));
    if (end[0] != (uint64_t)info->segments || end[1] != (uint64_t)info->text_tokens || end[2] != (uint64_t)info->codes)
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: the token store is damaged: /segment, /text, /code have %" PRId64 ", %" PRId64 ", %" PRId64
                        " rows, /sample ends at %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                        store->path, info->segments, info->text_tokens, info->codes, end[0], end[1], end[2]);
    return CM3_OK;
}

/* Reads /split a piece at a time and keeps the indices that are validation. */
static cm3_status read_split(cm3_store *store) {
    enum { PIECE = 65536 };
    const cm3_store_info *info = &store->info;
    store->validation = calloc((size_t)info->validation + 1, sizeof *store->validation);
    uint8_t *piece = malloc(PIECE);
    cm3_status status =
        store->validation && piece ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for its split", store->path);
    int64_t found = 0;
    for (int64_t first = 0; first < info->samples && status == CM3_OK; first += PIECE) {
        const int64_t count = info->samples - first < PIECE ? info->samples - first : PIECE;
        status = cm3__store_rows(store, CM3__SPLIT, first, count, piece);
        for (int64_t i = 0; i < count && status == CM3_OK; i++) {
            if (piece[i] > 1 || (piece[i] && found == info->validation))
                status = cm3_fail(CM3_ERR_FORMAT, "%s: the token store is damaged: the split of sample %" PRId64,
                                  store->path, first + i);
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

/* Keeps datasets in memory, the most useful byte first. */
static cm3_status load_columns(cm3_store *store, int64_t memory_limit) {
    static const enum cm3__column order[] = {CM3__SAMPLE, CM3__SEGMENT, CM3__TEXT, CM3__CODE};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        cm3__column_in *c = &store->columns[order[i]];
        const int64_t bytes = c->rows * (int64_t)(c->layout.width * c->layout.size);
        if (bytes > memory_limit) break;
        memory_limit -= bytes;
        void *all = malloc((size_t)bytes + 1);
        if (!all) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to hold /%s", store->path, c->layout.name);
        const cm3_status status = cm3__store_rows(store, order[i], 0, c->rows, all);
        if (status != CM3_OK) free(all);
        CM3_TRY(status);
        c->all = all;
    }
    return CM3_OK;
}

static cm3_status open_file(cm3_store *store) {
    struct stat status;
    if (stat(store->path, &status) != 0)
        return cm3_fail(CM3_ERR_NOT_FOUND, "%s: no token store here; run `cm3leon tokenize` first", store->path);
    store->file_bytes = (int64_t)status.st_size;
    if (H5Fis_hdf5(store->path) <= 0)
        return cm3_fail(CM3_ERR_FORMAT, "%s: not a token store: not an HDF5 file", store->path);
    store->file = H5Fopen(store->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (store->file < 0) return cm3__hdf5_fail(CM3_ERR_FORMAT, store->path, "the token store is damaged or cut short");
    return CM3_OK;
}

static cm3_status open_store(cm3_store *store, int64_t memory_limit) {
    hbool_t safe = false;
    if (H5is_library_threadsafe(&safe) < 0 || !safe)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "%s: this HDF5 library is not built for threads", store->path);
    store->transfer = H5Pcreate(H5P_DATASET_XFER);
    if (store->transfer < 0 || H5Pset_buffer(store->transfer, CONVERSION_BYTES, NULL, NULL) < 0)
        return cm3__hdf5_fail(CM3_ERR_MEMORY, store->path, "cannot set up reading");
    CM3_TRY(open_file(store));
    CM3_TRY(read_info(store));
    CM3_TRY(open_columns(store));
    CM3_TRY(read_split(store));
    return load_columns(store, memory_limit);
}

cm3_status cm3_store_open(const char *path, int64_t memory_limit, cm3_store **result) {
    *result = NULL;
    cm3_store *store = calloc(1, sizeof *store);
    if (!store) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to open it", path);
    pthread_mutex_init(&store->mutex, NULL);
    store->file = store->transfer = H5I_INVALID_HID;
    for (int c = 0; c < CM3__COLUMNS; c++) store->columns[c].dataset = store->columns[c].space = H5I_INVALID_HID;
    store->path = strdup(path);
    const cm3__hdf5_quiet quiet = cm3__hdf5_quiet_begin();
    const cm3_status status =
        store->path ? open_store(store, memory_limit) : cm3_fail(CM3_ERR_MEMORY, "%s: out of memory", path);
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
    for (int i = 0; i < CM3__COLUMNS; i++) {
        const cm3__column_in *c = &store->columns[i];
        if (c->space >= 0) H5Sclose(c->space);
        if (c->dataset >= 0) H5Dclose(c->dataset);
        free(c->all);
    }
    if (store->file >= 0) H5Fclose(store->file);
    if (store->transfer >= 0) H5Pclose(store->transfer);
    cm3__hdf5_quiet_end(quiet);
    pthread_mutex_destroy(&store->mutex);
    CM3_LIST_FREE(&store->scratch);
    free(store->validation);
    free(store->path);
    free(store);
}
