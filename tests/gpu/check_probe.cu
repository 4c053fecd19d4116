/* check_probe -- the machine instructions of kernels/cuda/mma.cuh, launches, streams and graphs, each
 * alone, against plain loops on the host. The same on a device and on the emulator: on the one it
 * shows that the instructions do what their tables say, on the other that the emulator does.
 *
 * Which lane holds which element is written here a second time, element by element with the formulas
 * of the PTX ISA, and the products' inputs are small whole numbers: every result is exact. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/mma.cuh"

extern "C" {
#include "tests/gpu/check.h"
}

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int expect(bool holds, const char *words)
{
    return check_that(holds, "%s", words);
}

/* Whole numbers from -8 to 8, another row of them for each seed. */
static int small(unsigned seed, unsigned index)
{
    uint32_t x = seed * 0x9e3779b9u + index * 0x85ebca6bu + 1;

    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return (int)(x % 17) - 8;
}

/* ---- Memory of one check: what a kernel reads and writes, on both sides. ---- */

struct bench {
    void *in, *out;             /* on the device */
    cudaError_t error;          /* the first one */
};

static void keep_error(struct bench *b, cudaError_t error)
{
    if (!b->error)
        b->error = error;
}

/* in NULL: nothing is read. */
static void bench_begin(struct bench *b, const void *in, size_t in_bytes, size_t out_bytes)
{
    *b = { NULL, NULL, cudaSuccess };
    if (in)
        keep_error(b, cudaMalloc(&b->in, in_bytes));
    keep_error(b, cudaMalloc(&b->out, out_bytes));
    if (!b->error && in)
        keep_error(b, cudaMemcpy(b->in, in, in_bytes, cudaMemcpyHostToDevice));
    if (!b->error)
        keep_error(b, cudaMemset(b->out, 0, out_bytes));
}

/* Misses: 1 when something failed. */
static int bench_end(struct bench *b, void *out, size_t out_bytes, const char *words)
{
    if (!b->error)
        keep_error(b, cudaDeviceSynchronize());
    if (!b->error)
        keep_error(b, cudaMemcpy(out, b->out, out_bytes, cudaMemcpyDeviceToHost));
    cudaFree(b->in);
    cudaFree(b->out);
    if (b->error)
        fprintf(stderr, "probe: %s: %s\n", words, cudaGetErrorString(b->error));
    return b->error != cudaSuccess;
}

/* ---- Products. ---- */

struct product {
    __half a[16][16], b[16][8], bt[8][16];      /* bt[n][k] = b[k][n] */
    float wide_a[16][8], wide_b[8][8], wide_bt[8][8];
    float c[16][8];
};

static __device__ uint32_t pair_of(__half low, __half high)
{
    return (uint32_t)__half_as_ushort(high) << 16 | __half_as_ushort(low);
}

/* "c_i: row = groupID for c0 and c1, groupID + 8 for c2 and c3; col = threadID_in_group * 2 + (i & 1)" */
static __device__ float *result_of(float (*d)[8], int lane, int i)
{
    return &d[lane / 4 + (i < 2 ? 0 : 8)][lane % 4 * 2 + (i & 1)];
}

static __global__ void f16_kernel(const struct product *in, float (*out)[8])
{
    int lane = (int)threadIdx.x, group = lane >> 2, in_group = lane % 4;
    __half a[8], b[4];
    float d[4];

    /* "a_i: row = groupID for 0 <= i < 2 || 4 <= i < 6, groupID + 8 otherwise;
     *       col = threadID_in_group * 2 + (i & 1) for i < 4, + 8 otherwise" */
    for (int i = 0; i < 8; i++)
        a[i] = in->a[(i < 2 || (i >= 4 && i < 6)) ? group : group + 8]
                    [in_group * 2 + (i & 1) + (i < 4 ? 0 : 8)];
    /* "b_i: row = threadID_in_group * 2 + (i & 1) for i < 2, + 8 otherwise; col = groupID" */
    for (int i = 0; i < 4; i++)
        b[i] = in->b[in_group * 2 + (i & 1) + (i < 2 ? 0 : 8)][group];
    uint32_t ra[4] = { pair_of(a[0], a[1]), pair_of(a[2], a[3]), pair_of(a[4], a[5]),
                       pair_of(a[6], a[7]) };
    uint32_t rb[2] = { pair_of(b[0], b[1]), pair_of(b[2], b[3]) };
    for (int i = 0; i < 4; i++)
        d[i] = in->c[lane / 4 + (i < 2 ? 0 : 8)][lane % 4 * 2 + (i & 1)];
    mma_f16(d, ra, rb);
    mma_f16(d, ra, rb);
    for (int i = 0; i < 4; i++)
        *result_of(out, lane, i) = d[i];
}

