/* The trained tokenizers of a run and the vocabulary that follows from them. */
#ifndef CM3_TRAIN_GENERATE_TOKENIZERS_H
#define CM3_TRAIN_GENERATE_TOKENIZERS_H

#include "data/text/bpe.h"
#include "data/vocab.h"
#include "model/image_codec.h"
#include "train/recipe.h"

typedef struct cm3_tokenizers {
    cm3_bpe *bpe;
    cm3_bpe_encoder *encoder;
    cm3_network *vqgan;
    cm3_image_codec *codec;
    cm3_vocab vocab;
} cm3_tokenizers;

/* Reads OUT/text-tokenizer and the newest checkpoint of OUT/image-tokenizer. The codec runs on this backend.
 * CM3_ERR_NOT_FOUND names the stage that is missing. */
cm3_status cm3_tokenizers_open(const cm3_recipe *recipe, const cm3_backend *backend, cm3_tokenizers *tokenizers);
void cm3_tokenizers_close(cm3_tokenizers *tokenizers); /* safe on a zeroed struct */

/* Text tokens to UTF-8: of a cm3_text_decoder (data/document.h) whose context is the cm3_tokenizers. */
cm3_status cm3_tokenizers_decode_text(void *tokenizers, const int32_t *token_ids, size_t count, char **text,
                                      size_t *length);

#endif
