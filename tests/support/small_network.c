#include "tests/support/small_network.h"

#include "core/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

small_network small_network_open(const cm3_transformer_config *config, int64_t vocabulary) {
    small_network n;
    assert_int_equal(cm3_params_create(&n.params), CM3_OK);
    assert_int_equal(cm3_transformer_declare(config, vocabulary, n.params, &n.model), CM3_OK);
    assert_int_equal(cm3_params_layout(n.params, 64), CM3_OK);
    assert_int_equal(cm3_params_allocate(n.params, true), CM3_OK);
    cm3_params_init(n.params, 4);
    for (int i = 0; i < cm3_params_count(n.params); i++) {
        const cm3_param *p = cm3_params_get(n.params, i);
        cm3_rng rng = cm3_rng_stream(9, CM3_RNG_TEST, (uint64_t)i, 0);
        if (p->init.kind == CM3_INIT_ZEROS)
            for (int64_t k = 0; k < p->count; k++)
                cm3_params_value(n.params, i)[k] = (float)(0.2 * cm3_rng_normal(&rng));
    }
    return n;
}

void small_network_close(small_network *n) {
    cm3_transformer_free(n->model);
    cm3_params_free(n->params);
}
