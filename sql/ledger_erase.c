/* Bytes leave the segments in three steps: whoever takes them from a row (a withdrawal, a pruning)
 * clears kept and leaves segment and place; the bytes are erased on the disk; then segment and
 * place are cleared too. Whatever is interrupted is found again by the rows that still name a
 * place. */
#include "sql/ledger.h"

#include "sql/array.h"
#include "sql/ledger_self.h"

#include <string.h>

#define ERASE "remove files from the segments"

#define ERASABLE                                                                                   \
    "SELECT key, file_sha, bytes, segment, place FROM images"                                      \
    " WHERE NOT kept AND segment IS NOT NULL"
#define ERASABLE_ORDER " ORDER BY segment, place LIMIT $1::bigint"

static const struct statement FIND_ERASABLE = {
    "find_erasable", ERASE, ERASABLE ERASABLE_ORDER
};
static const struct statement FIND_ERASABLE_OF = {
    "find_erasable_of", ERASE, ERASABLE " AND subject = $2::bytea" ERASABLE_ORDER
};
/* Not a row that has a file again meanwhile. */
static const struct statement CLEAR_PLACES = {
    "clear_places", ERASE,
    "UPDATE images i SET segment = NULL, place = NULL"
    " FROM unnest($1::bytea[], $2::int[], $3::bigint[]) AS e (key, segment, place)"
    " WHERE i.key = e.key AND i.segment = e.segment AND i.place = e.place AND NOT i.kept"
};
enum erasable_column { ERASABLE_KEY, ERASABLE_FILE_SHA, ERASABLE_BYTES, ERASABLE_SEGMENT,
                       ERASABLE_PLACE };

struct erasable {
    struct segments_record records[LEDGER_ERASE_MAX];
    struct segments_place places[LEDGER_ERASE_MAX];
    size_t count;
};

static enum err_code find(struct ledger *self, const struct digest *subject, struct erasable *out,
                          struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    out->count = 0;
    params_int8(&p, LEDGER_ERASE_MAX);
    if (subject)
        params_digest(&p, subject);
    rc = session_ask(self->session, subject ? &FIND_ERASABLE_OF : &FIND_ERASABLE, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++) {
        out->records[out->count] = (struct segments_record){
            result_digest(result, row, ERASABLE_KEY), result_digest(result, row, ERASABLE_FILE_SHA),
            NULL, (size_t)result_int4(result, row, ERASABLE_BYTES)
        };
        out->places[out->count++] = (struct segments_place){
            result_int4(result, row, ERASABLE_SEGMENT), result_int8(result, row, ERASABLE_PLACE)
        };
    }
    PQclear(result);
    return rc;
}

static enum err_code clear(struct ledger *self, const struct erasable *done, size_t count,
                           struct err *e)
{
    struct array keys, segments, places;
    struct params p = { 0 };
    PGresult *result = NULL;
    enum err_code rc;
    bool room = array_init(&keys, ARRAY_BYTEA, count, DIGEST_LEN);

    room = array_init(&segments, ARRAY_INT4, count, sizeof(int32_t)) && room;
    room = array_init(&places, ARRAY_INT8, count, sizeof(int64_t)) && room;
    for (size_t i = 0; i < count; i++) {
        array_add_bytes(&keys, done->records[i].key.bytes, DIGEST_LEN);
        array_add_int4(&segments, done->places[i].segment);
        array_add_int8(&places, done->places[i].place);
    }
    if (!room) {
        rc = err_set(e, ERR_NOMEM, "no memory for %zu places", count);
    } else {
        params_array(&p, &keys);
        params_array(&p, &segments);
        params_array(&p, &places);
        rc = session_ask(self->session, &CLEAR_PLACES, &p, &result, e);
        PQclear(result);
    }
    array_release(&keys);
    array_release(&segments);
    array_release(&places);
    return rc;
}

enum err_code ledger_erase(struct ledger *self, const struct digest *subject, size_t *erased,
                           bool *more, struct err *e)
{
    struct erasable found;
    enum err_code rc;

    *erased = 0;
    *more = false;
    rc = session_ready(self->session, e);
    if (!rc)
        rc = find(self, subject, &found, e);
    if (rc || found.count == 0)
        return rc;
    rc = shelf_erase(self->shelf, found.places, found.records, found.count, erased, e);
    if (*erased > 0) {
        struct err why;
        enum err_code cleared = clear(self, &found, *erased, &why);

        if (!rc && cleared)
            rc = err_set(e, cleared, "%s", why.msg);
    }
    *more = !rc && found.count == LEDGER_ERASE_MAX;
    return rc;
}
