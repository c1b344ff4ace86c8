#include "core/file.h"
#include "tests/support/temporary_folder.h"
#include "train/state.h"
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* --- the smallest thing that learns: one parameter of four values, drawn to a constant --------------------------- */

typedef struct pupil {
    cm3_params *params;
    cm3_tape *tape;
    cm3_var *loss;
    float goal[4], scale, losses[CM3_STEPS_QUEUED];
    double score; /* what validation gives */
    int64_t validations, cares;
} pupil;

static void pupil_open(pupil *p, double score) {
    *p = (pupil){.goal = {1, 2, 3, 4}, .scale = 1, .score = score};
    assert_int_equal(cm3_params_create(&p->params), CM3_OK);
    cm3_params_add(p->params, cm3_shape_of(4), cm3_init_zeros(), CM3_NO_DECAY, "x");
    assert_int_equal(cm3_params_layout(p->params, CM3_SHARD_UNIT), CM3_OK);
    assert_int_equal(cm3_params_allocate(p->params, cm3_backend_cpu(), CM3_F32, CM3_USE_TRAIN), CM3_OK);
    cm3_params_init(p->params, 1);
    assert_int_equal(cm3_tape_create(&(cm3_tape_options){.backend = cm3_backend_cpu()}, &p->tape), CM3_OK);
    p->loss = cm3_pixel_loss(p->tape, cm3_params_var(p->params, p->tape, 0),
                             cm3_tape_input(p->tape, CM3_F32, cm3_shape_of(4), p->goal),
                             cm3_tape_input(p->tape, CM3_F32, cm3_shape_of(1), &p->scale), 0, 1);
    cm3_tape_loss(p->tape, p->loss);
    assert_int_equal(cm3_tape_plan(p->tape), CM3_OK);
}

static void pupil_close(pupil *p) {
    cm3_tape_free(p->tape);
    cm3_params_free(p->params);
}

static cm3_status load_batch(void *context, int64_t step, double *weight) {
    (void)context, (void)step;
    *weight = 1;
    return CM3_OK;
}

static cm3_status queue_inputs(void *context, int network, int64_t step, int64_t micro, double weight) {
    (void)context, (void)network, (void)step, (void)micro, (void)weight;
    return CM3_OK;
}

static cm3_status queue_readback(void *context, int network, int64_t step, int64_t micro) {
    pupil *p = context;
    (void)network, (void)micro;
    p->losses[step % CM3_STEPS_QUEUED] = cm3_var_scalar(p->loss);
    return CM3_OK;
}

static cm3_status collect(void *context, int64_t step, double sums[CM3_SUMS_MAX]) {
    sums[0] += (double)((pupil *)context)->losses[step % CM3_STEPS_QUEUED];
    return CM3_OK;
}

static void report(void *context, const double sums[CM3_SUMS_MAX], cm3_metrics *metrics, char *text, size_t size) {
    (void)context;
    cm3_metrics_put(metrics, "loss", sums[0]);
    snprintf(text, size, "loss %g", sums[0]);
}

static cm3_status validate(void *context, cm3_comm *comm, int64_t step, cm3_metrics *metrics, double *score) {
    pupil *p = context;
    (void)comm, (void)step;
    cm3_metrics_put(metrics, "loss", p->score);
    *score = p->score;
    p->validations++;
    return CM3_OK;
}

static cm3_status updated(void *context, cm3_comm *comm, int64_t step) {
    (void)comm, (void)step;
    ((pupil *)context)->cares++;
    return CM3_OK;
}

static cm3_status save(void *context, cm3_comm *comm, char **text) {
    (void)context, (void)comm;
    *text = strdup("{}");
    return CM3_OK;
}

static cm3_status restore(void *context, const char *name, const char *text, int64_t step) {
    (void)context, (void)name, (void)text, (void)step;
    return CM3_OK;
}

