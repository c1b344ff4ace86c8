/* The parameters of a network: a table, and flat buffers that follow from it.
 *
 * A network declares each parameter once: name, shape, initialisation, decay or not, bucket. Every parameter joins a
 * *group*, chosen by name. A group owns one flat buffer of values and, if it is trained, of gradients and of the
 * optimizer's moments; a frozen group has neither. Buckets (one transformer block, say) are contiguous ranges of it, so
 * that reduction, sharding, the optimizer, the norm and a checkpoint are each one pass over a flat range:
 *
 *     cm3_params *params;
 *     CM3_TRY(cm3_params_create(&params));
 *     cm3_params_add_group(params, &(cm3_group_options){.name = "adapters", .match = "*lora*"});
 *     cm3_params_add_group(params, &(cm3_group_options){.name = "base", .match = "*", .frozen = true});
 *     int table = cm3_params_add(params, cm3_shape_of(vocabulary, d), cm3_init_normal(0.006), CM3_DECAY, "embedding");
 *     for (int i = 0; i < layers; i++) {
 *         cm3_params_bucket(params, 1 + i);
 *         up[i] = cm3_params_add(params, cm3_shape_of(4 * d, d), cm3_init_normal(0.006), CM3_DECAY, "layers/%d/up", i);
 *     }
 *     CM3_TRY(cm3_params_layout(params, CM3_SHARD_UNIT));      (plan: no memory yet)
 *     CM3_TRY(cm3_params_allocate(params, backend, CM3_F32, CM3_USE_TRAIN));
 *
 * model/network.h does all of this in one call. Like the tape, the table is sticky: after the first failure adding
 * gives -1, and cm3_params_layout() reports it. Offsets and counts are in elements. Every parameter starts on a
 * multiple of CM3_PARAM_ALIGN elements; what lies between parameters, and behind the last up to the shard unit, is zero
 * and stays zero. */
#ifndef CM3_MODEL_PARAMS_H
#define CM3_MODEL_PARAMS_H

#include "core/tensor/tape.h"

enum { CM3_PARAM_ALIGN = 16 };

typedef enum cm3_init_kind {
    CM3_INIT_ZEROS,
    CM3_INIT_ONES,
    CM3_INIT_NORMAL, /* mean 0, standard deviation `scale`, drawn again outside of 3 standard deviations */
    CM3_INIT_UNIFORM /* in [-scale, scale) */
} cm3_init_kind;

typedef struct cm3_init {
    cm3_init_kind kind;
    double scale;
} cm3_init;

cm3_init cm3_init_zeros(void);
cm3_init cm3_init_ones(void);
cm3_init cm3_init_normal(double std);
cm3_init cm3_init_uniform(double bound);

/* Whether AdamW's weight decay shrinks a parameter. */
typedef enum cm3_decay { CM3_NO_DECAY, CM3_DECAY } cm3_decay;

typedef struct cm3_param {
    char *name;
    int index; /* in the table: 0, 1, ... in the order of adding */
    cm3_shape shape;
    cm3_init init;
    cm3_decay decay;
    int group, bucket;
    int64_t offset, count; /* in the group's flat buffer; group and offset after cm3_params_layout() */
} cm3_param;

/* --- groups ------------------------------------------------------------------------------------------------------ */

typedef struct cm3_group_options {
    const char *name;
    const char *match; /* shell pattern; a parameter joins the first group whose pattern matches its name */
    bool frozen;
    cm3_dtype
        type; /* that values are kept in: CM3_F32, or CM3_BF16 for a frozen group of a network that computes in it */
} cm3_group_options;

/* Flat buffers; NULL where a group has none. */
typedef struct cm3_group_memory {
    float *values, *gradients;
    float *m, *v; /* AdamW's moments */
    uint16_t *bf16_weights;
} cm3_group_memory;

typedef struct cm3_param_range {
    int64_t offset, count;
} cm3_param_range;

typedef struct cm3_param_group {
    char *name, *match;
    bool trainable;
    cm3_dtype type;
    int64_t elements; /* that are parameters */
    int64_t size;     /* of the flat buffers: with padding, a multiple of the shard unit */
    int64_t *starts;  /* of the buckets, and `size` behind the last */
    /* On the host, where values are loaded and saved; and where kernels find them: the same, or a device's memory. */
    cm3_group_memory host, there;
} cm3_param_group;

typedef struct cm3_params cm3_params;

