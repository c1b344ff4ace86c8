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

static cm3_status sync(void) {
    return CM3_OK;
}

static cm3_status record_event(void **event) {
    *event = NULL; /* complete at once */
    return CM3_OK;
}

static cm3_status sync_event(void *event) {
    (void)event;
    return CM3_OK;
}

static void free_event(void *event) {
    (void)event;
}

const cm3_memory cm3_memory_host = {.host = true,
                                    .alloc = cm3_pages_alloc,
                                    .free = cm3_pages_free,
                                    .upload = copy,
                                    .download = copy,
                                    .copy = copy,
                                    .clear = clear,
                                    .set = set,
                                    .sync = sync,
                                    .alloc_pinned = cm3_pages_alloc,
                                    .free_pinned = cm3_pages_free,
                                    .upload_async = copy,
                                    .download_async = copy,
                                    .event_record = record_event,
                                    .event_sync = sync_event,
                                    .event_free = free_event,
                                    .discard = cm3_pages_discard,
                                    .page_bytes = CM3_HUGE_PAGE};
