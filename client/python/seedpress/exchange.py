"""What was asked of the brokers and what came back, without a socket and without a clock: whoever
has them gives frames and the time, in milliseconds that only go forward, and sends what is given.

How a request gets its answer though brokers die: it is sent once there is a connection; a broker
that owes something is pinged; one that is silent, or whose connection breaks, has lost what it was
told, so everything unanswered is sent again over a new connection, to the next endpoint if there
are several, with the rest of its time. What comes twice is dropped the second time. Every request
is idempotent, so asking twice does no harm.

`retry` is the word of a program that goes away. With another endpoint everything unanswered goes
there at once; with one it is asked again after a moment, until the broker is back. It ends nothing
while there is time to ask again."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from . import answer, message
from .errors import (Bug, Cancelled, Deadline, Denied, Retry, SeedpressError, Unreachable,
                     error_of)
from .message import Fields, Message
from .recipe import Recipe
from .tables import FROM_BROKER

GRACE_MS = 500
"""A broker ends what is late by itself, and says more of it."""
REOPEN_MS = 100
"""Between connections: a broker may break every one."""
AGAIN_MS = 200
"""After a `retry` that names no time, at the same broker."""
CONNECT_MS = 2000
"""An endpoint without a connection is left sooner than one that is silent."""
_PINGS_IN_SILENCE = 3
_NEVER = 1 << 62


@dataclass
class Outcome:
    """How one thing that was asked for ended: with a message, and the bytes after it, or an
    error."""

    seed: int
    message: Message | None = None
    file: bytes | None = None
    error: SeedpressError | None = None


@dataclass(eq=False)
class Request:
    id: int
    type: str
    fields: Fields
    asked_ms: int
    deadline_ms: int
    heard_before: int
    waiting: dict[int, int]
    """How often each seed is still owed; of what is not for pictures 0, once."""
    many: bool
    """Several seeds: the broker ends them with `done`."""
    sent: bool = False
    again_ms: int | None = None
    """To be sent again at the same broker then."""
    referred: dict[int, SeedpressError] = field(default_factory=dict)
    """The `retry` of seeds that are still waiting."""
    outcomes: deque[Outcome] = field(default_factory=deque)
    """For whoever asked to take."""
    on_outcome: Callable[[], None] | None = None

    @property
    def is_done(self) -> bool:
        """Nothing of it waits; outcomes may still be there."""
        return not self.waiting

    def seeds(self) -> list[int]:
        return [seed for seed, count in self.waiting.items() for _ in range(count)]


class Exchange:
    def __init__(self, brokers: Sequence[str], has_keys: bool, silence_ms: int,
                 unreachable_ms: int, now_ms: int) -> None:
        self.brokers = brokers
        self.endpoint = 0
        """Of brokers: where the present connection goes."""
        self.is_lost = False
        """Nothing is sent over the present connection any more."""
        self._has_keys = has_keys
        self._silence_ms = silence_ms
        self._unreachable_ms = unreachable_ms
        self._requests: dict[int, Request] = {}
        self._unsent: dict[int, Request] = {}
        self._again: dict[int, Request] = {}     # those with an again_ms
        self._notes: deque[bytes] = deque()      # pings and cancels: sent now or not at all
        self._last_id = 0
        self._heard = 0                          # messages from any broker
        self._silent_since_ms = now_ms           # nothing was heard since, though we listened
        self._pinged_ms = now_ms
        self._tried_ms = now_ms                  # the present connection is as old
        self._connected_ms: int | None = None
        self._worked_ms = now_ms
        self._check_ms = _NEVER                  # nothing ends by itself before
        self._refusals = 0                       # endpoints in a row that did not let us in

    # ---- asking ----

    @property
    def is_idle(self) -> bool:
        return not self._requests

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent) and not self.is_lost

    def ask(self, kind: str, fields: Fields, timeout_ms: int, now_ms: int,
            outcomes: deque[Outcome] | None = None) -> Request:
        """fields are as `message.read` gives them; outcomes may be shared by several requests.
        Nothing is sent before the next turn."""
        seeds = fields["seeds"] if kind == "generate" else ()
        waiting: dict[int, int] = {}
        for seed in seeds or [fields.get("seed") or 0 if kind == "generate" else 0]:
            waiting[seed] = waiting.get(seed, 0) + 1
        if self.is_idle:                         # nobody had a reason to speak until now
            self._silent_since_ms = self._pinged_ms = now_ms
        self._last_id += 1
        request = Request(self._last_id, kind, fields, now_ms, now_ms + timeout_ms, self._heard,
                          waiting, bool(seeds),
                          outcomes=deque() if outcomes is None else outcomes)
        self._requests[request.id] = self._unsent[request.id] = request
        self._check_ms = min(self._check_ms, self._end_ms(request))
        return request

    def cancel(self, request: Request) -> None:
        """Ends what waits of it with `Cancelled`, and tells the broker."""
        if request.id not in self._requests:
            return
        if request.sent and not self.is_lost:
            self._last_id += 1
            fields = message.read("cancel", {"request": request.id})
            self._notes.append(message.write("cancel", fields, self._last_id))
        self._fail(request, Cancelled, "cancelled")

    def end_all(self) -> None:
        """What is still waiting is given up."""
        for request in list(self._requests.values()):
            self._fail(request, Cancelled, "the handle was closed")

    # ---- what ends ----

    def _end(self, request: Request, outcome: Outcome) -> None:
        left = request.waiting[outcome.seed] - 1
        if left:
            request.waiting[outcome.seed] = left
        else:
            del request.waiting[outcome.seed]
            request.referred.pop(outcome.seed, None)
        request.outcomes.append(outcome)
        if not request.waiting:
            del self._requests[request.id]
            self._unsent.pop(request.id, None)
            self._again.pop(request.id, None)
        if request.on_outcome:
            request.on_outcome()

    def _fail(self, request: Request, kind: type[SeedpressError], words: str) -> None:
        for seed in request.seeds():
            self._end(request, Outcome(seed, error=kind(words, seed=self._seed(request, seed))))

    @staticmethod
    def _seed(request: Request, seed: int) -> int | None:
        return seed if request.type == "generate" else None

    def _end_ms(self, request: Request) -> int:
        """When a request ends by itself if nothing is heard."""
        grace_ms = GRACE_MS if request.type == "generate" else 0
        return min(request.deadline_ms + grace_ms,
                   max(self._silent_since_ms, request.asked_ms) + self._unreachable_ms)

    def _unreachable(self, request: Request, now_ms: int) -> str:
        tenths = (now_ms - request.asked_ms + 50) // 100
        return (f"no broker answered at {','.join(self.brokers)} within {tenths / 10:g} s; is "
                "seedpress-broker running?")

    def _end_waiting(self, request: Request, now_ms: int) -> None:
        is_late = self._heard != request.heard_before and now_ms >= request.deadline_ms
        for seed in request.seeds():
            error: SeedpressError | None = request.referred.get(seed)
            if not error and is_late:
                error = Deadline("no answer came before the deadline")
            if not error:
                error = Unreachable(self._unreachable(request, now_ms))
            error.seed = self._seed(request, seed)
            self._end(request, Outcome(seed, error=error))

    def _end_late(self, now_ms: int) -> None:
        if now_ms < self._check_ms:
            return
        for request in list(self._requests.values()):
            if now_ms >= self._end_ms(request):
                self._end_waiting(request, now_ms)
        self._check_ms = min(map(self._end_ms, self._requests.values()), default=_NEVER)

    # ---- what comes in ----

    def receive(self, frames: Sequence[bytes], now_ms: int) -> None:
        """One message of the present connection."""
        self._refusals = 0
        if not 1 <= len(frames) <= 2:
            return                               # nobody knows what that would be
        request, said = None, None
        try:
            entries = message.unpack(frames[0])
            request = self._requests.get(message.id_of(entries))
            said = message.decode_entries(entries, FROM_BROKER)
        except SeedpressError:
            pass
        if said:
            self._heard += 1
            self._silent_since_ms = now_ms
        if request and said:
            self._on_message(request, said, frames[1] if len(frames) > 1 else None, now_ms)
        elif request and not request.many:       # of several, nobody knows which one it should
            self._fail(request, Bug, "the broker's answer could not be read")        # have been

    def _on_message(self, request: Request, said: Message, file: bytes | None,
                    now_ms: int) -> None:
        if said.type == "error":
            self._on_error(request, said.fields, now_ms)
        elif request.type != "generate":
            self._end(request, Outcome(0, said, file))
        elif said.type in ("image", "receipt"):
            self._on_image(request, said, file)
        elif said.type == "done" and request.many:
            self._on_done(request)

    def _check(self, request: Request, said: Message, file: bytes | None, seed: int) -> None:
        is_receipt = said.type == "receipt"
        if is_receipt != (request.fields["want"] == "receipt"):
            raise Bug("the broker sent a receipt for a picture, or a picture for a receipt")
        recipe: Recipe = answer.check_image(said.fields, None if is_receipt else file or b"")
        answer.check_asked(recipe, request.fields, seed)

    def _on_image(self, request: Request, said: Message, file: bytes | None) -> None:
        seed: int = said.fields["seed"]
        if seed not in request.waiting:
            if request.many:
                return                           # the second answer to what was sent twice
            seed = next(iter(request.waiting))   # it can only have meant this one
        try:
            self._check(request, said, file, seed)
        except SeedpressError as error:
            error.seed = seed
            self._end(request, Outcome(seed, error=error))
            return
        self._end(request, Outcome(seed, said, None if said.type == "receipt" else file))

    def _is_referred(self, request: Request, fields: Fields, now_ms: int) -> bool:
        """Whether what says `retry` can be asked again in time; then it will be."""
        if fields["code"] != Retry.word:
            return False
        if len(self.brokers) > 1:
            self.is_lost = True
            return now_ms < request.deadline_ms
        again_ms = now_ms + (fields["retry_after_ms"] or AGAIN_MS)
        if again_ms >= request.deadline_ms:
            return False
        if request.again_ms is None:
            request.again_ms = again_ms
            self._again[request.id] = request
        return True

    def _on_error(self, request: Request, fields: Fields, now_ms: int) -> None:
        is_referred = self._is_referred(request, fields, now_ms)
        seeds = request.seeds()
        if request.many and fields["seed"] is not None:
            seeds = [fields["seed"]] if fields["seed"] in request.waiting else []
        for seed in seeds:
            error = error_of(fields["code"], fields["message"], fields["retry"],
                             fields["retry_after_ms"], self._seed(request, seed))
            if is_referred:
                request.referred[seed] = error
            else:
                self._end(request, Outcome(seed, error=error))

    def _on_done(self, request: Request) -> None:
        """The broker will say nothing more of it. What it referred is asked again all the same."""
        for seed in request.seeds():
            if seed not in request.referred:
                self._end(request, Outcome(seed, error=Retry(
                    "the broker ended the request without this picture", seed=seed)))

    # ---- the connection ----

    def on_connected(self, now_ms: int) -> None:
        if self._connected_ms is None:
            self._connected_ms = now_ms

    def on_lost(self, is_refused: bool, now_ms: int) -> None:
        """The connection broke; is_refused: because it was not let in. libzmq connects again by
        itself, but a broker that was restarted then knows nothing of us."""
        self.is_lost = True
        self._refusals += is_refused
        if self._refusals >= len(self.brokers):  # nothing is gained by waiting for the deadline
            self._deny_waiting()

    def _deny_waiting(self) -> None:
        self._refusals = 0
        words = "the broker admits no plain connection: give a key file and its key"
        if self._has_keys:
            words = ("the broker does not admit this key: is it on its keyring, as client, proxy "
                     "or admin, and is the broker encrypted?")
        for request in list(self._requests.values()):
            self._fail(request, Denied, words)

    def _leave_ms(self) -> int:
        """When the present endpoint has had its time, if nothing is heard."""
        if self._connected_ms is not None:       # the handshake over a slow line is no silence
            return max(self._silent_since_ms, self._connected_ms) + self._silence_ms
        if len(self.brokers) > 1:
            return self._tried_ms + min(self._silence_ms, CONNECT_MS)
        return max(self._silent_since_ms, self._tried_ms) + self._silence_ms

    def wants_connection(self, now_ms: int) -> int | None:
        """The endpoint that a new connection shall go to, now. With one endpoint it is the same,
        because only that forgets what the old one's queues still hold."""
        is_due = now_ms >= self._tried_ms + REOPEN_MS if self.is_lost else (
            not self.is_idle and now_ms >= self._leave_ms())
        return (self.endpoint + 1) % len(self.brokers) if is_due else None

    def on_opened(self, endpoint: int | None, now_ms: int) -> None:
        """There is a new connection; None: there is none to be had, the old one stays for another
        silence."""
        self._tried_ms = now_ms
        if endpoint is None:
            return
        self.endpoint = endpoint
        self.is_lost = False
        self._connected_ms = None
        self._notes.clear()
        for request in self._requests.values():
            request.sent = False
            request.again_ms = None
            request.referred.clear()
        self._unsent = dict(self._requests)
        self._again.clear()

    # ---- turns ----

    def work(self, now_ms: int) -> None:
        """Once a turn, after what came in: ends what is late, asks again, pings."""
        if now_ms - self._worked_ms > self._silence_ms // 2:
            self._silent_since_ms = now_ms       # who was away has not listened: that is no silence
        self._worked_ms = now_ms
        self._end_late(now_ms)
        if self.is_idle or self.is_lost:
            return
        self._ask_again(now_ms)
        if now_ms >= self._ping_ms():
            self._pinged_ms = now_ms
            self._notes.append(message.write("ping", {}, 0))

    def _ask_again(self, now_ms: int) -> None:
        for request in list(self._again.values()):
            if now_ms >= (request.again_ms or 0):
                request.again_ms = None
                request.sent = False
                self._unsent[request.id] = request
                del self._again[request.id]

    def _ping_ms(self) -> int:
        every_ms = max(self._silence_ms // _PINGS_IN_SILENCE, 1)
        return max(self._silent_since_ms, self._pinged_ms) + every_ms

    def _encode(self, request: Request, now_ms: int) -> bytes:
        """A generate asks for what is still waiting, in the time that is left."""
        if request.type != "generate":
            return message.write(request.type, request.fields, request.id)
        fields = dict(request.fields, deadline_ms=max(request.deadline_ms - now_ms, 1))
        if request.many:
            fields["seeds"] = request.seeds()
        return message.write(request.type, fields, request.id)

    def to_send(self, now_ms: int) -> Generator[bytes, None, None]:
        """What is to go out, one message after another; going on to the next says that the last one
        was sent. What is left is given again in a later turn."""
        if self.is_lost:
            return
        while self._unsent:
            request = next(iter(self._unsent.values()))
            yield self._encode(request, now_ms)
            request.sent = True
            del self._unsent[request.id]
        while self._notes:
            yield self._notes.popleft()

    def drop_notes(self) -> None:
        """There was no room: a ping that is not sent is silence, after a cancel that is not sent
        the broker's answers find nobody."""
        self._notes.clear()

    def wake_ms(self) -> int | None:
        """When a turn is due though nothing comes."""
        if self.is_idle:
            return None
        if self.is_lost:
            return self._tried_ms + REOPEN_MS
        again = [request.again_ms or 0 for request in self._again.values()]
        return min(self._check_ms, self._leave_ms(), self._ping_ms(), *again)
