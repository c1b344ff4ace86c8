/* By itself: the tests of one rank. With arguments, under mpirun from test_checkpoint_ranks.sh and
 * test_checkpoint_full_disk.sh: save RUN STEP | load RUN STEP | digest RUN | fault RUN | fill RUN |
 * sizes RUN */
#include "tests/support/temporary_folder.h"
#include "train/checkpoint_internal.h"

#include "core/file.h"
#include "core/log.h"
#include "core/rng.h"
#include "train/signals.h"

#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* --- a small model whose values are a function of (name, element, step), laid out as `ranks` want it ------------- */

enum { TENSORS = 6, BUFFERS = 3 };
static const char *const buffer_names[BUFFERS] = {"parameters", "m", "v"};

typedef struct model {
    cm3_checkpoint_tensor tensors[TENSORS];
    cm3_checkpoint_group group;
    cm3_checkpoint_buffer *buffers; /* the group's */
    int32_t counts[5];
    cm3_checkpoint_array array;
    cm3_checkpoint_parts parts;
} model;

static int64_t pad(int64_t count, int64_t unit) {
    return (count + unit - 1) / unit * unit;
}

static void model_new(model *m, int ranks, int64_t scale) {
    const cm3_checkpoint_tensor tensors[TENSORS] = {
        {"embedding", cm3_shape_of(37 * scale, 8), 0, 0},    {"layers.0.qkv", cm3_shape_of(5, 7, 3), 0, 0},
        {"layers.0.bias", cm3_shape_of(13), 0, 0},           {"decoder/conv", cm3_shape_of(4, 3, 3, 3), 0, 0},
        {"layers.1.up", cm3_shape_of(64, 16 * scale), 0, 0}, {"gain", cm3_shape_of(1), 0, 0},
    };
    memcpy(m->tensors, tensors, sizeof tensors);
    int64_t at = 0;
    for (int t = 0; t < TENSORS; t++) {
        m->tensors[t].offset = at;
        at = pad(at + cm3_shape_count(m->tensors[t].shape), 16);
    }
    const int64_t total = pad(at, 16 * (int64_t)ranks);
    m->group = (cm3_checkpoint_group){.name = "all", .table = {m->tensors, TENSORS, total}, .buffer_count = BUFFERS};
    m->buffers = m->group.buffers;
    for (int b = 0; b < BUFFERS; b++)
        m->buffers[b] = (cm3_checkpoint_buffer){buffer_names[b], calloc((size_t)total, sizeof(float))};
    m->array = (cm3_checkpoint_array){"code_use", CM3_I32, cm3_shape_of(5), m->counts};
    m->parts = (cm3_checkpoint_parts){&m->group, 1, &m->array, 1};
}

static void model_free(model *m) {
    for (int b = 0; b < BUFFERS; b++) free(m->buffers[b].data);
}

static void model_fill(model *m, int64_t step) {
    for (int b = 0; b < BUFFERS; b++) {
        for (int t = 0; t < TENSORS; t++) {
            cm3_rng rng = cm3_rng_stream((uint64_t)b, CM3_RNG_TEST, (uint64_t)t, (uint64_t)step);
            float *data = m->buffers[b].data + m->tensors[t].offset;
            for (int64_t i = cm3_shape_count(m->tensors[t].shape); i > 0; i--) *data++ = cm3_rng_float(&rng) - 0.5f;
        }
    }
    for (int i = 0; i < 5; i++) m->counts[i] = (int32_t)(step * 10 + i);
}

static bool model_equal(const model *a, const model *b) {
    bool equal = memcmp(a->counts, b->counts, sizeof a->counts) == 0;
    for (int i = 0; i < BUFFERS; i++)
        for (int t = 0; t < TENSORS; t++)
            equal =
                equal && memcmp(a->buffers[i].data + a->tensors[t].offset, b->buffers[i].data + b->tensors[t].offset,
                                (size_t)cm3_shape_count(a->tensors[t].shape) * sizeof(float)) == 0;
    return equal;
}

