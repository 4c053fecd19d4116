/* The core without sockets and clocks: frames and the time go in, and both are turned by hand. */
import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";
import { encode as pack } from "@msgpack/msgpack";
import { Exchange, GRACE_MS, REOPEN_MS } from "../lib/exchange.js";
import { check, decode } from "../lib/message.js";
import { sha256 } from "../lib/recipe.js";

const BROKERS = ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"];
const FACTS = JSON.parse(fs.readFileSync("proto/vectors/recipes.json", "ascii")).resolve
    .find((v) => v.name === "only a seed");
const FILE = Buffer.from("a picture");

function exchangeOf({ brokers = BROKERS.slice(0, 1), hasKeys = false } = {}) {
    const exchange = new Exchange({ brokers, silenceMs: 3000, unreachableMs: 30000, hasKeys }, 0);

    exchange.connected(0);
    return exchange;
}

const asking = (seed, more) => check("generate", { model: "avatars64", seed, ...more });
const say = (type, id, fields) => pack({ ...fields, v: 1, type, id });

/* What goes out now, as [type, id, record]. */
function outgoing(exchange, nowMs) {
    const out = [];

    for (let bytes; (bytes = exchange.next(nowMs));) {
        const { type, id, record } = decode(bytes, "client");

        out.push([type, id, record]);
    }
    return out;
}
const typesOf = (out) => out.map(([type, id]) => `${type} ${id}`);

/* The fields of an image of seed that hold together. */
function imageOf(seed, more = {}) {
    const recipe = FACTS.text.replace("seed:42", `seed:${seed}`);

    return { seed, psi: 1, model: FACTS.facts.digest, recipe, recipe_key: sha256(recipe),
             sha256: sha256(FILE), core_sha256: "0".repeat(63) + "1", numerics_class: "c",
             encoder: "e", source: "render", bytes: FILE.length, ...more };
}

function wordsOf(exchange) {
    return exchange.takeEnded().map((r) => [r.id, r.error?.word ?? "value"]);
}

test("a picture that holds together ends its request", () => {
    const x = exchangeOf(), request = x.ask("generate", asking(42), 10000, 0);
    const [[type, id, record]] = outgoing(x, 400);

    assert.deepEqual([type, id, record.seed, record.deadline_ms], ["generate", 1, 42, 9600]);
    x.receive([say("image", 1, imageOf(42)), FILE], 500);
    assert.deepEqual(x.takeEnded(), [request]);
    assert.equal(request.value.data, FILE);
    assert.ok(x.isIdle && x.wakeMs() === Infinity);
    x.receive([say("image", 1, imageOf(42)), FILE], 501);        /* a second answer */
    assert.deepEqual(x.takeEnded(), []);
});

test("whatever does not hold together ends its request as a bug", () => {
    const wrong = [
        [imageOf(42), Buffer.from("another picture")],
        [imageOf(42), Buffer.alloc(0)],
        [imageOf(42)],
        [imageOf(43), FILE],
        [imageOf(42, { recipe_key: sha256("x") }), FILE],
        [imageOf(42, { recipe: "x", recipe_key: sha256("x") }), FILE],
        [imageOf(42, { seed: 43 }), FILE],
        [imageOf(42, { psi: 0.5 }), FILE],
        [imageOf(42, { model: sha256("x") }), FILE],
        [imageOf(42, { seed: "42" }), FILE],
        [imageOf(42, { sha256: "no hash" }), FILE],
        [imageOf(42, { source: "hearsay" }), FILE],
        [imageOf(42, { recipe: undefined }), FILE],
    ];

    for (const [fields, ...files] of wrong) {
        const x = exchangeOf(), request = x.ask("generate", asking(42), 10000, 0);

        outgoing(x, 0);
        x.receive([say("image", 1, fields), ...files], 1);
        assert.equal(request.error?.word, "bug", JSON.stringify(fields));
    }
    for (const type of ["receipt", "pong", "done", "model_list"]) {
        const x = exchangeOf(), request = x.ask("generate", asking(42), 10000, 0);

        outgoing(x, 0);
        x.receive([say(type, 1, type === "receipt" ? imageOf(42) : {})], 1);
        assert.equal(request.error?.word, "bug", type);
    }
});

test("rows are those that were asked for, or the broker has a bug", () => {
    const { recipe, recipe_key, sha256: file, core_sha256 } = imageOf(42);
    const row = { recipe, recipe_key, sha256: file, core_sha256 }, other = sha256("other");
    const asked = [[{ seed: 42 }, "value"], [{ seed: 43 }, "bug"], [{ seed: 42, psi: 0.5 }, "bug"],
                   [{ recipe_key }, "value"], [{ recipe_key: other }, "bug"],
                   [{ sha256: file }, "value"], [{ sha256: other }, "bug"],
                   [{ core_sha256 }, "value"], [{ core_sha256: other }, "bug"]];

    for (const [query, ends] of asked) {
        const x = exchangeOf();

        x.ask("lookup", check("lookup", query), 10000, 0);
        outgoing(x, 0);
        x.receive([say("provenance", 1, { rows: [row] })], 1);
        assert.deepEqual(wordsOf(x), [[1, ends]], JSON.stringify(query));
    }
});

