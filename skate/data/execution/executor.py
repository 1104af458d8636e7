"""Moves bundles from operator to operator, starts tasks while there is room for what they make, and hands on what the last one makes.

The budget is of bytes in blocks: those that wait between operators, those that nobody has taken yet, and those that running tasks are
expected to make. Operators near the end go first, so that what is there is used before more is made. When nothing at all runs, one
task may start whatever the budget says: it is what brings the rest forward.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from .operators import Bundle, LimitOperator, Operator, Task

EXPECTED_BYTES = 8 << 20
"""What a task is expected to make before one of its kind has ended."""


class Runner(Protocol):
    """What runs tasks."""

    def has_room(self, operator: Operator) -> bool:
        """Whether one more task of an operator would start at once."""

    def start(self, task: Task) -> None:
        """Run a task."""

    def poll(self, accepts: Accepts, wait: bool) -> list[tuple[Task, Bundle | None]]:
        """What tasks have made since the last call, and (None) which have ended. With `wait`, until there is something.

        Raises:
            Exception: what a task has raised.
        """

    def wake(self) -> None:
        """End a `poll` that waits. May be called from any thread."""

    def operator_ended(self, operator: Operator) -> None:
        """No more of its tasks will come."""

    def cancel(self, operator: Operator) -> list[Task]:
        """End the running tasks of an operator; returns them. Nothing more is heard of them."""

    def close(self) -> None:
        """End all that still runs."""


class Accepts(Protocol):
    """Whether the next block of a task is wanted now."""

    def __call__(self, task: Task) -> bool: ...


class Execution:
    """One run of a tree of operators."""

    def __init__(self, sink: Operator, runner: Runner, budget_bytes: int) -> None:
        self.sink = sink
        self.runner = runner
        self.budget_bytes = budget_bytes
        self.operators = _in_order(sink)
        self._told: dict[tuple[int, int], bool] = {}
        """(operator, port): it knows that this input has ended."""
        self._ended: set[int] = set()
        self.ready: deque[Bundle] = deque()
        """What the consumer has not taken yet."""
        self.ready_bytes = 0
        self.began = time.perf_counter()
        self.peak_bytes = 0
        self._outstanding: dict[int, int] = {}
        self._stopping = False

    # ------------------------------------------------------------ for the consumer

    def __iter__(self) -> Iterator[Bundle]:
        """The bundles of the last operator, in order. Closing the iterator ends the execution."""
        try:
            while not self._stopping:
                self.advance(wait=False)
                while self.ready:
                    yield self.take()
                    self.advance(wait=False)
                if self.sink.finished:
                    return
                self.advance(wait=not self.ready)
        finally:
            self.runner.close()

    def stop(self) -> None:
        """End the iteration, which may be in another thread, at its next step."""
        self._stopping = True
        self.runner.wake()

    def take(self) -> Bundle:
        """The next bundle."""
        bundle = self.ready.popleft()
        self.ready_bytes -= bundle.meta.size_bytes
        return bundle

    @property
    def done(self) -> bool:
        """Whether everything was made. There may be bundles to take."""
        return self.sink.finished

    # ------------------------------------------------------------ steps

    def advance(self, wait: bool) -> None:
        """Hear what tasks have made, move it, and start what can be started."""
        self._move()
        self._launch()
        if self.sink.finished:
            return
        for task, bundle in self.runner.poll(self._accepts, wait and not self.ready):
            operator = task.operator
            if bundle is not None:
                operator.task_made(task, bundle)
                task.made_blocks += 1
                task.made_bytes += bundle.meta.size_bytes
            else:
                operator.running -= 1
                operator.tasks_ended += 1
                self._outstanding[id(operator)] -= task.made_bytes
                operator.task_ended(task)
        self._move()
        self._launch()

    def _move(self) -> None:
        for operator in self.operators:
            for port, source in enumerate(operator.inputs):
                if (id(operator), port) in self._told:
                    continue
                while not operator.stopped and (bundle := source.take()) is not None:
                    operator.add(port, bundle)
                    if isinstance(operator, LimitOperator) and operator.enough:
                        self._stop(source)
                        break
                if source.finished or operator.stopped:
                    self._told[id(operator), port] = True
                    operator.input_ended(port)
            if operator.finished and id(operator) not in self._ended:
                self._ended.add(id(operator))
                self.runner.operator_ended(operator)
        while (bundle := self.sink.take()) is not None:
            self.ready.append(bundle)
            self.ready_bytes += bundle.meta.size_bytes

    def _stop(self, operator: Operator) -> None:
        """Nobody needs more of an operator, so nobody needs more of those before it."""
        for task in self.runner.cancel(operator):
            operator.running -= 1
            operator.task_ended(task)
        operator.stop()
        while operator.take() is not None:
            pass  # nobody wants it
        for source in operator.inputs:
            self._stop(source)

    def _launch(self) -> None:
        started = True
        while started:
            started = False
            for operator in reversed(self.operators):
                if not self.runner.has_room(operator) or not self._may_start(operator):
                    continue
                task = operator.next_task()
                if task is not None:
                    operator.running += 1
                    self._outstanding.setdefault(id(operator), 0)
                    self.runner.start(task)
                    started = True
                    break

    # ------------------------------------------------------------ memory

    def used_bytes(self) -> int:
        """What blocks take now, and what running tasks are expected to add."""
        held = self.ready_bytes + sum(operator.held_bytes + self._expected(operator) for operator in self.operators)
        self.peak_bytes = max(self.peak_bytes, held)
        return held

    def _expected(self, operator: Operator) -> int:
        if not operator.running:
            return 0
        each = operator.bytes_out // operator.tasks_ended if operator.tasks_ended else EXPECTED_BYTES
        return each * operator.running

    def _may_start(self, operator: Operator) -> bool:
        if not any(each.running for each in self.operators):
            return not self.ready or self.used_bytes() < self.budget_bytes
        return self.used_bytes() < self.budget_bytes

    def _accepts(self, task: Task) -> bool:
        if task.operator.urgent(task) and self.ready_bytes < self.budget_bytes:
            return True
        return self.used_bytes() < self.budget_bytes


def _in_order(sink: Operator) -> list[Operator]:
    """The operators, inputs first."""
    found: list[Operator] = []

    def visit(operator: Operator) -> None:
        if operator not in found:
            for source in operator.inputs:
                visit(source)
            found.append(operator)

    visit(sink)
    return found