static cm3_checkpoint_state state_of(int64_t step) {
    return (cm3_checkpoint_state){.step = step,
                                  .tokens = step << 33,
                                  .seed = UINT64_MAX - 1,
                                  .best = 0.1,
                                  .kind = "transformer",
                                  .config = "model:\n  layers: 2 # \xc3\xa9\n",
                                  .data = "{\"lanes\":[[1,2],[3,4]]}"};
}

static cm3_status save_step(cm3_comm *comm, const char *run, int64_t step, int64_t keep, int64_t scale) {
    model m;
    model_new(&m, cm3_comm_size(comm), scale);
    model_fill(&m, step);
    const cm3_checkpoint_state state = state_of(step);
    const cm3_status status = cm3_checkpoint_save(comm, run, keep, &m.parts, &state);
    model_free(&m);
    return status;
}

/* CM3_OK only if every bit is as it was saved. */
static cm3_status load_step(const char *path, int ranks, int64_t step, int64_t scale) {
    model wanted, found;
    model_new(&wanted, ranks, scale);
    model_new(&found, ranks, scale);
    model_fill(&wanted, step);
    cm3_checkpoint_state state = {0}, expected = state_of(step);
    cm3_status status = cm3_checkpoint_load(path, &found.parts, &state);
    if (status == CM3_OK &&
        !(model_equal(&wanted, &found) && state.step == step && state.tokens == expected.tokens &&
          state.seed == expected.seed && state.best == expected.best && strcmp(state.kind, expected.kind) == 0 &&
          strcmp(state.config, expected.config) == 0 && strcmp(state.data, expected.data) == 0))
        status =
            cm3_fail(CM3_ERR_INTERNAL, "%s: what was loaded is not what was saved at step %lld", path, (long long)step);
    cm3_checkpoint_state_free(&state);
    model_free(&wanted);
    model_free(&found);
    return status;
}

