#include "core/rng.h"
#include "core/tensor/tape.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A small network with everything that the planner treats specially: a residual stream written in place, a shared
 * leaf, a view, an activation that is recomputed, two buckets, a loss whose backward pass is whole. */
enum { ROWS = 6, WIDTH = 8, INNER = 16, VOCABULARY = 10, PARAMETERS = 4 };

typedef struct network {
    cm3_tape *tape;
    cm3_var *loss, *per_row, *parameter[PARAMETERS];
    float *value[PARAMETERS], *grad[PARAMETERS];
    int64_t count[PARAMETERS];
    int32_t ids[ROWS], targets[ROWS];
    float scale;
} network;

static void fill(float *values, int64_t count, uint64_t name) {
    cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, name, 0);
    for (int64_t i = 0; i < count; i++) values[i] = (float)(0.5 * cm3_rng_normal(&rng));
}

static void build(network *n, cm3_recompute recompute, bool guards) {
    const cm3_shape shapes[PARAMETERS] = {cm3_shape_of(VOCABULARY, WIDTH), cm3_shape_of(INNER, WIDTH),
                                          cm3_shape_of(WIDTH, INNER), cm3_shape_of(WIDTH, WIDTH)};
    const int buckets[PARAMETERS] = {0, 1, 1, 2};
    const cm3_tape_options options = {.backend = cm3_backend_cpu(), .recompute = recompute, .guards = guards};
    memset(n, 0, sizeof *n);
    assert_int_equal(cm3_tape_create(&options, &n->tape), CM3_OK);
    for (int i = 0; i < PARAMETERS; i++) {
        n->count[i] = cm3_shape_count(shapes[i]);
        n->value[i] = calloc((size_t)n->count[i], sizeof(float));
        n->grad[i] = calloc((size_t)n->count[i], sizeof(float));
        fill(n->value[i], n->count[i], (uint64_t)i);
        n->parameter[i] = cm3_tape_parameter(n->tape, shapes[i], n->value[i], n->grad[i], buckets[i]);
    }
    for (int i = 0; i < ROWS; i++) {
        n->ids[i] = i;
        n->targets[i] = (3 * i + 1) % VOCABULARY;
    }
    n->targets[2] = -1;
    n->scale = 0.25f;
    cm3_tape *t = n->tape;
    cm3_var *ids = cm3_tape_input(t, CM3_I32, cm3_shape_of(ROWS), n->ids);
    cm3_var *targets = cm3_tape_input(t, CM3_I32, cm3_shape_of(ROWS), n->targets);
    cm3_var *scale = cm3_tape_input(t, CM3_F32, cm3_shape_of(1), &n->scale);
    cm3_tape_bucket(t, 0);
    cm3_var *x = cm3_embed(t, n->parameter[0], ids, NULL, NULL);
    cm3_tape_bucket(t, 1);
    for (int block = 0; block < 2; block++) { /* the same weights twice: gradients add up */
        cm3_var *h = cm3_linear(t, cm3_layer_norm(t, x, NULL, NULL, 1e-5f), n->parameter[1], NULL, NULL, CM3_ACT_RELU);
        x = cm3_linear(t, h, n->parameter[2], NULL, x, CM3_ACT_NONE);
    }
    cm3_tape_bucket(t, 2);
    x = cm3_linear(t, x, n->parameter[3], NULL, x, CM3_ACT_NONE); /* x as operand and as residual */
    x = cm3_view(t, cm3_view(t, x, cm3_shape_of(ROWS * WIDTH)), cm3_shape_of(ROWS, WIDTH));
    x = cm3_add(t, x, x);
    n->loss = cm3_linear_cross_entropy(t, x, n->parameter[0], targets, scale, NULL, 1e-2f, &n->per_row);
    cm3_tape_loss(t, n->loss);
    cm3_tape_keep(t, n->per_row);
    assert_int_equal(cm3_tape_plan(t), CM3_OK);
}

static void drop(network *n) {
    for (int i = 0; i < PARAMETERS; i++) {
        free(n->value[i]);
        free(n->grad[i]);
    }
    cm3_tape_free(n->tape);
}

