/* jpeg -- a batch's pixels to JPEG coefficients: kernels/jpeg_transform.h on a GPU, to the last bit. */
#ifndef KERNELS_CUDA_JPEG_CUH
#define KERNELS_CUDA_JPEG_CUH

#include "kernels/cuda/device.cuh"

extern "C" {
#include "kernels/jpeg_transform.h"
}

/* All in device memory, queued on stream and not awaited; what could not be launched is returned.
 *   rgb           [samples, height, width, 3], as quantize leaves it; any alignment
 *   coefficients  [samples, jpeg_coefficients_layout(width, height).count]; aligned to 4 bytes
 *   tables        [samples, 2, 64]: a struct jpeg_tables for each, of its quality */
cudaError_t cuda_jpeg_run(const uint8_t *rgb, int16_t *coefficients, const uint16_t *tables,
                          int width, int height, int samples, cudaStream_t stream);

#endif
