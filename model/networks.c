/* The table of networks. */
#include "dist/shard.h"
#include "model/network.h"
#include "model/transformer.h"
#include "model/vqgan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cm3_network_kind *const cm3_network_kinds[] = {&cm3_transformer_kind, &cm3_vqgan_kind, NULL};

cm3_status cm3_network_find(const char *name, const cm3_network_kind **kind) {
    char names[256] = "";
    for (const cm3_network_kind *const *row = cm3_network_kinds; *row; row++) {
        *kind = *row;
        if (strcmp((*row)->name, name) == 0) return CM3_OK;
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", (*row)->name);
    }
    *kind = NULL;
    return cm3_fail(CM3_ERR_RECIPE, "there is no network \"%s\"; there are: %s", name, names);
}

static cm3_status open(const cm3_network_options *o, cm3_network *network) {
    CM3_TRY(cm3_network_find(o->kind, &network->kind));
    CM3_TRY(cm3_params_create(&network->params));
    for (int g = 0; g < o->group_count; g++) cm3_params_add_group(network->params, &o->groups[g]);
    CM3_TRY(network->kind->declare(o->config, o->vocabulary, network->params, &network->model));
    CM3_TRY(cm3_params_layout(network->params, CM3_SHARD_UNIT));
    if (o->use == CM3_USE_PLAN) return CM3_OK;
    CM3_TRY(cm3_params_allocate(network->params, o->backend ? o->backend : cm3_backend_cpu(), o->compute, o->use));
    return o->source ? cm3_params_load(network->params, o->source) : cm3_params_init(network->params, o->seed);
}

cm3_status cm3_network_open(const cm3_network_options *options, cm3_network **out) {
    *out = NULL;
    cm3_network *network = calloc(1, sizeof *network);
    if (!network) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a network");
    const cm3_status status = open(options, network);
    if (status == CM3_OK)
        *out = network;
    else
        cm3_network_close(network);
    return status;
}

void cm3_network_close(cm3_network *network) {
    if (!network) return;
    if (network->model) network->kind->free(network->model);
    cm3_params_free(network->params);
    free(network);
}
