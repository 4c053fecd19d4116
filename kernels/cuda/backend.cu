/* backend -- the table of the CUDA devices, which a program opens at run time: kernels/backend.h has
 * its promises. An engine is one device; whichever of the caller's threads renders sets it first. */
#include "kernels/cuda/blas.cuh"
#include "kernels/cuda/network.cuh"

extern "C" {
#include "kernels/backend.h"
#include "kernels/jpeg_transform.h"
#include "kernels/model.h"
}

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_MAX = 160,
    CLASS_VERSION = 1,          /* raised whenever a kernel's pixels change */
    OLDEST = 80,                /* compute capability, in tenths, of what the kernels need */
    QUALITY_MAX = 100,
};

struct engine {
    int device;
    enum precision precision;
    bool drop_values;
    bool wgmma;                 /* large layers by conv_wgmma.cuh, as SEEDPRESS_CUDA_WGMMA=1 asks */
    struct blas *blas;          /* NULL: not installed; own kernels make the products */
    char numerics_class[TEXT_MAX], text[TEXT_MAX], driver[TEXT_MAX];
};

struct net {
    struct engine *engine;
    const struct model *model;
    int max_batch;
    struct network_cuda *network;
};

static int cuda_device_count(void)
{
    int count = 0;

    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

/* Whether the fat binary has machine code for it; else the driver compiles compute_80's. */
static bool has_machine_code(int capability)
{
    return capability >= OLDEST && capability <= 90;
}

/* Off unless it is asked for, where the probe of gpu-check has not switched it off. */
static bool wants_wgmma(const struct engine *self, int capability)
{
    const char *wish = getenv("SEEDPRESS_CUDA_WGMMA"), *off = getenv("SEEDPRESS_CUDA_OFF");

    return wish && strcmp(wish, "1") == 0 && capability == 90 &&
           self->precision == PRECISION_FP16 && !(off && strstr(off, "wgmma"));
}

/* Tensor cores differ in their inner sums from generation to generation, so a class names the chip,
 * and the products of warpgroups where they are used; else not the path through the code. What the
 * driver compiled is never equal to what was shipped. */
static void write_class(struct engine *self, int capability)
{
    snprintf(self->numerics_class, sizeof self->numerics_class, "cuda-%ssm%d-%s%s%s-%d",
             has_machine_code(capability) ? "" : "ptx80-", capability,
             precision_word(self->precision), self->wgmma ? "-wgmma" : "", self->blas ? "" : "-fc",
             CLASS_VERSION);
}

static enum err_code read_device(struct engine *self, struct err *e)
{
    struct cudaDeviceProp about;
    int driver = 0, runtime = 0, capability;
    cudaError_t rc = cudaSetDevice(self->device);

    if (rc == cudaSuccess)
        rc = cudaGetDeviceProperties(&about, self->device);
    if (rc != cudaSuccess)
        return err_set(e, ERR_DEVICE, "device %d does not answer: %s", self->device,
                       cudaGetErrorString(rc));
    capability = 10 * about.major + about.minor;
    if (capability < OLDEST)
        return err_set(e, ERR_UNSUPPORTED,
                       "device %d (%s) has compute capability %d.%d; 8.0 or later is needed",
                       self->device, about.name, about.major, about.minor);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    snprintf(self->text, sizeof self->text, "%.80s, %d multiprocessors, %zu MB", about.name,
             about.multiProcessorCount, about.totalGlobalMem / 1000000);
    snprintf(self->driver, sizeof self->driver, "CUDA driver %d.%d, runtime %d.%d, %s",
             driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10,
             self->blas ? blas_version(self->blas) : "no cuBLAS");
    self->wgmma = wants_wgmma(self, capability);
    write_class(self, capability);
    return ERR_OK;
}

static void cuda_close(struct engine **self)
{
    if (!*self)
        return;
    cudaSetDevice((*self)->device);
    blas_destroy(&(*self)->blas);
    free(*self);
    *self = NULL;
}

static enum err_code cuda_open(const struct backend_options *options, struct engine **out,
                               struct err *e)
{
    int count = cuda_device_count();
    struct engine *self;
    enum err_code rc;

    *out = NULL;
    if (count == 0)
        return err_set(e, ERR_DEVICE,
                       "backend cuda finds no device: no NVIDIA GPU here, or no driver that works");
    if (options->device < 0 || options->device >= count)
        return err_set(e, ERR_DEVICE, "backend cuda has no device %d, only 0 to %d",
                       options->device, count - 1);
    self = (struct engine *)calloc(1, sizeof *self);
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for an engine");
    self->device = options->device;
    self->precision =
        options->precision == PRECISION_AUTO ? PRECISION_FP16 : options->precision;
    self->drop_values = options->drop_values;
    cudaSetDevice(self->device);
    rc = getenv("SEEDPRESS_CUDA_NO_BLAS") ? ERR_OK : blas_create(&self->blas, e);
    if (rc == ERR_UNSUPPORTED)      /* not installed: a class of its own */
        rc = ERR_OK;
    if (!rc)
        rc = read_device(self, e);
    if (rc) {
        cuda_close(&self);
        return rc;
    }
    *out = self;
    return ERR_OK;
}

static const char *cuda_numerics_class(const struct engine *self)
{
    return self->numerics_class;
}

static const char *cuda_device(const struct engine *self)
{
    return self->text;
}

static const char *cuda_driver(const struct engine *self)
{
    return self->driver;
}

static void cuda_unload(struct net **self)
{
    if (!*self)
        return;
    cudaSetDevice((*self)->engine->device);
    network_cuda_destroy(&(*self)->network);
    free(*self);
    *self = NULL;
}

static enum err_code cuda_load(struct engine *self, struct model *model, int max_batch,
                               struct net **out, struct err *e)
{
    const char *tile = getenv("SEEDPRESS_CUDA_TILE");
    struct network_options options = {};
    struct plan plan;
    struct net *net;
    enum err_code rc;

    *out = NULL;
    rc = load_check(model, max_batch, e);
    if (rc)
        return rc;
    net = (struct net *)calloc(1, sizeof *net);
    if (!net)
        return err_set(e, ERR_NOMEM, "no memory for a net");
    net->engine = self;
    net->model = model;
    net->max_batch = max_batch;
    options.precision = self->precision;
    options.max_batch = max_batch;
    options.wgmma = self->wgmma;
    options.tile = tile ? (int)strtol(tile, NULL, 10) : -1;
    options.blas = self->blas;
    cudaSetDevice(self->device);
    rc = plan_create(model, &plan, e);
    if (!rc)
        rc = network_cuda_create(&plan, &options, &net->network, e);
    if (rc) {
        cuda_unload(&net);
        return rc;
    }
    if (self->drop_values)
        model_drop_values(model);
    *out = net;
    return ERR_OK;
}

/* From cuda_pin. */
static bool is_page_locked(const void *memory)
{
    struct cudaPointerAttributes about;

    if (cudaPointerGetAttributes(&about, memory) == cudaSuccess)
        return about.type == cudaMemoryTypeHost;
    cudaGetLastError();
    return false;
}

static enum err_code cuda_render(struct net *self, const struct sample *samples, int count,
                                 uint8_t *rgb, const struct capture *capture, struct err *e)
{
    struct network_result result = {};
    enum err_code rc = batch_check(samples, count, self->max_batch, model_facts(self->model), e);

    if (rc)
        return rc;
    result.rgb = rgb;
    result.capture = capture;
    cudaSetDevice(self->engine->device);
    result.rgb_is_locked = rgb && is_page_locked(rgb);
    return network_cuda_render(self->network, samples, count, &result, e);
}

static enum err_code cuda_render_coefficients(struct net *self, const struct sample *samples,
                                              const int *qualities, int count,
                                              int16_t *coefficients, struct err *e)
{
    struct network_result result = {};
    enum err_code rc = batch_check(samples, count, self->max_batch, model_facts(self->model), e);

    for (int i = 0; !rc && i < count; i++)
        if (qualities[i] < 1 || qualities[i] > QUALITY_MAX)
            rc = err_set(e, ERR_RANGE, "sample %d: quality %d is out of range: 1..%d", i,
                         qualities[i], QUALITY_MAX);
    if (rc)
        return rc;
    result.qualities = qualities;
    result.coefficients = coefficients;
    cudaSetDevice(self->engine->device);
    return network_cuda_render(self->network, samples, count, &result, e);
}

static enum err_code cuda_pin(struct engine *self, size_t bytes, void **memory, struct err *e)
{
    *memory = NULL;
    cudaSetDevice(self->device);
    if (cudaMallocHost(memory, bytes) != cudaSuccess) {
        *memory = NULL;
        return err_set(e, ERR_NOMEM, "no %zu bytes of page-locked memory", bytes);
    }
    return ERR_OK;
}

static void cuda_unpin(struct engine *self, void **memory)
{
    cudaSetDevice(self->device);
    cudaFreeHost(*memory);
    *memory = NULL;
}

/* A kernel that trapped or read where nothing is, a GPU that fell off the bus: that error stays with the
 * process. */
static bool cuda_lost(struct engine *self)
{
    return cudaSetDevice(self->device) != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess;
}

extern "C" {

extern const struct backend seedpress_backend;
const struct backend seedpress_backend = {
    .abi = BACKEND_ABI,
    .name = "cuda",
    .standing = "not yet run on a device",
    .device_count = cuda_device_count,
    .open = cuda_open,
    .close = cuda_close,
    .numerics_class = cuda_numerics_class,
    .device = cuda_device,
    .driver = cuda_driver,
    .load = cuda_load,
    .unload = cuda_unload,
    .render = cuda_render,
    .render_coefficients = cuda_render_coefficients,
    .pin = cuda_pin,
    .unpin = cuda_unpin,
    .lost = cuda_lost,
};

/* For the benchmark: network_cuda_profile of a net that is loaded. */
enum err_code seedpress_cuda_profile(struct net *self, int count,
                                     void (*row)(void *arg, const char *name, double us), void *arg,
                                     struct err *e);
enum err_code seedpress_cuda_profile(struct net *self, int count,
                                     void (*row)(void *arg, const char *name, double us), void *arg,
                                     struct err *e)
{
    cudaSetDevice(self->engine->device);
    return network_cuda_profile(self->network, count, row, arg, e);
}

}
