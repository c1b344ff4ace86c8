#include "core/threads.h"

#include <cblas.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* --- how many ---------------------------------------------------------------------------------------------------- */

/* A positive number of the environment, 0 if there is none. */
static int number_of(const char *name) {
    const char *text = getenv(name);
    if (!text) return 0;
    char *end;
    const long value = strtol(text, &end, 10);
    /* OMP_NUM_THREADS may be a list "4,2", one number for each level of nesting. */
    return end != text && (*end == '\0' || *end == ',') && value > 0 && value < 65536 ? (int)value : 0;
}

static int usable_cores(void) {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) > 0) return CPU_COUNT(&cores);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1024 cores do not fit the fixed set */
    return online > 0 ? (int)online : 1;
}

int cm3_threads_choose(void) {
    const int wanted = number_of("OMP_NUM_THREADS");
    if (wanted) return wanted;
    /* Ranks that Open MPI has bound see only their own cores; others all see the same ones, and share them. */
    const int bound = number_of("OMPI_MCA_orte_bound_at_launch");
    int ranks = number_of("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (bound || !ranks) ranks = 1;
    const int share = usable_cores() / ranks;
    return share > 0 ? share : 1;
}

/* --- the pool ---------------------------------------------------------------------------------------------------- */

enum { MOST_THREADS = 256, MOST_PIECES = (1 << 18) - 1, SPIN_NANOSECONDS = 50000 };

typedef struct loop {
    int64_t count, grain, before; /* before: pieces that are done already */
    cm3_piece_function function;
    const void *context;
} loop;

/* What is left of a thread's share of the pieces, and the loop that they are of: generation (28 bits), end (18), next
 * (18). One word, so that whoever takes a piece knows that it is of the loop that it has read. */
typedef struct share {
    _Alignas(64) _Atomic uint64_t left;
} share;

enum { NEXT_BITS = 18, GENERATION_SHIFT = 2 * NEXT_BITS };

static struct {
    int count;   /* threads, the caller among them; 0: not chosen yet */
    int started; /* of them */
    pthread_t threads[MOST_THREADS];
    share shares[MOST_THREADS];
    _Alignas(64) _Atomic bool taken;        /* by the thread whose loop runs */
    _Alignas(64) _Atomic(const loop *) now; /* valid while a piece of it is taken or left */
    _Atomic uint32_t generation;            /* of `now`: workers wait for it to change */
    _Atomic bool ending;
    _Atomic uint32_t sleeping_workers;
    _Alignas(64) _Atomic uint32_t unfinished; /* pieces: the caller waits for 0 */
    _Atomic uint32_t sleeping_callers;
} pool;

static _Thread_local int thread_index;
static _Thread_local bool within_loop;

/* OpenMP, which OpenBLAS may be built with, keeps a number for each thread: each that runs pieces says it once. */
static void limit_openblas(void) {
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    static _Thread_local bool limited;
    if (limited) return;
    pthread_mutex_lock(&one_at_a_time);
    openblas_set_num_threads(1);
    pthread_mutex_unlock(&one_at_a_time);
    limited = true;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns when *word is no longer `value`. Sleepers are counted before they look once more, and whoever changes the
 * word looks at their number after that: no wake-up is lost. */
static void wait_while(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers) {
    enum { LOOKS = 32 };
    const int64_t end = nanoseconds() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < LOOKS; i++, pause_briefly())
            if (atomic_load_explicit(word, memory_order_acquire) != value) return;
    } while (nanoseconds() < end);
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) == value) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    atomic_fetch_sub(sleepers, 1);
}

static void wake(_Atomic uint32_t *word, const _Atomic uint32_t *sleepers, int64_t most) {
    if (atomic_load(sleepers)) syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, (int)least(most, INT_MAX), NULL, NULL, 0);
}

/* Takes a piece of thread `of`'s share: its owner the first one, others the last. The loop is read before the piece is
 * taken: if it has changed since, so has the generation, and nothing is taken. */
static bool take_piece(int of, bool own, const loop **l, int64_t *piece) {
    const uint64_t mask = MOST_PIECES, one = 1;
    _Atomic uint64_t *left = &pool.shares[of].left;
    uint64_t seen = atomic_load_explicit(left, memory_order_acquire);
    for (;;) {
        const uint64_t next = seen & mask, end = seen >> NEXT_BITS & mask;
        if (next >= end) return false;
        *l = atomic_load_explicit(&pool.now, memory_order_relaxed);
        *piece = (int64_t)(own ? next : end - 1);
        if (atomic_compare_exchange_weak_explicit(left, &seen, own ? seen + one : seen - (one << NEXT_BITS),
                                                  memory_order_acq_rel, memory_order_acquire))
            return true;
    }
}

