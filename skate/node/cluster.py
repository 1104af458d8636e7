"""A node's place in its cluster: what it knows of the others, and what it tells the head.

`view` is what the head last said of all nodes. The head may be killed and started again: then the connection ends, this node asks
for a new one until it gets it, and says what it hosts. Meanwhile everything here goes on. What the head could not be told waits,
or follows from what the node says when it is back.

A node that the head has fenced ends, with everything on it, as does one that hears neither the head nor a proof that there is
none (a refused connection is one, silence is not): what the others believe dead must not go on. It does so before they may
believe it: the head sends every beat back, and what it has confirmed is counted from when it was sent. Its machine then joins
anew.

TCP waits longer and longer before it tries again, so a connection that was cut for two seconds may stand still for four. A node
that hears nothing makes new ones: the first that the head answers takes the place of the old.

INV-1: `_channel` is None while there is no connection to the head, and `_retry_at` says when the next is tried.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..head.nodes import FENCE_AFTER_S
from ..head.service import BEAT_S, SPREAD_S
from ..wire import cluster as c
from ..wire.channel import ChannelClosed, wait_writable
from ..wire.stream import StreamChannel
from .fresh import Fresh
from .gate import Then, was_answered
from .head_host import STARTING_S, HeadHost
from .status import load_of, waiting

if TYPE_CHECKING:
    from .discovery import Discovery
    from .service import Node

RETRY_S = 0.1
QUIET_S = 0.75
"""When the head has confirmed nothing for so long, other connections to it are tried, one every `PROBE_S`."""
PROBE_S = 0.2
FIRST_S = 1.0
STUCK_S = 2.0
"""A head that confirms nothing for so long is killed by its machine's node, and started again, before the others give it up."""
ANSWER_S = 2.0
"""How long a head may take to let a node in; then it is asked anew."""
FRESH_S = 5.0
"""How long a head that does not answer is waited for by who would say that something is not there."""


