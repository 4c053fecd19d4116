/* tensors -- what the checks of single kernels are made of: numbers that are the same on every run,
 * memory of the device, tensors in blocks of channels, and the end of a layer (finish.cuh) made up
 * and computed on the host by epilogue_cpu. */
#ifndef TESTS_GPU_TENSORS_CUH
#define TESTS_GPU_TENSORS_CUH

#include "kernels/cuda/finish.cuh"

#include <stddef.h>
#include <stdint.h>
#include <vector>

typedef std::vector<float> floats;

/* What the precision keeps of v. */
float precision_rounded(enum precision precision, float v);

/* Between -1 and 1, evenly, the same for the same seed. */
floats random_floats(size_t count, uint32_t seed);

/* ---- Memory of the device. What fails ends the program: its part of the check has missed. ---- */

void *device_make(size_t bytes);                    /* all bits set: NaN, -1 */
void *device_put(const void *data, size_t bytes);
static inline float *device_floats(const floats &v)
{
    return (float *)device_put(v.data(), v.size() * sizeof v[0]);
}
/* Waits for what is queued. */
void device_get(void *out, const void *from, size_t bytes);
floats device_get_floats(const float *from, size_t count);
/* Gives all of it back. */
void device_release(void);
/* No error of launching. */
void device_launched(cudaError_t st);
/* The emulator runs threads in another order from here on; 0: in theirs. A device does as it
 * likes. */
void device_shuffle(uint32_t seed);

/* ---- Tensors: [sample][channel][pixels] on the host, blocks on the device. ---- */

/* Rounds values to what the precision keeps, and puts them there. */
void *tensor_put(enum precision precision, floats *values, int samples, int channels,
                 size_t pixels);
/* A tensor of the device; padded becomes false where a padded channel is not zero. */
floats tensor_get(enum precision precision, const void *tensor, int samples, int channels,
                  size_t pixels, bool *padded);

/* ---- The end of a layer. Everything in it differs from sample to sample, and is the same for the
 * same id, wherever the sample is. ---- */

enum ending_part {
    ENDING_DEMOD = 1,
    ENDING_BIAS = 2,
    ENDING_NOISE = 4,           /* one weight for all channels */
    ENDING_NOISE_EACH = 8,      /* with ENDING_NOISE: a weight each */
    ENDING_ACTIVATE = 16,
    ENDING_CLAMP = 32,          /* only with ENDING_ACTIVATE */
    ENDING_NEXT = 64,
    ENDING_RGB = 128,
    ENDING_TRACE = 256,
};

struct ending {
    std::vector<int> id;            /* of each sample */
    int channels, parts;
    size_t pixels, each, demod_at, next_at, rgb_at;
    floats coefficients;            /* [samples][each] */
    floats bias, noise, own_noise, noise_weight;
    std::vector<int> noise_kind;
    float gain, clamp;
    struct finish device;           /* the same on the device; layer is ENDING_LAYER */
};

enum { ENDING_LAYER = 7, ENDING_WHOLE = 1 << 30 /* broken of a sample that is not */ };

struct ending ending_create(const std::vector<int> &id, int channels, size_t pixels, int parts);
/* v of a plane, rows x width. */
floats ending_value(const struct ending *self, int sample, int channel, const float *x, int rows,
                    int width);
/* What the precision keeps of it for the next layer. */
float ending_stored(const struct ending *self, enum precision precision, int sample, int channel,
                    float v);
std::vector<int> ending_broken(const struct ending *self);

#endif
