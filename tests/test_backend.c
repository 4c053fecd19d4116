/* The engine's face: which backend a name gives, what a render refuses, and what it says when a
 * value is not finite. */
#include "kernels/backend.h"
#include "kernels/model.h"
#include "tests/kit_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 3 };

struct rig {
    struct model *model;
    struct engine *engine;
    struct net *net;
    uint8_t rgb[BATCH * 8 * 8 * 3];
};

static void rig_open(struct rig *r, const struct kit_model_options *options)
{
    struct err e = { 0 };
    size_t len;
    uint8_t *bytes = kit_model_bytes(options, &len);

    if (model_parse(bytes, len, &r->model, &e) ||
        backend_cpu.open(&(struct backend_options){ .threads = 2 }, &r->engine, &e) ||
        backend_cpu.load(r->engine, r->model, BATCH, &r->net, &e))
        fail_msg("%s", e.msg);
    free(bytes);
}

static void rig_close(struct rig *r)
{
    backend_cpu.unload(&r->net);
    backend_cpu.close(&r->engine);
    model_destroy(&r->model);
}

static struct sample good_sample(void)
{
    return (struct sample){ .seed = 1, .psi = 0.7f, .cutoff = 4, .class_index = -1,
                            .noise = RECIPE_NOISE_CONST };
}

/* Two good samples and a bad one between them: refused, and e names its place. */
static void check_refused(const struct kit_model_options *options, struct sample bad,
                          enum err_code code, const char *says)
{
    struct rig r;
    struct sample samples[] = { good_sample(), bad, good_sample() };
    struct err e;

    samples[0].class_index = samples[2].class_index = options->c_dim ? 0 : -1;
    rig_open(&r, options);
    assert_int_equal(backend_cpu.render(r.net, samples, 3, r.rgb, NULL, &e), code);
    assert_non_null(strstr(e.msg, "sample 1"));
    assert_non_null(strstr(e.msg, says));
    rig_close(&r);
}

static void names_give_their_backend(void **state)
{
    const struct backend *backend;
    struct err e;

    (void)state;
    assert_int_equal(backend_find("cpu", &backend, &e), ERR_OK);
    assert_ptr_equal(backend, &backend_cpu);
    assert_int_equal(backend->abi, BACKEND_ABI);
    assert_string_equal(backend->name, "cpu");
    assert_int_equal(backend_find("auto", &backend, &e), ERR_OK);
    assert_non_null(backend);
}

static void missing_backend_says_where_it_was_looked_for(void **state)
{
    const struct backend *backend;
    struct err e;

    (void)state;
    assert_int_equal(backend_find("nosuch", &backend, &e), ERR_UNSUPPORTED);
    assert_null(backend);
    assert_non_null(strstr(e.msg, "libseedpress-nosuch.so"));
    assert_non_null(strstr(e.msg, "../lib/seedpress"));
}

static void names_that_could_be_paths_are_refused(void **state)
{
    static const char *const BAD[] = { "", "../x", "a/b", "CUDA", "cuda ", "x.so" };
    const struct backend *backend;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_int_equal(backend_find(BAD[i], &backend, &e), ERR_INVALID);
}

static void engine_says_what_it_is(void **state)
{
    struct rig r;

    (void)state;
    rig_open(&r, &(struct kit_model_options){ 0 });
    assert_string_equal(backend_cpu.numerics_class(r.engine), "cpu-fp32-fma-1");
    assert_non_null(strstr(backend_cpu.device(r.engine), ", 2 threads"));
    assert_string_equal(backend_cpu.driver(r.engine), "");
    assert_int_equal(backend_cpu.device_count(), 1);
    rig_close(&r);
}

static void options_out_of_bounds_are_refused(void **state)
{
    struct engine *engine;
    struct rig r;
    struct net *net;
    struct err e;

    (void)state;
    assert_int_equal(backend_cpu.open(&(struct backend_options){ .device = 1 }, &engine, &e),
                     ERR_DEVICE);
    assert_int_equal(backend_cpu.open(&(struct backend_options){ .threads = -1 }, &engine, &e),
                     ERR_RANGE);
    assert_int_equal(backend_cpu.open(&(struct backend_options){ .threads = 100000 }, &engine, &e),
                     ERR_RANGE);
    assert_null(engine);
    rig_open(&r, &(struct kit_model_options){ 0 });
    assert_int_equal(backend_cpu.load(r.engine, r.model, 0, &net, &e), ERR_RANGE);
    assert_int_equal(backend_cpu.load(r.engine, r.model, 1 << 30, &net, &e), ERR_RANGE);
    assert_null(net);
    rig_close(&r);
}

