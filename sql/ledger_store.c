/* The write. Why it is built like this:
 *  - Several images share a transaction, since the commit's fsync is what costs.
 *  - Keys are sorted, so that two writers of the same keys wait for each other in one direction.
 *  - BEGIN is sent by itself and each statement has its own Sync: the server's time limits then
 *    hold for each one, and locks are asked for in the order in which we sent them.
 *  - Rows go many in a statement, as arrays: a statement costs several times what a row costs.
 *  - The shared advisory lock lets any number of writers go on together, but none beside a
 *    withdrawal, which takes it alone: either its tombstone is seen here, or our row by it.
 *  - Of a row that this transaction added nothing is read back: it is committed, and ours. What
 *    else is reported was read after the commit, by a statement with a snapshot of its own: a row
 *    that another writer had not committed yet when ours was refused is seen only then. */
#include "sql/ledger.h"

#include "sql/columns.h"
#include "sql/ledger_self.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITE "write to the ledger"

enum { PIECE_BYTES = 2 << 20 };     /* of files in one statement */

_Static_assert((int)LEDGER_BATCH_MAX <= (int)SEGMENTS_BATCH_MAX, "a batch is put at once");
_Static_assert((int)LEDGER_FILE_MAX <= (int)SEGMENTS_RECORD_MAX, "every file fits");

static const struct statement FIND_OPTIONS = {
    "find_options", WRITE, "SELECT id FROM options WHERE text = $1::text"
};
static const struct statement ADD_OPTIONS = {
    "add_options", WRITE,
    "INSERT INTO options (text) VALUES ($1::text) ON CONFLICT (text) DO NOTHING"
};
static const struct statement BEGIN_STORE = { "begin_store", WRITE, "BEGIN" };
static const struct statement LOCK_STORE = {
    "lock_store", WRITE, "SELECT pg_advisory_xact_lock_shared(7301)"
};
/* Gives the keys of those whose row is the first. The sub-selects are the foreign keys: NULL, when
 * there is no such model, options or run (with that class and encoder), is a bad row. */
static const struct statement STORE_IMAGES = {
    "store_images", WRITE,
    "WITH won AS ("
    " INSERT INTO images (key, subject, file_sha, core_sha, model_id, seed, psi, options_id,"
    "                     run_id, batch_size, render_us, bytes, kept, job_id, segment, place)"
    " SELECT c.key, c.subject, c.file_sha, c.core_sha,"
    "        (SELECT m.id FROM models m WHERE m.digest = c.model), c.seed, c.psi,"
    "        (SELECT o.id FROM options o WHERE o.id = c.options_id),"
    "        (SELECT r.id FROM runs r WHERE r.id = c.run_id AND r.numerics_class = c.class"
    "                                 AND r.encoder = c.encoder),"
    "        c.batch_size, c.render_us, c.bytes, c.kept <> 0,"
    "        (SELECT j.id FROM bulk_jobs j WHERE j.id = c.job_id),"
    "        nullif(c.segment, 0), CASE WHEN c.segment > 0 THEN c.place END"
    " FROM " COLUMNS_TABLE
    " WHERE NOT EXISTS (SELECT 1 FROM withdrawn w WHERE w.subject = c.subject)"
    " ON CONFLICT (key) DO NOTHING RETURNING key"
    "), file AS ("
    " INSERT INTO blobs (key, data) SELECT f.key, f.data"
    " FROM unnest($1::bytea[], $20::bytea[]) AS f (key, data) JOIN won ON won.key = f.key"
    " WHERE octet_length(f.data) > 0"
    "), alike AS ("
    " INSERT INTO likenesses (key, hashes) SELECT l.key, l.hashes"
    " FROM unnest($1::bytea[], $19::bytea[]) AS l (key, hashes) JOIN won ON won.key = l.key"
    " WHERE octet_length(l.hashes) > 0"
    ") SELECT key FROM won"
};
/* Puts back what the row has lost: pruned, or never kept, or not in the backup that this is. Behind
 * the insertion, so that it sees the row of a writer that was waited for. */
