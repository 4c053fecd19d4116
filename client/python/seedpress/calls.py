"""What both handles share: from the arguments of a call to a message, and from its answer to what
the call gives."""
from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Unpack

from . import answer, core, keys, message
from .errors import Bug, File, Invalid, Range
from .exchange import Outcome
from .link import Line
from .message import Fields
from .recipe import Recipe, resolve as resolve_fields
from .tables import SEEDS_MAX
from .types import (BulkAction, Grade, Image, Job, Model, Options, Part, Plan, Priority, Provenance,
                    RequestOptions, Result, Row, Status, Submitted, Withdrawal)

DEFAULT_BROKER = "tcp://127.0.0.1:7701"
FILE_MAX = 64 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    type: str
    fields: Fields
    expects: str
    """Type of the answer."""
    finish: Callable[[Fields, bytes | None], T]
    timeout_ms: int | None = None
    """None: the handle's answer_ms."""

    def result(self, outcome: Outcome) -> T:
        if outcome.error:
            raise outcome.error
        said = outcome.message
        assert said
        if said.type != self.expects:
            raise Bug(f'the broker answered "{said.type}" to "{self.type}"')
        return self.finish(said.fields, outcome.file)


def _ask(kind: str, given: Mapping[str, Any], expects: str,
         finish: Callable[[Fields, Fields, bytes | None], T],
         timeout_ms: int | None = None) -> Call[T]:
    fields = message.read(kind, given)
    return Call(kind, fields, expects, lambda said, file: finish(said, fields, file), timeout_ms)


# ---- handles ----

def duration(name: str, value: int) -> int:
    """A silence of 0 ms would have a broker left before it could answer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Range(f"{name} needs whole milliseconds from 1 on, not {value!r}")
    return value


def open_line(brokers: str | Sequence[str] | None, key_file: str | os.PathLike[str] | None,
              broker_key: str | os.PathLike[str] | None, allow_plain: bool, silence_ms: int,
              unreachable_ms: int) -> Line:
    if brokers is None:
        brokers = os.environ.get("SEEDPRESS_BROKER") or DEFAULT_BROKER
    if key_file is None:
        key_file = os.environ.get("SEEDPRESS_KEY_FILE", "")
    if broker_key is None:
        broker_key = os.environ.get("SEEDPRESS_BROKER_KEY", "")
    pair = keys.find_both(os.fspath(key_file), os.fspath(broker_key))
    endpoints = brokers.split(",") if isinstance(brokers, str) else list(brokers)
    return Line(endpoints, pair, allow_plain, duration("silence_ms", silence_ms),
                duration("unreachable_ms", unreachable_ms))


# ---- pictures ----

_NAMES = {"class_index": "class", "visitor": "for"}


def _wish(model: str, psi: float, options: Mapping[str, Any], known: Any) -> Fields:
    for name in options:
        if name not in known.__optional_keys__:
            raise TypeError(f"a picture has no option {name!r}")
    return {"model": _plain(model), "psi": _plain(psi),
            **{_NAMES.get(name, name): _plain(value) for name, value in options.items()}}


def _plain(value: Any) -> Any:
    """Numbers and words of NumPy's and of enumerations as those of Python; everything else as it
    is."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):     # as a float64 of NumPy's is, though of a class of its own
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)    # str() would give the name of an enumeration's member
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    try:
        return operator.index(value)
    except TypeError:
        return float(value)


def generate(model: str, seed: int, psi: float, options: RequestOptions) -> Call[Image]:
    fields = message.read("generate", {**_wish(model, psi, options, RequestOptions),
                                        "seed": _plain(seed)})
    is_receipt = fields["want"] == "receipt"
    return Call("generate", fields, "receipt" if is_receipt else "image", answer.image_of,
                int(fields["deadline_ms"]))


def pictures(model: str, seeds: Sequence[int], psi: float, options: RequestOptions) -> Fields:
    return message.read("generate", {**_wish(model, psi, options, RequestOptions), "seeds": seeds})


def result_of(outcome: Outcome) -> Result:
    if outcome.error:
        return Result(outcome.seed, error=outcome.error)
    assert outcome.message
    return Result(outcome.seed, answer.image_of(outcome.message.fields, outcome.file))


def resolve(model: Model, seed: int, psi: float = 1.0, **options: Unpack[Options]) -> Recipe:
    """The recipe that a picture of this model would have, and so its key, before anything is asked
    for. Raises what a broker would answer: `ClassRequired`, `Unsupported`, ..."""
    fields = message.read("generate", {**_wish(model.digest, psi, options, Options),
                                       "seed": _plain(seed)})
    return resolve_fields(fields, model.facts)


# ---- what is known of pictures ----

def lookup(given: Mapping[str, Any], like: Sequence[int] | None) -> Call[list[Row]]:
    wanted = {name: _plain(value) for name, value in given.items()}
    if like is not None:
        wanted["like"] = "".join(f"{value:016x}" for value in like)
    return _ask("lookup", wanted, "provenance", lambda said, asked, _: answer.rows_of(said, asked))


