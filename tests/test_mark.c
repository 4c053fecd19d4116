#include "base/mark.h"

#include "base/file.h"
#include "client/png.h"
#include "kernels/picture.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { SIDE = 24 };

/* ---- files to look into ---- */

static struct recipe some_recipe(void)
{
    struct recipe recipe = { .seed = 4294967295u, .psi = -700000, .cutoff = 10, .class_index = -1,
                             .noise = RECIPE_NOISE_CONST, .width = SIDE, .height = SIDE,
                             .quality = 90, .mark = RECIPE_MARK_XMP, .rev = 3 };

    memset(recipe.model.bytes, 0xa5, sizeof recipe.model.bytes);
    return recipe;
}

static struct picture some_jpeg(enum recipe_mark mark)
{
    static uint8_t rgb[SIDE * SIDE * 3];
    struct recipe recipe = some_recipe();
    struct jpeg_encoder *encoder;
    struct picture picture;
    struct err e;

    recipe.mark = mark;
    fill_waves(rgb, SIDE, SIDE, 2);
    assert_int_equal(jpeg_encoder_create(&encoder, &e), ERR_OK);
    assert_int_equal(picture_encode(encoder, &recipe, (struct picture_source){ .rgb = rgb },
                                    &picture, &e), ERR_OK);
    jpeg_encoder_destroy(&encoder);
    return picture;
}

static uint8_t *some_png(size_t *len)
{
    static uint8_t rgb[SIDE * SIDE * 3];
    struct recipe recipe = some_recipe();
    struct recipe_text text = recipe_text(&recipe);
    char xmp[MARK_XMP_MAX];
    uint8_t *file;
    struct err e;

    fill_waves(rgb, SIDE, SIDE, 2);
    assert_int_not_equal(mark_xmp(&text, xmp, sizeof xmp), 0);
    assert_int_equal(png_encode(rgb, SIDE, SIDE, xmp, &file, len, &e), ERR_OK);
    return file;
}

/* A copy of file with segment[0..segment_len) put in at offset at. */
static uint8_t *with_segment(const struct picture *file, size_t at, const void *segment,
                             size_t segment_len, size_t *len)
{
    uint8_t *copy = malloc(file->len + segment_len);

    assert_non_null(copy);
    memcpy(copy, file->file, at);
    memcpy(copy + at, segment, segment_len);
    memcpy(copy + at + segment_len, file->file + at, file->len - at);
    *len = file->len + segment_len;
    return copy;
}

static void assert_is_some_recipe(const struct recipe_text *got)
{
    struct recipe recipe = some_recipe();
    struct recipe_text expect = recipe_text(&recipe);

    assert_int_equal(got->len, expect.len);
    assert_memory_equal(got->text, expect.text, expect.len + 1);
}

/* ---- the mark ---- */

static void a_recipe_comes_back_out_of_jpeg_and_png(void **state)
{
    struct picture jpeg = some_jpeg(RECIPE_MARK_XMP);
    struct recipe_text got;
    size_t png_len;
    uint8_t *png = some_png(&png_len);

    (void)state;
    assert_true(mark_find(jpeg.file, jpeg.len, &got));
    assert_is_some_recipe(&got);
    memset(&got, 0, sizeof got);
    assert_true(mark_find(png, png_len, &got));
    assert_is_some_recipe(&got);
    free(png);
    picture_release(&jpeg);

    jpeg = some_jpeg(RECIPE_MARK_NONE);
    assert_false(mark_find(jpeg.file, jpeg.len, &got));
    picture_release(&jpeg);
}

static void a_packet_fits_whole_or_is_not_written(void **state)
{
    struct recipe recipe = some_recipe();
    struct recipe_text text = recipe_text(&recipe);
    char xmp[MARK_XMP_MAX];
    size_t len = mark_xmp(&text, xmp, sizeof xmp);

    (void)state;
    assert_int_equal(len, strlen(xmp));
    for (size_t cap = 0; cap <= len; cap++)
        assert_int_equal(mark_xmp(&text, xmp, cap), 0);
    assert_int_equal(mark_xmp(&text, xmp, len + 1), len);

    /* The longest that there can be: nothing but bytes that take six. */
    text.len = RECIPE_TEXT_MAX - 1;
    memset(text.text, '"', text.len);
    text.text[text.len] = '\0';
    assert_int_not_equal(mark_xmp(&text, xmp, sizeof xmp), 0);
}

