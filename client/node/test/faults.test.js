/* Brokers and workers that die, brokers that lie, keys, and calls that are given up. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test, { after, before } from "node:test";
import { decode as unpack, encode as pack } from "@msgpack/msgpack";
import { Seedpress, SeedpressError } from "seedpress";
import { Router } from "zeromq";
import { seedpress as command, Stack, temporary } from "./kit.js";

const MODEL = "avatars64", PATIENT = { model: MODEL, deadlineMs: 600000 };
const folder = temporary();
let stack, worker;

before(async () => {
    stack = await Stack.start();
    worker = await stack.startWorker();
});
after(() => stack.destroy());

const refusal = (word) => (e) => e instanceof SeedpressError && e.word === word;

/* A client that is closed whatever happens. */
async function using(options, use) {
    const sp = new Seedpress({ answerMs: 60000, ...options });

    try {
        return await use(sp);
    } finally {
        await sp.close();
    }
}

/* ---- calls that are given up ---- */

test("what is aborted ends at once, and its broker stops waiting for it", () =>
    using({ brokers: stack.broker.clients }, async (sp) => {
        const { cancelled } = await sp.status();
        const abort = new AbortController();

        worker.child.kill("SIGSTOP");
        const waiting = sp.generate({ ...PATIENT, seed: 1000, signal: abort.signal });
        const { waiters } = await sp.status();   /* sent after it, so the broker has both */

        abort.abort("enough");
        await assert.rejects(waiting, (e) => e.word === "cancelled" && e.cause === "enough");
        const status = await sp.status();

        worker.child.kill("SIGCONT");
        assert.deepEqual([waiters, status.waiters, status.cancelled], [1, 0, cancelled + 1]);
        await assert.rejects(sp.generate({ ...PATIENT, seed: 1, signal: AbortSignal.abort() }),
                             refusal("cancelled"));
    }));

test("to leave the loop over many pictures cancels those that are under way", () =>
    using({ brokers: stack.broker.clients }, async (sp) => {
        const seeds = function* () {             /* the last of the window is stored */
            for (let seed = 2001; ; seed++)
                yield seed % 20 === 0 ? 2000 : seed;
        };

        await sp.generate({ ...PATIENT, seed: 2000 });
        const { cancelled, submitted } = await sp.status();

        worker.child.kill("SIGSTOP");
        for await (const { seed, error } of sp.generateMany({ ...PATIENT, seeds: seeds(),
                                                              window: 20 })) {
            assert.deepEqual([seed, error], [2000, null]);
            break;
        }
        const status = await sp.status();

        worker.child.kill("SIGCONT");
        assert.deepEqual([status.waiters, status.cancelled, status.submitted],
                         [0, cancelled + 19, submitted + 20]);
    }));

test("an abort ends the loop over many pictures, also while it waits", () =>
    using({ brokers: stack.broker.clients }, async (sp) => {
        const abort = new AbortController();

        worker.child.kill("SIGSTOP");
        const pictures = sp.generateMany({ ...PATIENT, first: 3000, count: 9,
                                           signal: abort.signal });
        const next = pictures.next();

        await sp.status();
        abort.abort();
        await assert.rejects(next, refusal("cancelled"));
        assert.equal((await sp.status()).waiters, 0);
        worker.child.kill("SIGCONT");
        assert.equal((await pictures.next()).done, true);
    }));

test("a client that is closed ends what waits, and takes nothing more", async () => {
    const sp = new Seedpress({ brokers: stack.broker.clients });
    const waiting = assert.rejects(sp.generate({ ...PATIENT, seed: 1, cache: "bypass" }),
                                   refusal("cancelled"));

    await sp.close();
    await waiting;
    await sp.close();
    await assert.rejects(sp.models(), refusal("invalid"));
});

/* ---- brokers and workers that die ---- */

async function collect(pictures, onFirst) {
    const seeds = [];

    for await (const { seed, image, error } of pictures) {
        assert.equal(error, null);
        assert.equal(image.seed, seed);
        seeds.push(seed);
        if (seeds.length === 1)
            await onFirst();
    }
    return seeds.sort((a, b) => a - b);
}
const fortyFrom = (first) => Array.from({ length: 40 }, (_, i) => first + i);