static double run(network *n, const cm3_tape_run_options *options) {
    const cm3_status status = cm3_tape_run(n->tape, options);
    if (status != CM3_OK) print_error("%s\n", cm3_message());
    assert_int_equal(status, CM3_OK);
    return (double)cm3_var_scalar(n->loss);
}

/* y (rows, outs) += x (rows, ins) weight^T */
static void add_product(double *y, const double *x, const double *weight, int64_t rows, int64_t ins, int64_t outs) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < outs; o++)
            for (int64_t i = 0; i < ins; i++) y[r * outs + o] += x[r * ins + i] * weight[o * ins + i];
}

/* What build() records, in double: its loss, and the largest logit. */
static double loss_in_double(const network *n, double *const value[PARAMETERS], double *largest) {
    double x[ROWS * WIDTH], copy[ROWS * WIDTH], normed[ROWS * WIDTH], inner[ROWS * INNER], loss = 0;
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = value[0][n->ids[i / WIDTH] * WIDTH + i % WIDTH];
    for (int block = 0; block < 2; block++) {
        for (int r = 0; r < ROWS; r++) {
            double mean = 0, variance = 0;
            for (int i = 0; i < WIDTH; i++) mean += x[r * WIDTH + i] / WIDTH;
            for (int i = 0; i < WIDTH; i++) variance += pow(x[r * WIDTH + i] - mean, 2) / WIDTH;
            for (int i = 0; i < WIDTH; i++) normed[r * WIDTH + i] = (x[r * WIDTH + i] - mean) / sqrt(variance + 1e-5);
        }
        memset(inner, 0, sizeof inner);
        add_product(inner, normed, value[1], ROWS, WIDTH, INNER);
        for (int i = 0; i < ROWS * INNER; i++) inner[i] = fmax(inner[i], 0);
        add_product(x, inner, value[2], ROWS, INNER, WIDTH);
    }
    memcpy(copy, x, sizeof x);
    add_product(x, copy, value[3], ROWS, WIDTH, WIDTH);
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] += x[i];
    *largest = 0;
    for (int r = 0; r < ROWS; r++) {
        double logits[VOCABULARY] = {0}, sum = 0;
        add_product(logits, &x[r * WIDTH], value[0], 1, WIDTH, VOCABULARY);
        for (int i = 0; i < VOCABULARY; i++) {
            sum += exp(logits[i]);
            *largest = fmax(*largest, fabs(logits[i]));
        }
        if (n->targets[r] >= 0) loss += log(sum) - logits[n->targets[r]] + 1e-2 * pow(log(sum), 2);
    }
    return (double)n->scale * loss;
}

/* The differences are those of a loss in double, over a step so small that neither curvature nor ReLU's kinks matter.
 * So what is tolerated is rounding in f32 alone, whichever kernels multiply: the errors of a
 * logit's INNER roundings add up to sqrt(INNER) 2^-24 of the largest logit, the softmax makes a relative error of that,
 * and the gradients' own sums add as much again. */
static void gradients_are_those_of_finite_differences(void **state) {
    (void)state;
    network n;
    build(&n, CM3_RECOMPUTE_NONE, true);
    const double loss = run(&n, NULL), step = 1e-6;
    double *value[PARAMETERS], largest, worst = 0;
    for (int i = 0; i < PARAMETERS; i++) {
        value[i] = malloc((size_t)n.count[i] * sizeof *value[i]);
        for (int64_t k = 0; k < n.count[i]; k++) value[i][k] = (double)n.value[i][k];
    }
    const double expected_loss = loss_in_double(&n, value, &largest);
    const double rounding = 2 * sqrt(INNER) * ldexp(1, -24) * (1 + largest);
    assert_true(fabs(loss - expected_loss) <= rounding * expected_loss);
    for (int i = 0; i < PARAMETERS; i++) {
        double top = 0;
        for (int64_t k = 0; k < n.count[i]; k++) top = fmax(top, fabs((double)n.grad[i][k]));
        for (int64_t k = 0; k < n.count[i]; k++) {
            const double kept = value[i][k], found = (double)n.grad[i][k];
            value[i][k] = kept + step;
            const double above = loss_in_double(&n, value, &largest);
            value[i][k] = kept - step;
            const double below = loss_in_double(&n, value, &largest);
            value[i][k] = kept;
            const double expected = (above - below) / (2 * step), error = fabs(found - expected) / (rounding * top);
            if (!(error <= 1))
                print_error("parameter %d[%lld]: %g, by differences %g\n", i, (long long)k, found, expected);
            worst = fmax(worst, error);
        }
    }
    print_message("the largest error is %.3f of what rounding explains (%.1e of the largest gradient)\n", worst,
                  rounding);
    assert_true(worst <= 1);
    for (int i = 0; i < PARAMETERS; i++) free(value[i]);
    drop(&n);
}