/* A large group and one that HDF5 puts into a gap before it. */
static cm3_status save_and_load_groups_of_two_sizes(cm3_comm *comm, const char *run) {
    enum { LARGE = 100000, SMALL = 64 };
    static float values[2][BUFFERS][LARGE];
    const cm3_checkpoint_tensor tensors[] = {{"net/large", cm3_shape_of(LARGE), 0, 0},
                                             {"net/small", cm3_shape_of(SMALL), 0, 0}};
    cm3_checkpoint_group groups[] = {{.name = "net/a", .table = {&tensors[0], 1, LARGE}, .buffer_count = BUFFERS},
                                     {.name = "net/b", .table = {&tensors[1], 1, SMALL}, .buffer_count = BUFFERS}};
    for (int i = 0; i < 2 * BUFFERS; i++) {
        groups[i % 2].buffers[i / 2] = (cm3_checkpoint_buffer){buffer_names[i / 2], values[i % 2][i / 2]};
        for (int e = 0; e < LARGE; e++) values[i % 2][i / 2][e] = (float)(i * LARGE + e);
    }
    const cm3_checkpoint_parts parts = {.groups = groups, .group_count = 2};
    const cm3_checkpoint_state at = state_of(1);
    CM3_TRY(cm3_checkpoint_save(comm, run, 0, &parts, &at));
    for (int b = 0; b < BUFFERS; b++) memset(values[0][b], 0, sizeof values[0][b]), memset(values[1][b], 0, SMALL * 4);
    cm3_path found;
    CM3_TRY(cm3_checkpoint_latest(run, &found));
    const char *path = found.text;
    const cm3_status status = cm3_checkpoint_load(path, &parts, NULL);
    CM3_TRY(cm3_comm_agree_status(comm, status));
    for (int i = 0; i < 2 * BUFFERS; i++)
        for (int e = 0; e < LARGE; e++)
            if (values[i % 2][i / 2][e] != (float)(i * LARGE + e)) return cm3_fail(CM3_ERR_INTERNAL, "other values");
    return CM3_OK;
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

typedef struct fixture {
    cm3_comm *comm;
    char run[TEMPORARY_FOLDER_MAX];
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    return temporary_folder_make(f->run) != 0 || cm3_comm_open_self(&f->comm) != CM3_OK;
}

static int tear_down(void **state) {
    fixture *f = *state;
    const int status = temporary_folder_remove(f->run);
    cm3_comm_close(f->comm);
    free(f);
    return status;
}

static void must(cm3_status status) {
    if (status != CM3_OK) fail_msg("%s", cm3_message());
}

static char *latest(const fixture *f) {
    cm3_path path;
    must(cm3_checkpoint_latest(f->run, &path));
    return strdup(path.text);
}

static int64_t latest_step(const fixture *f) {
    char *path = latest(f);
    long long step = -1;
    assert_int_equal(sscanf(path + strlen(f->run), "/checkpoints/step-%lld", &step), 1);
    free(path);
    return step;
}

static size_t count_names(const fixture *f) {
    char folder[128];
    snprintf(folder, sizeof folder, "%s/checkpoints", f->run);
    cm3_names names;
    must(cm3_folder_list(folder, &names));
    const size_t count = names.count;
    cm3_names_free(&names);
    return count;
}

static void what_is_loaded_is_what_was_saved(void **state) {
    fixture *f = *state;
    must(save_step(f->comm, f->run, 7, 0, 1));
    char *path = latest(f);
    must(load_step(path, 1, 7, 1));
    must(load_step(path, 3, 7, 1)); /* a layout with other padding */

    cm3_checkpoint_info info;
    must(cm3_checkpoint_read_info(path, &info));
    assert_int_equal(info.state.step, 7);
    assert_int_equal(info.tensor_count, TENSORS);
    assert_int_equal(info.parameters, 37 * 8 + 5 * 7 * 3 + 13 + 4 * 27 + 64 * 16 + 1);
    assert_string_equal(info.tensors[1].name, "layers.0.qkv");
    assert_int_equal(info.buffer_count, BUFFERS);
    cm3_checkpoint_info_free(&info);
    free(path);
}

static void parameters_load_alone(void **state) {
    fixture *f = *state;
    must(save_step(f->comm, f->run, 7, 0, 1));
    char *path = latest(f);
    model m, other_layout;
    model_new(&m, 1, 1);
    model_new(&other_layout, 5, 1);
    model_fill(&m, 7);
    model_fill(&other_layout, 7);
    m.buffers[0].data[m.group.table.total - 1] = 5; /* padding, which loading clears */
    m.group.buffer_count = 1;
    m.parts.array_count = 0;
    must(cm3_checkpoint_load(path, &m.parts, NULL));
    const size_t bytes = (size_t)m.group.table.total * sizeof(float);
    assert_int_equal(memcmp(m.buffers[0].data, other_layout.buffers[0].data, bytes), 0);
    model_free(&m);
    model_free(&other_layout);
    free(path);
}

static void a_model_of_another_shape_is_refused_by_name(void **state) {
    fixture *f = *state;
    must(save_step(f->comm, f->run, 1, 0, 1));
    char *path = latest(f);
    model m;
    model_new(&m, 1, 1);
    m.tensors[1].shape = cm3_shape_of(7, 5, 3);
    assert_int_equal(cm3_checkpoint_load(path, &m.parts, NULL), CM3_ERR_SHAPE);
    assert_non_null(strstr(cm3_message(), "layers.0.qkv"));
    assert_non_null(strstr(cm3_message(), "(5, 7, 3)"));
    m.tensors[1].shape = cm3_shape_of(5, 7, 3);
    m.tensors[4].name = "layers.1.down";
    assert_int_equal(cm3_checkpoint_load(path, &m.parts, NULL), CM3_ERR_SHAPE);
    assert_non_null(strstr(cm3_message(), "layers.1.down"));
    m.tensors[4].name = "layers.1.up";
    m.group.table.count--;
    assert_int_equal(cm3_checkpoint_load(path, &m.parts, NULL), CM3_ERR_SHAPE);
    assert_non_null(strstr(cm3_message(), "gain"));
    m.group.table.count++;
    m.buffers[2].name = "momentum";
    assert_int_equal(cm3_checkpoint_load(path, &m.parts, NULL), CM3_ERR_NOT_FOUND);
    assert_non_null(strstr(cm3_message(), "momentum"));
    m.buffers[2].name = "v";
    m.array.shape = cm3_shape_of(6);
    assert_int_equal(cm3_checkpoint_load(path, &m.parts, NULL), CM3_ERR_SHAPE);
    assert_non_null(strstr(cm3_message(), "code_use"));
    model_free(&m);
    free(path);
}

static void flip(const char *path, off_t at) {
    const int fd = open(path, O_RDWR);
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void any_flipped_byte_is_found_and_its_file_named(void **state) {
    fixture *f = *state;
    must(save_step(f->comm, f->run, 1, 0, 1));
    char *path = latest(f);
    cm3_names names;
    must(cm3_folder_list(path, &names));
    assert_int_equal(names.count, 3);
    int in_datasets = 0;
    for (size_t n = 0; n < names.count; n++) {
        const cm3_path joined = cm3_path_join(path, names.names[n]);
        const char *file = joined.text;
        struct stat info;
        assert_int_equal(stat(file, &info), 0);
        for (off_t at = 0; at < info.st_size; at += 1 + (off_t)(n > 0) * 66) {
            flip(file, at);
            if (load_step(path, 1, 1, 1) != CM3_ERR_FORMAT)
                fail_msg("byte %lld of %s: %s", (long long)at, file, cm3_message());
            assert_non_null(strstr(cm3_message(), names.names[n]));
            if (strstr(cm3_message(), "dataset /v") != NULL) in_datasets++;
            flip(file, at);
        }
    }
    assert_true(in_datasets > 80);
    must(load_step(path, 1, 1, 1));
    cm3_names_free(&names);
    free(path);
}

static void a_missing_or_cut_file_is_named(void **state) {
    fixture *f = *state;
    must(save_step(f->comm, f->run, 1, 0, 1));
    char *path = latest(f);
    const cm3_path shard_file = cm3_path_join(path, "shard-0000-of-0001.h5"),
                   manifest_file = cm3_path_join(path, "manifest.json");
    const char *shard = shard_file.text, *manifest = manifest_file.text;
    assert_int_equal(truncate(shard, 5000), 0);
    assert_int_equal(load_step(path, 1, 1, 1), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "shard-0000-of-0001.h5: has 5000 bytes"));
    assert_int_equal(unlink(shard), 0);
    assert_int_equal(load_step(path, 1, 1, 1), CM3_ERR_NOT_FOUND);
    assert_non_null(strstr(cm3_message(), "shard-0000-of-0001.h5: this shard of the checkpoint is missing"));
    assert_int_equal(truncate(manifest, 100), 0);
    assert_int_equal(load_step(path, 1, 1, 1), CM3_ERR_FORMAT);
    assert_int_equal(unlink(manifest), 0); /* without it the folder is no checkpoint */
    cm3_path none;
    assert_int_equal(cm3_checkpoint_latest(f->run, &none), CM3_ERR_NOT_FOUND);
    assert_int_equal(cm3_checkpoint_find("no/such/run", &none), CM3_ERR_NOT_FOUND);
    free(path);
}

static void the_newest_and_the_best_are_kept_and_leftovers_go(void **state) {
    fixture *f = *state;
    for (int64_t step = 8; step <= 12; step++) { /* across a change of the number of digits */
        must(save_step(f->comm, f->run, step, 2, 1));
        if (step == 8) must(cm3_checkpoint_mark_best(f->run, 8));
        assert_int_equal(latest_step(f), step);
    }
    assert_int_equal(count_names(f), 4); /* 8 (best), 11, 12, and the mark */
    cm3_path best, again;
    must(cm3_checkpoint_best(f->run, &best));
    must(load_step(best.text, 1, 8, 1));
    must(cm3_checkpoint_find(best.text, &again));
    assert_string_equal(best.text, again.text);
    char leftover[128];
    snprintf(leftover, sizeof leftover, "%s/checkpoints/step-13.tmp/deeper", f->run);
    must(cm3_folder_make(leftover));
    assert_int_equal(latest_step(f), 12);
    must(save_step(f->comm, f->run, 12, 2, 1)); /* the same step again replaces it */
    assert_int_equal(count_names(f), 4);
    char *path = latest(f);
    must(load_step(path, 1, 12, 1));
    free(path);
}

/* Every size at which the disk could end, from nothing to almost all: each fails in one clear line and leaves the last
 * good checkpoint, and nothing else. In a child, whose files may not grow beyond a limit. */
static int fail_at_every_size(fixture *f) {
    if (cm3_signals_install() != CM3_OK) return 1;
    const struct rlimit no_limit = {RLIM_INFINITY, RLIM_INFINITY};
    for (rlim_t size = 0; size < 60000; size += size < 10000 ? 500 : 3000) {
        const struct rlimit limit = {size, RLIM_INFINITY};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
        const cm3_status status = save_step(f->comm, f->run, 2, 0, 1);
        setrlimit(RLIMIT_FSIZE, &no_limit);
        if (status == CM3_OK) return size > 25000 ? 7 : 3; /* large enough in the end */
        if (status != CM3_ERR_IO || strstr(cm3_message(), "step-2.tmp") == NULL || strchr(cm3_message(), '\n') != NULL)
            return 4;
        if (count_names(f) != 1 || latest_step(f) != 1) return 5;
    }
    return 6;
}

static void a_disk_that_fills_leaves_the_last_good_one(void **state) {
    fixture *f = *state;
    must(save_step(f->comm, f->run, 1, 0, 1));
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) _exit(fail_at_every_size(f));
    int status = 0;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    char *path = latest(f);
    must(load_step(path, 1, 2, 1));
    free(path);
}