test("a broker that is killed costs nothing: the next one gives the rest, each picture once",
     async () => {
    const other = await stack.startBroker();
    const both = await stack.startWorker(`${other.workers},${stack.broker.workers}`);

    await both.waitFor(stack.broker.workers);
    await using({ brokers: [other.clients, stack.broker.clients] }, async (sp) => {
        const seeds = await collect(
            sp.generateMany({ ...PATIENT, first: 5000, count: 40, window: 16 }),
            () => other.program.kill());

        assert.deepEqual(seeds, fortyFrom(5000));
    });
    await both.kill();
});

test("a broker that is restarted is asked again", () =>
    using({ brokers: stack.broker.clients }, async (sp) => {
        await sp.generate({ ...PATIENT, seed: 1 });
        await stack.broker.program.kill();
        const waiting = sp.generate({ ...PATIENT, seed: 1, cache: "only" });

        stack.broker = await stack.startBroker(stack.broker);
        assert.equal((await waiting).source, "ledger");
    }));

test("a worker that is killed costs nothing while there is another", () =>
    using({ brokers: stack.broker.clients }, async (sp) => {
        const other = await stack.startWorker();
        const seeds = await collect(
            sp.generateMany({ ...PATIENT, first: 6000, count: 40, window: 40 }),
            () => worker.kill());

        assert.deepEqual(seeds, fortyFrom(6000));
        worker = other;
    }));

test("where nobody is, it is said after unreachableMs", async () => {
    const nobody = new Router();

    await nobody.bind("tcp://127.0.0.1:*");
    const brokers = nobody.lastEndpoint;

    nobody.close();
    await using({ brokers, unreachableMs: 300 }, (sp) =>
        assert.rejects(sp.generate({ ...PATIENT, seed: 1 }), (e) => {
            assert.deepEqual([e.word, e.httpStatus, e.retry], ["unreachable", 502, true]);
            return true;
        }));
});

/* ---- brokers that lie ---- */

/* answer(message, send) is called for each message; send(...frames) goes to who sent it. */
async function withBroker(answer, use) {
    const router = new Router({ linger: 0 });

    await router.bind("tcp://127.0.0.1:*");
    const serve = async () => {
        for await (const [peer, map] of router)
            await answer(unpack(map), (...frames) => router.send([peer, ...frames]), peer);
    };
    const served = serve().catch((e) => router.closed || assert.fail(e));

    try {
        await use(router.lastEndpoint);
    } finally {
        router.close();
        await served;
    }
}

test("a broker that sends anything at all breaks nothing: requests end as bug or deadline", () => {
    let state = 7;
    const random = (n) => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return Math.floor(state / 65536) % n;
    };
    const garbage = (id) => [
        Buffer.from(Array.from({ length: random(200) }, () => random(256))),
        pack({ v: 1, type: "image", id, seed: 1 }),
        pack({ v: 9, type: "pong", id }),
        pack({ v: 1, type: "image", id: id + 1000 }),
        Buffer.from("dfffffffff", "hex"), Buffer.from("ddffffffff", "hex"),
        Buffer.alloc(1000, 0x81),
    ][random(7)];

    return withBroker(async ({ id = 0 }, send) => {
        for (let i = 0; i < 20; i++)
            await send(...Array.from({ length: 1 + random(4) }, () => garbage(id)));
    }, (brokers) => using({ brokers, answerMs: 300 }, async (sp) => {
        const ended = await Promise.allSettled([
            ...Array.from({ length: 50 }, (_, seed) =>
                sp.generate({ model: MODEL, seed, deadlineMs: 300 })),
            sp.models(), sp.status(), sp.lookup({ seed: 1 }), sp.bulkList(), sp.bulkShow(1),
        ]);

        for (const { reason } of ended)
            assert.ok(["bug", "deadline", "unreachable"].includes(reason?.word), `${reason}`);
    }));
});