test("what names no request, or makes no sense, changes nothing", () => {
    const x = exchangeOf(), request = x.ask("generate", asking(42), 10000, 0);
    const nonsense = [[], [Buffer.alloc(0)], [Buffer.from("HTTP/1.1 200 OK")],
                      [Buffer.from([0xc1])], [pack([1, 2])], [pack({ id: 99 })],
                      [say("pong", 77, {})],
                      [say("image", 5, imageOf(42)), FILE], [FILE, FILE, FILE],
                      [pack({ ["__proto__x"]: 1 })]];

    outgoing(x, 0);
    for (const frames of nonsense)
        x.receive(frames, 1);
    assert.equal(request.error, null);
    assert.equal(x.requests.size, 1);
});

test("what is owed is pinged for; a silent broker is left and everything is sent again", () => {
    const x = exchangeOf({ brokers: BROKERS });

    x.ask("generate", asking(1), 60000, 0);
    x.ask("generate", asking(2), 60000, 0);
    assert.deepEqual(typesOf(outgoing(x, 0)), ["generate 1", "generate 2"]);
    assert.equal(x.wakeMs(), 1000);
    x.turn(1000);
    assert.deepEqual(typesOf(outgoing(x, 1000)), ["ping 0"]);
    x.receive([say("pong", 0, {})], 1500);
    x.turn(1500);
    assert.equal(x.wakeMs(), 2500);              /* heard: nothing is due before */
    for (const now of [2500, 3500, 4499])
        x.turn(now);
    assert.equal(x.connection, 1);
    x.turn(4500);
    assert.deepEqual([x.connection, x.endpoint], [2, 1]);
    assert.deepEqual(outgoing(x, 4500), []);     /* there is no connection yet */
    x.connected(4600);
    assert.deepEqual(outgoing(x, 4600).map(([type, id, r]) => [type, id, r.deadline_ms]),
                     [["generate", 1, 55400], ["generate", 2, 55400], ["ping", 0, undefined]]);
});

test("a broken connection is opened again, not more often than every 100 ms", () => {
    const x = exchangeOf();

    x.ask("models", check("models", {}), 10000, 0);
    assert.deepEqual(typesOf(outgoing(x, 0)), ["models 1"]);
    x.lost(false);
    x.turn(50);
    assert.deepEqual([x.connection, x.wakeMs()], [1, REOPEN_MS]);
    assert.deepEqual(outgoing(x, 50), []);
    x.turn(REOPEN_MS);
    assert.equal(x.connection, 2);
    x.connected(120);
    assert.deepEqual(typesOf(outgoing(x, 120)), ["models 1"]);
});

test("an endpoint that does not answer at all is left after 2 s", () => {
    const x = new Exchange({ brokers: BROKERS, silenceMs: 3000, unreachableMs: 30000,
                             hasKeys: false }, 0);

    x.ask("generate", asking(1), 60000, 0);
    x.turn(1500);
    x.turn(1999);
    assert.equal(x.connection, 1);
    x.turn(2000);
    assert.deepEqual([x.connection, x.endpoint], [2, 1]);
});

test("each request ends exactly once: deadline where a broker is heard, else unreachable", () => {
    const x = exchangeOf();

    x.ask("generate", asking(1), 2000, 0);
    outgoing(x, 0);
    x.receive([say("pong", 0, {})], 1000);
    x.turn(1000);
    x.turn(2000 + GRACE_MS - 1);
    assert.deepEqual(wordsOf(x), []);
    x.turn(2000 + GRACE_MS);
    assert.deepEqual(wordsOf(x), [[1, "deadline"]]);

    x.ask("generate", asking(2), 2000, 3000);
    x.turn(5500);
    assert.deepEqual(wordsOf(x), [[2, "unreachable"]]);

    x.ask("generate", asking(3), 3600000, 10000);
    for (let now = 10000; now < 40000; now += 1000)
        x.turn(now);
    assert.deepEqual(wordsOf(x), []);
    x.turn(40000);
    const [{ id, error }] = x.takeEnded();

    assert.deepEqual([id, error.word, error.retry], [3, "unreachable", true]);
    assert.match(error.message, /^no broker answered at tcp:\/\/127.0.0.1:1 within 30 s;/);
    x.turn(99999);
    assert.deepEqual(wordsOf(x), []);
});

