"""What there is and was in a cluster, as rows: for `skate list`, `skate.util.state`, and whoever else shows it.

Live things are asked of the nodes; tasks that have not ended, of their callers; those that have, of the histories. Whoever does
not answer makes the list incomplete, and is named in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from ..exceptions import RaySystemError
from ..wire.history import CALL, EVENTS_AT_ONCE, OF_PACKET, PROGRAM_ENDED, Chunk, tasks_of
from . import filters as conditions
from .filters import Filter
from .observing import Member, Observer, ask_each, living, members, tell_all
from .telling import RUNNING, SUBMITTED

LIMIT = 100
NOT_RECORDED = "not recorded"
"""In place of a call site: of objects for which finding out would cost too much, unless that is wanted."""
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
    "objects": ["object_id", "object_size", "status", "node_id", "owner", "holders", "call_site"],
    "nodes": ["node_id", "node_ip", "is_head_node", "state", "state_message", "node_name", "resources_total", "labels"],
    "workers": ["worker_id", "is_alive", "worker_type", "state", "node_id", "pid", "job_id"],
    "jobs": ["job_id", "submission_id", "entrypoint", "type", "status", "driver_pid"],
    "placement-groups": ["placement_group_id", "name", "creator_job_id", "state"],
    "runtime-envs": ["runtime_env", "success", "creation_time_ms", "node_id"],
    "cluster-events": ["severity", "time", "source_type", "message"],
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
    "runtime-envs": ["ref_cnt", "error", "job_id", "node_no"],
    "cluster-events": ["event_id", "job_id", "node_no", "custom_fields"],
}
"""What is shown in addition when details are asked for."""
KEY = {kind: columns[0] for kind, columns in COLUMNS.items()}
SUMMARIES = {
    "tasks": ("func_or_class_name", "state", "total_tasks"),
    "actors": ("class_name", "state", "total_actors"),
    "objects": ("owner", "status", "total_objects"),
}
"""What can be counted: by which column, in which states, and what Ray calls the sum."""


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
    if not isinstance(limit, int) or limit < 1:
        raise ValueError(f"limit is how many rows at the most, 1 or more, not {limit!r}")
    return listed(observer, kind, conditions.check(filters, [*COLUMNS[kind], *DETAILS[kind]], kind), limit, detail)


def listed(observer: Observer, kind: str, wanted: list[Filter], limit: int, detail: bool) -> Listing:
    """The same, when the conditions are known to be right."""
    found = _KINDS[kind](observer, wanted, limit, detail)
    columns = [*COLUMNS[kind], *(DETAILS[kind] if detail else ())]
    rows = [{name: row.get(name) for name in columns} for row in found.rows]
    return Listing(rows, found.total, list(dict.fromkeys(found.missing)), found.notes)


def get(observer: Observer, kind: str, ident: str) -> Listing:
    """The thing with this id, or the attempts of a task, in all detail. A submitted job has two ids."""
    found = listing(observer, kind, [(KEY[kind], "=", ident)], LIMIT, detail=True)
    if kind == "jobs" and not found.rows:
        return listing(observer, kind, [("submission_id", "=", ident)], LIMIT, detail=True)
    return found


# ------------------------------------------------------------ tasks


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _node_ids(nodes: list[dict[str, Any]]) -> dict[int, str]:
    return {node.get("No", 0): node["NodeID"] for node in nodes}


def ended_tasks(
    observer: Observer, member: Member, filters: list[Filter], missing: list[str]
) -> Iterator[dict[str, Any]]:
    """The tasks in the history of a node, the last that has ended first; why it is incomplete is added to `missing`."""
    state, ident = conditions.only(filters, "state"), conditions.only(filters, "task_id")
    if state is not None and str(state).upper() not in ENDED:
        return
    name = conditions.only(filters, "name")
    wanted: dict[str, Any] = {"state": str(state or "").upper()}
    wanted["job"] = str(conditions.only(filters, "job_id") or "").lower()
    wanted["names"] = [] if name is None else [name]
    wanted["client"] = None if ident is None else str(ident)[:16].lower()
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
    return _kept(partial(observer.ask, member), str(member), what, argument, missing)


def _kept(ask: Callable[[str, Any], Any], who: str, what: str, argument: Any, missing: list[str]) -> Any:
    """The same of whoever answers to `ask`."""
    try:
        answer = ask(what, argument)
    except (ConnectionError, ValueError, RaySystemError) as error:
        missing.append(f"{who}: {error}")
        return None
    return _value(answer, who, missing)


def _value(answer: dict[str, Any], who: str, missing: list[str]) -> Any:
    """What a history has answered; that there is none is added to `missing`, once."""
    off = f"{who} keeps no history: {answer['off']}"
    if answer["off"] and off not in missing:
        missing.append(off)
    return answer["value"]


def _histories(
    observer: Observer, nodes: list[Member], what: str, argument: Any, missing: list[str]
) -> list[tuple[Member, list[Any]]]:
    """What the histories of these nodes say, each with its node."""
    found = ask_each(observer, what, argument, missing, nodes)
    return [(member, _value(answer, str(member), missing) or []) for member, answer in found]


def counts(observer: Observer, nodes: list[Member], missing: list[str]) -> list[tuple[str, str, int, int]]:
    """(name, job, finished, failed) of all tasks that have ended; of whom nothing is known is added to `missing`."""
    return [row for _, rows in _histories(observer, nodes, "history_counts", {}, missing) for row in rows]


def _tasks(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    known = observer.nodes()
    ids, nodes = _node_ids(known), living(known)
    said, missing = tell_all(observer, "tasks", {"limit": LIVE_MAX if filters else min(limit, LIVE_MAX)}, nodes)
    total = sum(told["value"]["count"] for _, told in said)
    if filters:
        missing += _too_many(said)
    live = [{**row, "job_id": told["job"]} for _, told in said for row in told["value"]["tasks"]]
    pids = _worker_ids(observer, nodes, missing)

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
            other = ended.setdefault((row["task_id"], row["attempt_number"]), row)
            if other["error_message"] == PROGRAM_ENDED[1]:  # another node may know better how it ended
                ended[row["task_id"], row["attempt_number"]] = row
            count += 1
            if count >= limit:
                break
    unfinished = [row for row in live if (row["task_id"], row["attempt_number"]) not in ended]
    _add_starts(observer, unfinished[: max(limit, LIMIT)], pids, nodes)
    rows = [row for row in map(complete, unfinished) if conditions.meets(row, filters)]
    rows += map(complete, sorted(ended.values(), key=lambda row: -row["end_time"]))
    if filters:
        total = len(rows) if len(rows) < limit else -1
    else:
        total += sum(finished + failed for _, _, finished, failed in counts(observer, nodes, missing))
    return Listing(rows[:limit], total, missing, _gone(known, "tasks that were submitted there"))


def _add_starts(
    observer: Observer, rows: list[dict[str, Any]], pids: dict[tuple[int, int], str], nodes: list[Member]
) -> None:
    """Ask the processes of tasks that run when these have begun, where that is not known, and actors which calls they have begun
    that their callers have sent. Some can say, and others need not."""
    sent = [row for row in rows if row["state"] == SUBMITTED and row["type"] == CALL]
    running = [row for row in rows if row["state"] == RUNNING and row.get("start_time") is None] + sent
    asked = {pids[place] for row in running if (place := (row["node_no"], row["worker_pid"])) in pids}
    if not asked:
        return
    wanted = {row["node_no"] for row in running}
    question = {"what": "doing", "argument": {"limit": LIVE_MAX}, "clients": sorted(asked)}
    said = ask_each(observer, "tell", question, [], [member for member in nodes if member.no in wanted])
    now = time.time()
    answers = {each["client"]: each["value"]["running"] for _, told in said for each in told if each["value"]}
    doings = [doing for running_there in answers.values() for doing in running_there]
    starts = {doing["task_id"]: now - doing["seconds"] if doing["seconds"] else None for doing in doings}
    for row in running:
        row["start_time"] = starts.get(row["task_id"])
        if row["task_id"] in starts:
            row["state"] = RUNNING
        elif row["type"] == CALL and pids.get((row["node_no"], row["worker_pid"])) in answers:
            row["state"] = SUBMITTED  # it is the first of its caller, but the actor runs another's


def timeline(observer: Observer) -> tuple[list[dict[str, Any]], list[str]]:
    """The trace of all tasks that have ended; and of whom nothing is known."""
    from .timeline import trace

    missing: list[str] = []
    nodes = members(observer)
    tell_all(observer, "tasks", {"limit": 0}, nodes)  # so that the histories hear of all that has ended
    return trace(row for member in nodes for row in ended_tasks(observer, member, [], missing)), missing


def _gone(nodes: list[dict[str, Any]], what: str) -> list[str]:
    words = f"has ended: {what} are in the history of its machine"
    return [f"node {node.get('No', 0)} ({node['NodeName']}) {words}" for node in nodes if not node["Alive"]]


def _too_many(said: list[tuple[Member, dict[str, Any]]], live_max: int = LIVE_MAX) -> list[str]:
    return [
        f"process {told['pid']} has {told['value']['count']} unfinished tasks: only the first {live_max} were looked at"
        for _, told in said
        if told["value"]["count"] > live_max
    ]


def _worker_ids(observer: Observer, nodes: list[Member], missing: list[str]) -> dict[tuple[int, int], str]:
    found = ask_each(observer, "list_workers", {}, missing, nodes)
    return {(member.no, row["pid"]): row["worker_id"] for member, rows in found for row in rows}


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
    for name, _, finished, failed in counts(observer, nodes, missing):
        add(name, "FINISHED", finished)
        add(name, "FAILED", failed)
    return found, missing


def summarize(observer: Observer, kind: str) -> tuple[dict[str, Any], list[str]]:
    """How many things of a kind of `SUMMARIES` are in which state, in Ray's words; and of whom nothing is known."""
    by, state, total = SUMMARIES[kind]
    if kind == "tasks":
        found, missing = summary_of_tasks(observer)
        groups = {name: {by: name, "state_counts": states} for name, states in sorted(found.items())}
        sums = {total: sum(sum(states.values()) for states in found.values()), "summary_by": "func_name"}
        return {"summary": groups, **sums}, missing
    things = listing(observer, kind, None, 1 << 30)
    summary = summary_of(things.rows, by, state, total)
    if kind == "objects":
        summary["total_size_mb"] = sum(row["object_size"] for row in things.rows) / 1e6
    return summary, things.missing


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
    known = observer.nodes()
    ids, nodes = _node_ids(known), living(known)
    rows, count = [], 0
    for member, value in ask_each(observer, "list_objects", {"limit": 1 << 30 if filters else limit}, missing, nodes):
        count += value["count"]
        rows += [{**row, "node_no": member.no, "node_id": ids.get(member.no, "")} for row in value["objects"]]
    seen = {row["object_id"] for row in rows}
    said, silent = tell_all(observer, "blocks", {"limit": 1 << 30 if filters else limit}, nodes)
    for member, told in said:
        new = [each for each in told["value"]["objects"] if each["object_id"] not in seen]
        count += told["value"]["count"] - (len(told["value"]["objects"]) - len(new))
        who = f"{'worker' if told['worker'] else 'driver'} {told['pid']}"
        about = {**_PRIVATE, "owner": who, "holders": {who: 1}, "node_no": member.no, "node_id": ids.get(member.no, "")}
        rows += [{**about, **each} for each in new]
    missing += silent
    for row in rows:
        row["call_site"] = row["call_site"] or NOT_RECORDED
    found = _cut(sorted(rows, key=lambda row: -row["object_size"]), filters, limit, missing)
    return found if filters else Listing(found.rows, count, missing)