static __global__ void tf32_kernel(const struct product *in, float (*out)[8])
{
    int lane = (int)threadIdx.x, group = lane >> 2, in_group = lane % 4;
    uint32_t a[4], b[2];
    float d[4];

    /* "a_i: row = groupID for a0 and a2, groupID + 8 for a1 and a3;
     *       col = threadID_in_group for a0 and a1, + 4 for a2 and a3" */
    for (int i = 0; i < 4; i++)
        a[i] = __float_as_uint(
            in->wide_a[i == 0 || i == 2 ? group : group + 8][in_group + (i < 2 ? 0 : 4)]);
    /* "b_i: row = threadID_in_group for b0, + 4 for b1; col = groupID" */
    for (int i = 0; i < 2; i++)
        b[i] = __float_as_uint(in->wide_b[in_group + (i == 0 ? 0 : 4)][group]);
    for (int i = 0; i < 4; i++)
        d[i] = in->c[lane / 4 + (i < 2 ? 0 : 8)][lane % 4 * 2 + (i & 1)];
    mma_tf32(d, a, b);
    mma_tf32(d, a, b);
    for (int i = 0; i < 4; i++)
        *result_of(out, lane, i) = d[i];
}

/* The same products, their operands loaded by ldmatrix as mma.cuh says. variant 0: b from [n][k] by
 * ldmatrix_x2; 1: from [k][n] by a trans (the second half of which is the first again); 2: tf32. */
static __global__ void loaded_kernel(const struct product *in, float (*out)[8], int variant)
{
    DYNAMIC_SHARED(struct product, s);
    int lane = (int)threadIdx.x, row = lane % 8, matrix = lane / 8;
    uint32_t a[4], b[4];
    float d[4];

    for (int i = lane; i < (int)(sizeof *s / 4); i += 32)
        ((uint32_t *)s)[i] = ((const uint32_t *)in)[i];
    __syncwarp();
    for (int i = 0; i < 4; i++)
        d[i] = *result_of(s->c, lane, i);
    if (variant == 2) {
        ldmatrix_x4(a, &s->wide_a[row + matrix % 2 * 8][matrix / 2 * 4]);
        ldmatrix_x2(b, &s->wide_bt[row][matrix % 2 * 4]);
        mma_tf32(d, a, b);
        mma_tf32(d, a, b);
    } else {
        ldmatrix_x4(a, &s->a[row + matrix % 2 * 8][matrix / 2 * 8]);
        if (variant == 0)
            ldmatrix_x2(b, &s->bt[row][matrix % 2 * 8]);
        else
            ldmatrix_x4_trans(b, &s->b[row + matrix % 2 * 8][0]);
        mma_f16(d, a, b);
        mma_f16(d, a, variant == 0 ? b : b + 2);
    }
    for (int i = 0; i < 4; i++)
        *result_of(out, lane, i) = d[i];
}

