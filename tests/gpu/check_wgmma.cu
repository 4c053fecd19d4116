/* What only compute capability 9.0 has: its instructions (hopper.cuh) alone, against plain loops,
 * and the convolutions made of them (conv_wgmma.cuh) held to what check_conv holds the others to.
 * On the emulator, whose sums are alike, those give the bits of conv.cu's kernels; on a device only
 * nearly.
 *
 * The probe comes first: where it misses, the rest of a run does without wgmma. */
#include "kernels/cuda/conv_wgmma.cuh"
#include "kernels/cuda/hopper.cuh"
#include "tests/gpu/check.h"
#include "tests/gpu/conv_bench.cuh"

#ifndef __CUDACC__
#include "tests/cuda_emulator/cuda_emulator.h"
#endif

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* ---- Descriptors ---- */

/* Where a descriptor has value (row, k), in bytes, by the fields' definition in the PTX ISA: start
 * address, leading byte offset (k), stride byte offset (rows), in units of 16. */
static uint32_t described(uint64_t descriptor, int row, int k)
{
    uint32_t start = descriptor & 0x3fff, leading = descriptor >> 16 & 0x3fff,
             stride = descriptor >> 32 & 0x3fff;

    return 16 * (start + (uint32_t)(row / 8) * stride + (uint32_t)(k / 8) * leading) +
           (uint32_t)(row % 8) * 16 + (uint32_t)(k % 8) * 2;
}

/* A piece of 8 x 8 pixels of a halo tile [block][high][wide][16 bytes], at each tap: its rows are
 * the intended pixels. */
static int check_descriptors(void)
{
    const int high = 18, wide = 18, plane = high * wide * 16;
    const uint32_t at = 100000;
    bool good = true;

    for (int tap = 0; tap < 9; tap++)
        for (int piece = 0; piece < 4; piece++) {
            int row = piece / 2 * 8, column = piece % 2 * 8;
            uint64_t d = operand_descriptor(at, plane, wide * 16) +
                         operand_step((row * wide + column) * 16) +
                         operand_step((tap / 3 * wide + tap % 3) * 16) + operand_step(2 * plane);

            for (int m = 0; m < 64; m++)
                for (int k = 0; k < 16; k++) {
                    int y = row + m / 8 + tap / 3, x = column + m % 8 + tap % 3;
                    uint32_t pixel = at + (uint32_t)(((2 + k / 8) * high + y) * wide + x) * 16;

                    good &= described(d, m, k) == pixel + (uint32_t)(k % 8) * 2;
                }
        }
    return check_that(good, "descriptors of a halo tile point to the pixels of each tap");
}

/* ---- Single instructions ---- */

enum { PROBE_CELLS = 1024 };        /* 16 bytes of shared memory each */

struct operand {
    int at, k_step, row_step;       /* bytes */
};

struct probe {
    const char *words;
    int outs;
    struct operand a, b;
};

/* Two products, the second from b_again too, and a third that is waited for later. */
template <int N>
static __global__ void product_kernel(const uint4 *in, float *out, struct operand a,
                                      struct operand b)
{
#if HOPPER_CODE
    DYNAMIC_SHARED(uint4, shared);
    int thread = (int)threadIdx.x, warp = thread / 32, lane = thread % 32;
    float d[N / 8][4];

    for (int i = thread; i < PROBE_CELLS; i += 128)
        shared[i] = in[i];
    fence_async();
    __syncthreads();
    uint32_t at = shared_address(shared);
    uint64_t left = operand_descriptor(at + (uint32_t)a.at, a.k_step, a.row_step);
    uint64_t right = operand_descriptor(at + (uint32_t)b.at, b.k_step, b.row_step);
    for (int j = 0; j < N / 8; j++)
        for (int i = 0; i < 4; i++)
            d[j][i] = (float)(j + i);
    hold_registers<N>(d);
    wgmma_fence();
    wgmma_f16<N>(d, left, right);
    wgmma_commit();
    wgmma_f16<N>(d, left, right);
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_wait<0>();
    hold_registers<N>(d);
    for (int j = 0; j < N / 8; j++)
        for (int i = 0; i < 4; i++)
            out[(warp * 16 + lane / 4 + i / 2 * 8) * N + j * 8 + lane % 4 * 2 + i % 2] = d[j][i];
#else
    (void)in;
    (void)out;
    (void)a;
    (void)b;
    __trap();
#endif
}

static const struct probe PRODUCTS[] = {
    { "64 outputs, core matrices side by side", 64, { 0, 128, 256 }, { 8192, 128, 256 } },
    { "64 outputs, k apart", 64, { 0, 1024, 128 }, { 4096, 2048, 128 } },
    { "128 outputs, as the ring has them", 128, { 0, 1024, 128 }, { 4096, 128, 512 } },
    { "128 outputs, half a chunk", 128, { 0, 1024, 128 }, { 4096, 128, 256 } },
    { "64 rows of a halo tile", 128, { 0, 18 * 10 * 16, 18 * 16 }, { 8192, 128, 256 } },
    { "a tap: one pixel further", 128, { 16, 18 * 10 * 16, 18 * 16 }, { 8192, 128, 256 } },
    { "a tap: a row and two pixels further", 64, { 20 * 16, 17 * 11 * 16, 17 * 16 },
      { 8192, 128, 256 } },
};

