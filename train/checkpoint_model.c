/* model.h5: the checkpoint as one whole, for people and their tools. Its tensors are virtual datasets, views into the
 * shards. It is small: HDF5 makes it in memory and it is written, read and checked as a string of bytes. */
#include "train/checkpoint_internal.h"

#include "core/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGE_GROWTH = 1 << 20 };

/* --- writing ----------------------------------------------------------------------------------------------------- */

static bool put_attribute(hid_t object, const char *name, hid_t type, const void *value) {
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = space < 0 ? -1 : H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    if (space >= 0) H5Sclose(space);
    return good;
}

/* A UTF-8 string type that holds `length` bytes and a zero. */
static hid_t text_type(size_t length) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, length + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

static bool put_text_attribute(hid_t object, const char *name, const char *text) {
    const hid_t type = text_type(strlen(text));
    const bool good = type >= 0 && put_attribute(object, name, type, text);
    if (type >= 0) H5Tclose(type);
    return good;
}

static bool put_dataset(hid_t file, const char *path, hid_t type, cm3_shape shape, const void *data) {
    hsize_t size[CM3_MAX_DIMS];
    for (int d = 0; d < shape.rank; d++) size[d] = (hsize_t)shape.dim[d];
    const hid_t space = shape.rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(shape.rank, size, NULL);
    const hid_t links = H5Pcreate(H5P_LINK_CREATE), options = H5Pcreate(H5P_DATASET_CREATE);
    bool good = space >= 0 && links >= 0 && options >= 0 && H5Pset_create_intermediate_group(links, 1) >= 0 &&
                H5Pset_obj_track_times(options, false) >= 0;
    const hid_t set = good ? H5Dcreate2(file, path, type, space, links, options, H5P_DEFAULT) : -1;
    good = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (set >= 0) H5Dclose(set);
    if (options >= 0) H5Pclose(options);
    if (links >= 0) H5Pclose(links);
    if (space >= 0) H5Sclose(space);
    return good;
}

static bool put_text(hid_t file, const char *path, const char *text) {
    const hid_t type = text_type(strlen(text));
    const bool good = type >= 0 && put_dataset(file, path, type, (cm3_shape){0}, text);
    if (type >= 0) H5Tclose(type);
    return good;
}

/* Adds to a virtual dataset's description the views of one tensor into one shard: a few boxes. */
static bool map_shard(hid_t options, hid_t space, const cm3_checkpoint_tensor *tensor, int dataset_index,
                      const cm3__manifest *manifest, int shard) {
    const cm3_range all = {tensor->offset, tensor->offset + cm3_shape_count(tensor->shape)};
    const cm3__dataset *of = &manifest->datasets[dataset_index];
    const cm3_range piece = manifest->shards[shard].regions[dataset_index].range, cut = cm3_range_intersect(all, piece);
    cm3_box boxes[CM3_BOXES_MAX];
    const int count = cm3_range_boxes(tensor->shape, (cm3_range){cut.begin - all.begin, cut.end - all.begin}, boxes);
    const hsize_t length = (hsize_t)cm3_range_length(piece);
    char file[CM3__NAME_MAX], dataset[2 * CM3__NAME_MAX + 2];
    cm3__shard_name(shard, manifest->shard_count, file);
    snprintf(dataset, sizeof dataset, "/%s/%s", of->buffer, of->group);
    bool good = true;
    for (int b = 0; b < count && good; b++) {
        const cm3_box *box = &boxes[b];
        const hsize_t from = (hsize_t)(all.begin + box->range.begin - piece.begin),
                      elements = (hsize_t)cm3_range_length(box->range);
        hsize_t start[CM3_MAX_DIMS], extent[CM3_MAX_DIMS];
        for (int d = 0; d < CM3_MAX_DIMS; d++) {
            start[d] = (hsize_t)box->start[d];
            extent[d] = (hsize_t)box->count[d];
        }
        const hid_t source = H5Screate_simple(1, &length, NULL);
        good = source >= 0 && H5Sselect_hyperslab(source, H5S_SELECT_SET, &from, NULL, &elements, NULL) >= 0 &&
               H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0 &&
               H5Pset_virtual(options, space, file, dataset, source) >= 0;
        if (source >= 0) H5Sclose(source);
    }
    return good;
}

