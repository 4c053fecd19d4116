"""Messages to bytes and back, as strictly as seedpress itself reads them. Whatever is refused
raises the `SeedpressError` whose word the other side would hear."""
from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from .errors import Invalid, Range, TooLarge, UnknownType, Version
from .tables import FROM_BROKER, FROM_CLIENT, Field

VERSION = 1
MAP_MAX = 1 << 20
_DEPTH_MAX = 4
_OBJECTS_MAX = 1 << 16
_ID_MAX = 1 << 53
_DIGEST = re.compile("[0-9a-f]{64}")
_NOT_PLAIN = re.compile("[^ -~\n]")

Fields = dict[str, Any]


@dataclass
class Message:
    type: str
    id: int
    fields: Fields


# ---- a scan before the decoder ----
# msgpack reserves room for as many items as a list claims before it has seen them, list in list, so
# a few bytes can ask for gigabytes. This pass lets through only what is whole, and not too deep.

# What stands behind the first byte: (bytes of a length, bytes besides) or, of what holds others,
# (bytes of a count, objects an item).
_SIMPLE = {0xc4: (1, 0), 0xc5: (2, 0), 0xc6: (4, 0), 0xc7: (1, 1), 0xc8: (2, 1), 0xc9: (4, 1),
           0xca: (0, 4), 0xcb: (0, 8), 0xcc: (0, 1), 0xcd: (0, 2), 0xce: (0, 4), 0xcf: (0, 8),
           0xd0: (0, 1), 0xd1: (0, 2), 0xd2: (0, 4), 0xd3: (0, 8), 0xd4: (0, 2), 0xd5: (0, 3),
           0xd6: (0, 5), 0xd7: (0, 9), 0xd8: (0, 17), 0xd9: (1, 0), 0xda: (2, 0), 0xdb: (4, 0)}
_HOLDERS = {0xdc: (2, 1), 0xdd: (4, 1), 0xde: (2, 2), 0xdf: (4, 2)}


def _step(data: bytes, at: int) -> tuple[int, int]:
    """Behind the object's own bytes at `at`, and how many objects it holds; -1: it holds none, not
    even as a list. Raises IndexError or KeyError on what is no msgpack."""
    b = data[at]
    at += 1
    if b <= 0x7f or b >= 0xe0 or b in (0xc0, 0xc2, 0xc3):
        return at, -1
    if b <= 0x8f:
        return at, 2 * (b & 15)
    if b <= 0x9f:
        return at, b & 15
    if b <= 0xbf:
        return at + (b & 31), -1
    width, more = _HOLDERS.get(b) or _SIMPLE[b]
    size = int.from_bytes(data[at:at + width], "big")
    return (at + width, size * more) if b in _HOLDERS else (at + width + size + more, -1)


def _is_whole(data: bytes) -> bool:
    """Whether data is one object within the limits, to the last byte."""
    open_counts = [1]                # objects that are still to come, level by level
    at = objects = 0
    try:
        while open_counts:
            if open_counts[-1] == 0:
                open_counts.pop()
                continue
            open_counts[-1] -= 1
            objects += 1
            at, items = _step(data, at)
            if at > len(data) or objects > _OBJECTS_MAX:
                return False
            if items >= 0:
                if len(open_counts) > _DEPTH_MAX:
                    return False
                open_counts.append(items)
    except (IndexError, KeyError):
        return False
    return at == len(data)


def _first_wins(pairs: Sequence[tuple[Any, Any]]) -> Fields:
    entries: Fields = {}
    for key, value in pairs:
        if isinstance(key, str) and key not in entries:
            entries[key] = value
    return entries


# ---- values ----

def millionths(value: float) -> int | None:
    """The decimal of at most six places that value is the nearest float64 or float32 to."""
    if not abs(value) <= 1e9:        # also refuses NaN
        return None
    m = math.floor(abs(value) * 1000000 + 0.5) * (-1 if value < 0 else 1)
    return m if value in (m / 1000000, _float32(m / 1000000)) else None


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _is_int(value: Any) -> bool:
    return type(value) is int and -1 << 63 <= value < 1 << 64


def _out_of_range(field: Field) -> Range:
    unit = 1 if field.kind in ("int", "seeds") else 1000000
    return Range(f'field "{field.name}" is out of range: it goes from {field.low // unit} to '
                 f"{field.high // unit}")


def _read_int(field: Field, value: Any) -> int:
    if not _is_int(value):
        raise Invalid(f'field "{field.name}" needs a whole number')
    if not field.low <= value <= field.high:
        raise _out_of_range(field)
    return int(value)


def _read_number(field: Field, value: Any) -> int:
    if not _is_int(value) and type(value) is not float:
        raise Invalid(f'field "{field.name}" needs a number')
    if not field.low / 1000000 <= value <= field.high / 1000000:
        raise _out_of_range(field)
    m = millionths(value)
    if m is None:
        raise Range(f'field "{field.name}" has more than six decimal places')
    return m


