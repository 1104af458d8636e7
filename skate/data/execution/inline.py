"""Runs the tasks of an execution in the calling process."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from .executor import Accepts, Event
from .operators import Bundle, Operator, Task
from .produce import WORKER, Made, Place, files_of, produce, produce_parts
from .stats import Cost


class InlineRunner:
    """Runs one task after the other, here, and each only as far as somebody takes what it makes."""

    def __init__(self) -> None:
        self._running: dict[Task, Iterator[Any]] = {}

    def has_room(self, operator: Operator) -> bool:
        """See `Runner`."""
        return not self._running

    def start(self, task: Task) -> None:
        """See `Runner`. Nothing runs before `poll`."""
        self._running[task] = outputs_of(task)

    def poll(self, accepts: Accepts, wait: bool) -> list[Event]:
        """See `Runner`. The one task that there is goes on to its next block."""
        for task, source in list(self._running.items()):
            try:
                block = next(source, None)
                if block is not None:
                    made = next(source)
                    return [Event(task, Bundle(block, made.meta), None, made.cost)]
            except Exception as error:
                del self._running[task]
                return [Event(task, error=error)]
            del self._running[task]
            return [Event(task)]
        return []

    def wake(self) -> None:
        """See `Runner`. It does not wait."""

    def operator_ended(self, operator: Operator) -> None:
        """See `Runner`."""

    def cancel(self, operator: Operator) -> list[Task]:
        """See `Runner`."""
        mine = [task for task in self._running if task.operator is operator]
        for task in mine:
            del self._running[task]
        return mine

    def close(self) -> None:
        """See `Runner`."""
        self._running.clear()


def outputs_of(task: Task, place: Place = WORKER) -> Generator[Any]:
    """The blocks of a task, each followed by what there is to know of it."""
    inputs = [bundle.block for bundle in task.inputs]
    if not task.outputs:
        yield from produce(task.work, task.extra, files_of(task), inputs, place)
        return
    *parts, (made, cost) = produce_parts(task.work, task.extra, files_of(task), inputs, place)
    for block, meta in zip(parts, made.metas(), strict=True):
        yield block
        yield Made(meta, cost)
        cost = Cost()
