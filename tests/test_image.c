/* Pictures of every format as pixels, and what is none. */
#include "client/image.h"

#include "client/png.h"
#include "kernels/jpeg.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>
#include <webp/encode.h>

#include <cmocka.h>

enum { W = 40, H = 24, PIXELS = W * H };

struct file {
    uint8_t *data;
    size_t len;
};

static uint8_t waves[PIXELS * 3];

static struct file jpeg_file(void)
{
    struct jpeg_picture picture = { .rgb = waves, .width = W, .height = H, .quality = 95 };
    struct jpeg_encoder *encoder;
    struct file file;
    struct err e;

    assert_int_equal(jpeg_encoder_create(&encoder, &e), ERR_OK);
    assert_int_equal(jpeg_encode(encoder, &picture, &file.data, &file.len, &e), ERR_OK);
    jpeg_encoder_destroy(&encoder);
    return file;
}

static struct file png_file(void)
{
    struct file file;
    struct err e;

    assert_int_equal(png_encode(waves, W, H, NULL, &file.data, &file.len, &e), ERR_OK);
    return file;
}

static struct file webp_file(void)
{
    struct file file;
    uint8_t *data;

    file.len = WebPEncodeLosslessRGB(waves, W, H, W * 3, &data);
    assert_true(file.len > 0);
    file.data = malloc(file.len);
    memcpy(file.data, data, file.len);
    WebPFree(data);
    return file;
}

/* By libjpeg itself, for the kinds that our encoder does not write: pixels of so many components,
 * and a script of scans. */
static struct file other_jpeg(J_COLOR_SPACE space, int components, const uint8_t *pixels,
                              const jpeg_scan_info *scans, int scan_count)
{
    struct jpeg_compress_struct cinfo;
    struct jpeg_error_mgr on_error;
    unsigned char *data = NULL;
    unsigned long len = 0;

    cinfo.err = jpeg_std_error(&on_error);
    jpeg_create_compress(&cinfo);
    jpeg_mem_dest(&cinfo, &data, &len);
    cinfo.image_width = W;
    cinfo.image_height = H;
    cinfo.input_components = components;
    cinfo.in_color_space = space;
    jpeg_set_defaults(&cinfo);
    jpeg_set_quality(&cinfo, 100, TRUE);
    cinfo.scan_info = scans;
    cinfo.num_scans = scan_count;
    jpeg_start_compress(&cinfo, TRUE);
    while (cinfo.next_scanline < H) {
        JSAMPROW row = (JSAMPROW)pixels + (size_t)cinfo.next_scanline * W * (size_t)components;
        jpeg_write_scanlines(&cinfo, &row, 1);
    }
    jpeg_finish_compress(&cinfo);
    jpeg_destroy_compress(&cinfo);
    return (struct file){ data, len };
}

static void expect_refused(const void *data, size_t len, const char *words)
{
    struct image image;
    struct err e = { .msg = "" };

    assert_int_equal(image_decode(data, len, &image, &e), ERR_FILE);
    assert_null(image.rgb);
    if (!strstr(e.msg, words))
        fail_msg("\"%s\" and not \"%s\"", e.msg, words);
}

/* The largest difference of a channel from waves. */
static int off_by(const struct image *image)
{
    int max = 0;

    assert_int_equal(image->width, W);
    assert_int_equal(image->height, H);
    for (size_t i = 0; i < sizeof waves; i++)
        max = abs(image->rgb[i] - waves[i]) > max ? abs(image->rgb[i] - waves[i]) : max;
    return max;
}

static int fill(void **state)
{
    (void)state;
    fill_waves(waves, W, H, 3);
    return 0;
}

/* ---- what is a picture ---- */