static void only_a_recipe_that_can_be_read_is_found(void **state)
{
    static const char *const PACKETS[] = {
        "<a seedpress:Recipe=\"\"/>",
        "<a seedpress:Recipe=\"hello\"/>",
        "<a seedpress:Recipe=\"seedpress-recipe/1&#xA;\"/>",
        "<a seedpress:Recipe=\"seedpress-recipe/1&nbsp;\"/>",
        "<a seedpress:Recipe=\"seedpress-recipe/1",
        "<a seedpress:Recipe=\"",
        "<a seedpress:Recipe='&",
        "<seedpress:Recipe>&#xA",
    };
    struct picture bare = some_jpeg(RECIPE_MARK_NONE);

    (void)state;
    for (size_t i = 0; i < COUNT(PACKETS); i++) {
        uint8_t segment[256] = { 0xff, 0xe1, 0 };
        size_t body_len = sizeof MARK_JPEG_PREFIX + strlen(PACKETS[i]), len;
        struct recipe_text got;

        segment[3] = (uint8_t)(body_len + 2);
        memcpy(segment + 4, MARK_JPEG_PREFIX, sizeof MARK_JPEG_PREFIX);
        memcpy(segment + 4 + sizeof MARK_JPEG_PREFIX, PACKETS[i], strlen(PACKETS[i]));
        uint8_t *file = with_segment(&bare, 2, segment, 4 + body_len, &len);

        assert_false(mark_find(file, len, &got));
        free(file);
    }
    picture_release(&bare);
}

/* ---- the core ---- */

static void metadata_does_not_change_the_core(void **state)
{
    static const uint8_t SEGMENTS[][12] = {
        { 0xff, 0xfe, 0, 5, 'c', 'o', 'm' },            /* COM */
        { 0xff, 0xe1, 0, 8, 'E', 'x', 'i', 'f', 0, 0 }, /* APP1 */
        { 0xff, 0xef, 0, 2 },                           /* APP15 with nothing in it */
        { 0xff, 0xee, 0, 5, 'A', 'd', 'o' },            /* APP14, not Adobe's */
        { 0xff, 0xff, 0xff, 0xfe, 0, 3, 'x' },          /* fill bytes before a marker */
    };
    static const size_t LENS[] = { 7, 10, 4, 7, 7 };
    struct picture marked = some_jpeg(RECIPE_MARK_XMP), bare = some_jpeg(RECIPE_MARK_NONE);
    struct digest core, with;
    size_t len;

    (void)state;
    assert_true(mark_core_sha256(bare.file, bare.len, &core));
    assert_true(mark_core_sha256(marked.file, marked.len, &with));
    assert_true(digest_equal(&core, &with));
    for (size_t i = 0; i < COUNT(LENS); i++) {
        uint8_t *file = with_segment(&bare, 2, SEGMENTS[i], LENS[i], &len);

        assert_true(mark_core_sha256(file, len, &with));
        assert_true(digest_equal(&core, &with));
        free(file);
    }
    uint8_t *file = with_segment(&bare, bare.len, "trailer", 7, &len);

    assert_true(mark_core_sha256(file, len, &with));
    assert_true(digest_equal(&core, &with));
    free(file);
    picture_release(&marked);
    picture_release(&bare);
}

static void the_picture_and_how_its_colours_are_read_change_the_core(void **state)
{
    static const uint8_t ADOBE_RGB[] = { 0xff, 0xee, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100,
                                         0,    0,    0, 0,  0 };
    struct picture bare = some_jpeg(RECIPE_MARK_NONE);
    struct digest core, other;
    size_t len;
    uint8_t *file = with_segment(&bare, 20, ADOBE_RGB, sizeof ADOBE_RGB, &len);

    (void)state;
    assert_true(mark_core_sha256(bare.file, bare.len, &core));
    assert_true(mark_core_sha256(file, len, &other));
    assert_false(digest_equal(&core, &other));
    free(file);
    bare.file[bare.len - 4] ^= 0x10; /* in the scan's last bytes; made no marker */
    assert_int_not_equal(bare.file[bare.len - 4], 0xff);
    assert_true(mark_core_sha256(bare.file, bare.len, &other));
    assert_false(digest_equal(&core, &other));
    picture_release(&bare);
}

/* ---- hostile files ---- */

static void a_jpeg_cut_anywhere_has_no_core(void **state)
{
    struct picture jpeg = some_jpeg(RECIPE_MARK_XMP);
    struct recipe_text got;
    struct digest core;
    int found = 0;

    (void)state;
    for (size_t cut = 0; cut < jpeg.len; cut++) {
        uint8_t *part = malloc(cut ? cut : 1);   /* its own, so that a sanitizer sees its end */

        assert_non_null(part);
        memcpy(part, jpeg.file, cut);
        assert_false(mark_core_sha256(part, cut, &core));
        found += mark_find(part, cut, &got);
        free(part);
    }
    assert_true(found > 0);          /* once the whole packet is there, the mark can be read */
    picture_release(&jpeg);
}

