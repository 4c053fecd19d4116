#include "kernels/jpeg.h"

#include "kernels/picture.h"
#include "tests/kit_temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jpeglib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { SIDE_MAX = 200 };

struct file {
    uint8_t *data;
    size_t len;
};

static struct jpeg_encoder *create(void)
{
    struct jpeg_encoder *encoder;
    struct err e;

    assert_int_equal(jpeg_encoder_create(&encoder, &e), ERR_OK);
    return encoder;
}

static struct file encode(struct jpeg_encoder *encoder, const uint8_t *rgb, int width, int height,
                          int quality, const char *xmp)
{
    struct jpeg_picture picture = { .rgb = rgb, .width = width, .height = height,
                                    .quality = quality, .xmp = xmp };
    struct file file;
    struct err e = { .code = ERR_OK };

    if (jpeg_encode(encoder, &picture, &file.data, &file.len, &e))
        fail_msg("%d x %d, quality %d: %s", width, height, quality, e.msg);
    return file;
}

/* Decodes with libjpeg; a warning of its (damaged data) fails the test. */
static void decode(const struct file *file, uint8_t *rgb, int width, int height)
{
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr on_error;

    cinfo.err = jpeg_std_error(&on_error);   /* exits on an error: that fails the test, too */
    jpeg_create_decompress(&cinfo);
    jpeg_mem_src(&cinfo, file->data, (unsigned long)file->len);
    assert_int_equal(jpeg_read_header(&cinfo, TRUE), JPEG_HEADER_OK);
    assert_int_equal(cinfo.image_width, width);
    assert_int_equal(cinfo.image_height, height);
    assert_true(cinfo.saw_JFIF_marker);
    assert_false(cinfo.progressive_mode);
    assert_int_equal(cinfo.comp_info[0].h_samp_factor, 2);
    assert_int_equal(cinfo.comp_info[0].v_samp_factor, 2);
    assert_int_equal(cinfo.comp_info[1].h_samp_factor, 1);
    assert_int_equal(cinfo.comp_info[1].v_samp_factor, 1);
    jpeg_start_decompress(&cinfo);
    while (cinfo.output_scanline < cinfo.output_height) {
        JSAMPROW row = rgb + (size_t)cinfo.output_scanline * width * 3;

        jpeg_read_scanlines(&cinfo, &row, 1);
    }
    jpeg_finish_decompress(&cinfo);
    assert_int_equal(on_error.num_warnings, 0);
    jpeg_destroy_decompress(&cinfo);
}

static double psnr(const uint8_t *a, const uint8_t *b, size_t len)
{
    double sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += (double)(a[i] - b[i]) * (a[i] - b[i]);
    return 10 * log10(255.0 * 255.0 * (double)len / (sum + 1e-9));
}

static void any_size_decodes_to_nearly_the_same_picture(void **state)
{
    static const int SIZES[][2] = { { 1, 1 }, { 1, 9 }, { 7, 1 }, { 8, 8 }, { 15, 17 }, { 16, 16 },
                                    { 33, 31 }, { 36, 52 }, { 64, 64 }, { 199, 200 } };
    static uint8_t rgb[SIDE_MAX * SIDE_MAX * 3], back[SIDE_MAX * SIDE_MAX * 3];
    struct jpeg_encoder *encoder = create();

    (void)state;
    for (size_t i = 0; i < COUNT(SIZES); i++) {
        int width = SIZES[i][0], height = SIZES[i][1];
        size_t len = (size_t)width * height * 3;

        fill_waves(rgb, width, height, (int)i);
        struct file file = encode(encoder, rgb, width, height, 95, NULL);

        decode(&file, back, width, height);
        /* Smooth waves; what is lost is mostly colour, at half its resolution: 43 dB and more were
         * measured for these sizes. Swapped channels or a shifted row give far less. */
        if (psnr(rgb, back, len) < 40)
            fail_msg("%d x %d: %.2f dB", width, height, psnr(rgb, back, len));
        free(file.data);
    }
    jpeg_encoder_destroy(&encoder);
    assert_null(encoder);
}

/* What libjpeg writes with a handle of its own for every file. */
static struct file encode_apart(const uint8_t *rgb, int width, int height, int quality)
{
    struct jpeg_encoder *encoder = create();
    struct file file = encode(encoder, rgb, width, height, quality, NULL);

    jpeg_encoder_destroy(&encoder);
    return file;
}

