/* The engine on small random architectures of all families: one sample, one result, whatever the
 * threads and the batch; every picture finite or refused in words; and what no network can be made
 * of refused in words too. */
#include "kernels/backend.h"
#include "kernels/model.h"
#include "kernels/simd.h"
#include "tests/kit_arch.h"
#include "tests/kit_model.h"
#include "tests/kit_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH_MAX = 19, ROUNDS = 80, PIXELS = 64 };

/* A sanitizer's own limit of memory, where the system's would end the sanitizer. */
#if defined(SIMD_SANITIZED)
static const char SANITIZER_OPTIONS[] = "allocator_may_return_null=1:max_allocation_size_mb=4096";

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return SANITIZER_OPTIONS;
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return SANITIZER_OPTIONS;
}
#endif

static struct engine *engine_of(int threads)
{
    struct engine *engine;
    struct err e;

    if (backend_cpu.open(&(struct backend_options){ .threads = threads }, &engine, &e))
        fail_msg("%s", e.msg);
    return engine;
}

static struct model *parse(const struct kit_arch *arch, const struct kit_weights *weights)
{
    struct model *model;
    struct err e;
    size_t len;
    uint8_t *bytes = kit_arch_bytes(arch, weights, &len);

    if (model_parse(bytes, len, &model, &e))
        fail_msg("%s: {%s}", e.msg, arch->notes);
    free(bytes);
    return model;
}

/* What a render of samples came to. */
struct result {
    enum err_code rc;
    struct err e;
    float *image;               /* [count, values] */
    uint8_t *rgb;
};

static size_t values_of(const struct model *model)
{
    return 3 * (size_t)model_facts(model)->width * (size_t)model_facts(model)->height;
}

static struct result render(struct engine *engine, struct model *model,
                            const struct sample *samples, int count)
{
    size_t values = (size_t)count * values_of(model);
    struct result r = { .image = calloc(values, sizeof *r.image), .rgb = calloc(values, 1) };
    struct capture capture = { .image = r.image };
    struct net *net;

    assert_true(r.image && r.rgb);
    r.rc = backend_cpu.load(engine, model, count, &net, &r.e);
    if (r.rc)
        return r;
    r.rc = backend_cpu.render(net, samples, count, r.rgb, &capture, &r.e);
    backend_cpu.unload(&net);
    return r;
}

static void release(struct result *r)
{
    free(r->image);
    free(r->rgb);
}

static struct sample random_sample(const struct model_facts *facts, struct kit_random *random)
{
    struct sample s = {
        .seed = (uint32_t)kit_random_whole(random, 0, 1 << 30),
        .psi = (float)kit_random_real(random, -1.0, 1.5),
        .cutoff = kit_random_whole(random, 0, facts->num_ws),
        .class_index = facts->c_dim ? kit_random_whole(random, 0, facts->c_dim - 1) : -1,
        .noise = (enum recipe_noise)kit_random_whole(random, 0, RECIPE_NOISE_COUNT - 1),
        .noise_seed = (uint32_t)kit_random_whole(random, 0, 1 << 30),
    };

    if (!(facts->noise_modes >> s.noise & 1))
        s.noise = RECIPE_NOISE_NONE;
    if (!facts->has_transform)
        return s;
    s.transform.kind = (enum recipe_transform_kind)kit_random_whole(random, 0, 2);
    s.transform.tx = kit_random_whole(random, -300000, 300000);
    s.transform.ty = kit_random_whole(random, -300000, 300000);
    s.transform.degrees = kit_random_whole(random, -180000000, 180000000);
    for (int i = 0; i < 9; i++)
        s.transform.m[i] = (float)kit_random_real(random, -1.0, 1.0);
    return s;
}

static void check_finite(const struct result *r, size_t values, const struct kit_arch *arch)
{
    for (size_t i = 0; i < values; i++)
        if (!isfinite(r->image[i]))
            fail_msg("value %zu is not finite: {%s}", i, arch->notes);
}

