/* key -- CURVE keys: 40 characters of Z85 each, and the files that `seedpress keygen` writes.
 * NAME.key has both halves and is its owner's alone. No error says what is secret. */
import { createPrivateKey, createPublicKey } from "node:crypto";
import fs from "node:fs";
import { SeedpressError } from "./error.js";

const FILE_MAX_BYTES = 4096, KEY_CHARS = 40;
const Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
/* What goes before 32 bytes of X25519 to make them a key in PKCS #8 (RFC 8410). */
const PKCS8_X25519 = Buffer.from("302e020100300506032b656e04220420", "hex");

/* The 32 bytes that text stands for; null: it is no key. */
function bytesOf(text) {
    const bytes = Buffer.alloc(KEY_CHARS / 5 * 4);

    if (text.length !== KEY_CHARS)
        return null;
    for (let group = 0; group < KEY_CHARS / 5; group++) {
        let value = 0;

        for (const c of text.slice(5 * group, 5 * group + 5)) {
            const digit = Z85.indexOf(c);

            if (digit < 0)
                return null;
            value = value * 85 + digit;
        }
        if (value > 0xffffffff)
            return null;
        bytes.writeUInt32BE(value, 4 * group);
    }
    return bytes;
}

/* A pair belongs together when the public half is made of the secret one. */
function isPair(publicKey, secretKey) {
    const key = createPrivateKey({ key: Buffer.concat([PKCS8_X25519, bytesOf(secretKey)]),
                                   format: "der", type: "pkcs8" });
    const der = createPublicKey(key).export({ format: "der", type: "spki" });

    return der.subarray(-32).equals(bytesOf(publicKey));
}

/* The value of the line "word VALUE"; null: there is none, or it is no key. */
function findLine(text, word) {
    const line = text.split("\n").find((l) => new RegExp(`^${word}[ \t]`).test(l));
    const value = line?.slice(word.length).trim().split(/[ \t\r]/)[0];

    return value && bytesOf(value) ? value : null;
}

const refuse = (word, why, cause) => new SeedpressError(word, why, { cause });

function readFile(path) {
    let file;

    try {
        file = fs.openSync(path, "r");
        const bytes = Buffer.alloc(FILE_MAX_BYTES + 1);
        const len = fs.readSync(file, bytes, 0, bytes.length, 0);

        if (len <= FILE_MAX_BYTES)
            return { text: bytes.latin1Slice(0, len), mode: fs.fstatSync(file).mode };
    } catch (e) {
        throw refuse("file", `could not open key file "${path}": ${e.message}`, e);
    } finally {
        if (file !== undefined)
            fs.closeSync(file);
    }
    throw refuse("file", `key file "${path}" is larger than ${FILE_MAX_BYTES} bytes`);
}

function readPair(path) {
    const { text, mode } = readFile(path);
    const publicKey = findLine(text, "public"), secretKey = findLine(text, "secret");

    if (mode & 0o077)
        throw refuse("file", `key file "${path}" is open to others (mode ` +
                             `${(mode & 0o7777).toString(8).padStart(4, "0")}): chmod 600 it`);
    if (!publicKey || !secretKey)
        throw refuse("file", `key file "${path}" needs a line "public" and a line "secret" with ` +
                             "40 characters of Z85 each");
    if (!isPair(publicKey, secretKey))
        throw refuse("file", `key file "${path}" has halves of two different keys`);
    return { publicKey, secretKey };
}

/* A public key from text: the 40 characters themselves, else the path of a .pub or .key file. */
function findPublic(text) {
    const key = bytesOf(text) ? text : findLine(readFile(text).text, "public");

    if (!key)
        throw refuse("file", `"${text}" needs a line "public" with 40 characters of Z85`);
    return key;
}

/* {publicKey, secretKey, serverKey}, or null where neither is given. Throws a SeedpressError. */
export function findBoth(keyFile, brokerKey) {
    if (!keyFile && !brokerKey)
        return null;
    if (!brokerKey)
        throw refuse("invalid", "a key file needs the broker's key (brokerKey) too");
    if (!keyFile)
        throw refuse("invalid", "a broker's key needs a key of one's own (keyFile) too");
    return { ...readPair(keyFile), serverKey: findPublic(brokerKey) };
}
