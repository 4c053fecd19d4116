// A whole seedpress of its own for a test: PostgreSQL, broker, worker and gateway, in a folder
// under /tmp and on ports that were free. Programs come from SEEDPRESS_BUILD, else build.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const PATIENCE_MS = 60000;
const build = path.resolve(process.env.SEEDPRESS_BUILD ?? 'build');

// Resolves with what pattern matched in the program's log; rejects when it ends or takes too long.
function waitFor(child, pattern) {
    return new Promise((resolve, reject) => {
        const fail = (why) =>
            reject(new Error(`${child.name} ${why}: ${child.log.slice(-2000)}`));
        const timer = setTimeout(() => fail(`did not say ${pattern} in time`), PATIENCE_MS);
        const look = () => {
            const found = child.log.match(pattern);

            if (found) {
                clearTimeout(timer);
                resolve(found);
            }
        };

        child.listeners.push(look);
        child.on('exit', () => fail('ended'));
        look();
    });
}

// Dies with this process, whatever becomes of it.
function start(name, args) {
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', path.join(build, name), ...args],
                        { stdio: ['ignore', 'pipe', 'pipe'] });

    Object.assign(child, { name, log: '', listeners: [] });
    for (const stream of [child.stdout, child.stderr])
        stream.on('data', (data) => {
            child.log += data;
            child.listeners.forEach((look) => look());
        });
    return child;
}

export async function end(child) {
    if (child.exitCode !== null || child.signalCode !== null)
        return;
    const ended = new Promise((resolve) => child.once('exit', resolve));

    child.kill('SIGKILL');
    await ended;
}

export class Stack {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'seedpress-browser-'));
    programs = [];

    // sites: the folder that the gateway serves.
    async start(sites) {
        const pg = path.join(this.folder, 'pg');

        // The server runs as another user when this one is root.
        fs.chmodSync(this.folder, 0o711);
        this.postgres('start', pg);
        const ledger = this.postgres('conninfo', pg).trim();

        execFileSync(path.join(build, 'seedpress'), ['ledger', 'migrate', '--ledger', ledger]);
        this.ledger = ledger;
        this.broker = await this.startBroker(ledger);
        this.worker = await this.startWorker('deploy/models');
        this.url = await this.startGateway(this.broker, sites);
    }

    // Where it listens for clients and workers. ledger: or none.
    async startBroker(ledger) {
        const broker = this.run('seedpress-broker', ['--ledger', ledger,
            '--listen', 'tcp://127.0.0.1:*', '--worker-listen', 'tcp://127.0.0.1:*',
            '--metrics-listen', '127.0.0.1:0',
            '--lookup-ms', '10000']);       // a busy machine is no ledger that is away
        const [line] = await waitFor(broker, /broker_ready .*\n/);

        return { clients: line.match(/clients=(\S+)/)[1], workers: line.match(/workers=(\S+)/)[1] };
    }

    async startWorker(models) {
        const worker = this.run('seedpress-worker', ['--ledger', this.ledger,
            '--brokers', this.broker.workers, '--models-dir', models]);

        await waitFor(worker, /broker_joined/);
        return worker;
    }

    // A second model, and a worker that has it: the shipped one with one weight changed.
    async addModel(name) {
        const models = path.join(this.folder, 'models');
        const bytes = fs.readFileSync('deploy/models/avatars64.safetensors');

        bytes.writeFloatLE(bytes.readFloatLE(bytes.length - 4) + 0.5, bytes.length - 4);
        fs.mkdirSync(models);
        fs.writeFileSync(path.join(models, `${name}.safetensors`), bytes);
        await this.startWorker(models);
    }

    // A worker with a model of ten classes; the caller may end it.
    async addModelWithClasses(name) {
        const models = path.join(this.folder, name);

        fs.mkdirSync(models);
        fs.copyFileSync('tests/golden/sg2_cond_32/sg2_cond_32.safetensors',
                        path.join(models, `${name}.safetensors`));
        return this.startWorker(models);
    }

    // The URL of another gateway.
    async startGateway(broker, sites, ...flags) {
        const gateway = this.run('seedpress-gateway', ['--broker', broker.clients,
            '--listen', '127.0.0.1:0', '--sites', sites, ...flags]);
        const [, address] = await waitFor(gateway, /gateway_ready .*listen=(127\.0\.0\.1:\d+)/);

        return `http://${address}`;
    }

    // Nobody ever gets this picture again.
    withdraw(recipe) {
        execFileSync(path.join(build, 'seedpress'), ['--broker', this.broker.clients, 'withdraw',
            recipe, '--reason', 'a test'], { stdio: 'pipe' });
    }

    run(name, args) {
        const child = start(name, args);

        this.programs.push(child);
        return child;
    }

    postgres(word, folder) {
        return execFileSync('deploy/postgres.sh', [word, folder], { encoding: 'utf8',
            env: { ...process.env, SEEDPRESS_PG_FSYNC: 'off', SEEDPRESS_PG_STOP: 'immediate' },
            stdio: ['ignore', 'pipe', 'pipe'] });
    }

    async stop() {
        for (const child of this.programs.reverse())
            await end(child);
        this.postgres('stop', path.join(this.folder, 'pg'));
        fs.rmSync(this.folder, { recursive: true, force: true });
    }
}