static void check_same(const struct result *got, const struct result *expect, size_t first,
                       size_t values, const struct kit_arch *arch, const char *what)
{
    if (got->rc != expect->rc || (got->rc && strcmp(got->e.msg, expect->e.msg) != 0))
        fail_msg("%s: \"%s\", not \"%s\": {%s}", what, got->rc ? got->e.msg : "",
                 expect->rc ? expect->e.msg : "", arch->notes);
    if (got->rc)
        return;
    if (memcmp(got->image, expect->image + first, values * sizeof *got->image) != 0 ||
        memcmp(got->rgb, expect->rgb + first, values) != 0)
        fail_msg("%s: other bits: {%s}", what, arch->notes);
}

/* On 1 and 3 threads, and each sample alone. Returns whether there were pictures. */
static bool check_renders(struct engine *one, struct engine *three, const struct kit_arch *arch,
                          const struct kit_weights *weights, int count, struct kit_random *random)
{
    struct model *model = parse(arch, weights);
    struct sample samples[BATCH_MAX];
    size_t values = values_of(model);

    for (int i = 0; i < count; i++)
        samples[i] = random_sample(model_facts(model), random);
    struct result r1 = render(one, model, samples, count);
    struct result r3 = render(three, model, samples, count);

    if (r1.rc && r1.rc != ERR_DEVICE)
        fail_msg("%s: {%s}", r1.e.msg, arch->notes);
    if (r1.rc)
        assert_non_null(strstr(r1.e.msg, "not finite"));
    check_same(&r3, &r1, 0, (size_t)count * values, arch, "3 threads");
    if (!r1.rc)
        check_finite(&r1, (size_t)count * values, arch);
    for (int i = 0; i < count && !r1.rc; i++) {
        struct result alone = render(i % 2 ? three : one, model, &samples[i], 1);

        check_same(&alone, &r1, (size_t)i * values, values, arch, "alone");
        release(&alone);
    }
    bool rendered = !r1.rc;

    release(&r1);
    release(&r3);
    model_destroy(&model);
    return rendered;
}

static void check_refused(const struct kit_arch *arch, enum err_code rc, const struct err *e)
{
    if (rc != ERR_UNSUPPORTED && rc != ERR_INVALID && rc != ERR_RANGE)
        fail_msg("%d, \"%s\": {%s}", (int)rc, rc ? e->msg : "", arch->notes);
    assert_true(strlen(e->msg) > 20);
}

/* An architecture that the engine does not render, or that no network can be made of. */
static void check_refusal(struct engine *engine, const struct kit_arch *arch)
{
    struct model *model;
    struct net *net;
    struct err e;
    size_t len;
    uint8_t *bytes = kit_arch_bytes(arch, &(struct kit_weights){ .scale = 1 }, &len);
    enum err_code rc = model_parse(bytes, len, &model, &e);

    free(bytes);
    if (arch->tensors == 0) {
        check_refused(arch, rc, &e);
        return;
    }
    if (rc)
        fail_msg("%s: {%s}", e.msg, arch->notes);
    check_refused(arch, backend_cpu.load(engine, model, 1, &net, &e), &e);
    assert_null(net);
    model_destroy(&model);
}

/* Three samples, and now and then more than go through a network side by side. */
static void check_family(enum model_arch family, uint64_t seed)
{
    struct engine *one = engine_of(1), *three = engine_of(3);
    struct kit_random random = { .state = seed };
    static struct kit_arch arch;
    int rendered = 0, refused = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct kit_weights weights = { .scale = 1.0f, .seed = (uint32_t)round };
        bool many = round % 25 == 0;

        kit_arch_random(&arch, family, many ? 16 : PIXELS, many, &random);
        if (!arch.supported) {
            check_refusal(one, &arch);
            refused++;
            continue;
        }
        if (!check_renders(one, three, &arch, &weights, many ? BATCH_MAX : 3, &random))
            fail_msg("not finite: {%s}", arch.notes);
        rendered++;
    }
    assert_true(rendered >= ROUNDS / 4);
    assert_true(refused > ROUNDS / 10 || family != MODEL_STYLEGAN3);
    backend_cpu.close(&one);
    backend_cpu.close(&three);
}

