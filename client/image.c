#include "client/image.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>                /* wants size_t and FILE declared before it */
#include <jerror.h>
#include <png.h>
#include <webp/decode.h>

enum {
    /* A progressive file may have any number of scans, each of which is work over all pixels. Those
     * that encoders write have about ten. */
    JPEG_SCANS_MAX = 64,
    JPEG_MEMORY_MAX = 1 << 30,      /* bytes for its coefficients: 6 for each of the pixels */
    WHITE = 255,
};

const char *image_format_name(enum image_format format)
{
    switch (format) {
    case IMAGE_PNG:
        return "PNG";
    case IMAGE_WEBP:
        return "WebP";
    default:
        return "JPEG";
    }
}

void image_release(struct image *self)
{
    free(self->rgb);
    *self = (struct image){ .rgb = NULL };
}

/* Takes memory for the pixels, after the limits. */
static enum err_code take_pixels(struct image *out, uint64_t width, uint64_t height, struct err *e)
{
    if (width == 0 || height == 0)
        return err_set(e, ERR_FILE, "the %s has no pixels", image_format_name(out->format));
    if (width > IMAGE_PIXELS_MAX || height > IMAGE_PIXELS_MAX / width)
        return err_set(e, ERR_FILE, "the %s has %llu x %llu pixels, more than %d in all",
                       image_format_name(out->format), (unsigned long long)width,
                       (unsigned long long)height, IMAGE_PIXELS_MAX);
    out->width = (int)width;
    out->height = (int)height;
    out->rgb = malloc((size_t)width * height * 3);
    if (!out->rgb)
        return err_set(e, ERR_NOMEM, "no memory for %d x %d pixels", out->width, out->height);
    return ERR_OK;
}

/* ---- JPEG ---- */

/* libjpeg knows one way out of an error: a callback that does not return. Ours jumps back into
 * decode_jpeg. What must outlive the jump is in here, not in local variables. */
struct jpeg_reader {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr on_error;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    enum err_code code;
    struct err *e;
    uint8_t *row;                   /* of a CMYK picture */
};

static _Noreturn void leave(struct jpeg_reader *self, enum err_code code, const char *words)
{
    self->code = err_set(self->e, code, "the JPEG is damaged or cut short: %s", words);
    longjmp(self->back, 1);
}

static void on_jpeg_error(j_common_ptr cinfo)
{
    char words[JMSG_LENGTH_MAX];

    cinfo->err->format_message(cinfo, words);
    leave(cinfo->client_data,
          cinfo->err->msg_code == JERR_OUT_OF_MEMORY ? ERR_NOMEM : ERR_FILE, words);
}

/* libjpeg goes on with grey where data is missing; to compare that with anything would mislead.
 * Other warnings are about the wrapping. */
static void on_jpeg_message(j_common_ptr cinfo, int level)
{
    int code = cinfo->err->msg_code;

    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER ||
                      code == JWRN_HUFF_BAD_CODE || code == JWRN_MUST_RESYNC ||
                      code == JWRN_ARITH_BAD_CODE))
        on_jpeg_error(cinfo);
}

static void on_jpeg_progress(j_common_ptr cinfo)
{
    if (((j_decompress_ptr)cinfo)->input_scan_number > JPEG_SCANS_MAX)
        leave(cinfo->client_data, ERR_FILE, "more scans than any encoder writes");
}

/* Adobe's CMYK: ink that is not there, 255 for none. */
static void rgb_of_cmyk(const uint8_t *cmyk, uint8_t *rgb, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++)
            rgb[3 * i + (size_t)c] = (uint8_t)(cmyk[4 * i + (size_t)c] * cmyk[4 * i + 3] / 255);
}

static void read_rows(struct jpeg_reader *self, struct image *out)
{
    struct jpeg_decompress_struct *cinfo = &self->cinfo;
    size_t stride = (size_t)out->width * 3;

    while (cinfo->output_scanline < cinfo->output_height) {
        uint8_t *rgb = out->rgb + cinfo->output_scanline * stride;
        JSAMPROW row = self->row ? self->row : rgb;

        jpeg_read_scanlines(cinfo, &row, 1);
        if (self->row)
            rgb_of_cmyk(self->row, rgb, (size_t)out->width);
    }
}

static void read_jpeg(struct jpeg_reader *self, const uint8_t *file, size_t len, struct image *out)
{
    struct jpeg_decompress_struct *cinfo = &self->cinfo;

    jpeg_create_decompress(cinfo);
    cinfo->mem->max_memory_to_use = JPEG_MEMORY_MAX;
    cinfo->progress = &self->progress;
    jpeg_mem_src(cinfo, file, (unsigned long)len);
    jpeg_read_header(cinfo, TRUE);
    self->code = take_pixels(out, cinfo->image_width, cinfo->image_height, self->e);
    if (self->code)
        longjmp(self->back, 1);
    if (cinfo->jpeg_color_space == JCS_CMYK || cinfo->jpeg_color_space == JCS_YCCK) {
        cinfo->out_color_space = JCS_CMYK;
        self->row = malloc((size_t)out->width * 4);
        if (!self->row)
            leave(self, ERR_NOMEM, "no memory for a row");
    } else {
        cinfo->out_color_space = JCS_RGB;
    }
    jpeg_start_decompress(cinfo);
    read_rows(self, out);
    jpeg_finish_decompress(cinfo);
}

