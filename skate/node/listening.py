"""Sockets that this node listens on, and what happens when no more connections can be had for a while.

Every node listens on a Unix socket in its session's folder, which only this user can enter: commands look there what it does, and
drivers attach to a standalone one. Only a standalone node listens on a port, too.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..wire.paths import short

if TYPE_CHECKING:
    from .service import Node

ACCEPT_PAUSE_S = 0.2
"""After running out of descriptors."""
ACCEPTS_PER_ROUND = 64

Accepted = Callable[[socket.socket, str], object]


def open_door(node: Node) -> None:
    """Let in processes of this user on this machine, by the session's folder."""
    Listening(node).unix(str(node.session_dir / "node.sock"), node.add_client)


class Listening:
    """The listeners of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._listeners: dict[int, socket.socket] = {}
        self._paused: dict[int, tuple[float, Callable[[int], bool]]] = {}
        node.parts.append(self)

    def tcp(self, host: str, port: int, accepted: Accepted) -> int:
        """Call `accepted(socket, address)` for each connection to a port; the port.

        Raises:
            OSError: the address cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(512)
        except OSError:
            listener.close()
            raise
        self._watch(listener, accepted)
        found: int = listener.getsockname()[1]
        return found

    def unix(self, path: str, accepted: Callable[[socket.socket], object]) -> None:
        """Call `accepted(socket)` for each process of this user that connects to a path."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        old = os.umask(0o177)
        try:
            with short(path) as near:
                listener.bind(near)
        finally:
            os.umask(old)
        listener.listen(64)

        def of_this_user(sock: socket.socket, _: str) -> None:
            peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            if struct.unpack("3i", peer)[1] == os.getuid():
                accepted(sock)
            else:
                sock.close()
                print("a connection of a local process of another user was refused", file=sys.stderr, flush=True)

        self._watch(listener, of_this_user)

    def _watch(self, listener: socket.socket, accepted: Accepted) -> None:
        fd = listener.fileno()
        self._listeners[fd] = listener

        def on_event(mask: int) -> bool:
            for _ in range(ACCEPTS_PER_ROUND):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                        self._pause(fd, on_event, error)
                        break
                    continue  # the peer was gone before it was accepted
                accepted(sock, str(address[0]) if isinstance(address, tuple) else "")
            return True

        self.node.watch(fd, on_event)

    def _pause(self, fd: int, handler: Callable[[int], bool], error: OSError) -> None:
        """Nobody can be let in now; a listener that is readable all the time would keep the loop busy."""
        self.node.unwatch(fd)
        self._paused[fd] = (time.monotonic() + ACCEPT_PAUSE_S, handler)
        print(f"connections wait: {error}", file=sys.stderr, flush=True)

    # ------------------------------------------------------------ time and end

    def on_time(self, now: float) -> None:
        """Listen again after a pause."""
        for fd, (at, handler) in list(self._paused.items()):
            if now >= at:
                del self._paused[fd]
                self.node.watch(fd, handler)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, min(at for at, _ in self._paused.values()) - now) if self._paused else None

    def close(self) -> None:
        """Nobody comes in any more."""
        for fd, listener in self._listeners.items():
            self.node.unwatch(fd)
            listener.close()
        self._listeners.clear()