static const struct statement REFILL_IMAGE = {
    "refill_image", WRITE,
    "WITH lost AS ("
    " UPDATE images i SET kept = true, segment = $4::int, place = $5::bigint"
    " WHERE key = $1::bytea AND file_sha = $2::bytea"
    " AND (NOT kept OR (segment IS NULL"
    "                   AND NOT EXISTS (SELECT 1 FROM blobs WHERE key = $1::bytea)))"
    " AND NOT EXISTS (SELECT 1 FROM withdrawn w WHERE w.subject = i.subject)"
    " RETURNING key"
    ") INSERT INTO blobs (key, data) SELECT key, $3::bytea FROM lost"
    "  WHERE $4::int IS NULL"
    "  ON CONFLICT (key) DO UPDATE SET data = excluded.data"
};
static const struct statement COMMIT_STORE = { "commit_store", WRITE, "COMMIT" };
/* Always one row; NULLs when nothing is stored under key $1. $2 is the subject. */
#define WINNER_COLUMNS                                                                             \
    "SELECT i.file_sha, i.core_sha, r.numerics_class, r.encoder, i.run_id, w.withdrawn,"           \
    " i.segment, i.place"
#define WINNER_TABLES                                                                              \
    " FROM (SELECT EXISTS (SELECT 1 FROM withdrawn WHERE subject = $2::bytea) AS withdrawn) w"     \
    " LEFT JOIN images i ON i.key = $1::bytea"                                                     \
    " LEFT JOIN runs r ON r.id = i.run_id"
static const struct statement READ_WINNER = {
    "read_winner", WRITE, WINNER_COLUMNS WINNER_TABLES
};
/* For the few whose file is not ours: the row once more, with its bytes, by one snapshot. Not for
 * all: that blobs has 64 parts makes this several times as dear as the row alone. */
static const struct statement FETCH_WINNER = {
    "fetch_winner", WRITE,
    WINNER_COLUMNS ", i.kept, i.bytes, CASE WHEN i.kept AND NOT w.withdrawn AND i.segment IS NULL"
                   "       THEN (SELECT b.data FROM blobs b WHERE b.key = $1::bytea) END"
    WINNER_TABLES
};
enum winner_column { WINNER_FILE_SHA, WINNER_CORE_SHA, WINNER_CLASS, WINNER_ENCODER, WINNER_RUN,
                     WINNER_WITHDRAWN, WINNER_SEGMENT, WINNER_PLACE, WINNER_KEPT, WINNER_BYTES,
                     WINNER_DATA };

static const struct statement *const SERIES[] = {
    &BEGIN_STORE, &LOCK_STORE, &STORE_IMAGES, &COMMIT_STORE, &READ_WINNER, &FETCH_WINNER
};

/* One image on its way. */
struct item {
    struct digest key, subject;
    int32_t options_id;
    const struct ledger_image *image;
    struct ledger_stored *stored;
    bool won;                       /* its row was inserted by this transaction */
    bool unlike;                    /* the winner's file is not ours: its bytes are needed */
    struct segments_place at;       /* where its bytes were put; segment 0: into the row's blob */
};

static int by_key(const void *a, const void *b)
{
    return memcmp(((const struct item *)a)->key.bytes, ((const struct item *)b)->key.bytes,
                  DIGEST_LEN);
}

static void refuse(struct ledger_stored *stored, const struct err *why)
{
    stored->outcome = LEDGER_REFUSED;
    stored->why = *why;
}

/* ---- options ---- */

/* ERR_LEDGER_DOWN, and *id is 0 when the text is not there. */
static enum err_code find_options(struct ledger *self, const char *text, int32_t *id,
                                  struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_text(&p, text);
    rc = session_ask(self->session, &FIND_OPTIONS, &p, &result, e);
    *id = !rc && PQntuples(result) > 0 ? result_int4(result, 0, 0) : 0;
    PQclear(result);
    return rc;
}

/* Options are committed by themselves, before the images that name them: a writer that inserted
 * them within its transaction would hold up all others until its end. */
static enum err_code options_id(struct ledger *self, const struct recipe *recipe, int32_t *id,
                                struct err *e)
{
    struct recipe_text whole = recipe_text(recipe);
    const char *text = strstr(whole.text, "cutoff=");
    struct params p = { 0 };
    PGresult *result = NULL;
    enum err_code rc;

