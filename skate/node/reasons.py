"""What a node says when somebody asks why something is not done: who has what, what its workers are, how they ended."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..head import policy
from ..head.actors import Actor
from ..wire.cluster import NodeInfo
from ..wire.environments import crew as crew_of
from ..wire.labels import without
from ..wire.reasons import HOLDERS_MAX, Holders, Process, told
from .resources import UNIT, cpu_part, from_units, to_units

if TYPE_CHECKING:
    from .service import Node


def why(node: Node, needed: dict[str, float]) -> dict[str, Any]:
    """What of a request is short, in words, and the numbers of the nodes that could give it; none if that does not matter. What
    is needed, whoever asks has said.

    `room`: the number of a node that has room, so that only a worker is missing (0: of the only node); None: no node has.
    """
    if node.cluster is not None:
        return _why_in_cluster(node.view.values(), to_units(needed))
    short = [
        f"{max(0, free) / UNIT:g} of {total / UNIT:g} {name} free" for name, units, free, total in _short(node, needed)
    ]
    if not short:
        return {"text": "the resources are free", "nodes": [], "room": 0}
    return {"text": ", ".join(short), "nodes": [0], "room": None}


def starting(node: Node, argument: dict[str, Any]) -> str:
    """`{"crew"}`: what is done before a worker runs of a crew for which there is room."""
    return node.environments.why(str(argument["crew"]))


def _short(node: Node, needed: dict[str, float]) -> list[tuple[str, int, int, int]]:
    pool = node.scheduler.pool
    return [
        (name, units, pool.free.get(name, 0), pool.total.get(name, 0))
        for name, units in without(to_units(needed)).items()
        if pool.free.get(name, 0) < units
    ]


def _why_in_cluster(view: Iterable[NodeInfo], needed: dict[str, int]) -> dict[str, Any]:
    """Which nodes could ever give what is needed, and what they lack now."""
    could = [info for info in view if policy.feasible(info, needed)]
    needed = without(needed)
    if not could:
        return {"text": "no node of the cluster has that: it waits for one that joins", "nodes": [], "room": None}
    lines = []
    for info in could:
        short = [
            f"{max(0, info.free.get(name, 0)) / UNIT:g} of {info.total[name] / UNIT:g} {name} free"
            for name, units in needed.items()
            if info.free.get(name, 0) < units
        ]
        if not short:
            return {"text": f"node {info.no} ({info.name}) has room", "nodes": [], "room": info.no}
        lines.append(f"node {info.no} ({info.name}): {', '.join(short)}")
    return {"text": "; ".join(lines), "nodes": [info.no for info in could], "room": None}


def holders(node: Node, needed: dict[str, float]) -> Any:
    """Who has what a request lacks on this node. Who has lent what is lacking does not count."""
    names = [name for name, *_ in _short(node, needed)]
    found = []
    for worker, lease in node.scheduler.leases.items():
        had = lease.amounts if not lease.lent else lease.amounts.keys() - cpu_part(lease.amounts).keys()
        if any(name in had for name in names):
            found.append(worker)
    processes = [process_of(node, worker) for worker in found[:HOLDERS_MAX]]
    return told(Holders(not names, names, processes, len(found)))


def process(node: Node, argument: dict[str, Any]) -> Any:
    """`{"pid"}`: what a worker of this node is; None if it is none, or has ended."""
    pid = int(argument["pid"])
    for worker, client in node.workers.items():
        if client.pid == pid:
            return told(process_of(node, worker))
    return None


def process_of(node: Node, worker: int) -> Process:
    """What a worker of this node is."""
    client = node.workers[worker]
    lease = node.scheduler.leases.get(worker)
    found = Process(client.pid, worker, client.id.hex(), "idle", client.talks or client.waits)
    if lease is not None:
        found.state = "leased"
        found.lessee = lease.client.hex()
        found.amounts = from_units(lease.amounts)
        found.seconds = time.monotonic() - lease.since if lease.since else 0.0
    spec = node.actors.spec_of(worker)
    if spec is not None:
        found.state = "actor"
        found.actor, found.class_name, found.name = spec.id.hex(), spec.class_name, spec.name
    return found


def actor(node: Node, argument: dict[str, Any]) -> Any:
    """`{"id"}`: how an actor is, for whom the head, or the only node, is asked; None if it is not known."""
    found = node.actors.table.by_id.get(bytes.fromhex(str(argument["id"])))
    return None if found is None else _actor(node, found)


def _actor(node: Node, found: Actor) -> dict[str, Any]:
    spec = found.spec
    return {
        "actor_id": found.id.hex(),
        "class_name": spec.class_name,
        "name": spec.name,
        "state": str(found.state),
        "restarts": found.restarts,
        "max_restarts": spec.max_restarts,
        "pid": found.pid if found.worker else 0,
        "node": node.actors.number_of(found) if found.worker else found.node,
        "needs": dict(spec.placement),
        "crew": crew_of(found.job, spec.env),
        "moving": found.moving,
        "concurrent": spec.is_async or spec.max_concurrency > 1 or bool(spec.concurrency_groups),
        "nowhere": _nowhere(node, found),
        "death": None if found.death is None else told(found.death),
        "error": found.error,
    }


def _nowhere(node: Node, found: Actor) -> str:
    """Why no node could ever run a detached actor, even if one that a program has brought along could; "" if one could."""
    from .status import why_waiting

    if node.head is None or found.worker or not found.spec.detached or node.actors.has_place(found):
        return ""
    return why_waiting(node, to_units(found.spec.placement), lasts=True)


def deaths(node: Node, argument: dict[str, Any]) -> list[dict[str, Any]]:
    """`{"key", "value"}`, or `{"limit"}`: how workers of this node have ended, the last first."""
    return node.deaths.find(str(argument.get("key", "")), argument.get("value"), int(argument.get("limit", 1)))
