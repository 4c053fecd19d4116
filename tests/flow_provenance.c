/* `seedpress provenance` and `seedpress verify` from outside, on a real broker, worker and
 * PostgreSQL: pictures as they were made, edited ones, strangers, and files that are none. */
#include "base/c2pa.h"
#include "base/file.h"
#include "base/mark.h"
#include "client/compare.h"
#include "client/image.h"
#include "client/png.h"
#include "kernels/jpeg.h"
#include "tests/kit_certificate.h"
#include "tests/kit_json.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL_FILE "deploy/models/avatars64.safetensors"

enum { FILE_BYTES_MAX = 1 << 20 };

static const char *const PATIENT[] = { "--lookup-ms", "10000", NULL };

static struct kit_stack stack;
static struct temp temp;

/* ---- running it ---- */

static struct ran seedpress(const char *const *args)
{
    return run_seedpress((const char *const[]){ "--broker", stack.clients, NULL }, args);
}
#define SEEDPRESS(...) seedpress((const char *const[]){ __VA_ARGS__, NULL })

static void expect_words(struct ran *ran, int exit_code, const char *out, const char *err)
{
    if (out && !strstr(ran->out, out))
        fail_msg("\"%s\" is not on standard output: %s%s", out, ran->out, ran->err);
    if (err && !strstr(ran->err, err))
        fail_msg("\"%s\" is not on standard error: %s%s", err, ran->out, ran->err);
    if (ran->exit_code != exit_code)
        fail_msg("exit code %d and not %d: %s%s", ran->exit_code, exit_code, ran->out, ran->err);
    ran_release(ran);
}

/* The one object that --json printed; the caller deletes it. */
static cJSON *object_of(struct ran *ran, int exit_code)
{
    cJSON *object = cJSON_ParseWithOpts(ran->out, NULL, 0);

    if (!object || ran->exit_code != exit_code)
        fail_msg("exit code %d and not %d: %s%s", ran->exit_code, exit_code, ran->out, ran->err);
    ran_release(ran);
    return object;
}

/* ---- files ---- */

struct file {
    uint8_t *data;
    size_t len;
};

static struct file read_temp(const char *name)
{
    struct temp_path path = temp_path(&temp, name);
    struct file file;
    struct err e;

    if (file_read(path.text, FILE_BYTES_MAX, &file.data, &file.len, &e))
        fail_msg("%s", e.msg);
    return file;
}

static struct temp_path write_temp(const char *name, const void *data, size_t len)
{
    struct temp_path path = temp_path(&temp, name);
    struct err e;

    if (file_write_atomic(path.text, data, len, &e))
        fail_msg("%s", e.msg);
    return path;
}

/* Made through the broker, under name. */
static struct temp_path made(const char *name, const char *seed, const char *psi)
{
    struct temp_path path = temp_path(&temp, name);
    struct ran ran = SEEDPRESS("generate", "--model", "avatars64", "--seed", seed, "--psi", psi,
                               "-o", path.text);

    expect_words(&ran, 0, NULL, NULL);
    return path;
}

static struct image pixels_of(const char *name)
{
    struct file file = read_temp(name);
    struct image image;
    struct err e;

    if (image_decode(file.data, file.len, &image, &e))
        fail_msg("%s", e.msg);
    free(file.data);
    return image;
}

/* The recipe that a file names, as the packet of a mark; "" for none. */
static void xmp_of(const char *name, char xmp[MARK_XMP_MAX])
{
    struct file file = read_temp(name);
    struct recipe_text text;

    *xmp = '\0';
    if (mark_find(file.data, file.len, &text))
        assert_true(mark_xmp(&text, xmp, MARK_XMP_MAX) > 0);
    free(file.data);
}

enum keep_recipe { WITHOUT_RECIPE, WITH_RECIPE };

