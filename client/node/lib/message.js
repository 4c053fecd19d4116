/* message -- from maps of bytes to records and back, as the tables of fields.js say. A record has
 * the fields of its type by their names on the wire, decimals as millionths, null (text: "") where
 * nothing was given. One reader serves what brokers send and what the caller wants sent. */
import { encode as pack } from "@msgpack/msgpack";
import { SeedpressError } from "./error.js";
import { FROM_BROKER, FROM_CLIENT, MILLION } from "./fields.js";
import { Float, unpack } from "./unpack.js";

export const VERSION = 1;
const SENDERS = { client: FROM_CLIENT, broker: FROM_BROKER };
const DECIMAL_MAX = 1e9;
const FLOAT32_MAX = 3.4028234663852886e38;
const DIGEST = /^[0-9a-f]{64}$/;
const PLAIN = /^[\x20-\x7e\n]*$/;

/* "noise_seed" is noiseSeed here; some words mean too little, or something else, in a program. */
const PUBLIC = { class: "classIndex", for: "visitor" };
export function publicName(name) {
    return PUBLIC[name] ?? name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}

function refuse(code, field, why) {
    const name = publicName(field.name);

    throw new SeedpressError(code, `${name} ${why}`, { field: name });
}

function refuseRange(field) {
    const unit = field.kind === "number" || field.kind === "numbers" ? MILLION : 1;

    refuse("range", field,
           `is out of range: it goes from ${field.min / unit} to ${field.max / unit}`);
}

/* ---- values ---- */

/* null: it stands for no decimal of at most six places (as number_millionths_of in proto/). */
export function millionthsOf(value) {
    if (!(Math.abs(value) <= DECIMAL_MAX))
        return null;
    const m = Math.round(value * MILLION);

    if (m / MILLION !== value && Math.fround(m / MILLION) !== value)
        return null;
    return m + 0;                    /* -0 is 0 */
}

function plainNumber(field, value, need) {
    const v = value instanceof Float ? value.value : value;

    if (typeof v === "bigint")
        return Number(v);            /* good only to be found out of range */
    return typeof v === "number" ? v : refuse("invalid", field, need);
}

function readInt(field, value) {
    if (typeof value === "bigint")
        return refuseRange(field);
    if (!Number.isInteger(value))
        return refuse("invalid", field, "needs to be a whole number");
    return value < field.min || value > field.max ? refuseRange(field) : value + 0;
}

function readNumber(field, value) {
    const v = plainNumber(field, value, "needs to be a number");

    if (!(v >= field.min / MILLION && v <= field.max / MILLION))
        return refuseRange(field);
    return millionthsOf(v) ??
           refuse("range", field, "needs to be a number with at most six decimal places");
}

function readFloat(field, value) {
    const v = plainNumber(field, value, "needs to be a list of numbers");

    if (!(Math.abs(v) <= FLOAT32_MAX))
        return refuse("range", field, "holds a number that is no finite float32");
    return Math.fround(v);
}

function readText(field, value) {
    if (typeof value !== "string")
        return refuse("invalid", field, "needs to be a string");
    if (value.length < field.min || value.length > field.max)
        return refuse("range", field,
                      `has ${value.length} bytes: ${field.min} to ${field.max} are allowed`);
    return PLAIN.test(value) ? value : refuse("invalid", field, "needs to be plain ASCII");
}

function readSeeds(field, value) {
    if (value instanceof Map)
        return readRange(field, value.get("first") ?? null, value.get("last") ?? null);
    return readList(field, value, "needs to be a list of whole numbers").map(
        (v) => readInt(field, v));
}

function readRange(field, first, last) {
    if (first === null || last === null)
        return refuse("invalid", field, "needs first and last");
    const lo = readInt(field, first), hi = readInt(field, last);

    if (lo > hi)
        return refuse("range", field, `runs backwards: ${lo} to ${hi}`);
    if (hi - lo + 1 > field.most)
        return refuse("range", field, `has too many items: at most ${field.most} are allowed`);
    return Array.from({ length: hi - lo + 1 }, (_, i) => lo + i);
}

function readList(field, value, need) {
    if (!Array.isArray(value))
        return refuse("invalid", field, need);
    if (value.length > field.most)
        return refuse("range", field,
                      `has ${value.length} items: at most ${field.most} are allowed`);
    return value;
}

/* A list that has just as many items as it must. */
function readExactly(field, value, readItem) {
    const list = readList(field, value, "needs to be a list of numbers");

    if (list.length !== field.most)
        return refuse("range", field, `needs ${field.most} numbers, not ${list.length}`);
    return list.map((v) => readItem(field, v));
}

function readRecord(field, value) {
    if (value instanceof Map)
        return readFields(field.fields, (name) => value.get(name));
    if (typeof value !== "object" || value === null || Array.isArray(value))
        return refuse("invalid", field, "needs to be a list of maps");
    return readFields(field.fields, (name) => value[name]);
}

function readRecords(field, value) {
    return readList(field, value, "needs to be a list of maps").map((item, i) => {
        try {
            return readRecord(field, item);
        } catch (e) {
            if (!(e instanceof SeedpressError) || e.field === publicName(field.name))
                throw e;
            const one = publicName(field.name).slice(0, -1);

            throw new SeedpressError(e.word, `${one} ${i + 1}: ${e.message}`, { field: e.field });
        }
    });
}