test("whoever was away has not listened: his broker is not silent", () => {
    const x = exchangeOf();

    x.ask("generate", asking(1), 3600000, 0);
    outgoing(x, 0);
    x.turn(20000);                               /* stopped for 20 s */
    assert.equal(x.connection, 1);
    for (const now of [21000, 22000, 22999])
        x.turn(now);
    assert.equal(x.connection, 1);
    x.turn(23000);
    assert.equal(x.connection, 2);
});

test("`retry` is asked again: at once at another broker, in a moment at the same", () => {
    const two = exchangeOf({ brokers: BROKERS }), one = exchangeOf();
    const retry = say("error", 1, { code: "retry", message: "going away", retry: true,
                                    retry_after_ms: 700 });

    two.ask("generate", asking(1), 10000, 0);
    outgoing(two, 0);
    two.receive([retry], 200);
    two.turn(200);
    assert.deepEqual([two.connection, two.endpoint], [2, 1]);
    two.connected(210);
    assert.deepEqual(typesOf(outgoing(two, 210)), ["generate 1"]);

    one.ask("generate", asking(1), 1000, 0);
    outgoing(one, 0);
    one.receive([retry], 200);
    one.turn(200);
    assert.equal(one.wakeMs(), 900);
    assert.deepEqual(outgoing(one, 899), []);
    one.turn(900);
    assert.deepEqual(typesOf(outgoing(one, 900)), ["generate 1"]);
    one.receive([retry], 950);                   /* there is no time for another */
    const [{ error }] = one.takeEnded();

    assert.deepEqual([error.word, error.retry, error.retryAfterMs], ["retry", true, 700]);
});

test("a refusal ends its request with the broker's code, words and advice", () => {
    const x = exchangeOf();

    for (const seed of [1, 2])
        x.ask("generate", asking(seed), 10000, 0);
    outgoing(x, 0);
    x.receive([say("error", 1, { code: "overloaded", message: "full", retry: true,
                                 retry_after_ms: 40 })], 1);
    x.receive([say("error", 2, { code: "too_blue" })], 1);
    const [full, newer] = x.takeEnded().map((r) => r.error);

    assert.deepEqual([full.code, full.message, full.httpStatus, full.retry, full.retryAfterMs],
                     [16, "full", 503, true, 40]);
    assert.deepEqual([newer.code, newer.word], [27, "too_blue"]);
});

test("a cancelled request is told to the broker, if it was sent", () => {
    const x = exchangeOf();
    const sent = x.ask("generate", asking(1), 10000, 0);

    outgoing(x, 0);
    const kept = x.ask("generate", asking(2), 10000, 0);

    assert.ok(x.cancel(sent) && x.cancel(kept));
    assert.ok(!x.cancel(sent));
    assert.deepEqual(wordsOf(x), [[1, "cancelled"], [2, "cancelled"]]);
    const [[type, , record], ...rest] = outgoing(x, 1);

    assert.deepEqual([type, record.request, rest], ["cancel", 1, []]);
});

test("refused by every endpoint, all requests end as denied", () => {
    const x = exchangeOf({ brokers: BROKERS, hasKeys: true });

    x.ask("generate", asking(1), 10000, 0);
    x.lost(true);
    x.turn(REOPEN_MS);
    assert.deepEqual(wordsOf(x), []);
    x.lost(true);
    const [{ error }] = x.takeEnded();

    assert.equal(error.word, "denied");
    assert.match(error.message, /does not admit this key/);
});

/* A thousand random stories: whatever happens, each request ends exactly once and in time. */
test("each request ends exactly once, whatever happens", () => {
    let state = 12345;
    const random = (n) => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return Math.floor(state / 65536) % n;
    };

    for (let story = 0; story < 1000; story++) {
        const x = exchangeOf({ brokers: BROKERS.slice(0, 1 + random(2)) });
        const asked = new Map(), ended = new Map();
        let now = 0;

        for (let step = 0; step < 60; step++) {
            now += random(1200);
            const id = 1 + random(20);

            switch (random(8)) {
            case 0: case 1: {
                const request = x.ask("generate", asking(42), 1 + random(8000), now);

                asked.set(request.id, request.deadlineMs);
                break;
            }
            case 2: outgoing(x, now); break;
            case 3: x.receive([say("image", id, imageOf(42)), FILE], now); break;
            case 4: x.receive([say("error", id, { code: random(2) ? "retry" : "device" })], now);
                break;
            case 5: x.lost(random(2) === 0); break;
            case 6: x.connected(now); break;
            default: x.receive([Buffer.from([random(256), random(256)])], now);
            }
            x.turn(now);
            for (const request of x.takeEnded()) {
                assert.ok(!ended.has(request.id), `twice in story ${story}`);
                ended.set(request.id, now);
            }
            for (const [id2, deadlineMs] of asked)
                assert.ok(ended.has(id2) || now < deadlineMs + GRACE_MS, `late in ${story}`);
        }
    }
});
