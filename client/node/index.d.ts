/** Pictures by (model, seed, psi) from a seedpress broker, and where they came from.
 *
 *     import { Seedpress } from "seedpress";
 *
 *     const sp = new Seedpress();
 *     const image = await sp.generate({ model: "avatars64", seed: 42, psi: 0.7 });
 *     await image.save("42.jpg");
 *     await sp.close();
 *
 * Names and meanings are those of the library for C (client/seedpress.h). Every call that can fail
 * throws, or rejects with, a SeedpressError. Whole numbers are exact: the protocol's largest is
 * 2^53. Times are in milliseconds unless a name says otherwise. */

/** 64 lower-case hex digits. */
export type Hex = string;

export type Noise = "none" | "const" | "random" | "stream";
export type Mark = "none" | "xmp" | "c2pa";
export type Priority = "high" | "normal" | "low";
export type Matrix = readonly [number, number, number, number, number, number, number, number,
                               number];

export interface Options {
    /** Endpoints, as a list or with ',' between; the first is used until it fails. Else the
     * environment's SEEDPRESS_BROKER, else tcp://127.0.0.1:7701. */
    brokers?: string | readonly string[];
    /** Connect without encryption beyond this machine, too. */
    allowPlain?: boolean;
    /** A broker silent for this long is given up: 3000. */
    silenceMs?: number;
    /** Requests end with `unreachable` when no broker was heard for this long: 30000. */
    unreachableMs?: number;
    /** Deadline of everything that is not a picture: 10000. */
    answerMs?: number;
    /** One's own pair of keys, from `seedpress keygen`; else the environment's SEEDPRESS_KEY_FILE.
     * "": none. */
    keyFile?: string;
    /** With keyFile: the public key of the brokers, as 40 characters or the path of a .pub file;
     * else the environment's SEEDPRESS_BROKER_KEY. */
    brokerKey?: string;
}

/** How a picture is made: what its recipe says. */
export interface Look {
    /** "cats", "cats@1a2b3c4d" or 64 hex digits. */
    model: string;
    /** Truncation, -2..2 with at most six decimal places: 1. */
    psi?: number | null;
    /** Rows of w that psi reaches, 0..64: all. */
    cutoff?: number | null;
    /** Required by conditional models. */
    classIndex?: number | null;
    /** `const` where the model has noise. */
    noiseMode?: Noise | null;
    /** With noiseMode `random`. */
    noiseSeed?: number | null;
    /** StyleGAN 3: shift by x and y, in widths and heights of the picture. */
    translate?: readonly [number, number] | null;
    /** StyleGAN 3: degrees. */
    rotate?: number | null;
    /** StyleGAN 3: synthesis.input.transform, row by row; without translate and rotate. */
    transform?: Matrix | null;
    /** Of the JPEG, 1..100: 90. */
    quality?: number | null;
    /** `xmp`. */
    mark?: Mark | null;
    rev?: number | null;
}

/** How it is asked for. */
export interface Asking {
    /** `normal`. */
    priority?: Priority | null;
    /** 10000; a picture that is not there by then ends with an error. */
    deadlineMs?: number | null;
    /** `receipt`: an image without its bytes. */
    want?: "image" | "receipt" | null;
    /** `only`: nothing is rendered; `bypass`: rendered even when stored. */
    cache?: "use" | "only" | "bypass" | null;
    /** Numerics class that must have made the picture. */
    requireClass?: string | null;
    /** Goes into the broker's log. */
    trace?: string | null;
    /** From a proxy: whom it asks for, who then takes turns and has bounds of his own. At most 64
     * characters; needs the role proxy where the broker has keys. */
    visitor?: string | null;
    keep?: "image" | "provenance" | "refill" | null;
    /** Bulk job that it belongs to. */
    job?: number | null;
    /** When it aborts, the broker is told, and the call ends with `cancelled` at once. */
    signal?: AbortSignal | null | undefined;
}

export interface Request extends Look, Asking {
    /** 0..4294967295. */
    seed: number;
}

interface Many extends Look, Asking {
    /** Pictures in flight or waiting to be taken, 1..1000: 64. */
    window?: number;
}
export type ManyRequest = Many & ({ seeds: Iterable<number>; first?: never; count?: never } |
                                  { seeds?: never; first?: number; count: number });

export type Ended = { seed: number; image: Image; error: null } |
                    { seed: number; image: null; error: SeedpressError };

