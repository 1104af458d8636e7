"""What becomes of a task whose attempt has failed: after an exception that is to be retried, and after its worker's death.

A task that ran is charged an attempt; tasks that the dead worker had not begun are not. A task that kills its workers must not
keep the machine busy forking, so attempts after a death have growing pauses between them.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError
from ..wire import messages as m
from .errors import unpack_error
from .metering import PROCESS
from .pipe import FarPipe
from .reasons import Deaths, crash_error, death_in_words, may_retry
from .submitter import FAR_BITS, NUMBER_MASK, Shape, TaskRecord, cancellation, far

if TYPE_CHECKING:
    from .runtime import ClientRuntime
    from .tasks import Tasks

RETRY_DELAY_S = 0.02
RETRY_DELAY_MAX_S = 5.0
ASK_AGAIN_S = 0.2
"""The pause before the own node is asked anew where else there is room, when a connection to another was lost."""


class Retries:
    """Attempts after the first."""

    def __init__(self, runtime: ClientRuntime, tasks: Tasks) -> None:
        self.runtime = runtime
        self.tasks = tasks
        self.waiting: list[tuple[float, int, Callable[[], None]]] = []
        """What is tried again later, the soonest first."""
        self.deaths = Deaths()

    def after_exception(self, task: TaskRecord, data: bytes) -> bool:
        """Queue a task again that has raised something it asked to be retried for; False if it is not to be."""
        classes = task.function.options.retry_exceptions
        if not classes or not task.retries_left or task.cancelled:
            return False
        error = unpack_error(data)
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, classes) and not isinstance(error, classes):
            return False
        self._again(task)
        return True

    def _again(self, task: TaskRecord, delay: float = 0.0) -> None:
        """Queue another attempt, now or later: a task that kills its workers must not keep the machine busy forking."""
        if task.retries_left > 0:
            task.retries_left -= 1
        task.attempt += 1
        self.runtime.recording.again(task)
        old = task.seq
        task.seq = self.runtime.next_id()
        for ref in task.ref if type(task.ref) is list else [task.ref]:
            if ref._id == old:
                ref.binary()  # fixes the id, which would follow the new attempt otherwise
        if delay:
            self.later(delay, partial(self._enqueue, task))
        else:
            self.tasks.enqueue(task)

    def _enqueue(self, task: TaskRecord) -> None:
        if not task.cancelled:
            self.tasks.enqueue(task)

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Try something in `delay` seconds. Needs the lock."""
        insort(self.waiting, (time.monotonic() + delay, self.runtime.next_id(), call))
        self.runtime.pump.nudge()

    def next_due(self) -> float | None:
        """Seconds until something is to be tried again; None when nothing is."""
        first = self.waiting[:1]  # asked without the lock
        return max(0.0, first[0][0] - time.monotonic()) if first else None

    def run_due(self, now: float) -> None:
        """Try what is due. Needs the lock."""
        while self.waiting and self.waiting[0][0] <= now:
            self.waiting.pop(0)[2]()

    # ------------------------------------------------------------ deaths

    def node_lost(self, number: int, reason: str) -> None:
        """A node is gone, or cannot be reached: so are the workers there. Needs the lock."""
        asked = [
            shape
            for shape in self.tasks.submitter.by_no
            if shape.told.pop(number, 0) or (shape.queue and (shape.node_id or shape.prefers == number))
        ]  # those that are for certain nodes may wait at the own one for word of this
        if asked:
            self.later(ASK_AGAIN_S, partial(self._ask_again, asked))
        coming = self.tasks.submitter.coming
        for each in [each for each in coming if each >> FAR_BITS == number]:
            del coming[each]
        for worker in [worker for worker in self.tasks.submitter.workers.values() if worker.no >> FAR_BITS == number]:
            self.worker_died(m.WorkerDied(worker.no & NUMBER_MASK, m.Death(reason)), number)

    def _ask_again(self, shapes: list[Shape]) -> None:
        """What was asked of a node that is lost is to be asked of others, or if it lives of it again."""
        for shape in shapes:
            if shape.queue:
                self.tasks.demand.tell(shape)

    def worker_died(self, message: m.WorkerDied, number: int = 0) -> None:
        """A node says how a leased worker ended."""
        worker = self.tasks.submitter.workers.get(far(number, message.worker))
        shape = self.tasks.submitter.coming.pop(far(number, message.worker), None)
        if shape is not None:
            self.tasks.demand.tell(shape)  # its task waits for another
        if worker is None:
            return
        self.tasks.read(worker, 1 << 20)  # what it had answered before counts
        if worker.no not in self.tasks.submitter.workers:
            return
        unread = set(self.tasks.unread(worker, None, dead=True))
        if isinstance(worker.channel, FarPipe) and not worker.channel.greeted:
            unread.update(worker.inflight)
        running = message.running if number else self.runtime.memory.arena.progress(worker.no)[0]
        ran, rest = self.tasks.submitter.split_dead(worker, unread, running)
        self.tasks.drop_lease(worker)
        self.tasks.put_back(rest)
        if ran is not None:
            ran.worker = None
            if not message.death.intended or ran.cancelled:
                crash = OutOfMemoryError if message.death.out_of_memory else WorkerCrashedError
                why = cancellation(ran) if ran.cancelled else crash(message.death.reason)
                self.runtime.recording.failed(ran, worker, why)
                if not ran.cancelled:
                    PROCESS.crashed(ran.function.options.name)
            self._after_death(ran, message.death, number or self.runtime.node_no)
        self.tasks.demand.tell(worker.shape)
        self.tasks.fill(worker.shape)

    def _after_death(self, task: TaskRecord, death: m.Death, node: int) -> None:
        if task.cancelled:
            self.tasks.fail(task, cancellation(task, self.runtime.task_id_of_seq(task.seq)))
        elif death.intended:
            self.tasks.enqueue(task)
        elif task.retries_left and may_retry(task, death):
            self._again(task, delay=min(RETRY_DELAY_S * 2**task.attempt, RETRY_DELAY_MAX_S))
            self._note(task, f"its worker process {death.pid} died: {death_in_words(death)}")
        else:
            name = task.function.options.name
            where = (
                f"in process {death.pid}" + (f" of node {node}" if node else "") if death.pid else "whose node is lost"
            )
            self._note(task, f"task {name} failed in attempt {task.attempt + 1}, {where}: {death_in_words(death)}")
            self.tasks.fail(task, crash_error(f"task {name}", death, task.attempt + 1))

    def _note(self, task: TaskRecord, text: str) -> None:
        """Remember a death by the ids of the task's present attempt and of what it makes."""
        made = task.ref if type(task.ref) is list else [task.ref]
        self.deaths.add([self.runtime.task_id_of_seq(task.seq), *(ref.hex() for ref in made)], text)
