#include "sql/ledger.h"

#include "sql/ledger_self.h"
#include "sql/migrations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct statement PING = {
    "ping", "read the ledger", "SELECT 1"
};
static const struct statement END_FAILED = {
    "end_failed", "end a transaction of the ledger", "ROLLBACK"
};
static const struct statement START_RUN = {
    "start_run", "write to the ledger",
    "INSERT INTO runs (worker, version, backend, device, driver, numerics_class, encoder,"
    "                  libraries)"
    " VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text)"
    " RETURNING id"
};
/* The WHERE spares an id: ON CONFLICT alone would take one at every start of a worker. */
static const struct statement PUT_MODEL = {
    "put_model", "write to the ledger",
    "INSERT INTO models (digest, arch, width, height, num_ws, z_dim, w_dim, c_dim, noise_modes,"
    "                    has_transform, licence)"
    " SELECT $1::bytea, $2::text, $3::int, $4::int, $5::int, $6::int, $7::int, $8::int, $9::int,"
    "        $10::boolean, $11::text"
    " WHERE NOT EXISTS (SELECT 1 FROM models WHERE digest = $1::bytea)"
    " ON CONFLICT (digest) DO NOTHING"
};
static const struct statement PROPOSE_NAME = {
    "propose_name", "write to the ledger",
    "INSERT INTO model_names (name, model_id)"
    " SELECT $1::text, id FROM models WHERE digest = $2::bytea"
    " ON CONFLICT (name) DO NOTHING"
};
static const struct statement BIND_NAME = {
    "bind_name", "write to the ledger",
    "INSERT INTO model_names (name, model_id)"
    " SELECT $1::text, id FROM models WHERE digest = $2::bytea"
    " ON CONFLICT (name) DO UPDATE SET model_id = EXCLUDED.model_id, changed = now()"
    " RETURNING name"
};
static const struct statement NAMES = {
    "names", "read the ledger",
    "SELECT n.name, m.digest FROM model_names n JOIN models m ON m.id = n.model_id"
    " ORDER BY n.name COLLATE \"C\" LIMIT $1::bigint"
};
static const struct statement MODELS = {
    "models", "read the ledger",
    "SELECT digest, arch, width, height, num_ws, z_dim, w_dim, c_dim, noise_modes, has_transform,"
    " licence FROM models ORDER BY id DESC LIMIT $1::bigint"
};
static const struct statement WITHDRAWALS = {
    "withdrawals", "read the ledger", "SELECT count(*) FROM withdrawn"
};
static const struct statement MODELS_WITH_PREFIX = {
    "models_with_prefix", "read the ledger",
    "SELECT digest FROM models WHERE starts_with(encode(digest, 'hex'), $1::text)"
    " ORDER BY digest LIMIT $2::bigint"
};

/* One migrator at a time, for as long as its session lasts. Not 7301: writers go on meanwhile. */
static const char LOCK_MIGRATIONS[] = "SELECT pg_advisory_lock(7302)";
static const char BEGIN[] = "BEGIN";
static const char COMMIT[] = "COMMIT";
static const char ROLLBACK[] = "ROLLBACK";
static const char MARK_MIGRATION[] =
    "INSERT INTO schema_version (number, name) VALUES (%d, '%s')";      /* name: [a-z0-9_] */

enum err_code ledger_open(const char *conninfo, const char *application, struct ledger **out,
                          struct err *e)
{
    struct ledger *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self || !(self->known = known_create())) {
        rc = err_set(e, ERR_NOMEM, "no memory for a ledger");
        goto done;
    }
    rc = session_create(conninfo, application, SESSION_LEDGER, &self->session, e);
    if (rc)
        goto done;
    rc = session_ready(self->session, e);
    if (!rc || rc == ERR_LEDGER_DOWN) {
        *out = self;
        self = NULL;
    }
done:
    ledger_close(&self);
    return rc;
}

enum err_code ledger_use_segments(struct ledger *self, const struct ledger_segments *options,
                                  struct err *e)
{
    struct shelf *shelf;
    enum err_code rc = shelf_open(options->folder, options->writer, options->file_bytes, &shelf, e);

