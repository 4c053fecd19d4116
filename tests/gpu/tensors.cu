#include "tests/gpu/tensors.cuh"

extern "C" {
#include "kernels/epilogue.h"
}
#include "tests/gpu/check.h"

#ifndef __CUDACC__
#include <cuda_emulator.h>
#endif

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float precision_rounded(enum precision precision, float v)
{
    return precision == PRECISION_FP16   ? __half2float(__float2half_rn(v))
           : precision == PRECISION_TF32 ? round_tf32(v)
                                         : v;
}

floats random_floats(size_t count, uint32_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 0x1234567u;
    floats out(count);

    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (float)(int32_t)(state >> 32) * 0x1p-31f;
    }
    return out;
}

/* ---- Memory of the device ---- */

static std::vector<void *> taken;

static void demand(cudaError_t st, const char *what)
{
    if (!st)
        return;
    fprintf(stderr, "could not %s: %s\n", what, cudaGetErrorString(st));
    exit(1);
}

void *device_make(size_t bytes)
{
    void *out;

    demand(cudaMalloc(&out, bytes), "take memory of the device");
    demand(cudaMemset(out, 0xff, bytes), "fill memory of the device");
    taken.push_back(out);
    return out;
}

void *device_put(const void *data, size_t bytes)
{
    void *out = device_make(bytes);

    demand(cudaMemcpy(out, data, bytes, cudaMemcpyHostToDevice), "copy to the device");
    return out;
}

void device_get(void *out, const void *from, size_t bytes)
{
    demand(cudaDeviceSynchronize(), "run a kernel");
    demand(cudaMemcpy(out, from, bytes, cudaMemcpyDeviceToHost), "copy from the device");
}

floats device_get_floats(const float *from, size_t count)
{
    floats out(count);

    device_get(out.data(), from, count * sizeof out[0]);
    return out;
}

void device_release(void)
{
    for (void *p : taken)
        demand(cudaFree(p), "free memory of the device");
    taken.clear();
}

void device_launched(cudaError_t st)
{
    demand(st, "launch");
}

void device_shuffle(uint32_t seed)
{
#ifndef __CUDACC__
    emulated_order_set(seed ? EMULATED_SHUFFLED : EMULATED_FORWARD);
    emulated_seed_set(seed);
#else
    (void)seed;
#endif
}

/* ---- Tensors ---- */

template <class V, int LANES> struct layout {
    int channels, blocks;
    size_t pixels;
    layout(int channels_, size_t pixels_)
        : channels(channels_), blocks(padded_channels(channels_) / LANES), pixels(pixels_)
    {
    }
    size_t count(int samples) const { return (size_t)samples * blocks * pixels * LANES; }
    size_t at(int sample, int channel, size_t pixel) const
    {
        return (((size_t)sample * blocks + channel / LANES) * pixels + pixel) * LANES +
               channel % LANES;
    }
};

template <class V, int LANES>
static void *put(const floats &values, int samples, int channels, size_t pixels)
{
    struct layout<V, LANES> to(channels, pixels);
    std::vector<V> out(to.count(samples), V(0.0f));

    for (int n = 0; n < samples; n++)
        for (int c = 0; c < channels; c++)
            for (size_t p = 0; p < pixels; p++)
                out[to.at(n, c, p)] = V(values[((size_t)n * channels + c) * pixels + p]);
    return device_put(out.data(), out.size() * sizeof out[0]);
}

void *tensor_put(enum precision precision, floats *values, int samples, int channels, size_t pixels)
{
    for (float &v : *values)
        v = precision_rounded(precision, v);
    return precision == PRECISION_FP16 ? put<__half, 8>(*values, samples, channels, pixels)
                                       : put<float, 4>(*values, samples, channels, pixels);
}

template <class V, int LANES>
static floats get(const void *tensor, int samples, int channels, size_t pixels, bool *padded)
{
    struct layout<V, LANES> from(channels, pixels);
    std::vector<V> in(from.count(samples));
    floats out((size_t)samples * channels * pixels);

    device_get(in.data(), tensor, in.size() * sizeof in[0]);
    for (int n = 0; n < samples; n++)
        for (int c = 0; c < from.blocks * LANES; c++)
            for (size_t p = 0; p < pixels; p++) {
                float v = (float)in[from.at(n, c, p)];

                if (c < channels)
                    out[((size_t)n * channels + c) * pixels + p] = v;
                else
                    *padded &= v == 0.0f;
            }
    return out;
}

floats tensor_get(enum precision precision, const void *tensor, int samples, int channels,
                  size_t pixels, bool *padded)
{
    return precision == PRECISION_FP16 ? get<__half, 8>(tensor, samples, channels, pixels, padded)
                                       : get<float, 4>(tensor, samples, channels, pixels, padded);
}

/* ---- The end of a layer ---- */

