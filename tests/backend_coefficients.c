/* A backend that makes JPEG coefficients, for machines without a GPU: the CPU's pixels through
 * kernels/jpeg_transform.c, on two devices that are this CPU. It holds its caller to the contract of
 * kernels/backend.h: what is rendered into is pinned, and every byte of it may change, from its
 * first to its last, as soon as a render begins. */
#include "kernels/backend.h"
#include "kernels/jpeg_transform.h"
#include "kernels/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICES = 2, PINNED_MAX = 8 };

struct engine {
    struct engine *cpu;
    bool lost;
    char device[160];
    struct pinned {
        unsigned char *memory;      /* NULL: free */
        size_t bytes;
    } pinned[PINNED_MAX];
};

struct net {
    struct engine *engine;
    struct net *cpu;
    const struct model_facts *facts;
    uint8_t *rgb;                   /* [max_batch, H, W, 3] */
};

extern const struct backend seedpress_backend;

static int device_count(void)
{
    return DEVICES;
}

static enum err_code open_engine(const struct backend_options *options, struct engine **out,
                                 struct err *e)
{
    struct backend_options cpu = *options;
    struct engine *self;
    enum err_code rc;

    *out = NULL;
    if (options->device < 0 || options->device >= DEVICES)
        return err_set(e, ERR_DEVICE, "there is no device %d", options->device);
    self = calloc(1, sizeof *self);
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for an engine");
    cpu.device = 0;
    rc = backend_cpu.open(&cpu, &self->cpu, e);
    if (rc) {
        free(self);
        return rc;
    }
    snprintf(self->device, sizeof self->device, "coefficients %d on %.120s", options->device,
             backend_cpu.device(self->cpu));
    *out = self;
    return ERR_OK;
}

static void close_engine(struct engine **self)
{
    if (!*self)
        return;
    for (int i = 0; i < PINNED_MAX; i++)
        if ((*self)->pinned[i].memory) {
            fprintf(stderr, "backend coefficients: closed with memory still pinned\n");
            abort();
        }
    backend_cpu.close(&(*self)->cpu);
    free(*self);
    *self = NULL;
}

/* The arithmetic is the CPU's, and so is its class. */
static const char *numerics_class(const struct engine *self)
{
    return backend_cpu.numerics_class(self->cpu);
}

static const char *device(const struct engine *self)
{
    return self->device;
}

static const char *driver(const struct engine *self)
{
    (void)self;
    return "driver of no device";
}

static void unload(struct net **self)
{
    if (!*self)
        return;
    backend_cpu.unload(&(*self)->cpu);
    free((*self)->rgb);
    free(*self);
    *self = NULL;
}

static enum err_code load(struct engine *self, struct model *model, int max_batch,
                          struct net **out, struct err *e)
{
    const struct model_facts *facts = model_facts(model);
    struct net *net = calloc(1, sizeof *net);
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!net)
        return err_set(e, ERR_NOMEM, "no memory for a net");
    net->engine = self;
    net->facts = facts;
    net->rgb = malloc((size_t)max_batch * (size_t)facts->width * (size_t)facts->height * 3);
    if (!net->rgb)
        rc = err_set(e, ERR_NOMEM, "no memory for a batch of %d", max_batch);
    if (!rc)
        rc = backend_cpu.load(self->cpu, model, max_batch, &net->cpu, e);
    if (rc)
        unload(&net);
    *out = net;
    return rc;
}

static enum err_code render(struct net *self, const struct sample *samples, int count,
                            uint8_t *rgb, const struct capture *capture, struct err *e)
{
    return backend_cpu.render(self->cpu, samples, count, rgb, capture, e);
}

/* Lost is the device of whoever takes the file that SEEDPRESS_TEST_LOSE names away. */
static bool is_lost(struct engine *self)
{
    const char *path = getenv("SEEDPRESS_TEST_LOSE");

    self->lost = self->lost || (path && unlink(path) == 0);
    return self->lost;
}

static enum err_code check_memory(const struct engine *self, const int16_t *coefficients,
                                  size_t bytes, struct err *e)
{
    const unsigned char *at = (const unsigned char *)coefficients;

    for (int i = 0; i < PINNED_MAX; i++) {
        const struct pinned *p = &self->pinned[i];

        if (p->memory && at >= p->memory && at + bytes <= p->memory + p->bytes)
            return ERR_OK;
    }
    return err_set(e, ERR_BUG, "coefficients are wanted in memory that is not pinned");
}

static enum err_code render_coefficients(struct net *self, const struct sample *samples,
                                         const int *qualities, int count, int16_t *coefficients,
                                         struct err *e)
{
    int width = self->facts->width, height = self->facts->height;
    size_t each = jpeg_coefficients_layout(width, height).count;
    size_t bytes = (size_t)count * each * sizeof *coefficients;
    enum err_code rc = check_memory(self->engine, coefficients, bytes, e);

    for (int i = 0; !rc && i < count; i++)
        if (qualities[i] < 1 || qualities[i] > 100)
            rc = err_set(e, ERR_RANGE, "sample %d: quality %d is not 1 to 100", i, qualities[i]);
    if (rc)
        return rc;
    memset(coefficients, 0x7f, bytes);      /* whoever still reads here makes a wrong file */
    if (is_lost(self->engine))
        return err_set(e, ERR_DEVICE, "an error that stays");
    rc = backend_cpu.render(self->cpu, samples, count, self->rgb, NULL, e);
    for (int i = 0; !rc && i < count; i++) {
        struct jpeg_tables tables = jpeg_tables_of(qualities[i]);

        jpeg_coefficients(self->rgb + (size_t)i * (size_t)width * (size_t)height * 3, width,
                          height, &tables, coefficients + (size_t)i * each);
    }
    return rc;
}

static enum err_code pin(struct engine *self, size_t bytes, void **memory, struct err *e)
{
    *memory = NULL;
    for (int i = 0; i < PINNED_MAX; i++) {
        struct pinned *p = &self->pinned[i];

        if (p->memory)
            continue;
        p->bytes = bytes;
        *memory = p->memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
        return *memory ? ERR_OK : err_set(e, ERR_NOMEM, "no memory to pin");
    }
    return err_set(e, ERR_NOMEM, "more than %d pieces are pinned", PINNED_MAX);
}

static void unpin(struct engine *self, void **memory)
{
    for (int i = 0; *memory && i < PINNED_MAX; i++)
        if (self->pinned[i].memory == *memory)
            self->pinned[i].memory = NULL;
    free(*memory);
    *memory = NULL;
}

const struct backend seedpress_backend = {
    .abi = BACKEND_ABI,
    .name = "coefficients",
    .standing = "",
    .device_count = device_count,
    .open = open_engine,
    .close = close_engine,
    .numerics_class = numerics_class,
    .device = device,
    .driver = driver,
    .load = load,
    .unload = unload,
    .render = render,
    .render_coefficients = render_coefficients,
    .pin = pin,
    .unpin = unpin,
    .lost = is_lost,
};
