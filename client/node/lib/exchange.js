/* exchange -- what was asked of the brokers and what came back: requests in flight over one
 * connection, sent again when a broker falls silent, goes away, is restarted or is left for the
 * next one. Every request is idempotent, so asking twice does no harm.
 *
 * It knows neither sockets nor clocks. It is told of connections, frames and the time (any
 * monotonic milliseconds), and says what to send (next), which connection is wanted (connection,
 * endpoint), which requests ended (takeEnded) and when it wants its next turn (wakeMs). The rules
 * are those of client/exchange.c: a request is kept until it is answered; a broker that owes
 * something is pinged; one that is silent, or whose connection breaks, has lost what it was told,
 * so everything unanswered is sent again over a new connection, with the rest of its time. */
import { readAnswer } from "./answer.js";
import { SeedpressError } from "./error.js";
import { decode, encode } from "./message.js";

export const GRACE_MS = 500;         /* a broker ends what is late by itself, and says more of it */
export const REOPEN_MS = 100;        /* between connections: a broker may break every one */
const PINGS_IN_SILENCE = 3;
const AGAIN_MS = 200;                /* after a `retry` that names no time, at the same broker */
/* An endpoint without a connection is left sooner than one that is silent; a handshake is several
 * ways there and back. */
const CONNECT_MS = 2000;
const RETRY_AFTER_MAX_MS = 3600000;

const bug = (words) => new SeedpressError("bug", words);

/* One question, one answer. value or error says how it ended. */
class Request {
    constructor(id, type, record, askedMs, timeoutMs) {
        this.id = id;
        this.type = type;
        this.record = record;
        this.askedMs = askedMs;
        this.deadlineMs = askedMs + timeoutMs;
        this.sent = false;           /* over the present connection */
        this.againMs = 0;            /* to be sent again at the same broker then; 0: no need */
        this.referral = null;        /* the broker's `retry`, while there is time to ask again */
        this.heardBefore = 0;        /* messages heard when it was asked */
        this.value = null;
        this.error = null;
    }
}

export class Exchange {
    constructor({ brokers, silenceMs, unreachableMs, hasKeys }, nowMs) {
        this.brokers = brokers;
        this.silenceMs = silenceMs;
        this.unreachableMs = unreachableMs;
        this.hasKeys = hasKeys;
        this.requests = new Map();   /* that wait, by id */
        this.unsent = new Set();     /* of them */
        this.cancels = [];           /* ids of requests that the broker should forget */
        this.ended = [];
        this.lastId = 0;
        this.heard = 0;              /* messages from any broker */
        this.silentSinceMs = nowMs;  /* nothing was heard since, though we listened */
        this.endpoint = 0;           /* of brokers */
        this.connection = 1;         /* one more whenever another one is wanted */
        this.triedMs = nowMs;        /* the present one is as old */
        this.isConnected = false;
        this.connectedMs = 0;
        this.isLost = false;         /* it broke, or its broker goes away: it is not used */
        this.refusals = 0;           /* endpoints in a row that did not let us in */
        this.againMs = Infinity;     /* the first of the requests' */
        this.pingedMs = nowMs;
        this.workedMs = nowMs;
        this.checkMs = Infinity;     /* no request ends by itself before */
    }

    get isIdle() {
        return this.requests.size === 0;
    }

    /* ---- requests ---- */

    /* record is what message's check made. Nothing is sent before next. */
    ask(type, record, timeoutMs, nowMs) {
        const request = new Request(++this.lastId, type, record, nowMs, timeoutMs);

        if (this.isIdle) {           /* nobody had a reason to speak until now */
            this.silentSinceMs = this.pingedMs = nowMs;
            this.checkMs = Infinity;
        }
        request.heardBefore = this.heard;
        this.requests.set(request.id, request);
        this.unsent.add(request);
        this.checkMs = Math.min(this.checkMs, this.endMs(request));
        return request;
    }

