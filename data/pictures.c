#include "data/pictures.h"

#include "core/rng.h"

#include <stdlib.h>
#include <string.h>

#define C cm3_pictures_config
const cm3_field cm3_pictures_fields[] = {
    CM3_FIELD_INT(C, batch, "32", 1, 1e6, "pictures", "of one step, over all ranks"),
    CM3_FIELD_INT(C, memory, "1024", 0, 1e9, "MiB", "of decoded pictures that are kept in memory"),
    CM3_FIELD_INT(C, seed, "0", 0, 1e15, "", "of their order"), CM3_FIELD_END};
#undef C

struct cm3_pictures {
    const cm3_source *source;
    int64_t side, count;
    int64_t *of_split[2], in_split[2];
    uint8_t **kept; /* (count) decoded pictures or NULL */
    int64_t room;   /* pictures that may still be kept */
};

cm3_status cm3_pictures_open(const cm3_source *source, int64_t side, int64_t memory_mib, cm3_pictures **out) {
    cm3_pictures *p = calloc(1, sizeof *p);
    *out = p;
    if (!p) return cm3_fail(CM3_ERR_MEMORY, "no memory for pictures");
    p->source = source;
    p->side = side;
    p->count = cm3_source_count(source);
    p->room = (memory_mib << 20) / (side * side * 3);
    p->kept = calloc((size_t)p->count + 1, sizeof *p->kept);
    for (int s = 0; s < 2; s++) p->of_split[s] = calloc((size_t)p->count + 1, sizeof(int64_t));
    if (!p->kept || !p->of_split[0] || !p->of_split[1]) {
        const cm3_status status =
            cm3_fail(CM3_ERR_MEMORY, "no memory for a list of %lld pictures", (long long)p->count);
        cm3_pictures_close(p);
        *out = NULL;
        return status;
    }
    for (int64_t i = 0; i < p->count; i++) {
        const int s = cm3_source_split(source, i) == CM3_SPLIT_HELDOUT;
        p->of_split[s][p->in_split[s]++] = i;
    }
    return CM3_OK;
}

void cm3_pictures_close(cm3_pictures *pictures) {
    if (!pictures) return;
    for (int64_t i = 0; pictures->kept && i < pictures->count; i++) free(pictures->kept[i]);
    free(pictures->kept);
    free(pictures->of_split[0]);
    free(pictures->of_split[1]);
    free(pictures);
}

int64_t cm3_pictures_count(const cm3_pictures *pictures, cm3_split split) {
    return pictures->in_split[split == CM3_SPLIT_HELDOUT];
}

int64_t cm3_pictures_index(const cm3_pictures *pictures, cm3_split split, int64_t k) {
    return pictures->of_split[split == CM3_SPLIT_HELDOUT][k];
}

cm3_status cm3_pictures_get(cm3_pictures *pictures, int64_t index, float *pixels) {
    const size_t count = (size_t)(pictures->side * pictures->side * 3);
    const uint8_t *bytes = pictures->kept[index];
    cm3_pair pair = {0};
    if (!bytes) {
        CM3_TRY(cm3_source_read(pictures->source, index, &pair));
        if (cm3_image_size(&pair.image) != count) {
            cm3_pair_free(&pair);
            return cm3_fail(CM3_ERR_INTERNAL, "picture %lld is not %lld pixels square", (long long)index,
                            (long long)pictures->side);
        }
        bytes = pair.image.pixels;
        uint8_t *copy = pictures->room > 0 ? malloc(count) : NULL; /* no memory left: decoded again next time */
        if (copy) {
            memcpy(copy, bytes, count);
            pictures->kept[index] = copy;
            pictures->room--;
        }
    }
    for (size_t i = 0; i < count; i++) pixels[i] = (float)bytes[i] * (2.0f / 255.0f) - 1.0f;
    cm3_pair_free(&pair);
    return CM3_OK;
}

int64_t cm3_pictures_order(const cm3_pictures *pictures, uint64_t seed, int64_t number) {
    const int64_t count = pictures->in_split[0];
    const uint64_t k =
        cm3_rng_permute(seed, CM3_RNG_SHUFFLE, (uint64_t)(number / count), (uint64_t)(number % count), (uint64_t)count);
    return pictures->of_split[0][k];
}
