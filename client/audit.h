/* audit -- whether an exported folder is what its manifests say: every shard and every list by its
 * hash, every picture by its hash, its recipe and by decoding it, and that nothing is missing.
 * Reads a shard once, from its begin to its end. */
#ifndef CLIENT_AUDIT_H
#define CLIENT_AUDIT_H

#include "client/progress.h"
#include "proto/err.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>

struct audit_options {
    const char *folder;
    const volatile sig_atomic_t *interrupted;
    FILE *progress_to;
    enum progress_style style;
    /* Called for each thing that is wrong: "00003.tar: 000030007.jpg has other bytes than the list
     * says". words are lent for the call. */
    void (*tell)(void *arg, const char *words);
    void *arg;
};

struct audit_report {
    int64_t shards, pictures;       /* looked at */
    int64_t failed;                 /* items that the manifests know to have no picture */
    int64_t wrong;                  /* calls of tell */
};

/* ERR_OK also when something is wrong with the pictures: see report. ERR_FILE (no folder, no
 * manifest, a broken one), ERR_CANCELLED, ERR_NOMEM. */
enum err_code audit_run(const struct audit_options *options, struct audit_report *report,
                        struct err *e);

#endif