def _read_float(field: Field, value: Any) -> float:
    if not _is_int(value) and type(value) is not float:
        raise Invalid(f'field "{field.name}" needs a list of numbers')
    try:
        rounded = _float32(value)
    except OverflowError:
        rounded = math.inf
    if not math.isfinite(rounded):
        raise Range(f'field "{field.name}" holds a number that is no finite float32')
    return rounded


def _read_text(field: Field, value: Any) -> str:
    if type(value) is not str:
        raise Invalid(f'field "{field.name}" needs a string')
    size = len(value.encode("utf-8", "replace"))
    if not field.low <= size <= field.high:
        raise Range(f'field "{field.name}" has {size} bytes: {field.low}..{field.high} are allowed')
    if _NOT_PLAIN.search(value):
        raise Invalid(f'field "{field.name}" holds a byte that is not plain ASCII')
    return value


def _read_word(field: Field, value: Any) -> str:
    if type(value) is not str or value not in field.words:
        raise Invalid(f'field "{field.name}" needs one of its words: {", ".join(field.words)}')
    return value


def _read_digest(field: Field, value: Any) -> str:
    if type(value) is not str or not _DIGEST.fullmatch(value):
        raise Invalid(f'field "{field.name}" needs 64 lower-case hex digits')
    return value


def _read_flag(field: Field, value: Any) -> bool:
    if type(value) is not bool:
        raise Invalid(f'field "{field.name}" needs true or false')
    return value


# ---- lists ----

def _check_count(field: Field, count: int) -> None:
    if count > field.most:
        raise Range(f'field "{field.name}" has {count} items: at most {field.most} are allowed')


def _read_seeds(field: Field, value: Any) -> Sequence[int]:
    if type(value) is dict:
        if value.get("first") is None or value.get("last") is None:
            raise Invalid(f'field "{field.name}" needs "first" and "last"')
        first, last = _read_int(field, value["first"]), _read_int(field, value["last"])
        if first > last:
            raise Range(f'field "{field.name}" runs backwards: {first} to {last}')
        _check_count(field, last - first + 1)
        return range(first, last + 1)
    if not isinstance(value, (list, tuple)):
        raise Invalid(f'field "{field.name}" needs a list of whole numbers')
    _check_count(field, len(value))
    return [_read_int(field, item) for item in value]


def _read_just(field: Field, value: Any, read: Callable[[Field, Any], Any]) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise Invalid(f'field "{field.name}" needs a list of numbers')
    if len(value) != field.most:
        raise Range(f'field "{field.name}" needs {field.most} numbers, not {len(value)}')
    return [read(field, item) for item in value]


def _read_maps(field: Field, value: Any) -> list[Fields]:
    if not isinstance(value, (list, tuple)) or not all(type(item) is dict for item in value):
        raise Invalid(f'field "{field.name}" needs a list of maps')
    _check_count(field, len(value))
    return [_read_fields(field.sub, item) for item in value]


_READERS: dict[str, Callable[[Field, Any], Any]] = {
    "int": _read_int, "number": _read_number, "text": _read_text, "word": _read_word,
    "digest": _read_digest, "bool": _read_flag, "seeds": _read_seeds, "list of maps": _read_maps,
    "list of number": lambda field, value: _read_just(field, value, _read_number),
    "list of float": lambda field, value: _read_just(field, value, _read_float),
}


def _read_fields(table: Sequence[Field], given: Mapping[str, Any]) -> Fields:
    fields: Fields = {}
    for field in table:
        value = given.get(field.name)
        if value is not None:
            fields[field.name] = _READERS[field.kind](field, value)
        elif field.required:
            raise Invalid(f'field "{field.name}" is missing')
        else:
            fields[field.name] = field.default
    return fields


# ---- rules that no single field can state ----

def _has_two_transforms(fields: Fields) -> bool:
    return fields["transform"] is not None and (fields["translate"] is not None or
                                                fields["rotate"] is not None)


def _check_generate(fields: Fields) -> None:
    if (fields["seed"] is not None) == (len(fields["seeds"]) > 0):
        raise Invalid('give either "seed" or "seeds"')
    if _has_two_transforms(fields):
        raise Invalid('give either "transform" or "translate" and "rotate"')


def _check_lookup(fields: Fields) -> None:
    keys = ("recipe_key", "sha256", "core_sha256", "seed", "since")
    given = [fields[key] is not None for key in keys] + [fields["job"] > 0, fields["like"] != ""]
    if sum(given) != 1:
        raise Invalid('give one of "recipe_key", "sha256", "core_sha256", "seed", "job", "since", '
                      '"like"')
    if fields["seed"] is None and fields["psi"] is not None:
        raise Invalid('"psi" goes with "seed" only')
    if fields["seed"] is None and fields["since"] is None and fields["model"]:
        raise Invalid('"model" goes with "seed" and "since" only')
    if not fields["job"] and fields["first"]:
        raise Invalid('"first" goes with "job" only')
    if len(fields["like"]) % 32:
        raise Invalid('"like" is pairs of hashes, of 16 hex digits each')