static void a_kill_while_saving_leaves_a_checkpoint_that_loads(void **state) {
    fixture *f = *state;
    must(save_step(f->comm, f->run, 1, 2, 60));
    for (int round = 0; round < 8; round++) {
        const int64_t from = latest_step(f);
        fflush(NULL);
        const pid_t child = fork();
        if (child == 0) {
            for (int64_t step = from + 1;; step++)
                if (save_step(f->comm, f->run, step, 2, 60) != CM3_OK) _exit(1);
        }
        usleep(20000 + 7000 * (useconds_t)round);
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        char *path = latest(f);
        must(load_step(path, 1, latest_step(f), 60));
        free(path);
    }
}

/* --- networks and their groups ----------------------------------------------------------------------------------- */

/* A frozen weight and a trained gain. */
static cm3_params *network_of(uint64_t seed) {
    cm3_params *params;
    must(cm3_params_create(&params));
    cm3_params_add_group(params, &(cm3_group_options){.name = "base", .match = "weight", .frozen = true});
    cm3_params_add_group(params, &(cm3_group_options){.name = "gains", .match = "gain*"});
    cm3_params_add(params, cm3_shape_of(7, 9), cm3_init_normal(1), CM3_DECAY, "weight");
    cm3_params_add(params, cm3_shape_of(70), cm3_init_normal(1), CM3_NO_DECAY, "gain");
    must(cm3_params_layout(params, 64));
    must(cm3_params_allocate(params, cm3_backend_cpu(), CM3_F32, CM3_USE_TRAIN));
    must(cm3_params_init(params, seed));
    return params;
}

