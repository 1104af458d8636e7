"""Which nodes a cluster has, and which of them live.

Pure: joins, reports and silence in; the state of the nodes out.

A node gets a number that no other ever gets. It is the node's incarnation: whoever comes back after it was declared dead is a
new node, and what still arrives under the old number is refused.

INV-1: a number is alive in at most one node, and a node id in at most one living number.
INV-2: `heard` has exactly the living nodes.
"""

from __future__ import annotations

import math

from ..wire.cluster import ALIVE, AWAY, DEAD, DRAINING, DrainOrder, Load, NodeInfo

DEAD_AFTER_S = 3.0
"""A node from which nothing was heard for so long is dead."""
FENCE_AFTER_S = 2.6
"""A node of which the head has confirmed nothing for so long ends all that runs on it. The rest of `DEAD_AFTER_S` is its time for
that, and for clocks that do not run alike: what ran there has ended before it runs elsewhere."""
REJOIN_S = 10.0
"""How long a head that was started again waits for the nodes that it had. Each of them has ended by then, or seen that
there was no head at all: one that hears nothing, not even a refusal, ends itself after `FENCE_AFTER_S`."""
DEAD_NODES_MAX = 1000
"""How many dead nodes are remembered, for whoever asks."""

ID_CHARACTERS_MIN = 4
"""So much of a node's id has to be said, at the least."""


class Nodes:
    """The nodes of one cluster."""

    def __init__(self) -> None:
        self.by_no: dict[int, NodeInfo] = {}
        self.heard: dict[int, float] = {}
        self.loads: dict[int, Load] = {}
        """What living nodes last said of themselves, for whoever asks."""
        self._last = 0
        self._changed: dict[int, None] = {}

    def join(self, info: NodeInfo, now: float) -> int:
        """A node is new, or anew, of the cluster; its number. Another incarnation of it has to be lost first."""
        self._last += 1
        info.no = self._last
        info.state = ALIVE
        self.by_no[info.no] = info
        self.heard[info.no] = now
        self._changed[info.no] = None
        return info.no

    def restore(self, infos: list[NodeInfo], now: float) -> None:
        """A head was started again: these were its nodes. The living have time to come back."""
        for info in infos:
            self.by_no[info.no] = info
            self._last = max(self._last, info.no)
            if info.state != DEAD:
                info.state = AWAY
                self.heard[info.no] = now + REJOIN_S - DEAD_AFTER_S

    def rejoin(self, info: NodeInfo, now: float) -> bool:
        """A living node is back after it had lost the head; False: it was declared dead, or this is not its cluster."""
        known = self.by_no.get(info.no)
        if known is None or info.no not in self.heard or known.id != info.id:
            return False
        info.drain = known.drain
        info.state = DRAINING if info.drain is not None else ALIVE
        self.by_no[info.no] = info
        self.heard[info.no] = now
        self._changed[info.no] = None
        return True

    def incarnation(self, ident: str) -> int | None:
        """The number of the living node with an id."""
        return next((no for no in self.heard if self.by_no[no].id == ident), None)

    def report(
        self,
        no: int,
        free: dict[str, int],
        demand: list[tuple[dict[str, int], int]],
        now: float,
        total: dict[str, int] | None = None,
    ) -> None:
        """A node says what is free there, and what waits."""
        if no not in self.heard:
            return
        info = self.by_no[no]
        self.heard[no] = now
        if info.free != free or info.demand != demand or total is not None:
            info.free, info.demand = free, demand
            info.total = total or info.total
            self._changed[no] = None

    def touch(self, no: int) -> None:
        """What is said to be free on a node was guessed anew: the others are to know."""
        self._changed[no] = None

    def beat(self, no: int, now: float) -> None:
        """A node lives."""
        if no in self.heard:
            self.heard[no] = now

    def drain(self, no: int, order: DrainOrder) -> None:
        """A living node is to take nothing new; said again, it has another reason and deadline."""
        info = self.by_no[no]
        info.drain = order
        if info.state == ALIVE:  # one that is away hears of it when it is back
            info.state = DRAINING
        self._changed[no] = None

    def called(self, name: str) -> list[NodeInfo]:
        """The living nodes that somebody may mean by a number, a name, or the beginning of an id, which is no number."""
        alive = [self.by_no[no] for no in self.heard]
        for found in (
            [info for info in alive if str(info.no) == name or info.id == name],
            [info for info in alive if info.name == name],
            [info for info in alive if info.id.startswith(name) and len(name) >= ID_CHARACTERS_MIN],
        ):
            if found:
                return found
        return []

    def lost(self, no: int, reason: str, drained: bool = False, heir: int = 0) -> bool:
        """A node is dead from now on; False when it was already."""
        if self.heard.pop(no, None) is None:
            return False
        self.loads.pop(no, None)
        info = self.by_no[no]
        info.state, info.reason, info.drained, info.heir = DEAD, reason, drained, heir
        info.free, info.demand = {}, []
        self._changed[no] = None
        dead = [number for number in self.by_no if number not in self.heard]
        for number in dead[: len(dead) - DEAD_NODES_MAX]:
            del self.by_no[number]
        return True

    def silent(self, now: float) -> list[int]:
        """The nodes that have said nothing for too long."""
        return [no for no, at in self.heard.items() if now >= at + DEAD_AFTER_S]

    def silent_from(self) -> float:
        """When the first node will have said nothing for too long, if none says anything."""
        return min(self.heard.values(), default=math.inf) + DEAD_AFTER_S

    def take_changes(self) -> list[NodeInfo]:
        """What has changed since this was called last."""
        changed, self._changed = self._changed, {}
        return [self.by_no[no] for no in changed if no in self.by_no]

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` would give anything."""
        return bool(self._changed)

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        assert set(self.heard) == {no for no, info in self.by_no.items() if info.state != DEAD}
        ids = [self.by_no[no].id for no in self.heard]
        assert len(set(ids)) == len(ids)
