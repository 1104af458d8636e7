"""Answers to questions about the state of a node."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..head import policy
from ..head.actors import State
from ..store.arena import HEADER_BYTES
from ..wire.cluster import DEAD, DrainOrder, NodeInfo
from ..wire.groups import is_own
from ..wire.labels import describe, without
from .history import KEPT
from .listings import LISTINGS
from .orders import ORDERS
from .resources import UNIT, from_units, to_units
from .status import cluster_status, head_address, node_info

if TYPE_CHECKING:
    from .service import Node


def answer(node: Node, what: str, argument: Any) -> Any:
    """The answer to a question by name.

    Raises:
        ValueError: there is no such question.
    """
    if what in KEPT:
        return node.history.answer(what, argument or {})
    question = _QUESTIONS.get(what)
    if question is None:
        raise ValueError(f"the node does not know the question {what!r}")
    return question(node, argument)


def _nodes(node: Node, _: Any) -> list[dict[str, Any]]:
    if node.cluster is not None or node.head is not None:
        return [node_info(info) for info in node.view.values()]
    name = socket.gethostname()
    return [
        {
            "NodeID": node.node_id,
            "Alive": True,
            "NodeManagerAddress": "127.0.0.1",
            "NodeManagerHostname": name,
            "NodeName": name,
            "Resources": node.total,
            "Labels": node.labels,
            "State": "alive",
        }
    ]


def _sum(amounts: Iterable[dict[str, int]]) -> dict[str, float]:
    units: dict[str, int] = {}
    for each in amounts:
        for name, count in each.items():
            units[name] = units.get(name, 0) + count
    return {name: amount for name, amount in from_units(units).items() if amount > 0 and is_own(name)}


def _cluster_status(node: Node, _: Any) -> dict[str, Any]:
    return cluster_status(node)


def _total(node: Node, _: Any) -> dict[str, float]:
    if node.cluster is not None:
        return _sum(info.total for info in node.view.values() if info.state != DEAD)
    return node.total


def _available(node: Node, _: Any) -> dict[str, float]:
    if node.cluster is not None:
        others = [info.free for info in node.view.values() if info.no != node.node_no and info.state != DEAD]
        return _sum([node.scheduler.pool.free, *others])
    return _sum([node.scheduler.pool.free])


def _named_actors(node: Node, _: Any) -> list[tuple[str, str]]:
    return sorted(node.actors.table.by_name)


def _store(node: Node, _: Any) -> dict[str, Any]:
    """Of the object store: its size, what nobody has been given, how many objects are known, what has been spilled and moved."""
    return {
        "capacity": node.arena_bytes - HEADER_BYTES,
        "free": node.directory.free.total,
        "objects": len(node.directory.entries),
        **node.spills.state(),
        "memory_kills": node.monitor.kills,
        "transfers": node.transfers.state() if node.transfers is not None else {},
    }


def _workers(node: Node, _: Any) -> list[dict[str, Any]]:
    leases = node.scheduler.leases
    out = []
    for number, client in node.workers.items():
        state = "actor" if node.actors.is_actor(number) else "leased" if number in leases else "idle"
        out.append({"worker": number, "pid": client.pid, "state": state, "job": client.job})
    return out


def _actors(node: Node, _: Any) -> list[dict[str, Any]]:
    return [
        {
            "actor_id": actor.id.hex(),
            "class_name": actor.spec.class_name,
            "name": actor.spec.name,
            "state": str(actor.state).upper(),
            "pid": actor.pid,
            "restarts": actor.restarts,
        }
        for actor in node.actors.table.by_id.values()
        if actor.state is not State.DEAD
    ]


def _why(node: Node, needed: dict[str, float]) -> str:
    """Which of the needed resources are short, and how many leases and actors have them."""
    if node.cluster is not None:
        return _why_in_cluster(node.view.values(), to_units(needed))
    pool = node.scheduler.pool
    short = []
    for name, units in without(to_units(needed)).items():
        if pool.free.get(name, 0) < units:
            holders = sum(name in lease.amounts for lease in node.scheduler.leases.values())
            free, total = max(0, pool.free.get(name, 0)) / UNIT, pool.total.get(name, 0) / UNIT
            short.append(
                f"needs {units / UNIT:g} {name}, {free:g} of {total:g} free, held by {holders} workers and actors"
            )
    return "; ".join(short) or "the resources are free: a worker is being started"


def _why_in_cluster(view: Iterable[NodeInfo], needed: dict[str, int]) -> str:
    """Which nodes could ever give what is needed, and what they lack now."""
    could = [info for info in view if policy.feasible(info, needed)]
    wants = describe(from_units(needed))
    needed = without(needed)
    if not could:
        return f"no node of the cluster has {wants}: it waits for one that joins"
    lines = []
    for info in could:
        short = [
            f"{max(0, info.free.get(name, 0)) / UNIT:g} of {info.total[name] / UNIT:g} {name} free"
            for name, units in needed.items()
            if info.free.get(name, 0) < units
        ]
        if not short:
            return f"node {info.no} ({info.name}) has room: a worker is being started"
        lines.append(f"node {info.no} ({info.name}): {', '.join(short)}")
    return f"needs {wants}; " + "; ".join(lines)


def _validate(node: Node, _: Any) -> bool:
    """Every state machine checks itself; for tests."""
    node.scheduler.validate()
    node.directory.validate()
    node.spills.logic.validate()
    node.actors.table.validate()
    node.groups.table.validate()
    if node.transfers is not None:
        node.transfers.validate()
    return True


def _groups(node: Node, _: Any) -> list[dict[str, Any]]:
    return node.groups.show()


def _drain(node: Node, argument: Any) -> dict[str, Any]:
    """Have a node drained. Only the head can do it."""
    if node.head is None:
        raise ValueError("only the head can have a node drained")
    order = DrainOrder(str(argument["reason"]), max(0.0, float(argument["deadline_s"])))
    info = node.head.drain(str(argument["node"]), order, bool(argument.get("only_if_idle")))
    return {"node": info.no, "name": info.name, "id": info.id, "state": info.state}


def _head(node: Node, _: Any) -> str:
    """Where the head of the cluster is."""
    return head_address(node)


_QUESTIONS: dict[str, Any] = {
    **LISTINGS,
    **ORDERS,
    "head": _head,
    "nodes": _nodes,
    "cluster_status": _cluster_status,
    "total": _total,
    "available": _available,
    "named_actors": _named_actors,
    "groups": _groups,
    "store": _store,
    "workers": _workers,
    "actors": _actors,
    "validate": _validate,
    "why": _why,
    "drain": _drain,
}