static void random_stylegan1_renders_the_same_alone_and_beside_others(void **state)
{
    (void)state;
    check_family(MODEL_STYLEGAN1, 1);
}

static void random_stylegan2_renders_the_same_alone_and_beside_others(void **state)
{
    (void)state;
    check_family(MODEL_STYLEGAN2, 2);
}

static void random_stylegan3_renders_the_same_alone_and_beside_others_or_is_refused(void **state)
{
    (void)state;
    check_family(MODEL_STYLEGAN3, 3);
}

/* ---- The whole network, a second time ---- */

/* Of the picture's range: the engine is float32, the reference double. */
static const double REFERENCE_TOLERANCE = 2e-5;

static double error_of(const float *got, const double *expect, size_t count)
{
    double low = INFINITY, high = -INFINITY, most = 0.0, error = 0.0;

    for (size_t i = 0; i < count; i++) {
        low = fmin(low, expect[i]);
        high = fmax(high, expect[i]);
        most = fmax(most, fabs(expect[i]));
        error = fmax(error, fabs((double)got[i] - expect[i]));
    }
    return error / fmax(high - low, most);
}

static double reference_error(struct engine *engine, struct model *model,
                              const struct kit_arch *arch, struct kit_random *random)
{
    struct sample samples[2];
    size_t values = values_of(model);
    double worst = 0.0;

    for (int i = 0; i < 2; i++)
        samples[i] = random_sample(model_facts(model), random);
    struct result r = render(engine, model, samples, 2);

    if (r.rc)
        fail_msg("%s: {%s}", r.e.msg, arch->notes);
    for (int i = 0; i < 2; i++) {
        double *expect = kit_reference_image(model, &samples[i]);
        double error = error_of(r.image + (size_t)i * values, expect, values);

        if (!(error <= REFERENCE_TOLERANCE))
            fail_msg("off by %g of the range: {%s}, psi %g, cutoff %d, noise %d, transform %d",
                     error, arch->notes, (double)samples[i].psi, samples[i].cutoff,
                     (int)samples[i].noise, (int)samples[i].transform.kind);
        worst = fmax(worst, error);
        free(expect);
    }
    release(&r);
    return worst;
}

/* What the architectures had to offer. */
struct seen {
    int conditional, radial, up_by_4;
};

static void look(struct seen *seen, const struct model *model)
{
    const struct stylegan3_arch *a = model_stylegan3(model);

    seen->conditional += model_facts(model)->c_dim > 0;
    for (int i = 0; a && i < a->num_layers; i++) {
        seen->radial += a->layer[i].radial;
        seen->up_by_4 += a->layer[i].up == 4;
    }
}

/* Architectures of least to most pixels. */
static struct seen check_reference(enum model_arch family, int least, int most, int rounds,
                                   uint64_t seed)
{
    struct engine *engine = engine_of(2);
    struct kit_random random = { .state = seed };
    static struct kit_arch arch;
    struct seen seen = { 0 };
    double worst = 0.0;

    for (int done = 0; done < rounds;) {
        kit_arch_random(&arch, family, most, true, &random);
        struct model *model = parse(&arch, &(struct kit_weights){ .scale = 1.0f,
                                                                  .seed = (uint32_t)done });

        if (model_facts(model)->width >= least) {
            worst = fmax(worst, reference_error(engine, model, &arch, &random));
            look(&seen, model);
            done++;
        }
        model_destroy(&model);
    }
    print_message("worst: %.1e of the picture's range\n", worst);
    backend_cpu.close(&engine);
    return seen;
}

