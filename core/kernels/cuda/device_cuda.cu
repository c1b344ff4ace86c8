/* One GPU of this process through CUDA's runtime: one stream, on which everything happens in order. */
#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/launch.h"

#include <stdio.h>
#include <string.h>

static cudaStream_t stream;
static char text[192];

static cm3_status failed(const char *what, cudaError_t error) {
    return cm3_fail(error == cudaErrorMemoryAllocation ? CM3_ERR_MEMORY : CM3_ERR_DEVICE, "GPU: %s: %s", what,
                    cudaGetErrorString(error));
}

#define CUDA_TRY(what, call)                                                                                           \
    do {                                                                                                               \
        const cudaError_t error_ = (call);                                                                             \
        if (error_ != cudaSuccess) return failed(what, error_);                                                        \
    } while (0)

extern "C" cudaStream_t cm3__cuda_stream(void) {
    return stream;
}

extern "C" cm3_status cm3__cuda_launched(const char *what) {
    CUDA_TRY(what, cudaPeekAtLastError());
    return CM3_OK;
}

static __global__ void set_one(float *at, float value) {
    *at = value;
}

extern "C" cm3_status cm3__device_open(int local) {
    if (stream) return CM3_OK;
    int count = 0, runtime = 0, driver = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "no GPU can be used: %s", cudaGetErrorString(error));
    if (!count) return cm3_fail(CM3_ERR_UNSUPPORTED, "no GPU can be seen");
    const int index = local % count;
    cudaDeviceProp is;
    CUDA_TRY("its properties", cudaGetDeviceProperties(&is, index));
    if (is.major < 8)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "%s has compute capability %d.%d, at least 8.0 is needed", is.name,
                        is.major, is.minor);
    CUDA_TRY("choosing it", cudaSetDevice(index));
    cudaFuncAttributes code;
    if (cudaFuncGetAttributes(&code, set_one) != cudaSuccess) {
        cudaGetLastError();
        return cm3_fail(CM3_ERR_UNSUPPORTED,
                        "%s has compute capability %d.%d, for which this build has no code (CMAKE_CUDA_ARCHITECTURES)",
                        is.name, is.major, is.minor);
    }
    CUDA_TRY("making a stream", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    cudaRuntimeGetVersion(&runtime);
    cudaDriverGetVersion(&driver);
    snprintf(text, sizeof text, "%s, %d SMs, %.1f GiB, CUDA %d.%d, driver for %d.%d", is.name, is.multiProcessorCount,
             (double)is.totalGlobalMem / 0x1p30, runtime / 1000, runtime % 1000 / 10, driver / 1000,
             driver % 1000 / 10);
    return CM3_OK;
}

extern "C" const char *cm3__device_text(void) {
    return text;
}

/* Tensor cores in bf16, without sparsity. The first name that fits counts. */
extern "C" double cm3__device_peak(cm3_dtype type) {
    static const struct {
        const char *name;
        double tflops;
    } known[] = {{"H100 PCIe", 756}, {"H100", 989}, {"H200", 989}, {"A100", 312}, {"L40S", 362}, {"B200", 2250}};
    for (size_t i = 0; i < sizeof known / sizeof *known && type == CM3_BF16; i++)
        if (strstr(text, known[i].name)) return known[i].tflops * 1e12;
    return 0;
}

extern "C" cm3_status cm3__device_wait(void) {
    CUDA_TRY("what was queued", cudaStreamSynchronize(stream));
    return CM3_OK;
}

extern "C" void cm3__device_forget(void) {
    cudaStreamSynchronize(stream);
    cudaGetLastError();
}

/* --- the clock --------------------------------------------------------------------------------------------------- */

static cudaEvent_t started, stopped;

extern "C" cm3_status cm3__device_clock_start(void) {
    if (!started) {
        CUDA_TRY("making an event", cudaEventCreate(&started));
        CUDA_TRY("making an event", cudaEventCreate(&stopped));
    }
    CUDA_TRY("an event", cudaEventRecord(started, stream));
    return CM3_OK;
}

