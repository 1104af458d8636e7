"""The head's process: a node without workers and memory, which answers for actors, and knows the members.

Clients and nodes come to it as they come to any node, through the port of the node on its machine (`head_host.py`), so all that
serves clients of other nodes serves here, too. It can be killed at any moment: what it promised is in its store, and what it did
not hear meanwhile, nodes and clients say when they come back.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..head.nodes import REJOIN_S
from ..head.rows import Rows
from ..head.service import Head
from ..head.store import Store, StoreError, open_store
from ..store.arena import HEADER_BYTES, PAGE, create
from ..version import __version__
from ..wire import cluster as c, heads
from ..wire.channel import Channel, ChannelClosed, pair, wait_readable
from ..wire.config import SystemConfig
from ..wire.jobs import JobIs, WantPackage
from .figures import actor_states
from .gate import Gate, is_nobody
from .jobs import JobShell
from .moves import ActorMoves
from .service import Node

FIRST_WORD_S = 60.0
MOVED_EVERY_S = 0.5
FIGURES_EVERY_S = 5.0
_ADDRESS = b"address"


def main() -> None:
    """Run the head, until the node on its machine ends. The first argument is a descriptor: the channel to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the node says when it is over
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    try:
        settings = _first(channel)
    except ChannelClosed:
        sys.exit(1)  # the node could not become one
    try:
        store = open_store(settings.store)
        head = HeadProcess(channel, settings, store)
    except StoreError as error:
        channel.send(heads.encode(heads.CannotStart(str(error))))
        sys.exit(1)
    gc.collect()
    gc.freeze()
    head.run()


def _first(channel: Channel) -> heads.HeadSettings:
    wait_readable(channel.fd, FIRST_WORD_S)
    received = channel.receive()
    assert received is not None
    message = heads.decode_to_head(received[0])
    assert isinstance(message, heads.HeadSettings)
    return message


