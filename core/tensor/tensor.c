#include "core/tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>

int64_t cm3_shape_count(cm3_shape shape) {
    int64_t count = 1;
    for (int i = 0; i < shape.rank; i++) count *= shape.dim[i];
    return count;
}

int cm3_shape_equal(cm3_shape a, cm3_shape b) {
    if (a.rank != b.rank) return 0;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i]) return 0;
    return 1;
}

const char *cm3_shape_text(cm3_shape shape, char text[96]) {
    int used = snprintf(text, 96, "(");
    for (int i = 0; i < shape.rank; i++)
        used += snprintf(text + used, (size_t)(96 - used), i ? ", %" PRId64 : "%" PRId64, shape.dim[i]);
    snprintf(text + used, (size_t)(96 - used), ")");
    return text;
}

size_t cm3_dtype_size(cm3_dtype type) {
    switch (type) {
    case CM3_F32:
    case CM3_I32:
        return 4;
    case CM3_BF16:
        return 2;
    case CM3_U8:
        return 1;
    }
    return 0;
}

const char *cm3_dtype_name(cm3_dtype type) {
    static const char *const names[] = {"f32", "i32", "bf16", "u8"};
    return names[type];
}

size_t cm3_tensor_bytes(const cm3_tensor *tensor) {
    return (size_t)cm3_shape_count(tensor->shape) * cm3_dtype_size(tensor->type);
}
