/* exporter -- the shards of a bulk job, one after another, from the supply into a folder or one
 * stream. A shard that is in the manifest is whole, on the disk, and not made again. */
#ifndef CLIENT_EXPORTER_H
#define CLIENT_EXPORTER_H

#include "client/command.h"
#include "client/depot.h"
#include "client/latent.h"
#include "client/manifest.h"
#include "client/seedpress.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct exporter_options {
    const struct command_context *ctx;          /* stops when it is interrupted */
    struct seedpress *sp;
    struct seedpress_job job;
    struct manifest *manifest;      /* what is wanted, with what is there; kept up to date */
    const struct depot *depot;      /* NULL: everything goes to stream_fd, as one tar */
    int stream_fd;
    struct latent *const *latents;  /* [latent_count]; with w: one for each model of the job */
    size_t latent_count;
    int64_t only;                   /* this shard, though it may be there; -1: all that are not */
    bool retry_failed;              /* shards with failures, too, and whatever comes is taken */
    int64_t timeout_ms;             /* as supply_options has it */
};

struct exporter_result {
    int64_t pictures, bytes;        /* of this run */
    int64_t shards, skipped;        /* made; those that were there */
    int64_t failed;                 /* items that have no picture, of all shards of the part */
};

/* On failure *result counts what was finished before; the shard in hand is gone. ERR_CANCELLED
 * (interrupted), ERR_FILE, ERR_NOT_REPRODUCIBLE (a shard that was there comes out otherwise), and
 * what ends the supply. */
enum err_code exporter_run(const struct exporter_options *options, struct exporter_result *result,
                           struct err *e);

#endif
