"""The handle that waits."""
from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Literal, TypeVar, Unpack

from . import calls
from .errors import Invalid
from .exchange import Outcome, Request
from .link import Line, now_ms
from .types import (BulkAction, Image, Job, Model, Part, Plan, Priority, Provenance,
                    RequestOptions, Result, Row, Status, Submitted, Withdrawal)

T = TypeVar("T")


class Pictures(Iterator[Result]):
    """Results as they come, in any order. Leaving the loop gives up what is still under way."""

    def __init__(self, line: Line, window: calls.Window,
                 ask: Callable[[list[int], deque[Outcome]], Request]) -> None:
        self._line = line
        self._window = window
        self._ask = ask
        self._requests: list[Request] = []
        self._outcomes: deque[Outcome] = deque()

    def _fill(self) -> None:
        seeds = self._window.next()
        if seeds:
            self._requests = [request for request in self._requests if not request.is_done]
            self._requests.append(self._ask(seeds, self._outcomes))

    def __next__(self) -> Result:
        try:
            while True:
                self._fill()
                if self._window.is_over:
                    raise StopIteration
                self._line.turn()
                if self._outcomes:
                    break
                self._line.wait()
        except BaseException:
            self.close()
            raise
        self._window.give_back()
        return calls.result_of(self._outcomes.popleft())

    def cancel(self) -> None:
        """Asks for no more; what is under way ends with `Cancelled`, unless it has come."""
        self._window.stop()
        for request in self._requests:
            self._line.exchange.cancel(request)
        self._line.turn()

    def close(self) -> None:
        """The same, and nothing more comes."""
        self.cancel()
        self._window.close()
        self._outcomes.clear()

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Seedpress:
    """Pictures by (model, seed, psi) from a broker, and where they came from.

        with Seedpress() as sp:
            sp.generate("avatars64", 42, psi=0.7).save("42.jpg")

    Connects in the background: that nobody is there shows when something is asked. A handle
    belongs to one thread at a time, and to the process that made it; several are independent.

    Every picture asked for ends exactly once, with an image or an error, at most half a second
    after its deadline. A broker that falls silent, goes away or is restarted is noticed; what it
    still owes is asked again, at the next endpoint if there are several, as long as there is time.

    brokers:        endpoints, as a list or with ',' between; the first is used until it fails.
                    None: the environment's SEEDPRESS_BROKER, else tcp://127.0.0.1:7701.
    key_file:       one's own pair of keys, from `seedpress keygen`: TCP is then encrypted. None:
                    the environment's SEEDPRESS_KEY_FILE; "": none.
    broker_key:     with key_file: the brokers' public key, as 40 characters or the path of a .pub
                    file. None: the environment's SEEDPRESS_BROKER_KEY.
    allow_plain:    connect without encryption beyond this machine, too.
    silence_ms:     a broker silent for this long is given up; it is pinged three times as often
                    while it owes anything.
    unreachable_ms: requests end with `Unreachable` when no broker was heard for this long.
    answer_ms:      deadline of everything that is not a picture.
    """

    def __init__(self, brokers: str | Sequence[str] | None = None, *,
                 key_file: str | os.PathLike[str] | None = None,
                 broker_key: str | os.PathLike[str] | None = None, allow_plain: bool = False,
                 silence_ms: int = 3000, unreachable_ms: int = 30000,
                 answer_ms: int = 10000) -> None:
        self._answer_ms = calls.duration("answer_ms", answer_ms)
        self._line = calls.open_line(brokers, key_file, broker_key, allow_plain, silence_ms,
                                     unreachable_ms)

    def close(self) -> None:
        """What is still waiting is given up. A second time does nothing."""
        self._line.close()

    def __enter__(self) -> Seedpress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _ask(self, call: calls.Call[T]) -> T:
        line = self._line
        line.check_open()
        request = line.exchange.ask(call.type, call.fields, call.timeout_ms or self._answer_ms,
                                    now_ms())
        try:
            line.turn()
            while not request.is_done:
                line.wait()
                line.turn()
        except BaseException:
            line.exchange.cancel(request)
            line.turn()
            raise
        return call.result(request.outcomes.popleft())

    # ---- asking for pictures ----

    def generate(self, model: str, seed: int, psi: float = 1.0,
                 **options: Unpack[RequestOptions]) -> Image:
        """One picture, waited for. model is "cats", "cats@1a2b3c4d" or 64 hex digits, psi -2 to 2
        with at most six decimal places; the options are those of `RequestOptions`."""
        return self._ask(calls.generate(model, seed, psi, options))

    def generate_many(self, model: str, seeds: Iterable[int], psi: float = 1.0, *,
                      window: int = 64, **options: Unpack[RequestOptions]) -> Pictures:
        """Pictures of seeds, each with its image or its error, as they come. seeds may be endless:
        at most window of them (1 to 1000) are under way or wait to be taken, and the deadline of
        each counts from when it was asked for."""
        line = self._line
        line.check_open()

        def ask(some: list[int], outcomes: deque[Outcome]) -> Request:
            line.check_open()
            fields = calls.pictures(model, some, psi, options)
            return line.exchange.ask("generate", fields, fields["deadline_ms"], now_ms(), outcomes)

        calls.pictures(model, [0], psi, options)     # what no broker would take shows now
        return Pictures(line, calls.Window(seeds, window), ask)

    # ---- what is known of pictures ----

    def lookup(self, *, recipe_key: str | None = None, sha256: str | None = None,
               core_sha256: str | None = None, seed: int | None = None, model: str = "",
               psi: float | None = None, job: int = 0, first: int = 0, since: int | None = None,
               like: Sequence[int] | None = None, limit: int = 10) -> list[Row]:
        """Rows of the ledger, by exactly one of the three digests, seed (model and psi: any), job
        (from item first on), since (seconds since 1970; of model) and like (perceptual hashes, two
        a window, as base/likeness.h says)."""
        given = {"recipe_key": recipe_key, "sha256": sha256, "core_sha256": core_sha256,
                 "seed": seed, "model": model, "psi": psi, "job": job, "first": first,
                 "since": since, "limit": limit}
        return self._ask(calls.lookup(given, like))

    def provenance(self, *, recipe_key: str | None = None, sha256: str | None = None,
                   seed: int | None = None, model: str = "", psi: float | None = None,
                   file: bytes | str | os.PathLike[str] | None = None,
                   limit: int = 10) -> Provenance:
        """Where a picture came from: by its recipe key, file hash or seed, or by a file, its bytes
        or its path. A file is looked up by its hash, then by that of the picture without its
        metadata; what was cropped, scaled or compressed again only the command finds (`seedpress
        provenance FILE`)."""
        given = {"recipe_key": recipe_key, "sha256": sha256, "seed": seed, "model": model,
                 "psi": psi, "limit": limit}
        if file is None:
            return self._ask(calls.by_key(given))
        if any(value is not None for value in (recipe_key, sha256, seed, psi)) or model:
            raise Invalid("give either a file or what else to look for")
        for key, value, grade in calls.file_keys(file):
            rows = self._ask(calls.lookup({key: value, "limit": limit}, None))
            if rows:
                return Provenance(grade, rows)
        return Provenance("no record", [])

    def fetch(self, *, recipe_key: str | None = None, sha256: str | None = None) -> Image:
        """The stored file with that recipe key or file hash; nothing is rendered for it."""
        return self._ask(calls.fetch(recipe_key, sha256))

    def withdraw(self, *, reason: str, recipe_key: str | None = None,
                 sha256: str | None = None) -> Withdrawal:
        """Takes the subject of that recipe key or file hash back for ever: no picture of it,
        whatever its psi and encoding, is stored or answered with bytes again. Needs the role
        admin."""
        return self._ask(calls.withdraw(recipe_key, sha256, reason))

    # ---- bulk jobs ----

    def bulk_submit(self, name: str, parts: Iterable[Part], *,
                    keep: Literal["image", "provenance"] = "image", priority: Priority = "low",
                    chunk: int = 1000, dry: bool = False) -> Submitted:
        """A durable job of many seeds. The same again with the same content is the same job, with
        other content `Conflict`; dry: only say what it would be."""
        return self._ask(calls.bulk_submit(name, parts, keep, priority, chunk, dry))

    def bulk_list(self, *, job: int = 0, name: str = "", limit: int = 20) -> list[Job]:
        """Newest first; job 0 and name "": any."""
        return self._ask(calls.bulk_list(job, name, limit))

    def bulk_show(self, job: int, *, failures_after: int | None = None) -> Plan:
        """What a job is made of, and at most 500 of its failures, of items after that one."""
        return self._ask(calls.bulk_show(job, failures_after))

    def bulk_control(self, job: int, action: BulkAction) -> Job:
        return self._ask(calls.bulk_control(job, action))

    def bulk_exported(self, job: int, first: int = 0, count: int = 0) -> None:
        """For exporters of a job without files: items first to first + count - 1 are safe; count
        0: only a sign of life, every 5 s."""
        self._ask(calls.bulk_exported(job, first, count))

    # ---- models and brokers ----

    def models(self) -> list[Model]:
        return self._ask(calls.models())

    def model_use(self, name: str, digest: str) -> None:
        """Binds name, for everybody, to the known model whose digest begins with these 4 to 64 hex
        digits."""
        self._ask(calls.model_use(name, digest))

    def status(self) -> Status:
        return self._ask(calls.status())

    def ping(self, timeout_ms: int = 3000) -> None:
        """Whether a broker answers in that time: `Unreachable` if not."""
        self._ask(calls.ping(timeout_ms))
