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

/* In the order of the run. Each limit is some times what the host's part takes on one core of 2024;
 * tests/gpu/run.sh has a smaller one for all of them together. 0: only when it is named. */
static const struct check_part PARTS[] = {
    { "device", "what is checked", check_device, 30 },
    { "probe", "single instructions against their host versions", check_probe, 10 },
    { "conv", "convolutions against the reference", check_conv, 45 },
    { "wgmma", "products of warpgroups, and convolutions by them", check_wgmma, 30 },
    { "fir", "up-convolution's filter, and how a layer ends", check_fir, 20 },
    { "gather", "sums of parts, and how a layer ends", check_gather, 12 },
    { "normalize", "instance norm", check_normalize, 15 },
    { "rgb", "a layer's part of the picture, and the doubled one before", check_rgb, 20 },
    { "waves", "StyleGAN 3's input", check_waves, 12 },
    { "mapping", "z to w", check_mapping, 15 },
    { "blas", "the same by cuBLAS", check_blas, 20 },
    { "filtered_lrelu", "StyleGAN 3's activation", check_filtered_lrelu, 25 },
    { "jpeg", "JPEG coefficients, to the bit", check_jpeg, 12 },
    { "network", "whole networks against the CPU engine", check_network, 20 },
    { "golden", "recorded networks in every precision", check_golden, 40 },
    { "invariance", "batch size, place and tiles change no bit", check_invariance, 60 },
    { "small", "renders for compute-sanitizer", check_small, 0 },
    { "bench", "times, rates and memory", check_bench, 0 },
};

int main(int argc, char **argv)
{
    return check_main(argc, argv, PARTS, (int)(sizeof PARTS / sizeof PARTS[0]));
}