static struct temp_path saved_jpeg(const char *name, const struct image *image, int quality,
                                   const char *xmp)
{
    struct jpeg_picture picture = { .rgb = image->rgb, .width = image->width,
                                    .height = image->height, .quality = quality, .xmp = xmp };
    struct jpeg_encoder *encoder;
    struct temp_path path;
    struct file file;
    struct err e;

    assert_int_equal(jpeg_encoder_create(&encoder, &e), ERR_OK);
    assert_int_equal(jpeg_encode(encoder, &picture, &file.data, &file.len, &e), ERR_OK);
    jpeg_encoder_destroy(&encoder);
    path = write_temp(name, file.data, file.len);
    free(file.data);
    return path;
}

static struct temp_path saved_png(const char *name, const struct image *image, const char *xmp)
{
    struct temp_path path;
    struct file file;
    struct err e;

    assert_int_equal(png_encode(image->rgb, image->width, image->height, xmp, &file.data,
                                &file.len, &e), ERR_OK);
    path = write_temp(name, file.data, file.len);
    free(file.data);
    return path;
}

/* from as a JPEG of another quality. */
static struct temp_path compressed(const char *from, const char *to, int quality,
                                   enum keep_recipe keep)
{
    struct image image = pixels_of(from);
    struct temp_path path;
    char xmp[MARK_XMP_MAX];

    xmp_of(from, xmp);
    path = saved_jpeg(to, &image, quality, keep == WITH_RECIPE ? xmp : NULL);
    image_release(&image);
    return path;
}

/* width x height pixels of from, from (x, y) on, as a PNG. */
static struct temp_path cropped(const char *from, const char *to, const int at[4],
                                enum keep_recipe keep)
{
    struct image image = pixels_of(from), crop = { .width = at[2], .height = at[3] };
    size_t row = (size_t)crop.width * 3;
    struct temp_path path;
    char xmp[MARK_XMP_MAX];

    crop.rgb = malloc(row * (size_t)crop.height);
    assert_non_null(crop.rgb);
    for (int y = 0; y < crop.height; y++)
        memcpy(crop.rgb + (size_t)y * row,
               image.rgb + ((size_t)(at[1] + y) * (size_t)image.width + (size_t)at[0]) * 3, row);
    xmp_of(from, xmp);
    path = saved_png(to, &crop, keep == WITH_RECIPE ? xmp : NULL);
    image_release(&image);
    image_release(&crop);
    return path;
}

/* Without its metadata: SOI, then everything behind the APPn segments. */
static struct temp_path stripped(const char *from, const char *to)
{
    struct file file = read_temp(from);
    struct temp_path path;
    size_t at = 2;

    while (file.data[at] == 0xff && file.data[at + 1] >= 0xe0 && file.data[at + 1] <= 0xef)
        at += 2 + ((size_t)file.data[at + 2] << 8 | file.data[at + 3]);
    memmove(file.data + 2, file.data + at, file.len - at);
    path = write_temp(to, file.data, file.len - at + 2);
    free(file.data);
    return path;
}

/* ---- grades ---- */

static void file_as_it_was_made_is_exact(void **state)
{
    struct temp_path path = made("exact.jpg", "31", "0.7");
    struct temp_path bare = stripped("exact.jpg", "bare.jpg");
    struct ran ran = SEEDPRESS("provenance", path.text);

    (void)state;
    expect_words(&ran, 0, "grade       exact\n", NULL);
    ran = SEEDPRESS("provenance", bare.text);
    expect_words(&ran, 0, "grade       exact (metadata differs)\n", NULL);
}

