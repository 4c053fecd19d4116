/* The examples, checked by tsc --strict and run; index.d.ts held to what the package gives. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import * as everything from "seedpress";
import { FROM_BROKER, FROM_CLIENT } from "../lib/fields.js";
import { publicName } from "../lib/message.js";
import { sha256 } from "../lib/recipe.js";
import { Stack, temporary } from "./kit.js";

const here = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const folder = temporary();
let stack;

before(async () => {
    stack = await Stack.start();
    await stack.startWorker();
});
after(() => stack.destroy());

const environment = () => ({ ...process.env, SEEDPRESS_BROKER: stack.broker.clients });

async function example(name, ...args) {
    const child = spawn(process.execPath, [path.join(here, "examples", name), ...args],
                        { env: environment(), stdio: ["ignore", "pipe", "pipe"] });
    const said = { stdout: "", stderr: "" };

    for (const stream of Object.keys(said))
        child[stream].on("data", (data) => { said[stream] += data; });
    const [status] = await once(child, "close");

    return { status, ...said };
}

test("tsc --strict takes the examples and the types' own test", () => {
    const tsc = createRequire(import.meta.url).resolve("typescript/lib/tsc.js");
    const ran = spawnSync(process.execPath, [tsc, "-p", path.join(here, "tsconfig.json")],
                          { encoding: "utf8" });

    assert.equal(ran.stdout, "");
    assert.equal(ran.status, 0);
});

/* ---- index.d.ts ---- */

/* Names of the members of each interface and class of index.d.ts. */
function declared() {
    const text = fs.readFileSync(path.join(here, "index.d.ts"), "utf8");
    const members = new Map();

    for (const node of ts.createSourceFile("index.d.ts", text, ts.ScriptTarget.ES2022).statements)
        if (ts.isInterfaceDeclaration(node) || ts.isClassDeclaration(node))
            members.set(node.name.text, node.members.filter((m) => m.name && m.name.text)
                .map((m) => m.name.text));
    return members;
}

const listOf = (type, name) => FROM_BROKER[type].find((f) => f.name === name).fields;
const namesOf = (fields) => fields.map((f) => publicName(f.name));
const same = (a, b, what) => assert.deepEqual([...a].sort(), [...b].sort(), what);

test("index.d.ts has every field of the protocol, by its public name, and no other", () => {
    const types = declared();
    const part = FROM_CLIENT.bulk_submit.find((f) => f.name === "parts").fields;
    const rest = (names, ...without) => names.filter((name) => !without.includes(name));

    same([...types.get("Request"), ...types.get("Look"), ...types.get("Asking")],
         [...rest(namesOf(FROM_CLIENT.generate), "seeds"), "signal"], "Request");
    same([...types.get("Look"), ...types.get("Part")], namesOf(part), "Part");
    same(types.get("Submission"), namesOf(FROM_CLIENT.bulk_submit), "Submission");
    same(types.get("Image"), [...rest(namesOf(FROM_BROKER.image), "bytes"), "data", "len",
                              "timings", "save"], "Image");
    same(types.get("Row"), [...namesOf(listOf("provenance", "rows")), "seed", "psi", "modelName"],
         "Row");
    same(types.get("Job"), namesOf(listOf("bulk_report", "jobs")), "Job");
    same(types.get("Range"), namesOf(listOf("bulk_plan", "parts")), "Range");
    same(types.get("Failure"), namesOf(listOf("bulk_plan", "failures")), "Failure");
    same(types.get("Model"), namesOf(listOf("model_list", "models")), "Model");
    same(types.get("Worker"), namesOf(listOf("status_report", "workers")), "Worker");
    same(types.get("Status"), namesOf(FROM_BROKER.status_report), "Status");
    same(types.get("Withdrawal"), namesOf(FROM_BROKER.withdrawal), "Withdrawal");
    same(rest(Object.getOwnPropertyNames(everything.Seedpress.prototype), "constructor"),
         types.get("Seedpress"), "Seedpress");
    same(rest(Object.keys(new everything.SeedpressError("bug", "")), "name"),
         rest(types.get("SeedpressError"), "name"), "SeedpressError");
    same(Object.keys(everything), ["ERRORS", "Image", "Seedpress", "SeedpressError"], "exports");
});

/* ---- the package ---- */