cm3_status cm3_params_create(cm3_params **params);
void cm3_params_free(cm3_params *params);

/* --- the table --------------------------------------------------------------------------------------------------- */

/* Before the layout. Without a call there is one group, "all", which is trained. */
void cm3_params_add_group(cm3_params *params, const cm3_group_options *options);
/* What is added from here on belongs to this bucket: 0 at first, never falling (buckets are laid out in order). */
void cm3_params_bucket(cm3_params *params, int bucket);
/* Gives the parameter's index, or -1 after a failure. Names are unique. */
int cm3_params_add(cm3_params *params, cm3_shape shape, cm3_init init, cm3_decay decay, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* Gives every parameter its group and offset, and pads each group to a multiple of `shard_unit` elements (0 and 1: no
 * more than the alignment). Reports the first failure of adding, parameters that join no group, and groups that no
 * parameter joins. Nothing may be added afterwards. */
cm3_status cm3_params_layout(cm3_params *params, int64_t shard_unit);

int cm3_params_count(const cm3_params *params);
const cm3_param *cm3_params_get(const cm3_params *params, int index);
/* Index of the parameter of this name, or -1. */
int cm3_params_find(const cm3_params *params, const char *name);
/* Elements that are parameters: what a model's size is quoted in. */
int64_t cm3_params_elements(const cm3_params *params);

int cm3_params_group_count(const cm3_params *params);
const cm3_param_group *cm3_params_group(const cm3_params *params, int group);
/* Buckets are 0 .. count - 1, in every group. Their ranges follow one another without a gap and cover the group's
 * buffer, padding included; one that none of the group's parameters is in is empty. */
int cm3_params_bucket_count(const cm3_params *params);
cm3_param_range cm3_param_group_bucket(const cm3_param_group *group, int bucket);

/* --- the memory -------------------------------------------------------------------------------------------------- */

/* What a network is made ready for. Each has what the one before has. */
typedef enum cm3_use {
    CM3_USE_PLAN,      /* no memory */
    CM3_USE_INFER,     /* values; where a device computes in bf16, nothing else there */
    CM3_USE_GRADIENTS, /* gradients of what is trained */
    CM3_USE_TRAIN      /* and its moments */
} cm3_use;

/* Bytes of all groups, in the memory that kernels work in. */
typedef struct cm3_params_bytes {
    double values; /* with their bf16 copy, if they have one */
    double gradients, moments;
} cm3_params_bytes;
cm3_params_bytes cm3_params_count_bytes(const cm3_params *params, cm3_dtype compute, cm3_use use);

/* Takes the buffers, zeroed, for tapes of this backend that compute in this type. */
cm3_status cm3_params_allocate(cm3_params *params, const cm3_backend *backend, cm3_dtype compute, cm3_use use);
/* The host's values of one parameter; NULL if they are not allocated, or kept in bf16. */
float *cm3_params_value(const cm3_params *params, int index);
/* The host's values from element `first` on, as f32. */
void cm3_params_read(const cm3_params *params, int index, cm3_param_range range, float *values);

/* What a tape needs to run where the parameters are, in the type that they have there. */
cm3_tape_options cm3_params_tape_options(const cm3_params *params);
/* Values and moments from the host's buffers to the device's, and the bf16 copy; and back. Nothing happens where they
 * are the same memory. */
cm3_status cm3_params_upload(const cm3_params *params);
cm3_status cm3_params_download(const cm3_params *params);

/* The parameter as a leaf of a tape: on the device if the tape's backend is that, else in the host's buffers. One that
 * is frozen is a leaf without gradient. Make one leaf of each parameter on a tape: a second one would overwrite the
 * first one's gradient instead of adding to it. */
cm3_var *cm3_params_var(const cm3_params *params, cm3_tape *tape, int index);

/* --- a network's walk -------------------------------------------------------------------------------------------- */

/* A network is one function that walks over its layers. Without a tape the walk declares: every parameter that it asks
 * for is added to the table, and operations record nothing (cm3_tape_record). With a tape it meets the same parameters
 * again in the same order, as leaves. */
typedef struct cm3_walk {
    cm3_params *params;
    cm3_tape *tape; /* NULL: the walk declares */
    int next;       /* index of the next parameter */
} cm3_walk;

void cm3_walk_bucket(cm3_walk *walk, int bucket);
cm3_var *cm3_walk_parameter(cm3_walk *walk, cm3_shape shape, cm3_init init, cm3_decay decay, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

#endif
