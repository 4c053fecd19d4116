/* A backend whose pictures cost next to nothing, for what stands around the engine: queue, JPEG,
 * ledger, export. A picture is a texture of the model's size, made once, its rows shifted by what
 * the seed says, with the seed's and psi's bits as squares over it: about as large a JPEG as a real
 * picture, another one for every recipe, the same one everywhere.
 *
 * SEEDPRESS_QUICK_LOG: a file to which the seed of every picture rendered is appended, 4 bytes each
 * in the machine's order, so that a test can count what was rendered twice, also by workers that
 * were killed. */
#include "kernels/backend.h"
#include "kernels/model.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIXEL = 3, SQUARES = 16, BATCH_LOGGED = 256 };

struct engine {
    int log_fd;                     /* -1: nobody counts */
};

struct net {
    struct engine *engine;
    const struct model_facts *facts;
    int max_batch;
    uint8_t *texture;               /* [H, 2 W, 3] */
};

extern const struct backend seedpress_backend;

static int device_count(void)
{
    return 1;
}

static enum err_code open_engine(const struct backend_options *options, struct engine **out,
                                 struct err *e)
{
    const char *path = getenv("SEEDPRESS_QUICK_LOG");
    struct engine *self = calloc(1, sizeof *self);

    (void)options;
    *out = self;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for an engine");
    self->log_fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    return ERR_OK;
}

static void close_engine(struct engine **self)
{
    if (*self && (*self)->log_fd >= 0)
        close((*self)->log_fd);
    free(*self);
    *self = NULL;
}

static const char *numerics_class(const struct engine *self)
{
    (void)self;
    return "quick-1";
}

static const char *device(const struct engine *self)
{
    (void)self;
    return "no device";
}

static const char *driver(const struct engine *self)
{
    (void)self;
    return "";
}

static uint32_t mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* Slopes, an edge here and there, and a little grain. */
static void paint(struct net *self)
{
    int width = 2 * self->facts->width, height = self->facts->height;
    uint8_t *at = self->texture;

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < PIXEL; c++) {
                uint32_t cell = mix((uint32_t)(x / 24 * 977 + y / 24 * 3557 + c));
                uint32_t grain = mix((uint32_t)((y * width + x) * PIXEL + c));

                *at++ = (uint8_t)(64 + (cell & 63) + (uint32_t)(x % 24 + y % 24) + (grain & 7));
            }
}

static void unload(struct net **self)
{
    if (*self)
        free((*self)->texture);
    free(*self);
    *self = NULL;
}

static enum err_code load(struct engine *self, struct model *model, int max_batch,
                          struct net **out, struct err *e)
{
    struct net *net = calloc(1, sizeof *net);

    *out = net;
    if (!net)
        return err_set(e, ERR_NOMEM, "no memory for a net");
    net->engine = self;
    net->facts = model_facts(model);
    net->max_batch = max_batch;
    net->texture = malloc((size_t)net->facts->width * 2 * (size_t)net->facts->height * PIXEL);
    if (!net->texture) {
        unload(out);
        return err_set(e, ERR_NOMEM, "no memory for a texture");
    }
    paint(net);
    return ERR_OK;
}

static void draw(const struct net *self, const struct sample *sample, uint8_t *rgb)
{
    size_t width = (size_t)self->facts->width, height = (size_t)self->facts->height;
    size_t side = height / SQUARES ? height / SQUARES : 1;
    uint32_t psi, bits[2];

    memcpy(&psi, &sample->psi, sizeof psi);
    bits[0] = sample->seed;
    bits[1] = mix(psi + (uint32_t)sample->class_index);
    for (size_t y = 0; y < height; y++) {
        size_t shift = mix(sample->seed + (uint32_t)(y / 8)) % width;

        memcpy(rgb + y * width * PIXEL, self->texture + (2 * y * width + shift) * PIXEL,
               width * PIXEL);
    }
    for (size_t i = 0; i < 64 && (i / SQUARES + 1) * side <= height; i++)
        if (bits[i / 32] >> i % 32 & 1)
            for (size_t y = i / SQUARES * side; y < (i / SQUARES + 1) * side; y++)
                memset(rgb + (y * width + i % SQUARES * side) * PIXEL, 235,
                       (i % SQUARES + 1) * side <= width ? side * PIXEL : 0);
}

static enum err_code render(struct net *self, const struct sample *samples, int count,
                            uint8_t *rgb, const struct capture *capture, struct err *e)
{
    size_t each = (size_t)self->facts->width * (size_t)self->facts->height * PIXEL;
    uint32_t seeds[BATCH_LOGGED];
    enum err_code rc = batch_check(samples, count, self->max_batch, self->facts, e);

    (void)capture;
    if (rc || !rgb)
        return rc;
    for (int i = 0; i < count; i++) {
        draw(self, &samples[i], rgb + (size_t)i * each);
        seeds[i % BATCH_LOGGED] = samples[i].seed;
    }
    if (self->engine->log_fd >= 0 && count <= BATCH_LOGGED &&
        write(self->engine->log_fd, seeds, (size_t)count * sizeof seeds[0]) < 0)
        return err_set(e, ERR_DEVICE, "the log of seeds cannot be written");
    return ERR_OK;
}

const struct backend seedpress_backend = {
    .abi = BACKEND_ABI,
    .name = "quick",
    .standing = "for tests: its pictures are none of the model's",
    .device_count = device_count,
    .open = open_engine,
    .close = close_engine,
    .numerics_class = numerics_class,
    .device = device,
    .driver = driver,
    .load = load,
    .unload = unload,
    .render = render,
};
