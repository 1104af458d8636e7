"""The nodes and drivers of a soak: started, watched, replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from skate.client import sessions
from skate.client.init_options import InitOptions
from skate.testing import nodes as testing

HOST = "127.0.0.1"
CPUS = 2
STORE_BYTES = 96 << 20
"""Small, so that objects are spilled; the largest object is a third of it."""
DRIVERS_LOG = "drivers.txt"
ROOT = Path(__file__).parents[2]


class Nodes:
    """The living nodes, the head's first."""

    def __init__(self) -> None:
        self.living: list[sessions.Session] = []
        self.all: list[sessions.Session] = []

    def add(self) -> sessions.Session:
        """Start the head's node, or one that joins it."""
        head = self.all[0] if self.all else None
        wish = sessions.Wish(True, HOST) if head is None else sessions.Wish(False, HOST, 0, head.host, head.port)
        resources = {} if head is None else {"member": 100.0}
        options = InitOptions(num_cpus=CPUS, resources=resources, object_store_memory=STORE_BYTES)
        node = sessions.start_node(options, wish)
        self.living.append(node)
        self.all.append(node)
        return node

    @property
    def head(self) -> sessions.Session:
        """The node that has the head."""
        return self.all[0]

    @property
    def members(self) -> list[sessions.Session]:
        """The others that live."""
        return self.living[1:]

    def gone(self, node: sessions.Session) -> None:
        """A node was killed, or has ended."""
        self.living.remove(node)
        until(lambda: _collected(node.pid), 5)

    def lives(self, node: sessions.Session) -> bool:
        """Whether its process runs."""
        return testing.is_alive(node)

    def renewed(self, node: sessions.Session) -> sessions.Session | None:
        """The node that a machine is now that was declared dead as another; None while it is none."""
        now = next((each for each in sessions.running() if each.folder == node.folder), None)
        if now is None or now.node_no == node.node_no:
            return None
        self.living[self.living.index(node)] = now
        return now

    def head_process(self) -> psutil.Process | None:
        """The head's own process; None while there is none."""
        return testing.head_process(self.head)

    def workers(self, node: sessions.Session) -> list[psutil.Process]:
        """The workers of a node."""
        return testing.workers_of(node)

    def processes(self) -> list[psutil.Process]:
        """All processes of all living nodes."""
        return [process for node in self.living for process in testing.processes_of(node)]


class Driver:
    """One driver, and what it says."""

    def __init__(self, number: int, node: sessions.Session, seed: int, limit_s: float, out: Path, hear: Any) -> None:
        """`hear(driver, event)` is called in a thread with everything that it says."""
        self.number = number
        self.node = node
        self.counts: dict[str, int] = {}
        self.done = False
        self.up = False
        self.orphaned = ""
        self.failed = False
        mine, theirs = os.pipe()
        command = [sys.executable, "-m", "tests.soak.driver", f"{node.host}:{node.port}"]
        with open(out / DRIVERS_LOG, "ab") as log:
            self.process = subprocess.Popen(
                [*command, str(seed), str(theirs), str(limit_s)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[theirs],
                cwd=ROOT,
            )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(mine, hear), daemon=True)
        self._reader.start()

    def _read(self, fd: int, hear: Callable[[Driver, dict[str, Any]], None]) -> None:
        with os.fdopen(fd) as lines:
            for line in lines:
                event = json.loads(line)
                kind = event["event"]
                self.up |= kind == "up"
                self.done |= kind == "done"
                self.failed |= kind == "failure"
                if kind == "results":
                    self.counts = event["counts"]
                elif kind == "orphaned":
                    self.orphaned = event["text"]
                hear(self, event)

    def stop(self) -> None:
        """Ask it to finish what it does."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code when it has ended and all that it said was heard; None when the time is over first."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        self.stop()


def _collected(pid: int) -> bool:
    """Whether a child has ended, with all its threads, and is taken note of: else its folder seems to be in use."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def until(predicate: Callable[[], Any], timeout_s: float) -> bool:
    """Wait for a condition; False when the time is over first."""
    end = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
