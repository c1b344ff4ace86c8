/* `inspect`: what any file of ours holds, as text for a person or as JSON. */
#include "core/json.h"
#include "data/inspect_block.h"
#include "tools/inspect_store.h"
#include "tools/session.h"
#include "train/generate/tokenizers.h"
#include "train/run_folder.h"
#include "train/token_store.h"

#include <stdlib.h>
#include <string.h>

static const cm3_option options[] = {
    {"step", "S", "of a recipe: the block of this step (the first is 0)"},
    {"slot", "L", "of a recipe: the block of this sequence slot (0)"},
    {"sample", "I", "of a token store: segments, token ids and strings of this sample (the first is 0)"},
    {"digest", NULL, "of a checkpoint: one hash of names, shapes and values of its parameters"},
    {"moments", NULL, "with --digest: of the optimizer's moments, too"},
    CM3_OPTION_JSON,
    CM3_OPTION_END};

const cm3_usage cm3_usage_inspect = {
    .arguments = "PATH [section.key=value ...]",
    .min_arguments = 1,
    .max_arguments = 1,
    .takes_overrides = true,
    .options = options,
    .explanation =
        "Prints what a file or folder of a run holds: a checkpoint (or a stage's folder: its newest one), a token "
        "store, a vocabulary, a text\n"
        "tokenizer. Of a recipe it prints what the model sees at a step: which samples, which spans were masked.\n\n"
        "    cm3leon inspect out/emoji-quick/pretrain --digest\n"
        "    cm3leon inspect out/emoji-quick/tokenize/store.h5 --sample 7\n"
        "    cm3leon inspect configs/emoji-quick.yaml --step 100 --slot 3\n"};

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* --- checkpoints ------------------------------------------------------------------------------------------------- */

static cm3_status digest_hex(const char *path, const char *buffer, char hex[CM3_HASH_HEX]) {
    cm3_hash hash;
    CM3_TRY(cm3_checkpoint_digest(path, buffer, &hash));
    cm3_hash_to_hex(hash, hex);
    return CM3_OK;
}

static void print_checkpoint(const char *path, const cm3_checkpoint_info *info, const cm3_network_kind *kind) {
    printf("%s\n  %s, step %lld, %lld %ss seen, seed %llu\n", path, kind->name, (long long)info->state.step,
           (long long)info->state.tokens, kind->item, (unsigned long long)info->state.seed);
    printf("  %lld parameters in %lld tensors, %d shard%s, %.1f MiB\n", (long long)info->parameters,
           (long long)info->tensor_count, info->shards, info->shards == 1 ? "" : "s", (double)info->bytes / 0x1p20);
    for (int64_t i = 0; i < info->tensor_count; i++) {
        char shape[96];
        printf("    %-36s %s\n", info->tensors[i].name, cm3_shape_text(info->tensors[i].shape, shape));
    }
}

static cm3_status inspect_checkpoint(const cm3_command_line *line, const char *path) {
    cm3_checkpoint_info info;
    CM3_TRY(cm3_checkpoint_read_info(path, &info));
    const bool json = cm3_option_given(line, "json"), moments = cm3_option_given(line, "moments");
    static const char *const buffers[] = {"parameters", "m", "v"};
    char hex[3][CM3_HASH_HEX];
    const int count = !cm3_option_given(line, "digest") && !json ? 0 : moments ? 3 : 1;
    const cm3_network_kind *kind;
    cm3_status status = cm3_network_find(info.state.kind, &kind);
    for (int i = 0; i < count && status == CM3_OK; i++) status = digest_hex(path, buffers[i], hex[i]);
    if (status == CM3_OK && json) {
        cm3_json_writer w = cm3_json_writer_on(stdout);
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_string(&w, "path", path);
        cm3_json_put_string(&w, "kind", info.state.kind);
        cm3_json_put_int(&w, "step", info.state.step);
        cm3_json_put_int(&w, "tokens", info.state.tokens);
        cm3_json_put_int(&w, "parameters", info.parameters);
        cm3_json_put_int(&w, "shards", info.shards);
        cm3_json_put_string(&w, "digest", hex[0]);
        if (moments) cm3_json_put_string(&w, "digest_m", hex[1]);
        if (moments) cm3_json_put_string(&w, "digest_v", hex[2]);
        cm3_json_end_object(&w);
        cm3_json_end_line(&w);
    } else if (status == CM3_OK && count) {
        for (int i = 0; i < count; i++) printf(count > 1 ? "%s %s\n" : "%s\n", hex[i], buffers[i]);
    } else if (status == CM3_OK) {
        print_checkpoint(path, &info, kind);
    }
    cm3_checkpoint_info_free(&info);
    return status;
}

