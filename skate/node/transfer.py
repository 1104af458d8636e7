"""The bytes of objects between nodes: pulled by whoever needs them, once per node.

A pull asks the node that is said to have the object, is perhaps sent to another, and opens one or two lanes (`lanes.py`), on
which the bytes come straight into this node's arena. `pulls.py` decides which objects come first, and whom to ask when somebody
fails; what has come stays. While an object arrives, it is passed on to others (`serving.py`).

A copy is an entry of the directory under the object's own id, owned by the node itself and held by the clients that read it; when
nobody does, its memory is free again.

INV-1: an id is in `_pulls` or has a copy here, never both.
INV-2: `copies` has the memory of every copy; that of every pull which has some is in its `copy`, and when the pull has failed and
lanes still run on it, in `_dying`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..client.errors import pack_error
from ..exceptions import ObjectLostError, ObjectStoreFullError
from ..store.arena import HEADER_BYTES, Arena
from ..wire import messages as m, transfer as t
from ..wire.cluster import DEAD
from ..wire.tls import hidden
from .directory import SENDER, Effects, aligned
from .filling import what_fills
from .lanes import AT_ONCE_BYTES, STALL_S, Copy, Lane, Movers
from .pulls import SEARCH_S, Chunks, Dial, Queue, Route
from .reports import Reports
from .serving import Serving

if TYPE_CHECKING:
    from .gate import Gate
    from .service import Node

PARALLEL_BYTES = 32 << 20
"""From this size on an object comes on two lanes."""
SOURCES_MIN = 1024
MEMORY_RETRY_S = 0.05

Done = Callable[[m.Value], None]


class Pulling:
    """One object on its way here, or waiting for its turn."""

    def __init__(self, ident: bytes, size: int, route: Route) -> None:
        self.ident = ident
        self.size = size
        self.route = route
        self.waiting: list[tuple[bytes, Done]] = []
        self.copy: Copy | None = None
        self.lanes: set[Lane] = set()
        self.asked: set[Asked] = set()
        self.control: socket.socket | None = None
        """The connection to the node that has said who gives the object."""
        self.gained_at = 0.0
        self.moved = 0
        """How many chunks had come when somebody last failed."""
        self.opened = False
        """Somebody has begun to give it."""
        self.over = False


class Asked:
    """A node that was asked, and has not answered yet."""

    def __init__(self, pulling: Pulling, dial: Dial, extra: bool) -> None:
        self.pulling = pulling
        route = pulling.route
        self.want = t.Want(pulling.ident, pulling.size, route.source, route.me)
        self.want.direct, self.want.whole, self.want.relay = dial.direct, dial.whole, dial.relay
        self.want.avoid = list(dial.avoid)
        self.dial = dial
        self.extra = extra
        """For another lane beside one that runs."""
        self.sock: socket.socket | None = None
        self.data = bytearray()
        self.rest = 0
        """How long `data` will be, of a small object that follows at once."""
        self.until = float("inf")
        """Until it is connected, the gate minds the time."""


class Transfers:
    """What one node pulls."""

    def __init__(self, node: Node, gate: Gate) -> None:
        self.node = node
        self.gate = gate
        self.me = node.node_no.to_bytes(4, "big") + bytes(4)
        self.arena = Arena(node.arena_fd, node.arena_bytes)
        self.copies: dict[bytes, tuple[int, int]] = {}
        self.queue = Queue(node.arena_bytes - HEADER_BYTES)
        self._pulls: dict[bytes, Pulling] = {}
        self._dying: dict[Copy, None] = {}
        self._asked: set[Asked] = set()
        self._starved = False
        self._admitting = False
        self._retry_at = 0.0
        self.sources: dict[bytes, int] = {}
        """Where a copy came from that was dropped for want of memory."""
        self.counts = {"received_bytes": 0, "pulls": 0, "failed": 0, "resumed": 0}
        node.spills.logic.copier = self.me
        reports = Reports()
        node.watch(reports.wake, reports.on_event)
        self.movers = Movers(reports)
        self.serving = Serving(node, self)
        gate.services["transfer"] = self.serving.on_request
        node.parts.append(self)

    # ------------------------------------------------------------ wishes

    def pull(
        self,
        client: bytes,
        ident: bytes,
        source: int,
        size: int,
        done: Done,
        ahead: bool = False,
        relay: bool = False,
    ) -> None:
        """Bring an object here for a client; `done` gets where it is, held for that client, or why not.

        `ahead`: it is not waited for yet. `relay`: for a node that has no way to the source, so only there.
        """
        if ident in self.copies:
            self.node.directory.hold(client, ident, 1, b"")
            done(self._place(ident))
            return
        pulling = self._pulls.get(ident)
        if pulling is None:
            hints = [int.from_bytes(ident[:4], "big")]
            route = Route(self.node.node_no, source, hints, relay)
            pulling = self._pulls[ident] = Pulling(ident, size, route)
            pulling.waiting.append((client, done))
            self.queue.add(ident, size, ahead, time.monotonic())
            self._admit()
        else:
            pulling.waiting.append((client, done))
            if not ahead:
                self.queue.hurry(ident)

    def _place(self, ident: bytes) -> m.Value:
        offset, size = self.copies[ident]
        return m.Value(m.SHARED, b"", ident, offset, size, None, self.node.node_no)

    def _admit(self) -> None:
        """Begin what may begin, as far as there is memory."""
        if self._admitting:
            return  # something has failed at once; the loop below goes on by itself
        self._admitting = True
        try:
            self._starved = self._begin_all()
        finally:
            self._admitting = False

    def _begin_all(self) -> bool:
        """See `_admit`; whether there was too little memory."""
        while candidates := self.queue.candidates():
            for ident, size in candidates:
                offset = self.node.directory.grant(self.me, size)
                if offset is not None:
                    self._begin(self._pulls[ident], offset)
                    break
            else:
                self.node.memory.ask_all()
                self.node.spills.press(candidates[0][1])
                return True
        return False

    def _begin(self, pulling: Pulling, offset: int) -> None:
        now = pulling.gained_at = time.monotonic()
        self.queue.begin(pulling.ident, now)
        pulling.copy = Copy(offset, pulling.size, Chunks(pulling.size))
        self.counts["pulls"] += 1
        self.node.abroad.when_known(pulling.route.source, partial(self._advance, pulling))

    def coming(self, ident: bytes) -> Copy | None:
        """The bytes of an object that are on their way here."""
        pulling = self._pulls.get(ident)
        return pulling.copy if pulling is not None else None

    def comes_from(self, ident: bytes, node: int) -> bool:
        """Whether an object is on its way here, from this node."""
        pulling = self._pulls.get(ident)
        return pulling is not None and any(lane.node == node for lane in pulling.lanes)

    # ------------------------------------------------------------ whom to ask

    def _advance(self, pulling: Pulling) -> None:
        """Ask the next node."""
        if pulling.over:
            return  # while the head was asked whether there is such a node
        alive = [no for no, info in self.node.view.items() if info.state != DEAD]
        dial = pulling.route.next(alive)
        late = time.monotonic() - pulling.gained_at > SEARCH_S
        if dial is None or late:
            self._lost(pulling, pulling.route.reason)
        else:
            self._dial(pulling, dial, extra=False)

    def _dial(self, pulling: Pulling, dial: Dial, extra: bool) -> None:
        asked = Asked(pulling, dial, extra)
        pulling.asked.add(asked)
        self._asked.add(asked)
        info = self.node.view.get(dial.node)
        if info is None or info.state == DEAD:
            self._refused(asked, "is gone")
            return
        payload = t.encode(asked.want)
        self.gate.dial(info.host, info.port, "transfer", payload, partial(self._connected, asked))

    def _connected(self, asked: Asked, sock: socket.socket | None, rest: bytes, error: str) -> None:
        if asked not in self._asked:
            if sock is not None:
                sock.close()
        elif sock is None:
            self._refused(asked, f"cannot be reached: {error}")
        else:
            asked.sock, asked.data = sock, bytearray(rest)
            asked.until = time.monotonic() + STALL_S
            self.node.watch(sock.fileno(), lambda mask: self._on_answer(asked))
            self._look(asked)

    def _on_answer(self, asked: Asked) -> bool:
        while self._read_answer(asked) and asked.sock is not None and hidden(asked.sock):
            continue
        return True

    def _read_answer(self, asked: Asked) -> bool:
        """Read once; False when there is nothing to read now."""
        assert asked.sock is not None
        try:
            data = asked.sock.recv((asked.rest or t.FRAME.size) - len(asked.data))
        except BlockingIOError:
            return False
        except OSError as error:
            self._refused(asked, f"has ended the connection: {error}")
            return True
        if not data:
            self._refused(asked, "has closed the connection")
            return True
        asked.data += data
        if not asked.rest:
            self._look(asked)
        elif len(asked.data) >= asked.rest:
            self._take_at_once(asked)
        else:
            asked.until = time.monotonic() + STALL_S
        return True

    def _look(self, asked: Asked) -> None:
        """See what a node has answered."""
        while len(asked.data) >= t.FRAME.size:
            kind, number = t.FRAME.unpack_from(asked.data)
            del asked.data[: t.FRAME.size]
            if kind == t.WAIT:
                asked.until = time.monotonic() + STALL_S
                continue
            if kind == t.TAKE and number == asked.pulling.size:
                if asked.want.is_small and number <= AT_ONCE_BYTES:
                    self._await_all(asked, t.FRAME.size + number)
                else:
                    self._open_lane(asked)
            elif kind == t.GO and not asked.dial.direct:
                self._sent_on(asked, number)
            else:
                self._refused(asked, "does not have it any more", denied=True)
            return

    def _await_all(self, asked: Asked, size: int) -> None:
        """A small object follows at once."""
        asked.rest = size
        if len(asked.data) >= size:
            self._take_at_once(asked)

    def _take_at_once(self, asked: Asked) -> None:
        pulling = asked.pulling
        sock = self._answered(asked)
        assert sock is not None and pulling.copy is not None
        lane = Lane(sock, pulling.copy, asked.dial.node, pulling.ident, bytes(asked.data), unasked=True)
        lane.receive_at_once(self.node.arena_fd)
        self._lane_ended(pulling, lane)

    def _answered(self, asked: Asked) -> socket.socket | None:
        """A node has answered, or does not; its connection is nobody's now."""
        self._asked.discard(asked)
        asked.pulling.asked.discard(asked)
        sock, asked.sock = asked.sock, None
        if sock is not None:
            self.node.unwatch(sock.fileno())
        return sock

    def _sent_on(self, asked: Asked, node: int) -> None:
        pulling = asked.pulling
        sock = pulling.control = self._answered(asked)
        assert sock is not None
        self.node.watch(sock.fileno(), lambda mask: self._on_control(pulling))
        pulling.route.sent_to(node)
        self._advance(pulling)

    def _on_control(self, pulling: Pulling) -> bool:
        """The node that has named another is gone, or talks nonsense: if that matters, the lanes will show it."""
        self._close_control(pulling, b"")
        return True

    def _close_control(self, pulling: Pulling, last: bytes) -> None:
        sock, pulling.control = pulling.control, None
        if sock is None:
            return
        self.node.unwatch(sock.fileno())
        try:
            sock.send(last)
        except OSError:
            pass  # who would have liked to know is gone
        sock.close()

    def _open_lane(self, asked: Asked) -> None:
        pulling, node = asked.pulling, asked.dial.node
        sock = self._answered(asked)
        assert sock is not None and pulling.copy is not None
        lane = Lane(sock, pulling.copy, node, pulling.ident, bytes(asked.data), asked.want.is_small)
        pulling.lanes.add(lane)
        pulling.gained_at = time.monotonic()
        self.counts["resumed"] += pulling.opened and not asked.extra
        pulling.opened = True
        self.movers.start(lane, partial(lane.receive, self.node.arena_fd), partial(self._lane_ended, pulling))
        if not asked.extra and pulling.size >= PARALLEL_BYTES:
            self._dial(pulling, Dial(node, direct=True), extra=True)

    def _refused(self, asked: Asked, reason: str, denied: bool = False) -> None:
        sock = self._answered(asked)
        if sock is not None:
            sock.close()
        self._failed(asked.pulling, asked.dial.node, reason, denied)

    def _lane_ended(self, pulling: Pulling, lane: Lane) -> None:
        pulling.lanes.discard(lane)
        self.counts["received_bytes"] += lane.moved_bytes
        self.release(lane.copy)
        if pulling.over:
            return
        if lane.moved_bytes:
            pulling.gained_at = time.monotonic()
        if lane.broken:
            self._fail(pulling, ObjectStoreFullError(lane.reason))
        elif lane.copy.whole:
            self._finish(pulling)
        else:
            self._failed(pulling, lane.node, lane.reason, lane.denied)

    def _failed(self, pulling: Pulling, node: int, reason: str, denied: bool) -> None:
        """A node does not give the object, or not all of it: unless another lane goes on, the next is asked."""
        if pulling.over or pulling.lanes or pulling.asked:
            return
        self._close_control(pulling, b"")
        moved = pulling.copy.moved if pulling.copy is not None else 0
        gained, pulling.moved = moved > pulling.moved, moved
        pulling.route.failed(node, f"node {node}, which had it, {reason}", denied, gained)
        self._advance(pulling)

    # ------------------------------------------------------------ ends of pulls

    def _drop(self, pulling: Pulling, whole: bool) -> None:
        pulling.over = True
        self._pulls.pop(pulling.ident, None)
        self.queue.end(pulling.ident, time.monotonic())
        self._close_control(pulling, t.WHOLE if whole else b"")
        for asked in list(pulling.asked):
            sock = self._answered(asked)
            if sock is not None:
                sock.close()

    def _finish(self, pulling: Pulling) -> None:
        self._drop(pulling, whole=True)
        copy = pulling.copy
        assert copy is not None
        ident = pulling.ident
        self.copies[ident] = (copy.offset, copy.size)
        directory = self.node.directory
        self.node.spills.logic.arrived(ident, copy.offset)
        self.sources[ident] = pulling.route.source
        effects = Effects()
        directory.register(self.me, ident, self._place(ident), SENDER, self.me, effects)
        for client, _ in pulling.waiting:
            directory.hold(client, ident, 1, b"")
        self.serving.arrived(copy)
        directory.hold(SENDER, ident, -1, b"")
        self.node.objects.carry_out(effects)
        place = self._place(ident)
        for _, done in pulling.waiting:
            done(place)  # one of them may make it this node's own, and no copy any more
        self._admit()

    def _lost(self, pulling: Pulling, reason: str) -> None:
        self._fail(pulling, ObjectLostError(pulling.ident.hex(), reason), m.LOST)

    def _fail(self, pulling: Pulling, error: Exception, kind: int = m.ERROR) -> None:
        self._drop(pulling, whole=False)
        self.counts["failed"] += 1
        copy = pulling.copy
        if copy is not None:
            copy.cancel()
            for lane in pulling.lanes:
                lane.cut()
            self._dying[copy] = None
            self.release(copy)
        value = m.Value(kind, pack_error(error, function_name="", pid=0, task_id=""))
        for _, done in pulling.waiting:
            done(value)
        self._admit()

    def release(self, copy: Copy) -> None:
        """Give back the memory of an object that did not come, if no lane runs on it any more."""
        if copy in self._dying and not copy.lanes:
            del self._dying[copy]
            self.node.directory.returned(self.me, [(copy.offset, aligned(copy.size))])

    # ------------------------------------------------------------ ends of copies

    def freed(self, idents: list[bytes]) -> None:
        """Nobody reads these copies any more."""
        for ident in idents:
            at = self.copies.pop(ident, None)
            self.sources.pop(ident, None)
            if at is not None:
                self.node.directory.returned(self.me, [(at[0], aligned(at[1]))])
        if self.queue.waiting:
            self._admit()

    def dropped(self, ident: bytes) -> None:
        """A copy has left memory; who needs it pulls it anew."""
        self.copies.pop(ident, None)
        if len(self.sources) > 2 * len(self.copies) + SOURCES_MIN:
            entries = self.node.directory.entries
            self.sources = {ident: source for ident, source in self.sources.items() if ident in entries}

    def pull_again(self, client: bytes, ident: bytes, size: int, done: Done) -> None:
        """Bring a copy back that was dropped."""
        self.pull(client, ident, self.node.heirs.source_of(ident, self.sources.get(ident, 0)), size, done)

    def node_died(self, number: int) -> None:
        """A node is gone: nothing comes from it."""
        self.serving.node_died(number)
        for pulling in list(self._pulls.values()):
            for lane in pulling.lanes:
                if lane.node == number:
                    lane.cut()
            for asked in list(pulling.asked):
                if asked.dial.node == number:
                    self._refused(asked, "is gone")

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Give up who does not answer, and try again for memory."""
        for asked in [asked for asked in self._asked if now >= asked.until]:
            if asked in self._asked:
                self._refused(asked, f"has not answered for {STALL_S:g} s")
        if not self._starved or now < self._retry_at:
            return
        self._retry_at = now + MEMORY_RETRY_S
        for ident in self.queue.late(now):
            size = self._pulls[ident].size
            reason = (
                f"no room for an object of {size} bytes from another node came free in time: "
                f"{self.node.spills.why_full()[0]}. In memory are {what_fills(self.node)}"
            )
            self._fail(self._pulls[ident], ObjectStoreFullError(reason))
        self._admit()

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        due = [asked.until for asked in self._asked if asked.sock is not None]
        if self._starved:
            due.append(self._retry_at)
        return max(0.0, min(due) - now) if due else None

    def close(self) -> None:
        """This node ends: cut everything short."""
        lanes = [lane for pulling in self._pulls.values() for lane in pulling.lanes]
        for lane in (*lanes, *self.serving.lanes):
            lane.copy.cancel()
            lane.cut()
        self.movers.close()

    def state(self) -> dict[str, Any]:
        """For tests."""
        return {
            **self.counts,
            **self.serving.counts,
            "pulling": len(self._pulls),
            "receiving": sum(len(pulling.lanes) for pulling in self._pulls.values()),
            "givers": sorted({lane.node for pulling in self._pulls.values() for lane in pulling.lanes}),
            "sending": len(self.serving.lanes),
            "dying": len(self._dying),
        }

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        self.queue.validate()
        self.serving.seeds.validate()
        assert not self._pulls.keys() & self.copies.keys()
        assert {ident for ident, pulling in self._pulls.items() if pulling.copy is not None} == self.queue.active.keys()
