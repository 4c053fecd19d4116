#include "kernels/jpeg.h"

#include "base/mark.h"
#include "kernels/jpeg_transform.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>                /* wants size_t and FILE declared before it */
#include <jerror.h>

#ifndef LIBJPEG_TURBO_VERSION
#error "seedpress needs libjpeg-turbo: other libjpegs write other bytes"
#endif

#define STRING_OF(x) #x
#define STRING(x)    STRING_OF(x)

enum {
    FIRST_FILE_BYTES = 32 * 1024,
    SEGMENT_MAX = 65533,            /* bytes of a segment's body: two of 65535 are its length */
};

/* One component's blocks where they lie. To libjpeg it is a virtual array, of which it asks for two
 * rows at a time. */
struct plane {
    const JBLOCK *blocks;           /* [rows][columns] */
    size_t columns;
    JBLOCKROW rows[2];              /* what was asked for last */
};

/* libjpeg knows one way out of an error: a callback that does not return. Ours jumps back into
 * encode. What must outlive the jump is in here, not in local variables. */
struct jpeg_encoder {
    struct jpeg_compress_struct cinfo;   /* cinfo.err == NULL: not created yet, or lost */
    struct jpeg_error_mgr on_error;
    struct jpeg_destination_mgr to_file;
    jmp_buf back;
    enum err_code code;             /* what the jump was about */
    struct err *e;                  /* of the call in progress */
    uint8_t *file;                  /* what is written so far; given away at the end */
    size_t file_bytes;              /* its room */
    struct plane planes[JPEG_COMPONENTS];
    jvirt_barray_ptr arrays[JPEG_COMPONENTS];    /* the planes; libjpeg asks for them until the end */
};

const char *jpeg_encoder_name(void)
{
    return "libjpeg-turbo-" STRING(LIBJPEG_TURBO_VERSION) "-islow-420";
}

/* ---- libjpeg's callbacks ---- */

static _Noreturn void leave(struct jpeg_encoder *self, enum err_code code, const char *words)
{
    self->code = err_set(self->e, code, "could not encode a picture: %s", words);
    longjmp(self->back, 1);
}

static void on_error_exit(j_common_ptr cinfo)
{
    char words[JMSG_LENGTH_MAX];

    cinfo->err->format_message(cinfo, words);
    leave(cinfo->client_data, cinfo->err->msg_code == JERR_OUT_OF_MEMORY ? ERR_NOMEM : ERR_BUG,
          words);
}

/* Warnings and traces go nowhere: whoever returns errors does not log. */
static void on_message(j_common_ptr cinfo)
{
    (void)cinfo;
}

static void on_file_begin(j_compress_ptr cinfo)
{
    struct jpeg_encoder *self = cinfo->client_data;

    self->file = malloc(FIRST_FILE_BYTES);
    if (!self->file)
        leave(self, ERR_NOMEM, "out of memory");
    self->file_bytes = FIRST_FILE_BYTES;
    self->to_file.next_output_byte = self->file;
    self->to_file.free_in_buffer = self->file_bytes;
}

/* Called when the buffer is full to its last byte, whatever free_in_buffer says then. */
static boolean on_file_full(j_compress_ptr cinfo)
{
    struct jpeg_encoder *self = cinfo->client_data;
    uint8_t *grown = realloc(self->file, self->file_bytes * 2);

    if (!grown)
        leave(self, ERR_NOMEM, "out of memory");
    self->file = grown;
    self->to_file.next_output_byte = grown + self->file_bytes;
    self->to_file.free_in_buffer = self->file_bytes;
    self->file_bytes *= 2;
    return TRUE;
}

static void on_file_end(j_compress_ptr cinfo)
{
    (void)cinfo;
}

/* In the place of libjpeg's own, which would have us copy every block into its memory first. Its
 * arrays are opaque outside its memory manager, and a handle of this mode has none of them. */
static JBLOCKARRAY on_blocks_wanted(j_common_ptr cinfo, jvirt_barray_ptr array, JDIMENSION first,
                                    JDIMENSION count, boolean writable)
{
    struct plane *plane = (void *)array;

    (void)cinfo;
    (void)writable;                  /* the entropy coder only reads */
    for (JDIMENSION i = 0; i < count; i++)
        plane->rows[i] = (JBLOCKROW)(plane->blocks + (first + i) * plane->columns);
    return plane->rows;
}

/* ---- the encoder ---- */

enum err_code jpeg_encoder_create(struct jpeg_encoder **out, struct err *e)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return err_set(e, ERR_NOMEM, "no memory for a JPEG encoder");
    return ERR_OK;
}

/* May leave through on_error_exit. */
static void create_handle(struct jpeg_encoder *self)
{
    memset(&self->cinfo, 0, sizeof self->cinfo);
    self->cinfo.err = jpeg_std_error(&self->on_error);
    self->on_error.error_exit = on_error_exit;
    self->on_error.output_message = on_message;
    self->cinfo.client_data = self;  /* jpeg_create_compress keeps it, and err */
    jpeg_create_compress(&self->cinfo);
    self->to_file.init_destination = on_file_begin;
    self->to_file.empty_output_buffer = on_file_full;
    self->to_file.term_destination = on_file_end;
    self->cinfo.dest = &self->to_file;
    self->cinfo.mem->access_virt_barray = on_blocks_wanted;
}

static void drop_handle(struct jpeg_encoder *self)
{
    if (self->cinfo.err)
        jpeg_destroy_compress(&self->cinfo);
    self->cinfo.err = NULL;
}

