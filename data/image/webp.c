#include "data/image/decode.h"

#include <webp/decode.h>

static const char *reason(VP8StatusCode code) {
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return "out of memory";
    case VP8_STATUS_BITSTREAM_ERROR:
        return "invalid data";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return "a feature that is not supported";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return "the data ends early";
    default:
        return "it cannot be decoded";
    }
}

static cm3_status features_of(const uint8_t *bytes, size_t length, const char *name, WebPBitstreamFeatures *features) {
    const VP8StatusCode code = WebPGetFeatures(bytes, length, features);
    if (code != VP8_STATUS_OK) return cm3_fail(CM3_ERR_FORMAT, "%s: cut short or damaged WebP: %s", name, reason(code));
    if (features->has_animation)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "%s: an animated WebP; only still images are read", name);
    return CM3_OK;
}

cm3_status cm3__webp_decode(const uint8_t *bytes, size_t length, const char *name, int least, cm3_image *image) {
    (void)least;
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return cm3_fail(CM3_ERR_INTERNAL, "libwebp is another version than its header");
    CM3_TRY(features_of(bytes, length, name, &config.input));
    const int channels = config.input.has_alpha ? 4 : 3;
    cm3_image made;
    CM3_TRY(cm3_image_create_for(name, config.input.width, config.input.height, channels, &made));
    config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = made.pixels;
    config.output.u.RGBA.stride = made.width * channels;
    config.output.u.RGBA.size = cm3_image_size(&made);
    const VP8StatusCode code = WebPDecode(bytes, length, &config);
    WebPFreeDecBuffer(&config.output);
    if (code != VP8_STATUS_OK) {
        cm3_image_free(&made);
        return cm3_fail(CM3_ERR_FORMAT, "%s: cut short or damaged WebP: %s", name, reason(code));
    }
    *image = made;
    return CM3_OK;
}