static void edited_file_with_its_recipe_is_confirmed(void **state)
{
    static const int AT[4] = { 4, 9, 48, 50 };
    struct temp_path path;
    struct ran ran;
    cJSON *object, *place;

    (void)state;
    made("edited.jpg", "32", "0.7");
    path = compressed("edited.jpg", "edited60.jpg", 60, WITH_RECIPE);
    ran = SEEDPRESS("provenance", path.text);
    assert_non_null(strstr(ran.out, "seed        32\n"));
    assert_non_null(strstr(ran.out, "place       all of it\n"));
    assert_non_null(strstr(ran.out, "with the stored file"));
    expect_words(&ran, 0, "grade       confirmed\n", NULL);

    path = cropped("edited.jpg", "edited.png", AT, WITH_RECIPE);
    ran = SEEDPRESS("--json", "provenance", path.text);
    object = object_of(&ran, 0);
    place = cJSON_GetObjectItem(object, "place");
    assert_string_equal(json_string(object, "grade"), "confirmed");
    assert_true(json_number(object, "correlation") > 0.99);
    assert_true(json_number(object, "seed") == 32);
    assert_in_range(-json_number(place, "x") + 0.5, AT[0] - 1, AT[0] + 1);
    assert_in_range(-json_number(place, "y") + 0.5, AT[1] - 1, AT[1] + 1);
    assert_true(strstr(json_string(place, "words"), "a crop that shows 59 % of it") != NULL ||
                strstr(json_string(place, "words"), "a crop that shows 58 % of it") != NULL);
    cJSON_Delete(object);
}

/* Made by the engine elsewhere, so that this ledger has no row of it. */
static void picture_made_elsewhere_is_confirmed_by_a_render(void **state)
{
    struct temp_path path = temp_path(&temp, "elsewhere.jpg");
    struct ran ran = SEEDPRESS("render", "--model-file", MODEL_FILE, "--seed", "33", "--psi", "-1",
                               "--quality", "70", "-o", path.text);

    (void)state;
    expect_words(&ran, 0, NULL, NULL);
    ran = SEEDPRESS("provenance", "--no-render", path.text);
    assert_non_null(strstr(ran.out, "note        not compared: "));
    expect_words(&ran, 1, "grade       claimed\n", NULL);
    ran = SEEDPRESS("provenance", path.text);
    assert_non_null(strstr(ran.out, "correlation 1.0000 with a new render"));
    assert_non_null(strstr(ran.out, "the ledger had no row of this recipe"));
    expect_words(&ran, 0, "grade       confirmed\n", NULL);
}

static void recipe_of_another_picture_is_refuted(void **state)
{
    char xmp[MARK_XMP_MAX];
    struct temp_path path;
    struct image image = { .width = 64, .height = 64, .rgb = malloc(64 * 64 * 3) };
    struct ran ran;
    cJSON *object;

    (void)state;
    made("honest.jpg", "34", "0.7");
    xmp_of("honest.jpg", xmp);
    fill_waves(image.rgb, 64, 64, 5);
    path = saved_jpeg("forged.jpg", &image, 90, xmp);
    image_release(&image);
    ran = SEEDPRESS("provenance", path.text);
    assert_non_null(strstr(ran.out, "the recipe in the file makes another picture"));
    expect_words(&ran, 1, "no record (which does not mean that a camera made it)", NULL);
    ran = SEEDPRESS("--json", "provenance", path.text);
    object = object_of(&ran, 1);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetObjectItem(object, "claim"),
                                                 "refuted")));
    cJSON_Delete(object);
}

static void recipe_of_a_model_that_nobody_has_is_a_claim(void **state)
{
    struct file file;
    struct temp_path path;
    struct recipe_text text;
    char xmp[MARK_XMP_MAX];
    uint8_t waves[64 * 64 * 3];
    struct image image = { .width = 64, .height = 64, .rgb = waves };
    struct ran ran;

    (void)state;
    made("stranger.jpg", "35", "0.7");
    file = read_temp("stranger.jpg");
    assert_true(mark_find(file.data, file.len, &text));
    free(file.data);
    memcpy(strstr(text.text, "model=") + 6, "0123456789abcdef", 16);
    assert_true(mark_xmp(&text, xmp, sizeof xmp) > 0);
    fill_waves(waves, 64, 64, 7);
    path = saved_jpeg("claim.jpg", &image, 80, xmp);
    ran = SEEDPRESS("provenance", path.text);
    assert_non_null(strstr(ran.out, "note        not compared: unknown model"));
    expect_words(&ran, 1, "grade       claimed\n", NULL);

    /* What the picture itself shows goes before what the file claims. */
    image = pixels_of("stranger.jpg");
    path = saved_jpeg("claim35.jpg", &image, 80, xmp);
    image_release(&image);
    ran = SEEDPRESS("provenance", path.text);
    assert_non_null(strstr(ran.out, "seed        35\n"));
    expect_words(&ran, 0, "grade       confirmed\n", NULL);
}