static void an_encoder_writes_the_same_bytes_whatever_it_wrote_before(void **state)
{
    static const struct {
        int width, height, quality;
    } CASES[] = { { 64, 64, 90 }, { 64, 64, 10 },  { 33, 31, 100 }, { 64, 64, 90 },
                  { 1, 1, 1 },    { 200, 100, 75 }, { 64, 64, 90 },  { 64, 64, 100 } };
    static uint8_t rgb[SIDE_MAX * SIDE_MAX * 3];
    struct jpeg_encoder *encoder = create();

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        int width = CASES[i].width, height = CASES[i].height;

        fill_waves(rgb, width, height, 3);
        struct file file = encode(encoder, rgb, width, height, CASES[i].quality, NULL);
        struct file apart = encode_apart(rgb, width, height, CASES[i].quality);

        assert_int_equal(file.len, apart.len);
        assert_memory_equal(file.data, apart.data, apart.len);
        free(file.data);
        free(apart.data);
    }
    jpeg_encoder_destroy(&encoder);
}

/* The markers of a file, up to its scan, as hex: the order and number of its segments. */
static void print_markers(const struct file *file, char out[100])
{
    size_t at = 2, len = 0;

    out[0] = '\0';
    while (at + 4 <= file->len && len < 90) {
        len += (size_t)snprintf(out + len, 100 - len, "%02x ", file->data[at + 1]);
        if (file->data[at + 1] == 0xda)
            return;
        at += 2 + (size_t)(file->data[at + 2] << 8 | file->data[at + 3]);
    }
}

/* A device that computes the coefficients has to write around them exactly these segments. */
static void the_mode_is_baseline_with_the_standard_tables(void **state)
{
    /* Lengths of codes 1..16 bits in the standard luminance DC table (T.81, table K.3). */
    static const uint8_t DC_LENGTHS[] = { 0xff, 0xc4, 0, 0x1f, 0, 0, 1, 5, 1, 1, 1, 1, 1, 1,
                                          0,    0,    0, 0,    0, 0, 0 };
    static uint8_t rgb[64 * 64 * 3];
    struct jpeg_encoder *encoder = create();
    char markers[100];

    (void)state;
    fill_waves(rgb, 64, 64, 1);
    struct file file = encode(encoder, rgb, 64, 64, 90, NULL);

    print_markers(&file, markers);
    assert_string_equal(markers, "e0 db db c0 c4 c4 c4 c4 da ");
    assert_non_null(memmem(file.data, file.len, DC_LENGTHS, sizeof DC_LENGTHS));
    free(file.data);

    file = encode(encoder, rgb, 64, 64, 90, "<x/>");
    print_markers(&file, markers);
    assert_string_equal(markers, "e0 e1 db db c0 c4 c4 c4 c4 da ");
    assert_memory_equal(file.data + 24, "http://ns.adobe.com/xap/1.0/\0<x/>", 33);
    free(file.data);
    jpeg_encoder_destroy(&encoder);
}

static void limits_are_kept_and_the_encoder_goes_on_after_a_refusal(void **state)
{
    static uint8_t rgb[8 * 8 * 3];
    static char xmp[70000];
    static const struct {
        int width, height, quality;
        size_t xmp_len;
        enum err_code code;
    } CASES[] = {
        { 8, 8, 1, 0, ERR_OK },       { 8, 8, 100, 0, ERR_OK },
        { 8, 8, 0, 0, ERR_RANGE },    { 8, 8, 101, 0, ERR_RANGE },
        { 8, 8, -1, 0, ERR_RANGE },   { 0, 8, 90, 0, ERR_RANGE },
        { 8, -8, 90, 0, ERR_RANGE },  { 65501, 8, 90, 0, ERR_RANGE },
        { 8, 8, 90, 65504, ERR_OK },  { 8, 8, 90, 65505, ERR_RANGE },
    };
    struct jpeg_encoder *encoder = create();

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct jpeg_picture picture = { .rgb = rgb, .width = CASES[i].width,
                                        .height = CASES[i].height, .quality = CASES[i].quality,
                                        .xmp = CASES[i].xmp_len ? xmp : NULL };
        struct file file;
        struct err e = { .code = ERR_OK };

        memset(xmp, 'x', sizeof xmp);
        xmp[CASES[i].xmp_len] = '\0';
        assert_int_equal(jpeg_encode(encoder, &picture, &file.data, &file.len, &e),
                         CASES[i].code);
        if (CASES[i].code) {
            assert_null(file.data);
            assert_true(e.msg[0] != '\0');
        }
        free(file.data);
    }
    jpeg_encoder_destroy(&encoder);
    jpeg_encoder_destroy(&encoder);  /* NULL is fine */
}

