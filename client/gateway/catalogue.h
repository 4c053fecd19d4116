/* catalogue -- the models that the broker knows, asked again every two seconds by a thread of its
 * own, so that no request has to wait for them. */
#ifndef GATEWAY_CATALOGUE_H
#define GATEWAY_CATALOGUE_H

#include "client/seedpress.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { CATALOGUE_MAX = 1024 };

struct catalogue_options {
    struct seedpress_options broker;        /* its texts are borrowed */
    /* After each answer, on the catalogue's thread, with its handle, which may be used. Borrowed,
     * NULL: nobody. */
    void (*on_news)(void *arg, struct seedpress *sp, const struct seedpress_model *models,
                    size_t count);
    void *arg;
};

struct catalogue;
enum err_code catalogue_create(const struct catalogue_options *options, struct catalogue **out,
                               struct err *e);
void catalogue_destroy(struct catalogue **self);

/* From any thread. digest: hex digits that it begins with; "": the model that name is bound to.
 * out->name is the one that the broker says, else name.
 * ERR_UNKNOWN_MODEL; ERR_CONFLICT: several begin so; ERR_UNREACHABLE, ERR_LEDGER_DOWN, ...: no
 * broker has told them yet. */
enum err_code catalogue_find(struct catalogue *self, const char *name, const char *digest,
                             struct seedpress_model *out, struct err *e);
/* Copies of at most cap; gives how many there are. The same errors. */
enum err_code catalogue_list(struct catalogue *self, struct seedpress_model *out, size_t cap,
                             size_t *count, struct err *e);
/* NULL: the broker has answered of late; else static words that say what is wrong. */
const char *catalogue_why_not(struct catalogue *self);

#endif