static cm3_params *whole_of(uint64_t seed) {
    cm3_params *params;
    must(cm3_params_create(&params));
    cm3_params_add(params, cm3_shape_of(300, 11), cm3_init_normal(1), CM3_DECAY, "table");
    must(cm3_params_layout(params, 64));
    must(cm3_params_allocate(params, cm3_backend_cpu(), CM3_F32, CM3_USE_TRAIN));
    must(cm3_params_init(params, seed));
    return params;
}

/* Of both networks in one checkpoint. */
static void groups_of(const cm3_params *adapted, const cm3_params *whole, cm3_checkpoint_group groups[3]) {
    must(cm3_checkpoint_group_of("student", adapted, 0, &groups[0]));
    must(cm3_checkpoint_group_of("student", adapted, 1, &groups[1]));
    must(cm3_checkpoint_group_of("critic", whole, 0, &groups[2]));
}

static void several_networks_share_a_checkpoint_and_what_is_frozen_is_named_by_its_fingerprint(void **state) {
    fixture *f = *state;
    cm3_params *adapted = network_of(1), *whole = whole_of(2);
    cm3_checkpoint_group groups[3];
    groups_of(adapted, whole, groups);
    const cm3_param_group *gains = cm3_params_group(adapted, 1);
    gains->host.m[3] = 42;
    const cm3_checkpoint_parts parts = {.groups = groups, .group_count = 3};
    const cm3_checkpoint_state at = state_of(5);
    must(cm3_checkpoint_save(f->comm, f->run, 0, &parts, &at));
    char *path = latest(f);
    cm3_checkpoint_info info;
    must(cm3_checkpoint_read_info(path, &info));
    assert_int_equal(info.tensor_count, 2);
    assert_string_equal(info.tensors[0].name, "student/gain");
    assert_string_equal(info.tensors[1].name, "critic/table");
    cm3_checkpoint_info_free(&info);

    float gain[70];
    memcpy(gain, gains->host.values, sizeof gain);
    memset(gains->host.values, 0, sizeof gain);
    gains->host.m[3] = 0;
    must(cm3_checkpoint_load(path, &parts, NULL));
    assert_memory_equal(gain, gains->host.values, sizeof gain);
    assert_true(gains->host.m[3] == 42);

    cm3_weights_source *source;
    cm3_params *again = whole_of(3);
    must(cm3_checkpoint_weights(path, "critic", NULL, &source));
    must(cm3_params_load(again, source));
    assert_memory_equal(cm3_params_value(again, 0), cm3_params_value(whole, 0), 3300 * sizeof(float));
    cm3_weights_close(source);
    assert_int_equal(cm3_checkpoint_weights(path, "teacher", NULL, &source), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "holds no teacher, but student, critic"));

    cm3_params *other = network_of(9); /* another base */
    cm3_checkpoint_group others[3];
    groups_of(other, again, others);
    assert_int_equal(cm3_checkpoint_load(path, &(cm3_checkpoint_parts){.groups = others, .group_count = 3}, NULL),
                     CM3_ERR_SHAPE);
    assert_non_null(strstr(cm3_message(), "other values of the frozen group student/base"));
    for (int g = 0; g < 3; g++) cm3_checkpoint_group_free(&groups[g]), cm3_checkpoint_group_free(&others[g]);
    cm3_params_free(adapted);
    cm3_params_free(whole);
    cm3_params_free(again);
    cm3_params_free(other);
    free(path);
}

