/* error -- why something failed, in the words of the protocol's table ("Errors" in PROTOCOL.md).
 * test/vectors.test.js holds this table and proto/vectors/errors.json together. */

/* number, word, words for a person, HTTP status, exit code, retry. Nothing is ever renumbered. */
const TABLE = [
    [0, "ok", "done", 200, 0, false],
    [1, "invalid", "a message, field, file or setting is malformed", 400, 2, false],
    [2, "range", "a value is outside its limits", 400, 2, false],
    [3, "no_memory", "out of memory", 503, 70, true],
    [4, "device", "the engine failed on this picture", 500, 70, true],
    [5, "unknown_type", "no such message type", 400, 2, false],
    [6, "version", "protocol version not spoken here", 400, 2, false],
    [7, "use_dealer", "several answers need a DEALER socket", 400, 2, false],
    [8, "unknown_model", "no such model", 404, 1, false],
    [9, "class_required", "a conditional model needs a class", 400, 2, false],
    [10, "unsupported", "the model or program has no such option", 400, 2, false],
    [11, "not_found", "nothing is stored under that name", 404, 1, false],
    [12, "class_conflict", "stored by another numerics class than required", 409, 1, false],
    [13, "wrong_class", "the kept picture is of another numerics class, its bytes are gone", 409, 1,
        false],
    [14, "not_reproducible", "a new render differs from the recorded one", 500, 1, false],
    [15, "withdrawn", "this picture has been withdrawn", 410, 1, false],
    [16, "overloaded", "a queue is full", 503, 4, true],
    [17, "deadline", "the answer would be or was too late", 504, 4, true],
    [18, "no_worker", "no live worker has the model", 503, 4, true],
    [19, "ledger_down", "the database cannot be reached", 503, 4, true],
    [20, "retry", "a program is going away; ask again", 503, 4, true],
    [21, "poison", "the render failed on every attempt", 500, 1, false],
    [22, "cancelled", "the request was cancelled", 499, 130, false],
    [23, "too_large", "the message is larger than allowed", 413, 2, false],
    [24, "unreachable", "no broker answered", 502, 5, true],
    [25, "denied", "not allowed", 403, 6, false],
    [26, "file", "a file is bad or cannot be written", 422, 7, false],
    [27, "bug", "seedpress has a bug; please report it", 500, 70, false],
    [28, "conflict", "the name or id is taken", 409, 1, false],
];

export const ERRORS = TABLE.map(([code, word, words, httpStatus, exitCode, retry]) =>
    Object.freeze({ code, word, words, httpStatus, exitCode, retry }));

const BY_WORD = new Map(ERRORS.map((info) => [info.word, info]));
const MESSAGE_MAX = 255;             /* as in the library for C: one line of a log */

export class SeedpressError extends Error {
    /* word is one of the table; another one, of a newer broker, has the number of "bug". */
    constructor(word, message, { retry, retryAfterMs = 0, field = null, cause } = {}) {
        const known = BY_WORD.get(word);
        const info = known && known.code > 0 ? known : BY_WORD.get("bug");

        super((message || info.words).slice(0, MESSAGE_MAX), cause === undefined ? {} : { cause });
        this.name = "SeedpressError";
        this.code = info.code;
        this.word = info === known ? info.word : String(word);
        this.retry = retry ?? info.retry;
        this.retryAfterMs = retryAfterMs;
        this.httpStatus = info.httpStatus;
        this.exitCode = info.exitCode;
        this.field = field;
    }
}
