"""Real programs for tests: a PostgreSQL of its own, brokers on ports of their own, workers.
Programs come from $SEEDPRESS_BUILD (else "build"); they end with the test, however it ends."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "proto" / "vectors"
BUILD = Path(os.environ.get("SEEDPRESS_BUILD", "build"))
PATIENCE_S = 120

# PostgreSQL outlives who started it; this process does not outlive the test, and stops it.
_GUARD = 'read -r line; deploy/postgres.sh stop "$1"; rm -rf "$1"'


class Program:
    """A program whose log is read as it comes."""

    def __init__(self, name: str, *arguments: str) -> None:
        path = str((ROOT / BUILD / name).resolve())
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", path, *arguments], cwd=ROOT, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._lines: list[str] = []
        self._seen = 0
        self._is_over = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._is_over = True
            self._news.notify_all()

    def wait_for(self, word: str) -> str:
        """The next line that holds word."""
        def find() -> bool:
            while self._seen < len(self._lines) and word not in self._lines[self._seen]:
                self._seen += 1
            return self._seen < len(self._lines) or self._is_over
        with self._news:
            if not self._news.wait_for(find, PATIENCE_S) or self._seen == len(self._lines):
                raise AssertionError(f'"{word}" did not come:\n{"".join(self._lines)}')
            self._seen += 1
            return self._lines[self._seen - 1]

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self._process.stdout
        self._process.stdout.close()
        return code


class Broker(Program):
    def __init__(self, ledger: str, *flags: str, clients: str = "tcp://127.0.0.1:*",
                 workers: str = "tcp://127.0.0.1:*") -> None:
        # A busy machine is no ledger that is away.
        super().__init__("seedpress-broker", "--ledger", ledger, "--listen", clients,
                         "--worker-listen", workers, "--supervise", "0", "--metrics-listen", "",
                         "--lookup-ms", "10000", *flags)
        line = self.wait_for(" broker_ready ")
        self.clients = _value(line, "clients")
        self.workers = _value(line, "workers")


class Worker(Program):
    def __init__(self, ledger: str, brokers: Sequence[str], *flags: str) -> None:
        super().__init__("seedpress-worker", "--ledger", ledger, "--brokers", ",".join(brokers),
                         "--models-dir", "deploy/models", *flags)
        for _ in brokers:
            self.wait_for(" broker_joined ")


def dummies(broker: Broker, dummy: str = "count=1") -> Program:
    """Workers that cost nothing, for a broker without a ledger; their model is "dummy"."""
    worker = Program("seedpress-worker", "--brokers", broker.workers, "--dummy", dummy)
    worker.wait_for(" broker_joined ")
    return worker


def _value(line: str, key: str) -> str:
    found = re.search(rf"\b{key}=(\S+)", line)
    assert found, line
    return found[1]


class Ledger:
    """A PostgreSQL of its own, with seedpress's tables."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="seedpress-python-")
        os.chmod(self.folder, 0o711)     # the server's user passes through
        environment = dict(os.environ, SEEDPRESS_PG_FSYNC="off", SEEDPRESS_PG_STOP="immediate")
        self._guard = subprocess.Popen(["sh", "-c", _GUARD, "guard", self.folder], cwd=ROOT,
                                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                       env=environment, start_new_session=True)
        for verb in ("start", "conninfo"):
            ran = subprocess.run(["deploy/postgres.sh", verb, self.folder], cwd=ROOT, check=True,
                                 stdout=subprocess.PIPE, text=True, env=environment)
        self.conninfo = ran.stdout.strip()
        seedpress("ledger", "migrate", "--ledger", self.conninfo)

    def close(self) -> None:
        assert self._guard.stdin
        self._guard.stdin.close()
        self._guard.wait(PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)


def seedpress(*arguments: str) -> str:
    """The command."""
    path = str((ROOT / BUILD / "seedpress").resolve())
    ran = subprocess.run([path, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE,
                         text=True)
    return ran.stdout
