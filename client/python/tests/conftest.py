from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import kit  # noqa: E402

for name in ("SEEDPRESS_BROKER", "SEEDPRESS_KEY_FILE", "SEEDPRESS_BROKER_KEY"):
    os.environ.pop(name, None)


@dataclass
class Stack:
    ledger: kit.Ledger
    broker: kit.Broker
    worker: kit.Worker

    @property
    def clients(self) -> str:
        return self.broker.clients


@pytest.fixture(scope="session")
def ledger() -> Iterator[kit.Ledger]:
    made = kit.Ledger()
    yield made
    made.close()


@pytest.fixture(scope="session")
def stack(ledger: kit.Ledger) -> Iterator[Stack]:
    """One whole seedpress for every test that breaks nothing."""
    broker = kit.Broker(ledger.conninfo)
    worker = kit.Worker(ledger.conninfo, [broker.workers])
    yield Stack(ledger, broker, worker)
    worker.kill()
    broker.kill()


@pytest.fixture
def slow() -> Iterator[kit.Broker]:
    """A broker without a ledger, whose worker renders for a minute."""
    broker = kit.Broker("none")
    worker = kit.dummies(broker, "b_us=60000000")
    yield broker
    worker.kill()
    broker.kill()


# ---- what tests/run.sh counts ----

def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tap", action="store_true", help="a line of TAP for each test")


class Tap:
    """Every test in one line; a test fails once, wherever in it that was."""

    def __init__(self) -> None:
        self._count = 0
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)
        if report.when == "teardown":
            self._count += 1
            word = "not ok" if report.nodeid in self._failed else "ok"
            print(f"\n{word} {self._count} - {report.nodeid}")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--tap"):
        config.pluginmanager.register(Tap())
