/* Floats to bytes: the kernel against kernels/quantize_cpu.c, to the bit, and its report of what is
 * not finite. */
#include "kernels/cuda/quantize.cuh"

extern "C" {
#include "kernels/quantize.h"
}
#include "tests/gpu/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 3, LAYER = 7, UNTOUCHED = 1000 };

struct rig {
    int width, height;
    size_t pixels, values;          /* of a sample; values = 3 * pixels */
    float *x, *scaled;              /* [SAMPLES, values]; times gain */
    uint8_t *expect, *got;
    float *d_x;
    uint8_t *d_rgb;
    int *d_broken;
};

static bool open_rig(struct rig *r, int width, int height)
{
    memset(r, 0, sizeof *r);
    r->width = width;
    r->height = height;
    r->pixels = (size_t)width * height;
    r->values = 3 * r->pixels;
    r->x = (float *)malloc(SAMPLES * r->values * sizeof *r->x);
    r->scaled = (float *)malloc(SAMPLES * r->values * sizeof *r->scaled);
    r->expect = (uint8_t *)malloc(SAMPLES * r->values);
    r->got = (uint8_t *)malloc(SAMPLES * r->values);
    return r->x && r->scaled && r->expect && r->got &&
           cudaMalloc((void **)&r->d_x, SAMPLES * r->values * sizeof *r->x) == cudaSuccess &&
           cudaMalloc((void **)&r->d_rgb, SAMPLES * r->values) == cudaSuccess &&
           cudaMalloc((void **)&r->d_broken, SAMPLES * sizeof(int)) == cudaSuccess;
}

static void close_rig(struct rig *r)
{
    cudaFree(r->d_broken);
    cudaFree(r->d_rgb);
    cudaFree(r->d_x);
    free(r->got);
    free(r->expect);
    free(r->scaled);
    free(r->x);
}

/* From -1.3 to 1.3, with all the floats around every step from one byte to the next. */
static void fill(struct rig *r)
{
    uint32_t state = 12345;

    for (size_t i = 0; i < SAMPLES * r->values; i++) {
        state = state * 1664525u + 1013904223u;
        if (i % 2)
            r->x[i] = ((float)(state >> 8) / 8388608.0f - 1.0f) * 1.3f;
        else
            r->x[i] = ((float)(int)(state >> 24) - 128.0f) / 127.5f *
                      (1.0f + (float)((int)(state >> 8 & 7) - 3) * 6e-8f);
    }
}

static cudaError_t run(struct rig *r, float gain, int broken[SAMPLES])
{
    cudaError_t rc = cudaMemcpy(r->d_x, r->x, SAMPLES * r->values * sizeof *r->x,
                                cudaMemcpyHostToDevice);

    for (int s = 0; s < SAMPLES; s++)
        broken[s] = UNTOUCHED;
    if (!rc)
        rc = cudaMemcpy(r->d_broken, broken, SAMPLES * sizeof *broken, cudaMemcpyHostToDevice);
    if (!rc)
        rc = cuda_quantize_run(r->d_x, r->d_rgb, gain, r->width, r->height, SAMPLES, LAYER,
                               r->d_broken, 0);
    if (!rc)
        rc = cudaDeviceSynchronize();
    if (!rc)
        rc = cudaMemcpy(r->got, r->d_rgb, SAMPLES * r->values, cudaMemcpyDeviceToHost);
    if (!rc)
        rc = cudaMemcpy(broken, r->d_broken, SAMPLES * sizeof *broken, cudaMemcpyDeviceToHost);
    return rc;
}

static int check_bytes(struct rig *r, float gain)
{
    int broken[SAMPLES], missed = 0;
    cudaError_t rc;

    for (int s = 0; s < SAMPLES; s++) {
        for (size_t i = s * r->values; i < (s + 1) * r->values; i++)
            r->scaled[i] = r->x[i] * gain;
        quantize_cpu(r->expect + s * r->values, r->scaled + s * r->values, r->pixels);
    }
    rc = run(r, gain, broken);
    if (rc)
        return check_no_error(rc, cudaGetErrorString(rc), "quantize %dx%d", r->width, r->height);
    missed += check_same(r->got, r->expect, SAMPLES * r->values, "quantize %dx%d, gain %g",
                         r->width, r->height, gain);
    for (int s = 0; s < SAMPLES; s++)
        if (broken[s] != UNTOUCHED)
            missed += check_that(false, "quantize %dx%d: sample %d is finite", r->width, r->height,
                                 s);
    return missed;
}

/* One value of the second sample is spoiled, at either end; the gain may spoil it, too. */
static int check_report(struct rig *r)
{
    static const float BAD[] = { NAN, INFINITY, -INFINITY, 3e38f };
    int missed = 0, broken[SAMPLES];

    for (int i = 0; i < 4; i++) {
        size_t at = r->values + (i % 2 ? r->values - 1 : 0);
        float was = r->x[at];
        cudaError_t rc;

        r->x[at] = BAD[i];
        rc = run(r, 4.0f, broken);
        r->x[at] = was;
        if (rc)
            missed += check_no_error(rc, cudaGetErrorString(rc), "quantize %dx%d", r->width,
                                     r->height);
        else
            missed += check_that(broken[0] == UNTOUCHED && broken[1] == LAYER &&
                                     broken[2] == UNTOUCHED,
                                 "quantize %dx%d: %g is told of its sample alone", r->width,
                                 r->height, BAD[i]);
    }
    return missed;
}

extern "C" int check_quantize(void)
{
    static const int SIZES[][2] = { { 8, 8 }, { 33, 31 }, { 1, 1 }, { 64, 64 }, { 257, 129 },
                                    { 1024, 1024 } };
    int missed = 0, count = check_scale() == CHECK_FULL ? 6 : check_scale() == CHECK_SHORT ? 4 : 2;

    for (int i = 0; i < count; i++) {
        struct rig r;

        if (open_rig(&r, SIZES[i][0], SIZES[i][1])) {
            fill(&r);
            missed += check_bytes(&r, 1.0f) + check_bytes(&r, 0.70710677f) + check_report(&r);
        } else
            missed += check_that(false, "quantize %dx%d: memory", SIZES[i][0], SIZES[i][1]);
        close_rig(&r);
    }
    return missed;
}
