/* Every family's generator against tensors that the official code recorded (tests/golden/README.md
 * has the origin of each and of the tolerances), from the official file and from ours, and the
 * shipped model against its trainer's. */
#include "kernels/backend.h"
#include "kernels/model.h"
#include "tests/kit_golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

struct worst {
    double ws, image, psnr;
};

static struct worst no_error(void)
{
    return (struct worst){ .psnr = 200.0 };
}

/* What a case names and the render has left in r's arrays, at place index. */
static void check_case(const struct rig *r, const char *folder, const struct golden_case *c,
                       int index, struct worst *worst)
{
    size_t n = (size_t)index, values = 3 * r->pixels, z_dim = (size_t)r->facts->z_dim;

    if (strcmp(c->z, "-") != 0)
        check_z(folder, c->z, r->z + n * z_dim, z_dim);
    if (strcmp(c->ws, "-") != 0)
        check_near(folder, c->ws, r->ws + n * r->ws_count, r->ws_count, WS_TOLERANCE, &worst->ws);
    check_near(folder, c->image, r->image + n * values, values, IMAGE_TOLERANCE, &worst->image);
    check_rgb(folder, c->rgb, r->rgb + n * values, values, &worst->psnr);
}

/* All cases of a table as one batch, by the model at path, and again with psi 1 for w. */
static void check_table(const char *path, const char *folder, const char *table,
                        enum recipe_noise noise, struct worst *worst)
{
    struct golden_case cases[GOLDEN_CASES_MAX];
    struct sample samples[GOLDEN_CASES_MAX];
    struct rig r = rig_open(path, GOLDEN_CASES_MAX);
    int count = golden_cases(folder, table, r.facts, cases);

    for (int i = 0; i < count; i++) {
        samples[i] = cases[i].sample;
        if (noise != RECIPE_NOISE_CONST)
            samples[i].noise = noise;
    }
    rig_render(&r, samples, count);
    for (int i = 0; i < count; i++) {
        check_case(&r, folder, &cases[i], i, worst);
        samples[i].psi = 1.0f;
    }
    rig_render(&r, samples, count);
    for (int i = 0; i < count; i++)
        if (strcmp(cases[i].w, "-") != 0)
            check_near(folder, cases[i].w, r.ws + (size_t)i * r.ws_count, (size_t)r.facts->w_dim,
                       WS_TOLERANCE, &worst->ws);
    print_message("%s: %d cases, ws within %.2g, image within %.2g, PSNR %.1f dB or more\n", path,
                  count, worst->ws, worst->image, worst->psnr);
    rig_close(&r);
}

/* Networks, each as the file of that name in its folder. */
static const char *const NETWORKS[] = {
    "sg1_32", "sg1_128", "sg1_cond_16", "sg2_32", "sg2_64_z512", "sg2_cond_32", "sg2_flat_32",
    "sg2_fp16_64", "sg3t_32", "sg3t_64_deep", "sg3r_32",
};

static void check_files(const char *ending)
{
    char path[256];

    for (size_t i = 0; i < sizeof NETWORKS / sizeof NETWORKS[0]; i++) {
        struct worst worst = no_error();

        snprintf(path, sizeof path, "tests/golden/%s/%s.%s", NETWORKS[i], NETWORKS[i], ending);
        if (access(path, F_OK) == 0 || strcmp(NETWORKS[i], "sg2_64_z512") != 0)
            check_table(path, NETWORKS[i], "cases.tsv", RECIPE_NOISE_CONST, &worst);
    }
}

static void every_case_holds_from_safetensors(void **state)
{
    (void)state;
    check_files("safetensors");     /* sg2_64_z512 has none */
}

static void every_case_holds_from_the_official_file(void **state)
{
    (void)state;
    check_files("pkl");
}

/* The same weights in TensorFlow's layout. */
static void tensorflow_files_make_the_pictures_of_their_pytorch_twins(void **state)
{
    struct worst worst = no_error();

    (void)state;
    check_table("tests/golden/sg2_tf_32/sg2_tf_32.pkl", "sg2_32", "cases.tsv", RECIPE_NOISE_CONST,
                &worst);
    check_table("tests/golden/sg2_tf_cond_32/sg2_tf_cond_32.pkl", "sg2_cond_32", "cases.tsv",
                RECIPE_NOISE_CONST, &worst);
}

static void noise_of_the_seeds_stream_is_the_tensorflow_tools(void **state)
{
    struct worst worst = no_error();

    (void)state;
    check_table("tests/golden/sg2_32/sg2_32.safetensors", "sg2_tf_32", "cases_seednoise.tsv",
                RECIPE_NOISE_STREAM, &worst);
    check_table("tests/golden/sg2_tf_32/sg2_tf_32.pkl", "sg2_tf_32", "cases_seednoise.tsv",
                RECIPE_NOISE_STREAM, &worst);
}

struct trace_check {
    const char *folder;
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
    if (strcmp(name, "ToRGB_lod0") == 0)    /* not recorded: it is the picture itself */
        return;
    snprintf(file, sizeof file, "trace/%02d_%s.npy", check->seen++, name);
    struct npy expect = golden_array(check->folder, file);

    assert_int_equal(expect.count, count);
    for (size_t i = 0; i < count; i++)
        peak = fmax(peak, fabs((double)((float *)expect.data)[i]));
    error = golden_max_error(data, expect.data, count) / peak;
    if (!(error <= TRACE_TOLERANCE))
        fail_msg("%s/%s: off by %g of its peak", check->folder, file, error);
    check->worst = fmax(check->worst, error);
    npy_release(&expect);
}

/* The case of each trace/case.txt is seed 0, psi 0.7. */
static void every_layer_matches_the_recorded_trace(void **state)
{
    static const struct {
        const char *folder;
        int files;
    } ROWS[] = { { "sg1_32", 8 }, { "sg2_32", 19 }, { "sg3t_32", 8 }, { "sg3r_32", 8 } };
    char path[256];
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        snprintf(path, sizeof path, "tests/golden/%s/%s.safetensors", ROWS[i].folder,
                 ROWS[i].folder);
        struct rig r = rig_open(path, 1);
        bool noisy = r.facts->noise_modes >> RECIPE_NOISE_CONST & 1;
        struct sample sample = { .seed = 0, .psi = 0.7f, .cutoff = r.facts->num_ws,
                                 .class_index = -1,
                                 .noise = noisy ? RECIPE_NOISE_CONST : RECIPE_NOISE_NONE };
        struct trace_check check = { .folder = ROWS[i].folder };
        struct capture capture = { .trace = compare_trace, .trace_arg = &check };

        if (backend_cpu.render(r.net, &sample, 1, NULL, &capture, &e))
            fail_msg("%s", e.msg);
        assert_int_equal(check.seen, ROWS[i].files);
        print_message("%s: within %.2g of each layer's peak\n", ROWS[i].folder, check.worst);
        rig_close(&r);
    }
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
        cmocka_unit_test(every_case_holds_from_safetensors),
        cmocka_unit_test(every_case_holds_from_the_official_file),
        cmocka_unit_test(tensorflow_files_make_the_pictures_of_their_pytorch_twins),
        cmocka_unit_test(noise_of_the_seeds_stream_is_the_tensorflow_tools),
        cmocka_unit_test(every_layer_matches_the_recorded_trace),
        cmocka_unit_test(shipped_model_matches_its_trainer),
    };

    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
