/* jpeg -- what of a JPEG is the picture: everything but its APPn and COM segments and fill bytes.
 * APP14 "Adobe" stays: it says how colours are to be read (as mark_core_sha256 in base/mark.c). */
import { createHash } from "node:crypto";

const SOI = 0xd8, EOI = 0xd9, SOS = 0xda, APP0 = 0xe0, APP14 = 0xee, APP15 = 0xef, COM = 0xfe;
const TEM = 0x01, RST0 = 0xd0, RST7 = 0xd7;

/* The segment at `at`: its marker, and where it starts and ends; null: there is none. */
function segmentAt(jpeg, at) {
    let next = at;

    if (jpeg[next] !== 0xff)
        return null;
    while (jpeg[next] === 0xff)      /* fill bytes */
        next++;
    if (next >= jpeg.length)
        return null;
    const marker = jpeg[next], start = next - 1;

    if (marker === SOI || marker === EOI)
        return { marker, start, end: next + 1 };
    /* Neither stuffing nor RSTn nor TEM has a place between segments. */
    if (marker <= TEM || (marker >= RST0 && marker <= RST7))
        return null;
    if (jpeg.length - next < 3)
        return null;
    const len = jpeg.readUInt16BE(next + 1);

    return len < 2 || len > jpeg.length - next - 1 ? null
                                                   : { marker, start, end: next + 1 + len };
}

/* The end of the entropy-coded data from at: the first marker that is not RSTn. */
function scanEnd(jpeg, at) {
    for (let i = at; ; i += 2) {
        i = jpeg.indexOf(0xff, i);
        if (i < 0 || i + 1 === jpeg.length)
            return jpeg.length;
        if (jpeg[i + 1] !== 0 && !(jpeg[i + 1] >= RST0 && jpeg[i + 1] <= RST7))
            return i;
    }
}

function isCore(jpeg, { marker, start, end }) {
    if (marker === APP14)
        return jpeg.latin1Slice(start + 4, Math.min(start + 9, end)) === "Adobe";
    return !(marker >= APP0 && marker <= APP15) && marker !== COM;
}

/* SHA-256 as hex digits; null: this is no whole JPEG. */
export function coreSha256(data) {
    const jpeg = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const hash = createHash("sha256");
    let hasScan = false;
    let segment = segmentAt(jpeg, 0);

    if (segment?.marker !== SOI)
        return null;
    for (;;) {
        let at = segment.end;

        if (isCore(jpeg, segment))
            hash.update(jpeg.subarray(segment.start, segment.end));
        if (segment.marker === EOI)
            return hasScan ? hash.digest("hex") : null;
        if (segment.marker === SOS) {
            at = scanEnd(jpeg, segment.end);
            hash.update(jpeg.subarray(segment.end, at));
            hasScan = true;
        }
        segment = segmentAt(jpeg, at);
        if (!segment || segment.marker === SOI)
            return null;
    }
}
