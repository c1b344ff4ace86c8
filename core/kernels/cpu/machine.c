#include "core/kernels/cpu/machine.h"

#include "core/clock.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/dispatch.h"
#include "core/kernels/cpu/gemm.h"
#include "core/threads.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double product_rate(double seconds, bool library, double *mean) {
    enum { SIDE = 1024 };
    const int64_t columns = SIDE * cm3_threads_count();
    float *a = aligned_alloc(64, sizeof(float) * SIDE * SIDE);
    float *b = aligned_alloc(64, sizeof(float) * SIDE * (size_t)columns);
    float *c = aligned_alloc(64, sizeof(float) * SIDE * (size_t)columns);
    double best = 0, flops = 0, spent = 0;
    if (a && b && c) {
        for (int64_t i = 0; i < SIDE * SIDE; i++) a[i] = (float)(i % 7) - 3;
        for (int64_t i = 0; i < SIDE * columns; i++) b[i] = (float)(i % 5) - 2;
        const cm3_gemm product = {.m = SIDE, .n = columns, .k = SIDE, .a = a, .b = b, .c = c, .library = library};
        const double work = 2.0 * SIDE * SIDE * (double)columns;
        do {
            const double from = cm3_clock_seconds();
            cm3__gemm(&product);
            const double once = cm3_clock_seconds() - from;
            flops += work;
            spent += once;
            if (work / once > best) best = work / once;
        } while (spent < seconds);
    }
    if (mean) *mean = spent > 0 ? flops / spent : 0;
    free(a);
    free(b);
    free(c);
    return best;
}

double cm3_machine_sgemm_rate(double seconds, double *mean) {
    return product_rate(seconds, true, mean);
}

const char *cm3_machine_sgemm_kernel(void) {
    return openblas_get_corename();
}

/* Each piece its own FLOPs. */
static void multiply_adds(const void *context, int64_t piece, int64_t end) {
    enum { ROUNDS = 1 << 13 }; /* some 15 microseconds */
    double *const *flops = context;
    for (float result = 1; piece < end; piece++) cm3__simd()->multiply_adds(ROUNDS, *flops + piece, &result);
}

double cm3_machine_peak(double seconds) {
    enum { PIECES = 256 };
    double each[PIECES], *flops = each, best = 0;
    const double begin = cm3_clock_seconds();
    do {
        const double from = cm3_clock_seconds();
        cm3_parallel_for(PIECES, 1, multiply_adds, &flops);
        const double spent = cm3_clock_seconds() - from;
        double sum = 0;
        for (int i = 0; i < PIECES; i++) sum += each[i];
        best = fmax(best, sum / spent);
    } while (cm3_clock_seconds() - begin < seconds);
    return best;
}

double cm3__cpu_peak(cm3_dtype type) {
    return type == CM3_F32 ? cm3_machine_peak(0.02) : 0;
}

void cm3_machine_warm_up(void) {
    product_rate(0, true, NULL);
    product_rate(0, false, NULL);
}

typedef struct copying {
    char *to;
    const char *from;
} copying;

static void copy_range(const void *context, int64_t first, int64_t last) {
    const copying *c = context;
    memcpy(c->to + first, c->from + first, (size_t)(last - first));
}

double cm3_machine_copy_rate(double seconds) {
    const int64_t bytes = 128 << 20;
    char *from = aligned_alloc(64, (size_t)bytes), *to = aligned_alloc(64, (size_t)bytes);
    double best = 0;
    if (from && to) {
        memset(from, 1, (size_t)bytes);
        memset(to, 2, (size_t)bytes);
        const double begin = cm3_clock_seconds();
        do {
            const double start = cm3_clock_seconds();
            cm3_parallel_for(bytes, (bytes - 1) / cm3_threads_count() + 1, copy_range, &(copying){to, from});
            const double rate = 2.0 * (double)bytes / (cm3_clock_seconds() - start);
            if (rate > best) best = rate;
        } while (cm3_clock_seconds() - begin < seconds);
    }
    free(from);
    free(to);
    return best;
}

/* A figure of /proc/self/status, which has it in KiB. */
static double status_bytes(const char *name) {
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0) kib = strtod(line + strlen(name), NULL);
    fclose(file);
    return kib * 1024;
}

double cm3_machine_memory(void) {
    return status_bytes("VmRSS:");
}

double cm3_machine_peak_memory(void) {
    return status_bytes("VmHWM:");
}

void cm3_machine_watch_memory(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w"); /* "5" resets VmHWM to VmRSS */
    if (!file) return;
    fputs("5", file);
    fclose(file);
}
