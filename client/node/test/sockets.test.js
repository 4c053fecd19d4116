/* A process that has no socket left: in a file of its own, where no other sockets come or go. */
import assert from "node:assert/strict";
import test from "node:test";
import { decode as unpack, encode as pack } from "@msgpack/msgpack";
import { Seedpress } from "seedpress";
import { context, Dealer, Router } from "zeromq";

context.maxSockets = 32;

test("where no socket is to be had, requests end in time; later ones are answered", async () => {
    const router = new Router({ linger: 0 }), held = [];

    await router.bind("tcp://127.0.0.1:*");
    const serve = async () => {      /* answers one seed only */
        for await (const [peer, map] of router) {
            const { id, seed } = unpack(map);

            if (seed === 2)
                await router.send([peer, pack({ v: 1, type: "error", id, code: "poison" })]);
        }
    };
    const served = serve();
    const sp = new Seedpress({ brokers: router.lastEndpoint, silenceMs: 300 });

    try {
        assert.throws(() => {
            for (;;)
                held.push(new Dealer());
        }, { code: "EMFILE" });
        await assert.rejects(sp.generate({ model: "m", seed: 1, deadlineMs: 600 }),
                             { word: "unreachable" });
        held.forEach((socket) => socket.close());
        await assert.rejects(sp.generate({ model: "m", seed: 2, deadlineMs: 60000 }),
                             { word: "poison" });
    } finally {
        held.forEach((socket) => socket.close());
        await sp.close();
        router.close();
        await served;
    }
});
