/* fields -- the tables of the messages that a client sends and receives: every field's kind, range
 * and default, as PROTOCOL.md says. test/fields.test.js holds both together, row by row. */

export const REQUIRED = Symbol("required");
export const MILLION = 1000000;
const U32 = 4294967295, COUNT = 2 ** 53;

/* A default that is absent is null: nothing stands for it. */
const field = (kind, name, more, def) => Object.freeze({
    kind, name, ...more, required: def === REQUIRED, def: def === REQUIRED ? null : def ?? null,
});
const int = (name, min, max, def) => field("int", name, { min, max }, def);
/* A decimal with at most six places: a record holds millionths, as min, max and def here do. */
const millionths = (v) => (typeof v === "number" ? v * MILLION : v);
const number = (name, min, max, def) =>
    field("number", name, { min: min * MILLION, max: max * MILLION }, millionths(def));
const text = (name, min, max, def) => field("text", name, { min, max }, def ?? "");
const word = (name, words, def) => field("word", name, { words }, def);
const digest = (name, def) => field("digest", name, {}, def);
const flag = (name) => field("flag", name, {}, false);
const seeds = (name, most) => field("seeds", name, { min: 0, max: U32, most });
const numbers = (name, most, min, max) =>
    field("numbers", name, { most, min: min * MILLION, max: max * MILLION });
const floats = (name, most) => field("floats", name, { most });
const records = (name, most, fields, def) => field("records", name, { most, fields }, def);

const PART = [
    text("model", 1, 160, REQUIRED),
    int("first", 0, U32, REQUIRED),
    int("last", 0, U32, REQUIRED),
    number("psi", -2, 2, 1),
    int("cutoff", 0, 64),
    int("class", 0, 65535),
    int("class_mod", 0, 65536, 0),
    word("noise_mode", ["none", "const", "random", "stream"]),
    int("noise_seed", 0, U32),
    numbers("translate", 2, -1000, 1000),
    number("rotate", -1000, 1000),
    floats("transform", 9),
    int("quality", 1, 100, 90),
    word("mark", ["none", "xmp", "c2pa"]),
    int("rev", 0, U32, 0),
];
const ROW = [
    digest("recipe_key", REQUIRED),
    digest("sha256", REQUIRED),
    digest("core_sha256", REQUIRED),
    text("recipe", 1, 639, REQUIRED),
    text("model", 0, 64),
    text("numerics_class", 0, 63),
    text("encoder", 0, 63),
    int("run", 0, COUNT, 0),
    int("batch", 0, 4096, 0),
    int("bytes", 0, 67108864, 0),
    flag("kept"),
    flag("withdrawn"),
    text("created", 0, 40),
    text("worker", 0, 127),
    text("version", 0, 63),
    text("backend", 0, 31),
    text("device", 0, 127),
    text("driver", 0, 63),
    text("libraries", 0, 159),
    int("job", 0, COUNT, 0),
    int("distance", 0, 64),
];
const MODEL = [
    text("name", 0, 64),
    digest("digest", REQUIRED),
    text("arch", 0, 32),
    text("licence", 0, 128),
    int("width", 0, 4096, 0),
    int("height", 0, 4096, 0),
    int("num_ws", 0, 64, 0),
    int("z_dim", 0, 65536, 0),
    int("w_dim", 0, 65536, 0),
    int("c_dim", 0, 65536, 0),
    int("noise_modes", 0, 15, 1),
    flag("has_transform"),
    flag("bound"),
    int("workers", 0, COUNT, 0),
];
const WORKER = [
    text("worker", 0, 127),
    text("numerics_class", 0, 63),
    text("device", 0, 127),
    int("run", 0, COUNT, 0),
    int("credit", 0, 4096, 0),
    int("leased", 0, 4096, 0),
    int("rendered", 0, COUNT, 0),
    int("backlog_ms", 0, COUNT, 0),
    int("silent_ms", 0, COUNT, 0),
    flag("draining"),
];
const JOB = [
    int("job", 0, COUNT, 0),
    text("name", 0, 64),
    word("state", ["running", "paused", "cancelled", "done"], REQUIRED),
    word("keep", ["image", "provenance"], "image"),
    word("priority", ["high", "normal", "low"], "low"),
    int("chunk", 0, 10000, 0),
    int("total", 0, COUNT, 0),
    int("done", 0, COUNT, 0),
    int("failed", 0, COUNT, 0),
    int("rendering", 0, COUNT, 0),
    int("exporter_ms", 0, COUNT),
    int("picture_us", 0, COUNT, 0),
    int("picture_bytes", 0, COUNT, 0),
    text("created", 0, 40),
    text("finished", 0, 40),
];
const RANGE = [
    int("item", 0, COUNT, 0),
    int("first", 0, U32, 0),
    int("last", 0, U32, 0),
    int("class_mod", 0, 65536, 0),
    text("recipe", 1, 639, REQUIRED),
];
const FAILURE = [
    int("item", 0, COUNT, 0),
    int("seed", 0, U32, 0),
    text("code", 0, 32),
    text("message", 0, 256),
];
const IMAGE = [
    int("seed", 0, U32, REQUIRED),
    number("psi", -2, 2, REQUIRED),
    digest("model", REQUIRED),
    digest("recipe_key", REQUIRED),
    digest("sha256", REQUIRED),
    digest("core_sha256", REQUIRED),
    text("recipe", 1, 639, REQUIRED),
    text("numerics_class", 0, 63, REQUIRED),
    text("encoder", 0, 63, REQUIRED),
    int("run", 0, COUNT, 0),
    int("bytes", 0, 67108864, 0),
    word("source", ["render", "ledger", "memory"], REQUIRED),
    int("queue_ms", 0, COUNT, 0),
    int("render_ms", 0, COUNT, 0),
    int("encode_ms", 0, COUNT, 0),
    int("store_ms", 0, COUNT, 0),
    int("batch", 0, 4096, 0),
    text("warning", 0, 160),
    digest("rendered_sha256"),
    digest("rendered_core_sha256"),
    text("rendered_class", 0, 63),
    int("rendered_run", 0, COUNT, 0),
    int("rendered_levels", 0, 255),
    number("rendered_psnr", 0, 99),
];