static void precisions_have_words_and_the_cpu_has_one_of_them(void **state)
{
    static const enum err_code ON_THE_CPU[PRECISION_COUNT] = {
        [PRECISION_FP16] = ERR_UNSUPPORTED, [PRECISION_TF32] = ERR_UNSUPPORTED,
    };
    enum precision precision;
    struct engine *engine;
    struct err e;

    (void)state;
    for (int i = 0; i < PRECISION_COUNT; i++) {
        struct backend_options options = { .threads = 1, .precision = (enum precision)i };

        assert_int_equal(precision_of(precision_word(options.precision), &precision, &e), ERR_OK);
        assert_int_equal(precision, i);
        assert_int_equal(backend_cpu.open(&options, &engine, &e), ON_THE_CPU[i]);
        if (ON_THE_CPU[i])
            assert_non_null(strstr(e.msg, precision_word(options.precision)));
        else
            assert_string_equal(backend_cpu.numerics_class(engine), "cpu-fp32-fma-1");
        backend_cpu.close(&engine);
    }
    assert_int_equal(precision_of("bf16", &precision, &e), ERR_INVALID);
    assert_int_equal(precision_of("", &precision, &e), ERR_INVALID);
}

static void batch_beyond_the_nets_is_refused(void **state)
{
    struct sample samples[BATCH + 1];
    struct rig r;
    struct err e;

    (void)state;
    for (int i = 0; i <= BATCH; i++)
        samples[i] = good_sample();
    rig_open(&r, &(struct kit_model_options){ 0 });
    assert_int_equal(backend_cpu.render(r.net, samples, BATCH + 1, r.rgb, NULL, &e), ERR_RANGE);
    assert_int_equal(backend_cpu.render(r.net, samples, -1, r.rgb, NULL, &e), ERR_RANGE);
    assert_int_equal(backend_cpu.render(r.net, samples, BATCH, r.rgb, NULL, &e), ERR_OK);
    assert_int_equal(backend_cpu.render(r.net, samples, 0, NULL, NULL, &e), ERR_OK);
    rig_close(&r);
}

static void samples_that_the_model_cannot_do_are_refused(void **state)
{
    static const struct kit_model_options PLAIN = { 0 }, CLASSES = { .c_dim = 3 };
    struct sample s;

    (void)state;
    s = good_sample();
    s.psi = NAN;
    check_refused(&PLAIN, s, ERR_RANGE, "psi");
    s = good_sample();
    s.cutoff = 5;
    check_refused(&PLAIN, s, ERR_RANGE, "cutoff 5");
    s.cutoff = -1;
    check_refused(&PLAIN, s, ERR_RANGE, "cutoff -1");
    s = good_sample();
    s.noise = RECIPE_NOISE_COUNT;
    check_refused(&PLAIN, s, ERR_UNSUPPORTED, "noise");
    s = good_sample();
    s.transform.kind = RECIPE_TRANSFORM_TR;
    check_refused(&PLAIN, s, ERR_UNSUPPORTED, "transform");
    s = good_sample();
    check_refused(&CLASSES, s, ERR_CLASS_REQUIRED, "class");
    s.class_index = 3;
    check_refused(&CLASSES, s, ERR_RANGE, "class 3");
}

static void noise_for_a_model_without_noise_is_refused(void **state)
{
    struct sample sample = good_sample();
    struct rig r;
    struct err e;

    (void)state;
    rig_open(&r, &(struct kit_model_options){ .arch = "stylegan3", .resolution = 16 });
    sample.noise = RECIPE_NOISE_RANDOM;
    assert_int_equal(backend_cpu.render(r.net, &sample, 1, r.rgb, NULL, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "noise"));
    rig_close(&r);
}

/* Half the memory for whoever loads a model once. */
static void engine_that_drops_values_renders_the_same_and_loads_once(void **state)
{
    struct backend_options options = { .threads = 2, .drop_values = true };
    struct sample sample = good_sample();
    uint8_t rgb[8 * 8 * 3];
    struct engine *engine;
    struct net *net, *second;
    struct rig r;
    struct err e;

    (void)state;
    rig_open(&r, &(struct kit_model_options){ 0 });
    assert_int_equal(backend_cpu.render(r.net, &sample, 1, r.rgb, NULL, &e), ERR_OK);
    assert_int_equal(backend_cpu.open(&options, &engine, &e), ERR_OK);
    assert_int_equal(backend_cpu.load(engine, r.model, 1, &net, &e), ERR_OK);
    assert_null(model_tensor_at(r.model, 0)->data);
    assert_int_equal(backend_cpu.render(net, &sample, 1, rgb, NULL, &e), ERR_OK);
    assert_memory_equal(rgb, r.rgb, sizeof rgb);
    assert_int_equal(backend_cpu.render(r.net, &sample, 1, rgb, NULL, &e), ERR_OK);
    assert_memory_equal(rgb, r.rgb, sizeof rgb);
    assert_int_equal(backend_cpu.load(engine, r.model, 1, &second, &e), ERR_BUG);
    backend_cpu.unload(&net);
    backend_cpu.close(&engine);
    rig_close(&r);
}