    if (rc)
        return rc;
    shelf_close(&self->shelf);
    self->shelf = shelf;
    return ERR_OK;
}

void ledger_close(struct ledger **self)
{
    if (*self) {
        shelf_close(&(*self)->shelf);
        known_destroy(&(*self)->known);
        session_destroy(&(*self)->session);
    }
    free(*self);
    *self = NULL;
}

unsigned ledger_connections(const struct ledger *self)
{
    return session_number(self->session);
}

enum err_code ledger_ping(struct ledger *self, struct err *e)
{
    PGresult *result;
    enum err_code rc = session_call(self->session, &PING, NULL, &result, e);
    PQclear(result);
    return rc;
}

void ledger_rollback(struct ledger *self)
{
    PGresult *result;
    struct err ignored;             /* a connection that is gone has rolled back by itself */

    session_ask(self->session, &END_FAILED, NULL, &result, &ignored);
    PQclear(result);
}

int64_t ledger_rows_changed(PGresult *result)
{
    return strtoll(PQcmdTuples(result), NULL, 10);
}

/* ---- migrations ---- */

static enum err_code apply(struct session *session, const struct migration *migration,
                           struct err *e)
{
    char mark[sizeof MARK_MIGRATION + 128];
    struct err ignored;
    enum err_code rc;

    snprintf(mark, sizeof mark, MARK_MIGRATION, migration->number, migration->name);
    rc = session_script(session, BEGIN, NULL, e);
    if (!rc)
        rc = session_script(session, migration->text, NULL, e);
    if (!rc)
        rc = session_script(session, mark, NULL, e);
    if (!rc)
        rc = session_script(session, COMMIT, NULL, e);
    if (rc)
        session_script(session, ROLLBACK, NULL, &ignored);
    return rc;
}

enum err_code ledger_migrate(const char *conninfo, bool dry_run,
                             void (*report)(void *arg, int number, const char *name), void *arg,
                             struct err *e)
{
    struct session *session = NULL;
    int schema = 0;
    enum err_code rc = session_create(conninfo, "seedpress migrate", SESSION_MIGRATE, &session, e);

    if (!rc)
        rc = session_ready(session, e);
    if (!rc && !dry_run)
        rc = session_script(session, LOCK_MIGRATIONS, NULL, e);
    if (!rc)
        rc = session_schema(session, &schema, e);
    if (!rc && schema > LEDGER_SCHEMA + 1)
        rc = err_set(e, ERR_VERSION, "the ledger's schema is %d and too new, this program knows up "
                     "to %d: install a newer seedpress", schema, LEDGER_SCHEMA + 1);
    for (size_t i = 0; !rc && i < MIGRATION_COUNT; i++) {
        const struct migration *m = &MIGRATIONS[i];
        if (m->number <= schema)
            continue;
        if (!dry_run)
            rc = apply(session, m, e);
        if (!rc && report)
            report(arg, m->number, m->name);
    }
    session_destroy(&session);      /* ends the lock too */
    return rc;
}

/* ---- what is known of programs and models ---- */

enum err_code ledger_start_run(struct ledger *self, const struct ledger_run *run, int64_t *run_id,
                               struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_text(&p, run->worker);
    params_text(&p, run->version);
    params_text(&p, run->backend);
    params_text(&p, run->device);
    params_text(&p, run->driver);
    params_text(&p, run->numerics_class);
    params_text(&p, run->encoder);
    params_text(&p, run->libraries);
    rc = session_call(self->session, &START_RUN, &p, &result, e);
    if (!rc)
        *run_id = result_int8(result, 0, 0);
    PQclear(result);
    return rc;
}

static enum err_code check_name(const char *name, struct err *e)
{
    if (recipe_name_is_valid(name, strlen(name)))
        return ERR_OK;
    return err_set(e, ERR_INVALID, "a model's name has 1 to %d of A-Z a-z 0-9 . _ - and does not "
                   "begin with '.'", RECIPE_NAME_MAX);
}

enum err_code ledger_put_model(struct ledger *self, const struct ledger_model *model, struct err *e)
{
    const struct model_facts *facts = model->facts;
    struct params p = { 0 }, name = { 0 };
    PGresult *result = NULL;
    enum err_code rc = check_name(model->name, e);

