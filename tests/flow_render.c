/* `seedpress render` and `seedpress model inspect` from outside, on the shipped model. */
#include "base/file.h"
#include "base/mark.h"
#include "base/npy.h"
#include "kernels/picture.h"
#include "tests/kit_certificate.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <png.h>
#include <setjmp.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MODEL    "deploy/models/avatars64.safetensors"

enum { SIDE = 64, ARGS_MAX = 32, PIXELS_LEN = SIDE * SIDE * 3 };

extern char **environ;

/* ---- running it ---- */

static const char *program(void)
{
    static char path[256];
    const char *build = getenv("SEEDPRESS_BUILD");

    snprintf(path, sizeof path, "%s/seedpress", build ? build : "build");
    return path;
}

/* Runs seedpress with the words of args, which ends in NULL. */
static struct ran seedpress(const char *const *args)
{
    const char *argv[ARGS_MAX] = { program() };
    size_t count = 1;

    while (*args) {
        assert_true(count < ARGS_MAX - 1);
        argv[count++] = *args++;
    }
    return run_program(argv);
}
#define SEEDPRESS(...) seedpress((const char *const[]){ __VA_ARGS__, NULL })

static void assert_ok(const struct ran *ran)
{
    if (ran->exit_code != 0)
        fail_msg("exit code %d: %s", ran->exit_code, ran->err);
}

static void run_ok(struct ran ran)
{
    assert_ok(&ran);
    ran_release(&ran);
}

/* One line of NDJSON; *at steps behind it. */
static cJSON *next_object(const char **at)
{
    cJSON *object = cJSON_ParseWithOpts(*at, at, 0);

    assert_non_null(object);
    return object;
}

static const char *word_of(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, key));

    assert_non_null(text);
    return text;
}

static struct npy load_npy(const struct temp_path *path)
{
    struct npy array;
    struct err e = { .code = ERR_OK };

    if (npy_read(path->text, &array, &e))
        fail_msg("%s", e.msg);
    return array;
}

static uint8_t *load(const char *path, size_t *len)
{
    uint8_t *data;
    struct err e = { .code = ERR_OK };

    if (file_read(path, 1 << 20, &data, len, &e))
        fail_msg("%s", e.msg);
    return data;
}

/* ---- pictures ---- */

static void assert_hex_is_of(const char *hex, const void *data, size_t len)
{
    struct digest sum = digest_of(data, len);

    assert_string_equal(hex, digest_hex(&sum).text);
}

static void a_jpeg_is_the_file_that_a_worker_would_make(void **state)
{
    struct temp temp = temp_create();
    struct temp_path jpg = temp_path(&temp, "a.jpg"), u8 = temp_path(&temp, "a.npy");
    struct ran ran = SEEDPRESS("render", "--model-file", MODEL, "--seed", "42", "--psi", "0.7",
                               "--cutoff", "4", "--quality", "80", "-o", jpg.text, "--dump-u8",
                               u8.text, "--json");
    const char *at = ran.out;
    struct jpeg_encoder *encoder;
    struct recipe_text text;
    struct recipe recipe;
    struct picture expect;
    struct err e;
    size_t len;

    (void)state;
    assert_ok(&ran);
    cJSON *line = next_object(&at);
    struct npy rgb = load_npy(&u8);
    uint8_t *file = load(jpg.text, &len);

    assert_true(mark_find(file, len, &text));
    assert_hex_is_of(word_of(line, "recipe_key"), text.text, text.len);
    assert_int_equal(recipe_parse(text.text, text.len, &recipe, &e), ERR_OK);
    assert_int_equal(recipe.seed, 42);
    assert_int_equal(recipe.psi, 700000);
    assert_int_equal(recipe.cutoff, 4);
    assert_int_equal(recipe.quality, 80);

    assert_int_equal(rgb.count, PIXELS_LEN);
    assert_int_equal(jpeg_encoder_create(&encoder, &e), ERR_OK);
    assert_int_equal(picture_encode(encoder, &recipe, (struct picture_source){ .rgb = rgb.data },
                                    &expect, &e), ERR_OK);
    assert_int_equal(len, expect.len);
    assert_memory_equal(file, expect.file, len);
    assert_string_equal(word_of(line, "file"), jpg.text);
    assert_string_equal(word_of(line, "file_sha256"), digest_hex(&expect.file_sha).text);
    assert_string_equal(word_of(line, "core_sha256"), digest_hex(&expect.core_sha).text);

    picture_release(&expect);
    jpeg_encoder_destroy(&encoder);
    free(file);
    npy_release(&rgb);
    cJSON_Delete(line);
    ran_release(&ran);
    temp_destroy(&temp);
}

