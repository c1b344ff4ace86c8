/* Functions of a library that is opened at run time. */
#ifndef CM3_CORE_LIBRARY_H
#define CM3_CORE_LIBRARY_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Sets the function pointer at `function`, of `bytes` bytes; false, and NULL, if the library has no such name
 * (dlerror()). Copied as bytes: C has no conversion from an object's address to a function's. */
static inline bool cm3_library_find(void *library, const char *name, void *function, size_t bytes) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, bytes);
    return symbol != NULL;
}

#endif