/** A picture whose bytes, recipe and seed agree with each other and with what was asked. */
export class Image {
    private constructor();
    /** The JPEG; null of a receipt. */
    readonly data: Uint8Array | null;
    /** Its bytes, also of a receipt. */
    readonly len: number;
    readonly seed: number;
    readonly psi: number;
    /** Digest. */
    readonly model: Hex;
    /** SHA-256 of recipe. */
    readonly recipeKey: Hex;
    /** Of the file. */
    readonly sha256: Hex;
    /** Of the file without APPn and COM segments. */
    readonly coreSha256: Hex;
    /** Canonical text. */
    readonly recipe: string;
    readonly numericsClass: string;
    readonly encoder: string;
    /** The worker's start in the ledger. */
    readonly run: number;
    /** `ledger`, `memory`: nothing was rendered for this answer. */
    readonly source: "render" | "ledger" | "memory";
    readonly queueMs: number;
    readonly renderMs: number;
    readonly encodeMs: number;
    readonly storeMs: number;
    /** The four above. */
    readonly timings: { queueMs: number; renderMs: number; encodeMs: number; storeMs: number };
    /** Pictures rendered together. */
    readonly batch: number;
    /** Something asked for had no effect; "" where there is nothing to say. */
    readonly warning: string;
    /** What a new render gave, where a picture was stored before: that one is the answer. */
    readonly renderedSha256: Hex | null;
    readonly renderedCoreSha256: Hex | null;
    readonly renderedClass: string;
    readonly renderedRun: number;
    /** Largest difference of a pixel from the stored picture's; null: not compared. */
    readonly renderedLevels: number | null;
    readonly renderedPsnr: number | null;
    /** Writes the JPEG. `file`: it cannot be written. */
    save(path: string): Promise<void>;
}

type Nothing = { [name in "recipeKey" | "sha256" | "coreSha256" | "seed" | "model" | "psi" | "job" |
                          "first" | "since" | "like"]?: never };
type Asked<T> = Omit<Nothing, keyof T> & T & {
    /** Rows at most, 1..100: 10. */
    limit?: number;
};
/** Exactly one of these. */
export type Query = Asked<{ recipeKey: Hex }> | Asked<{ sha256: Hex }> |
                    Asked<{ coreSha256: Hex }> |
                    Asked<{ seed: number; model?: string; psi?: number }> |
                    Asked<{ job: number; first?: number }> |
                    Asked<{ since: number; model?: string }> |
                    Asked<{ like: readonly bigint[] }>;

/** What the ledger knows of a picture. */
export interface Row {
    seed: number;
    psi: number;
    /** Digest. */
    model: Hex;
    /** Bound to it now, "" if none is. */
    modelName: string;
    recipeKey: Hex;
    sha256: Hex;
    coreSha256: Hex;
    recipe: string;
    run: number;
    batch: number;
    bytes: number;
    /** fetch would give the bytes. */
    kept: boolean;
    withdrawn: boolean;
    /** ISO 8601, UTC. */
    created: string;
    worker: string;
    version: string;
    backend: string;
    device: string;
    driver: string;
    libraries: string;
    numericsClass: string;
    encoder: string;
    /** Bulk job that had it made; 0: none. */
    job: number;
    /** Of a look-up by like: bits that differ. */
    distance: number | null;
}

export interface Provenance {
    /** How a file was found, in the words of `seedpress provenance`; null: no file was asked for.
     * A picture that was scaled, cropped or compressed again is told by that command only. */
    grade: "exact" | "exact (metadata differs)" | "no record" | null;
    rows: Row[];
}

export interface Withdrawal {
    subject: Hex;
    pictures: number;
    files: number;
    rows: Row[];
}

/** Seeds first..last, all with the same look. */
export interface Part extends Look {
    first: number;
    last: number;
    /** class is seed % classMod. */
    classMod?: number | null;
}

export interface Submission {
    /** One's own; the same again with the same content is the same job. */
    name: string;
    keep?: "image" | "provenance";
    priority?: Priority;
    chunk?: number;
    /** Only say what it would be: its job is 0. */
    dry?: boolean;
    parts: readonly Part[];
}

export interface Job {
    job: number;
    name: string;
    state: "running" | "paused" | "cancelled" | "done";
    keep: "image" | "provenance";
    priority: Priority;
    chunk: number;
    total: number;
    done: number;
    failed: number;
    rendering: number;
    /** Since an exporter was heard; null: never. */
    exporterMs: number | null;
    /** What one more takes, in microseconds; 0: unknown. */
    pictureUs: number;
    pictureBytes: number;
    created: string;
    finished: string;
}

/** Item n is seed first + n - item of the last range whose item is not above n. */
export interface Range {
    item: number;
    first: number;
    last: number;
    classMod: number;
    /** Of seed first. */
    recipe: string;
}

export interface Failure {
    item: number;
    seed: number;
    code: string;
    message: string;
}

export interface Plan {
    job: Job;
    ranges: Range[];
    failures: Failure[];
}

export interface Model {
    /** "" when no name is bound to it. */
    name: string;
    digest: Hex;
    arch: string;
    licence: string;
    width: number;
    height: number;
    numWs: number;
    zDim: number;
    wDim: number;
    /** Classes; 0: unconditional. */
    cDim: number;
    /** Bits: 1 none, 2 const, 4 random, 8 stream. */
    noiseModes: number;
    hasTransform: boolean;
    bound: boolean;
    /** Live ones that have it. */
    workers: number;
}

