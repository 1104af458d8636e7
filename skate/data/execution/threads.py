"""Runs the tasks of an execution in threads of the calling process.

It is for plans without functions of users: what their tasks do is Arrow's and numpy's work, which lets other threads run
meanwhile. Nothing is sent to a worker, and no block is copied into the store.

A thread makes one block, and makes the next when it is told to: so no more blocks wait than the executor has room for.

INV-1: `_running` has a thread for each task that has not ended. It makes a block unless the task is in `_made`, as its last block
has to find its place first, or in `_paused`, as there is no room for another.
INV-2: after `close`, and after `cancel` for the tasks of its operator, no thread of them runs.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue

import pyarrow as pa

from ..block import Block
from .executor import Accepts, Event
from .inline import outputs_of
from .operators import Bundle, Operator, Task
from .produce import Place

POLL_S = 1.0
"""How long a wait for events may take before the caller looks around."""


def _as_it_is(block: Block) -> Block:
    return block


SINK = Place(time.thread_time, releases=False)
BETWEEN = Place(time.thread_time, _as_it_is, releases=False)


class _Thread:
    """Makes the blocks of one task, each when it is told to."""

    def __init__(self, task: Task, events: SimpleQueue[Event | None], place: Place) -> None:
        self._place = place
        self._task = task
        self._events = events
        self._next = threading.Semaphore()  # the first block need not be asked for
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name=f"skate-data {task.work.name}", daemon=True)
        self._thread.start()

    def make_next(self) -> None:
        """Go on to the next block."""
        self._next.release()

    def cancel(self) -> None:
        """Make no further block."""
        self._cancelled = True
        self._next.release()

    def join(self) -> None:
        """Wait for the end of a thread that was cancelled: of the block that it makes."""
        while self._thread.is_alive():
            self._thread.join(POLL_S)

    def _run(self) -> None:
        last = Event(self._task)
        source = outputs_of(self._task, self._place)
        try:
            while self._wait() and (block := next(source, None)) is not None:
                made = next(source)
                self._events.put(Event(self._task, Bundle(block, made.meta), None, made.cost))
                del block, made  # the consumer may take its time
        except BaseException as error:  # whatever it is, a task that has raised something has not made all of its rows
            last = Event(self._task, error=error)
        finally:
            source.close()
            self._events.put(last)

    def _wait(self) -> bool:
        while not self._next.acquire(timeout=POLL_S):
            if self._cancelled:
                break
        return not self._cancelled


class ThreadRunner:
    """See `Runner`.

    Args:
        threads: how many tasks run at once.
        sink: the last operator. What others make goes no further than to the next one, so that it need not be compact.
    """

    def __init__(self, threads: int, sink: Operator) -> None:
        self.threads = threads
        self.sink = sink
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._running: dict[Task, _Thread] = {}
        self._made: dict[Task, None] = {}
        self._paused: dict[Task, None] = {}

    def has_room(self, operator: Operator) -> bool:
        """See `Runner`."""
        if any(task.operator is operator for task in self._paused):
            return False  # those go on first
        return len(self._running) - len(self._paused) < self.threads

    def start(self, task: Task) -> None:
        """See `Runner`."""
        place = SINK if task.operator is self.sink else BETWEEN
        self._running[task] = _Thread(task, self._events, place)

    def poll(self, accepts: Accepts, wait: bool) -> list[Event]:
        """See `Runner`."""
        for task in [*self._paused, *self._made]:
            self._made.pop(task, None)
            if accepts(task):
                self._paused.pop(task, None)
                self._running[task].make_next()
            else:
                self._paused[task] = None
        while True:
            try:
                event = self._events.get(timeout=POLL_S) if wait else self._events.get_nowait()
            except Empty:
                return []
            if event is None:
                return []
            if event.task in self._running:
                self._heard(event)
                return [event]

    def _heard(self, event: Event) -> None:
        if event.bundle is not None:
            self._made[event.task] = None
        else:
            del self._running[event.task]

    def wake(self) -> None:
        """See `Runner`."""
        self._events.put(None)

    def operator_ended(self, operator: Operator) -> None:
        """See `Runner`."""

    def cancel(self, operator: Operator) -> list[Task]:
        """See `Runner`."""
        mine = [task for task in self._running if task.operator is operator]
        self._end(mine)
        return mine

    def close(self) -> None:
        """See `Runner`."""
        self._end(list(self._running))
        pa.default_memory_pool().release_unused()

    def _end(self, tasks: list[Task]) -> None:
        threads = [self._running.pop(task) for task in tasks]
        for task in tasks:
            self._paused.pop(task, None)
            self._made.pop(task, None)
        for thread in threads:
            thread.cancel()
        for thread in threads:
            thread.join()