/* /parameters/NAME, or /optimizer/BUFFER/NAME. Where a shard is missing, other tools read NaN, not silent zeros. */
static bool put_tensor(hid_t file, const cm3_checkpoint_tensor *tensor, int dataset, const cm3__manifest *manifest) {
    char path[1024];
    const char *buffer = manifest->datasets[dataset].buffer;
    const bool parameters = strcmp(buffer, "parameters") == 0;
    if (parameters)
        snprintf(path, sizeof path, "/parameters/%s", tensor->name);
    else
        snprintf(path, sizeof path, "/optimizer/%s/%s", buffer, tensor->name);
    hsize_t size[CM3_MAX_DIMS] = {1};
    for (int d = 0; d < tensor->shape.rank; d++) size[d] = (hsize_t)tensor->shape.dim[d];
    const float missing = NAN;
    const int64_t offset = tensor->offset;
    const hid_t space = H5Screate_simple(tensor->shape.rank > 0 ? tensor->shape.rank : 1, size, NULL);
    const hid_t options = H5Pcreate(H5P_DATASET_CREATE), links = H5Pcreate(H5P_LINK_CREATE);
    bool good = space >= 0 && options >= 0 && links >= 0 && H5Pset_create_intermediate_group(links, 1) >= 0 &&
                H5Pset_obj_track_times(options, false) >= 0 &&
                H5Pset_fill_value(options, H5T_NATIVE_FLOAT, &missing) >= 0;
    for (int s = 0; s < manifest->shard_count && good; s++)
        good = map_shard(options, space, tensor, dataset, manifest, s);
    if (good) H5Sselect_all(space);
    const hid_t set = good ? H5Dcreate2(file, path, H5T_IEEE_F32LE, space, links, options, H5P_DEFAULT) : -1;
    good = set >= 0 && put_attribute(set, "offset", H5T_NATIVE_INT64, &offset) &&
           put_text_attribute(set, "group", manifest->datasets[dataset].group);
    if (set >= 0) H5Dclose(set);
    if (links >= 0) H5Pclose(links);
    if (options >= 0) H5Pclose(options);
    if (space >= 0) H5Sclose(space);
    return good;
}

static hid_t type_of(cm3_dtype type) {
    switch (type) {
    case CM3_F32:
        return H5T_IEEE_F32LE;
    case CM3_I32:
        return H5T_STD_I32LE;
    case CM3_BF16:
        return H5T_STD_U16LE; /* the bits */
    case CM3_U8:
        return H5T_STD_U8LE;
    }
    return -1;
}

static void fingerprint_path(const cm3_checkpoint_group *group, char path[CM3__NAME_MAX + 16]) {
    snprintf(path, CM3__NAME_MAX + 16, "/frozen/%s", group->name);
}

static bool put_fingerprint(hid_t file, const cm3_checkpoint_group *group) {
    char path[CM3__NAME_MAX + 16], hex[CM3_HASH_HEX];
    fingerprint_path(group, path);
    cm3_hash_to_hex(group->fingerprint, hex);
    return put_text(file, path, hex);
}

static bool put_all(hid_t file, const cm3_checkpoint_parts *parts, const cm3_checkpoint_state *state,
                    const cm3__manifest *manifest) {
    const int version = CM3__VERSION;
    bool good = put_text_attribute(file, "format", "cm3leon checkpoint") &&
                put_attribute(file, "version", H5T_NATIVE_INT, &version) &&
                put_attribute(file, "step", H5T_NATIVE_INT64, &state->step) &&
                put_attribute(file, "tokens", H5T_NATIVE_INT64, &state->tokens) &&
                put_attribute(file, "seed", H5T_NATIVE_UINT64, &state->seed) &&
                put_attribute(file, "best", H5T_NATIVE_DOUBLE, &state->best) &&
                put_text_attribute(file, "kind", state->kind == NULL ? "" : state->kind) &&
                put_text(file, "/state/config", state->config == NULL ? "" : state->config) &&
                put_text(file, "/state/data", state->data == NULL ? "" : state->data);
    for (int g = 0; g < parts->group_count && good; g++) {
        const cm3_checkpoint_group *group = &parts->groups[g];
        for (int b = 0; b < group->buffer_count; b++)
            for (int64_t t = 0; t < group->table.count && good; t++)
                good = put_tensor(file, &group->table.tensors[t],
                                  cm3__manifest_find(manifest, group->buffers[b].name, group->name), manifest);
        if (group->buffer_count == 0) good = put_fingerprint(file, group);
    }
    for (int a = 0; a < parts->array_count && good; a++) {
        char path[1024];
        snprintf(path, sizeof path, "/extra/%s", parts->arrays[a].name);
        good = put_dataset(file, path, type_of(parts->arrays[a].type), parts->arrays[a].shape, parts->arrays[a].data);
    }
    return good;
}

