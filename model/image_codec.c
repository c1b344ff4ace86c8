#include "model/image_codec.h"

#include "core/tensor/staged_buffer.h"

#include <stdlib.h>
#include <string.h>

struct cm3_image_codec {
    const cm3_vqgan *model;
    cm3_tape_options options;
    int64_t batch;
    cm3_tape *encoder, *decoder; /* NULL until the first use */
    cm3_var *found, *drawn;      /* codes of the first, folded images of the second */
    cm3_staged_buffer folded;    /* (batch) f32: input of the encoder */
    cm3_staged_buffer codes;     /* (batch, codes of an image) i32: input of the decoder */
};

cm3_status cm3_image_codec_create(const cm3_vqgan *model, int64_t batch, cm3_image_codec **out) {
    const cm3_vqgan_config *config = cm3_vqgan_get_config(model);
    *out = NULL;
    if (batch < 1) return cm3_fail(CM3_ERR_SHAPE, "an image codec of %lld images at a time", (long long)batch);
    const size_t values = (size_t)cm3_shape_count(cm3_vqgan_image_shape(model, batch)),
                 codes = (size_t)(batch * cm3_vqgan_codes_per_image(config));
    cm3_image_codec *codec = calloc(1, sizeof *codec);
    if (!codec) return cm3_fail(CM3_ERR_MEMORY, "out of memory for an image codec");
    *codec =
        (cm3_image_codec){.model = model, .options = cm3_params_tape_options(cm3_vqgan_params(model)), .batch = batch};
    const cm3_memory *memory = codec->options.backend->memory;
    cm3_status status =
        cm3_staged_buffer_alloc(memory, values * sizeof(float), "the images of a codec", &codec->folded);
    if (status == CM3_OK)
        status = cm3_staged_buffer_alloc(memory, codes * sizeof(int32_t), "the codes of a codec", &codec->codes);
    if (status == CM3_OK)
        *out = codec;
    else
        cm3_image_codec_free(codec);
    return status;
}

void cm3_image_codec_free(cm3_image_codec *codec) {
    if (!codec) return;
    cm3_tape_free(codec->encoder);
    cm3_tape_free(codec->decoder);
    cm3_staged_buffer_free(&codec->folded);
    cm3_staged_buffer_free(&codec->codes);
    free(codec);
}

static cm3_status prepare_encoder(cm3_image_codec *codec) {
    if (codec->encoder) return CM3_OK;
    cm3_tape *tape;
    CM3_TRY(cm3_tape_create(&codec->options, &tape));
    cm3_var *images =
        cm3_tape_input(tape, CM3_F32, cm3_vqgan_image_shape(codec->model, codec->batch), codec->folded.there);
    cm3_var *z = cm3_vqgan_encode(codec->model, tape, codec->batch, images);
    codec->found = cm3_nearest_code(tape, z, cm3_vqgan_codebook(codec->model, tape));
    cm3_tape_keep(tape, codec->found);
    const cm3_status status = cm3_tape_plan(tape);
    if (status == CM3_OK)
        codec->encoder = tape;
    else
        cm3_tape_free(tape);
    return status;
}

static cm3_status prepare_decoder(cm3_image_codec *codec) {
    if (codec->decoder) return CM3_OK;
    const int64_t rows = codec->batch * cm3_vqgan_codes_per_image(cm3_vqgan_get_config(codec->model));
    cm3_tape *tape;
    CM3_TRY(cm3_tape_create(&codec->options, &tape));
    cm3_var *codes = cm3_tape_input(tape, CM3_I32, cm3_shape_of(rows), codec->codes.there);
    cm3_var *vectors = cm3_embed(tape, cm3_vqgan_codebook(codec->model, tape), codes, NULL, NULL);
    codec->drawn = cm3_vqgan_decode(codec->model, tape, codec->batch, vectors);
    cm3_tape_keep(tape, codec->drawn);
    const cm3_status status = cm3_tape_plan(tape);
    if (status == CM3_OK)
        codec->decoder = tape;
    else
        cm3_tape_free(tape);
    return status;
}

cm3_status cm3_image_codec_encode(cm3_image_codec *codec, const float *images, int64_t count, int32_t *codes) {
    const cm3_vqgan_config *config = cm3_vqgan_get_config(codec->model);
    const int64_t values = 3 * config->image_size * config->image_size, length = cm3_vqgan_codes_per_image(config);
    CM3_TRY(prepare_encoder(codec));
    for (int64_t done = 0; done < count;
         done += codec->batch) { /* a last batch that is not full computes some images in vain */
        const int64_t part = count - done < codec->batch ? count - done : codec->batch;
        cm3_vqgan_fold(config, images + done * values, part, codec->folded.host);
        CM3_TRY(cm3_staged_buffer_upload(&codec->folded));
        CM3_TRY(cm3_tape_run(codec->encoder, NULL));
        CM3_TRY(codec->options.backend->memory->download(codes + done * length, cm3_var_tensor(codec->found)->data,
                                                         (size_t)(part * length) * sizeof *codes));
    }
    return CM3_OK;
}

static cm3_status check_codes(const int32_t *codes, int64_t count, int64_t book) {
    for (int64_t i = 0; i < count; i++)
        if (codes[i] < 0 || codes[i] >= book)
            return cm3_fail(CM3_ERR_SHAPE, "image code %d is not one of the codebook's 0 to %lld", (int)codes[i],
                            (long long)book - 1);
    return CM3_OK;
}

cm3_status cm3_image_codec_decode(cm3_image_codec *codec, const int32_t *codes, int64_t count, float *images) {
    const cm3_vqgan_config *config = cm3_vqgan_get_config(codec->model);
    const int64_t values = 3 * config->image_size * config->image_size, length = cm3_vqgan_codes_per_image(config);
    CM3_TRY(check_codes(codes, count * length, config->codes));
    CM3_TRY(prepare_decoder(codec));
    for (int64_t done = 0; done < count; done += codec->batch) {
        const int64_t part = count - done < codec->batch ? count - done : codec->batch;
        memcpy(codec->codes.host, codes + done * length, (size_t)(part * length) * sizeof *codes);
        CM3_TRY(cm3_staged_buffer_upload(&codec->codes));
        CM3_TRY(cm3_tape_run(codec->decoder, NULL));
        CM3_TRY(codec->options.backend->memory->download(codec->folded.host, cm3_var_tensor(codec->drawn)->data,
                                                         (size_t)(part * values) * sizeof(float)));
        float *to = images + done * values;
        cm3_vqgan_unfold(config, codec->folded.host, part, to);
        for (int64_t i = 0; i < part * values; i++) to[i] = to[i] < -1 ? -1 : to[i] > 1 ? 1 : to[i];
    }
    return CM3_OK;
}