static void fill_product(struct product *p, unsigned seed, int f16[16][8], int tf32[16][8])
{
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 16; k++)
            p->a[i][k] = __float2half_rn((float)small(seed, i * 16 + k));
    for (unsigned k = 0; k < 16; k++)
        for (unsigned n = 0; n < 8; n++)
            p->b[k][n] = p->bt[n][k] = __float2half_rn((float)small(seed, 300 + k * 8 + n));
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 8; k++) {
            p->wide_a[i][k] = (float)small(seed, 500 + i * 8 + k) / 512.0f;
            p->wide_b[k][i % 8] = p->wide_bt[i % 8][k] =
                (float)small(seed, 700 + k * 8 + i % 8) * 512.0f;
            p->c[i][k] = (float)(small(seed, 900 + i * 8 + k) * 1000);
        }
    for (int i = 0; i < 16; i++)
        for (int n = 0; n < 8; n++) {
            f16[i][n] = tf32[i][n] = (int)p->c[i][n];
            for (int k = 0; k < 16; k++)
                f16[i][n] += 2 * (int)__half2float(p->a[i][k]) * (int)__half2float(p->b[k][n]);
            for (int k = 0; k < 8; k++)
                tf32[i][n] += 2 * (int)(p->wide_a[i][k] * 512.0f) *
                              (int)(p->wide_b[k][n] / 512.0f);
        }
}

static int compare(const float got[16][8], const int want[16][8], const char *words)
{
    for (int i = 0; i < 16; i++)
        for (int n = 0; n < 8; n++)
            if (got[i][n] != (float)want[i][n]) {
                fprintf(stderr, "probe: %s: row %d column %d is %g, not %d\n", words, i, n,
                        (double)got[i][n], want[i][n]);
                return 1;
            }
    return 0;
}

static int check_product(unsigned seed, int which)
{
    static const char *const WORDS[] = { "mma_f16", "mma_tf32", "ldmatrix_x4, ldmatrix_x2, mma_f16",
                                         "ldmatrix_x4, ldmatrix_x4_trans, mma_f16",
                                         "ldmatrix of float32, mma_tf32" };
    struct product p;
    struct bench b;
    int f16[16][8], tf32[16][8], missed;
    float got[16][8];

    fill_product(&p, seed, f16, tf32);
    bench_begin(&b, &p, sizeof p, sizeof got);
    const struct product *in = (const struct product *)b.in;
    float(*out)[8] = (float(*)[8])b.out;
    if (b.error)
        return bench_end(&b, got, sizeof got, WORDS[which]);
    if (which == 0)
        keep_error(&b, launch(f16_kernel, 1, 32, 0, 0, in, out));
    else if (which == 1)
        keep_error(&b, launch(tf32_kernel, 1, 32, 0, 0, in, out));
    else
        keep_error(&b, launch(loaded_kernel, 1, 32, sizeof p, 0, in, out, which - 2));
    missed = bench_end(&b, got, sizeof got, WORDS[which]);
    if (!missed)
        missed = compare(got, which == 1 || which == 4 ? tf32 : f16, WORDS[which]);
    return check_that(missed == 0, "%s, inputs %u", WORDS[which], seed);
}

/* ---- Loads. ---- */

/* in: 32 rows of 8 numbers, row 8 m + i being row i of matrix m, kept in another order in shared
 * memory. out: [lane][12]: four registers of x4, four of x4_trans, two of x2, two unused. */
static __global__ void ldmatrix_kernel(const uint16_t (*in)[8], uint32_t (*out)[12])
{
    DYNAMIC_SHARED(uint16_t, s);
    int lane = (int)threadIdx.x, place = lane * 5 % 32;
    uint32_t r[4];

    for (int i = 0; i < 8; i++)
        s[place * 8 + i] = in[lane][i];
    __syncwarp();
    ldmatrix_x4(r, &s[place * 8]);
    for (int i = 0; i < 4; i++)
        out[lane][i] = r[i];
    ldmatrix_x4_trans(r, &s[place * 8]);
    for (int i = 0; i < 4; i++)
        out[lane][4 + i] = r[i];
    ldmatrix_x2(r, &s[place * 8]);
    for (int i = 0; i < 2; i++)
        out[lane][8 + i] = r[i];
}

