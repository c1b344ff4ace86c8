#include "tests/support/simt/simt.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define ENTER_FIBER(keep, bottom, size) __sanitizer_start_switch_fiber(keep, bottom, size)
#define IN_FIBER(keep, bottom, size) __sanitizer_finish_switch_fiber(keep, bottom, size)
#else
#define ENTER_FIBER(keep, bottom, size) ((void)(bottom), (void)(size))
#define IN_FIBER(keep, bottom, size) ((void)(keep))
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;

/* --- switching stacks -------------------------------------------------------------------------------------------- */

enum { STACK = 256 << 10, WARP = 32, MOST_THREADS = 1024 };

#if defined(__x86_64__)
/* Keeps what a call must preserve on the stack that is left, and takes it from the one that is entered. */
extern "C" void simt_switch(void **leave, void *enter);
__asm__(".text\n.type simt_switch,@function\nsimt_switch:\n"
        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");
typedef void *place;
static void go(place *leave, place *enter) {
    simt_switch(leave, *enter);
}
static void prepare(place *fiber, char *stack, void (*start)(void)) {
    void **top = (void **)(stack + STACK) - 2; /* after `ret` the stack is 8 off 16 bytes, as after a call */
    *top = (void *)start;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    *fiber = top;
}
#else
#include <ucontext.h>
typedef ucontext_t place;
static void go(place *leave, place *enter) {
    swapcontext(leave, enter);
}
static void prepare(place *fiber, char *stack, void (*start)(void)) {
    getcontext(fiber);
    fiber->uc_stack.ss_sp = stack;
    fiber->uc_stack.ss_size = STACK;
    fiber->uc_link = NULL;
    makecontext(fiber, start, 0);
}
#endif

/* --- a block ----------------------------------------------------------------------------------------------------- */

enum state { READY, AT_BLOCK, AT_WARP, LEFT };

struct fiber {
    place at;
    char *stack;
    dim3 index;
    state now;
    unsigned mask;        /* AT_WARP: lanes that it exchanges with */
    uint64_t given;       /* to them */
    const uint64_t *seen; /* from them; read before the warp's next exchange */
    void *fake_stack;     /* the sanitizer's */
};

static fiber fibers[MOST_THREADS];
static uint64_t seen[MOST_THREADS][WARP]; /* by those whose first lane this is */
static place scheduler;
static const void *scheduler_bottom;
static size_t scheduler_size;
static int running, count;
static const char *name;
static const std::function<void()> *body;
static void *shared;

static void give_up(const char *what) {
    fprintf(stderr, "%s: %s (block %u %u %u, thread %u %u %u)\n", name, what, blockIdx.x, blockIdx.y, blockIdx.z,
            threadIdx.x, threadIdx.y, threadIdx.z);
    abort();
}

static void yield(state why) {
    fiber *self = &fibers[running];
    self->now = why;
    ENTER_FIBER(why == LEFT ? NULL : &self->fake_stack, scheduler_bottom, scheduler_size);
    go(&self->at, &scheduler);
    IN_FIBER(self->fake_stack, &scheduler_bottom, &scheduler_size);
}

static void start(void) {
    IN_FIBER(NULL, &scheduler_bottom, &scheduler_size);
    (*body)();
    yield(LEFT);
}

static void resume(int thread) {
    fiber *f = &fibers[thread];
    running = thread;
    threadIdx = f->index;
    void *fake_stack = NULL;
    (void)fake_stack;
    ENTER_FIBER(&fake_stack, f->stack, STACK);
    go(&scheduler, &f->at);
    IN_FIBER(fake_stack, NULL, NULL);
}

static bool release_block(void) {
    int waiting = 0, left = 0;
    for (int t = 0; t < count; t++) {
        waiting += fibers[t].now == AT_BLOCK;
        left += fibers[t].now == LEFT;
    }
    if (!waiting || waiting + left < count) return false;
    if (left) give_up("a barrier of the block that some threads never reach, because they have left");
    for (int t = 0; t < count; t++) fibers[t].now = READY;
    return true;
}

static bool release_warp(int first) {
    bool released = false;
    for (int lane = 0; lane < WARP && first + lane < count; lane++) {
        if (fibers[first + lane].now != AT_WARP) continue;
        const unsigned mask = fibers[first + lane].mask;
        unsigned here = 0;
        for (int other = 0; other < WARP && first + other < count; other++) {
            const fiber *f = &fibers[first + other];
            if (f->now == AT_WARP && f->mask == mask) here |= 1u << other;
            if (f->now == LEFT && mask >> other & 1) give_up("a warp waits for a lane that has left");
        }
        if (first + WARP > count && (mask >> (count - first)) != 0)
            give_up("a warp's mask names lanes beyond the block");
        if (here != mask) continue;
        for (int other = 0; other < WARP; other++) {
            if (!(mask >> other & 1)) continue;
            fiber *f = &fibers[first + other];
            seen[first + lane][other] = f->given;
            f->seen = seen[first + lane];
            f->now = READY;
        }
        released = true;
    }
    return released;
}

static void run_block(void) {
    for (int t = 0; t < count; t++) {
        fiber *f = &fibers[t];
        if (!f->stack) {
            f->stack = (char *)mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (f->stack == MAP_FAILED) give_up("no memory for stacks");
        }
        f->index = dim3((unsigned)t % blockDim.x, (unsigned)t / blockDim.x % blockDim.y,
                        (unsigned)t / blockDim.x / blockDim.y);
        f->now = READY;
        prepare(&f->at, f->stack, start);
    }
    for (bool moved = true; moved;) {
        moved = false;
        for (int first = 0; first < count; first += WARP) { /* a warp goes as far as it can before the next one */
            do {
                for (int t = first; t < first + WARP && t < count; t++)
                    if (fibers[t].now == READY) resume(t);
            } while (release_warp(first));
        }
        moved = release_block();
    }
    for (int t = 0; t < count; t++)
        if (fibers[t].now != LEFT) {
            threadIdx = fibers[t].index;
            give_up("waits at a barrier for ever");
        }
}

static void run(const char *kernel, dim3 blocks, dim3 threads, size_t shared_bytes,
                const std::function<void()> &thread) {
    name = kernel;
    body = &thread;
    blockDim = threads;
    gridDim = blocks;
    count = (int)(threads.x * threads.y * threads.z);
    if (count < 1 || count > MOST_THREADS) give_up("a block of too many threads");
    if (shared_bytes > 227 << 10) give_up("more shared memory than a block can have");
    if (!blocks.x || !blocks.y || !blocks.z) give_up("an empty grid");
    if (blocks.y > 65535 || blocks.z > 65535) give_up("a grid too high");
    if (posix_memalign(&shared, 128, shared_bytes + !shared_bytes)) give_up("no memory for shared memory");
    for (unsigned z = 0; z < blocks.z; z++)
        for (unsigned y = 0; y < blocks.y; y++)
            for (unsigned x = 0; x < blocks.x; x++) {
                blockIdx = dim3(x, y, z);
                memset(shared, 0xFF, shared_bytes); /* NaN */
                run_block();
            }
    free(shared);
}

void simt_launch(const char *kernel, dim3 blocks, dim3 threads, size_t shared_bytes,
                 const std::function<void()> &thread) {
    simt_queue([=] { run(kernel, blocks, threads, shared_bytes, thread); });
}

void *simt_shared(void) {
    return shared;
}

void __syncthreads(void) {
    yield(AT_BLOCK);
}

const uint64_t *simt_exchange(unsigned mask, uint64_t bits) {
    fiber *self = &fibers[running];
    if (!(mask >> running % WARP & 1)) give_up("a thread takes part in an exchange whose mask leaves it out");
    self->mask = mask;
    self->given = bits;
    yield(AT_WARP);
    return self->seen;
}

void __syncwarp(unsigned mask) {
    simt_exchange(mask, 0);
}