/* Bytes of address space that this process has now. */
static rlim_t address_space(void)
{
    FILE *statm = fopen("/proc/self/statm", "r");
    unsigned long pages;

    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%lu", &pages), 1);
    fclose(statm);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* In a child, because the limit is the process's. libjpeg leaves by its callback here: the encoder
 * must come back from it and then write what it always writes. */
static void lack_of_memory_is_an_error_and_not_the_end(void **state)
{
    enum { WIDTH = 60000, HEIGHT = 32 };
    int status;
    pid_t pid;

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();                          /* its shadow memory knows no limit */
#endif
    pid = fork();
    if (pid == 0) {
        uint8_t *rgb = malloc(WIDTH * HEIGHT * 3);
        struct jpeg_picture large = { .rgb = rgb, .width = WIDTH, .height = HEIGHT,
                                      .quality = 100 };
        struct jpeg_encoder *encoder = create();
        struct rlimit was, limit;
        struct file file, apart;
        struct err e;

        fill_waves(rgb, WIDTH, HEIGHT, 0);
        getrlimit(RLIMIT_AS, &was);
        limit = (struct rlimit){ address_space(), was.rlim_max };
        if (setrlimit(RLIMIT_AS, &limit) != 0 ||
            jpeg_encode(encoder, &large, &file.data, &file.len, &e) != ERR_NOMEM || file.data ||
            setrlimit(RLIMIT_AS, &was) != 0)
            _exit(1);
        file = encode(encoder, rgb, 64, 64, 90, NULL);
        apart = encode_apart(rgb, 64, 64, 90);
        _exit(file.len == apart.len && memcmp(file.data, apart.data, file.len) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_encoder_names_library_and_mode(void **state)
{
    int a, b, c, end = 0;

    (void)state;
    assert_int_equal(sscanf(jpeg_encoder_name(), "libjpeg-turbo-%d.%d.%d-islow-420%n", &a, &b, &c,
                            &end), 3);
    assert_int_equal(end, strlen(jpeg_encoder_name()));
}

/* The order of recipe, file and hashes in one call: what worker and client share. */
static void a_picture_is_its_file_with_its_hashes(void **state)
{
    static uint8_t rgb[36 * 52 * 3];
    struct recipe recipe = { .psi = 700000, .cutoff = 10, .class_index = -1,
                             .noise = RECIPE_NOISE_CONST, .width = 36, .height = 52,
                             .quality = 90, .mark = RECIPE_MARK_XMP };
    struct jpeg_encoder *encoder = create();
    struct picture_source source = { .rgb = rgb };
    struct picture marked, bare;
    struct digest file_sha;
    struct err e;

    (void)state;
    fill_waves(rgb, 36, 52, 5);
    assert_int_equal(picture_encode(encoder, &recipe, source, &marked, &e), ERR_OK);
    file_sha = digest_of(marked.file, marked.len);
    assert_true(digest_equal(&marked.file_sha, &file_sha));

    recipe.mark = RECIPE_MARK_NONE;
    assert_int_equal(picture_encode(encoder, &recipe, source, &bare, &e), ERR_OK);
    assert_false(digest_equal(&marked.file_sha, &bare.file_sha));
    assert_true(digest_equal(&marked.core_sha, &bare.core_sha));
    picture_release(&marked);
    picture_release(&bare);
    assert_null(bare.file);

    recipe.mark = RECIPE_MARK_C2PA;
    assert_int_equal(picture_encode(encoder, &recipe, source, &bare, &e), ERR_OK);
    assert_int_equal(picture_sign(NULL, &recipe, &bare, &e), ERR_UNSUPPORTED);
    assert_non_null(bare.file);                  /* as it was */
    picture_release(&bare);
    jpeg_encoder_destroy(&encoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_size_decodes_to_nearly_the_same_picture),
        cmocka_unit_test(an_encoder_writes_the_same_bytes_whatever_it_wrote_before),
        cmocka_unit_test(the_mode_is_baseline_with_the_standard_tables),
        cmocka_unit_test(limits_are_kept_and_the_encoder_goes_on_after_a_refusal),
        cmocka_unit_test(lack_of_memory_is_an_error_and_not_the_end),
        cmocka_unit_test(the_encoder_names_library_and_mode),
        cmocka_unit_test(a_picture_is_its_file_with_its_hashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