/* The file as bytes; the caller's to free. In HDF5's oldest format version: in newer ones an image's superblock has a
 * wrong checksum (HDF5 1.10). */
static bool make_image(const cm3_checkpoint_parts *parts, const cm3_checkpoint_state *state,
                       const cm3__manifest *manifest, void **image, size_t *length) {
    *image = NULL;
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    bool good = access >= 0 && H5Pset_fapl_core(access, IMAGE_GROWTH, false) >= 0;
    const hid_t file = good ? H5Fcreate(CM3__MODEL, H5F_ACC_TRUNC, H5P_DEFAULT, access) : -1;
    good = file >= 0 && put_all(file, parts, state, manifest) && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0;
    const ssize_t size = good ? H5Fget_file_image(file, NULL, 0) : -1;
    if (size > 0) *image = malloc((size_t)size);
    good = *image != NULL && H5Fget_file_image(file, *image, (size_t)size) == size;
    *length = good ? (size_t)size : 0;
    if (file >= 0) H5Fclose(file);
    if (access >= 0) H5Pclose(access);
    return good;
}

cm3_status cm3__model_write(const char *folder, const cm3_checkpoint_parts *parts, const cm3_checkpoint_state *state,
                            cm3__manifest *manifest) {
    cm3__hdf5_quiet();
    const cm3_path path = cm3_path_join(folder, CM3__MODEL);
    void *image;
    size_t length;
    cm3_status status = make_image(parts, state, manifest, &image, &length)
                            ? CM3_OK
                            : cm3__checkpoint_hdf5_fail(path.text, "cannot make");
    if (status == CM3_OK) {
        manifest->model_bytes = (int64_t)length;
        manifest->model_hash = cm3_hash_bytes(image, length);
        status = cm3_file_write(path.text, image, length);
    }
    free(image);
    return status;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static cm3_status format_fail(const cm3__model *model, const char *what) {
    return cm3_fail(CM3_ERR_FORMAT, "%s: %s", model->path, what);
}

static bool get_attribute(hid_t object, const char *name, hid_t type, void *value) {
    const hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    const hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute);
    const bool good = space >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, type, value) >= 0;
    if (space >= 0) H5Sclose(space);
    if (attribute >= 0) H5Aclose(attribute);
    return good;
}

static bool get_shape(hid_t set, cm3_shape *shape) {
    hsize_t size[H5S_MAX_RANK];
    const hid_t space = H5Dget_space(set);
    const int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    bool good = rank >= 0 && rank <= CM3_MAX_DIMS && H5Sget_simple_extent_dims(space, size, NULL) == rank;
    *shape = (cm3_shape){.rank = good ? rank : 0};
    int64_t count = 1;
    for (int d = 0; d < rank && good; d++) {
        good = size[d] <= INT64_MAX && !__builtin_mul_overflow(count, (int64_t)size[d], &count);
        shape->dim[d] = (int64_t)size[d];
    }
    if (space >= 0) H5Sclose(space);
    return good;
}

/* One text that is an attribute or a dataset: its own type tells its length. NULL if there is none. */
static char *get_text(hid_t id, hid_t (*type_of_id)(hid_t), hid_t (*space_of_id)(hid_t),
                      herr_t (*read)(hid_t, hid_t, void *)) {
    const hid_t type = type_of_id(id), space = space_of_id(id);
    char *text = NULL;
    if (type >= 0 && space >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(type) == H5T_STRING &&
        H5Tis_variable_str(type) == 0) {
        const size_t size = H5Tget_size(type);
        text = calloc(1, size + 1);
        if (text != NULL && read(id, type, text) < 0) {
            free(text);
            text = NULL;
        }
    }
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return text;
}

static herr_t read_whole(hid_t set, hid_t type, void *data) {
    return H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
}

static char *get_text_dataset(hid_t file, const char *path) {
    const hid_t set = H5Dopen2(file, path, H5P_DEFAULT);
    char *text = set < 0 ? NULL : get_text(set, H5Dget_type, H5Dget_space, read_whole);
    if (set >= 0) H5Dclose(set);
    return text;
}

