/* err -- result of what can fail; e says why. The codes are on the wire too (by their words):
 * append, never renumber and never reword. PROTOCOL.md prints the table below; a test holds the
 * two together. */
#ifndef PROTO_ERR_H
#define PROTO_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum err_code {
    ERR_OK = 0,
    ERR_INVALID = 1,       /* a message, field, file or setting is malformed */
    ERR_RANGE = 2,         /* well-formed, but outside its limits */
    ERR_NOMEM = 3,
    ERR_DEVICE = 4,        /* the engine failed: device lost, NaN, overflow */
    ERR_TYPE = 5,          /* unknown message type */
    ERR_VERSION = 6,       /* protocol version not spoken here */
    ERR_USE_DEALER = 7,    /* several answers were asked for over a REQ socket */
    ERR_UNKNOWN_MODEL = 8,
    ERR_CLASS_REQUIRED = 9, /* conditional model, no class given */
    ERR_UNSUPPORTED = 10,  /* the model has no such option */
    ERR_NOT_FOUND = 11,    /* nothing stored under that name */
    ERR_CLASS_CONFLICT = 12, /* stored by another numerics class than the one required */
    ERR_WRONG_CLASS = 13,  /* the winner's bytes are not kept and this worker is of another class */
    ERR_NOT_REPRODUCIBLE = 14, /* the winner's bytes are not kept and the new render differs */
    ERR_WITHDRAWN = 15,
    ERR_OVERLOADED = 16,
    ERR_DEADLINE = 17,     /* would be or was too late */
    ERR_NO_WORKER = 18,    /* no live worker has the model */
    ERR_LEDGER_DOWN = 19,  /* the database cannot be reached */
    ERR_RETRY = 20,        /* a program is going away; ask again */
    ERR_POISON = 21,       /* the render failed on every attempt */
    ERR_CANCELLED = 22,
    ERR_TOO_LARGE = 23,
    ERR_UNREACHABLE = 24,  /* no broker answered */
    ERR_DENIED = 25,
    ERR_FILE = 26,         /* bad or unwritable file */
    ERR_BUG = 27,
    ERR_CONFLICT = 28,     /* the name or id is taken by something else */
    ERR_COUNT
};

struct err {
    enum err_code code;
    char msg[200];         /* words for a person; "" when code is ERR_OK */
    int64_t retry_after_ms; /* 0: nobody knows; err_set sets it so */
};

struct err_info {
    const char *word;      /* on the wire: "unknown_model" */
    const char *words;     /* what it means */
    int http_status;
    int exit_code;         /* of the command seedpress: DESIGN's list, see PROTOCOL.md */
    bool retry;            /* true: the same request may succeed later */
};

/* Fills *e (NULL is fine) and returns code, so that a caller can `return err_set(...)`. */
enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Row of the table; a code outside it gives the row of ERR_BUG. Never NULL. */
const struct err_info *err_info(enum err_code code);

/* The code whose word is word[0..len); ERR_COUNT when there is none. */
enum err_code err_from_word(const char *word, size_t len);

#endif