/* --- what the model sees ----------------------------------------------------------------------------------------- */

static cm3_status print_block(const cm3_command_line *line, const cm3_session *session, cm3_tokenizers *tokenizers) {
    const cm3_data_config *config = &session->recipe.pretrain.data;
    int64_t step = 0, slot = 0;
    CM3_TRY(cm3_option_int(line, "step", 0, INT64_MAX, &step));
    CM3_TRY(cm3_option_int(line, "slot", 0, config->batch - 1, &slot));
    cm3_store *store = NULL;
    cm3_packer *packer = NULL;
    cm3_block block = {0};
    cm3_status status = cm3_token_store_open(&session->recipe, &tokenizers->vocab, &store);
    if (status == CM3_OK) status = cm3_packer_new(config, &tokenizers->vocab, store, &packer);
    if (status == CM3_OK) status = cm3_block_init(&block, config);
    if (status == CM3_OK) status = cm3_block_rebuild(packer, config, slot, step, &block);
    if (status == CM3_OK)
        status = cm3_block_print(stdout, &block, config, &tokenizers->vocab, store,
                                 &(cm3_text_decoder){cm3_tokenizers_decode_text, tokenizers});
    cm3_block_free(&block);
    cm3_packer_free(packer);
    cm3_store_close(store);
    return status;
}

static cm3_status inspect_recipe(const cm3_command_line *line) {
    cm3_session session = {0};
    cm3_tokenizers tokenizers = {0};
    cm3_status status = cm3_session_load(line, &session);
    if (status != CM3_OK) {
        /* its message says why */
    } else if (!cm3_option_given(line, "step") && !cm3_option_given(line, "slot")) {
        fputs(session.config_text, stdout);
    } else {
        status = cm3_tokenizers_open(&session.recipe, cm3_backend_cpu(), &tokenizers);
        if (status == CM3_OK) status = print_block(line, &session, &tokenizers);
    }
    cm3_tokenizers_close(&tokenizers);
    cm3_session_close(&session);
    return status;
}

/* --- other files ------------------------------------------------------------------------------------------------- */

static cm3_status inspect_vocab(const char *path) {
    static const char *const names[] = {
#define X(role, name, text) name,
        CM3_REGION_LIST(X)
#undef X
    };
    cm3_vocab vocab;
    CM3_TRY(cm3_vocab_load(path, &vocab));
    printf("%s\n  %d ids\n", path, vocab.size);
    for (int r = 0; r < CM3_REGION_COUNT; r++)
        printf("    %-10s %d .. %d\n", names[r], vocab.region[r].first,
               vocab.region[r].first + vocab.region[r].count - 1);
    return CM3_OK;
}

static cm3_status inspect_tokenizer(const char *path) {
    cm3_bpe *bpe;
    CM3_TRY(cm3_bpe_load(path, &bpe));
    printf("%s\n  byte-level BPE of %zu tokens, fingerprint %016llx\n", path, cm3_bpe_size(bpe),
           (unsigned long long)cm3_bpe_fingerprint(bpe));
    cm3_bpe_free(bpe);
    return CM3_OK;
}

cm3_status cm3_cmd_inspect(const cm3_command_line *line) {
    const char *path = line->arguments[0];
    if (!cm3_path_exists(path)) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: is not there", path);
    if (ends_with(path, ".yaml") || ends_with(path, ".yml")) return inspect_recipe(line);
    if (ends_with(path, "store.h5")) return cm3_inspect_store(line, path);
    if (ends_with(path, "vocab.json")) return inspect_vocab(path);
    if (ends_with(path, "tokenizer.json")) return inspect_tokenizer(path);
    char *stage = cm3_path_join(path, "pretrain"), *checkpoint = NULL;
    if (!stage) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    cm3_status status = cm3_checkpoint_find(cm3_path_is_folder(stage) ? stage : path, &checkpoint);
    if (status == CM3_OK) status = inspect_checkpoint(line, checkpoint);
    free(stage);
    free(checkpoint);
    return status;
}
