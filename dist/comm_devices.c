#include "core/log.h"
#include "core/tensor/op.h"
#include "dist/comm_impl.h"

#include <stdlib.h>
#include <string.h>

/* Whether two ranks name the same device. */
static cm3_status share_devices(cm3_comm *comm, const cm3_collective *collective, bool *shared) {
    char mine[CM3_DEVICE_NAME] = "", (*all)[CM3_DEVICE_NAME] = calloc((size_t)comm->size, sizeof *all);
    cm3_status status = all ? collective->name_gpu(mine) : cm3_fail(CM3_ERR_MEMORY, "out of memory for device names");
    status = cm3_comm_agree_status(comm, status);
    if (status == CM3_OK) status = cm3_comm_all_gather(comm, mine, sizeof mine, all);
    *shared = false;
    for (int i = 0; i < comm->size && status == CM3_OK; i++)
        for (int j = 0; j < i; j++) *shared |= strcmp(all[i], all[j]) == 0;
    free(all);
    return status;
}

cm3_status cm3_comm_devices(cm3_comm *comm, const cm3_collective *collective, void **group) {
    unsigned char id[CM3_COLLECTIVE_ID] = {0};
    bool shared;
    *group = comm->devices;
    if (comm->size == 1 || !collective || comm->collective == collective) return CM3_OK;
    CM3_TRY(share_devices(comm, collective, &shared));
    comm->collective = collective;
    int cannot = collective->make_id(id) != CM3_OK;
    const bool here = cannot;
    CM3_TRY(cm3_comm_agree(comm, cannot || shared, &cannot));
    if (cannot && comm->rank == 0)
        cm3_log_info("%s: gradients are all-reduced through host memory", shared ? "ranks share a GPU"
                                                                          : here
                                                                              ? cm3_message()
                                                                              : "NCCL is unavailable on another rank");
    if (cannot) return CM3_OK;
    CM3_TRY(cm3_comm_broadcast(comm, id, sizeof id, 0));
    CM3_TRY(cm3_comm_agree_status(comm, collective->open(id, comm->rank, comm->size, &comm->devices)));
    *group = comm->devices;
    return CM3_OK;
}
