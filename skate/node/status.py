"""What `skate status` shows: nodes, what waits and why, what failed.

The head knows most: what nodes say of their stores and drains, and the failures. Another node answers with what the head has
spread, when the head cannot be asked.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from ..head import policy
from ..head.jobs import Status
from ..store.arena import HEADER_BYTES
from ..wire.cluster import ALIVE, AWAY, DEAD, DRAINING, Load, NodeInfo
from ..wire.groups import CREATED, group_of, plain
from ..wire.labels import describe, in_request, without
from .resources import UNIT, from_units, own, to_units

if TYPE_CHECKING:
    from .service import Node


def cluster_status(node: Node) -> dict[str, Any]:
    """The state of the cluster, as plain data."""
    head = node.head
    view = node.view or {node.node_no: _alone(node)}
    loads = head.members.nodes.loads if head is not None else {node.node_no: load_of(node)}
    return {
        "head": head_address(node),
        "nodes": [_node(info, loads.get(info.no)) for info in view.values()],
        "demand": _demand(node, view),
        "groups": [_group(group) for group in node.groups.show() if group["state"] != CREATED],
        "jobs": _jobs(node),
        "failures": _failures(node),
    }


def _alone(node: Node) -> NodeInfo:
    """A node that is in no cluster, as the only one of its own."""
    info = node.described()
    info.name = info.hostname = socket.gethostname()
    info.host, info.demand = "127.0.0.1", waiting(node)
    return info


def waiting(node: Node) -> list[tuple[dict[str, int], int]]:
    """What waits for resources of a node, or for its turn there: a request, and how many times."""
    counts = [(dict(demand.amounts), node.queues.waits(demand)) for demand in node.queues.waiting()]
    found = [(amounts, count) for amounts, count in counts if count]
    found.extend((dict(actor.placement), 1) for actor in node.scheduler.actors)
    return found


def load_of(node: Node) -> Load:
    """What is worth knowing of a node and cannot be seen from what is free."""
    capacity = node.arena_bytes - HEADER_BYTES
    used = capacity - node.directory.free.total
    return Load(used, capacity, node.spills.logic.disk_bytes, node.drain.waits)


def head_address(node: Node) -> str:
    """Where the head of its cluster is, as host:port."""
    if node.head is not None:
        return f"{node.head.settings.host}:{node.head.settings.port}"
    return "{}:{}".format(*node.cluster.head) if node.cluster is not None else ""


def node_info(info: NodeInfo) -> dict[str, Any]:
    """A node, in the words of `nodes()`."""
    return {
        "No": info.no,
        "NodeID": info.id,
        "Alive": info.state != DEAD,
        "NodeManagerAddress": info.host,
        "NodeManagerHostname": info.hostname,
        "NodeManagerPort": info.port,
        "NodeName": info.name,
        "Resources": own(info.total) if info.state != DEAD else {},
        "Labels": info.labels,
        "State": "drained" if info.drained else info.state,
        "DeathReasonMessage": info.reason,
    }


def _node(info: NodeInfo, load: Load | None) -> dict[str, Any]:
    return {
        **node_info(info),
        "Free": own(info.free),
        "Store": None
        if load is None
        else {"used": load.store_used, "total": load.store_total, "spilled": load.spilled},
        "Drain": None
        if info.drain is None or info.state == DEAD
        else {
            "reason": info.drain.reason,
            "deadline_s": info.drain.deadline_s,
            "waits_for": [] if load is None else load.waits,
        },
    }


def _group(group: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": group["placement_group_id"],
        "name": group["name"],
        "state": group["state"],
        "strategy": group["strategy"],
        "bundles": list(group["bundles"].values()),
        "reason": group["stats"]["scheduling_state"],
    }


def _jobs(node: Node) -> list[dict[str, Any]]:
    """Submitted jobs that have a node, and do not run yet; only the head knows of them."""
    table = node.head.jobs.table if node.head is not None else None
    living = table.living.values() if table is not None else ()
    starting = [job for job in living if job.status is Status.PENDING and job.begun and job.doing]
    return [{"id": job.spec.id, "reason": job.doing} for job in starting]


def _failures(node: Node) -> list[dict[str, Any]]:
    """What failed lately, the oldest first; how long ago, if that is known."""
    now = time.monotonic()
    known = node.deaths.failures if node.head is None else node.head.members.failures
    found = [{"seconds_ago": round(now - at, 1) if at else None, "text": text} for at, text in known]
    if node.head is not None:
        return found
    lost = [info for info in node.view.values() if info.state == DEAD and not info.drained]
    return [{"seconds_ago": None, "text": f"node {i.no} ({i.name}) was lost: {i.reason}"} for i in lost] + found


# ------------------------------------------------------------ what waits, and why


def _demand(node: Node, view: dict[int, NodeInfo]) -> list[dict[str, Any]]:
    wanted = [(info.no, request, count, False) for info in view.values() for request, count in info.demand]
    if node.head is not None:  # actors for which there was not even a node to wait on
        nowhere = [actor for actor in node.actors.table.waiting() if not actor.node]
        wanted += [(0, to_units(actor.spec.placement), 1, actor.spec.detached) for actor in nowhere]
        wanted += [(0, request, 1, True) for request in node.head.jobs.waiting()]
    return [
        {
            "node": number,
            "request": from_units(without(request)),
            "wants": describe(plain(from_units(request)) if group_of(request)[0] else from_units(request)),
            "count": count,
            "reason": why_waiting(node, request, view, lasts),
        }
        for number, request, count, lasts in wanted
    ]


def why_waiting(
    node: Node, request: dict[str, int], known: dict[int, NodeInfo] | None = None, lasts: bool = False
) -> str:
    """Why a request waits that no node has met yet.

    Args:
        node: who is asked.
        request: what is needed.
        known: the nodes, if not those that the node has heard of.
        lasts: it is for something that may outlive any program.
    """
    view = list((node.view if known is None else known).values())
    brought = [str(info.no) for info in view if lasts and info.brought and policy.feasible(info, request)]
    view = [info for info in view if not (lasts and info.brought)]
    group = group_of(request)[0]
    if group:
        return _why_group(node, group, request)
    if any(policy.feasible(info, request) for info in view):
        bare = without(request)
        if any(i.state == ALIVE and all(i.free.get(name, 0) >= n for name, n in bare.items()) for i in view):
            return "there is room: a worker is being started, or its runtime environment is set up"
        return "every node that could is busy"
    for state, words in (
        (DRAINING, "which is being drained"),
        (AWAY, "which is away since the head was started again"),
    ):
        could = [str(info.no) for info in view if info.state == state and policy.has(info, request)]
        if could:
            return f"only node {' or '.join(could)} could, {words}"
    if brought:
        return f"only node {' or '.join(brought)} could, which ends with the program that has brought it along"
    alive = [info for info in view if info.state == ALIVE]
    bare = without(request)
    fits = [info for info in alive if policy.has(info, bare)]
    if in_request(request) and (fits or not bare):
        return "waits for labels: no node has these labels, and that much"
    most = {name: max((info.total.get(name, 0) for info in alive), default=0) for name in bare}
    none = [name for name in bare if not most[name]]
    if none:
        return f"infeasible: no node has any {' or '.join(none)}"
    short = [f"{most[name] / UNIT:g} {name}" for name, units in bare.items() if most[name] < units]
    if short:
        return f"infeasible: no node has that much; the most is {', '.join(short)}"
    return "infeasible: no node has all of that together"


def _why_group(node: Node, group: str, request: dict[str, int]) -> str:
    known = node.groups.table.by_id.get(bytes.fromhex(group))
    if known is not None and known.state != CREATED:
        return f"its placement group is {known.state}: {known.reason}"
    if any(policy.has(info, request) for info in node.view.values()):
        return "waits for its placement group: what its bundles have is in use"
    return "waits for its placement group, which has no such bundle now"