    if (self->option_session != session_number(self->session)) {
        self->option_session = session_number(self->session);
        self->option_count = 0;
    }
    for (size_t i = 0; i < self->option_count && i < LEDGER_OPTIONS_MAX; i++)
        if (strcmp(self->option[i].text, text) == 0) {
            *id = self->option[i].id;
            return ERR_OK;
        }
    rc = find_options(self, text, id, e);
    if (!rc && *id == 0) {
        params_text(&p, text);
        rc = session_ask(self->session, &ADD_OPTIONS, &p, &result, e);
        PQclear(result);
        if (!rc)
            rc = find_options(self, text, id, e);
    }
    if (!rc && *id != 0) {
        struct ledger_option *option = &self->option[self->option_count++ % LEDGER_OPTIONS_MAX];
        memcpy(option->text, text, strlen(text) + 1);
        option->id = *id;
    }
    return rc;
}

/* ---- one transaction ---- */

/* The images of one statement: as many as have PIECE_BYTES of files, so that none lasts long. */
static size_t piece_end(const struct item *items, size_t from, size_t count)
{
    size_t end = from, bytes = 0;

    while (end < count && (end == from || bytes + items[end].image->len <= PIECE_BYTES))
        bytes += items[end++].image->len;
    return end;
}

static struct columns_row row_of(const struct item *item)
{
    return (struct columns_row){ item->key, item->subject, item->options_id, item->image,
                                 item->at };
}

static enum err_code send_piece(struct ledger *self, const struct item *items, size_t count,
                                struct err *e)
{
    struct params p = { 0 };
    struct columns columns;
    size_t file_bytes = 0;
    enum err_code rc;

    for (size_t i = 0; i < count; i++) {
        struct columns_row row = row_of(&items[i]);

        file_bytes += columns_file_len(&row);
    }
    if (columns_init(&columns, count, file_bytes)) {
        for (size_t i = 0; i < count; i++) {
            struct columns_row row = row_of(&items[i]);

            columns_add(&columns, &row);
        }
        columns_params(&columns, &p);
        rc = session_send(self->session, &STORE_IMAGES, &p, e);
    } else {
        rc = err_set(e, ERR_NOMEM, "no memory for %zu pictures of a write", count);
    }
    columns_release(&columns);
    return rc;
}

static bool is_refill(const struct item *item)
{
    return item->image->keep && item->image->refill;
}

static enum err_code send_refill(struct ledger *self, const struct item *item, struct err *e)
{
    struct params p = { 0 };

    params_digest(&p, &item->key);
    params_digest(&p, &item->image->file_sha);
    if (item->at.segment > 0) {
        params_null(&p);
        params_int4(&p, item->at.segment);
        params_int8(&p, item->at.place);
    } else {
        params_bytes(&p, item->image->data, item->image->len);
        params_null(&p);
        params_null(&p);
    }
    return session_send(self->session, &REFILL_IMAGE, &p, e);
}

static enum err_code send_read(struct ledger *self, const struct statement *statement,
                               const struct item *item, struct err *e)
{
    struct params p = { 0 };
    params_digest(&p, &item->key);
    params_digest(&p, &item->subject);
    return session_send(self->session, statement, &p, e);
}

static struct segments_record record_of(const struct item *item)
{
    return (struct segments_record){ item->key, item->image->file_sha, item->image->data,
                                     item->image->len };
}

/* The bytes of items that are to be kept, on the disk before any row. */
static enum err_code put_in_segments(struct ledger *self, struct item *items, size_t count,
                                     struct err *e)
{
    struct segments_record records[LEDGER_BATCH_MAX];
    struct segments_place places[LEDGER_BATCH_MAX];
    size_t put = 0, at = 0;
    enum err_code rc;

    for (size_t i = 0; i < count; i++)
        if (items[i].image->keep)
            records[put++] = record_of(&items[i]);
    if (put == 0)
        return ERR_OK;
    rc = shelf_put(self->shelf, self->session, records, put, places, e);
    for (size_t i = 0; !rc && i < count; i++)
        if (items[i].image->keep)
            items[i].at = places[at++];
    return rc;
}

