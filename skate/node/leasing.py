"""Leases: who may send tasks to which worker, and when that is decided anew.

The scheduler decides; here is what its decisions depend on, and what becomes of them. Decisions are made once per round of the
node's loop, after every message of the round has been read.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from ..head import policy
from ..wire import messages as m
from ..wire.channel import pair
from ..wire.labels import in_request
from .pool import ENDS_S
from .resources import to_units
from .scheduler import SLICE_S, Lease

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

ASK_BACK_S = 0.25
"""A client that was asked for its idle workers gives them back early for a while: it is not asked again so soon."""


class Leasing:
    """The leases of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.dirty = False
        """Something has changed that leases depend on."""
        self._look_again_at = 0.0
        """When to see again who has had for long what others lack; 0: nobody lacks anything."""

    def after_round(self, now: float) -> None:
        """Decide, if there is anything to decide."""
        if self.dirty or 0 < self._look_again_at <= now:
            self.decide()

    def next_due(self, now: float) -> float | None:
        """Seconds until somebody may have had for too long what others lack."""
        return max(0.0, self._look_again_at - now) if self._look_again_at else None

    def on_want_workers(self, client: Client, message: m.WantWorkers) -> None:
        """How many workers it could use."""
        if message.resources is not None:
            client.shapes[message.shape] = to_units(message.resources)
        amounts = client.shapes[message.shape]
        count = self.node.abroad.direct(client, message, amounts)
        crew = self.node.environments.crew(client.job, message.env)
        self.node.queues.told(client, message.shape)
        self.node.scheduler.want(client.id, crew, message.shape, amounts, count, message.depth)
        self.dirty = True

    def on_return_worker(self, client: Client, message: m.ReturnWorker) -> None:
        """A lease has ended."""
        lease = self.node.scheduler.leases.get(message.worker)
        if lease is None or lease.client != client.id:
            return
        self.node.scheduler.release(message.worker)
        if client.far:
            self.node.abroad.released(message.worker)
        worker = self.node.workers.get(message.worker)
        if worker is not None and message.worker not in self.node.pool.kill_at:
            worker.since = time.monotonic()
            self.node.scheduler.worker_idle(message.worker, worker.crew)
        self.dirty = True

    def on_blocked(self, client: Client, message: m.Blocked) -> None:
        """It waits, and lends its CPU."""
        client.waits = message.blocked
        self.node.scheduler.blocked(client.worker, message.blocked)
        self.dirty = True

    def on_interrupt(self, client: Client, message: m.Interrupt) -> None:
        """A task is to be cancelled."""
        lease = self.node.scheduler.leases.get(message.worker)
        worker = self.node.workers.get(message.worker)
        if lease is None or lease.client != client.id or worker is None:
            return
        if message.force and message.seq:
            self.node.pool.kill(message.worker, signal.SIGKILL)
            return
        if message.force:  # its connection has ended, most often with itself: how it ended is to be known
            self.node.pool.kill_at.setdefault(message.worker, time.monotonic() + ENDS_S)
            return
        self.node.send(worker, m.Cancel(client.id, message.seq, message.recursive))
        self.node.pool.kill(message.worker, signal.SIGINT)

    def on_held_up(self, client: Client, message: m.HeldUp) -> None:
        """What a worker has not begun is to go back to its caller."""
        lease = self.node.scheduler.leases.get(message.worker)
        worker = self.node.workers.get(message.worker)
        if lease is not None and lease.client == client.id and worker is not None:
            self.node.send(worker, m.LetGo())

    def decide(self) -> None:
        """Grant what can be had now."""
        self.dirty = False
        self._look_at_labels()
        if self.node.cluster is None:
            self.node.groups.look()
        granted, placed, start = self.node.scheduler.decide(time.monotonic())
        for lease in granted:
            self._lease(lease)
        for waiting, lease in placed:
            if waiting.lease:
                self.node.jobs_here.has_room(lease)
            else:
                self.node.actors.place(waiting.id, lease)
        for job, count in start.items():
            self.node.pool.start(job, count)
        now = time.monotonic()
        for ident, shape, busy in self.node.scheduler.starved(now):
            client = self.node.clients.get(ident)
            if client is not None and (busy or now - client.asked_back > ASK_BACK_S):
                client.asked_back = now
                self.node.send(client, m.GiveBack(busy, shape))
        self._look_again_at = now + SLICE_S if self.node.scheduler.contended else 0.0
        self.node.abroad.spill()
        self.node.queues.look(now)

    def _look_at_labels(self) -> None:
        """Which requests ask for a node that is as this one. Others may have joined that are more as they wish."""
        asking = self.node.scheduler.asking_labels()
        if asking:
            view = self.node.view or {self.node.node_no: self.node.described()}
            own = view.get(self.node.node_no) or self.node.described()
            self.node.scheduler.met = {in_request(amounts) for amounts in asking if policy.belongs(own, view, amounts)}

    def _lease(self, lease: Lease) -> None:
        worker = self.node.workers[lease.worker]
        lease.since = worker.since = time.monotonic()
        client = self.node.clients[lease.client]
        if client.far:
            self.node.abroad.lease(client, lease)
            return
        mine, theirs = pair()
        self.node.send(
            client,
            m.Leased(lease.shape, lease.worker, worker.pid),
            (mine.fileno(), theirs.fileno()),
        )
        mine.close()
        self.node.serve(worker, lease.client, theirs.detach(), lease)
