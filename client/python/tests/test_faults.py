"""Brokers and workers that die, brokers that lie, and keys: with the real programs, and with a
ROUTER of the test's own where no broker would say what is said."""
from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kit
import msgpack
import pytest
import seedpress
import zmq
from conftest import Stack
from seedpress import AsyncSeedpress, Seedpress, message, tables
from test_exchange import JPEG, image

MODEL = "avatars64"

# ---- brokers and workers that die ----


@pytest.fixture
def two(ledger: kit.Ledger) -> Iterator[tuple[kit.Broker, kit.Broker, kit.Worker]]:
    """Two brokers with one worker, which serves both."""
    first, second = kit.Broker(ledger.conninfo), kit.Broker(ledger.conninfo)
    worker = kit.Worker(ledger.conninfo, [first.workers, second.workers])
    yield first, second, worker
    for program in (worker, first, second):
        program.kill()


def test_a_broker_that_is_killed_loses_nothing(
        two: tuple[kit.Broker, kit.Broker, kit.Worker]) -> None:
    first, second, _ = two
    came = []
    with Seedpress([first.clients, second.clients]) as sp:
        for result in sp.generate_many(MODEL, range(20000, 20100), 0.7, deadline_ms=60000):
            came.append(result.get().seed)
            if len(came) == 10:
                first.kill()
        assert sp.generate(MODEL, 20000, 0.7).source in ("ledger", "memory")
    assert sorted(came) == list(range(20000, 20100))


def test_a_broker_that_hangs_is_left(two: tuple[kit.Broker, kit.Broker, kit.Worker]) -> None:
    first, second, _ = two

    async def main() -> None:
        brokers = [first.clients, second.clients]
        async with AsyncSeedpress(brokers, silence_ms=300) as sp:
            await sp.ping()
            first.signal(signal.SIGSTOP)
            images = await asyncio.gather(*(sp.generate(MODEL, seed, 0.7, deadline_ms=60000)
                                            for seed in range(20200, 20210)))
            assert [i.seed for i in images] == list(range(20200, 20210))
            assert (await sp.status()).answered >= 10

    asyncio.run(main())


def test_a_broker_that_drains_sends_its_clients_on(
        two: tuple[kit.Broker, kit.Broker, kit.Worker]) -> None:
    first, second, _ = two
    came = []
    with Seedpress(f"{first.clients},{second.clients}") as sp:
        for result in sp.generate_many(MODEL, range(20300, 20360), 0.7, window=8,
                                       deadline_ms=60000):
            came.append(result.get().seed)
            if len(came) == 5:
                first.signal(signal.SIGTERM)
    assert sorted(came) == list(range(20300, 20360)) and first.wait() == 0


def test_a_broker_that_is_restarted_is_asked_again(ledger: kit.Ledger) -> None:
    broker = kit.Broker(ledger.conninfo)
    worker = kit.Worker(ledger.conninfo, [broker.workers])
    came = []
    with Seedpress(broker.clients) as sp:
        for result in sp.generate_many(MODEL, range(20400, 20440), 0.7, window=40,
                                       deadline_ms=60000):
            came.append(result.get().seed)
            if len(came) == 3:
                broker.kill()
                broker = kit.Broker(ledger.conninfo, clients=broker.clients,
                                    workers=broker.workers)
    assert sorted(came) == list(range(20400, 20440))
    worker.kill()
    broker.kill()


def test_a_worker_that_is_killed_is_followed_by_another(ledger: kit.Ledger) -> None:
    broker = kit.Broker(ledger.conninfo)
    workers = [kit.Worker(ledger.conninfo, [broker.workers]) for _ in range(2)]
    came = []
    with Seedpress(broker.clients) as sp:
        for result in sp.generate_many(MODEL, range(20500, 20560), 0.7, deadline_ms=60000):
            came.append(result.get().seed)
            if len(came) == 3:
                workers[0].kill()
    assert sorted(came) == list(range(20500, 20560))
    workers[1].kill()
    broker.kill()


def test_nobody_there_is_unreachable_in_the_time_one_gives(tmp_path: Path) -> None:
    with Seedpress(f"ipc://{tmp_path}/nobody", unreachable_ms=200) as sp:
        with pytest.raises(seedpress.Unreachable, match=r"nobody within [0-9.]+ s; is"):
            sp.generate(MODEL, 1)
        with pytest.raises(seedpress.Unreachable):
            sp.ping(timeout_ms=50)

    async def main() -> None:
        async with AsyncSeedpress(f"ipc://{tmp_path}/nobody", unreachable_ms=200) as sp:
            with pytest.raises(seedpress.Unreachable):
                await sp.generate(MODEL, 1)

    asyncio.run(main())


def test_a_picture_that_is_late_is_a_deadline(slow: kit.Broker) -> None:
    with Seedpress(slow.clients) as sp:
        with pytest.raises(seedpress.Deadline):
            sp.generate("dummy", 1, deadline_ms=100)


