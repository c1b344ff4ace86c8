#include "core/tensor/mirror.h"

cm3_status cm3_mirror_take(const cm3_memory *memory, size_t bytes, const char *what, cm3_mirror *m) {
    *m = (cm3_mirror){.memory = memory, .bytes = bytes, .host = cm3_memory_host.take(bytes)};
    m->there = memory->host ? m->host : memory->take(bytes);
    return m->host && m->there ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for %s", what);
}

void cm3_mirror_give(cm3_mirror *m) {
    if (!m->memory) return;
    if (!m->memory->host) m->memory->give(m->there, m->bytes);
    cm3_memory_host.give(m->host, m->bytes);
    *m = (cm3_mirror){0};
}

cm3_status cm3_mirror_upload(const cm3_mirror *m) {
    return m->memory->host ? CM3_OK : m->memory->upload(m->there, m->host, m->bytes);
}

cm3_status cm3_mirror_download(const cm3_mirror *m) {
    return m->memory->host ? CM3_OK : m->memory->download(m->host, m->there, m->bytes);
}
