#include "sql/known.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define READ "read the ledger"

/* Places by id: of two ids that meet in one the later stays. */
enum { MODELS = 64, OPTIONS = 128, RUNS = 128 };

struct known {
    unsigned connection;            /* on which all of it was learnt */
    struct known_model model[MODELS];
    struct known_options options[OPTIONS];
    struct known_run run[RUNS];
};

static const struct statement GET_MODEL = {
    "get_model", READ, "SELECT digest FROM models WHERE id = $1::bigint"
};
static const struct statement GET_OPTIONS = {
    "get_options", READ, "SELECT text FROM options WHERE id = $1::bigint"
};
static const struct statement GET_RUN = {
    "get_run", READ,
    "SELECT numerics_class, encoder, worker, version, backend, device, driver, libraries"
    " FROM runs WHERE id = $1::bigint"
};

struct known *known_create(void)
{
    return calloc(1, sizeof(struct known));
}

void known_destroy(struct known **self)
{
    free(*self);
    *self = NULL;
}

/* Another connection may lead to another database: one that was restored, say. */
static void stay_current(struct known *self, const struct session *session)
{
    if (self->connection == session_number(session))
        return;
    *self = (struct known){ .connection = session_number(session) };
}

/* The one row of that id; the caller's to PQclear. */
static enum err_code get(struct session *session, const struct statement *statement,
                         const char *what, int64_t id, PGresult **out, struct err *e)
{
    struct params p = { 0 };
    enum err_code rc;

    params_int8(&p, id);
    rc = session_ask(session, statement, &p, out, e);
    if (rc || PQntuples(*out) == 1)
        return rc;
    PQclear(*out);
    *out = NULL;
    return err_set(e, ERR_BUG, "a row of the ledger names %s %" PRId64 ", which is not there: "
                               "see seedpress ledger check", what, id);
}

enum err_code known_model(struct known *self, struct session *session, int64_t id,
                          const struct known_model **out, struct err *e)
{
    struct known_model *place = &self->model[(uint64_t)id % MODELS];
    PGresult *result = NULL;
    enum err_code rc;

    stay_current(self, session);
    *out = place;
    if (place->id == id)
        return ERR_OK;
    place->id = 0;
    rc = get(session, &GET_MODEL, "model", id, &result, e);
    if (!rc) {
        place->digest = result_digest(result, 0, 0);
        place->id = id;
    }
    PQclear(result);
    return rc;
}

enum err_code known_options(struct known *self, struct session *session, int64_t id,
                            const struct known_options **out, struct err *e)
{
    struct known_options *place = &self->options[(uint64_t)id % OPTIONS];
    PGresult *result = NULL;
    enum err_code rc;

    stay_current(self, session);
    *out = place;
    if (place->id == id)
        return ERR_OK;
    place->id = 0;
    rc = get(session, &GET_OPTIONS, "options", id, &result, e);
    if (!rc) {
        result_text(result, 0, 0, place->text, sizeof place->text);
        place->id = id;
    }
    PQclear(result);
    return rc;
}

enum err_code known_run(struct known *self, struct session *session, int64_t id,
                        const struct known_run **out, struct err *e)
{
    struct known_run *place = &self->run[(uint64_t)id % RUNS];
    PGresult *result = NULL;
    enum err_code rc;

    stay_current(self, session);
    *out = place;
    if (place->id == id)
        return ERR_OK;
    place->id = 0;
    rc = get(session, &GET_RUN, "run", id, &result, e);
    if (!rc) {
        result_text(result, 0, 0, place->numerics_class, sizeof place->numerics_class);
        result_text(result, 0, 1, place->encoder, sizeof place->encoder);
        result_text(result, 0, 2, place->worker, sizeof place->worker);
        result_text(result, 0, 3, place->version, sizeof place->version);
        result_text(result, 0, 4, place->backend, sizeof place->backend);
        result_text(result, 0, 5, place->device, sizeof place->device);
        result_text(result, 0, 6, place->driver, sizeof place->driver);
        result_text(result, 0, 7, place->libraries, sizeof place->libraries);
        place->id = id;
    }
    PQclear(result);
    return rc;
}