extern "C" cm3_status cm3__device_clock_stop(double *seconds) {
    float milliseconds = 0;
    CUDA_TRY("an event", cudaEventRecord(stopped, stream));
    CUDA_TRY("what was queued", cudaEventSynchronize(stopped));
    CUDA_TRY("a time", cudaEventElapsedTime(&milliseconds, started, stopped));
    *seconds = milliseconds * 1e-3;
    return CM3_OK;
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

static cm3_status clear(void *at, size_t bytes) {
    if (bytes) CUDA_TRY("clearing memory", cudaMemsetAsync(at, 0, bytes, stream));
    return CM3_OK;
}

static void *take(size_t bytes) {
    void *block = nullptr;
    if (cudaMalloc(&block, bytes ? bytes : 1) != cudaSuccess) {
        cudaGetLastError(); /* forgets it: the caller reports */
        return nullptr;
    }
    if (clear(block, bytes) == CM3_OK) return block;
    cudaFree(block);
    return nullptr;
}

static void give(void *block, size_t bytes) {
    (void)bytes;
    if (block) cudaFree(block); /* waits for what uses it; of nothing, it would open the GPU */
}

/* Of memory that is not pinned CUDA has its own copy when the call returns, so it may be reused. Pinned memory is read
 * later: that is send(). */
static cm3_status upload(void *to, const void *from, size_t bytes) {
    if (bytes) CUDA_TRY("copying to it", cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream));
    return CM3_OK;
}

static cm3_status download(void *to, const void *from, size_t bytes) {
    if (bytes) CUDA_TRY("copying from it", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream));
    return cm3__device_wait();
}

static cm3_status copy(void *to, const void *from, size_t bytes) {
    if (bytes) CUDA_TRY("copying", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
    return CM3_OK;
}

static cm3_status set(float *at, float value) {
    CM3_LAUNCH(set_one, 1, 1, 0, at, value);
    return cm3__cuda_launched("setting a value");
}

static void *take_pinned(size_t bytes) {
    void *block = nullptr;
    if (cudaHostAlloc(&block, bytes ? bytes : 1, cudaHostAllocDefault) == cudaSuccess) return memset(block, 0, bytes);
    cudaGetLastError();
    return nullptr;
}

static void give_pinned(void *block, size_t bytes) {
    (void)bytes;
    if (block) cudaFreeHost(block); /* waits for copies, too */
}

static cm3_status fetch(void *pinned, const void *from, size_t bytes) {
    if (bytes) CUDA_TRY("copying from it", cudaMemcpyAsync(pinned, from, bytes, cudaMemcpyDeviceToHost, stream));
    return CM3_OK;
}

static cm3_status mark(void **mark) {
    cudaEvent_t event = (cudaEvent_t)*mark;
    if (!event) CUDA_TRY("making an event", cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    *mark = event;
    CUDA_TRY("an event", cudaEventRecord(event, stream));
    return CM3_OK;
}

static cm3_status reach(void *mark) {
    if (mark) CUDA_TRY("what was queued", cudaEventSynchronize((cudaEvent_t)mark));
    return CM3_OK;
}

static void unmark(void *mark) {
    if (mark) cudaEventDestroy((cudaEvent_t)mark);
}

extern "C" const cm3_memory cm3__device_memory = {
    false, take,   give,  upload, download, copy,    clear, set, cm3__device_wait, take_pinned, give_pinned,
    upload, fetch, mark, reach,  unmark,   nullptr, 0};

/* --- graphs ------------------------------------------------------------------------------------------------------ */

static cm3_status begin_graph(void) {
    CUDA_TRY("keeping a graph", cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    return CM3_OK;
}

static cm3_status end_graph(void **graph) {
    cudaGraph_t kept = nullptr;
    cudaGraphExec_t ready = nullptr;
    *graph = nullptr;
    cudaError_t error = cudaStreamEndCapture(stream, &kept);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&ready, kept, 0);
    if (kept) cudaGraphDestroy(kept);
    if (error != cudaSuccess) cudaGetLastError(); /* forgets it: without a graph things are queued one by one */
    CUDA_TRY("keeping a graph", error);
    *graph = ready;
    return CM3_OK;
}

static cm3_status run_graph(void *graph) {
    CUDA_TRY("running a graph", cudaGraphLaunch((cudaGraphExec_t)graph, stream));
    return CM3_OK;
}

static void free_graph(void *graph) {
    if (graph) cudaGraphExecDestroy((cudaGraphExec_t)graph);
}

extern "C" const cm3_graph_api cm3__device_graph = {begin_graph, end_graph, run_graph, free_graph};
