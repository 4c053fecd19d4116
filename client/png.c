#include "client/png.h"

#include "base/mark.h"

#include <png.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libpng leaves an error by a jump; what must outlive the jump is in here. */
struct sink {
    uint8_t *file;
    size_t len, room;
    char words[96];                 /* libpng's, "" when none */
    bool out_of_memory;
};

static _Noreturn void on_error(png_structp png, png_const_charp words)
{
    struct sink *sink = png_get_error_ptr(png);

    snprintf(sink->words, sizeof sink->words, "%s", words);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp words)
{
    (void)png;
    (void)words;
}

static void on_write(png_structp png, png_bytep data, size_t data_len)
{
    struct sink *sink = png_get_io_ptr(png);

    if (data_len > sink->room - sink->len) {
        size_t room = (sink->len + data_len) * 2;
        uint8_t *grown = realloc(sink->file, room);

        if (!grown) {
            sink->out_of_memory = true;
            png_error(png, "out of memory");
        }
        sink->file = grown;
        sink->room = room;
    }
    memcpy(sink->file + sink->len, data, data_len);
    sink->len += data_len;
}

static void on_flush(png_structp png)
{
    (void)png;
}

/* False when libpng left through on_error; nothing that the jump could spoil lives in here. */
static bool write_file(png_structp png, png_infop info, const uint8_t *rgb, int width, int height,
                       const char *xmp)
{
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_write_fn(png, png_get_error_ptr(png), on_write, on_flush);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (xmp) {
        png_text text = {
            .compression = PNG_ITXT_COMPRESSION_NONE,   /* readers look for it so */
            .key = (png_charp)MARK_PNG_KEYWORD,         /* libpng copies key and text */
            .text = (png_charp)xmp,
            .itxt_length = strlen(xmp),
        };

        png_set_text(png, info, &text, 1);
    }
    png_write_info(png, info);
    for (int y = 0; y < height; y++)
        png_write_row(png, rgb + (size_t)y * width * 3);
    png_write_end(png, NULL);
    return true;
}

enum err_code png_encode(const uint8_t *rgb, int width, int height, const char *xmp, uint8_t **out,
                         size_t *len, struct err *e)
{
    struct sink sink = { .file = NULL };
    png_structp png;
    png_infop info;
    bool whole;

    *out = NULL;
    *len = 0;
    if (width < 1 || height < 1)
        return err_set(e, ERR_RANGE, "a picture of %d x %d pixels cannot be a PNG", width, height);
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &sink, on_error, on_warning);
    info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return err_set(e, ERR_NOMEM, "no memory for a PNG encoder");
    }
    whole = write_file(png, info, rgb, width, height, xmp);
    png_destroy_write_struct(&png, &info);
    if (!whole) {
        free(sink.file);
        return err_set(e, sink.out_of_memory ? ERR_NOMEM : ERR_BUG,
                       "could not encode a picture: %s", sink.words);
    }
    *out = sink.file;
    *len = sink.len;
    return ERR_OK;
}