def test_an_interrupt_takes_the_request_back(slow: kit.Broker) -> None:
    with Seedpress(slow.clients) as sp, Seedpress(slow.clients) as other:
        def interrupt() -> None:
            while other.status().waiters != 1:
                pass
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            sp.generate("dummy", 1)
        thread.join()
        assert sp.status().cancelled == 1


def test_a_full_broker_says_when_to_come_again() -> None:
    broker = kit.Broker("none", "--client-rate", "1", "--client-burst", "1")
    worker = kit.dummies(broker)
    with Seedpress(broker.clients) as sp:
        ended = list(sp.generate_many("dummy", range(100)))          # asked for at once
        errors = [result.error for result in ended if result.error]
        assert errors and all(isinstance(error, seedpress.Overloaded) and error.retry and
                              error.retry_after_ms > 0 and error.http_status == 503
                              for error in errors)
        sp.generate("dummy", 2, visitor="another")       # who has a rate of his own
    worker.kill()
    broker.kill()


# ---- keys ----

@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[tuple[kit.Broker, Path]]:
    """A broker with keys, and those of "client", "proxy" and a stranger."""
    lines = [kit.seedpress("keygen", role, "--role", role, "-o", str(tmp_path))
             for role in ("client", "proxy")]
    for name in ("broker", "stranger"):
        kit.seedpress("keygen", name, "-o", str(tmp_path))
    (tmp_path / "keyring").write_text("".join(lines))
    kit.seedpress("keygen", "gpu", "--role", "worker", "-o", str(tmp_path))
    broker = kit.Broker("none", "--key-file", str(tmp_path / "broker.key"), "--keyring",
                        str(tmp_path / "keyring"))
    yield broker, tmp_path
    broker.kill()


def test_keys_decide_who_may_do_what(keyed: tuple[kit.Broker, Path]) -> None:
    broker, folder = keyed

    def handle(name: str, **more: Any) -> Seedpress:
        return Seedpress(broker.clients, key_file=folder / f"{name}.key",
                         broker_key=folder / "broker.pub", **more)

    with handle("client") as sp:
        sp.ping()
        with pytest.raises(seedpress.Denied):
            sp.generate("dummy", 1, visitor="somebody")
        with pytest.raises(seedpress.Denied) as refused:
            sp.withdraw(recipe_key="ab" * 32, reason="none")
        assert refused.value.http_status == 403
    with handle("proxy") as sp, pytest.raises(seedpress.SeedpressError) as unknown:
        sp.generate("dummy", 1, visitor="somebody")
    assert unknown.value.word != "denied"
    with handle("stranger") as sp, pytest.raises(seedpress.Denied, match="not admit this key"):
        sp.ping()
    with Seedpress(broker.clients) as sp, pytest.raises(seedpress.Denied, match="plain"):
        sp.ping()


