/* proto/vectors replayed both ways, and the tables of this package held to proto/PROTOCOL.md. */
import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";
import { ERRORS, SeedpressError } from "../lib/error.js";
import { FROM_BROKER, FROM_CLIENT, MILLION } from "../lib/fields.js";
import { check, decode, encode, publicName } from "../lib/message.js";
import { isAsked, parse, sha256 } from "../lib/recipe.js";
import { OPAQUE, unpack } from "../lib/unpack.js";

const read = (name) => JSON.parse(fs.readFileSync(`proto/vectors/${name}.json`, "ascii"));
const messages = read("messages"), recipes = read("recipes");
const TYPES = { client: FROM_CLIENT, broker: FROM_BROKER };

/* What clients and brokers say to each other; the rest is between brokers and workers. */
function isOurs(vector) {
    const type = vector.decoded?.type;

    if (vector.from === "worker" || (vector.from === "broker" && !Object.hasOwn(FROM_BROKER, type)))
        return false;
    return !("error" in vector) || vector.from === "client";
}

/* A vector's value as a record holds it. */
function asRecord(field, value) {
    if (value === null || value === undefined)
        return field.kind === "records" ? [] : field.def;
    switch (field.kind) {
    case "number": return Math.round(value * MILLION);
    case "numbers": return value.map((v) => Math.round(v * MILLION) + 0);
    case "floats": return value.map(Math.fround);
    case "seeds": return Array.isArray(value)
        ? value
        : Array.from({ length: value.last - value.first + 1 }, (_, i) => value.first + i);
    case "records": return value.map((v) => recordOf(field.fields, v));
    default: return value;
    }
}

function recordOf(fields, values) {
    return Object.fromEntries(fields.map((f) => [f.name, asRecord(f, values[f.name])]));
}

test("every message that holds is read as what it says", () => {
    const good = messages.filter((v) => isOurs(v) && !("error" in v));

    assert.ok(good.length > 55);
    for (const v of good) {
        const { type, id, record } = decode(Buffer.from(v.hex, "hex"), v.from);

        assert.deepEqual([type, id], [v.decoded.type, v.decoded.id ?? 0], v.name);
        assert.deepEqual(record, recordOf(TYPES[v.from][type], v.decoded), v.name);
    }
});

test("every message that does not hold is refused with its code and field", () => {
    const bad = messages.filter((v) => isOurs(v) && "error" in v);

    assert.ok(bad.length > 100);
    for (const v of bad)
        assert.throws(() => decode(Buffer.from(v.hex, "hex"), v.from), (e) => {
            assert.ok(e instanceof SeedpressError, v.name);
            assert.equal(e.word, v.error, v.name);
            if (v.field && !["id", "v", "type"].includes(v.field))
                assert.equal(e.field, publicName(v.field), v.name);
            return true;
        });
});

/* A whole number may stand for a decimal, and the packer writes it so; 2^53 is more than it takes
 * for a whole number. Everything else is written byte for byte as seedpress does. */
test("every canonical message of a client is written as seedpress writes it", () => {
    const isWhole = (v) => Number.isInteger(v) || (Array.isArray(v) && v.some(Number.isInteger));
    let bytes = 0;

    for (const v of messages.filter((m) => m.from === "client" && m.canonical)) {
        const { v: version, type, id, ...values } = v.decoded;
        const record = check(type, values);

        if (id === 2 ** 53)
            continue;
        const written = Buffer.from(encode(type, id ?? 0, record));
        const mayDiffer = [values, ...(values.parts ?? [])].some((r) =>
            ["psi", "rotate", "translate", "transform"].some((name) => isWhole(r[name])));

        assert.equal(version, 1);
        assert.deepEqual(decode(written, "client").record, record, v.name);
        if (!mayDiffer) {
            assert.equal(written.toString("hex"), v.hex, v.name);
            bytes++;
        }
    }
    assert.ok(bytes >= 20, `${bytes} compared byte for byte`);
});

