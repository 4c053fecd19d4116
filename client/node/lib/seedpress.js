/* seedpress -- the public calls: from a caller's options to messages, through the exchange over one
 * link, and back into promises and iterators. index.d.ts is their contract. */
import { performance } from "node:perf_hooks";
import { readFile } from "node:fs/promises";
import { SeedpressError } from "./error.js";
import { Exchange } from "./exchange.js";
import { coreSha256 } from "./jpeg.js";
import { findBoth } from "./key.js";
import { checkEndpoint, Link } from "./link.js";
import { check } from "./message.js";
import { sha256 } from "./recipe.js";
import * as wish from "./wish.js";

const DEFAULT_BROKER = "tcp://127.0.0.1:7701";
const ENDPOINTS_MAX = 16, ENDPOINT_MAX = 255;
const SILENCE_MS = 3000, UNREACHABLE_MS = 30000, ANSWER_MS = 10000;
const WINDOW = 64, WINDOW_MAX = 1000;
const TIMER_MAX_MS = 2 ** 31 - 1;
const OPTIONS = ["brokers", "allowPlain", "silenceMs", "unreachableMs", "answerMs", "keyFile",
                 "brokerKey"];

const nowMs = () => Math.floor(performance.now());

function cancelled(signal) {
    return new SeedpressError("cancelled", "cancelled", { cause: signal?.reason });
}

/* Before anything is asked for it. */
function checkSignal(signal) {
    if (signal && typeof signal.addEventListener !== "function")
        wish.refuse("invalid", "signal needs to be an AbortSignal", "signal");
    if (signal?.aborted)
        throw cancelled(signal);
}

/* ---- options ---- */

function endpointsOf(brokers, env) {
    const given = brokers ?? (env.SEEDPRESS_BROKER || DEFAULT_BROKER);
    const list = Array.isArray(given) ? given : String(given).split(",");

    if (list.length < 1 || list.length > ENDPOINTS_MAX ||
        list.some((e) => typeof e !== "string" || e.length < 1 || e.length > ENDPOINT_MAX))
        wish.refuse("invalid", `brokers needs 1 to ${ENDPOINTS_MAX} endpoints such as ` +
                               `${DEFAULT_BROKER}, ',' between`, "brokers");
    return list;
}

function durationOf(options, name, usual) {
    const value = options[name] ?? usual;

    if (!Number.isInteger(value) || value < 1 || value > TIMER_MAX_MS)
        wish.refuse("range", `${name} needs to be whole milliseconds from 1 on`, name);
    return value;
}

function readOptions(options, env) {
    const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));

    if (unknown !== undefined)
        wish.refuse("invalid", `there is no option "${unknown}"`, unknown);
    return {
        brokers: endpointsOf(options.brokers, env),
        allowPlain: options.allowPlain === true,
        keys: findBoth(options.keyFile ?? env.SEEDPRESS_KEY_FILE,
                       options.brokerKey ?? env.SEEDPRESS_BROKER_KEY),
        silenceMs: durationOf(options, "silenceMs", SILENCE_MS),
        unreachableMs: durationOf(options, "unreachableMs", UNREACHABLE_MS),
        answerMs: durationOf(options, "answerMs", ANSWER_MS),
    };
}

/* ---- the client ---- */

export class Seedpress {
    #options;
    #exchange;
    #link = null;
    #linked = 0;                     /* the connection that #link is */
    #timer = null;
    #waiting = new Map();            /* what to call when a request has ended */
    #isClosed = false;

