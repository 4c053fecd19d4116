#include "kernels/quantize.h"

#include <float.h>
#include <math.h>

bool quantize_cpu(uint8_t *out, const float *x, size_t pixels)
{
    bool finite = true;

    for (size_t p = 0; p < pixels; p++)
        for (size_t c = 0; c < 3; c++) {
            float v = x[c * pixels + p];

            finite &= fabsf(v) <= FLT_MAX;
            v = v * 127.5f + 128.0f;
            v = v > 0.0f ? v : 0.0f;        /* NaN too: its conversion would be undefined */
            out[3 * p + c] = (uint8_t)(v < 255.0f ? v : 255.0f);
        }
    return finite;
}