    /* Ends it with `cancelled`, and the broker will be told. False: it does not wait any more. */
    cancel(request) {
        if (!this.requests.has(request.id))
            return false;
        if (request.sent && request.type === "generate")
            this.cancels.push(request.id);
        this.fail(request, new SeedpressError("cancelled", "cancelled"));
        return true;
    }

    /* When a request ends by itself if nothing is heard. */
    endMs(request) {
        const grace = request.type === "generate" ? GRACE_MS : 0;

        return Math.min(request.deadlineMs + grace,
                        Math.max(this.silentSinceMs, request.askedMs) + this.unreachableMs);
    }

    end(request) {
        this.requests.delete(request.id);
        this.unsent.delete(request);
        this.ended.push(request);
    }

    fail(request, error) {
        request.error = error;
        this.end(request);
    }

    /* Those that ended since the last call, in that order. */
    takeEnded() {
        return this.ended.splice(0);
    }

    /* ---- what comes in ---- */

    connected(nowMs) {
        this.isConnected = true;
        this.connectedMs = nowMs;
    }

    /* The connection broke; isRefused: because the broker does not let us in. */
    lost(isRefused) {
        this.isLost = true;
        this.refusals += isRefused;
        if (this.refusals >= this.brokers.length)
            this.denyAll();
    }

    /* frames of one message; what makes no sense is dropped, or ends the request that it names. */
    receive(frames, nowMs) {
        let message;

        this.refusals = 0;
        if (frames.length < 1 || frames.length > 2)
            return;
        try {
            message = decode(frames[0], "broker");
        } catch (e) {
            const request = this.requests.get(e.id);

            if (request)
                this.fail(request, bug("the broker's answer could not be read"));
            return;
        }
        this.heard++;
        this.silentSinceMs = nowMs;
        const request = this.requests.get(message.id);

        if (request)
            this.onMessage(request, message, frames[1] ?? null, nowMs);
    }

    onMessage(request, message, file, nowMs) {
        if (message.type === "error") {
            this.onError(request, message.record, nowMs);
            return;
        }
        try {
            request.value = readAnswer(request, message, file);
            this.end(request);
        } catch (e) {
            if (!(e instanceof SeedpressError))
                throw e;
            this.fail(request, e);
        }
    }

    /* `retry` is the word of a program that goes away. With another endpoint everything unanswered
     * goes there at once; with one it is asked again after a moment, until the broker is back. */
    onError(request, said, nowMs) {
        const error = new SeedpressError(said.code, said.message, {
            retry: said.retry, retryAfterMs: Math.min(said.retry_after_ms, RETRY_AFTER_MAX_MS),
        });
        const againMs = nowMs + (said.retry_after_ms || AGAIN_MS);

        if (error.word === "retry" && this.brokers.length > 1) {
            this.isLost = true;
            if (nowMs < request.deadlineMs) {
                request.referral = error;
                return;
            }
        } else if (error.word === "retry" && againMs < request.deadlineMs) {
            request.referral = error;
            request.againMs ||= againMs;
            this.againMs = Math.min(this.againMs, request.againMs);
            return;
        }
        this.fail(request, error);
    }

    /* ---- what goes out ---- */

    /* The next message's bytes; null: nothing is to be sent now. */
    next(nowMs) {
        if (!this.isConnected || this.isLost)
            return null;
        if (this.cancels.length > 0)
            return encode("cancel", ++this.lastId, { request: this.cancels.shift() });
        for (const request of this.unsent) {
            this.unsent.delete(request);
            request.sent = true;
            return encode(request.type, request.id, this.rest(request, nowMs));
        }
        if (this.isIdle || nowMs < this.pingMs())
            return null;
        this.pingedMs = nowMs;
        return encode("ping", 0, {});
    }

    /* A generate has the time that is left. */
    rest(request, nowMs) {
        if (request.type !== "generate")
            return request.record;
        return { ...request.record, deadline_ms: Math.max(request.deadlineMs - nowMs, 1) };
    }

