"""Moves bundles from operator to operator, starts tasks while there is room for what they make, and hands on what the last makes.

The budget is of bytes in blocks: those that wait between operators, those that running tasks read, those that nobody has taken
yet, and those that running tasks are expected to make. Operators near the end go first, so that what is there is used before
more is made, and may fill more of the budget than those before them. What an operator gathers that has to see all of its input
is not counted: it cannot go on with less, and what the store has no room for is spilled.

When there is no room for anything, the *focus* goes on: the last operator that has something to do, with one task at a time. It
is what brings the rest forward, so there is no deadlock whatever the sizes of blocks are.

INV-1: beyond the budget there are only blocks of the focus: those of the task that everything waits for.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from . import stats
from .operators import Bundle, InputOperator, Operator, Task

EXPECTED_BYTES = 8 << 20
"""What a task is expected to make before one of its kind has ended."""

log = logging.getLogger(__name__)


class Event(NamedTuple):
    """What a task has done: made a block, or failed, or (neither) ended."""

    task: Task
    bundle: Bundle | None = None
    error: BaseException | None = None
    cost: stats.Cost = stats.Cost()


class Accepts(Protocol):
    """Whether the next block of a task is wanted now."""

    def __call__(self, task: Task) -> bool: ...


class Runner(Protocol):
    """What runs tasks."""

    def has_room(self, operator: Operator) -> bool:
        """Whether one more task of an operator would start at once."""
        ...

    def start(self, task: Task) -> None:
        """Run a task."""
        ...

    def poll(self, accepts: Accepts, wait: bool) -> list[Event]:
        """What tasks have done since the last call. With `wait`, until there is something, or for a while.

        A task whose next block is not accepted takes no room until it is.
        """
        ...

    def wake(self) -> None:
        """End a `poll` that waits. May be called from any thread."""
        ...

    def operator_ended(self, operator: Operator) -> None:
        """No more of its tasks will come."""
        ...

    def cancel(self, operator: Operator) -> list[Task]:
        """End the running tasks of an operator; returns them. Nothing more is heard of them."""
        ...

    def close(self) -> None:
        """End all that still runs."""
        ...


class Execution:
    """One run of a tree of operators.

    Args:
        sink: the last operator.
        runner: runs the tasks.
        budget_bytes: of blocks.
        window_bytes: how much a task makes at most before somebody takes it.
        max_errored: how many tasks may fail before the execution does; -1: any number.
        clock: seconds, for the statistics.
        first_bytes: of the budget, no more than this is used at first, and twice as much after each block that is taken: so what
            the first block needs is done alone, and who wants no more waits for nothing else. None: all of it.
    """

    def __init__(
        self,
        sink: Operator,
        runner: Runner,
        budget_bytes: int,
        window_bytes: int = 1 << 60,
        max_errored: int = 0,
        clock: Callable[[], float] = lambda: 0.0,
        first_bytes: int | None = None,
    ) -> None:
        self.sink = sink
        self.runner = runner
        self.budget_bytes = budget_bytes
        self._opened_bytes = budget_bytes if first_bytes is None else first_bytes
        """How much of the budget may be used by now."""
        self.window_bytes = window_bytes
        self.max_errored = max_errored
        self.operators = _in_order(sink)
        self._place = {id(operator): at for at, operator in enumerate(self.operators)}
        self._told: dict[tuple[int, int], bool] = {}
        """(operator, port): it knows that this input has ended."""
        self._ended: set[int] = set()
        self.ready: deque[Bundle] = deque()
        """What the consumer has not taken yet."""
        self.ready_bytes = 0
        self.failed = 0
        self.peak_bytes = 0
        self._clock = clock
        self._began = clock()
        self._done_s: float | None = None
        self.on_progress: Callable[[Execution], None] | None = None
        """Called after each step, for progress bars."""
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
            self._done_s = self._clock() - self._began
            self.runner.close()

    def stop(self) -> None:
        """End the iteration, which may be in another thread, at its next step."""
        self._stopping = True
        self.runner.wake()

    def take(self) -> Bundle:
        """The next bundle."""
        bundle = self.ready.popleft()
        self.ready_bytes -= bundle.meta.size_bytes
        self._opened_bytes = min(2 * self._opened_bytes, max(self.budget_bytes, self._opened_bytes))
        return bundle

    @property
    def done(self) -> bool:
        """Whether everything was made. There may be bundles to take."""
        return self.sink.finished

    @property
    def ended(self) -> bool:
        """Whether the iteration is over."""
        return self._done_s is not None

    # ------------------------------------------------------------ steps

    def advance(self, wait: bool) -> None:
        """Hear what tasks have done, move what they have made, and start what can be started."""
        self._move()
        self._launch()
        if self.sink.finished:
            return
        wait = wait and not self.ready
        reasons = self._reasons() if wait else []
        before = self._clock()
        events = self.runner.poll(self._accepts, wait)
        waited = self._clock() - before
        for operator, reason in reasons:
            operator.stats.wait(reason, waited)
        for event in events:
            self._hear(event)
        self._move()
        self._launch()
        if self.on_progress is not None:
            self.on_progress(self)

    def _hear(self, event: Event) -> None:
        task, operator = event.task, event.task.operator
        operator.stats.add(event.cost)
        if event.bundle is not None:
            operator.task_made(task, event.bundle)
            operator.made_bytes += event.bundle.meta.size_bytes
            task.made_blocks += 1
            task.made_bytes += event.bundle.meta.size_bytes
            return
        if event.error is not None:
            self._tolerate(operator, event.error)
        operator.stats.tasks += 1
        self._end(task)

    def _tolerate(self, operator: Operator, error: BaseException) -> None:
        """Leave out what a failed task would have made, if so many may fail; raise its error otherwise."""
        self.failed += 1
        operator.stats.failed += 1
        if 0 <= self.max_errored < self.failed:
            raise error
        log.warning("%s: a task has failed and is left out (%d so far): %r", operator.name, self.failed, error)

    def _end(self, task: Task) -> None:
        operator = task.operator
        operator.running -= 1
        operator.running_bytes -= _read_bytes(task)
        operator.task_ended(task)

    def _move(self) -> None:
        for operator in self.operators:
            while self._feed(operator):
                continue  # those that take from their inputs in turns may want more of the first now
            if operator.finished and id(operator) not in self._ended:
                self._ended.add(id(operator))
                self.runner.operator_ended(operator)
        while (bundle := self.sink.take()) is not None:
            self.ready.append(bundle)
            self.ready_bytes += bundle.meta.size_bytes

    def _feed(self, operator: Operator) -> bool:
        """Give an operator what it wants of its inputs; whether there was something."""
        fed = False
        for port, source in enumerate(operator.inputs):
            if (id(operator), port) in self._told:
                continue
            while not operator.stopped and operator.wants(port) and (bundle := source.take()) is not None:
                fed = True
                operator.add(port, bundle)
                if operator.enough:
                    break
            if operator.enough and not source.stopped:
                self._stop(source)
            if operator.stopped or (source.finished and operator.wants(port)):
                fed = True
                self._told[id(operator), port] = True
                operator.input_ended(port)
        return fed

    def _stop(self, operator: Operator) -> None:
        """Nobody needs more of an operator, so nobody needs more of those before it."""
        for task in self.runner.cancel(operator):
            self._end(task)
        operator.stop()
        while operator.take() is not None:
            continue  # nobody wants it
        for source in operator.inputs:
            self._stop(source)

    def _launch(self) -> None:
        started = True
        while started:
            started = False
            for operator in reversed(self.operators):
                if not operator.can_start or not self._may_start(operator) or not self.runner.has_room(operator):
                    continue
                task = operator.next_task()
                assert task is not None, f"{operator.name} said that it could start a task"
                operator.running += 1
                operator.running_bytes += _read_bytes(task)
                self.runner.start(task)
                started = True
                break

    # ------------------------------------------------------------ memory

    def used_bytes(self) -> int:
        """What blocks take now, and what running tasks are expected to add."""
        held = self.ready_bytes
        for operator in self.operators:
            held += operator.held_bytes + operator.running_bytes + self._expected(operator)
        self.peak_bytes = max(self.peak_bytes, held)
        return held

    def _expected(self, operator: Operator) -> int:
        if not operator.running:
            return 0
        ended = operator.stats.tasks
        each = (
            operator.made_bytes // ended if ended else max(EXPECTED_BYTES, operator.running_bytes // operator.running)
        )
        return min(each, self.window_bytes) * operator.running

    def _has_room(self, operator: Operator) -> bool:
        """The last operator may fill the budget, the first one half of it: so the blocks of the first leave room for what is
        made of them."""
        share = 0.5 + 0.5 * (self._place[id(operator)] + 1) / len(self.operators)
        return self.used_bytes() < min(self.budget_bytes, self._opened_bytes) * share

    def _may_start(self, operator: Operator) -> bool:
        if self._has_room(operator):
            return True
        return not self.ready and not operator.running and operator is self._focus()

    def _accepts(self, task: Task) -> bool:
        operator = task.operator
        if self._has_room(operator):
            return True
        return not self.ready and operator.urgent(task) and operator is self._focus()

    def _focus(self) -> Operator | None:
        """The last operator that has something to do and whose blocks somebody waits for."""
        wanted = {id(self.sink)}
        for operator in reversed(self.operators):
            if id(operator) not in wanted:
                continue
            if operator.running or operator.can_start:
                return operator
            wanted.update(id(source) for port, source in enumerate(operator.inputs) if operator.wants(port))
        return None

    # ------------------------------------------------------------ what one can see

    def stats(self) -> stats.ExecutionStats:
        """What it has done so far."""
        seconds = self._clock() - self._began if self._done_s is None else self._done_s
        shown = [operator.stats for operator in self.operators if not isinstance(operator, InputOperator)]
        return stats.ExecutionStats(shown, seconds, self.peak_bytes, self.budget_bytes)

    def why(self) -> str:
        """Why it does not get on: for each operator of which nothing runs, what it waits for."""
        lines = [f"{operator.name}: {reason}" for operator, reason in self._reasons()]
        lines += [
            f"{operator.name}: {operator.running} tasks run" for operator in self.operators if operator.running > 0
        ]
        return "\n".join(lines) or "it is done"

    def _reasons(self) -> list[tuple[Operator, str]]:
        found = []
        for operator in self.operators:
            if operator.running or operator.finished or isinstance(operator, InputOperator):
                continue
            if not operator.can_start:
                reason = stats.INPUT
            elif self._may_start(operator):
                reason = stats.RESOURCES
            else:
                reason = stats.CONSUMER if self.ready_bytes * 2 > self.budget_bytes else stats.MEMORY
            found.append((operator, reason))
        return found


def _read_bytes(task: Task) -> int:
    """The bytes of this execution's blocks that a task reads."""
    return task.input_bytes if all(map(task.operator.counts, range(len(task.operator.inputs)))) else 0


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