/* ---- what looks alike ---- */

/* All metadata gone: nothing but the picture is left to find it by. */
static void picture_alone_is_found_and_confirmed(void **state)
{
    static const int AT[4] = { 3, 8, 51, 52 };
    struct temp_path paths[3];
    struct image image, page = { .width = 120, .height = 100, .rgb = malloc(120 * 100 * 3) };

    (void)state;
    assert_non_null(page.rgb);
    made("alone.jpg", "61", "0.7");
    paths[0] = compressed("alone.jpg", "alone50.jpg", 50, WITHOUT_RECIPE);
    paths[1] = cropped("alone.jpg", "alone-crop.png", AT, WITHOUT_RECIPE);
    image = pixels_of("alone.jpg");
    memset(page.rgb, 240, 120 * 100 * 3);
    for (int y = 0; y < image.height; y++)
        memcpy(page.rgb + ((size_t)(20 + y) * 120 + 30) * 3,
               image.rgb + (size_t)y * (size_t)image.width * 3, (size_t)image.width * 3);
    paths[2] = saved_png("alone-page.png", &page, NULL);
    image_release(&image);
    image_release(&page);
    for (int i = 0; i < 3; i++) {
        struct ran ran = SEEDPRESS("--json", "provenance", paths[i].text);
        cJSON *object = object_of(&ran, 0);

        assert_string_equal(json_string(object, "grade"), "confirmed");
        assert_true(json_number(object, "seed") == 61);
        assert_true(json_number(object, "correlation") > 0.95);
        assert_true(json_number(object, "difference") <= COMPARE_CONFIRMED_LEVELS);
        cJSON_Delete(object);
    }
}

static void stranger_without_metadata_has_no_record(void **state)
{
    struct image image = { .width = 200, .height = 150, .rgb = malloc(200 * 150 * 3) };
    struct temp_path path, unknown = temp_path(&temp, "unknown.jpg"), bare;
    struct ran ran;

    (void)state;
    fill_waves(image.rgb, 200, 150, 9);
    path = saved_png("waves.png", &image, NULL);
    image_release(&image);
    ran = SEEDPRESS("provenance", path.text);
    expect_words(&ran, 1, "no record (which does not mean that a camera made it)", NULL);

    /* An avatar like all others, but of a seed that is no row. */
    ran = SEEDPRESS("render", "--model-file", MODEL_FILE, "--seed", "999", "--psi", "0.7", "-o",
                    unknown.text);
    expect_words(&ran, 0, NULL, NULL);
    bare = stripped("unknown.jpg", "unknown-bare.jpg");
    ran = SEEDPRESS("provenance", bare.text);
    assert_null(strstr(ran.out, "confirmed"));
    expect_words(&ran, 1, "grade       ", NULL);
}

static void jobs_and_moments_can_be_asked_for(void **state)
{
    struct ran ran;

    (void)state;
    made("recent.jpg", "62", "0.7");
    ran = SEEDPRESS("provenance", "--model", "avatars64", "--since", "1h", "--limit", "1");
    expect_words(&ran, 0, "seed        ", NULL);
    ran = SEEDPRESS("provenance", "--model", "avatars64", "--since", "2100-01-01");
    expect_words(&ran, 1, "no record", NULL);
    ran = SEEDPRESS("provenance", "--job", "4711");
    if (ran.exit_code != 1)
        fail_msg("exit code %d: %s%s", ran.exit_code, ran.out, ran.err);
    ran_release(&ran);
}

/* ---- Content Credentials ---- */

