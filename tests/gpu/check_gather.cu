/* The sum of parts, and what ends a layer, against additions in index order and epilogue_cpu: to
 * the bit in all precisions; so are the sums for a ToRGB, in the order that the kernel states. */
#include "kernels/cuda/gather.cuh"
#include "tests/gpu/check.h"
#include "tests/gpu/tensors.cuh"

#include <math.h>
#include <string.h>

struct trial {
    enum precision precision;
    int count, height, width, channels, samples, first_id, parts;
    bool constant;              /* one part for all samples */
    bool stores;
};

/* Sums over blocks of lanes channels, then over the blocks, of each group. */
static floats colours_of(const struct ending *end, const floats &v, int lanes)
{
    int samples = (int)end->id.size(), groups = rgb_groups(end->channels);
    floats out((size_t)samples * groups * 3 * end->pixels, 0.0f);

    for (size_t i = 0; i < out.size(); i++) {
        size_t pixel = i % end->pixels;
        int colour = (int)(i / end->pixels % 3), group = (int)(i / end->pixels / 3 % groups);
        int n = (int)(i / end->pixels / 3 / groups);

        for (int b = 0; b < RGB_GROUP / lanes; b++) {
            float sum = 0.0f;

            for (int c = group * RGB_GROUP + b * lanes;
                 c < group * RGB_GROUP + (b + 1) * lanes && c < end->channels; c++)
                sum = fmaf(v[((size_t)n * end->channels + c) * end->pixels + pixel],
                           end->coefficients[n * end->each + end->rgb_at +
                                             (size_t)colour * end->channels + c],
                           sum);
            out[i] = b ? out[i] + sum : sum;
        }
    }
    return out;
}

/* [part][sample][block][pixels][LANES], float32 in every precision; zeros in the padding. */
static floats parts_of(const struct trial *t, const struct ending *end, int lanes)
{
    int padded = padded_channels(t->channels), samples = t->constant ? 1 : t->samples;
    floats out;

    for (int k = 0; k < t->count; k++)
        for (int n = 0; n < samples; n++) {
            floats one = random_floats((size_t)padded * end->pixels,
                                       (uint32_t)(t->constant ? 50 : 60 + 10 * end->id[n]) + k);

            for (size_t i = 0; i < one.size(); i++)
                if ((int)(i / lanes / end->pixels) * lanes + (int)(i % lanes) >= t->channels)
                    one[i] = 0.0f;
            out.insert(out.end(), one.begin(), one.end());
        }
    return out;
}

static struct ending ending_of(const struct trial *t)
{
    std::vector<int> id;

    for (int n = 0; n < t->samples; n++)
        id.push_back((t->first_id + n) % 5);
    return ending_create(id, t->channels, (size_t)t->height * t->width, t->parts);
}

/* y, NULL when nothing is stored. */
static void *run(const struct trial *t, const struct ending *end, const floats &parts)
{
    size_t each = (size_t)padded_channels(t->channels) * end->pixels;
    struct gather_job job;

    job.precision = t->precision;
    job.parts = device_floats(parts);
    job.count = t->count;
    job.part_each = parts.size() / t->count;
    job.sample_each = t->constant ? 0 : each;
    job.pixels = end->pixels;
    job.y = t->stores ? device_make((size_t)t->samples * activation_bytes(t->precision, t->channels,
                                                                          end->pixels))
                      : NULL;
    job.finish = end->device;
    device_launched(gather_run(&job, t->samples, 0));
    return job.y;
}

