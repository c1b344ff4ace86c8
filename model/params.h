/* The parameters of a network: a table over one flat buffer.
 *
 * A network declares each parameter once - name, shape, initialisation, decay or not, bucket - and from the table
 * follow one flat f32 buffer of values and one of gradients. Buckets (one transformer block, say) are contiguous
 * ranges of it, so that reduction, sharding, the optimizer, the norm and a checkpoint are each one pass over a flat
 * range:
 *
 *     cm3_params *params;
 *     CM3_TRY(cm3_params_create(&params));
 *     cm3_params_bucket(params, 0);
 *     int table = cm3_params_add(params, cm3_shape_of(vocabulary, d), cm3_init_normal(0.006), CM3_DECAY, "embedding");
 *     for (int i = 0; i < layers; i++) {
 *         cm3_params_bucket(params, 1 + i);
 *         up[i] = cm3_params_add(params, cm3_shape_of(4 * d, d), cm3_init_normal(0.006), CM3_DECAY, "layers.%d.up", i);
 *     }
 *     CM3_TRY(cm3_params_layout(params, ranks * 16));     (plan: no memory yet)
 *     CM3_TRY(cm3_params_allocate(params, true));
 *     cm3_params_init(params, seed);
 *
 * Like the tape, the table is sticky: after the first failure adding gives -1, and cm3_params_layout() reports it.
 * Offsets and counts are in f32 elements. Every parameter starts on a multiple of CM3_PARAM_ALIGN elements (64 bytes);
 * what lies between parameters, and behind the last up to the shard unit, is zero and stays zero. */
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
    cm3_shape shape;
    cm3_init init;
    cm3_decay decay;
    int bucket;
    int64_t offset, count; /* in the flat buffer; offset after cm3_params_layout() */
} cm3_param;

typedef struct cm3_params cm3_params;

cm3_status cm3_params_create(cm3_params **params);
void cm3_params_free(cm3_params *params);

/* --- the table --------------------------------------------------------------------------------------------------- */

/* What is added from here on belongs to this bucket: 0 at first, never falling (buckets are laid out in order). */
void cm3_params_bucket(cm3_params *params, int bucket);
/* Gives the parameter's index: 0, 1, ... in the order of adding, or -1 after a failure. Names are unique. */
int cm3_params_add(cm3_params *params, cm3_shape shape, cm3_init init, cm3_decay decay, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* Gives every parameter its offset and pads the total to a multiple of `shard_unit` elements (0 and 1: no more than the
 * alignment). Reports the first failure of adding. Nothing may be added afterwards. */
cm3_status cm3_params_layout(cm3_params *params, int64_t shard_unit);

int cm3_params_count(const cm3_params *params);
const cm3_param *cm3_params_get(const cm3_params *params, int index);
/* Index of the parameter of this name, or -1. */
int cm3_params_find(const cm3_params *params, const char *name);
/* Elements of the flat buffer, padding included. */
int64_t cm3_params_size(const cm3_params *params);
/* Elements that are parameters: what a model's size is quoted in. */
int64_t cm3_params_elements(const cm3_params *params);

typedef struct cm3_param_range {
    int64_t offset, count;
} cm3_param_range;

/* Buckets are 0 .. count - 1. Their ranges follow one another without a gap and cover the buffer, padding included. */
int cm3_params_bucket_count(const cm3_params *params);
cm3_param_range cm3_params_bucket_range(const cm3_params *params, int bucket);

/* --- the memory -------------------------------------------------------------------------------------------------- */

/* Takes the buffers, zeroed. */
cm3_status cm3_params_allocate(cm3_params *params, bool with_gradients);
/* The flat buffers, cm3_params_size() elements, 64-byte aligned; NULL where not allocated. */
float *cm3_params_values(const cm3_params *params);
float *cm3_params_gradients(const cm3_params *params);
/* Values of one parameter. */
float *cm3_params_value(const cm3_params *params, int index);

/* Initial values: a function of the seed, the parameter's index and the element alone. */
void cm3_params_init(cm3_params *params, uint64_t seed);

/* --- where kernels find them ------------------------------------------------------------------------------------- */

/* The buffers above on the host's memory; on a device's, buffers of its own beside them, and, where the tape computes
 * in bf16, a copy of the values in that. */
typedef struct cm3_placement {
    const cm3_backend *backend;
    float *values, *gradients; /* values NULL where there is a copy and no gradients: nobody changes them */
    void *bf16_weights;        /* bf16; NULL in f32 */
} cm3_placement;

/* Once, after cm3_params_allocate(); until then the parameters are where cm3_backend_cpu() finds them. Takes the
 * memory, but moves nothing. */
cm3_status cm3_params_place(cm3_params *params, const cm3_backend *backend, cm3_dtype compute);
const cm3_placement *cm3_params_placement(const cm3_params *params);
/* What a tape has to be told to run where the parameters are, in the type that they have there. */
cm3_tape_options cm3_params_tape_options(const cm3_params *params);
/* Values from the host's buffer to the device's, and their copy; and back, where the device holds values. */
cm3_status cm3_params_upload(const cm3_params *params);
cm3_status cm3_params_download(const cm3_params *params);

/* The parameter as a leaf of a tape: on the device if the tape's backend is that, else in the host's buffers. Make
 * one leaf of each parameter on a tape: a second one would overwrite the first one's gradient instead of adding to
 * it. */
cm3_var *cm3_params_var(const cm3_params *params, cm3_tape *tape, int index);

#endif
