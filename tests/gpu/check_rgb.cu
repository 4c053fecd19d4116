/* The picture's part of a layer and the sum of the skips against torgb_cpu and fir_double_cpu: to
 * the bit with one group of channels; with more, against the same sums in the order of groups. */
#include "kernels/cuda/rgb.cuh"
#include "tests/gpu/check.h"
#include "tests/gpu/tensors.cuh"

extern "C" {
#include "kernels/fir.h"
#include "kernels/quantize.h"
#include "kernels/torgb.h"
}

#include <math.h>
#include <string.h>

struct trial {
    enum precision precision;
    int size, channels, samples, first_id;
    bool adds;
    float clamp;
};

static const float BIAS[3] = { 0.25f, -0.125f, 0.4f };
enum { WEIGHT_AT = 2 };

/* Of all samples: x, coefficients [each], the image before. */
struct inputs {
    floats x, coefficients, before;
    size_t each;
};

static struct inputs inputs_of(const struct trial *t)
{
    struct inputs in;
    int half = t->size / 2;

    in.each = 3 * (size_t)t->channels + WEIGHT_AT + 1;
    for (int n = 0; n < t->samples; n++) {
        uint32_t id = (uint32_t)(t->first_id + n) % 5;
        floats x = random_floats((size_t)t->channels * t->size * t->size, 10 + id);
        floats c = random_floats(in.each, 20 + id);
        floats b = random_floats(3 * (size_t)half * half, 30 + id);

        in.x.insert(in.x.end(), x.begin(), x.end());
        in.coefficients.insert(in.coefficients.end(), c.begin(), c.end());
        in.before.insert(in.before.end(), b.begin(), b.end());
    }
    return in;
}

/* Sums of each group, by torgb_cpu without bias. */
static floats sums_of(const struct trial *t, const struct inputs *in)
{
    size_t pixels = (size_t)t->size * t->size;
    int groups = rgb_groups(t->channels);
    floats out((size_t)t->samples * groups * 3 * pixels);

    for (int n = 0; n < t->samples; n++)
        for (int g = 0; g < groups; g++) {
            static const float ZERO[3] = { 0.0f, 0.0f, 0.0f };
            int first = g * RGB_GROUP, left = t->channels - first;
            int channels = left < RGB_GROUP ? left : RGB_GROUP;
            floats weight(3 * (size_t)channels);
            struct torgb p = { channels, pixels, weight.data(), ZERO, 0.0f };

            for (int c = 0; c < 3; c++)
                for (int i = 0; i < channels; i++)
                    weight[c * channels + i] =
                        in->coefficients[n * in->each + WEIGHT_AT + c * t->channels + first + i];
            torgb_cpu(&out[((size_t)n * groups + g) * 3 * pixels],
                      &in->x[((size_t)n * t->channels + first) * pixels], 0, pixels, &p);
        }
    return out;
}

/* The image and, in *part, what was added. */
static floats image_of(const struct trial *t, const struct inputs *in, const floats &sums,
                       floats *part)
{
    size_t pixels = (size_t)t->size * t->size, half = (size_t)t->size / 2;
    int groups = rgb_groups(t->channels);
    floats out((size_t)t->samples * 3 * pixels), scratch(fir_scratch_count(t->size));

    part->resize(out.size());
    for (size_t plane = 0; plane < (size_t)t->samples * 3; plane++) {
        size_t n = plane / 3, colour = plane % 3;

        if (t->adds)
            fir_double_cpu(&out[plane * pixels], &in->before[plane * half * half], (int)half,
                           (int)half, scratch.data());
        for (size_t p = 0; p < pixels; p++) {
            float v = sums[(n * groups * 3 + colour) * pixels + p];

            for (int g = 1; g < groups; g++)
                v += sums[((n * groups + g) * 3 + colour) * pixels + p];
            v += BIAS[colour];
            if (t->clamp > 0.0f)
                v = v > t->clamp ? t->clamp : v < -t->clamp ? -t->clamp : v;
            (*part)[plane * pixels + p] = v;
            out[plane * pixels + p] = t->adds ? out[plane * pixels + p] + v : v;
        }
    }
    return out;
}

static struct skip_job skip_of(const struct trial *t, const struct inputs *in, float *sums,
                               bool traced)
{
    size_t count = (size_t)t->samples * 3 * t->size * t->size;
    std::vector<int> whole((size_t)t->samples, ENDING_WHOLE);
    struct skip_job job;

    memset(&job, 0, sizeof job);
    job.rgb_out = sums;
    job.groups = rgb_groups(t->channels);
    job.size = t->size;
    job.bias = device_floats(floats(BIAS, BIAS + 3));
    job.clamp = t->clamp;
    job.before = t->adds ? device_floats(in->before) : NULL;
    job.image = (float *)device_make(count * sizeof(float));
    job.trace = traced ? (float *)device_make(count * sizeof(float)) : NULL;
    job.layer = ENDING_LAYER;
    job.broken = (int *)device_put(whole.data(), whole.size() * sizeof whole[0]);
    return job;
}

