"""Packages of runtime environments between machines: from a node that has one to a node whose environment needs it.

The node that packed it is asked first, then all others: who has used a package has it still. A node's loop only dials; the bytes
move in threads, from file to file, each with a time limit for every step. What a program packs is also brought to the machine of
the head, so that it is there when that program's machine has gone.

INV-1: for each name in `_wanted` there is one search under way, and all that wait for it hear how it has ended.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..client.package_files import PACKAGE_BYTES_MAX, Busy, Cache
from ..wire.cluster import ALIVE, AWAY, DRAINING
from .reports import Reports

if TYPE_CHECKING:
    from .gate import Gate
    from .service import Node

SENDING_MAX = 64
"""Packages on their way to others at a time; who asks for more is refused, and asks another."""
STALL_S = 4.0
"""A connection on which nothing moves for so long is given up."""
PART_BYTES = 256 << 10
_SIZE = struct.Struct("<Q")
_NAME = re.compile(r"[0-9a-f]{64}")

Then = Callable[[str], None]
"""Called with an error, or "" when the package is on this machine."""


class Packages:
    """What one node gives and takes."""

    def __init__(self, node: Node, gate: Gate) -> None:
        self.node = node
        self.gate = gate
        self._wanted: dict[str, list[Then]] = {}
        self._sending = 0
        self._reports: Reports | None = None
        gate.services["package"] = self._on_asked
        gate.services["keep-package"] = self._on_keep

    @property
    def _cache(self) -> Cache:
        return Cache.of_session(str(self.node.session_dir))

    # ------------------------------------------------------------ giving

    def _on_asked(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """Another node wants a package."""
        name = payload.decode(errors="replace")
        fd = self._cache.find(f"{name}.zip") if _NAME.fullmatch(name) and self._sending < SENDING_MAX else None
        if fd is None:
            sock.close()
            return
        self._sending += 1
        self._in_thread(partial(self._send, name, fd, sock), self._sent)

    def _send(self, name: str, fd: int, sock: socket.socket) -> str:
        """In a thread."""
        try:
            sock.settimeout(STALL_S)
            with open(self._cache.zip_of(name), "rb") as file:
                _write(sock, _SIZE.pack(os.fstat(file.fileno()).st_size))
                while part := file.read(PART_BYTES):
                    _write(sock, part)
        except OSError as error:
            return str(error)  # whoever wanted it asks another
        finally:
            sock.close()
            os.close(fd)
        return ""

    def _sent(self, _: str) -> None:
        self._sending -= 1

    def _on_keep(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """To the node on the head's machine: a program has packed something."""
        sock.close()
        name, _, number = payload.decode(errors="replace").partition("@")
        if _NAME.fullmatch(name) and number.isdigit():
            self.bring(name, int(number), _forget)

    def keep(self, name: str) -> None:
        """A program of this machine has packed something: let the head's machine have it, too."""
        cluster = self.node.cluster
        if cluster is not None and cluster.host is None:
            payload = f"{name}@{self.node.node_no}".encode()
            self.gate.dial(*cluster.head, "keep-package", payload, _close)

    # ------------------------------------------------------------ taking

    def bring(self, name: str, number: int, then: Then) -> None:
        """Get a package; node `number` should have it."""
        waiting = self._wanted.setdefault(name, [])
        waiting.append(then)
        if len(waiting) == 1:
            self.node.abroad.when_known(number, partial(self._ask_all, name, number))

    def _ask_all(self, name: str, number: int) -> None:
        """Ask node `number`, then the others."""
        states = (ALIVE, AWAY, DRAINING)
        others = [no for no, info in self.node.view.items() if info.state in states and no != self.node.node_no]
        self._ask(name, sorted(others, key=lambda no: no != number), [])

    def _ask(self, name: str, others: list[int], errors: list[str]) -> None:
        """Ask the next node."""
        info = self.node.view.get(others[0]) if others else None
        if info is None:
            if others:
                self._ask(name, others[1:], errors)
            else:
                self._done(name, "no node of the cluster has it: " + ("; ".join(errors[:3]) or "there is no other"))
            return
        number = info.no

        def over(error: str) -> None:
            if error:
                self._ask(name, others[1:], [*errors, f"node {number}: {error}"])
            else:
                self._done(name, "")

        def connected(sock: socket.socket | None, rest: bytes, error: str) -> None:
            if sock is None:
                over(error)
            else:
                self._in_thread(partial(self._receive, name, sock, rest), over)

        self.gate.dial(info.host, info.port, "package", name.encode(), connected)

    def _receive(self, name: str, sock: socket.socket, rest: bytes) -> str:
        """In a thread."""
        try:
            sock.settimeout(STALL_S)
            _, fd = self._cache.entry(f"{name}.zip", lambda path: _read(sock, rest, path))
            os.close(fd)
        except (OSError, ValueError, Busy) as error:
            return str(error)
        finally:
            sock.close()
        return ""

    def _done(self, name: str, error: str) -> None:
        for then in self._wanted.pop(name, ()):
            then(error)

    # ------------------------------------------------------------ threads

    def _in_thread(self, work: Callable[[], str], then: Then) -> None:
        if self._reports is None:
            self._reports = Reports()
            self.node.watch(self._reports.wake, self._reports.on_event)
        reports = self._reports

        def run() -> None:
            try:
                error = work()
            except Exception as failed:  # else whoever waits would wait for ever
                error = f"{type(failed).__name__}: {failed}"
            reports.add(lambda: then(error))

        threading.Thread(target=run, name="skate-package", daemon=True).start()


def _read(sock: socket.socket, rest: bytes, path: Path) -> None:
    """Write what comes to a file."""
    data = bytearray(rest)
    while len(data) < _SIZE.size:
        data += _part(sock)
    size = _SIZE.unpack(data[: _SIZE.size])[0]
    if size > 2 * PACKAGE_BYTES_MAX:
        raise ValueError(f"it announces a package of {size} bytes")
    part = bytes(data[_SIZE.size :])
    with open(path, "wb") as file:
        while True:
            file.write(part)
            size -= len(part)
            if size <= 0:
                break
            part = _part(sock)
    if size < 0:
        raise ValueError("it has sent more than it had announced")


def _part(sock: socket.socket) -> bytes:
    part = sock.recv(PART_BYTES)
    if not part:
        raise ConnectionError("it does not have it, or has closed the connection in the middle")
    return part


def _write(sock: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[sock.send(view) :]


def _close(sock: socket.socket | None, rest: bytes, error: str) -> None:
    """It was said with the handshake. If it was not heard, the package is still on this machine."""
    if sock is not None:
        sock.close()


def _forget(error: str) -> None:
    """Whoever needs the package will ask for it, and hear why not."""
