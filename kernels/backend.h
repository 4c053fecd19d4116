/* backend -- the engine's face: a table of functions that a device implements. The CPU backend is
 * linked in; others are shared objects (libseedpress-<name>.so) opened at run time, so that one
 * worker binary starts on machines with and without a GPU.
 *
 * Promise of every backend: the bits of one sample's result depend on the model, the sample and the
 * numerics class, never on the batch size, the place in the batch or the number of threads.
 *
 * One thread renders on an engine at a time; nets of one engine may be loaded beside each other. */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include "proto/err.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stdint.h>

enum { BACKEND_ABI = 2, BACKEND_NAME_MAX = 64 };

struct model;                       /* kernels/model.h */
struct engine;                      /* an open device */
struct net;                         /* a model prepared for it */

struct backend_options {
    int device;                     /* ordinal; 0 on the CPU */
    int threads;                    /* CPU: threads of one render; 0 = one a core */
    bool drop_values;               /* load frees a model's values as soon as it has its own copy:
                                       half the memory, but the model can be loaded once only */
};

/* One picture to be made. */
struct sample {
    uint32_t seed;
    float psi;                      /* recipe_psi_float(); 1 = no truncation */
    int cutoff;                     /* rows of w that truncation reaches, 0..num_ws */
    int class_index;                /* -1: none */
    enum recipe_noise noise;        /* one of the model's noise_modes */
    uint32_t noise_seed;
    struct recipe_transform transform;
};

/* Where the caller wants to see inside a render; NULL members are skipped. Arrays of one entry a
 * sample, in the batch's order. */
struct capture {
    double *z;                      /* [count, z_dim] as drawn, before rounding to float32 */
    float *ws;                      /* [count, num_ws, w_dim] after truncation */
    float *image;                   /* [count, 3, H, W] before the conversion to 8 bit */
    /* Called for every layer's output of every sample, in order of execution: index is the sample's
     * place in the batch, name as in tests/golden ("b8.conv0"), data [channels, height, width]
     * float32, lent for the call. */
    void (*trace)(void *arg, int index, const char *name, const float *data, int channels,
                  int height, int width);
    void *trace_arg;
};

struct backend {
    int abi;                        /* BACKEND_ABI */
    const char *name;               /* "cpu" */

    enum err_code (*open)(const struct backend_options *options, struct engine **out,
                          struct err *e);
    void (*close)(struct engine **self);

    /* "cpu-fp32-fma-1": the arithmetic that makes the pixels; recorded with every picture. */
    const char *(*numerics_class)(const struct engine *self);
    /* For people: "Intel(R) Xeon(R) Processor, 2 threads". */
    const char *(*device)(const struct engine *self);

    /* Prepares a model; takes its memory now, for the largest batch. The model is borrowed and must
     * outlive the net. ERR_UNSUPPORTED names what the engine does not do, ERR_INVALID a tensor of
     * which nothing can come; ERR_NOMEM the bytes; ERR_BUG when the model's values have been
     * dropped, which a load that failed may have done. */
    enum err_code (*load)(struct engine *self, struct model *model, int max_batch,
                          struct net **out, struct err *e);
    void (*unload)(struct net **self);

    /* Renders samples[0..count), count <= max_batch, into rgb [count, H, W, 3] (NULL: not wanted).
     * capture may be NULL. ERR_DEVICE when a value is not finite: it names layer and sample;
     * nothing of rgb is then to be used. */
    enum err_code (*render)(struct net *self, const struct sample *samples, int count,
                            uint8_t *rgb, const struct capture *capture, struct err *e);
};

/* The backend called name: "cpu", "cuda", or "auto" (the first of cuda, cpu that opens). Shared
 * objects are looked for beside the program, then in its ../lib/seedpress. The table is static.
 * ERR_UNSUPPORTED says what is missing and what to do. */
enum err_code backend_find(const char *name, const struct backend **out, struct err *e);

/* The sample that a recipe asks for. */
struct sample sample_of_recipe(const struct recipe *recipe);

extern const struct backend backend_cpu;

#endif
