#include "kernels/levels.h"

#include <math.h>
#include <stdlib.h>

static const double PSNR_MAX = 99;

double levels_psnr(double mean_square)
{
    double psnr = mean_square > 0 ? 10 * log10(255.0 * 255.0 / mean_square) : PSNR_MAX;

    return psnr < PSNR_MAX ? psnr : PSNR_MAX;
}

struct levels levels_of(const uint8_t *a, const uint8_t *b, size_t count)
{
    uint64_t sum = 0, squares = 0;
    int max = 0;

    for (size_t i = 0; i < count; i++) {
        int d = abs((int)a[i] - (int)b[i]);

        max = d > max ? d : max;
        sum += (uint64_t)d;
        squares += (uint64_t)(d * d);
    }
    return (struct levels){ .max = max, .mean = (double)sum / (double)count,
                            .psnr_db = levels_psnr((double)squares / (double)count) };
}