static void recomputation_changes_memory_but_no_bit(void **state) {
    (void)state;
    network kept, activations, buckets;
    build(&kept, CM3_RECOMPUTE_NONE, true);
    build(&activations, CM3_RECOMPUTE_ACTIVATIONS, true);
    build(&buckets, CM3_RECOMPUTE_LAYERS, true);
    const double loss = run(&kept, NULL);
    assert_true(loss == run(&activations, NULL));
    assert_true(loss == run(&buckets, NULL));
    for (int i = 0; i < PARAMETERS; i++) {
        assert_memory_equal(kept.grad[i], activations.grad[i], (size_t)kept.count[i] * sizeof(float));
        assert_memory_equal(kept.grad[i], buckets.grad[i], (size_t)kept.count[i] * sizeof(float));
    }
    assert_true(cm3_tape_get_stats(kept.tape)->recompute_flops == 0);
    assert_true(cm3_tape_get_stats(activations.tape)->recompute_flops > 0);
    assert_true(cm3_tape_get_stats(buckets.tape)->recompute_flops >
                cm3_tape_get_stats(activations.tape)->recompute_flops);
    drop(&kept);
    drop(&activations);
    drop(&buckets);
}

static void the_meta_device_plans_the_same_memory_and_refuses_to_run(void **state) {
    (void)state;
    cm3_tape *tapes[2];
    for (int i = 0; i < 2; i++) {
        const cm3_tape_options options = {.backend = i ? cm3_backend_meta() : cm3_backend_cpu()};
        assert_int_equal(cm3_tape_create(&options, &tapes[i]), CM3_OK);
        cm3_var *x = cm3_tape_input(tapes[i], CM3_F32, cm3_shape_of(64, 32), NULL);
        cm3_var *w = cm3_tape_parameter(tapes[i], cm3_shape_of(32, 32), NULL, NULL, 0);
        cm3_var *scale = cm3_tape_input(tapes[i], CM3_F32, cm3_shape_of(1), NULL);
        for (int k = 0; k < 4; k++) x = cm3_linear(tapes[i], x, w, NULL, NULL, CM3_ACT_SILU);
        cm3_tape_loss(tapes[i], cm3_pixel_loss(tapes[i], x, x, scale, 1, 1));
        assert_int_equal(cm3_tape_plan(tapes[i]), CM3_OK);
    }
    assert_true(cm3_tape_get_stats(tapes[0])->peak_bytes == cm3_tape_get_stats(tapes[1])->peak_bytes);
    assert_true(cm3_tape_get_stats(tapes[1])->peak_bytes > 0);
    assert_int_equal(cm3_tape_run(tapes[1], NULL), CM3_ERR_UNSUPPORTED);
    cm3_tape_free(tapes[0]);
    cm3_tape_free(tapes[1]);
}

static void accumulating_runs_add_their_gradients(void **state) {
    (void)state;
    network n;
    build(&n, CM3_RECOMPUTE_NONE, true);
    run(&n, NULL);
    const float once = n.grad[1][5], tied = n.grad[0][3];
    run(&n, &(const cm3_tape_run_options){.accumulate = true});
    assert_true(fabsf(n.grad[1][5] - 2 * once) <= 1e-5f * fabsf(once));
    assert_true(fabsf(n.grad[0][3] - 2 * tied) <= 1e-5f * fabsf(tied));
    run(&n, NULL);
    assert_true(n.grad[1][5] == once);
    drop(&n);
}

typedef struct ready_log {
    int order[8], count;
    const network *n;
    float seen[8];
} ready_log;

static cm3_status note_ready(void *context, int bucket) {
    ready_log *log = context;
    log->seen[log->count] = log->n->grad[bucket == 0 ? 0 : bucket == 1 ? 1 : 3][3];
    log->order[log->count++] = bucket;
    return CM3_OK;
}

