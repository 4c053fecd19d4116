/* link -- one DEALER socket to one endpoint; the only module that sees zeromq. It says when there
 * is a connection, when it broke, and what came; what goes out it asks for, one message at a time,
 * as a zeromq socket takes them. */
import { Dealer } from "zeromq";
import { SeedpressError } from "./error.js";

const FRAME_MAX = 64 << 20;          /* bytes; a larger one closes the connection */
const NEAR = /^tcp:\/\/(127\.[0-9.]*|localhost|\[::1\])(:[^;]*)?$/;

/* Throws `denied` for an endpoint beyond this machine without keys, `invalid` for what is none. */
export function checkEndpoint(endpoint, { keys, allowPlain }) {
    const isTcp = endpoint.startsWith("tcp://");

    if (!isTcp && !endpoint.startsWith("ipc://"))
        throw new SeedpressError("invalid",
            `broker "${endpoint}" needs to be an endpoint such as tcp://127.0.0.1:7701 or ` +
            "ipc:///run/seedpress.sock");
    if (isTcp && !NEAR.test(endpoint) && !allowPlain && !keys)
        throw new SeedpressError("denied",
            `endpoint "${endpoint}" is not on loopback, and plain sockets are only used there: ` +
            "give a keyFile and a brokerKey, or allowPlain");
}

function openSocket(endpoint, keys) {
    const socket = new Dealer({
        immediate: true,             /* nothing queues for a peer that is not there */
        linger: 0, maxMessageSize: FRAME_MAX, reconnectInterval: 50, reconnectMaxInterval: 1000,
        tcpKeepalive: 1, tcpKeepaliveIdle: 30, tcpKeepaliveInterval: 10, tcpKeepaliveCount: 3,
    });

    if (endpoint.startsWith("tcp://["))
        socket.ipv6 = true;          /* else "localhost" may become ::1, where nobody serves */
    if (keys && endpoint.startsWith("tcp://")) {
        socket.curveServerKey = keys.serverKey;
        socket.curvePublicKey = keys.publicKey;
        socket.curveSecretKey = keys.secretKey;
    }
    return socket;
}

export class Link {
    /* next() gives the next message's bytes or null; on has connected(), lost(isRefused) and
     * message(frames). Nothing is called after close. Throws what a bad endpoint makes. */
    constructor(endpoint, keys, next, on) {
        this.socket = openSocket(endpoint, keys);
        this.next = next;
        this.on = on;
        this.isClosed = this.isSending = this.isRefused = false;
        try {
            this.watch();
            this.socket.connect(endpoint);
        } catch (e) {
            this.close();
            throw new SeedpressError("invalid", `could not connect to "${endpoint}": ${e.message}`,
                                     { cause: e });
        }
        this.receive();
    }

    watch() {
        const events = this.socket.events;
        const refused = () => { this.isRefused = true; };

        events.on("handshake", () => {
            this.isRefused = false;
            this.tell("connected");
        });
        events.on("handshake:error:auth", refused);
        events.on("handshake:error:protocol", refused);
        events.on("disconnect", () => this.tell("lost", this.isRefused));
    }

    tell(what, ...about) {
        if (!this.isClosed)
            this.on[what](...about);
    }

    async receive() {
        try {
            for await (const frames of this.socket)
                this.tell("message", frames);
        } catch {
            this.tell("lost", false);
        }
    }

    /* Sends what there is. A second call while one waits does nothing: the first goes on. */
    async send() {
        if (this.isSending)
            return;
        this.isSending = true;
        try {
            for (let bytes; !this.isClosed && (bytes = this.next());)
                await this.socket.send(bytes);
        } catch {
            this.tell("lost", false);
        } finally {
            this.isSending = false;
        }
    }

    close() {
        if (this.isClosed)
            return;
        this.isClosed = true;
        this.socket.close();
    }
}