static void random_stylegan1_is_what_its_formulas_say(void **state)
{
    (void)state;
    assert_true(check_reference(MODEL_STYLEGAN1, 4, 32, 20, 11).conditional > 1);
}

/* From 128 pixels on StyleGAN 1's kernels are mirrored. */
static void larger_stylegan1_is_what_its_formulas_say(void **state)
{
    (void)state;
    check_reference(MODEL_STYLEGAN1, 128, 256, 2, 14);
}

static void random_stylegan2_is_what_its_formulas_say(void **state)
{
    (void)state;
    assert_true(check_reference(MODEL_STYLEGAN2, 4, 32, 20, 12).conditional > 1);
}

static void random_stylegan3_is_what_its_formulas_say(void **state)
{
    (void)state;
    struct seen seen = check_reference(MODEL_STYLEGAN3, 4, 32, 20, 13);

    assert_true(seen.conditional > 1 && seen.radial > 1 && seen.up_by_4 > 1);
}

/* ---- What is refused ---- */

static struct stylegan3_arch small_stylegan3(void)
{
    return (struct stylegan3_arch){
        .z_dim = 4, .w_dim = 4, .resolution = 16, .num_ws = 5, .mapping_layers = 2,
        .channel_base = 64, .channel_max = 4, .num_layers = 3, .num_critical = 1,
        .first_cutoff = 1, .first_stopband = 1.5, .last_stopband_rel = 1.25, .margin_size = 2,
        .output_scale = 0.25, .conv_kernel = 3, .filter_size = 6, .lrelu_upsampling = 2,
    };
}

