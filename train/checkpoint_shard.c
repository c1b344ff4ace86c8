/* A shard file: HDF5 lays it out in memory, where nothing can fail but memory itself; then the layout and the numbers
 * go to the disk by plain writes, the numbers to the offsets that HDF5 chose. So a full disk is an ordinary error with
 * the system's reason (HDF5 does not survive a file that it cannot close), and checksums are made on the way. */
#include "train/checkpoint_internal.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20, PAGE_BYTES = 4096, LAYOUT_GROWTH = 2 * PAGE_BYTES };

void cm3__hdf5_quiet(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

enum { REASON_MAX = 256 };

/* The innermost description, cut to one short phrase; where the system gave a reason, that reason. */
static herr_t keep_deepest(unsigned n, const H5E_error2_t *error, void *context) {
    (void)n;
    if (error->desc == NULL || error->desc[0] == 0) return 0;
    static const char system_reason[] = "error message = '";
    const char *from = strstr(error->desc, system_reason);
    from = from == NULL ? error->desc : from + sizeof system_reason - 1;
    snprintf(context, REASON_MAX, "%.*s", (int)strcspn(from, "'\n"), from);
    return 0;
}

cm3_status cm3__checkpoint_hdf5_fail(const char *path, const char *what) {
    char reason[REASON_MAX] = "HDF5 gives no reason";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_deepest, reason);
    return cm3_fail(CM3_ERR_IO, "%s: %s: %s", path, what, reason);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* The layout of a file: what HDF5 has written of it. Behind `size` and up to `file_bytes` there are only numbers to
 * come. */
typedef struct layout {
    char *bytes;
    size_t size;
    int64_t file_bytes;
} layout;

/* HDF5's in-memory driver asks us for its memory, and hands it over when the file is closed. */
static void *layout_malloc(size_t size, H5FD_file_image_op_t op, void *context) {
    (void)op;
    ((layout *)context)->size = size;
    return malloc(size);
}

static void *layout_realloc(void *bytes, size_t size, H5FD_file_image_op_t op, void *context) {
    (void)op;
    ((layout *)context)->size = size;
    return realloc(bytes, size);
}

static void *layout_memcpy(void *to, const void *from, size_t size, H5FD_file_image_op_t op, void *context) {
    (void)op;
    (void)context;
    return memcpy(to, from, size);
}

static herr_t layout_free(void *bytes, H5FD_file_image_op_t op, void *context) {
    if (op == H5FD_FILE_IMAGE_OP_FILE_CLOSE)
        ((layout *)context)->bytes = bytes;
    else
        free(bytes);
    return 0;
}

static void *layout_share(void *context) {
    return context;
}

static herr_t layout_unshare(void *context) {
    (void)context;
    return 0;
}

/* Makes one contiguous dataset and asks where in the file its numbers belong. */
static bool lay_out_dataset(hid_t file, const char *name, int64_t count, int64_t *offset) {
    const hsize_t size = (hsize_t)count;
    const hid_t space = H5Screate_simple(1, &size, NULL), options = H5Pcreate(H5P_DATASET_CREATE),
                links = H5Pcreate(H5P_LINK_CREATE);
    bool good = space >= 0 && options >= 0 && links >= 0 && H5Pset_create_intermediate_group(links, 1) >= 0 &&
                H5Pset_layout(options, H5D_CONTIGUOUS) >= 0 && H5Pset_alloc_time(options, H5D_ALLOC_TIME_EARLY) >= 0 &&
                H5Pset_fill_time(options, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(options, false) >= 0;
    const hid_t set = good ? H5Dcreate2(file, name, H5T_IEEE_F32LE, space, links, options, H5P_DEFAULT) : -1;
    good = set >= 0;
    if (good) {
        const haddr_t at = H5Dget_offset(set);
        *offset = at == HADDR_UNDEF ? 0 : (int64_t)at;
        good = count == 0 || at != HADDR_UNDEF;
    }
    if (set >= 0) good = H5Dclose(set) >= 0 && good;
    if (links >= 0) H5Pclose(links);
    if (options >= 0) H5Pclose(options);
    if (space >= 0) H5Sclose(space);
    return good;
}

static bool lay_out_file(hid_t access, const cm3__manifest *datasets, cm3__shard_entry *entry, layout *result) {
    H5FD_file_image_callbacks_t callbacks = {layout_malloc, layout_memcpy,  layout_realloc, layout_free,
                                             layout_share,  layout_unshare, result};
    if (H5Pset_fapl_core(access, LAYOUT_GROWTH, false) < 0 || H5Pset_file_image_callbacks(access, &callbacks) < 0 ||
        H5Pset_meta_block_size(access, LAYOUT_GROWTH) < 0 || H5Pset_alignment(access, PAGE_BYTES, PAGE_BYTES) < 0)
        return false;
    const hid_t file = H5Fcreate("(a shard in memory)", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    bool good = file >= 0;
    for (int d = 0; d < datasets->dataset_count && good; d++) {
        char name[2 * CM3__NAME_MAX + 2];
        snprintf(name, sizeof name, "/%s/%s", datasets->datasets[d].buffer, datasets->datasets[d].group);
        good = lay_out_dataset(file, name, cm3_range_length(entry->regions[d].range), &entry->regions[d].offset);
    }
    hsize_t bytes = 0;
    good = good && H5Fget_filesize(file, &bytes) >= 0;
    result->file_bytes = (int64_t)bytes;
    if (file >= 0) good = H5Fclose(file) >= 0 && good;
    return good && result->bytes != NULL;
}

static cm3_status lay_out(const char *path, const cm3__manifest *datasets, cm3__shard_entry *entry, layout *result) {
    cm3__hdf5_quiet();
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    const bool good = access >= 0 && lay_out_file(access, datasets, entry, result);
    const cm3_status status = good ? CM3_OK : cm3__checkpoint_hdf5_fail(path, "cannot lay out");
    if (access >= 0) H5Pclose(access);
    return status;
}

static cm3_status system_fail(const char *path, const char *what) {
    return cm3_fail(CM3_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

static cm3_status write_exactly(int fd, const char *path, const char *data, int64_t bytes, int64_t offset) {
    for (int64_t done = 0; done < bytes;) {
        const ssize_t n = pwrite(fd, data + done, (size_t)(bytes - done), offset + done);
        if (n < 0 && errno != EINTR) return system_fail(path, "cannot write");
        if (n > 0) done += n;
    }
    return CM3_OK;
}

/* Hashes and writes piece by piece, so that a piece is still in the cache when it is copied to the system. */
static cm3_status write_region(int fd, const char *path, const void *data, cm3__region *region) {
    cm3_hasher *hasher = cm3_hasher_new();
    cm3_status status = hasher == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a checksum") : CM3_OK;
    for (int64_t at = 0; at < region->bytes && status == CM3_OK; at += PIECE_BYTES) {
        const int64_t left = region->bytes - at, piece = left < PIECE_BYTES ? left : PIECE_BYTES;
        cm3_hasher_add(hasher, (const char *)data + at, (size_t)piece);
        status = write_exactly(fd, path, (const char *)data + at, piece, region->offset + at);
    }
    region->hash = cm3_hasher_value(hasher);
    cm3_hasher_free(hasher);
    return status;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* Exactly `bytes` bytes; a file that ends earlier is a damaged one. */
static cm3_status read_exactly(int fd, const char *path, void *data, int64_t bytes, int64_t offset) {
    for (int64_t done = 0; done < bytes;) {
        const ssize_t n = pread(fd, (char *)data + done, (size_t)(bytes - done), offset + done);
        if (n < 0 && errno != EINTR) return system_fail(path, "cannot read");
        if (n == 0) return cm3_fail(CM3_ERR_FORMAT, "%s: ends after %lld bytes", path, (long long)(offset + done));
        if (n > 0) done += n;
    }
    return CM3_OK;
}

static cm3_status hash_gap(int fd, const char *path, cm3_hasher *hasher, char *buffer, int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end;) {
        const int64_t piece = end - at < PIECE_BYTES ? end - at : PIECE_BYTES;
        CM3_TRY(read_exactly(fd, path, buffer, piece, at));
        cm3_hasher_add(hasher, buffer, (size_t)piece);
        at += piece;
    }
    return CM3_OK;
}

/* The hash of all bytes of the file that lie in no region: HDF5's own structures. */
static cm3_status hash_structure(int fd, const char *path, const cm3__shard_entry *entry, int regions, cm3_hash *hash) {
    cm3_hasher *hasher = cm3_hasher_new();
    char *buffer = malloc(PIECE_BYTES);
    cm3_status status =
        hasher == NULL || buffer == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a checksum") : CM3_OK;
    int order[CM3__DATASETS_MAX];
    const int count = cm3__regions_in_file(entry, regions, order);
    int64_t at = 0;
    for (int i = 0; i < count && status == CM3_OK; i++) {
        const cm3__region *region = &entry->regions[order[i]];
        status = hash_gap(fd, path, hasher, buffer, at, region->offset);
        at = region->offset + region->bytes;
    }
    if (status == CM3_OK) status = hash_gap(fd, path, hasher, buffer, at, entry->bytes);
    *hash = cm3_hasher_value(hasher);
    cm3_hasher_free(hasher);
    free(buffer);
    return status;
}

static cm3_status fill_shard(int fd, const char *path, const float *const *data, int datasets, const layout *image,
                             cm3__shard_entry *entry) {
    const int64_t used = (int64_t)image->size < image->file_bytes ? (int64_t)image->size : image->file_bytes;
    entry->bytes = image->file_bytes;
    if (ftruncate(fd, image->file_bytes) != 0) return system_fail(path, "cannot write");
    CM3_TRY(write_exactly(fd, path, image->bytes, used, 0));
    for (int d = 0; d < datasets; d++)
        CM3_TRY(write_region(fd, path, data[d] + entry->regions[d].range.begin, &entry->regions[d]));
    CM3_TRY(hash_structure(fd, path, entry, datasets, &entry->structure));
    if (fsync(fd) != 0) return system_fail(path, "cannot write");
    return CM3_OK;
}

static cm3_path shard_path(const char *folder, int shard, int shards) {
    char name[CM3__NAME_MAX];
    cm3__shard_name(shard, shards, name);
    return cm3_path_join(folder, name);
}

cm3_status cm3__shard_write(const char *folder, int shard, int shards, const cm3__manifest *datasets,
                            const float *const *data, cm3__shard_entry *entry) {
    *entry = (cm3__shard_entry){0};
    for (int d = 0; d < datasets->dataset_count; d++) {
        cm3__region *region = &entry->regions[d];
        region->range = cm3_shard_range(datasets->datasets[d].total, CM3_SHARD_UNIT, shards, shard);
        region->bytes = cm3_range_length(region->range) * (int64_t)sizeof(float);
    }
    const cm3_path shard_file = shard_path(folder, shard, shards);
    const char *path = shard_file.text;
    layout image = {0};
    cm3_status status = lay_out(path, datasets, entry, &image);
    if (status == CM3_OK) {
        const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        status = fd < 0 ? system_fail(path, "cannot make")
                        : fill_shard(fd, path, data, datasets->dataset_count, &image, entry);
        if (fd >= 0 && close(fd) != 0 && status == CM3_OK) status = system_fail(path, "cannot write");
    }
    free(image.bytes);
    return status;
}

static cm3_status open_shard(const char *folder, const cm3__manifest *manifest, int shard, cm3_path *path, int *fd) {
    *path = shard_path(folder, shard, manifest->shard_count);
    *fd = open(path->text, O_RDONLY | O_CLOEXEC);
    cm3_status status = CM3_OK;
    struct stat info;
    if (*fd < 0 && errno == ENOENT)
        status = cm3_fail(CM3_ERR_NOT_FOUND, "%s: this shard of the checkpoint is missing", path->text);
    else if (*fd < 0 || fstat(*fd, &info) != 0)
        status = system_fail(path->text, "cannot open");
    else if (info.st_size != manifest->shards[shard].bytes)
        status = cm3_fail(CM3_ERR_FORMAT, "%s: has %lld bytes, expected %lld", path->text, (long long)info.st_size,
                          (long long)manifest->shards[shard].bytes);
    return status;
}

cm3_status cm3__shard_check(const char *folder, const cm3__manifest *manifest, int shard) {
    cm3_path path;
    int fd = -1;
    cm3_hash found;
    cm3_status status = open_shard(folder, manifest, shard, &path, &fd);
    if (status == CM3_OK)
        status = hash_structure(fd, path.text, &manifest->shards[shard], manifest->dataset_count, &found);
    if (status == CM3_OK && !cm3_hash_equal(found, manifest->shards[shard].structure))
        status = cm3_fail(CM3_ERR_FORMAT, "%s: damaged outside of its datasets: the checksum does not fit", path.text);
    if (fd >= 0) close(fd);
    return status;
}

cm3_status cm3__shard_verify(const char *folder, const cm3__manifest *manifest, int shard, int dataset) {
    const cm3__region *region = &manifest->shards[shard].regions[dataset];
    const cm3__dataset *of = &manifest->datasets[dataset];
    cm3_path path;
    char *buffer = malloc(PIECE_BYTES);
    int fd = -1;
    cm3_hasher *hasher = cm3_hasher_new();
    cm3_status status = open_shard(folder, manifest, shard, &path, &fd);
    if (status == CM3_OK && (hasher == NULL || buffer == NULL))
        status = cm3_fail(CM3_ERR_MEMORY, "out of memory to read %s", path.text);
    if (status == CM3_OK)
        status = hash_gap(fd, path.text, hasher, buffer, region->offset, region->offset + region->bytes);
    if (status == CM3_OK && !cm3_hash_equal(cm3_hasher_value(hasher), region->hash))
        status = cm3_fail(CM3_ERR_FORMAT, "%s: dataset /%s/%s is damaged: the checksum does not fit", path.text,
                          of->buffer, of->group);
    cm3_hasher_free(hasher);
    free(buffer);
    if (fd >= 0) close(fd);
    return status;
}

cm3_status cm3__shard_read(const char *folder, const cm3__manifest *manifest, int shard, int dataset, cm3_range range,
                           float *values) {
    const cm3__region *region = &manifest->shards[shard].regions[dataset];
    cm3_path path;
    int fd = -1;
    cm3_status status = open_shard(folder, manifest, shard, &path, &fd);
    const int64_t at = region->offset + (range.begin - region->range.begin) * (int64_t)sizeof(float);
    if (status == CM3_OK)
        status = read_exactly(fd, path.text, values, cm3_range_length(range) * (int64_t)sizeof(float), at);
    if (fd >= 0) close(fd);
    return status;
}
