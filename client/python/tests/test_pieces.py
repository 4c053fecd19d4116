"""What needs no broker: keys, the hash without metadata, files that are saved, arguments."""
from __future__ import annotations

import enum
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kit
import pytest
import seedpress
import zmq
from seedpress import calls, keys, link
from seedpress.core import core_sha256
from seedpress.errors import SeedpressError

# ---- keys ----


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    kit.seedpress("keygen", "alice", "-o", str(tmp_path))
    return tmp_path / "alice.key"


def test_the_files_of_keygen_are_read(pair: Path) -> None:
    both = keys.find_both(str(pair), str(pair.with_suffix(".pub")))
    assert both and both.broker == both.public == zmq.curve_public(both.secret)
    assert keys.find_public(both.public.decode()) == both.public
    assert both.secret.decode() not in repr(both)


def damaged(pair: Path, old: str, new: str) -> None:
    pair.write_text(pair.read_text().replace(old, new))


@pytest.mark.parametrize("damage, why", [
    (lambda pair: pair.chmod(0o640), "open to others"),
    (lambda pair: pair.unlink(), "could not open"),
    (lambda pair: damaged(pair, "secret ", "secrets "), 'needs a line "public"'),
    (lambda pair: pair.write_bytes(b"x" * 5000), "larger"),
    (lambda pair: damaged(pair, "public ", "public %"), 'needs a line "public"'),
    (lambda pair: damaged(pair, zmq_secret(pair), zmq.curve_keypair()[1].decode()),
     "two different keys"),
])
def test_a_key_file_that_is_none_is_refused_in_words(pair: Path, damage: Any, why: str) -> None:
    secret = zmq_secret(pair)
    damage(pair)
    with pytest.raises(seedpress.File, match=why) as refused:
        keys.read_pair(str(pair))
    assert secret not in refused.value.message


def zmq_secret(pair: Path) -> str:
    return pair.read_text().split("secret ")[1].split()[0]


def test_one_key_without_the_other_is_refused(pair: Path) -> None:
    for given in ({"key_file": pair}, {"broker_key": pair}):
        with pytest.raises(seedpress.Invalid, match="too"):
            seedpress.Seedpress(**given)  # type: ignore[arg-type]


# ---- endpoints ----

@pytest.mark.parametrize("endpoint", ["tcp://10.0.0.1:7701", "tcp://127.evil.example:1",
                                      "tcp://localhost.example:1", "tcp://127.0.0.1:0;10.0.0.1:1",
                                      "tcp://broker:7701", "pgm://127.0.0.1:1", "tcp://[::2]:1"])
def test_an_endpoint_beyond_this_machine_needs_keys(endpoint: str) -> None:
    with pytest.raises(seedpress.Denied, match="loopback"):
        seedpress.Seedpress(["tcp://127.0.0.1:1", endpoint])


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:7701", "tcp://localhost:7701",
                                      "tcp://[::1]:7701", "ipc:///run/seedpress", "inproc://x"])
def test_an_endpoint_of_this_machine_needs_none(endpoint: str) -> None:
    assert link.is_local(endpoint)


@pytest.mark.parametrize("brokers", ["", ",", "tcp://127.0.0.1:1,", [], ["tcp://127.0.0.1:1"] * 17,
                                     "tcp://127.0.0.1:1,tcp://127.0.0.1", "tcp://127.0.0.1:port"])
def test_endpoints_that_are_none_show_at_once(brokers: Any) -> None:
    with pytest.raises(seedpress.Invalid, match="127.0.0.1"):
        seedpress.Seedpress(brokers)


