"""What Python has written when the process of a task crashed: the stack that is in no task's lines.

`faulthandler` writes it into the process's stderr, when nothing can say any more whose it is. But who has submitted the task
knows in which process each attempt has died; and a process dies once, so what is there is of that task.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from . import state
from .observing import Member, Observer, ask_each

ID_DIGITS = 32
FAILED_MAX = 10_000
"""So many failed tasks are looked through, if only the beginning of an id is known."""
OF_PROCESS = ("WorkerCrashedError", "ActorDiedError", "OutOfMemoryError")
"""How attempts fail whose process has died."""


class Crash(NamedTuple):
    """What was written when one attempt died."""

    member: Member
    pid: int
    task: str
    name: str
    lines: list[str]

    def last(self, count: int | None) -> list[str]:
        """Its last lines, at most so many; all: None."""
        return self.lines if count is None else self.lines[max(0, len(self.lines) - count) :]


class Crashes:
    """The crashes of a task, each told once.

    Args:
        observer: the cluster.
        task: the id of the task, or its beginning.
    """

    def __init__(self, observer: Observer, task: str) -> None:
        self.observer = observer
        self.task = task
        self._told: set[tuple[int, int]] = set()

    def new(self, nodes: list[Member], missing: list[str]) -> Iterator[Crash]:
        """Those on these nodes that were not told yet; of whom nothing is known is added to `missing`."""
        which = ("task_id", "=", self.task) if len(self.task) == ID_DIGITS else ("state", "=", "FAILED")
        found = state.listing(self.observer, "tasks", [which], FAILED_MAX, detail=True)
        missing += found.missing
        by_no = {member.no: member for member in nodes}
        for row in reversed(found.rows):  # the first attempt first
            member, place = by_no.get(row["node_no"]), (row["node_no"], row["worker_pid"])
            if member is None or place in self._told or row["error_type"] not in OF_PROCESS or not row["worker_pid"]:
                continue
            if not row["task_id"].startswith(self.task):
                continue
            self._told.add(place)
            for _, lines in ask_each(self.observer, "crash", {"pid": row["worker_pid"]}, missing, [member]):
                if lines:
                    yield Crash(member, row["worker_pid"], row["task_id"], row["name"], lines)
