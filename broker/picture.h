/* picture -- on its way to those who asked for it. Texts, recipe and file are borrowed. Of one that
 * nobody waited for the file may be missing: then it can only answer who wants a receipt. */
#ifndef BROKER_PICTURE_H
#define BROKER_PICTURE_H

#include "base/link.h"
#include "proto/message.h"
#include "proto/recipe.h"

struct picture {
    const struct recipe *recipe;
    struct digest key, file_sha, core_sha;
    const char *numerics_class, *encoder;
    int64_t run, render_us, encode_us, store_us, batch;
    enum message_source source;
    int64_t bytes;                  /* of the file */
    struct frame *jpeg;             /* NULL: not here */
    /* What was rendered for it, where a picture was stored before; else all zero. */
    struct digest rendered_sha, rendered_core_sha;
    struct text rendered_class;
    int64_t rendered_run, rendered_levels, rendered_psnr;   /* as in message_image */
};

#endif
