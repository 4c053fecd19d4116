"""The handles against a real broker, worker and PostgreSQL."""
from __future__ import annotations

import asyncio
import hashlib
import itertools
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kit
import pytest
import seedpress
from conftest import Stack
from seedpress import AsyncSeedpress, Seedpress

MODEL = "avatars64"


@pytest.fixture(scope="module")
def sp(stack: Stack) -> Iterator[Seedpress]:
    with Seedpress(stack.clients) as handle:
        yield handle


def test_a_picture_is_what_was_asked_and_proves_it(sp: Seedpress, tmp_path: Path) -> None:
    image = sp.generate(MODEL, 42, psi=0.7)
    assert (image.seed, image.psi, image.size) == (42, 0.7, len(image.data))
    assert hashlib.sha256(bytes(image)).hexdigest() == image.sha256
    assert hashlib.sha256(image.recipe.encode()).hexdigest() == image.recipe_key
    assert seedpress.Recipe.parse(image.recipe).psi == 700000
    assert image.array().shape == (64, 64, 3) and image.pil().size == (64, 64)
    image.save(tmp_path / "42.jpg")
    told = subprocess.run(["exiftool", "-b", "-Recipe", str(tmp_path / "42.jpg")], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    assert told == image.recipe


def test_the_same_picture_again_is_the_same_bytes_and_is_not_rendered(sp: Seedpress) -> None:
    first = sp.generate(MODEL, 1001, 0.7)
    again = sp.generate(MODEL, 1001, 0.7)
    assert first.source == "render" and again.source in ("memory", "ledger")
    assert again.data == first.data and again.rendered is None
    anew = sp.generate(MODEL, 1001, 0.7, cache="bypass")
    assert anew.data == first.data
    assert anew.rendered and anew.rendered.sha256 == first.sha256


def test_a_receipt_is_everything_but_the_bytes(sp: Seedpress) -> None:
    image = sp.generate(MODEL, 1002, 0.7)
    receipt = sp.generate(MODEL, 1002, 0.7, want="receipt")
    assert receipt.data == b"" and receipt.size == image.size and receipt.sha256 == image.sha256


def test_options_are_in_the_recipe(sp: Seedpress) -> None:
    image = sp.generate(MODEL, 5, -0.5, cutoff=4, noise_mode="random", noise_seed=9, quality=70,
                        mark="none", rev=2, priority="high", trace="a test")
    lines = image.recipe.splitlines()
    assert {"psi=-500000", "cutoff=4", "noise=random:9", "format=jpeg:q70:420:baseline",
            "mark=none", "rev=2"} <= set(lines)
    warned = sp.generate(MODEL, 5, 0.5, class_index=3)
    assert "class" in warned.warning and "class=none" in warned.recipe


def test_the_key_is_known_before_anything_is_rendered(sp: Seedpress) -> None:
    [model] = [m for m in sp.models() if m.name == MODEL]
    known = seedpress.resolve(model, 1003, 0.7, cutoff=8)
    assert sp.generate(MODEL, 1003, 0.7, cutoff=8).recipe_key == known.key
    with pytest.raises(seedpress.Unsupported):
        seedpress.resolve(model, 1003, rotate=15)
    with pytest.raises(seedpress.Unsupported):
        sp.generate(MODEL, 1003, rotate=15)


def test_numbers_of_numpy_are_numbers(sp: Seedpress) -> None:
    import numpy

    image = sp.generate(MODEL, numpy.int64(42), numpy.float32(0.7))  # type: ignore[arg-type]
    assert (image.seed, image.psi) == (42, 0.7)
    seeds = numpy.arange(3, dtype=numpy.uint32)
    assert {r.get().seed for r in sp.generate_many(MODEL, seeds, 0.7)} == {0, 1, 2}


@pytest.mark.parametrize("call, kind, status", [
    (lambda sp: sp.generate("cats", 1), seedpress.UnknownModel, 404),
    (lambda sp: sp.fetch(sha256="ab" * 32), seedpress.NotFound, 404),
    (lambda sp: sp.generate(MODEL, 99, 0.123456, cache="only"), seedpress.NotFound, 404),
    (lambda sp: sp.generate(MODEL, 42, 0.7, require_class="another"),
     seedpress.ClassConflict, 409),
    (lambda sp: sp.model_use("cats", "5b5b5b5b"), seedpress.UnknownModel, 404),
    (lambda sp: sp.bulk_show(999), seedpress.NotFound, 404),
])
def test_an_error_of_the_broker_is_an_exception(sp: Seedpress, call: Any, kind: Any,
                                                status: int) -> None:
    sp.generate(MODEL, 42, 0.7)
    with pytest.raises(kind) as refused:
        call(sp)
    assert refused.value.http_status == status and refused.value.message


# ---- many ----

def test_many_seeds_come_each_once_within_the_window(sp: Seedpress) -> None:
    asked = 0

    def seeds() -> Iterator[int]:
        nonlocal asked
        for seed in range(2000, 2100):
            asked += 1
            yield seed

    came = []
    for result in sp.generate_many(MODEL, seeds(), 0.7, window=16):
        came.append(result.get().seed)
        assert asked - len(came) <= 16
    assert sorted(came) == list(range(2000, 2100))


def test_a_seed_named_twice_comes_twice_and_no_seeds_are_no_pictures(sp: Seedpress) -> None:
    assert [r.get().seed for r in sp.generate_many(MODEL, [7, 7], 0.7)] == [7, 7]
    assert list(sp.generate_many(MODEL, [])) == []


def test_errors_of_seeds_end_nothing(sp: Seedpress) -> None:
    sp.generate(MODEL, 42, 0.7)
    results = list(sp.generate_many(MODEL, [42, 4000001, 4000002], 0.7, cache="only"))
    assert {r.seed: r.error.word if r.error else "image" for r in results} == {
        42: "image", 4000001: "not_found", 4000002: "not_found"}
    for result in results:
        if result.error:
            assert result.error.seed == result.seed
            with pytest.raises(seedpress.NotFound):
                result.get()


@pytest.fixture
def stopped(stack: Stack, sp: Seedpress) -> Iterator[None]:
    """The worker renders nothing; seed 42 is stored."""
    sp.generate(MODEL, 42, 0.7)
    stack.worker.signal(signal.SIGSTOP)
    yield
    stack.worker.signal(signal.SIGCONT)


@pytest.mark.usefixtures("stopped")
def test_a_loop_that_is_left_takes_back_what_is_under_way(sp: Seedpress) -> None:
    before = sp.status().cancelled
    for result in sp.generate_many(MODEL, itertools.chain([42], itertools.count(3000)), 0.7,
                                   window=200):
        assert result.seed == 42
        break
    assert sp.status().cancelled == before + 199
    assert sp.status().waiters == 0


@pytest.mark.usefixtures("stopped")
def test_cancel_ends_every_seed_that_was_asked_for(sp: Seedpress) -> None:
    seeds = itertools.chain([42], itertools.count(5000))
    with sp.generate_many(MODEL, seeds, 0.7, window=100) as pictures:
        assert next(pictures).get().seed == 42
        pictures.cancel()
        assert [r.error.word if r.error else "image" for r in pictures] == ["cancelled"] * 99


def test_a_bad_seed_among_many_ends_the_loop(sp: Seedpress) -> None:
    pictures = sp.generate_many(MODEL, [1, -1], 0.7)
    with pytest.raises(seedpress.Range):
        next(pictures)
    with pytest.raises(StopIteration):
        next(pictures)


def test_other_calls_go_between(sp: Seedpress) -> None:
    seen = []
    for result in sp.generate_many(MODEL, range(100, 110), 0.7):
        assert sp.generate(MODEL, 42, 0.7).seed == 42
        seen.append(result.get().seed)
    assert sorted(seen) == list(range(100, 110))


# ---- what is known ----

def test_the_ledger_is_asked_by_every_key(sp: Seedpress) -> None:
    image = sp.generate(MODEL, 77, 0.7)
    for key in ("recipe_key", "sha256", "core_sha256"):
        [row] = sp.lookup(**{key: getattr(image, key)})
        assert (row.seed, row.psi, row.recipe_key) == (77, 0.7, image.recipe_key)
    [row] = sp.lookup(seed=77, model=MODEL, psi=0.7)
    assert row.kept and not row.withdrawn and row.model_name == MODEL and row.distance is None
    assert image.recipe_key in [r.recipe_key for r in sp.lookup(model=MODEL, since=0, limit=100)]
    assert sp.lookup(seed=4000000000) == []
    assert sp.fetch(recipe_key=image.recipe_key).data == image.data
    assert sp.fetch(sha256=image.sha256).sha256 == image.sha256


def test_a_file_is_graded_by_how_it_was_found(sp: Seedpress, tmp_path: Path) -> None:
    image = sp.generate(MODEL, 78, 0.7)
    path = tmp_path / "78.jpg"
    image.save(path)
    assert sp.provenance(file=path).grade == sp.provenance(file=image.data).grade == "exact"
    stripped = tmp_path / "bare.jpg"
    subprocess.run(["exiftool", "-q", "-all=", "-o", str(stripped), str(path)], check=True)
    found = sp.provenance(file=str(stripped))
    assert found.grade == "exact (metadata differs)" and found.rows[0].seed == 78
    nothing = sp.provenance(file=b"GIF89a")
    assert nothing.grade == "no record" and not nothing
    by_seed = sp.provenance(seed=78, model=MODEL)
    assert by_seed.grade is None and by_seed.rows[0].sha256 == image.sha256
    with pytest.raises(FileNotFoundError):
        sp.provenance(file=tmp_path / "none.jpg")


def test_rows_alike_are_found_by_their_hashes(sp: Seedpress) -> None:
    sp.generate(MODEL, 79, 0.7)
    try:
        rows = sp.lookup(like=[0, 0xffffffffffffffff])
    except seedpress.Overloaded as error:
        assert error.retry_after_ms > 0          # the broker still reads the hashes
    else:
        assert all(row.distance is not None for row in rows)


# ---- bulk jobs, models, brokers ----

def test_a_bulk_job_is_submitted_followed_and_steered(sp: Seedpress) -> None:
    parts = [seedpress.Part(MODEL, 10, 19, 0.7, options={"quality": 80}),
             seedpress.Part(MODEL, 5, 5)]
    tried = sp.bulk_submit("python", parts, dry=True)
    assert tried.job.job == 0 and tried.job.total == 11
    made = sp.bulk_submit("python", parts, priority="high", chunk=5)
    again = sp.bulk_submit("python", parts, priority="high", chunk=5)
    assert made.is_new and not again.is_new and again.job.job == made.job.job
    with pytest.raises(seedpress.Conflict):
        sp.bulk_submit("python", parts[:1])
    plan = sp.bulk_show(made.job.job)
    assert [(r.item, r.first, r.last) for r in plan.ranges] == [(0, 10, 19), (10, 5, 5)]
    assert "jpeg:q80" in plan.ranges[0].recipe and plan.failures == []
    assert [job.job for job in sp.bulk_list(name="python")] == [made.job.job]
    assert sp.bulk_control(made.job.job, "cancel").state in ("cancelled", "done")


def test_an_exporter_tells_what_is_safe(sp: Seedpress) -> None:
    job = sp.bulk_submit("export", [seedpress.Part(MODEL, 0, 1, 0.7)], keep="provenance").job
    for result in sp.generate_many(MODEL, [0, 1], 0.7, keep="provenance", job=job.job):
        result.get()
    sp.bulk_exported(job.job, 0, 2)
    [told] = sp.bulk_list(job=job.job)
    assert told.exporter_ms is not None and told.done == 2
    assert [row.seed for row in sp.lookup(job=job.job)] == [0, 1]


def test_models_status_and_ping(sp: Seedpress) -> None:
    [model] = sp.models()
    assert (model.name, model.width, model.bound, model.workers) == (MODEL, 64, True, 1)
    sp.model_use(MODEL, model.digest[:8])
    status = sp.status()
    assert status.ledger_up and status.answered > 0 and status.workers[0].credit > 0
    sp.ping()


def test_a_subject_that_is_withdrawn_is_gone(sp: Seedpress) -> None:
    image = sp.generate(MODEL, 666, 0.7)
    gone = sp.withdraw(recipe_key=image.recipe_key, reason="somebody asked")
    assert gone.files == 1 and gone.rows[0].withdrawn
    assert gone.subject == seedpress.Recipe.parse(image.recipe).subject
    asked: list[Callable[[], seedpress.Image]] = [
        lambda: sp.generate(MODEL, 666, 0.5), lambda: sp.fetch(recipe_key=image.recipe_key)]
    for again in asked:
        with pytest.raises(seedpress.Withdrawn) as refused:
            again()
        assert refused.value.http_status == 410


def test_the_environment_names_the_broker(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDPRESS_BROKER", stack.clients)
    with Seedpress() as handle:
        handle.ping()


# ---- asyncio ----

def test_tasks_share_a_handle(stack: Stack) -> None:
    async def main() -> None:
        async with AsyncSeedpress(stack.clients) as sp:
            images = await asyncio.gather(*(sp.generate(MODEL, seed, 0.7)
                                            for seed in range(100, 150)))
            assert [image.seed for image in images] == list(range(100, 150))
            seen = [r.get().seed async for r in sp.generate_many(MODEL, range(40), 0.7, window=7)]
            assert sorted(seen) == list(range(40))
            with pytest.raises(seedpress.UnknownModel):
                await sp.generate("cats", 1)
            assert (await sp.provenance(file=images[0].data)).grade == "exact"
            assert [m.name for m in await sp.models()] == [MODEL]

    asyncio.run(main())


def test_both_handles_have_the_same_calls() -> None:
    import inspect

    def calls(kind: Any) -> dict[str, Any]:
        return {name: [p for p in inspect.signature(call).parameters.values()]
                for name, call in vars(kind).items()
                if callable(call) and not name.startswith("_") and "close" not in name}

    assert calls(Seedpress) == calls(AsyncSeedpress)
    assert (inspect.signature(Seedpress).parameters ==
            inspect.signature(AsyncSeedpress).parameters)


def test_a_task_that_is_cancelled_takes_its_request_back(slow: kit.Broker) -> None:
    async def main() -> None:
        async with AsyncSeedpress(slow.clients) as sp, AsyncSeedpress(slow.clients) as other:
            one = asyncio.create_task(sp.generate("dummy", 1))
            await waiters(other, 1)
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
            await waiters(other, 0)
            assert (await other.status()).cancelled == 1

    asyncio.run(main())


async def waiters(sp: AsyncSeedpress, count: int) -> None:
    """Asks until the broker has as many."""
    async with asyncio.timeout(30):
        while (await sp.status()).waiters != count:
            pass


def test_a_page_that_is_left_takes_back_the_rest(slow: kit.Broker) -> None:
    async def main() -> None:
        async with AsyncSeedpress(slow.clients) as sp, AsyncSeedpress(slow.clients) as other:
            async def read() -> None:
                async for _ in sp.generate_many("dummy", range(30), window=20):
                    raise AssertionError("nobody renders")

            reading = asyncio.create_task(read())
            await waiters(other, 20)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await waiters(other, 0)
            assert (await other.status()).cancelled == 20

    asyncio.run(main())


def test_a_handle_that_is_closed_ends_its_tasks(slow: kit.Broker) -> None:
    async def main() -> None:
        sp = AsyncSeedpress(slow.clients)
        one = asyncio.create_task(sp.generate("dummy", 1))
        await waiters(sp, 1)
        await sp.aclose()
        with pytest.raises(seedpress.Cancelled, match="closed"):
            await one
        with pytest.raises(seedpress.Invalid, match="closed"):
            await sp.ping()

    asyncio.run(main())


def test_a_handle_belongs_to_one_loop(stack: Stack) -> None:
    sp = AsyncSeedpress(stack.clients)
    asyncio.run(sp.ping())
    with pytest.raises(seedpress.Invalid, match="another event loop"):
        asyncio.run(sp.ping())
    asyncio.run(sp.aclose())