@pytest.mark.parametrize("kind", [seedpress.Seedpress, seedpress.AsyncSeedpress])
@pytest.mark.parametrize("name", ["silence_ms", "unreachable_ms", "answer_ms"])
@pytest.mark.parametrize("value", [0, -1, 0.5, "3000", None])
def test_a_duration_that_is_none_shows_at_once(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(seedpress.Range, match=f"{name} needs whole milliseconds"):
        kind("tcp://127.0.0.1:1", **{name: value})


# ---- the hash without metadata ----

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
XMP = b"\xff\xe1\x00\x05xmp"
COMMENT = b"\xff\xfe\x00\x04hi"
ADOBE = b"\xff\xee\x00\x0eAdobe\0\0\0\0\0\0\0"
TABLES = b"\xff\xdb\x00\x04qq"
SCAN = b"\xff\xda\x00\x03x" + b"data\xff\x00more\xff\xd0last"


def test_metadata_and_what_follows_change_no_core_hash() -> None:
    bare = core_sha256(SOI + TABLES + SCAN + EOI)
    assert bare
    assert core_sha256(SOI + XMP + COMMENT + TABLES + b"\xff\xff" + SCAN + EOI + b"tail") == bare
    assert core_sha256(SOI + ADOBE + TABLES + SCAN + EOI) not in (bare, None)
    assert core_sha256(SOI + TABLES + SCAN.replace(b"last", b"lost") + EOI) not in (bare, None)


@pytest.mark.parametrize("file", [b"", SOI, SOI + EOI, SOI + TABLES + SCAN, b"GIF89a", SOI[:1],
                                  SOI + b"\xff\xe1\xff\xff", SOI + b"\xff\xe1\x00\x01",
                                  SOI + SOI + SCAN + EOI,
                                  SOI + b"\xff\xd0\x00\x02" + SCAN + EOI,
                                  SOI + b"\xff\x01\x00\x02" + SCAN + EOI,
                                  b"\xff" * 9, TABLES + SCAN + EOI])
def test_what_is_no_whole_jpeg_has_no_core_hash(file: bytes) -> None:
    assert core_sha256(file) is None


# ---- files ----

def image(data: bytes) -> seedpress.Image:
    blank = {name: "" for name in seedpress.Image.__dataclass_fields__}
    return seedpress.Image(**{**blank, "data": data, "seed": 7})  # type: ignore[arg-type]


def test_a_file_is_saved_whole_with_the_usual_mode(tmp_path: Path) -> None:
    path = tmp_path / "7.jpg"
    path.write_bytes(b"old")
    image(b"new").save(path)
    umask = os.umask(0)
    os.umask(umask)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["7.jpg"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_file_that_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "7.jpg").mkdir()
    with pytest.raises(OSError):
        image(b"new").save(tmp_path / "7.jpg")
    assert os.listdir(tmp_path) == ["7.jpg"]


def test_a_receipt_has_no_bytes_to_save(tmp_path: Path) -> None:
    uses: list[Callable[[seedpress.Image], object]] = [
        lambda i: i.save(tmp_path / "7.jpg"), bytes, lambda i: i.pil()]
    for use in uses:
        with pytest.raises(seedpress.Invalid, match="seed 7 has no bytes"):
            use(image(b""))
    assert os.listdir(tmp_path) == []


# ---- arguments ----

@pytest.mark.parametrize("call, kind", [
    (lambda sp: sp.generate("", 1), seedpress.Range),
    (lambda sp: sp.generate("m", -1), seedpress.Range),
    (lambda sp: sp.generate("m", 1 << 32), seedpress.Range),
    (lambda sp: sp.generate("m", "1"), seedpress.Invalid),
    (lambda sp: sp.generate("m", 1, 0.1 + 0.2), seedpress.Range),
    (lambda sp: sp.generate("m", 1, float("nan")), seedpress.Range),
    (lambda sp: sp.generate("m", 1, transform=[1] * 9, rotate=1), seedpress.Invalid),
    (lambda sp: sp.generate("m", 1, deadline_ms=0), seedpress.Range),
    (lambda sp: sp.generate("m", 1, visitor="v" * 65), seedpress.Range),
    (lambda sp: sp.generate_many("m", [1], window=0), seedpress.Invalid),
    (lambda sp: sp.generate_many("m", [1], window=1001), seedpress.Invalid),
    (lambda sp: sp.generate_many("m", [1], quality=101), seedpress.Range),
    (lambda sp: next(sp.generate_many("m", [1, -1])), seedpress.Range),
    (lambda sp: sp.lookup(), seedpress.Invalid),
    (lambda sp: sp.lookup(seed=1, job=1), seedpress.Invalid),
    (lambda sp: sp.fetch(), seedpress.Invalid),
    (lambda sp: sp.fetch(sha256="A" * 64), seedpress.Invalid),
    (lambda sp: sp.provenance(file=b"x", seed=1), seedpress.Invalid),
    (lambda sp: sp.withdraw(recipe_key="0" * 64, reason=""), seedpress.Range),
    (lambda sp: sp.bulk_submit("a", []), seedpress.Invalid),
    (lambda sp: sp.bulk_submit("a", [seedpress.Part("m", 5, 4)]), seedpress.Range),
    (lambda sp: sp.bulk_control(0, "stop"), SeedpressError),
    (lambda sp: sp.ping(0), seedpress.Range),
    (lambda sp: sp.ping(0.5), seedpress.Range),
])
def test_what_no_broker_would_take_is_refused_before_it_is_asked(call: Any, kind: Any) -> None:
    with seedpress.Seedpress("tcp://127.0.0.1:1") as sp:
        with pytest.raises(kind):
            call(sp)


class Word(str, enum.Enum):
    NOISE = "const"


class Number(enum.IntEnum):
    SEED = 3


def test_values_of_numpy_and_of_enumerations_are_those_of_python() -> None:
    import numpy

    options: Any = {"noise_mode": Word.NOISE, "quality": Number.SEED,
                    "translate": numpy.array([0.5, -0.25])}
    seed: Any = numpy.int64(7)
    psi: Any = numpy.float64(0.7)
    fields = calls.generate(numpy.str_("cats"), seed, psi, options).fields
    assert (fields["model"], fields["seed"], fields["psi"]) == ("cats", 7, 700000)
    assert (fields["noise_mode"], fields["quality"]) == ("const", 3)
    assert fields["translate"] == [500000, -250000]


def test_an_option_that_is_none_is_refused_by_name() -> None:
    with seedpress.Seedpress("tcp://127.0.0.1:1") as sp:
        with pytest.raises(TypeError, match="colour"):
            sp.generate("m", 1, colour="red")  # type: ignore[call-arg]


def test_a_closed_handle_says_so() -> None:
    sp = seedpress.Seedpress("tcp://127.0.0.1:1")
    pictures = sp.generate_many("m", [1])
    sp.close()
    sp.close()
    uses: list[Callable[[], object]] = [
        sp.ping, lambda: sp.generate_many("m", [1]), lambda: next(pictures)]
    for use in uses:
        with pytest.raises(seedpress.Invalid, match="closed"):
            use()


# ---- the process ----

LEFT = """
import gc, os, signal
from seedpress import Seedpress

with Seedpress("tcp://127.0.0.1:1", unreachable_ms=100) as sp:
    for result in sp.generate_many("m", range(3)):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            break
        assert os.waitpid(child, 0)[1] == 0
if child == 0:
    try:
        sp.ping()
    except Exception as error:
        assert "the process that made it" in str(error)
        del sp, result
        gc.collect()
        os._exit(0)
"""
UNFINISHED = """
import threading
from seedpress import Seedpress

threading.kept = Seedpress("tcp://127.0.0.1:1").generate_many("m", range(3))
"""


@pytest.mark.parametrize("script", [LEFT, UNFINISHED], ids=["after fork", "at the end"])
def test_what_is_of_no_use_any_more_is_left_in_peace(script: str) -> None:
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                         stderr=subprocess.STDOUT, timeout=120,
                         env=dict(os.environ, PYTHONPATH=str(kit.ROOT / "client" / "python")))
    assert (ran.returncode, ran.stdout) == (0, "")