test("a broker that tells of something else than was asked is a bug", () => {
    const row = { recipe_key: "a".repeat(64), sha256: "b".repeat(64), core_sha256: "c".repeat(64),
                  recipe: "no recipe" };
    const job = { job: 5, state: "done", total: 3 };
    const answers = {
        lookup: ["provenance", { rows: [row] }],
        models: ["status_report", {}],
        bulk_show: ["bulk_plan", { jobs: [job], parts: [] }],
        bulk_control: ["bulk_report", { jobs: [job] }],
        bulk_submit: ["bulk_report", { jobs: [] }],
        withdraw: ["withdrawal", { subject: "d".repeat(64), rows: [row] }],
        fetch: ["image", {}],
    };

    return withBroker(({ type, id }, send) => send(pack({ v: 1, id, type: answers[type][0],
                                                          ...answers[type][1] })),
                      (brokers) => using({ brokers }, async (sp) => {
        for (const asked of [sp.lookup({ sha256: row.sha256 }), sp.models(), sp.bulkShow(5),
                             sp.bulkShow(6), sp.bulkControl(6, "pause"),
                             sp.bulkSubmit({ name: "n", parts: [{ model: "m", first: 0,
                                                                  last: 1 }] }),
                             sp.withdraw({ sha256: row.sha256, reason: "r" }),
                             sp.fetch({ sha256: row.sha256 })])
            await assert.rejects(asked, refusal("bug"));
    }));
});

test("a loop that ends before it asks, or whose seeds fail, leaves nothing at the broker", () => {
    const heard = [];

    return withBroker(({ type, id, request, seed }, send) => {
        heard.push(type === "cancel" ? ["cancel", request] : [type, id]);
        return type === "status" || seed === 7
            ? send(pack({ v: 1, type: "error", id, code: "poison" })) : undefined;
    }, (brokers) => using({ brokers }, async (sp) => {
        const abort = new AbortController();
        const seeds = function* () {
            try {
                yield 1;
                yield -1;
            } finally {
                throw new Error("of the seeds");
            }
        };
        const ends = async (how, more, word) => {
            await assert.rejects(async () => {
                for await (const one of sp.generateMany({ ...PATIENT, ...more })) {
                    assert.equal(one.error.word, "poison");
                    abort.abort();
                }
            }, how);
            await assert.rejects(sp.status(), refusal("poison"));   /* behind all of it */
            assert.deepEqual(heard.splice(0).map(([type]) => type), word);
        };

        await ends(refusal("cancelled"), { seeds: [1], signal: AbortSignal.abort() }, ["status"]);
        await ends(refusal("invalid"), { seeds: [1], signal: {} }, ["status"]);
        await ends(refusal("cancelled"), { seeds: [7, 8], signal: abort.signal, window: 1 },
                   ["generate", "status"]);
        await ends(/of the seeds/, { seeds: seeds() }, ["generate", "cancel", "status"]);
        await assert.rejects(sp.generate({ ...PATIENT, seed: 1, signal: {} }), refusal("invalid"));
    }));
});

test("a silent broker is left; what it owes is asked again with the rest of its time", async () => {
    const asked = [];

    await withBroker((message, send, peer) => {
        if (message.type === "generate")
            asked.push({ ...message, peer: peer.toString("hex") });
        return asked.length === 2
            ? send(pack({ v: 1, type: "error", id: message.id, code: "poison" })) : undefined;
    }, (brokers) => using({ brokers, silenceMs: 300 }, (sp) =>
        assert.rejects(sp.generate({ ...PATIENT, seed: 5, visitor: "192.0.2.7" }),
                       refusal("poison"))));
    const [first, second] = asked;

    assert.deepEqual([first.seed, first.for, second.seed, second.for, second.id],
                     [5, "192.0.2.7", 5, "192.0.2.7", first.id]);
    assert.notEqual(first.peer, second.peer);
    assert.ok(second.deadline_ms <= first.deadline_ms - 300);
});

/* ---- endpoints and keys ---- */