    pingMs() {
        return Math.max(this.silentSinceMs, this.pingedMs) +
               Math.max(Math.floor(this.silenceMs / PINGS_IN_SILENCE), 1);
    }

    /* Those that were referred and may now ask the same broker again. */
    askAgain(nowMs) {
        if (nowMs < this.againMs)
            return;
        this.againMs = Infinity;
        for (const request of this.requests.values()) {
            if (request.againMs === 0)
                continue;
            if (nowMs < request.againMs) {
                this.againMs = Math.min(this.againMs, request.againMs);
                continue;
            }
            request.againMs = 0;
            request.sent = false;
            this.unsent.add(request);
        }
    }

    /* ---- brokers ---- */

    /* A new connection: with one endpoint to the same, because only that forgets what the old one's
     * queues still hold. */
    changeBroker(nowMs) {
        this.triedMs = nowMs;
        this.endpoint = (this.endpoint + 1) % this.brokers.length;
        this.connection++;
        this.isConnected = this.isLost = false;
        this.cancels.length = 0;     /* a broker drops what a closed connection asked */
        this.againMs = Infinity;
        for (const request of this.requests.values()) {
            request.sent = false;
            request.againMs = 0;
            request.referral = null;
            this.unsent.add(request);
        }
    }

    /* No broker lets us in: nothing is gained by waiting for the deadline. */
    denyAll() {
        this.refusals = 0;
        for (const request of [...this.requests.values()])
            this.fail(request, new SeedpressError("denied", this.hasKeys
                ? "the broker does not admit this key: is it on its keyring, as client, proxy or " +
                  "admin, and is the broker encrypted?"
                : "the broker admits no plain connection: give a key file and its key"));
    }

    /* When the present endpoint has had its time, if nothing is heard. */
    leaveMs() {
        if (this.isConnected)        /* the handshake over a slow line is no silence */
            return Math.max(this.silentSinceMs, this.connectedMs) + this.silenceMs;
        if (this.brokers.length > 1)
            return this.triedMs + Math.min(this.silenceMs, CONNECT_MS);
        return Math.max(this.silentSinceMs, this.triedMs) + this.silenceMs;
    }

    /* ---- turns ---- */

    unreachable(request, nowMs) {
        const seconds = Math.round((nowMs - request.askedMs) / 100) / 10;

        return new SeedpressError("unreachable",
            `no broker answered at ${this.brokers.join(",").slice(0, 100)} within ${seconds} s; ` +
            "is seedpress-broker running?");
    }

    endLate(nowMs) {
        if (nowMs < this.checkMs)
            return;
        this.checkMs = Infinity;
        for (const request of [...this.requests.values()]) {
            if (nowMs < this.endMs(request))
                this.checkMs = Math.min(this.checkMs, this.endMs(request));
            else if (request.referral)
                this.fail(request, request.referral);
            else if (this.heard !== request.heardBefore && nowMs >= request.deadlineMs)
                this.fail(request, new SeedpressError("deadline",
                                                      "no answer came before the deadline"));
            else
                this.fail(request, this.unreachable(request, nowMs));
        }
    }

    /* To be called after anything happened, and when wakeMs comes. */
    turn(nowMs) {
        /* Whoever was away has not listened: what he did not hear is no silence. */
        if (nowMs - this.workedMs > this.silenceMs / 2)
            this.silentSinceMs = nowMs;
        this.workedMs = nowMs;
        if (this.isLost && nowMs >= this.triedMs + REOPEN_MS)
            this.changeBroker(nowMs);
        if (this.isIdle)
            return;
        this.endLate(nowMs);
        if (!this.isIdle && nowMs >= this.leaveMs())
            this.changeBroker(nowMs);
        this.askAgain(nowMs);
    }

    /* When turn is due though nothing comes; Infinity: not at all. */
    wakeMs() {
        if (this.isIdle)
            return Infinity;
        if (this.isLost)
            return this.triedMs + REOPEN_MS;
        return Math.min(this.checkMs, this.againMs, this.leaveMs(), this.pingMs());
    }
}