static char *get_text_attribute(hid_t file, const char *name) {
    const hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    char *text = attribute < 0 ? NULL : get_text(attribute, H5Aget_type, H5Aget_space, H5Aread);
    if (attribute >= 0) H5Aclose(attribute);
    return text;
}

cm3_status cm3__model_read_state(const cm3__model *model, cm3_checkpoint_state *state) {
    *state = (cm3_checkpoint_state){0};
    state->kind = get_text_attribute(model->file, "kind");
    state->config = get_text_dataset(model->file, "/state/config");
    state->data = get_text_dataset(model->file, "/state/data");
    if (get_attribute(model->file, "step", H5T_NATIVE_INT64, &state->step) &&
        get_attribute(model->file, "tokens", H5T_NATIVE_INT64, &state->tokens) &&
        get_attribute(model->file, "seed", H5T_NATIVE_UINT64, &state->seed) &&
        get_attribute(model->file, "best", H5T_NATIVE_DOUBLE, &state->best) && state->kind != NULL &&
        state->config != NULL && state->data != NULL)
        return CM3_OK;
    cm3_checkpoint_state_free(state);
    return format_fail(model,
                       "holds no complete state of a run (step, tokens, seed, best, kind, /state/config, /state/data)");
}

void cm3_checkpoint_state_free(cm3_checkpoint_state *state) {
    free(state->kind);
    free(state->config);
    free(state->data);
    *state = (cm3_checkpoint_state){0};
}

/* Collects the datasets below /parameters. */
typedef struct collector {
    cm3__model *model;
    const cm3__manifest *manifest;
    int64_t capacity;
    cm3_status status;
} collector;

static bool grow(collector *c) {
    if (c->model->tensor_count < c->capacity) return true;
    const int64_t capacity = c->capacity == 0 ? 256 : 2 * c->capacity;
    cm3_checkpoint_tensor *grown = realloc(c->model->tensors, (size_t)capacity * sizeof *grown);
    if (grown == NULL) return false;
    c->model->tensors = grown;
    c->capacity = capacity;
    return true;
}

static herr_t collect(hid_t group, const char *name, const H5O_info_t *info, void *context) {
    collector *c = context;
    if (info->type != H5O_TYPE_DATASET) return 0;
    cm3_checkpoint_tensor tensor = {0};
    const hid_t set = H5Dopen2(group, name, H5P_DEFAULT);
    char *of = set >= 0 ? get_text_attribute(set, "group") : NULL;
    tensor.group = of ? cm3__manifest_find(c->manifest, "parameters", of) : -1;
    const bool good = tensor.group >= 0 && get_shape(set, &tensor.shape) &&
                      get_attribute(set, "offset", H5T_NATIVE_INT64, &tensor.offset);
    free(of);
    if (set >= 0) H5Dclose(set);
    if (!good) {
        c->status =
            cm3_fail(CM3_ERR_FORMAT, "%s: /parameters/%s has no shape, offset or group that could be one of ours",
                     c->model->path, name);
        return -1;
    }
    tensor.name = strdup(name);
    if (tensor.name == NULL || !grow(c)) {
        free((char *)tensor.name);
        c->status = cm3_fail(CM3_ERR_MEMORY, "out of memory for the parameters of %s", c->model->path);
        return -1;
    }
    c->model->tensors[c->model->tensor_count++] = tensor;
    return 0;
}

