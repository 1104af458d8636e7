"""A TCP connection with TLS, which is used as any other non-blocking socket.

It has the manners of a `socket.socket`: what cannot be done now is a `BlockingIOError`, or waited for as long as `settimeout`
says, and `send` says how much was taken. So `StreamChannel` and the transfers of objects need not know which they have. TLS 1.3
only: both ends are skate.

OpenSSL works in memory (`ssl.SSLObject`), and this reads and writes the socket in large pieces. An `ssl.SSLSocket` costs the same
(measured: 4 µs of CPU for a message, 0.8 s for a gigabyte, both ends together), but it sends and reads in the clear once it is
shut down, and wants a write that did not fit again in the same length.

A handshake ends with a byte from the server. In TLS 1.3 a client has done its part before the server has looked at its
certificate; without that byte it would send, and perhaps lose the reason why it was refused.

A connection that ends without a farewell is as good as one that ends with it: messages are framed, transfers have sizes, and any
end is taken for a loss.

INV-1: nothing is read or sent in the clear after `wrap`.
INV-2: what `send` did not take is given to it again, in whatever pieces: some of it is encrypted already.
INV-3: `recv` of `READ_BYTES` leaves nothing behind that the kernel knows nothing of, but parts of records.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import ssl
import threading
from typing import Any, NoReturn

from .stream import READ_BYTES
from .tls import CLOSED, SAID, Tls

WRITE_BYTES = 1 << 18
"""How much is encrypted at a time, and waits in memory while the kernel has no room."""
_FILL_BYTES = READ_BYTES - (17 << 10)
"""What is read from the kernel at a time: with the part of a record that waits already, it is `READ_BYTES` at most."""
_RECORD_BYTES = 1 << 14
"""The most that one record holds: none is left in OpenSSL in part."""
_READY = b"\x01"
_INTERNAL_ERROR = b"\x15\x03\x03\x00\x02\x02\x50"
"""An alert, for a client of an end that cannot even begin."""
_REMEDY = "each end needs one that the cluster's CA has signed, that has begun and not expired"


class TlsError(ConnectionError):
    """The handshake has failed; the message, one line, says why and what to do."""


class TlsSocket(socket.socket):
    """One end. Made by `wrap`; of use after `step` has returned 0. Threads may send and receive at the same time."""

    def __init__(self, fd: int, context: ssl.SSLContext, server_side: bool, rest: bytes) -> None:
        super().__init__(fileno=fd)
        self.setblocking(False)
        self.server_side = server_side
        self._in = ssl.MemoryBIO()
        self._in.write(rest)
        self._out = ssl.MemoryBIO()
        self._tls: Any = context.wrap_bio(self._in, self._out, server_side)
        self._guard = threading.RLock()
        """Of OpenSSL's state. A handler of signals may come in between, never into the middle of a call."""
        self._left: bytes | memoryview = b""
        """What is encrypted, and the kernel had no room for."""
        self._again = 0
        """How many bytes are encrypted of which `send` has not said that they are taken."""
        self._shaken = self._ready = False

    # ------------------------------------------------------------ handshake

    def step(self) -> int:
        """Go on with the handshake; returns what to wait for, as `select.POLLIN` or `POLLOUT`; 0: it is done.

        Raises:
            TlsError: it has failed.
        """
        try:
            while not self._ready:
                try:
                    self._shake()
                except ssl.SSLWantReadError:
                    if not self._flush():
                        return select.POLLOUT
                    self._fill()
            return 0 if self._flush() else select.POLLOUT
        except BlockingIOError:
            return select.POLLIN
        except OSError as error:
            self._say_why()
            raise TlsError(explain(error)) from None

    def _shake(self) -> None:
        if not self._shaken:
            self._tls.do_handshake()
            self._shaken = True
        if self.server_side:
            self._tls.write(_READY)
        elif self._tls.read(1) != _READY:
            raise ConnectionResetError
        self._ready = True

    def _say_why(self) -> None:
        """The alert is in `_out`, if there is one."""
        try:
            self._flush()
        except OSError:
            return  # who would hear it is gone

    def rest(self) -> bytes:
        """What has come with the end of the handshake."""
        try:
            return self._take()
        except ssl.SSLError as error:
            raise TlsError(explain(error)) from None

    # ------------------------------------------------------------ sending

    def send(self, data: Any, flags: int = 0) -> int:
        """As of a non-blocking socket."""
        size = len(data)
        with self._guard:
            if size <= WRITE_BYTES and not self._again:
                self._encrypt(data)
                if self._flush():
                    return size
                self._again = size
                raise self._late()
            view = memoryview(data)
            taken = 0
            if self._again and self._flush():
                taken = min(size, self._again)
                self._again -= taken
            while taken < size and not self._again:
                part = view[taken : taken + WRITE_BYTES]
                self._encrypt(part)
                if self._flush():
                    taken += len(part)
                else:
                    self._again = len(part)
        if not taken:
            raise self._late()
        return taken

    def _late(self) -> OSError:
        """Nothing was taken now, or for as long as this socket waits."""
        return TimeoutError("timed out") if self.gettimeout() else BlockingIOError()

    def sendmsg(self, buffers: Any, *_: Any) -> int:
        """As of a non-blocking socket, without descriptors."""
        return self.send(b"".join(buffers))

    def _encrypt(self, part: bytes | memoryview) -> None:
        try:
            self._tls.write(part)
        except ssl.SSLError as error:
            raise ConnectionAbortedError(explain(error)) from None

    def _flush(self) -> bool:
        """Hand what is encrypted to the kernel; False when there is no room for all of it."""
        while self._left or self._out.pending:
            left = self._left or self._out.read()
            try:
                sent = super().send(left)
            except (BlockingIOError, TimeoutError):
                sent = 0
            self._left = b"" if sent == len(left) else memoryview(left)[sent:]
            if not sent:
                return False
        return True

    # ------------------------------------------------------------ receiving

    def recv(self, bufsize: int = READ_BYTES, flags: int = 0) -> bytes:
        """As of a non-blocking socket."""
        if bufsize < READ_BYTES:
            buffer = bytearray(bufsize)
            return bytes(buffer[: self.recv_into(buffer)])
        with self._guard:
            while True:
                if not self._fill_or_end():
                    return b""
                try:
                    data = self._take()
                except ssl.SSLZeroReturnError:  # a farewell
                    return b""
                except ssl.SSLError as error:
                    raise ConnectionAbortedError(explain(error)) from None
                if data:
                    return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As of a non-blocking socket. With room for less than `READ_BYTES` it may leave some behind of what it has read: then
        something is `hidden`."""
        view = memoryview(buffer)[: nbytes or None]
        with self._guard:
            while self.hidden or self._fill_or_end():
                try:
                    count = self._take_into(view)
                except ssl.SSLZeroReturnError:
                    break
                except ssl.SSLError as error:
                    raise ConnectionAbortedError(explain(error)) from None
                if count:
                    return count
                if not self._fill_or_end():  # it was a part of a record
                    break
            return 0

    @property
    def hidden(self) -> bool:
        """See `tls.hidden`."""
        return bool(self._in.pending or self._tls.pending())

    def _take(self) -> bytes:
        parts: list[bytes] = []
        try:
            while self._in.pending:
                parts.append(self._tls.read(_RECORD_BYTES))
        except ssl.SSLWantReadError:
            pass  # the rest is a part of a record
        except ssl.SSLZeroReturnError:
            if not parts:
                raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_into(self, view: memoryview) -> int:
        count = 0
        try:
            while count < len(view):
                count += self._tls.read(len(view) - count, view[count:])
        except ssl.SSLWantReadError:
            pass  # the rest is a part of a record
        except ssl.SSLZeroReturnError:
            if not count:
                raise
        return count

    def _fill(self) -> None:
        data = super().recv(_FILL_BYTES)
        if not data:
            raise ConnectionResetError
        self._in.write(data)

    def _fill_or_end(self) -> bool:
        data = super().recv(_FILL_BYTES)
        self._in.write(data)
        return bool(data)

    # ------------------------------------------------------------ what would go past TLS

    def _never(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a connection with TLS is used with send, sendmsg, recv and recv_into")

    sendall = sendto = sendfile = recvmsg = recvfrom = makefile = _never


def wrap(sock: socket.socket, tls: Tls, rest: bytes, server_side: bool) -> TlsSocket:
    """Begin TLS. The descriptor stays, and belongs to what is returned; on an error it is closed.

    Args:
        rest: what was read of the connection already: of TLS, as whatever comes from here on.

    Raises:
        TlsError: it cannot begin.
    """
    try:
        context = _context(tls, server_side, *_changed(tls))
    except OSError as error:
        if server_side:
            _refuse(sock)
        sock.close()
        raise TlsError(str(error) if isinstance(error, TlsError) else explain(error)) from None
    return TlsSocket(sock.detach(), context, server_side, rest)


def _refuse(sock: socket.socket) -> None:
    try:
        sock.send(_INTERNAL_ERROR)
    except OSError:
        return  # it is gone


def wrap_now(sock: socket.socket, tls: Tls, rest: bytes, timeout_s: float) -> TlsSocket:
    """Begin TLS as a client, and wait until it is there. The server is one that does not speak first.

    Raises:
        TlsError: it has failed.
    """
    secure = wrap(sock, tls, rest, server_side=False)
    poll = select.poll()
    try:
        while events := secure.step():
            poll.register(secure.fileno(), events)
            if not poll.poll(timeout_s * 1000):
                raise TlsError(f"{SAID}no answer in {timeout_s:g} s")
    except TlsError:
        secure.close()
        raise
    return secure


def check(tls: Tls) -> None:
    """Shake hands with oneself: files that are missing, do not belong together, or are of no use to the other machines.

    Raises:
        TlsError: what is wrong.
    """
    mine, theirs = socket.socketpair()
    with mine, theirs:
        server, client = wrap(mine, tls, b"", server_side=True), wrap(theirs, tls, b"", server_side=False)
        with server, client:
            try:
                while client.step():
                    server.step()
            except TlsError as error:
                raise TlsError(f"{error} (this is said of {tls.cert} and {tls.ca}, here)") from None


def _changed(tls: Tls) -> tuple[int, ...]:
    return tuple(os.stat(path).st_mtime_ns for path in (tls.cert, tls.key, tls.ca))


@functools.lru_cache(maxsize=4)
def _context(tls: Tls, server_side: bool, *_: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the CA is the cluster's own
    context.verify_mode = ssl.CERT_REQUIRED
    if server_side:
        context.num_tickets = 0  # sessions are not resumed
    try:
        context.load_verify_locations(tls.ca)
    except (OSError, ValueError) as error:
        raise TlsError(f"{SAID}{tls.ca} is not a file of CA certificates: {_short(error)}") from None
    try:
        context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise TlsError(
            f"{SAID}{tls.cert} and {tls.key} are not a certificate and its key, without a password: {_short(error)}"
        ) from None
    return context


def _short(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower()


def explain(error: Exception) -> str:
    """One line that says what has gone wrong, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{SAID}the other end's certificate is not accepted here ({error.verify_message}): {_REMEDY}"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return f"{SAID}{CLOSED}"
    if isinstance(error, ssl.SSLError) and "ALERT_INTERNAL_ERROR" in (error.reason or ""):
        return f"{SAID}the other end cannot begin: its log says why"
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return f"{SAID}the other end does not accept this one's certificate ({_short(error)}): {_REMEDY}"
    if isinstance(error, (BrokenPipeError, ConnectionResetError)):
        return f"{SAID}{CLOSED}"
    return f"{SAID}{_short(error)}"