static void a_png_has_the_very_pixels_and_the_mark(void **state)
{
    static uint8_t got[PIXELS_LEN];
    struct temp temp = temp_create();
    struct temp_path png = temp_path(&temp, "a.PNG"), u8 = temp_path(&temp, "a.npy");
    struct ran ran = SEEDPRESS("render", "--model-file", MODEL, "--seed", "1", "-o", png.text,
                               "--dump-u8", u8.text, "--json");
    const char *at = ran.out;
    png_image image = { .version = PNG_IMAGE_VERSION };
    struct recipe_text text;
    size_t len;

    (void)state;
    assert_ok(&ran);
    cJSON *line = next_object(&at);
    struct npy rgb = load_npy(&u8);
    uint8_t *file = load(png.text, &len);

    assert_true(png_image_begin_read_from_memory(&image, file, len));
    assert_int_equal(image.width, SIDE);
    assert_int_equal(image.height, SIDE);
    image.format = PNG_FORMAT_RGB;
    assert_true(png_image_finish_read(&image, NULL, got, 0, NULL));
    assert_memory_equal(got, rgb.data, PIXELS_LEN);
    assert_true(mark_find(file, len, &text));
    assert_hex_is_of(word_of(line, "recipe_key"), text.text, text.len);
    assert_hex_is_of(word_of(line, "file_sha256"), file, len);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(line, "core_sha256")));

    free(file);
    npy_release(&rgb);
    cJSON_Delete(line);
    ran_release(&ran);
    temp_destroy(&temp);
}

static void a_folder_fills_with_the_official_names(void **state)
{
    static const char *const NAMES[] = { "seed0000.jpg", "seed0001.jpg", "seed0002.jpg",
                                         "seed0012.jpg", "seed4294967295.jpg" };
    struct temp temp = temp_create();
    struct temp_path folder = temp_path(&temp, "new"), file;
    struct ran ran = SEEDPRESS("render", "--model-file", MODEL, "--seeds", "0-2,12,4294967295",
                               "-o", folder.text);

    (void)state;
    assert_ok(&ran);
    assert_non_null(strstr(ran.out, "5 pictures in "));
    assert_non_null(strstr(ran.out, " images/s (cpu-"));
    assert_int_equal(temp_count(&temp), COUNT(NAMES));
    for (size_t i = 0; i < COUNT(NAMES); i++) {
        char name[40];

        snprintf(name, sizeof name, "new/%s", NAMES[i]);
        file = temp_path(&temp, name);
        assert_int_equal(access(file.text, R_OK), 0);
    }
    ran_release(&ran);
    temp_destroy(&temp);
}

