"""What a node gives of its objects to other nodes: it answers their wishes, and runs the lanes that send.

Whoever asks for a large object without having been sent here is told who gives it (`seeds.py`), perhaps this node; the
connection stays, and its end tells how that went. A lane needs the bytes in memory, or on their way here; until then the other
end hears WAIT. An object is held while it is sent.

INV-1: a connection is in exactly one of: `_waiting`, `_controls`, `lanes`.
"""

from __future__ import annotations

import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..wire import messages as m, transfer as t
from ..wire.cluster import DEAD
from .directory import SENDER
from .lanes import AT_ONCE_BYTES, TELL_S, Copy, Lane
from .seeds import Seeds

if TYPE_CHECKING:
    from .service import Node
    from .transfer import Transfers

LANES_MAX = 16
"""Lanes that send at a time; the next ones wait. For small objects there is room for as many again."""
WAITING_MAX = 4096
"""Connections that wait at a time; more are refused."""


class Asking:
    """A connection on which somebody waits for an answer."""

    def __init__(self, sock: socket.socket, want: t.Want) -> None:
        self.sock = sock
        self.want = want


class Serving:
    """What one node sends."""

    def __init__(self, node: Node, transfers: Transfers) -> None:
        self.node = node
        self.transfers = transfers
        self.seeds = Seeds(node.node_no)
        self.lanes: set[Lane] = set()
        self.parked: list[Asking] = []
        """They wait for the end of the round: their object's registration is perhaps still in a client's channel."""
        self._queue: deque[Asking] = deque()
        """They wait for others to end."""
        self._waiting: dict[Asking, None] = {}
        self._controls: dict[int, tuple[socket.socket, t.Want]] = {}
        """Connections of those that were told whom to ask."""
        self._tell_at = 0.0
        self.counts = {"sent_bytes": 0, "lanes": 0, "sent_elsewhere": 0}
        node.parts.append(self)

    # ------------------------------------------------------------ wishes

    def on_request(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """Another node wants an object."""
        try:
            want = t.decode(payload)
        except msgspec.MsgspecError:
            sock.close()
            return
        asking = Asking(sock, want)
        if len(self._waiting) >= WAITING_MAX:
            self._refuse(asking)
            return
        self._waiting[asking] = None
        if not self._start(asking):
            self.parked.append(asking)

    def _start(self, asking: Asking) -> bool:
        """Answer a wish, or see to it that it is answered; False if the object is not known here."""
        if asking not in self._waiting:
            return True  # it has gone meanwhile
        want = asking.want
        copy = None if want.whole or want.is_small else self.transfers.coming(want.id)
        entry = self.node.directory.entries.get(want.id)
        value = entry.value if entry is not None else None
        if value is None or value.kind != m.SHARED or value.id != want.id:
            value = None
        if value is None and copy is None:
            return False
        dropped = copy is None and self.node.spills.logic.is_dropped(want.id)
        if value is not None and not want.direct and not dropped and value.size >= t.SHARE_BYTES:
            self._send_to(asking)
        elif dropped and want.direct:
            self._refuse(asking)
        elif copy is None and value is not None and not value.offset:
            self.node.spills.need(want.id, partial(self._restored, asking))
        elif len(self.lanes) >= (LANES_MAX if want.size >= t.SHARE_BYTES else 2 * LANES_MAX):
            self._queue.append(asking)
        elif copy is not None:
            self._serve(asking, copy, held=False)
        elif value is not None:
            self._serve(asking, Copy(value.offset, value.size), held=True)
        return True

    def _restored(self, asking: Asking, error: m.Value | None) -> None:
        """An object that is to be sent was not in memory, and is now, if there is no error."""
        if error is not None or not self._start(asking):
            self._refuse(asking)

    def _refuse(self, asking: Asking) -> None:
        self._waiting.pop(asking, None)
        _tell(asking.sock, t.GONE)
        asking.sock.close()

    def _send_to(self, asking: Asking) -> None:
        """Say who gives the object."""
        want, sock = asking.want, asking.sock
        self._waiting.pop(asking, None)
        alive = {no for no, info in self.node.view.items() if info.state != DEAD}
        giver = self.seeds.assign(want.id, want.puller, want.avoid, alive)
        self.counts["sent_elsewhere"] += giver != self.node.node_no
        fd = sock.fileno()
        self._controls[fd] = sock, want
        self.node.watch(fd, lambda mask: self._on_control(fd))
        if not _tell(sock, t.GO, giver):
            self._end_control(fd, whole=False)

    def _on_control(self, fd: int) -> bool:
        """Somebody has all of an object now, or does not get it any more."""
        sock, _ = self._controls[fd]
        try:
            said = sock.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            said = b""  # it is gone
        self._end_control(fd, said == t.WHOLE)
        return True

    def _end_control(self, fd: int, whole: bool) -> None:
        sock, want = self._controls.pop(fd)
        self.node.unwatch(fd)
        sock.close()
        if any(other.id == want.id and other.puller == want.puller for _, other in self._controls.values()):
            return  # it has asked anew
        if whole:
            self.seeds.whole(want.id, want.puller)
        else:
            self.seeds.failed(want.id, want.puller)

    # ------------------------------------------------------------ what is not known yet

    def take_parked(self) -> list[Asking]:
        """Wishes that wait until every channel was read empty."""
        parked, self.parked = self.parked, []
        return parked

    def park(self, parked: list[Asking]) -> None:
        """Not everything was read: they go on waiting."""
        self.parked[:0] = parked

    def after_drain(self, parked: list[Asking]) -> None:
        """Everything that was sent before these has been read: what is not known now is not here."""
        for asking in parked:
            if self._start(asking):
                continue
            want = asking.want
            if want.relay and not self.transfers.comes_from(want.id, want.puller):
                self._fetch(asking)
            else:
                self._refuse(asking)

    def _fetch(self, asking: Asking) -> None:
        """Get an object for a node that has no way to its source."""

        def done(value: m.Value) -> None:
            here = value.kind == m.SHARED
            self._restored(asking, None if here else value)
            if here:
                self.node.directory.hold(SENDER, value.id, -1, b"")

        want = asking.want
        self.transfers.pull(SENDER, want.id, want.source, want.size, done, relay=True)

    # ------------------------------------------------------------ lanes

    def _serve(self, asking: Asking, copy: Copy, held: bool) -> None:
        want, sock = asking.want, asking.sock
        self._waiting.pop(asking, None)
        if not _tell(sock, t.TAKE, copy.size):
            sock.close()
            return
        lane = Lane(sock, copy, want.puller, want.id, unasked=want.is_small)
        if want.is_small and copy.whole and copy.size <= AT_ONCE_BYTES and lane.send_at_once(self.transfers.arena):
            self.counts["sent_bytes"] += copy.size
            sock.close()
            return
        self.lanes.add(lane)
        self.counts["lanes"] += 1
        if held:
            self._hold(lane)
        self.transfers.movers.start(lane, partial(lane.send, self.transfers.arena), self._ended)

    def _hold(self, lane: Lane) -> None:
        lane.held = True
        self.node.directory.hold(SENDER, lane.ident, 1, b"")

    def _ended(self, lane: Lane) -> None:
        self.lanes.discard(lane)
        self.counts["sent_bytes"] += lane.moved_bytes
        if lane.held:
            self.node.directory.hold(SENDER, lane.ident, -1, b"")
        self.transfers.release(lane.copy)
        while self._queue and len(self.lanes) < LANES_MAX:
            asking = self._queue.popleft()
            if not self._start(asking):
                self._refuse(asking)

    def arrived(self, copy: Copy) -> None:
        """An object is here, and in the directory, that was being passed on meanwhile: it is held for those who still get it."""
        for lane in self.lanes:
            if lane.copy is copy:
                self._hold(lane)

    def node_died(self, number: int) -> None:
        """A node is gone: nothing goes there."""
        self.seeds.node_died(number)
        for lane in self.lanes:
            if lane.node == number:
                lane.cut()

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Tell those who wait that this node lives."""
        if not self._waiting or now < self._tell_at:
            return
        self._tell_at = now + TELL_S
        for asking in list(self._waiting):
            if not _tell(asking.sock, t.WAIT):
                self._forget(asking)

    def _forget(self, asking: Asking) -> None:
        """It has gone. What brings the object here meanwhile may still answer it, in vain."""
        self._waiting.pop(asking, None)
        asking.sock.close()
        if asking in self._queue:
            self._queue.remove(asking)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, self._tell_at - now) if self._waiting else None


def _tell(sock: socket.socket, kind: int, number: int = 0) -> bool:
    """Send a frame; False when the other end is gone, or does not read."""
    try:
        return sock.send(t.FRAME.pack(kind, number)) == t.FRAME.size
    except OSError:
        return False