static int small(unsigned x)
{
    x = x * 0x9e3779b9u + 0x7f4a7c15u;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return (int)(x % 17) - 8;
}

static int value_at(const __half *cells, const struct operand *o, int row, int k)
{
    int at = o->at + row / 8 * o->row_step + row % 8 * 16 + k / 8 * o->k_step + k % 8 * 2;

    return (int)__half2float(cells[at / 2]);
}

static int check_product(const struct probe *p)
{
    static __half cells[PROBE_CELLS * 8];
    static float got[64 * 128];
    void *in = NULL, *out = NULL;
    bool good = true;
    cudaError_t st;

    for (unsigned i = 0; i < PROBE_CELLS * 8; i++)
        cells[i] = __float2half_rn((float)small(i));
    st = cudaMalloc(&in, sizeof cells);
    if (!st)
        st = cudaMalloc(&out, sizeof got);
    if (!st)
        st = cudaMemcpy(in, cells, sizeof cells, cudaMemcpyHostToDevice);
    if (!st)
        st = launch(p->outs == 64 ? product_kernel<64> : product_kernel<128>, 1, 128, sizeof cells,
                    0, (const uint4 *)in, (float *)out, p->a, p->b);
    if (!st)
        st = cudaMemcpy(got, out, (size_t)(64 * p->outs) * sizeof *got, cudaMemcpyDeviceToHost);
    cudaFree(in);
    cudaFree(out);
    if (st)
        return check_no_error(st, cudaGetErrorString(st), "wgmma: %s", p->words);
    for (int m = 0; m < 64; m++)
        for (int n = 0; n < p->outs; n++) {
            int sum = n / 8 + n % 2 + m % 16 / 8 * 2;       /* what d held */

            for (int k = 0; k < 16; k++)
                sum += 2 * value_at(cells, &p->a, m, k) * value_at(cells, &p->b, n, k);
            good &= got[m * p->outs + n] == (float)sum;
        }
    return check_that(good, "wgmma: %s", p->words);
}

/* Bulk copies of several sizes into a ring of two slots, four times round, by one thread; all
 * others wait for them and free the slot. */
enum { ROUND_BYTES = 16 + 288 + 1024, ROUNDS = 8 };

static __global__ void bulk_kernel(const char *in, char *out)
{
#if HOPPER_CODE
    DYNAMIC_SHARED(char, shared);
    uint64_t *full = (uint64_t *)(void *)shared, *empty = full + 2;
    char *slots = shared + 128;
    int thread = (int)threadIdx.x;

    if (thread == 0) {
        for (int i = 0; i < 2; i++) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], 64);
        }
        barriers_made();
    }
    __syncthreads();
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t parity = (uint32_t)(round / 2 & 1);
        char *to = slots + round % 2 * ROUND_BYTES;
        const char *from = in + round * ROUND_BYTES;

        if (thread == 64) {
            barrier_wait(&empty[round % 2], parity ^ 1);
            barrier_expect(&full[round % 2], ROUND_BYTES);
            bulk_copy(to, from, 16, &full[round % 2]);
            bulk_copy(to + 16, from + 16, 288, &full[round % 2]);
            bulk_copy(to + 304, from + 304, 1024, &full[round % 2]);
        } else if (thread < 64) {
            barrier_wait(&full[round % 2], parity);
            for (int i = thread; i < ROUND_BYTES; i += 64)
                out[round * ROUND_BYTES + i] = to[i];
            barrier_arrive(&empty[round % 2]);
        }
    }
#else
    (void)in;
    (void)out;
    __trap();
#endif
}

static int check_bulk(void)
{
    static char data[ROUNDS * ROUND_BYTES], got[ROUNDS * ROUND_BYTES];
    void *in = NULL, *out = NULL;
    cudaError_t st;

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (char)small(i);
    st = cudaMalloc(&in, sizeof data);
    if (!st)
        st = cudaMalloc(&out, sizeof got);
    if (!st)
        st = cudaMemcpy(in, data, sizeof data, cudaMemcpyHostToDevice);
    if (!st)
        st = launch(bulk_kernel, 1, 96, 128 + 2 * ROUND_BYTES, 0, (const char *)in, (char *)out);
    if (!st)
        st = cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost);
    cudaFree(in);
    cudaFree(out);
    if (st)
        return check_no_error(st, cudaGetErrorString(st), "bulk copies and barriers");
    return check_same(got, data, sizeof data, "bulk copies and barriers");
}

static int check_instructions(void)
{
    int misses = check_bulk();

    for (int i = 0; i < COUNT(PRODUCTS); i++)
        misses += check_product(&PRODUCTS[i]);
    return misses;
}

/* ---- Convolutions ---- */

/* Each kind and ending; borders of every tile; chunks enough to go round the rings, and half
 * chunks. */