const READERS = {
    int: readInt,
    number: readNumber,
    text: readText,
    word: (field, value) => (field.words.includes(value)
        ? value
        : refuse("invalid", field, `needs to be one of ${field.words.join(", ")}`)),
    digest: (field, value) => (typeof value === "string" && DIGEST.test(value)
        ? value
        : refuse("invalid", field, "needs to be 64 lower-case hex digits")),
    flag: (field, value) => (typeof value === "boolean"
        ? value
        : refuse("invalid", field, "needs to be true or false")),
    seeds: readSeeds,
    numbers: (field, value) => readExactly(field, value, readNumber),
    floats: (field, value) => readExactly(field, value, readFloat),
    records: readRecords,
};

/* nil and undefined count as not there. */
function readFields(fields, get) {
    const record = {};

    for (const field of fields) {
        const value = get(field.name) ?? null;

        if (value !== null)
            record[field.name] = READERS[field.kind](field, value);
        else if (field.required)
            refuse("invalid", field, "is missing");
        else
            record[field.name] = field.kind === "records" ? [] : field.def;
    }
    return record;
}

/* ---- the rules that no single field can state ---- */

function insist(holds, words, code = "invalid") {
    if (!holds)
        throw new SeedpressError(code, words);
}

function checkTransform(r, where = "") {
    insist(!r.transform || (!r.translate && r.rotate === null),
           `${where}give either transform, or translate and rotate`);
}

function checkPart(part, index) {
    const where = `part ${index + 1}: `;

    insist(part.first <= part.last,
           `${where}its seeds are reversed: first is ${part.first}, last is ${part.last}`, "range");
    insist(part.class_mod === 0 || part.class === null,
           `${where}give classIndex or classMod, not both`);
    checkTransform(part, where);
}

const either = (r) =>
    insist((r.recipe_key === null) !== (r.sha256 === null), "give either recipeKey or sha256");

const WHOLE = {
    generate(r) {
        insist((r.seed === null) === (r.seeds !== null && r.seeds.length > 0),
               "give either seed or seeds");
        checkTransform(r);
    },
    lookup(r) {
        const given = [r.recipe_key, r.sha256, r.core_sha256, r.seed, r.since]
            .filter((v) => v !== null).length + (r.job > 0) + (r.like !== "");

        insist(given === 1,
               "give one of recipeKey, sha256, coreSha256, seed, job, since and like");
        insist(r.seed !== null || r.psi === null, "psi goes with seed only");
        insist(r.seed !== null || r.since !== null || r.model === "",
               "model goes with seed and since only");
        insist(r.job !== 0 || r.first === 0, "first goes with job only");
        insist(r.like.length % 32 === 0, "like is pairs of hashes, of 16 hex digits each");
    },
    fetch: either,
    withdraw: either,
    bulk_submit(r) {
        insist(r.parts.length > 0, "a bulk job needs at least one of parts");
        r.parts.forEach(checkPart);
    },
};

/* ---- whole messages ---- */

/* The record of a type that values, by their names on the wire, stand for. Throws a SeedpressError,
 * invalid or range, whose field is the public name of what is wrong. */
export function check(type, values) {
    const record = readFields(FROM_CLIENT[type], (name) => values[name]);

    WHOLE[type]?.(record);
    return record;
}

function isDefault(field, value) {
    return value === null || value === field.def || (value === false && field.kind === "flag") ||
           (value === "" && field.kind === "text") ||
           (field.kind === "records" && value.length === 0 && !field.required);
}

function toWire(field, value) {
    switch (field.kind) {
    case "number": return value / MILLION;
    case "numbers": return value.map((v) => v / MILLION);
    case "records": return value.map((item) => toMap(field.fields, item));
    default: return value;
    }
}

function toMap(fields, record) {
    const map = {};

    for (const field of fields)
        if (field.required || !isDefault(field, record[field.name]))
            map[field.name] = toWire(field, record[field.name]);
    return map;
}

export function encode(type, id, record) {
    return pack({ ...toMap(FROM_CLIENT[type], record), v: VERSION, type, ...(id ? { id } : {}) });
}

function readHead(map, types) {
    const v = map.get("v") ?? null, type = map.get("type") ?? null;

    insist(v !== null, "the protocol's version is missing");
    insist(typeof v === "number" || typeof v === "bigint", "the version needs to be whole");
    insist(v === VERSION, `protocol version ${v} is not spoken here; ${VERSION} is`, "version");
    insist(typeof type === "string", "the message has no type");
    insist(Object.hasOwn(types, type), "unknown message type", "unknown_type");
    return type;
}

/* {type, id, record} of what a sender ("broker", "client") sent. Throws a SeedpressError; its id
 * is that of the message where it could be read, else 0. */
export function decode(bytes, sender) {
    const types = SENDERS[sender];
    const map = unpack(bytes);
    let id = 0;

    insist(map !== null, "the frame is not one whole msgpack map within the limits");
    try {
        const given = map.get("id") ?? 0;

        insist(Number.isInteger(given) && given >= 0, "id needs to be a whole number up to 2^53");
        id = given;
        const type = readHead(map, types);
        const record = readFields(types[type], (name) => map.get(name));

        WHOLE[type]?.(record);
        return { type, id, record };
    } catch (e) {
        throw Object.assign(e, { id });
    }
}