static int check_ldmatrix(void)
{
    uint16_t in[32][8];
    uint32_t got[32][12];
    struct bench b;
    bool plain = true, trans = true, two = true;

    for (unsigned i = 0; i < 256; i++)
        in[i / 8][i % 8] = (uint16_t)(i * 257 + 3);
    bench_begin(&b, in, sizeof in, sizeof got);
    if (!b.error)
        keep_error(&b, launch(ldmatrix_kernel, 1, 32, sizeof in, 0, (const uint16_t(*)[8])b.in,
                              (uint32_t(*)[12])b.out));
    if (bench_end(&b, got, sizeof got, "ldmatrix"))
        return 1;
    for (int lane = 0; lane < 32; lane++)
        for (int m = 0; m < 4; m++) {
            /* "each thread receives the row lane / 4, elements 2 * (lane % 4) and the next" */
            const uint16_t *row = in[8 * m + lane / 4];
            uint32_t want = (uint32_t)row[lane % 4 * 2 + 1] << 16 | row[lane % 4 * 2];
            uint32_t turned = (uint32_t)in[8 * m + lane % 4 * 2 + 1][lane / 4] << 16 |
                              in[8 * m + lane % 4 * 2][lane / 4];
            plain = plain && got[lane][m] == want;
            trans = trans && got[lane][4 + m] == turned;
            two = two && (m >= 2 || got[lane][8 + m] == want);
        }
    return expect(plain, "ldmatrix_x4") + expect(trans, "ldmatrix_x4_trans") +
           expect(two, "ldmatrix_x2");
}

/* Three groups; of the first every third piece is zeros, from an address that is no address. */
static __global__ void copy_kernel(const uint4 *in, uint4 *out)
{
    DYNAMIC_SHARED(uint4, s);
    int i = (int)threadIdx.x, n = (int)blockDim.x, other = n - 1 - i;

    copy_async16(&s[i], i % 3 == 0 ? NULL : &in[i], i % 3 != 0);
    copy_async_commit();
    copy_async16(&s[n + i], &in[n + i], true);
    copy_async_commit();
    copy_async16(&s[2 * n + i], &in[2 * n + i], true);
    copy_async_commit();
    copy_async_wait<2>();
    __syncthreads();
    out[other] = s[other];
    copy_async_wait<1>();
    __syncthreads();
    out[n + other] = s[n + other];
    copy_async_wait<0>();
    __syncthreads();
    out[2 * n + other] = s[2 * n + other];
}

static int check_copy(void)
{
    enum { THREADS = 96 };
    uint32_t in[3 * THREADS][4], got[3 * THREADS][4];
    struct bench b;
    bool same = true;

    for (unsigned i = 0; i < 3 * THREADS * 4; i++)
        in[i / 4][i % 4] = i * 0x01010101u + 7;
    bench_begin(&b, in, sizeof in, sizeof got);
    if (!b.error)
        keep_error(&b, launch(copy_kernel, 1, THREADS, sizeof in, 0, (const uint4 *)b.in,
                              (uint4 *)b.out));
    if (bench_end(&b, got, sizeof got, "copy_async16"))
        return 1;
    for (int i = 0; i < 3 * THREADS; i++)
        for (int k = 0; k < 4; k++)
            same = same && got[i][k] == (i < THREADS && i % 3 == 0 ? 0 : in[i][k]);
    return expect(same, "copy_async16: pieces and zeros");
}

/* ---- Arithmetic. ---- */

static __global__ void round_kernel(const float *in, uint32_t *out, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i < count) {
        out[2 * i] = __float_as_uint(round_tf32(in[i]));
        out[2 * i + 1] = __half_as_ushort(__float2half_rn(in[i]));
    }
}

