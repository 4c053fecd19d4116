/* The FIR behind an up-convolution against fir_join_cpu and epilogue_cpu, which see the same
 * rounded inputs: the order of every sum is the same, so all precisions agree to the bit. What lies
 * beyond y is NaN, so that it would show. */
#include "kernels/cuda/fir.cuh"
#include "tests/gpu/check.h"
#include "tests/gpu/tensors.cuh"

extern "C" {
#include "kernels/fir.h"
}

#include <math.h>

enum family { SCATTERED, NEAREST };     /* StyleGAN 2's and 1's */

struct trial {
    enum precision precision;
    enum family family;
    int size, channels, samples, first_id, parts;
};

static const float TAPS[2][4] = { { 0.25f, 0.75f, 0.75f, 0.25f }, { 0.25f, 0.5f, 0.25f, 0.0f } };

/* Four phases of each channel of a sample. */
static floats phases_of(const struct trial *t, int id, int rows, int rows_of_y)
{
    size_t plane = (size_t)rows * rows;
    floats out = random_floats((size_t)t->channels * 4 * plane, 100 + (uint32_t)id);

    for (size_t i = 0; i < out.size(); i++) {
        int phase = (int)(i / plane % 4), at = (int)(i % plane);

        if (2 * (at / rows) + phase / 2 >= rows_of_y || 2 * (at % rows) + phase % 2 >= rows_of_y)
            out[i] = NAN;
    }
    return out;
}

struct outcome {
    floats v, y;                /* v: only with ENDING_TRACE */
    bool padded_are_zero;
    std::vector<int> broken;
};

/* What the device makes of y [samples][channels][4][rows][rows], which it rounds. */
static struct outcome run(const struct trial *t, struct ending *end, floats *y, int rows)
{
    size_t pixels = (size_t)t->size * t->size;
    struct outcome out;
    struct fir_job job;
    void *to = device_make((size_t)t->samples *
                           activation_bytes(t->precision, t->channels, pixels));

    job.precision = t->precision;
    job.y = tensor_put(t->precision, y, t->samples, t->channels, 4 * (size_t)rows * rows);
    job.rows = rows;
    job.rows_of_y = t->family == SCATTERED ? t->size + 1 : t->size;
    job.size = t->size;
    for (int i = 0; i < 4; i++)
        job.f[i] = TAPS[t->family][i];
    job.out = to;
    job.finish = end->device;
    device_launched(fir_run(&job, t->samples, 0));
    out.padded_are_zero = true;
    out.y = tensor_get(t->precision, to, t->samples, t->channels, pixels, &out.padded_are_zero);
    if (job.finish.trace)
        out.v = device_get_floats(job.finish.trace, (size_t)t->samples * t->channels * pixels);
    out.broken = ending_broken(end);
    return out;
}

static int rows_of(const struct trial *t)
{
    return t->size / 2 + (t->family == SCATTERED ? 1 : 0);
}

static struct ending ending_of(const struct trial *t)
{
    std::vector<int> id;

    for (int n = 0; n < t->samples; n++)
        id.push_back((t->first_id + n) % 5);
    return ending_create(id, t->channels, (size_t)t->size * t->size, t->parts);
}

/* All samples' y. */
static floats inputs_of(const struct trial *t, const struct ending *end)
{
    floats all;

    for (int n = 0; n < t->samples; n++) {
        floats one = phases_of(t, end->id[n], rows_of(t),
                               t->family == SCATTERED ? t->size + 1 : t->size);

        all.insert(all.end(), one.begin(), one.end());
    }
    return all;
}

static int matches_the_cpu_to_the_bit(struct trial t)
{
    struct ending end = ending_of(&t);
    floats y = inputs_of(&t, &end), v, stored, line((size_t)t.size * t.size);
    floats scratch(fir_scratch_count(t.size / 2));
    int rows = rows_of(&t), misses = 0;
    size_t plane = (size_t)rows * rows;
    struct outcome got = run(&t, &end, &y, rows);

    for (int n = 0; n < t.samples; n++)
        for (int c = 0; c < t.channels; c++) {
            struct fir_phases from = { y.data() + ((size_t)n * t.channels + c) * 4 * plane, plane,
                                       rows, t.family == SCATTERED ? t.size + 1 : t.size };

            fir_join_cpu(line.data(), &from, TAPS[t.family], 0, t.size, t.size, scratch.data());
            floats one = ending_value(&end, n, c, line.data(), t.size, t.size);

            v.insert(v.end(), one.begin(), one.end());
            for (float each : one)
                stored.push_back(ending_stored(&end, t.precision, n, c, each));
        }
    const char *words = precision_word(t.precision);
    const char *family = t.family == SCATTERED ? "[1,3,3,1]" : "[1,2,1]";

    misses += check_same(got.y.data(), stored.data(), stored.size() * sizeof stored[0],
                         "fir %s %s %d px C=%d N=%d parts %x", words, family, t.size, t.channels,
                         t.samples, (unsigned)t.parts);
    if (!got.v.empty())
        misses += check_same(got.v.data(), v.data(), v.size() * sizeof v[0],
                             "fir's trace %s %s %d px C=%d N=%d", words, family, t.size, t.channels,
                             t.samples);
    bool whole = got.padded_are_zero;

    for (int each : got.broken)
        whole &= each == ENDING_WHOLE;
    if (!whole)
        misses += check_that(false, "fir %s %d px C=%d: padding is zero, nothing is reported",
                             words, t.size, t.channels);
    device_release();
    return misses;
}

