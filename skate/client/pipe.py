"""The channel of a client to one worker or actor: nothing is lost while the other end lives.

A channel gives up when too much waits for a peer that does not read. Work must not be lost that way, so a pipe hands its channel
the next message only when nothing waits in it: what the peer has no room for stays here, as far as the client does not hold it
back anyway. So `ChannelClosed` from a pipe always means that the peer is gone.

The client may keep a duplicate of the peer's end. What the peer has not read can then be taken back: because another worker is
idle, or after a death, when it shows which work never began.

INV-1: `waiting` is empty unless the channel has a backlog.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

from ..wire.channel import PACKET_BYTES, Channel, ChannelClosed
from ..wire.stream import StreamChannel
from .pump import Pump

_WHOLE = 0
"""The first byte of a packet that is a message by itself, as `Channel` writes it."""


class Posting:
    """What both kinds of pipe can do: take whatever the client has decided to send."""

    __slots__ = ()

    pump: Pump
    waiting: deque[bytes]
    backlog: deque[Any]
    fd: int

    def send(self, data: bytes) -> bool:
        """As `Channel.send`."""
        raise NotImplementedError

    def flush(self) -> bool:
        """As `Channel.flush`."""
        raise NotImplementedError

    def post(self, data: bytes) -> None:
        """Send a message, now or when the peer has made room.

        Raises:
            ChannelClosed: the peer is gone.
        """
        if self.backlog:
            self.waiting.append(data)
        elif not self.send(data):
            self.pump.want_write(self.fd, True)

    def resume(self) -> None:
        """There is room again: send what waits."""
        try:
            while self.flush():
                if not self.waiting:
                    self.pump.want_write(self.fd, False)
                    return
                self.send(self.waiting.popleft())
        except ChannelClosed:
            self.pump.want_write(self.fd, False)  # the node will say how the peer ended


class Pipe(Channel, Posting):
    """A channel to a process of this node."""

    __slots__ = ("pump", "reader_end", "waiting")

    def __init__(self, sock: socket.socket, pump: Pump, reader_end: socket.socket | None = None) -> None:
        super().__init__(sock)
        self.pump = pump
        self.reader_end = reader_end
        self.waiting: deque[bytes] = deque()

    def take_unread(self, dead: bool = False) -> list[bytes]:
        """Take back all that the peer has not read, oldest first. Needs the reader's end.

        The parts of a message that is too large for one packet cannot be taken back: then everything stays, unless the peer
        is dead.
        """
        assert self.reader_end is not None
        packets = []
        while True:
            try:
                packet = self.reader_end.recv(PACKET_BYTES + 64)
            except BlockingIOError:
                break
            except ConnectionResetError:
                continue
            if not packet:
                break
            packets.append(packet)
        packets.extend(packet for packet, _ in self.backlog)
        if dead:
            packets = [packet for packet in packets if packet[0] == _WHOLE]
        elif any(packet[0] != _WHOLE for packet in packets):
            self._put_back(packets)
            return []
        if self.backlog:
            self.backlog.clear()
            self.backlog_bytes = 0
            self.pump.want_write(self.fd, False)
        messages = [packet[1:] for packet in packets]
        messages.extend(self.waiting)
        self.waiting.clear()
        return messages

    def _put_back(self, packets: list[bytes]) -> None:
        self.backlog.clear()
        self.backlog.extend((packet, ()) for packet in packets)
        self.backlog_bytes = sum(map(len, packets))
        self.pump.want_write(self.fd, True)
        self.resume()

    def close(self) -> None:
        """Close both ends; what waits is dropped."""
        self.waiting.clear()
        super().close()
        if self.reader_end is not None:
            self.reader_end.close()
            self.reader_end = None


class FarPipe(StreamChannel, Posting):
    """A channel to a process on another node. What has been sent cannot be taken back.

    The process greets before it reads anything. So of a connection that ends without a greeting, nothing was read.
    """

    __slots__ = ("greeted", "pump", "waiting")

    reader_end = None

    def __init__(self, sock: socket.socket, pump: Pump, rest: bytes = b"") -> None:
        super().__init__(sock, rest)
        self.pump = pump
        self.waiting: deque[bytes] = deque()
        self.greeted = False

    def receive_into(self, buffer: Any = None, view: Any = None) -> bytes | None:
        """See `StreamChannel.receive_into`."""
        raw = super().receive_into(buffer, view)
        if raw is not None:
            self.greeted = True
        return raw

    def take_unread(self, dead: bool = False) -> list[bytes]:
        """What was not handed to the connection yet."""
        messages = list(self.waiting)
        self.waiting.clear()
        return messages
