/* The instance norm against its definition in double, of the same rounded inputs; a sample's bits
 * do not depend on the batch or its place. How far the CPU's own way is off (one scale and shift,
 * moments in double) is printed beside it. */
#include "kernels/cuda/normalize.cuh"
#include "tests/gpu/check.h"
#include "tests/gpu/tensors.cuh"

extern "C" {
#include "kernels/normalize.h"
}

#include <float.h>
#include <math.h>
#include <string.h>

enum { STYLE_AT = 3, FEW_PIXELS = 2000 };

struct trial {
    enum precision precision;
    int height, width, channels;
    float mean, spread;         /* of the inputs */
};

struct outcome {
    floats x, trace;
    bool padded_are_zero;
    std::vector<int> broken;
};

static floats inputs_of(const struct trial *t, int id)
{
    floats out = random_floats((size_t)t->channels * t->height * t->width, 10 + (uint32_t)id);

    for (float &v : out)
        v = precision_rounded(t->precision, t->mean + t->spread * v);
    return out;
}

/* [each] */
static floats style_of(const struct trial *t, int id)
{
    return random_floats(2 * (size_t)t->channels + STYLE_AT + 4, 500 + (uint32_t)id);
}

static struct outcome run(const struct trial *t, floats x, const floats &coefficients, int samples,
                          bool traced)
{
    size_t pixels = (size_t)t->height * t->width, count = (size_t)samples * t->channels * pixels;
    std::vector<int> whole((size_t)samples, ENDING_WHOLE);
    struct normalize_job job;
    struct outcome out;

    memset(&job, 0, sizeof job);
    job.precision = t->precision;
    job.x = tensor_put(t->precision, &x, samples, t->channels, pixels);
    job.pixels = pixels;
    job.style = device_floats(coefficients) + STYLE_AT;
    job.moments = (float *)device_make(
        (size_t)samples * normalize_moments_count(t->precision, t->channels, pixels) *
        sizeof(float));
    job.applied = (float *)device_make((size_t)samples * 2 * padded_channels(t->channels) *
                                       sizeof(float));
    job.finish.channels = t->channels;
    job.finish.layer = ENDING_LAYER;
    job.finish.broken = (int *)device_put(whole.data(), whole.size() * sizeof whole[0]);
    job.finish.each = coefficients.size() / samples;
    if (traced)
        job.finish.trace = (float *)device_make(count * sizeof(float));
    device_launched(normalize_run(&job, samples, 0));
    out.padded_are_zero = true;
    out.x = tensor_get(t->precision, job.x, samples, t->channels, pixels, &out.padded_are_zero);
    if (traced)
        out.trace = device_get_floats(job.finish.trace, count);
    out.broken = whole;
    device_get(out.broken.data(), job.finish.broken, whole.size() * sizeof whole[0]);
    return out;
}

static struct outcome run_ids(const struct trial *t, const std::vector<int> &ids, bool traced)
{
    floats x, coefficients;

    for (int id : ids) {
        floats one = inputs_of(t, id), style = style_of(t, id);

        x.insert(x.end(), one.begin(), one.end());
        coefficients.insert(coefficients.end(), style.begin(), style.end());
    }
    return run(t, x, coefficients, (int)ids.size(), traced);
}

/* How far the trace, the tensor and the CPU are from the definition; the first and the last for
 * peak 1, the tensor in ulps of what the precision keeps, without the trace's error. */
struct errors {
    double trace, tensor, cpu;
};

static struct errors errors_of(const struct trial *t, int id, const float *trace, const float *x)
{
    size_t pixels = (size_t)t->height * t->width;
    floats in = inputs_of(t, id), style = style_of(t, id);
    struct errors most = { 0.0, 0.0, 0.0 };

    for (int c = 0; c < t->channels; c++) {
        const float *plane = &in[c * pixels];
        double sum = 0.0, squares = 0.0, peak = 0.0, trace_error = 0.0, cpu_error = 0.0;
        std::vector<struct moments> rows((size_t)t->height);
        float scale, shift;

        for (int y = 0; y < t->height; y++)
            rows[y] = moments_cpu(plane + (size_t)y * t->width, t->width);
        normalize_cpu(&scale, &shift, rows.data(), t->height, pixels, style[STYLE_AT + c],
                      style[STYLE_AT + t->channels + c]);
        for (size_t p = 0; p < pixels; p++)
            sum += (double)plane[p];
        double mean = sum / (double)pixels;
        for (size_t p = 0; p < pixels; p++)
            squares += ((double)plane[p] - mean) * ((double)plane[p] - mean);
        double factor = ((double)style[STYLE_AT + c] + 1.0) /
                        sqrt(squares / (double)pixels + 1e-8);
        for (size_t p = 0; p < pixels; p++) {
            double v = ((double)plane[p] - mean) * factor +
                       (double)style[STYLE_AT + t->channels + c];
            float got = trace[c * pixels + p];

            peak = fmax(peak, fabs(v));
            trace_error = fmax(trace_error, fabs(v - (double)got));
            cpu_error = fmax(cpu_error, fabs(v - (double)fmaf(plane[p], scale, shift)));
            if (x[c * pixels + p] != precision_rounded(t->precision, got) || got != got)
                most.tensor = INFINITY;
        }
        most.trace = fmax(most.trace, trace_error / peak);
        most.cpu = fmax(most.cpu, cpu_error / peak);
    }
    return most;
}

