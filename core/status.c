#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[CM3_MESSAGE_MAX];

const char *cm3_status_text(cm3_status status) {
    switch (status) {
#define X(name, value, text)                                                                                           \
    case CM3_##name:                                                                                                   \
        return text;
        CM3_STATUS_LIST(X)
#undef X
    }
    return "unknown status";
}

cm3_status cm3_fail(cm3_status status, const char *format, ...) {
    /* Formatted aside first: an argument may be the present message itself. */
    char line[CM3_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    memcpy(message, line, sizeof message);
    return status;
}

cm3_status cm3_fail_context(cm3_status status, const char *format, ...) {
    char line[CM3_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    const int written = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t used = written < 0 ? 0 : (size_t)written;
    if (used > sizeof line - 3) used = sizeof line - 3;
    snprintf(line + used, sizeof line - used, ": %s", message);
    memcpy(message, line, sizeof message);
    return status;
}

const char *cm3_message(void) {
    return message;
}