/* What a broker says, cut off anywhere, is refused without any other error. */
test("half a message is never taken for a whole one", () => {
    for (const v of messages.filter((m) => isOurs(m) && m.from === "broker")) {
        const whole = Buffer.from(v.hex, "hex");

        for (let len = 0; len < whole.length; len++)
            assert.throws(() => decode(whole.subarray(0, len), "broker"), SeedpressError);
    }
});

/* A map of one-letter keys and nil, claimed to have count entries of which some are there. */
const mapOf = (count, there) => Buffer.concat([
    Buffer.from([0xdf, count >>> 24, count >>> 16, count >>> 8, count]),
    ...Array(there).fill(Buffer.from([0xa1, 0x61, 0xc0]))]);

test("of a key that comes twice the first value counts", () => {
    const ping = Buffer.from("84a2696401a2696402a17601a474797065a470696e67", "hex");

    assert.deepEqual(decode(ping, "client"), { type: "ping", id: 1, record: {} });
    assert.equal(unpack(Buffer.from("82a16101a16102", "hex")).get("a"), 1);
    assert.equal(unpack(Buffer.from("82a161c0a16102", "hex")).get("a"), null);
});

test("a map is read within its bounds, whatever it claims", () => {
    assert.equal(unpack(mapOf(32767, 32767)).size, 1);           /* 65535 objects */
    assert.equal(unpack(mapOf(32768, 32768)), null);
    assert.equal(unpack(mapOf(0xffffffff, 3)), null);
    assert.equal(unpack(Buffer.concat([mapOf(1, 0), Buffer.from([0xa1, 0x61, 0xc6, 0, 0x10, 0, 0]),
                                       Buffer.alloc(1 << 20)])), null);      /* above 1 MiB */
    assert.equal(unpack(Buffer.from("81a161c4020102", "hex")).get("a"), OPAQUE);
    assert.equal(unpack(Buffer.from("81a161c70201ffff", "hex")).get("a"), OPAQUE);
    assert.equal(unpack(Buffer.from("81a161cf0020000000000001", "hex")).get("a"), 2n ** 53n + 1n);
    assert.equal(unpack(Buffer.from("81a161d3ffffffffffffffff", "hex")).get("a"), -1);
});

/* ---- recipes ---- */

const good = recipes.resolve.filter((v) => "text" in v);

test("every recipe is read, and is what its request asked for", () => {
    for (const v of good) {
        const asked = check("generate", { model: v.facts.digest, ...v.request });
        const recipe = parse(v.text);

        assert.equal(sha256(v.text), v.key, v.name);
        assert.ok(recipe, v.name);
        assert.equal(recipe.model, v.facts.digest, v.name);
        assert.ok(isAsked(recipe, asked), v.name);
    }
});

test("another recipe than the one asked for is noticed", () => {
    const v = good.find((r) => r.name === "a cutoff");
    const asked = (more) => check("generate", { model: v.facts.digest, ...v.request, ...more });
    const wrong = [{ seed: 43 }, { psi: -1 }, { cutoff: 0 }, { quality: 91 }, { mark: "none" },
                   { rev: 1 }, { noise_mode: "none" }, { noise_mode: "random", noise_seed: 1 },
                   { translate: [1, 0] }, { rotate: 1 }, { transform: Array(9).fill(0) },
                   { model: "0".repeat(64) }, { model: "cats@0123" }];

    assert.ok(isAsked(parse(v.text), asked({})));
    assert.ok(isAsked(parse(v.text), asked({ model: `any@${v.facts.digest.slice(0, 8)}` })));
    for (const more of wrong)
        assert.ok(!isAsked(parse(v.text), asked(more)), JSON.stringify(more));
    const conditional = good.find((r) => r.name === "a class");

    assert.ok(!isAsked(parse(conditional.text), check("generate",
        { model: "m", ...conditional.request, class: conditional.request.class + 1 })));
});

