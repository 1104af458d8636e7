"""What there is and was in a cluster, as rows: for `skate list`, `skate.util.state`, and whoever else shows it.

Live things are asked of the nodes; tasks that have not ended, of their callers; those that have, of the histories. Whoever does
not answer makes the list incomplete, and is named in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..exceptions import RaySystemError
from ..wire.history import OF_PACKET, Chunk, tasks_of
from . import filters as conditions
from .filters import Filter
from .observing import Member, Observer, ask_all, members, tell_all

LIMIT = 100
LIVE_MAX = 10_000
"""So many unfinished tasks of each process are looked at."""
ENDED = ("FINISHED", "FAILED")

COLUMNS: dict[str, list[str]] = {
    "tasks": [
        "task_id",
        "attempt_number",
        "name",
        "state",
        "job_id",
        "actor_id",
        "type",
        "func_or_class_name",
        "parent_task_id",
        "node_id",
        "worker_id",
        "worker_pid",
        "error_type",
    ],
    "actors": ["actor_id", "class_name", "state", "job_id", "name", "node_id", "pid", "ray_namespace"],
    "objects": ["object_id", "object_size", "status", "node_id", "owner", "holders"],
    "nodes": ["node_id", "node_ip", "is_head_node", "state", "state_message", "node_name", "resources_total", "labels"],
    "workers": ["worker_id", "is_alive", "worker_type", "state", "node_id", "pid", "job_id"],
    "jobs": ["job_id", "submission_id", "entrypoint", "type", "status", "driver_pid"],
    "placement-groups": ["placement_group_id", "name", "creator_job_id", "state"],
}
"""What is shown of each kind of thing: Ray's names where there are any."""
DETAILS: dict[str, list[str]] = {
    "tasks": ["error_message", "creation_time_ms", "start_time_ms", "end_time_ms", "node_no"],
    "actors": [
        "is_detached",
        "required_resources",
        "placement_group_id",
        "num_restarts",
        "max_restarts",
        "death_cause",
        "node_no",
    ],
    "objects": ["contained_in", "contains", "node_no"],
    "nodes": ["node_no", "node_port"],
    "workers": ["node_no"],
    "jobs": ["namespace", "node_id", "start_time_ms", "end_time_ms", "message", "exit_code", "metadata"],
    "placement-groups": ["bundles", "bundles_to_node_id", "strategy", "namespace", "stats"],
}
"""What is shown in addition when details are asked for."""
KEY = {kind: columns[0] for kind, columns in COLUMNS.items()}


@dataclass
class Listing:
    """Rows, and what is to be known of them."""

    rows: list[dict[str, Any]]
    total: int
    """How many there are; -1 if only so much is known that there are more."""
    missing: list[str] = field(default_factory=list)
    """Of whom nothing is known, and why."""
    notes: list[str] = field(default_factory=list)
    """What else to know: nodes that have ended, and have histories of their own."""


def listing(
    observer: Observer,
    kind: str,
    filters: list[Filter] | None = None,
    limit: int = LIMIT,
    detail: bool = False,
) -> Listing:
    """The things of a kind that meet all conditions.

    Args:
        observer: the cluster.
        kind: one of `COLUMNS`.
        filters: conditions.
        limit: how many at the most.
        detail: with `DETAILS`.

    Raises:
        ValueError: a condition is about what there is not.
    """
    wanted = conditions.check(filters, [*COLUMNS[kind], *DETAILS[kind]])
    found = _KINDS[kind](observer, wanted, limit, detail)
    columns = [*COLUMNS[kind], *(DETAILS[kind] if detail else ())]
    rows = [{name: row.get(name) for name in columns} for row in found.rows]
    return Listing(rows, found.total, found.missing, found.notes)


def get(observer: Observer, kind: str, ident: str) -> Listing:
    """The thing with this id, or the attempts of a task, in all detail."""
    return listing(observer, kind, [(KEY[kind], "=", ident)], LIMIT, detail=True)


# ------------------------------------------------------------ tasks


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _node_ids(observer: Observer) -> dict[int, str]:
    return {node.get("No", 0): node["NodeID"] for node in observer.nodes()}


