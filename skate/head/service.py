"""The head's shell: the links of all nodes, and time, around `nodes.py`.

It runs in the loop of the head machine's node process. What it decides about actors is in `actors.py`, whose shell is that
node's; here are the connections that carry it to other nodes and back.
"""

from __future__ import annotations

import select
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from ..wire import cluster as c
from ..wire.channel import ChannelClosed
from ..wire.stream import StreamChannel
from .nodes import Nodes

SPREAD_S = 0.05
"""How often changes are told to the nodes."""
BEAT_S = 0.5
OWN = 1
"""The head's own node."""


class Loop(Protocol):
    """What the head needs of the loop that it runs in."""

    def watch(self, fd: int, handler: Callable[[int], bool], mask: int = select.EPOLLIN) -> None:
        """Call `handler(events)` when a descriptor is ready."""

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor."""


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
        on_died: Callable[[int, str], None],
        on_view: Callable[[list[c.NodeInfo]], None],
        on_actor: Callable[[int, Any], None],
    ) -> None:
        self.loop = loop
        self.nodes = Nodes()
        self.links: dict[int, Link] = {}
        self._on_died = on_died
        self._on_view = on_view
        self._on_actor = on_actor
        self._tell_at = 0.0
        self._beat_at = 0.0
        self.now = 0.0

    # ------------------------------------------------------------ connections

    def accept(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """A node connects."""
        link = Link(StreamChannel(sock, rest), address)
        self.loop.watch(link.channel.fd, lambda mask: self._on_event(link, mask))
        if rest:
            self._on_event(link, select.EPOLLIN)

    def _on_event(self, link: Link, mask: int) -> bool:
        channel = link.channel
        try:
            if mask & select.EPOLLOUT and channel.flush():
                self.loop.watch(channel.fd, lambda mask: self._on_event(link, mask))
            while not channel.closed and (received := channel.receive()) is not None:
                self._on_message(link, c.decode_to_head(received[0]))
        except ChannelClosed as error:
            self.lost(link.no, f"its connection to the head has ended ({error})")
            self._close(link)
        except Exception:  # one node's nonsense must not end the head for all
            traceback.print_exc()
            self.lost(link.no, "it sent what the head does not understand")
            self._close(link)
        return True

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

    def join_own(self, info: c.NodeInfo) -> int:
        """The head's own node is the first member."""
        return self.nodes.join(info, self.now)

    def _on_message(self, link: Link, message: Any) -> None:
        if isinstance(message, c.Join):
            self._join(link, message)
        elif not link.no or link.no not in self.nodes.heard:
            self._send(link, c.Fenced("this node is not, or not any more, a member of the cluster"))
        elif isinstance(message, c.Report):
            self.nodes.report(link.no, message.free, message.demand, self.now)
        elif isinstance(message, c.Beat):
            self.nodes.beat(link.no, self.now)
        elif isinstance(message, c.Leave):
            self.lost(link.no, message.reason)
            self._close(link)
        else:
            self.nodes.beat(link.no, self.now)
            self._on_actor(link.no, message)

    def _join(self, link: Link, message: c.Join) -> None:
        old = self.nodes.incarnation(message.info.id)
        if old is not None:
            self.lost(old, "it has joined again")
        link.no = self.nodes.join(message.info, self.now)
        self.links[link.no] = link
        self._send(link, c.Joined(link.no))
        self._send(link, c.View(list(self.nodes.by_no.values())))
        self.tell_changes()

    def lost(self, no: int, reason: str) -> None:
        """A node is dead."""
        if no and self.nodes.lost(no, reason):
            print(f"node {no} is lost: {reason}", file=sys.stderr, flush=True)
            link = self.links.get(no)
            if link is not None:
                self._send(link, c.Fenced(reason))
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
        """Tell changes, beat, and look who is silent."""
        self.now = now
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self.nodes.beat(OWN, now)
            for link in list(self.links.values()):
                self._send(link, c.Beat())
            for no in self.nodes.silent(now):
                self.lost(no, "nothing was heard of it for 3 s")
        if now >= self._tell_at:
            self._tell_at = now + SPREAD_S
            self.tell_changes()

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        due = self._beat_at - now
        if self.nodes.has_changes:
            due = min(due, self._tell_at - now)
        return max(0.0, due)

    def close(self) -> None:
        """Close all connections."""
        for link in list(self.links.values()):
            self._close(link)
