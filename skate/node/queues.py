"""How many tasks wait for resources, for whoever looks at the cluster.

What a client tells its node serves the scheduler: that it could use more workers than it has. How many more, it says as seldom
as it can: when twice as many wait, or a quarter. So while something waits, clients are asked every `EVERY_S` how long their
queues are. Nothing is decided by that.

INV-1: `_exact` is what a client has said last; an answer that was on its way when it told its demand may be the older one, until
the next.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .faults import Minor
from .inquiries import PATIENCE_S

if TYPE_CHECKING:
    from .client import Client
    from .scheduler import Demand
    from .service import Node

EVERY_S = 0.5

Key = tuple[bytes, int]


class Queues(Minor):
    """The queues of one node's own clients. Those of others are counted where they were submitted."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._exact: dict[Key, int] = {}
        """By client and shape: how many tasks wait."""
        self._ask_at = 0.0
        """0: nothing has come to wait since nothing did."""
        node.parts.append(self)

    def waits(self, demand: Demand) -> int:
        """How many tasks wait for a demand that is not met."""
        exact = self._exact.get((demand.client, demand.shape))
        return self.node.abroad.waits(demand) if exact is None else exact

    def waiting(self) -> list[Demand]:
        """The demands of this node's clients that are not met."""
        return [demand for demand in self.node.scheduler.demands.values() if self.node.abroad.waits(demand) > 0]

    def told(self, client: Client, shape: int) -> None:
        """A client has told a demand: that is newer."""
        self._exact.pop((client.id, shape), None)

    def forget(self, client: Client) -> None:
        """A client is gone."""
        for key in [key for key in self._exact if key[0] == client.id]:
            del self._exact[key]

    def look(self, now: float) -> None:
        """Something may wait that did not."""
        self._ask_at = self._ask_at or now + EVERY_S

    def _said(self, said: list[dict[str, Any]]) -> None:
        for each in said:
            client = bytes.fromhex(each["client"])
            if each["value"] is not None and client in self.node.clients:
                self._exact.update({(client, shape): count for shape, count in each["value"]})
        self._ask_at = time.monotonic() + EVERY_S

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Ask those whose tasks wait."""
        if 0 < self._ask_at <= now:
            waiting = self.waiting()
            self._ask_at = now + EVERY_S + PATIENCE_S if waiting else 0.0  # sooner if all have answered
            if waiting:
                self.node.inquiries.begin("queues", None, self._said, {demand.client.hex() for demand in waiting})

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, self._ask_at - now) if self._ask_at else None