export const FROM_CLIENT = {
    generate: [
        text("model", 1, 160, REQUIRED),
        int("seed", 0, U32),
        seeds("seeds", 1000),
        number("psi", -2, 2, 1),
        int("cutoff", 0, 64),
        int("class", 0, 65535),
        word("noise_mode", ["none", "const", "random", "stream"]),
        int("noise_seed", 0, U32),
        numbers("translate", 2, -1000, 1000),
        number("rotate", -1000, 1000),
        floats("transform", 9),
        int("quality", 1, 100, 90),
        word("mark", ["none", "xmp", "c2pa"]),
        int("rev", 0, U32, 0),
        word("priority", ["high", "normal", "low"], "normal"),
        int("deadline_ms", 1, 3600000, 10000),
        word("want", ["image", "receipt"], "image"),
        word("cache", ["use", "only", "bypass"], "use"),
        text("require_class", 0, 63),
        text("trace", 0, 64),
        text("for", 0, 64),
        word("keep", ["image", "provenance", "refill"], "image"),
        int("job", 0, COUNT, 0),
    ],
    cancel: [
        int("request", 0, COUNT, REQUIRED),
    ],
    lookup: [
        digest("recipe_key"),
        digest("sha256"),
        digest("core_sha256"),
        text("model", 0, 160),
        int("seed", 0, U32),
        number("psi", -2, 2),
        int("job", 0, COUNT, 0),
        int("first", 0, COUNT, 0),
        int("since", 0, COUNT),
        text("like", 0, 2304),
        int("limit", 1, 100, 10),
    ],
    fetch: [
        digest("recipe_key"),
        digest("sha256"),
    ],
    models: [],
    model_use: [
        text("name", 1, 64, REQUIRED),
        text("digest", 4, 64, REQUIRED),
    ],
    status: [],
    ping: [],
    bulk_submit: [
        text("name", 1, 64, REQUIRED),
        word("keep", ["image", "provenance"], "image"),
        word("priority", ["high", "normal", "low"], "low"),
        int("chunk", 1, 10000, 1000),
        flag("dry"),
        records("parts", 1000, PART, REQUIRED),
    ],
    bulk_list: [
        int("job", 0, COUNT, 0),
        text("name", 0, 64),
        int("limit", 1, 100, 20),
    ],
    bulk_show: [
        int("job", 1, COUNT, REQUIRED),
        int("after", 0, COUNT),
    ],
    bulk_control: [
        int("job", 1, COUNT, REQUIRED),
        word("action", ["pause", "resume", "cancel"], REQUIRED),
    ],
    bulk_exported: [
        int("job", 1, COUNT, REQUIRED),
        int("first", 0, COUNT, 0),
        int("count", 0, 100000, 0),
    ],
    withdraw: [
        digest("recipe_key"),
        digest("sha256"),
        text("reason", 1, 200, REQUIRED),
    ],
};