/* A process of its own, as it were: trains a pupil to `steps`, from the checkpoint of the folder if there is one. */
static cm3_status train_pupil(pupil *p, const char *run, int64_t steps) {
    const cm3_train_config loop = {.steps = steps, .log_every = 1000, .validate_every = 1};
    const cm3_guard_config guard = {.on_nonfinite = CM3_NONFINITE_SKIP, .max_skips = 2};
    const cm3_trainer_config config = {.run = run,
                                       .config_text = "",
                                       .train = &loop,
                                       .checkpoint = &(cm3_checkpoint_config){.every = 1},
                                       .guard = &guard};
    const cm3_learner learner = {
        .networks = {{.name = "pupil",
                      .params = p->params,
                      .tape = p->tape,
                      .losses = {p->loss},
                      .adamw = &(cm3_adamw_config){.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
                      .schedule = &(cm3_schedule_config){.final_fraction = 1}}},
        .network_count = 1,
        .item = "item",
        .items_per_step = 1,
        .micro_batches = 1,
        .context = p,
        .load_batch = load_batch,
        .queue_inputs = queue_inputs,
        .queue_readback = queue_readback,
        .updated = updated,
        .collect = collect,
        .report = report,
        .validate = validate,
        .save = save,
        .restore = restore};
    cm3_comm *comm;
    assert_int_equal(cm3_comm_open_self(&comm), CM3_OK);
    const cm3_status status = cm3_train(&config, &learner, comm);
    cm3_comm_close(comm);
    return status;
}

static void train(const char *run, int64_t steps, double score) {
    pupil p;
    pupil_open(&p, score);
    if (train_pupil(&p, run, steps) != CM3_OK) fail_msg("%s", cm3_message());
    assert_true(p.validations > 0);
    assert_true(p.cares > 0);
    pupil_close(&p);
}

static void assert_best(const char *run, const char *step) {
    cm3_path path;
    assert_int_equal(cm3_checkpoint_best(run, &path), CM3_OK);
    assert_string_equal(strrchr(path.text, '/') + 1, step);
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

/* The nearest float is above one score and below the other: neither may look like a better score. */
static void resume_does_not_move_the_mark_of_the_best_on_an_equal_score(void **state) {
    static const double scores[] = {0.1, 0.7};
    assert_true((double)(float)scores[0] > scores[0] && (double)(float)scores[1] < scores[1]);
    for (int i = 0; i < 2; i++) {
        char run[64];
        snprintf(run, sizeof run, "%s/%d", (char *)*state, i);
        assert_int_equal(cm3_folder_make(run), CM3_OK);
        train(run, 2, scores[i]);
        assert_best(run, "step-1");
        train(run, 4, scores[i]);
        assert_best(run, "step-1");
        train(run, 5, nextafter(scores[i], 0)); /* the least that is better */
        assert_best(run, "step-5");
    }
}

static void a_resumed_run_ends_with_the_bits_of_one_that_never_stopped(void **state) {
    static const char *const names[] = {"straight", "stopped"};
    cm3_hash digest[2];
    for (int i = 0; i < 2; i++) {
        char run[64];
        cm3_path path;
        snprintf(run, sizeof run, "%s/%s", (char *)*state, names[i]);
        assert_int_equal(cm3_folder_make(run), CM3_OK);
        if (i == 1) train(run, 3, 1);
        train(run, 6, 1);
        assert_int_equal(cm3_checkpoint_latest(run, &path), CM3_OK);
        assert_string_equal(strrchr(path.text, '/') + 1, "step-6");
        assert_int_equal(cm3_checkpoint_digest(path.text, "v", &digest[i]), CM3_OK);
    }
    assert_true(cm3_hash_equal(digest[0], digest[1]));
}

/* Two updates in a row may be skipped, wherever the run stops between. */
static void skips_in_a_row_are_counted_over_a_resume_and_nothing_is_cared_for_behind_them(void **state) {
    for (int stop = 0; stop < 3; stop++) {
        char run[64];
        snprintf(run, sizeof run, "%s/skips-%d", (char *)*state, stop);
        assert_int_equal(cm3_folder_make(run), CM3_OK);
        for (int part = stop > 0 ? 0 : 1; part < 2; part++) {
            pupil p;
            pupil_open(&p, 1);
            p.goal[2] = NAN;
            assert_int_equal(train_pupil(&p, run, part ? 5 : stop), part ? CM3_ERR_NUMERIC : CM3_OK);
            if (part) assert_non_null(strstr(cm3_message(), "step 3: "));
            assert_int_equal(p.cares, 0);
            pupil_close(&p);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(resume_does_not_move_the_mark_of_the_best_on_an_equal_score,
                                        temporary_folder_open, temporary_folder_close),
        cmocka_unit_test_setup_teardown(skips_in_a_row_are_counted_over_a_resume_and_nothing_is_cared_for_behind_them,
                                        temporary_folder_open, temporary_folder_close),
        cmocka_unit_test_setup_teardown(a_resumed_run_ends_with_the_bits_of_one_that_never_stopped,
                                        temporary_folder_open, temporary_folder_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
