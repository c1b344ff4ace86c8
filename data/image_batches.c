#include "data/image_batches.h"

#include "data/endless_list.h"

#include <stdlib.h>
#include <string.h>

#define C cm3_images_config
const cm3_field cm3_images_fields[] = {
    CM3_FIELD_INT(C, batch, "32", 1, 1e6, "images", "images of the global batch, over all ranks"),
    CM3_FIELD_INT(C, memory, "1024", 0, 1e9, "MiB", "memory for decoded images", .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_INT(C, seed, "0", 0, 1e15, "", "of the order of the images"),
    CM3_FIELD_END};
#undef C

struct cm3_images {
    const cm3_source *source;
    int64_t side, count;
    int64_t *of_split[2], in_split[2];
    uint8_t **kept; /* (count) decoded images or NULL */
    int64_t room;   /* images that may still be kept */
};

cm3_status cm3_images_open(const cm3_source *source, int64_t side, int64_t memory_mib, cm3_images **out) {
    cm3_images *p = calloc(1, sizeof *p);
    *out = p;
    if (!p) return cm3_fail(CM3_ERR_MEMORY, "out of memory for images");
    p->source = source;
    p->side = side;
    p->count = cm3_source_count(source);
    p->room = (memory_mib << 20) / (side * side * 3);
    p->kept = calloc((size_t)p->count + 1, sizeof *p->kept);
    for (int s = 0; s < 2; s++) p->of_split[s] = calloc((size_t)p->count + 1, sizeof(int64_t));
    if (!p->kept || !p->of_split[0] || !p->of_split[1]) {
        const cm3_status status =
            cm3_fail(CM3_ERR_MEMORY, "out of memory for a list of %lld images", (long long)p->count);
        cm3_images_close(p);
        *out = NULL;
        return status;
    }
    for (int64_t i = 0; i < p->count; i++) {
        const int s = cm3_source_split(source, i) == CM3_SPLIT_VALIDATION;
        p->of_split[s][p->in_split[s]++] = i;
    }
    return CM3_OK;
}

void cm3_images_close(cm3_images *images) {
    if (!images) return;
    for (int64_t i = 0; images->kept && i < images->count; i++) free(images->kept[i]);
    free(images->kept);
    free(images->of_split[0]);
    free(images->of_split[1]);
    free(images);
}

int64_t cm3_images_count(const cm3_images *images, cm3_split split) {
    return images->in_split[split == CM3_SPLIT_VALIDATION];
}

int64_t cm3_images_index(const cm3_images *images, cm3_split split, int64_t k) {
    return images->of_split[split == CM3_SPLIT_VALIDATION][k];
}

cm3_status cm3_images_get(cm3_images *images, int64_t index, float *pixels) {
    const size_t count = (size_t)(images->side * images->side * 3);
    const uint8_t *bytes = images->kept[index];
    cm3_pair pair = {0};
    if (!bytes) {
        CM3_TRY(cm3_source_read(images->source, index, &pair));
        if (cm3_image_size(&pair.image) != count) {
            cm3_pair_free(&pair);
            return cm3_fail(CM3_ERR_INTERNAL, "image %lld is not %lld pixels square", (long long)index,
                            (long long)images->side);
        }
        bytes = pair.image.pixels;
        uint8_t *copy = images->room > 0 ? malloc(count) : NULL; /* no memory left: decoded again next time */
        if (copy) {
            memcpy(copy, bytes, count);
            images->kept[index] = copy;
            images->room--;
        }
    }
    for (size_t i = 0; i < count; i++) pixels[i] = (float)bytes[i] * (2.0f / 255.0f) - 1.0f;
    cm3_pair_free(&pair);
    return CM3_OK;
}

int64_t cm3_images_order(const cm3_images *images, int64_t seed, int64_t number) {
    return images->of_split[0][cm3_endless_list_at(seed, images->in_split[0], number)];
}
