#include "kernels/fourier.h"

#include "kernels/simd.h"
#include "kernels/sine.h"

#include <math.h>
#include <string.h>

void fourier_transform(float out[9], const struct recipe_transform *asked, const float stored[9])
{
    switch (asked->kind) {
    case RECIPE_TRANSFORM_NONE:
        memcpy(out, stored, 9 * sizeof *out);
        break;
    case RECIPE_TRANSFORM_MATRIX:
        memcpy(out, asked->m, 9 * sizeof *out);
        break;
    case RECIPE_TRANSFORM_TR: {
        /* inverse of [c, s, tx; -s, c, ty; 0, 0, 1] */
        double angle = (double)asked->degrees / 1e6 / 360.0 * 2.0 * 3.14159265358979323846;
        double c = cos(angle), s = sin(angle);
        double tx = (double)asked->tx / 1e6, ty = (double)asked->ty / 1e6;
        const double m[9] = { c, -s, s * ty - c * tx, s, c, -s * tx - c * ty, 0.0, 0.0, 1.0 };

        for (int i = 0; i < 9; i++)
            out[i] = (float)m[i];
        break;
    }
    }
}

/* out = a . b, [3,3] */
static void multiply(float out[9], const float a[9], const float b[9])
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
}

void fourier_waves_cpu(struct fourier_wave *wave, const struct fourier *self, const float style[4],
                       const float transform[9])
{
    float norm = sqrtf(style[0] * style[0] + style[1] * style[1]);
    float rc = style[0] / norm, rs = style[1] / norm, tx = style[2] / norm, ty = style[3] / norm;
    const float turn[9] = { rc, -rs, 0, rs, rc, 0, 0, 0, 1 };
    const float move[9] = { 1, 0, -tx, 0, 1, -ty, 0, 0, 1 };
    float both[9], t[9], cutoff = (float)self->cutoff;
    float slope = (float)(self->rate / 2 - self->cutoff);

    multiply(both, turn, move);
    multiply(t, both, transform);
    for (int j = 0; j < self->channels; j++) {
        float x = self->freqs[2 * j], y = self->freqs[2 * j + 1];
        struct fourier_wave w = {
            .fx = x * t[0] + y * t[3],
            .fy = x * t[1] + y * t[4],
            .phase = self->phases[j] + (x * t[2] + y * t[5]),
        };
        float fade = 1.0f - (sqrtf(w.fx * w.fx + w.fy * w.fy) - cutoff) / slope;

        w.amplitude = fade > 1.0f ? 1.0f : fade < 0.0f ? 0.0f : fade;   /* NaN stays NaN */
        wave[j] = w;
    }
}

SIMD_ANY wave_row_any(float *restrict out, const float *restrict grid, int size, float fx, float at,
                      float amplitude)
{
    for (int x = 0; x < size; x++)
        out[x] = amplitude * sine_of_turns(fmaf(grid[x], fx, at));
}
SIMD_VERSIONS(wave_row, (float *restrict out, const float *restrict grid, int size, float fx,
                         float at, float amplitude), (out, grid, size, fx, at, amplitude))

void fourier_plane_cpu(float *out, const struct fourier *self, const struct fourier_wave *wave)
{
    enum { RUN = 64 };
    float grid[RUN];
    int size = self->size;

    for (int first = 0; first < size; first += RUN) {
        int count = size - first < RUN ? size - first : RUN;

        for (int k = 0; k < count; k++)
            grid[k] = sine_grid(first + k, size, self->rate);
        for (int y = 0; y < size; y++) {
            float gy = sine_grid(y, size, self->rate);

            wave_row(out + (size_t)y * (size_t)size + first, grid, count, wave->fx,
                     fmaf(gy, wave->fy, wave->phase), wave->amplitude);
        }
    }
}