static void buckets_are_ready_last_first_and_with_their_final_gradients(void **state) {
    (void)state;
    network n;
    build(&n, CM3_RECOMPUTE_NONE, false);
    ready_log log = {.n = &n};
    run(&n, &(const cm3_tape_run_options){.bucket_ready = note_ready, .context = &log});
    assert_int_equal(log.count, 3);
    assert_int_equal(log.order[0], 2);
    assert_int_equal(log.order[1], 1);
    assert_int_equal(log.order[2], 0); /* the tied table: touched by the loss first and by the embedding last */
    assert_true(log.seen[0] == n.grad[3][3]);
    assert_true(log.seen[1] == n.grad[1][3]);
    assert_true(log.seen[2] == n.grad[0][3]);
    drop(&n);
}

static void a_tape_that_shares_memory_needs_no_more_and_leaves_what_is_kept(void **state) {
    (void)state;
    network n;
    build(&n, CM3_RECOMPUTE_NONE, false);
    const size_t alone = cm3_tape_get_stats(n.tape)->peak_bytes;
    const cm3_tape_options options = {.backend = cm3_backend_cpu(), .shares = n.tape};
    cm3_tape *second;
    float input[ROWS * WIDTH];
    fill(input, ROWS * WIDTH, 9);
    assert_int_equal(cm3_tape_create(&options, &second), CM3_OK);
    cm3_var *x = cm3_tape_input(second, CM3_F32, cm3_shape_of(ROWS, WIDTH), input);
    cm3_var *w = cm3_tape_parameter(second, cm3_shape_of(INNER, WIDTH), n.value[1], NULL, 1);
    cm3_var *y = cm3_activate(second, cm3_linear(second, x, w, NULL, NULL, CM3_ACT_NONE), CM3_ACT_RELU);
    cm3_tape_keep(second, y);
    assert_int_equal(cm3_tape_plan(second), CM3_OK);
    assert_true(cm3_tape_get_stats(second)->peak_bytes == alone);

    const double loss = run(&n, NULL);
    float per_row[ROWS], first[ROWS * INNER];
    memcpy(per_row, cm3_var_tensor(n.per_row)->data, sizeof per_row);
    for (int time = 0; time < 2; time++) {
        assert_int_equal(cm3_tape_run(second, NULL), CM3_OK);
        assert_true((double)cm3_var_scalar(n.loss) == loss);
        assert_memory_equal(per_row, cm3_var_tensor(n.per_row)->data, sizeof per_row);
        if (time == 0) memcpy(first, cm3_var_tensor(y)->data, sizeof first);
        assert_memory_equal(first, cm3_var_tensor(y)->data, sizeof first);
        assert_true(run(&n, NULL) == loss);
    }
    cm3_tape_free(second);
    drop(&n);
}

static void memory_in_use_takes_no_further_tape(void **state) {
    (void)state;
    network n;
    build(&n, CM3_RECOMPUTE_NONE, false);
    run(&n, NULL);
    cm3_tape *second;
    assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu(), .shares = n.tape}, &second),
                     CM3_OK);
    static float large[1 << 16];
    cm3_var *x = cm3_tape_input(second, CM3_F32, cm3_shape_of(1 << 16), large);
    cm3_tape_keep(second, cm3_activate(second, x, CM3_ACT_RELU));
    assert_int_equal(cm3_tape_run(second, NULL), CM3_ERR_INTERNAL);
    cm3_tape_free(second);
    drop(&n);
}

static void the_first_failure_of_recording_is_reported_once_by_the_plan(void **state) {
    (void)state;
    const cm3_tape_options options = {.backend = cm3_backend_cpu()};
    cm3_tape *t;
    assert_int_equal(cm3_tape_create(&options, &t), CM3_OK);
    cm3_var *x = cm3_tape_input(t, CM3_F32, cm3_shape_of(4, 8), NULL);
    cm3_var *w = cm3_tape_parameter(t, cm3_shape_of(3, 7), NULL, NULL, 0);
    cm3_var *y = cm3_linear(t, x, w, NULL, NULL, CM3_ACT_NONE);
    assert_null(y);
    assert_null(cm3_layer_norm(t, y, NULL, NULL, 1e-5f));
    cm3_fail(CM3_ERR_IO, "something else");
    assert_int_equal(cm3_tape_plan(t), CM3_ERR_SHAPE);
    assert_non_null(strstr(cm3_message(), "linear: weight is f32 (3, 7), expected f32 (3, 8)"));
    cm3_tape_free(t);
}