static int by_offset(const void *a, const void *b) {
    const cm3_checkpoint_tensor *x = a, *y = b;
    if (x->group != y->group) return x->group - y->group;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static cm3_status read_table(cm3__model *model, const cm3__manifest *manifest) {
    collector c = {.model = model, .manifest = manifest};
    if (H5Ovisit_by_name(model->file, "/parameters", H5_INDEX_NAME, H5_ITER_INC, collect, &c, H5P_DEFAULT) < 0)
        return c.status != CM3_OK ? c.status : format_fail(model, "holds no group /parameters");
    if (model->tensor_count > 0) qsort(model->tensors, (size_t)model->tensor_count, sizeof *model->tensors, by_offset);
    int64_t at = 0;
    for (int64_t t = 0; t < model->tensor_count; t++) {
        const cm3_checkpoint_tensor *tensor = &model->tensors[t];
        const int64_t count = cm3_shape_count(tensor->shape), total = manifest->datasets[tensor->group].total;
        if (t > 0 && tensor->group != tensor[-1].group) at = 0;
        if (tensor->offset < at || tensor->offset > total || count > total - tensor->offset)
            return cm3_fail(CM3_ERR_FORMAT, "%s: /parameters/%s overlaps another or reaches beyond the end",
                            model->path, tensor->name);
        at = tensor->offset + count;
    }
    return CM3_OK;
}

/* The bytes are known to be those that were written before HDF5 sees them. */
static cm3_status read_image(cm3__model *model, const cm3__manifest *manifest, size_t *length) {
    char *image;
    cm3_status status = cm3_file_read(model->path, (size_t)manifest->model_bytes, &image, length);
    if (status != CM3_OK) return status;
    if ((int64_t)*length == manifest->model_bytes &&
        cm3_hash_equal(cm3_hash_bytes(image, *length), manifest->model_hash)) {
        model->image = image;
        return CM3_OK;
    }
    free(image);
    return format_fail(model, "damaged: the checksum does not fit");
}

cm3_status cm3__model_open(const char *folder, const cm3__manifest *manifest, cm3__model *model) {
    *model = (cm3__model){.file = -1};
    if (snprintf(model->path, sizeof model->path, "%s/%s", folder, CM3__MODEL) >= (int)sizeof model->path)
        return cm3_fail(CM3_ERR_IO, "%s: the path is too long", folder);
    cm3__hdf5_quiet();
    size_t length;
    CM3_TRY(read_image(model, manifest, &length));
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access >= 0 && H5Pset_fapl_core(access, IMAGE_GROWTH, false) >= 0 &&
        H5Pset_file_image(access, model->image, length) >= 0)
        model->file = H5Fopen("(a checkpoint in memory)", H5F_ACC_RDONLY, access); /* no file of this name may exist */
    cm3_status status =
        model->file < 0 ? cm3__checkpoint_hdf5_fail(model->path, "cannot read") : read_table(model, manifest);
    if (access >= 0) H5Pclose(access);
    if (status != CM3_OK) cm3__model_close(model);
    return status;
}

void cm3__model_close(cm3__model *model) {
    if (model->file >= 0) H5Fclose(model->file);
    free(model->image);
    for (int64_t t = 0; t < model->tensor_count; t++) free((char *)model->tensors[t].name);
    free(model->tensors);
    *model = (cm3__model){.file = -1};
}

cm3_status cm3__model_check_frozen(const cm3__model *model, const cm3_checkpoint_group *group) {
    char path[CM3__NAME_MAX + 16], hex[CM3_HASH_HEX];
    fingerprint_path(group, path);
    cm3_hash_to_hex(group->fingerprint, hex);
    char *saved = get_text_dataset(model->file, path);
    cm3_status status = CM3_OK;
    if (saved == NULL)
        status =
            cm3_fail(CM3_ERR_SHAPE, "%s: holds no fingerprint of the frozen group %s: it was not frozen, or not there",
                     model->path, group->name);
    else if (strcmp(saved, hex) != 0)
        status =
            cm3_fail(CM3_ERR_SHAPE, "%s: was saved with other values of the frozen group %s: fingerprint %s, now %s",
                     model->path, group->name, saved, hex);
    free(saved);
    return status;
}

cm3_status cm3__model_read_array(const cm3__model *model, const cm3_checkpoint_array *array) {
    char path[1024], found[96], expected[96];
    snprintf(path, sizeof path, "/extra/%s", array->name);
    const hid_t set = H5Dopen2(model->file, path, H5P_DEFAULT);
    if (set < 0) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: holds no %s", model->path, path);
    cm3_shape shape;
    cm3_status status = CM3_OK;
    if (!get_shape(set, &shape) || !cm3_shape_equal(shape, array->shape))
        status = cm3_fail(CM3_ERR_SHAPE, "%s: %s has shape %s, expected %s", model->path, path,
                          cm3_shape_text(shape, found), cm3_shape_text(array->shape, expected));
    else if (H5Dread(set, type_of(array->type), H5S_ALL, H5S_ALL, H5P_DEFAULT, array->data) < 0)
        status = cm3__checkpoint_hdf5_fail(model->path, path);
    H5Dclose(set);
    return status;
}
