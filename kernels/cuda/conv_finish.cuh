/* conv_finish -- how conv's kernels end a tile: finish.cuh's formulas, from sums as the tensor
 * cores leave them with the lanes. A warp has M m16 pieces of pixels times N n8 pieces of outputs;
 * lane 4g + t has of each the pixels g and g + 8 (h = 0, 1) and the outputs 2t and 2t + 1.
 *
 * T is a kind of tile with the members M, N, OUTS and
 *     int lane_pixel(const struct conv_launch *, const struct place *, int i, int h)
 * the place of the lane's pixel h of piece i in a plane of all phases; -1: outside. */
#ifndef KERNELS_CUDA_CONV_FINISH_CUH
#define KERNELS_CUDA_CONV_FINISH_CUH

#include "kernels/cuda/conv_launch.cuh"

/* Two channels that lie side by side. */
template <class V> struct alignas(2 * sizeof(V)) pair {
    V first, second;
};

/* What a channel needs at the end, side by side in shared memory. */
struct alignas(16) channel_end {
    struct finish_channel c;
    float rgb[3], unused;
};

/* Those of the tile's channels, by threads 0..threads-1. Others see them behind a barrier. */
template <class T, bool RGB>
static __device__ __forceinline__ void load_ends(const struct conv_launch *p,
                                                 const struct place *at, struct channel_end *ends,
                                                 int thread, int threads)
{
    const struct finish *f = &p->finish;

    for (int i = thread; i < T::OUTS; i += threads) {
        struct channel_end end = { finish_channel(f, at->sample, at->out + i), { 0, 0, 0 }, 0 };

        for (int colour = 0; RGB && colour < 3; colour++)
            if (at->out + i < f->channels)
                end.rgb[colour] = f->rgb[(size_t)at->sample * f->each +
                                         (size_t)(colour * f->channels + at->out + i)];
        ends[i] = end;
    }
}

/* Adds the four lanes of a pixel up, and stores the group's part of the picture. */
template <int ROWS>
static __device__ __forceinline__ void store_rgb(const struct conv_launch *p,
                                                 const struct place *at, int group,
                                                 const int pixel[ROWS][2], float rgb[ROWS][2][3])
{
    int t = (int)threadIdx.x % 4;
    size_t plane = ((size_t)at->sample * (size_t)p->rgb_groups + (size_t)group) * 3 + (size_t)t;
    float *out = p->finish.rgb_out + plane * p->pixels;

#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float mine = 0.0f;

#pragma unroll
            for (int colour = 0; colour < 3; colour++) {
                float v = rgb[i][h][colour];

                v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, 1));
                v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, 2));
                mine = t == colour ? v : mine;
                rgb[i][h][colour] = 0.0f;
            }
            if (group < p->rgb_groups && t < 3 && pixel[i][h] >= 0)
                out[pixel[i][h]] = mine;
        }
}

/* ROWS pieces of the warp, the first being its piece `first`. channel: the lane's first; ends: of
 * that channel. */
template <class P, class T, bool RGB, int ROWS>
static __device__ __forceinline__ void finish_rows(const struct conv_launch *p,
                                                   const struct place *at,
                                                   float sum[ROWS][T::N][4], int first, int channel,
                                                   const struct channel_end *ends, bool *bad)
{
    const struct finish *f = &p->finish;
    typename P::value *y = (typename P::value *)p->y +
                           (size_t)at->sample * (size_t)p->out_blocks * p->pixels * P::LANES;
    int pixel[ROWS][2];
    float noise[ROWS][2], rgb[ROWS][2][3];

#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            pixel[i][h] = T::lane_pixel(p, at, first + i, h);
            noise[i][h] =
                pixel[i][h] >= 0 ? finish_noise(f, at->sample, (size_t)pixel[i][h]) : 0.0f;
            for (int colour = 0; colour < 3; colour++)
                rgb[i][h][colour] = 0.0f;
        }
#pragma unroll
    for (int j = 0; j < T::N; j++) {
        int mine = channel + 8 * j, block = mine / P::LANES;
        float stored[ROWS][2][2];

        __syncwarp();               /* or ends would be read early, and kept for all rows: it has no
                                       room in registers; nor have two channels at once */
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const struct channel_end end = ends[8 * j + k];

#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    float v;

                    stored[i][h][k] = 0.0f;
                    if (pixel[i][h] < 0 || mine + k >= f->channels)
                        continue;
                    v = finish_value(f, &end.c, noise[i][h], sum[i][j][2 * h + k], bad);
                    for (int colour = 0; RGB && colour < 3; colour++)
                        rgb[i][h][colour] = __fmaf_rn(v, end.rgb[colour], rgb[i][h][colour]);
                    if (f->trace)
                        f->trace[((size_t)at->sample * (size_t)f->channels + (size_t)(mine + k)) *
                                     p->pixels + (size_t)pixel[i][h]] = v;
                    if (p->y)
                        stored[i][h][k] = finish_stored<P>(&end.c, v, bad);
                }
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                struct pair<typename P::value> v = { P::round(stored[i][h][0]),
                                                     P::round(stored[i][h][1]) };

                if (p->y && pixel[i][h] >= 0 && block < p->out_blocks)
                    *(struct pair<typename P::value> *)(y +
                                                        (size_t)(block * p->pixels + pixel[i][h]) *
                                                            P::LANES + mine % P::LANES) = v;
            }
        if (RGB && (j % (RGB_GROUP / 8) == RGB_GROUP / 8 - 1 || j == T::N - 1))
            store_rgb<ROWS>(p, at, mine / RGB_GROUP, pixel, rgb);
    }
}

#endif
