"""A node that is being drained: it takes nothing new, and ends when nothing is left on it.

Its head has written that it is to be drained, and says so in the view of the nodes. From then on nobody gets a worker here; those
who have some are asked to give them back. The head moves actors that may be restarted. The node looks again and again what is
left, and says so for `skate status`. When only objects are left, another node inherits them (`handover.py`, `heirs.py`). Then it
leaves the cluster and ends; or it ends when its time is over.

INV-1: `waits` is empty only before the order, or when the node is about to end.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from ..wire.cluster import DrainOrder, Leave
from ..wire.groups import group_of
from .directory import SENDER
from .handover import Handover
from .objects import GRACE_S

if TYPE_CHECKING:
    from .service import Node

LOOK_S = 0.05
LINGER_S = 1.0
"""The other nodes have heard from the head who the heir is."""
NAMED_MAX = 5
"""So many actors are named of those that a drain waits for."""


class Drain:
    """The draining of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.order: DrainOrder | None = None
        self.waits: list[str] = []
        """What it waits for, in words."""
        self.handover = Handover(node)
        self.farewell: Leave | None = None
        """What the head is told when the node ends by this."""
        self._ends_at: float | None = None
        self._look_at = 0.0
        self._departed_at = 0.0

    @property
    def departed(self) -> bool:
        """Whether the head was told that this node is empty, and who its heir is."""
        return self._departed_at > 0

    def ordered(self, order: DrainOrder) -> None:
        """The head says that this node is to be drained; it may say so again."""
        if order == self.order:
            return
        now = time.monotonic()
        if self.order is None:
            self.node.parts.append(self)
        self.order = order
        self._ends_at = now + order.deadline_s if order.deadline_s else None
        self._look_at = now
        self.node.scheduler.closed = True
        self.node.decide_again()

    def on_time(self, now: float) -> None:
        """Look what is left, and end when that is nothing."""
        if self.farewell is not None or now < self._look_at:
            return
        self._look_at = now + LOOK_S
        if self.departed:
            self._linger(now)
            return
        self.waits = self._left(now)
        if not self.waits:
            self._depart(now)
        elif self._ends_at is not None and now >= self._ends_at:
            self._end(Leave(f"the time for its drain was over, and there were still {'; '.join(self.waits)}"))
        else:
            self.node.decide_again()  # who has workers is asked for them once more

    def _depart(self, now: float) -> None:
        """Nothing is left. The head says so to all; those who had to do with this node's objects hear it in a moment."""
        cluster = self.node.cluster
        assert cluster is not None
        if not cluster.connected:
            return  # a head that is started again has to hear it
        self._departed_at = now
        cluster.depart(Leave("it was drained", drained=True, heir=self.handover.heir))

    def _linger(self, now: float) -> None:
        """Pass on what is said to this node until everybody talks to its heir, and end."""
        since = now - self._departed_at
        clients = any(client.far for client in self.node.clients.values())
        sends = any(SENDER in entry.holders for entry in self.node.directory.entries.values())
        if not self.handover.heir or since > GRACE_S or (since > LINGER_S and not clients and not sends):
            self._end(Leave("it was drained", drained=True))

    def _end(self, farewell: Leave) -> None:
        self.farewell = farewell
        self.node.stop(farewell.reason)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, self._look_at - now)

    # ------------------------------------------------------------ what is left

    def _left(self, now: float) -> list[str]:
        node = self.node
        drivers = sum(not (client.worker or client.far) for client in node.clients.values())
        tasks = sum(bool(lease.client) for lease in node.scheduler.leases.values())
        actors = [hosted for hosted in node.actors.hosted.values() if hosted.worker]
        staying = [hosted for hosted in actors if not (hosted.may_restart and group_of(hosted.spec.placement)[0])]
        named = [hosted.spec.name or hosted.spec.class_name for hosted in staying[:NAMED_MAX]]
        more = "" if len(staying) <= NAMED_MAX else f" and {len(staying) - NAMED_MAX} more"
        left = [
            _count(drivers, "driver"),
            _count(tasks, "leased worker"),
            f"{_count(len(staying), 'actor')} ({', '.join(named)}{more})" if staying else "",
            self._jobs(),
            self._promised(),
        ]
        left = [words for words in left if words] or self._workers()
        if not left and not self.handover.step(now):
            values = self.handover.objects().values()
            size = sum(value.size for value in values) / 1e6
            left = [f"{_count(len(values), 'object')} in use ({size:.1f} MB), {self.handover.describe()}"]
        return left

    def _jobs(self) -> str:
        jobs = list(self.node.jobs_here.busy)
        return f"{_count(len(jobs), 'job')} ({', '.join(jobs[:NAMED_MAX])})" if jobs else ""

    def _promised(self) -> str:
        """Results of tasks that a worker here has started, and that others wait for: it has to stay until they are there."""
        node = self.node
        here = {client.id for client in node.workers.values()}
        entries = node.directory.entries.values()
        return _count(sum(e.value is None and not e.is_actor and e.owner in here for e in entries), "pending result")

    def _workers(self) -> list[str]:
        """Workers without work, and actors that go on elsewhere with their placement groups: what they hold is let go of before
        anything is handed over."""
        node = self.node
        for worker in node.workers:
            if worker not in node.pool.kill_at:
                node.pool.kill(worker, signal.SIGKILL)
        return [f"{_count(len(node.workers), 'worker')} to end"] if node.workers else []


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}" if number else ""
