"""Requests in flight, with the clock turned by hand and no socket: what goes out, how each ends."""
from __future__ import annotations

import hashlib
from typing import Any

import msgpack
import pytest
import seedpress
from seedpress import message, recipe, tables
from seedpress.exchange import Exchange, Outcome, Request

MODEL = "4a" * 32
SILENCE_MS, UNREACHABLE_MS = 3000, 30000
JPEG = b"\xff\xd8 a file \xff\xd9"


def recipe_of(seed: int, psi: int = 700000, model: str = MODEL) -> recipe.Recipe:
    return recipe.Recipe(model, seed, psi, 10, None, "const", None, "none", 64, 64, 90, "xmp", 0)


def image(seed: int, file: bytes = JPEG, kind: str = "image", **changed: Any) -> dict[str, Any]:
    made = recipe_of(seed)
    return {"type": kind, "seed": seed, "psi": 0.7, "model": MODEL, "recipe_key": made.key,
            "sha256": hashlib.sha256(file).hexdigest(), "core_sha256": "0" * 64,
            "recipe": made.text, "numerics_class": "c", "encoder": "e", "source": "render",
            **changed}


class Rig:
    """An exchange with a connection, at a time of our own."""

    def __init__(self, brokers: int = 1, connected: bool = True) -> None:
        self.now = 1000000
        self.exchange = Exchange([f"tcp://127.0.0.1:{i + 1}" for i in range(brokers)], False,
                                 SILENCE_MS, UNREACHABLE_MS, self.now)
        if connected:
            self.exchange.on_connected(self.now)

    def ask(self, seeds: list[int], timeout_ms: int = 10000, **options: Any) -> Request:
        wanted: dict[str, Any] = {"model": "avatars64", "psi": 0.7, **options}
        wanted["seed" if len(seeds) == 1 else "seeds"] = seeds[0] if len(seeds) == 1 else seeds
        fields = message.read("generate", wanted)
        return self.exchange.ask("generate", fields, timeout_ms, self.now)

    def ask_for(self, kind: str) -> Request:
        return self.exchange.ask(kind, message.read(kind, {}), 10000, self.now)

    def turn(self, later_ms: int = 0) -> list[message.Message]:
        """What is sent then; a new connection is made where one is wanted."""
        self.now += later_ms
        self.exchange.work(self.now)
        endpoint = self.exchange.wants_connection(self.now)
        if endpoint is not None:
            self.exchange.on_opened(endpoint, self.now)
            self.exchange.on_connected(self.now)
        return [message.decode(frame, tables.FROM_CLIENT)
                for frame in self.exchange.to_send(self.now)]

    def hear(self, said: dict[str, Any], *files: bytes, number: int = 0) -> None:
        entries = {"v": 1, "id": number, **said}
        self.exchange.receive([msgpack.packb(entries), *files], self.now)

    def pong(self) -> None:
        self.hear({"type": "pong"})


def ends(request: Request) -> list[Outcome]:
    taken = list(request.outcomes)
    request.outcomes.clear()
    return taken


def words(request: Request) -> list[tuple[int, str]]:
    return [(o.seed, o.error.word if o.error else "image") for o in ends(request)]


def types(sent: list[message.Message]) -> list[str]:
    return [said.type for said in sent]


def test_a_picture_comes_once() -> None:
    rig = Rig()
    request = rig.ask([42])
    sent = rig.turn()
    assert types(sent) == ["generate"] and sent[0].fields["deadline_ms"] == 10000
    rig.hear(image(42), JPEG, number=request.id)
    rig.hear(image(42), JPEG, number=request.id)
    assert request.is_done and words(request) == [(42, "image")]
    assert rig.exchange.is_idle and rig.exchange.wake_ms() is None


