/* A progress line on stderr for long work: how much is done, how fast, how long it will still take. On a terminal one
 * line that is redrawn; otherwise a plain line about every ten seconds, for logs. Silent below log level INFO. */
#ifndef CM3_CORE_PROGRESS_H
#define CM3_CORE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3_progress {
    const char *what; /* "tokenize": borrowed until the end */
    const char *unit; /* "samples" */
    uint64_t total;   /* 0: not known */
    uint64_t done;
    double started, drawn; /* seconds of cm3_clock_seconds */
    bool terminal;
} cm3_progress;

cm3_progress cm3_progress_start(const char *what, const char *unit, uint64_t total);
/* Cheap enough for every item of work: it draws only when enough time has passed. One thread at a time. */
void cm3_progress_update(cm3_progress *progress, uint64_t done);
/* The last line: what was done and in what time. */
void cm3_progress_end(cm3_progress *progress);

/* "1.2 s", "3 min 05 s", "2 h 04 min" */
void cm3_progress_format_seconds(double seconds, char *text, int size);

#endif
