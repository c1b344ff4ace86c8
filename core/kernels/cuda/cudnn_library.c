#include "core/kernels/cuda/cudnn_library.h"

#ifdef CM3__CUDNN_IS_KNOWN
#include "core/library.h"

enum { OLDEST = 91000 }; /* 9.10: clears what it adds up in, and takes -inf for a score */

cm3_status cm3__cudnn_load(cm3__cudnn *cudnn) {
    void *library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL); /* stays open */
    if (!library) return cm3_fail(CM3_ERR_UNSUPPORTED, "%s", dlerror());
#define X(name)                                                                                                        \
    if (!cm3_library_find(library, "cudnn" #name, &cudnn->name, sizeof cudnn->name))                                   \
        return cm3_fail(CM3_ERR_UNSUPPORTED, "%s", dlerror());
    CM3__CUDNN_LIST(X)
#undef X
    if (cudnn->GetVersion() >= OLDEST) return CM3_OK;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "libcudnn.so.9 has version %zu, at least %d is needed", cudnn->GetVersion(),
                    OLDEST);
}
#endif
