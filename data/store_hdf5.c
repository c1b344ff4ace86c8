#include "data/store_hdf5.h"

#include <stddef.h>
#include <stdio.h>

#define ATTRIBUTE(name, kind, member, ...)                                                                             \
    { name, kind, offsetof(cm3_store_info, member), sizeof(((cm3_store_info *)0)->member), __VA_ARGS__ }
const cm3__attribute cm3__store_attributes[] = {
    ATTRIBUTE("content", CM3__HASH, content, 0, 0),
    ATTRIBUTE("vocabulary", CM3__HASH, vocabulary, 0, 0),
    ATTRIBUTE("text_tokenizer", CM3__HASH, inputs.text_tokenizer, 0, 0),
    ATTRIBUTE("image_tokenizer", CM3__HASH, inputs.image_tokenizer, 0, 0),
    ATTRIBUTE("image_size", CM3__INT, inputs.image_size, 0, CM3_STORE_TOKENS_MAX),
    ATTRIBUTE("fit", CM3__STRING_OF, inputs.fit, 0, 0),
    ATTRIBUTE("background", CM3__STRING_OF, inputs.background, 0, 0),
    ATTRIBUTE("resize", CM3__STRING_OF, inputs.resize, 0, 0),
    ATTRIBUTE("samples", CM3__INT, samples, 0, 0),
    ATTRIBUTE("validation", CM3__INT, validation, 0, 0),
    ATTRIBUTE("images", CM3__INT, images, 0, 0),
    ATTRIBUTE("image_codebook", CM3__INT, image_codebook, 1, INT32_MAX),
    ATTRIBUTE("text_vocabulary", CM3__INT, text_vocabulary, 1, INT32_MAX),
    {NULL, CM3__INT, 0, 0, 0, 0}};

static size_t id_size(int64_t vocabulary) {
    return vocabulary <= 256 ? 1 : vocabulary <= 65536 ? 2 : 4;
}

cm3__layout cm3__store_layout(const cm3_store_info *info, enum cm3__column column) {
    const cm3__layout layouts[CM3__COLUMNS] = {[CM3__SAMPLE] = {"sample", 8, 3, false},
                                               [CM3__SEGMENT] = {"segment", 4, 2, false},
                                               [CM3__TEXT] = {"text", id_size(info->text_vocabulary), 1, false},
                                               [CM3__CODE] = {"code", id_size(info->image_codebook), 1, false},
                                               [CM3__SPLIT] = {"split", 1, 1, false},
                                               [CM3__STRING] = {"string", 8, CM3_STORE_STRINGS, true},
                                               [CM3__NAME] = {"name", 1, 1, true},
                                               [CM3__CAPTION] = {"caption", 1, 1, true},
                                               [CM3__ORIGIN] = {"origin", 1, 1, true}};
    return layouts[column];
}

hid_t cm3__file_type(size_t size) {
    return size == 1 ? H5T_STD_U8LE : size == 2 ? H5T_STD_U16LE : size == 4 ? H5T_STD_U32LE : H5T_STD_U64LE;
}

hid_t cm3__memory_type(size_t size) {
    return size == 1   ? H5T_NATIVE_UINT8
           : size == 2 ? H5T_NATIVE_UINT16
           : size == 4 ? H5T_NATIVE_UINT32
                       : H5T_NATIVE_UINT64;
}

cm3__hdf5_quiet cm3__hdf5_quiet_begin(void) {
    /* HDF5 ends itself at exit unless told otherwise before its first use. A damaged file leaves things behind that it
     * then cannot close ("infinite loop closing library", or a crash); everything of ours is closed long before. */
    H5dont_atexit();
    cm3__hdf5_quiet saved = {NULL, NULL};
    H5Eget_auto2(H5E_DEFAULT, &saved.print, &saved.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return saved;
}

void cm3__hdf5_quiet_end(cm3__hdf5_quiet saved) {
    H5Eset_auto2(H5E_DEFAULT, saved.print, saved.data);
}

typedef struct reason {
    char text[256];
} reason;

static herr_t take_first(unsigned n, const H5E_error2_t *error, void *data) {
    reason *first = data;
    if (n == 0 && error->desc) snprintf(first->text, sizeof first->text, "%s", error->desc);
    return 0;
}

cm3_status cm3__hdf5_fail(cm3_status status, const char *path, const char *what) {
    reason first = {"no reason given"};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &first); /* the innermost error is the cause */
    return cm3_fail(status, "%s: %s (HDF5: %s)", path, what, first.text);
}