export const FROM_BROKER = {
    image: IMAGE,
    receipt: IMAGE,
    error: [
        text("code", 1, 32, REQUIRED),
        text("message", 0, 256),
        flag("retry"),
        int("retry_after_ms", 0, 3600000, 0),
        int("seed", 0, U32),
    ],
    done: [
        int("count", 0, COUNT, 0),
        int("failed", 0, COUNT, 0),
    ],
    provenance: [
        records("rows", 100, ROW),
    ],
    model_list: [
        records("models", 256, MODEL),
    ],
    status_report: [
        text("version", 0, 63),
        int("uptime_ms", 0, COUNT, 0),
        flag("ledger_up"),
        flag("draining"),
        int("looking_up", 0, COUNT, 0),
        int("queued_high", 0, COUNT, 0),
        int("queued_normal", 0, COUNT, 0),
        int("queued_low", 0, COUNT, 0),
        int("held", 0, COUNT, 0),
        int("rendering", 0, COUNT, 0),
        int("committing", 0, COUNT, 0),
        int("waiters", 0, COUNT, 0),
        int("submitted", 0, COUNT, 0),
        int("answered", 0, COUNT, 0),
        int("failed", 0, COUNT, 0),
        int("cancelled", 0, COUNT, 0),
        int("joined", 0, COUNT, 0),
        int("ledger_hits", 0, COUNT, 0),
        int("retried", 0, COUNT, 0),
        int("late", 0, COUNT, 0),
        int("memory_hits", 0, COUNT, 0),
        int("memory_bytes", 0, COUNT, 0),
        int("refused", 0, COUNT, 0),
        int("expired", 0, COUNT, 0),
        int("poison", 0, COUNT, 0),
        int("workers_lost", 0, COUNT, 0),
        int("clients", 0, COUNT, 0),
        int("clients_dropped", 0, COUNT, 0),
        int("denied", 0, COUNT, 0),
        int("malformed", 0, COUNT, 0),
        int("oldest_ms", 0, COUNT, 0),
        int("wait_p50_ms", 0, COUNT, 0),
        int("wait_p99_ms", 0, COUNT, 0),
        records("workers", 1024, WORKER),
    ],
    pong: [],
    bulk_report: [
        records("jobs", 100, JOB),
        flag("is_new"),
    ],
    bulk_plan: [
        records("jobs", 1, JOB, REQUIRED),
        records("parts", 1000, RANGE, REQUIRED),
        records("failures", 500, FAILURE),
    ],
    withdrawal: [
        digest("subject", REQUIRED),
        int("pictures", 0, COUNT, 0),
        int("files", 0, COUNT, 0),
        records("rows", 100, ROW),
    ],
};
