"""The fields of every message that a client sends or receives, as proto/PROTOCOL.md lists them;
tests/test_message.py holds this module and that page together, row by row."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

IMAGE_MAX = 64 << 20
"""Bytes of the frame after a map."""
SEEDS_MAX = 1000
"""Pictures of one request."""
_U32 = (1 << 32) - 1
_I53 = 1 << 53


@dataclass(frozen=True)
class Field:
    """Numbers (`psi`) are kept in millionths, so that what is compared is exact."""

    name: str
    kind: str
    low: int = 0
    high: int = 0
    default: Any = None
    required: bool = False
    most: int = 0
    words: tuple[str, ...] = ()
    sub: tuple[Field, ...] = ()


def _int(name: str, low: int, high: int, **more: Any) -> Field:
    return Field(name, "int", low, high, **more)


def _number(name: str, low: int, high: int, default: int | None = None, **more: Any) -> Field:
    return Field(name, "number", low * 1000000, high * 1000000,
                 None if default is None else default * 1000000, **more)


def _text(name: str, low: int, high: int, **more: Any) -> Field:
    return Field(name, "text", low, high, default="", **more)


def _word(name: str, words: tuple[str, ...], **more: Any) -> Field:
    return Field(name, "word", words=words, **more)


def _digest(name: str, **more: Any) -> Field:
    return Field(name, "digest", **more)


def _flag(name: str) -> Field:
    return Field(name, "bool", default=False)


def _seeds(name: str, most: int) -> Field:
    return Field(name, "seeds", 0, _U32, default=(), most=most)


def _numbers(name: str, count: int, low: int, high: int) -> Field:
    return Field(name, "list of number", low * 1000000, high * 1000000, most=count)


def _floats(name: str, count: int) -> Field:
    return Field(name, "list of float", most=count)


def _maps(name: str, most: int, sub: tuple[Field, ...], **more: Any) -> Field:
    return Field(name, "list of maps", default=(), most=most, sub=sub, **more)


_PART = (
    _text("model", 1, 160, required=True),
    _int("first", 0, _U32, required=True),
    _int("last", 0, _U32, required=True),
    _number("psi", -2, 2, default=1),
    _int("cutoff", 0, 64),
    _int("class", 0, 65535),
    _int("class_mod", 0, 65536, default=0),
    _word("noise_mode", ("none", "const", "random", "stream")),
    _int("noise_seed", 0, _U32),
    _numbers("translate", 2, -1000, 1000),
    _number("rotate", -1000, 1000),
    _floats("transform", 9),
    _int("quality", 1, 100, default=90),
    _word("mark", ("none", "xmp", "c2pa")),
    _int("rev", 0, _U32, default=0),
)
_ROW = (
    _digest("recipe_key", required=True),
    _digest("sha256", required=True),
    _digest("core_sha256", required=True),
    _text("recipe", 1, 639, required=True),
    _text("model", 0, 64),
    _text("numerics_class", 0, 63),
    _text("encoder", 0, 63),
    _int("run", 0, _I53, default=0),
    _int("batch", 0, 4096, default=0),
    _int("bytes", 0, IMAGE_MAX, default=0),
    _flag("kept"),
    _flag("withdrawn"),
    _text("created", 0, 40),
    _text("worker", 0, 127),
    _text("version", 0, 63),
    _text("backend", 0, 31),
    _text("device", 0, 127),
    _text("driver", 0, 63),
    _text("libraries", 0, 159),
    _int("job", 0, _I53, default=0),
    _int("distance", 0, 64),
)
_MODEL = (
    _text("name", 0, 64),
    _digest("digest", required=True),
    _text("arch", 0, 32),
    _text("licence", 0, 128),
    _int("width", 0, 4096, default=0),
    _int("height", 0, 4096, default=0),
    _int("num_ws", 0, 64, default=0),
    _int("z_dim", 0, 65536, default=0),
    _int("w_dim", 0, 65536, default=0),
    _int("c_dim", 0, 65536, default=0),
    _int("noise_modes", 0, 15, default=1),
    _flag("has_transform"),
    _flag("bound"),
    _int("workers", 0, _I53, default=0),
)
_WORKER = (
    _text("worker", 0, 127),
    _text("numerics_class", 0, 63),
    _text("device", 0, 127),
    _int("run", 0, _I53, default=0),
    _int("credit", 0, 4096, default=0),
    _int("leased", 0, 4096, default=0),
    _int("rendered", 0, _I53, default=0),
    _int("backlog_ms", 0, _I53, default=0),
    _int("silent_ms", 0, _I53, default=0),
    _flag("draining"),
)
_JOB = (
    _int("job", 0, _I53, default=0),
    _text("name", 0, 64),
    _word("state", ("running", "paused", "cancelled", "done"), required=True),
    _word("keep", ("image", "provenance"), default="image"),
    _word("priority", ("high", "normal", "low"), default="low"),
    _int("chunk", 0, 10000, default=0),
    _int("total", 0, _I53, default=0),
    _int("done", 0, _I53, default=0),
    _int("failed", 0, _I53, default=0),
    _int("rendering", 0, _I53, default=0),
    _int("exporter_ms", 0, _I53),
    _int("picture_us", 0, _I53, default=0),
    _int("picture_bytes", 0, _I53, default=0),
    _text("created", 0, 40),
    _text("finished", 0, 40),
)
_RANGE = (
    _int("item", 0, _I53, default=0),
    _int("first", 0, _U32, default=0),
    _int("last", 0, _U32, default=0),
    _int("class_mod", 0, 65536, default=0),
    _text("recipe", 1, 639, required=True),
)
_FAILURE = (
    _int("item", 0, _I53, default=0),
    _int("seed", 0, _U32, default=0),
    _text("code", 0, 32),
    _text("message", 0, 256),
)
_IMAGE = (
    _int("seed", 0, _U32, required=True),
    _number("psi", -2, 2, required=True),
    _digest("model", required=True),
    _digest("recipe_key", required=True),
    _digest("sha256", required=True),
    _digest("core_sha256", required=True),
    _text("recipe", 1, 639, required=True),
    _text("numerics_class", 0, 63, required=True),
    _text("encoder", 0, 63, required=True),
    _int("run", 0, _I53, default=0),
    _int("bytes", 0, IMAGE_MAX, default=0),
    _word("source", ("render", "ledger", "memory"), required=True),
    _int("queue_ms", 0, _I53, default=0),
    _int("render_ms", 0, _I53, default=0),
    _int("encode_ms", 0, _I53, default=0),
    _int("store_ms", 0, _I53, default=0),
    _int("batch", 0, 4096, default=0),
    _text("warning", 0, 160),
    _digest("rendered_sha256"),
    _digest("rendered_core_sha256"),
    _text("rendered_class", 0, 63),
    _int("rendered_run", 0, _I53, default=0),
    _int("rendered_levels", 0, 255),
    _number("rendered_psnr", 0, 99),
)

FROM_CLIENT: dict[str, tuple[Field, ...]] = {
    "generate": (
        _text("model", 1, 160, required=True),
        _int("seed", 0, _U32),
        _seeds("seeds", 1000),
        _number("psi", -2, 2, default=1),
        _int("cutoff", 0, 64),
        _int("class", 0, 65535),
        _word("noise_mode", ("none", "const", "random", "stream")),
        _int("noise_seed", 0, _U32),
        _numbers("translate", 2, -1000, 1000),
        _number("rotate", -1000, 1000),
        _floats("transform", 9),
        _int("quality", 1, 100, default=90),
        _word("mark", ("none", "xmp", "c2pa")),
        _int("rev", 0, _U32, default=0),
        _word("priority", ("high", "normal", "low"), default="normal"),
        _int("deadline_ms", 1, 3600000, default=10000),
        _word("want", ("image", "receipt"), default="image"),
        _word("cache", ("use", "only", "bypass"), default="use"),
        _text("require_class", 0, 63),
        _text("trace", 0, 64),
        _text("for", 0, 64),
        _word("keep", ("image", "provenance", "refill"), default="image"),
        _int("job", 0, _I53, default=0),
    ),
    "cancel": (_int("request", 0, _I53, required=True),),
    "lookup": (
        _digest("recipe_key"),
        _digest("sha256"),
        _digest("core_sha256"),
        _text("model", 0, 160),
        _int("seed", 0, _U32),
        _number("psi", -2, 2),
        _int("job", 0, _I53, default=0),
        _int("first", 0, _I53, default=0),
        _int("since", 0, _I53),
        _text("like", 0, 2304),
        _int("limit", 1, 100, default=10),
    ),
    "fetch": (
        _digest("recipe_key"),
        _digest("sha256"),
    ),
    "models": (),
    "model_use": (
        _text("name", 1, 64, required=True),
        _text("digest", 4, 64, required=True),
    ),
    "status": (),
    "ping": (),
    "bulk_submit": (
        _text("name", 1, 64, required=True),
        _word("keep", ("image", "provenance"), default="image"),
        _word("priority", ("high", "normal", "low"), default="low"),
        _int("chunk", 1, 10000, default=1000),
        _flag("dry"),
        _maps("parts", 1000, _PART, required=True),
    ),
    "bulk_list": (
        _int("job", 0, _I53, default=0),
        _text("name", 0, 64),
        _int("limit", 1, 100, default=20),
    ),
    "bulk_show": (
        _int("job", 1, _I53, required=True),
        _int("after", 0, _I53),
    ),
    "bulk_control": (
        _int("job", 1, _I53, required=True),
        _word("action", ("pause", "resume", "cancel"), required=True),
    ),
    "bulk_exported": (
        _int("job", 1, _I53, required=True),
        _int("first", 0, _I53, default=0),
        _int("count", 0, 100000, default=0),
    ),
    "withdraw": (
        _digest("recipe_key"),
        _digest("sha256"),
        _text("reason", 1, 200, required=True),
    ),
}

FROM_BROKER: dict[str, tuple[Field, ...]] = {
    "image": _IMAGE,
    "receipt": _IMAGE,
    "error": (
        _text("code", 1, 32, required=True),
        _text("message", 0, 256),
        _flag("retry"),
        _int("retry_after_ms", 0, 3600000, default=0),
        _int("seed", 0, _U32),
    ),
    "done": (
        _int("count", 0, _I53, default=0),
        _int("failed", 0, _I53, default=0),
    ),
    "provenance": (_maps("rows", 100, _ROW),),
    "model_list": (_maps("models", 256, _MODEL),),
    "status_report": (
        _text("version", 0, 63),
        _int("uptime_ms", 0, _I53, default=0),
        _flag("ledger_up"),
        _flag("draining"),
        _int("looking_up", 0, _I53, default=0),
        _int("queued_high", 0, _I53, default=0),
        _int("queued_normal", 0, _I53, default=0),
        _int("queued_low", 0, _I53, default=0),
        _int("held", 0, _I53, default=0),
        _int("rendering", 0, _I53, default=0),
        _int("committing", 0, _I53, default=0),
        _int("waiters", 0, _I53, default=0),
        _int("submitted", 0, _I53, default=0),
        _int("answered", 0, _I53, default=0),
        _int("failed", 0, _I53, default=0),
        _int("cancelled", 0, _I53, default=0),
        _int("joined", 0, _I53, default=0),
        _int("ledger_hits", 0, _I53, default=0),
        _int("retried", 0, _I53, default=0),
        _int("late", 0, _I53, default=0),
        _int("memory_hits", 0, _I53, default=0),
        _int("memory_bytes", 0, _I53, default=0),
        _int("refused", 0, _I53, default=0),
        _int("expired", 0, _I53, default=0),
        _int("poison", 0, _I53, default=0),
        _int("workers_lost", 0, _I53, default=0),
        _int("clients", 0, _I53, default=0),
        _int("clients_dropped", 0, _I53, default=0),
        _int("denied", 0, _I53, default=0),
        _int("malformed", 0, _I53, default=0),
        _int("oldest_ms", 0, _I53, default=0),
        _int("wait_p50_ms", 0, _I53, default=0),
        _int("wait_p99_ms", 0, _I53, default=0),
        _maps("workers", 1024, _WORKER),
    ),
    "pong": (),
    "bulk_report": (
        _maps("jobs", 100, _JOB),
        _flag("is_new"),
    ),
    "bulk_plan": (
        _maps("jobs", 1, _JOB, required=True),
        _maps("parts", 1000, _RANGE, required=True),
        _maps("failures", 500, _FAILURE),
    ),
    "withdrawal": (
        _digest("subject", required=True),
        _int("pictures", 0, _I53, default=0),
        _int("files", 0, _I53, default=0),
        _maps("rows", 100, _ROW),
    ),
}
