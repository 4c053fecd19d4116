#include "kernels/conv.h"

#include "kernels/simd.h"

#include <string.h>

enum { TAPS = 9, CONV_ALIGN = 16 };

/* One weight of a 3 x 3 kernel and where in a padded plane its input lies. */
struct tap {
    int weight;
    size_t offset;
};

/* CONV_ROWS output channels that share their input. */
struct rows {
    const float *weight[CONV_ROWS];     /* [in, 3, 3] each */
    float *out[CONV_ROWS];
};

struct walk {
    const float *padded;
    size_t plane;               /* floats from one input channel to the next */
    int channels;
    const struct tap *tap;
    int taps;
};

static size_t padded_plane(struct conv_shape n)
{
    return ((size_t)n.height + 2) * conv_pitch(n.width);
}

size_t conv_padded_count(struct conv_shape n)
{
    return (size_t)n.in * padded_plane(n) + 2 * CONV_LANES;
}

size_t conv_plane_count(struct conv_shape n)
{
    size_t count = ((size_t)n.height + 1) * conv_pitch(n.width) + CONV_LANES - 1;

    return (count + CONV_ALIGN - 1) / CONV_ALIGN * CONV_ALIGN;
}

void conv_modulate_cpu(float *padded, const float *x, float style, int channel, struct conv_shape n)
{
    size_t pitch = conv_pitch(n.width), width = (size_t)n.width;
    float *row = padded + (size_t)channel * padded_plane(n);

    memset(row, 0, pitch * sizeof *row);
    for (int y = 0; y < n.height; y++) {
        row += pitch;
        row[0] = row[width + 1] = 0.0f;
        for (size_t i = 0; i < width; i++)
            row[i + 1] = x[(size_t)y * width + i] * style;
    }
    memset(row + pitch, 0, pitch * sizeof *row);
}

/* The outputs at..at+lanes-1 of four channels. With lanes a constant the compiler keeps the sums in
 * vector registers; each caller below asks for about as many as its machine has. */
SIMD_UNCHECKED static inline __attribute__((always_inline)) void
sum_run(const int lanes, const struct rows *rows, const struct walk *walk, size_t at)
{
    float sum[CONV_ROWS][CONV_LANES];

    for (int r = 0; r < CONV_ROWS; r++)
        for (int j = 0; j < lanes; j++)
            sum[r][j] = 0.0f;
    for (int i = 0; i < walk->channels; i++)
        for (int t = 0; t < walk->taps; t++) {
            const float *x = walk->padded + (size_t)i * walk->plane + walk->tap[t].offset + at;
            size_t k = (size_t)i * TAPS + (size_t)walk->tap[t].weight;

            for (int r = 0; r < CONV_ROWS; r++) {
                float weight = rows->weight[r][k];

                for (int j = 0; j < lanes; j++)
                    sum[r][j] += weight * x[j];
            }
        }
    for (int r = 0; r < CONV_ROWS; r++)
        for (int j = 0; j < lanes; j++)
            rows->out[r][at + (size_t)j] = sum[r][j];
}

SIMD_UNCHECKED static void sum_all(const struct rows *rows, const struct walk *walk, size_t count)
{
    for (size_t at = 0; at < count; at += 16)
        sum_run(16, rows, walk, at);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) SIMD_UNCHECKED static void
sum_all_avx2(const struct rows *rows, const struct walk *walk, size_t count)
{
    for (size_t at = 0; at < count; at += 24)
        sum_run(24, rows, walk, at);
}

__attribute__((target("avx512f"))) SIMD_UNCHECKED static void
sum_all_avx512(const struct rows *rows, const struct walk *walk, size_t count)
{
    size_t at = 0;

    while (at < count)
        if (count - at > 32) {
            sum_run(64, rows, walk, at);
            at += 64;
        } else {
            sum_run(32, rows, walk, at);
            at += 32;
        }
}
#endif

static void sum_planes(const struct rows *rows, const struct walk *walk, size_t count)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        sum_all_avx512(rows, walk, count);
        return;
    }
    if (__builtin_cpu_supports("avx2")) {
        sum_all_avx2(rows, walk, count);
        return;
    }
#endif
    sum_all(rows, walk, count);
}

/* Past the last channel the last one is computed again: into rows of out that nobody reads. */
static struct rows pick_rows(float *out, size_t stride, const float *weight, struct conv_shape n,
                             int first)
{
    struct rows rows;

    for (int r = 0; r < CONV_ROWS; r++) {
        int o = first + r < n.out ? first + r : n.out - 1;

        rows.weight[r] = weight + (size_t)o * n.in * TAPS;
        rows.out[r] = out + (size_t)r * stride;
    }
    return rows;
}

void conv_plain_cpu(float *out, const float *padded, const float *weight, struct conv_shape n,
                    int first)
{
    size_t pitch = conv_pitch(n.width);
    struct rows rows = pick_rows(out, conv_plane_count(n), weight, n, first);
    struct tap tap[TAPS];

    for (int t = 0; t < TAPS; t++)
        tap[t] = (struct tap){ .weight = t, .offset = (size_t)(t / 3) * pitch + (size_t)(t % 3) };
    sum_planes(&rows,
               &(struct walk){ .padded = padded,
                               .plane = padded_plane(n),
                               .channels = n.in,
                               .tap = tap,
                               .taps = TAPS },
               (size_t)n.height * pitch);
}

/* Row 2m+p of y gets kernel row a from input row m - (a - p) / 2, where a - p is even: rows 0 and 2
 * for p = 0, row 1 for p = 1. The same for columns. */
static int pick_taps(struct tap *tap, size_t pitch, int p, int q)
{
    int taps = 0;

    for (int a = p; a < 3; a += 2)
        for (int b = q; b < 3; b += 2)
            tap[taps++] = (struct tap){
                .weight = a * 3 + b,
                .offset = (size_t)(1 - (a - p) / 2) * pitch + (size_t)(1 - (b - q) / 2),
            };
    return taps;
}

void conv_up_cpu(float *out, const float *padded, const float *weight, struct conv_shape n,
                 int first)
{
    size_t pitch = conv_pitch(n.width), plane = conv_plane_count(n);

    for (int phase = 0; phase < 4; phase++) {
        int p = phase / 2, q = phase % 2;
        struct rows rows = pick_rows(out + (size_t)phase * plane, 4 * plane, weight, n, first);
        struct tap tap[TAPS];
        int taps = pick_taps(tap, pitch, p, q);

        sum_planes(&rows,
                   &(struct walk){ .padded = padded,
                                   .plane = padded_plane(n),
                                   .channels = n.in,
                                   .tap = tap,
                                   .taps = taps },
                   ((size_t)n.height + 1 - (size_t)p) * pitch);
    }
}
