"""TLS handshakes of this process, with workers, nodes and heads elsewhere, and with callers.

The own node has made the connection, or accepted it, and has handed it over; if the cluster has TLS, it begins here. It waits
as long as the other process is busy, as everything does that is asked of it; when that dies, or its node, the connection ends.

INV-1: a descriptor in `_pending` is in the pump, and nobody else knows it.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..wire import tls as t

if TYPE_CHECKING:
    from ..wire.tls_socket import TlsSocket
    from .runtime import ClientRuntime

Then = Callable[[socket.socket | None, bytes, str], None]

FAILED_S = 0.1
"""How much later it is told that a connection that this process wanted has come to nothing: whoever hears it may want the
next."""


class Securing:
    """What stands between a connection that came and its use."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.tls = runtime.welcome.tls
        self._pending: dict[int, TlsSocket] = {}

    def begin(self, sock: socket.socket, rest: bytes, server_side: bool, then: Then) -> None:
        """`then(socket, bytes read already, "")` when it can be used, or `then(None, b"", error)`. Needs the lock."""
        if not t.begins(sock, self.tls):
            then(sock, rest, "")
            return
        from ..wire.tls_socket import TlsError, wrap

        assert self.tls is not None
        try:
            secure = wrap(sock, self.tls, rest, server_side)
        except TlsError as error:
            self._failed(str(error), server_side, then)
            return
        self._pending[secure.fileno()] = secure
        self.runtime.pump.add(secure.fileno(), lambda mask: self._step(secure, then))
        self._step(secure, then)

    def _step(self, secure: TlsSocket, then: Then) -> None:
        fd = secure.fileno()
        try:
            events = secure.step()
            rest = b"" if events else secure.rest()
        except ConnectionError as error:
            self._drop(fd)
            secure.close()
            self._failed(str(error), secure.server_side, then)
            return
        if events:
            self.runtime.pump.want_write(fd, events == select.POLLOUT)
            return
        self._drop(fd)
        then(secure, rest, "")

    def _drop(self, fd: int) -> None:
        self.runtime.pump.remove(fd)
        del self._pending[fd]

    def _failed(self, error: str, server_side: bool, then: Then) -> None:
        if server_side:
            then(None, b"", error)
            return

        def tell() -> None:
            if not self.runtime.closed:
                then(None, b"", error)

        self.runtime.tasks.retries.later(FAILED_S, tell)

    def close(self) -> None:
        """Close what is not made yet; the pump is not asked, as another process may share it."""
        for secure in self._pending.values():
            secure.close()
        self._pending.clear()
