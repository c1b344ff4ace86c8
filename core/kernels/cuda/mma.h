/* Tensor cores in bf16: tiles in shared memory, fragments of them in the registers of a warp, products in f32; and
 * copies from memory to shared memory that go on while a block computes.
 *
 * A warp multiplies A (16,16) by B (16,8). Lane l = 4g + t has of A, two neighbours a register: rows g and g + 8,
 * columns 2t and 2t + 8; of B rows 2t and 2t + 8 of column g; of the result, one float a register: row g, columns 2t
 * and 2t + 1, then the same of row g + 8. So results are, rounded and paired, an A of the next product.
 *
 * On the host the lanes show each other what they hold and every lane computes its own results. */
#ifndef CM3_CORE_KERNELS_CUDA_MMA_H
#define CM3_CORE_KERNELS_CUDA_MMA_H

#include "core/kernels/cuda/launch.h"

static __device__ __forceinline__ int lane_of_warp(void) {
    return (int)threadIdx.x % CM3_WARP;
}

/* Two bf16 in a register, the first one low. */
static __device__ __forceinline__ uint32_t pair_of(float first, float second) {
#ifdef __CUDACC__
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
#else
    return from_float<bf16>(first).bits | (uint32_t)from_float<bf16>(second).bits << 16;
#endif
}

/* --- four 8x8 matrices of shared memory into registers: lane l names row l % 8 of matrix l / 8 ------------------- */

/* Lane 4g + t gets of each matrix row g, columns 2t and 2t + 1. */
static __device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const bf16 *row) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
#else
    const int lane = lane_of_warp();
    const uint64_t *rows = simt_exchange(0xffffffffu, simt_bits(row));
    for (int i = 0; i < 4; i++) memcpy(&to[i], simt_value<const bf16 *>(rows[8 * i + lane / 4]) + lane % 4 * 2, 4);
#endif
}

/* The same of each matrix transposed: rows 2t and 2t + 1, column g. */
static __device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], const bf16 *row) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
#else
    const int g = lane_of_warp() / 4, t = lane_of_warp() % 4;
    const uint64_t *rows = simt_exchange(0xffffffffu, simt_bits(row));
    for (int i = 0; i < 4; i++)
        to[i] = simt_value<const bf16 *>(rows[8 * i + 2 * t])[g].bits |
                (uint32_t)simt_value<const bf16 *>(rows[8 * i + 2 * t + 1])[g].bits << 16;
#endif
}

/* Fragments of a tile at `tile`, whose rows are `row` elements apart. Each covers 16 x 16 of it: as one A, or as two Bs
 * beside each other, registers 0, 1 and 2, 3. Rows of the tile are A's rows, but B's columns; B's rows where _by_row.
 */
static __device__ __forceinline__ void load_a(uint32_t (&to)[4], const bf16 *tile, int row) {
    const int lane = lane_of_warp();
    load_matrices(to, tile + lane % 16 * row + lane / 16 * 8);
}

static __device__ __forceinline__ void load_b(uint32_t (&to)[4], const bf16 *tile, int row) {
    const int lane = lane_of_warp();
    load_matrices(to, tile + (lane % 8 + lane / 16 * 8) * row + lane / 8 % 2 * 8);
}

static __device__ __forceinline__ void load_b_by_row(uint32_t (&to)[4], const bf16 *tile, int row) {
    const int lane = lane_of_warp();
    load_matrices_transposed(to, tile + lane % 16 * row + lane / 16 * 8);
}

/* --- products ---------------------------------------------------------------------------------------------------- */

/* c += A B. */
static __device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    uint64_t halves[2][CM3_WARP]; /* registers 0, 1 and 2, 3 of A */
    for (int i = 0; i < 2; i++)
        memcpy(halves[i], simt_exchange(0xffffffffu, a[2 * i] | (uint64_t)a[2 * i + 1] << 32), sizeof halves[i]);
    const uint64_t *b = simt_exchange(0xffffffffu, b0 | (uint64_t)b1 << 32);
    const int g = lane_of_warp() / 4, t = lane_of_warp() % 4;
    for (int k = 0; k < 16; k++)
        for (int i = 0; i < 4; i++) {
            const uint64_t x = halves[k / 8][4 * g + k % 8 / 2] >> (32 * (i / 2) + 16 * (k % 2));
            const uint64_t y = b[4 * (2 * t + i % 2) + k % 8 / 2] >> (32 * (k / 8) + 16 * (k % 2));
            c[i] += to_float(bf16{(uint16_t)x}) * to_float(bf16{(uint16_t)y});
        }
#endif
}

/* --- copies ------------------------------------------------------------------------------------------------------ */

/* BYTES (16 or 4) from memory to shared memory, zeros where they are not `there`; they arrive until a wait says so. */
template <int BYTES> static __device__ __forceinline__ void copy_async(void *to, const void *from, bool there) {
#ifdef __CUDACC__
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    if constexpr (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(there ? 16 : 0)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(at), "l"(from), "r"(there ? BYTES : 0),
                     "n"(BYTES)
                     : "memory");
#else
    if (there)
        memcpy(to, from, BYTES);
    else
        memset(to, 0, BYTES);
#endif
}

/* Ends a group of copies; waits until all but the last `left` groups of this thread have arrived. */
static __device__ __forceinline__ void copies_end_group(void) {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int LEFT> static __device__ __forceinline__ void copies_wait(void) {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

#endif
