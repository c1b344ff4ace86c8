/* A tensor as kernels see it: a type, a shape and an address. Dense, row-major (last dimension fastest); it owns
 * nothing. */
#ifndef CM3_CORE_TENSOR_TENSOR_H
#define CM3_CORE_TENSOR_TENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum cm3_dtype { CM3_F32, CM3_I32, CM3_BF16, CM3_U8 } cm3_dtype;

enum { CM3_MAX_DIMS = 4 };

typedef struct cm3_shape {
    int rank;
    int64_t dim[CM3_MAX_DIMS];
} cm3_shape;

typedef struct cm3_tensor {
    cm3_dtype type;
    cm3_shape shape;
    void *data; /* NULL: absent, or not allocated (yet, or on a device that only counts) */
} cm3_tensor;

/* cm3_shape_of(rows, columns): up to four dimensions of any integer type. */
#define cm3_shape_of(...)                                                                                              \
    ((cm3_shape){.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}})
int64_t cm3_shape_count(cm3_shape shape);
int cm3_shape_equal(cm3_shape a, cm3_shape b);
/* "(8, 1024)" into text. */
const char *cm3_shape_text(cm3_shape shape, char text[96]);

size_t cm3_dtype_size(cm3_dtype type);
const char *cm3_dtype_name(cm3_dtype type);
size_t cm3_tensor_bytes(const cm3_tensor *tensor);

/* The bits of the nearest bf16, ties to even, as a GPU rounds. */
static inline uint16_t cm3_bf16_of(float value) {
    const union {
        float value;
        uint32_t bits;
    } x = {value};
    return (uint16_t)((x.bits + 0x7fff + (x.bits >> 16 & 1)) >> 16);
}

#endif
