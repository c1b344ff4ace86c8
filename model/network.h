/* A network, made ready in one call: its parameters declared, grouped and laid out, their memory taken where kernels
 * find it, and filled from a source of values.
 *
 *     cm3_network *network;
 *     cm3_network_options options = {.kind = "transformer", .config = &recipe->model, .vocabulary = 65536,
 *                                    .use = CM3_USE_TRAIN, .backend = backend, .compute = CM3_BF16, .seed = 1};
 *     CM3_TRY(cm3_network_open(&options, &network));
 *     const cm3_transformer *model = network->model;
 *
 * A kind of network is one file and one row of the table in model/networks.c. */
#ifndef CM3_MODEL_NETWORK_H
#define CM3_MODEL_NETWORK_H

#include "core/config.h"
#include "model/weights_source.h"

/* A row of the table. */
typedef struct cm3_network_kind {
    const char *name;    /* what checkpoints and messages call it */
    const char *section; /* of a recipe: its config */
    const char *item;    /* what training counts: "token", "image" */
    const cm3_field *fields;
    size_t config_size;
    void (*check)(const void *config, const char *section, cm3_faults *faults);
    /* Adds the parameters to the table; `vocabulary` as in cm3_network_options. The model keeps the pointer `params`.
     */
    cm3_status (*declare)(const void *config, int64_t vocabulary, cm3_params *params, void **model);
    void (*free)(void *model);
    /* Training FLOPs of one item, forward and backward; `length`: items of a sequence, for networks over sequences. */
    double (*flops_per_item)(const void *model, int64_t length);
} cm3_network_kind;

/* NULL behind the last. */
extern const cm3_network_kind *const cm3_network_kinds[];
/* CM3_ERR_RECIPE for a name that no row has. */
cm3_status cm3_network_find(const char *name, const cm3_network_kind **kind);

typedef struct cm3_network_options {
    const char *kind;                /* a row's name */
    const void *config;              /* the row's config struct */
    int64_t vocabulary;              /* token ids; 0 for networks that read none */
    const cm3_group_options *groups; /* (group_count); none: one group, which is trained */
    int group_count;
    cm3_use use;
    const cm3_backend *backend; /* NULL: the CPU's */
    cm3_dtype compute;
    cm3_weights_source *source; /* NULL: initial values of `seed` */
    uint64_t seed;
} cm3_network_options;

typedef struct cm3_network {
    const cm3_network_kind *kind;
    cm3_params *params;
    void *model; /* the kind's own: cm3_transformer, cm3_vqgan */
} cm3_network;

cm3_status cm3_network_open(const cm3_network_options *options, cm3_network **network);
void cm3_network_close(cm3_network *network);

#endif
