#include "sql/ledger_check.h"

#include "base/mark.h"
#include "sql/ledger_self.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK "check the ledger"

/* A page is cut before anything is filtered or joined, so that each costs the same. The length of a
 * file stands in its TOAST pointer: it is not read for that. */
static const struct statement CHECK_PICTURES = {
    "check_pictures", CHECK,
    "SELECT p.key, m.digest, p.seed, p.psi, o.text, r.id IS NOT NULL, p.subject, p.bytes, p.kept,"
    " p.segment IS NOT NULL, w.subject IS NOT NULL,"
    " (SELECT octet_length(b.data) FROM blobs b WHERE b.key = p.key),"
    " $3::bytea IS NULL OR m.digest IS NOT DISTINCT FROM $3::bytea"
    " FROM (SELECT * FROM images WHERE key > $1::bytea ORDER BY key LIMIT $2::bigint) p"
    " LEFT JOIN models m ON m.id = p.model_id"
    " LEFT JOIN options o ON o.id = p.options_id"
    " LEFT JOIN runs r ON r.id = p.run_id"
    " LEFT JOIN withdrawn w ON w.subject = p.subject"
    " ORDER BY p.key"
};
enum check_column { CHECK_KEY, CHECK_MODEL, CHECK_SEED, CHECK_PSI, CHECK_OPTIONS, CHECK_RUN,
                    CHECK_SUBJECT, CHECK_BYTES, CHECK_KEPT, CHECK_SEGMENT, CHECK_WITHDRAWN,
                    CHECK_LENGTH, CHECK_WANTED };
static const struct statement CHECK_FILES = {
    "check_files", CHECK,
    "SELECT p.key, i.key IS NULL"
    " FROM (SELECT key FROM blobs WHERE key > $1::bytea ORDER BY key LIMIT $2::bigint) p"
    " LEFT JOIN images i ON i.key = p.key"
    " ORDER BY p.key"
};

static const char *const WORDS[LEDGER_FAULT_COUNT] = {
    [LEDGER_MODEL_MISSING] = "model_missing", [LEDGER_OPTIONS_MISSING] = "options_missing",
    [LEDGER_RUN_MISSING] = "run_missing", [LEDGER_RECIPE_KEY] = "recipe_key",
    [LEDGER_SUBJECT] = "subject", [LEDGER_BYTES_MISSING] = "bytes_missing",
    [LEDGER_BYTES_UNKNOWN] = "bytes_unknown", [LEDGER_BYTES_LENGTH] = "bytes_length",
    [LEDGER_BYTES_HASH] = "bytes_hash", [LEDGER_CORE_HASH] = "core_hash",
    [LEDGER_WITHDRAWN_BYTES] = "withdrawn_bytes", [LEDGER_ORPHAN_BLOB] = "orphan_blob",
    [LEDGER_UNREADABLE] = "unreadable",
};

/* Files of the page that are to be read. */
struct reading {
    struct digest key[LEDGER_CHECK_PAGE];
    int64_t bytes[LEDGER_CHECK_PAGE];
    bool in_blobs[LEDGER_CHECK_PAGE];   /* seen there by the page's snapshot */
    size_t count;
};

static bool is_in_blobs(const struct reading *self, const struct digest *key)
{
    for (size_t i = 0; i < self->count; i++)
        if (digest_equal(&self->key[i], key))
            return self->in_blobs[i];
    return false;
}

const char *ledger_fault_word(enum ledger_fault fault)
{
    return fault < LEDGER_FAULT_COUNT ? WORDS[fault] : "unknown";
}

static void __attribute__((format(printf, 4, 5)))
find(struct ledger_check *check, enum ledger_fault fault, const struct digest *key,
     const char *fmt, ...)
{
    struct ledger_finding finding = { .fault = fault, .key = *key };
    va_list args;

    va_start(args, fmt);
    vsnprintf(finding.words, sizeof finding.words, fmt, args);
    va_end(args);
    check->findings++;
    check->found(check->arg, &finding);
}

/* ---- one row ---- */

