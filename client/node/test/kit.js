/* kit -- the real programs for tests: a PostgreSQL of their own, brokers and workers on free ports,
 * waited for by what they log. All of it ends with this process, however that ends. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";

const BUILD = process.env.SEEDPRESS_BUILD ?? "build";
const PATIENCE_MS = 120000;
/* Stops a PostgreSQL once nobody holds the other end of its standard input any more. */
const GUARD = 'read -r line; deploy/postgres.sh stop "$1"; rm -rf "$1"';

const environment = () => {
    const { SEEDPRESS_BROKER, SEEDPRESS_KEY_FILE, SEEDPRESS_BROKER_KEY, ...rest } = process.env;

    return { ...rest, SEEDPRESS_PG_FSYNC: "off", SEEDPRESS_PG_STOP: "immediate" };
};

export function run(program, ...args) {
    const ran = spawnSync(program, args, { encoding: "latin1", env: environment() });

    if (ran.status !== 0)
        throw new Error(`${program} ${args.join(" ")} gave ${ran.status}: ${ran.stderr}`);
    return ran.stdout;
}

export const seedpress = (...args) => run(`${BUILD}/seedpress`, ...args);

/* ---- programs ---- */

export class Program {
    constructor(name, ...args) {
        this.lines = [];
        this.watchers = new Set();
        this.child = spawn("setpriv", ["--pdeathsig", "KILL", `${BUILD}/${name}`, ...args],
                           { stdio: ["ignore", "pipe", "pipe"], env: environment() });
        this.exited = once(this.child, "exit");
        for (const stream of [this.child.stdout, this.child.stderr])
            readline.createInterface({ input: stream }).on("line", (line) => {
                this.lines.push(line);
                this.watchers.forEach((watch) => watch(line));
            });
    }

    /* The first line that holds word, from line number `from` on. */
    async waitFor(word, from = 0) {
        const there = this.lines.slice(from).find((line) => line.includes(word));

        if (there !== undefined)
            return there;
        return new Promise((resolve, reject) => {
            const give = (settle, value) => {
                clearTimeout(timer);
                this.watchers.delete(watch);
                settle(value);
            };
            const fail = (why) => give(reject, new Error(
                `"${word}" did not come, ${why}:\n${this.lines.join("\n")}`));
            const watch = (line) => line.includes(word) && give(resolve, line);
            const timer = setTimeout(() => fail("time is up"), PATIENCE_MS);

            this.watchers.add(watch);
            this.exited.then(() => this.watchers.has(watch) && fail("the program ended"));
        });
    }

    async kill(signal = "SIGKILL") {
        this.child.kill(signal);
        await this.exited;
    }
}

/* ---- a folder, a database ---- */

export function temporary() {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seedpress-node-"));

    process.on("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
    return folder;
}

function startPostgres() {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seedpress-node-pg-"));

    fs.chmodSync(folder, 0o711);     /* the server's user passes through */
    const guard = spawn("sh", ["-c", GUARD, "guard", folder], {
        stdio: ["pipe", "ignore", "ignore"], detached: true, env: environment() });

    run("deploy/postgres.sh", "start", folder);
    return { conninfo: run("deploy/postgres.sh", "conninfo", folder).trim(), guard };
}

const valueOf = (line, key) => new RegExp(`${key}=(\\S+)`).exec(line)[1];

/* ---- a whole seedpress ---- */

export class Stack {
    #programs = [];

    static async start(...brokerFlags) {
        const stack = new Stack();
        const { conninfo, guard } = startPostgres();

        stack.guard = guard;
        stack.conninfo = conninfo;
        seedpress("ledger", "migrate", "--ledger", conninfo);
        stack.broker = await stack.startBroker({}, ...brokerFlags);
        return stack;
    }

    /* {program, clients, workers, metrics}: where it listens. */
    async startBroker({ clients = "tcp://127.0.0.1:*", workers = "tcp://127.0.0.1:*" } = {},
                      ...flags) {
        const program = this.#add("seedpress-broker", "--ledger", this.conninfo,
                                  "--listen", clients, "--worker-listen", workers,
                                  "--supervise", "0", "--metrics-listen", "127.0.0.1:0",
                                  "--lookup-ms", "10000",   // a busy machine is no ledger away
                                  ...flags);
        const line = await program.waitFor(" broker_ready ");

        return { program, clients: valueOf(line, "clients"), workers: valueOf(line, "workers"),
                 metrics: valueOf(line, "metrics") };
    }

    async startWorker(brokers = this.broker.workers, ...flags) {
        const program = this.#add("seedpress-worker", "--ledger", this.conninfo,
                                  "--brokers", brokers, "--models-dir", "deploy/models", ...flags);

        await program.waitFor(" broker_joined ");
        return program;
    }

    #add(...args) {
        const program = new Program(...args);

        this.#programs.push(program);
        return program;
    }

    async destroy() {
        await Promise.all(this.#programs.map((p) => p.kill()));
        this.guard.stdin.end();
        if (this.guard.exitCode === null)
            await once(this.guard, "exit");
    }
}
