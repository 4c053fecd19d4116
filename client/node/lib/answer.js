/* answer -- what brokers say, checked against its hashes and the question, then given the names of
 * the library for C. A broker that contradicts itself is a `bug`. */
import { writeFile } from "node:fs/promises";
import { SeedpressError } from "./error.js";
import { FROM_BROKER, MILLION } from "./fields.js";
import { publicName } from "./message.js";
import { isAsked, parse, sha256 } from "./recipe.js";

function insist(holds, words) {
    if (!holds)
        throw new SeedpressError("bug", words);
}

/* ---- from records to what callers see ---- */

function publicValue(field, value) {
    if (field.kind === "number" && value !== null)
        return value / MILLION;
    return field.kind === "records" ? value.map((v) => publicRecord(field.fields, v)) : value;
}

function publicRecord(fields, record) {
    return Object.fromEntries(
        fields.map((f) => [publicName(f.name), publicValue(f, record[f.name])]));
}

export class Image {
    constructor(record, file) {
        const { bytes, ...facts } = publicRecord(FROM_BROKER.image, record);

        Object.assign(this, facts);
        this.data = file;
        this.len = file ? file.byteLength : bytes;
    }

    get timings() {
        const { queueMs, renderMs, encodeMs, storeMs } = this;

        return { queueMs, renderMs, encodeMs, storeMs };
    }

    async save(path) {
        if (!this.data)
            throw new SeedpressError("invalid", "a receipt has no bytes to save");
        try {
            await writeFile(path, this.data);
        } catch (e) {
            throw new SeedpressError("file", `could not write "${path}": ${e.message}`,
                                     { cause: e });
        }
    }
}

/* ---- pictures ---- */

function checkedRecipe(record) {
    const recipe = sha256(record.recipe) === record.recipe_key ? parse(record.recipe) : null;

    insist(recipe, "the broker sent a damaged recipe: it does not have the hash named with it");
    return recipe;
}

/* Returns the picture's recipe. */
function checkImage(record, file) {
    insist(!file || file.byteLength > 0, "the broker sent a picture without its bytes");
    insist(!file || sha256(file) === record.sha256,
           "the broker sent a damaged picture: its bytes do not have the hash named with them");
    const recipe = checkedRecipe(record);

    insist(recipe.seed === record.seed && recipe.psi === record.psi &&
           recipe.model === record.model,
           "the broker sent a picture whose recipe is of another one");
    return recipe;
}

function readImage(asked, { type, record }, file) {
    insist((type === "receipt") === (asked.want === "receipt"),
           "the broker sent a receipt for a picture, or a picture for a receipt");
    insist(type === "receipt" || file, "the broker sent a picture without its bytes");
    const bytes = type === "receipt" ? null : file;

    insist(isAsked(checkImage(record, bytes), asked),
           "the broker sent another picture than the one asked for");
    return new Image(record, bytes);
}

function readFetched(asked, { record }, file) {
    insist(file, "the broker sent a picture without its bytes");
    checkImage(record, file);
    insist(asked.recipe_key === record.recipe_key || asked.sha256 === record.sha256,
           "the broker sent another picture than the one asked for");
    return new Image(record, file);
}

/* ---- rows ---- */

const ROW = FROM_BROKER.provenance.find((f) => f.name === "rows").fields;

function readRow(asked, record) {
    const recipe = checkedRecipe(record);
    const isAs = (wanted, is) => wanted === null || wanted === undefined || wanted === is;

    insist(isAs(asked.seed, recipe.seed) && isAs(asked.psi, recipe.psi) &&
           isAs(asked.recipe_key, record.recipe_key) && isAs(asked.sha256, record.sha256) &&
           isAs(asked.core_sha256, record.core_sha256),
           "the broker sent another row than those asked for");
    const { model, ...row } = publicRecord(ROW, record);

    return { ...row, seed: recipe.seed, psi: recipe.psi / MILLION, model: recipe.model,
             modelName: model };
}

function readWithdrawal(asked, { record }) {
    return { subject: record.subject, pictures: record.pictures, files: record.files,
             rows: record.rows.map((row) => readRow({}, row)) };
}

/* ---- bulk jobs ---- */

const JOB = FROM_BROKER.bulk_report.find((f) => f.name === "jobs").fields;

function readJob(record, wanted) {
    insist(record.jobs.length === 1,
           `the broker told of ${record.jobs.length} jobs where one was meant`);
    insist(wanted === undefined || record.jobs[0].job === wanted,
           "the broker sent another job than the one asked for");
    return publicRecord(JOB, record.jobs[0]);
}

/* Each item is named once: who uses a plan counts on that. */
function checkParts(parts, total) {
    let item = 0;

    for (const part of parts) {
        insist(part.item === item && part.first <= part.last,
               "the broker sent a job whose parts have gaps");
        insist(parse(part.recipe)?.seed === part.first,
               "the broker sent a job with a damaged recipe");
        item += part.last - part.first + 1;
    }
    insist(item === total, "the broker sent a job whose parts are not all of it");
}

function checkFailures(failures, parts, after) {
    let last = after ?? -1;

    for (const failure of failures) {
        const part = parts.find((p) => failure.item >= p.item &&
                                       failure.item - p.item <= p.last - p.first);

        insist(failure.item > last && failure.seed - failure.item === part?.first - part?.item,
               "the broker sent failures that the job cannot have");
        last = failure.item;
    }
}

function readPlan(asked, { record }) {
    const job = readJob(record, asked.job);
    const { parts: ranges, failures } = publicRecord(FROM_BROKER.bulk_plan, record);

    checkParts(record.parts, job.total);
    checkFailures(record.failures, record.parts, asked.after);
    return { job, ranges, failures };
}

/* ---- which answer belongs to which question ---- */

const whole = (type) => (asked, { record }) => publicRecord(FROM_BROKER[type], record);
const ANSWERS = {
    generate: { types: ["image", "receipt"], read: readImage },
    fetch: { types: ["image"], read: readFetched },
    lookup: { types: ["provenance"],
              read: (asked, { record }) => record.rows.map((row) => readRow(asked, row)) },
    models: { types: ["model_list"],
              read: (asked, message) => whole("model_list")(asked, message).models },
    model_use: { types: ["done"], read: () => undefined },
    status: { types: ["status_report"], read: whole("status_report") },
    ping: { types: ["pong"], read: () => undefined },
    bulk_submit: { types: ["bulk_report"],
                   read: (asked, { record }) => ({ job: readJob(record),
                                                   isNew: record.is_new }) },
    bulk_list: { types: ["bulk_report"],
                 read: (asked, message) => whole("bulk_report")(asked, message).jobs },
    bulk_show: { types: ["bulk_plan"], read: readPlan },
    bulk_control: { types: ["bulk_report"],
                    read: (asked, { record }) => readJob(record, asked.job) },
    bulk_exported: { types: ["done"], read: () => undefined },
    withdraw: { types: ["withdrawal"], read: readWithdrawal },
};

/* What the caller gets for a request ({type, record}); file is the frame after the message, or
 * null. Throws a SeedpressError, `bug`, when the answer is not one. */
export function readAnswer(request, message, file) {
    const { types, read } = ANSWERS[request.type];

    insist(types.includes(message.type),
           `the broker answered "${message.type}" to "${request.type}"`);
    return read(request.record, message, file);
}