    if (rc)
        return rc;
    params_digest(&p, &facts->digest);
    params_text(&p, model->arch);
    params_int4(&p, facts->width);
    params_int4(&p, facts->height);
    params_int4(&p, facts->num_ws);
    params_int4(&p, facts->z_dim);
    params_int4(&p, facts->w_dim);
    params_int4(&p, facts->c_dim);
    params_int4(&p, (int32_t)facts->noise_modes);
    params_bool(&p, facts->has_transform);
    params_text(&p, model->licence);
    rc = session_call(self->session, &PUT_MODEL, &p, &result, e);
    PQclear(result);
    if (rc)
        return rc;
    /* Not one transaction with the above: a model without a name is fine, and a repeat of the whole
     * call does what was left out. */
    params_text(&name, model->name);
    params_digest(&name, &facts->digest);
    rc = session_call(self->session, &PROPOSE_NAME, &name, &result, e);
    PQclear(result);
    return rc;
}

enum err_code ledger_names(struct ledger *self, struct ledger_name *names, size_t max,
                           size_t *count, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    *count = 0;
    params_int8(&p, (int64_t)max);
    rc = session_call(self->session, &NAMES, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++) {
        struct ledger_name *name = &names[(*count)++];
        result_text(result, row, 0, name->name, sizeof name->name);
        name->digest = result_digest(result, row, 1);
    }
    PQclear(result);
    return rc;
}

enum err_code ledger_models(struct ledger *self, struct ledger_model_row *rows, size_t max,
                            size_t *count, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    *count = 0;
    params_int8(&p, (int64_t)max);
    rc = session_call(self->session, &MODELS, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++) {
        struct ledger_model_row *model = &rows[(*count)++];

        model->facts = (struct model_facts){
            .digest = result_digest(result, row, 0),
            .width = result_int4(result, row, 2), .height = result_int4(result, row, 3),
            .num_ws = result_int4(result, row, 4), .z_dim = result_int4(result, row, 5),
            .w_dim = result_int4(result, row, 6), .c_dim = result_int4(result, row, 7),
            .noise_modes = (unsigned)result_int4(result, row, 8),
            .has_transform = result_bool(result, row, 9),
        };
        result_text(result, row, 1, model->arch, sizeof model->arch);
        result_text(result, row, 10, model->licence, sizeof model->licence);
    }
    PQclear(result);
    return rc;
}

enum err_code ledger_withdrawals(struct ledger *self, int64_t *count, struct err *e)
{
    PGresult *result;
    enum err_code rc = session_call(self->session, &WITHDRAWALS, NULL, &result, e);

    *count = !rc && PQntuples(result) > 0 ? result_int8(result, 0, 0) : 0;
    PQclear(result);
    return rc;
}

enum err_code ledger_bind_name(struct ledger *self, const char *name, const struct digest *digest,
                               struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc = check_name(name, e);

    if (rc)
        return rc;
    params_text(&p, name);
    params_digest(&p, digest);
    rc = session_call(self->session, &BIND_NAME, &p, &result, e);
    if (!rc && PQntuples(result) == 0)
        rc = err_set(e, ERR_UNKNOWN_MODEL, "no model with digest %s is registered",
                     digest_hex(digest).text);
    PQclear(result);
    return rc;
}

enum err_code ledger_models_with_prefix(struct ledger *self, const char *prefix,
                                        struct digest *digests, size_t max, size_t *count,
                                        struct err *e)
{
    size_t len = strlen(prefix);
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    *count = 0;
    if (len < 2 || len > DIGEST_HEX_LEN || strspn(prefix, "0123456789abcdef") != len)
        return err_set(e, ERR_INVALID, "a digest's beginning is 2 to %d of 0-9 a-f",
                       DIGEST_HEX_LEN);
    params_text(&p, prefix);
    params_int8(&p, (int64_t)max);
    rc = session_call(self->session, &MODELS_WITH_PREFIX, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++)
        digests[(*count)++] = result_digest(result, row, 0);
    PQclear(result);
    return rc;
}
