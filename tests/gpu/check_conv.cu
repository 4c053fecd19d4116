/* The convolutions against their definition in double, of the operands as the precision rounds them:
 * what differs is then the order of a float32 sum alone. What follows the sum, to the bit. Every tile
 * against every other, every place in a batch, a sample alone: to the bit. */
#include "tests/gpu/check.h"
#include "tests/gpu/conv_bench.cuh"

#include <limits.h>
#include <math.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* ---- What cannot be kept is reported ---- */

/* Runs a layer of which value `poison` is the input's first of sample `sick` (or -1: a weight). */
static int check_report(enum precision precision, float poison, int sick, const char *words)
{
    struct conv_trial trial = { { CONV_PLAIN, 20, 24, 20, 3, 1 }, 3, NEXT };
    struct conv_bench b;
    struct conv_output o;
    int misses = 0;
    struct err e;

    if (conv_bench_make(&b, &trial, precision)) {
        conv_bench_release(&b);
        return check_that(false, "%s: could not be prepared", words);
    }
    if (sick < 0) {
        b.stored[5] = poison;
        misses += check_no_error(conv_cuda_init(&b.conv, &b.shape, &b.weights, precision, b.room,
                                                b.down, b.energy, &e),
                                 e.msg, "%s", words);
    } else {
        char value[4];

        conv_bench_put(precision, value, poison);
        cudaMemcpy(b.d_x + (size_t)sick * b.x_each, value, conv_bench_value_bytes(precision),
                   cudaMemcpyHostToDevice);
    }
    for (int tile = -1; tile < conv_cuda_tiles(&b.conv); tile += 3) {
        misses += conv_bench_run(&b, 0, b.samples, tile, WHOLE, &o);
        for (int s = 0; s < b.samples; s++)
            if ((o.broken[s] == 7) != (sick < 0 || s == sick) ||
                (o.broken[s] != 7 && o.broken[s] != INT_MAX))
                misses += check_that(false, "%s: sample %d, tile %d: %d", words, s, tile,
                                     o.broken[s]);
        conv_output_release(&o);
    }
    conv_bench_release(&b);
    return misses + check_that(misses == 0, "%s: reported, with its layer, for its sample", words);
}

/* fp16 keeps nothing above 65504; the others do. */
static int check_overflow(enum precision precision, bool expected, const char *words)
{
    struct conv_trial trial = { { CONV_PLAIN, 16, 8, 20, 1, 0 }, 2, NEXT };
    struct conv_bench b;
    struct conv_output o;
    int misses = 0;

    if (conv_bench_make(&b, &trial, precision)) {
        conv_bench_release(&b);
        return check_that(false, "%s: could not be prepared", words);
    }
    for (int c = 0; c < 8; c++)
        b.coefficients[b.each + 8 + c] = 1e7f;      /* of sample 1: next */
    cudaMemcpy(b.d_coefficients, b.coefficients, 2 * b.each * sizeof(float), cudaMemcpyHostToDevice);
    misses += conv_bench_run(&b, 0, 2, -1, WHOLE, &o);
    misses += check_that(o.broken[0] == INT_MAX && o.broken[1] == (expected ? 7 : INT_MAX), "%s",
                         words);
    conv_output_release(&o);
    conv_bench_release(&b);
    return misses;
}

/* ---- The list ---- */

struct entry {
    struct conv_trial trial;
    bool all;                       /* in fp32 and tf32 too, where time is short */
};

/* Every kind, pad and ending; borders of every tile; channels that fill no block; split sums. */
static const struct entry SHORT[] = {
    { { { CONV_PLAIN, 40, 24, 20, 3, 1 }, 2, NOISE | ACTIVATED | CLAMPED | NEXT | RGB }, true },
    { { { CONV_PLAIN, 17, 72, 19, 3, 2 }, 1,
        NOISE_EACH | ACTIVATED | RGB | ONLY_RGB | MIRRORED }, false },
    { { { CONV_PLAIN, 3, 5, 21, 3, 0 }, 3, NOISE | RGB | SCALED }, true },
    { { { CONV_PLAIN, 33, 130, 18, 1, 0 }, 1, NEXT | SCALED }, false },
    { { { CONV_PLAIN, 70, 16, 17, 1, 2 }, 2, ACTIVATED | SHARED_X | RGB }, false },
    { { { CONV_UP_SCATTER, 24, 20, 17, 3, 1 }, 2, NEXT | MIRRORED }, true },
    { { { CONV_UP_NEAREST, 24, 20, 18, 3, 1 }, 1, SCALED }, true },
    { { { CONV_PLAIN, 140, 40, 4, 3, 1 }, 3, 0 }, false },
    { { { CONV_PLAIN, 50, 24, 9, 3, 1 }, 5, SHARED_X }, true },
    { { { CONV_UP_SCATTER, 130, 24, 7, 3, 1 }, 2, SCALED }, false },
    { { { CONV_UP_NEAREST, 40, 24, 8, 3, 1 }, 1, 0 }, false },
};

