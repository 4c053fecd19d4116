#include "sql/shelf.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define WRITE "write to the ledger"

static const struct statement HAS_SEGMENTS = {
    "has_segments", WRITE, "SELECT EXISTS (SELECT 1 FROM segments)"
};
static const struct statement ADD_SEGMENT = {
    "add_segment", WRITE, "INSERT INTO segments (writer) VALUES ($1::text) RETURNING id"
};

struct put {
    struct digest key, file_sha;
    struct segments_place at;
};

struct shelf {
    struct segments *segments;
    char *folder;
    char *writer;                   /* NULL: only to read */
    int32_t spare;                  /* a segment's id whose file could not be made; 0: none */
    struct put put[SEGMENTS_BATCH_MAX];         /* not settled; the newest are held */
    size_t put_count;               /* ever put since the last time all was settled */
};

enum err_code shelf_open(const char *folder, const char *writer, int64_t file_bytes,
                         struct shelf **out, struct err *e)
{
    struct shelf *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self || !(self->folder = strdup(folder)) || (writer && !(self->writer = strdup(writer))))
        rc = err_set(e, ERR_NOMEM, "no memory for a shelf");
    else
        rc = segments_open(folder, writer ? SEGMENTS_WRITE : SEGMENTS_READ, file_bytes,
                           &self->segments, e);
    if (rc)
        shelf_close(&self);
    *out = self;
    return rc;
}

void shelf_close(struct shelf **self)
{
    if (*self) {
        segments_close(&(*self)->segments);
        free((*self)->folder);
        free((*self)->writer);
    }
    free(*self);
    *self = NULL;
}

bool shelf_is_written(const struct shelf *self)
{
    return self && self->writer;
}

/* ---- writing ---- */

/* To whoever writes a disk that is full is a database that is full: it waits and repeats. */
static enum err_code down(struct err *e, const struct err *why)
{
    if (why->code != ERR_FILE)
        return err_set(e, why->code, "%s", why->msg);
    return err_set(e, ERR_LEDGER_DOWN, "could not " WRITE ": %.160s", why->msg);
}

static enum err_code check_folder(struct shelf *self, struct session *session, struct err *e)
{
    PGresult *result;
    struct err why;
    enum err_code rc = session_ask(session, &HAS_SEGMENTS, NULL, &result, e);

    if (!rc && segments_check(self->segments, !result_bool(result, 0, 0), &why))
        rc = down(e, &why);
    PQclear(result);
    return rc;
}

static enum err_code begin_file(struct shelf *self, struct session *session, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    struct err why;
    enum err_code rc = check_folder(self, session, e);

    if (!rc && !self->spare) {
        params_text(&p, self->writer);
        rc = session_ask(session, &ADD_SEGMENT, &p, &result, e);
        self->spare = rc ? 0 : result_int4(result, 0, 0);
        PQclear(result);
    }
    if (rc)
        return rc;
    if (segments_begin(self->segments, self->spare, &why))
        return down(e, &why);
    self->spare = 0;
    return ERR_OK;
}

/* Only in the file that is written: an older one, which no row may name yet, may be deleted. */
static const struct put *find(const struct shelf *self, const struct segments_record *record)
{
    for (size_t i = 0; i < self->put_count && i < SEGMENTS_BATCH_MAX; i++) {
        const struct put *put = &self->put[i];

        if (put->at.segment == segments_current(self->segments) &&
            digest_equal(&put->key, &record->key) &&
            digest_equal(&put->file_sha, &record->file_sha))
            return put;
    }
    return NULL;
}

/* Those of records that were not put yet, and which they are. */
static size_t select_new(const struct shelf *self, const struct segments_record *records,
                         size_t count, struct segments_place *places,
                         struct segments_record *news, size_t *which)
{
    size_t new_count = 0;

    for (size_t i = 0; i < count; i++) {
        const struct put *put = find(self, &records[i]);

        if (put) {
            places[i] = put->at;
        } else {
            which[new_count] = i;
            news[new_count++] = records[i];
        }
    }
    return new_count;
}

enum err_code shelf_put(struct shelf *self, struct session *session,
                        const struct segments_record *records, size_t count,
                        struct segments_place *places, struct err *e)
{
    struct segments_record news[SEGMENTS_BATCH_MAX];
    struct segments_place put[SEGMENTS_BATCH_MAX];
    size_t which[SEGMENTS_BATCH_MAX], new_count, len = 0;
    struct err why;

    if (count > SEGMENTS_BATCH_MAX)
        return err_set(e, ERR_BUG, "%zu records to put, %d fit", count, SEGMENTS_BATCH_MAX);
    new_count = select_new(self, records, count, places, news, which);
    for (size_t i = 0; i < new_count; i++)
        len += news[i].len;
    if (new_count == 0)
        return ERR_OK;
    if (segments_is_full(self->segments, new_count, len)) {
        enum err_code rc = begin_file(self, session, e);

        if (rc)
            return rc;
        new_count = select_new(self, records, count, places, news, which);
    }
    if (segments_append(self->segments, news, new_count, put, &why))
        return down(e, &why);
    for (size_t i = 0; i < new_count; i++) {
        places[which[i]] = put[i];
        self->put[self->put_count++ % SEGMENTS_BATCH_MAX] =
            (struct put){ news[i].key, news[i].file_sha, put[i] };
    }
    return ERR_OK;
}

void shelf_drop(struct shelf *self, struct segments_place at, const struct segments_record *record)
{
    for (size_t i = 0; i < SEGMENTS_BATCH_MAX; i++)
        if (self->put[i].at.segment == at.segment && self->put[i].at.place == at.place)
            self->put[i].at.segment = -1;       /* never found again */
    segments_forget(self->segments, at, record);
}

void shelf_settle(struct shelf *self)
{
    self->put_count = 0;
}

/* ---- reading and removing ---- */

static enum err_code no_folder(int32_t segment, struct err *e)
{
    return err_set(e, ERR_FILE, "the picture lies in segment %d, and no folder of segments is set "
                   "here: set segments", (int)segment);
}

enum err_code shelf_get(struct shelf *self, struct segments_place at,
                        const struct segments_record *record, uint8_t **data, struct err *e)
{
    struct err why;
    enum err_code rc;

    *data = NULL;
    if (self)
        rc = segments_read(self->segments, at, record, data, &why);
    else
        rc = no_folder(at.segment, &why);
    if (rc == ERR_FILE || rc == ERR_NOT_FOUND)
        log_event(LOG_ERROR, "segment_unreadable", "recipe=%s segment=%d place=%lld reason=\"%s\"",
                  digest_hex(&record->key).text, (int)at.segment, (long long)at.place, why.msg);
    return rc ? err_set(e, rc, "%s", why.msg) : ERR_OK;
}

enum err_code shelf_erase(struct shelf *self, const struct segments_place *places,
                          const struct segments_record *records, size_t count, size_t *done,
                          struct err *e)
{
    *done = 0;
    if (count == 0)
        return ERR_OK;
    if (!self)
        return no_folder(places[0].segment, e);
    return segments_erase(self->folder, places, records, count, done, e);
}