def _read_file(file: bytes | str | os.PathLike[str]) -> bytes:
    if isinstance(file, bytes):
        return file
    with open(file, "rb") as opened:
        data = opened.read(FILE_MAX + 1)
    if len(data) > FILE_MAX:
        raise File(f'"{os.fspath(file)}" is larger than a picture is: at most {FILE_MAX} bytes')
    return data


def file_keys(file: bytes | str | os.PathLike[str]) -> list[tuple[str, str, Grade]]:
    """What a file is looked up by: (key of lookup, hash, grade), the surest first."""
    data = _read_file(file)
    found: list[tuple[str, str, Grade]] = [("sha256", hashlib.sha256(data).hexdigest(), "exact")]
    core_hash = core.core_sha256(data)
    if core_hash:
        found.append(("core_sha256", core_hash, "exact (metadata differs)"))
    return found


def by_key(given: Mapping[str, Any]) -> Call[Provenance]:
    rows = lookup(given, None)
    return Call(rows.type, rows.fields, rows.expects,
                lambda said, file: Provenance(None, rows.finish(said, file)))


def fetch(recipe_key: str | None, sha256: str | None) -> Call[Image]:
    return _ask("fetch", {"recipe_key": recipe_key, "sha256": sha256}, "image",
                lambda said, asked, file: answer.fetched(said, file, asked))


def withdraw(recipe_key: str | None, sha256: str | None, reason: str) -> Call[Withdrawal]:
    return _ask("withdraw", {"recipe_key": recipe_key, "sha256": sha256, "reason": reason},
                "withdrawal", lambda said, asked, _: answer.withdrawal_of(said))


# ---- bulk jobs ----

def _part(part: Part) -> Fields:
    return {**_wish(part.model, part.psi, part.options, Options), "first": _plain(part.first),
            "last": _plain(part.last), "class_mod": part.class_mod}


def bulk_submit(name: str, parts: Iterable[Part], keep: str, priority: Priority, chunk: int,
                dry: bool) -> Call[Submitted]:
    given = {"name": name, "keep": keep, "priority": priority, "chunk": chunk, "dry": dry,
             "parts": [_part(part) for part in parts]}
    return _ask("bulk_submit", given, "bulk_report",
                lambda said, asked, _: answer.submitted_of(said))


def bulk_list(job: int, name: str, limit: int) -> Call[list[Job]]:
    return _ask("bulk_list", {"job": job, "name": name, "limit": limit}, "bulk_report",
                lambda said, asked, _: answer.jobs_of(said))


def bulk_show(job: int, failures_after: int | None) -> Call[Plan]:
    return _ask("bulk_show", {"job": job, "after": failures_after}, "bulk_plan",
                lambda said, asked, _: answer.plan_of(said, asked))


def bulk_control(job: int, action: BulkAction) -> Call[Job]:
    return _ask("bulk_control", {"job": job, "action": action}, "bulk_report",
                lambda said, asked, _: answer.job_of(said))


def bulk_exported(job: int, first: int, count: int) -> Call[None]:
    return _ask("bulk_exported", {"job": job, "first": first, "count": count}, "done",
                lambda said, asked, _: None)


# ---- models and brokers ----

def models() -> Call[list[Model]]:
    return _ask("models", {}, "model_list", lambda said, asked, _: answer.models_of(said))


def model_use(name: str, digest: str) -> Call[None]:
    return _ask("model_use", {"name": name, "digest": digest}, "done", lambda said, asked, _: None)


def status() -> Call[Status]:
    return _ask("status", {}, "status_report", lambda said, asked, _: answer.status_of(said))


def ping(timeout_ms: int) -> Call[None]:
    return _ask("ping", {}, "pong", lambda said, asked, _: None,
                duration("timeout_ms", timeout_ms))


# ---- many seeds, a window of them at a time ----

class Window:
    """Which seeds are to be asked for next, so that never more than size are under way or wait to
    be taken."""

    def __init__(self, seeds: Iterable[int], size: int) -> None:
        if not 1 <= size <= SEEDS_MAX:
            raise Invalid(f"a window has 1 to {SEEDS_MAX} pictures, not {size}")
        self._seeds = iter(seeds)
        self._size = size
        self._taken = 0
        self._is_at_end = False

    def next(self) -> list[int]:
        """Empty: none now. Where there is room for a few only, more is waited for: a request with
        several seeds costs less than several."""
        room = self._size - self._taken
        if self._is_at_end or room < max(self._size // 4, 1):
            return []
        seeds: list[int] = []
        for seed in self._seeds:
            seeds.append(operator.index(seed))
            if len(seeds) == room:
                break
        else:
            self._is_at_end = True
        self._taken += len(seeds)
        return seeds

    def give_back(self) -> None:
        """One has been taken."""
        self._taken -= 1

    def stop(self) -> None:
        """There are no more seeds."""
        self._is_at_end = True

    def close(self) -> None:
        """And nothing more will be taken."""
        self._is_at_end = True
        self._taken = 0

    @property
    def is_over(self) -> bool:
        return self._is_at_end and self._taken == 0
