/* check -- the frame of the checks in this folder. They are built twice: by nvcc for the device
 * that is there (make gpu-check), and with the emulator for the host, where make test runs them.
 *
 * A part is a function that makes its rows and returns how many were misses. Each part runs in a
 * process of its own with a limit of its own, so that none can stop another: a part that dies or
 * hangs is named, counted as a miss, and the next one starts. Rows are printed as they are made; in
 * TAP they are "ok - part: words" for tests/run.sh.
 *
 * Headers of this folder and of the kits are C: a .cu file includes them in extern "C". */
#ifndef TESTS_GPU_CHECK_H
#define TESTS_GPU_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How much a part should do. */
enum check_scale {
    CHECK_FULL,                     /* a device: everything, in seconds */
    CHECK_SHORT,                    /* the emulator: every path, few sizes, 10 s a part or so */
    CHECK_TINY,                     /* under compute-sanitizer or ASan: each path once, 16..32 px */
};
enum check_scale check_scale(void);
bool check_is_emulated(void);

/* ---- Rows: each prints one line at once and returns the number of misses in it, 0 or 1. The words
 * name the case: "conv3x3 fp16 512>512 16 px N=3". ---- */

/* A miss unless error <= tolerance (so also when it is no number). */
int check_within(double error, double tolerance, const char *words, ...)
    __attribute__((format(printf, 3, 4)));
/* A miss unless value >= least: a PSNR in dB. */
int check_at_least(double value, double least, const char *words, ...)
    __attribute__((format(printf, 3, 4)));
/* A miss unless all bytes agree; says where the first other one is. */
int check_same(const void *got, const void *expect, size_t bytes, const char *words, ...)
    __attribute__((format(printf, 4, 5)));
int check_that(bool holds, const char *words, ...) __attribute__((format(printf, 2, 3)));
/* ERR_OK or another int that is 0 when all went well; message is what to print when it is not. */
int check_no_error(int code, const char *message, const char *words, ...)
    __attribute__((format(printf, 3, 4)));

/* No checks: a line of a table or a remark; and what could not be checked here, and why. */
void check_note(const char *words, ...) __attribute__((format(printf, 1, 2)));
void check_skip(const char *words, ...) __attribute__((format(printf, 1, 2)));

/* The largest |got - expect|, NaN when one is there; and the largest |value|. */
double check_max_error(const float *got, const float *expect, size_t count);
double check_peak(const float *values, size_t count);

/* For a probe: the rest of the run does without this path ("wgmma"). Later parts find its name in
 * the environment variable SEEDPRESS_CUDA_OFF, names parted by commas. The run has missed then. */
void check_switch_off(const char *path);

/* ---- Parts: a check_<name>.cu or .c for each, listed in main.c with its limits. ---- */

int check_device(void);             /* which device; none: the run ends */
int check_probe(void);              /* one mma, wgmma, TMA box ... against the host's emulation */
int check_conv(void);
int check_wgmma(void);
int check_fir(void);
int check_gather(void);
int check_normalize(void);
int check_rgb(void);
int check_waves(void);
int check_mapping(void);
int check_blas(void);
int check_filtered_lrelu(void);
int check_jpeg(void);
int check_network(void);
int check_golden(void);
int check_invariance(void);
int check_small(void);              /* what compute-sanitizer looks at: whole renders, 16..32 px */
int check_bench(void);

enum { CHECK_EMULATED_LIMIT_S = 540 };

struct check_part {
    const char *name;
    const char *words;              /* what it shows */
    int (*run)(void);               /* NULL: not in this build */
    int limit_s;                    /* on a device; 0: runs only when it is named. Emulated each has
                                       CHECK_EMULATED_LIMIT_S */
};

/* check [--tap] [--scale full|short|tiny] [--total SECONDS] [--list] [PART...]: all parts, or the
 * named ones, each in its own process, no longer than SECONDS together; a summary, and 1 if anything
 * was missed. check --part NAME: that part in this very process, whose status is 2 when it needs a
 * device and there is none. */
int check_main(int argc, char **argv, const struct check_part *parts, int count);

#ifdef __cplusplus
}
#endif
#endif
