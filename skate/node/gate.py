"""What a standalone node lets in by its TCP port, and what it dials, with handshakes on both sides.

Who speaks HTTP wants the metrics (`exporter.py`). Nothing of any other TCP peer is decoded before its handshake is done; what
then becomes of the connection, `services` says by its purpose. Handshakes have a deadline, and there are only so many at a time,
so that strangers cost nothing but a refusal.

If the cluster has TLS, it begins after the handshake: here, for connections that this process uses itself; in the process that it
is handed to, for any other (`handed_over`, and `dial` with `hand_over`).

INV-1: a descriptor in `_pending` is watched here; once its handshake is done it is unwatched and belongs to somebody else.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..wire import tls as t
from ..wire.handshake import Client, HandshakeError, Server, refusal
from .exporter import begins as is_request
from .listening import Listening

if TYPE_CHECKING:
    from ..wire.tls_socket import TlsSocket
    from .service import Node

HANDSHAKE_S = 5.0
"""How long a handshake may take, the connection included."""
PENDING_MAX = 256
"""Handshakes at a time; the oldest is dropped for a new one."""
SILENT_S = 5.0
"""A peer whose machine does not acknowledge what was sent for so long is gone."""
LOG_EVERY_S = 1.0
READ_BYTES = 8192

Service = Callable[[str, bytes, socket.socket, bytes, str], None]
Then = Callable[[socket.socket | None, bytes, str], None]


_NOBODY = os.strerror(errno.ECONNREFUSED)
_ANSWERS = (_NOBODY, *(os.strerror(number) for number in (errno.ECONNRESET, errno.EPIPE)))


def was_answered(error: str) -> bool:
    """Whether a connection failed because the other machine said so. Silence is no answer."""
    return error.endswith((t.CLOSED, *_ANSWERS))


def is_nobody(error: str) -> bool:
    """Whether a connection failed because nobody listens there."""
    return error.endswith(_NOBODY)


class Pending:
    """A connection whose handshake is under way."""

    def __init__(self, sock: socket.socket, side: Client | Server | None, then: Then | None, address: str) -> None:
        self.sock = sock
        self.until = time.monotonic() + HANDSHAKE_S
        self.side = side
        """None: only that of TLS is left."""
        self.then = then
        """For one that was dialled, or came from elsewhere: who waits for it."""
        self.address = address
        self.out = b""
        self.dialled = isinstance(side, Client)
        self.connected = not self.dialled
        self.hand_over = False
        """It is for another process."""
        self.secure: TlsSocket | None = None


class Gate:
    """The listeners of one node, and the connections that are being made."""

    def __init__(self, node: Node, token: str, version: str, tls: t.Tls | None = None) -> None:
        self.node = node
        self._token = token
        self._version = version
        self.tls = tls
        self.services: dict[str, Service] = {}
        self.handed_over: set[str] = set()
        """Purposes of connections that are for other processes."""
        self.refused: Counter[str] = Counter()
        """Strangers, by the reason why they were refused."""
        self.http: Callable[[socket.socket, str, bytes], None] | None = None
        """Takes over a connection that begins with a request of HTTP."""
        self._listening = Listening(node)
        self._pending: dict[int, Pending] = {}
        self._log_after = 0.0
        node.parts.append(self)

    # ------------------------------------------------------------ listening

    def listen(self, host: str, port: int) -> int:
        """Listen for other nodes; the port.

        Raises:
            OSError: the address cannot be had.
        """
        return self._listening.tcp(host, port, self._on_stranger)

    def _on_stranger(self, sock: socket.socket, address: str) -> None:
        if len(self._pending) >= PENDING_MAX:
            oldest = min(self._pending.values(), key=lambda pending: pending.until)
            self._fail(oldest, "too many handshakes at a time")
        side = Server(self._token, self._version, self.tls is not None)
        self._begin(Pending(sock, side, None, address))

    # ------------------------------------------------------------ dialling

    def dial(self, host: str, port: int, purpose: str, payload: bytes, then: Then, hand_over: bool = False) -> None:
        """Connect to another node; `then(socket, bytes read already, "")`, or `then(None, b"", error)`, exactly once.

        With `hand_over` the connection is for another process, which begins TLS itself.
        """
        try:
            family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        except ValueError:
            then(None, b"", f"{host} is not an IP address")
            return
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        side = Client(self._token, purpose, payload, self._version, self.tls is not None)
        pending = Pending(sock, side, then, f"{host}:{port}")
        pending.hand_over = hand_over
        result = sock.connect_ex((host, port))
        if result not in (0, errno.EINPROGRESS):
            sock.close()
            then(None, b"", f"cannot connect to {host}:{port}: {os.strerror(result)}")
            return
        pending.out = side.feed(b"")
        self._begin(pending)

    # ------------------------------------------------------------ handshakes

    def _begin(self, pending: Pending) -> None:
        sock = pending.sock
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENT_S * 1000))
        fd = sock.fileno()
        self._pending[fd] = pending
        mask = select.EPOLLIN | (select.EPOLLOUT if not pending.connected else 0)
        self.node.watch(fd, lambda mask: self._on_event(pending, mask), mask)

    def _on_event(self, pending: Pending, mask: int) -> bool:
        sock = pending.sock
        if not pending.connected and mask & (select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP):
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._fail(pending, f"cannot connect to {pending.address}: {os.strerror(error)}")
                return True
            pending.connected = True
        side = pending.side
        if pending.secure is not None or side is None:
            self._go_on(pending)
            return True
        try:
            if mask & select.EPOLLIN and pending.connected:
                data = sock.recv(READ_BYTES)
                if not data:
                    self._fail(pending, t.CLOSED)
                    return True
                if self._is_http(pending, data):
                    return True
                pending.out += side.feed(data)
            if pending.connected:
                self._write(pending)
        except BlockingIOError:
            return True
        except HandshakeError as error:
            if isinstance(side, Server):
                self._say_no(pending, str(error))
            self._fail(pending, str(error))
        except OSError as error:
            self._fail(pending, str(error))
        return True

    def _is_http(self, pending: Pending, data: bytes) -> bool:
        """Whether a stranger's first words are those of HTTP; then the connection is for others, if there are such."""
        side = pending.side
        if self.http is None or not isinstance(side, Server) or side.heard or not is_request(data):
            return False
        self._drop(pending, pending.sock.fileno())
        self.http(pending.sock, pending.address, data)
        return True

    def _write(self, pending: Pending) -> None:
        if pending.out:
            sent = pending.sock.send(pending.out)
            pending.out = pending.out[sent:]
        side = pending.side
        assert side is not None
        if side.done and not pending.out:
            pending.hand_over = pending.hand_over or (pending.then is None and side.purpose in self.handed_over)
            if not pending.hand_over and t.begins(pending.sock, self.tls):
                self._begin_tls(pending, side.rest)
            else:
                self._finish(pending, side.rest)
            return
        mask = select.EPOLLIN | (select.EPOLLOUT if pending.out else 0)
        self.node.watch(pending.sock.fileno(), lambda mask: self._on_event(pending, mask), mask)

    @staticmethod
    def _say_no(pending: Pending, reason: str) -> None:
        try:
            pending.sock.send(refusal(reason))
        except OSError:
            return  # it does not hear why

    def secure(self, sock: socket.socket, rest: bytes, address: str, then: Then, dialled: bool = False) -> None:
        """Begin TLS, if the cluster has it, on a connection that was made with `hand_over`; `then` as of `dial`."""
        if not t.begins(sock, self.tls):
            then(sock, rest, "")
            return
        pending = Pending(sock, None, then, address)
        pending.dialled = dialled
        self._pending[sock.fileno()] = pending
        self._begin_tls(pending, rest)

    def _begin_tls(self, pending: Pending, rest: bytes) -> None:
        from ..wire.tls_socket import TlsError, wrap

        assert self.tls is not None
        fd = pending.sock.fileno()
        self.node.unwatch(fd)  # if it cannot begin, the socket is closed
        try:
            pending.sock = pending.secure = wrap(pending.sock, self.tls, rest, not pending.dialled)
        except TlsError as error:
            self._fail(pending, str(error), fd)
            return
        self._go_on(pending)

    def _go_on(self, pending: Pending) -> None:
        """With TLS."""
        assert pending.secure is not None
        try:
            events = pending.secure.step()
            rest = b"" if events else pending.secure.rest()
        except ConnectionError as error:
            self._fail(pending, str(error))
            return
        if events:
            self.node.watch(pending.sock.fileno(), lambda mask: self._on_event(pending, mask), events)
        else:
            self._finish(pending, rest)

    def _finish(self, pending: Pending, rest: bytes) -> None:
        side = pending.side
        self._drop(pending, pending.sock.fileno())
        if pending.then is not None:
            pending.then(pending.sock, rest, "")
            return
        assert side is not None
        service = self.services.get(side.purpose)
        if service is None:
            pending.sock.close()
            self._refuse(f"unknown purpose {side.purpose[:20]!r}", pending.address)
            return
        service(side.purpose, side.payload, pending.sock, rest, pending.address)

    def _drop(self, pending: Pending, fd: int) -> None:
        self.node.unwatch(fd)
        del self._pending[fd]

    def _fail(self, pending: Pending, reason: str, fd: int = -1) -> None:
        """`fd`: of a socket that is closed already."""
        self._drop(pending, pending.sock.fileno() if fd < 0 else fd)
        pending.sock.close()
        if pending.then is not None:
            pending.then(None, b"", reason)
        if not pending.dialled:
            self._refuse(reason, pending.address)

    def _refuse(self, reason: str, address: str = "") -> None:
        self.refused[reason if len(self.refused) < 100 else "other"] += 1
        origin = f" from {address}" if address else ""
        self._log(f"a connection{origin} was refused: {reason} ({sum(self.refused.values())} so far)")

    def _log(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._log_after:
            self._log_after = now + LOG_EVERY_S
            print(text, file=sys.stderr, flush=True)

    # ------------------------------------------------------------ time and end

    def on_time(self, now: float) -> None:
        """Give up handshakes that take too long."""
        for pending in [pending for pending in self._pending.values() if now >= pending.until]:
            self._fail(pending, f"no handshake in {HANDSHAKE_S:g} s")

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, min(pending.until for pending in self._pending.values()) - now) if self._pending else None

    def close(self) -> None:
        """Close the listener, and what is not made yet."""
        self._listening.close()
        for pending in list(self._pending.values()):
            self._fail(pending, "this node ends")