static float float_of(uint32_t bits)
{
    float v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint32_t bits_of(float v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* Bits of a float, of its tf32 (ties away from zero) and of its fp16 (ties to even). */
static const struct rounded {
    uint32_t bits, tf32;
    uint16_t f16;
} ROUNDED[] = {
    { 0x00000000, 0x00000000, 0x0000 },     { 0x80000000, 0x80000000, 0x8000 },
    { 0x3f800000, 0x3f800000, 0x3c00 },     { 0x3f800fff, 0x3f800000, 0x3c00 },
    { 0x3f801000, 0x3f802000, 0x3c00 },     { 0x3f801001, 0x3f802000, 0x3c01 },
    { 0x3f803000, 0x3f804000, 0x3c02 },     { 0xbf803000, 0xbf804000, 0xbc02 },
    { 0x3fffffff, 0x40000000, 0x4000 },     { 0x477fe000, 0x477fe000, 0x7bff },
    { 0x477fefff, 0x477fe000, 0x7bff },     { 0x477ff000, 0x47800000, 0x7c00 },
    { 0xc77ff000, 0xc7800000, 0xfc00 },     { 0x38800000, 0x38800000, 0x0400 },
    { 0x387fffff, 0x38800000, 0x0400 },     { 0x33800000, 0x33800000, 0x0001 },
    { 0x33000000, 0x33000000, 0x0000 },     { 0x33000001, 0x33000000, 0x0001 },
    { 0x33c00000, 0x33c00000, 0x0002 },     { 0xb3000001, 0xb3000000, 0x8001 },
    { 0x00001000, 0x00002000, 0x0000 },     { 0x00000fff, 0x00000000, 0x0000 },
    { 0x7f7fffff, 0x7f800000, 0x7c00 },     { 0x7f800000, 0x7f800000, 0x7c00 },
    { 0xff800000, 0xff800000, 0xfc00 },     { 0x7fc00000, 0x7fffffff, 0x7fff },
    { 0xff800001, 0x7fffffff, 0x7fff },
};

static int check_rounding(void)
{
    enum { KNOWN = COUNT(ROUNDED), TOTAL = 4096 };
    static float in[TOTAL];
    static uint32_t got[TOTAL][2];
    struct bench b;
    bool tf32 = true, f16 = true, host = true;
    uint32_t x = 12345;

    for (int i = 0; i < TOTAL; i++) {
        x = x * 1664525u + 1013904223u;
        in[i] = float_of(i < KNOWN ? ROUNDED[i].bits : x ^ x >> 13);
    }
    bench_begin(&b, in, sizeof in, sizeof got);
    if (!b.error)
        keep_error(&b, launch(round_kernel, TOTAL / 128, 128, 0, 0, (const float *)b.in,
                              (uint32_t *)b.out, TOTAL));
    if (bench_end(&b, got, sizeof got, "rounding"))
        return 1;
    for (int i = 0; i < TOTAL; i++) {
        if (i < KNOWN) {
            tf32 = tf32 && got[i][0] == ROUNDED[i].tf32;
            f16 = f16 && got[i][1] == ROUNDED[i].f16;
        }
        host = host && got[i][0] == bits_of(round_tf32(in[i])) &&
               got[i][1] == __half_as_ushort(__float2half_rn(in[i]));
    }
    return expect(tf32, "round_tf32") + expect(f16, "__float2half_rn") +
           expect(host, "both roundings, on the host");
}

static __global__ void widen_kernel(float *out)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;

    out[i] = __half2float(__ushort_as_half((unsigned short)i));
}

static int check_widening(void)
{
    static float got[65536];
    struct bench b;
    int missed = 0;

    bench_begin(&b, NULL, 0, sizeof got);
    if (!b.error)
        keep_error(&b, launch(widen_kernel, 256, 256, 0, 0, (float *)b.out));
    if (bench_end(&b, got, sizeof got, "__half2float"))
        return 1;
    for (unsigned i = 0; i < 65536; i++) {
        unsigned exponent = i >> 10 & 31, mantissa = i & 1023;
        double want = exponent ? ldexp(1024.0 + mantissa, (int)exponent - 25)
                               : ldexp((double)mantissa, -24);
        if (exponent == 31)
            missed += mantissa ? got[i] == got[i] : !(fabsf(got[i]) > 3.4e38f);
        else
            missed += (double)got[i] != (i >> 15 ? -want : want);
    }
    return expect(missed == 0, "__half2float of all 65536");
}

static __global__ void arithmetic_kernel(const float *in, float *out, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    float a = in[3 * i], b = in[3 * i + 1], c = in[3 * i + 2];

    if (i >= count)
        return;
    out[8 * i] = __fmaf_rn(a, b, c);
    out[8 * i + 1] = __fadd_rn(__fmul_rn(a, b), c);
    out[8 * i + 2] = __fsub_rn(a, b);
    out[8 * i + 3] = __fdiv_rn(a, b);
    out[8 * i + 4] = __frcp_rn(c);
    out[8 * i + 5] = __fsqrt_rn(fabsf(a));
    out[8 * i + 6] = fminf(a, fmaxf(b, c));
    out[8 * i + 7] = (float)__umulhi(__float_as_uint(a), __float_as_uint(b)) +
                     (float)__popc(__float_as_uint(c)) + (float)__brev(__float_as_uint(a));
}

/* What makes bits must make the same on both sides. */
static int check_arithmetic(void)
{
    enum { TOTAL = 1024 };
    static float in[TOTAL][3], got[TOTAL][8];
    struct bench b;
    uint32_t x = 99;
    int missed = 0;

    for (int i = 0; i < TOTAL * 3; i++) {
        x = x * 1664525u + 1013904223u;
        in[i / 3][i % 3] = float_of((x & 0x807fffffu) | (64 + (x >> 23) % 126) << 23);
    }
    bench_begin(&b, in, sizeof in, sizeof got);
    if (!b.error)
        keep_error(&b, launch(arithmetic_kernel, TOTAL / 128, 128, 0, 0, (const float *)b.in,
                              (float *)b.out, TOTAL));
    if (bench_end(&b, got, sizeof got, "arithmetic"))
        return 1;
    for (int i = 0; i < TOTAL; i++) {
        float p = in[i][0], q = in[i][1], r = in[i][2], product = p * q;
        uint32_t bits = bits_of(p), turned = 0;
        for (int k = 0; k < 32; k++)
            turned |= (bits >> k & 1) << (31 - k);
        float high = (float)(uint32_t)((uint64_t)bits * bits_of(q) >> 32);
        float ones = (float)__builtin_popcount(bits_of(r));
        float want[8] = { fmaf(p, q, r), product + r, p - q, p / q, 1.0f / r, sqrtf(fabsf(p)),
                          fminf(p, fmaxf(q, r)), high + ones + (float)turned };
        for (int k = 0; k < 8; k++)
            missed += bits_of(got[i][k]) != bits_of(want[k]);
    }
    return expect(missed == 0, "arithmetic makes the host's bits");
}

/* ---- Lanes that talk. ---- */

static __global__ void lanes_kernel(int (*out)[10])
{
    int lane = (int)threadIdx.x % 32, v = lane * lane + 1;
    int *r = out[threadIdx.x];

    r[0] = __shfl_sync(0xffffffffu, v, 7);
    r[1] = __shfl_sync(0xffffffffu, v, lane + 3, 8);
    r[2] = __shfl_xor_sync(0xffffffffu, v, 5);
    r[3] = __shfl_down_sync(0xffffffffu, v, 6);
    r[4] = __shfl_up_sync(0xffffffffu, v, 6, 16);
    r[5] = (int)__ballot_sync(0xffffffffu, v % 3 == 0);
    r[6] = __any_sync(0xffffffffu, lane == 31) + 2 * __any_sync(0xffffffffu, lane == 32);
    r[7] = __all_sync(0xffffffffu, lane < 32) + 2 * __all_sync(0xffffffffu, lane < 31);
    r[8] = 0;
    if (lane < 16)                      /* half a warp: the other half is elsewhere */
        r[8] = (int)__shfl_xor_sync(0x0000ffffu, (float)v, 1);
    else
        r[8] = (int)__ballot_sync(0xffff0000u, lane % 2);
    __syncwarp();
    r[9] = __shfl_xor_sync(0xffffffffu, v, 16, 8);
}

static int check_lanes(void)
{
    enum { THREADS = 64 };
    int got[THREADS][10], missed = 0;
    struct bench b;

    bench_begin(&b, NULL, 0, sizeof got);
    if (!b.error)
        keep_error(&b, launch(lanes_kernel, 1, THREADS, 0, 0, (int(*)[10])b.out));
    if (bench_end(&b, got, sizeof got, "lanes"))
        return 1;
    for (int i = 0; i < THREADS; i++) {
        int lane = i % 32, thirds = 0;
        for (int k = 0; k < 32; k++)
            thirds |= (k * k + 1) % 3 == 0 ? (int)(1u << k) : 0;
#define V(k) ((k) * (k) + 1)
        int want[10] = { V(7),
                         V(lane / 8 * 8 + (lane + 3) % 8),
                         V(lane ^ 5),
                         V(lane + 6 < 32 ? lane + 6 : lane),
                         V(lane % 16 >= 6 ? lane - 6 : lane),
                         thirds,
                         1,
                         1,
                         lane < 16 ? V(lane ^ 1) : (int)0xaaaa0000u,
                         V(lane < 16 ? lane : lane - 16) };
#undef V
        for (int k = 0; k < 10; k++)
            missed += got[i][k] != want[k] && fprintf(stderr, "probe: lane %d, case %d: %d not %d\n",
                                                      lane, k, got[i][k], want[k]);
    }
    return expect(missed == 0, "shuffles and votes");
}

/* ---- Launches, streams, graphs. ---- */

static __global__ void shared_kernel(uint32_t *out, int words)
{
    DYNAMIC_SHARED(uint32_t, s);
    uint32_t sum = 0;

    for (int i = (int)threadIdx.x; i < words; i += (int)blockDim.x)
        s[i] = (uint32_t)i * 7u;
    __syncthreads();
    for (int i = 0; i < words; i++)
        sum += s[(i + (int)threadIdx.x) % words];
    out[threadIdx.x] = sum;
}

static int check_shared(void)
{
    enum { WORDS = 64 << 8, THREADS = 64 };     /* 64 KiB: more than without asking */
    uint32_t got[THREADS], want = 0;
    struct bench b;
    int missed;

    bench_begin(&b, NULL, 0, sizeof got);
    if (!b.error)
        keep_error(&b, launch(shared_kernel, 1, THREADS, WORDS * 4, 0, (uint32_t *)b.out,
                              (int)WORDS));
    missed = bench_end(&b, got, sizeof got, "64 KiB of shared memory");
    for (uint32_t i = 0; i < WORDS; i++)
        want += i * 7u;
    for (int i = 0; i < THREADS && !missed; i++)
        missed += got[i] != want;
    missed = expect(missed == 0, "64 KiB of shared memory");
    uint32_t *none = NULL;
    cudaError_t st = launch(shared_kernel, 1, 32, 256 << 10, 0, none, 1);
    missed += expect(st != cudaSuccess, "256 KiB of shared memory are refused");
    st = launch(shared_kernel, 1, 1025, 0, 0, none, 1);
    missed += expect(st != cudaSuccess, "1025 threads are refused");
    st = launch(shared_kernel, dim3(1, 65536), 32, 0, 0, none, 1);
    missed += expect(st != cudaSuccess, "a grid of 65536 in y is refused");
    cudaGetLastError();
    return missed;
}

struct step {
    int add, times;
};

static __global__ void step_kernel(int *value, struct step s)
{
    value[threadIdx.x] = value[threadIdx.x] * s.times + s.add;
}

static __global__ void sum_kernel(int *out, const int *a, const int *b)
{
    out[threadIdx.x] = a[threadIdx.x] * 1000 + b[threadIdx.x];
}

/* pinned [32] goes in, two streams work on it, one result comes back; as a graph, launched twice
 * with other numbers in pinned. */
static cudaError_t capture_steps(cudaStream_t one, cudaStream_t two, cudaEvent_t fork,
                                 cudaEvent_t join, int *pinned, int *device, cudaGraph_t *graph)
{
    enum { BYTES = 32 * sizeof(int) };
    int *a = device, *b = device + 32, *sum = device + 64;
    struct step s = { 1, 2 };
    cudaError_t st = cudaStreamBeginCapture(one, cudaStreamCaptureModeThreadLocal), ended;

    if (st)
        return st;
    st = cudaMemcpyAsync(a, pinned, BYTES, cudaMemcpyHostToDevice, one);
    if (!st)
        st = cudaMemcpyAsync(b, a, BYTES, cudaMemcpyDeviceToDevice, one);
    if (!st)
        st = cudaEventRecord(fork, one);
    if (!st)
        st = cudaStreamWaitEvent(two, fork, 0);
    if (!st)
        st = launch(step_kernel, 1, 32, 0, one, a, s);
    s.add = 5;                          /* launched with 1: arguments are copied */
    if (!st)
        st = launch(step_kernel, 1, 32, 0, two, b, s);
    if (!st)
        st = cudaEventRecord(join, two);
    if (!st)
        st = cudaStreamWaitEvent(one, join, 0);
    if (!st)
        st = launch(sum_kernel, 1, 32, 0, one, sum, (const int *)a, (const int *)b);
    if (!st)
        st = cudaMemcpyAsync(pinned + 32, sum, BYTES, cudaMemcpyDeviceToHost, one);
    ended = cudaStreamEndCapture(one, graph);
    return st ? st : ended;
}

static int check_graph(void)
{
    cudaStream_t one = NULL, two = NULL;
    cudaEvent_t fork = NULL, join = NULL;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    int *pinned = NULL, *device = NULL, missed = 0;
    struct bench b = { NULL, NULL, cudaSuccess };

    keep_error(&b, cudaStreamCreateWithFlags(&one, cudaStreamNonBlocking));
    keep_error(&b, cudaStreamCreateWithFlags(&two, cudaStreamNonBlocking));
    keep_error(&b, cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    keep_error(&b, cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    keep_error(&b, cudaMallocHost(&pinned, 64 * sizeof(int)));
    keep_error(&b, cudaMalloc(&device, 96 * sizeof(int)));
    if (!b.error)
        keep_error(&b, capture_steps(one, two, fork, join, pinned, device, &graph));
    if (!b.error)
        keep_error(&b, cudaGraphInstantiate(&exec, graph, 0));
    if (!b.error)
        keep_error(&b, cudaGraphDestroy(graph));
    for (int turn = 0; turn < 2 && !b.error; turn++) {
        for (int i = 0; i < 32; i++)
            pinned[i] = i + 10 * turn;
        keep_error(&b, cudaGraphLaunch(exec, one));
        keep_error(&b, cudaStreamSynchronize(one));
        for (int i = 0; i < 32; i++) {
            int v = i + 10 * turn;
            missed += pinned[32 + i] != (2 * v + 1) * 1000 + 2 * v + 5;
        }
    }
    if (exec)
        cudaGraphExecDestroy(exec);
    cudaFree(device);
    cudaFreeHost(pinned);
    if (join)
        cudaEventDestroy(join);
    if (fork)
        cudaEventDestroy(fork);
    if (two)
        cudaStreamDestroy(two);
    if (one)
        cudaStreamDestroy(one);
    if (b.error)
        fprintf(stderr, "probe: graph: %s\n", cudaGetErrorString(b.error));
    return expect(!b.error && missed == 0, "a graph of two streams, launched twice");
}

extern "C" int check_probe(void)
{
    int missed = 0;

    for (unsigned seed = 0; seed < 8; seed++)
        for (int which = 0; which < 5; which++)
            missed += check_product(seed, which);
    missed += check_ldmatrix();
    missed += check_copy();
    missed += check_rounding();
    missed += check_widening();
    missed += check_arithmetic();
    missed += check_lanes();
    missed += check_shared();
    missed += check_graph();
    return missed;
}
