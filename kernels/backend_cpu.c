#include "kernels/backend.h"

#include "kernels/model.h"
#include "kernels/network.h"
#include "kernels/plan.h"
#include "kernels/pool.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICE_TEXT_MAX = 128 };

struct engine {
    struct pool *pool;
    bool drop_values;
    char device[DEVICE_TEXT_MAX];
};

struct net {
    const struct model *model;
    int max_batch;
    struct network *network;
};

/* "Intel(R) Xeon(R) Processor @ 2.50GHz", or "CPU" where the system does not say. */
static void read_cpu_name(char out[static 96])
{
    static const char KEY[] = "model name";
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");

    snprintf(out, 96, "CPU");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');

        if (strncmp(line, KEY, sizeof KEY - 1) == 0 && colon) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, 96, "%.95s", colon + 1 + strspn(colon + 1, " "));
            break;
        }
    }
    fclose(file);
}

static int cpu_device_count(void)
{
    return 1;
}

static enum err_code cpu_open(const struct backend_options *options, struct engine **out,
                              struct err *e)
{
    char name[96];
    struct engine *self;
    enum err_code rc;

    *out = NULL;
    if (options->device != 0)
        return err_set(e, ERR_DEVICE, "backend cpu has no device %d, only device 0",
                       options->device);
    if (options->precision != PRECISION_AUTO && options->precision != PRECISION_FP32)
        return err_set(e, ERR_UNSUPPORTED, "backend cpu computes in fp32, not in %s",
                       precision_word(options->precision));
    self = calloc(1, sizeof *self);
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for an engine");
    rc = pool_create(options->threads, &self->pool, e);
    if (rc) {
        free(self);
        return rc;
    }
    self->drop_values = options->drop_values;
    read_cpu_name(name);
    snprintf(self->device, sizeof self->device, "%s, %d thread%s", name, pool_threads(self->pool),
             pool_threads(self->pool) == 1 ? "" : "s");
    *out = self;
    return ERR_OK;
}

static void cpu_close(struct engine **self)
{
    if (!*self)
        return;
    pool_destroy(&(*self)->pool);
    free(*self);
    *self = NULL;
}

/* Backend, precision, what the sums are made of (fused multiply-add, whatever the vectors' width),
 * and a version that changes with the pictures: kernels/README.md. */
static const char *cpu_numerics_class(const struct engine *self)
{
    (void)self;
    return "cpu-fp32-fma-1";
}

static const char *cpu_device(const struct engine *self)
{
    return self->device;
}

static const char *cpu_driver(const struct engine *self)
{
    (void)self;
    return "";
}

static void cpu_unload(struct net **self)
{
    if (!*self)
        return;
    network_destroy(&(*self)->network);
    free(*self);
    *self = NULL;
}

static enum err_code cpu_load(struct engine *self, struct model *model, int max_batch,
                              struct net **out, struct err *e)
{
    struct plan plan;
    struct net *net;
    enum err_code rc;

    *out = NULL;
    rc = load_check(model, max_batch, e);
    if (rc)
        return rc;
    net = calloc(1, sizeof *net);
    if (!net)
        return err_set(e, ERR_NOMEM, "no memory for a net");
    net->model = model;
    net->max_batch = max_batch;
    rc = plan_create(model, &plan, e);
    if (!rc)
        rc = network_create(&plan, self->pool, max_batch, &net->network, e);
    if (!rc && self->drop_values)
        model_drop_values(model);
    if (!rc)
        rc = network_reserve(net->network, e);
    if (rc) {
        cpu_unload(&net);
        return rc;
    }
    *out = net;
    return ERR_OK;
}

static enum err_code cpu_render(struct net *self, const struct sample *samples, int count,
                                uint8_t *rgb, const struct capture *capture, struct err *e)
{
    enum err_code rc = batch_check(samples, count, self->max_batch, model_facts(self->model), e);

    return rc ? rc : network_render(self->network, samples, count, rgb, capture, e);
}

const struct backend backend_cpu = {
    .abi = BACKEND_ABI,
    .name = "cpu",
    .standing = "",
    .device_count = cpu_device_count,
    .open = cpu_open,
    .close = cpu_close,
    .numerics_class = cpu_numerics_class,
    .device = cpu_device,
    .driver = cpu_driver,
    .load = cpu_load,
    .unload = cpu_unload,
    .render = cpu_render,
};
