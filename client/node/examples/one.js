// One picture into a file, and what made it: node one.js avatars64 42 42.jpg
import { Seedpress, SeedpressError } from "seedpress";

const [model = "avatars64", seed = "42", file = "42.jpg"] = process.argv.slice(2);
const sp = new Seedpress();

try {
    const image = await sp.generate({ model, seed: Number(seed), psi: 0.7 });

    await image.save(file);
    console.log(`${file}: ${image.len} bytes, ${image.source}, ${image.timings.renderMs} ms`);
} catch (error) {
    if (!(error instanceof SeedpressError))
        throw error;
    console.error(`${error.word}: ${error.message}`);
    process.exitCode = error.exitCode;
} finally {
    await sp.close();
}
