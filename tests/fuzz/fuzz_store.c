/* A token store whose header and datasets hold any numbers, with right checksums so that what is behind them is
 * reached: opening and reading end in a status and one line, and what is given is a document that renders. */
#include "data/store.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* HDF5 itself loses memory when it meets damaged headers. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libhdf5";
}

typedef struct input {
    const uint8_t *data;
    size_t size;
} input;

static uint8_t next(input *in) {
    if (in->size == 0) return 0;
    in->size--;
    return *in->data++;
}

/* Mostly small, sometimes enormous. */
static uint64_t number(input *in) {
    const uint8_t first = next(in);
    if (first < 240) return first;
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | next(in);
    return first < 248 ? value : ~value >> (first & 7) * 8;
}

static void put_number(hid_t file, const char *name, uint64_t value) {
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_UINT64, &value);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void put_text(hid_t file, const char *name, const char *text) {
    const hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(text) + 1);
    const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, text);
    H5Aclose(attribute);
    H5Tclose(type);
    H5Sclose(space);
}

/* A dataset of `rows` rows, of which the first few are given and the rest are never written. */
static void put_rows(hid_t file, const char *name, hid_t type, hsize_t width, bool deflated, input *in) {
    enum { MOST = 64 };
    uint64_t values[MOST * 3];
    const uint8_t kind = next(in);
    const hsize_t given = kind % MOST, rows = kind == 255 ? number(in) : given, chunk[2] = {kind % 7 + 1, width};
    for (hsize_t i = 0; i < given * width; i++) values[i] = number(in);
    const hsize_t dims[2] = {rows, width}, most[2] = {H5S_UNLIMITED, width}, count[2] = {given, width},
                  start[2] = {0, 0};
    const int rank = width == 1 ? 1 : 2;
    const hid_t space = H5Screate_simple(rank, dims, most), create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, rank, chunk);
    if (deflated) {
        H5Pset_shuffle(create);
        H5Pset_deflate(create, 1);
    }
    if (kind != 254) H5Pset_fletcher32(create);
    const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    if (given && rows >= given) {
        const hid_t memory = H5Screate_simple(rank, count, NULL);
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
        H5Dwrite(dataset, H5T_NATIVE_UINT64, memory, space, H5P_DEFAULT, values);
        H5Sclose(memory);
    }
    if (dataset >= 0) H5Dclose(dataset);
    H5Pclose(create);
    H5Sclose(space);
}

static void write_store(const char *path, input *in) {
    static const char hash[] = "00000000000000000000000000000000";
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    put_text(file, "format", "cm3leon token store");
    put_number(file, "version", 2);
    put_text(file, "content", hash);
    put_text(file, "vocabulary", hash);
    put_text(file, "text_tokenizer", hash);
    put_text(file, "image_tokenizer", hash);
    put_number(file, "image_size", number(in));
    put_text(file, "fit", "crop");
    put_text(file, "background", "white");
    put_text(file, "resize", "bicubic");
    put_number(file, "samples", number(in));
    put_number(file, "validation", number(in));
    put_number(file, "images", number(in));
    put_number(file, "image_codebook", 256);
    put_number(file, "text_vocabulary", 1000);
    put_rows(file, "sample", H5T_STD_U64LE, 3, false, in);
    put_rows(file, "segment", H5T_STD_U32LE, 2, false, in);
    put_rows(file, "text", H5T_STD_U16LE, 1, false, in);
    put_rows(file, "code", H5T_STD_U8LE, 1, false, in);
    put_rows(file, "split", H5T_STD_U8LE, 1, false, in);
    put_rows(file, "string", H5T_STD_U64LE, 3, true, in);
    put_rows(file, "name", H5T_STD_U8LE, 1, true, in);
    put_rows(file, "caption", H5T_STD_U8LE, 1, true, in);
    put_rows(file, "origin", H5T_STD_U8LE, 1, true, in);
    H5Fclose(file);
}

static void need(bool truth) {
    if (!truth) abort();
}

static void read_samples(cm3_store *store) {
    cm3_vocab vocab;
    const cm3_vocab_sizes sizes = {.text = 1000, .image = 256, .sentinels = 8, .multiple = 32};
    need(cm3_vocab_build(&sizes, &vocab) == CM3_OK);
    const cm3_store_info *info = cm3_store_get_info(store);
    cm3_document document = {0};
    cm3_tokens ids = {0};
    for (int64_t i = 0; i < info->samples && i < 64; i++) {
        if (cm3_store_read(store, i, (cm3_range){0, INT64_MAX}, &document) == CM3_OK) {
            ids.count = 0;
            need(cm3_document_render(&document, &vocab, &ids) == CM3_OK);
            need((int64_t)ids.count == cm3_document_size(&document));
        } else {
            need(!strchr(cm3_message(), '\n'));
        }
        char *text;
        for (int s = 0; s < CM3_STORE_STRINGS; s++)
            if (cm3_store_read_string(store, i, (cm3_store_string)s, &text) == CM3_OK) free(text);
    }
    for (int64_t k = 0; k < info->validation && k < 64; k++)
        need(cm3_store_validation(store, k) >= 0 && cm3_store_validation(store, k) < info->samples);
    for (int64_t k = 0; k < info->samples - info->validation && k < 64; k++)
        need(cm3_store_training(store, k) >= 0 && cm3_store_training(store, k) < info->samples);
    cm3_document_free(&document);
    CM3_LIST_FREE(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    input in = {data, size};
    snprintf(path, sizeof path, "%s/cm3-fuzz-%ld.h5", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             (long)getpid());
    const int64_t memory_limit = next(&in) % 2 ? 0 : 1 << 16;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    write_store(path, &in);
    cm3_store *store;
    const cm3_status status = cm3_store_open(path, memory_limit, &store);
    need(status == CM3_OK || status == CM3_ERR_FORMAT || status == CM3_ERR_MEMORY);
    if (status == CM3_OK)
        read_samples(store);
    else
        need(!strchr(cm3_message(), '\n'));
    cm3_store_close(store);
    unlink(path);
    return 0;
}
