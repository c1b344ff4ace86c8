/* Vectorised inner loops, written once in plain C and compiled once for each instruction set (cmake/layers.cmake).
 * CM3_SIMD(name) gives a symbol the suffix of its level; core/kernels/cpu/dispatch.c picks the table of the best level
 * that the processor has. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_SIMD_H
#define CM3_CORE_KERNELS_CPU_SIMD_SIMD_H

#define CM3_SIMD_PASTE_(name, level) name##_##level
#define CM3_SIMD_PASTE(name, level) CM3_SIMD_PASTE_(name, level)
#define CM3_SIMD(name) CM3_SIMD_PASTE(name, CM3_SIMD_LEVEL)

#endif
