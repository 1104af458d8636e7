"""A cluster that is not there, with as many tasks and actors as are wanted: behind the same interface as a real one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from skate.client.filters import Filter, check, meets
from skate.client.packages import Package
from skate.client.state import COLUMNS, DETAILS, SUMMARIES, summary_of
from skate.dashboard.federation import Scraped, merged

TASKS = 10_000
ACTORS = 1_000


def task(number: int) -> dict[str, Any]:
    """A row of the list of tasks."""
    state = "RUNNING" if number < 20 else "FAILED" if number % 50 == 0 else "FINISHED"
    start = 1_800_000_000_000 + number
    return {
        "task_id": f"{number:032x}",
        "attempt_number": 0,
        "name": f"function_{number % 7}",
        "state": state,
        "job_id": "ab12cd34",
        "actor_id": "",
        "type": "NORMAL_TASK",
        "func_or_class_name": f"function_{number % 7}",
        "parent_task_id": "",
        "node_id": "aa" * 16,
        "worker_id": f"{number % 16:016x}",
        "worker_pid": 4000 + number % 16,
        "error_type": "ValueError" if state == "FAILED" else "",
        "error_message": "it failed" if state == "FAILED" else "",
        "creation_time_ms": start - 5,
        "start_time_ms": start,
        "end_time_ms": None if state == "RUNNING" else start + number % 300,
        "node_no": 1 + number % 2,
    }


def actor(number: int) -> dict[str, Any]:
    """A row of the list of actors."""
    row = dict.fromkeys([*COLUMNS["actors"], *DETAILS["actors"]], "")
    return {
        **row,
        "actor_id": f"{number:032x}",
        "class_name": "Counter",
        "state": "DEAD" if number % 100 == 99 else "ALIVE",
        "name": f"counter-{number}",
        "pid": 5000 + number,
        "node_no": 1 + number % 2,
        "num_restarts": number % 3,
    }


class FakeSource:
    """See `Source`. It counts what is asked of it."""

    def __init__(self, tasks: int = TASKS, actors: int = ACTORS) -> None:
        self.calls: list[str] = []
        self.ended = 0
        self.trouble = ""
        """Why the cluster does not answer."""
        self.printed = "<b>not markup</b>"
        self.tables: dict[str, list[dict[str, Any]]] = {
            "tasks": [task(number) for number in range(tasks)],
            "actors": [actor(number) for number in range(actors)],
        }

    def reading(self) -> dict[str, Any]:
        self.calls.append("reading")
        if self.trouble:
            raise ConnectionError(self.trouble)
        self.ended += 100
        counts = {
            "cpu_busy_s": time.monotonic(),
            "cpu_s": 2 * time.monotonic(),
            "cpu_count": 4,
            "memory_used": 4 << 30,
            "memory_total": 16 << 30,
            "store_used": 1 << 20,
            "store_total": 1 << 30,
            "spilled": 0,
            "objects": 5,
            "workers": 4,
            "actors": 2,
            "cpus_total": 4,
            "cpus_used": 1.5,
            "ended": self.ended,
            "unfinished": 20,
        }
        nodes = [
            {
                "no": number,
                "node_id": f"{number:032x}",
                "name": f"machine-{number}",
                "host": "10.0.0.1",
                "port": 6379,
                "state": "ALIVE",
                "reason": "",
                "labels": {"zone": "a"},
                "total": {"CPU": 2},
                "free": {"CPU": 0.5},
                "memory_used": 2 << 30,
                "memory_total": 8 << 30,
                "store_used": 1 << 20,
                "store_total": 1 << 30,
                "spilled": 0,
                "objects": 5,
                "workers": 2,
                "actors": 1,
            }
            for number in (1, 2)
        ]
        return {
            "counts": counts,
            "nodes": nodes,
            "names": [{"name": "function_1", "finished": self.ended, "failed": 3}],
            "waiting": [
                {"count": 2, "wants": "1 GPU", "reason": "infeasible: no node has that much", "request": {"GPU": 1}}
            ],
            "failures": [],
            "datasets": [
                {
                    "id": "1",
                    "pid": 77,
                    "node": 1,
                    "seconds": 1.5,
                    "operators": [
                        {
                            "name": "read -> map",
                            "blocks": 3,
                            "total": 10,
                            "rows": 300,
                            "bytes": 5000,
                            "running": 2,
                            "queued": 1,
                            "done": False,
                        }
                    ],
                }
            ],
            "missing": [],
        }

    def rows(self, kind: str, filters: list[Filter]) -> dict[str, Any]:
        self.calls.append(f"rows {kind}")
        rows = self.tables.get(kind, [])
        if rows:
            wanted = check(filters, list(rows[0]))
            rows = [row for row in rows if meets(row, wanted)]
        return {"rows": rows, "total": len(rows), "missing": [], "notes": []}

    def get(self, kind: str, ident: str) -> list[dict[str, Any]]:
        self.calls.append(f"get {kind}")
        return [row for row in self.tables.get(kind, []) if ident in row.values()]

    def summary(self, kind: str) -> dict[str, Any]:
        self.calls.append(f"summary {kind}")
        return {"summary": summary_of(self.tables.get(kind, []), *SUMMARIES[kind]), "missing": ["node 2 (b): away"]}

    def metrics(self) -> str:
        self.calls.append("metrics")
        if self.trouble:
            raise ConnectionError(self.trouble)
        return merged([Scraped("10.0.0.1:6379", "machine-1", 1, "# TYPE skate_workers gauge\nskate_workers 4\n")])

    def timeline(self) -> list[dict[str, Any]]:
        self.calls.append("timeline")
        return [
            {
                "task_id": row["task_id"],
                "name": row["name"],
                "state": row["state"],
                "node": row["node_no"],
                "start": row["start_time_ms"] / 1e3,
                "end": (row["end_time_ms"] or 0) / 1e3,
                "pid": row["worker_pid"],
            }
            for row in self.tables["tasks"][20:3000]
        ]

    def logs(self, wish: dict[str, Any]) -> dict[str, Any]:
        self.calls.append("logs")
        line = {"node": 1, "pid": 4001, "error": False, "whose": "Counter", "task": "", "text": self.printed}
        return {"lines": [line], "missing": []}

    def stacks(self, node: int, pid: int) -> list[dict[str, Any]]:
        self.calls.append("stacks")
        return [
            {"name": "MainThread", "frames": ["main (program.py:1)", f"work (program.py:{2 + len(self.calls) % 2})"]}
        ]


class FakeJobs:
    """See `JobsApi`. It remembers what has changed something."""

    def __init__(self) -> None:
        self.changes: list[str] = []

    def ping(self) -> None:
        """It answers."""

    def where(self) -> str:
        return "10.0.0.1:6379"

    def submit(self, request: Mapping[str, Any]) -> str:
        self.changes.append("submit")
        return "job_1"

    def has(self, package: str) -> bool:
        return True

    def bring(self, package: Package) -> None:
        self.changes.append("bring")

    def listed(self) -> list[dict[str, Any]]:
        return [{"submission_id": "job_1", "status": "RUNNING"}]

    def info(self, ident: str) -> dict[str, Any]:
        return {"submission_id": ident, "status": "RUNNING"}

    def stop(self, ident: str) -> bool:
        self.changes.append("stop")
        return True

    def delete(self, ident: str) -> bool:
        self.changes.append("delete")
        return True

    def log(self, ident: str, offset: int = 0, wait_s: float = 0.0) -> dict[str, Any]:
        return {"logs": "hello\n", "offset": 6, "over": True}