static void a_png_cut_anywhere_is_read_within_its_bounds(void **state)
{
    size_t len;
    uint8_t *png = some_png(&len);
    struct recipe_text got;

    (void)state;
    for (size_t cut = 1; cut < len; cut++) {
        uint8_t *part = malloc(cut);

        assert_non_null(part);
        memcpy(part, png, cut);
        mark_find(part, cut, &got);
        free(part);
    }
    free(png);
}

static void lengths_that_lie_are_refused(void **state)
{
    static const struct {
        uint8_t bytes[24];
        size_t len;
    } CASES[] = {
        { { 0 }, 0 },
        { { 0xff }, 1 },
        { { 0xff, 0xd8 }, 2 },
        { { 0xff, 0xd8, 0xff }, 3 },
        { { 0xff, 0xd8, 0xff, 0xd9 }, 4 },                            /* no scan */
        { { 0xff, 0xd8, 0xff, 0xe1 }, 4 },
        { { 0xff, 0xd8, 0xff, 0xe1, 0 }, 5 },
        { { 0xff, 0xd8, 0xff, 0xe1, 0, 0, 0xff, 0xd9 }, 8 },          /* length 0 */
        { { 0xff, 0xd8, 0xff, 0xe1, 0, 1, 0xff, 0xd9 }, 8 },          /* length 1 */
        { { 0xff, 0xd8, 0xff, 0xe1, 0, 9, 0xff, 0xd9 }, 8 },          /* past the end */
        { { 0xff, 0xd8, 0xff, 0xe1, 0xff, 0xff, 0xff, 0xd9 }, 8 },
        { { 0xff, 0xd8, 0, 0, 0xff, 0xd9 }, 6 },                      /* no marker */
        { { 0xff, 0xd8, 0xff, 0, 0xff, 0xd9 }, 6 },                   /* stuffing */
        { { 0xff, 0xd8, 0xff, 0xd0, 0xff, 0xd9 }, 6 },                /* RST0 */
        { { 0xff, 0xd8, 0xff, 0xd8, 0xff, 0xda, 0, 2, 0xff, 0xd9 }, 10 }, /* SOI twice */
        { { 0xff, 0xd8, 0xff, 0xda, 0, 2, 1, 2, 3, 0xff }, 10 },      /* scan without end */
        { { 0xff, 0xd8, 0xff, 0xda, 0, 2, 1, 0xff, 0, 0xff, 0xd3, 2 }, 12 },
        { { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' }, 8 },
        { { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0xff, 0xff, 0xff, 0xff, 'i', 'T', 'X',
            't', 0, 0, 0, 0 }, 20 },
        { { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 0, 'i', 'T', 'X', 't', 0, 0, 0,
            0 }, 20 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct recipe_text got;
        struct digest core;

        assert_false(mark_core_sha256(CASES[i].bytes, CASES[i].len, &core));
        assert_false(mark_find(CASES[i].bytes, CASES[i].len, &got));
    }
}

/* Each of these would take hours if a step were paid for with all that follows. */
static void megabytes_of_nothing_are_walked_once(void **state)
{
    enum { LEN = 8 << 20 };
    static const char DOOR[] = "seedpress:Recipe=\"&#xA;";
    uint8_t *file = malloc(LEN);
    struct recipe_text got;
    struct digest core;

    (void)state;
    assert_non_null(file);
    memset(file, 0xff, LEN);
    file[1] = 0xd8;
    assert_false(mark_core_sha256(file, LEN, &core));
    assert_false(mark_find(file, LEN, &got));

    for (size_t at = 2; at + 4 <= LEN; at += 4)   /* empty APP1 segments */
        memcpy(file + at, "\xff\xe1\x00\x02", 4);
    assert_false(mark_core_sha256(file, LEN, &core));
    assert_false(mark_find(file, LEN, &got));

    for (size_t at = 2; at + 4 <= LEN; at += 4)   /* empty scans */
        memcpy(file + at, "\xff\xda\x00\x02", 4);
    assert_false(mark_core_sha256(file, LEN, &core));

    memcpy(file, "\x89PNG\r\n\x1a\n", 8);         /* chunks without a body */
    memset(file + 8, 0, LEN - 8);
    assert_false(mark_find(file, LEN, &got));

    memcpy(file + 8, "\x00\x7f\xff\x00iTXtXML:com.adobe.xmp\0\0\0\0\0", 30);
    for (size_t at = 64; at + sizeof DOOR <= LEN; at += sizeof DOOR - 1)
        memcpy(file + at, DOOR, sizeof DOOR - 1);
    assert_false(mark_find(file, LEN, &got));
    free(file);
}

/* ---- what others see ---- */

static void exiftool_prints(const char *const *argv, struct ran *ran)
{
    *ran = run_program(argv);        /* fails where exiftool is missing: libimage-exiftool-perl */
    if (ran->exit_code != 0)
        fail_msg("exiftool failed (%d): %s", ran->exit_code, ran->err);
}

/* Writes a file and asks the real exiftool for the recipe: what it prints must hash to the key. */
static void assert_exiftool_proves(const char *path)
{
    const char *recipe_argv[] = { "exiftool", "-b", "-XMP-seedpress:Recipe", path, NULL };
    const char *source_argv[] = { "exiftool", "-b", "-XMP-iptcExt:DigitalSourceType", path, NULL };
    const char *check_argv[] = { "exiftool", "-validate", "-warning", "-a", path, NULL };
    struct recipe recipe = some_recipe();
    struct digest key = recipe_key(&recipe), printed;
    struct ran ran;

    exiftool_prints(recipe_argv, &ran);
    printed = digest_of(ran.out, ran.out_len);
    assert_true(digest_equal(&printed, &key));
    ran_release(&ran);

    exiftool_prints(source_argv, &ran);
    assert_string_equal(ran.out,
                        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia");
    ran_release(&ran);

    exiftool_prints(check_argv, &ran);
    assert_null(strstr(ran.out, "rror"));
    assert_null(strstr(ran.out, "Warning"));
    ran_release(&ran);
}

static void what_exiftool_prints_hashes_to_the_recipe_key(void **state)
{
    struct temp temp = temp_create();
    struct temp_path jpeg_path = temp_path(&temp, "a.jpg"), png_path = temp_path(&temp, "a.png");
    struct picture jpeg = some_jpeg(RECIPE_MARK_XMP);
    size_t png_len;
    uint8_t *png = some_png(&png_len);
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(jpeg_path.text, jpeg.file, jpeg.len, &e), ERR_OK);
    assert_exiftool_proves(jpeg_path.text);
    assert_int_equal(file_write_atomic(png_path.text, png, png_len, &e), ERR_OK);
    assert_exiftool_proves(png_path.text);
    free(png);
    picture_release(&jpeg);
    temp_destroy(&temp);
}

/* Adding a title makes exiftool write the whole packet anew, in its own form. */
static void the_mark_survives_another_program_that_edits_metadata(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.jpg");
    const char *argv[] = { "exiftool", "-q", "-overwrite_original", "-XMP-dc:Title=a < b",
                           path.text, NULL };
    struct picture jpeg = some_jpeg(RECIPE_MARK_XMP);
    struct recipe_text got;
    struct digest core;
    uint8_t *file;
    size_t len;
    struct ran ran;
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(path.text, jpeg.file, jpeg.len, &e), ERR_OK);
    exiftool_prints(argv, &ran);
    ran_release(&ran);
    assert_int_equal(file_read(path.text, 1 << 20, &file, &len, &e), ERR_OK);
    assert_int_not_equal(len, jpeg.len);
    assert_true(mark_find(file, len, &got));
    assert_is_some_recipe(&got);
    assert_true(mark_core_sha256(file, len, &core));
    assert_true(digest_equal(&core, &jpeg.core_sha));
    free(file);
    assert_exiftool_proves(path.text);
    picture_release(&jpeg);
    temp_destroy(&temp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recipe_comes_back_out_of_jpeg_and_png),
        cmocka_unit_test(a_packet_fits_whole_or_is_not_written),
        cmocka_unit_test(only_a_recipe_that_can_be_read_is_found),
        cmocka_unit_test(metadata_does_not_change_the_core),
        cmocka_unit_test(the_picture_and_how_its_colours_are_read_change_the_core),
        cmocka_unit_test(a_jpeg_cut_anywhere_has_no_core),
        cmocka_unit_test(a_png_cut_anywhere_is_read_within_its_bounds),
        cmocka_unit_test(lengths_that_lie_are_refused),
        cmocka_unit_test(megabytes_of_nothing_are_walked_once),
        cmocka_unit_test(what_exiftool_prints_hashes_to_the_recipe_key),
        cmocka_unit_test(the_mark_survives_another_program_that_edits_metadata),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