test("an endpoint beyond this machine needs keys, and all of them need to be endpoints", () => {
    const wrong = [["tcp://192.0.2.1:7701", "denied"], ["tcp://localhost.example:7701", "denied"],
                   ["tcp://127.0.0.1:0;192.0.2.1:7701", "denied"],
                   ["tcp://127.0.0.1:7701,tcp://192.0.2.1:7701", "denied"],
                   ["http://127.0.0.1", "invalid"], ["tcp://127.0.0.1:port", "invalid"],
                   ["tcp://127.0.0.1:1,tcp://127.0.0.1:x", "invalid"], ["", "invalid"],
                   [Array(17).fill("tcp://127.0.0.1:1"), "invalid"]];

    for (const [brokers, word] of wrong)
        assert.throws(() => new Seedpress({ brokers }).close(), refusal(word), String(brokers));
    assert.throws(() => new Seedpress({ broker: "tcp://127.0.0.1:1" }).close(), refusal("invalid"));
    assert.throws(() => new Seedpress({ silenceMs: 0 }).close(), refusal("range"));
    return using({ brokers: "tcp://192.0.2.1:7701", allowPlain: true }, async () => {});
});

function keyFiles() {
    const keyring = path.join(folder, "keyring");
    const make = (name, ...role) => command("keygen", name, "-o", folder, ...role);

    make("broker");
    fs.writeFileSync(keyring, make("alice") + make("site", "--role", "proxy") +
                              make("gpu", "--role", "worker"), { mode: 0o600 });
    make("mallory");
    return { keyring, key: (name) => path.join(folder, `${name}.key`),
             pub: path.join(folder, "broker.pub") };
}

test("an encrypted broker lets in who is on its keyring, in his role", async () => {
    const { keyring, key, pub } = keyFiles();
    const { clients, workers } = await stack.startBroker({}, "--key-file", key("broker"),
                                                         "--keyring", keyring);

    await stack.startWorker(workers, "--key-file", key("gpu"), "--broker-key", pub);
    const as = (name, use) => using({ brokers: clients, keyFile: key(name), brokerKey: pub }, use);
    const asked = { ...PATIENT, seed: 1 };

    assert.equal((await as("alice", (sp) => sp.generate(asked))).seed, 1);
    await assert.rejects(as("alice", (sp) => sp.generate({ ...asked, visitor: "v" })),
                         refusal("denied"));
    assert.equal((await as("site", (sp) => sp.generate({ ...asked, visitor: "v" }))).seed, 1);
    await assert.rejects(as("site", (sp) => sp.withdraw({ sha256: "f".repeat(64), reason: "r" })),
                         refusal("denied"));
    await assert.rejects(as("mallory", (sp) => sp.generate(asked)), (e) => {
        assert.equal(e.word, "denied");
        assert.match(e.message, /does not admit this key/);
        return true;
    });
    await assert.rejects(using({ brokers: clients }, (sp) => sp.generate(asked)),
                         refusal("denied"));
});

test("a key file that cannot be right is said so", () => {
    const [one, two] = ["one", "two"].map((name) => {
        command("keygen", name, "-o", folder);
        return path.join(folder, `${name}.key`);
    });
    const brokerKey = one.replace(/key$/, "pub");
    const open = (options) => () =>
        new Seedpress({ brokers: "tcp://127.0.0.1:1", ...options }).close();
    const text = fs.readFileSync(one, "latin1"), other = fs.readFileSync(two, "latin1");
    const written = (name, content, mode = 0o600) => {
        const file = path.join(folder, name);

        fs.writeFileSync(file, content, { mode });
        return file;
    };
    const wrong = {
        "half.key": text.replace(/secret .*/, ""),
        "mixed.key": text.replace(/secret .*/, /secret .*/.exec(other)[0]),
        "letters.key": text.replace(/secret .{10}/, "secret ~~~~~~~~~~"),
        "large.key": text + "#".repeat(5000),
    };

    for (const [name, content] of Object.entries(wrong))
        assert.throws(open({ keyFile: written(name, content), brokerKey }), (e) => {
            assert.equal(e.word, "file", name);
            assert.ok(!e.message.includes(/secret (.*)/.exec(text)[1]));
            return true;
        });
    fs.chmodSync(written("open.key", text), 0o644);
    assert.throws(open({ keyFile: path.join(folder, "open.key"), brokerKey }), /chmod 600/);
    assert.throws(open({ keyFile: path.join(folder, "none.key"), brokerKey }), refusal("file"));
    assert.throws(open({ keyFile: one }), refusal("invalid"));
    assert.throws(open({ brokerKey }), refusal("invalid"));
    assert.throws(open({ keyFile: one, brokerKey: "~".repeat(40) }), refusal("file"));
});
