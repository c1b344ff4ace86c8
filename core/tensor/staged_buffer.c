#include "core/tensor/staged_buffer.h"

cm3_status cm3_staged_buffer_alloc(const cm3_memory *memory, size_t bytes, const char *what, cm3_staged_buffer *m) {
    *m = (cm3_staged_buffer){.memory = memory, .bytes = bytes, .host = cm3_memory_host.alloc(bytes)};
    m->there = memory->host ? m->host : memory->alloc(bytes);
    return m->host && m->there ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for %s", what);
}

void cm3_staged_buffer_free(cm3_staged_buffer *m) {
    if (!m->memory) return;
    if (!m->memory->host) m->memory->free(m->there, m->bytes);
    cm3_memory_host.free(m->host, m->bytes);
    *m = (cm3_staged_buffer){0};
}

cm3_status cm3_staged_buffer_upload(const cm3_staged_buffer *m) {
    return m->memory->host ? CM3_OK : m->memory->upload(m->there, m->host, m->bytes);
}

cm3_status cm3_staged_buffer_download(const cm3_staged_buffer *m) {
    return m->memory->host ? CM3_OK : m->memory->download(m->host, m->there, m->bytes);
}