/* from with a manifest, signed by one whom root vouches for. */
static struct temp_path signed_copy(const char *from, const char *to,
                                    const struct kit_certificate *root)
{
    struct certificate_wish wish = CERTIFICATE_WISH(root);
    struct kit_certificate leaf = certificate_make(&wish);
    const struct kit_certificate *chain[] = { &leaf };
    struct temp_path cert = certificate_write(&temp, "leaf.pem", chain, 1);
    struct temp_path key = certificate_write_key(&temp, "leaf.key", &leaf, NULL), path;
    struct file file = read_temp(from), out;
    struct c2pa_unsigned bare = { file.data, file.len, digest_of(file.data, file.len) };
    struct c2pa_signer *signer;
    struct recipe_text text;
    struct err e;

    assert_true(mark_find(file.data, file.len, &text));
    if (c2pa_signer_create(cert.text, key.text, &signer, &e) ||
        c2pa_sign(signer, &text, &bare, &out.data, &out.len, &e))
        fail_msg("%s", e.msg);
    path = write_temp(to, out.data, out.len);
    c2pa_signer_destroy(&signer);
    certificate_release(&leaf);
    free(file.data);
    free(out.data);
    return path;
}

static void credentials_of_a_trusted_signer_are_signed(void **state)
{
    struct kit_certificate root = certificate_make_root("Picture Authority");
    const struct kit_certificate *chain[] = { &root };
    struct temp_path trust = certificate_write(&temp, "trust.pem", chain, 1), path;
    struct file file;
    struct ran ran;

    (void)state;
    made("plain.jpg", "51", "0.7");
    path = signed_copy("plain.jpg", "signed.jpg", &root);
    ran = SEEDPRESS("provenance", path.text, "--trust", trust.text);
    assert_non_null(strstr(ran.out, "credentials valid, signed by Picture Maker"));
    assert_non_null(strstr(ran.out, "seed        51\n"));
    expect_words(&ran, 0, "grade       signed\n", NULL);
    ran = SEEDPRESS("provenance", path.text);
    assert_non_null(strstr(ran.out, "whom nobody vouches for"));
    expect_words(&ran, 0, "grade       exact (metadata differs)\n", NULL);

    file = read_temp("signed.jpg");
    file.data[file.len - 40] ^= 1;  /* a pixel */
    path = write_temp("resigned.jpg", file.data, file.len);
    free(file.data);
    ran = SEEDPRESS("provenance", path.text, "--trust", trust.text);
    assert_non_null(strstr(ran.out, "credentials do not hold: "));
    assert_null(strstr(ran.out, "grade       signed"));
    assert_null(strstr(ran.out, "grade       exact"));
    ran_release(&ran);
    ran = SEEDPRESS("provenance", path.text, "--trust", path.text);
    assert_null(strstr(ran.err, "the ledger does not know"));
    expect_words(&ran, 7, NULL, "resigned.jpg");
    certificate_release(&root);
}

/* ---- verify ---- */

static void picture_as_it_was_made_is_identical(void **state)
{
    struct temp_path path = made("verified.jpg", "41", "0.7");
    struct temp_path bare = stripped("verified.jpg", "verified-bare.jpg");
    struct ran ran = SEEDPRESS("verify", path.text);

    (void)state;
    assert_non_null(strstr(ran.out, "rendered    now, by run 1, cpu-fp32"));
    expect_words(&ran, 0, "answer      identical\n", NULL);
    ran = SEEDPRESS("verify", bare.text);
    expect_words(&ran, 0, "answer      same pixels\n", NULL);
    ran = SEEDPRESS("verify", path.text, "--model-file", MODEL_FILE, "--backend", "cpu");
    assert_non_null(strstr(ran.out, "recipe      found in the file's metadata"));
    expect_words(&ran, 0, "answer      identical\n", NULL);
}