/* Two layers and a loss. The second half may lie on a tape of its own, whose gradient seeds the first one's. */
typedef struct halves {
    float x[4 * 8], goal[4 * 8], first[8 * 8], second[8 * 8], grad_first[8 * 8], grad_second[8 * 8], scale;
} halves;

static cm3_var *first_half(halves *h, cm3_tape *t) {
    cm3_var *w = cm3_tape_parameter(t, cm3_shape_of(8, 8), h->first, h->grad_first, 0);
    cm3_var *x = cm3_tape_input(t, CM3_F32, cm3_shape_of(4, 8), h->x);
    return cm3_linear(t, x, w, NULL, NULL, CM3_ACT_RELU);
}

static void second_half(halves *h, cm3_tape *t, cm3_var *y) {
    cm3_var *w = cm3_tape_parameter(t, cm3_shape_of(8, 8), h->second, h->grad_second, 1);
    cm3_var *goal = cm3_tape_input(t, CM3_F32, cm3_shape_of(4, 8), h->goal);
    cm3_var *scale = cm3_tape_input(t, CM3_F32, cm3_shape_of(1), &h->scale);
    cm3_tape_loss(t, cm3_pixel_loss(t, cm3_linear(t, y, w, NULL, NULL, CM3_ACT_NONE), goal, scale, 0, 1));
}

static void open_halves(halves *h, cm3_tape *tapes[2], int count) {
    *h = (halves){.scale = 0.25f};
    fill(h->x, 4 * 8, 1), fill(h->goal, 4 * 8, 2), fill(h->first, 8 * 8, 3), fill(h->second, 8 * 8, 4);
    const cm3_tape_options options = {.backend = cm3_backend_cpu(), .guards = true};
    for (int i = 0; i < count; i++) assert_int_equal(cm3_tape_create(&options, &tapes[i]), CM3_OK);
}

static void a_gradient_from_another_tape_seeds_the_backward_pass(void **state) {
    (void)state;
    halves whole, parts;
    cm3_tape *one[2], *two[2];
    open_halves(&whole, one, 1);
    second_half(&whole, one[0], first_half(&whole, one[0]));
    assert_int_equal(cm3_tape_run(one[0], NULL), CM3_OK);

    float y[4 * 8], seed[4 * 8];
    open_halves(&parts, two, 2);
    cm3_var *made = first_half(&parts, two[0]), *input = cm3_tape_input(two[1], CM3_F32, cm3_shape_of(4, 8), y);
    cm3_tape_seed(two[0], made, seed);
    cm3_tape_want_gradient(two[1], input);
    second_half(&parts, two[1], input);
    memset(seed, 0, sizeof seed);
    assert_int_equal(cm3_tape_run(two[0], NULL), CM3_OK); /* for the value */
    memcpy(y, cm3_var_tensor(made)->data, sizeof y);
    assert_int_equal(cm3_tape_run(two[1], NULL), CM3_OK);
    memcpy(seed, cm3_var_grad(input)->data, sizeof seed);
    assert_int_equal(cm3_tape_run(two[0], NULL), CM3_OK);
    assert_memory_equal(whole.grad_second, parts.grad_second, sizeof whole.grad_second);
    assert_memory_equal(whole.grad_first, parts.grad_first, sizeof whole.grad_first);
    cm3_tape_free(one[0]), cm3_tape_free(two[0]), cm3_tape_free(two[1]);
}

static void no_gradient_passes_where_a_value_is_cut_from_the_tape(void **state) {
    (void)state;
    halves whole, cut;
    cm3_tape *one[2], *two[2];
    open_halves(&whole, one, 1);
    open_halves(&cut, two, 1);
    second_half(&whole, one[0], first_half(&whole, one[0]));
    second_half(&cut, two[0], cm3_detach(two[0], first_half(&cut, two[0])));
    memset(cut.grad_first, 1, sizeof cut.grad_first);
    assert_int_equal(cm3_tape_run(one[0], NULL), CM3_OK);
    assert_int_equal(cm3_tape_run(two[0], NULL), CM3_OK);
    assert_memory_equal(whole.grad_second, cut.grad_second, sizeof whole.grad_second);
    for (int i = 0; i < 8 * 8; i++) assert_true(cut.grad_first[i] == 0);
    cm3_tape_free(one[0]), cm3_tape_free(two[0]);
}

