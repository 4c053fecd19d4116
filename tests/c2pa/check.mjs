// What two validators that share no code with seedpress, or with each other, say of files: a line of
// JSON for each file and validator.
//     node check.mjs NODE_MODULES TRUSTED.pem FILE...
//     {"file":"a.jpg","by":"c2pa-wasm","valid":true,"trusted":true,"failures":[],"recipe":"..."}
// c2pa-wasm is Adobe's c2pa-rs, compiled; c2pa-ts is TrustNXT's, written anew (it knows no trust).
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, trusted, ...files] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(path.resolve(modules, name)));

const wasm = await load('@contentauth/c2pa-wasm/pkg/c2pa.js');
wasm.initSync({ module: fs.readFileSync(
    path.resolve(modules, '@contentauth/c2pa-wasm/pkg/c2pa_bg.wasm')) });
const { JPEG } = await load('@trustnxt/c2pa-ts/dist/asset/index.js');
const { SuperBox } = await load('@trustnxt/c2pa-ts/dist/jumbf/index.js');
const { ManifestStore } = await load('@trustnxt/c2pa-ts/dist/manifest/index.js');

const settings = JSON.stringify({
    trust: { user_anchors: fs.readFileSync(trusted, 'utf8') },
    verify: { verify_trust: true },
});

async function byWasm(bytes) {
    const reader = await wasm.WasmReader.fromBytes('image/jpeg', bytes, settings);
    const report = JSON.parse(reader.json());
    const manifest = report.manifests?.[report.active_manifest];
    const ours = manifest?.assertions?.find((a) => a.label === 'seedpress.recipe');
    const failures = report.validation_results?.activeManifest?.failure ?? [];

    return {
        valid: report.validation_state !== 'Invalid',
        trusted: report.validation_state === 'Trusted',
        failures: failures.map((f) => f.code),
        recipe: ours?.data?.recipe ?? null,
    };
}

async function byTs(bytes) {
    const asset = new JPEG(bytes);
    const jumbf = asset.getManifestJUMBF();

    if (!jumbf)
        throw new Error('no manifest');
    const store = ManifestStore.read(SuperBox.fromBuffer(jumbf));
    const result = await store.validate(asset);

    return {
        valid: result.isValid,
        failures: result.statusEntries.filter((s) => !s.success).map((s) => s.code),
    };
}

for (const file of files)
    for (const [by, check] of [['c2pa-wasm', byWasm], ['c2pa-ts', byTs]]) {
        let answer;

        try {
            answer = await check(new Uint8Array(fs.readFileSync(file)));
        } catch (error) {
            answer = { valid: false, failures: [`error: ${error?.message ?? error}`] };
        }
        console.log(JSON.stringify({ file: path.basename(file), by, ...answer }));
    }