static void batch_and_threads_change_no_byte(void **state)
{
    static const char *const BATCHES[] = { "1", "3", "8", "8" }, *const THREADS[] = { "1", "2", "1",
                                                                                     "5" };
    enum { SEEDS = 9 };
    struct temp temp = temp_create();
    char shas[SEEDS][DIGEST_HEX_LEN + 1] = { { 0 } };

    (void)state;
    for (size_t i = 0; i < COUNT(BATCHES); i++) {
        struct ran ran = SEEDPRESS("--json", "render", "--model-file", MODEL, "--seeds", "0-8",
                                   "--psi", "-1.25", "--batch", BATCHES[i], "--threads",
                                   THREADS[i], "-o", temp.folder);
        const char *at = ran.out;

        assert_ok(&ran);
        for (int seed = 0; seed < SEEDS; seed++) {
            cJSON *line = next_object(&at);

            assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(line, "seed")), seed);
            if (i > 0)
                assert_string_equal(word_of(line, "file_sha256"), shas[seed]);
            snprintf(shas[seed], sizeof shas[seed], "%s", word_of(line, "file_sha256"));
            for (int other = 0; other < seed; other++)
                assert_string_not_equal(shas[seed], shas[other]);
            cJSON_Delete(line);
        }
        cJSON *summary = next_object(&at);

        assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(summary, "images")), SEEDS);
        cJSON_Delete(summary);
        ran_release(&ran);
    }
    temp_destroy(&temp);
}

/* ---- arrays ---- */

static void assert_shape(const struct npy *array, enum npy_dtype dtype, int rank, int a, int b,
                         int c)
{
    assert_int_equal(array->dtype, dtype);
    assert_int_equal(array->rank, rank);
    assert_int_equal(array->shape[0], a);
    assert_int_equal(array->shape[1], b);
    assert_int_equal(array->shape[2], c);
}

static void arrays_show_the_inside_of_one_render(void **state)
{
    /* numpy.random.RandomState(0).randn(2) */
    static const double Z[] = { 1.764052345967664, 0.4001572083672233 };
    struct temp temp = temp_create();
    struct temp_path zp = temp_path(&temp, "z"), wp = temp_path(&temp, "w"),
                     ip = temp_path(&temp, "i"), up = temp_path(&temp, "u");
    struct ran ran = SEEDPRESS("render", "--model-file", MODEL, "--seed", "0", "--dump-z", zp.text,
                               "--dump-ws", wp.text, "--dump-image", ip.text, "--dump-u8", up.text,
                               "--psi", "0.5", "--cutoff", "3");
    float *w;
    const float *image;
    const uint8_t *rgb;

    (void)state;
    assert_ok(&ran);
    assert_int_equal(temp_count(&temp), 4);   /* no picture: the arrays are what was wanted */
    struct npy z = load_npy(&zp), ws = load_npy(&wp), i = load_npy(&ip), u = load_npy(&up);

    assert_shape(&z, NPY_FLOAT64, 1, 128, 0, 0);
    assert_memory_equal(z.data, Z, sizeof Z);
    assert_shape(&ws, NPY_FLOAT32, 2, 10, 128, 0);
    w = ws.data;
    assert_memory_equal(&w[0], &w[2 * 128], 128 * sizeof *w);   /* rows 0..2 are truncated alike */
    assert_memory_not_equal(&w[2 * 128], &w[3 * 128], 128 * sizeof *w);
    assert_memory_equal(&w[3 * 128], &w[9 * 128], 128 * sizeof *w);
    assert_shape(&i, NPY_FLOAT32, 3, 3, SIDE, SIDE);
    assert_shape(&u, NPY_UINT8, 3, SIDE, SIDE, 3);
    image = i.data;
    rgb = u.data;
    for (int at = 0; at < SIDE * SIDE; at++)
        for (int c = 0; c < 3; c++) {
            float v = image[c * SIDE * SIDE + at] * 127.5f;   /* two steps: no fused multiply-add */

            v += 128.0f;
            assert_int_equal(rgb[at * 3 + c], v < 0 ? 0 : v > 255 ? 255 : (int)v);
        }
    npy_release(&z);
    npy_release(&ws);
    npy_release(&i);
    npy_release(&u);
    ran_release(&ran);
    temp_destroy(&temp);
}

