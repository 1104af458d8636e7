"""A trace of tasks for chrome://tracing and https://ui.perfetto.dev: what each process ran when.

Pure: rows of tasks in, events of the trace out. A process of the trace is a node, a thread of it a worker process.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def trace(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of a trace, in microseconds since 1970. Tasks without a known start and end, or worker, are not in it.

    Args:
        rows: tasks, as `ended_tasks` of `client/state.py` has them.
    """
    out: list[dict[str, Any]] = []
    named: set[tuple[int, int]] = set()
    for row in rows:
        start, end, pid = row["start_time"], row["end_time"], row["worker_pid"]
        if start is None or not pid:
            continue
        node = row["node_no"]
        if (node, pid) not in named:
            named.add((node, pid))
            out.append(_name("process_name", node, 0, f"node {node}"))
            out.append(_name("thread_name", node, pid, f"worker {pid}"))
        out.append(
            {
                "cat": "actor_task" if row["actor_id"] else "task",
                "name": row["name"],
                "ph": "X",
                "ts": start * 1e6,
                "dur": (end - start) * 1e6,
                "pid": node,
                "tid": pid,
                "cname": "terrible" if row["state"] == "FAILED" else "good",
                "args": {
                    "task_id": row["task_id"],
                    "job_id": row["job_id"],
                    "attempt_number": row["attempt_number"],
                    "waited_ms": None if row["creation_time"] is None else (start - row["creation_time"]) * 1e3,
                    "error": row["error_message"],
                },
            }
        )
    return out


def _name(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
