"""The head's shell: the links of all nodes, time, and the store, around `nodes.py`.

It runs in the loop of the head's process. What it decides about actors is in `actors.py`; here are the connections that carry it
to the nodes and back. A node's connection may end and come back: it is dead when nothing was heard of it for three seconds, when
it says that it leaves, or when its connection has ended and its machine answers that nobody listens on its port any more.
"""

from __future__ import annotations

import select
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ..wire import cluster as c
from ..wire.channel import ChannelClosed
from ..wire.stream import StreamChannel
from .nodes import Nodes
from .store import Store

SPREAD_S = 0.05
"""How often changes are told to the nodes."""
BEAT_S = 0.25
KNOCK_S = 0.1
FAILURES_MAX = 100
"""So many failures are remembered."""


class Loop(Protocol):
    """What the head needs of the loop that it runs in."""

    def watch(self, fd: int, handler: Callable[[int], bool], mask: int = select.EPOLLIN) -> None:
        """Call `handler(events)` when a descriptor is ready."""

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor."""


Knock = Callable[[c.NodeInfo, Callable[[], None]], None]
"""Dial a node; call back if its machine says that nobody is there."""


class Link:
    """The connection to one node."""

    def __init__(self, channel: StreamChannel, address: str) -> None:
        self.channel = channel
        self.address = address
        self.no = 0


class Head:
    """The members of the cluster, as its head sees them."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        on_died: Callable[[int, str], None],
        on_view: Callable[[list[c.NodeInfo]], None],
        on_actor: Callable[[int, Any], None],
        on_joined: Callable[[int, c.Join], None],
        knock: Knock,
    ) -> None:
        self.loop = loop
        self.store = store
        self.nodes = Nodes()
        self.links: dict[int, Link] = {}
        self._on_died = on_died
        self._on_view = on_view
        self._on_actor = on_actor
        self._on_joined = on_joined
        self._knock = knock
        self._missing: dict[int, tuple[float, str]] = {}
        """Nodes whose connection has ended: when they are asked for again, and how it ended."""
        self._tell_at = 0.0
        self.failures: deque[tuple[float, str]] = deque(maxlen=FAILURES_MAX)
        """What failed lately, and when."""
        self._silent_at = 0.0
        self.now = 0.0
        self.tell_of: Callable[..., None] = lambda severity, source, text, **ids: None
        """Somebody keeps a history."""

    def restore(self, now: float) -> None:
        """Know the nodes that the store has."""
        self.now = now
        self.nodes.restore([_decode_node(row) for _, row in self.store.load("node")], now)
        for info in self.nodes.by_no.values():
            if info.state == c.DEAD and not info.drained:
                self.failures.append((0.0, f"node {info.no} ({info.name}) was lost: {info.reason}"))

    def _keep(self, no: int) -> None:
        info = self.nodes.by_no.get(no)
        key = no.to_bytes(4, "big")
        if info is None:
            self.store.delete("node", key)
        else:
            self.store.put("node", key, c.encode(info))

    # ------------------------------------------------------------ connections

    def accept(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """A node connects."""
        link = Link(StreamChannel(sock, rest), address)
        self.loop.watch(link.channel.fd, lambda mask: self._on_event(link, mask))
        if rest:
            self._on_event(link, select.EPOLLIN)

    def _on_event(self, link: Link, mask: int) -> bool:
        channel = link.channel
        self.now = time.monotonic()  # the last round may be long ago: what is read now was said since
        try:
            if mask & select.EPOLLOUT and channel.flush():
                self.loop.watch(channel.fd, lambda mask: self._on_event(link, mask))
            while not channel.closed and (received := channel.receive()) is not None:
                self._on_message(link, c.decode_to_head(received[0]))
        except ChannelClosed as error:
            mine = self.links.get(link.no) is link and link.no in self.nodes.heard
            self._close(link)
            if mine:
                self._ask_for(link.no, f"its connection to the head has ended ({error})")
        except Exception:  # one node's nonsense must not end the head for all
            traceback.print_exc()
            self.lost(link.no, "it sent what the head does not understand")
            self._close(link)
        return True

    def _ask_for(self, no: int, reason: str) -> None:
        """A node's connection has ended. Its process has, too, or something between here and there has cut it. A process that is
        just ending may still seem to listen: so it is asked for again."""

        def gone() -> None:
            if no not in self.links:
                self.lost(no, reason)

        self._missing[no] = self.now + KNOCK_S, reason
        self._knock(self.nodes.by_no[no], gone)

    def _close(self, link: Link) -> None:
        if not link.channel.closed:
            self.loop.unwatch(link.channel.fd)
            link.channel.close()
        if self.links.get(link.no) is link:
            del self.links[link.no]

    def _send(self, link: Link, message: Any) -> None:
        if link.channel.closed:
            return
        try:
            if not link.channel.send(c.encode(message)):
                self.loop.watch(
                    link.channel.fd, lambda mask: self._on_event(link, mask), select.EPOLLIN | select.EPOLLOUT
                )
        except ChannelClosed:
            return  # its end is on the way

    def send_to(self, no: int, message: Any) -> None:
        """Send something to another node; one that is gone does not get it, and whoever depends on it is told of its end."""
        link = self.links.get(no)
        if link is not None:
            self._send(link, message)

    # ------------------------------------------------------------ members

    def _on_message(self, link: Link, message: Any) -> None:
        if isinstance(message, c.Join):
            self._join(link, message)
        elif not link.no or link.no not in self.nodes.heard:
            self._send(link, c.Fenced("this node is not, or not any more, a member of the cluster", again=True))
        elif isinstance(message, c.Report):
            self.nodes.report(link.no, message.free, message.demand, self.now, message.total)
        elif isinstance(message, c.Beat):
            self.nodes.beat(link.no, self.now)
            if message.fresh:
                self.tell_changes()
            self._send(link, message)
        elif isinstance(message, c.Leave):
            self.lost(link.no, message.reason, message.drained, message.heir, left=True)
            self._close(link)
        elif isinstance(message, c.Load):
            self.nodes.loads[link.no] = message
        elif isinstance(message, c.WorkerLost):
            what = f" ({message.what})" if message.what else ""
            self.note(f"a worker of node {link.no}, pid {message.pid}{what}, has died: {message.reason}")
        else:
            self.nodes.beat(link.no, self.now)
            self._on_actor(link.no, message)

    def _join(self, link: Link, message: c.Join) -> None:
        info = message.info
        if info.no:
            if not self.nodes.rejoin(info, self.now):
                known = self.nodes.by_no.get(info.no)
                reason = (known and known.reason) or "the head does not know this node"
                self._send(link, c.Fenced(reason, again=True))
                return
        else:
            old = self.nodes.incarnation(info.id)
            if old is not None:
                self.lost(old, "it has joined again")
            self.nodes.join(info, self.now)
            self.tell_of("INFO", "NODE", f"node {info.no} ({info.name}) has joined", node_id=info.id)
        link.no = info.no
        before = self.links.get(link.no)
        self.links[link.no] = link
        self._missing.pop(link.no, None)
        if before is not None:
            self._close(before)
        self._keep(link.no)
        self._send(link, c.Joined(link.no))
        self._send(link, c.View(list(self.nodes.by_no.values())))
        self._on_joined(link.no, message)
        self.tell_changes()

    def note(self, failure: str) -> None:
        """Remember something that failed, for whoever asks."""
        self.failures.append((self.now, failure))

    def drain(self, no: int, order: c.DrainOrder) -> None:
        """A node is to be drained. That is written before anybody is told."""
        self.nodes.drain(no, order)
        self._keep(no)
        print(f"node {no} is drained: {order.reason}", file=sys.stderr, flush=True)
        self.tell_of("INFO", "NODE", f"node {no} ({self.nodes.by_no[no].name}) is being drained: {order.reason}")
        self.tell_changes()

    def lost(
        self, no: int, reason: str, drained: bool = False, heir: int = 0, again: bool = False, left: bool = False
    ) -> None:
        """A node is dead, or has ended as somebody wanted it to (`left`), perhaps empty (`drained`).

        `again`: its machine may join anew.
        """
        if no and self.nodes.lost(no, reason, drained, heir):
            info, how = self.nodes.by_no[no], "has ended" if left else "is lost"
            print(f"node {no} {how}: {reason}", file=sys.stderr, flush=True)
            text = f"node {no} ({info.name}) {how}: {reason}"
            severity = "INFO" if drained else "WARNING" if left else "ERROR"
            self.tell_of(severity, "NODE", text, node_id=info.id)
            if not drained:
                self.note(f"node {no} ({self.nodes.by_no[no].name}) was lost: {reason}")
            self._missing.pop(no, None)
            self._keep(no)
            link = self.links.get(no)
            if link is not None:
                self._send(link, c.Fenced(reason, again))
                self._close(link)  # if that does not arrive, it asks, and hears it then
            self.tell_changes()
            self._on_died(no, reason)

    def tell_changes(self) -> None:
        """Tell every node what has changed."""
        changed = self.nodes.take_changes()
        if changed:
            for link in list(self.links.values()):
                self._send(link, c.View(changed))
            self._on_view(changed)

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Tell changes, and look who is silent."""
        self.now = now
        if now >= self._silent_at:
            for no in self.nodes.silent(now):
                self.lost(no, "nothing was heard of it for 3 s", again=True)
            self._silent_at = min(self.nodes.silent_from(), now + BEAT_S)
        for no, (at, reason) in list(self._missing.items()):
            if now >= at:
                self._ask_for(no, reason)
        if now >= self._tell_at:
            self._tell_at = now + SPREAD_S
            self.tell_changes()

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        due = self._silent_at - now
        if self.nodes.has_changes:
            due = min(due, self._tell_at - now)
        return max(0.0, min([due, *(at - now for at, _ in self._missing.values())]))

    def close(self, reason: str) -> None:
        """Close all connections; with a reason, the cluster ends, and all nodes with it."""
        for link in list(self.links.values()):
            if reason:
                self._send(link, c.Fenced(reason))
            self._close(link)


_decode_node = msgspec.msgpack.Decoder(c.NodeInfo).decode
