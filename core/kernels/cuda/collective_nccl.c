/* Collectives over GPUs by NCCL, on a stream of their own beside the kernels'. The library is opened at run time:
 * without it, and where ranks share a GPU, which it does not allow, data goes through host memory
 * (dist/comm_devices.c). All groups share the stream: two communicators whose kernels ran side by side, in another
 * order on another GPU, could lock. */
#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/stream.h"
#include "core/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<nccl.h>)
#include <nccl.h>

static struct {
    ncclResult_t (*get_id)(ncclUniqueId *id);
    ncclResult_t (*open)(ncclComm_t *comm, int size, ncclUniqueId id, int rank);
    ncclResult_t (*close)(ncclComm_t comm);
    ncclResult_t (*all_reduce)(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*reduce_scatter)(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                   ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*all_gather)(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                               cudaStream_t stream);
    const char *(*text)(ncclResult_t result);
} nccl;

typedef struct group {
    ncclComm_t comm;
    int rank;
} group;

static cudaStream_t stream;
static cudaEvent_t ready, done; /* operands are; results are */

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
    if (nccl.text) return CM3_OK;
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL); /* stays open */
    if (!library) return cm3_fail(CM3_ERR_UNSUPPORTED, "%s", dlerror());
    if (cm3_library_find(library, "ncclGetUniqueId", &nccl.get_id, sizeof nccl.get_id) &&
        cm3_library_find(library, "ncclCommInitRank", &nccl.open, sizeof nccl.open) &&
        cm3_library_find(library, "ncclCommDestroy", &nccl.close, sizeof nccl.close) &&
        cm3_library_find(library, "ncclAllReduce", &nccl.all_reduce, sizeof nccl.all_reduce) &&
        cm3_library_find(library, "ncclReduceScatter", &nccl.reduce_scatter, sizeof nccl.reduce_scatter) &&
        cm3_library_find(library, "ncclAllGather", &nccl.all_gather, sizeof nccl.all_gather) &&
        cm3_library_find(library, "ncclGetErrorString", &nccl.text, sizeof nccl.text))
        return CM3_OK;
    nccl.text = NULL;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "libnccl.so.2 lacks a function: %s", dlerror());
}

static cm3_status make_id(unsigned char id[CM3_COLLECTIVE_ID]) {
    ncclUniqueId made;
    CM3_TRY(load());
    NCCL_TRY("making an id", nccl.get_id(&made));
    memcpy(id, &made, CM3_COLLECTIVE_ID);
    return CM3_OK;
}

static cm3_status open_group(const unsigned char id[CM3_COLLECTIVE_ID], int rank, int size, void **opened) {
    ncclUniqueId given;
    CM3_TRY(load());
    memcpy(&given, id, CM3_COLLECTIVE_ID);
    if (!stream) {
        CUDA_TRY("making a stream", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        CUDA_TRY("making an event", cudaEventCreateWithFlags(&ready, cudaEventDisableTiming));
        CUDA_TRY("making an event", cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    }
    group *made = malloc(sizeof *made);
    if (!made) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a group of GPUs");
    const ncclResult_t result = nccl.open(&made->comm, size, given, rank);
    if (result != ncclSuccess) free(made);
    NCCL_TRY("joining the ranks", result);
    made->rank = rank;
    *opened = made;
    return CM3_OK;
}

static void close_group(void *of) {
    nccl.close(((group *)of)->comm);
    free(of);
}

/* What is queued on the stream next comes behind the kernels that were queued so far, beside those that follow. */
static cm3_status fork_stream(void) {
    CUDA_TRY("an event", cudaEventRecord(ready, cm3__cuda_stream()));
    CUDA_TRY("an event", cudaStreamWaitEvent(stream, ready, 0));
    return CM3_OK;
}

static cm3_status all_reduce(void *of, float *data, int64_t count) {
    const group *g = of;
    CM3_TRY(fork_stream());
    NCCL_TRY("all-reduce", nccl.all_reduce(data, data, (size_t)count, ncclFloat, ncclSum, g->comm, stream));
    return CM3_OK;
}

/* In place, for NCCL, is where the result is this rank's part of the operand, or the operand its part of the result. */
static cm3_status reduce_scatter(void *of, float *data, int64_t piece) {
    const group *g = of;
    float *own = data + g->rank * piece;
    CM3_TRY(fork_stream());
    NCCL_TRY("reduce-scatter", nccl.reduce_scatter(data, own, (size_t)piece, ncclFloat, ncclSum, g->comm, stream));
    return CM3_OK;
}

static cm3_status all_gather(void *of, void *data, int64_t bytes) {
    const group *g = of;
    const char *own = (const char *)data + g->rank * bytes;
    CM3_TRY(fork_stream());
    NCCL_TRY("all-gather", nccl.all_gather(own, data, (size_t)bytes, ncclInt8, g->comm, stream));
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

const cm3_collective cm3__device_collective = {.name_gpu = name_gpu,
                                               .make_id = make_id,
                                               .open = open_group,
                                               .close = close_group,
                                               .all_reduce = all_reduce,
                                               .reduce_scatter = reduce_scatter,
                                               .all_gather = all_gather,
                                               .join = join};
#endif
