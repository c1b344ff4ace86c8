/* Sums over GPUs by NCCL, on a stream of their own beside the kernels'. The library is opened at run time: without it,
 * and where ranks share a GPU, which it does not allow, gradients go by way of the host (train/state.c). */
#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/stream.h"
#include "core/library.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<nccl.h>)
#include <nccl.h>

static struct {
    ncclResult_t (*get_id)(ncclUniqueId *id);
    ncclResult_t (*open)(ncclComm_t *comm, int size, ncclUniqueId id, int rank);
    ncclResult_t (*sum)(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                        cudaStream_t stream);
    const char *(*text)(ncclResult_t result);
} nccl;

static ncclComm_t comm;
static cudaStream_t stream;
static cudaEvent_t ready, done; /* gradients are; sums are */

#define NCCL_TRY(what, call)                                                                                           \
    do {                                                                                                               \
        const ncclResult_t result_ = (call);                                                                           \
        if (result_ != ncclSuccess)                                                                                    \
            return cm3_fail(CM3_ERR_COMM, "NCCL: %s: %s", what, nccl.text ? nccl.text(result_) : "?");                 \
    } while (0)
#define CUDA_TRY(what, call)                                                                                           \
    do {                                                                                                               \
        const cudaError_t error_ = (call);                                                                             \
        if (error_ != cudaSuccess) return cm3_fail(CM3_ERR_DEVICE, "GPU: %s: %s", what, cudaGetErrorString(error_));   \
    } while (0)

static cm3_status load(void) {
    if (nccl.sum) return CM3_OK;
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL); /* stays open */
    if (!library) return cm3_fail(CM3_ERR_UNSUPPORTED, "%s", dlerror());
    if (cm3_library_find(library, "ncclGetUniqueId", &nccl.get_id, sizeof nccl.get_id) &&
        cm3_library_find(library, "ncclCommInitRank", &nccl.open, sizeof nccl.open) &&
        cm3_library_find(library, "ncclGetErrorString", &nccl.text, sizeof nccl.text) &&
        cm3_library_find(library, "ncclAllReduce", &nccl.sum, sizeof nccl.sum))
        return CM3_OK;
    nccl.sum = NULL;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "libnccl.so.2 lacks a function: %s", dlerror());
}

static cm3_status make_id(unsigned char id[CM3_COLLECTIVE_ID]) {
    ncclUniqueId made;
    CM3_TRY(load());
    NCCL_TRY("making an id", nccl.get_id(&made));
    memcpy(id, &made, CM3_COLLECTIVE_ID);
    return CM3_OK;
}

static cm3_status open_nccl(const unsigned char id[CM3_COLLECTIVE_ID], int rank, int size) {
    ncclUniqueId given;
    CM3_TRY(load());
    if (comm) return CM3_OK;
    memcpy(&given, id, CM3_COLLECTIVE_ID);
    CUDA_TRY("making a stream", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA_TRY("making an event", cudaEventCreateWithFlags(&ready, cudaEventDisableTiming));
    CUDA_TRY("making an event", cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    NCCL_TRY("joining the ranks", nccl.open(&comm, size, given, rank));
    return CM3_OK;
}

/* Behind the kernels that were queued so far, beside those that follow. */
static cm3_status sum(float *at, int64_t count) {
    CUDA_TRY("an event", cudaEventRecord(ready, cm3__cuda_stream()));
    CUDA_TRY("an event", cudaStreamWaitEvent(stream, ready, 0));
    NCCL_TRY("a sum", nccl.sum(at, at, (size_t)count, ncclFloat, ncclSum, comm, stream));
    return CM3_OK;
}

static cm3_status join(void) {
    CUDA_TRY("an event", cudaEventRecord(done, stream));
    CUDA_TRY("an event", cudaStreamWaitEvent(cm3__cuda_stream(), done, 0));
    return CM3_OK;
}

static cm3_status name_gpu(char name[CM3_DEVICE_NAME]) {
    int device;
    char host[CM3_DEVICE_NAME / 2] = "", bus[CM3_DEVICE_NAME / 2] = "";
    CUDA_TRY("which one it is", cudaGetDevice(&device));
    CUDA_TRY("its place", cudaDeviceGetPCIBusId(bus, sizeof bus, device));
    gethostname(host, sizeof host - 1);
    snprintf(name, CM3_DEVICE_NAME, "%s %s", host, bus);
    return CM3_OK;
}

const cm3_collective cm3__device_collective = {
    .name_gpu = name_gpu, .make_id = make_id, .open = open_nccl, .sum = sum, .join = join};
#endif
