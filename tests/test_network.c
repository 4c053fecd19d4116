/* What a network takes of memory: no more than its weights and one and a half times the two largest
 * activations of its largest batch. */
#include "kernels/model.h"
#include "kernels/network.h"
#include "kernels/plan.h"
#include "kernels/pool.h"
#include "tests/kit_arch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
size_t __sanitizer_get_current_allocated_bytes(void);   /* its header is not everywhere */
#endif

enum { THREADS = 2 };

/* Bytes that are allocated now. */
static size_t allocated(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return __sanitizer_get_current_allocated_bytes();
#else
    struct mallinfo2 info = mallinfo2();        /* hblkhd: what has pages of its own */

    return info.uordblks + info.hblkhd;
#endif
}

static size_t weights_of(const struct model *model)
{
    size_t floats = 0;

    for (size_t i = 0; i < model_tensor_count(model); i++)
        floats += model_tensor_at(model, i)->count;
    return floats * sizeof(float);
}

static size_t map_bytes(int channels, int size)
{
    return (size_t)channels * (size_t)size * (size_t)size * sizeof(float);
}

static void add_map(size_t largest[2], size_t bytes)
{
    if (bytes > largest[0]) {
        largest[1] = largest[0];
        largest[0] = bytes;
    } else if (bytes > largest[1]) {
        largest[1] = bytes;
    }
}

/* Bytes of the two largest maps of one sample: inputs, what convolutions make before it is
 * filtered, and what layers leave. */
static size_t activations_of(const struct plan *plan)
{
    size_t largest[2] = { 0 };

    for (int i = 0; i < plan->layers; i++) {
        const struct plan_layer *layer = &plan->layer[i];
        const struct conv_shape *conv = &layer->conv;

        if (layer->source == PLAN_WAVES)
            add_map(largest, map_bytes(conv->in, conv->size));
        if (conv->kind == CONV_UP_SCATTER)
            add_map(largest, map_bytes(conv->out, 2 * conv->size + 1));
        else if (conv->kind == CONV_UP_NEAREST)
            add_map(largest, map_bytes(conv->out, 2 * conv->size));
        else if (layer->finish == PLAN_FILTER)
            add_map(largest, map_bytes(conv->out, conv->size + 2 * conv->pad + 1 - conv->kernel));
        add_map(largest, map_bytes(conv->out, layer->size));
    }
    return largest[0] + largest[1];
}

static struct model *model_of(const struct kit_arch *arch)
{
    struct model *model;
    struct err e;
    size_t len;
    uint8_t *bytes = kit_arch_bytes(arch, &(struct kit_weights){ .scale = 1 }, &len);

    if (model_parse(bytes, len, &model, &e))
        fail_msg("%s", e.msg);
    free(bytes);
    return model;
}

/* Without the activations themselves: they are only asked for. */
static void check_memory(const struct kit_arch *arch, int max_batch, const char *name)
{
    static const double MB = 1048576.0;
    static struct plan plan;
    struct model *model = model_of(arch);
    struct network *network;
    struct pool *pool;
    struct err e;

    if (plan_create(model, &plan, &e) || pool_create(THREADS, &pool, &e))
        fail_msg("%s", e.msg);
    double weights = (double)weights_of(model);
    double activations = (double)max_batch * (double)activations_of(&plan);
    size_t before = allocated();

    if (network_create(&plan, pool, max_batch, &network, &e))
        fail_msg("%s", e.msg);
    double takes = (double)(allocated() - before) + (double)network_reserve_bytes(network);
    double allowed = weights + 1.5 * activations;

    print_message("%s, batch %d: %.1f MB of %.1f (weights %.1f, two activations %.1f)\n", name,
                  max_batch, takes / MB, allowed / MB, weights / MB, activations / MB);
    if (takes > allowed)
        fail_msg("%s: %.0f bytes too many", name, takes - allowed);
    network_destroy(&network);
    pool_destroy(&pool);
    model_destroy(&model);
}

static struct kit_arch arch;

static void check_stylegan2(int resolution, int num_ws, int channel_base, int max_batch,
                            const char *name)
{
    kit_arch_stylegan2(&arch, &(struct stylegan2_arch){
        .z_dim = 512, .w_dim = 512, .resolution = resolution, .num_ws = num_ws,
        .mapping_layers = 8, .channel_base = channel_base, .channel_max = 512 });
    check_memory(&arch, max_batch, name);
}