/* False: its recipe is not whole, and nothing more can be said of it. */
static bool check_recipe(struct ledger_check *check, const PGresult *page, int line,
                         const struct digest *key)
{
    struct digest model = result_digest(page, line, CHECK_MODEL);
    struct digest subject = result_digest(page, line, CHECK_SUBJECT), made;
    struct recipe recipe;

    if (result_is_null(page, line, CHECK_MODEL))
        find(check, LEDGER_MODEL_MISSING, key, "its model is not in the table models");
    if (result_is_null(page, line, CHECK_OPTIONS))
        find(check, LEDGER_OPTIONS_MISSING, key, "its options are not in the table options");
    if (!result_bool(page, line, CHECK_RUN))
        find(check, LEDGER_RUN_MISSING, key, "its run is not in the table runs");
    if (result_is_null(page, line, CHECK_MODEL) || result_is_null(page, line, CHECK_OPTIONS))
        return false;
    if (!ledger_recipe(&model, result_int8(page, line, CHECK_SEED),
                       result_int4(page, line, CHECK_PSI), PQgetvalue(page, line, CHECK_OPTIONS),
                       &recipe)) {
        find(check, LEDGER_RECIPE_KEY, key, "its columns make no recipe");
        return false;
    }
    made = recipe_subject(&recipe);
    if (!digest_equal(&made, &subject))
        find(check, LEDGER_SUBJECT, key, "its subject is not its recipe's");
    made = recipe_key(&recipe);
    if (!digest_equal(&made, key)) {
        find(check, LEDGER_RECIPE_KEY, key, "its recipe hashes to %s", digest_hex(&made).text);
        return false;
    }
    return result_bool(page, line, CHECK_RUN);
}

/* True: the row says that there is a file, and there is one. */
static bool check_presence(struct ledger_check *check, const PGresult *page, int line,
                           const struct digest *key)
{
    bool kept = result_bool(page, line, CHECK_KEPT);
    bool in_segment = result_bool(page, line, CHECK_SEGMENT);
    bool in_blobs = !result_is_null(page, line, CHECK_LENGTH);
    int32_t bytes = result_int4(page, line, CHECK_BYTES);

    if (result_bool(page, line, CHECK_WITHDRAWN)) {
        check->withdrawn++;
        if (kept || in_blobs || in_segment)
            find(check, LEDGER_WITHDRAWN_BYTES, key, "it is withdrawn, and its file is still "
                 "there: withdraw it again");
        return false;
    }
    if (!kept) {
        check->not_kept++;
        if (in_blobs || in_segment)
            find(check, LEDGER_BYTES_UNKNOWN, key, "its row says that its file is not kept, and it "
                 "is %s", in_segment ? "still to be erased from its segment: ledger prune does" :
                 "there");
        return false;
    }
    if (!in_blobs && !in_segment) {
        find(check, LEDGER_BYTES_MISSING, key, "its file of %d bytes is not there: ledger refill "
             "renders it again", (int)bytes);
        return false;
    }
    if (in_blobs && result_int4(page, line, CHECK_LENGTH) != bytes) {
        find(check, LEDGER_BYTES_LENGTH, key, "its file has %d bytes and not %d",
             (int)result_int4(page, line, CHECK_LENGTH), (int)bytes);
        return false;
    }
    return true;
}

static bool is_sampled(const struct ledger_check *check, const struct digest *key)
{
    uint64_t head;

    memcpy(&head, key->bytes, sizeof head);
    return check->sample <= 1 || be64toh(head) % (uint64_t)check->sample == 0;
}

/* ---- files ---- */

static void check_file(struct ledger_check *check, const struct ledger_row *row)
{
    struct digest sum = digest_of(row->data, row->len);

    check->files++;
    if (!digest_equal(&sum, &row->file_sha)) {
        find(check, LEDGER_BYTES_HASH, &row->key, "its file hashes to %s", digest_hex(&sum).text);
        return;
    }
    if (!mark_core_sha256(row->data, row->len, &sum))
        find(check, LEDGER_CORE_HASH, &row->key, "its file is no whole JPEG");
    else if (!digest_equal(&sum, &row->core_sha))
        find(check, LEDGER_CORE_HASH, &row->key, "its picture without metadata hashes to %s",
             digest_hex(&sum).text);
    else if (check->was_read)
        check->was_read(check->arg, row);
}

/* A file that was in blobs and is gone by now was pruned or withdrawn since its page was read. One
 * in a segment was never seen: it is missing if its row still says that it is there. */
