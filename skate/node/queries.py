"""Answers to questions about the state of a node."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from ..head.actors import State
from ..store.arena import HEADER_BYTES
from .resources import UNIT, from_units, to_units

if TYPE_CHECKING:
    from .service import Node


def answer(node: Node, what: str, argument: Any) -> Any:
    """The answer to a question by name.

    Raises:
        ValueError: there is no such question.
    """
    question = _QUESTIONS.get(what)
    if question is None:
        raise ValueError(f"the node does not know the question {what!r}")
    return question(node, argument)


def _nodes(node: Node, _: Any) -> list[dict[str, Any]]:
    name = socket.gethostname()
    return [
        {
            "NodeID": node.node_id,
            "Alive": True,
            "NodeManagerAddress": "127.0.0.1",
            "NodeManagerHostname": name,
            "NodeName": name,
            "Resources": node.total,
            "Labels": {},
        }
    ]


def _total(node: Node, _: Any) -> dict[str, float]:
    return node.total


def _available(node: Node, _: Any) -> dict[str, float]:
    return {name: amount for name, amount in from_units(node.scheduler.pool.free).items() if amount > 0}


def _named_actors(node: Node, _: Any) -> list[tuple[str, str]]:
    return sorted(node.actors.table.by_name)


def _store(node: Node, _: Any) -> dict[str, int]:
    """Of the object store: its size, what nobody has been given, and how many objects are known."""
    return {
        "capacity": node.arena_bytes - HEADER_BYTES,
        "free": node.directory.free.total,
        "objects": len(node.directory.entries),
    }


def _workers(node: Node, _: Any) -> list[dict[str, Any]]:
    leases = node.scheduler.leases
    out = []
    for number, client in node.workers.items():
        actor = node.actors.table.by_worker.get(number)
        state = "actor" if actor else "leased" if number in leases else "idle"
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
    pool = node.scheduler.pool
    short = []
    for name, units in to_units(needed).items():
        if pool.free.get(name, 0) < units:
            holders = sum(name in lease.amounts for lease in node.scheduler.leases.values())
            free, total = max(0, pool.free.get(name, 0)) / UNIT, pool.total.get(name, 0) / UNIT
            short.append(
                f"needs {units / UNIT:g} {name}, {free:g} of {total:g} free, held by {holders} workers and actors"
            )
    return "; ".join(short) or "the resources are free: a worker is being started"


def _validate(node: Node, _: Any) -> bool:
    """Every state machine checks itself; for tests."""
    node.scheduler.validate()
    node.directory.validate()
    node.actors.table.validate()
    return True


_QUESTIONS: dict[str, Any] = {
    "nodes": _nodes,
    "total": _total,
    "available": _available,
    "named_actors": _named_actors,
    "store": _store,
    "workers": _workers,
    "actors": _actors,
    "validate": _validate,
    "why": _why,
}