/* What a device can do besides: sizes of real networks. */
static const struct entry FULL[] = {
    { { { CONV_PLAIN, 512, 512, 4, 3, 1 }, 5, 0 }, true },
    { { { CONV_UP_SCATTER, 512, 512, 8, 3, 1 }, 3, 0 }, true },
    { { { CONV_PLAIN, 512, 512, 16, 3, 1 }, 3, 0 }, true },
    { { { CONV_PLAIN, 512, 512, 32, 3, 1 }, 2, NOISE | ACTIVATED | CLAMPED | NEXT | RGB }, true },
    { { { CONV_UP_SCATTER, 512, 256, 64, 3, 1 }, 1, NEXT }, true },
    { { { CONV_PLAIN, 64, 64, 256, 3, 1 }, 2, NOISE | ACTIVATED | CLAMPED | NEXT | RGB }, true },
    { { { CONV_UP_SCATTER, 64, 32, 256, 3, 1 }, 1, 0 }, true },
    { { { CONV_PLAIN, 32, 32, 400, 3, 1 }, 1, NOISE | ACTIVATED | RGB | ONLY_RGB }, true },
    { { { CONV_UP_NEAREST, 32, 16, 256, 3, 1 }, 1, 0 }, true },
    { { { CONV_PLAIN, 16, 16, 300, 3, 1 }, 2, NOISE_EACH | ACTIVATED }, true },
    { { { CONV_PLAIN, 128, 81, 148, 3, 2 }, 1, CLAMPED }, true },
    { { { CONV_PLAIN, 512, 323, 84, 3, 2 }, 1, CLAMPED | SHARED_X }, true },
    { { { CONV_PLAIN, 101, 51, 276, 1, 0 }, 1, CLAMPED | NEXT }, true },
    { { { CONV_PLAIN, 1024, 1024, 36, 1, 0 }, 2, CLAMPED }, true },
};

static int check_list(const struct entry *list, int count, enum precision precision, bool all)
{
    int misses = 0;

    for (int t = 0; t < count; t++)
        if (all || list[t].all)
            misses += conv_bench_check(&list[t].trial, precision);
    return misses;
}

int check_conv(void)
{
    enum check_scale scale = check_scale();
    int misses = 0;

    misses += check_list(SHORT, scale == CHECK_TINY ? 2 : COUNT(SHORT), PRECISION_FP16, true);
    misses += check_list(SHORT, scale == CHECK_TINY ? 1 : COUNT(SHORT), PRECISION_TF32,
                         scale == CHECK_FULL);
    misses += check_list(SHORT, scale == CHECK_TINY ? 1 : COUNT(SHORT), PRECISION_FP32,
                         scale == CHECK_FULL);
    misses += check_report(PRECISION_FP16, NAN, 1, "fp16 input that is no number");
    misses += check_report(PRECISION_FP16, NAN, -1, "fp16 weight that is no number");
    misses += check_report(PRECISION_TF32, INFINITY, 2, "tf32 infinite input");
    misses += check_overflow(PRECISION_FP16, true, "fp16 beyond its range");
    misses += check_overflow(PRECISION_TF32, false, "tf32 beyond fp16's range");
    if (scale == CHECK_FULL) {
        misses += check_list(FULL, COUNT(FULL), PRECISION_FP16, true);
        misses += check_list(FULL, COUNT(FULL), PRECISION_TF32, true);
        misses += check_list(FULL, COUNT(FULL), PRECISION_FP32, true);
    }
    return misses;
}
