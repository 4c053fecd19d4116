/* The StyleGAN 2 generator against tensors that the official code recorded (tests/golden/README.md
 * has the origin of each and of the tolerances), and the shipped model against its trainer's. */
#include "kernels/backend.h"
#include "kernels/model.h"
#include "tests/kit_golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Five to twenty times what the official fp32 code itself is off from its float64 arithmetic. */
static const double WS_TOLERANCE = 2e-5, IMAGE_TOLERANCE = 5e-5, TRACE_TOLERANCE = 1e-4;
static const double PSNR_MIN = 70.0;
enum { RGB_TOLERANCE = 1 };

struct rig {
    struct model *model;
    const struct model_facts *facts;
    struct engine *engine;
    struct net *net;
    size_t pixels, ws_count;
    /* of one batch */
    double *z;
    float *ws, *image;
    uint8_t *rgb;
};

static struct rig rig_open(const char *path, int batch)
{
    struct rig r = { 0 };
    struct err e = { 0 };

    if (model_open(path, &r.model, &e) ||
        backend_cpu.open(&(struct backend_options){ .threads = 2 }, &r.engine, &e) ||
        backend_cpu.load(r.engine, r.model, batch, &r.net, &e))
        fail_msg("%s", e.msg);
    r.facts = model_facts(r.model);
    r.pixels = (size_t)r.facts->width * (size_t)r.facts->height;
    r.ws_count = (size_t)r.facts->num_ws * (size_t)r.facts->w_dim;
    r.z = calloc((size_t)batch * (size_t)r.facts->z_dim, sizeof *r.z);
    r.ws = calloc((size_t)batch * r.ws_count, sizeof *r.ws);
    r.image = calloc((size_t)batch * 3 * r.pixels, sizeof *r.image);
    r.rgb = calloc((size_t)batch * 3 * r.pixels, sizeof *r.rgb);
    assert_true(r.z && r.ws && r.image && r.rgb);
    return r;
}

static void rig_render(struct rig *r, const struct sample *samples, int count)
{
    struct capture capture = { .z = r->z, .ws = r->ws, .image = r->image };
    struct err e;

    if (backend_cpu.render(r->net, samples, count, r->rgb, &capture, &e))
        fail_msg("%s", e.msg);
}

static void rig_close(struct rig *r)
{
    backend_cpu.unload(&r->net);
    backend_cpu.close(&r->engine);
    model_destroy(&r->model);
    free(r->z);
    free(r->ws);
    free(r->image);
    free(r->rgb);
}

static void check_near(const char *folder, const char *file, const float *got, size_t count,
                       double tolerance, double *worst)
{
    struct npy expect = golden_array(folder, file);

    assert_int_equal(expect.dtype, NPY_FLOAT32);
    assert_int_equal(expect.count, count);
    double error = golden_max_error(got, expect.data, count);

    if (!(error <= tolerance))
        fail_msg("%s/%s: off by %g, more than %g", folder, file, error, tolerance);
    *worst = error > *worst ? error : *worst;
    npy_release(&expect);
}

static void check_rgb(const char *folder, const char *file, const uint8_t *got, size_t count,
                      double *worst_psnr)
{
    struct npy expect = golden_array(folder, file);
    int max_error;

    assert_int_equal(expect.dtype, NPY_UINT8);
    assert_int_equal(expect.count, count);
    double psnr = golden_psnr(got, expect.data, count, &max_error);

    if (max_error > RGB_TOLERANCE || psnr < PSNR_MIN)
        fail_msg("%s/%s: off by %d, PSNR %.1f dB", folder, file, max_error, psnr);
    *worst_psnr = psnr < *worst_psnr ? psnr : *worst_psnr;
    npy_release(&expect);
}

static void check_z(const char *folder, const char *file, const double *got, size_t count)
{
    struct npy expect = golden_array(folder, file);

    assert_int_equal(expect.dtype, NPY_FLOAT64);
    assert_int_equal(expect.count, count);
    assert_memory_equal(got, expect.data, count * sizeof *got);
    npy_release(&expect);
}