static void groups_of_any_size_are_loaded(void **state) {
    fixture *f = *state;
    must(save_and_load_groups_of_two_sizes(f->comm, f->run));
}

/* Writes its model.h5 anew with `texts` texts as the network's kind, and its manifest for that. */
static void forge_kind(const char *path, hsize_t texts) {
    char name[TEMPORARY_FOLDER_MAX + 64], *bytes;
    static const char kinds[3][12] = {"transformer", "transformer", "transformer"};
    size_t length;
    snprintf(name, sizeof name, "%s/model.h5", path);
    const hid_t file = H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT), type = H5Tcopy(H5T_C_S1),
                space = H5Screate_simple(1, &texts, NULL);
    H5Tset_size(type, sizeof kinds[0]);
    H5Adelete(file, "kind");
    const hid_t kind = H5Acreate2(file, "kind", type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(kind, type, kinds) >= 0);
    H5Aclose(kind), H5Sclose(space), H5Tclose(type), H5Fclose(file);
    cm3__manifest manifest;
    must(cm3__manifest_read(path, &manifest));
    must(cm3_file_read(name, 1 << 24, &bytes, &length));
    manifest.model_bytes = (int64_t)length;
    manifest.model_hash = cm3_hash_bytes(bytes, length);
    must(cm3__manifest_write(path, &manifest));
    cm3__manifest_free(&manifest);
    free(bytes);
}

static void a_list_where_one_text_is_expected_and_totals_that_differ_are_refused(void **state) {
    fixture *f = *state;
    must(save_step(f->comm, f->run, 7, 0, 1));
    char *path = latest(f);
    forge_kind(path, 1);
    must(load_step(path, 1, 7, 1));
    forge_kind(path, 3);
    assert_int_equal(load_step(path, 1, 7, 1), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "no complete state"));
    cm3__manifest manifest;
    must(cm3__manifest_read(path, &manifest));
    manifest.datasets[1].total = manifest.shards[0].regions[1].range.end = 64;
    must(cm3__manifest_write(path, &manifest));
    cm3__manifest_free(&manifest);
    assert_int_equal(load_step(path, 1, 7, 1), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "/m/all has 64 elements, /parameters/all has"));
    free(path);
}