def test_a_page_comes_in_any_order_with_its_errors() -> None:
    rig = Rig()
    request = rig.ask([1, 2, 3, 3])
    rig.turn()
    rig.hear(image(3), JPEG, number=request.id)
    rig.hear({"type": "error", "code": "device", "seed": 1}, number=request.id)
    rig.hear(image(3), JPEG, number=request.id)
    rig.hear(image(3), JPEG, number=request.id)      # a third one nobody asked for
    assert words(request) == [(3, "image"), (1, "device"), (3, "image")]
    rig.hear({"type": "done", "count": 4}, number=request.id)
    assert words(request) == [(2, "retry")] and request.is_done


def test_an_error_without_a_seed_ends_the_whole_page() -> None:
    rig = Rig()
    request = rig.ask([1, 2])
    rig.turn()
    rig.hear({"type": "error", "code": "unknown_model", "message": "no cats"}, number=request.id)
    ended = ends(request)
    assert [o.seed for o in ended] == [1, 2] and request.is_done
    assert all(isinstance(o.error, seedpress.UnknownModel) and o.error.seed == o.seed
               for o in ended)


def test_a_silent_broker_is_pinged_then_left_and_asked_again_for_what_it_owes() -> None:
    rig = Rig(brokers=2)
    request = rig.ask([1, 2])
    rig.turn()
    rig.hear(image(1), JPEG, number=request.id)
    assert types(rig.turn(1000)) == ["ping"]
    rig.pong()
    assert types(rig.turn(1000)) == ["ping"]
    assert rig.exchange.endpoint == 0
    for _ in range(2):
        rig.turn(900)
    again = rig.turn(200)
    assert rig.exchange.endpoint == 1
    assert types(again) == ["generate"]
    assert list(again[0].fields["seeds"]) == [2]
    assert again[0].fields["deadline_ms"] == request.deadline_ms - rig.now < 10000
    rig.hear(image(2), JPEG, number=request.id)
    assert words(request) == [(1, "image"), (2, "image")]


def test_the_turn_is_due_when_something_is() -> None:
    rig = Rig()
    rig.ask([1], timeout_ms=700)
    rig.turn()
    assert rig.exchange.wake_ms() == rig.now + 1000              # a ping
    rig.turn(1000)
    assert rig.exchange.wake_ms() == rig.now + 200               # the deadline and its grace


def test_a_lost_connection_is_made_anew_and_everything_is_sent_again() -> None:
    rig = Rig()
    request = rig.ask([5])
    rig.turn(200)
    rig.exchange.on_lost(False, rig.now)
    assert types(rig.turn()) == ["generate"] and request.sent
    rig.exchange.on_lost(False, rig.now)
    assert rig.turn() == []                                      # not more than ten a second
    assert rig.exchange.wake_ms() == rig.now + 100
    assert types(rig.turn(100)) == ["generate"]


def test_an_endpoint_without_a_connection_is_left_after_two_seconds() -> None:
    rig = Rig(brokers=2, connected=False)
    rig.ask([5])
    rig.turn(1999)
    assert rig.exchange.endpoint == 0
    rig.turn(1)
    assert rig.exchange.endpoint == 1


def test_nobody_there_is_unreachable_after_thirty_seconds() -> None:
    rig = Rig(connected=False)
    request = rig.ask([5], timeout_ms=60000)
    for _ in range(29):
        rig.turn(1000)
    assert not request.is_done
    rig.turn(1000)
    [ended] = ends(request)
    assert isinstance(ended.error, seedpress.Unreachable)
    assert "tcp://127.0.0.1:1 within 30 s" in ended.error.message


def test_a_broker_that_is_there_but_late_is_a_deadline_after_its_grace() -> None:
    rig = Rig()
    request = rig.ask([5], timeout_ms=500)
    rig.turn()
    rig.pong()
    rig.turn(500)
    assert not request.is_done
    rig.turn(499)
    assert not request.is_done
    rig.turn(1)
    assert words(request) == [(5, "deadline")]


