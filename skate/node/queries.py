"""Answers to questions about the state of a node."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..head import policy
from ..head.actors import State
from ..store.arena import HEADER_BYTES
from ..wire.cluster import ALIVE, DEAD, DrainOrder
from ..wire.groups import is_own
from . import reasons
from .discovery import targets
from .history import KEPT
from .listings import LISTINGS
from .orders import ORDERS
from .resources import from_units
from .status import cluster_status, head_address, node_info
from .vitals import vitals

if TYPE_CHECKING:
    from .head_process import HeadProcess
    from .service import Node


HEAD_ANSWERS_S = 1.0
"""How long a question about the cluster waits for the head; then the answer is what this node has heard of others."""


def of_others(node: Node, what: str, argument: Any) -> bool:
    """Whether the answer may be another when this node has heard all that the head knows."""
    return what in _OF_OTHERS or (what == "node_state" and _node_state(node, argument) != ALIVE)


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


def _node_state(node: Node, ident: Any) -> str:
    """The state of the node with an id; "" if there is none."""
    info = policy.called(node.view, str(ident))
    return "" if info is None else info.state


def _keep_package(node: Node, name: Any) -> bool:
    if node.environments.packages is not None:
        node.environments.packages.keep(str(name))
    return True


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


def _validate(node: Node, _: Any) -> bool:
    """Every state machine checks itself; for tests."""
    if node.faults.counts:
        raise ValueError(f"faults in the node's own code: {dict(node.faults.counts)}")
    node.scheduler.validate()
    node.directory.validate()
    node.spills.logic.validate()
    node.actors.table.validate()
    node.groups.table.validate()
    if node.head is not None:
        node.head.jobs.table.validate()
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


def _metrics(node: Node, _: Any) -> str:
    """As Prometheus reads them."""
    return "".join(node.metrics.text())


def _metric_targets(node: Node, _: Any) -> list[dict[str, Any]]:
    return targets(node.view.values())


def _printed(node: Node, argument: Any) -> dict[str, Any]:
    """See `printed.py`."""
    from .printed import printed

    return printed(node, argument or {})


def _crash(node: Node, argument: Any) -> list[str]:
    """See `printed.py`."""
    from .printed import crash

    return crash(node, int(argument["pid"]))


def _head_of_jobs(node: Node) -> HeadProcess:
    if node.head is None:
        raise ValueError("jobs need a cluster, and its head: start one with `skate start --head`")
    return node.head


def _jobs(node: Node, _: Any) -> list[dict[str, Any]]:
    """All jobs that were submitted, the oldest first; none without a cluster."""
    if node.head is None and node.cluster is None:
        return []
    shell = _head_of_jobs(node).jobs
    return [shell.show(job) for job in sorted(shell.table.by_id.values(), key=lambda job: job.submitted_ms)]


def _job(node: Node, ident: Any) -> dict[str, Any]:
    shell = _head_of_jobs(node).jobs
    return shell.show(shell.find(str(ident)))


def _job_submit(node: Node, argument: Any) -> dict[str, Any]:
    return _head_of_jobs(node).jobs.submit(argument)


def _job_package(node: Node, argument: Any) -> bool:
    """Whether a package is there, by its hash; or a part of one comes."""
    packages = _head_of_jobs(node).jobs.packages
    return packages.has(argument) if isinstance(argument, str) else packages.put(argument)


def _job_stop(node: Node, ident: Any) -> bool:
    return _head_of_jobs(node).jobs.stop(str(ident))


def _job_driver(node: Node, argument: Any) -> bool:
    return _head_of_jobs(node).jobs.driver_is(str(argument["id"]), str(argument["job"]))


def _job_delete(node: Node, ident: Any) -> bool:
    return _head_of_jobs(node).jobs.delete(str(ident))


_OF_OTHERS = frozenset({"nodes", "total", "available", "why"})
"""What this node answers from what it has heard of others."""

_QUESTIONS: dict[str, Any] = {
    **LISTINGS,
    **ORDERS,
    "head": _head,
    "nodes": _nodes,
    "node_state": _node_state,
    "cluster_status": _cluster_status,
    "total": _total,
    "available": _available,
    "keep_package": _keep_package,
    "named_actors": _named_actors,
    "groups": _groups,
    "store": _store,
    "vitals": vitals,
    "workers": _workers,
    "actors": _actors,
    "validate": _validate,
    "why": reasons.why,
    "holders": reasons.holders,
    "starting": reasons.starting,
    "process": reasons.process,
    "actor": reasons.actor,
    "deaths": reasons.deaths,
    "printed": _printed,
    "crash": _crash,
    "drain": _drain,
    "metrics": _metrics,
    "metric_targets": _metric_targets,
    "jobs": _jobs,
    "job": _job,
    "job_submit": _job_submit,
    "job_package": _job_package,
    "job_stop": _job_stop,
    "job_delete": _job_delete,
    "job_driver": _job_driver,
}
