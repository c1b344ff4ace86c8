#include "core/tensor/staged_buffer.h"

cm3_status cm3_staged_buffer_alloc(const cm3_memory *memory, size_t bytes, const char *what,
                                   cm3_staged_buffer *buffer) {
    *buffer = (cm3_staged_buffer){.memory = memory, .bytes = bytes, .host = cm3_memory_host.alloc(bytes)};
    buffer->there = memory->host ? buffer->host : memory->alloc(bytes);
    return buffer->host && buffer->there ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for %s", what);
}

void cm3_staged_buffer_free(cm3_staged_buffer *buffer) {
    if (!buffer->memory) return;
    if (!buffer->memory->host) buffer->memory->free(buffer->there, buffer->bytes);
    cm3_memory_host.free(buffer->host, buffer->bytes);
    *buffer = (cm3_staged_buffer){0};
}

cm3_status cm3_staged_buffer_upload(const cm3_staged_buffer *buffer) {
    return buffer->memory->host ? CM3_OK : buffer->memory->upload(buffer->there, buffer->host, buffer->bytes);
}

cm3_status cm3_staged_buffer_download(const cm3_staged_buffer *buffer) {
    return buffer->memory->host ? CM3_OK : buffer->memory->download(buffer->host, buffer->there, buffer->bytes);
}
