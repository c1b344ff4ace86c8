/* Where the values of a network's parameters come from: initialisation, a checkpoint, other people's files. */
#ifndef CM3_MODEL_WEIGHTS_SOURCE_H
#define CM3_MODEL_WEIGHTS_SOURCE_H

#include "model/params.h"

typedef struct cm3_weights_source cm3_weights_source;
struct cm3_weights_source {
    /* Whether it holds exactly the parameters of this table, in their shapes: the first difference in one line. NULL:
     * there is nothing to compare. */
    cm3_status (*check)(cm3_weights_source *source, const cm3_params *params);
    /* Elements range.offset .. of a parameter, as f32. */
    cm3_status (*read)(cm3_weights_source *source, const cm3_param *param, cm3_param_range range, float *values);
    void (*close)(cm3_weights_source *source); /* NULL: nothing to close */
    uint64_t seed;                             /* of cm3_weights_initial() */
};

/* Initial values: a function of the seed, the parameter's index and the element alone. */
cm3_weights_source cm3_weights_initial(uint64_t seed);
/* Hugging Face's files. CM3_ERR_UNSUPPORTED: not built yet. */
cm3_status cm3_weights_safetensors(const char *path, cm3_weights_source **source);
void cm3_weights_close(cm3_weights_source *source); /* NULL is allowed */

/* Fills all parameters, where kernels find them, too. */
cm3_status cm3_params_load(cm3_params *params, cm3_weights_source *source);
/* The same with initial values. */
cm3_status cm3_params_init(cm3_params *params, uint64_t seed);

#endif