export interface Worker {
    worker: string;
    numericsClass: string;
    device: string;
    run: number;
    credit: number;
    leased: number;
    rendered: number;
    backlogMs: number;
    silentMs: number;
    draining: boolean;
}

export interface Status {
    version: string;
    uptimeMs: number;
    ledgerUp: boolean;
    draining: boolean;
    lookingUp: number;
    queuedHigh: number;
    queuedNormal: number;
    queuedLow: number;
    held: number;
    rendering: number;
    committing: number;
    waiters: number;
    submitted: number;
    answered: number;
    failed: number;
    cancelled: number;
    joined: number;
    ledgerHits: number;
    retried: number;
    late: number;
    memoryHits: number;
    memoryBytes: number;
    refused: number;
    expired: number;
    poison: number;
    workersLost: number;
    clients: number;
    clientsDropped: number;
    denied: number;
    malformed: number;
    oldestMs: number;
    waitP50Ms: number;
    waitP99Ms: number;
    workers: Worker[];
}

/** A connection to one broker of several. While it is open the program does not end by itself. */
export class Seedpress {
    /** Connects in the background: that nobody is there shows when something is asked. Throws
     * `invalid` (an option, an endpoint), `denied` (an endpoint beyond this machine without keys)
     * or `file` (a key). */
    constructor(options?: Options);

    /** One picture. */
    generate(request: Request): Promise<Image>;

    /** Many, in the order in which they are ready; each seed ends once, with its picture or with
     * its error. To leave the loop cancels what is still under way. The deadline is each
     * picture's, from when it is asked for. */
    generateMany(request: ManyRequest): AsyncGenerator<Ended, void, void>;

    /** What the ledger knows, newest first; no row is no error. */
    lookup(query: Query): Promise<Row[]>;

    /** Where a picture came from. file: its bytes or its path; looked for as it is, then without
     * its metadata. */
    provenance(what: { file: Uint8Array | string; limit?: number } |
                     (Query & { file?: undefined })): Promise<Provenance>;

    /** A stored file; nothing is rendered. `not_found`, `withdrawn`. */
    fetch(which: { recipeKey: Hex; sha256?: never } | { sha256: Hex; recipeKey?: never }):
        Promise<Image>;

    /** Takes a subject back for ever: no picture of it is answered with bytes again. Needs the role
     * admin where the broker has keys. */
    withdraw(which: ({ recipeKey: Hex; sha256?: never } | { sha256: Hex; recipeKey?: never }) &
                    { reason: string }): Promise<Withdrawal>;

    bulkSubmit(submission: Submission): Promise<{ job: Job; isNew: boolean }>;
    /** Newest first; limit 1..100: 20. */
    bulkList(which?: { job?: number; name?: string; limit?: number }): Promise<Job[]>;
    /** What a job is made of, and failures of items after failuresAfter. */
    bulkShow(job: number, options?: { failuresAfter?: number }): Promise<Plan>;
    bulkControl(job: number, action: "pause" | "resume" | "cancel"): Promise<Job>;
    /** For exporters of a job that keeps `provenance`: items first..first + count - 1 are safe;
     * without both only a sign of life, every 5 s. */
    bulkExported(job: number, first?: number, count?: number): Promise<void>;

    models(): Promise<Model[]>;
    /** Binds name, for everybody, to the model whose digest begins with these 4..64 digits. */
    modelUse(name: string, digest: string): Promise<void>;
    status(): Promise<Status>;
    /** Whether a broker answers in time; `unreachable` or `deadline` if not. */
    ping(timeoutMs?: number): Promise<void>;

    /** Whatever still waits ends with `cancelled`. */
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}

/** Why something failed: one row of the protocol's table, in words for a person. */
export class SeedpressError extends Error {
    constructor(word: string, message: string, options?: {
        retry?: boolean; retryAfterMs?: number; field?: string | null; cause?: unknown });
    name: "SeedpressError";
    /** Number of the table; of a word that it does not have, that of `bug`. */
    code: number;
    /** "unknown_model"; does not change. */
    word: string;
    /** The same request may succeed later, */
    retry: boolean;
    /** not before; 0: nothing is known. */
    retryAfterMs: number;
    /** What a gateway answers. */
    httpStatus: number;
    /** What the command seedpress exits with. */
    exitCode: number;
    /** The option that is wrong, where one is. */
    field: string | null;
}

/** The whole table, by number. */
export const ERRORS: readonly {
    readonly code: number;
    readonly word: string;
    readonly words: string;
    readonly httpStatus: number;
    readonly exitCode: number;
    readonly retry: boolean;
}[];
