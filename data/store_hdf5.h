/* What the two sides of the token store share: names, and HDF5 kept quiet. Internal to data/. */
#ifndef CM3_DATA_STORE_HDF5_H
#define CM3_DATA_STORE_HDF5_H

#include "core/status.h"

#include <hdf5.h>

#define CM3_STORE_FORMAT "cm3leon token store"
enum { CM3_STORE_VERSION = 1 };

/* HDF5 prints its errors unless told not to, a setting of each thread. Every public call is quiet between these two. */
typedef struct cm3__hdf5_quiet {
    H5E_auto2_t print;
    void *data;
} cm3__hdf5_quiet;
cm3__hdf5_quiet cm3__hdf5_quiet_begin(void);
void cm3__hdf5_quiet_end(cm3__hdf5_quiet saved);

/* Records "PATH: WHAT (HDF5: its own reason)". To be called before any other call of HDF5, which would clear the
 * reason. */
cm3_status cm3__hdf5_fail(cm3_status status, const char *path, const char *what);

#endif
