"""Drivers in processes of their own, which a test may interrupt or kill, and the proof that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from skate.testing import eventually

LIMIT_S = 20.0
GONE_S = 5.0
"""All that a driver started must be gone after this time."""

PRELUDE = """
import os, signal, subprocess, sys, threading, time
import skate
from skate.client import current

def say(*words):
    print(*words, flush=True)

def cluster(**options):
    options = {"num_cpus": 2, "object_store_memory": 200 << 20, **options}
    skate.init(**options)
    say("session", current.runtime.context().session_dir)

def touch(path):
    open(path, "w").close()

def wait_for(path, seconds=10):
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        assert time.monotonic() < end, path
        time.sleep(0.002)
"""


class Driver:
    """A script that runs as a driver; its sessions lie in a folder of the test."""

    def __init__(self, tmp_path: Path, body: str, *arguments: str) -> None:
        self.root = tmp_path / "tmp"
        self.root.mkdir(exist_ok=True)
        script = tmp_path / f"driver{len(list(tmp_path.iterdir()))}.py"
        script.write_text(PRELUDE + body)
        self.out_path, self.err_path = script.with_suffix(".out"), script.with_suffix(".err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(script), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "TMPDIR": str(self.root), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        """What it has printed."""
        return self.out_path.read_text()

    @property
    def err(self) -> str:
        """What it has printed to stderr."""
        return self.err_path.read_text()

    def said(self, word: str, timeout_s: float = LIMIT_S) -> str:
        """Wait for a whole line that begins with a word; the rest of the line."""

        def found() -> list[str]:
            lines = self.out.splitlines(keepends=True)
            return [line for line in lines if line.startswith(word) and line.endswith("\n")]

        def ready() -> list[str]:
            lines = found()
            if not lines and self.process.poll() is not None:
                lines = found()
                assert lines, f"the driver ended with {self.process.returncode} before {word!r}:\n{self.out}{self.err}"
            return lines

        return str(eventually(ready, timeout_s, f"{word!r} of the driver")[0][len(word) :].strip())

    def kill(self, signo: int = signal.SIGKILL) -> None:
        """Send a signal."""
        self.process.send_signal(signo)

    def wait(self, timeout_s: float = LIMIT_S) -> int:
        """Its exit code, when it has ended by itself."""
        return self.process.wait(timeout_s)

    def processes(self) -> list[int]:
        """The pids of its node, zygote and workers, which carry the session's folder in their command line."""
        mark = os.fsencode(str(self.root))
        return [pid for pid in pids() if pid != self.process.pid and mark in command_line(pid)]

    def sessions(self) -> list[str]:
        """The folders of sessions that are there."""
        return [str(path) for path in self.root.glob("skate-*/session-*")]

    def nothing_left(self, folders: bool = True, timeout_s: float = GONE_S) -> None:
        """Wait until no process of it, and with `folders` no folder either, is left."""
        try:
            eventually(lambda: not self.processes() and not (folders and self.sessions()), timeout_s)
        except AssertionError:
            there = [(pid, parent(pid), command_line(pid)[-300:]) for pid in self.processes()]
            raise AssertionError(f"left of the driver after {timeout_s} s: {there} {self.sessions()}") from None

    def close(self) -> None:
        """End it and all that it started, whatever the test found."""
        for pid in [self.process.pid, *self.processes()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def pids() -> list[int]:
    """All processes."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def command_line(pid: int) -> bytes:
    """How a process was started; empty when it is a zombie or gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    return bool(command_line(pid))


def gone(*which: int, timeout_s: float = GONE_S) -> float:
    """Wait until processes have ended; the seconds that it took."""
    start = time.monotonic()
    eventually(lambda: not any(alive(pid) for pid in which), timeout_s, f"the end of the processes {which}")
    return time.monotonic() - start


def parent(pid: int) -> int:
    """The pid of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