/* All cases of a folder as one batch, and again with psi 1 for w. */
static void check_folder(const char *folder)
{
    struct golden_case cases[GOLDEN_CASES_MAX];
    struct sample samples[GOLDEN_CASES_MAX];
    char path[256];
    double worst_ws = 0.0, worst_image = 0.0, worst_psnr = 200.0;

    snprintf(path, sizeof path, "tests/golden/%s/%s.safetensors", folder, folder);
    struct rig r = rig_open(path, GOLDEN_CASES_MAX);
    int count = golden_cases(folder, r.facts->num_ws, cases);

    for (int i = 0; i < count; i++)
        samples[i] = cases[i].sample;
    rig_render(&r, samples, count);
    for (int i = 0; i < count; i++) {
        size_t n = (size_t)i, values = 3 * r.pixels;

        check_z(folder, cases[i].z, r.z + n * (size_t)r.facts->z_dim, (size_t)r.facts->z_dim);
        check_near(folder, cases[i].ws, r.ws + n * r.ws_count, r.ws_count, WS_TOLERANCE, &worst_ws);
        check_near(folder, cases[i].image, r.image + n * values, values, IMAGE_TOLERANCE,
                   &worst_image);
        check_rgb(folder, cases[i].rgb, r.rgb + n * values, values, &worst_psnr);
        samples[i].psi = 1.0f;
    }
    rig_render(&r, samples, count);
    for (int i = 0; i < count; i++)
        check_near(folder, cases[i].w, r.ws + (size_t)i * r.ws_count, (size_t)r.facts->w_dim,
                   WS_TOLERANCE, &worst_ws);
    print_message("%s: %d cases, ws within %.2g, image within %.2g, PSNR %.1f dB or more\n",
                  folder, count, worst_ws, worst_image, worst_psnr);
    rig_close(&r);
}

static void unconditional_network_matches_golden(void **state)
{
    (void)state;
    check_folder("sg2_32");
}

static void conditional_network_matches_golden(void **state)
{
    (void)state;
    check_folder("sg2_cond_32");
}

static void clamping_network_matches_golden(void **state)
{
    (void)state;
    check_folder("sg2_fp16_64");
}

static void network_of_the_stylegan3_repository_matches_golden(void **state)
{
    (void)state;
    check_folder("sg2_flat_32");
}

struct trace_check {
    int seen;
    double worst;
};

static void compare_trace(void *arg, int index, const char *name, const float *data, int channels,
                          int height, int width)
{
    struct trace_check *check = arg;
    size_t count = (size_t)channels * (size_t)height * (size_t)width;
    char file[64];
    double peak = 0.0, error;

    assert_int_equal(index, 0);
    snprintf(file, sizeof file, "trace/%02d_%s.npy", check->seen++, name);
    struct npy expect = golden_array("sg2_32", file);

    assert_int_equal(expect.count, count);
    for (size_t i = 0; i < count; i++)
        peak = fmax(peak, fabs((double)((float *)expect.data)[i]));
    error = golden_max_error(data, expect.data, count) / peak;
    if (!(error <= TRACE_TOLERANCE))
        fail_msg("%s: off by %g of its peak", file, error);
    check->worst = fmax(check->worst, error);
    npy_release(&expect);
}

static void every_layer_matches_the_recorded_trace(void **state)
{
    struct rig r = rig_open("tests/golden/sg2_32/sg2_32.safetensors", 1);
    struct sample sample = { .seed = 0, .psi = 0.7f, .cutoff = r.facts->num_ws, .class_index = -1,
                             .noise = RECIPE_NOISE_CONST };   /* trace/case.txt: s0_p0.7 */
    struct trace_check check = { 0 };
    struct capture capture = { .trace = compare_trace, .trace_arg = &check };
    struct err e;

    (void)state;
    if (backend_cpu.render(r.net, &sample, 1, NULL, &capture, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(check.seen, 19);
    print_message("trace: within %.2g of each layer's peak\n", check.worst);
    rig_close(&r);
}

static void shipped_model_matches_its_trainer(void **state)
{
    static const uint32_t SEEDS[] = { 0, 1, 42 };
    static const char *const PSIS[] = { "1.0", "0.7" };
    static const float PSI[] = { 1.0f, 0.7f };
    struct rig r = rig_open("deploy/models/avatars64.safetensors", 1);
    double worst_w = 0.0, worst_image = 0.0;
    char file[64];

    (void)state;
    for (int s = 0; s < 3; s++)
        for (int p = 0; p < 2; p++) {
            struct sample sample = { .seed = SEEDS[s], .psi = PSI[p], .cutoff = r.facts->num_ws,
                                     .class_index = -1, .noise = RECIPE_NOISE_CONST };

            rig_render(&r, &sample, 1);
            snprintf(file, sizeof file, "seed%u-psi%s.npy", (unsigned)SEEDS[s], PSIS[p]);
            check_near("avatars64", file, r.image, 3 * r.pixels, IMAGE_TOLERANCE, &worst_image);
            snprintf(file, sizeof file, "seed%u-w.npy", (unsigned)SEEDS[s]);
            if (PSI[p] == 1.0f)
                check_near("avatars64", file, r.ws, (size_t)r.facts->w_dim, WS_TOLERANCE, &worst_w);
        }
    print_message("avatars64: w within %.2g, image within %.2g\n", worst_w, worst_image);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unconditional_network_matches_golden),
        cmocka_unit_test(conditional_network_matches_golden),
        cmocka_unit_test(clamping_network_matches_golden),
        cmocka_unit_test(network_of_the_stylegan3_repository_matches_golden),
        cmocka_unit_test(every_layer_matches_the_recorded_trace),
        cmocka_unit_test(shipped_model_matches_its_trainer),
    };

    return cmocka_run_group_tests_name("stylegan2", tests, NULL, NULL);
}
