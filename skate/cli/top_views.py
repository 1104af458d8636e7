"""The views of `skate top`: which columns they have, how these are sorted and written, and what may be asked about a row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..client import filters as conditions, state
from ..client.filters import Filter
from .top_source import Row, Snapshot

CELL_MAX = 100
"""A longer text is cut."""


def text(value: Any) -> str:
    """On one line."""
    line = " ".join(str(value).split())
    return line if len(line) <= CELL_MAX else line[: CELL_MAX - 1] + "…"


def count(value: float) -> str:
    """With a mark between thousands."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def size(value: float) -> str:
    """Bytes, in the unit that fits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"


def percent(value: float) -> str:
    """A part of one."""
    return f"{100 * value:.0f} %"


def seconds(value: float) -> str:
    """A length of time."""
    for unit, factor in (("h", 3600), ("min", 60)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.3f} s" if value < 1 else f"{value:.1f} s"


def clock(value: float) -> str:
    """A moment."""
    return time.strftime("%H:%M:%S", time.localtime(value))


@dataclass(frozen=True)
class Column:
    """A column of a view."""

    key: str
    title: str
    show: Callable[[Any], str] = text
    """How a value is written that is known."""

    def cell(self, row: Row) -> str:
        """What stands in it."""
        value = row.get(self.key)
        return "" if value is None else self.show(value)

    @property
    def numeric(self) -> bool:
        """Is it sorted by number, the largest first, and written to the right?"""
        return self.show not in (text, clock)


@dataclass(frozen=True)
class View:
    """One kind of things."""

    name: str
    columns: tuple[Column, ...]
    ident: tuple[str, ...]
    """The keys that say which thing a row is."""
    sort: str
    """By what it is sorted at first; "": as the cluster says."""
    killed: str = ""
    """What killing one of them means, as a question to be answered by yes; "": they cannot be killed."""

    def key(self, row: Row) -> str:
        """Which thing it is."""
        return " ".join(str(row.get(each)) for each in self.ident)

    def question(self, row: Row) -> str:
        """What is asked before it is killed."""
        return self.killed.format(**row)

    def command(self, action: str, row: Row) -> list[str]:
        """The command of skate that tells more of a row: `get`, `why`, `stack` or `logs`; none if there is nothing to tell."""
        make = _COMMANDS.get((self.name, action))
        return [] if make is None else make(row)

    def wish(self, wanted: str) -> tuple[list[str], list[Filter]]:
        """The words that rows have to contain, and the conditions, KEY=VALUE, that they have to meet."""
        words: list[str] = []
        filters: list[Filter] = []
        known = (
            {*state.COLUMNS.get(self.name, ()), *state.DETAILS.get(self.name, ())} if self.name != "nodes" else set()
        )
        for word in wanted.split():
            key = word.partition("=")[0].removesuffix("!")
            if key in known and "=" in word:
                filters.append(conditions.parse(word))
            else:
                words.append(word.lower())
        return words, filters

    def texts(self, rows: Iterable[Row]) -> list[str]:
        """What words are looked for in."""
        return [" ".join([column.cell(row) for column in self.columns]).lower() for row in rows]

    def arranged(
        self, rows: list[Row], by: str, backwards: bool, wanted: str, texts: list[str] | None = None
    ) -> list[Row]:
        """The rows that have all words and meet all conditions of a text, sorted. `texts`: of them, if they are known."""
        words, filters = self.wish(wanted)
        kept = rows
        if words:
            lines = self.texts(rows) if texts is None else texts
            kept = [row for row, line in zip(rows, lines, strict=True) if all(word in line for word in words)]
        if filters:
            kept = [row for row in kept if conditions.meets(row, filters)]
        column = next((each for each in self.columns if each.key == by), None)
        if column is None:
            return kept[::-1] if backwards else list(kept)
        known = [row for row in kept if row.get(by) is not None]
        rest = [row for row in kept if row.get(by) is None]
        largest_first = column.numeric != backwards
        return sorted(known, key=lambda row: row[by] if column.numeric else str(row[by]), reverse=largest_first) + rest


def _place(row: Row, key: str = "pid") -> str:
    """A process, as other commands call it."""
    return f"{row['node_no']}:{row[key]}" if row["node_no"] else str(row[key])


def _of_task(action: str) -> Callable[[Row], list[str]]:
    return lambda row: [action, _place(row, "worker_pid")] if row["worker_pid"] else []


_COMMANDS: dict[tuple[str, str], Callable[[Row], list[str]]] = {
    ("nodes", "get"): lambda row: ["get", "nodes", row["node_id"]],
    ("nodes", "stack"): lambda row: ["stack", "--node", str(row["node_no"])],
    ("nodes", "logs"): lambda row: ["logs", "--follow", "--node", str(row["node_no"])],
    ("tasks", "get"): lambda row: ["get", "tasks", row["task_id"]],
    ("tasks", "why"): lambda row: ["why", row["task_id"]],
    ("tasks", "stack"): _of_task("stack"),
    ("tasks", "logs"): lambda row: ["logs", "--follow", "--task", row["task_id"]],
    ("actors", "get"): lambda row: ["get", "actors", row["actor_id"]],
    ("actors", "why"): lambda row: ["why", row["actor_id"]],
    ("actors", "stack"): lambda row: ["stack", row["actor_id"]],
    ("actors", "logs"): lambda row: ["logs", "--follow", "--actor", row["actor_id"]],
    ("workers", "get"): lambda row: ["get", "workers", row["worker_id"]],
    ("workers", "why"): lambda row: ["why", _place(row)],
    ("workers", "stack"): lambda row: ["stack", _place(row)],
    ("workers", "logs"): lambda row: ["logs", "--follow", "--worker", _place(row)],
    ("objects", "get"): lambda row: ["get", "objects", row["object_id"]],
    ("objects", "why"): lambda row: ["why", row["object_id"]],
}

VIEWS = {
    view.name: view
    for view in (
        View(
            "nodes",
            (
                Column("node_no", "node", str),
                Column("name", "name"),
                Column("state", "state"),
                Column("cpus_used", "CPUs used", count),
                Column("cpus", "of", count),
                Column("load", "busy", percent),
                Column("memory_used", "memory", size),
                Column("memory", "of", size),
                Column("store_used", "store", size),
                Column("store", "of", size),
                Column("spilled", "on disk", size),
                Column("address", "address"),
            ),
            ("node_id",),
            "",
        ),
        View(
            "functions",
            (
                Column("name", "name"),
                Column("running", "running", count),
                Column("waiting", "waiting", count),
                Column("per_s", "per second", count),
                Column("finished", "finished", count),
                Column("failed", "failed", count),
            ),
            ("name",),
            "running",
        ),
        View(
            "tasks",
            (
                Column("name", "name"),
                Column("state", "state"),
                Column("seconds", "time", seconds),
                Column("node_no", "node", str),
                Column("worker_pid", "pid", str),
                Column("attempt_number", "attempt", str),
                Column("task_id", "id"),
                Column("error_message", "error"),
            ),
            ("task_id", "attempt_number"),
            "",
            "Cancel task {name} ({task_id}), and what it has started?",
        ),
        View(
            "actors",
            (
                Column("class_name", "class"),
                Column("name", "name"),
                Column("state", "state"),
                Column("node_no", "node", str),
                Column("pid", "pid", str),
                Column("num_restarts", "restarts", count),
                Column("job_id", "job"),
                Column("actor_id", "id"),
                Column("death_cause", "died because"),
            ),
            ("actor_id",),
            "state",
            "Kill actor {class_name} {name} ({actor_id})? It is not started again, and its calls fail.",
        ),
        View(
            "workers",
            (
                Column("pid", "pid", str),
                Column("state", "state"),
                Column("node_no", "node", str),
                Column("memory", "memory", size),
                Column("job_id", "job"),
                Column("worker_id", "id"),
            ),
            ("worker_id",),
            "memory",
            "Kill worker {pid} on node {node_no}? What it ran is tried again as often as its max_retries allow.",
        ),
        View(
            "objects",
            (
                Column("object_size", "size", size),
                Column("status", "status"),
                Column("node_no", "node", str),
                Column("owner", "made by"),
                Column("held_by", "held by"),
                Column("call_site", "where"),
                Column("object_id", "id"),
            ),
            ("object_id", "node_no"),
            "object_size",
        ),
        View(
            "events",
            (
                Column("time", "time", clock),
                Column("severity", "severity"),
                Column("node_no", "node", str),
                Column("source", "source"),
                Column("text", "what"),
            ),
            ("node_no", "id"),
            "",
        ),
    )
}


# ------------------------------------------------------------ lines


def headlines(found: Snapshot) -> list[str]:
    """The cluster in two lines, and what waits or is not known."""
    nodes = [node for node in found.nodes if node["state"] not in ("dead", "drained")]
    head = found.status.get("head", "")
    running = sum(each["running"] for each in found.functions)
    waiting = sum(each["waiting"] for each in found.functions)
    failed = sum(each["failed"] for each in found.functions)
    rates = [each["per_s"] for each in found.functions if each["per_s"] is not None]
    machines = list({node["address"].rpartition(":")[0] or node["address"]: node for node in nodes}.values())
    first = (
        f"cluster {head + ' ' if head else ''}of {len(nodes)} node{'s' * (len(nodes) != 1)}"
        f"   CPUs {count(_sum(nodes, 'cpus_used'))}/{count(_sum(nodes, 'cpus'))}"
        f"   memory {size(_sum(machines, 'memory_used'))}/{size(_sum(machines, 'memory'))}"
        f"   store {size(_sum(nodes, 'store_used'))}/{size(_sum(nodes, 'store'))}"
    )
    rate = f"   {count(round(sum(rates), 1))} per second" if rates else ""
    return [first, f"tasks: {count(running)} running, {count(waiting)} waiting, {count(failed)} failed{rate}"]


def news(found: Snapshot) -> list[str]:
    """What waits and why, and of whom nothing is known."""
    waits = [
        f"waiting: {each['count']} x ({each['wants']}): {each['reason']}" for each in found.status.get("demand", [])
    ]
    return waits + [f"not known: {each}" for each in found.missing]


def _sum(rows: list[Row], key: str) -> float:
    return float(sum(row[key] or 0 for row in rows))


def lines(found: Snapshot, view: View) -> list[str]:
    """A view as text, for a pipe."""
    rows = view.arranged(found.rows, view.sort, False, "")
    cells = [[column.title for column in view.columns]]
    cells += [[column.cell(row) for column in view.columns] for row in rows]
    widths = [max(len(line[at]) for line in cells) for at in range(len(view.columns))]
    out = []
    for line in cells:
        padded = [
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(line, widths, view.columns, strict=True)
        ]
        out.append("  ".join(padded).rstrip())
    return out
