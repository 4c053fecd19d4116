/* unpack -- msgpack from outside, read with the protocol's bounds (PROTOCOL.md, "Maps"): depth,
 * number of objects, nothing after the map. What a general decoder does not tell is kept apart:
 * integers from floats, text from bytes, and of a key that comes twice the first value.
 *
 * Integers become numbers, beyond 2^53 bigints; floats a Float; text a string with one character a
 * byte; maps a Map; bytes and extensions OPAQUE. */

export const MAP_MAX = 1 << 20;      /* bytes */
const DEPTH_MAX = 4, OBJECTS_MAX = 1 << 16;

export const OPAQUE = Symbol("opaque");
export class Float {
    constructor(value) {
        this.value = value;
    }
}

class Malformed extends Error {}

class Reader {
    constructor(bytes) {
        this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        this.at = 0;
        this.objects = 0;
    }

    /* The offset of the next len bytes, which are then behind. */
    take(len) {
        const from = this.at;

        if (len > this.bytes.length - from)
            throw new Malformed();
        this.at += len;
        return from;
    }

    unsigned(width) {
        const from = this.take(width);

        if (width < 8)
            return this.bytes.readUIntBE(from, width);
        return small(this.bytes.readBigUInt64BE(from));
    }

    signed(width) {
        const from = this.take(width);

        if (width < 8)
            return this.bytes.readIntBE(from, width);
        return small(this.bytes.readBigInt64BE(from));
    }

    /* A length is at most 32 bits. */
    text(len) {
        const from = this.take(len);

        return this.bytes.latin1Slice(from, from + len);
    }

    opaque(len) {
        this.take(len);
        return OPAQUE;
    }

    /* How many items are claimed does not matter: no room is made for those that are not there. */
    enter(depth) {
        if (depth === DEPTH_MAX)
            throw new Malformed();
    }

    list(count, depth) {
        const list = [];

        this.enter(depth);
        for (let i = 0; i < count; i++)
            list.push(this.object(depth + 1));
        return list;
    }

    map(count, depth) {
        const map = new Map();

        this.enter(depth);
        for (let i = 0; i < count; i++) {
            const key = this.object(depth + 1);
            const value = this.object(depth + 1);

            if (typeof key === "string" && !map.has(key))
                map.set(key, value);
        }
        return map;
    }

    object(depth) {
        if (++this.objects > OBJECTS_MAX)
            throw new Malformed();
        const b = this.bytes[this.take(1)];

        if (b <= 0x7f)
            return b;
        if (b <= 0x8f)
            return this.map(b & 15, depth);
        if (b <= 0x9f)
            return this.list(b & 15, depth);
        if (b <= 0xbf)
            return this.text(b & 31);
        if (b >= 0xe0)
            return b - 0x100;
        return this.long(b, depth);
    }

    long(b, depth) {
        switch (b) {
        case 0xc0: return null;
        case 0xc2: return false;
        case 0xc3: return true;
        case 0xc4: case 0xc5: case 0xc6: return this.opaque(this.unsigned(1 << (b - 0xc4)));
        case 0xc7: case 0xc8: case 0xc9: return this.opaque(this.unsigned(1 << (b - 0xc7)) + 1);
        case 0xca: return new Float(this.bytes.readFloatBE(this.take(4)));
        case 0xcb: return new Float(this.bytes.readDoubleBE(this.take(8)));
        case 0xcc: case 0xcd: case 0xce: case 0xcf: return this.unsigned(1 << (b - 0xcc));
        case 0xd0: case 0xd1: case 0xd2: case 0xd3: return this.signed(1 << (b - 0xd0));
        case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8:
            return this.opaque((1 << (b - 0xd4)) + 1);
        case 0xd9: case 0xda: case 0xdb: return this.text(this.unsigned(1 << (b - 0xd9)));
        case 0xdc: case 0xdd: return this.list(this.unsigned(2 << (b - 0xdc)), depth);
        case 0xde: case 0xdf: return this.map(this.unsigned(2 << (b - 0xde)), depth);
        default: throw new Malformed();          /* 0xc1 is never used */
        }
    }
}

/* 2^53 itself is a count that the protocol allows, and a double holds it. */
function small(big) {
    return big >= -(2n ** 53n) && big <= 2n ** 53n ? Number(big) : big;
}

/* The Map that the bytes hold; null: they are not one whole map within the limits. */
export function unpack(bytes) {
    const reader = new Reader(bytes);

    if (bytes.byteLength > MAP_MAX)
        return null;
    try {
        const value = reader.object(0);

        return value instanceof Map && reader.at === bytes.byteLength ? value : null;
    } catch (e) {
        if (e instanceof Malformed)
            return null;
        throw e;
    }
}
