/* recipe -- what was asked for, as one canonical text (PROTOCOL.md, "The recipe"): read strictly,
 * compared with a request. */
import { createHash } from "node:crypto";
import { MILLION } from "./fields.js";

const U32 = 4294967295, SHIFT_MAX = 1000 * MILLION, SIZE_MAX = 4096;
const IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1];
const NUMBER = "(0|-?[1-9][0-9]{0,10})";
const TEXT = new RegExp("^seedpress-recipe/1\n" +
    "model=(?<model>[0-9a-f]{64})\n" +
    `latent=seed:(?<seed>${NUMBER})\n` +
    `psi=(?<psi>${NUMBER})\n` +
    `cutoff=(?<cutoff>${NUMBER})\n` +
    `class=(?<class>none|${NUMBER})\n` +
    `noise=(?<noise>none|const|stream|random:(?<noiseSeed>${NUMBER}))\n` +
    `transform=(?<transform>none|tr:(?<shift>${NUMBER},${NUMBER},${NUMBER})|` +
    "m:(?<matrix>[0-9a-f]{8}(,[0-9a-f]{8}){8}))\n" +
    `size=(?<width>${NUMBER})x(?<height>${NUMBER}):native\n` +
    `format=jpeg:q(?<quality>${NUMBER}):420:baseline\n` +
    "mark=(?<mark>none|xmp|c2pa)\n" +
    `rev=(?<rev>${NUMBER})\n$`);

export function sha256(data) {
    return createHash("sha256").update(data).digest("hex");
}

function within(text, min, max) {
    return text === undefined || (Number(text) >= min && Number(text) <= max);
}

/* ---- transforms, as their line says them ---- */

function hexOf(value) {
    const bytes = Buffer.alloc(4);

    bytes.writeFloatBE(value + 0);   /* -0 is 0 */
    return bytes.toString("hex");
}

function matrixLine(matrix) {
    const line = matrix.map(hexOf).join(",");

    return line === IDENTITY.map(hexOf).join(",") ? "none" : `m:${line}`;
}

/* The line that a request's transform, or translate and rotate, become; [x, y] and degrees in
 * millionths. */
function transformLine(r) {
    if (r.transform)
        return matrixLine(r.transform);
    const moved = [...(r.translate ?? [0, 0]), r.rotate ?? 0];

    return moved.some((v) => v !== 0) ? `tr:${moved.join(",")}` : "none";
}

function isTransform(g) {
    if (g.shift !== undefined) {
        const moved = g.shift.split(",").map(Number);

        return moved.some((v) => v !== 0) && moved.every((v) => Math.abs(v) <= SHIFT_MAX);
    }
    if (g.matrix === undefined)
        return true;
    const floats = g.matrix.split(",").map((hex) => Buffer.from(hex, "hex").readFloatBE());

    return floats.every(Number.isFinite) && matrixLine(floats) === g.transform;
}

/* The recipe that text says; null: it is none, or not canonical. psi in millionths. */
export function parse(text) {
    const g = TEXT.exec(text)?.groups;

    if (!g || !within(g.seed, 0, U32) || !within(g.psi, -2 * MILLION, 2 * MILLION) ||
        !within(g.cutoff, 0, 64) || !(g.class === "none" || within(g.class, 0, 65535)) ||
        !within(g.noiseSeed, 0, U32) || !isTransform(g) || !within(g.width, 1, SIZE_MAX) ||
        !within(g.height, 1, SIZE_MAX) || !within(g.quality, 1, 100) || !within(g.rev, 0, U32))
        return null;
    return {
        model: g.model, seed: Number(g.seed), psi: Number(g.psi), cutoff: Number(g.cutoff),
        classIndex: g.class === "none" ? null : Number(g.class), noise: g.noise.split(":")[0],
        noiseSeed: g.noiseSeed === undefined ? null : Number(g.noiseSeed),
        transform: g.transform, width: Number(g.width), height: Number(g.height),
        quality: Number(g.quality), mark: g.mark, rev: Number(g.rev),
    };
}

/* "cats@1a2b" and a whole digest name the model itself; a bare name may be bound to any. */
function isModelAsked(model, asked) {
    const at = asked.indexOf("@");

    if (at < 0 && asked.length !== 64)
        return true;
    return model.startsWith(asked.slice(at + 1));
}

/* Whether a recipe is what the record of a generate asked for. Some models have no classes and no
 * noise: what was asked is then none. */
export function isAsked(recipe, asked) {
    const noise = asked.noise_mode ?? "const";
    const hasClass = recipe.classIndex === null || recipe.classIndex === asked.class;
    const hasNoise = recipe.noise === "none" ||
                     (recipe.noise === noise && recipe.noiseSeed === asked.noise_seed);
    /* A cutoff may have become the number of the model's rows: by itself, or because of psi 1. */
    const hasCutoff = asked.cutoff === null || recipe.cutoff <= asked.cutoff ||
                      asked.psi === MILLION;

    return recipe.seed === asked.seed && recipe.psi === asked.psi &&
           recipe.quality === asked.quality && recipe.rev === asked.rev &&
           recipe.mark === (asked.mark ?? "xmp") && hasClass && hasNoise && hasCutoff &&
           isModelAsked(recipe.model, asked.model) && recipe.transform === transformLine(asked);
}
