"""The handle for asyncio. The sockets' descriptors and a timer of the loop drive the line: there is
no thread and no task. (A descriptor of libzmq's tells of changes once, so after each turn the
sockets are asked; zmq.asyncio does the same.)"""
from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Literal, TypeVar, Unpack

import zmq

from . import calls
from .errors import Invalid
from .exchange import Outcome, Request
from .link import now_ms
from .types import (BulkAction, Image, Job, Model, Part, Plan, Priority, Provenance,
                    RequestOptions, Result, Row, Status, Submitted, Withdrawal)

T = TypeVar("T")


class AsyncPictures(AsyncIterator[Result]):
    """Results as they come, in any order. Leaving the loop, or its task being cancelled, gives up
    what is still under way."""

    def __init__(self, window: calls.Window, turn: Callable[[], None],
                 ask: Callable[[list[int], deque[Outcome]], Request],
                 drop: Callable[[Request], None]) -> None:
        self._window = window
        self._turn = turn
        self._ask = ask
        self._drop = drop
        self._requests: list[Request] = []
        self._outcomes: deque[Outcome] = deque()
        self._news = asyncio.Event()

    def _fill(self) -> None:
        seeds = self._window.next()
        if not seeds:
            return
        self._requests = [request for request in self._requests if not request.is_done]
        request = self._ask(seeds, self._outcomes)
        request.on_outcome = self._news.set
        self._requests.append(request)
        self._turn()

    async def __anext__(self) -> Result:
        try:
            while True:
                self._fill()
                if self._window.is_over:
                    raise StopAsyncIteration
                if self._outcomes:
                    break
                self._news.clear()
                await self._news.wait()
        except BaseException:
            self._close()
            raise
        self._window.give_back()
        return calls.result_of(self._outcomes.popleft())

    def cancel(self) -> None:
        """Asks for no more; what is under way ends with `Cancelled`, unless it has come."""
        self._window.stop()
        for request in self._requests:
            self._drop(request)
        self._turn()

    def _close(self) -> None:
        self.cancel()
        self._window.close()
        self._outcomes.clear()

    async def aclose(self) -> None:
        """The same, and nothing more comes."""
        self._close()

    async def __aenter__(self) -> AsyncPictures:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        self._close()

    def __del__(self) -> None:
        self._close()


