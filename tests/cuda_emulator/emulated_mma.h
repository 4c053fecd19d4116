/* emulated_mma -- the instructions of kernels/cuda/mma.cuh, by its lane tables. */
#ifndef TESTS_CUDA_EMULATOR_EMULATED_MMA_H
#define TESTS_CUDA_EMULATOR_EMULATED_MMA_H

#include <cuda_runtime.h>

struct emulated_mma { float *d; const uint32_t *a, *b; };
struct emulated_ldmatrix { uint32_t *r; const void *row; };

emulated_meeting emulated_mma_f16_all, emulated_mma_tf32_all;
emulated_meeting emulated_ldmatrix_x4_all, emulated_ldmatrix_x2_all, emulated_ldmatrix_x4_trans_all;

/* Of the thread that runs. */
void emulated_copy(void *shared, const void *global, bool valid, const char *file,
                   const char *function, int line);
void emulated_copy_commit(void);
void emulated_copy_wait(unsigned newest);

static inline void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2], EMULATED_PLACE)
{
    struct emulated_mma m = { d, a, b };

    emulated_meet(emulated_mma_f16_all, "mma_f16", 0xffffffffu, &m, file, function, line);
}

static inline void mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2], EMULATED_PLACE)
{
    struct emulated_mma m = { d, a, b };

    emulated_meet(emulated_mma_tf32_all, "mma_tf32", 0xffffffffu, &m, file, function, line);
}

static inline void ldmatrix_x4(uint32_t r[4], const void *row, EMULATED_PLACE)
{
    struct emulated_ldmatrix m = { r, row };

    emulated_meet(emulated_ldmatrix_x4_all, "ldmatrix_x4", 0xffffffffu, &m, file, function, line);
}

static inline void ldmatrix_x2(uint32_t r[2], const void *row, EMULATED_PLACE)
{
    struct emulated_ldmatrix m = { r, row };

    emulated_meet(emulated_ldmatrix_x2_all, "ldmatrix_x2", 0xffffffffu, &m, file, function, line);
}

static inline void ldmatrix_x4_trans(uint32_t r[4], const void *row, EMULATED_PLACE)
{
    struct emulated_ldmatrix m = { r, row };

    emulated_meet(emulated_ldmatrix_x4_trans_all, "ldmatrix_x4_trans", 0xffffffffu, &m, file,
                  function, line);
}

static inline void copy_async16(void *shared, const void *global, bool valid, EMULATED_PLACE)
{
    emulated_copy(shared, global, valid, file, function, line);
}

static inline void copy_async_commit(void)
{
    emulated_copy_commit();
}

template <int N> static inline void copy_async_wait(void)
{
    emulated_copy_wait(N);
}

#endif
