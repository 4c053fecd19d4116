#include "kernels/cuda/conv_pack.cuh"

#include <math.h>
#include <string.h>

/* Down and up stay normal numbers. */
enum { SCALE_MAX = 126 };

int conv_pack_pieces(const struct conv_shape *shape)
{
    return padded_channels(shape->out) / CONV_PIECE;
}

size_t conv_pack_bytes(const struct conv_shape *shape, enum precision precision, int phase)
{
    return (size_t)conv_pack_pieces(shape) * (size_t)activation_blocks(precision, shape->in) *
           (size_t)conv_phase_taps(shape, phase).count * CONV_PIECE_BLOCK_BYTES;
}

/* float32 to fp16, to nearest even. */
static uint16_t half_bits(float v)
{
    uint32_t bits, magnitude;
    uint16_t sign;

    memcpy(&bits, &v, sizeof bits);
    magnitude = bits & 0x7fffffffu;
    sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u)
        return 0x7fff;
    if (magnitude >= 0x477ff000u)   /* from 65520 on it is infinite */
        return sign | 0x7c00u;
    if (magnitude < 0x38800000u)    /* below 2^-14: in units of 2^-24 */
        return sign | (uint16_t)rintf(fabsf(v) * 16777216.0f);
    magnitude += 0xfffu + (magnitude >> 13 & 1);
    return sign | (uint16_t)((magnitude - 0x38000000u) >> 13);
}

static float half_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float v = exponent == 31 ? (mantissa ? NAN : INFINITY)
              : exponent     ? ldexpf((float)(1024 + mantissa), exponent - 25)
                             : ldexpf((float)mantissa, -24);

    return bits & 0x8000u ? -v : v;
}

/* Writes v as the precision has it to the channel'th value of a row of weights; returns what came of
 * it. */
static float put_value(enum precision precision, char *row, int lane, float v)
{
    if (precision == PRECISION_FP16) {
        uint16_t bits = half_bits(v);

        memcpy(row + lane * (int)sizeof bits, &bits, sizeof bits);
        return half_value(bits);
    }
    if (precision == PRECISION_TF32)
        v = round_tf32(v);
    memcpy(row + lane * (int)sizeof v, &v, sizeof v);
    return v;
}

/* 2^k with 1/2 < 2^k max |W_o| <= 1, W_o being what the phases have of output o; 1 where there is no
 * such number. */
static float scale_up(const struct conv_shape *shape, const struct conv_weights *weights, int o,
                      const struct conv_taps *taps)
{
    float most = 0.0f;
    int k;

    for (int p = 0; p < conv_phase_count(shape); p++)
        for (int i = 0; i < shape->in; i++)
            for (int t = 0; t < taps[p].count; t++) {
                float w = fabsf(conv_tap_weight(&taps[p], t, weights, o, i));

                most = w > most ? w : most;
            }
    if (!(most > 0.0f) || isinf(most))
        return 1.0f;
    k = frexpf(most, &k) == 0.5f ? 1 - k : -k;
    return ldexpf(1.0f, k > SCALE_MAX ? SCALE_MAX : k < -SCALE_MAX ? -SCALE_MAX : k);
}

/* Output o of a phase; to is where the phase begins. Adds the squares to energy [in]. */
static void pack_output(char *to, const struct conv_shape *shape, const struct conv_weights *weights,
                        enum precision precision, int o, const struct conv_taps *taps, float up,
                        float *energy)
{
    int lanes = precision_lanes(precision), blocks = activation_blocks(precision, shape->in);
    char *piece = to + (size_t)(o / CONV_PIECE) * (size_t)blocks * (size_t)taps->count *
                           CONV_PIECE_BLOCK_BYTES;

    for (int i = 0; i < shape->in; i++) {
        int block = i / lanes, first = block / CONV_CHUNK * CONV_CHUNK;
        int left = blocks - first < CONV_CHUNK ? blocks - first : CONV_CHUNK;

        for (int t = 0; t < taps->count; t++) {
            size_t at = (size_t)first * (size_t)taps->count + (size_t)(t * left + block - first);
            float w = conv_tap_weight(taps, t, weights, o, i) * up;

            w = put_value(precision,
                          piece + at * CONV_PIECE_BLOCK_BYTES + o % CONV_PIECE * BLOCK_BYTES,
                          i % lanes, w);
            if (energy)
                energy[i] = fmaf(w, w, energy[i]);
        }
    }
}

void conv_pack(void *to, const struct conv_shape *shape, const struct conv_weights *weights,
               enum precision precision, float *down, float *energy)
{
    struct conv_taps taps[CONV_PHASES_MAX];
    int phases = conv_phase_count(shape);

    for (int p = 0; p < phases; p++)
        taps[p] = conv_phase_taps(shape, p);
    for (int o = 0; o < shape->out; o++) {
        float up = scale_up(shape, weights, o, taps);
        char *phase = (char *)to;

        down[o] = 1.0f / up;
        for (int i = 0; energy && i < shape->in; i++)
            energy[(size_t)o * (size_t)shape->in + (size_t)i] = 0.0f;
        for (int p = 0; p < phases; p++) {
            pack_output(phase, shape, weights, precision, o, &taps[p], up,
                        energy ? energy + (size_t)o * (size_t)shape->in : NULL);
            phase += conv_pack_bytes(shape, precision, p);
        }
    }
}
