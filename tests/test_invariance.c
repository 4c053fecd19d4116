/* The engine's promise: one sample, one result, to the bit, whatever it is rendered beside, in
 * which place, and by how many threads. */
#include "kernels/backend.h"
#include "kernels/model.h"
#include "kernels/simd.h"
#include "proto/digest.h"
#include "tests/kit_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32 };

/* One of each family: 1, 2 (from TensorFlow's file), 2-ADA, 3-t, 3-r; and with classes. */
static const char *const FAMILIES[] = {
    "tests/golden/sg1_32/sg1_32.safetensors",
    "tests/golden/sg2_tf_32/sg2_tf_32.pkl",
    "tests/golden/sg2_fp16_64/sg2_fp16_64.safetensors",
    "tests/golden/sg3t_32/sg3t_32.safetensors",
    "tests/golden/sg3r_32/sg3r_32.safetensors",
    "tests/golden/sg2_cond_32/sg2_cond_32.safetensors",
};
enum { FAMILY_COUNT = sizeof FAMILIES / sizeof FAMILIES[0] };
static const char CONDITIONAL[] = "tests/golden/sg2_cond_32/sg2_cond_32.safetensors";

/* 10 channels: blocks of output channels that are full, and one that is not. */
static const struct kit_model_options TINY = { .resolution = 16, .channels = 10, .c_dim = 3 };

struct pictures {
    size_t values;                  /* of one picture */
    float *image;                   /* [BATCH, values] */
    uint8_t *rgb;
};

static struct model *open_model(const char *path)
{
    struct model *model;
    struct err e;

    if (model_open(path, &model, &e))
        fail_msg("%s", e.msg);
    return model;
}

static struct pictures pictures_create(const struct model *model)
{
    const struct model_facts *facts = model_facts(model);
    struct pictures p = { .values = (size_t)facts->width * (size_t)facts->height * 3 };

    p.image = calloc(BATCH * p.values, sizeof *p.image);
    p.rgb = calloc(BATCH * p.values, 1);
    assert_true(p.image && p.rgb);
    return p;
}

static void pictures_release(struct pictures *p)
{
    free(p->image);
    free(p->rgb);
}

/* Samples that differ in everything: seed, psi, cutoff, class, noise, transform. */
static void fill_samples(struct sample samples[BATCH], const struct model_facts *facts)
{
    static const float PSI[] = { 1.0f, 0.7f, 0.0f, -0.7f, 0.5f };
    static const enum recipe_noise NOISE[] = { RECIPE_NOISE_CONST, RECIPE_NOISE_NONE,
                                               RECIPE_NOISE_CONST, RECIPE_NOISE_RANDOM,
                                               RECIPE_NOISE_STREAM };

    for (int i = 0; i < BATCH; i++) {
        samples[i] = (struct sample){
            .seed = (uint32_t)(i * 2654435761u),
            .psi = PSI[i % 5],
            .cutoff = i % 3 == 0 ? facts->num_ws / 2 : facts->num_ws,
            .class_index = facts->c_dim ? i % facts->c_dim : -1,
            .noise_seed = (uint32_t)i,
        };
        if (facts->noise_modes >> NOISE[i % 5] & 1)
            samples[i].noise = NOISE[i % 5];
        if (facts->has_transform && i % 3 == 1)
            samples[i].transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR,
                                                              .tx = 10000 * i,
                                                              .degrees = 7000000 * i };
    }
}

/* Renders samples[first..first+count) to the same places of out. */
static void render(struct net *net, const struct sample *samples, int first, int count,
                   struct pictures *out)
{
    struct capture capture = { .image = out->image + (size_t)first * out->values };
    struct err e;

    if (backend_cpu.render(net, samples + first, count, out->rgb + (size_t)first * out->values,
                           &capture, &e))
        fail_msg("%s", e.msg);
}

static void check_same(const struct pictures *got, const struct pictures *expect)
{
    assert_memory_equal(got->image, expect->image, BATCH * expect->values * sizeof(float));
    assert_memory_equal(got->rgb, expect->rgb, BATCH * expect->values);
}

/* The first count samples in batches of step, with so many threads. */
static void render_all(struct model *model, const struct sample *samples, int count,
                       int threads, int step, struct pictures *out)
{
    struct engine *engine;
    struct net *net;
    struct err e;

    if (backend_cpu.open(&(struct backend_options){ .threads = threads }, &engine, &e) ||
        backend_cpu.load(engine, model, step, &net, &e))
        fail_msg("%s", e.msg);
    for (int first = 0; first < count; first += step)
        render(net, samples, first, count - first < step ? count - first : step, out);
    backend_cpu.unload(&net);
    backend_cpu.close(&engine);
}

static struct model *make_tiny(void)
{
    struct model *model;
    struct err e;
    size_t len;
    uint8_t *bytes = kit_model_bytes(&TINY, &len);