static void noise_and_psi_change_the_picture_as_they_say(void **state)
{
    struct temp temp = temp_create();
    struct temp_path ap = temp_path(&temp, "a"), bp = temp_path(&temp, "b");
    struct ran ran = SEEDPRESS("render", "--model-file", MODEL, "--seed", "7", "--dump-u8", ap.text,
                               "--noise-mode", "none");

    (void)state;
    assert_ok(&ran);
    ran_release(&ran);
    ran = SEEDPRESS("render", "--model-file", MODEL, "--seed", "7", "--dump-u8", bp.text);
    assert_ok(&ran);
    ran_release(&ran);
    struct npy none = load_npy(&ap), with = load_npy(&bp);

    assert_memory_not_equal(none.data, with.data, PIXELS_LEN);
    npy_release(&none);
    npy_release(&with);

    /* At psi 0 every seed is the mean picture; the recipes still differ. */
    ran = SEEDPRESS("render", "--model-file", MODEL, "--seed", "7", "--dump-u8", ap.text, "--psi",
                    "0");
    assert_ok(&ran);
    ran_release(&ran);
    ran = SEEDPRESS("render", "--model-file", MODEL, "--seed", "8", "--dump-u8", bp.text, "--psi",
                    "0");
    assert_ok(&ran);
    ran_release(&ran);
    none = load_npy(&ap);
    with = load_npy(&bp);
    assert_memory_equal(none.data, with.data, PIXELS_LEN);
    npy_release(&none);
    npy_release(&with);
    temp_destroy(&temp);
}

/* ---- the mark ---- */

static void a_file_is_marked_as_asked_and_its_picture_is_the_same(void **state)
{
    struct temp temp = temp_create();
    struct temp_path plain = temp_path(&temp, "plain.jpg"), none = temp_path(&temp, "none.jpg");
    struct temp_path made = temp_path(&temp, "signed.jpg"), png = temp_path(&temp, "none.png");
    struct kit_certificate root = certificate_make_root("Root"), maker;
    struct certificate_wish wish = CERTIFICATE_WISH(&root);
    const struct kit_certificate *list[] = { &maker };
    struct digest core[3];
    const char *files[] = { plain.text, none.text, made.text };
    struct c2pa_finding finding;
    struct recipe_text text;
    struct temp_path cert, key;
    uint8_t *file;
    size_t len;
    struct err e;

    (void)state;
    maker = certificate_make(&wish);
    cert = certificate_write(&temp, "cert.pem", list, 1);
    key = certificate_write_key(&temp, "cert.key", &maker, NULL);
    run_ok(SEEDPRESS("render", "--model-file", MODEL, "--seed", "3", "-o", plain.text));
    run_ok(SEEDPRESS("render", "--model-file", MODEL, "--seed", "3", "--mark", "none", "-o",
                     none.text));
    run_ok(SEEDPRESS("render", "--model-file", MODEL, "--seed", "3", "--mark", "none", "-o",
                     png.text));
    run_ok(SEEDPRESS("render", "--model-file", MODEL, "--seed", "3", "--mark", "c2pa", "-o",
                     made.text, "--c2pa-cert", cert.text, "--c2pa-key", key.text));
    for (size_t i = 0; i < COUNT(files); i++) {
        file = load(files[i], &len);
        assert_true(mark_core_sha256(file, len, &core[i]));
        assert_true(digest_equal(&core[i], &core[0]));
        assert_int_equal(mark_find(file, len, &text), i != 1);
        assert_int_equal(c2pa_check(file, len, NULL, &finding, &e), ERR_OK);
        assert_int_equal(finding.verdict, i == 2 ? C2PA_VALID : C2PA_NONE);
        assert_int_equal(finding.recipe.len > 0, i == 2);
        free(file);
    }
    file = load(png.text, &len);
    assert_false(mark_find(file, len, &text));
    free(file);
    certificate_release(&maker);
    certificate_release(&root);
    temp_destroy(&temp);
}

/* ---- what is wrong ---- */

