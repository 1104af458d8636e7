"""The head's process, as the node on its machine sees it: started, started again when it dies, and given its connections.

The head listens on nothing. Whoever wants it comes to the node's one port, does the handshake there, and is handed over, as are
the clients of the node itself. So the port is there while the head is not, and the head is back under the same address.

INV-1: a descriptor that is handed over is closed here.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from ..exceptions import signal_name
from ..wire import heads
from ..wire.channel import Channel, ChannelClosed, wait_readable
from .head_spawn import Spawned

if TYPE_CHECKING:
    from .service import Node

STARTS_MAX = 30
STARTS_IN_S = 10.0
"""More starts than this in this time: it cannot live, and so cannot its cluster."""
STARTING_S = 20.0
"""How long a head may take until its first answer: on a busy machine an interpreter alone takes seconds."""
STOP_S = 2.0


class HeadHost:
    """The head's process."""

    def __init__(self, node: Node, settings: heads.HeadSettings, first: Spawned | None) -> None:
        self.node = node
        self._first = first
        """A process that is there already."""
        self._settings = settings
        self._starts: deque[float] = deque(maxlen=STARTS_MAX)
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.failure = ""
        """Why the head will not start."""
        self.answered = False
        """The head that runs now has let this node in."""
        self._start()

    @property
    def pid(self) -> int:
        """The head's process id."""
        return self._process.pid if self._process is not None else 0

    def _start(self) -> None:
        now = time.monotonic()
        if len(self._starts) == STARTS_MAX and now - self._starts[0] < STARTS_IN_S:
            self.failure = self.failure or f"it has died {STARTS_MAX} times in {STARTS_IN_S:g} s"
            self.node.stop(f"the head cannot be kept alive: {self.failure}")
            return
        self._starts.append(now)
        self.answered = False
        spawned, self._first = self._first or self._spawn(), None
        self._process = spawned.process
        self._channel = Channel(spawned.sock)
        self._channel.send(heads.encode(self._settings))
        self.node.watch(self._channel.fd, self._on_event)

    def _spawn(self) -> Spawned:
        return Spawned()

    def _on_event(self, mask: int) -> bool:
        channel = self._channel
        assert channel is not None
        try:
            if mask & select.EPOLLOUT and channel.flush():
                self.node.watch(channel.fd, self._on_event)
            while (received := channel.receive()) is not None:
                message = heads.decode_from_head(received[0])
                if isinstance(message, heads.Figures):
                    self.node.metrics.of_head = message
                else:
                    self.failure = message.reason
        except ChannelClosed:
            self._ended()
        return True

    def kill(self, reason: str) -> None:
        """End a head that is stuck. It is started again when its end is seen."""
        print(f"the head is killed: {reason}", file=sys.stderr, flush=True)
        if self._process is not None:
            self._process.kill()

    def _ended(self) -> None:
        self._close_channel()
        assert self._process is not None
        if not self.failure:
            self._process.kill()  # it may have closed its channel and live
        code = self._process.wait()
        if self.failure:
            self.node.stop(f"the head will not start: {self.failure}")
            return
        if self.node.running:
            how = signal_name(-code) or f"signal {-code}" if code < 0 else f"exit code {code}"
            print(f"the head has died ({how}) and is started again", file=sys.stderr, flush=True)
            self.node.history.event("WARNING", "NODE", f"the head has died ({how}) and is started again")
            self._start()

    def _close_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            self.node.unwatch(channel.fd)
            channel.close()

    def check(self, timeout_s: float = 0.0) -> None:
        """While nothing watches: has it said that it cannot start?

        Raises:
            ConnectionError: it has.
        """
        if self._channel is not None:
            wait_readable(self._channel.fd, timeout_s)
            self._on_event(select.EPOLLIN)
        if self.failure:
            raise ConnectionError(self.failure)

    # ------------------------------------------------------------ connections

    def accept(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """Somebody has come to the port who wants the head."""
        channel = self._channel
        if channel is not None:
            try:
                if not channel.send_fds(heads.encode(heads.Accept(purpose, payload, rest, address)), [sock.fileno()]):
                    self.node.watch(channel.fd, self._on_event, select.EPOLLIN | select.EPOLLOUT)
            except ChannelClosed:
                pass  # it has died: whoever came sees the connection end, and comes again
        sock.close()

    def connect(self, purpose: str, payload: bytes) -> socket.socket:
        """A connection to the head from this machine."""
        mine, theirs = socket.socketpair()
        self.accept(purpose, payload, theirs, b"", "")
        return mine

    def close(self) -> None:
        """End the head in order: the cluster is over."""
        process = self._process
        if process is None:
            return
        channel = self._channel
        if channel is not None:
            try:
                channel.send(heads.encode(heads.End()))
            except ChannelClosed:
                pass  # it is dead already
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._close_channel()
