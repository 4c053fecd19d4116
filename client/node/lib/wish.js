/* wish -- what callers want, by their names, as the values of messages: {model, noiseSeed} becomes
 * {model, noise_seed}. A name that nobody knows is a mistake, and is said. */
import { SeedpressError } from "./error.js";
import { FROM_CLIENT } from "./fields.js";
import { publicName } from "./message.js";

export const SEEDS_MAX = 4294967295;
const LIKE_MAX = 144;
const HASH_MAX = 2n ** 64n;

export function refuse(code, why, field = null) {
    throw new SeedpressError(code, why, { field });
}

const namesOf = (fields) => new Map(fields.map((f) => [publicName(f.name), f.name]));
const NAMES = Object.fromEntries(
    Object.entries(FROM_CLIENT).map(([type, fields]) => [type, namesOf(fields)]));
const PART_NAMES = namesOf(FROM_CLIENT.bulk_submit.find((f) => f.name === "parts").fields);

function rename(names, options, what) {
    const values = {};

    if (typeof options !== "object" || options === null)
        refuse("invalid", `${what} needs an object of options`);
    for (const [name, value] of Object.entries(options)) {
        if (!names.has(name))
            refuse("invalid", `${what} has no option "${name}"`, name);
        values[names.get(name)] = value;
    }
    return values;
}

/* ---- the questions ---- */

export function generate(options) {
    const values = rename(NAMES.generate, options, "a request");

    if (values.model === undefined || values.model === null || values.model === "")
        refuse("invalid", "a request needs a model", "model");
    if (values.seed === undefined || values.seed === null || values.seeds !== undefined)
        refuse("invalid", "a request needs a seed; generateMany takes several", "seed");
    return values;
}

/* like: a list of bigints, the perceptual hashes. */
function readLike(like) {
    if (!Array.isArray(like) || like.some((v) => typeof v !== "bigint" || v < 0n || v >= HASH_MAX))
        refuse("invalid", "like needs to be a list of bigints of 64 bits", "like");
    if (like.length > LIKE_MAX)
        refuse("range", `like has ${like.length} items: at most ${LIKE_MAX} are allowed`, "like");
    return like.map((v) => v.toString(16).padStart(16, "0")).join("");
}

export function lookup(query) {
    const values = rename(NAMES.lookup, query, "a query");

    return values.like === undefined || values.like === null
        ? values : { ...values, like: readLike(values.like) };
}

export function submission(options) {
    const values = rename(NAMES.bulk_submit, options, "a bulk job");

    if (!Array.isArray(values.parts))
        refuse("invalid", "a bulk job needs a list of parts", "parts");
    return { ...values, parts: values.parts.map((part, i) =>
        rename(PART_NAMES, part, `part ${i + 1}`)) };
}

/* Any other question. */
export function plain(type, options) {
    return rename(NAMES[type], options, type);
}

/* ---- several seeds ---- */

/* An iterator of the seeds that {seeds} or {first, count} name; each is checked as it is asked. */
export function seedsOf({ seeds, first = 0, count }) {
    if ((seeds === undefined) === (count === undefined))
        refuse("invalid", "give either seeds, or first and count", "seeds");
    if (seeds !== undefined) {
        if (typeof seeds === "string" || typeof seeds?.[Symbol.iterator] !== "function")
            refuse("invalid", "seeds needs to be a list, or something else to iterate over",
                   "seeds");
        return seeds[Symbol.iterator]();
    }
    if (!Number.isInteger(first) || !Number.isInteger(count) || first < 0 || count < 0)
        refuse("invalid", "first and count need to be whole numbers from 0 on", "first");
    if (first + count - 1 > SEEDS_MAX)
        refuse("range", `seeds end at ${SEEDS_MAX}: ${count} from ${first} on go beyond`, "count");
    return (function* () {
        for (let i = 0; i < count; i++)
            yield first + i;
    })();
}
