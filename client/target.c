#include "client/target.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static bool ends_in(const char *text, const char *end)
{
    size_t text_len = strlen(text), end_len = strlen(end);

    return text_len > end_len && strcasecmp(text + text_len - end_len, end) == 0;
}

enum err_code target_of(const char *path, struct target *out, struct err *e)
{
    static const char *const OTHERS[] = { ".bmp",  ".gif",  ".webp", ".tif", ".tiff",
                                          ".avif", ".heic", ".jxl",  ".npy" };
    struct stat st;

    *out = (struct target){ TARGET_FOLDER, path ? path : "." };
    if (stat(out->path, &st) == 0 && S_ISDIR(st.st_mode))
        return ERR_OK;
    if (ends_in(out->path, ".jpg") || ends_in(path, ".jpeg"))
        out->kind = TARGET_JPEG;
    else if (ends_in(out->path, ".png"))
        out->kind = TARGET_PNG;
    for (size_t k = 0; k < sizeof OTHERS / sizeof OTHERS[0]; k++)
        if (ends_in(out->path, OTHERS[k]))
            return err_set(e, ERR_INVALID, "pictures are written as .jpg or .png, not \"%s\"",
                           OTHERS[k]);
    return ERR_OK;
}

enum err_code target_takes(const struct target *self, uint32_t pictures, struct err *e)
{
    if (pictures > 1 && (self->kind == TARGET_JPEG || self->kind == TARGET_PNG))
        return err_set(e, ERR_INVALID,
                       "%" PRIu32 " pictures do not fit into one file: -o needs a folder",
                       pictures);
    return ERR_OK;
}

enum err_code target_prepare(const struct target *self, struct err *e)
{
    struct stat st;

    if (self->kind != TARGET_FOLDER || mkdir(self->path, 0777) == 0 ||
        (errno == EEXIST && stat(self->path, &st) == 0 && S_ISDIR(st.st_mode)))
        return ERR_OK;
    if (errno == EEXIST)
        return err_set(e, ERR_FILE, "\"%s\" is there and is no folder; a file ends in .jpg or .png",
                       self->path);
    return err_set(e, ERR_FILE, "could not make folder \"%s\": %s", self->path, strerror(errno));
}

enum err_code target_file_of(const struct target *self, uint32_t seed, struct target_file *out,
                             struct err *e)
{
    int len;

    if (self->kind == TARGET_FOLDER)
        len = snprintf(out->path, sizeof out->path, "%s/seed%04" PRIu32 ".jpg", self->path, seed);
    else
        len = snprintf(out->path, sizeof out->path, "%s", self->path);
    if (len >= (int)sizeof out->path)
        return err_set(e, ERR_FILE, "the name of the output is too long");
    return ERR_OK;
}