/* Whoever lost the race has left bytes in a segment that no row names. */
static void drop_unless_named(struct ledger *self, const struct item *item, const PGresult *row)
{
    struct segments_record record = record_of(item);

    if (item->at.segment > 0 &&
        (result_is_null(row, 0, WINNER_SEGMENT) ||
         result_int4(row, 0, WINNER_SEGMENT) != item->at.segment ||
         result_int8(row, 0, WINNER_PLACE) != item->at.place))
        shelf_drop(self->shelf, item->at, &record);
}

/* The winner's bytes, where they are kept; else *data is NULL. Bytes that lie in a segment and are
 * damaged are not kept any more. ERR_FILE: they cannot be read now. */
static enum err_code winner_bytes(struct ledger *self, const struct item *item, const PGresult *row,
                                  struct err *e)
{
    struct ledger_stored *stored = item->stored;
    struct segments_place at = { result_int4(row, 0, WINNER_SEGMENT),
                                 result_int8(row, 0, WINNER_PLACE) };
    struct segments_record record = { item->key, stored->file_sha, NULL,
                                      (size_t)result_int4(row, 0, WINNER_BYTES) };
    enum err_code rc;

    if (!result_is_null(row, 0, WINNER_DATA)) {
        stored->data = result_copy(row, 0, WINNER_DATA, &stored->len);
        return stored->data ? ERR_OK
                            : err_set(e, ERR_NOMEM, "no memory for a picture of the ledger");
    }
    if (!result_bool(row, 0, WINNER_KEPT) || result_is_null(row, 0, WINNER_SEGMENT))
        return ERR_OK;
    rc = shelf_get(self->shelf, at, &record, &stored->data, e);
    stored->len = stored->data ? record.len : 0;
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* Says in item->stored what became of the image, from the row that was read after the commit; or
 * only that it is unlike ours, when the row came without its bytes. */
static enum err_code judge(struct ledger *self, struct item *item, const PGresult *row,
                           struct err *e)
{
    const struct ledger_image *image = item->image;
    struct ledger_stored *stored = item->stored;
    struct err why;
    enum err_code rc;

    item->unlike = false;
    if (result_bool(row, 0, WINNER_WITHDRAWN)) {
        err_set(&why, ERR_WITHDRAWN, "the picture was withdrawn");
        refuse(stored, &why);
        return ERR_OK;
    }
    if (result_is_null(row, 0, WINNER_FILE_SHA))
        return err_set(e, ERR_LEDGER_DOWN,
                       "could not " WRITE ": the row was gone when it was read back");
    stored->file_sha = result_digest(row, 0, WINNER_FILE_SHA);
    stored->core_sha = result_digest(row, 0, WINNER_CORE_SHA);
    stored->run_id = result_int8(row, 0, WINNER_RUN);
    result_text(row, 0, WINNER_CLASS, stored->numerics_class, sizeof stored->numerics_class);
    result_text(row, 0, WINNER_ENCODER, stored->encoder, sizeof stored->encoder);