static void class_is_ignored_by_a_model_without_classes(void **state)
{
    struct sample samples[] = { good_sample(), good_sample() };
    struct rig r;
    struct err e;

    (void)state;
    samples[1].class_index = 77;
    rig_open(&r, &(struct kit_model_options){ 0 });
    assert_int_equal(backend_cpu.render(r.net, samples, 2, r.rgb, NULL, &e), ERR_OK);
    assert_memory_equal(r.rgb, r.rgb + 8 * 8 * 3, 8 * 8 * 3);
    rig_close(&r);
}

static void value_that_is_not_finite_names_layer_and_sample(void **state)
{
    /* finite weights whose products are not */
    struct sample samples[] = { good_sample(), good_sample() };
    struct rig r;
    struct err e;

    (void)state;
    samples[0].seed = 5;
    rig_open(&r, &(struct kit_model_options){ .scale = 1e30f });
    assert_int_equal(backend_cpu.render(r.net, samples, 2, r.rgb, NULL, &e), ERR_DEVICE);
    assert_non_null(strstr(e.msg, "not finite"));
    assert_non_null(strstr(e.msg, "mapping"));
    assert_non_null(strstr(e.msg, "sample 0, seed 5"));
    rig_close(&r);
}

static void layer_that_overflows_is_named(void **state)
{
    struct rig r;
    struct sample sample = good_sample();
    struct err e;
    size_t len;
    uint8_t *bytes = kit_model_bytes(&(struct kit_model_options){ 0 }, &len);
    static const float HUGE_BIAS = 3e38f;

    (void)state;
    /* times sqrt 2 this is beyond float32 */
    memcpy(kit_model_data(bytes, len, "synthesis.b8.conv1.bias") + 4, &HUGE_BIAS, 4);
    assert_int_equal(model_parse(bytes, len, &r.model, &e), ERR_OK);
    assert_int_equal(backend_cpu.open(&(struct backend_options){ .threads = 2 }, &r.engine, &e), 0);
    assert_int_equal(backend_cpu.load(r.engine, r.model, BATCH, &r.net, &e), 0);
    assert_int_equal(backend_cpu.render(r.net, &sample, 1, r.rgb, NULL, &e), ERR_DEVICE);
    assert_non_null(strstr(e.msg, "b8.conv1"));
    assert_non_null(strstr(e.msg, "sample 0, seed 1"));
    rig_close(&r);
    free(bytes);
}

static void smallest_network_renders(void **state)
{
    struct rig r;
    struct sample sample = { .seed = 1, .psi = 1.0f, .cutoff = 2, .class_index = -1 };
    struct err e;

    (void)state;
    rig_open(&r, &(struct kit_model_options){ .resolution = 4 });
    assert_int_equal(backend_cpu.render(r.net, &sample, 1, r.rgb, NULL, &e), ERR_OK);
    rig_close(&r);
}

static void recipe_becomes_its_sample(void **state)
{
    struct recipe recipe = { .seed = 4294967295u, .psi = 700000, .cutoff = 3, .class_index = 2,
                             .noise = RECIPE_NOISE_CONST };
    struct sample s = sample_of_recipe(&recipe);

    (void)state;
    assert_true(s.seed == 4294967295u && s.psi == 0.7f && s.cutoff == 3 && s.class_index == 2);
    assert_true(s.noise == RECIPE_NOISE_CONST && s.transform.kind == RECIPE_TRANSFORM_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_give_their_backend),
        cmocka_unit_test(missing_backend_says_where_it_was_looked_for),
        cmocka_unit_test(names_that_could_be_paths_are_refused),
        cmocka_unit_test(engine_says_what_it_is),
        cmocka_unit_test(options_out_of_bounds_are_refused),
        cmocka_unit_test(precisions_have_words_and_the_cpu_has_one_of_them),
        cmocka_unit_test(batch_beyond_the_nets_is_refused),
        cmocka_unit_test(samples_that_the_model_cannot_do_are_refused),
        cmocka_unit_test(noise_for_a_model_without_noise_is_refused),
        cmocka_unit_test(engine_that_drops_values_renders_the_same_and_loads_once),
        cmocka_unit_test(class_is_ignored_by_a_model_without_classes),
        cmocka_unit_test(value_that_is_not_finite_names_layer_and_sample),
        cmocka_unit_test(layer_that_overflows_is_named),
        cmocka_unit_test(smallest_network_renders),
        cmocka_unit_test(recipe_becomes_its_sample),
    };

    return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