def ended_tasks(
    observer: Observer, member: Member, filters: list[Filter], missing: list[str]
) -> Iterator[dict[str, Any]]:
    """The tasks in the history of a node, the last that has ended first; why it is incomplete is added to `missing`."""
    state, ident = conditions.only(filters, "state"), conditions.only(filters, "task_id")
    if state is not None and str(state).upper() not in ENDED:
        return
    name = conditions.only(filters, "name")
    wanted: dict[str, Any] = {"state": str(state or "").upper(), "job": conditions.only(filters, "job_id")}
    wanted["names"] = [] if name is None else [name]
    wanted["client"] = None if ident is None else str(ident)[:16]
    seq = None if ident is None else _seq_of(str(ident))
    of_packet = [each for each in filters if each[0] in OF_PACKET]
    keep = (lambda row: conditions.meets(row, of_packet)) if of_packet else None
    rest = [each for each in filters if each[0] not in OF_PACKET]
    before = None
    while True:
        answer = _history(observer, member, "history_tasks", {**wanted, "before": before}, missing)
        if answer is None:
            return
        for chunk in answer["chunks"]:
            for row in tasks_of(msgspec.convert(chunk, Chunk), keep, seq):
                if not rest or conditions.meets(row, rest):
                    yield row
        before = answer["before"]
        if before is None:
            return


def _seq_of(ident: str) -> int:
    """The number of a task in its client."""
    try:
        return int(ident[16:], 16)
    except ValueError:
        return -1  # no task has such an id


def _history(observer: Observer, member: Member, what: str, argument: dict[str, Any], missing: list[str]) -> Any:
    """What a node's history says; None if nothing, with the reason in `missing`."""
    where = f"node {member.no} ({member.name})"
    try:
        answer = observer.ask(member, what, argument)
    except (ConnectionError, ValueError, RaySystemError) as error:
        missing.append(f"{where}: {error}")
        return None
    if answer["off"] and f"{where} keeps no history: {answer['off']}" not in missing:
        missing.append(f"{where} keeps no history: {answer['off']}")
    return answer["value"]


