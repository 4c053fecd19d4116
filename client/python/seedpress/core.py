"""SHA-256 of a JPEG without what does not change the picture: APPn and COM segments, fill bytes and
what follows EOI. Adobe's APP14 stays in, because it tells decoders how to read the colours. Every
byte is hostile."""
from __future__ import annotations

import hashlib
import re

_SOI, _EOI, _SOS, _COM = 0xd8, 0xd9, 0xda, 0xfe
_APP0, _APP14, _APP15 = 0xe0, 0xee, 0xef
# Where entropy-coded data ends: at a marker that is neither a stuffed byte nor RSTn.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)


def _segment(file: bytes, at: int) -> tuple[int, int, int] | None:
    """Marker, start and end of the segment at `at`, after any fill bytes; None: there is none."""
    first = at
    while file[at:at + 1] == b"\xff":
        at += 1
    if at == first or at == len(file):
        return None
    marker, start, end = file[at], at - 1, at + 1
    # Neither stuffing nor RSTn nor TEM has a place between segments.
    if marker <= 0x01 or 0xd0 <= marker <= 0xd7:
        return None
    if marker not in (_SOI, _EOI):
        size = int.from_bytes(file[end:end + 2], "big")
        if len(file) - end < 2 or size < 2 or size > len(file) - end:
            return None
        end += size
    return marker, start, end


def _is_core(marker: int, segment: bytes) -> bool:
    if marker == _APP14:
        return segment[4:9] == b"Adobe"
    return not _APP0 <= marker <= _APP15 and marker != _COM


def _scan_end(file: bytes, at: int) -> int:
    found = _SCAN_END.search(file, at)
    return found.start() if found else len(file)


def core_sha256(file: bytes) -> str | None:
    """None: this is no whole JPEG."""
    total = hashlib.sha256()
    segment = _segment(file, 0)
    if not segment or segment[0] != _SOI:
        return None
    has_scan = False
    while segment:
        marker, start, end = segment
        if _is_core(marker, file[start:end]):
            total.update(file[start:end])
        if marker == _EOI:
            return total.hexdigest() if has_scan else None
        if marker == _SOS:
            data_end = _scan_end(file, end)
            total.update(file[end:data_end])
            end, has_scan = data_end, True
        segment = _segment(file, end)
        if segment and segment[0] == _SOI:
            return None
    return None