static void edited_picture_is_different_with_figures(void **state)
{
    static const int AT[4] = { 0, 0, 60, 60 };
    struct temp_path path;
    struct ran ran;
    cJSON *object;

    (void)state;
    made("tampered.jpg", "42", "0.7");
    path = compressed("tampered.jpg", "tampered30.jpg", 30, WITH_RECIPE);
    ran = SEEDPRESS("--json", "verify", path.text);
    object = object_of(&ran, 1);
    assert_string_equal(json_string(object, "answer"), "different");
    assert_true(json_number(object, "max_levels") > 5 && json_number(object, "psnr_db") < 40);
    cJSON_Delete(object);
    path = compressed("tampered.jpg", "tampered99.jpg", 99, WITH_RECIPE);
    ran = SEEDPRESS("--json", "verify", path.text);
    object = object_of(&ran, 0);
    assert_string_equal(json_string(object, "answer"), "within tolerance");
    assert_true(json_number(object, "psnr_db") >= 40);
    cJSON_Delete(object);
    path = cropped("tampered.jpg", "tampered.png", AT, WITH_RECIPE);
    ran = SEEDPRESS("verify", path.text);
    expect_words(&ran, 1, "it has 60 x 60 pixels and the render 64 x 64", NULL);
    path = cropped("tampered.jpg", "bare.png", AT, WITHOUT_RECIPE);
    ran = SEEDPRESS("verify", path.text);
    expect_words(&ran, 1, "answer      no record", NULL);
}

/* The stored picture is the answer to everybody; what a render gives now may be another one. */
static void picture_that_no_longer_comes_out_is_different(void **state)
{
    struct temp_path path = made("aged.jpg", "43", "0.7");
    struct ran ran;
    cJSON *object;

    (void)state;
    made("other.jpg", "44", "0.7");
    /* As if another arithmetic had made 43: the file of 44 under its key. */
    kit_postgres_exec(stack.pg.conninfo,
                      "UPDATE blobs SET data = (SELECT b.data FROM blobs b JOIN images i USING"
                      " (key) WHERE i.seed = 44) WHERE key = (SELECT key FROM images WHERE seed = 43);"
                      "UPDATE images SET (file_sha, core_sha, bytes) = (SELECT file_sha, core_sha,"
                      " bytes FROM images WHERE seed = 44) WHERE seed = 43");
    ran = SEEDPRESS("--json", "verify", path.text);
    object = object_of(&ran, 0);     /* 43 as it was made: this is what a render gives */
    assert_string_equal(json_string(object, "answer"), "identical");
    cJSON_Delete(object);
    kit_postgres_exec(stack.pg.conninfo, "DELETE FROM blobs WHERE key = (SELECT key FROM images"
                      " WHERE seed = 44); DELETE FROM images WHERE seed = 44");
    path = temp_path(&temp, "other.jpg");
    ran = SEEDPRESS("--json", "verify", path.text);
    object = object_of(&ran, 1);
    assert_string_equal(json_string(object, "answer"), "different");
    assert_non_null(strstr(json_string(object, "note"),
                           "now makes other pixels than those stored"));
    assert_true(json_number(object, "max_levels") > 50 && json_number(object, "psnr_db") < 30);
    cJSON_Delete(object);
}

static void verify_needs_a_picture_and_its_model(void **state)
{
    struct temp_path path = made("model.jpg", "45", "0.7");
    struct temp_path text = write_temp("verify.txt", "a text\n", 7);
    struct ran ran = SEEDPRESS("verify", text.text);

    (void)state;
    expect_words(&ran, 7, NULL, "neither JPEG, PNG nor WebP");
    ran = SEEDPRESS("verify", path.text, "--model-file", text.text);
    expect_words(&ran, 7, NULL, "verify.txt");
    ran = SEEDPRESS("verify", path.text, "--backend", "cpu");
    expect_words(&ran, 2, NULL, "--backend and --precision go with --model-file");
    ran = SEEDPRESS("verify");
    expect_words(&ran, 2, NULL, "which picture?");
    ran = SEEDPRESS("verify", path.text, "--model-file", MODEL_FILE, "--precision", "fp7");
    expect_words(&ran, 2, NULL, "fp7");
}

/* ---- what is no picture, no file, no question ---- */

