#include "data/store_hdf5.h"

#include <stdio.h>

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
