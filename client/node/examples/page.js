// A page of 56 pictures into a folder, as they are ready; Ctrl-C ends it, and the broker stops too:
//     node page.js avatars64 pictures
import { mkdir } from "node:fs/promises";
import { Seedpress } from "seedpress";

const [model = "avatars64", folder = "pictures"] = process.argv.slice(2);
const abort = new AbortController();
const sp = new Seedpress();

process.once("SIGINT", () => abort.abort());
await mkdir(folder, { recursive: true });
try {
    for await (const { seed, image, error } of sp.generateMany({
        model, psi: 0.7, first: 0, count: 56, deadlineMs: 60000, signal: abort.signal,
    })) {
        if (error)
            console.error(`seed ${seed}: ${error.message}`);
        else
            await image.save(`${folder}/${seed}.jpg`);
    }
} finally {
    await sp.close();
}