static enum err_code decode_jpeg(const uint8_t *file, size_t len, struct image *out, struct err *e)
{
    struct jpeg_reader *self = calloc(1, sizeof *self);
    enum err_code rc;

    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a JPEG decoder");
    self->e = e;
    self->cinfo.err = jpeg_std_error(&self->on_error);
    self->on_error.error_exit = on_jpeg_error;
    self->on_error.emit_message = on_jpeg_message;
    self->progress.progress_monitor = on_jpeg_progress;
    self->cinfo.client_data = self;  /* jpeg_create_decompress keeps it, and err */
    if (!setjmp(self->back))
        read_jpeg(self, file, len, out);
    rc = self->code;
    jpeg_destroy_decompress(&self->cinfo);
    free(self->row);
    free(self);
    return rc;
}

/* ---- PNG ---- */

static enum err_code decode_png(const uint8_t *file, size_t len, struct image *out, struct err *e)
{
    static const png_color white = { WHITE, WHITE, WHITE };
    png_image png = { .version = PNG_IMAGE_VERSION };
    enum err_code rc = ERR_OK;

    if (!png_image_begin_read_from_memory(&png, file, len))
        return err_set(e, ERR_FILE, "the PNG is damaged or cut short: %s", png.message);
    rc = take_pixels(out, png.width, png.height, e);
    png.format = PNG_FORMAT_RGB;
    if (!rc && !png_image_finish_read(&png, &white, out->rgb, 0, NULL))
        rc = err_set(e, ERR_FILE, "the PNG is damaged or cut short: %s", png.message);
    png_image_free(&png);
    return rc;
}

/* ---- WebP ---- */

static void lay_over_white(const uint8_t *rgba, uint8_t *rgb, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++) {
        int alpha = rgba[4 * i + 3];

        for (size_t c = 0; c < 3; c++)
            rgb[3 * i + c] = (uint8_t)((rgba[4 * i + c] * alpha + WHITE * (255 - alpha) + 127) /
                                       255);
    }
}

static enum err_code decode_webp(const uint8_t *file, size_t len, struct image *out, struct err *e)
{
    WebPBitstreamFeatures features;
    size_t pixels;
    uint8_t *rgba = NULL;
    bool ok;
    enum err_code rc;

    if (WebPGetFeatures(file, len, &features) != VP8_STATUS_OK)
        return err_set(e, ERR_FILE, "the WebP is damaged or cut short");
    if (features.has_animation)
        return err_set(e, ERR_FILE, "the WebP is an animation, not a picture");
    rc = take_pixels(out, (uint64_t)features.width, (uint64_t)features.height, e);
    if (rc)
        return rc;
    pixels = (size_t)out->width * (size_t)out->height;
    if (features.has_alpha) {
        rgba = malloc(pixels * 4);
        if (!rgba)
            return err_set(e, ERR_NOMEM, "no memory for %d x %d pixels", out->width, out->height);
        ok = WebPDecodeRGBAInto(file, len, rgba, pixels * 4, out->width * 4) != NULL;
        if (ok)
            lay_over_white(rgba, out->rgb, pixels);
        free(rgba);
    } else {
        ok = WebPDecodeRGBInto(file, len, out->rgb, pixels * 3, out->width * 3) != NULL;
    }
    return ok ? ERR_OK : err_set(e, ERR_FILE, "the WebP is damaged or cut short");
}

/* ---- any ---- */

static bool begins(const uint8_t *file, size_t len, const char *with, size_t with_len)
{
    return len >= with_len && memcmp(file, with, with_len) == 0;
}

enum err_code image_decode(const uint8_t *file, size_t len, struct image *out, struct err *e)
{
    enum err_code rc;

    *out = (struct image){ .rgb = NULL };
    if (len == 0)
        return err_set(e, ERR_FILE, "no picture: it has no bytes");
    if (len > IMAGE_FILE_MAX)
        return err_set(e, ERR_FILE, "%zu bytes are more than the %d that a picture may have", len,
                       IMAGE_FILE_MAX);
    if (begins(file, len, "\xff\xd8\xff", 3)) {
        out->format = IMAGE_JPEG;
        rc = decode_jpeg(file, len, out, e);
    } else if (begins(file, len, "\x89PNG\r\n\x1a\n", 8)) {
        out->format = IMAGE_PNG;
        rc = decode_png(file, len, out, e);
    } else if (begins(file, len, "RIFF", 4) && len >= 12 && memcmp(file + 8, "WEBP", 4) == 0) {
        out->format = IMAGE_WEBP;
        rc = decode_webp(file, len, out, e);
    } else {
        return err_set(e, ERR_FILE, "no picture that can be read here: neither JPEG, PNG nor WebP");
    }
    if (rc)
        image_release(out);
    return rc;
}