static void what_is_no_picture_is_said(void **state)
{
    struct temp_path large = temp_path(&temp, "large.jpg");
    struct file file;
    struct temp_path path = write_temp("text.txt", "a text\n", 7);
    struct ran ran = SEEDPRESS("provenance", path.text);

    (void)state;
    expect_words(&ran, 7, NULL, "no picture that can be read here: neither JPEG, PNG nor WebP");
    path = write_temp("empty.jpg", "", 0);
    ran = SEEDPRESS("--json", "provenance", path.text);
    expect_words(&ran, 7, NULL, "\"code\":\"file\"");
    ran = SEEDPRESS("provenance", path.text);
    expect_words(&ran, 7, NULL, "it has no bytes");

    made("whole.jpg", "36", "0.7");
    file = read_temp("whole.jpg");
    path = write_temp("half.jpg", file.data, file.len / 2);
    free(file.data);
    ran = SEEDPRESS("provenance", path.text);
    expect_words(&ran, 7, NULL, "the JPEG is damaged or cut short");

    path = write_temp("large.jpg", "\xff\xd8\xff", 3);
    assert_int_equal(truncate(large.text, IMAGE_FILE_MAX + 1), 0);
    ran = SEEDPRESS("provenance", path.text);
    expect_words(&ran, 7, NULL, "large.jpg");
    ran = SEEDPRESS("provenance", "nowhere.jpg");
    expect_words(&ran, 7, NULL, "nowhere.jpg");
}

static void questions_that_cannot_be_meant_are_refused(void **state)
{
    static const struct {
        const char *args[6];
        const char *words;
    } CASES[] = {
        { { "provenance", NULL }, "of what?" },
        { { "provenance", "a.jpg", "--seed", "1", NULL }, "of what?" },
        { { "provenance", "--job", "0", NULL }, "--job 0 is out of range" },
        { { "provenance", "--first", "0", "--seed", "1", NULL }, "--first goes with --job" },
        { { "provenance", "--since", "2d", NULL }, "--since goes with --model" },
        { { "provenance", "--model", "m", "--since", "soon", NULL }, "--since needs a date" },
        { { "provenance", "--model", "m", "--since", "2026-02-30", NULL }, "there is no" },
        { { "provenance", "--model", "m", "--since", "1969-12-31", NULL }, "before 1970" },
        { { "provenance", "--seed", "1", "--no-render", NULL },
          "--no-render and --trust go with a FILE" },
        { { "provenance", "--recipe", "abc", NULL }, "64 lower-case hex digits" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct ran ran = seedpress(CASES[i].args);

        expect_words(&ran, 2, NULL, CASES[i].words);
    }
}

static int start(void **state)
{
    (void)state;
    temp = temp_create();
    stack_start(&stack, PATIENT);
    stack_start_worker(&stack, 0, (const char *const[]){ "--models-dir", "deploy/models",
                                                         "--threads", "1", NULL });
    return 0;
}

static int stop(void **state)
{
    (void)state;
    stack_destroy(&stack);
    temp_destroy(&temp);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_as_it_was_made_is_exact),
        cmocka_unit_test(edited_file_with_its_recipe_is_confirmed),
        cmocka_unit_test(picture_made_elsewhere_is_confirmed_by_a_render),
        cmocka_unit_test(recipe_of_another_picture_is_refuted),
        cmocka_unit_test(recipe_of_a_model_that_nobody_has_is_a_claim),
        cmocka_unit_test(picture_alone_is_found_and_confirmed),
        cmocka_unit_test(stranger_without_metadata_has_no_record),
        cmocka_unit_test(jobs_and_moments_can_be_asked_for),
        cmocka_unit_test(credentials_of_a_trusted_signer_are_signed),
        cmocka_unit_test(picture_as_it_was_made_is_identical),
        cmocka_unit_test(edited_picture_is_different_with_figures),
        cmocka_unit_test(picture_that_no_longer_comes_out_is_different),
        cmocka_unit_test(verify_needs_a_picture_and_its_model),
        cmocka_unit_test(what_is_no_picture_is_said),
        cmocka_unit_test(questions_that_cannot_be_meant_are_refused),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
