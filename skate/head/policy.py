"""Which node gets what: placement over the cluster.

Pure arithmetic over the view that every node has. The view is a hint, some milliseconds old: whoever owns the resources decides,
and a request that finds none there waits there or is told of another place.

The order is hybrid, as Ray's users know it: the own node first, then nodes that are less than half full in the order of their
numbers, so that work stays together; then the emptiest.

A node that a program has brought along ends with it. Only what comes from that node is placed there, or names it; nothing that
may outlive the program (`lasting`): detached actors, placement groups, submitted jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..wire import labels
from ..wire.cluster import ALIVE, DEAD, NodeInfo
from ..wire.groups import is_own

SPREAD = "SPREAD"
"""In place of a node's id: the nodes take turns."""
BY_ADDRESS = "node:"
"""What a resource begins with that only one machine has: who asks for it means that machine."""
PACK_BELOW = 0.5
"""Nodes less full than this are filled one after the other."""

Amounts = Mapping[str, int]
View = Mapping[int, NodeInfo]


def feasible(node: NodeInfo, request: Amounts) -> bool:
    """Whether a node could ever meet a request; of several wishes about labels, any."""
    return node.state == ALIVE and has(node, request)


def has(node: NodeInfo, request: Amounts) -> bool:
    """As `feasible`, for a node that takes no work now, too."""
    name = labels.in_request(request)
    if name:
        if not any(labels.meets(node.labels, wish) for wish in labels.wish_of(name)):
            return False
        request = labels.without(request)
    return all(node.total.get(name, 0) >= units for name, units in request.items())


def lasting(view: View) -> dict[int, NodeInfo]:
    """The nodes that end with no program."""
    return {no: node for no, node in view.items() if not node.brought}


def may_take(node: NodeInfo, own: int, request: Amounts) -> bool:
    """Whether what comes from node `own` may be sent to a node at all."""
    return not node.brought or node.no == own or any(name.startswith(BY_ADDRESS) for name in request)


def called(view: View, ident: str) -> NodeInfo | None:
    """The node with an id: the one that lives, if one that has joined twice died under its first number; None: there is none."""
    found = [node for node in view.values() if node.id == ident]
    return next((node for node in found if node.state != DEAD), found[-1] if found else None)


def settle(view: View, request: Amounts) -> Amounts:
    """The request with one wish about labels: the first that some node could ever meet, or else the first of all."""
    name = labels.in_request(request)
    if not name or len(labels.wish_of(name)) < 2:
        return request
    bare = labels.without(request)
    settled = [{**bare, labels.name_of([wish]): request[name]} for wish in labels.wish_of(name)]
    return next((each for each in settled if any(feasible(node, each) for node in view.values())), settled[0])


def belongs(node: NodeInfo, view: View, request: Amounts) -> bool:
    """Whether a node has the labels that a request asks for, as things are."""
    name = labels.in_request(settle(view, request))
    return not name or labels.meets(node.labels, labels.wish_of(name)[0])


def room(free: Amounts, request: Amounts) -> int:
    """How many times a request fits into what is free; a request for nothing fits often."""
    counts = [free.get(name, 0) // units for name, units in labels.without(request).items() if units > 0]
    return max(0, min(counts)) if counts else 1_000


def room_now(node: NodeInfo, request: Amounts) -> bool:
    """Whether a node could meet a request at once."""
    return feasible(node, request) and room(node.free, request) > 0


def fullness(node: NodeInfo) -> float:
    """The share of a node's most wanted resource that is in use. What is in use of a bundle is the bundle's affair."""
    total = node.total.items()
    used = [1 - node.free.get(name, 0) / units for name, units in total if units > 0 and is_own(name)]
    return max(used, default=0.0)


def ranked(view: View, own: int, request: Amounts) -> list[NodeInfo]:
    """The nodes that could ever meet a request that comes from node `own`, the best first."""

    def order(node: NodeInfo) -> tuple[bool, float, int]:
        full = fullness(node)
        return node.no != own, 0.0 if full < PACK_BELOW else full, node.no

    request = settle(view, request)
    able = (node for node in view.values() if feasible(node, request) and may_take(node, own, request))
    return sorted(able, key=order)


def place(view: View, own: int, request: Amounts) -> int | None:
    """The node for an actor: the best that has room now, or else that could ever have; None when there is none."""
    nodes = ranked(view, own, request)
    for node in nodes:
        if room(node.free, request):
            return node.no
    return nodes[0].no if nodes else None


def spread(
    view: View, own: int, request: Amounts, count: int, turn: int, had: Mapping[int, int] | None = None
) -> tuple[dict[int, int], int]:
    """How many of `count`, which come from node `own`, each node gets when all with room are to have the same, beginning with
    another each `turn`; and for how many there is no room. Of those, nodes have some already (`had`), which is no free room any
    more."""
    request = settle(view, request)
    nodes = sorted(node.no for node in view.values() if feasible(node, request) and may_take(node, own, request))
    rooms = {no: room(view[no].free, request) + (had or {}).get(no, 0) for no in nodes}
    shares = dict.fromkeys(nodes, 0)
    at = turn % len(nodes) if nodes else 0
    turns = nodes[at:] + nodes[:at]
    while count > 0 and (open_ := [no for no in turns if shares[no] < rooms[no]]):
        each = max(1, count // len(open_))
        for no in open_[:count]:
            taken = min(each, rooms[no] - shares[no])
            shares[no] += taken
            count -= taken
    return {no: share for no, share in shares.items() if share}, count


class Place(NamedTuple):
    """Where else what waits could run."""

    at: int
    """Which request, of those that were asked about."""
    node: int
    room: int
    """For how many more there is room."""
    share: int
    """If that is not enough: how many in all may wait there, too."""


def elsewhere(view: View, own: int, wanted: Sequence[tuple[Amounts, int]]) -> list[Place]:
    """Where else what waits on node `own` could run.

    What no node has room for waits everywhere, and runs where something comes free first. On nodes other than the own one it
    may wait for half of what they have: so two programs get equal shares of all nodes, wherever they were started.

    Args:
        view: all nodes.
        own: the number of the node where it waits.
        wanted: requests, and how many times each could be met beyond what the own node has room for.
    """
    free = {node.no: dict(node.free) for node in view.values()}
    out = []
    for at, (request, count) in enumerate(wanted):
        nodes = ranked(view, own, request)
        others = [node for node in nodes if node.no != own]
        rooms = {}
        for node in others:
            taken = rooms[node.no] = min(count, room(free[node.no], request))
            count -= taken
            for name, units in request.items():
                free[node.no][name] = free[node.no].get(name, 0) - taken * units
        parts = 1 if len(others) == len(nodes) else 2
        for node in others:
            share = max(1, room(node.total, request) // parts) if count else 0
            if rooms[node.no] or share:
                out.append(Place(at, node.no, rooms[node.no], share))
    return out
