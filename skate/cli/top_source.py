"""What `skate top` shows, as it is at one moment: asked of the nodes anew each time, in bounded time.

A cluster that does not answer is no error: the snapshot says so, and the next one may be better.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..client import state
from ..client.filters import Filter
from ..client.observing import Observer, address_of, ask_all, ask_each, members, observe
from ..exceptions import RayError

ANSWER_S = 2.0
"""How long each node may take to answer."""
LIVE_MAX = 1000
"""So many unfinished tasks of each process are counted by name: describing them takes its time."""
ROWS_FIRST = 500
"""So many rows of a view are asked for at first: nobody looks at more, as long as he does not scroll, sort or filter."""
ROWS_MAX = 10_000
"""And so many from then on."""
EVENTS_MAX = 1000
"""So many events are remembered."""
RUNNING, FINISHED, FAILED = "RUNNING", "FINISHED", "FAILED"

Row = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What is wanted of the cluster."""

    view: str
    limit: int = ROWS_FIRST
    """So many rows at the most."""
    filters: tuple[Filter, ...] = ()
    """Conditions that rows have to meet; they are looked for among all that there are."""


@dataclass
class Snapshot:
    """One moment."""

    wish: Wish
    at: float = field(default_factory=time.time)
    status: dict[str, Any] = field(default_factory=dict)
    nodes: list[Row] = field(default_factory=list)
    functions: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """Of the view."""
    total: int = 0
    """How many there are of these; -1: more."""
    missing: list[str] = field(default_factory=list)
    """Of whom nothing is known, and why."""
    error: str = ""
    """Why nothing is known at all."""
    texts: list[str] | None = None
    """Each row as one text, to be searched; it is made only when somebody does."""

    @property
    def view(self) -> str:
        """Of which view it is."""
        return self.wish.view


class Source(Protocol):
    """Where snapshots come from."""

    address: str | None
    """What to give other commands as `--address`."""

    def poll(self, wish: Wish) -> Snapshot:
        """What there is now. Does not fail, and takes some seconds at the most."""
        ...

    def kill(self, view: str, row: Row) -> str:
        """End what a row of a view is about; says what was done, or why not."""
        ...


