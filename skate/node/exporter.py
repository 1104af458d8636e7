"""Metrics by HTTP, on the node's one port, or on a port of their own.

A connection that begins with a request of HTTP instead of skate's handshake is for this (`gate.py`). Nothing is served but the
metrics of this node, and where the nodes of the cluster are, both to read. From this machine everybody may; from elsewhere only
who has the reading token, which is derived from the cluster's, and with which nothing else can be done.

A browser on this machine is made to ask by any page that it shows. So a request from loopback without the token must name
this machine by an address, or as localhost: a page of a name that was made to lead here (DNS rebinding) is refused.

Nothing here holds up the node: a request is small and has a deadline, so has its answer, there are only so many at a time, and
an answer is made and sent in pieces, as the other end reads.

INV-1: a descriptor in `_open` is watched here, and closed here.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import select
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..wire.metrics import reading_token
from .discovery import targets
from .exposition import CONTENT_TYPE
from .faults import Minor
from .listening import Listening

if TYPE_CHECKING:
    from .service import Node

REQUEST_S = 5.0
ANSWER_S = 10.0
OPEN_MAX = 32
"""Connections at a time; the oldest that has not asked yet is dropped for a new one."""
REQUEST_BYTES_MAX = 8192
READING = ("GET", "HEAD")
METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"PATCH ", b"OPTIONS ")
"""How a request of HTTP may begin; all but the first two are refused in its words."""
METRICS, TARGETS = "/metrics", "/api/prometheus/sd"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def begins(data: bytes) -> bool:
    """Whether this is the beginning of a request."""
    return data.startswith(METHODS)


class Request:
    """One connection: a request that is being read, or an answer that is being sent."""

    def __init__(self, sock: socket.socket, address: str, until: float) -> None:
        self.sock = sock
        self.address = address
        self.until = until
        self.have = b""
        self.answer: Iterator[bytes] | None = None
        self.out = b""


class Refusal(Exception):
    """The answer is not what was asked for."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Exporter(Minor):
    """The answers of one node."""

    def __init__(self, node: Node, token: str = "") -> None:
        """`token`: the cluster's; without one, only this machine may ask."""
        self.node = node
        self._token = reading_token(token) if token else ""
        self._open: dict[int, Request] = {}
        self._listening: Listening | None = None
        node.parts.append(self)

    def listen(self, host: str, port: int) -> int:
        """Listen on a port that is for this alone; the port.

        Raises:
            ConnectionError: the address cannot be had.
        """
        self._listening = Listening(self.node)
        try:
            return self._listening.tcp(host, port, self.accept)
        except OSError as error:
            raise ConnectionError(f"the metrics port {port} of {host} cannot be had: {error.strerror}") from None

    def accept(self, sock: socket.socket, address: str, data: bytes = b"") -> None:
        """Somebody asks; `data` was read already."""
        sock.setblocking(False)
        if len(self._open) >= OPEN_MAX:
            asking = [request for request in self._open.values() if request.answer is None]
            if not asking:
                sock.close()
                return
            self._close(min(asking, key=lambda request: request.until))
        request = Request(sock, address, time.monotonic() + REQUEST_S)
        self._open[sock.fileno()] = request
        self.node.watch(sock.fileno(), lambda mask: self._on_event(request))
        self._take(request, data)

    # ------------------------------------------------------------ one connection

    def _on_event(self, request: Request) -> bool:
        try:
            if request.answer is not None:
                self._write(request)
                return True
            data = request.sock.recv(REQUEST_BYTES_MAX)
            if data:
                self._take(request, data)
            else:
                self._close(request)
        except BlockingIOError:
            return True
        except OSError:
            self._close(request)  # it is gone
        except Exception as error:  # one answer that cannot be made must not end the node
            self.node.faults.note("Exporter", error)
            self._close(request)
        return True

    def _take(self, request: Request, data: bytes) -> None:
        request.have += data
        end = request.have.find(b"\r\n\r\n")
        if end < 0 and len(request.have) < REQUEST_BYTES_MAX:
            return
        try:
            request.answer = self._answer(request, end)
        except Refusal as refusal:
            request.answer = _whole(refusal.status, "text/plain; charset=utf-8", refusal.text + "\n")
        request.until = time.monotonic() + ANSWER_S
        self.node.watch(request.sock.fileno(), lambda mask: self._on_event(request), select.EPOLLOUT)

    def _write(self, request: Request) -> None:
        """Send a piece, or what is left of one: the next when there is room for it."""
        assert request.answer is not None
        if not request.out:
            request.out = next(request.answer, b"")
            if not request.out:
                self._close(request)
                return
        sent = request.sock.send(request.out)
        request.out = request.out[sent:]

    def _close(self, request: Request) -> None:
        fd = request.sock.fileno()
        if self._open.pop(fd, None) is not None:
            self.node.unwatch(fd)
            request.sock.close()

    # ------------------------------------------------------------ answers

    def _answer(self, request: Request, end: int) -> Iterator[bytes]:
        if end < 0:
            raise Refusal(431, "the request is too long")
        method, path, headers = _parse(request.have[:end])
        if method not in READING:
            raise Refusal(405, "here is only something to read")
        path = path.partition("?")[0]
        if path not in (METRICS, TARGETS):  # to whoever asks: it is the same of all nodes
            raise Refusal(
                404, f"this is a node, and no dashboard: it has {METRICS} and {TARGETS}; say HOST:PORT without http://"
            )
        self._check(request.address, headers)
        if path == TARGETS:
            return _whole(200, "application/json", json.dumps(targets(self.node.view.values())), method == "HEAD")
        return _head(200, CONTENT_TYPE) if method == "HEAD" else _chunked(self.node.metrics.text())

    def _check(self, address: str, headers: dict[str, str]) -> None:
        """Whether it may read.

        Raises:
            Refusal: it may not.
        """
        scheme, _, word = headers.get("authorization", "").partition(" ")
        if self._token and scheme.lower() == "bearer":
            if hmac.compare_digest(word.strip().encode(), self._token.encode()):
                return
            raise Refusal(401, "this is not the reading token of this cluster: `skate metrics token` prints it")
        if not _is_loopback(address):
            raise Refusal(
                401, "from other machines, send `Authorization: Bearer` with what `skate metrics token` prints"
            )
        if not _is_plain_host(headers.get("host", "")):
            raise Refusal(403, "without a token, name this machine by an address, or as localhost")

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Drop what takes too long."""
        for request in [request for request in self._open.values() if now >= request.until]:
            self._close(request)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, min(request.until for request in self._open.values()) - now) if self._open else None


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, path, and headers, whose names are in lower case."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refusal(400, "this is no request of HTTP/1")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise Refusal(400, "a header has no colon")
        headers[name.strip().lower()] = value.strip()
    return words[0], words[1], headers


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _is_plain_host(host: str) -> bool:
    """No name that somebody else's DNS answers for."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name in ("localhost", ""):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _head(status: int, kind: str, *more: str) -> Iterator[bytes]:
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Type: {kind}", "Connection: close", *more]
    if status == 401:
        lines.append('WWW-Authenticate: Bearer realm="skate"')
    if status == 405:
        lines.append(f"Allow: {', '.join(READING)}")
    lines += ["Cache-Control: no-store", "X-Content-Type-Options: nosniff", "", ""]
    yield "\r\n".join(lines).encode()


def _whole(status: int, kind: str, text: str, only_head: bool = False) -> Iterator[bytes]:
    data = text.encode()
    yield from _head(status, kind, f"Content-Length: {len(data)}")
    if not only_head:
        yield data


def _chunked(pieces: Iterator[str]) -> Iterator[bytes]:
    """An answer whose length is not known before; one that is cut off can be told from one that is whole."""
    yield from _head(200, CONTENT_TYPE, "Transfer-Encoding: chunked")
    for piece in pieces:
        data = piece.encode("utf-8", "replace")
        yield b"%x\r\n%b\r\n" % (len(data), data)
    yield b"0\r\n\r\n"