void jpeg_encoder_destroy(struct jpeg_encoder **self)
{
    if (*self)
        drop_handle(*self);
    free(*self);
    *self = NULL;
}

/* Every parameter that shapes the bytes. Once started nothing of it changes the mode. */
static void set_parameters(j_compress_ptr cinfo, const struct jpeg_picture *picture)
{
    cinfo->image_width = (JDIMENSION)picture->width;
    cinfo->image_height = (JDIMENSION)picture->height;
    cinfo->input_components = 3;
    cinfo->in_color_space = JCS_RGB;
    jpeg_set_defaults(cinfo);        /* YCbCr, 4:2:0, standard tables, JFIF 1.01, no restarts */
    jpeg_set_quality(cinfo, picture->quality, TRUE);
    cinfo->dct_method = JDCT_ISLOW;
    cinfo->comp_info[0].h_samp_factor = 2;
    cinfo->comp_info[0].v_samp_factor = 2;
}

static void write_xmp(j_compress_ptr cinfo, const char *xmp, size_t xmp_len)
{
    size_t prefix_len = sizeof MARK_JPEG_PREFIX;   /* with its NUL */

    jpeg_write_m_header(cinfo, JPEG_APP0 + 1, (unsigned)(prefix_len + xmp_len));
    for (size_t i = 0; i < prefix_len; i++)
        jpeg_write_m_byte(cinfo, MARK_JPEG_PREFIX[i]);
    for (size_t i = 0; i < xmp_len; i++)
        jpeg_write_m_byte(cinfo, (unsigned char)xmp[i]);
}

/* What stands before the scan besides libjpeg's own segments. May leave through on_error_exit. */
static void write_marks(j_compress_ptr cinfo, const struct jpeg_picture *picture)
{
    if (picture->xmp)
        write_xmp(cinfo, picture->xmp, strlen(picture->xmp));
}

/* May leave through on_error_exit. */
static void write_pixels(struct jpeg_encoder *self, const struct jpeg_picture *picture)
{
    j_compress_ptr cinfo = &self->cinfo;

    jpeg_start_compress(cinfo, TRUE);
    write_marks(cinfo, picture);
    while (cinfo->next_scanline < cinfo->image_height) {
        const uint8_t *from = picture->rgb + (size_t)cinfo->next_scanline * picture->width * 3;
        JSAMPROW row = (JSAMPROW)from;   /* libjpeg only reads it */

        jpeg_write_scanlines(cinfo, &row, 1);
    }
}

/* May leave through on_error_exit. */
static void write_coefficients(struct jpeg_encoder *self, const struct jpeg_picture *picture)
{
    struct jpeg_coefficients_layout layout = jpeg_coefficients_layout(picture->width,
                                                                      picture->height);

    for (int c = 0; c < JPEG_COMPONENTS; c++) {
        self->planes[c].blocks = (const JBLOCK *)(picture->coefficients + layout.first[c]);
        self->planes[c].columns = (size_t)layout.columns[c];
        self->arrays[c] = (void *)&self->planes[c];
    }
    jpeg_write_coefficients(&self->cinfo, self->arrays);
    write_marks(&self->cinfo, picture);
}

/* Both ways into one file: the parameters before and the end after are the same. */
static enum err_code encode(struct jpeg_encoder *self, const struct jpeg_picture *picture,
                            void (*write)(struct jpeg_encoder *, const struct jpeg_picture *),
                            uint8_t **out, size_t *len, struct err *e)
{
    *out = NULL;
    *len = 0;
    if (picture->width < 1 || picture->width > JPEG_MAX_DIMENSION || picture->height < 1 ||
        picture->height > JPEG_MAX_DIMENSION)
        return err_set(e, ERR_RANGE, "a picture of %d x %d pixels cannot be a JPEG: 1..%ld",
                       picture->width, picture->height, (long)JPEG_MAX_DIMENSION);
    if (picture->quality < 1 || picture->quality > 100)
        return err_set(e, ERR_RANGE, "quality %d is out of range: 1..100", picture->quality);
    if (picture->xmp && strlen(picture->xmp) > SEGMENT_MAX - sizeof MARK_JPEG_PREFIX)
        return err_set(e, ERR_RANGE, "an XMP packet of %zu bytes does not fit into a JPEG segment",
                       strlen(picture->xmp));

    self->e = e;
    if (setjmp(self->back)) {
        drop_handle(self);           /* its state is unknown; the next call makes a new one */
        free(self->file);
        self->file = NULL;
        return self->code;
    }
    if (!self->cinfo.err)
        create_handle(self);
    set_parameters(&self->cinfo, picture);
    write(self, picture);
    jpeg_finish_compress(&self->cinfo);

    *len = self->file_bytes - self->to_file.free_in_buffer;
    uint8_t *fitted = realloc(self->file, *len);

    *out = fitted ? fitted : self->file;
    self->file = NULL;               /* now the caller's */
    return ERR_OK;
}

enum err_code jpeg_encode(struct jpeg_encoder *self, const struct jpeg_picture *picture,
                          uint8_t **out, size_t *len, struct err *e)
{
    return encode(self, picture, write_pixels, out, len, e);
}

enum err_code jpeg_encode_coefficients(struct jpeg_encoder *self,
                                       const struct jpeg_picture *picture, uint8_t **out,
                                       size_t *len, struct err *e)
{
    return encode(self, picture, write_coefficients, out, len, e);
}
