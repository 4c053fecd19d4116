/* What the types allow and what they do not: each line that must not compile says so. */
import { Seedpress, SeedpressError, type Ended, type Image, type Row } from "seedpress";

export async function allowed(sp: Seedpress, signal: AbortSignal): Promise<Image> {
    const image: Image = await sp.generate({ model: "m", seed: 1, psi: 0.7, signal,
                                             visitor: null });
    const bytes: Uint8Array | null = image.data;
    const source: "render" | "ledger" | "memory" = image.source;

    for await (const ended of sp.generateMany({ model: "m", seeds: new Set([1]), window: 8 })) {
        const one: Ended = ended;

        if (one.error)
            one.error.retryAfterMs.toFixed();
        else
            await one.image.save("x.jpg");
    }
    for await (const { seed } of sp.generateMany({ model: "m", first: 0, count: 2 }))
        seed.toFixed();
    const rows: Row[] = await sp.lookup({ seed: 1, model: "m", psi: 0.5, limit: 3 });

    await sp.lookup({ like: [1n, 2n] });
    await sp.provenance({ file: "x.jpg" });
    await sp.provenance({ sha256: rows[0]?.sha256 ?? "" });
    await using own = new Seedpress({ brokers: ["tcp://127.0.0.1:1"] });
    await own.ping(100);
    return bytes && source ? image : sp.fetch({ recipeKey: image.recipeKey });
}

export async function refused(sp: Seedpress, image: Image): Promise<void> {
    // @ts-expect-error: a seed is needed
    await sp.generate({ model: "m" });
    // @ts-expect-error: a number
    await sp.generate({ model: "m", seed: "1" });
    // @ts-expect-error: no such option
    await sp.generate({ model: "m", seed: 1, sed: 2 });
    // @ts-expect-error: one of four words
    await sp.generate({ model: "m", seed: 1, noiseMode: "loud" });
    // @ts-expect-error: two numbers
    await sp.generate({ model: "m", seed: 1, translate: [1] });
    // @ts-expect-error: either seeds, or first and count
    sp.generateMany({ model: "m", seeds: [1], count: 2 });
    // @ts-expect-error: neither
    sp.generateMany({ model: "m" });
    // @ts-expect-error: one of them
    await sp.lookup({ seed: 1, sha256: "" });
    // @ts-expect-error: psi goes with seed
    await sp.lookup({ sha256: "", psi: 1 });
    // @ts-expect-error: which one?
    await sp.fetch({});
    // @ts-expect-error: a reason is needed
    await sp.withdraw({ sha256: "" });
    // @ts-expect-error: no such action
    await sp.bulkControl(1, "stop");
    // @ts-expect-error: a picture is not changed
    image.seed = 2;
    // @ts-expect-error: made by brokers only
    new (await import("seedpress")).Image();
    // @ts-expect-error: a word comes first
    new SeedpressError();
}
