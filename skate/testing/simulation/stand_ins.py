"""What the code under test touches of the machine, and what it finds there in a simulation.

The shells of node, head and client run as they are. In place of the clock, random bytes, sockets, epoll and process ends they get
those of the world; in place of listeners and handshakes, log files, and the head's process object, the small classes here.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from ...node import head_host, head_process, join, service
from ...node.head_host import HeadHost
from ...wire import messages as m
from ...wire.channel import pair
from .sockets import Epoll, Poll
from .words import explain
from .world import ProcessExit

if TYPE_CHECKING:
    from .cluster import Cluster, HeadRun, Machine


class Gate:
    """A node's gate: who comes has proved to know the secret already, and there is no TLS."""

    cluster: Cluster

    tls = None

    def __init__(self, node: Any, token: str, version: str, tls: None = None) -> None:
        self.node = node
        self.services: dict[str, Callable[..., None]] = {}
        self.handed_over: set[str] = set()

    def listen(self, host: str, port: int) -> int:
        """The port."""
        return port

    def dial(self, host: str, port: int, purpose: str, payload: bytes, then: Any, hand_over: bool = False) -> None:
        """See `Cluster.dial`."""
        caller = self.cluster.world.current
        assert caller is not None
        self.cluster.dial(caller, host, purpose, payload, then)

    def secure(self, sock: Any, rest: bytes, address: str, then: Any, dialled: bool = False) -> None:
        """As it is."""
        then(sock, rest, "")

    def close(self) -> None:
        """Nothing is open."""


class Output:
    """A node's output: workers print nothing."""

    fd = -1

    def __init__(self, node: Any, logs: Any) -> None:
        self.node = node
        self.logs = self

    def paths(self, worker: int, job: str) -> tuple[str, str]:
        """See `Logs`."""
        return "", ""

    def started(self, worker: int, pid: int) -> None:
        """See `Logs`."""

    def became(self, worker: int, actor: str) -> None:
        """Nobody asks what it prints."""

    def ended(self, worker: int, crashed: bool = False) -> None:
        """See `Output`."""

    def tail(self, worker: int) -> list[str]:
        """See `Logs`."""
        return []

    def on_time(self, now: float) -> None:
        """See `Output`."""

    def next_due(self, now: float) -> float | None:
        """See `Output`."""
        return None

    def flush(self, client: Any, request: int) -> None:
        """See `Output`."""
        self.node.send(client, m.Answer(request, True))

    def close(self) -> None:
        """See `Logs`."""


class Host(HeadHost):
    """The head's process, as the node on its machine starts it."""

    machine: Machine

    def __init__(self, node: Any, settings: Any, first: Any) -> None:
        self.machine = Gate.cluster.machine_of(node)
        super().__init__(node, settings, first)

    def _spawn(self) -> Any:
        mine, theirs = pair()
        process = self.machine.cluster.start_head(theirs.fileno())
        theirs.close()
        return SimpleNamespace(sock=mine, process=process)

    def connect(self, purpose: str, payload: bytes) -> Any:
        """See `HeadHost`."""
        mine: Any = super().connect(purpose, payload)
        explain(mine.end, purpose)
        return mine


class Arena:
    """A client's arena: no large objects, only what workers leave of their progress."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def progress(self, worker: int) -> list[int]:
        """See `Arena`."""
        return [self.machine.progress.get(worker, 0)]

    def close(self, unmap: bool) -> None:
        """See `Arena`."""


class Folder(PurePosixPath):
    """A folder that is not on any disk."""

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """See `Path`."""

    def write_text(self, data: str) -> int:
        """See `Path`."""
        return len(data)

    def chmod(self, mode: int) -> None:
        """See `Path`."""

    def replace(self, target: Any) -> None:
        """See `Path`."""


class MemoryStore:
    """What the head keeps, and the next head finds."""

    where = "memory"

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], bytes] = {}

    def load(self, kind: str) -> Iterator[tuple[bytes, bytes]]:
        """See `Store`."""
        for (each, key), value in sorted(self.rows.items()):
            if each == kind:
                yield key, value

    def get(self, kind: str, key: bytes) -> bytes | None:
        """See `Store`."""
        return self.rows.get((kind, key))

    def put(self, kind: str, key: bytes, value: bytes) -> None:
        """See `Store`."""
        self.rows[kind, key] = value

    def delete(self, kind: str, key: bytes) -> None:
        """See `Store`."""
        self.rows.pop((kind, key), None)

    def close(self) -> None:
        """See `Store`."""

    def remove(self) -> None:
        """See `Store`."""
        self.rows.clear()


class Popen:
    """A process, as whoever has started it sees it."""

    def __init__(self, run: HeadRun) -> None:
        self.run = run
        self.pid = 1

    def kill(self) -> None:
        """End it."""
        self.run.die("it is killed by its node")

    def wait(self, timeout: float | None = None) -> int:
        """It is dead: how."""
        return -9


class _Lines:
    """stderr: what processes print is a part of the trace, and a traceback is a bug."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._text = ""

    def write(self, text: str) -> int:
        """Whole lines are noted."""
        *lines, self._text = (self._text + text).split("\n")
        world = self.cluster.world
        process = world.current
        for line in lines:
            world.say(lambda line=line: f"{process} prints {line!r}")  # type: ignore[misc]
            if line.startswith("Traceback"):
                world.broken.append(f"{process} has caught an exception; see what it prints")
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""


@contextlib.contextmanager
def installed(cluster: Cluster) -> Iterator[None]:
    """Inside, the code under test runs in this world."""
    world, net = cluster.world, cluster.net
    close, dup = os.close, os.dup
    lines: Any = _Lines(cluster)
    Gate.cluster = cluster
    with contextlib.ExitStack() as stack:
        for target, name, value in (
            (time, "monotonic", lambda: world.now),
            (os, "urandom", world.rng.randbytes),
            (os, "close", lambda fd: net.close(fd) or close(fd)),
            (os, "dup", lambda fd: net.dup(fd) if fd in net.by_fd else dup(fd)),
            (os, "_exit", _exit),
            (os, "getpid", lambda: 1),
            (socket, "socket", net.of_fileno),
            (socket, "socketpair", net.socketpair),
            (select, "epoll", lambda: Epoll(net)),
            (select, "poll", lambda: Poll(net)),
            (service, "Output", Output),
            (service, "Logs", _no_logs),
            (join, "Gate", Gate),
            (join, "open_door", lambda node: None),  # drivers of a machine are given to its node
            (join, "HeadHost", Host),
            (join, "dial", lambda *to: cluster.reach_head()),
            (head_process, "Gate", Gate),
            (head_process, "create", lambda size: -1),
            (head_process, "Path", Folder),
            (head_host, "wait_readable", lambda fd, timeout: True),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        stack.enter_context(contextlib.redirect_stderr(lines))
        yield


def _exit(code: int) -> None:
    raise ProcessExit


def _no_logs(folder: Any) -> None:
    return None
