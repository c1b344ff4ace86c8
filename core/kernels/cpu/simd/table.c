#include "core/kernels/cpu/simd/prototypes.h"
#include "core/kernels/cpu/simd/vec.h"

#define CM3_TEXT_(level) #level
#define CM3_TEXT(level) CM3_TEXT_(level)

extern const cm3_simd CM3_SIMD(cm3__simd);
const cm3_simd CM3_SIMD(cm3__simd) = {
#define X(name, arguments) .name = CM3_SIMD(cm3__##name),
    CM3_SIMD_LIST(X)
#undef X
        .level = CM3_TEXT(CM3_SIMD_LEVEL),
        .fast_gemm = CM3_VEC_REGISTERS == 32,
};
