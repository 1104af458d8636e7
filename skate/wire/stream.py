"""A connection between two machines: messages over a TCP stream.

The same interface as `channel.Channel`, so that whoever sends and receives need not know which it has. What a stream cannot
do: carry descriptors, and give back what the other end has not read.

A message is a length of four bytes, little-endian, and that many bytes.

INV-1: messages arrive in the order of `send`, whole, or not at all.
INV-2: no memory is set aside for a length before the bytes are there.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from .channel import BACKLOG_BYTES_MAX, MESSAGE_BYTES_MAX, ChannelClosed, MessageTooLarge

READ_BYTES = 1 << 17
"""How much is asked for at a time. Memory for more comes from the kernel and goes back, each time: with 256 KiB there were 30,000
calls per second, one at a time, to an actor on another node; with this there are 49,000."""
_WRITE_AT_ONCE = 1 << 20


class StreamChannel:
    """One end of a connection whose handshake is done. Not thread-safe, as `Channel`."""

    __slots__ = ("_have", "_offset", "backlog", "backlog_bytes", "closed", "fd", "sock")

    def __init__(self, sock: socket.socket, already_read: bytes = b"") -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:  # the head's machine reaches the head without the network
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.fd = sock.fileno()
        self.backlog: deque[memoryview] = deque()
        self.backlog_bytes = 0
        self.closed = False
        self._have = bytearray(already_read)
        self._offset = 0

    # ------------------------------------------------------------ sending

    def send(self, data: bytes) -> bool:
        """Send one message; False when a part of it had to wait in the backlog.

        Raises:
            ChannelClosed: the other end is gone, or does not read.
        """
        if self.closed:
            raise ChannelClosed("the channel is closed")
        size = len(data)
        if size > MESSAGE_BYTES_MAX:
            raise MessageTooLarge(f"a message of {size} bytes; the most is {MESSAGE_BYTES_MAX}")
        whole = size.to_bytes(4, "little") + data
        if self.backlog:
            self._queue(memoryview(whole))
            return self.flush()
        try:
            sent = self.sock.send(whole)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise ChannelClosed(str(error)) from None
        if sent == len(whole):
            return True
        self._queue(memoryview(whole)[sent:])
        return False

    def send_fds(self, data: bytes, fds: Sequence[int]) -> bool:
        """Descriptors do not travel between machines."""
        raise TypeError("a connection to another machine carries no descriptors")

    def _queue(self, part: memoryview) -> None:
        if self.backlog_bytes > BACKLOG_BYTES_MAX:
            raise ChannelClosed(f"the peer does not read: {self.backlog_bytes} bytes are waiting for it")
        self.backlog.append(part)
        self.backlog_bytes += len(part)

    def flush(self) -> bool:
        """Write what waits; True when nothing waits any more."""
        backlog = self.backlog
        while backlog:
            part = backlog[0]
            try:
                sent = self.sock.send(part[:_WRITE_AT_ONCE])
            except BlockingIOError:
                return False
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            self.backlog_bytes -= sent
            if sent == len(part):
                backlog.popleft()
            else:
                backlog[0] = part[sent:]
        return True

    # ------------------------------------------------------------ receiving

    @property
    def more(self) -> bool:
        """Whether `receive` would find a message that the kernel knows nothing of any more."""
        have, at = self._have, self._offset
        left = len(have) - at
        return left >= 4 and left - 4 >= int.from_bytes(have[at : at + 4], "little")

    def receive(self) -> tuple[bytes, list[int]] | None:
        """The next message; None when there is none now. There are never descriptors.

        Raises:
            ChannelClosed: end of file, or a peer that breaks the rules.
        """
        data = self.receive_into()
        return None if data is None else (data, [])

    def receive_into(self, buffer: Any = None, view: Any = None) -> bytes | None:
        """As `receive`, without the list. The arguments are those of `Channel.receive_into`; they are not needed."""
        while True:
            data = self._cut()
            if data is not None:
                return data
            try:
                part = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                return None
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            if not part:
                raise ChannelClosed("end of file")
            if self._offset:
                del self._have[: self._offset]
                self._offset = 0
            self._have += part

    def _cut(self) -> bytes | None:
        have, at = self._have, self._offset
        left = len(have) - at
        if left < 4:
            return None
        size = int.from_bytes(have[at : at + 4], "little")
        if size > MESSAGE_BYTES_MAX:
            raise ChannelClosed(f"a message of {size} bytes was announced; the most is {MESSAGE_BYTES_MAX}")
        end = at + 4 + size
        if len(have) < end:
            return None
        data = bytes(memoryview(have)[at + 4 : end])
        if end == len(have):
            have.clear()
            self._offset = 0
        else:
            self._offset = end
        return data

    def close(self) -> None:
        """Close this end; what waits in the backlog is dropped."""
        if not self.closed:
            self.closed = True
            self.backlog.clear()
            self.sock.close()
