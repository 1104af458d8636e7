"""A node's place in its cluster: what it knows of the others, and what it tells the head.

The head's own node has the head in its process; for the others it is a connection. Either way `view` is what the head last said
of all nodes, `send_to_head` and `send_to` carry messages about actors, and `died` hears of the end of nodes.

A node that the head has fenced, or that cannot hear the head any more, ends, with everything on it: what the others believe dead
must not go on.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from ..head.nodes import DEAD_AFTER_S
from ..head.service import BEAT_S, OWN, SPREAD_S, Head
from ..wire import cluster as c
from ..wire.channel import ChannelClosed
from ..wire.stream import StreamChannel

if TYPE_CHECKING:
    from .service import Node


class Cluster:
    """What a node knows of its cluster."""

    def __init__(self, node: Node, info: c.NodeInfo) -> None:
        self.node = node
        self.info = info
        self.view: dict[int, c.NodeInfo] = {}
        self.head: Head | None = None
        self._channel: StreamChannel | None = None
        self._heard_at = 0.0
        self._report_at = 0.0
        self._beat_at = 0.0
        self._reported: c.Report | None = None

    # ------------------------------------------------------------ joining

    def be_head(self) -> None:
        """Be the first node of a new cluster."""
        assert self.node.gate is not None
        head = self.head = Head(self.node, self._died, self._changed, self.node.actors.from_node)
        head.now = time.monotonic()
        self.info.no = head.join_own(self.info)
        self.view[OWN] = self.info
        self.node.gate.services["node"] = head.accept
        self.node.parts.append(head)

    def join(self, sock: socket.socket, rest: bytes, timeout_s: float = 5.0) -> None:
        """Join the cluster whose head is at the other end. Returns when the head has said yes.

        Raises:
            ConnectionError: it has said no, or nothing.
        """
        channel = self._channel = StreamChannel(sock, rest)
        channel.send(c.encode(c.Join(self.info, os.getpid())))
        until = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(channel.fd, select.POLLIN)
        while not self.info.no:
            left = until - time.monotonic()
            if left <= 0:
                raise ConnectionError("the head has not answered")
            poll.poll(left * 1000)
            self._read(channel)
        self.node.watch(channel.fd, self._on_event)

    def _on_event(self, mask: int) -> bool:
        channel = self._channel
        assert channel is not None
        try:
            if mask & select.EPOLLOUT and channel.flush():
                self.node.watch(channel.fd, self._on_event)
            self._read(channel)
        except ChannelClosed as error:
            self.node.stop(f"the connection to the head has ended: {error}")
        return True

    def _read(self, channel: StreamChannel) -> None:
        while (received := channel.receive()) is not None:
            self._heard_at = time.monotonic()
            self._on_message(c.decode_from_head(received[0]))

    def _on_message(self, message: Any) -> None:
        if isinstance(message, c.Joined):
            self.info.no = message.no
        elif isinstance(message, c.View):
            self._changed(message.nodes)
        elif isinstance(message, c.Fenced):
            self.node.stop(f"the head has fenced this node: {message.reason}")
        elif not isinstance(message, c.Beat):
            self.node.actors.from_head(message)

    # ------------------------------------------------------------ what the head says

    def _changed(self, nodes: list[c.NodeInfo]) -> None:
        for info in nodes:
            old = self.view.get(info.no)
            self.view[info.no] = info
            if self.head is None and info.state == c.DEAD and (old is None or old.state != c.DEAD):
                self._died(info.no, info.reason)
        self.node.decide_again()
        if self.head is not None:
            self.node.actors.view_changed()

    def _died(self, no: int, reason: str) -> None:
        if no == self.info.no:
            return
        node = self.node
        node.actors.node_died(no, reason)
        node.abroad.node_died(no, reason)
        node.claims.node_died(no)
        if node.transfers is not None:
            node.transfers.node_died(no)

    # ------------------------------------------------------------ what the head is told

    def send_to_head(self, message: Any) -> None:
        """Tell the head something about an actor."""
        if self.head is not None:
            self.node.actors.from_node(OWN, message)
            return
        channel = self._channel
        assert channel is not None
        try:
            if not channel.send(c.encode(message)):
                self.node.watch(channel.fd, self._on_event, select.EPOLLIN | select.EPOLLOUT)
        except ChannelClosed:
            return  # its end is on the way

    def send_to(self, no: int, message: Any) -> None:
        """From the head: tell a node something about an actor."""
        assert self.head is not None
        if no == OWN:
            self.node.actors.from_head(message)
        else:
            self.head.send_to(no, message)

    def _report(self, now: float) -> None:
        scheduler = self.node.scheduler
        waiting = [(dict(d.amounts), d.count - d.held) for d in scheduler.demands.values() if d.count > d.held]
        waiting.extend((dict(actor.placement), 1) for actor in scheduler.actors)
        report = c.Report(dict(scheduler.pool.free), waiting[:100])
        if report == self._reported:
            return
        self._reported = report
        if self.head is not None:
            self.head.nodes.report(OWN, report.free, report.demand, now)
        else:
            self.send_to_head(report)

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Report, beat, and notice a head that is silent."""
        if now >= self._report_at:
            self._report_at = now + SPREAD_S
            self._report(now)
        if now >= self._beat_at and self.head is None:
            self._beat_at = now + BEAT_S
            self.send_to_head(c.Beat())
            if self._heard_at and now - self._heard_at > DEAD_AFTER_S:
                self.node.stop(f"nothing was heard of the head for {DEAD_AFTER_S:g} s")

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        due = [self._beat_at] if self.head is None else []
        if self.node.scheduler.pool.free != (self._reported.free if self._reported else None):
            due.append(self._report_at)
        return max(0.0, min(due) - now) if due else None

    def leave(self, reason: str) -> None:
        """Tell the head that this node ends."""
        if self.head is not None:
            self.head.close()
        elif self._channel is not None and not self._channel.closed:
            self.send_to_head(c.Leave(reason))