def _tasks(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    ids = _node_ids(observer)
    nodes = members(observer)
    said, missing = tell_all(observer, "tasks", {"limit": LIVE_MAX if filters else min(limit, LIVE_MAX)}, nodes)
    total = sum(told["value"]["count"] for _, told in said)
    if filters:
        missing += _too_many(said)
    live = [{**row, "job_id": told["job"]} for _, told in said for row in told["value"]["tasks"]]
    pids = _worker_ids(observer, nodes, missing) if detail or any(f[0] == "worker_id" for f in filters) else {}

    def complete(row: dict[str, Any]) -> dict[str, Any]:
        row["func_or_class_name"] = row["name"]
        row["node_id"] = ids.get(row["node_no"], "") if row.get("worker_pid") else ""
        row["worker_id"] = pids.get((row["node_no"], row["worker_pid"]), "")
        row.setdefault("error_type", "")
        row.setdefault("error_message", "")
        for name in ("creation_time", "start_time", "end_time"):
            row[f"{name}_ms"] = _ms(row.get(name))
        return row

    late = {"func_or_class_name", "node_id", "worker_id", "creation_time_ms", "start_time_ms", "end_time_ms"}
    after = [each for each in filters if each[0] in late]
    before = [("name", *each[1:]) if each[0] == "func_or_class_name" else each for each in filters]
    before = [each for each in before if each[0] not in late]
    ended: dict[tuple[str, int], dict[str, Any]] = {}
    for member in nodes:
        count = 0
        for row in ended_tasks(observer, member, before, missing):
            if after and not conditions.meets(complete(row), after):
                continue
            ended[row["task_id"], row["attempt_number"]] = row
            count += 1
            if count >= limit:
                break
        if not filters:
            total += _count_of(observer, member, missing)
    unfinished = [row for row in live if (row["task_id"], row["attempt_number"]) not in ended]
    rows = [row for row in map(complete, unfinished) if conditions.meets(row, filters)]
    rows += map(complete, sorted(ended.values(), key=lambda row: -row["end_time"]))
    if filters:
        total = len(rows) if len(rows) < limit else -1
    return Listing(rows[:limit], total, missing, _gone(observer))


def timeline(observer: Observer) -> tuple[list[dict[str, Any]], list[str]]:
    """The trace of all tasks that have ended; and of whom nothing is known."""
    from .timeline import trace

    missing: list[str] = []
    nodes = members(observer)
    tell_all(observer, "tasks", {"limit": 0}, nodes)  # so that the histories hear of all that has ended
    return trace(row for member in nodes for row in ended_tasks(observer, member, [], missing)), missing


def _gone(observer: Observer) -> list[str]:
    words = "has ended: tasks that were submitted there are in the history of its machine"
    return [f"node {node.get('No', 0)} ({node['NodeName']}) {words}" for node in observer.nodes() if not node["Alive"]]


def _too_many(said: list[tuple[Member, dict[str, Any]]], live_max: int = LIVE_MAX) -> list[str]:
    return [
        f"process {told['pid']} has {told['value']['count']} unfinished tasks: only the first {live_max} were looked at"
        for _, told in said
        if told["value"]["count"] > live_max
    ]


def _count_of(observer: Observer, member: Member, missing: list[str]) -> int:
    counts = _history(observer, member, "history_counts", {}, missing)
    return sum(finished + failed for _, _, finished, failed in counts or ())


def _worker_ids(observer: Observer, nodes: list[Member], missing: list[str]) -> dict[tuple[int, int], str]:
    found = _asked(observer, "list_workers", {}, missing, nodes)
    return {(member.no, row["pid"]): row["worker_id"] for member, rows in found for row in rows}


def _asked(
    observer: Observer, what: str, argument: Any, missing: list[str], nodes: list[Member] | None = None
) -> list[tuple[Member, Any]]:
    """What all nodes have answered; why some have not is added to `missing`."""
    words = ask_all(observer, what, argument, nodes)
    missing += [f"node {word.member.no} ({word.member.name}): {word.error}" for word in words if word.error]
    return [(word.member, word.value) for word in words if not word.error]


def summary_of_tasks(observer: Observer, live_max: int = LIVE_MAX) -> tuple[dict[str, dict[str, int]], list[str]]:
    """By name: how many tasks are in which state; and of whom nothing is known.

    Args:
        observer: the cluster.
        live_max: so many unfinished tasks of each process are looked at.
    """
    nodes = members(observer)
    said, missing = tell_all(observer, "tasks", {"limit": live_max}, nodes)
    missing += _too_many(said, live_max)
    found: dict[str, dict[str, int]] = {}

    def add(name: str, state: str, count: int) -> None:
        if count:
            states = found.setdefault(name, {})
            states[state] = states.get(state, 0) + count

    for _, told in said:
        for row in told["value"]["tasks"]:
            add(row["name"], row["state"], 1)
    for member in nodes:
        for name, _, finished, failed in _history(observer, member, "history_counts", {}, missing) or ():
            add(name, "FINISHED", finished)
            add(name, "FAILED", failed)
    return found, missing


def summary_of(rows: Iterable[Mapping[str, Any]], by: str, state: str, total: str) -> dict[str, Any]:
    """How many rows of each kind are in which state, in Ray's words."""
    found: dict[str, dict[str, Any]] = {}
    count = 0
    for row in rows:
        count += 1
        states = found.setdefault(row[by], {by: row[by], "state_counts": {}})["state_counts"]
        states[row[state]] = states.get(row[state], 0) + 1
    return {"summary": dict(sorted(found.items())), total: count, "summary_by": by}


# ------------------------------------------------------------ everything else


def _of_head(observer: Observer, what: str, argument: Any, missing: list[str]) -> list[dict[str, Any]]:
    try:
        return list(observer.ask_head(what, argument))
    except (ConnectionError, ValueError, RaySystemError) as error:
        missing.append(f"the head: {error}")
        return []


def _cut(rows: list[dict[str, Any]], filters: list[Filter], limit: int, missing: list[str]) -> Listing:
    kept = [row for row in rows if conditions.meets(row, filters)]
    return Listing(kept[:limit], len(kept), missing)


def _actors(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    missing: list[str] = []
    rows = _of_head(observer, "list_actors", {"limit": 1 << 30}, missing)
    return _cut(rows, filters, limit, missing)


def _objects(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    missing: list[str] = []
    ids = _node_ids(observer)
    rows, count = [], 0
    for member, value in _asked(observer, "list_objects", {"limit": 1 << 30 if filters else limit}, missing):
        count += value["count"]
        rows += [{**row, "node_no": member.no, "node_id": ids.get(member.no, "")} for row in value["objects"]]
    found = _cut(sorted(rows, key=lambda row: -row["object_size"]), filters, limit, missing)
    return found if filters else Listing(found.rows, count, missing)


def _nodes(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    nodes = observer.nodes()
    rows = [
        {
            "node_id": node["NodeID"],
            "node_ip": node["NodeManagerAddress"],
            "is_head_node": node.get("No", 0) <= 1,
            "state": "ALIVE" if node["Alive"] else "DEAD",
            "state_message": node.get("DeathReasonMessage") or ("" if node["State"] == "alive" else node["State"]),
            "node_name": node["NodeName"],
            "resources_total": node["Resources"],
            "labels": node["Labels"],
            "node_no": node.get("No", 0),
            "node_port": node.get("NodeManagerPort", 0),
        }
        for node in nodes
    ]
    return _cut(rows, filters, limit, [])


def _workers(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    missing: list[str] = []
    ids = _node_ids(observer)
    rows = [
        {**row, "node_no": member.no, "node_id": ids.get(member.no, "")}
        for member, answer in _asked(observer, "list_workers", {}, missing)
        for row in answer
    ]
    return _cut(rows, filters, limit, missing)


def _jobs(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    missing: list[str] = []
    ids = _node_ids(observer)
    rows: dict[str, dict[str, Any]] = {}
    for member in members(observer):
        for event in _history(observer, member, "history_events", {"source": "JOB"}, missing) or ():
            row = rows.setdefault(event["job_id"], {"job_id": event["job_id"], "type": "DRIVER", "status": "ENDED"})
            row["driver_pid"], row["node_id"] = event.get("pid"), ids.get(member.no, "")
            if "entrypoint" in event:
                row |= {"entrypoint": event["entrypoint"], "namespace": event["namespace"]}
                row["start_time_ms"] = _ms(event["time"])
            else:
                row["end_time_ms"] = _ms(event["time"])
    for member, answer in _asked(observer, "list_jobs", {}, missing):
        for job in answer:
            rows[job["job_id"]] = {**rows.get(job["job_id"], {}), **job, "node_id": ids.get(member.no, "")}
    for job in _of_head(observer, "jobs", None, missing):
        ident = job["job_id"] or ""  # none before its program has called `init`
        rows[ident or job["submission_id"]] = {**rows.get(ident, {"job_id": ident}), **_submitted(job)}
    return _cut(list(rows.values())[::-1], filters, limit, missing)


def _submitted(job: dict[str, Any]) -> dict[str, Any]:
    """A job that was handed to the cluster, as the head shows it."""
    row = {name: job[name] for name in ("type", "submission_id", "status", "entrypoint", "message", "metadata")}
    times = {"start_time_ms": job["start_time"], "end_time_ms": job["end_time"]}
    return {**row, **times, "node_id": job["driver_node_id"] or "", "exit_code": job["driver_exit_code"]}


def _groups(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    missing: list[str] = []
    return _cut(_of_head(observer, "groups", None, missing), filters, limit, missing)


def events(observer: Observer, after: dict[int, int], limit: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of all nodes and of the head, the oldest first.

    Args:
        observer: the cluster.
        after: the id of the last event that is known, by node; what is returned is added to it.
        limit: the last so many.
    """
    missing: list[str] = []
    found: list[dict[str, Any]] = []
    for member in [*members(observer), HEAD]:
        asked = _Head(observer) if member is HEAD else observer
        if member is HEAD and not any(node.get("No", 0) for node in observer.nodes()):
            continue  # the only node is its own head
        argument = {"after": after.get(member.no, 0), "limit": limit}
        rows = _history(asked, member, "history_events", argument, missing) or []
        if rows:
            after[member.no] = rows[-1]["id"]
        found += rows
    found.sort(key=lambda event: event["time"])
    return found[-limit:], missing


HEAD = Member(-1, "", "the head", "", 0)


class _Head:
    """The head, asked as a node is."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def nodes(self) -> list[dict[str, Any]]:
        """See `Observer`."""
        return self.observer.nodes()

    def ask(self, member: Member, what: str, argument: Any = None) -> Any:
        """See `Observer`."""
        return self.observer.ask_head(what, argument)

    def ask_head(self, what: str, argument: Any = None) -> Any:
        """See `Observer`."""
        return self.observer.ask_head(what, argument)


_KINDS: dict[str, Callable[[Observer, list[Filter], int, bool], Listing]] = {
    "tasks": _tasks,
    "actors": _actors,
    "objects": _objects,
    "nodes": _nodes,
    "workers": _workers,
    "jobs": _jobs,
    "placement-groups": _groups,
}