struct ending ending_create(const std::vector<int> &id, int channels, size_t pixels, int parts)
{
    struct ending self;
    int samples = (int)id.size();
    size_t c = (size_t)channels;
    std::vector<int> whole(id.size(), ENDING_WHOLE);

    self.id = id;
    self.channels = channels;
    self.parts = parts;
    self.pixels = pixels;
    self.demod_at = 1;
    self.next_at = self.demod_at + c + 2;
    self.rgb_at = self.next_at + c + 1;
    self.each = self.rgb_at + 3 * c + 3;
    self.gain = 1.41421356f;
    self.clamp = parts & ENDING_CLAMP ? 1.25f : 0.0f;
    self.bias = random_floats(c, 1001);
    self.noise = random_floats(pixels, 1002);
    self.noise_weight = random_floats(parts & ENDING_NOISE_EACH ? c : 1, 1003);
    for (int n = 0; n < samples; n++) {
        floats mine = random_floats(self.each, 2000 + (uint32_t)id[n]);
        floats own = random_floats(pixels + 5, 3000 + (uint32_t)id[n]);

        for (size_t i = 0; i < self.each; i++)      /* between the parts */
            if (i < self.demod_at || (i >= self.demod_at + c && i < self.next_at) ||
                (i >= self.next_at + c && i < self.rgb_at) || i >= self.rgb_at + 3 * c)
                mine[i] = NAN;
        self.coefficients.insert(self.coefficients.end(), mine.begin(), mine.end());
        self.own_noise.insert(self.own_noise.end(), own.begin(), own.end());
        self.noise_kind.push_back(id[n] % 3);       /* NOISE_NONE, _CONST, _OWN */
    }

    struct finish f;
    const float *coefficients = device_floats(self.coefficients);

    memset(&f, 0, sizeof f);
    f.channels = channels;
    f.layer = ENDING_LAYER;
    f.broken = (int *)device_put(whole.data(), whole.size() * sizeof whole[0]);
    f.each = self.each;
    f.demod = parts & ENDING_DEMOD ? coefficients + self.demod_at : NULL;
    f.bias = parts & ENDING_BIAS ? device_floats(self.bias) : NULL;
    if (parts & ENDING_NOISE) {
        f.noise = device_floats(self.noise);
        f.own_noise = device_floats(self.own_noise);
        f.own_each = pixels + 5;
        f.noise_kind = (int *)device_put(self.noise_kind.data(), id.size() * sizeof(int));
        f.noise_weight = device_floats(self.noise_weight);
        f.noise_weights = (int)self.noise_weight.size();
    }
    f.activate = parts & ENDING_ACTIVATE;
    f.gain = self.gain;
    f.clamp = self.clamp;
    f.next = parts & ENDING_NEXT ? coefficients + self.next_at : NULL;
    if (parts & ENDING_RGB) {
        f.rgb = coefficients + self.rgb_at;
        f.rgb_out = (float *)device_make(id.size() * rgb_groups(channels) * 3 * pixels *
                                         sizeof(float));
    }
    if (parts & ENDING_TRACE)
        f.trace = (float *)device_make(id.size() * c * pixels * sizeof(float));
    self.device = f;
    return self;
}

floats ending_value(const struct ending *self, int sample, int channel, const float *x, int rows,
                    int width)
{
    floats out((size_t)rows * width);
    const float *noise = NULL;
    struct epilogue p;

    if (self->parts & ENDING_NOISE && self->noise_kind[sample] == NOISE_CONST)
        noise = self->noise.data();
    if (self->parts & ENDING_NOISE && self->noise_kind[sample] == NOISE_OWN)
        noise = self->own_noise.data() + (size_t)sample * (self->pixels + 5);
    p.demod = self->parts & ENDING_DEMOD
                  ? self->coefficients[sample * self->each + self->demod_at + channel]
                  : 1.0f;
    p.noise = noise;
    p.strength = self->noise_weight[self->noise_weight.size() > 1 ? channel : 0];
    p.bias = self->parts & ENDING_BIAS ? self->bias[channel] : 0.0f;
    p.gain = self->gain;
    p.clamp = self->clamp;
    if (self->parts & ENDING_ACTIVATE)
        epilogue_cpu(out.data(), x, (size_t)width, rows, width, &p);
    else
        epilogue_scale_cpu(out.data(), x, (size_t)width, rows, width, p.demod, p.bias);
    return out;
}

float ending_stored(const struct ending *self, enum precision precision, int sample, int channel,
                    float v)
{
    if (self->parts & ENDING_NEXT)
        v *= self->coefficients[sample * self->each + self->next_at + channel];
    return precision_rounded(precision, v);
}

std::vector<int> ending_broken(const struct ending *self)
{
    std::vector<int> out(self->id.size());

    device_get(out.data(), self->device.broken, out.size() * sizeof out[0]);
    return out;
}
