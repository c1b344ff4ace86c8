#include "core/log.h"

#include "core/clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static _Atomic cm3_log_level level = CM3_LOG_INFO;

void cm3_log_set_level(cm3_log_level new_level) {
    atomic_store(&level, new_level);
}

cm3_log_level cm3_log_get_level(void) {
    return atomic_load(&level);
}

static double started;

__attribute__((constructor)) static void note_start(void) {
    started = cm3_clock_seconds();
}

static void print_line(const char *prefix, const char *format, va_list args) {
    char line[4096];
    vsnprintf(line, sizeof line, format, args);
    /* One call, so that lines of threads and ranks stay whole. */
    fprintf(stderr, "[%7.1fs] %s%s\n", cm3_clock_seconds() - started, prefix, line);
}

#define CM3_LOG_FUNCTION(name, wanted, prefix)                                                                         \
    void name(const char *format, ...) {                                                                               \
        if (cm3_log_get_level() < (wanted)) return;                                                                    \
        va_list args;                                                                                                  \
        va_start(args, format);                                                                                        \
        print_line(prefix, format, args);                                                                              \
        va_end(args);                                                                                                  \
    }

CM3_LOG_FUNCTION(cm3_log_warn, CM3_LOG_WARN, "warning: ")
CM3_LOG_FUNCTION(cm3_log_info, CM3_LOG_INFO, "")
CM3_LOG_FUNCTION(cm3_log_debug, CM3_LOG_DEBUG, "debug: ")