def test_who_was_away_has_not_listened() -> None:
    rig = Rig(brokers=2)
    request = rig.ask([5], timeout_ms=60000)
    rig.turn()
    rig.turn(20000)
    assert rig.exchange.endpoint == 0 and not request.is_done


def test_retry_of_the_only_broker_is_asked_again_there() -> None:
    rig = Rig()
    request = rig.ask([1, 2])
    rig.turn()
    rig.hear(image(1), JPEG, number=request.id)
    rig.hear({"type": "error", "code": "retry", "retry": True, "retry_after_ms": 300, "seed": 2},
             number=request.id)
    rig.hear({"type": "done", "count": 2, "failed": 1}, number=request.id)
    assert rig.turn(299) == []
    assert rig.exchange.wake_ms() == rig.now + 1
    again = rig.turn(1)
    assert types(again) == ["generate"] and list(again[0].fields["seeds"]) == [2]
    rig.hear(image(2), JPEG, number=request.id)
    assert words(request) == [(1, "image"), (2, "image")]


def test_retry_is_told_when_the_deadline_would_pass() -> None:
    rig = Rig()
    request = rig.ask([1], timeout_ms=100)
    rig.turn()
    rig.hear({"type": "error", "code": "retry", "retry": True}, number=request.id)
    assert words(request) == [(1, "retry")]


def test_retry_of_one_of_two_brokers_is_asked_at_the_other() -> None:
    rig = Rig(brokers=2)
    request = rig.ask([1])
    rig.turn(200)
    rig.hear({"type": "error", "code": "retry", "retry": True}, number=request.id)
    assert types(rig.turn()) == ["generate"]
    assert rig.exchange.endpoint == 1 and not request.is_done


def test_overloaded_is_the_callers_to_decide() -> None:
    rig = Rig()
    request = rig.ask([1])
    rig.turn()
    rig.hear({"type": "error", "code": "overloaded", "message": "full", "retry": True,
              "retry_after_ms": 700}, number=request.id)
    [ended] = ends(request)
    assert isinstance(ended.error, seedpress.Overloaded)
    assert ended.error.retry and ended.error.retry_after_ms == 700


def test_cancelling_ends_what_waits_and_tells_the_broker() -> None:
    rig = Rig()
    request = rig.ask([1, 2])
    rig.turn()
    rig.hear(image(2), JPEG, number=request.id)
    rig.exchange.cancel(request)
    sent = rig.turn()
    assert types(sent) == ["cancel"] and sent[0].fields["request"] == request.id
    assert words(request) == [(2, "image"), (1, "cancelled")]
    rig.hear(image(1), JPEG, number=request.id)
    assert words(request) == []


def test_what_was_never_sent_is_cancelled_without_a_word() -> None:
    rig = Rig()
    request = rig.ask([1])
    rig.exchange.cancel(request)
    rig.exchange.cancel(request)
    assert rig.turn() == [] and words(request) == [(1, "cancelled")]


def test_what_finds_no_room_stays_to_be_sent() -> None:
    rig = Rig()
    rig.ask([1])
    rig.ask([2])
    rig.exchange.work(rig.now)
    sending = rig.exchange.to_send(rig.now)
    next(sending)
    next(sending)                                                # the first one was sent
    sending.close()                                              # the second one was not
    assert rig.exchange.has_unsent
    assert [said.fields["seed"] for said in rig.turn()] == [2]


def test_no_broker_that_lets_us_in_is_denied() -> None:
    rig = Rig(brokers=2)
    request = rig.ask([1])
    rig.exchange.on_lost(True, rig.now)
    assert not request.is_done
    rig.exchange.on_lost(True, rig.now)
    assert words(request) == [(1, "denied")]


# ---- what is not believed ----

