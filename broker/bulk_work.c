#include "broker/bulk_work.h"

#include <stdlib.h>
#include <string.h>

void bulk_items_release(struct bulk_items *self)
{
    free(self->parts);
    free(self->keys);
    free(self->present);
    *self = (struct bulk_items){ .owner = "" };
}

struct recipe bulk_items_recipe(const struct bulk_items *self, int64_t item)
{
    size_t part = self->part_count - 1;

    while (part > 0 && self->parts[part].item > item)
        part--;
    return ledger_part_recipe(&self->parts[part], item);
}

enum err_code bulk_items_make_keys(struct bulk_items *self, const struct ledger_chunk *chunk,
                                   struct err *e)
{
    size_t count = (size_t)chunk->count;

    if (count < 1 || count > LEDGER_CHUNK_MAX)
        return err_set(e, ERR_BUG, "a chunk of %zu items", count);
    self->keys = malloc(count * sizeof *self->keys);
    if (!self->keys)
        return err_set(e, ERR_NOMEM, "no memory for a chunk of %zu items", count);
    for (size_t i = 0; i < count; i++) {
        struct recipe recipe = bulk_items_recipe(self, chunk->item + (int64_t)i);

        self->keys[i] = recipe_key(&recipe);
    }
    return ERR_OK;
}

static enum err_code look(struct ledger *ledger, const struct ledger_chunk *chunk,
                          struct bulk_items *items, struct err *e)
{
    struct ledger_job job;
    size_t count;
    enum err_code rc = ledger_bulk_list(ledger, chunk->job, "", &job, 1, &count, e);

    if (!rc && count == 0)
        rc = err_set(e, ERR_NOT_FOUND, "the chunk's job is gone");
    if (rc)
        return rc;
    memcpy(items->owner, job.owner, sizeof items->owner);
    items->priority = job.priority;
    rc = ledger_bulk_parts_of(ledger, chunk, &items->parts, &items->part_count, e);
    if (!rc)
        rc = bulk_items_make_keys(items, chunk, e);
    if (!rc && !(items->present = malloc((size_t)chunk->count * sizeof *items->present)))
        rc = err_set(e, ERR_NOMEM, "no memory for a chunk of %d items", chunk->count);
    if (!rc)
        rc = ledger_bulk_present(ledger, items->keys, (size_t)chunk->count, items->present, e);
    if (rc)
        bulk_items_release(items);
    return rc;
}

enum err_code bulk_open_call(struct ledger *ledger, void *extra, struct err *e)
{
    struct bulk_open *self = extra;
    enum err_code rc = ERR_OK;

    switch (self->kind) {
    case BULK_LEASE:
        rc = ledger_bulk_lease(ledger, self->except, self->except_count, self->holder, &self->chunk,
                               &self->found, e);
        break;
    case BULK_TAKE:
        rc = ledger_bulk_take(ledger, self->holder, &self->chunk, &self->found, e);
        break;
    case BULK_LOOK:
        self->found = true;
        break;
    }
    return !rc && self->found ? look(ledger, &self->chunk, &self->items, e) : rc;
}

void bulk_open_end(void *extra)
{
    bulk_items_release(&((struct bulk_open *)extra)->items);
    free(extra);
}

enum err_code bulk_renew_call(struct ledger *ledger, void *extra, struct err *e)
{
    struct bulk_renew *self = extra;

    return ledger_bulk_renew(ledger, self->chunks, self->count, self->states, self->held, e);
}

enum err_code bulk_watch_call(struct ledger *ledger, void *extra, struct err *e)
{
    struct bulk_watch *self = extra;
    const struct ledger_chunk first = { .job = 0 };
    enum err_code rc = ledger_bulk_leased(ledger, &first, self->chunks, BULK_WATCHED_MAX,
                                          &self->count, e);

    self->connection = ledger_connections(ledger);
    return rc;
}

enum err_code bulk_finish_call(struct ledger *ledger, void *extra, struct err *e)
{
    struct bulk_finish *self = extra;

    return ledger_bulk_finish(ledger, &self->chunk, self->keys, self->failures,
                              self->failure_count, &self->held, e);
}

void bulk_finish_end(void *extra)
{
    struct bulk_finish *self = extra;

    free(self->keys);
    free(self->failures);
    free(self);
}

enum err_code bulk_return_call(struct ledger *ledger, void *extra, struct err *e)
{
    return ledger_bulk_return(ledger, extra, e);
}
