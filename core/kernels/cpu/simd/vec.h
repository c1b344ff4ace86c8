/* The vector of the instruction set that this file is compiled for, as GCC's and clang's portable vector type. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_VEC_H
#define CM3_CORE_KERNELS_CPU_SIMD_VEC_H

#if defined(__AVX512F__)
enum { CM3_VEC_LANES = 16, CM3_VEC_REGISTERS = 32 };
#elif defined(__AVX2__)
enum { CM3_VEC_LANES = 8, CM3_VEC_REGISTERS = 16 };
#else
enum { CM3_VEC_LANES = 4, CM3_VEC_REGISTERS = 16 };
#endif

/* Loads and stores need no alignment. */
typedef float cm3_vec __attribute__((vector_size(CM3_VEC_LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

#endif
