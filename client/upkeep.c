#include "client/upkeep.h"

#include "base/clock.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 4096 };

int upkeep_open(const struct command_context *ctx, const char *conninfo, const char *segments,
                struct ledger **out)
{
    struct ledger_segments options = { .folder = segments };
    struct err e;

    *out = NULL;
    if (!conninfo)
        conninfo = getenv("SEEDPRESS_LEDGER");
    if (!conninfo || !*conninfo)
        return command_usage(ctx, "ledger", "which database? Say --ledger CONNINFO, or set "
                                            "SEEDPRESS_LEDGER");
    if (!ledger_open(conninfo, "seedpress ledger", out, &e) &&
        (!segments || !ledger_use_segments(*out, &options, &e)))
        return EXIT_OK;
    ledger_close(out);
    return command_fail(ctx, &e);
}

/* False: nobody has that name. */
static bool find_name(const struct ledger_name *names, size_t count, const char *name,
                      struct digest *out)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].digest;
            return true;
        }
    return false;
}

static enum err_code find_prefix(struct ledger *ledger, const char *text, const char *prefix,
                                 struct digest *out, struct err *e)
{
    struct digest found[2];
    size_t count;
    enum err_code rc = ledger_models_with_prefix(ledger, prefix, found, 2, &count, e);

    if (rc && rc != ERR_INVALID)    /* no digits: a name, and nobody has it */
        return rc;
    if (count > 1)
        return err_set(e, ERR_CONFLICT, "several models begin with \"%.40s\": say more digits",
                       prefix);
    if (count == 0)
        return err_set(e, ERR_UNKNOWN_MODEL, "the ledger has no model \"%.80s\"; seedpress model "
                       "list shows those that brokers know", text);
    *out = found[0];
    return ERR_OK;
}

enum err_code upkeep_model(struct ledger *ledger, const char *text, struct digest *out,
                           struct err *e)
{
    struct ledger_name *names = calloc(NAMES_MAX, sizeof *names);
    const char *digits = strchr(text, '@');
    size_t count = 0;
    bool found = false;
    enum err_code rc;

    if (!names)
        return err_set(e, ERR_NOMEM, "no memory for the names of models");
    rc = ledger_names(ledger, names, NAMES_MAX, &count, e);
    if (!rc)
        found = !digits && find_name(names, count, text, out);
    free(names);
    return rc || found ? rc : find_prefix(ledger, text, digits ? digits + 1 : text, out, e);
}

enum err_code upkeep_read_key(const char *option, const char *text, struct digest *out,
                              struct err *e)
{
    if (strlen(text) == DIGEST_HEX_LEN && digest_parse(text, DIGEST_HEX_LEN, out))
        return ERR_OK;
    return err_set(e, ERR_INVALID, "%s needs 64 hex digits, not \"%.70s\"", option, text);
}

/* Of all keys, how many are below. */
static double share_below(const struct digest *key)
{
    uint64_t head;

    memcpy(&head, key->bytes, sizeof head);
    return (double)be64toh(head) / 18446744073709551616.0;
}

void upkeep_show(struct progress *progress, const struct digest *first, const struct digest *at,
                 int64_t done)
{
    double share = share_below(at) - share_below(first), rest = 1 - share_below(at);

    if (share <= 0 || done <= 0)
        return;
    progress->total = (uint64_t)((double)done * (share + rest) / share) + 1;
    progress_show(progress, (uint64_t)done, clock_ms());
}