    constructor(options = {}) {
        this.#options = readOptions(options, process.env);
        for (const endpoint of this.#options.brokers)
            checkEndpoint(endpoint, this.#options);
        for (const endpoint of this.#options.brokers.slice(1))   /* a bad one shows now */
            new Link(endpoint, this.#options.keys).close();
        this.#exchange = new Exchange(
            { ...this.#options, hasKeys: this.#options.keys !== null }, nowMs());
        this.#linked = this.#exchange.connection;
        this.#link = this.#newLink();
    }

    /* ---- turns ---- */

    #newLink() {
        const exchange = this.#exchange;

        return new Link(this.#options.brokers[exchange.endpoint], this.#options.keys,
                        () => exchange.next(nowMs()), {
            connected: () => this.#work(() => exchange.connected(nowMs())),
            lost: (isRefused) => this.#work(() => exchange.lost(isRefused)),
            message: (frames) => this.#work(() => exchange.receive(frames, nowMs())),
        });
    }

    /* If there is no socket to be had, the old one stays until the next try. */
    #reopen() {
        const old = this.#link;

        this.#linked = this.#exchange.connection;
        try {
            this.#link = this.#newLink();
        } catch {
            this.#exchange.lost(false);
            return;
        }
        old.close();
    }

    /* One turn, after what happened. */
    #work(happened) {
        const exchange = this.#exchange;

        happened?.();
        exchange.turn(nowMs());
        if (exchange.connection !== this.#linked)
            this.#reopen();
        this.#link.send();
        this.#finish();
        this.#sleep();
    }

    #finish() {
        for (const request of this.#exchange.takeEnded()) {
            const done = this.#waiting.get(request);

            this.#waiting.delete(request);
            done(request);
        }
    }

    #sleep() {
        const wakeMs = this.#exchange.wakeMs();

        clearTimeout(this.#timer);
        this.#timer = null;
        if (wakeMs !== Infinity && !this.#isClosed)
            this.#timer = setTimeout(() => this.#work(),
                                     Math.min(Math.max(wakeMs - nowMs(), 1), TIMER_MAX_MS));
    }

    /* ---- asking ---- */

    /* done(request) comes once, later than this call. The request is returned, to be cancelled. */
    #ask(type, record, timeoutMs, done) {
        if (this.#isClosed)
            wish.refuse("invalid", "this client was closed");
        const request = this.#exchange.ask(type, record, timeoutMs, nowMs());

        this.#waiting.set(request, done);
        this.#work();
        return request;
    }

    #cancel(request) {
        this.#work(() => this.#exchange.cancel(request));
    }

    async #talk(type, values, timeoutMs = this.#options.answerMs) {
        const record = check(type, values);

        return new Promise((resolve, reject) => {
            this.#ask(type, record, timeoutMs,
                      ({ error, value }) => (error ? reject(error) : resolve(value)));
        });
    }

    /* ---- pictures ---- */

    async generate({ signal, ...options }) {
        const record = check("generate", wish.generate(options));

        checkSignal(signal);
        return new Promise((resolve, reject) => {
            const abort = () => this.#cancel(request);
            const request = this.#ask("generate", record, record.deadline_ms, (ended) => {
                signal?.removeEventListener("abort", abort);
                if (!ended.error)
                    resolve(ended.value);
                else
                    reject(signal?.aborted ? cancelled(signal) : ended.error);
            });

            signal?.addEventListener("abort", abort, { once: true });
        });
    }

    async *generateMany({ seeds, first, count, window = WINDOW, signal, ...options }) {
        if (!Number.isInteger(window) || window < 1 || window > WINDOW_MAX)
            wish.refuse("range", `window is out of range: it goes from 1 to ${WINDOW_MAX}`,
                        "window");
        const left = wish.seedsOf({ seeds, first, count });
        const asked = new Set(), ended = [];
        let wake = () => {}, isExhausted = false;
        const abort = () => wake();
        const done = (request) => {
            asked.delete(request);
            ended.push(request);
            wake();
        };
        const fill = () => {
            while (!isExhausted && asked.size + ended.length < window) {
                checkSignal(signal);
                const next = left.next();

                isExhausted = next.done === true;
                if (!isExhausted) {
                    const record = check("generate",
                                         wish.generate({ ...options, seed: next.value }));

                    asked.add(this.#ask("generate", record, record.deadline_ms, done));
                }
            }
        };

        checkSignal(signal);
        signal?.addEventListener("abort", abort, { once: true });
        try {
            for (fill(); asked.size + ended.length > 0; fill()) {
                if (ended.length === 0 && !signal?.aborted)
                    await new Promise((resolve) => { wake = resolve; });
                if (signal?.aborted)
                    throw cancelled(signal);
                const { record, value, error } = ended.shift();

                yield { seed: record.seed, image: value, error };
            }
        } finally {
            signal?.removeEventListener("abort", abort);
            for (const request of [...asked])
                this.#cancel(request);
            left.return?.();         /* the caller's, which may throw */
        }
    }

    /* ---- what is known of pictures ---- */

    async lookup(query) {
        return this.#talk("lookup", wish.lookup(query));
    }

    async provenance({ file, ...query }) {
        if (file === undefined)
            return { grade: null, rows: await this.lookup(query) };
        const { limit, ...unknown } = query;

        if (Object.keys(unknown).length > 0)
            wish.refuse("invalid", "file goes with limit only", "file");
        const bytes = await bytesOf(file);
        const exact = await this.lookup({ sha256: sha256(bytes), limit });

        if (exact.length > 0)
            return { grade: "exact", rows: exact };
        const core = coreSha256(bytes);
        const rows = core ? await this.lookup({ coreSha256: core, limit }) : [];

        return { grade: rows.length > 0 ? "exact (metadata differs)" : "no record", rows };
    }

    async fetch(which) {
        return this.#talk("fetch", wish.plain("fetch", which));
    }

    async withdraw(which) {
        return this.#talk("withdraw", wish.plain("withdraw", which));
    }

    /* ---- bulk jobs ---- */

    async bulkSubmit(submission) {
        return this.#talk("bulk_submit", wish.submission(submission));
    }

    async bulkList(which = {}) {
        return this.#talk("bulk_list", wish.plain("bulk_list", which));
    }

    async bulkShow(job, { failuresAfter } = {}) {
        return this.#talk("bulk_show", { job, after: failuresAfter });
    }

    async bulkControl(job, action) {
        return this.#talk("bulk_control", { job, action });
    }

    async bulkExported(job, first, count) {
        return this.#talk("bulk_exported", { job, first, count });
    }

    /* ---- models and brokers ---- */

    async models() {
        return this.#talk("models", {});
    }

    async modelUse(name, digest) {
        return this.#talk("model_use", { name, digest });
    }

    async status() {
        return this.#talk("status", {});
    }

    async ping(timeoutMs = this.#options.answerMs) {
        return this.#talk("ping", {}, durationOf({ timeoutMs }, "timeoutMs", 0));
    }

    /* ---- the end ---- */

    async close() {
        if (this.#isClosed)
            return;
        this.#isClosed = true;
        this.#link.close();
        for (const request of [...this.#waiting.keys()])
            this.#exchange.cancel(request);
        this.#finish();
        clearTimeout(this.#timer);
    }

    async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
        return this.close();
    }
}

/* A file's bytes, or those at its path. */
async function bytesOf(file) {
    if (file instanceof Uint8Array)
        return file;
    try {
        return await readFile(file);
    } catch (e) {
        throw new SeedpressError("file", `could not read "${file}": ${e.message}`, { cause: e });
    }
}
