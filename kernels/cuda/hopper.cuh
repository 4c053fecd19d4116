/* hopper -- machine instructions that only sm_90a has: products of a warpgroup (four warps, the
 * first one's index a multiple of 4) that run beside everything else, bulk copies, and the barriers
 * in shared memory by which both are waited for.
 *
 * Two worlds see shared memory. Ordinary loads, stores and copy_async16 are of the generic proxy;
 * wgmma and bulk_copy of the async proxy. What the one wrote the other sees only after
 * fence_async() in the thread that wrote (and has waited for its own copies), then a barrier.
 *
 * An operand of wgmma lies in shared memory without swizzle, in core matrices of 8 rows of 16 bytes
 * (8 values of k), rows 16 bytes apart: one descriptor says where the first lies, and how far the
 * next are along k and along the rows. D, float32, is in the lanes as in mma_f16: warp w of the
 * group has rows 16w..16w+15, d[j] is the n8 piece j.
 *
 * Source: PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions" and
 * "mbarrier"; of leading and stride byte offset, for operands along k without swizzle, the first is
 * the step along k. Code that uses any of this stands within `#if HOPPER_CODE`. */
#ifndef KERNELS_CUDA_HOPPER_CUH
#define KERNELS_CUDA_HOPPER_CUH

#include "kernels/cuda/mma.cuh"

/* Whether the pass of the compiler is one that knows these instructions. */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDACC__)
#define HOPPER_CODE 1
#else
#define HOPPER_CODE 0
#endif

/* What a descriptor can say: addresses and steps below 2^18, multiples of 16. */
enum { DESCRIPTOR_MASK = 0x3ffff, DESCRIPTOR_SHIFT = 4 };

/* address: of the first core matrix, as shared_address gives it; k_step, row_step: bytes. Bytes are
 * added to a descriptor's address by operand_step. */
static __host__ __device__ __forceinline__ uint64_t operand_descriptor(uint32_t address, int k_step,
                                                                       int row_step)
{
    return (uint64_t)((address & DESCRIPTOR_MASK) >> DESCRIPTOR_SHIFT) |
           (uint64_t)(((uint32_t)k_step & DESCRIPTOR_MASK) >> DESCRIPTOR_SHIFT) << 16 |
           (uint64_t)(((uint32_t)row_step & DESCRIPTOR_MASK) >> DESCRIPTOR_SHIFT) << 32;
}

static __host__ __device__ __forceinline__ uint64_t operand_step(int bytes)
{
    return (uint64_t)((uint32_t)bytes >> DESCRIPTOR_SHIFT);
}

#ifdef __CUDACC__

/* ---- Barriers: 8 bytes in shared memory, aligned to 8. A phase is over when `count` threads have
 * arrived and all bytes that were expected are there; then the next one begins. ---- */

static __device__ __forceinline__ void barrier_init(uint64_t *barrier, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
                 : "memory");
}

/* By who made barriers, before the __syncthreads behind which others use them. */
static __device__ __forceinline__ void barriers_made(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;\n\t"
                 "fence.proxy.async.shared::cta;" ::: "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

/* Arrives, and lets the phase wait for so many bytes of bulk copies besides. */
static __device__ __forceinline__ void barrier_expect(uint64_t *barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

/* Nanoseconds that one look at a barrier may take. */
enum { BARRIER_LOOK_NS = 64 };

/* Waits until the phase of this parity is over: of the one that runs and the one before, whichever
 * has it. Of a new barrier the phase before, of parity 1, counts as over. What never comes ends the
 * kernel: without its name, and in one piece of assembly, as a call of printf or a way out that the
 * compiler sees would have it put the products that are under way in a row. */
static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity)
{
    asm volatile("{\n\t"
                 ".reg .pred over, lost;\n\t"
                 ".reg .u32 turns;\n\t"
                 "mov.u32 turns, 0;\n"
                 "look:\n\t"
                 "mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1, %2;\n\t"
                 "@over bra done;\n\t"
                 "add.u32 turns, turns, 1;\n\t"
                 "setp.eq.u32 lost, turns, %3;\n\t"
                 "@lost trap;\n\t"
                 "bra look;\n"
                 "done:\n\t"
                 "}" ::"r"(shared_address(barrier)),
                 "r"(parity), "r"((uint32_t)BARRIER_LOOK_NS), "r"((uint32_t)SPIN_LIMIT)
                 : "memory");
}

/* ---- Copies. ---- */

/* Makes this thread's writes to shared memory visible to the async proxy. */
static __device__ __forceinline__ void fence_async(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Starts a copy into shared memory; the barrier counts its bytes as they arrive. Addresses and
 * bytes are multiples of 16. */
static __device__ __forceinline__ void bulk_copy(void *shared, const void *global, int bytes,
                                                 uint64_t *barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

/* ---- Products. ---- */

/* Before the first product, and before one that follows other use of its registers. */
static __device__ __forceinline__ void wgmma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

/* Ends a group: this warp's products since the last one. */
static __device__ __forceinline__ void wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Waits until at most the N newest groups are still under way. */
template <int N> static __device__ __forceinline__ void wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* Keeps the compiler from moving what it does with d across this place. */
template <int N> static __device__ __forceinline__ void hold_registers(float d[N / 8][4])
{
#pragma unroll
    for (int j = 0; j < N / 8; j++)
        asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
}

/* value, as if the compiler knew nothing of it: what one turn of a loop makes of it is not kept in
 * registers for the next. */
static __device__ __forceinline__ int hold_value(int value)
{
    asm volatile("" : "+r"(value)::"memory");
    return value;
}

/* Four operands of one n8 piece. */
#define PIECE(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])

static __device__ __forceinline__ void wgmma_64(float d[8][4], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "%32, %33, 1, 1, 1, 0, 0;"
                 : PIECE(0), PIECE(1), PIECE(2), PIECE(3), PIECE(4), PIECE(5), PIECE(6), PIECE(7)
                 : "l"(a), "l"(b));
}

static __device__ __forceinline__ void wgmma_128(float d[16][4], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
                 "%64, %65, 1, 1, 1, 0, 0;"
                 : PIECE(0), PIECE(1), PIECE(2), PIECE(3), PIECE(4), PIECE(5), PIECE(6), PIECE(7),
                   PIECE(8), PIECE(9), PIECE(10), PIECE(11), PIECE(12), PIECE(13), PIECE(14),
                   PIECE(15)
                 : "l"(a), "l"(b));
}

#undef PIECE

/* Starts d += a * b, m64nNk16 of fp16; a has 64 rows, b N. d is nobody's until it was
 * waited for. */
template <int N>
static __device__ __forceinline__ void wgmma_f16(float d[N / 8][4], uint64_t a, uint64_t b)
{
    static_assert(N == 64 || N == 128, "of no other shape");
    if constexpr (N == 64)
        wgmma_64(d, a, b);
    else
        wgmma_128(d, a, b);
}

#else

#include <emulated_hopper.h>    /* the same functions */

#endif

#endif