    if (model_parse(bytes, len, &model, &e))
        fail_msg("%s", e.msg);
    free(bytes);
    return model;
}

/* Rendered one by one on one thread, and then with threads[i] in batches of step[i]. */
static void check_model(struct model *model, const int *threads, const int *step, int count)
{
    struct pictures expect = pictures_create(model), got = pictures_create(model);
    struct sample samples[BATCH];

    fill_samples(samples, model_facts(model));
    render_all(model, samples, BATCH, 1, 1, &expect);
    for (int i = 0; i < count; i++) {
        memset(got.image, 0xff, BATCH * got.values * sizeof(float));
        render_all(model, samples, BATCH, threads[i], step[i], &got);
        check_same(&got, &expect);
    }
    pictures_release(&got);
    pictures_release(&expect);
    model_destroy(&model);
}

static void batch_size_and_threads_change_no_bit(void **state)
{
    static const int THREADS[] = { 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 7, 7, 7, 7 };
    static const int STEP[] = { 2, 5, 32, 1, 2, 5, 32, 1, 2, 5, 32, 1, 2, 5, 32 };

    (void)state;
    check_model(make_tiny(), THREADS, STEP, 15);
}

static void batch_size_and_threads_change_no_bit_of_any_family(void **state)
{
    static const int THREADS[] = { 2, 7 }, STEP[] = { 32, 5 };

    (void)state;
    for (int i = 0; i < FAMILY_COUNT; i++)
        check_model(open_model(FAMILIES[i]), THREADS, STEP, 2);
}

/* A machine with narrower vectors makes the same pictures. */
static void no_width_of_vectors_changes_a_bit(void **state)
{
    struct sample samples[BATCH];
    enum { COUNT = 3 };             /* samples; plain code is slow */

    (void)state;
    for (int i = 0; i < FAMILY_COUNT; i++) {
        struct model *model = open_model(FAMILIES[i]);
        struct pictures expect = pictures_create(model), got = pictures_create(model);

        fill_samples(samples, model_facts(model));
        render_all(model, samples, COUNT, 2, COUNT, &expect);
        for (int level = SIMD_PLAIN; level < SIMD_LEVELS; level++) {
            simd_limit((enum simd_level)level);
            render_all(model, samples, COUNT, 2, COUNT, &got);
            assert_memory_equal(got.image, expect.image, COUNT * got.values * sizeof(float));
        }
        pictures_release(&got);
        pictures_release(&expect);
        model_destroy(&model);
    }
}

/* Every sample visits every step'th place. Destroys model. */
static void check_places(struct model *model, int step)
{
    struct pictures expect = pictures_create(model), got = pictures_create(model);
    struct sample samples[BATCH], turned[BATCH];
    struct engine *engine;
    struct net *net;
    struct err e;

    fill_samples(samples, model_facts(model));
    assert_int_equal(backend_cpu.open(&(struct backend_options){ .threads = 2 }, &engine, &e), 0);
    assert_int_equal(backend_cpu.load(engine, model, BATCH, &net, &e), 0);
    render(net, samples, 0, BATCH, &expect);
    for (int turn = step; turn < BATCH; turn += step) {
        for (int i = 0; i < BATCH; i++)
            turned[i] = samples[(i + turn) % BATCH];
        render(net, turned, 0, BATCH, &got);
        for (int i = 0; i < BATCH; i++)
            assert_memory_equal(got.image + (size_t)i * got.values,
                                expect.image + (size_t)((i + turn) % BATCH) * got.values,
                                got.values * sizeof(float));
    }
    backend_cpu.unload(&net);
    backend_cpu.close(&engine);
    pictures_release(&got);
    pictures_release(&expect);
    model_destroy(&model);
}

static void no_place_in_the_batch_changes_a_bit(void **state)
{
    (void)state;
    check_places(make_tiny(), 1);
    for (int i = 0; i < FAMILY_COUNT; i++)
        check_places(open_model(FAMILIES[i]), 13);
}

static void nets_of_one_engine_do_not_disturb_each_other(void **state)
{
    struct model *one = make_tiny(), *two = open_model(CONDITIONAL);
    struct pictures expect = pictures_create(one), got = pictures_create(one);
    struct sample samples[BATCH], others[BATCH];
    struct engine *engine;
    struct net *net_one, *net_two;
    struct err e;

    (void)state;
    fill_samples(samples, model_facts(one));
    fill_samples(others, model_facts(two));
    assert_int_equal(backend_cpu.open(&(struct backend_options){ .threads = 2 }, &engine, &e), 0);
    assert_int_equal(backend_cpu.load(engine, one, BATCH, &net_one, &e), 0);
    render(net_one, samples, 0, BATCH, &expect);
    assert_int_equal(backend_cpu.load(engine, two, 8, &net_two, &e), 0);
    for (int first = 0; first < BATCH; first += 8) {
        assert_int_equal(backend_cpu.render(net_two, others, 8, NULL, NULL, &e), 0);
        render(net_one, samples, first, 8, &got);
    }
    assert_memory_equal(got.image, expect.image, BATCH * expect.values * sizeof(float));
    backend_cpu.unload(&net_two);
    backend_cpu.unload(&net_one);
    backend_cpu.close(&engine);
    pictures_release(&got);
    pictures_release(&expect);
    model_destroy(&two);
    model_destroy(&one);
}