static void safetensors_and_checkpoints_of_the_old_format_are_refused_in_one_line(void **state) {
    fixture *f = *state;
    cm3_weights_source *source;
    assert_int_equal(cm3_weights_open("model.safetensors", "transformer", NULL, &source), CM3_ERR_UNSUPPORTED);
    assert_string_equal(cm3_message(),
                        "model.safetensors: reading safetensors is not built yet; expected a checkpoint");
    static const char text[] = "{\"version\":1,\"step\":3";
    char sealed[128], hex[CM3_HASH_HEX], file[TEMPORARY_FOLDER_MAX + 32];
    cm3_hash_to_hex(cm3_hash_bytes(text, sizeof text - 1), hex);
    const int length = snprintf(sealed, sizeof sealed, "%s,\"hash\":\"%s\"}\n", text, hex);
    snprintf(file, sizeof file, "%s/manifest.json", f->run);
    must(cm3_file_write(file, sealed, (size_t)length));
    model m;
    model_new(&m, 1, 1);
    assert_int_equal(cm3_checkpoint_load(f->run, &m.parts, NULL), CM3_ERR_UNSUPPORTED);
    assert_non_null(strstr(cm3_message(), "manifest.json: is a checkpoint of format 1, expected 2"));
    model_free(&m);
}

/* --- what scripts run under mpirun ------------------------------------------------------------------------------- */

/* What any HDF5 tool would do: open model.h5 by itself and read a parameter, a view into all shards. */
static cm3_status read_views(const char *path, int64_t step) {
    char file_name[4200];
    snprintf(file_name, sizeof file_name, "%s/model.h5", path);
    model m;
    model_new(&m, 1, 1);
    model_fill(&m, step);
    float *values = malloc((size_t)m.group.table.total * sizeof *values);
    bool equal = true;
    const hid_t file = H5Fopen(file_name, H5F_ACC_RDONLY, H5P_DEFAULT);
    for (int b = 0; b < BUFFERS; b++) {
        for (int t = 0; t < TENSORS; t++) {
            char name[128];
            snprintf(name, sizeof name, "%s%s/%s", b > 0 ? "/optimizer/" : "/", buffer_names[b], m.tensors[t].name);
            const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
            equal = equal && set >= 0 && H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0 &&
                    memcmp(values, m.buffers[b].data + m.tensors[t].offset,
                           (size_t)cm3_shape_count(m.tensors[t].shape) * 4) == 0;
            H5Dclose(set);
        }
    }
    H5Fclose(file);
    free(values);
    model_free(&m);
    return equal ? CM3_OK : cm3_fail(CM3_ERR_FORMAT, "%s: read by HDF5 alone, the tensors differ", file_name);
}

static cm3_status fault_of_one_rank(cm3_comm *comm, const char *run) {
    CM3_TRY(save_step(comm, run, 1, 0, 1));
    CM3_TRY(cm3_signals_install());
    const struct rlimit limit = {5000, RLIM_INFINITY}, no_limit = {RLIM_INFINITY, RLIM_INFINITY};
    if (cm3_comm_rank(comm) == 1) setrlimit(RLIMIT_FSIZE, &limit);
    const cm3_status status = save_step(comm, run, 2, 0, 1);
    setrlimit(RLIMIT_FSIZE, &no_limit);
    char folder[4200];
    snprintf(folder, sizeof folder, "%s/checkpoints/step-2.tmp", run);
    if (status != CM3_ERR_IO || strncmp(cm3_message(), "rank 1: ", 8) != 0 || cm3_path_exists(folder))
        return cm3_fail(CM3_ERR_INTERNAL, "a fault of rank 1 was not handled: status %d, %s", status, cm3_message());
    return CM3_OK;
}