static int matches_the_cpu_to_the_bit(struct trial t)
{
    struct inputs in = inputs_of(&t);
    struct torgb_job job;
    size_t pixels = (size_t)t.size * t.size;
    int misses = 0;
    char words[100];

    snprintf(words, sizeof words, "%s %d px C=%d N=%d%s%s", precision_word(t.precision), t.size,
             t.channels, t.samples, t.adds ? " adds" : "", t.clamp > 0.0f ? " clamp" : "");
    memset(&job, 0, sizeof job);
    job.precision = t.precision;
    job.x = tensor_put(t.precision, &in.x, t.samples, t.channels, pixels);
    job.channels = t.channels;
    job.pixels = pixels;
    job.weight = device_floats(in.coefficients) + WEIGHT_AT;
    job.each = in.each;
    job.rgb_out = (float *)device_make((size_t)t.samples * rgb_groups(t.channels) * 3 * pixels *
                                       sizeof(float));
    device_launched(torgb_run(&job, t.samples, 0));

    floats sums = sums_of(&t, &in), part, image = image_of(&t, &in, sums, &part);
    struct skip_job skip = skip_of(&t, &in, job.rgb_out, t.size % 2 == 0);

    misses += check_same(device_get_floats(job.rgb_out, sums.size()).data(), sums.data(),
                         sums.size() * sizeof sums[0], "torgb %s", words);
    device_launched(skip_run(&skip, t.samples, 0));
    misses += check_same(device_get_floats(skip.image, image.size()).data(), image.data(),
                         image.size() * sizeof image[0], "skip %s", words);
    if (skip.trace)
        misses += check_same(device_get_floats(skip.trace, part.size()).data(), part.data(),
                             part.size() * sizeof part[0], "skip's trace %s", words);
    std::vector<int> broken((size_t)t.samples);
    bool whole = true;

    device_get(broken.data(), skip.broken, broken.size() * sizeof broken[0]);
    for (int each : broken)
        whole &= each == ENDING_WHOLE;
    if (!whole)
        misses += check_that(false, "skip %s reports nothing", words);
    device_release();
    return misses;
}

/* With the image and without it. */
static int bytes_are_the_quantized_image(struct trial t)
{
    struct inputs in = inputs_of(&t);
    floats sums = random_floats((size_t)t.samples * 3 * t.size * t.size, 9), part;
    floats image = image_of(&t, &in, sums, &part);
    size_t pixels = (size_t)t.size * t.size;
    std::vector<uint8_t> expect(image.size()), got(image.size());
    struct skip_job job = skip_of(&t, &in, device_floats(sums), false);
    int misses = 0;

    job.gain = 1.5f;
    for (float &v : image)
        v *= job.gain;
    for (int n = 0; n < t.samples; n++)
        quantize_cpu(&expect[n * 3 * pixels], &image[n * 3 * pixels], pixels);
    for (int k = 0; k < 2; k++) {
        job.bytes = (uint8_t *)device_make(got.size());
        device_launched(skip_run(&job, t.samples, 0));
        device_get(got.data(), job.bytes, got.size());
        misses += check_same(got.data(), expect.data(), got.size(), "skip's bytes %d px N=%d%s",
                             t.size, t.samples, k ? " without the image" : "");
        job.image = NULL;
    }
    device_release();
    return misses;
}

static int names_what_is_broken(void)
{
    struct trial t = { PRECISION_FP32, 6, 40, 3, 0, true, 0.5f };
    struct inputs in = inputs_of(&t);
    floats sums = random_floats((size_t)t.samples * 2 * 3 * 36, 1);
    std::vector<int> broken(3);

    sums[0] = INFINITY;                         /* which the clamp would hide */
    sums[2 * 2 * 3 * 36 + 200] = NAN;
    struct skip_job skip = skip_of(&t, &in, device_floats(sums), false);

    device_launched(skip_run(&skip, t.samples, 0));
    device_get(broken.data(), skip.broken, broken.size() * sizeof broken[0]);
    int misses = check_that(broken[0] == ENDING_LAYER && broken[1] == ENDING_WHOLE &&
                                broken[2] == ENDING_LAYER,
                            "skip names the samples that are broken");

    /* whole until it is a picture */
    floats huge(sums.size(), 1.0f);
    huge[1 * 2 * 3 * 36 + 100] = 1e38f;
    skip = skip_of(&t, &in, device_floats(huge), false);
    skip.clamp = 0.0f;
    skip.bytes = (uint8_t *)device_make((size_t)t.samples * 3 * 36);
    skip.gain = 10.0f;
    skip.picture = ENDING_LAYER + 2;
    device_launched(skip_run(&skip, t.samples, 0));
    device_get(broken.data(), skip.broken, broken.size() * sizeof broken[0]);
    misses += check_that(broken[0] == ENDING_WHOLE && broken[1] == ENDING_LAYER + 2 &&
                             broken[2] == ENDING_WHOLE,
                         "skip names the pictures that are broken");
    device_release();
    return misses;
}

extern "C" int check_rgb(void)
{
    static const int CHANNELS[] = { 1, 7, 16, 32, 33, 50, 80 };
    int misses = 0, most = check_scale() == CHECK_TINY ? 8 : 37;

    for (int size = 4, k = 0; size <= most; size++, k++)
        for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
            struct trial t = { (enum precision)p, size, CHANNELS[(k + p) % 7], 1 + k % 5, k % 5,
                               size % 2 == 0 && k % 3 != 2, k % 2 ? 0.5f : 0.0f };

            device_shuffle((uint32_t)k % 4);
            misses += matches_the_cpu_to_the_bit(t);
        }
    device_shuffle(0);
    for (int p = PRECISION_FP16; p < PRECISION_COUNT && check_scale() != CHECK_TINY; p++) {
        struct trial t = { (enum precision)p, check_scale() == CHECK_FULL ? 1024 : 128, 33, 2, 1,
                           true, 0.5f };

        misses += matches_the_cpu_to_the_bit(t);
        t.channels = 3;
        misses += bytes_are_the_quantized_image(t);
        t.adds = false;
        t.size = 37;
        misses += bytes_are_the_quantized_image(t);
    }
    return misses + names_what_is_broken();
}