def _check_either(fields: Fields) -> None:
    if (fields["recipe_key"] is None) == (fields["sha256"] is None):
        raise Invalid('give either "recipe_key" or "sha256"')


def _check_parts(fields: Fields) -> None:
    if not fields["parts"]:
        raise Invalid('a bulk job needs at least one of "parts"')
    for number, part in enumerate(fields["parts"], 1):
        if part["first"] > part["last"]:
            raise Range(f'part {number}: its seeds are reversed: first is {part["first"]}, last is '
                        f'{part["last"]}')
        if part["class_mod"] and part["class"] is not None:
            raise Invalid(f'part {number}: give "class" or "class_mod", not both')
        if _has_two_transforms(part):
            raise Invalid(f'part {number}: give "transform", or "translate" and "rotate"')


_CHECKS: dict[str, Callable[[Fields], None]] = {
    "generate": _check_generate, "lookup": _check_lookup, "fetch": _check_either,
    "withdraw": _check_either, "bulk_submit": _check_parts,
}


def read(kind: str, given: Mapping[str, Any]) -> Fields:
    """The fields of a client's message, checked, with every default filled in; psi and what else is
    a number becomes millionths."""
    fields = _read_fields(FROM_CLIENT[kind], given)
    if kind in _CHECKS:
        _CHECKS[kind](fields)
    return fields


# ---- whole messages ----

def _read_id(entries: Fields) -> int:
    value = entries.get("id")
    if value is None:
        return 0
    if not _is_int(value) or not 0 <= value <= _ID_MAX:
        raise Invalid('field "id" needs a whole number from 0 to 2^53')
    return int(value)


def _read_type(entries: Fields, tables: Mapping[str, Any]) -> str:
    version, kind = entries.get("v"), entries.get("type")
    if version is None:
        raise Invalid(f'field "v" is missing: it is the protocol\'s version, {VERSION}')
    if not _is_int(version):
        raise Invalid('field "v" needs a whole number')
    if version != VERSION:
        raise Version(f"protocol version {version} is not spoken here; {VERSION} is")
    if kind is None:
        raise Invalid('field "type" is missing')
    if type(kind) is not str:
        raise Invalid('field "type" needs a string')
    if kind not in tables:
        raise UnknownType(f"unknown message type {ascii(kind[:32])}")
    return kind


def unpack(data: bytes) -> Fields:
    """The entries of a map, whatever they are."""
    if len(data) > MAP_MAX:
        raise TooLarge(f"a message of {len(data)} bytes is too large: at most {MAP_MAX}")
    if not data or not _is_whole(data):
        raise Invalid("the frame is not one whole msgpack map within the limits")
    try:
        entries = msgpack.unpackb(data, raw=False, strict_map_key=False,
                                  unicode_errors="surrogateescape",
                                  object_pairs_hook=_first_wins)
    except (ValueError, TypeError) as why:
        raise Invalid(f"the frame is not msgpack: {why}") from why
    if type(entries) is not dict:
        raise Invalid("a message is a map")
    return entries


def id_of(entries: Fields) -> int:
    """0 where it cannot be read."""
    try:
        return _read_id(entries)
    except Invalid:
        return 0


def decode_entries(entries: Fields, tables: Mapping[str, Sequence[Field]]) -> Message:
    number = _read_id(entries)
    kind = _read_type(entries, tables)
    message = Message(kind, number, _read_fields(tables[kind], entries))
    if tables is FROM_CLIENT and kind in _CHECKS:
        _CHECKS[kind](message.fields)
    return message


def decode(data: bytes, tables: Mapping[str, Sequence[Field]] = FROM_BROKER) -> Message:
    """One map. tables is FROM_BROKER or FROM_CLIENT, by who sends it."""
    return decode_entries(unpack(data), tables)


def _write_value(field: Field, value: Any) -> Any:
    if field.kind == "number":
        return value / 1000000
    if field.kind == "list of number":
        return [item / 1000000 for item in value]
    if field.kind == "list of maps":
        return [_write_fields(field.sub, item) for item in value]
    return list(value) if field.kind == "seeds" else value


def _write_fields(table: Sequence[Field], fields: Fields) -> Fields:
    return {field.name: _write_value(field, fields[field.name]) for field in table
            if field.required or fields[field.name] != field.default}


def write(kind: str, fields: Fields, number: int,
          tables: Mapping[str, Sequence[Field]] = FROM_CLIENT) -> bytes:
    """The bytes of a message whose fields are as reading gives them; number 0: no id."""
    entries = _write_fields(tables[kind], fields)
    entries.update({"v": VERSION, "type": kind})
    if number:
        entries["id"] = number
    packed: bytes = msgpack.packb(entries)
    return packed