class AsyncSeedpress:
    """`Seedpress` for asyncio: the same arguments, the same calls, to be awaited.

        async with AsyncSeedpress() as sp:
            image = await sp.generate("avatars64", 42, psi=0.7)
            async for result in sp.generate_many("avatars64", range(100)):
                ...

    Any number of tasks of one loop may use a handle at once. A task that is cancelled takes its
    request back at the broker.
    """

    def __init__(self, brokers: str | Sequence[str] | None = None, *,
                 key_file: str | os.PathLike[str] | None = None,
                 broker_key: str | os.PathLike[str] | None = None, allow_plain: bool = False,
                 silence_ms: int = 3000, unreachable_ms: int = 30000,
                 answer_ms: int = 10000) -> None:
        self._answer_ms = calls.duration("answer_ms", answer_ms)
        self._line = calls.open_line(brokers, key_file, broker_key, allow_plain, silence_ms,
                                     unreachable_ms)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched: list[int] = []
        self._timer: asyncio.Handle | None = None

    async def aclose(self) -> None:
        """What is still waiting is given up. A second time does nothing."""
        self._unwatch()
        self._line.close()

    async def __aenter__(self) -> AsyncSeedpress:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.aclose()

    # ---- the loop ----

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise Invalid("this handle belongs to another event loop")
        self._loop = loop
        if not self._watched:
            self._watch_link(loop)

    def _watch_link(self, loop: asyncio.AbstractEventLoop) -> None:
        link = self._line.link
        self._watched = [int(link.socket.getsockopt(zmq.FD)), int(link.watch.getsockopt(zmq.FD))]
        for fd in self._watched:
            loop.add_reader(fd, self._turn)

    def _unwatch(self) -> None:
        if self._timer:
            self._timer.cancel()
        for fd in self._watched:
            if self._loop and not self._loop.is_closed():
                self._loop.remove_reader(fd)
        self._watched = []

    def _turn(self) -> None:
        loop = self._loop
        if self._line.is_closed or not loop or loop.is_closed():
            return
        if self._line.turn():                    # over a new link
            self._unwatch()
            self._watch_link(loop)
        if self._timer:
            self._timer.cancel()
        wait_ms = self._line.wait_ms()
        if self._line.is_due():
            self._timer = loop.call_soon(self._turn)
        elif wait_ms is not None:
            self._timer = loop.call_later(wait_ms / 1000, self._turn)

    async def _ask(self, call: calls.Call[T]) -> T:
        self._line.check_open()
        self._watch()
        exchange = self._line.exchange
        request = exchange.ask(call.type, call.fields, call.timeout_ms or self._answer_ms, now_ms())
        done = asyncio.Event()
        request.on_outcome = done.set
        self._turn()
        try:
            await done.wait()
        except BaseException:
            exchange.cancel(request)
            self._turn()
            raise
        return call.result(request.outcomes.popleft())

    # ---- asking for pictures ----

    async def generate(self, model: str, seed: int, psi: float = 1.0,
                       **options: Unpack[RequestOptions]) -> Image:
        """One picture. model is "cats", "cats@1a2b3c4d" or 64 hex digits, psi -2 to 2 with at most
        six decimal places; the options are those of `RequestOptions`."""
        return await self._ask(calls.generate(model, seed, psi, options))

    def generate_many(self, model: str, seeds: Iterable[int], psi: float = 1.0, *,
                      window: int = 64, **options: Unpack[RequestOptions]) -> AsyncPictures:
        """Pictures of seeds, each with its image or its error, as they come. seeds may be endless:
        at most window of them (1 to 1000) are under way or wait to be taken, and the deadline of
        each counts from when it was asked for."""
        self._line.check_open()
        self._watch()
        exchange = self._line.exchange

        def ask(some: list[int], outcomes: deque[Outcome]) -> Request:
            self._line.check_open()
            fields = calls.pictures(model, some, psi, options)
            return exchange.ask("generate", fields, fields["deadline_ms"], now_ms(), outcomes)

        calls.pictures(model, [0], psi, options)     # what no broker would take shows now
        return AsyncPictures(calls.Window(seeds, window), self._turn, ask, exchange.cancel)

    # ---- what is known of pictures ----

    async def lookup(self, *, recipe_key: str | None = None, sha256: str | None = None,
                     core_sha256: str | None = None, seed: int | None = None, model: str = "",
                     psi: float | None = None, job: int = 0, first: int = 0,
                     since: int | None = None, like: Sequence[int] | None = None,
                     limit: int = 10) -> list[Row]:
        """Rows of the ledger, by exactly one of the three digests, seed (model and psi: any), job
        (from item first on), since (seconds since 1970; of model) and like (perceptual hashes, two
        a window, as base/likeness.h says)."""
        given = {"recipe_key": recipe_key, "sha256": sha256, "core_sha256": core_sha256,
                 "seed": seed, "model": model, "psi": psi, "job": job, "first": first,
                 "since": since, "limit": limit}
        return await self._ask(calls.lookup(given, like))

    async def provenance(self, *, recipe_key: str | None = None, sha256: str | None = None,
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
            return await self._ask(calls.by_key(given))
        if any(value is not None for value in (recipe_key, sha256, seed, psi)) or model:
            raise Invalid("give either a file or what else to look for")
        for key, value, grade in await asyncio.to_thread(calls.file_keys, file):
            rows = await self._ask(calls.lookup({key: value, "limit": limit}, None))
            if rows:
                return Provenance(grade, rows)
        return Provenance("no record", [])

    async def fetch(self, *, recipe_key: str | None = None, sha256: str | None = None) -> Image:
        """The stored file with that recipe key or file hash; nothing is rendered for it."""
        return await self._ask(calls.fetch(recipe_key, sha256))

    async def withdraw(self, *, reason: str, recipe_key: str | None = None,
                       sha256: str | None = None) -> Withdrawal:
        """Takes the subject of that recipe key or file hash back for ever: no picture of it,
        whatever its psi and encoding, is stored or answered with bytes again. Needs the role
        admin."""
        return await self._ask(calls.withdraw(recipe_key, sha256, reason))

    # ---- bulk jobs ----

    async def bulk_submit(self, name: str, parts: Iterable[Part], *,
                          keep: Literal["image", "provenance"] = "image",
                          priority: Priority = "low", chunk: int = 1000,
                          dry: bool = False) -> Submitted:
        """A durable job of many seeds. The same again with the same content is the same job, with
        other content `Conflict`; dry: only say what it would be."""
        return await self._ask(calls.bulk_submit(name, parts, keep, priority, chunk, dry))

    async def bulk_list(self, *, job: int = 0, name: str = "", limit: int = 20) -> list[Job]:
        """Newest first; job 0 and name "": any."""
        return await self._ask(calls.bulk_list(job, name, limit))

    async def bulk_show(self, job: int, *, failures_after: int | None = None) -> Plan:
        """What a job is made of, and at most 500 of its failures, of items after that one."""
        return await self._ask(calls.bulk_show(job, failures_after))

    async def bulk_control(self, job: int, action: BulkAction) -> Job:
        return await self._ask(calls.bulk_control(job, action))

    async def bulk_exported(self, job: int, first: int = 0, count: int = 0) -> None:
        """For exporters of a job without files: items first to first + count - 1 are safe; count
        0: only a sign of life, every 5 s."""
        await self._ask(calls.bulk_exported(job, first, count))

    # ---- models and brokers ----

    async def models(self) -> list[Model]:
        return await self._ask(calls.models())

    async def model_use(self, name: str, digest: str) -> None:
        """Binds name, for everybody, to the known model whose digest begins with these 4 to 64 hex
        digits."""
        await self._ask(calls.model_use(name, digest))

    async def status(self) -> Status:
        return await self._ask(calls.status())

    async def ping(self, timeout_ms: int = 3000) -> None:
        """Whether a broker answers in that time: `Unreachable` if not."""
        await self._ask(calls.ping(timeout_ms))