class Cluster:
    """The `Source` of a cluster or a program.

    Raises:
        ConnectionError: there is none, when it is made.
    """

    def __init__(self, address: str | None, temp_dir: str | None) -> None:
        self._temp_dir = temp_dir
        self._observer: Observer | None = observe(address, temp_dir, ANSWER_S)
        self.address = address_of(self._observer)
        self._ended: tuple[float, dict[str, int]] = (0.0, {})
        """When was looked last, and how many tasks of each name had ended."""
        self._cpu: dict[str, tuple[float, float]] = {}
        """By node: seconds busy and idle."""
        self._events: deque[Row] = deque(maxlen=EVENTS_MAX)
        self._after: dict[int, int] = {}
        self._fetch: dict[str, Callable[[Observer, Snapshot], None]] = {
            "nodes": self._nodes,
            "functions": self._functions,
            "workers": self._workers,
            "events": self._news,
        }

    def poll(self, wish: Wish) -> Snapshot:
        """See `Source`."""
        found = Snapshot(wish)
        try:
            observer = self._observer = self._observer or observe(self.address, self._temp_dir, ANSWER_S)
            found.status = observer.ask_head("cluster_status")
            self._machines(observer, found)
            self._count(observer, found)
            self._fetch.get(wish.view, self._listed)(observer, found)
        except (ConnectionError, ValueError, RayError) as error:
            self._observer = None
            return Snapshot(wish, error=str(error))
        found.missing = list(dict.fromkeys(found.missing))
        return found

    # ------------------------------------------------------------ what is shown in every view

    def _machines(self, observer: Observer, found: Snapshot) -> None:
        """Nodes, with what their machines say."""
        said = ask_each(observer, "vitals", {"workers": found.view == "workers"}, found.missing)
        machines = {member.id: value for member, value in said}
        for node in found.status["nodes"]:
            machine = machines.get(node["NodeID"], {})
            store = node["Store"] or {}
            cpus = node["Resources"].get("CPU", 0.0)
            found.nodes.append(
                {
                    "node_id": node["NodeID"],
                    "node_no": node["No"],
                    "name": node["NodeName"],
                    "state": node["State"],
                    "cpus": cpus,
                    "cpus_used": max(0.0, cpus - node["Free"].get("CPU", 0.0)) if node["Alive"] else 0.0,
                    "load": self._load(node["NodeID"], machine),
                    "memory_used": machine.get("memory_used"),
                    "memory": machine.get("memory_total"),
                    "store_used": store.get("used"),
                    "store": store.get("total"),
                    "spilled": store.get("spilled"),
                    "address": node["NodeManagerAddress"] + (f":{port}" if (port := node["NodeManagerPort"]) else ""),
                    "workers": machine.get("memory_of", []),
                }
            )

    def _load(self, ident: str, machine: Row) -> float | None:
        """Which part of the machine's CPUs was busy since the last time."""
        if not machine:
            return None
        now = (float(machine["cpu_busy_s"]), float(machine["cpu_s"] - machine["cpu_busy_s"]))
        before = self._cpu.get(ident)
        self._cpu[ident] = now
        if before is None or sum(now) <= sum(before):
            return None
        return min(1.0, max(0.0, now[0] - before[0]) / (sum(now) - sum(before)))

    def _count(self, observer: Observer, found: Snapshot) -> None:
        """Tasks by name, and how many have ended per second since the last time."""
        counts, missing = state.summary_of_tasks(observer, LIVE_MAX)
        found.missing += missing
        now = time.monotonic()
        at, before = self._ended
        ended = {name: states.get(FINISHED, 0) + states.get(FAILED, 0) for name, states in counts.items()}
        self._ended = now, ended
        for name, states in counts.items():
            more = ended[name] - before.get(name, 0)
            unfinished = sum(states.values()) - ended[name]
            found.functions.append(
                {
                    "name": name,
                    "running": states.get(RUNNING, 0),
                    "waiting": unfinished - states.get(RUNNING, 0),
                    "finished": states.get(FINISHED, 0),
                    "failed": states.get(FAILED, 0),
                    "per_s": more / (now - at) if at and more >= 0 else None,
                }
            )

    # ------------------------------------------------------------ views

    def _nodes(self, observer: Observer, found: Snapshot) -> None:
        found.rows, found.total = found.nodes, len(found.nodes)

    def _functions(self, observer: Observer, found: Snapshot) -> None:
        found.rows, found.total = found.functions, len(found.functions)

    def _listed(self, observer: Observer, found: Snapshot) -> None:
        listing = state.listing(observer, found.view, list(found.wish.filters), found.wish.limit, detail=True)
        found.rows, found.total = listing.rows, listing.total
        found.missing += listing.missing
        if found.view == "tasks":
            found.rows.sort(key=lambda row: row["state"] != RUNNING)  # what runs comes first, the rest stays as it is
        for row in found.rows:
            if found.view == "tasks":
                row["seconds"] = _seconds(row, found.at)
            elif found.view == "objects":
                row["held_by"] = ", ".join(f"{who} x{count}" for who, count in row["holders"].items())

    def _workers(self, observer: Observer, found: Snapshot) -> None:
        self._listed(observer, found)
        used = {(node["node_no"], pid): size for node in found.nodes for pid, size in node["workers"]}
        for row in found.rows:
            row["memory"] = used.get((row["node_no"], row["pid"]))

    def _news(self, observer: Observer, found: Snapshot) -> None:
        events, missing = state.events(observer, self._after, EVENTS_MAX)
        self._events += events
        found.rows, found.total = list(reversed(self._events)), len(self._events)
        found.missing += missing

    # ------------------------------------------------------------ killing

    def kill(self, view: str, row: Row) -> str:
        """See `Source`."""
        try:
            observer = observe(self.address, self._temp_dir, ANSWER_S)
            if view == "actors":
                observer.ask_head("kill", {"actor": row["actor_id"]})
                return f"actor {row['actor_id']} was killed"
            if view == "tasks":
                return _cancel(observer, str(row["task_id"]))
            member = next((each for each in members(observer) if each.no == row["node_no"]), None)
            if member is None:
                return f"nothing was killed: node {row['node_no']} has ended"
            observer.ask(member, "kill", {"pid": row["pid"]})
            return f"worker {row['pid']} was killed"
        except (ConnectionError, ValueError, RayError) as error:
            return f"nothing was killed: {error}"


def _cancel(observer: Observer, ident: str) -> str:
    """Have the process cancel a task that has submitted it: the id of a task begins with that of the process."""
    question = {
        "what": "cancel",
        "argument": {"id": ident, "how": "by hand, with `skate top`"},
        "clients": [ident[:16]],
    }
    words = ask_all(observer, "tell", question)
    said = [each for word in words if not word.error for each in word.value]
    if any(each["value"] for each in said):
        return f"task {ident} was cancelled"
    reasons = [word.error for word in words if word.error] + [each["error"] for each in said if each["error"]]
    return f"nothing was cancelled: {'; '.join(reasons) or 'the task has ended'}"


def _seconds(row: Row, now: float) -> float | None:
    """How long a task has run; or since when it has been there, if it has not ended."""
    begin = row["start_time_ms"] if row["end_time_ms"] else row["start_time_ms"] or row["creation_time_ms"]
    return None if begin is None else max(0.0, (row["end_time_ms"] or now * 1000) - begin) / 1000