static void each_format_gives_its_pixels(void **state)
{
    static const struct {
        struct file (*make)(void);
        enum image_format format;
        const char *name;
        int off;                    /* quality 95, and colours of half the size */
    } CASES[] = { { jpeg_file, IMAGE_JPEG, "JPEG", 60 }, { png_file, IMAGE_PNG, "PNG", 0 },
                  { webp_file, IMAGE_WEBP, "WebP", 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct file file = CASES[i].make();
        struct image image;
        struct err e;

        assert_int_equal(image_decode(file.data, file.len, &image, &e), ERR_OK);
        assert_int_equal(image.format, CASES[i].format);
        assert_string_equal(image_format_name(image.format), CASES[i].name);
        assert_in_range(off_by(&image), 0, CASES[i].off);
        image_release(&image);
        free(file.data);
    }
}

static void grey_becomes_rgb(void **state)
{
    uint8_t grey[PIXELS];
    struct image image;
    struct file file;
    struct err e;

    (void)state;
    for (int i = 0; i < PIXELS; i++)
        grey[i] = (uint8_t)(i * 255 / PIXELS);
    file = other_jpeg(JCS_GRAYSCALE, 1, grey, NULL, 0);
    assert_int_equal(image_decode(file.data, file.len, &image, &e), ERR_OK);
    for (size_t i = 0; i < PIXELS * 3; i++)
        assert_in_range(image.rgb[i], grey[i / 3] > 2 ? grey[i / 3] - 2 : 0, grey[i / 3] + 2);
    image_release(&image);
    free(file.data);
}

static void ink_becomes_rgb(void **state)
{
    uint8_t cmyk[PIXELS * 4];
    struct image image;
    struct file file;
    struct err e;

    (void)state;
    for (size_t i = 0; i < PIXELS; i++)
        memcpy(cmyk + 4 * i, "\xff\x80\x00\x80", 4);    /* 255: no ink */
    file = other_jpeg(JCS_CMYK, 4, cmyk, NULL, 0);
    assert_int_equal(image_decode(file.data, file.len, &image, &e), ERR_OK);
    assert_in_range(image.rgb[0], 126, 130);
    assert_in_range(image.rgb[1], 62, 66);
    assert_in_range(image.rgb[2], 0, 2);
    image_release(&image);
    free(file.data);
}

static void what_is_transparent_lies_over_white(void **state)
{
    uint8_t rgba[PIXELS * 4], *webp, png[PIXELS * 8];
    png_image to = { .version = PNG_IMAGE_VERSION, .width = W, .height = H,
                     .format = PNG_FORMAT_RGBA };
    png_alloc_size_t png_len = sizeof png;
    struct file files[2];
    struct image image;
    struct err e;

    (void)state;
    for (size_t i = 0; i < PIXELS; i++)
        memcpy(rgba + 4 * i, i % 2 ? "\x10\x20\x30\x00" : "\x10\x20\x30\xff", 4);
    assert_true(png_image_write_to_memory(&to, png, &png_len, 0, rgba, 0, NULL));
    files[0] = (struct file){ png, png_len };
    files[1].len = WebPEncodeLosslessRGBA(rgba, W, H, W * 4, &webp);
    files[1].data = webp;
    for (int k = 0; k < 2; k++) {
        assert_int_equal(image_decode(files[k].data, files[k].len, &image, &e), ERR_OK);
        assert_memory_equal(image.rgb, "\x10\x20\x30\xff\xff\xff", 6);
        image_release(&image);
    }
    WebPFree(webp);
}

/* ---- what is none ---- */

static void other_bytes_are_no_picture(void **state)
{
    static const char text[] = "a text, not a picture";

    (void)state;
    expect_refused(text, sizeof text, "neither JPEG, PNG nor WebP");
    expect_refused("", 0, "it has no bytes");
    expect_refused("\xff\xd8\xff", 3, "JPEG is damaged or cut short");
    expect_refused("\x89PNG\r\n\x1a\n", 8, "PNG is damaged or cut short");
    expect_refused("RIFF\x10\0\0\0WEBP", 12, "WebP is damaged or cut short");
    expect_refused("RIFF\x10\0\0\0WAVE", 12, "neither JPEG, PNG nor WebP");
    expect_refused("\xff", 1, "neither JPEG, PNG nor WebP");
}

static void half_a_picture_is_refused(void **state)
{
    struct file (*const make[])(void) = { jpeg_file, png_file, webp_file };

    (void)state;
    for (int k = 0; k < 3; k++) {
        struct file file = make[k]();

        for (size_t len = 13; len < file.len * 9 / 10; len += 1 + file.len / 40) {
            uint8_t *part = malloc(len);    /* of its own size: ASan sees one byte too far */

            memcpy(part, file.data, len);
            expect_refused(part, len, "cut short");
            free(part);
        }
        free(file.data);
    }
}

static void a_file_may_be_too_long(void **state)
{
    uint8_t *file = calloc(1, IMAGE_FILE_MAX + 1);

    (void)state;
    assert_non_null(file);
    memcpy(file, "\xff\xd8\xff", 3);
    expect_refused(file, IMAGE_FILE_MAX + 1, "67108865 bytes are more than the 67108864");
    free(file);
}

/* Where a JPEG names its size: behind FFC0, the segment's length and the precision. */
static uint8_t *jpeg_size(struct file file)
{
    for (size_t i = 0; i + 9 < file.len; i++)
        if (file.data[i] == 0xff && file.data[i + 1] == 0xc0)
            return file.data + i + 5;
    fail_msg("no frame header");
    return NULL;
}

static void a_size_that_only_the_header_has_takes_no_memory(void **state)
{
    struct file jpeg = jpeg_file(), png = png_file();

    (void)state;
    memcpy(jpeg_size(jpeg), "\xff\xdc\xff\xdc", 4);         /* 65500 x 65500 */
    expect_refused(jpeg.data, jpeg.len, "65500 x 65500 pixels, more than 100000000");
    memcpy(jpeg_size(jpeg), "\0\0\0\0", 4);
    expect_refused(jpeg.data, jpeg.len, "JPEG");
    /* libpng checks the header's sum first: a right one for 1,000,000 x 1,000,000. */
    memcpy(png.data + 16, "\0\x0f\x42\x40\0\x0f\x42\x40\x08\x02\0\0\0\xd3\x0f\xaf\x2a", 17);
    expect_refused(png.data, png.len, "1000000 x 1000000 pixels, more than 100000000");
    free(jpeg.data);
    free(png.data);
}

static void scans_without_end_are_refused(void **state)
{
    jpeg_scan_info scans[190];
    int count = 1;
    struct image image;
    struct file file;
    struct err e;

    (void)state;
    scans[0] = (jpeg_scan_info){ .comps_in_scan = 3, .component_index = { 0, 1, 2 } };
    for (int c = 0; c < 3; c++)
        for (int k = 1; k < 64; k++)
            scans[count++] = (jpeg_scan_info){ .comps_in_scan = 1, .component_index = { c },
                                               .Ss = k, .Se = k };
    file = other_jpeg(JCS_RGB, 3, waves, scans, count);
    expect_refused(file.data, file.len, "more scans than any encoder writes");
    free(file.data);
    for (int c = 0; c < 3; c++)
        scans[1 + c] = (jpeg_scan_info){ .comps_in_scan = 1, .component_index = { c }, .Ss = 1,
                                         .Se = 63 };
    file = other_jpeg(JCS_RGB, 3, waves, scans, 4);
    assert_int_equal(image_decode(file.data, file.len, &image, &e), ERR_OK);
    image_release(&image);
    free(file.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format_gives_its_pixels),
        cmocka_unit_test(grey_becomes_rgb),
        cmocka_unit_test(ink_becomes_rgb),
        cmocka_unit_test(what_is_transparent_lies_over_white),
        cmocka_unit_test(other_bytes_are_no_picture),
        cmocka_unit_test(half_a_picture_is_refused),
        cmocka_unit_test(a_file_may_be_too_long),
        cmocka_unit_test(a_size_that_only_the_header_has_takes_no_memory),
        cmocka_unit_test(scans_without_end_are_refused),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
