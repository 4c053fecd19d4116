/* StyleGAN 3's input against fourier_waves_cpu and fourier_plane_cpu: one polynomial and the same
 * roundings, so the same bits, rounded as the precision keeps them. */
#include "kernels/cuda/waves.cuh"
#include "tests/gpu/check.h"
#include "tests/gpu/tensors.cuh"

#include <math.h>
#include <string.h>

struct trial {
    enum precision precision;
    int size, channels, samples, first_id;
    double rate, cutoff;
};

enum { EACH = 9, STYLE_AT = 5 };

static int matches_the_cpu_to_the_bit(struct trial t)
{
    size_t c = (size_t)t.channels, pixels = (size_t)t.size * t.size;
    floats freqs = random_floats(2 * c, 1), phases = random_floats(c, 2), coefficients, transforms;
    floats expect;
    std::vector<struct fourier_wave> waves((size_t)t.samples * c), got(waves.size());
    struct fourier host = { t.channels, t.size, freqs.data(), phases.data(), t.rate, t.cutoff };
    struct waves_job job;
    bool padded = true;
    int misses = 0;

    for (float &f : freqs)
        f *= (float)t.rate / 2;                 /* on both sides of where waves fade */
    for (int n = 0; n < t.samples; n++) {
        uint32_t id = (uint32_t)(t.first_id + n) % 5;
        floats mine = random_floats(EACH, 10 + id), turn = random_floats(9, 20 + id), plane(pixels);

        fourier_waves_cpu(&waves[n * c], &host, &mine[STYLE_AT], turn.data());
        for (size_t j = 0; j < c; j++) {
            fourier_plane_cpu(plane.data(), &host, &waves[n * c + j]);
            for (float v : plane)
                expect.push_back(precision_rounded(t.precision, v));
        }
        coefficients.insert(coefficients.end(), mine.begin(), mine.end());
        transforms.insert(transforms.end(), turn.begin(), turn.end());
    }
    memset(&job, 0, sizeof job);
    job.precision = t.precision;
    job.waves = host;
    job.waves.freqs = device_floats(freqs);
    job.waves.phases = device_floats(phases);
    job.style = device_floats(coefficients) + STYLE_AT;
    job.each = EACH;
    job.transform = device_floats(transforms);
    job.wave = (struct fourier_wave *)device_make(waves.size() * sizeof waves[0]);
    job.x = device_make((size_t)t.samples * activation_bytes(t.precision, t.channels, pixels));
    device_launched(waves_run(&job, t.samples, 0));

    floats x = tensor_get(t.precision, job.x, t.samples, t.channels, pixels, &padded);

    device_get(got.data(), job.wave, got.size() * sizeof got[0]);
    misses += check_same(got.data(), waves.data(), waves.size() * sizeof waves[0],
                         "turned waves C=%d N=%d", t.channels, t.samples);
    misses += check_same(x.data(), expect.data(), x.size() * sizeof x[0],
                         "waves %s %d px C=%d N=%d", precision_word(t.precision), t.size,
                         t.channels, t.samples);
    if (!padded)
        misses += check_that(false, "waves %d px C=%d: padding is zero", t.size, t.channels);
    device_release();
    return misses;
}

/* Nothing may hide that a style has no direction. */
static int style_without_a_direction_gives_no_number(void)
{
    static const float NONE[4] = { 0, 0, 1, 1 }, UNIT[9] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };
    struct waves_job job;
    bool padded = true;

    memset(&job, 0, sizeof job);
    job.precision = PRECISION_FP16;
    job.waves = { 1, 4, device_floats({ 1.0f, 1.0f }), device_floats({ 0.5f }), 16.0, 2.0 };
    job.style = (float *)device_put(NONE, sizeof NONE);
    job.transform = (float *)device_put(UNIT, sizeof UNIT);
    job.wave = (struct fourier_wave *)device_make(sizeof *job.wave);
    job.x = device_make(activation_bytes(PRECISION_FP16, 1, 16));
    device_launched(waves_run(&job, 1, 0));

    float first = tensor_get(PRECISION_FP16, job.x, 1, 1, 16, &padded)[0];
    int misses = check_that(isnan(first), "waves of a style without a direction are no number");

    device_release();
    return misses;
}

extern "C" int check_waves(void)
{
    static const int CHANNELS[] = { 1, 5, 16, 33, 50, 130 };
    int misses = 0, most = check_scale() == CHECK_TINY ? 8 : 37;

    for (int size = 4, k = 0; size <= most; size++, k++)
        for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
            struct trial t = { (enum precision)p, size, CHANNELS[(k + p) % 6], 1 + k % 5, k % 5,
                               k % 2 ? 16.0 : 30.7, 2.0 };

            device_shuffle((uint32_t)k % 4);
            misses += matches_the_cpu_to_the_bit(t);
        }
    device_shuffle(0);
    for (int p = PRECISION_FP16; p < PRECISION_COUNT && check_scale() != CHECK_TINY; p++) {
        struct trial t = { (enum precision)p, 84, 70, 2, 1, 64.0, 2.0 };

        misses += matches_the_cpu_to_the_bit(t);
    }
    return misses + style_without_a_direction_gives_no_number();
}
