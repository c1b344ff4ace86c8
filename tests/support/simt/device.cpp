/* The host in the place of a device. Its memory is closed but while something queued runs: a host that follows an
 * address of it ends there, as it would on a device. Under the address sanitizer it is blocks of exactly the bytes
 * that were asked for instead, so that what a kernel reads or writes beside them shows. A graph is a list of what was
 * queued.
 *
 * The device lags behind as far as it may: from a copy on that the host does not wait for, nothing that is queued is
 * done before somebody waits for it. So a host that reads a result too early, or writes over what is still to be
 * read, gets wrong numbers here at every run, not once in a while. */
#include "core/kernels/cuda/launch.h"

extern "C" {
#include "core/kernels/cuda/device.h"
}

#include <deque>
#include <stdlib.h>
#include <sys/mman.h>
#include <vector>

typedef std::vector<std::function<void()>> graph;

static graph *kept; /* while one is made */
static std::deque<std::function<void()>> behind; /* queued, not yet done: numbers `done` and on */
static size_t done;
static bool lags;
static void catch_up(void);
double simt_clock;
static double started;

extern "C" cm3_status cm3__device_clock_start(void) {
    started = simt_clock;
    return CM3_OK;
}

extern "C" cm3_status cm3__device_clock_stop(double *seconds) {
    *seconds = simt_clock - started;
    return CM3_OK;
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

#ifdef __SANITIZE_ADDRESS__

static void *take(size_t bytes) {
    void *block = NULL;
    if (kept || posix_memalign(&block, 64, bytes ? bytes : 1)) return NULL; /* a graph cannot take memory */
    return memset(block, 0, bytes);
}

static void give(void *block, size_t bytes) {
    (void)bytes;
    catch_up();
    free(block);
}

static void open_memory(bool) {
}

#else

/* One range of addresses, of which none is given twice. */
static const size_t RANGE = (size_t)1 << 40, PAGE = 4096;
static char *range;
static size_t used;

static size_t pages_of(size_t bytes) {
    return (bytes / PAGE + 1) * PAGE;
}

static void *take(size_t bytes) {
    if (kept) return NULL; /* a graph cannot take memory */
    if (!range) {
        void *all = mmap(NULL, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all == MAP_FAILED) return NULL;
        range = (char *)all;
    }
    if (pages_of(bytes) > RANGE - used) return NULL;
    char *block = range + used;
    used += pages_of(bytes);
    return block;
}

static void give(void *block, size_t bytes) {
    catch_up();
    if (block) madvise(block, pages_of(bytes), MADV_DONTNEED);
}

static void open_memory(bool open) {
    if (used && mprotect(range, used, open ? PROT_READ | PROT_WRITE : PROT_NONE)) abort();
}

#endif

static void run(const graph &work) {
    open_memory(true);
    for (const std::function<void()> &one : work) one();
    open_memory(false);
}

void simt_queue(const std::function<void()> &work) {
    simt_clock += 1;
    if (kept)
        kept->push_back(work);
    else if (lags)
        behind.push_back(work);
    else
        run({work});
}

static void catch_up_to(size_t number) {
    for (; done < number && !behind.empty(); done++) {
        run({behind.front()});
        behind.pop_front();
    }
    lags = !behind.empty();
}

static void catch_up(void) {
    catch_up_to(done + behind.size());
}

static cm3_status copy(void *to, const void *from, size_t bytes) {
    if (bytes) simt_queue([=] { memmove(to, from, bytes); });
    return CM3_OK;
}

/* What the host may reuse on return is staged. */
static cm3_status upload(void *to, const void *from, size_t bytes) {
    const std::vector<char> staged((const char *)from, (const char *)from + bytes);
    if (bytes) simt_queue([=] { memcpy(to, staged.data(), bytes); });
    return CM3_OK;
}

static cm3_status clear(void *at, size_t bytes) {
    if (bytes) simt_queue([=] { memset(at, 0, bytes); });
    return CM3_OK;
}

extern "C" cm3_status cm3__device_wait(void) {
    if (kept) return cm3_fail(CM3_ERR_DEVICE, "GPU: a graph cannot wait");
    catch_up();
    return CM3_OK;
}

static cm3_status download(void *to, const void *from, size_t bytes) {
    CM3_TRY(cm3__device_wait());
    return copy(to, from, bytes);
}

static cm3_status set(float *at, float value) {
    simt_queue([=] { *at = value; });
    return CM3_OK;
}

static void *take_pinned(size_t bytes) {
    return kept ? NULL : calloc(1, bytes ? bytes : 1);
}

static void give_pinned(void *block, size_t bytes) {
    (void)bytes;
    catch_up();
    free(block);
}

static cm3_status copy_later(void *to, const void *from, size_t bytes) {
    if (kept) return cm3_fail(CM3_ERR_DEVICE, "GPU: a graph cannot copy from or to the host");
    lags = true;
    return copy(to, from, bytes);
}

/* A mark is the number of the next that is queued. */
static cm3_status mark(void **mark) {
    if (!*mark) *mark = new size_t;
    *(size_t *)*mark = done + behind.size();
    return CM3_OK;
}

static cm3_status reach(void *mark) {
    if (mark) catch_up_to(*(const size_t *)mark);
    return CM3_OK;
}

static void unmark(void *mark) {
    delete (size_t *)mark;
}

extern "C" const cm3_memory cm3__device_memory = {
    false, take,       give,  upload, download, copy,    clear, set, cm3__device_wait, take_pinned, give_pinned,
    copy_later, copy_later, mark, reach,  unmark,   nullptr, 0};

/* --- the device -------------------------------------------------------------------------------------------------- */

extern "C" cm3_status cm3__device_open(int local) {
    (void)local;
    return CM3_OK;
}

extern "C" const char *cm3__device_text(void) {
    return "threads of a GPU as fibers of the host";
}

extern "C" double cm3__device_peak(cm3_dtype type) {
    (void)type;
    return 0;
}

extern "C" cm3_status cm3__cuda_launched(const char *what) {
    (void)what;
    return CM3_OK;
}

extern "C" void cm3__device_forget(void) {
}

/* --- graphs ------------------------------------------------------------------------------------------------------ */

static cm3_status begin_graph(void) {
    kept = new graph;
    return CM3_OK;
}

static cm3_status end_graph(void **made) {
    *made = kept;
    kept = NULL;
    return CM3_OK;
}

static cm3_status run_graph(void *made) {
    simt_queue([=] {
        for (const std::function<void()> &one : *(const graph *)made) one();
    });
    return CM3_OK;
}

static void free_graph(void *made) {
    catch_up();
    delete (graph *)made;
}

extern "C" const cm3_graph_api cm3__device_graph = {begin_graph, end_graph, run_graph, free_graph};