static void what_is_wrong_is_said_in_words_with_its_exit_code(void **state)
{
    static const struct {
        const char *args[10];
        int exit_code;
        const char *words;
    } CASES[] = {
        { { "render" }, 2, "which model? Say --model-file FILE" },
        { { "render", "--model-file", MODEL }, 2, "which pictures?" },
        { { "render", "--model-file", MODEL, "--seed", "1", "--seeds", "2" }, 2,
          "which pictures?" },
        { { "render", "--model-file", MODEL, "--seed" }, 2, "option --seed needs a value" },
        { { "render", "--model-file", MODEL, "--seed", "4294967296" }, 2, "0..4294967295" },
        { { "render", "--model-file", MODEL, "--seed", "0-3" }, 2, "--seed is one seed" },
        { { "render", "--model-file", MODEL, "--seeds", "3-0" }, 2, "\"3-0\" run backwards" },
        { { "render", "--model-file", MODEL, "--seeds", "0-10000000" }, 2, "10000000" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--batch", "0" }, 2, "1..256" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--threads", "x" }, 2,
          "--threads needs a whole number" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--rotate", "15" }, 2,
          "this model has no transform to translate and rotate with; only StyleGAN 3 models" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--transform", "1,0,0,0,1,0,0,0,2" },
          2, "this model has no transform; only StyleGAN 3 models have one" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--backend", "abacus" }, 2, "abacus" },
        { { "render", "--model-file", MODEL, "--seed", "0", "-o", "x.gif" }, 2, ".gif" },
        { { "render", "--model-file", MODEL, "--seeds", "0-1", "-o", "x.jpg" }, 2,
          "2 pictures do not fit into one file" },
        { { "render", "--model-file", MODEL, "--seeds", "0-1", "--dump-z", "z.npy" }, 2,
          "arrays are dumped of one seed" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--mark", "c2pa" }, 2,
          "--mark c2pa needs --c2pa-cert FILE and --c2pa-key FILE" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--mark", "c2pa", "-o", "x.png" }, 2,
          "--mark c2pa signs .jpg files only" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--c2pa-cert", "x.pem" }, 2,
          "go with --mark c2pa only" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--frobnicate" }, 2,
          "unknown option --frobnicate" },
        { { "render", "--model-file", MODEL, "--seed", "0", "-x" }, 2, "unknown option -x" },
        { { "render", "--model-file", MODEL, "--seed", "0", "stray" }, 2,
          "unexpected argument \"stray\"" },
        { { "render", "--model-file", "no/such.safetensors", "--seed", "0" }, 7,
          "no/such.safetensors" },
        { { "render", "--model-file", "Makefile", "--seed", "0" }, 7, "" },
        { { "render", "--model-file", "deploy", "--seed", "0" }, 7, "deploy" },
        { { "render", "--model-file", MODEL, "--seed", "0", "-o", "no/such/x.jpg" }, 7,
          "its folder does not exist" },
        { { "render", "--model-file", MODEL, "--seed", "0", "-o", "no/such/folder" }, 7,
          "no/such/folder" },
        { { "render", "--model-file", MODEL, "--seed", "0", "-o", "Makefile" }, 7,
          "is there and is no folder" },
        { { "render", "--model-file", MODEL, "--seed", "0", "--dump-u8", "/dev/full" }, 7,
          "the disk is full" },
        { { "frobnicate" }, 2, "unknown command \"frobnicate\"; known: " },
        { { "--frobnicate" }, 2, "unknown option --frobnicate" },
        { { "render", "--broker" }, 2, "option --broker needs a value" },
        { { "model" }, 2, "model does what?" },
        { { "model", "paint" }, 2, "unknown word \"paint\" after model" },
        { { "model", "inspect" }, 2, "model inspect needs one file" },
        { { "model", "inspect", "no/such" }, 7, "no/such" },
        { { "model", "inspect", "Makefile" }, 7, "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct ran ran = seedpress(CASES[i].args);

        if (ran.exit_code != CASES[i].exit_code || strncmp(ran.err, "seedpress: ", 11) != 0 ||
            !strstr(ran.err, CASES[i].words))
            fail_msg("case %zu gives %d and says: %s", i, ran.exit_code, ran.err);
        assert_string_equal(ran.out, "");
        ran_release(&ran);
    }
}

/* Before a broker is asked or a file is read. */
static void options_of_a_picture_mean_the_same_to_generate_and_render(void **state)
{
    static const struct {
        const char *args[5];
        const char *words;
    } CASES[] = {
        { { "--seed", "x" }, "\"x\" is not a seed" },
        { { "--seed", "-1" }, "seed -1 is out of range" },
        { { "--psi", "2.000001" }, "--psi 2.000001 is out of range: -2..2" },
        { { "--psi", "0.1234567" }, "six places" },
        { { "--psi", "nan" }, "not \"nan\"" },
        { { "--cutoff", "-1" }, "--cutoff -1 is out of range" },
        { { "--cutoff", "65" }, "--cutoff 65 is out of range: 0..64" },
        { { "--class", "-1" }, "--class -1 is out of range" },
        { { "--class", "x" }, "--class needs a whole number, not \"x\"" },
        { { "--quality", "0" }, "--quality 0 is out of range: 1..100" },
        { { "--quality", "101" }, "1..100" },
        { { "--mark", "exif" }, "--mark is one of none, xmp, c2pa, not \"exif\"" },
        { { "--noise-mode", "fixed" },
          "--noise-mode is one of none, const, random, stream, not \"fixed\"" },
        { { "--noise-mode", "random" }, "--noise-mode random needs --noise-seed N" },
        { { "--noise-seed", "5" }, "--noise-seed goes with --noise-mode random only" },
        { { "--noise-mode", "stream", "--noise-seed", "5" },
          "--noise-seed goes with --noise-mode random only" },
        { { "--noise-mode", "random", "--noise-seed", "4294967296" },
          "--noise-seed 4294967296 is out of range: 0..4294967295" },
        { { "--translate", "0.5" }, "--translate needs two numbers, X,Y; 1 was given" },
        { { "--translate", "" }, "--translate needs two numbers, X,Y; 1 was given" },
        { { "--translate", "1,2,3" }, "--translate needs two numbers, X,Y; 3 were given" },
        { { "--translate", "1," }, "\"\" is no number with at most six places" },
        { { "--translate", "0.1234567,0" }, "\"0.1234567\" is no number with at most six places" },
        { { "--translate", "0,1000.5" }, "\"1000.5\" is out of range: -1000..1000" },
        { { "--rotate", "x" }, "--rotate needs a number with at most six places" },
        { { "--rotate", "-1001" }, "--rotate -1001 is out of range: -1000..1000" },
        { { "--transform", "1,0,0,0,1,0,0,0" },
          "--transform needs nine numbers, row by row; 8 were given" },
        { { "--transform", "1,0,0,0,1,0,0,0,1,0" }, "row by row; 10 were given" },
        { { "--transform", "1,0,0,0,1,0,0,0,nan" }, "row by row; \"nan\" is no number" },
        { { "--transform", "1,0,0,0,1,0,0,0,inf" }, "row by row; \"inf\" is no number" },
        { { "--transform", "1,0,0,0,1,0,0,0, 1" }, "row by row; \" 1\" is no number" },
        { { "--transform", "1,0,0,0,1,0,0,0,1e39" }, "\"1e39\" is too large for float32" },
        { { "--transform", "1,0,0,0,1,0,0,0,1", "--rotate", "0" },
          "--transform goes without --translate and --rotate" },
        { { "--translate", "0,0", "--transform", "1,0,0,0,1,0,0,0,1" },
          "--transform goes without --translate and --rotate" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++)
        for (int k = 0; k < 2; k++) {
            const char *const *a = CASES[i].args;
            struct ran ran = SEEDPRESS(k ? "generate" : "render", k ? "--model" : "--model-file",
                                       "no-such", "--seed", "0", a[0], a[1], a[2], a[3]);

            if (ran.exit_code != 2 || !strstr(ran.err, CASES[i].words))
                fail_msg("case %zu gives %d and says: %s", i, ran.exit_code, ran.err);
            ran_release(&ran);
        }
}

static void options_that_change_nothing_change_no_recipe(void **state)
{
    struct temp temp = temp_create();
    struct temp_path plain = temp_path(&temp, "a.jpg"), said = temp_path(&temp, "b.jpg");
    struct ran a = SEEDPRESS("--json", "render", "--model-file", MODEL, "--seed", "3", "--psi",
                             "0.5", "-o", plain.text);
    struct ran b = SEEDPRESS("--json", "render", "--model-file", MODEL, "--seed", "3", "--psi",
                             "0.5", "-o", said.text, "--cutoff", "64", "--noise-mode", "const",
                             "--transform", "1,-0,0,0,1.0,0,0,0,10e-1");
    struct ran c = SEEDPRESS("--json", "render", "--model-file", MODEL, "--seed", "3", "--psi",
                             "0.5", "-o", said.text, "--translate", "0,0.0", "--rotate", "0");
    const char *at_a = a.out, *at_b = b.out, *at_c = c.out;

    (void)state;
    assert_ok(&a);
    assert_ok(&b);
    assert_ok(&c);
    cJSON *line_a = next_object(&at_a), *line_b = next_object(&at_b), *line_c = next_object(&at_c);

    assert_string_equal(word_of(line_a, "recipe_key"), word_of(line_b, "recipe_key"));
    assert_string_equal(word_of(line_a, "file_sha256"), word_of(line_b, "file_sha256"));
    assert_string_equal(word_of(line_a, "recipe_key"), word_of(line_c, "recipe_key"));
    cJSON_Delete(line_a);
    cJSON_Delete(line_b);
    cJSON_Delete(line_c);
    ran_release(&a);
    ran_release(&b);
    ran_release(&c);
    temp_destroy(&temp);
}

static void with_json_an_error_is_an_object(void **state)
{
    struct ran ran = SEEDPRESS("render", "--json", "--model-file", "no \"such\" file", "--seed",
                               "0");
    const char *at = ran.err;

    (void)state;
    assert_int_equal(ran.exit_code, 7);
    cJSON *object = next_object(&at);
    cJSON *error = cJSON_GetObjectItem(object, "error");

    assert_string_equal(word_of(error, "code"), "file");
    assert_non_null(strstr(word_of(error, "message"), "no \"such\" file"));
    assert_string_equal(at, "\n");
    cJSON_Delete(object);
    ran_release(&ran);
}

static void a_class_without_effect_is_a_warning(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.npy");
    struct ran ran = SEEDPRESS("render", "--model-file", MODEL, "--seed", "0", "--class", "3",
                               "--dump-u8", path.text);

    (void)state;
    assert_ok(&ran);
    assert_string_equal(ran.err, "seedpress: warning: class has no effect on an unconditional "
                                 "model\n");
    ran_release(&ran);
    temp_destroy(&temp);
}

static void full_standard_output_is_no_success(void **state)
{
    char line[400];
    struct ran ran;

    (void)state;
    snprintf(line, sizeof line, "%s model inspect %s > /dev/full", program(), MODEL);
    ran = run_program((const char *const[]){ "sh", "-c", line, NULL });
    assert_int_equal(ran.exit_code, 7);
    assert_string_equal(ran.err, "seedpress: could not write to standard output\n");
    ran_release(&ran);
}

/* ---- the rest ---- */

static void help_stands_before_and_after_the_command(void **state)
{
    struct ran before = SEEDPRESS("--help", "render"), after = SEEDPRESS("render", "--help"),
               whole = SEEDPRESS("--help"), none = seedpress((const char *const[]){ NULL }),
               version = SEEDPRESS("--version");

    (void)state;
    assert_ok(&before);
    assert_string_equal(before.out, after.out);
    assert_non_null(strstr(before.out, "examples:"));
    assert_ok(&whole);
    assert_non_null(strstr(whole.out, "examples:"));
    assert_non_null(strstr(whole.out, "  render "));
    assert_int_equal(none.exit_code, 2);
    assert_string_equal(none.err, whole.out);
    assert_ok(&version);
    assert_int_equal(strncmp(version.out, "seedpress ", 10), 0);
    ran_release(&before);
    ran_release(&after);
    ran_release(&whole);
    ran_release(&none);
    ran_release(&version);
}

static void inspect_tells_digest_and_licence(void **state)
{
    struct ran ran = SEEDPRESS("model", "inspect", MODEL), json = SEEDPRESS("model", "inspect",
                                                                           MODEL, "--json");
    const char *at = json.out;

    (void)state;
    assert_ok(&ran);
    assert_ok(&json);
    cJSON *object = next_object(&at);

    assert_int_equal(strlen(word_of(object, "digest")), DIGEST_HEX_LEN);
    assert_non_null(strstr(ran.out, word_of(object, "digest")));
    assert_string_equal(word_of(object, "licence"), "CC0-1.0");
    assert_string_equal(word_of(object, "architecture"), "stylegan2");
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(object, "width")), SIDE);
    cJSON_Delete(object);
    ran_release(&ran);
    ran_release(&json);
}

