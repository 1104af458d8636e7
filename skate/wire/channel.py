"""A connection between two processes of one machine.

A channel is one end of a Unix `SOCK_SEQPACKET` pair. The kernel keeps message boundaries, so there is no framing to
parse, and a message that nobody has read yet can be taken back by whoever holds a duplicate of the reader's end:
the kernel decides who gets it, and no worker has to cooperate (see `Pipe.take_unread` in `client/pipe.py`).

Sending never blocks: what the kernel has no room for waits in `backlog`, and `flush` continues when the socket is
writable again. A message larger than one packet travels as fragments; only `send` and `receive` know.

INV-1: messages arrive in the order of `send`, whole, or not at all.
INV-2: while `backlog` is not empty nothing is written past it.
"""

from __future__ import annotations

import array
import errno
import mmap
import os
import select
import socket
from collections import deque
from collections.abc import Sequence

PACKET_BYTES = 96 * 1024
"""The largest packet. The kernel's default send buffer (208 KiB) holds at least two."""

MESSAGE_BYTES_MAX = 1 << 28
"""A peer that announces more than this is cut off: nothing legitimate is larger than 256 MiB."""

BACKLOG_BYTES_MAX = 1 << 28
"""What may wait for a reader that does not read, before the channel is given up."""

FDS_MAX = 16

_WHOLE = 0
_PART = 1
_LAST = 2


class ChannelClosed(ConnectionError):
    """The other end is gone."""


class MessageTooLarge(ValueError):
    """Nothing was sent: no legitimate message is so large."""


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of non-blocking sockets for two channels."""
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    a.setblocking(False)
    b.setblocking(False)
    return a, b


class Channel:
    """One end of a connection. Not thread-safe: the caller serialises `send`, and one thread at a time receives."""

    more = False
    """Whether `receive` would find a message that the kernel knows nothing of any more."""

    __slots__ = ("_fds", "_parts", "_parts_bytes", "backlog", "backlog_bytes", "closed", "fd", "sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.backlog: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self.backlog_bytes = 0
        self.closed = False
        self._parts: list[bytes] = []
        self._fds: list[int] = []
        """Those of a message whose last fragment is not there yet."""
        self._parts_bytes = 0

    def send(self, data: bytes) -> bool:
        """Send one message; False when a part of it had to wait in the backlog.

        Raises:
            ChannelClosed: the other end is gone.
        """
        if len(data) < PACKET_BYTES and not self.backlog:
            try:
                self.sock.send(b"\x00" + data)
                return True
            except BlockingIOError:
                self._queue(b"\x00" + data, ())
                return False
            except OSError as error:
                raise ChannelClosed(str(error)) from None
        return self._send_slow(data, ())

    def send_fds(self, data: bytes, fds: Sequence[int]) -> bool:
        """As `send`, with file descriptors. The caller may close its own copies at once."""
        return self._send_slow(data, tuple(fds))

    def _send_slow(self, data: bytes, fds: tuple[int, ...]) -> bool:
        if self.closed:
            raise ChannelClosed("the channel is closed")
        if len(data) > MESSAGE_BYTES_MAX - PACKET_BYTES:
            raise MessageTooLarge(f"a message of {len(data)} bytes; the most is {MESSAGE_BYTES_MAX - PACKET_BYTES}")
        if self.backlog_bytes > BACKLOG_BYTES_MAX:
            raise ChannelClosed(f"the peer does not read: {self.backlog_bytes} bytes are waiting for it")
        for start in range(0, max(len(data), 1), PACKET_BYTES):
            last = start + PACKET_BYTES >= len(data)
            kind = (_WHOLE if start == 0 else _LAST) if last else _PART
            self._queue(bytes((kind,)) + data[start : start + PACKET_BYTES], fds if start == 0 else ())
        return self.flush()

    def _queue(self, packet: bytes, fds: tuple[int, ...]) -> None:
        if fds:
            fds = tuple(os.dup(fd) for fd in fds)
        self.backlog.append((packet, fds))
        self.backlog_bytes += len(packet)

    def flush(self) -> bool:
        """Write what waits; True when nothing waits any more."""
        backlog = self.backlog
        while backlog:
            packet, fds = backlog[0]
            try:
                if fds:
                    self.sock.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
                else:
                    self.sock.send(packet)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:  # as many descriptors are on their way as the kernel allows
                    return False
                raise ChannelClosed(str(error)) from None
            backlog.popleft()
            self.backlog_bytes -= len(packet)
            for fd in fds:
                os.close(fd)
        return True

    def receive_into(self, buffer: mmap.mmap, view: memoryview) -> memoryview | bytes | None:
        """The next message, valid until the buffer is used again; None when there is none now.

        For channels that carry no descriptors. The buffer must hold `PACKET_BYTES` + 1.

        Raises:
            ChannelClosed: end of file, or a peer that breaks the rules.
        """
        while True:
            try:
                size = self.sock.recv_into(buffer)
            except BlockingIOError:
                return None
            except ConnectionResetError:  # the peer died without reading all: what it had sent before is still there
                continue
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            if size == 0:
                raise ChannelClosed("end of file")
            if buffer[0] == _WHOLE:
                return view[1:size]
            whole = self._assemble(buffer[0], bytes(view[1:size]))
            if whole is not None:
                return whole

    def receive(self) -> tuple[bytes, list[int]] | None:
        """The next message with its descriptors; None when there is none now. Errors as `receive_into`."""
        while True:
            try:
                packet, ancillary, flags, _ = self.sock.recvmsg(
                    PACKET_BYTES + 1, socket.CMSG_SPACE(FDS_MAX * 4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return None
            except ConnectionResetError:  # as in `receive_into`
                continue
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    self._fds.extend(array.array("i", payload[: len(payload) - len(payload) % 4]))
            if not packet:
                raise ChannelClosed("end of file")
            if flags & socket.MSG_TRUNC:
                raise ChannelClosed("oversized packet")
            if flags & socket.MSG_CTRUNC:
                raise ChannelClosed("this process has no room for another descriptor: raise its limit of open files")
            whole = packet[1:] if packet[0] == _WHOLE else self._assemble(packet[0], packet[1:])
            if whole is not None:
                fds, self._fds = self._fds, []  # they came with the first fragment
                return whole, fds

    def _assemble(self, kind: int, part: bytes) -> bytes | None:
        self._parts.append(part)
        self._parts_bytes += len(part)
        if kind not in (_PART, _LAST) or self._parts_bytes > MESSAGE_BYTES_MAX:
            raise ChannelClosed("malformed or oversized message")
        if kind == _PART:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        self._parts_bytes = 0
        return whole

    def close(self) -> None:
        """Close this end; what waits in the backlog is dropped."""
        if not self.closed:
            self.closed = True
            for _, fds in self.backlog:
                for fd in fds:
                    os.close(fd)
            self.backlog.clear()
            for fd in self._fds:
                os.close(fd)
            self._fds.clear()
            self.sock.close()


def packet_buffer() -> tuple[mmap.mmap, memoryview]:
    """Room for one packet, for `receive_into`; only what is written to it costs memory."""
    buffer = mmap.mmap(-1, PACKET_BYTES + 64)
    return buffer, memoryview(buffer)


def wait_writable(fd: int) -> None:
    """Sleep until a descriptor takes more, a second at most."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll(1000)


def wait_readable(fd: int, timeout_s: float = 1.0) -> bool:
    """Sleep until a descriptor has something to read; False when the time is over first."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
