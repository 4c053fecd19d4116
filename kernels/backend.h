/* backend -- the engine's face: a table of functions that a device implements. The CPU backend is
 * linked in; others are shared objects (libseedpress-<name>.so) opened at run time, so that one
 * worker binary starts on machines with and without a GPU.
 *
 * Promise of every backend: the bits of one sample's result depend on the model, the sample and the
 * numerics class, never on the batch size, the place in the batch or the number of threads.
 *
 * One thread renders on an engine at a time; nets of one engine may be loaded beside each other.
 * Engines know nothing of each other: each may have its thread. */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include "kernels/precision.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BACKEND_ABI = 4, BACKEND_NAME_MAX = 64 };

struct model;                       /* kernels/model.h */
struct engine;                      /* an open device */
struct net;                         /* a model prepared for it */

struct backend_options {
    int device;                     /* 0..device_count() - 1 */
    enum precision precision;
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
    /* What whoever trusts its pictures should know: "not yet run on a device"; "" when nothing. */
    const char *standing;

    /* How many devices there are now; the CPU is one. 0: none, or no driver that works. May start
     * the driver, which then does not survive a fork: ask in a process that does not fork later. */
    int (*device_count)(void);

    /* ERR_DEVICE: no such device, or it does not answer; ERR_UNSUPPORTED: it does not do this
     * precision; ERR_RANGE, ERR_NOMEM. */
    enum err_code (*open)(const struct backend_options *options, struct engine **out,
                          struct err *e);
    void (*close)(struct engine **self);

    /* "cpu-fp32-fma-1": the arithmetic that makes the pixels; recorded with every picture. */
    const char *(*numerics_class)(const struct engine *self);
    /* For people: "Intel(R) Xeon(R) Processor, 2 threads". */
    const char *(*device)(const struct engine *self);
    /* The driver and the libraries that it computes with, recorded with every run: "driver 580.65,
     * CUDA 13.0"; "" where there are none. */
    const char *(*driver)(const struct engine *self);

    /* Prepares a model; takes its memory now, for the largest batch and every kind of render. The
     * model is borrowed and must outlive the net. ERR_UNSUPPORTED names what the engine does not do,
     * ERR_INVALID a tensor of which nothing can come; ERR_NOMEM the bytes that it needs and that are
     * free; ERR_BUG when the model's values have been dropped, which a load that failed may have
     * done. */
    enum err_code (*load)(struct engine *self, struct model *model, int max_batch,
                          struct net **out, struct err *e);
    void (*unload)(struct net **self);

    /* Renders samples[0..count), count <= max_batch, into rgb [count, H, W, 3] (NULL: not wanted;
     * from pin, all of it: one copy less). capture may be NULL. ERR_DEVICE when a value is not
     * finite: it names layer and sample; nothing of rgb is then to be used. */
    enum err_code (*render)(struct net *self, const struct sample *samples, int count,
                            uint8_t *rgb, const struct capture *capture, struct err *e);

    /* The next three are there together, or all are NULL: then there are pixels only. */

    /* Renders like render, and turns the pixels into JPEG coefficients on the device: those that
     * jpeg_coefficients (kernels/jpeg_transform.h) makes of render's pixels, to the last bit.
     *   qualities     [count] 1..100, one a sample; another is ERR_RANGE
     *   coefficients  [count, jpeg_coefficients_layout(W, H).count]: the caller's, from pin
     * The call returns when all of them are there, and nothing writes into them later: while other
     * threads read them, the next batch may be rendered into other memory. On failure nothing of
     * coefficients is to be used. */
    enum err_code (*render_coefficients)(struct net *self, const struct sample *samples,
                                         const int *qualities, int count, int16_t *coefficients,
                                         struct err *e);

    /* Host memory that the device writes into at full speed (page-locked), aligned to 64 bytes at
     * least. Whoever has it gives it back with unpin, before the engine is closed and not while a
     * render fills it; unpin sets *memory NULL, and NULL is fine. ERR_NOMEM. */
    enum err_code (*pin)(struct engine *self, size_t bytes, void **memory, struct err *e);
    void (*unpin)(struct engine *self, void **memory);

    /* After ERR_DEVICE: whether the device is lost to this process, so that every further call would
     * fail too, whatever is asked. Whoever serves ends then, and is started anew. NULL: never. */
    bool (*lost)(struct engine *self);
};

/* The backend called name: "cpu", "cuda", or "auto" (the first of cuda, cpu that opens). Shared
 * objects are looked for beside the program, then in its ../lib/seedpress. The table is static.
 * ERR_UNSUPPORTED says what is missing and what to do. */
enum err_code backend_find(const char *name, const struct backend **out, struct err *e);

/* The sample that a recipe asks for. */
struct sample sample_of_recipe(const struct recipe *recipe);

/* What every backend refuses. Before a load: ERR_RANGE, ERR_BUG. */
enum err_code load_check(const struct model *model, int max_batch, struct err *e);
/* Before a render: a batch that the net was not loaded for, or a sample that a model of such facts
 * has no picture for. ERR_RANGE, ERR_CLASS_REQUIRED, ERR_UNSUPPORTED. */
enum err_code batch_check(const struct sample *samples, int count, int max_batch,
                          const struct model_facts *facts, struct err *e);

extern const struct backend backend_cpu;

#endif
