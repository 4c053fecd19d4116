#include "kernels/jpeg_pixels.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>                /* wants size_t and FILE declared before it */
#include <jerror.h>

enum {
    /* A progressive file may have any number of scans, each of which is work over all pixels. Those
     * that encoders write have about ten. */
    SCANS_MAX = 64,
    MEMORY_MAX = 1 << 30,           /* bytes for its coefficients: 6 for each of the pixels */
};

/* libjpeg knows one way out of an error: a callback that does not return. Ours jumps back into
 * jpeg_pixels_read. What must outlive the jump is in here, not in local variables. */
struct jpeg_reader {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr on_error;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    enum err_code code;
    struct err *e;
    uint8_t *rgb;                   /* given away at the end */
    uint8_t *row;                   /* of a CMYK picture */
};

static _Noreturn void leave(struct jpeg_reader *self, enum err_code code, const char *words)
{
    self->code = err_set(self->e, code, "the JPEG is damaged or cut short: %s", words);
    longjmp(self->back, 1);
}

static void on_failure(j_common_ptr cinfo)
{
    char words[JMSG_LENGTH_MAX];

    cinfo->err->format_message(cinfo, words);
    leave(cinfo->client_data,
          cinfo->err->msg_code == JERR_OUT_OF_MEMORY ? ERR_NOMEM : ERR_FILE, words);
}

/* libjpeg goes on with grey where data is missing; to compare that with anything would mislead.
 * Other warnings are about the wrapping. */
static void on_message(j_common_ptr cinfo, int level)
{
    int code = cinfo->err->msg_code;

    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER ||
                      code == JWRN_HUFF_BAD_CODE || code == JWRN_MUST_RESYNC ||
                      code == JWRN_ARITH_BAD_CODE))
        on_failure(cinfo);
}

static void on_progress(j_common_ptr cinfo)
{
    if (((j_decompress_ptr)cinfo)->input_scan_number > SCANS_MAX)
        leave(cinfo->client_data, ERR_FILE, "more scans than any encoder writes");
}

/* Adobe's CMYK: ink that is not there, 255 for none. */
static void rgb_of_cmyk(const uint8_t *cmyk, uint8_t *rgb, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++)
            rgb[3 * i + (size_t)c] = (uint8_t)(cmyk[4 * i + (size_t)c] * cmyk[4 * i + 3] / 255);
}

static void read_rows(struct jpeg_reader *self)
{
    struct jpeg_decompress_struct *cinfo = &self->cinfo;
    size_t stride = (size_t)cinfo->image_width * 3;

    while (cinfo->output_scanline < cinfo->output_height) {
        uint8_t *rgb = self->rgb + cinfo->output_scanline * stride;
        JSAMPROW row = self->row ? self->row : rgb;

        jpeg_read_scanlines(cinfo, &row, 1);
        if (self->row)
            rgb_of_cmyk(self->row, rgb, cinfo->image_width);
    }
}

static void take_memory(struct jpeg_reader *self)
{
    struct jpeg_decompress_struct *cinfo = &self->cinfo;
    size_t width = cinfo->image_width, height = cinfo->image_height;
    bool is_cmyk = cinfo->jpeg_color_space == JCS_CMYK || cinfo->jpeg_color_space == JCS_YCCK;

    if (width > JPEG_PIXELS_MAX / height) {
        self->code = err_set(self->e, ERR_FILE,
                             "the JPEG has %zu x %zu pixels, more than %d in all", width, height,
                             JPEG_PIXELS_MAX);
        longjmp(self->back, 1);
    }
    self->rgb = malloc(width * height * 3);
    if (is_cmyk)
        self->row = malloc(width * 4);
    cinfo->out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    if (!self->rgb || (is_cmyk && !self->row)) {
        self->code = err_set(self->e, ERR_NOMEM, "no memory for %zu x %zu pixels", width, height);
        longjmp(self->back, 1);
    }
}

/* May leave through on_failure; libjpeg refuses a picture without pixels by itself. */
static void read_file(struct jpeg_reader *self, const uint8_t *file, size_t len)
{
    struct jpeg_decompress_struct *cinfo = &self->cinfo;

    jpeg_create_decompress(cinfo);
    cinfo->mem->max_memory_to_use = MEMORY_MAX;
    cinfo->progress = &self->progress;
    jpeg_mem_src(cinfo, file, (unsigned long)len);
    jpeg_read_header(cinfo, TRUE);
    take_memory(self);
    jpeg_start_decompress(cinfo);
    read_rows(self);
    jpeg_finish_decompress(cinfo);
}

enum err_code jpeg_pixels_read(const uint8_t *file, size_t len, uint8_t **rgb, int *width,
                               int *height, struct err *e)
{
    struct jpeg_reader *self = calloc(1, sizeof *self);
    enum err_code rc;

    *rgb = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a JPEG decoder");
    self->e = e;
    self->cinfo.err = jpeg_std_error(&self->on_error);
    self->on_error.error_exit = on_failure;
    self->on_error.emit_message = on_message;
    self->progress.progress_monitor = on_progress;
    self->cinfo.client_data = self;  /* jpeg_create_decompress keeps it, and err */
    if (!setjmp(self->back))
        read_file(self, file, len);
    rc = self->code;
    if (rc) {
        free(self->rgb);
    } else {
        *rgb = self->rgb;
        *width = (int)self->cinfo.image_width;
        *height = (int)self->cinfo.image_height;
    }
    jpeg_destroy_decompress(&self->cinfo);
    free(self->row);
    free(self);
    return rc;
}