static int is_its_definition(struct trial t)
{
    std::vector<int> ids = { 3, 0, 4, 1, 2 };
    if (t.height * t.width > FEW_PIXELS)
        ids.resize(2);
    int all = (int)ids.size();
    size_t each = (size_t)t.channels * t.height * t.width;
    struct outcome got = run_ids(&t, ids, true);
    struct errors most = { 0.0, 0.0, 0.0 };
    bool whole = got.padded_are_zero;
    int misses = 0;
    char words[100];

    snprintf(words, sizeof words, "%s %dx%d C=%d mean %g +- %g", precision_word(t.precision),
             t.height, t.width, t.channels, (double)t.mean, (double)t.spread);
    for (int n = 0; n < all; n++) {
        struct errors e = errors_of(&t, ids[n], &got.trace[n * each], &got.x[n * each]);

        most.trace = fmax(most.trace, e.trace);
        most.tensor = fmax(most.tensor, e.tensor);
        most.cpu = fmax(most.cpu, e.cpu);
        whole &= got.broken[n] == ENDING_WHOLE;
    }
    /* Roundings of values up to peak, and one of the mean, an ulp or two, seen through the scale.
     * Evenly spread numbers have a deviation of spread / sqrt 3 and a peak near sqrt 3. */
    misses += check_within(most.trace,
                           1e-6 + 2.0 * 0x1p-23 * fabs((double)t.mean / (double)t.spread),
                           "normalize %s (CPU %.1e)", words, most.cpu);
    if (!(most.tensor == 0.0))
        misses += check_that(false, "normalize %s keeps the rounded trace", words);
    if (!whole)
        misses += check_that(false, "normalize %s: padding is zero, nothing is reported", words);
    /* alone, and in a batch without a trace, in another order */
    for (int samples = 1; samples < all; samples++) {
        std::vector<int> others;

        for (int n = 0; n < samples; n++)
            others.push_back(ids[(2 * n + samples) % all]);
        device_shuffle((uint32_t)samples);
        struct outcome other = run_ids(&t, others, false);
        bool same = true;

        for (int n = 0; n < samples; n++)
            for (int m = 0; m < all; m++)
                if (ids[m] == others[n])
                    same &= !memcmp(&other.x[n * each], &got.x[m * each], each * sizeof(float));
        if (!same || samples == all - 1)
            misses += check_that(same, "normalize %s: N=%d and place change no bit", words,
                                 samples);
    }
    device_shuffle(0);
    device_release();
    return misses;
}

static int names_what_is_broken(enum precision precision)
{
    struct trial t = { precision, 9, 9, 6, 0.0f, 1.0f };
    size_t each = (size_t)t.channels * 81;
    floats x, coefficients;

    for (int id = 0; id < 4; id++) {
        floats one = inputs_of(&t, id), style = style_of(&t, id);

        x.insert(x.end(), one.begin(), one.end());
        coefficients.insert(coefficients.end(), style.begin(), style.end());
    }
    x[0 * each + 100] = NAN;
    x[2 * each + 7] = INFINITY;
    coefficients[3 * coefficients.size() / 4 + STYLE_AT + 5] = 1e5f;

    struct outcome got = run(&t, x, coefficients, 4, false);
    int overflow = precision == PRECISION_FP16 ? ENDING_LAYER : ENDING_WHOLE;
    int misses = check_that(got.broken[0] == ENDING_LAYER && got.broken[1] == ENDING_WHOLE &&
                                got.broken[2] == ENDING_LAYER && got.broken[3] == overflow,
                            "normalize %s names the samples that are broken",
                            precision_word(precision));
    device_release();
    return misses;
}

extern "C" int check_normalize(void)
{
    static const int CHANNELS[] = { 1, 5, 16, 19 };
    int misses = 0, tiny = check_scale() == CHECK_TINY;

    for (int size = 4, k = 0; size <= (tiny ? 9 : 37); size += tiny ? 5 : 3, k++)
        for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
            struct trial t = { (enum precision)p, size, size, CHANNELS[(k + p) % 4], 0.3f, 2.0f };

            misses += is_its_definition(t);
        }
    /* one strip, one and a pixel, a whole number of them, more than a warp has lanes */
    static const int SIZES[][2] = { { 32, 64 }, { 3, 683 }, { 64, 64 }, { 100, 90 } };
    for (int k = 0; k < 4 && !tiny; k++)
        for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
            struct trial t = { (enum precision)p, SIZES[k][0], SIZES[k][1], 3, -0.5f, 3.0f };

            misses += is_its_definition(t);
        }
    for (int p = PRECISION_FP16; p < PRECISION_COUNT && !tiny; p++) {
        struct trial t = { (enum precision)p, 300, 230, 1, -0.5f, 3.0f };

        misses += is_its_definition(t);
        t.height = t.width = 1024;
        if (check_scale() == CHECK_FULL)
            misses += is_its_definition(t);
    }
    /* a mean that would cancel all digits of a sum of squares */
    struct trial far = { PRECISION_FP32, 64, 50, 2, 10000.0f, 1.0f };

    misses += is_its_definition(far);
    for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
        /* without variation there is nothing to scale */
        struct trial flat = { (enum precision)p, 17, 16, 2, 3.0f, 0.0f };
        struct outcome got = run_ids(&flat, { 1 }, true);
        floats style = style_of(&flat, 1);
        bool holds = true;

        for (size_t i = 0; i < got.trace.size(); i++)
            holds &= got.trace[i] == style[STYLE_AT + 2 + i / 272];
        misses += check_that(holds, "normalize %s leaves a flat plane its shift",
                             precision_word((enum precision)p));
        device_release();
        misses += names_what_is_broken((enum precision)p);
    }
    return misses;
}
