"""The life of placement groups.

Pure: events in, a list of effects out; the shell carries them out.

    PENDING --a plan, and every node has reserved its part--> CREATED --a node with bundles is lost--> RESCHEDULING --> CREATED
       any state --removed, or its job has ended--> REMOVED

Reserving has two phases: each node takes the resources (`Reserve`), and only when all have them they may be used (`Commit`).
If one cannot, all give back what they took, and a new attempt is made when something has become free.

INV-1: a bundle that has a node is reserved there, or being reserved in the present attempt.
INV-2: a name belongs to at most one group that is not removed.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from ..wire.cluster import AWAY, DEAD, NodeInfo
from ..wire.groups import CREATED, PENDING, REMOVED, RESCHEDULING, CreateGroup
from . import bundles
from .labels import matches

UNPLACED = -1


class Group(Struct, eq=False):
    """One placement group."""

    spec: CreateGroup
    job: str
    amounts: list[bundles.Amounts]
    state: str = PENDING
    nodes: list[int] = field(default_factory=list)
    """The node of each bundle."""
    waiting: set[int] = field(default_factory=set)
    """Nodes that have not answered in this attempt."""
    asked: dict[int, list[int]] = field(default_factory=dict)
    """What each node was asked for in this attempt."""
    refused: bool = False
    attempt: int = 0
    reason: str = ""
    watchers: set[bytes] = field(default_factory=set)


class Reserve(Struct, eq=False):
    """Have a node reserve bundles."""

    group: Group
    node: int
    indices: list[int]


class Commit(Struct, eq=False):
    """A node's bundles may be used."""

    group: Group
    node: int


class Return(Struct, eq=False):
    """A node gives bundles back; all of them, if none are named."""

    group: Group
    node: int
    indices: list[int] | None


class Tell(Struct, eq=False):
    """Write the group's state, and tell whoever watches it."""

    group: Group


Effect = Reserve | Commit | Return | Tell