test("the version is that of the rest", () => {
    const [, wanted] = /^## ([0-9][0-9.]*)/m.exec(fs.readFileSync("CHANGELOG.md", "utf8"));
    const read = (name) => JSON.parse(fs.readFileSync(`client/node/${name}`, "utf8"));
    const lock = read("package-lock.json");

    assert.deepEqual([read("package.json").version, lock.version, lock.packages[""].version],
                     [wanted, wanted, wanted]);
});

test("npm packs every module, the types and the page, and nothing else", () => {
    const ran = spawnSync("npm", ["pack", "--dry-run", "--json", "--offline"],
                          { cwd: here, encoding: "utf8" });
    const [{ files }] = JSON.parse(ran.stdout);
    const modules = fs.readdirSync("client/node/lib").map((name) => `lib/${name}`);

    same(files.map((f) => f.path), ["README.md", "index.d.ts", "index.js", "package.json",
                                    ...modules], "npm pack");
});

/* ---- examples ---- */

test("one.js makes a picture, or says what is wrong", async () => {
    const file = path.join(folder, "42.jpg");
    const made = await example("one.js", "avatars64", "42", file);
    const wrong = await example("one.js", "no-such-model", "42", file);

    assert.deepEqual([made.status, made.stderr], [0, ""]);
    assert.match(made.stdout, /42\.jpg: [0-9]+ bytes, render, /);
    assert.equal(fs.readFileSync(file).readUInt16BE(0), 0xffd8);
    assert.equal(wrong.status, 1);
    assert.match(wrong.stderr, /^unknown_model: unknown model "no-such-model"/);
});

test("provenance.js says where it came from", async () => {
    const file = path.join(folder, "42.jpg");
    const known = await example("provenance.js", file);
    const unknown = await example("provenance.js", path.join(here, "package.json"));

    assert.match(known.stdout, /^exact\n {2}seed 42 of avatars64, psi 0.7, rendered 20/);
    assert.equal(unknown.stdout, "no record\n");
});

test("page.js makes 56 pictures", async () => {
    const pictures = path.join(folder, "page");
    const { status, stderr } = await example("page.js", "avatars64", pictures);

    assert.deepEqual([status, stderr], [0, ""]);
    assert.equal(new Set(fs.readdirSync(pictures).map((name) =>
        sha256(fs.readFileSync(path.join(pictures, name))))).size, 56);
});

/* The first program of a page, against this stack's broker. */
async function runPage(page, prelude = "") {
    const blocks = fs.readFileSync(page, "utf8").split("```js\n").slice(1)
        .map((block) => block.split("```")[0]);
    const code = blocks.find((block) => block.includes('from "seedpress"'));
    const file = path.join(here, "examples", `${path.basename(folder)}.mjs`);

    fs.writeFileSync(file, prelude + code.replace('{ brokers: "tcp://127.0.0.1:7701" }', ""));
    const child = spawn(process.execPath, [file], { env: environment(), cwd: folder,
                                                    stdio: ["ignore", "pipe", "inherit"] });
    let said = "";

    child.stdout.on("data", (data) => { said += data; });
    assert.equal((await once(child, "close"))[0], 0);
    return said;
}

test("what the pages show runs as it stands there", async () => {
    const show = "const show = (seed, data) => console.log(seed, data.length);\n";
    const page = await runPage("client/README.md", show);
    const one = await runPage("client/node/README.md");

    assert.equal(page.trim().split("\n").length, 56);
    assert.match(one, /^[0-9a-f]{64} (ledger|memory) \{/);
});

test("serve.js serves pictures and errors", async () => {
    const child = spawn(process.execPath, [path.join(here, "examples/serve.js"), "avatars64", "0"],
                        { env: environment(), stdio: ["ignore", "pipe", "inherit"] });
    const [line] = await once(readline.createInterface({ input: child.stdout }), "line");
    const url = `http://127.0.0.1:${/port: ([0-9]+)/.exec(line)[1]}`;
    const get = async (name) => {
        const response = await fetch(`${url}/${name}`, { headers: { Connection: "close" } });

        return [response.status, response.headers.get("content-type"),
                Buffer.from(await response.arrayBuffer())];
    };
    const [status, type, bytes] = await get("42.jpg");

    assert.deepEqual([status, type], [200, "image/jpeg"]);
    assert.ok(bytes.equals(fs.readFileSync(path.join(folder, "42.jpg"))));
    assert.deepEqual((await get("42.gif"))[0], 404);
    const [refused, , words] = await get("9999999999.jpg");

    assert.deepEqual([refused, JSON.parse(words).code], [400, "range"]);
    child.kill("SIGTERM");
    assert.deepEqual((await once(child, "exit"))[0], 0);
});
