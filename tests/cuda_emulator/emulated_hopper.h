/* emulated_hopper -- the instructions of kernels/cuda/hopper.cuh.
 *
 * What runs beside the threads on a device is late here as copies are (emulated_copies_set): bulk
 * copies arrive when nothing else can run, products read shared memory at the wait that covers them;
 * until then their registers hold NaN. A wait in a barrier's phase costs no turns: the thread
 * sleeps, and when all sleep the run ends with where each of them is.
 *
 * Aborts, besides: shared memory that a product or a copy reaches outside of the block's, products
 * that read what was written without fence_async or that differ between a group's warps, products
 * without wgmma_fence, a phase with more arrivals than its barrier counts, a block that ends with
 * anything under way. */
#ifndef TESTS_CUDA_EMULATOR_EMULATED_HOPPER_H
#define TESTS_CUDA_EMULATOR_EMULATED_HOPPER_H

#include <cuda_runtime.h>

struct emulated_product { float *d; uint64_t a, b; int n; };

emulated_meeting emulated_product_all, emulated_product_fence_all, emulated_product_commit_all;
emulated_meeting emulated_product_wait_all;

/* As the instructions have it: the block's memory begins behind 1 KiB that is the system's. */
uint32_t shared_address(const void *shared);

void emulated_barrier_init(uint64_t *barrier, int count);
void emulated_barrier_arrive(uint64_t *barrier, int bytes, const char *file, const char *function,
                             int line);
void emulated_barrier_wait(uint64_t *barrier, uint32_t parity, const char *file,
                           const char *function, int line);
void emulated_fence_async(void);
void emulated_bulk_copy(void *shared, const void *global, int bytes, uint64_t *barrier,
                        const char *file, const char *function, int line);

static inline void barrier_init(uint64_t *barrier, int count)
{
    emulated_barrier_init(barrier, count);
}

static inline void barriers_made(void) {}

static inline void barrier_arrive(uint64_t *barrier, EMULATED_PLACE)
{
    emulated_barrier_arrive(barrier, 0, file, function, line);
}

static inline void barrier_expect(uint64_t *barrier, int bytes, EMULATED_PLACE)
{
    emulated_barrier_arrive(barrier, bytes, file, function, line);
}

static inline void barrier_wait(uint64_t *barrier, uint32_t parity, EMULATED_PLACE)
{
    emulated_barrier_wait(barrier, parity, file, function, line);
}

static inline void fence_async(void)
{
    emulated_fence_async();
}

static inline void bulk_copy(void *shared, const void *global, int bytes, uint64_t *barrier,
                             EMULATED_PLACE)
{
    emulated_bulk_copy(shared, global, bytes, barrier, file, function, line);
}

static inline void wgmma_fence(EMULATED_PLACE)
{
    emulated_meet(emulated_product_fence_all, "wgmma_fence", 0xffffffffu, NULL, file, function,
                  line);
}

static inline void wgmma_commit(EMULATED_PLACE)
{
    emulated_meet(emulated_product_commit_all, "wgmma_commit", 0xffffffffu, NULL, file, function,
                  line);
}

template <int N> static inline void wgmma_wait(EMULATED_PLACE)
{
    int newest = N;

    emulated_meet(emulated_product_wait_all, "wgmma_wait", 0xffffffffu, &newest, file, function,
                  line);
}

template <int N> static inline void hold_registers(float (*)[4]) {}

static inline int hold_value(int value)
{
    return value;
}

template <int N>
static inline void wgmma_f16(float d[N / 8][4], uint64_t a, uint64_t b, EMULATED_PLACE)
{
    struct emulated_product p = { &d[0][0], a, b, N };

    emulated_meet(emulated_product_all, "wgmma_f16", 0xffffffffu, &p, file, function, line);
}

#endif