static void check_stylegan3(bool radial, const char *name)
{
    kit_arch_stylegan3(&arch, &(struct stylegan3_arch){
        .z_dim = 512, .w_dim = 512, .resolution = 1024, .num_ws = 16, .mapping_layers = 2,
        .channel_base = radial ? 65536 : 32768, .channel_max = radial ? 1024 : 512,
        .num_layers = 14, .num_critical = 2, .first_cutoff = 2,
        .first_stopband = 4.2870938501451725, .last_stopband_rel = 1.2311444133449163,
        .margin_size = 10, .output_scale = 0.25, .conv_kernel = radial ? 1 : 3,
        .use_radial_filters = radial, .filter_size = 6, .lrelu_upsampling = 2,
        .conv_clamp = 256 });
    check_memory(&arch, 1, name);
}

/* The smallest batch is the hardest: what does not grow with it has nowhere to hide. */
static void stylegan1_stays_within_its_memory(void **state)
{
    (void)state;
    kit_arch_stylegan1(&arch, &(struct stylegan1_arch){
        .z_dim = 512, .w_dim = 512, .resolution = 1024, .num_ws = 18, .mapping_layers = 8,
        .mapping_fmaps = 512, .fmap_base = 8192, .fmap_max = 512 });
    check_memory(&arch, 1, "stylegan1-1024");
}

static void stylegan2_stays_within_its_memory(void **state)
{
    (void)state;
    check_stylegan2(64, 10, 2048, 16, "stylegan2-64");
    check_stylegan2(256, 14, 16384, 1, "stylegan2-256");
    check_stylegan2(1024, 18, 32768, 1, "stylegan2-1024");
}

static void stylegan3_stays_within_its_memory(void **state)
{
    (void)state;
    check_stylegan3(false, "stylegan3-t-1024");
    check_stylegan3(true, "stylegan3-r-1024");
}

static void memory_is_what_was_announced(void **state)
{
    static struct plan plan;
    struct kit_random random = { .state = 1 };
    struct pool *pool;
    struct err e;

    (void)state;
    assert_int_equal(pool_create(THREADS, &pool, &e), ERR_OK);
    for (int i = 0; i < 30; i++) {
        struct network *network;

        kit_arch_random(&arch, (enum model_arch)(i % 3), 64, true, &random);
        struct model *model = model_of(&arch);

        assert_int_equal(plan_create(model, &plan, &e), ERR_OK);
        assert_int_equal(network_create(&plan, pool, 4, &network, &e), ERR_OK);
        size_t before = allocated(), announced = network_reserve_bytes(network);

        assert_int_equal(network_reserve(network, &e), ERR_OK);
        size_t taken = allocated() - before;

        /* and a page or two for the allocator's own sake */
        assert_true(taken >= announced && taken < announced + 16384);
        network_destroy(&network);
        model_destroy(&model);
    }
    pool_destroy(&pool);
}

/* What goes through the network side by side is limited, not the batch. */
static void memory_grows_with_small_batches_only(void **state)
{
    static struct plan plan;
    static const int BATCHES[] = { 1, 2, 8, 9, 4096 };
    size_t bytes[5];
    struct kit_random random = { .state = 2 };
    struct pool *pool;
    struct err e;

    (void)state;
    kit_arch_random(&arch, MODEL_STYLEGAN2, 16, true, &random);
    struct model *model = model_of(&arch);

    assert_int_equal(pool_create(THREADS, &pool, &e), ERR_OK);
    assert_int_equal(plan_create(model, &plan, &e), ERR_OK);
    for (int i = 0; i < 5; i++) {
        struct network *network;

        assert_int_equal(network_create(&plan, pool, BATCHES[i], &network, &e), ERR_OK);
        bytes[i] = network_reserve_bytes(network);
        network_destroy(&network);
    }
    assert_true(bytes[0] < bytes[1] && bytes[1] < bytes[2]);
    assert_true(bytes[2] == bytes[3] && bytes[3] == bytes[4]);
    pool_destroy(&pool);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stylegan1_stays_within_its_memory),
        cmocka_unit_test(stylegan2_stays_within_its_memory),
        cmocka_unit_test(stylegan3_stays_within_its_memory),
        cmocka_unit_test(memory_is_what_was_announced),
        cmocka_unit_test(memory_grows_with_small_batches_only),
    };

    return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
