#include "tests/support/small_network.h"

#include "core/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static small_network open_network(const cm3_network_options *options) {
    small_network n;
    assert_int_equal(cm3_network_open(options, &n.network), CM3_OK);
    n.params = n.network->params;
    n.model = n.network->model;
    for (int i = 0; i < cm3_params_count(n.params); i++) {
        const cm3_param *p = cm3_params_get(n.params, i);
        cm3_rng rng = cm3_rng_stream(9, CM3_RNG_TEST, (uint64_t)i, 0);
        if (p->init.kind == CM3_INIT_ZEROS)
            for (int64_t k = 0; k < p->count; k++)
                cm3_params_value(n.params, i)[k] = (float)(0.2 * cm3_rng_normal(&rng));
    }
    assert_int_equal(cm3_params_upload(n.params), CM3_OK);
    return n;
}

small_network small_network_open(const cm3_transformer_config *config, int64_t vocabulary) {
    return open_network(&(cm3_network_options){
        .kind = "transformer", .config = config, .vocabulary = vocabulary, .use = CM3_USE_GRADIENTS, .seed = 4});
}

small_network small_network_open_on(const cm3_transformer_config *config, int64_t vocabulary,
                                    const cm3_backend *backend, cm3_dtype compute) {
    return open_network(&(cm3_network_options){.kind = "transformer",
                                               .config = config,
                                               .vocabulary = vocabulary,
                                               .use = CM3_USE_INFER,
                                               .backend = backend,
                                               .compute = compute,
                                               .seed = 4});
}

void small_network_close(small_network *n) {
    cm3_network_close(n->network);
}