class HeadProcess:
    """The head, and the node that serves its clients."""

    def __init__(self, channel: Channel, settings: heads.HeadSettings, store: Store) -> None:
        folder = Path(settings.session_dir, "head")
        (folder / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        mine, self._no_zygote = pair()
        bytes_ = HEADER_BYTES + PAGE
        system = SystemConfig(history=settings.history)
        node = self.node = Node({}, create(bytes_), bytes_, folder, Channel(mine), system)
        node.node_no = c.HEAD
        node.directory.number = c.HEAD.to_bytes(4, "big")
        node.standalone = True
        node.gate = Gate(node, settings.token, __version__, settings.tls)
        node.head = self
        self.settings = settings
        self.store = store
        self._channel = channel
        self.members = Head(node, store, self._died, self._changed, self._heard, self._joined, self._knock)
        self.members.tell_of = node.history.event
        self.rows = Rows(store)
        self.jobs = JobShell(self, store)
        self.awaited: dict[str, float] = {}
        """Drivers whose connection has ended, and until when they may be back."""
        self._move_at = 0.0
        self._moved = False
        self._figures_at = 0.0
        node.parts.extend((self.members, self, ActorMoves(node)))
        self._restore(time.monotonic())
        node.watch(channel.fd, self._on_event)

    @property
    def view(self) -> dict[int, c.NodeInfo]:
        """All nodes."""
        return self.members.nodes.by_no

    def _restore(self, now: float) -> None:
        node = self.node
        self.members.restore(now)
        for job, info in self.rows.load_jobs():
            node.actors.jobs[job] = info
            self.awaited[job] = now + REJOIN_S
        for actor in self.rows.load():
            node.actors.table.restore(actor)
            node.history.actor_known(actor)
            if actor.state != "dead":
                node.directory.restore_actor(actor.id, actor.spec.depends or [])
        for group in self.rows.load_groups():
            node.groups.table.restore(group)
        self.jobs.restore(now)
        node.objects.recover_until = now + REJOIN_S
        address = f"{self.settings.host}:{self.settings.port}".encode()
        self._moved = dict(self.store.load("meta")).get(_ADDRESS, address) != address
        self.store.put("meta", _ADDRESS, address)
        if self.view:
            actors = len(node.actors.table.by_id)
            print(f"the head goes on: {len(self.view)} nodes and {actors} actors", file=sys.stderr, flush=True)

    def run(self) -> None:
        """Serve until the cluster ends, or the node on this machine does."""
        self.node.run()

    # ------------------------------------------------------------ the node on this machine

    def _on_event(self, mask: int) -> bool:
        try:
            while (received := self._channel.receive()) is not None:
                message = heads.decode_to_head(received[0])
                if isinstance(message, heads.Accept):
                    self._accept(message, received[1][0])
                elif isinstance(message, heads.End):
                    self._end()
        except ChannelClosed:
            os._exit(1)  # it was killed: the store has all that the next head needs
        return True

    def _accept(self, message: heads.Accept, fd: int) -> None:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        serve: Any = self.members.accept if message.purpose == "node" else self.node.abroad.on_client

        def secured(sock: socket.socket | None, rest: bytes, error: str) -> None:
            if sock is not None:
                serve(message.purpose, message.payload, sock, rest, message.address)

        assert self.node.gate is not None
        self.node.gate.secure(sock, message.rest, message.address, secured)

    def _end(self) -> None:
        self.node.history.close()
        self.members.close("the cluster was stopped" if self.settings.forget else "")
        if self.settings.forget:
            self.store.remove()
        else:
            self.store.close()
        os._exit(0)

    # ------------------------------------------------------------ nodes and drivers

    def _died(self, no: int, reason: str) -> None:
        node = self.node
        node.groups.apply(node.groups.table.node_died(no))
        node.groups.look()  # the others may have room, and nothing else need ever change
        node.actors.node_died(no, reason)
        self.jobs.node_died(no, reason)
        node.abroad.node_died(no, reason)
        node.claims.node_died(no)

    def _changed(self, nodes: list[c.NodeInfo]) -> None:
        self.node.groups.look()
        self.node.actors.view_changed()
        self.jobs.look()

    def _heard(self, no: int, message: Any) -> None:
        if isinstance(message, c.BundlesReserved):
            self.node.groups.from_node(no, message)
        elif isinstance(message, JobIs | WantPackage):
            self.jobs.from_node(no, message)
        else:
            self.node.actors.from_node(no, message)

    def _joined(self, no: int, message: c.Join) -> None:
        for end in message.ends:
            self.node.actors.from_node(no, end)
        self.node.groups.node_joined(no, message.bundles)
        self.node.actors.node_joined(no, message.actors)
        self.jobs.node_joined(no, message.jobs)

    def drain(self, name: str, order: c.DrainOrder, only_if_idle: bool) -> c.NodeInfo:
        """Have a node take nothing new, and end when nothing is left on it.

        Args:
            name: its number, its name, or the beginning of its id.
            order: why, and for how long.
            only_if_idle: not if something of it is in use.

        Raises:
            ValueError: there is no such node, or it cannot be drained; the message says why.
        """
        found = self.members.nodes.called(name)
        if not found:
            raise ValueError(f"there is no node {name!r} that lives: see `skate status`")
        if len(found) > 1:
            raise ValueError(f"{name!r} may be any of the nodes {', '.join(str(each.no) for each in found)}")
        info = found[0]
        if (info.host, info.port) == (self.settings.host, self.settings.port):
            raise ValueError(f"node {info.no} has the head and cannot be drained: `skate stop` there ends the cluster")
        if only_if_idle and (info.free != info.total or info.demand):
            raise ValueError(f"node {info.no} is not idle")
        self.members.drain(info.no, order)
        return info

    def _knock(self, info: c.NodeInfo, gone: Callable[[], None]) -> None:
        def answered(sock: socket.socket | None, rest: bytes, error: str) -> None:
            if sock is not None:
                sock.close()
            elif is_nobody(error):
                gone()

        assert self.node.gate is not None
        self.node.gate.dial(info.host, info.port, "alive", b"", answered)

    def send_to(self, no: int, message: Any) -> None:
        """Tell a node something about an actor."""
        self.members.send_to(no, message)

    def driver_here(self, job: str) -> None:
        """A driver is connected."""
        self.awaited.pop(job, None)

    def driver_away(self, job: str) -> None:
        """A driver's connection has ended. Its node says whether it has, too; if that cannot, it is as dead after a while."""
        if job in self.node.actors.jobs:
            self.awaited[job] = time.monotonic() + REJOIN_S

    def _job_ended(self, job: str) -> None:
        self.awaited.pop(job, None)
        self.node.actors.job_ended(job)

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """End the jobs of drivers that have not come back, and tell nodes that were elsewhere where the head is."""
        for job in [job for job, until in self.awaited.items() if now >= until]:
            self._job_ended(job)
        if now >= self._figures_at:  # there is no timer for it: beats come all the time
            self._figures_at = now + FIGURES_EVERY_S
            self._say_figures()
        away = [info for info in self.view.values() if info.state == c.AWAY] if self._moved else []
        if away and now >= self._move_at:
            self._move_at = now + MOVED_EVERY_S
            assert self.node.gate is not None
            payload = f"{self.settings.host}:{self.settings.port}".encode()
            for info in away:
                self.node.gate.dial(info.host, info.port, "moved", payload, _close)

    def _say_figures(self) -> None:
        try:
            if self._channel.backlog and not self._channel.flush():
                return  # the node does not read now: newer ones will do
            self._channel.send(heads.encode(heads.Figures(self.node.metrics.loop.now(), actor_states(self.node))))
        except ChannelClosed:
            return  # its end is on the way

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        due = list(self.awaited.values())
        if self._moved and any(info.state == c.AWAY for info in self.view.values()):
            due.append(self._move_at)
        return max(0.0, min(due) - now) if due else None


def _close(sock: socket.socket | None, rest: bytes, error: str) -> None:
    if sock is not None:
        sock.close()
