"""Which node gets which bundle of a placement group.

Pure arithmetic over the view, as in `policy.py`. All of the bundles find a place, or none. A group may outlive any program, so
none is on a node that ends with one.

    PACK            on as few nodes as will do
    SPREAD          on as many nodes as there are, evenly
    STRICT_PACK     on one node
    STRICT_SPREAD   each on a node of its own
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..wire.cluster import ALIVE, NodeInfo

PACK = "PACK"
SPREAD = "SPREAD"
STRICT_PACK = "STRICT_PACK"
STRICT_SPREAD = "STRICT_SPREAD"

Amounts = dict[str, int]
Free = dict[int, Amounts]


def plan(
    view: Mapping[int, NodeInfo],
    wanted: Mapping[int, Amounts],
    strategy: str,
    taken: Iterable[int] = (),
    allowed: Mapping[int, set[int]] | None = None,
    ever: bool = False,
) -> dict[int, int] | None:
    """A node for each bundle; None when they do not all fit.

    Args:
        view: all nodes.
        wanted: the amounts of each bundle that has no place, by its index.
        strategy: one of the four.
        taken: nodes that have other bundles of the group.
        allowed: for bundles that may not go everywhere, the nodes where they may.
        ever: whether they would fit if everything was free.
    """
    able = {no: info for no, info in view.items() if info.state == ALIVE and not info.brought}
    free: Free = {no: dict(info.total if ever else info.free) for no, info in able.items()}
    used = [no for no in taken if no in free]
    order = sorted(wanted, key=lambda at: (-max(wanted[at].values(), default=0), -len(wanted[at]), at))
    if strategy == STRICT_SPREAD:
        return _match(free, wanted, order, set(used), allowed or {})
    if strategy == STRICT_PACK:
        return _together(free, wanted, order, used, allowed or {})
    chosen: dict[int, int] = {}
    if strategy == PACK:
        together = _together(free, wanted, order, used, allowed or {})
        if together is not None:
            return together
    load = dict.fromkeys(free, 0)
    for no in used:
        load[no] += 1
    for at in order:
        fitting = [no for no in free if _fits(free[no], wanted[at]) and _may(at, no, allowed)]
        if not fitting:
            return None
        if strategy == PACK:  # where most is already, then where most of the rest would fit
            best = max(fitting, key=lambda no: (load[no], _count(free[no], wanted, order), -no))
        else:
            best = min(fitting, key=lambda no: (load[no], no))
        load[best] += 1
        _take(free[best], wanted[at])
        chosen[at] = best
    return chosen


def _may(at: int, no: int, allowed: Mapping[int, set[int]] | None) -> bool:
    return not allowed or at not in allowed or no in allowed[at]


def _fits(free: Amounts, amounts: Amounts) -> bool:
    return all(free.get(name, 0) >= units for name, units in amounts.items())


def _take(free: Amounts, amounts: Amounts) -> None:
    for name, units in amounts.items():
        free[name] = free.get(name, 0) - units


def _count(free: Amounts, wanted: Mapping[int, Amounts], order: Sequence[int]) -> int:
    left = dict(free)
    count = 0
    for at in order:
        if _fits(left, wanted[at]):
            _take(left, wanted[at])
            count += 1
    return count


def _together(
    free: Free,
    wanted: Mapping[int, Amounts],
    order: Sequence[int],
    used: Sequence[int],
    allowed: Mapping[int, set[int]],
) -> dict[int, int] | None:
    total: Amounts = {}
    for amounts in wanted.values():
        for name, units in amounts.items():
            total[name] = total.get(name, 0) + units
    for no in [*used, *sorted(no for no in free if no not in used)]:
        if _fits(free[no], total) and all(_may(at, no, allowed) for at in order):
            return dict.fromkeys(order, no)
        if used and no in used:
            continue
    return None


def _match(
    free: Free, wanted: Mapping[int, Amounts], order: Sequence[int], used: set[int], allowed: Mapping[int, set[int]]
) -> dict[int, int] | None:
    """A node for each, no node twice: a bipartite matching, by augmenting paths (Kuhn)."""
    holder: dict[int, int] = {}

    def find(at: int, seen: set[int]) -> bool:
        for no in sorted(free):
            if no in used or no in seen or not _fits(free[no], wanted[at]) or not _may(at, no, allowed):
                continue
            seen.add(no)
            if no not in holder or find(holder[no], seen):
                holder[no] = at
                return True
        return False

    for at in order:
        if not find(at, set()):
            return None
    return {at: no for no, at in holder.items()}
