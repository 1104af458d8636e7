"""What there is on a node, as rows for tables: the answers behind `skate list` and `skate memory`.

Actors and placement groups are asked of the head, or of a node that is in no cluster; the rest of every node.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from ..head.actors import Actor
from ..wire.groups import group_of, plain
from ..wire.labels import without
from ..wire.messages import ERROR, INLINE, SHARED, Value
from .directory import SENDER, STORE

if TYPE_CHECKING:
    from .directory import Entry
    from .service import Node

NODE_BITS = 32
_OWN = {STORE: "the node", SENDER: "a transfer"}


def _actors(node: Node, argument: dict[str, Any]) -> list[dict[str, Any]]:
    return [_actor(node, actor) for actor in islice(node.actors.table.by_id.values(), int(argument["limit"]))]


def _actor(node: Node, actor: Actor) -> dict[str, Any]:
    spec, death = actor.spec, actor.death
    number = actor.worker >> NODE_BITS or actor.node or node.node_no
    info = node.view.get(number)
    group = group_of(spec.placement)[0]
    return {
        "actor_id": actor.id.hex(),
        "class_name": spec.class_name,
        "state": {"PENDING": "PENDING_CREATION", "STARTING": "PENDING_CREATION"}.get(
            str(actor.state).upper(), str(actor.state).upper()
        ),
        "job_id": actor.job,
        "name": spec.name,
        "node_id": node.node_id if not node.node_no else info.id if info is not None else "",
        "node_no": number,
        "pid": actor.pid,
        "ray_namespace": spec.namespace,
        "is_detached": spec.detached,
        "required_resources": plain(without(spec.resources)) if group else without(spec.resources),
        "placement_group_id": group,
        "num_restarts": actor.restarts,
        "max_restarts": spec.max_restarts,
        "death_cause": "" if death is None else death.reason,
    }


def _workers(node: Node, _: dict[str, Any]) -> list[dict[str, Any]]:
    leases = node.scheduler.leases
    rows = [
        {
            "worker_id": client.id.hex(),
            "is_alive": True,
            "worker_type": "WORKER",
            "state": "ACTOR" if node.actors.is_actor(number) else "LEASED" if number in leases else "IDLE",
            "pid": client.pid,
            "job_id": client.job,
        }
        for number, client in node.workers.items()
    ]
    rows += [
        {
            "worker_id": client.id.hex(),
            "is_alive": True,
            "worker_type": "DRIVER",
            "state": "DRIVER",
            "pid": client.pid,
            "job_id": client.job,
        }
        for client in node.clients.values()
        if not client.worker and not client.far
    ]
    return rows


def _jobs(node: Node, _: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "job_id": job,
            "type": "DRIVER",
            "status": "RUNNING",
            "entrypoint": client.hello.main_path if client.hello is not None else "",
            "namespace": client.hello.namespace if client.hello is not None else "",
            "driver_pid": client.pid,
        }
        for job, client in node.jobs.items()
        if not client.far
    ]


def _logs(node: Node, _: dict[str, Any]) -> list[dict[str, Any]]:
    from .printed import files  # seldom needed

    return files(node)


def _objects(node: Node, argument: dict[str, Any]) -> dict[str, Any]:
    """Objects that a process has let others know of, the largest first, or the one with this `id`.

    Of what only its maker knows, that is asked (`client/knowledge.py`).
    """
    known = node.directory.entries
    if "id" in argument:
        wanted = bytes.fromhex(str(argument["id"]))
        known = {wanted: known[wanted]} if wanted in known else {}
    entries = [(ident, entry) for ident, entry in known.items() if not entry.is_actor]
    entries.sort(key=lambda each: -(each[1].value.size if each[1].value is not None else 0))
    return {"count": len(entries), "objects": [_object(node, *each) for each in entries[: int(argument["limit"])]]}


def _object(node: Node, ident: bytes, entry: Entry) -> dict[str, Any]:
    value = entry.value
    kind = {INLINE: "INLINE", ERROR: "ERROR", SHARED: "IN_STORE"}
    spilled = node.spills.logic.is_away(ident)
    return {
        "object_id": ident.hex(),
        "object_size": 0 if value is None else value.size or len(value.data),
        "status": "PENDING" if value is None else "SPILLED" if spilled else kind.get(value.kind, "LOST"),
        "owner": _who(node, entry.owner),
        "call_site": entry.site or _site_of(node, value),
        "holders": {_who(node, client): count for client, count in entry.holders.items()},
        "contained_in": entry.held - sum(entry.holders.values()),
        "contains": len(entry.children),
    }


def _site_of(node: Node, value: Value | None) -> str:
    """Where the bytes were made that another object stands for."""
    made = None if value is None else node.directory.entries.get(value.id)
    return "" if made is None else made.site


def _who(node: Node, ident: bytes) -> str:
    """A client in words."""
    client = node.clients.get(ident)
    if client is None:
        return _OWN.get(ident) or f"client {ident.hex()}, which has ended"
    far = f" on node {int.from_bytes(ident[:4], 'big')}" if client.far else ""
    is_driver = client.hello is not None and client.hello.is_driver
    return f"{'driver' if is_driver else 'worker'} {client.pid}{far}"


LISTINGS: dict[str, Any] = {
    "list_actors": _actors,
    "list_workers": _workers,
    "list_jobs": _jobs,
    "list_objects": _objects,
    "list_runtime_envs": lambda node, _: node.environments.listed(),
    "list_logs": _logs,
}
"""Each takes a dict; `limit` is in it where there may be many."""
