/* A small transformer for tests. */
#ifndef CM3_TESTS_SUPPORT_SMALL_NETWORK_H
#define CM3_TESTS_SUPPORT_SMALL_NETWORK_H

#include "model/transformer.h"

typedef struct small_network {
    cm3_network *network;
    cm3_params *params;
    cm3_transformer *model;
} small_network;

/* With gradients. All weights are random, the zero-initialised projections too, so that every path carries something.
 */
small_network small_network_open(const cm3_transformer_config *config, int64_t vocabulary);
/* The same on this backend, for inference. */
small_network small_network_open_on(const cm3_transformer_config *config, int64_t vocabulary,
                                    const cm3_backend *backend, cm3_dtype compute);
void small_network_close(small_network *network);

#endif