/* A loss is a root, and part of a sum of losses that is another. */
static void a_loss_that_another_root_follows_from_counts_for_itself_too(void **state) {
    (void)state;
    float grad[2][8] = {{0}}, value[8], goal[8], scale = 1;
    fill(value, 8, 1), fill(goal, 8, 2);
    for (int i = 0; i < 2; i++) {
        cm3_tape *t;
        assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu(), .guards = true}, &t),
                         CM3_OK);
        cm3_var *x = cm3_tape_parameter(t, cm3_shape_of(8), value, grad[i], 0),
                *y = cm3_tape_input(t, CM3_F32, cm3_shape_of(8), goal),
                *s = cm3_tape_input(t, CM3_F32, cm3_shape_of(1), &scale);
        cm3_var *loss = cm3_pixel_loss(t, x, y, s, 0, 1), *other = cm3_pixel_loss(t, x, y, s, 0, i ? 3 : 2);
        cm3_tape_loss(t, loss);
        cm3_tape_loss(t, i ? other : cm3_add(t, loss, other));
        if (cm3_tape_run(t, NULL) != CM3_OK) fail_msg("%s", cm3_message());
        cm3_tape_free(t);
    }
    for (int k = 0; k < 8; k++) assert_true(fabsf(grad[0][k] - grad[1][k]) <= 1e-6f * fabsf(grad[1][k]));
}

static void only_the_first_output_of_an_operation_is_a_root(void **state) {
    (void)state;
    float value[8] = {0};
    for (int i = 0; i < 2; i++) {
        cm3_tape *t;
        assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu()}, &t), CM3_OK);
        cm3_var *x = cm3_tape_input(t, CM3_F32, cm3_shape_of(2, 4), value);
        cm3_tape_seed(t, i ? cm3_tape_output(cm3_layer_norm(t, x, NULL, NULL, 1e-5f), 1) : x, NULL);
        assert_int_equal(cm3_tape_plan(t), CM3_ERR_INTERNAL);
        assert_non_null(strstr(cm3_message(), i ? "not a further one" : "not a leaf"));
        cm3_tape_free(t);
    }
}

static cm3_status refuse_once(void *context, int bucket) {
    return bucket == 1 && (*(int *)context)++ == 0 ? cm3_fail(CM3_ERR_IO, "refused") : CM3_OK;
}

static void a_failure_of_a_callback_ends_that_run_alone(void **state) {
    (void)state;
    network n;
    int calls = 0;
    build(&n, CM3_RECOMPUTE_NONE, false);
    const cm3_tape_run_options options = {.bucket_ready = refuse_once, .context = &calls};
    assert_int_equal(cm3_tape_run(n.tape, &options), CM3_ERR_IO);
    assert_int_equal(cm3_tape_run(n.tape, &options), CM3_OK);
    drop(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_finite_differences),
        cmocka_unit_test(recomputation_changes_memory_but_no_bit),
        cmocka_unit_test(the_meta_device_plans_the_same_memory_and_refuses_to_run),
        cmocka_unit_test(accumulating_runs_add_their_gradients),
        cmocka_unit_test(buckets_are_ready_last_first_and_with_their_final_gradients),
        cmocka_unit_test(a_tape_that_shares_memory_needs_no_more_and_leaves_what_is_kept),
        cmocka_unit_test(memory_in_use_takes_no_further_tape),
        cmocka_unit_test(the_first_failure_of_recording_is_reported_once_by_the_plan),
        cmocka_unit_test(a_gradient_from_another_tape_seeds_the_backward_pass),
        cmocka_unit_test(no_gradient_passes_where_a_value_is_cut_from_the_tape),
        cmocka_unit_test(a_loss_that_another_root_follows_from_counts_for_itself_too),
        cmocka_unit_test(only_the_first_output_of_an_operation_is_a_root),
        cmocka_unit_test(a_failure_of_a_callback_ends_that_run_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