def test_keys_of_the_environment_and_a_broker_with_another_key(
        keyed: tuple[kit.Broker, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    broker, folder = keyed
    monkeypatch.setenv("SEEDPRESS_KEY_FILE", str(folder / "client.key"))
    monkeypatch.setenv("SEEDPRESS_BROKER_KEY", str(folder / "broker.pub"))

    async def main() -> None:
        async with AsyncSeedpress(broker.clients) as sp:
            await sp.ping()

    asyncio.run(main())
    with Seedpress(broker.clients, broker_key=folder / "stranger.pub", unreachable_ms=500) as sp:
        with pytest.raises((seedpress.Unreachable, seedpress.Denied)):
            sp.ping()


# ---- a broker that lies ----

Answer = Callable[[message.Message], list[list[bytes]]]


class Liar:
    """A ROUTER that answers each message of a client as the test says, but for pings."""

    def __init__(self, answer: Answer) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._stop = self._context.socket(zmq.PAIR)
        self._stop.bind("inproc://stop")
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.heard: list[message.Message] = []
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        stop = self._context.socket(zmq.PAIR)
        stop.connect("inproc://stop")
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(stop, zmq.POLLIN)
        while stop not in dict(poller.poll()):
            peer, frame = self._socket.recv_multipart()
            said = message.decode(frame, tables.FROM_CLIENT)
            self.heard.append(said)
            for frames in self._answer(said):
                self._socket.send_multipart([peer, *frames])
        stop.close()
        self._socket.close()

    def __enter__(self) -> Liar:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.send(b"")
        self._thread.join()
        self._stop.close()
        self._context.destroy(linger=0)


def packed(said: dict[str, Any], number: int) -> bytes:
    data: bytes = msgpack.packb({"v": 1, "id": number, **said})
    return data


GARBAGE = [[b""], [b"\xc1"], [b"x" * 2000000], [b"\x80"], [b""] * 2, [b"\x81\xa1v\x01"] * 5,
           [b"\x81\xa1x" + b"\xdd\x00\x0f\xff\xff" * 1000], [b"\xdf\xff\xff\xff\xff"],
           [packed({"type": "pong"}, 77)], [packed({"type": "done"}, 1 << 53)],
           [packed({"type": "heartbeat"}, 1)[:-1]]]


def test_garbage_before_the_answer_does_no_harm() -> None:
    def answer(said: message.Message) -> list[list[bytes]]:
        if said.type != "generate":
            return GARBAGE
        good = [packed(image(said.fields["seed"]), said.id), JPEG]
        return [*GARBAGE, good, good, *GARBAGE]

    with Liar(answer) as liar, Seedpress(liar.endpoint) as sp:
        for seed in range(20):
            assert sp.generate("any", seed, 0.7).data == JPEG


@pytest.mark.parametrize("said, files, why", [
    (image(42), [JPEG + b"!"], "damaged picture"),
    (image(42), [], "without its bytes"),
    (image(43), [JPEG], "another picture"),
    (image(42, recipe_key="0" * 64), [JPEG], "damaged recipe"),
    ({**image(42), "seed": -1}, [JPEG], "could not be read"),
    ({"type": "error", "code": "hungry", "message": "a word of next year"}, [], "next year"),
])
def test_a_lie_is_a_bug(said: dict[str, Any], files: list[bytes], why: str) -> None:
    with Liar(lambda asked: [[packed(said, asked.id), *files]]) as liar:
        with Seedpress(liar.endpoint) as sp, pytest.raises(seedpress.Bug, match=why):
            sp.generate("any", 42, 0.7)


ROW = {"recipe_key": image(42)["recipe_key"], "sha256": "ab" * 32, "core_sha256": "cd" * 32,
       "recipe": image(42)["recipe"]}


@pytest.mark.parametrize("call, said, why", [
    (lambda sp: sp.lookup(seed=43), {"type": "provenance", "rows": [ROW]}, "another row"),
    (lambda sp: sp.lookup(seed=42, psi=0.5), {"type": "provenance", "rows": [ROW]}, "another row"),
    (lambda sp: sp.lookup(sha256="cd" * 32), {"type": "provenance", "rows": [ROW]}, "another row"),
    (lambda sp: sp.lookup(seed=42), {"type": "provenance", "rows": [{**ROW, "recipe": "r"}]},
     "damaged recipe"),
    (lambda sp: sp.fetch(sha256="ab" * 32), image(42), "without its bytes"),
    (lambda sp: sp.models(), {"type": "pong"}, 'answered "pong" to "models"'),
    (lambda sp: sp.bulk_control(1, "pause"), {"type": "bulk_report"}, "0 jobs"),
    (lambda sp: sp.bulk_show(2), {"type": "bulk_plan", "parts": [],
                                  "jobs": [{"job": 1, "state": "done"}]}, "another job"),
    (lambda sp: sp.bulk_show(1), {"type": "bulk_plan", "jobs": [{"job": 1, "state": "done",
                                                                  "total": 2}],
                                  "parts": [{"first": 42, "last": 42,
                                             "recipe": image(42)["recipe"]}]}, "not all of it"),
    (lambda sp: sp.bulk_show(1), {"type": "bulk_plan", "jobs": [{"job": 1, "state": "done",
                                                                  "total": 1}],
                                  "parts": [{"first": 42, "last": 42,
                                             "recipe": image(42)["recipe"]}],
                                  "failures": [{"item": 1, "seed": 43}]}, "failures"),
])
def test_other_lies_are_bugs_too(call: Any, said: dict[str, Any], why: str) -> None:
    with Liar(lambda asked: [[packed(said, asked.id)]]) as liar:
        with Seedpress(liar.endpoint) as sp, pytest.raises(seedpress.Bug, match=why):
            call(sp)


def test_another_file_than_the_one_fetched_is_a_bug() -> None:
    with Liar(lambda asked: [[packed(image(42), asked.id), JPEG]]) as liar:
        with Seedpress(liar.endpoint) as sp:
            assert sp.fetch(sha256=image(42)["sha256"]).data == JPEG
            assert sp.fetch(recipe_key=image(42)["recipe_key"]).data == JPEG
            with pytest.raises(seedpress.Bug, match="another picture"):
                sp.fetch(sha256="ab" * 32)


def test_a_broker_that_says_retry_is_asked_again_until_it_answers() -> None:
    times = itertools.count()

    def answer(said: message.Message) -> list[list[bytes]]:
        if next(times) < 2:
            return [[packed({"type": "error", "code": "retry", "retry": True,
                             "retry_after_ms": 20}, said.id)]]
        return [[packed(image(said.fields["seed"]), said.id), JPEG]]

    with Liar(answer) as liar, Seedpress(liar.endpoint) as sp:
        assert sp.generate("any", 1, 0.7).seed == 1
        assert [said.type for said in liar.heard] == ["generate"] * 3


def test_a_broker_that_answers_pings_only_is_a_deadline() -> None:
    def answer(said: message.Message) -> list[list[bytes]]:
        return [[packed({"type": "pong"}, said.id)]] if said.type == "ping" else []

    with Liar(answer) as liar, Seedpress(liar.endpoint, silence_ms=90) as sp:
        with pytest.raises(seedpress.Deadline):
            sp.generate("any", 1, deadline_ms=200)
        assert "ping" in [said.type for said in liar.heard]


def test_a_shared_stack_is_still_whole(stack: Stack) -> None:
    with Seedpress(stack.clients) as sp:
        assert sp.status().malformed == 0
