#include "proto/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Exit codes: 0 ok; 1 the answer is no; 2 usage; 4 refused now, try again; 5 cannot reach;
 * 6 not allowed; 7 bad or unwritable file; 70 bug; 130 interrupted. (3, partly done, is the
 * command's own and belongs to no single error.) */
static const struct err_info TABLE[ERR_COUNT] = {
    [ERR_OK] = { "ok", "done", 200, 0, false },
    [ERR_INVALID] = { "invalid", "a message, field, file or setting is malformed", 400, 2, false },
    [ERR_RANGE] = { "range", "a value is outside its limits", 400, 2, false },
    [ERR_NOMEM] = { "no_memory", "out of memory", 503, 70, true },
    [ERR_DEVICE] = { "device", "the engine failed on this picture", 500, 70, true },
    [ERR_TYPE] = { "unknown_type", "no such message type", 400, 2, false },
    [ERR_VERSION] = { "version", "protocol version not spoken here", 400, 2, false },
    [ERR_USE_DEALER] = { "use_dealer", "several answers need a DEALER socket", 400, 2, false },
    [ERR_UNKNOWN_MODEL] = { "unknown_model", "no such model", 404, 1, false },
    [ERR_CLASS_REQUIRED] = { "class_required", "a conditional model needs a class", 400, 2, false },
    [ERR_UNSUPPORTED] = { "unsupported", "the model or program has no such option", 400, 2, false },
    [ERR_NOT_FOUND] = { "not_found", "nothing is stored under that name", 404, 1, false },
    [ERR_CLASS_CONFLICT] = { "class_conflict", "stored by another numerics class than required",
                             409, 1, false },
    [ERR_WRONG_CLASS] = { "wrong_class", "the kept picture is of another numerics class, its bytes "
                                         "are gone", 409, 1, false },
    [ERR_NOT_REPRODUCIBLE] = { "not_reproducible", "a new render differs from the recorded one",
                               500, 1, false },
    [ERR_WITHDRAWN] = { "withdrawn", "this picture has been withdrawn", 410, 1, false },
    [ERR_OVERLOADED] = { "overloaded", "a queue is full", 503, 4, true },
    [ERR_DEADLINE] = { "deadline", "the answer would be or was too late", 504, 4, true },
    [ERR_NO_WORKER] = { "no_worker", "no live worker has the model", 503, 4, true },
    [ERR_LEDGER_DOWN] = { "ledger_down", "the database cannot be reached", 503, 4, true },
    [ERR_RETRY] = { "retry", "a program is going away; ask again", 503, 4, true },
    [ERR_POISON] = { "poison", "the render failed on every attempt", 500, 1, false },
    [ERR_CANCELLED] = { "cancelled", "the request was cancelled", 499, 130, false },
    [ERR_TOO_LARGE] = { "too_large", "the message is larger than allowed", 413, 2, false },
    [ERR_UNREACHABLE] = { "unreachable", "no broker answered", 502, 5, true },
    [ERR_DENIED] = { "denied", "not allowed", 403, 6, false },
    [ERR_FILE] = { "file", "a file is bad or cannot be written", 422, 7, false },
    [ERR_BUG] = { "bug", "seedpress has a bug; please report it", 500, 70, false },
    [ERR_CONFLICT] = { "conflict", "the name or id is taken", 409, 1, false },
};

enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list args;

    if (!e)
        return code;
    e->code = code;
    e->retry_after_ms = 0;
    va_start(args, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, args);
    va_end(args);
    return code;
}

const struct err_info *err_info(enum err_code code)
{
    unsigned row = (unsigned)code;

    return &TABLE[row < ERR_COUNT ? row : ERR_BUG];
}

enum err_code err_from_word(const char *word, size_t len)
{
    for (int code = 0; code < ERR_COUNT; code++)
        if (strlen(TABLE[code].word) == len && memcmp(TABLE[code].word, word, len) == 0)
            return (enum err_code)code;
    return ERR_COUNT;
}