/* Digests of pictures' floats. gcc 12 and clang 14, -O0 and -O3, plain code, AVX2 and AVX-512 all
 * give these. Rows are never changed: a compiler, an option or a change that makes other bits makes
 * other pictures under a class that databases know. Raise the version in backend_cpu.c, and add
 * rows. */
static void numerics_class_keeps_its_recorded_bits(void **state)
{
    static const struct {
        const char *numerics_class;
        const char *path;
        int count;                  /* of pictures */
        const char *digest;         /* of their floats */
    } ROWS[] = {
        { "cpu-fp32-fma-1", "tests/golden/sg1_32/sg1_32.safetensors", 5,
          "f3eb7aa07f13564024930c264ca0bfa7027a814ae0c5ea3218bec6022fbaa98a" },
        { "cpu-fp32-fma-1", "tests/golden/sg1_128/sg1_128.safetensors", 2,
          "b02928943d631c2c656c45db8eccb3ccb44388e7f131fc9f99fa11a0e811d2c5" },
        { "cpu-fp32-fma-1", "tests/golden/sg2_32/sg2_32.safetensors", 5,
          "f4508e4ad47f12b310b8c7dc033ec3dded45d0e72016be7474b92c2a6b268911" },
        { "cpu-fp32-fma-1", "tests/golden/sg2_cond_32/sg2_cond_32.safetensors", 5,
          "bbd25485cddf926e9539a2551e84f5e91950778e45bc31e3416d349923cce12b" },
        { "cpu-fp32-fma-1", "tests/golden/sg2_fp16_64/sg2_fp16_64.safetensors", 5,
          "9d80be21d429ba2bbac6909cb7328082d9c16d082f18d49cd5888ba84ec7b5a9" },
        { "cpu-fp32-fma-1", "tests/golden/sg3t_32/sg3t_32.safetensors", 5,
          "3ecc032ace33df14d96f78ecad085765768c69635efe9330df948635e19e7847" },
        { "cpu-fp32-fma-1", "tests/golden/sg3t_64_deep/sg3t_64_deep.safetensors", 2,
          "03aa873011d8373311295343b94a3c4c0b3602356931db02725132f8a8212f5a" },
        { "cpu-fp32-fma-1", "tests/golden/sg3r_32/sg3r_32.safetensors", 5,
          "44e04b31778b2b05de2fb3213f229f01bb972b289408b80cd604284248a474a1" },
        { "cpu-fp32-fma-1", "deploy/models/avatars64.safetensors", 5,
          "5da14b480a87297d2ea22fa9a34ae00948bd46e5a5b1ca1adaa503efcff3840c" },
    };
    struct engine *engine;
    char now[64];
    int checked = 0, changed = 0;

    (void)state;
    assert_int_equal(backend_cpu.open(&(struct backend_options){ 0 }, &engine, NULL), 0);
    snprintf(now, sizeof now, "%s", backend_cpu.numerics_class(engine));
    backend_cpu.close(&engine);
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++) {
        if (strcmp(ROWS[row].numerics_class, now) != 0)
            continue;
        struct model *model = open_model(ROWS[row].path);
        struct pictures got = pictures_create(model);
        struct sample samples[BATCH];

        fill_samples(samples, model_facts(model));
        render_all(model, samples, ROWS[row].count, 2, 4, &got);
        struct digest digest = digest_of(got.image, (size_t)ROWS[row].count * got.values * 4);
        struct digest_hex hex = digest_hex(&digest);

        checked++;
        if (strcmp(hex.text, ROWS[row].digest) != 0) {
            print_error("%s: digest %s\n", ROWS[row].path, hex.text);
            changed++;
        }
        pictures_release(&got);
        model_destroy(&model);
    }
    if (checked == 0)
        fail_msg("no digests are recorded for class %s", now);
    if (changed > 0)
        fail_msg("%d networks make other pictures: raise the version of class %s", changed, now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_size_and_threads_change_no_bit),
        cmocka_unit_test(batch_size_and_threads_change_no_bit_of_any_family),
        cmocka_unit_test(no_width_of_vectors_changes_a_bit),
        cmocka_unit_test(no_place_in_the_batch_changes_a_bit),
        cmocka_unit_test(nets_of_one_engine_do_not_disturb_each_other),
        cmocka_unit_test(numerics_class_keeps_its_recorded_bits),
    };

    return cmocka_run_group_tests_name("invariance", tests, NULL, NULL);
}
