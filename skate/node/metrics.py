"""The metrics of a node: what its processes tell, what it measures itself, and who may read them.

Measured is only what cannot be seen later: how long the loop's rounds take, and how workers have ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..wire import heads, messages as m
from ..wire.heads import LoopTimes
from .exposition import pieces
from .sums import Sums

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

WINDOW_S = 60.0
BUSY_S = 0.2
"""A program that ends waits so long for workers of it that run a task, to hear what they have counted."""


class Loop:
    """How long the rounds of the loop take."""

    def __init__(self) -> None:
        self.rounds = 0
        self.busy_s = 0.0
        self._longest_s = 0.0
        self._before_s = 0.0
        """The longest of the window before."""
        self._window_until = 0.0

    def round(self, began: float) -> None:
        """A round has done what there was to do, since `began`."""
        now = time.monotonic()
        spent = now - began
        self.rounds += 1
        self.busy_s += spent
        if now >= self._window_until:
            self._next_window(now)
        if spent > self._longest_s:
            self._longest_s = spent

    def _next_window(self, now: float) -> None:
        self._before_s = self._longest_s if now < self._window_until + WINDOW_S else 0.0
        self._longest_s = 0.0
        self._window_until = now + WINDOW_S

    def now(self) -> LoopTimes:
        """What it has come to."""
        if time.monotonic() >= self._window_until:
            self._next_window(time.monotonic())
        return LoopTimes(self.rounds, self.busy_s, max(self._longest_s, self._before_s))


class Metrics:
    """The metrics of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.sums = Sums()
        self.loop = Loop()
        self.deaths = Counter({"asked to": 0, "crashed": 0, "out of memory": 0})
        self.of_head: heads.Figures | None = None
        """On the head's machine: what its process last said of itself."""

    def on_counted(self, client: Client, message: m.Counted) -> None:
        """A process tells what it has counted."""
        self.sums.add(client.id.hex(), message)

    def gone(self, client: Client) -> None:
        """A process has ended."""
        self.sums.gone(client.id.hex())

    def died(self, worker: int, death: m.Death) -> None:
        """A worker has ended, in this way."""
        asked = death.intended or worker in self.node.pool.asked_to_end
        self.deaths["out of memory" if death.out_of_memory else "asked to" if asked else "crashed"] += 1

    def on_flushed(self, client: Client, message: m.Flushed) -> None:
        """A driver is about to end, and its workers with it: what they have counted, and what has become of the tasks that they
        have started, is heard before. What was counted matters only where the node goes on."""
        node = self.node
        workers = {worker.id.hex() for worker in node.workers.values() if self._ends_with(client, worker)}
        if client.worker or client.far or not workers:
            node.on_flushed(client, message)
            return

        def told(said: list[dict[str, Any]]) -> None:
            for each in said:
                worker = node.clients.get(bytes.fromhex(each["client"]))
                if worker is not None and not each["error"]:
                    worker.told_end = True
            if not client.channel.closed:
                node.on_flushed(client, message)

        node.inquiries.begin("program_ends", None, told, workers, BUSY_S, busy=node.standalone)

    def _ends_with(self, driver: Client, worker: Client) -> bool:
        spec = self.node.actors.spec_of(worker.worker)
        return worker.job == driver.job and not (spec is not None and spec.detached)

    def text(self) -> Iterator[str]:
        """All metrics, as Prometheus reads them, in pieces."""
        from . import figures  # a node that nobody asks needs none of it

        return pieces(chain(figures.families(self.node), self.sums.families()))
