/* check -- what a GPU's kernels are held to; see check.h, and tests/README.md for how to run it. */
#include "tests/gpu/check.h"

/* A part whose file is not there, or not in this build, is NULL and left out. */
#pragma weak check_probe
#pragma weak check_conv
#pragma weak check_wgmma
#pragma weak check_fir
#pragma weak check_gather
#pragma weak check_normalize
#pragma weak check_rgb
#pragma weak check_waves
#pragma weak check_mapping
#pragma weak check_blas
#pragma weak check_filtered_lrelu
#pragma weak check_jpeg
#pragma weak check_network
#pragma weak check_bench

/* In the order of the run. The limits, with compute-sanitizer's and the peer's in tests/gpu/run.sh,
 * sum to less than 8 minutes. 0: only when it is named. */
static const struct check_part PARTS[] = {
    { "device", "what is checked", check_device, 20 },
    { "probe", "single instructions against their host versions", check_probe, 10 },
    { "conv", "convolutions against the reference", check_conv, 15 },
    { "wgmma", "products of warpgroups, and convolutions by them", check_wgmma, 15 },
    { "fir", "up-convolution's filter, and how a layer ends", check_fir, 8 },
    { "gather", "sums of parts, and how a layer ends", check_gather, 8 },
    { "normalize", "instance norm", check_normalize, 8 },
    { "rgb", "a layer's part of the picture, and the doubled one before", check_rgb, 8 },
    { "waves", "StyleGAN 3's input", check_waves, 8 },
    { "mapping", "z to w", check_mapping, 8 },
    { "blas", "the same by cuBLAS", check_blas, 10 },
    { "filtered_lrelu", "StyleGAN 3's activation", check_filtered_lrelu, 15 },
    { "jpeg", "JPEG coefficients, to the bit", check_jpeg, 10 },
    { "network", "whole networks against the CPU engine", check_network, 20 },
    { "golden", "recorded networks in every precision", check_golden, 40 },
    { "invariance", "batch size, place and tiles change no bit", check_invariance, 45 },
    { "small", "renders for compute-sanitizer", check_small, 0 },
    { "bench", "times, rates and memory", check_bench, 0 },
};

int main(int argc, char **argv)
{
    return check_main(argc, argv, PARTS, (int)(sizeof PARTS / sizeof PARTS[0]));
}
