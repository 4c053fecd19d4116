/* The engine's promise: one sample, one result, to the bit, whatever it is rendered beside, in
 * which place, and by how many threads. */
#include "kernels/backend.h"
#include "kernels/model.h"
#include "proto/digest.h"
#include "tests/kit_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32 };

static const char UNCONDITIONAL[] = "tests/golden/sg2_32/sg2_32.safetensors";
static const char CONDITIONAL[] = "tests/golden/sg2_cond_32/sg2_cond_32.safetensors";
static const char SHIPPED[] = "deploy/models/avatars64.safetensors";

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

/* Samples that differ in everything: seed, psi, cutoff, class, noise. */
static void fill_samples(struct sample samples[BATCH], const struct model_facts *facts)
{
    static const float PSI[] = { 1.0f, 0.7f, 0.0f, -0.7f, 0.5f };

    for (int i = 0; i < BATCH; i++)
        samples[i] = (struct sample){
            .seed = (uint32_t)(i * 2654435761u),
            .psi = PSI[i % 5],
            .cutoff = i % 3 == 0 ? facts->num_ws / 2 : facts->num_ws,
            .class_index = facts->c_dim ? i % facts->c_dim : -1,
            .noise = i % 4 == 1 ? RECIPE_NOISE_NONE : RECIPE_NOISE_CONST,
        };
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
static void render_all(const struct model *model, const struct sample *samples, int count,
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

static void batch_size_and_threads_change_no_bit_of_larger_nets(void **state)
{
    static const int THREADS[] = { 2, 7 }, STEP[] = { 32, 5 };

    (void)state;
    check_model(open_model(UNCONDITIONAL), THREADS, STEP, 2);
    check_model(open_model(CONDITIONAL), THREADS, STEP, 2);
}

static void no_place_in_the_batch_changes_a_bit(void **state)
{
    struct model *model = make_tiny();
    struct pictures expect = pictures_create(model), got = pictures_create(model);
    struct sample samples[BATCH], turned[BATCH];
    struct engine *engine;
    struct net *net;
    struct err e;

    (void)state;
    fill_samples(samples, model_facts(model));
    assert_int_equal(backend_cpu.open(&(struct backend_options){ .threads = 2 }, &engine, &e), 0);
    assert_int_equal(backend_cpu.load(engine, model, BATCH, &net, &e), 0);
    render(net, samples, 0, BATCH, &expect);
    for (int turn = 1; turn < BATCH; turn++) {      /* every sample visits every place */
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

/* Recorded once; gcc 12 and clang 14, -O0 and -O3, plain SSE, AVX2 and AVX-512 all gave these. A
 * compiler, an option or a vector width that changes them makes other pictures under the name
 * cpu-fp32-1: then the class needs a new number. */
static void numerics_class_keeps_its_recorded_bits(void **state)
{
    static const struct {
        const char *path;
        int count;                  /* of pictures */
        const char *digest;         /* of their floats */
    } ROWS[] = {
        { UNCONDITIONAL, 8, "d10adc1044d47ad89197faaadfdf103590165988601a9321563109903baa9014" },
        { CONDITIONAL, 8, "c6fe9c496cd945ded367141ff73cd164d07608848de2b0f8d650578d3acf753a" },
        { SHIPPED, 3, "0c5f57e50612bbdba89e620581c7fa373f76d0082d69e529b12117ad988719ea" },
    };

    (void)state;
    for (size_t row = 0; row < 3; row++) {
        struct model *model = open_model(ROWS[row].path);
        struct pictures got = pictures_create(model);
        struct sample samples[BATCH];

        fill_samples(samples, model_facts(model));
        render_all(model, samples, ROWS[row].count, 2, 4, &got);
        struct digest digest = digest_of(got.image, (size_t)ROWS[row].count * got.values * 4);

        assert_string_equal(digest_hex(&digest).text, ROWS[row].digest);
        pictures_release(&got);
        model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_size_and_threads_change_no_bit),
        cmocka_unit_test(batch_size_and_threads_change_no_bit_of_larger_nets),
        cmocka_unit_test(no_place_in_the_batch_changes_a_bit),
        cmocka_unit_test(nets_of_one_engine_do_not_disturb_each_other),
        cmocka_unit_test(numerics_class_keeps_its_recorded_bits),
    };

    return cmocka_run_group_tests_name("invariance", tests, NULL, NULL);
}
