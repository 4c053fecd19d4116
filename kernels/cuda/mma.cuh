/* mma -- the machine instructions of sm_80 and later that the kernels are made of: products on the
 * tensor cores, loads of their operands from shared memory, copies that run beside the arithmetic.
 *
 * All lanes of a warp call each of mma_* and ldmatrix_* together. The tables say which lane holds
 * what (PTX ISA, "Warp-level matrix instructions"); g = lane / 4, t = lane % 4. A register of fp16
 * holds two elements, the one named first in its low half.
 *
 * D (16x8), float32, of both products
 *     d[0], d[1]   row g        columns 2t, 2t+1
 *     d[2], d[3]   row g + 8    columns 2t, 2t+1
 *
 * mma_f16: A (16x16) fp16, B (16x8) fp16               mma_tf32: A (16x8) tf32, B (8x8) tf32
 *     a[0]   row g        columns 2t, 2t+1                 a[0]   row g        column t
 *     a[1]   row g + 8    columns 2t, 2t+1                 a[1]   row g + 8    column t
 *     a[2]   row g        columns 2t+8, 2t+9               a[2]   row g        column t + 4
 *     a[3]   row g + 8    columns 2t+8, 2t+9               a[3]   row g + 8    column t + 4
 *     b[0]   rows 2t, 2t+1      column g                   b[0]   row t        column g
 *     b[1]   rows 2t+8, 2t+9    column g                   b[1]   row t + 4    column g
 *
 * ldmatrix_*: matrices of 8 rows of 16 bytes, 8x8 elements of 16 bits, in shared memory. Lane
 * 8*m + i brings the address of row i of matrix m, aligned to 16; ldmatrix_x2 looks at those of lanes
 * 0..15 only.
 *     plain:  r[m]   of matrix m: row g, columns 2t, 2t+1
 *     trans:  r[m]   of matrix m: rows 2t, 2t+1, column g
 * So ldmatrix_x4 with the matrices (rows 0-7, k 0-7), (rows 8-15, k 0-7), (rows 0-7, k 8-15),
 * (rows 8-15, k 8-15) gives mma_f16's a; of a B kept as [n][k] ldmatrix_x2 gives b, of one kept as
 * [k][n] a trans does. With float32 elements, four to a row, plain gives mma_tf32's operands. */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/device.cuh"

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__

/* d += a * b, m16n8k16. */
static __device__ __forceinline__ void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* d += a * b, m16n8k8; of a and b the upper 19 bits count: see round_tf32. */
static __device__ __forceinline__ void mma_tf32(float d[4], const uint32_t a[4],
                                                const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ uint32_t shared_address(const void *shared)
{
    return (uint32_t)__cvta_generic_to_shared(shared);
}

static __device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

static __device__ __forceinline__ void ldmatrix_x2(uint32_t r[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}

static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* Starts a copy of 16 bytes into shared memory; with valid false of zeros, and global is not read.
 * Both addresses are aligned to 16. The copy is there, for this thread, after a wait that covers
 * it; for others after a barrier behind that. */
static __device__ __forceinline__ void copy_async16(void *shared, const void *global, bool valid)
{
    int bytes = valid ? 16 : 0;

    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(bytes)
                 : "memory");
}

/* Ends a group: this thread's copies since the last one. */
static __device__ __forceinline__ void copy_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most the N newest of this thread's groups are still under way. */
template <int N> static __device__ __forceinline__ void copy_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#else

#include <emulated_mma.h>       /* the same functions */

#endif

/* The nearest value of 10 bits of mantissa, of two that are as near the larger in magnitude; a NaN
 * becomes 0x7fffffff. The same bits on host and device. */
static __host__ __device__ __forceinline__ float round_tf32(float v)
{
#ifdef __CUDA_ARCH__
    uint32_t bits;

    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
    return __uint_as_float(bits);
#else
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        bits = 0x7fffffffu;
    else if ((bits & 0x7fffffffu) < 0x7f800000u)
        bits = (bits + 0x1000u) & 0xffffe000u;
    memcpy(&v, &bits, sizeof v);
    return v;
#endif
}

#endif
