#include "client/exporter.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/npy.h"
#include "client/contact.h"
#include "client/loose.h"
#include "client/member.h"
#include "client/progress.h"
#include "client/shard.h"
#include "client/supply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPORTED_TRIES = 30, EXPORTED_RETRY_MS = 1000 };

struct exporter {
    const struct exporter_options *o;
    struct exporter_result *result;
    struct member_folders folders;
    struct supply_range *ranges;    /* shards to be made, as the supply takes them */
    size_t range_count;
    struct supply *supply;
    /* The shard in hand. */
    int64_t number;                 /* -1: none */
    struct shard *tar;              /* in a stream the same for all */
    struct loose *loose;
    int64_t pictures, done;         /* done: items, failed ones too */
    char *list;                     /* lines for sha256sum */
    size_t list_len, list_room;
    struct manifest_failure *failures;
    size_t failure_count, failure_room;

    struct progress progress;
    uint64_t shown;                 /* items */
    bool has_warned;                /* of waiting; until something comes */
};

static bool is_stream(const struct exporter *self)
{
    return self->o->depot == NULL;
}

/* ---- what is to be made ---- */

static bool is_wanted(const struct exporter *self, int64_t number)
{
    const struct manifest *manifest = self->o->manifest;
    const struct manifest_shard *there;

    if (self->o->only >= 0)
        return number == self->o->only;
    if (!manifest_is_mine(manifest, number))
        return false;
    there = is_stream(self) ? NULL : manifest_find(manifest, number);
    if (!there || !depot_has(self->o->depot, manifest, there))
        return true;
    return self->o->retry_failed && there->pictures < manifest_count_of(manifest, number);
}

static enum err_code choose(struct exporter *self, uint64_t *total, struct err *e)
{
    const struct manifest *manifest = self->o->manifest;
    int64_t shards = manifest_shards_of(manifest);

    *total = 0;
    self->ranges = calloc((size_t)shards, sizeof *self->ranges);
    if (!self->ranges)
        return err_set(e, ERR_NOMEM, "no memory for %" PRId64 " shards", shards);
    for (int64_t number = 0; number < shards; number++) {
        struct supply_range range = { number * manifest->subject.shard_size,
                                      manifest_count_of(manifest, number) };

        if (is_wanted(self, number)) {
            self->ranges[self->range_count++] = range;
            *total += (uint64_t)range.count;
        } else if (self->o->only < 0 && manifest_is_mine(manifest, number))
            self->result->skipped++;
    }
    return ERR_OK;
}

/* ---- beside the pictures ---- */

/* A job without files ends by what its exporter says is safe, so this is asked again. */
static enum err_code tell_exported(struct exporter *self, int64_t number, struct err *e)
{
    const struct manifest *manifest = self->o->manifest;
    struct seedpress_error error = { .code = SEEDPRESS_OK };

    if (self->o->job.keep != SEEDPRESS_KEEP_PROVENANCE)
        return ERR_OK;
    for (int i = 0; i < EXPORTED_TRIES && !*self->o->ctx->interrupted; i++) {
        if (!seedpress_bulk_exported(self->o->sp, self->o->job.job,
                                     number * manifest->subject.shard_size,
                                     (int)manifest_count_of(manifest, number), &error) ||
            error.code == SEEDPRESS_CONFLICT)    /* it was cancelled meanwhile */
            return ERR_OK;
        if (!error.retry)
            break;
        contact_pause(EXPORTED_RETRY_MS);
    }
    if (*self->o->ctx->interrupted)
        return ERR_OK;               /* the next run says it */
    return err_set(e, (enum err_code)error.code, "shard %" PRId64 " is safe, but the broker was "
                                                 "not told: %.120s", number, error.message);
}

/* Shards that are there from earlier runs may have been finished just before a kill. */
static enum err_code tell_what_is_there(struct exporter *self, struct err *e)
{
    const struct manifest *manifest = self->o->manifest;
    enum err_code rc = ERR_OK;

    for (size_t i = 0; !rc && !is_stream(self) && i < manifest->shard_count; i++)
        if (self->o->job.state != SEEDPRESS_BULK_DONE)
            rc = tell_exported(self, manifest->shards[i].number, e);
    return rc;
}

static enum err_code add_line(struct exporter *self, const char *sha256, const char *name,
                              struct err *e)
{
    size_t len = strlen(sha256) + strlen(name) + 3;

    if (self->list_len + len >= self->list_room) {
        size_t room = 2 * (self->list_room + len + 4096);
        char *grown = realloc(self->list, room);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory for the list of a shard");
        self->list = grown;
        self->list_room = room;
    }
    snprintf(self->list + self->list_len, self->list_room - self->list_len, "%s  %s\n", sha256,
             name);
    self->list_len += len;
    return ERR_OK;
}

static enum err_code add_failure(struct exporter *self, const struct supply_item *item,
                                 struct err *e)
{
    struct recipe recipe = items_recipe(&self->o->manifest->items, item->item);
    struct manifest_failure *failure;