static enum err_code check_absence(struct ledger *self, struct ledger_check *check,
                                   const struct digest *key, struct err *e)
{
    struct ledger_rows rows;
    enum err_code rc = ledger_find_keys(self, key, 1, false, &rows, e);

    if (!rc && rows.count == 1 && rows.row[0].kept && !rows.row[0].withdrawn)
        find(check, LEDGER_BYTES_MISSING, key, "its file of %lld bytes is not in its segment, "
             "or not whole there", (long long)rows.row[0].bytes);
    ledger_rows_release(&rows);
    return rc;
}

/* By the way that everybody reads files. */
static enum err_code read_files(struct ledger *self, struct ledger_check *check,
                                const struct reading *reading, struct err *e)
{
    enum err_code rc = ERR_OK;

    for (size_t at = 0; !rc && at < reading->count; ) {
        struct ledger_rows rows;
        int64_t bytes = 0;
        size_t count = 0;

        do
            bytes += reading->bytes[at + count++];
        while (at + count < reading->count && count < LEDGER_BATCH_MAX &&
               bytes + reading->bytes[at + count] <= LEDGER_CHECK_READ_BYTES);
        rc = ledger_find_keys(self, &reading->key[at], count, true, &rows, e);
        for (size_t i = 0; !rc && i < rows.count; i++)
            if (rows.row[i].data)
                check_file(check, &rows.row[i]);
            else if (!is_in_blobs(reading, &rows.row[i].key))
                rc = check_absence(self, check, &rows.row[i].key, e);
        ledger_rows_release(&rows);
        at += count;
    }
    return rc;
}

/* ---- the walks ---- */

static enum err_code ask_page(struct ledger *self, const struct statement *statement,
                              const struct ledger_check *check, PGresult **page, struct err *e)
{
    struct params p = { 0 };

    params_bytes(&p, check->after.bytes, check->has_after ? DIGEST_LEN : 0);
    params_int8(&p, LEDGER_CHECK_PAGE);
    if (statement == &CHECK_PICTURES && check->one_model)
        params_digest(&p, &check->model);
    else if (statement == &CHECK_PICTURES)
        params_null(&p);
    return session_call(self->session, statement, &p, page, e);
}

/* Where the next page begins; a short page is the last. */
static void move_on(struct ledger_check *check, const PGresult *page)
{
    int count = PQntuples(page);

    check->done = count < LEDGER_CHECK_PAGE;
    check->has_after = !check->done;
    if (count > 0)
        check->after = result_digest(page, count - 1, 0);
}

static void check_row(struct ledger_check *check, const PGresult *page, int line,
                      struct reading *reading)
{
    struct digest key = result_digest(page, line, CHECK_KEY);
    bool is_whole, is_there;

    check->pictures++;
    is_whole = check_recipe(check, page, line, &key);
    is_there = check_presence(check, page, line, &key);
    if (!is_whole || !is_there || !is_sampled(check, &key))
        return;
    reading->key[reading->count] = key;
    reading->in_blobs[reading->count] = !result_is_null(page, line, CHECK_LENGTH);
    reading->bytes[reading->count++] = result_int4(page, line, CHECK_BYTES);
}

enum err_code ledger_check_pictures(struct ledger *self, struct ledger_check *check, struct err *e)
{
    struct reading *reading = calloc(1, sizeof *reading);
    PGresult *page = NULL;
    enum err_code rc;

    if (!reading)
        return err_set(e, ERR_NOMEM, "no memory for a page of the ledger");
    rc = ask_page(self, &CHECK_PICTURES, check, &page, e);
    for (int line = 0; !rc && line < PQntuples(page); line++)
        if (result_bool(page, line, CHECK_WANTED))
            check_row(check, page, line, reading);
    if (!rc)
        rc = read_files(self, check, reading, e);
    if (!rc)
        move_on(check, page);
    PQclear(page);
    free(reading);
    return rc;
}

enum err_code ledger_check_files(struct ledger *self, struct ledger_check *check, struct err *e)
{
    PGresult *page = NULL;
    enum err_code rc = ask_page(self, &CHECK_FILES, check, &page, e);

    for (int line = 0; !rc && line < PQntuples(page); line++) {
        struct digest key = result_digest(page, line, 0);

        if (result_bool(page, line, 1))
            find(check, LEDGER_ORPHAN_BLOB, &key, "a file that no row of images names");
    }
    if (!rc)
        move_on(check, page);
    PQclear(page);
    return rc;
}
