/* The package against a real broker, worker and PostgreSQL. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test, { after, before } from "node:test";
import { Image, Seedpress, SeedpressError } from "seedpress";
import { coreSha256 } from "../lib/jpeg.js";
import { sha256 } from "../lib/recipe.js";
import { seedpress as command, Stack, temporary } from "./kit.js";

const MODEL = "avatars64", PATIENT = { model: MODEL, deadlineMs: 600000 };
const folder = temporary();
let stack, sp;

before(async () => {
    stack = await Stack.start();
    await stack.startWorker();
    sp = new Seedpress({ brokers: stack.broker.clients, answerMs: 60000 });
});
after(async () => {
    await sp.close();
    await stack.destroy();
});

const refusal = (word) => (e) => e instanceof SeedpressError && e.word === word;

test("a picture comes with its facts, and can be saved", async () => {
    const image = await sp.generate({ ...PATIENT, seed: 42, psi: 0.7 });
    const file = path.join(folder, "42.jpg");

    assert.ok(image instanceof Image && image.data instanceof Uint8Array);
    assert.deepEqual([image.seed, image.psi, image.source], [42, 0.7, "render"]);
    assert.equal(sha256(image.data), image.sha256);
    assert.equal(sha256(image.recipe), image.recipeKey);
    assert.equal(coreSha256(image.data), image.coreSha256);
    assert.equal(image.len, image.data.byteLength);
    assert.ok(image.timings.renderMs >= 0 && image.run > 0);
    await image.save(file);
    assert.ok(image.data.equals(fs.readFileSync(file)));
    await assert.rejects(image.save(path.join(folder, "none", "42.jpg")), refusal("file"));
    const again = await sp.generate({ ...PATIENT, seed: 42, psi: 0.7 });

    assert.notEqual(again.source, "render");
    assert.ok(image.data.equals(again.data));
});

test("a receipt is a picture without bytes", async () => {
    const receipt = await sp.generate({ ...PATIENT, seed: 42, psi: 0.7, want: "receipt" });

    assert.equal(receipt.data, null);
    assert.ok(receipt.len > 0);
    await assert.rejects(receipt.save(path.join(folder, "r.jpg")), refusal("invalid"));
});

test("many pictures come as they are ready, each seed once", async () => {
    const seeds = [];

    for await (const { seed, image, error } of sp.generateMany({ ...PATIENT, first: 100, count: 30,
                                                                 window: 8 })) {
        assert.equal(error, null);
        assert.equal(image.seed, seed);
        seeds.push(seed);
    }
    assert.deepEqual(seeds.sort((a, b) => a - b), Array.from({ length: 30 }, (_, i) => 100 + i));
});

test("a seed that fails is told with its error, the others come", async () => {
    const ended = [];

    for await (const one of sp.generateMany({ model: MODEL, seeds: new Set([42, 4000000000]),
                                              psi: 0.7, cache: "only" }))
        ended.push([one.seed, one.error?.word ?? "image"]);
    assert.deepEqual(new Map(ended), new Map([[42, "image"], [4000000000, "not_found"]]));
});

test("what cannot be is refused in words that name the option", async () => {
    const wrong = [[{ seed: 1 }, "invalid", /needs a model/],
                   [{ model: MODEL }, "invalid", /needs a seed/],
                   [{ model: MODEL, seed: -1 }, "range", /^seed is out of range/],
                   [{ model: MODEL, seed: 1.5 }, "invalid", /^seed needs to be a whole/],
                   [{ model: MODEL, seed: 1, psi: 2.5 }, "range", /^psi is out of range/],
                   [{ model: MODEL, seed: 1, psi: 1 / 3 }, "range", /six decimal places/],
                   [{ model: MODEL, seed: 1, noiseMode: "loud" }, "invalid", /^noiseMode needs/],
                   [{ model: MODEL, seed: 1, noiseSeed: 2 ** 32 }, "range", /^noiseSeed is out/],
                   [{ model: MODEL, sed: 1 }, "invalid", /no option "sed"/],
                   [{ model: "no-such-model", seed: 1 }, "unknown_model", /no-such-model/],
                   [{ model: MODEL, seed: 1, rotate: 90 }, "unsupported", /transform/]];

    for (const [options, word, words] of wrong)
        await assert.rejects(sp.generate(options), (e) => {
            assert.ok(e instanceof SeedpressError, JSON.stringify(options));
            assert.equal(e.word, word, JSON.stringify(options));
            assert.match(e.message, words);
            return true;
        });
    await assert.rejects(async () => {
        for await (const one of sp.generateMany({ model: MODEL, seeds: [1, "2"] }))
            assert.ok(one);
    }, refusal("invalid"));
});

test("what was made is found by seed, recipe and hash, and as a file, also without metadata",
     async () => {
    const image = await sp.generate({ ...PATIENT, seed: 42, psi: 0.7 });
    const [row] = await sp.lookup({ seed: 42, model: MODEL, psi: 0.7 });

    assert.equal(row.recipeKey, image.recipeKey);
    assert.deepEqual([row.seed, row.psi, row.model, row.modelName, row.kept],
                     [42, 0.7, image.model, MODEL, true]);
    for (const query of [{ recipeKey: image.recipeKey }, { sha256: image.sha256 },
                         { coreSha256: image.coreSha256 }])
        assert.equal((await sp.lookup(query))[0].sha256, image.sha256);
    assert.deepEqual(await sp.lookup({ seed: 4000000001 }), []);

    const exact = await sp.provenance({ file: image.data });

    assert.deepEqual([exact.grade, exact.rows[0].seed], ["exact", 42]);
    const jpeg = Buffer.from(image.data);
    const comment = Buffer.from([0xff, 0xfe, 0, 4, 0x68, 0x69]);
    const other = Buffer.concat([jpeg.subarray(0, 2), comment, jpeg.subarray(2)]);
    const file = path.join(folder, "other.jpg");

    fs.writeFileSync(file, other);
    const loose = await sp.provenance({ file });

    assert.deepEqual([loose.grade, loose.rows[0].seed], ["exact (metadata differs)", 42]);
    assert.equal((await sp.provenance({ file: Buffer.from("no picture") })).grade, "no record");
    await assert.rejects(sp.provenance({ file: path.join(folder, "none") }), refusal("file"));
    await assert.rejects(sp.lookup({ seed: 1, sha256: image.sha256 }), refusal("invalid"));
});

test("a stored file is fetched, by recipe and by hash", async () => {
    const image = await sp.generate({ ...PATIENT, seed: 42, psi: 0.7 });

    assert.ok(image.data.equals((await sp.fetch({ recipeKey: image.recipeKey })).data));
    assert.ok(image.data.equals((await sp.fetch({ sha256: image.sha256 })).data));
    await assert.rejects(sp.fetch({ sha256: "f".repeat(64) }), refusal("not_found"));
    await assert.rejects(sp.fetch({}), refusal("invalid"));
});

test("models and the broker's state are told", async () => {
    const [model] = await sp.models();

    assert.deepEqual([model.name, model.width, model.height, model.cDim], [MODEL, 64, 64, 0]);
    await sp.modelUse(MODEL, model.digest.slice(0, 8));
    assert.equal((await sp.models())[0].bound, true);
    const status = await sp.status();

    assert.equal(status.workers.length, 1);
    assert.ok(status.ledgerUp && status.answered > 30);
    await sp.ping();
});

test("a bulk job is submitted, shown and done", async () => {
    const parts = [{ model: MODEL, first: 100, last: 109 }, { model: MODEL, first: 0, last: 4,
                                                              psi: 0.5 }];
    const tried = await sp.bulkSubmit({ name: "node", parts, dry: true });
    const { job, isNew } = await sp.bulkSubmit({ name: "node", parts });

    assert.deepEqual([tried.job.job, tried.job.total], [0, 15]);
    assert.deepEqual([isNew, job.total, job.name], [true, 15, "node"]);
    assert.equal((await sp.bulkSubmit({ name: "node", parts })).isNew, false);
    await assert.rejects(sp.bulkSubmit({ name: "node", parts: parts.slice(1) }),
                         refusal("conflict"));
    assert.equal((await sp.bulkList({ name: "node" }))[0].job, job.job);
    const plan = await sp.bulkShow(job.job);

    assert.deepEqual(plan.ranges.map((r) => [r.item, r.first, r.last]),
                     [[0, 100, 109], [10, 0, 4]]);
    assert.deepEqual(plan.failures, []);
    await stack.broker.program.waitFor(" bulk_chunk ");
    assert.equal((await sp.bulkShow(job.job)).job.state, "done");
    await assert.rejects(sp.bulkControl(job.job, "cancel"), refusal("conflict"));
});

/* Without an exporter nothing of it is rendered. */
test("a bulk job is paused, resumed, exported and cancelled", async () => {
    const parts = [{ model: MODEL, first: 42, last: 43, psi: 0.7 }];
    const { job } = await sp.bulkSubmit({ name: "files", keep: "provenance", parts });

    assert.equal((await sp.bulkControl(job.job, "pause")).state, "paused");
    assert.equal((await sp.bulkControl(job.job, "resume")).state, "running");
    await sp.bulkExported(job.job, 0, 1);        /* seed 42 is there */
    assert.equal((await sp.bulkShow(job.job)).job.done, 1);
    assert.equal((await sp.bulkControl(job.job, "cancel")).state, "cancelled");
    await assert.rejects(sp.bulkControl(job.job, "stop"), refusal("invalid"));
    await assert.rejects(sp.bulkShow(99), refusal("not_found"));
});

test("a picture is taken back for ever", async () => {
    const image = await sp.generate({ ...PATIENT, seed: 9 });
    const { rows, pictures } = await sp.withdraw({ sha256: image.sha256, reason: "a test" });

    assert.deepEqual([pictures, rows[0].recipeKey], [1, image.recipeKey]);
    await assert.rejects(sp.generate({ ...PATIENT, seed: 9 }), (e) => {
        assert.deepEqual([e.word, e.httpStatus, e.retry], ["withdrawn", 410, false]);
        return true;
    });
    await assert.rejects(sp.withdraw({ sha256: image.sha256 }), refusal("invalid"));
});

test("what this package gets is what the command gets", async () => {
    const out = path.join(folder, "7.jpg");
    const image = await sp.generate({ ...PATIENT, seed: 7, psi: -1, quality: 80 });

    command("--broker", stack.broker.clients, "generate", "--model", MODEL, "--seed", "7",
            "--psi", "-1", "--quality", "80", "-o", out);
    assert.ok(image.data.equals(fs.readFileSync(out)));
});
