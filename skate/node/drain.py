"""A node that is being drained: it takes nothing new, and ends when nothing is left on it.

Its head has written that it is to be drained, and says so in the view of the nodes. From then on nobody gets a worker here; those
who have some are asked to give them back. The head moves actors that may be restarted. The node looks again and again what is
left, says so for `skate status`, and ends when that is nothing, or when its time is over.

INV-1: `waits` is empty only before the order, or when the node is about to end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..wire.cluster import DrainOrder, Leave
from ..wire.groups import group_of

if TYPE_CHECKING:
    from .service import Node

LOOK_S = 0.05
NAMED_MAX = 5
"""So many actors are named of those that a drain waits for."""


class Drain:
    """The draining of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.order: DrainOrder | None = None
        self.waits: list[str] = []
        """What it waits for, in words."""
        self.farewell: Leave | None = None
        """What the head is told when the node ends by this."""
        self._ends_at: float | None = None
        self._look_at = 0.0

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
        self.waits = self._left()
        if not self.waits:
            self._end(Leave("it was drained", drained=True))
        elif self._ends_at is not None and now >= self._ends_at:
            self._end(Leave(f"the time for its drain was over, and there were still {'; '.join(self.waits)}"))
        else:
            self.node.decide_again()  # who has workers is asked for them once more

    def _end(self, farewell: Leave) -> None:
        self.farewell = farewell
        self.node.stop(farewell.reason)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, self._look_at - now)

    # ------------------------------------------------------------ what is left

    def _left(self) -> list[str]:
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
            *self._objects(),
        ]
        return [words for words in left if words]

    def _objects(self) -> list[str]:
        """Objects that somebody holds: results that are made yet, and bytes."""
        entries = self.node.directory.entries.items()
        mine = [entry for ident, entry in entries if ident[:4] == self.node.directory.number and entry.held > 0]
        size = sum(entry.value.size for entry in mine if entry.value is not None)
        return [f"{_count(len(mine), 'object')} in use ({size / 1e6:.1f} MB)"] if mine else []


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}" if number else ""