    bool same_class = strcmp(stored->numerics_class, image->numerics_class) == 0;
    bool same_encoder = strcmp(stored->encoder, image->encoder) == 0;
    bool same_core = digest_equal(&stored->core_sha, &image->core_sha);
    stored->alarm = same_class && same_encoder && !same_core;
    if (digest_equal(&stored->file_sha, &image->file_sha)) {
        stored->outcome = LEDGER_SAME;
    } else if (PQnfields(row) <= WINNER_DATA) {
        item->unlike = true;
    } else if ((rc = winner_bytes(self, item, row, &why))) {
        if (rc != ERR_FILE)
            return err_set(e, rc, "%s", why.msg);
        refuse(stored, &why);
    } else if (stored->data) {
        stored->outcome = LEDGER_WINNER;
    } else if (same_core) {
        stored->outcome = LEDGER_SAME;      /* the pruned picture, rendered again */
    } else if (same_class) {
        err_set(&why, ERR_NOT_REPRODUCIBLE, "the stored bytes are not kept, and this render of the "
                "same class \"%s\" differs from them", image->numerics_class);
        refuse(stored, &why);
    } else {
        err_set(&why, ERR_WRONG_CLASS, "the stored bytes are not kept; class \"%s\" made them, not "
                "\"%s\"", stored->numerics_class, image->numerics_class);
        refuse(stored, &why);
    }
    return ERR_OK;
}

static enum err_code send_series(struct ledger *self, const struct item *items, size_t count,
                                 struct err *e)
{
    enum err_code rc = session_send(self->session, &BEGIN_STORE, NULL, e);
    if (!rc)
        rc = session_send(self->session, &LOCK_STORE, NULL, e);
    for (size_t from = 0, end; !rc && from < count; from = end) {
        end = piece_end(items, from, count);
        rc = send_piece(self, &items[from], end - from, e);
    }
    for (size_t i = 0; !rc && i < count; i++)
        if (is_refill(&items[i]))
            rc = send_refill(self, &items[i], e);
    return rc ? rc : session_send(self->session, &COMMIT_STORE, NULL, e);
}

/* The next answer of the series. The first failure is the one to report: those after it only say
 * that the transaction has failed. */
static PGresult *next_answer(struct ledger *self, enum err_code *rc, struct err *e)
{
    PGresult *result;
    struct err later;
    enum err_code code = session_result(self->session, &result, *rc ? &later : e);
    if (!*rc)
        *rc = code;
    return result;
}

/* Which of the piece's images are the first: result has their keys. */
static void mark_won(struct item *items, size_t count, const PGresult *result)
{
    for (size_t i = 0; i < count; i++)
        items[i].won = false;
    for (int row = 0; row < PQntuples(result); row++) {
        struct digest key = result_digest(result, row, 0);

        for (size_t i = 0; i < count; i++)
            items[i].won = items[i].won || digest_equal(&items[i].key, &key);
    }
}

static enum err_code read_series(struct ledger *self, struct item *items, size_t count,
                                 struct err *e)
{
    PGresult *result;
    enum err_code rc = ERR_OK;

    PQclear(next_answer(self, &rc, e));                 /* BEGIN */
    PQclear(next_answer(self, &rc, e));                 /* the lock */
    for (size_t from = 0, end; from < count; from = end) {
        end = piece_end(items, from, count);
        result = next_answer(self, &rc, e);
        mark_won(&items[from], end - from, result);
        PQclear(result);
    }
    for (size_t i = 0; i < count; i++)
        if (is_refill(&items[i]))
            PQclear(next_answer(self, &rc, e));
    result = next_answer(self, &rc, e);                 /* COMMIT, or what became of it */
    if (!rc && strcmp(PQcmdStatus(result), "COMMIT") != 0)
        rc = err_set(e, ERR_LEDGER_DOWN, "could not " WRITE ": the transaction was rolled back");
    PQclear(result);
    return rc;
}

/* A row that this transaction added and committed is ours: no withdrawal was let in between. */
static void take_own(struct item *item)
{
    const struct ledger_image *image = item->image;
    struct ledger_stored *stored = item->stored;

    stored->outcome = LEDGER_STORED;
    stored->file_sha = image->file_sha;
    stored->core_sha = image->core_sha;
    stored->run_id = image->run_id;
    snprintf(stored->numerics_class, sizeof stored->numerics_class, "%s", image->numerics_class);
    snprintf(stored->encoder, sizeof stored->encoder, "%s", image->encoder);
}

/* What stands in place of the images that were not the first. */
static enum err_code read_winners(struct ledger *self, struct item *items, size_t count,
                                  struct err *e)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; !rc && i < count; i++)
        if (items[i].won)
            take_own(&items[i]);
        else
            rc = send_read(self, &READ_WINNER, &items[i], e);
    if (rc)
        return rc;
    for (size_t i = 0; i < count; i++)
        if (!items[i].won) {
            PGresult *result = next_answer(self, &rc, e);
            if (!rc)
                drop_unless_named(self, &items[i], result);
            if (!rc)
                rc = judge(self, &items[i], result, e);
            PQclear(result);
        }
    return rc;
}