class Groups:
    """All placement groups of the cluster."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, Group] = {}
        self.by_name: dict[tuple[str, str], bytes] = {}
        self.unsettled: dict[bytes, Group] = {}
        """Those that have bundles without a node."""

    def create(self, group: Group, view: Mapping[int, NodeInfo]) -> list[Effect]:
        """A client creates a group; its name, if it has one, is free."""
        group.nodes = [UNPLACED] * len(group.amounts)
        self.by_id[group.spec.id] = self.unsettled[group.spec.id] = group
        if group.spec.name:
            self.by_name[group.spec.namespace, group.spec.name] = group.spec.id
        return self._try(group, view) or [Tell(group)]

    def restore(self, group: Group) -> None:
        """A head was started again: this was one of its groups. What was not finished begins anew."""
        if group.state == PENDING:
            group.nodes = [UNPLACED] * len(group.amounts)
        group.waiting, group.asked, group.refused = set(), {}, False
        self.by_id[group.spec.id] = group
        if group.spec.name:
            self.by_name[group.spec.namespace, group.spec.name] = group.spec.id
        if UNPLACED in group.nodes:
            self.unsettled[group.spec.id] = group

    def living(self, job: str) -> bool:
        """Whether a job has a group."""
        return any(group.job == job for group in self.by_id.values())

    def find(self, namespace: str, name: str) -> Group | None:
        """The group of that name."""
        ident = self.by_name.get((namespace, name))
        return self.by_id.get(ident) if ident is not None else None

    # ------------------------------------------------------------ placing

    def look(self, view: Mapping[int, NodeInfo]) -> list[Effect]:
        """Something may have become free."""
        effects: list[Effect] = []
        hopeless: set[str] = set()
        for group in list(self.unsettled.values()):
            wish = f"{group.spec.strategy}{group.amounts}{group.spec.selectors}"
            if group.waiting or wish in hopeless:
                continue
            found = self._try(group, view)
            if found is None:
                hopeless.add(wish)
            else:
                effects += found
        return effects

    def _try(self, group: Group, view: Mapping[int, NodeInfo]) -> list[Effect] | None:
        wanted = {at: group.amounts[at] for at, no in enumerate(group.nodes) if no == UNPLACED}
        placed = [no for no in group.nodes if no != UNPLACED]
        allowed = _allowed(group, view)
        chosen = bundles.plan(view, wanted, group.spec.strategy, placed, allowed)
        if chosen is None:
            possible = bundles.plan(view, wanted, group.spec.strategy, placed, allowed, ever=True) is not None
            group.reason = (
                "what it needs is in use" if possible else "no nodes of the cluster could ever give what it needs"
            )
            return None
        group.attempt += 1
        group.refused = False
        group.asked = {}
        for at, no in chosen.items():
            group.asked.setdefault(no, []).append(at)
            group.nodes[at] = no
            free = view[no].free  # a hint, which the node corrects: the next plan should not count on it
            for name, units in group.amounts[at].items():
                free[name] = free.get(name, 0) - units
        group.waiting = set(group.asked)
        return [Reserve(group, no, indices) for no, indices in group.asked.items()]

    def answered(self, ident: bytes, node: int, attempt: int, done: bool) -> list[Effect]:
        """A node has reserved its part, or cannot."""
        group = self.by_id.get(ident)
        if group is None or attempt != group.attempt or node not in group.waiting:
            return []
        group.waiting.discard(node)
        if not done:
            group.refused = True
            for at in group.asked.pop(node):
                group.nodes[at] = UNPLACED
        return self._settle(group)

    def _settle(self, group: Group) -> list[Effect]:
        if group.waiting:
            return []
        asked, group.asked = group.asked, {}
        if group.refused:
            group.reason = "a node had less than it had said"
            for indices in asked.values():
                for at in indices:
                    group.nodes[at] = UNPLACED
            return [Return(group, no, indices) for no, indices in asked.items()]
        commits: list[Effect] = [Commit(group, no) for no in asked]
        if UNPLACED in group.nodes:  # another node was lost meanwhile: what was there is for the next attempt
            return commits
        group.state, group.reason = CREATED, ""
        self.unsettled.pop(group.spec.id, None)
        return [*commits, Tell(group)]

    # ------------------------------------------------------------ losses and ends

    def node_died(self, node: int) -> list[Effect]:
        """A node is gone, and the bundles on it."""
        effects: list[Effect] = []
        for group in list(self.by_id.values()):
            if node in group.nodes:
                effects += self._lost(group, node, [at for at, no in enumerate(group.nodes) if no == node])
        return effects

    def _lost(self, group: Group, node: int, indices: list[int]) -> list[Effect]:
        for at in indices:
            group.nodes[at] = UNPLACED
        self.unsettled[group.spec.id] = group
        if node in group.asked:
            group.waiting.discard(node)
            group.refused = True
            return [Return(group, node, group.asked.pop(node)), *self._settle(group)]
        group.state, group.reason = RESCHEDULING, f"node {node}, which had some of it, is gone"
        return [Tell(group)]

    def node_has(self, node: int, held: Mapping[bytes, list[int]]) -> list[Effect]:
        """A node is there, or is back, and has these bundles: what it should not have it gives back, what it lacks is lost."""
        effects: list[Effect] = []
        for ident, indices in held.items():
            group = self.by_id.get(ident)
            if group is None:
                effects.append(Return(Group(CreateGroup(ident, [], "", "", "", False), "", []), node, None))
                continue
            wrong = [at for at in indices if group.nodes[at] != node or node in group.asked]
            if wrong:
                effects.append(Return(group, node, wrong))
            if len(wrong) < len(indices):
                effects.append(Commit(group, node))
        for group in list(self.by_id.values()):
            here = () if node in group.asked else held.get(group.spec.id, ())
            missing = [at for at, no in enumerate(group.nodes) if no == node and at not in here]
            if missing:
                effects += self._lost(group, node, missing)
        return effects

    def remove(self, ident: bytes) -> list[Effect]:
        """Somebody removes it."""
        group = self.by_id.pop(ident, None)
        self.unsettled.pop(ident, None)
        if group is None:
            return []
        name = (group.spec.namespace, group.spec.name)
        if self.by_name.get(name) == ident:
            del self.by_name[name]
        nodes = {no for no in group.nodes if no != UNPLACED}
        group.state = REMOVED
        return [*(Return(group, no, None) for no in sorted(nodes)), Tell(group)]

    def job_ended(self, job: str) -> list[Effect]:
        """A driver has gone: its groups go, but for detached ones."""
        effects: list[Effect] = []
        for group in [group for group in self.by_id.values() if group.job == job and not group.spec.detached]:
            effects += self.remove(group.spec.id)
        return effects

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        for ident, group in self.by_id.items():
            assert (UNPLACED in group.nodes or bool(group.waiting)) == (ident in self.unsettled), group
            assert group.state != CREATED or UNPLACED not in group.nodes
            assert group.waiting <= set(group.asked)
        assert all(self.by_id[ident].spec.name == name for (_, name), ident in self.by_name.items())


def _allowed(group: Group, view: Mapping[int, NodeInfo]) -> dict[int, set[int]] | None:
    selectors = group.spec.selectors
    if not selectors:
        return None
    return {
        at: {no for no, info in view.items() if info.state not in (DEAD, AWAY) and matches(info.labels, selector)}
        for at, selector in enumerate(selectors)
        if selector
    }