class Cluster:
    """What a node knows of its cluster."""

    def __init__(self, node: Node, info: c.NodeInfo, head: tuple[str, int], patience_s: float) -> None:
        self.node = node
        self.info = info
        self.head = head
        """Where the head is: host and port of its machine's node."""
        self.patience_s = patience_s
        """How long this node goes on without a head."""
        self.host: HeadHost | None = None
        """The head's process, on the machine that has it."""
        self.discovery: Discovery | None = None
        """On that machine: the file that says where the nodes are."""
        self.view: dict[int, c.NodeInfo] = {}
        self._fresh = Fresh(lambda at: self._send(c.Beat(at, fresh=True)))
        self._channel: StreamChannel | None = None
        self._confirmed_at = 0.0
        """What this node has sent until then the head has heard."""
        self._ends: deque[tuple[float, c.ActorDied | c.CannotPlace | c.JobEnded]] = deque()
        """What has ended here, and when the head was told; as long as it has not confirmed that. No more than there were actors
        and drivers when it was last heard: new ones need a head."""
        self._probe_at = 0.0
        self._report_at = 0.0
        self._beat_at = 0.0
        self._reported: c.Report | None = None
        self._load: c.Load | None = None
        self._total: dict[str, int] | None = None
        """What the head was told that this node has."""
        self._gone_at = 0.0
        self._proof_at = 0.0
        """When something last showed that there is a head, or none."""
        self._retry_at = 0.0
        self._asked_at = 0.0
        """When the head was asked to let this node in again; 0: it has, or was not asked."""
        self._dialing = False
        self._departed = False
        self._wanted: list[tuple[str, bytes, Then, bool]] = []
        """Connections to the head that are wanted while there is none."""

    # ------------------------------------------------------------ joining

    def join(self, sock: socket.socket, rest: bytes, timeout_s: float = 10.0) -> None:
        """Join the cluster whose head is at the other end. Returns when the head has said yes, and which nodes there are.

        Raises:
            ConnectionError: it has said no, or nothing.
        """
        sock.setblocking(False)
        channel = self._channel = StreamChannel(sock, rest)
        self._asked_at = time.monotonic()
        channel.send(c.encode(c.Join(self.info, os.getpid())))
        until = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(channel.fd, select.POLLIN)
        while self.info.no not in self.view:
            left = until - time.monotonic()
            if left <= 0:
                raise ConnectionError("the head has not answered")
            if self.host is not None:
                self.host.check()
            poll.poll(min(left, RETRY_S) * 1000)
            try:
                self._read(channel)
            except ChannelClosed:
                if self.host is not None:
                    self.host.check(left)
                raise
        self.node.watch(channel.fd, self._on_event)

    def _on_event(self, mask: int) -> bool:
        channel = self._channel
        assert channel is not None
        try:
            if mask & select.EPOLLOUT and channel.flush():
                self.node.watch(channel.fd, self._on_event)
            self._read(channel)
        except ChannelClosed:
            self._head_lost()
        return True

    def _read(self, channel: StreamChannel) -> None:
        while not channel.closed and (received := channel.receive()) is not None:
            self._on_message(c.decode_from_head(received[0]))

    def _on_message(self, message: Any) -> None:
        if isinstance(message, c.Joined):
            self.info.no = message.no
            if self.host is not None:
                self.host.answered = True
            self._let_in()
            self._fresh.connected(time.monotonic())
            self.node.abroad.head_is_back()
            self.node.jobs_here.head_is_back()
        elif isinstance(message, c.View):
            self._changed(message.nodes)
        elif isinstance(message, c.Fenced):
            self.node.stop(f"the head has fenced this node: {message.reason}", message.again and self.host is None)
        elif isinstance(message, c.ToGroups):
            self.node.groups.from_head(message)
        elif isinstance(message, c.Beat):
            self._confirmed(message.at)
            if message.fresh:
                self._fresh.came_back(message.at, time.monotonic())
        elif isinstance(message, c.ToJobs):
            self.node.jobs_here.from_head(message)
        else:
            self.node.actors.from_head(message)

    def _let_in(self) -> None:
        """The head has heard that this node is there. It may have taken its time, as when it starts: the first beat is on its
        way, and has `FIRST_S` to be confirmed. Where nothing runs yet, or the head is on this machine, there is nothing to fear.
        """
        now, asked_at = time.monotonic(), self._asked_at
        safe = self.host is not None or not self._confirmed_at
        self._asked_at = 0.0
        self._confirmed(asked_at)
        self._confirmed_at = now if safe else max(asked_at, now - FENCE_AFTER_S + FIRST_S)

    def _confirmed(self, at: float) -> None:
        """The head has heard all that was sent until then."""
        self._confirmed_at = max(self._confirmed_at, at)
        while self._ends and self._ends[0][0] <= at:
            self._ends.popleft()

    # ------------------------------------------------------------ a head that is gone, and comes back

    @property
    def connected(self) -> bool:
        """Whether the head hears this node."""
        return self._channel is not None and not self._asked_at

    def _head_lost(self) -> None:
        now = time.monotonic()
        channel, self._channel = self._channel, None
        if channel is not None:
            self.node.unwatch(channel.fd)
            channel.close()
        if not self._gone_at:
            self._gone_at, self._proof_at = now, self._confirmed_at
        self._asked_at = 0.0
        self._reported = self._load = None
        self._retry_at = now

    def on_moved(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """A head that was started again at another place says where."""
        sock.close()
        host, _, port = payload.decode().rpartition(":")
        self.head = (host, int(port))
        self._retry_at = self._proof_at = time.monotonic()

    def reach_head(self, purpose: str, payload: bytes, then: Then, hand_over: bool = False) -> None:
        """A connection to the head, now or when there is one again; `then(socket, bytes read already, "")`.

        With `hand_over` as of `Gate.dial`.
        """
        self._wanted.append((purpose, payload, then, hand_over))
        if self.connected:
            self._reach()

    def _reach(self) -> None:
        wanted, self._wanted = self._wanted, []
        for purpose, payload, then, hand_over in wanted:
            self._dial(purpose, payload, self._or_later(purpose, payload, then, hand_over), hand_over)

    def _or_later(self, purpose: str, payload: bytes, then: Then, hand_over: bool) -> Then:
        def done(sock: socket.socket | None, rest: bytes, error: str) -> None:
            if sock is None:
                self._wanted.append((purpose, payload, then, hand_over))
                self._retry_at = time.monotonic() + RETRY_S
            else:
                then(sock, rest, error)

        return done

    def _dial(self, purpose: str, payload: bytes, then: Then, hand_over: bool = False) -> None:
        if self.host is not None:
            then(self.host.connect(purpose, payload), b"", "")
            return
        assert self.node.gate is not None
        self.node.gate.dial(*self.head, purpose, payload, then, hand_over)

    def _answered(self, sock: socket.socket | None, rest: bytes, error: str) -> None:
        """The head's machine has answered, or not. The head itself may take longer."""
        self._dialing = False
        now = time.monotonic()
        self._retry_at = now + RETRY_S
        if sock is None:
            if was_answered(error):
                self._proof_at = now
            return
        if not self._takes(now):
            sock.close()
            return
        self._proof_at = now
        if self._channel is None:
            self._asked_at = now
        assert self.node.gate is not None
        self.node.gate.secure(sock, rest, f"{self.head[0]}:{self.head[1]}", self._back, dialled=True)

    def _takes(self, now: float) -> bool:
        """Whether another connection to the head is of use."""
        return self.node.running and (self._channel is None or (self.connected and self._quiet(now)))

    def _back(self, sock: socket.socket | None, rest: bytes, error: str) -> None:
        """The head has answered, or not."""
        now = time.monotonic()
        if sock is None:
            if self._channel is None:
                self._head_lost()
                self._retry_at = now + RETRY_S
            return
        if not self._takes(now):
            sock.close()
            return
        if self._channel is not None:
            self._head_lost()
        self._proof_at = self._asked_at = now
        sock.setblocking(False)
        channel = self._channel = StreamChannel(sock, rest)
        self.node.watch(channel.fd, self._on_event)
        self.info.total, self._total = self.node.scheduler.pool.total, None
        ends = [message for _, message in self._ends]
        actors, bundles = self.node.actors.hosted_now(), self.node.groups.held_now()
        self._send(c.Join(self.info, os.getpid(), actors, bundles, ends, self.node.jobs_here.hosted_now()))
        if rest:
            self._on_event(select.EPOLLIN)

    # ------------------------------------------------------------ what the head says

    def _changed(self, nodes: list[c.NodeInfo]) -> None:
        for info in nodes:
            old = self.view.get(info.no)
            self.view[info.no] = info
            self.node.abroad.changed(info.no)
            if info.state == c.DEAD and (old is None or old.state != c.DEAD):
                self._died(info.no, info.reason)
            elif info.no == self.info.no and info.drain is not None:
                self.node.drain.ordered(info.drain)
        if self.discovery is not None:
            self.discovery.update(self.view.values())
        self.node.decide_again()

    def _died(self, no: int, reason: str) -> None:
        if no == self.info.no:
            return
        node = self.node
        node.abroad.node_died(no, reason)
        node.claims.node_died(no)
        if node.transfers is not None:
            node.transfers.node_died(no)

    def when_fresh(self, then: Callable[[], None], patience_s: float = FRESH_S) -> None:
        """Call `then()` when the view has all that the head knows by now; or after `patience_s`, when there is no head."""
        now = time.monotonic()
        self._fresh.ask(then, now, now + patience_s)

    # ------------------------------------------------------------ what the head is told

    def send_to_head(self, message: Any) -> None:
        """Tell the head something. If there is no head now, it hears of actors when this node is back, and not of the rest."""
        if isinstance(message, c.ActorDied | c.CannotPlace | c.JobEnded):
            self._ends.append((time.monotonic(), message))
        self._send(message)

    def _send(self, message: Any) -> None:
        channel = self._channel
        if channel is None or channel.closed:
            return
        try:
            if not channel.send(c.encode(message)):
                self.node.watch(channel.fd, self._on_event, select.EPOLLIN | select.EPOLLOUT)
        except ChannelClosed:
            return  # its end is on the way

    def report_anew(self) -> None:
        """The head has a guess of what is free here: it is told how it is, also if that is what it was told last."""
        self._reported = None

    def _report(self, now: float) -> None:
        scheduler = self.node.scheduler
        report = c.Report(dict(scheduler.pool.free), waiting(self.node)[:100])
        if scheduler.pool.total != self._total:
            report.total = self._total = dict(scheduler.pool.total)
        if report != self._reported:
            self._reported = report
            self._send(report)

    def _say_load(self) -> None:
        load = load_of(self.node)
        if load != self._load:
            self._load = load
            self._send(load)

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Report, beat, notice a head that is silent, and look for one that is gone."""
        if self._departed:
            return
        self._fresh.on_time(now)
        if self.connected:
            self._gone_at = 0.0
            self._while_connected(now)
        elif self._gone_at:
            self._while_gone(now)
        if self._wanted and self.connected and now >= self._retry_at:
            self._reach()

    def _quiet(self, now: float) -> bool:
        return now - self._confirmed_at > QUIET_S

    def _while_connected(self, now: float) -> None:
        if now >= self._report_at:
            self._report_at = now + SPREAD_S
            self._report(now)
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self._send(c.Beat(now))
            self._say_load()
        silence = now - self._confirmed_at
        if self.host is not None:
            if silence > STUCK_S:
                self.host.kill(f"it has said nothing for {silence:.1f} s")
                self._confirmed_at = now
        elif silence > FENCE_AFTER_S:
            self.node.stop(f"nothing was heard of the head for {FENCE_AFTER_S:g} s", again=True)
        elif self._quiet(now) and now >= self._probe_at:
            self._probe_at = now + PROBE_S
            self._dial("node", b"", self._answered, hand_over=True)

    def _while_gone(self, now: float) -> None:
        if now - self._gone_at > self.patience_s:
            self.node.stop(f"the head has been gone for {self.patience_s:g} s")
        elif self.host is None and now - self._proof_at > FENCE_AFTER_S:
            self.node.stop(f"neither the head nor its machine has answered for {FENCE_AFTER_S:g} s", again=True)
        elif self._asked_at and now - self._asked_at > self._answer_s():
            if self.host is not None:
                self.host.kill(f"it has not answered for {self._answer_s():g} s")
            self._head_lost()
        elif self._channel is None and not self._dialing and not self._asked_at and now >= self._retry_at:
            self._dialing = True
            self._dial("node", b"", self._answered, hand_over=True)

    def _answer_s(self) -> float:
        """A head that starts is not killed for that: the next would be no faster."""
        return STARTING_S if self.host is not None and not self.host.answered else ANSWER_S

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        if self._departed:
            return None
        if not self.connected:
            return RETRY_S
        due = [self._beat_at, self._confirmed_at + (FENCE_AFTER_S if self.host is None else STUCK_S)]
        if self._wanted:
            due.append(self._retry_at)
        if self.node.scheduler.pool.free != (self._reported.free if self._reported else None):
            due.append(self._report_at)
        if (late := self._fresh.next_due()) is not None:
            due.append(late)
        return max(0.0, min(due) - now)

    def depart(self, farewell: c.Leave) -> None:
        """Leave the cluster before this node ends, and hear nothing of it any more."""
        self._departed = True
        channel, self._channel = self._channel, None
        if channel is None:
            return
        try:
            done = channel.send(c.encode(farewell))
            while not done:
                wait_writable(channel.fd)
                done = channel.flush()
        except ChannelClosed:
            pass  # the head sees that this node is gone
        self.node.unwatch(channel.fd)
        channel.close()

    def leave(self) -> None:
        """Tell the head that this node ends. On the head's machine, the head ends too."""
        self._send(self.node.drain.farewell or c.Leave("it was stopped"))
        if self.host is not None:
            self.host.close()