static enum err_code fetch_winners(struct ledger *self, struct item *items, size_t count,
                                   struct err *e)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; !rc && i < count; i++)
        if (items[i].unlike)
            rc = send_read(self, &FETCH_WINNER, &items[i], e);
    if (rc)
        return rc;
    for (size_t i = 0; i < count; i++)
        if (items[i].unlike) {
            PGresult *result = next_answer(self, &rc, e);
            if (!rc)
                rc = judge(self, &items[i], result, e);
            PQclear(result);
        }
    return rc;
}

/* Stores items[0..count), sorted, in one transaction. ERR_INVALID: one of them is a bad row;
 * nothing was stored. */
static enum err_code store_together(struct ledger *self, struct item *items, size_t count,
                                    struct err *e)
{
    enum err_code rc = session_ready(self->session, e);
    for (size_t i = 0; !rc && i < count; i++)
        rc = options_id(self, &items[i].image->recipe, &items[i].options_id, e);
    for (size_t i = 0; !rc && i < sizeof SERIES / sizeof SERIES[0]; i++)
        rc = session_prepare(self->session, SERIES[i], e);
    for (size_t i = 0; !rc && i < count; i++)
        if (is_refill(&items[i]))
            rc = session_prepare(self->session, &REFILL_IMAGE, e);
    if (!rc && shelf_is_written(self->shelf))
        rc = put_in_segments(self, items, count, e);
    if (!rc)
        rc = send_series(self, items, count, e);
    if (!rc)
        rc = read_series(self, items, count, e);
    if (!rc)
        rc = read_winners(self, items, count, e);
    return rc ? rc : fetch_winners(self, items, count, e);
}

static enum err_code store_alone(struct ledger *self, struct item *items, size_t count,
                                 struct err *e)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; !rc && i < count; i++) {
        rc = store_together(self, &items[i], 1, e);
        if (rc == ERR_INVALID) {
            struct segments_record record = record_of(&items[i]);

            if (items[i].at.segment > 0)
                shelf_drop(self->shelf, items[i].at, &record);
            refuse(items[i].stored, e);
            rc = ERR_OK;
        }
    }
    return rc;
}

/* What must not even be sent. The rest is for the table's own checks to refuse. */
static bool is_sendable(const struct ledger_image *image, struct err *why)
{
    if (image->likeness_count > LEDGER_LIKENESS_MAX) {
        err_set(why, ERR_INVALID, "%zu perceptual hashes of one picture, %d fit",
                image->likeness_count, LEDGER_LIKENESS_MAX);
        return false;
    }
    if (image->len > 0 && image->len <= LEDGER_FILE_MAX)
        return true;
    err_set(why, ERR_INVALID, "a picture of %zu bytes cannot be stored, 1 to %d can", image->len,
            LEDGER_FILE_MAX);
    return false;
}

enum err_code ledger_store(struct ledger *self, const struct ledger_image *images, size_t count,
                           struct ledger_stored *stored, struct err *e)
{
    struct item items[LEDGER_BATCH_MAX];
    size_t item_count = 0;
    enum err_code rc = ERR_OK;

    if (count > LEDGER_BATCH_MAX)
        return err_set(e, ERR_BUG, "%zu images in one batch, %d fit", count, LEDGER_BATCH_MAX);
    memset(stored, 0, count * sizeof *stored);
    for (size_t i = 0; i < count; i++) {
        struct err why;
        if (is_sendable(&images[i], &why))
            items[item_count++] = (struct item){ .key = recipe_key(&images[i].recipe),
                                                 .subject = recipe_subject(&images[i].recipe),
                                                 .image = &images[i], .stored = &stored[i] };
        else
            refuse(&stored[i], &why);
    }
    if (item_count == 0)
        return ERR_OK;
    qsort(items, item_count, sizeof items[0], by_key);
    rc = store_together(self, items, item_count, e);
    if (rc == ERR_INVALID)
        rc = store_alone(self, items, item_count, e);
    if (!rc && shelf_is_written(self->shelf))
        shelf_settle(self->shelf);
    for (size_t i = 0; rc && i < count; i++) {
        free(stored[i].data);
        stored[i] = (struct ledger_stored){ 0 };
    }
    return rc;
}
