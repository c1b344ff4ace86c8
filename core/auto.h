/* Variables that free themselves when their scope ends, whichever return ends it:
 *
 *     CM3_AUTO(cm3_image_free) cm3_image image = {0};
 *     CM3_AUTO_FREE float *pixels = malloc(bytes);
 *     CM3_TRY(cm3_image_read(path, 0, &image));
 *
 * so that failures are forwarded without a ladder of clean-ups. Initialise them where they are declared; to hand one
 * on, set it to NULL. An attribute of GCC and Clang. */
#ifndef CM3_CORE_AUTO_H
#define CM3_CORE_AUTO_H

#include <stdlib.h>
#include <string.h>

/* `close` gets the variable's address; of a handle, which is a pointer, CM3_AUTO_CLOSE(cm3_network_close, cm3_network)
 * makes the function cm3_network_close_auto that does. */
#define CM3_AUTO(close) __attribute__((cleanup(close)))
#define CM3_AUTO_CLOSE(close, type)                                                                                    \
    static void close##_auto(type **handle) {                                                                          \
        close(*handle);                                                                                                \
    }
#define CM3_AUTO_FREE CM3_AUTO(cm3__auto_free)

static inline void cm3__auto_free(void *variable) {
    void *memory;
    memcpy(&memory, variable, sizeof memory);
    free(memory);
}

#endif
