#include "kernels/thumbnail.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>                /* wants size_t and FILE declared before it */
#include <jerror.h>

/* libjpeg leaves through a callback that does not return. What must outlive the jump is in here. */
struct decoder {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr on_error;
    jmp_buf back;
    enum err_code code;
    struct err *e;
    uint8_t *rgb;
};

static _Noreturn void on_error_exit(j_common_ptr cinfo)
{
    struct decoder *self = cinfo->client_data;
    char words[JMSG_LENGTH_MAX];

    cinfo->err->format_message(cinfo, words);
    self->code = err_set(self->e,
                         cinfo->err->msg_code == JERR_OUT_OF_MEMORY ? ERR_NOMEM : ERR_INVALID,
                         "could not decode a picture: %s", words);
    longjmp(self->back, 1);
}

/* A file of our own has nothing to warn of: a warning is damage. */
static void on_message(j_common_ptr cinfo, int level)
{
    if (level < 0)
        on_error_exit(cinfo);
}

/* May leave through on_error_exit. */
static void read_rows(struct decoder *self, int least)
{
    j_decompress_ptr cinfo = &self->cinfo;
    JDIMENSION shorter = cinfo->image_width < cinfo->image_height ? cinfo->image_width
                                                                  : cinfo->image_height;

    cinfo->out_color_space = JCS_RGB;
    cinfo->scale_num = 1;
    cinfo->scale_denom = 1;
    while (cinfo->scale_denom < 8 && shorter / (2 * cinfo->scale_denom) >= (JDIMENSION)least)
        cinfo->scale_denom *= 2;
    jpeg_start_decompress(cinfo);
    self->rgb = malloc((size_t)cinfo->output_width * cinfo->output_height * 3);
    if (!self->rgb)
        ERREXIT1(cinfo, JERR_OUT_OF_MEMORY, 0);
    while (cinfo->output_scanline < cinfo->output_height) {
        JSAMPROW row = self->rgb + (size_t)cinfo->output_scanline * cinfo->output_width * 3;

        jpeg_read_scanlines(cinfo, &row, 1);
    }
    jpeg_finish_decompress(cinfo);
}

static enum err_code decode(struct decoder *self, const uint8_t *file, size_t len, int least,
                            struct thumbnail *out)
{
    if (setjmp(self->back)) {
        free(self->rgb);
        jpeg_destroy_decompress(&self->cinfo);
        return self->code;
    }
    jpeg_create_decompress(&self->cinfo);
    jpeg_mem_src(&self->cinfo, file, (unsigned long)len);
    jpeg_read_header(&self->cinfo, TRUE);
    read_rows(self, least);
    *out = (struct thumbnail){ self->rgb, (int)self->cinfo.output_width,
                               (int)self->cinfo.output_height };
    jpeg_destroy_decompress(&self->cinfo);
    return ERR_OK;
}

enum err_code thumbnail_make(const uint8_t *file, size_t len, int least, struct thumbnail *out,
                             struct err *e)
{
    struct decoder self = { .e = e };

    *out = (struct thumbnail){ .rgb = NULL };
    self.cinfo.err = jpeg_std_error(&self.on_error);
    self.on_error.error_exit = on_error_exit;
    self.on_error.emit_message = on_message;
    self.cinfo.client_data = &self;     /* jpeg_create_decompress keeps it, and err */
    return decode(&self, file, len, least, out);
}