_PRIVATE = {"status": "IN_STORE", "contained_in": 0, "contains": 0}
"""What is to be said of objects that only their maker knows of."""


def _nodes(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    nodes = observer.nodes()
    rows = [
        {
            "node_id": node["NodeID"],
            "node_ip": node["NodeManagerAddress"],
            "is_head_node": node.get("No", 0) <= 1,
            "state": "ALIVE" if node["Alive"] and node["State"] != "ended" else "DEAD",
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
    known = observer.nodes()
    ids, nodes = _node_ids(known), living(known)
    rows = [
        {**row, "node_no": member.no, "node_id": ids.get(member.no, "")}
        for member, answer in ask_each(observer, "list_workers", {}, missing, nodes)
        for row in answer
    ]
    return _cut(rows, filters, limit, missing)


def _jobs(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    missing: list[str] = []
    known = observer.nodes()
    ids, nodes = _node_ids(known), living(known)
    rows: dict[str, dict[str, Any]] = {}
    for member, answer in ask_each(observer, "list_jobs", {}, missing, nodes):
        rows |= {job["job_id"]: {**job, "node_id": ids.get(member.no, "")} for job in answer}
    over = {node.get("No", 0) for node in known if node["State"] == "ended"}
    for member, said in _histories(observer, nodes, "history_events", {"source": "JOB"}, missing):
        for event in said:
            row = rows.setdefault(event["job_id"], {"job_id": event["job_id"], "type": "DRIVER"})
            row |= _of_event(event, member.no in over) | {"node_id": ids.get(member.no, "")}
    silent = len(missing)
    submitted = _of_head(observer, "jobs", None, missing)
    if len(missing) == silent:  # else nobody knows which jobs there are
        there = {"", *(job["submission_id"] for job in submitted)}
        rows = {at: row for at, row in rows.items() if row["status"] == "RUNNING" or row.get("submission", "") in there}
    for job in submitted:
        ident = job["job_id"] or ""  # none before its program has called `init`
        rows[ident or job["submission_id"]] = {**rows.get(ident, {"job_id": ident}), **_submitted(job)}
    for row in rows.values():
        row.pop("submission", None)
    all_ = [{**_NO_JOB, **row} for row in rows.values()]  # conditions about a column count for all of them
    found = _cut(sorted(all_, key=lambda row: -(row["start_time_ms"] or float("inf"))), filters, limit, missing)
    found.notes = _gone(known, "programs that ran there, but for submitted jobs,")
    return found


_NO_JOB = dict.fromkeys([*COLUMNS["jobs"], *DETAILS["jobs"]])


def _of_event(event: dict[str, Any], over: bool) -> dict[str, Any]:
    """What the beginning or the end of a program says of it; `over`: so is its session, and no later event tells of it."""
    if "entrypoint" not in event:
        row = {"driver_pid": event.get("pid"), "end_time_ms": _ms(event["time"])}
        return row | {"status": event.get("status", "SUCCEEDED"), "message": event.get("message", "")}
    row = {"driver_pid": event["pid"], "entrypoint": event["entrypoint"], "namespace": event["namespace"]}
    row["submission"] = event.get("submission", "")  # of a job that was deleted its programs are not shown, either
    ended = {"status": "FAILED", "message": "its node was killed, and nobody knows more of it"}
    return row | {"start_time_ms": _ms(event["time"])} | (ended if over else {"status": "RUNNING", "message": ""})


def _submitted(job: dict[str, Any]) -> dict[str, Any]:
    """A job that was handed to the cluster, as the head shows it."""
    row = {name: job[name] for name in ("type", "submission_id", "status", "entrypoint", "message", "metadata")}
    times = {"start_time_ms": job["start_time"], "end_time_ms": job["end_time"]}
    return {**row, **times, "node_id": job["driver_node_id"] or "", "exit_code": job["driver_exit_code"]}


def _runtime_envs(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    missing: list[str] = []
    known = observer.nodes()
    ids = _node_ids(known)
    found = ask_each(observer, "list_runtime_envs", {}, missing, living(known))
    rows = [{**row, "node_no": at.no, "node_id": ids.get(at.no, "")} for at, answer in found for row in answer]
    return _cut(rows, filters, limit, missing)


_OF_EVENT = ("id", "time", "severity", "source", "text", "job_id", "node_no")


def _cluster_events(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    most = EVENTS_AT_ONCE if filters else min(limit, EVENTS_AT_ONCE)
    found, missing = events(observer, {}, most)
    rows = [
        {
            **event,
            "event_id": event["id"],
            "source_type": event["source"],
            "message": event["text"],
            "custom_fields": {name: value for name, value in event.items() if name not in _OF_EVENT},
        }
        for event in found
    ]
    kept = [row for row in rows if conditions.meets(row, filters)]
    return Listing(kept[-limit:], len(kept) if len(found) < most else -1, missing)


def _groups(observer: Observer, filters: list[Filter], limit: int, detail: bool) -> Listing:
    missing: list[str] = []
    return _cut(_of_head(observer, "groups", None, missing), filters, limit, missing)


HEAD = -1
"""In place of the number of a node."""


def events(observer: Observer, after: dict[int, int], limit: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of all nodes and of the head, the oldest first.

    Args:
        observer: the cluster.
        after: the id of the last event that is known, by node; what is returned is added to it.
        limit: the last so many; when some are known, the next so many of each node.
    """
    missing: list[str] = []
    found: list[dict[str, Any]] = []
    news = bool(after)
    nodes = observer.nodes()
    asked: list[tuple[int, str, Callable[[str, Any], Any]]] = [
        (member.no, str(member), partial(observer.ask, member)) for member in living(nodes)
    ]
    if any(node.get("No", 0) for node in nodes):  # else the only node is its own head
        asked.append((HEAD, "the head", observer.ask_head))
    for number, who, ask in asked:
        argument = {"after": after.get(number, 0), "limit": limit}
        rows = _kept(ask, who, "history_events", argument, missing) or []
        if rows:
            after[number] = rows[-1]["id"]
        found += rows
    found.sort(key=lambda event: event["time"])
    return found if news else found[-limit:], missing


_KINDS: dict[str, Callable[[Observer, list[Filter], int, bool], Listing]] = {
    "tasks": _tasks,
    "actors": _actors,
    "objects": _objects,
    "nodes": _nodes,
    "workers": _workers,
    "jobs": _jobs,
    "placement-groups": _groups,
    "runtime-envs": _runtime_envs,
    "cluster-events": _cluster_events,
}
