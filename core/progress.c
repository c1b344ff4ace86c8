#include "core/progress.h"

#include "core/clock.h"
#include "core/log.h"

#include <stdio.h>
#include <unistd.h>

/* Seconds between two progress lines. */
static const double on_terminal = 0.2, in_a_log = 10.0;

void cm3_progress_format_seconds(double seconds, char *text, int size) {
    if (!(seconds >= 0 && seconds < 1e9)) {
        snprintf(text, (size_t)size, "?");
        return;
    }
    const long whole = (long)(seconds + 0.5);
    if (seconds < 59.95) snprintf(text, (size_t)size, "%.1f s", seconds);
    else if (whole < 3600) snprintf(text, (size_t)size, "%ld min %02ld s", whole / 60, whole % 60);
    else snprintf(text, (size_t)size, "%ld h %02ld min", whole / 3600, whole / 60 % 60);
}

static void format_rate(double rate, char *text, size_t size) {
    if (rate >= 1e6) snprintf(text, size, "%.2f M", rate * 1e-6);
    else if (rate >= 1e4) snprintf(text, size, "%.1f k", rate * 1e-3);
    else if (rate >= 100) snprintf(text, size, "%.0f ", rate);
    else snprintf(text, size, "%.2g ", rate);
}

static void draw(const cm3_progress *progress, double now) {
    char line[256], rate_text[32], left_text[32];
    const double seconds = now - progress->started;
    const double rate = seconds > 0 ? (double)progress->done / seconds : 0;
    format_rate(rate, rate_text, sizeof rate_text);
    if (progress->total) {
        const double left =
            rate > 0 && progress->done <= progress->total ? (double)(progress->total - progress->done) / rate : -1;
        cm3_progress_format_seconds(left, left_text, sizeof left_text);
        snprintf(line, sizeof line, "%s  %llu/%llu %s  %.1f %%  %s%s/s  %s left", progress->what,
                 (unsigned long long)progress->done, (unsigned long long)progress->total, progress->unit,
                 100.0 * (double)progress->done / (double)progress->total, rate_text, progress->unit, left_text);
    } else {
        snprintf(line, sizeof line, "%s  %llu %s  %s%s/s", progress->what, (unsigned long long)progress->done,
                 progress->unit, rate_text, progress->unit);
    }
    if (progress->terminal)
        fprintf(stderr, "\r\033[K%s", line);
    else
        cm3_log_info("%s", line);
    fflush(stderr);
}

cm3_progress cm3_progress_start(const char *what, const char *unit, uint64_t total) {
    const double now = cm3_clock_seconds();
    return (cm3_progress){
        .what = what, .unit = unit, .total = total, .started = now, .drawn = now, .terminal = isatty(STDERR_FILENO)};
}

void cm3_progress_update(cm3_progress *progress, uint64_t done) {
    progress->done = done;
    const double now = cm3_clock_seconds();
    if (now - progress->drawn < (progress->terminal ? on_terminal : in_a_log) || cm3_log_get_level() < CM3_LOG_INFO)
        return;
    progress->drawn = now;
    draw(progress, now);
}

void cm3_progress_end(cm3_progress *progress) {
    char time_text[32], rate_text[32];
    const double seconds = cm3_clock_seconds() - progress->started;
    cm3_progress_format_seconds(seconds, time_text, sizeof time_text);
    format_rate(seconds > 0 ? (double)progress->done / seconds : 0, rate_text, sizeof rate_text);
    if (progress->terminal && cm3_log_get_level() >= CM3_LOG_INFO) fputs("\r\033[K", stderr);
    cm3_log_info("%s  %llu %s in %s (%s%s/s)", progress->what, (unsigned long long)progress->done, progress->unit,
                 time_text, rate_text, progress->unit);
}