    if (self->failure_count == self->failure_room) {
        size_t room = self->failure_room ? 2 * self->failure_room : 64;
        struct manifest_failure *grown = realloc(self->failures, room * sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory for %zu failures", room);
        self->failures = grown;
        self->failure_room = room;
    }
    failure = &self->failures[self->failure_count++];
    *failure = (struct manifest_failure){ .item = item->item, .seed = recipe.seed };
    snprintf(failure->code, sizeof failure->code, "%s", item->code);
    snprintf(failure->message, sizeof failure->message, "%s", item->message);
    return ERR_OK;
}

/* ---- pictures ---- */

static enum err_code add_w(struct exporter *self, int64_t item, const struct recipe *recipe,
                           struct err *e)
{
    struct npy array = { .dtype = NPY_FLOAT32, .rank = 2 };
    const struct model_facts *facts;
    struct latent *latent = NULL;
    enum err_code rc;
    uint8_t *file;
    size_t len;

    for (size_t i = 0; i < self->o->latent_count; i++)
        if (digest_equal(&latent_facts(self->o->latents[i])->digest, &recipe->model))
            latent = self->o->latents[i];
    if (!latent)
        return err_set(e, ERR_BUG, "a model's file is missing for w");
    facts = latent_facts(latent);
    array.shape[0] = facts->num_ws;
    array.shape[1] = facts->w_dim;
    array.data = (void *)(uintptr_t)latent_compute(latent, recipe);
    rc = npy_encode(&array, &file, &len, e);
    if (!rc)
        rc = shard_add(self->tar, member_of_shard(item, "w.npy").text, file, len, e);
    free(file);
    return rc;
}

static enum err_code add_to_tar(struct exporter *self, const struct supply_item *item,
                                struct err *e)
{
    struct recipe recipe = items_recipe(&self->o->manifest->items, item->item);
    struct member_name name = member_of_shard(item->item, "jpg");
    char *facts = NULL;
    enum err_code rc = member_facts(item->item, &recipe, item->image, &facts, e);

    if (!rc)
        rc = shard_add(self->tar, name.text, item->image->data, item->image->len, e);
    if (!rc)
        rc = shard_add(self->tar, member_of_shard(item->item, "json").text, facts, strlen(facts),
                       e);
    if (!rc && self->o->manifest->subject.with_w)
        rc = add_w(self, item->item, &recipe, e);
    free(facts);
    return rc ? rc : add_line(self, item->image->sha256, name.text, e);
}

static enum err_code add_loose(struct exporter *self, const struct supply_item *item,
                               struct err *e)
{
    struct member_name name = member_of_folder(&self->o->manifest->items, &self->folders,
                                               item->item);
    enum err_code rc = loose_add(self->loose, name.text, item->image->data, item->image->len, e);

    return rc ? rc : add_line(self, item->image->sha256, name.text, e);
}

/* ---- shards ---- */

static enum err_code begin_shard(struct exporter *self, int64_t number, struct err *e)
{
    enum err_code rc = ERR_OK;

    if (self->o->manifest->subject.kind == MANIFEST_FOLDER)
        rc = loose_create(self->o->depot->folder, &self->loose, e);
    else if (!is_stream(self))
        rc = shard_create(self->o->depot->folder, manifest_shard_name(number).text, &self->tar, e);
    else if (!self->tar)
        rc = shard_create_stream(self->o->stream_fd, &self->tar, e);
    self->number = rc ? -1 : number;
    self->pictures = self->done = 0;
    self->list_len = self->failure_count = 0;
    return rc;
}

/* What the shard must come out as: one that is known whole, unless others are welcome. */
static const struct manifest_shard *expected_of(const struct exporter *self)
{
    const struct manifest_shard *there = manifest_find(self->o->manifest, self->number);

    return there && !self->o->retry_failed ? there : NULL;
}

static enum err_code put_in_place(struct exporter *self, struct manifest_shard *out, struct err *e)
{
    const struct manifest_shard *expected = expected_of(self);
    struct manifest_name list = manifest_list_name(self->number);
    struct shard_sum sum = { .bytes = 0 };
    char path[PATH_MAX];
    enum err_code rc;

    *out = (struct manifest_shard){ .number = self->number, .pictures = self->pictures,
                                    .list_sha256 = digest_of(self->list ? self->list : "",
                                                             self->list_len) };
    if (expected && !digest_equal(&expected->list_sha256, &out->list_sha256))
        return err_set(e, ERR_NOT_REPRODUCIBLE, "shard %" PRId64 " came out with other pictures "
                                                "than before; --retry-failed takes it as it is",
                       self->number);
    if (self->tar)
        rc = shard_finish(&self->tar, expected ? &expected->sha256 : NULL, &sum, e);
    else
        rc = loose_finish(&self->loose, &sum.bytes, e);
    out->bytes = sum.bytes;
    out->sha256 = sum.sha256;
    snprintf(path, sizeof path, "%s/%s", self->o->depot->folder, list.text);
    return rc ? rc : file_write_atomic(path, self->list ? self->list : "", self->list_len, e);
}

static enum err_code end_shard(struct exporter *self, struct err *e)
{
    struct manifest *manifest = self->o->manifest;
    struct manifest_shard shard;
    enum err_code rc = ERR_OK;