static void check_load_refused(struct model *model, enum err_code code, const char *says)
{
    struct engine *engine = engine_of(2);
    struct net *net;
    struct err e;

    assert_int_equal(backend_cpu.load(engine, model, 1, &net, &e), code);
    assert_null(net);
    if (!strstr(e.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    backend_cpu.close(&engine);
    model_destroy(&model);
}

static void check_stylegan3_refused(struct stylegan3_arch a, const char *says)
{
    static struct kit_arch arch;

    kit_arch_stylegan3(&arch, &a);
    assert_true(arch.tensors > 0);
    check_load_refused(parse(&arch, &(struct kit_weights){ .scale = 1 }), ERR_UNSUPPORTED, says);
}

/* Such a network has no tensors of filters at all. */
static void layers_that_resample_by_nothing_are_refused(void **state)
{
    struct stylegan3_arch a = small_stylegan3();

    (void)state;
    a.lrelu_upsampling = 1;
    check_stylegan3_refused(a, "layer L0_");
    check_stylegan3_refused(a, "up by 1 and down by 1");
}

static void factors_and_filters_of_other_sizes_are_refused(void **state)
{
    struct stylegan3_arch a = small_stylegan3();

    (void)state;
    a.lrelu_upsampling = 3;
    check_stylegan3_refused(a, "up by 3 and down by 3");
    a = small_stylegan3();
    a.filter_size = 8;
    check_stylegan3_refused(a, "filters of 16 and 16 taps");
    a = small_stylegan3();
    a.resolution = 32;
    a.num_layers = 2;
    a.num_ws = 4;
    check_stylegan3_refused(a, "layer L1_32_2: up by 16 and down by 2");
}

static void magnitude_that_has_no_root_is_refused(void **state)
{
    static const float BAD[] = { 0.0f, -0.0f, -1.0f };
    static struct kit_arch arch;
    struct stylegan3_arch a = small_stylegan3();

    (void)state;
    kit_arch_stylegan3(&arch, &a);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct model *model;
        struct err e;
        size_t len;
        uint8_t *bytes = kit_arch_bytes(&arch, &(struct kit_weights){ .scale = 1 }, &len);

        memcpy(kit_model_data(bytes, len, "synthesis.L2_16_4.magnitude_ema"), &BAD[i], 4);
        assert_int_equal(model_parse(bytes, len, &model, &e), ERR_OK);
        free(bytes);
        check_load_refused(model, ERR_INVALID, "synthesis.L2_16_4.magnitude_ema");
    }
}

/* Weights of which nothing finite can come, and weights of nothing. */
static void weights_beyond_reason_give_the_same_words_on_every_thread(void **state)
{
    static const float SCALES[] = { 0.0f, 1e-30f, 1e15f, 1e38f };
    struct engine *one = engine_of(1), *three = engine_of(3);
    struct kit_random random = { .state = 4 };
    static struct kit_arch arch;
    int broken = 0;

    (void)state;
    for (int round = 0; round < 60; round++) {
        struct kit_weights weights = { .scale = SCALES[round % 4], .seed = (uint32_t)round };

        kit_arch_random(&arch, (enum model_arch)(round / 4 % 3), 16, true, &random);
        broken += !check_renders(one, three, &arch, &weights, 3, &random);
    }
    assert_true(broken > 10 && broken < 50);
    backend_cpu.close(&one);
    backend_cpu.close(&three);
}

/* 256 channels of 4608 x 4608 pixels, out of a file of 3 MB. */
static struct model *huge_model(void)
{
    static struct kit_arch arch;
    struct stylegan3_arch a = small_stylegan3();

    a.resolution = 4096;
    a.first_cutoff = 1000;
    a.first_stopband = 2048;
    a.last_stopband_rel = 1;
    a.channel_max = 256;
    a.channel_base = 1 << 20;
    a.margin_size = 256;
    kit_arch_stylegan3(&arch, &a);
    return parse(&arch, &(struct kit_weights){ .scale = 1 });
}

static void network_that_no_memory_holds_is_refused_at_once(void **state)
{
    struct model *model = huge_model();
    struct engine *engine = engine_of(1);
    int ends[2], status;
    char words[200] = "";

    (void)state;
    fflush(stdout);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();

    if (child == 0) {
        struct rlimit limit = { (rlim_t)4 << 30, (rlim_t)4 << 30 };
        struct net *net;
        struct err e = { 0 };
        struct rusage used;

#if !defined(SIMD_SANITIZED)
        setrlimit(RLIMIT_AS, &limit);
#endif
        (void)limit;
        enum err_code rc = backend_cpu.load(engine, model, 4096, &net, &e);

        getrusage(RUSAGE_SELF, &used);
        if (write(ends[1], e.msg, strlen(e.msg)) < 0)
            _exit(3);
        _exit(rc != ERR_NOMEM ? 1 : used.ru_maxrss > 1 << 20 ? 2 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(read(ends[0], words, sizeof words - 1) >= 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !strstr(words, "bytes"))
        fail_msg("status %x, \"%s\"", (unsigned)status, words);
    print_message("%s\n", words);
    close(ends[0]);
    close(ends[1]);
    backend_cpu.close(&engine);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_stylegan1_renders_the_same_alone_and_beside_others),
        cmocka_unit_test(random_stylegan2_renders_the_same_alone_and_beside_others),
        cmocka_unit_test(random_stylegan3_renders_the_same_alone_and_beside_others_or_is_refused),
        cmocka_unit_test(random_stylegan1_is_what_its_formulas_say),
        cmocka_unit_test(larger_stylegan1_is_what_its_formulas_say),
        cmocka_unit_test(random_stylegan2_is_what_its_formulas_say),
        cmocka_unit_test(random_stylegan3_is_what_its_formulas_say),
        cmocka_unit_test(layers_that_resample_by_nothing_are_refused),
        cmocka_unit_test(factors_and_filters_of_other_sizes_are_refused),
        cmocka_unit_test(magnitude_that_has_no_root_is_refused),
        cmocka_unit_test(weights_beyond_reason_give_the_same_words_on_every_thread),
        cmocka_unit_test(network_that_no_memory_holds_is_refused_at_once),
    };

    return cmocka_run_group_tests_name("architectures", tests, NULL, NULL);
}