/* The run lies on a small file system: fill it up to a few bytes, save, and see that nothing is lost. */
static cm3_status fill_disk(cm3_comm *comm, const char *run) {
    CM3_TRY(save_step(comm, run, 1, 0, 1));
    static char zeros[65536];
    for (int64_t left = 0; left <= 131072; left += 8192) {
        char name[4200];
        snprintf(name, sizeof name, "%s/filler", run);
        const int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0666);
        off_t size = 0;
        for (ssize_t piece = sizeof zeros; piece > 0; piece /= 2)
            for (ssize_t n; (n = write(fd, zeros, (size_t)piece)) > 0;) size += n;
        if (ftruncate(fd, size > left ? size - left : 0) != 0) return cm3_fail(CM3_ERR_INTERNAL, "ftruncate");
        close(fd);
        const cm3_status status = save_step(comm, run, 2, 0, 1);
        if (status == CM3_OK) return left > 0 ? CM3_OK : cm3_fail(CM3_ERR_INTERNAL, "saved on a full disk");
        if (left == 0) fprintf(stderr, "on a full disk: %s\n", cm3_message());
        cm3_path path;
        char aside[4200];
        snprintf(aside, sizeof aside, "%s/checkpoints/step-2.tmp", run);
        if (status != CM3_ERR_IO || cm3_path_exists(aside))
            return cm3_fail(CM3_ERR_INTERNAL, "a full disk was not handled: %s", cm3_message());
        CM3_TRY(cm3_checkpoint_latest(run, &path));
        CM3_TRY(load_step(path.text, 1, 1, 1));
    }
    return cm3_fail(CM3_ERR_INTERNAL, "the disk never had room");
}

static cm3_status command(cm3_comm *comm, const char *verb, const char *run, int64_t step) {
    if (strcmp(verb, "save") == 0) return save_step(comm, run, step, 0, 1);
    if (strcmp(verb, "fault") == 0) return fault_of_one_rank(comm, run);
    if (strcmp(verb, "fill") == 0) return fill_disk(comm, run);
    if (strcmp(verb, "sizes") == 0) return save_and_load_groups_of_two_sizes(comm, run);
    cm3_path found;
    CM3_TRY(cm3_checkpoint_latest(run, &found));
    const char *path = found.text;
    cm3_status status = CM3_OK;
    if (strcmp(verb, "load") == 0) {
        status = load_step(path, cm3_comm_size(comm), step, 1);
        if (status == CM3_OK) status = read_views(path, step);
    } else {
        for (int b = 0; b < BUFFERS && status == CM3_OK; b++) {
            cm3_hash digest = {0};
            char hex[CM3_HASH_HEX];
            status = cm3_checkpoint_digest(path, buffer_names[b], &digest);
            cm3_hash_to_hex(digest, hex);
            if (cm3_comm_rank(comm) == 0) printf("%s %s\n", buffer_names[b], hex);
        }
    }
    return status;
}

static int run_command(int count, char **words) {
    cm3_comm *comm;
    cm3_status status = cm3_comm_open(&comm);
    if (status == CM3_OK)
        status = cm3_comm_agree_status(comm, command(comm, words[1], words[2], count > 3 ? atoll(words[3]) : 0));
    if (status != CM3_OK) fprintf(stderr, "%s\n", cm3_message());
    cm3_comm_close(comm);
    return status != CM3_OK;
}

int main(int count, char **words) {
    if (count > 2) return run_command(count, words);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_loaded_is_what_was_saved),
        TEST(parameters_load_alone),
        TEST(a_model_of_another_shape_is_refused_by_name),
        TEST(any_flipped_byte_is_found_and_its_file_named),
        TEST(a_missing_or_cut_file_is_named),
        TEST(the_newest_and_the_best_are_kept_and_leftovers_go),
        TEST(several_networks_share_a_checkpoint_and_what_is_frozen_is_named_by_its_fingerprint),
        TEST(groups_of_any_size_are_loaded),
        TEST(a_list_where_one_text_is_expected_and_totals_that_differ_are_refused),
        TEST(safetensors_and_checkpoints_of_the_old_format_are_refused_in_one_line),
        TEST(a_disk_that_fills_leaves_the_last_good_one),
        TEST(a_kill_while_saving_leaves_a_checkpoint_that_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