/* More seeds than anybody waits for; the first line of output says that it is under way. */
static void an_interrupt_ends_in_order_and_leaves_whole_files(void **state)
{
    struct temp temp = temp_create();
    const char *argv[] = { program(), "--json", "render", "--model-file", MODEL, "--seeds",
                           "0-9999999", "-o", temp.folder, NULL };
    posix_spawn_file_actions_t actions;
    int out[2], status, lines = 0;
    char buffer[4096];
    ssize_t got;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(out), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    for (bool asked = false; (got = read(out[0], buffer, sizeof buffer)) > 0; asked = true) {
        for (ssize_t i = 0; i < got; i++)
            lines += buffer[i] == '\n';
        if (!asked)                  /* once: a second one ends the program where it stands */
            kill(pid, SIGINT);
    }
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    assert_true(lines > 0);
    assert_int_equal(temp_count(&temp), lines);   /* a line each, and nothing half-written beside */
    for (int seed = 0; seed < lines; seed++) {
        struct temp_path path;
        struct digest core;
        char name[32];
        size_t len;

        snprintf(name, sizeof name, "seed%04d.jpg", seed);
        path = temp_path(&temp, name);
        uint8_t *file = load(path.text, &len);

        assert_true(mark_core_sha256(file, len, &core));
        free(file);
    }
    temp_destroy(&temp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_jpeg_is_the_file_that_a_worker_would_make),
        cmocka_unit_test(a_png_has_the_very_pixels_and_the_mark),
        cmocka_unit_test(a_folder_fills_with_the_official_names),
        cmocka_unit_test(batch_and_threads_change_no_byte),
        cmocka_unit_test(arrays_show_the_inside_of_one_render),
        cmocka_unit_test(noise_and_psi_change_the_picture_as_they_say),
        cmocka_unit_test(a_file_is_marked_as_asked_and_its_picture_is_the_same),
        cmocka_unit_test(what_is_wrong_is_said_in_words_with_its_exit_code),
        cmocka_unit_test(options_of_a_picture_mean_the_same_to_generate_and_render),
        cmocka_unit_test(options_that_change_nothing_change_no_recipe),
        cmocka_unit_test(with_json_an_error_is_an_object),
        cmocka_unit_test(a_class_without_effect_is_a_warning),
        cmocka_unit_test(full_standard_output_is_no_success),
        cmocka_unit_test(help_stands_before_and_after_the_command),
        cmocka_unit_test(inspect_tells_digest_and_licence),
        cmocka_unit_test(an_interrupt_ends_in_order_and_leaves_whole_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