static int matches_the_host_to_the_bit(struct trial t)
{
    int lanes = precision_lanes(t.precision), padded = padded_channels(t.channels), misses = 0;
    struct ending end = ending_of(&t);
    floats parts = parts_of(&t, &end, lanes), v, stored, line(end.pixels);
    void *y = run(&t, &end, parts);
    size_t part_each = parts.size() / t.count;
    char words[100];

    snprintf(words, sizeof words, "%s %d parts of %dx%d C=%d N=%d parts %x%s",
             precision_word(t.precision), t.count, t.height, t.width, t.channels, t.samples,
             (unsigned)t.parts, t.constant ? " constant" : "");
    for (int n = 0; n < t.samples; n++)
        for (int c = 0; c < t.channels; c++) {
            for (size_t p = 0; p < end.pixels; p++) {
                size_t sample = t.constant ? 0 : (size_t)n * padded * end.pixels;
                size_t block = ((size_t)(c / lanes) * end.pixels + p) * lanes;
                const float *at = &parts[sample + block + c % lanes];

                line[p] = at[0];
                for (int k = 1; k < t.count; k++)
                    line[p] += at[k * part_each];
            }
            floats one = ending_value(&end, n, c, line.data(), t.height, t.width);

            v.insert(v.end(), one.begin(), one.end());
            for (float each : one)
                stored.push_back(ending_stored(&end, t.precision, n, c, each));
        }
    if (t.stores) {
        bool whole = true;
        floats got = tensor_get(t.precision, y, t.samples, t.channels, end.pixels, &whole);

        for (int each : ending_broken(&end))
            whole &= each == ENDING_WHOLE;
        misses += check_same(got.data(), stored.data(), stored.size() * sizeof stored[0],
                             "gather %s", words);
        if (!whole)
            misses += check_that(false, "gather %s: padding is zero, nothing is reported", words);
    }
    if (t.parts & ENDING_TRACE)
        misses += check_same(device_get_floats(end.device.trace, v.size()).data(), v.data(),
                             v.size() * sizeof v[0], "gather's trace %s", words);
    if (t.parts & ENDING_RGB) {
        floats expect = colours_of(&end, v, lanes);

        misses += check_same(device_get_floats(end.device.rgb_out, expect.size()).data(),
                             expect.data(), expect.size() * sizeof expect[0], "gather's rgb %s",
                             words);
    }
    device_release();
    return misses;
}

static int names_what_is_broken(enum precision precision)
{
    struct trial t = { precision, 2, 5, 5, 5, 4, 0, ENDING_CLAMP | ENDING_ACTIVATE | ENDING_NEXT,
                       false, true };
    struct ending end = ending_of(&t);
    floats parts = parts_of(&t, &end, precision_lanes(precision)), next = end.coefficients;
    size_t each = (size_t)padded_channels(t.channels) * end.pixels;

    parts[0 * each + 3] = INFINITY;             /* which the clamp would hide */
    parts[2 * each + 1] = NAN;
    for (int c = 0; c < t.channels; c++)
        next[3 * end.each + end.next_at + c] = 1e6f;
    end.device.next = device_floats(next) + end.next_at;
    run(&t, &end, parts);

    std::vector<int> broken = ending_broken(&end);
    int overflow = precision == PRECISION_FP16 ? ENDING_LAYER : ENDING_WHOLE;
    int misses = check_that(broken[0] == ENDING_LAYER && broken[1] == ENDING_WHOLE &&
                                broken[2] == ENDING_LAYER && broken[3] == overflow,
                            "gather %s names the samples that are broken",
                            precision_word(precision));
    device_release();
    return misses;
}

extern "C" int check_gather(void)
{
    static const int PARTS[] = {
        ENDING_DEMOD | ENDING_BIAS | ENDING_NOISE | ENDING_ACTIVATE | ENDING_CLAMP | ENDING_NEXT |
            ENDING_RGB | ENDING_TRACE,
        ENDING_DEMOD,                           /* phases: the FIR ends the layer */
        ENDING_BIAS | ENDING_NOISE | ENDING_NOISE_EACH | ENDING_ACTIVATE,
        ENDING_DEMOD | ENDING_BIAS | ENDING_NOISE | ENDING_ACTIVATE | ENDING_RGB,
    };
    static const int CHANNELS[] = { 1, 7, 16, 33, 50 };
    int misses = 0, most = check_scale() == CHECK_TINY ? 8 : 37;

    for (int size = 4, k = 0; size <= most; size += size < 20 ? 1 : 4, k++)
        for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
            struct trial t = { (enum precision)p, 1 + k % 8, k % 4 == 1 ? 4 * size : size, size,
                               CHANNELS[(k + p) % 5], 1 + k % 5, k % 5, PARTS[k % 4], k % 8 == 0,
                               k % 8 != 3 };

            device_shuffle((uint32_t)k % 4);
            misses += matches_the_host_to_the_bit(t);
        }
    for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++)
        misses += names_what_is_broken((enum precision)p);
    device_shuffle(0);
    return misses;
}
