#include "core/tensor/memory.h"

#include "core/pages.h"

#include <string.h>

static cm3_status copy(void *to, const void *from, size_t bytes) {
    if (bytes) memcpy(to, from, bytes);
    return CM3_OK;
}

static cm3_status clear(void *at, size_t bytes) {
    if (bytes) memset(at, 0, bytes);
    return CM3_OK;
}

static cm3_status set(float *at, float value) {
    *at = value;
    return CM3_OK;
}

static cm3_status wait_for_nothing(void) {
    return CM3_OK;
}

static cm3_status mark(void **mark) {
    *mark = NULL;
    return CM3_OK;
}

static cm3_status reach(void *mark) {
    (void)mark;
    return CM3_OK;
}

static void unmark(void *mark) {
    (void)mark;
}

const cm3_memory cm3_memory_host = {.host = true,
                                    .alloc = cm3_pages_alloc,
                                    .free = cm3_pages_free,
                                    .upload = copy,
                                    .download = copy,
                                    .copy = copy,
                                    .clear = clear,
                                    .set = set,
                                    .sync = wait_for_nothing,
                                    .alloc_pinned = cm3_pages_alloc,
                                    .free_pinned = cm3_pages_free,
                                    .upload_async = copy,
                                    .download_async = copy,
                                    .event_record = mark,
                                    .event_sync = reach,
                                    .event_free = unmark,
                                    .discard = cm3_pages_forget,
                                    .page_bytes = CM3_HUGE_PAGE};