test("no text is taken for a recipe that is none", () => {
    assert.ok(recipes.refused_texts.length > 30);
    for (const v of recipes.refused_texts)
        assert.equal(parse(v.text), null, v.name);
});

/* ---- tables ---- */

test("the table of errors is that of the protocol", () => {
    const table = read("errors").map((e) => ({
        code: e.number, word: e.code, words: e.words, httpStatus: e.http_status,
        exitCode: e.exit_code, retry: e.retry,
    }));

    assert.deepEqual(ERRORS.map((e) => ({ ...e })), table);
});

test("an error is known by its word; one that is not is a bug, with the broker's own word", () => {
    const known = new SeedpressError("unknown_model", "no cats here");
    const newer = new SeedpressError("too_blue", "", { retry: true, retryAfterMs: 5 });

    assert.deepEqual([known.code, known.word, known.httpStatus, known.retry, known.message],
                     [8, "unknown_model", 404, false, "no cats here"]);
    assert.deepEqual([newer.code, newer.word, newer.retry, newer.retryAfterMs],
                     [27, "too_blue", true, 5]);
    assert.equal(new SeedpressError("ok", "").word, "ok");
    assert.equal(new SeedpressError("ok", "").code, 27);
});

function rowsOf(part) {
    const table = /\| field \| type .*\n\| ---.*\n((?:\|.*\n)+)/.exec(part);

    return table ? table[1].trim().split("\n").map((line) =>
        line.slice(1, -1).split("|").map((cell) => cell.trim())) : [];
}

function rangeOf(field) {
    const unit = field.kind.startsWith("number") ? MILLION : 1;
    const range = `${field.min / unit}..${field.max / unit}`;

    switch (field.kind) {
    case "int": case "number": return range;
    case "text": return `${range} bytes`;
    case "digest": return "64 hex digits";
    case "flag": return "true, false";
    case "word": return field.words.map((w) => `\`${w}\``).join(" ");
    case "numbers": return `${field.most} of ${range}`;
    case "floats": return `${field.most}, finite`;
    case "records": return `at most ${field.most}`;
    default: return `at most ${field.most} of ${range}`;
    }
}

function defaultOf(field) {
    if (field.required)
        return "required";
    if (field.def === null || field.kind === "text" || field.kind === "records")
        return "-";
    if (field.kind === "word")
        return `\`${field.def}\``;
    return String(field.kind === "number" ? field.def / MILLION : field.def);
}

const KINDS = { flag: "bool", records: "list of maps", numbers: "list of number",
                floats: "list of float" };

function assertSame(fields, rows, where) {
    assert.deepEqual(fields.map((f) => [`\`${f.name}\``, KINDS[f.kind] ?? f.kind, rangeOf(f),
                                        defaultOf(f)]),
                     rows.map((r) => r.slice(0, 4)), where);
}

test("the tables of messages are those of PROTOCOL.md, row by row", () => {
    const page = fs.readFileSync("proto/PROTOCOL.md", "ascii");
    const sections = { "What clients send": FROM_CLIENT, "What clients receive": FROM_BROKER };

    for (const [title, types] of Object.entries(sections)) {
        const section = page.split(`\n## ${title}`)[1].split("\n## ")[0];
        const parts = section.split("\n### ").slice(1);

        assert.deepEqual(parts.map((p) => /^`(\w+)`/.exec(p)[1]), Object.keys(types));
        for (const part of parts) {
            const type = /^`(\w+)`/.exec(part)[1];
            const [own, ...lists] = part.split("\n#### ");

            assertSame(types[type], rowsOf(own), type);
            for (const list of lists) {
                const name = /^`(\w+)`/.exec(list)[1];

                assertSame(types[type].find((f) => f.name === name).fields, rowsOf(list),
                           `${name} of ${type}`);
            }
        }
    }
});