@pytest.mark.parametrize("said, files, why", [
    (image(42), (b"other bytes",), "damaged picture"),
    (image(42), (), "without its bytes"),
    (image(42), (b"",), "without its bytes"),
    (image(43), (JPEG,), "another picture"),
    (image(42, kind="receipt"), (), "a receipt for a picture"),
    (image(42, recipe_key="0" * 64), (JPEG,), "damaged recipe"),
    (image(42, recipe=recipe_of(43).text, recipe_key=recipe_of(43).key), (JPEG,), "of another one"),
    (image(42, psi=0.5), (JPEG,), "of another one"),
    (image(42, psi=0.5, recipe=recipe_of(42, 500000).text, recipe_key=recipe_of(42, 500000).key),
     (JPEG,), "another picture"),
    (image(42, recipe="a recipe", recipe_key=hashlib.sha256(b"a recipe").hexdigest()), (JPEG,),
     "damaged recipe"),
    (image(42, recipe=5), (JPEG,), "could not be read"),
])
def test_a_picture_that_contradicts_itself_or_the_question_is_a_bug(
        said: dict[str, Any], files: tuple[bytes, ...], why: str) -> None:
    rig = Rig()
    request = rig.ask([42])
    rig.turn()
    rig.hear(said, *files, number=request.id)
    [ended] = ends(request)
    assert isinstance(ended.error, seedpress.Bug) and why in ended.error.message


@pytest.mark.parametrize("options", [
    {"quality": 80}, {"mark": "none"}, {"rev": 1}, {"class": 3, "noise_mode": "random",
                                                    "noise_seed": 1}, {"cutoff": 4},
    {"rotate": 15}, {"model": "cats@5b"}, {"model": "5b" * 32},
])
def test_a_picture_with_other_options_than_asked_is_a_bug(options: dict[str, Any]) -> None:
    rig = Rig()
    request = rig.ask([42], **options)
    rig.turn()
    rig.hear(image(42), JPEG, number=request.id)
    [ended] = ends(request)
    assert isinstance(ended.error, seedpress.Bug)


@pytest.mark.parametrize("options", [
    {"model": "cats@4a4a"}, {"model": MODEL}, {"class": 3}, {"cutoff": 10},
    {"noise_mode": "const"}, {"transform": [1, 0, 0, 0, 1, 0, 0, 0, 1]}, {"translate": [0, 0]},
])
def test_a_picture_with_what_became_of_the_options_is_believed(options: dict[str, Any]) -> None:
    rig = Rig()
    request = rig.ask([42], **options)
    rig.turn()
    rig.hear(image(42), JPEG, number=request.id)
    assert words(request) == [(42, "image")]


@pytest.mark.parametrize("frames", [
    [], [b""], [b"\xc1"], [b"\x80"] * 3, [b"", b"\x80"], [b"\xdf\xff\xff\xff\xff"],
    [b"\x81\xa1x" + b"\x91" * 100 + b"\xc0"], [msgpack.packb({"v": 1, "type": "pong"}), b"",
                                                b"", b""],
])
def test_garbage_ends_nothing_and_is_no_sign_of_life(frames: list[bytes]) -> None:
    rig = Rig(brokers=2)
    request = rig.ask([1])
    rig.turn()
    for _ in range(4):
        rig.exchange.receive(frames, rig.now)
        rig.turn(1000)
    assert not request.is_done and rig.exchange.endpoint == 1


def test_a_half_read_answer_to_one_is_a_bug_and_to_several_is_not() -> None:
    rig = Rig()
    one, several = rig.ask([1]), rig.ask([1, 2])
    rig.turn()
    for request in (one, several):
        rig.hear({"type": "image", "seed": "one"}, JPEG, number=request.id)
    assert words(one) == [(1, "bug")] and not several.is_done


def test_lists_in_lists_ask_for_no_memory() -> None:
    bomb = b"\x81\xa1x" + (b"\xdd\x00\x0f\xff\xff" * 200000)
    with pytest.raises(seedpress.Invalid):
        message.decode(bomb)


def test_the_first_of_two_keys_counts() -> None:
    said = message.decode(b"\x83\xa1v\x01\xa4type\xa4pong\xa4type\xa5error")
    assert said.type == "pong"
