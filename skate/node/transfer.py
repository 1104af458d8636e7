"""The bytes of objects between nodes: pulled by whoever needs them, once per node.

A pull is a connection of its own: the id travels in the handshake, the source answers with a size and the bytes. They go from
arena to arena: `sendfile` reads the source's, the receiver writes straight into its own. The source holds the object while it
sends.

A copy is an entry of the directory under the object's own id, owned by the node itself and held by the clients that read it; when
nobody does, its memory is free again.

INV-1: an id is in `_pulls` or has a copy here, never both.
INV-2: `copies` has the memory of every copy, and `_pulls` that of every pull that has some.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..client.errors import pack_error
from ..exceptions import ObjectLostError, ObjectStoreFullError
from ..store.arena import Arena
from ..wire import messages as m
from .directory import SENDER, Effects, aligned

if TYPE_CHECKING:
    from .gate import Gate
    from .service import Node

TURN_BYTES = 4 << 20
"""What one connection may move in one turn of the loop, so that messages are not kept waiting."""
SOURCES_MIN = 1024
MEMORY_PATIENCE_S = 60.0
MEMORY_RETRY_S = 0.05
_SIZE_BYTES = 8
_REFUSED = (1 << 64) - 1

Done = Callable[[m.Value], None]


class Sending:
    """One object on its way to another node."""

    def __init__(self, sock: socket.socket, ident: bytes) -> None:
        self.sock = sock
        self.ident = ident
        self.offset = 0
        self.end = 0
        self.head = b""


class Pulling:
    """One object on its way here."""

    def __init__(self, ident: bytes, source: int, size: int) -> None:
        self.ident = ident
        self.source = source
        self.size = size
        self.waiting: list[tuple[bytes, Done]] = []
        self.offset: int | None = None
        self.view: memoryview | None = None
        self.got = 0
        self.head = b""
        self.sock: socket.socket | None = None
        self.until = time.monotonic() + MEMORY_PATIENCE_S


class Transfers:
    """What one node sends and pulls."""

    def __init__(self, node: Node, gate: Gate) -> None:
        self.node = node
        self.gate = gate
        self.me = node.node_no.to_bytes(4, "big") + bytes(4)
        self.arena = Arena(node.arena_fd, node.arena_bytes)
        self.copies: dict[bytes, tuple[int, int]] = {}
        self._pulls: dict[bytes, Pulling] = {}
        self._starved: list[Pulling] = []
        self.parked: list[Sending] = []
        """Requests that wait for the end of the round."""
        self.sources: dict[bytes, int] = {}
        """Where a copy came from that was dropped for want of memory."""
        node.spills.logic.copier = self.me
        gate.services["transfer"] = self._on_request
        node.parts.append(self)

    # ------------------------------------------------------------ sending

    def _on_request(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        sending = Sending(sock, payload)
        if not self._start(sending):
            self.parked.append(sending)  # its registration is perhaps still in a client's channel

    def _start(self, sending: Sending) -> bool:
        entry = self.node.directory.entries.get(sending.ident)
        value = entry.value if entry is not None else None
        if value is None or value.kind != m.SHARED or value.id != sending.ident:
            return False
        if not value.offset:
            self.node.spills.need(sending.ident, lambda error: self._restored(sending, error))
            return True
        self.node.directory.hold(SENDER, sending.ident, 1, b"")
        sending.offset, sending.end = value.offset, value.offset + value.size
        sending.head = value.size.to_bytes(_SIZE_BYTES, "little")
        fd = sending.sock.fileno()
        self.node.watch(fd, lambda mask: self._on_writable(sending), select.EPOLLOUT)
        return True

    def _restored(self, sending: Sending, error: m.Value | None) -> None:
        """An object that is to be sent was on the disk, and is in memory now, if there is no error."""
        if error is not None or not self._start(sending):
            self._refuse(sending)

    @staticmethod
    def _refuse(sending: Sending) -> None:
        try:
            sending.sock.send(_REFUSED.to_bytes(_SIZE_BYTES, "little"))
        except OSError:
            pass  # who asked is gone
        sending.sock.close()

    def take_parked(self) -> list[Sending]:
        """Requests that wait until every channel was read empty."""
        parked, self.parked = self.parked, []
        return parked

    def park(self, parked: list[Sending]) -> None:
        """Not everything was read: they go on waiting."""
        self.parked[:0] = parked

    def after_drain(self, parked: list[Sending]) -> None:
        """Everything that was sent before these has been read: what is not known now is not here."""
        for sending in parked:
            if not self._start(sending):
                self._refuse(sending)

    def _on_writable(self, sending: Sending) -> bool:
        sock = sending.sock
        try:
            if sending.head:
                sending.head = sending.head[sock.send(sending.head) :]
            left = TURN_BYTES
            while sending.offset < sending.end and left > 0:
                count = os.sendfile(
                    sock.fileno(), self.node.arena_fd, sending.offset, min(left, sending.end - sending.offset)
                )
                if not count:
                    break
                sending.offset += count
                left -= count
            if sending.offset < sending.end or sending.head:
                return True
        except BlockingIOError:
            return True
        except OSError:
            pass  # who asked is gone
        self.node.unwatch(sock.fileno())
        sock.close()
        self.node.directory.hold(SENDER, sending.ident, -1, b"")
        return True

    # ------------------------------------------------------------ pulling

    def pull(self, client: bytes, ident: bytes, source: int, size: int, done: Done) -> None:
        """Bring an object here for a client; `done` gets where it is, held for that client, or why not."""
        if ident in self.copies:
            self.node.directory.hold(client, ident, 1, b"")
            done(self._place(ident))
            return
        pulling = self._pulls.get(ident)
        if pulling is None:
            pulling = self._pulls[ident] = Pulling(ident, source, size)
            pulling.waiting.append((client, done))
            self._begin(pulling)
        else:
            pulling.waiting.append((client, done))

    def _place(self, ident: bytes) -> m.Value:
        offset, size = self.copies[ident]
        return m.Value(m.SHARED, b"", ident, offset, size, None, self.node.node_no)

    def _begin(self, pulling: Pulling) -> None:
        node = self.node
        offset = node.directory.grant(self.me, pulling.size)
        if offset is None:
            if pulling not in self._starved:
                self._starved.append(pulling)
            node.memory.ask_all()
            node.spills.press(pulling.size)
            return
        pulling.offset = offset
        try:
            self.arena.reserve(offset, pulling.size)
        except OSError as error:
            self._fail(
                pulling,
                ObjectStoreFullError(f"the machine has no memory for an object of {pulling.size} bytes: {error}"),
            )
            return
        pulling.view = self.arena.writable(offset, pulling.size)
        info = node.view.get(pulling.source)
        if info is None or info.state == "dead":
            self._lost(pulling, f"node {pulling.source}, which had it, is gone")
            return
        self.gate.dial(
            info.host, info.port, "transfer", pulling.ident, lambda *result: self._connected(pulling, *result)
        )

    def _connected(self, pulling: Pulling, sock: socket.socket | None, rest: bytes, error: str) -> None:
        if sock is None:
            self._lost(pulling, f"node {pulling.source}, which has it, cannot be reached: {error}")
            return
        pulling.sock = sock
        self._take(pulling, rest)
        self.node.watch(sock.fileno(), lambda mask: self._on_readable(pulling))

    def _take(self, pulling: Pulling, data: bytes) -> None:
        """Bytes that came with the handshake."""
        head = data[: _SIZE_BYTES - len(pulling.head)]
        pulling.head += head
        body = data[len(head) :]
        if body and pulling.view is not None:
            body = body[: pulling.size - pulling.got]
            pulling.view[pulling.got : pulling.got + len(body)] = body
            pulling.got += len(body)

    def _on_readable(self, pulling: Pulling) -> bool:
        sock, view = pulling.sock, pulling.view
        assert sock is not None and view is not None
        left = TURN_BYTES
        try:
            while left > 0 and not self._complete(pulling):
                if len(pulling.head) < _SIZE_BYTES:
                    data = sock.recv(_SIZE_BYTES - len(pulling.head))
                    count = len(data)
                    pulling.head += data
                else:
                    count = sock.recv_into(view[pulling.got :], min(left, pulling.size - pulling.got))
                    pulling.got += count
                if not count:
                    self._lost(pulling, f"node {pulling.source} has closed the connection in the middle")
                    return True
                left -= count
                if len(pulling.head) == _SIZE_BYTES and int.from_bytes(pulling.head, "little") != pulling.size:
                    self._lost(pulling, f"node {pulling.source} does not have it any more")
                    return True
        except BlockingIOError:
            return True
        except OSError as error:
            self._lost(pulling, f"the connection to node {pulling.source} has ended: {error}")
            return True
        if self._complete(pulling):
            self._finish(pulling)
        return True

    @staticmethod
    def _complete(pulling: Pulling) -> bool:
        return len(pulling.head) == _SIZE_BYTES and pulling.got == pulling.size

    def _drop(self, pulling: Pulling) -> None:
        self._pulls.pop(pulling.ident, None)
        if pulling in self._starved:
            self._starved.remove(pulling)
        if pulling.sock is not None:
            self.node.unwatch(pulling.sock.fileno())
            pulling.sock.close()
            pulling.sock = None
        pulling.view = None

    def _finish(self, pulling: Pulling) -> None:
        self._drop(pulling)
        assert pulling.offset is not None
        ident = pulling.ident
        self.copies[ident] = (pulling.offset, pulling.size)
        directory = self.node.directory
        self.node.spills.logic.arrived(ident, pulling.offset)
        self.sources[ident] = pulling.source
        effects = Effects()
        for at, (client, _) in enumerate(pulling.waiting):
            if at == 0:
                directory.register(self.me, ident, self._place(ident), client, self.me, effects)
            else:
                directory.hold(client, ident, 1, b"")
        self.node.objects.carry_out(effects)
        for _, done in pulling.waiting:
            done(self._place(ident))

    def _lost(self, pulling: Pulling, reason: str) -> None:
        self._fail(pulling, ObjectLostError(pulling.ident.hex(), reason), m.LOST)

    def _fail(self, pulling: Pulling, error: Exception, kind: int = m.ERROR) -> None:
        self._drop(pulling)
        if pulling.offset is not None:
            self.node.directory.returned(self.me, [(pulling.offset, aligned(pulling.size))])
        value = m.Value(kind, pack_error(error, function_name="", pid=0, task_id=""))
        for _, done in pulling.waiting:
            done(value)

    # ------------------------------------------------------------ ends

    def freed(self, idents: list[bytes]) -> None:
        """Nobody reads these copies any more."""
        for ident in idents:
            at = self.copies.pop(ident, None)
            self.sources.pop(ident, None)
            if at is not None:
                self.node.directory.returned(self.me, [(at[0], aligned(at[1]))])

    def dropped(self, ident: bytes) -> None:
        """A copy has left memory; who needs it pulls it anew."""
        self.copies.pop(ident, None)
        if len(self.sources) > 2 * len(self.copies) + SOURCES_MIN:
            entries = self.node.directory.entries
            self.sources = {ident: source for ident, source in self.sources.items() if ident in entries}

    def pull_again(self, client: bytes, ident: bytes, size: int, done: Done) -> None:
        """Bring a copy back that was dropped."""
        self.pull(client, ident, self.node.heirs.source_of(ident, self.sources.get(ident, 0)), size, done)

    def node_died(self, number: int) -> None:
        """A node is gone: nothing comes from it."""
        for pulling in [pulling for pulling in self._pulls.values() if pulling.source == number]:
            self._lost(pulling, f"node {number}, which had it, is gone")

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Try again for memory."""
        for pulling in list(self._starved):
            if now >= pulling.until:
                self._fail(
                    pulling,
                    ObjectStoreFullError(
                        f"no room for an object of {pulling.size} bytes from another node came free in time"
                    ),
                )
            else:
                self._starved.remove(pulling)
                self._begin(pulling)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return MEMORY_RETRY_S if self._starved else None
