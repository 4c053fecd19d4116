/* site -- the files of one folder, to be read by anybody: pages, scripts, pictures. Only files of a
 * known type are there; no name that begins with a dot, nothing outside the folder, whatever a path
 * or a symbolic link says. Files are opened anew each time, so that a folder may change. */
#ifndef GATEWAY_SITE_H
#define GATEWAY_SITE_H

#include "proto/err.h"

#include <stdint.h>

enum { SITE_PATH_MAX = 512, SITE_FILE_MAX = 16 << 20 };     /* bytes */

struct site;
/* ERR_FILE: it is no folder or cannot be read; ERR_UNSUPPORTED: a kernel without openat2. */
enum err_code site_create(const char *folder, struct site **out, struct err *e);
void site_destroy(struct site **self);          /* NULL is fine */

struct site_file {
    int fd;                         /* the caller's to close */
    int64_t len;                    /* bytes, at most SITE_FILE_MAX */
    const char *type;               /* of its content. Static */
    char etag[64];                  /* changes when the file does; weak, with its quotes */
    char modified[40];              /* as HTTP writes moments */
};

enum site_answer { SITE_NOT_FOUND, SITE_FILE, SITE_FOLDER /* it is one: ask for path + "/" */ };

/* path begins with '/', has no query and no percent-encoding left; what ends in '/' means its
 * index.html. Safe from any thread. */
enum site_answer site_open(const struct site *self, const char *path, struct site_file *out);

#endif