static void run_piece(const loop *l, int64_t piece) {
    const int64_t first = (l->before + piece) * l->grain;
    l->function(l->context, first, least(first + l->grain, l->count));
}

/* Takes and runs pieces until none is left; how many. */
static uint32_t run_pieces(void) {
    const int me = thread_index, threads = pool.count;
    const loop *l;
    int64_t piece;
    uint32_t done = 0;
    within_loop = true;
    for (int i = 0; i < threads; i++)
        for (const int of = (me + i) % threads; take_piece(of, i == 0, &l, &piece); done++) run_piece(l, piece);
    within_loop = false;
    return done;
}

static void finish(uint32_t pieces) {
    if (pieces && atomic_fetch_sub(&pool.unfinished, pieces) == pieces)
        wake(&pool.unfinished, &pool.sleeping_callers, 1);
}

static void *work(void *index) {
    thread_index = (int)(intptr_t)index;
    limit_openblas();
    for (uint32_t seen = 0; !atomic_load(&pool.ending);) {
        wait_while(&pool.generation, seen, &pool.sleeping_workers);
        seen = atomic_load_explicit(&pool.generation, memory_order_acquire);
        finish(run_pieces());
    }
    return NULL;
}

static void next_generation(int64_t sleepers_to_wake) {
    atomic_fetch_add(&pool.generation, 1);
    wake(&pool.generation, &pool.sleeping_workers, sleepers_to_wake);
}

static void end_threads(void) {
    atomic_store(&pool.ending, true);
    next_generation(INT_MAX);
    for (int i = 1; i < pool.started; i++) pthread_join(pool.threads[i], NULL);
    pool.started = 0;
    atomic_store(&pool.ending, false);
}

/* fork() copies the calling thread alone. */
static void begin_in_child(void) {
    pool.started = 0;
    atomic_store(&pool.sleeping_workers, 0);
    atomic_store(&pool.taken, false);
}

/* Workers leave signals to the program's other threads. Without memory for a thread there are fewer. */
static void start_threads(void) {
    static bool registered;
    if (!registered) {
        atexit(end_threads);
        pthread_atfork(NULL, NULL, begin_in_child);
        registered = true;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (pool.started = 1; pool.started < pool.count; pool.started++)
        if (pthread_create(&pool.threads[pool.started], NULL, work, (void *)(intptr_t)pool.started)) break;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* --- loops ------------------------------------------------------------------------------------------------------- */

void cm3_threads_setup(void) {
    limit_openblas();
    cm3_threads_set(cm3_threads_choose());
}

int cm3_threads_count(void) {
    if (!pool.count) pool.count = (int)least(cm3_threads_choose(), MOST_THREADS);
    return pool.count;
}

void cm3_threads_set(int count) {
    count = (int)least(count < 1 ? 1 : count, MOST_THREADS);
    if (count == pool.count) return; /* workers that are late for the last loop read it */
    if (pool.started) end_threads();
    pool.count = count;
}

int cm3_thread_index(void) {
    return thread_index;
}

static void run_on_all(const loop *l, int64_t pieces) {
    const int threads = pool.count;
    const uint64_t generation = (uint64_t)atomic_load_explicit(&pool.generation, memory_order_relaxed) + 1;
    if (!pool.started) start_threads();
    atomic_store_explicit(&pool.now, l, memory_order_relaxed);
    atomic_store_explicit(&pool.unfinished, (uint32_t)pieces, memory_order_relaxed);
    for (int t = 0; t < threads; t++) {
        const uint64_t next = (uint64_t)(pieces * t / threads), end = (uint64_t)(pieces * (t + 1) / threads);
        atomic_store_explicit(&pool.shares[t].left, generation << GENERATION_SHIFT | end << NEXT_BITS | next,
                              memory_order_release);
    }
    next_generation(pieces - 1);
    finish(run_pieces());
    for (uint32_t left; (left = atomic_load_explicit(&pool.unfinished, memory_order_acquire));)
        wait_while(&pool.unfinished, left, &pool.sleeping_callers);
}

void cm3_parallel_for(int64_t count, int64_t grain, cm3_piece_function function, const void *context) {
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    limit_openblas();
    loop l = {.count = count, .grain = grain, .function = function, .context = context};
    const int64_t pieces = (count + grain - 1) / grain;
    if (pieces > 1 && cm3_threads_count() > 1 && !within_loop && !atomic_exchange(&pool.taken, true)) {
        for (; l.before < pieces; l.before += MOST_PIECES) run_on_all(&l, least(pieces - l.before, MOST_PIECES));
        atomic_store(&pool.taken, false);
        return;
    }
    for (int64_t piece = 0; piece < pieces; piece++) run_piece(&l, piece);
}
