// A small site: each visitor is somebody of his own to the broker, takes turns with the others, and
// a closed connection cancels what it asked for.
//     node serve.js avatars64 8000        then http://127.0.0.1:8000/42.jpg
import { createServer } from "node:http";
import { Seedpress, SeedpressError } from "seedpress";

const [model = "avatars64", port = "8000"] = process.argv.slice(2);
const sp = new Seedpress();

const server = createServer(async (request, response) => {
    const path = /^\/([0-9]{1,10})\.jpg$/.exec(request.url ?? "");
    const abort = new AbortController();

    response.once("close", () => abort.abort());
    if (!path) {
        response.writeHead(404).end();
        return;
    }
    try {
        const image = await sp.generate({
            model, seed: Number(path[1]), psi: 0.7, signal: abort.signal,
            visitor: request.socket.remoteAddress,
        });

        response.writeHead(200, { "Content-Type": "image/jpeg" }).end(image.data);
    } catch (error) {
        if (!(error instanceof SeedpressError))
            throw error;
        response.writeHead(error.httpStatus, { "Content-Type": "application/json" });
        response.end(JSON.stringify({ code: error.word, message: error.message }));
    }
});

server.listen(Number(port), "127.0.0.1", () => console.log("serving", server.address()));
process.once("SIGTERM", async () => {
    server.close();
    await sp.close();
});
