/* Pixels to JPEG coefficients: the kernel against kernels/jpeg_transform.c, to the bit, which
 * tests/test_jpeg_transform.c holds to libjpeg-turbo. */
#include "kernels/cuda/jpeg.cuh"

#include "tests/gpu/check.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 3, SIDES_MAX = 32, GUARD = 0x5a };

struct rig {
    int width, height;
    size_t rgb_bytes, coefficients_bytes;    /* of a sample */
    uint8_t *rgb;
    int16_t *expect, *got;
    uint8_t *d_rgb;
    int16_t *d_coefficients;
    uint16_t *d_tables;
};

static bool open_rig(struct rig *r, int width, int height)
{
    memset(r, 0, sizeof *r);
    r->width = width;
    r->height = height;
    r->rgb_bytes = (size_t)width * height * 3;
    r->coefficients_bytes = jpeg_coefficients_layout(width, height).count * sizeof(int16_t);
    r->rgb = (uint8_t *)malloc(SAMPLES * r->rgb_bytes);
    r->expect = (int16_t *)malloc(SAMPLES * r->coefficients_bytes);
    /* one sample more: what lies behind the last must stay */
    r->got = (int16_t *)malloc((SAMPLES + 1) * r->coefficients_bytes);
    return r->rgb && r->expect && r->got &&
           cudaMalloc((void **)&r->d_rgb, SAMPLES * r->rgb_bytes) == cudaSuccess &&
           cudaMalloc((void **)&r->d_coefficients, (SAMPLES + 1) * r->coefficients_bytes) ==
               cudaSuccess &&
           cudaMalloc((void **)&r->d_tables, SAMPLES * sizeof(struct jpeg_tables)) == cudaSuccess;
}

static void close_rig(struct rig *r)
{
    cudaFree(r->d_tables);
    cudaFree(r->d_coefficients);
    cudaFree(r->d_rgb);
    free(r->got);
    free(r->expect);
    free(r->rgb);
}

/* By turns noise, the largest steps there are, and a slope. */
static void fill(uint8_t *rgb, size_t bytes, int content, uint32_t state)
{
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525u + 1013904223u;
        rgb[i] = (uint8_t)(content == 0   ? state >> 24
                           : content == 1 ? (state >> 24 & 1 ? 255 : 0)
                                          : i / 3 + 40 * (i % 3));
    }
}

static cudaError_t run(struct rig *r, const struct jpeg_tables *tables)
{
    size_t all = (SAMPLES + 1) * r->coefficients_bytes;
    cudaError_t rc = cudaMemcpy(r->d_rgb, r->rgb, SAMPLES * r->rgb_bytes, cudaMemcpyHostToDevice);

    if (!rc)
        rc = cudaMemcpy(r->d_tables, tables, SAMPLES * sizeof *tables, cudaMemcpyHostToDevice);
    if (!rc)
        rc = cudaMemset(r->d_coefficients, GUARD, all);
    if (!rc)
        rc = cuda_jpeg_run(r->d_rgb, r->d_coefficients, r->d_tables, r->width, r->height, SAMPLES,
                           0);
    if (!rc)
        rc = cudaDeviceSynchronize();
    if (!rc)
        rc = cudaMemcpy(r->got, r->d_coefficients, all, cudaMemcpyDeviceToHost);
    return rc;
}

static int check_guard(const struct rig *r)
{
    const uint8_t *behind = (const uint8_t *)r->got + SAMPLES * r->coefficients_bytes;
    bool untouched = true;

    for (size_t i = 0; i < r->coefficients_bytes; i++)
        untouched &= behind[i] == GUARD;
    return check_that(untouched, "jpeg %dx%d: what lies behind", r->width, r->height);
}

/* A batch of several qualities and contents. */
static int check_size(int width, int height, const int *qualities, int count)
{
    struct jpeg_tables tables[SAMPLES];
    struct rig r;
    int missed = 0;
    bool ready = open_rig(&r, width, height);

    if (!ready)
        missed += check_that(false, "jpeg %dx%d: memory", width, height);
    for (int i = 0; ready && i < count; i++) {
        int quality = 0;

        for (int s = 0; s < SAMPLES; s++) {
            quality = (qualities[i] + 7 * s - 1) % 100 + 1;
            tables[s] = jpeg_tables_of(quality);
            fill(r.rgb + s * r.rgb_bytes, r.rgb_bytes, (s + i) % 3, (uint32_t)(width + s + i));
            jpeg_coefficients(r.rgb + s * r.rgb_bytes, width, height, &tables[s],
                              r.expect + s * r.coefficients_bytes / sizeof(int16_t));
        }
        cudaError_t rc = run(&r, tables);

        if (rc)
            missed += check_no_error(rc, cudaGetErrorString(rc), "jpeg %dx%d", width, height);
        else
            missed += check_same(r.got, r.expect, SAMPLES * r.coefficients_bytes,
                                 "jpeg %dx%d, quality %d to %d", width, height, qualities[i],
                                 quality);
    }
    if (ready)
        missed += check_guard(&r);
    close_rig(&r);
    return missed;
}

extern "C" int check_jpeg(void)
{
    static const int SIZES[][2] = { { 16, 16 }, { 64, 64 }, { 65, 33 }, { 1, 1 }, { 1, 20 },
                                    { 20, 1 }, { 15, 17 }, { 17, 15 }, { 37, 53 }, { 129, 31 },
                                    { 128, 128 }, { 256, 256 }, { 255, 257 } };
    static const int QUALITIES[] = { 90, 1, 30, 50, 75, 95, 100 };
    static const int COUNT[] = { sizeof SIZES / sizeof SIZES[0], 11, 3 };
    bool full = check_scale() == CHECK_FULL;
    int missed = 0;

    for (int i = 0; i < COUNT[check_scale()]; i++)
        missed += check_size(SIZES[i][0], SIZES[i][1], QUALITIES, full ? 7 : 2);
    for (int side = 2; full && side < SIDES_MAX; side++)
        missed += check_size(side, SIDES_MAX + 1 - side, QUALITIES, 1);
    if (full)
        missed += check_size(1024, 1024, QUALITIES, 1);
    return missed;
}
