#include "data/store_hdf5.h"

#include <stdio.h>

static size_t id_size(int64_t vocabulary) {
    return vocabulary <= 256 ? 1 : vocabulary <= 65536 ? 2 : 4;
}

cm3__layout cm3__store_layout(const cm3_store_info *info, enum cm3__column column) {
    switch (column) {
    case CM3__SAMPLE:
        return (cm3__layout){"sample", 8, 3, false};
    case CM3__SEGMENT:
        return (cm3__layout){"segment", 4, 2, false};
    case CM3__TEXT:
        return (cm3__layout){"text", id_size(info->text_vocabulary), 1, false};
    case CM3__CODE:
        return (cm3__layout){"code", id_size(info->image_codebook), 1, false};
    case CM3__SPLIT:
        return (cm3__layout){"split", 1, 1, false};
    case CM3__STRING:
        return (cm3__layout){"string", 8, CM3_STORE_STRINGS, true};
    case CM3__NAME:
        return (cm3__layout){"name", 1, 1, true};
    case CM3__CAPTION:
        return (cm3__layout){"caption", 1, 1, true};
    default:
        return (cm3__layout){"origin", 1, 1, true};
    }
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