    if (!is_stream(self)) {
        rc = put_in_place(self, &shard, e);
        if (!rc)
            rc = manifest_add(manifest, &shard, self->failures, self->failure_count, e);
        if (!rc)
            rc = manifest_save(manifest, self->o->depot->manifest_path, e);
        self->result->bytes += rc ? 0 : shard.bytes;
    }
    if (rc)
        return rc;
    self->result->shards++;
    self->result->pictures += self->pictures;
    if (is_stream(self))
        self->result->failed += self->done - self->pictures;
    rc = tell_exported(self, self->number, e);
    self->number = -1;
    return rc;
}

static enum err_code take_item(struct exporter *self, const struct supply_item *item,
                               struct err *e)
{
    const struct manifest *manifest = self->o->manifest;
    int64_t number = item->item / manifest->subject.shard_size;
    enum err_code rc = ERR_OK;

    if (self->number != number)
        rc = begin_shard(self, number, e);
    if (!rc && !item->image)
        rc = add_failure(self, item, e);
    else if (!rc)
        rc = self->loose ? add_loose(self, item, e) : add_to_tar(self, item, e);
    if (rc)
        return rc;
    self->pictures += item->image != NULL;
    self->shown++;
    return ++self->done == manifest_count_of(manifest, number) ? end_shard(self, e) : ERR_OK;
}

/* ---- the run ---- */

static void say_waiting(struct exporter *self)
{
    const char *why = supply_waits_for(self->supply);
    char words[400];

    if (!why || self->has_warned || clock_ms() - self->progress.start_ms < 1000)
        return;
    snprintf(words, sizeof words, "waiting: %s", why);
    progress_end(&self->progress);
    command_warn(self->o->ctx, words);
    self->has_warned = true;
}

static enum err_code export_all(struct exporter *self, struct err *e)
{
    struct supply_item item;
    enum err_code rc = ERR_OK;

    while (!rc) {
        if (*self->o->ctx->interrupted)
            return err_set(e, ERR_CANCELLED, "interrupted after %" PRId64 " shards; the same line "
                                             "goes on from there", self->result->shards);
        switch (supply_next(self->supply, &item, e)) {
        case SUPPLY_ITEM:
            self->has_warned = false;
            rc = take_item(self, &item, e);
            break;
        case SUPPLY_IDLE:
            say_waiting(self);
            break;
        case SUPPLY_END:
            return ERR_OK;
        default:
            return e->code;
        }
        progress_show(&self->progress, self->shown, clock_ms());
    }
    return rc;
}

static enum err_code end_stream(struct exporter *self, struct err *e)
{
    struct shard_sum sum;
    enum err_code rc = ERR_OK;

    if (is_stream(self) && !self->tar)           /* a tar without members is one, too */
        rc = shard_create_stream(self->o->stream_fd, &self->tar, e);
    if (!rc && is_stream(self)) {
        rc = shard_finish(&self->tar, NULL, &sum, e);
        self->result->bytes = sum.bytes;
    }
    return rc;
}

static void count_failed(struct exporter *self)
{
    const struct manifest *manifest = self->o->manifest;

    for (size_t i = 0; !is_stream(self) && i < manifest->shard_count; i++)
        self->result->failed += manifest_count_of(manifest, manifest->shards[i].number) -
                                manifest->shards[i].pictures;
}

enum err_code exporter_run(const struct exporter_options *options, struct exporter_result *result,
                           struct err *e)
{
    struct exporter self = { .o = options, .result = result, .number = -1 };
    struct supply_options supply = { .sp = options->sp, .items = &options->manifest->items,
                                     .job = options->job, .retry_failed = options->retry_failed,
                                     .timeout_ms = options->timeout_ms };
    uint64_t total;
    enum err_code rc;

    *result = (struct exporter_result){ .shards = 0 };
    self.folders = member_folders_of(&options->manifest->items);
    rc = choose(&self, &total, e);
    if (!rc)
        rc = tell_what_is_there(&self, e);
    supply.ranges = self.ranges;
    supply.range_count = self.range_count;
    if (!rc)
        rc = supply_create(&supply, &self.supply, e);
    progress_init(&self.progress, stderr,
                  options->ctx->json ? PROGRESS_SILENT : progress_style_of(stderr), total,
                  clock_ms());
    if (!rc)
        rc = export_all(&self, e);
    if (!rc)
        rc = end_stream(&self, e);
    progress_end(&self.progress);
    count_failed(&self);
    shard_abandon(&self.tar);
    loose_abandon(&self.loose);
    supply_destroy(&self.supply);
    free(self.ranges);
    free(self.list);
    free(self.failures);
    return rc;
}
