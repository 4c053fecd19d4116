#include "client/image.h"

#include "kernels/jpeg_pixels.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <webp/decode.h>

enum { WHITE = 255 };

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
        rc = jpeg_pixels_read(file, len, &out->rgb, &out->width, &out->height, e);
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
