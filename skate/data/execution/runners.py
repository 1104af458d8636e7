"""What runs the tasks of an execution: the calling process, or tasks and actors of the cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from ...api.decorator import remote
from ...api.lifecycle import get_runtime
from ...client.refs import ObjectRef, ObjectRefGenerator
from ...exceptions import GetTimeoutError
from .. import block as blocks
from ..block import BlockMeta
from ..functions import HERE, sized
from .executor import Accepts
from .operators import Bundle, Operator, Task, Work

POLL_S = 1.0
"""How long a wait for events may take before the caller looks around."""
TASKS_PER_ACTOR = 2
"""One runs, one waits with its blocks at hand."""
STREAM_ITEMS = 8
"""How far a task runs ahead of whoever takes its blocks: two items for each."""


class Made(NamedTuple):
    """What comes along with a block."""

    meta: BlockMeta
    seconds: float


def produce(work: Work, extra: Any, files: tuple[str, ...], inputs: Sequence[Any]) -> Iterator[Any]:
    """Run a task: its blocks, each followed by what there is to know of it."""
    HERE.files = files
    before = time.perf_counter()
    for block in sized(iter(work.run(extra, *inputs)), work.target_bytes):
        block = blocks.compact(block)
        made = Made(blocks.meta_of(block, HERE.files), time.perf_counter() - before)
        yield block
        yield made
        before = time.perf_counter()


def produce_parts(work: Work, extra: Any, files: tuple[str, ...], inputs: Sequence[Any]) -> list[Any]:
    """Run a task that makes a known number of blocks; what there is to know of them comes last."""
    HERE.files = files
    before = time.perf_counter()
    parts = [blocks.compact(part) for part in work.run(extra, *inputs)]
    seconds = (time.perf_counter() - before) / max(1, len(parts))
    return [*parts, [Made(blocks.meta_of(part, files), seconds) for part in parts]]


def files_of(task: Task) -> tuple[str, ...]:
    """Where the rows of a task come from: for errors."""
    found: dict[str, None] = {}
    for bundle in task.inputs:
        found.update(dict.fromkeys(bundle.meta.files[:4]))
    return tuple(found)[:4]


class InlineRunner:
    """Runs one task after the other, here, and each only as far as somebody takes what it makes."""

    def __init__(self) -> None:
        self._running: dict[Task, Iterator[Any]] = {}

    def has_room(self, operator: Operator) -> bool:
        return not self._running

    def start(self, task: Task) -> None:
        inputs = [bundle.block for bundle in task.inputs]
        if task.outputs:
            parts = produce_parts(task.work, task.extra, files_of(task), inputs)
            self._running[task] = (each for pair in zip(parts[:-1], parts[-1], strict=True) for each in pair)
        else:
            self._running[task] = produce(task.work, task.extra, files_of(task), inputs)

    def poll(self, accepts: Accepts, wait: bool) -> list[tuple[Task, Bundle | None]]:
        for task, source in list(self._running.items()):
            block = next(source, None)
            if block is None:
                del self._running[task]
                return [(task, None)]
            return [(task, Bundle(block, next(source).meta))]
        return []

    def wake(self) -> None:
        return None  # it does not wait

    def operator_ended(self, operator: Operator) -> None:
        return None

    def cancel(self, operator: Operator) -> list[Task]:
        mine = [task for task in self._running if task.operator is operator]
        for task in mine:
            del self._running[task]
        return mine

    def close(self) -> None:
        self._running.clear()


class MapActor:
    """Runs the tasks of one operator, one after the other, with what its functions have constructed."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self, extra: Any, files: tuple[str, ...], *inputs: Any) -> Iterator[Any]:
        """As a task."""
        return produce(self._work, extra, files, inputs)