/* NaN in one sample, in another a value that only the product with the next style carries beyond
 * fp16; the others are whole. */
static int names_what_is_broken(enum precision precision)
{
    struct trial t = { precision, SCATTERED, 12, 9, 4, 0, ENDING_NEXT };
    struct ending end = ending_of(&t);
    floats y = inputs_of(&t, &end);
    int rows = rows_of(&t);
    size_t each = (size_t)t.channels * 4 * rows * rows;

    y[1 * each] = NAN;
    /* channel 8 of sample 3: a hill that stays below the limit until it is scaled */
    floats next = end.coefficients;
    next[3 * end.each + end.next_at + 8] = 3.0f;
    end.device.next = device_floats(next) + end.next_at;
    for (size_t i = 0; i < 4 * (size_t)rows * rows; i++)
        if (!isnan(y[3 * each + 8 * 4 * (size_t)rows * rows + i]))
            y[3 * each + 8 * 4 * (size_t)rows * rows + i] = 16000.0f;

    struct outcome got = run(&t, &end, &y, rows);
    int overflow = precision == PRECISION_FP16 ? ENDING_LAYER : ENDING_WHOLE;
    int misses = check_that(got.broken[0] == ENDING_WHOLE && got.broken[1] == ENDING_LAYER &&
                                got.broken[2] == ENDING_WHOLE && got.broken[3] == overflow,
                            "fir %s names the samples that are broken",
                            precision_word(precision));
    device_release();
    return misses;
}

static int refuses_rgb(void)
{
    struct trial t = { PRECISION_FP32, NEAREST, 8, 3, 1, 0, ENDING_RGB };
    struct ending end = ending_of(&t);
    struct fir_job job = { PRECISION_FP32, NULL, 4, 8, 8, { 1, 0, 0, 0 }, NULL, end.device };
    int misses = check_that(fir_run(&job, 1, 0) == cudaErrorNotSupported, "fir refuses a ToRGB");

    device_release();
    return misses;
}

extern "C" int check_fir(void)
{
    static const int PARTS[] = {
        ENDING_BIAS | ENDING_NOISE | ENDING_ACTIVATE | ENDING_CLAMP | ENDING_NEXT,
        ENDING_DEMOD | ENDING_BIAS | ENDING_NOISE | ENDING_NOISE_EACH | ENDING_ACTIVATE |
            ENDING_TRACE,
        ENDING_TRACE,
        ENDING_DEMOD | ENDING_NOISE | ENDING_ACTIVATE | ENDING_NEXT | ENDING_TRACE,
    };
    static const int CHANNELS[] = { 1, 3, 9, 16, 19 };
    int misses = 0, most = check_scale() == CHECK_TINY ? 12 : 38;

    for (int size = 4, k = 0; size <= most; size += 2, k++)
        for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
            struct trial t = { (enum precision)p, k % 2 ? NEAREST : SCATTERED, size,
                               CHANNELS[(k + p) % 5], 1 + k % 5, k % 5, PARTS[(k + p) % 4] };

            device_shuffle((uint32_t)k % 4);
            misses += matches_the_cpu_to_the_bit(t);
        }
    /* several warps a row, strips of every height, a last pair alone */
    for (int p = PRECISION_FP16; p < PRECISION_COUNT && check_scale() != CHECK_TINY; p++) {
        struct trial t = { (enum precision)p, SCATTERED, 122, 3, 1, 1, PARTS[p % 4] };

        misses += matches_the_cpu_to_the_bit(t);
        t.family = NEAREST;
        t.samples = 2;
        for (t.size = 130; check_scale() == CHECK_FULL && t.size <= 1026; t.size = 2 * t.size - 2)
            misses += matches_the_cpu_to_the_bit(t);
    }
    for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++)
        misses += names_what_is_broken((enum precision)p);
    device_shuffle(0);
    return misses + refuses_rgb();
}