static const struct conv_trial TRIALS[] = {
    { { CONV_PLAIN, 136, 72, 33, 3, 1 }, 2, NOISE | ACTIVATED | CLAMPED | NEXT | RGB | WGMMA },
    { { CONV_PLAIN, 16, 130, 32, 3, 2 }, 1, NOISE_EACH | ACTIVATED | RGB | ONLY_RGB | WGMMA },
    { { CONV_PLAIN, 300, 64, 35, 1, 0 }, 2, NEXT | SCALED | SHARED_X | WGMMA },
    { { CONV_UP_SCATTER, 200, 64, 32, 3, 1 }, 1, NEXT | MIRRORED | WGMMA },
    { { CONV_UP_NEAREST, 97, 80, 34, 3, 1 }, 1, NEXT | WGMMA },
};

/* Of a device only: what the layers of a network look like. */
static const struct conv_trial LARGE[] = {
    { { CONV_PLAIN, 512, 512, 64, 3, 1 }, 2, NOISE | ACTIVATED | CLAMPED | NEXT | RGB | WGMMA },
    { { CONV_UP_SCATTER, 512, 256, 64, 3, 1 }, 2, NEXT | WGMMA },
    { { CONV_PLAIN, 128, 128, 128, 3, 1 }, 3, NOISE | ACTIVATED | NEXT | RGB | WGMMA },
    { { CONV_PLAIN, 64, 64, 256, 3, 1 }, 2, NOISE | ACTIVATED | NEXT | RGB | WGMMA },
};

/* The same layer by conv.cu's kernels and by these. */
static int check_against_mma(const struct conv_trial *trial)
{
    struct conv_trial plain = *trial;
    struct conv_output mma, wgmma;
    struct conv_cuda other;
    struct conv_bench b;
    int misses = 0;
    struct err e;

    plain.with &= ~(unsigned)WGMMA;
    if (conv_bench_make(&b, &plain, PRECISION_FP16) ||
        conv_cuda_init(&other, &b.shape, &b.weights, PRECISION_FP16, b.room, b.down, b.energy,
                       &e) ||
        room_check(b.room, &e) || conv_cuda_use_wgmma(&other, &e)) {
        conv_bench_release(&b);
        return check_that(false, "%s: could not be prepared", b.name);
    }
    misses += conv_bench_run(&b, 0, b.samples, -1, WHOLE, &mma);
    b.conv = other;
    misses += conv_bench_run(&b, 0, b.samples, -1, WHOLE, &wgmma);
    if (check_is_emulated())
        misses += check_that(conv_output_same(&mma, &wgmma), "%s: the bits of mma.sync", b.name);
    else
        /* sums of up to 4608 terms of magnitude 1, rounded or cut off to float32 here or there */
        misses += check_within(check_max_error(wgmma.trace, mma.trace, mma.trace_count) /
                                   check_peak(mma.trace, mma.trace_count),
                               1e-4, "%s: nearly what mma.sync makes", b.name);
    conv_output_release(&mma);
    conv_output_release(&wgmma);
    conv_bench_release(&b);
    return misses;
}

/* Layers that are not for it. */
static int check_suits(void)
{
    static const struct {
        struct conv_shape shape;
        enum precision precision;
        bool suits;
    } CASES[] = {
        { { CONV_PLAIN, 16, 64, 32, 3, 1 }, PRECISION_FP16, true },
        { { CONV_PLAIN, 16, 64, 32, 3, 1 }, PRECISION_TF32, false },
        { { CONV_PLAIN, 16, 63, 32, 3, 1 }, PRECISION_FP16, false },
        { { CONV_PLAIN, 16, 64, 31, 3, 1 }, PRECISION_FP16, false },
    };
    bool good = true;

    for (int i = 0; i < COUNT(CASES); i++) {
        struct conv_trial trial = { CASES[i].shape, 1, 0 };
        struct conv_bench b;

        good &= conv_bench_make(&b, &trial, CASES[i].precision) == 0 &&
                conv_wgmma_suits(&b.conv) == CASES[i].suits;
        conv_bench_release(&b);
    }
    return check_that(good, "fp16 layers from 64 outputs and 32 pixels on suit, no others");
}

/* Whether the device that is current has compute capability 9.0. */
static bool is_there(void)
{
#ifndef __CUDACC__
    emulated_arch_set(90);
#endif
    return conv_wgmma_device();
}

int check_wgmma(void)
{
    int misses = check_descriptors(), missed;

    if (!is_there()) {
        check_skip("wgmma: not a device of compute capability 9.0");
        return misses;
    }
    missed = check_instructions();
    if (missed) {
        check_switch_off("wgmma");
        return misses + missed;
    }
    misses += check_suits();
    for (int t = 0; t < COUNT(TRIALS); t++) {
        misses += conv_bench_check(&TRIALS[t], PRECISION_FP16);
        misses += check_against_mma(&TRIALS[t]);
    }
    for (int t = 0; t < COUNT(LARGE) && check_scale() == CHECK_FULL && !check_is_emulated(); t++) {
        misses += conv_bench_check(&LARGE[t], PRECISION_FP16);
        misses += check_against_mma(&LARGE[t]);
    }
    return misses;
}