class Actor:
    """An actor of a pool, and how many tasks it has."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.tasks = 0
        self.is_ready = False


class Running(NamedTuple):
    """A task that runs somewhere."""

    task: Task
    result: ObjectRefGenerator[Any] | list[ObjectRef[Any]]
    actor: Actor | None


class RemoteRunner:
    """Runs tasks on the cluster. What they make stays where it was made, and is known here by reference."""

    def __init__(self) -> None:
        self.runtime = get_runtime()
        self.slots = max(1, int(self.runtime.cluster_resources().get("CPU", 1))) + 1
        """One more than CPUs, so that the next is at hand when one ends."""
        self._events: SimpleQueue[Task | None] = SimpleQueue()
        self._running: dict[Task, Running] = {}
        self._paused: dict[Task, None] = {}
        self._functions: dict[int, Any] = {}
        self._pools: dict[int, list[Actor]] = {}

    # ------------------------------------------------------------ starting

    def has_room(self, operator: Operator) -> bool:
        work = operator.pooled
        if work is None:
            return sum(running.actor is None for running in self._running.values()) < self.slots
        actors = self._actors(operator)
        if any(actor.tasks < TASKS_PER_ACTOR for actor in actors):
            return True
        if len(actors) < work.pool.max_size and operator.has_work:
            actors.append(_new_actor(work))
            return True
        return False

    def _actors(self, operator: Operator) -> list[Actor]:
        actors = self._pools.get(id(operator))
        if actors is None:
            assert operator.pooled is not None
            actors = self._pools[id(operator)] = [
                _new_actor(operator.pooled) for _ in range(operator.pooled.pool.min_size)
            ]
        return actors

    def start(self, task: Task) -> None:
        inputs = [bundle.block for bundle in task.inputs]
        actor = None
        if task.work.pool is not None:
            actor = min(self._actors(task.operator), key=lambda each: each.tasks)
            actor.tasks += 1
            call = actor.handle.run.options(
                num_returns="streaming", _generator_backpressure_num_objects=2 * STREAM_ITEMS
            )
        else:
            call = self._function(task)
        result = call.remote(task.extra, files_of(task), *inputs)
        self._running[task] = Running(task, result, actor)
        if task.outputs:
            self.runtime.on_done(result[-1], lambda _: self._events.put(task), quick=True)
        else:
            self._watch(task, result)

    def _function(self, task: Task) -> Any:
        key = id(task.work), task.outputs
        found = self._functions.get(key)
        if found is None:
            found = self._functions[key] = _remote(task.work, task.outputs), task.work
        return found[0]

    def _watch(self, task: Task, stream: ObjectRefGenerator[Any]) -> None:
        self.runtime.stream_on_item(stream, lambda: self._events.put(task))

    # ------------------------------------------------------------ hearing

    def wake(self) -> None:
        """End a wait: something that is not a task has happened."""
        self._events.put(None)

    def poll(self, accepts: Accepts, wait: bool) -> list[tuple[Task, Bundle | None]]:
        out: list[tuple[Task, Bundle | None]] = []
        for task in [task for task in self._paused if accepts(task)]:
            del self._paused[task]
            self._take(task, accepts, out)
        while not out:
            try:
                task = self._events.get(timeout=POLL_S) if wait and self._running else self._events.get_nowait()
            except Empty:
                return out
            if task is None:
                return out
            self._take(task, accepts, out)
        return out

    def _take(self, task: Task, accepts: Accepts, out: list[tuple[Task, Bundle | None]]) -> None:
        running = self._running.get(task)
        if running is None:
            return
        if isinstance(running.result, list):
            metas = self.runtime.get([running.result[-1]], None)[0]
            out.extend((task, Bundle(ref, made.meta)) for ref, made in zip(running.result[:-1], metas, strict=True))
            self._ended(running, out)
            return
        if not accepts(task):
            self._paused[task] = None
            return
        try:
            ref = self.runtime.stream_next(running.result, 0)
        except GetTimeoutError:
            self._watch(task, running.result)
            return
        if ref is None:
            self._ended(running, out)
            return
        made_ref = self.runtime.stream_next(running.result, None)
        if made_ref is None:
            self.runtime.get([ref], None)  # raises: the last one carries the error
            raise AssertionError("a task has ended between a block and what there is to know of it")
        made: Made = self.runtime.get([made_ref], None)[0]
        out.append((task, Bundle(ref, made.meta)))
        self._events.put(task)  # there may be more

    def _ended(self, running: Running, out: list[tuple[Task, Bundle | None]]) -> None:
        del self._running[running.task]
        if running.actor is not None:
            running.actor.tasks -= 1
        out.append((running.task, None))

    # ------------------------------------------------------------ ends

    def operator_ended(self, operator: Operator) -> None:
        self._pools.pop(id(operator), None)  # actors end with the last handle

    def cancel(self, operator: Operator) -> list[Task]:
        mine = [running for running in self._running.values() if running.task.operator is operator]
        for running in mine:
            self._cancel(running)
            del self._running[running.task]
            self._paused.pop(running.task, None)
            if running.actor is not None:
                running.actor.tasks -= 1
        return [running.task for running in mine]

    def _cancel(self, running: Running) -> None:
        result = running.result
        self.runtime.cancel(result[0] if isinstance(result, list) else result, False, True)

    def close(self) -> None:
        for running in list(self._running.values()):
            self._cancel(running)
        self._running.clear()
        self._paused.clear()
        self._pools.clear()


def _new_actor(work: Work) -> Actor:
    options = {"max_restarts": -1, "max_task_retries": -1, "num_cpus": 1, **work.options}
    return Actor(remote(**options)(MapActor).remote(work))


def _remote(work: Work, outputs: int) -> Any:
    """The work as a remote function. It is sent to each worker once."""

    def run(extra: Any, files: tuple[str, ...], *inputs: Any) -> Any:
        return (produce_parts if outputs else produce)(work, extra, files, inputs)

    run.__name__ = run.__qualname__ = work.name
    options: dict[str, Any] = {"max_retries": 3, **work.options, "name": work.name}
    if outputs:
        options["num_returns"] = outputs + 1
    else:
        options.update(num_returns="streaming", _generator_backpressure_num_objects=2 * STREAM_ITEMS)
    return remote(**options)(run)
