"""Runs the tasks of an execution on the cluster. What they make stays where it was made, and is known here by reference.

A task whose blocks nobody takes (it is *paused*) does not need its CPU, and lends it: so tasks of later operators can go on even
if such tasks hold all CPUs, and the runtime can make the blocks of lost nodes again. Where actors have reserved all CPUs, tasks
ask for none. An execution inside of a task waits in such a way that the runtime lends the CPU of that task.

Nodes may die and join meanwhile. Work for three nodes would be too much for the memory of two, so how much may run follows what
the cluster has.

INV-1: `busy` is the number of CPUs of the tasks that run and are not paused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from queue import Empty, SimpleQueue
from typing import Any

from ...api.decorator import remote
from ...api.lifecycle import get_runtime
from ...client.pump import Waiter
from ...client.refs import ObjectRef, ObjectRefGenerator
from ...exceptions import GetTimeoutError
from .executor import Accepts, Event
from .loaded import loaded
from .operators import Bundle, Operator, Task, Work
from .pools import Actor, Pool, reserved_cpus
from .produce import Apart, files_of, produce, produce_parts

POLL_S = 1.0
"""How long a wait for events may take before the caller looks around."""
LOOK_S = 0.5
"""So often it is looked whether nodes have come or gone."""
LEAST_CPUS = 0.25
"""A task that asks for no CPU counts as so many, so that not any number is started."""
MAX_RETRIES = 3
MOST_INPUT = 0.3
"""The part of a node's store that the inputs of a task may take. They can be more if a single key has very many rows, which the
parts of exchanges are not cut for: then the task copies them, one by one."""


class Running:
    """A task that runs somewhere."""

    __slots__ = ("actor", "block", "cpus", "result", "task")

    def __init__(self, task: Task, result: Any, actor: Actor | None, cpus: float) -> None:
        self.task = task
        self.result: ObjectRefGenerator[Any] | list[ObjectRef[Any]] = result
        self.actor = actor
        self.cpus = cpus
        self.block: ObjectRef[Any] | None = None
        """It has come; what there is to know of it has not."""


class RemoteRunner:
    """See `Runner`."""

    def __init__(self) -> None:
        self.runtime = get_runtime()
        self._size({})
        self._look_at = time.monotonic() + LOOK_S
        self.on_size: Callable[[], None] | None = None
        """Called when the cluster has another size."""
        self.window = 8
        """How many blocks a task makes ahead of whoever takes them."""
        self._events: SimpleQueue[Task | Actor | None] = SimpleQueue()
        self._waiter: Waiter | None = None
        """Of a `poll` that waits for an event."""
        self._running: dict[Task, Running] = {}
        self._paused: dict[Task, None] = {}
        self._functions: dict[tuple[int, int, bool], tuple[Any, Work]] = {}
        self._pools: dict[int, Pool] = {}
        self._to_come: dict[int, float] = {}
        """Of operators whose pools are not there yet: how many CPUs their first actors will reserve."""
        self._busy = 0.0
        self._checked: set[int] = set()

    def _size(self, before: Mapping[str, float]) -> bool:
        """What the cluster has now; False if that is what it had before."""
        self._total = self.runtime.cluster_resources()
        if self._total == before:
            return False
        self.cpus = max(1, int(self._total.get("CPU", 1)))
        self.store_bytes = int(self._total.get("object_store_memory", 1 << 30))
        stores = [node["Resources"].get("object_store_memory", 0) for node in self.runtime.nodes() if node["Alive"]]
        self._most_input = int(min(filter(None, stores), default=self.store_bytes) * MOST_INPUT)
        self.slots = self.cpus + 1
        """One more than CPUs, so that the next is at hand when one ends."""
        return True

    def _look(self) -> None:
        """Nodes may have come or gone: more may run then, or only less."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            if self._size(self._total) and self.on_size is not None:
                self.on_size()

    # ------------------------------------------------------------ starting

    def expect(self, operators: Iterable[Operator]) -> None:
        """Hear of all operators before they have tasks: a task that waits for a CPU does so for ever if an actor that needs its
        blocks gets the CPU first."""
        for operator in operators:
            if operator.pooled is not None:
                self._to_come[id(operator)] = operator.pooled.pool.min_size * reserved_cpus(operator.pooled)

    def has_room(self, operator: Operator) -> bool:
        """See `Runner`."""
        if operator.pooled is not None:
            return self._pool(operator).has_room()
        if any(task.operator is operator for task in self._paused):
            return False  # those go on first
        return self._busy + self._actors_busy() < self.slots

    def _actors_busy(self) -> int:
        """Actors that have reserved no CPU, and use one."""
        return sum(pool.busy for pool in self._pools.values() if not pool.cpus)

    def _pool(self, operator: Operator) -> Pool:
        pool = self._pools.get(id(operator))
        if pool is None:
            assert operator.pooled is not None
            self._check(operator.pooled)
            most = self._most(operator.pooled.options)
            pool = self._pools[id(operator)] = Pool(operator, most, self._watch_actor)
            self._to_come.pop(id(operator), None)
        return pool

    def _most(self, options: Mapping[str, Any]) -> int:
        """How many actors the cluster can hold."""
        wanted = {**_resources(options), "CPU": float(options.get("num_cpus") or 1)}
        return max(1, min(int(self._total.get(name, 0) // amount) for name, amount in wanted.items()))

    def _check(self, work: Work) -> None:
        """Refuse what could never start.

        Raises:
            ValueError: no node has what the options ask for.
        """
        if id(work) in self._checked:
            return
        self._checked.add(id(work))
        wanted = _resources(work.options)
        nodes = [node["Resources"] for node in self.runtime.nodes() if node["Alive"]]
        if wanted and not any(all(has.get(name, 0) >= amount for name, amount in wanted.items()) for has in nodes):
            asks = ", ".join(f"{name}: {amount:g}" for name, amount in wanted.items())
            most = ", ".join(f"{name}: {max((has.get(name, 0) for has in nodes), default=0):g}" for name in wanted)
            raise ValueError(f"{work.name} asks for {{{asks}}}, which no node has; the most of each is {{{most}}}")

    def start(self, task: Task) -> None:
        """See `Runner`."""
        self._check(task.work)
        inputs = [bundle.block for bundle in task.inputs]
        if len(inputs) > 1 and task.input_bytes > self._most_input:
            inputs = [Apart(inputs)]
        actor = None
        cpus = 0.0
        if task.work.pool is not None:
            actor = self._pools[id(task.operator)].choose()
            call = actor.handle.run.options(
                num_returns="streaming", _generator_backpressure_num_objects=2 * self.window
            )
        else:
            cpus = max(LEAST_CPUS, _cpus(task.work))
            call = self._function(task)
        result = call.remote(task.extra, files_of(task), *inputs)
        self._running[task] = running = Running(task, result, actor, cpus)
        self._busy += cpus
        if isinstance(running.result, list):
            self.runtime.on_done(running.result[-1], lambda _: self._happened(task), quick=True)
        else:
            self._watch(task, running.result)

    def _function(self, task: Task) -> Any:
        key = id(task.work), task.outputs, self._are_cpus_reserved(task.work)
        found = self._functions.get(key)
        if found is None:
            function = _remote(task.work, task.outputs, 2 * self.window, key[2])
            found = self._functions[key] = function, task.work  # the work, so that its id stays its own
        return found[0]

    def _are_cpus_reserved(self, work: Work) -> bool:
        """Whether the actors of this execution, those to come included, leave no CPU for such a task."""
        reserved = sum(pool.cpus * len(pool.actors) for pool in self._pools.values()) + sum(self._to_come.values())
        return bool(reserved) and self._total.get("CPU", 1) - reserved < _cpus(work)

    def _watch(self, task: Task, stream: ObjectRefGenerator[Any]) -> None:
        self.runtime.stream_on_item(stream, lambda: self._happened(task))

    def _watch_actor(self, actor: Actor) -> None:
        self.runtime.on_done(actor.prepared, lambda _: self._happened(actor), quick=True)

    # ------------------------------------------------------------ hearing

    def wake(self) -> None:
        """End a wait: something that is not a task has happened."""
        self._happened(None)

    def poll(self, accepts: Accepts, wait: bool) -> list[Event]:
        """See `Runner`."""
        out: list[Event] = []
        self._look()
        for pool in self._pools.values():
            pool.shrink()
        for task in list(self._paused):  # each block that is taken is counted before the next is asked for
            if accepts(task):
                self._resume(task)
                self._take(task, accepts, out)
                if out:
                    return out
        while not out:
            if wait:
                self._wait()
            try:
                happened = self._events.get_nowait()
            except Empty:
                return out
            if isinstance(happened, Task):
                paused = len(self._paused)
                self._take(happened, accepts, out)
                if len(self._paused) > paused:
                    return out  # there is room for another task
            elif happened is None or self._actor_ready(happened):
                return out
        return out

    def _wait(self) -> None:
        """Wait until something happens, or for a while."""
        if not self._events.empty():
            return
        awaited: list[Any] = [
            running.result[-1] if isinstance(running.result, list) else running.result
            for running in self._running.values()
            if running.task not in self._paused
        ]
        awaited += [actor.prepared for pool in self._pools.values() for actor in pool.actors if not actor.is_ready]
        self._waiter = waiter = Waiter()
        waiter.refs = awaited
        if self._events.empty():  # it may have happened before there was a waiter
            self.runtime.await_met(waiter, POLL_S)
        self._waiter = None

    def _happened(self, what: Task | Actor | None) -> None:
        """Something has: tell `poll`. Called from any thread."""
        self._events.put(what)
        waiter = self._waiter
        if waiter is not None:
            self.runtime.meet(waiter)

    def _actor_ready(self, actor: Actor) -> bool:
        for pool in self._pools.values():
            if actor in pool.actors:
                try:
                    self.runtime.get([actor.prepared], POLL_S)
                except Exception as error:
                    error.add_note(f"raised when an actor for {pool.operator.name} was constructed")
                    raise
                pool.ready(actor)
                return True
        return False

    def _pause(self, running: Running) -> None:
        if running.task not in self._paused:
            self._paused[running.task] = None
            self._busy -= running.cpus

    def _resume(self, task: Task) -> None:
        del self._paused[task]
        self._busy += self._running[task].cpus

    def _take(self, task: Task, accepts: Accepts, out: list[Event]) -> None:
        running = self._running.get(task)
        if running is None or task in self._paused:
            return
        if isinstance(running.result, list):
            self._take_all(running, running.result, out)
            return
        if running.block is None and not accepts(task):
            self._pause(running)
            return
        try:
            self._take_next(running, running.result, out)
        except GetTimeoutError:
            self._watch(task, running.result)

    def _take_all(self, running: Running, refs: list[ObjectRef[Any]], out: list[Event]) -> None:
        try:
            made, cost = self.runtime.get([refs[-1]], None)[0]
        except Exception as error:
            self._ended(running, out, error)
            return
        for ref, meta in zip(refs[:-1], made.metas(), strict=True):
            out.append(Event(running.task, Bundle(ref, meta)))
        self._forget(running)
        out.append(Event(running.task, cost=cost))

    def _take_next(self, running: Running, stream: ObjectRefGenerator[Any], out: list[Event]) -> None:
        if running.block is None:
            running.block = self.runtime.stream_next(stream, 0)
            if running.block is None:
                self._ended(running, out)
                return
        made_ref = self.runtime.stream_next(stream, 0)
        try:
            if made_ref is None:
                self.runtime.get([running.block], None)  # the last item carries the error
                raise AssertionError("a task has ended between a block and what there is to know of it")
            made = self.runtime.get([made_ref], None)[0]
        except Exception as error:
            self._ended(running, out, error)
            return
        out.append(Event(running.task, Bundle(running.block, made.meta), None, made.cost))
        running.block = None
        self._happened(running.task)  # there may be more

    def _ended(self, running: Running, out: list[Event], error: Exception | None = None) -> None:
        self._forget(running)
        out.append(Event(running.task, error=error))

    def _forget(self, running: Running) -> None:
        del self._running[running.task]
        if running.task in self._paused:
            del self._paused[running.task]
        else:
            self._busy -= running.cpus
        if running.actor is not None:
            pool = self._pools.get(id(running.task.operator))
            if pool is not None:
                pool.ended(running.actor)

    # ------------------------------------------------------------ ends

    def operator_ended(self, operator: Operator) -> None:
        """See `Runner`."""
        self._to_come.pop(id(operator), None)
        self._pools.pop(id(operator), None)  # actors end with their last handles

    def cancel(self, operator: Operator) -> list[Task]:
        """See `Runner`."""
        mine = [running for running in self._running.values() if running.task.operator is operator]
        for running in mine:
            self._cancel(running)
            self._forget(running)
        return [running.task for running in mine]

    def _cancel(self, running: Running) -> None:
        result = running.result
        self.runtime.cancel(result[0] if isinstance(result, list) else result, False, True)

    def close(self) -> None:
        """See `Runner`."""
        for running in list(self._running.values()):
            self._cancel(running)
        for pool in self._pools.values():
            pool.kill()
        self._running.clear()
        self._paused.clear()
        self._pools.clear()
        self._busy = 0.0


def _cpus(work: Work) -> float:
    return float(work.options.get("num_cpus", 1) or 0)


def _resources(options: Mapping[str, Any]) -> dict[str, float]:
    """What a task or actor asks for, by the names that nodes use."""
    wanted = {"CPU": options.get("num_cpus"), "GPU": options.get("num_gpus"), "memory": options.get("memory")}
    wanted.update(options.get("resources") or {})
    return {name: float(amount) for name, amount in wanted.items() if amount}


def _remote(work: Work, outputs: int, ahead: int, without_cpu: bool) -> Any:
    """The work as a remote function. It is sent to each worker once."""

    def run(extra: Any, files: tuple[str, ...], *inputs: Any) -> Any:
        return (produce_parts if outputs else produce)(work, extra, files, inputs)

    run.__name__ = run.__qualname__ = work.name
    options: dict[str, Any] = {"max_retries": MAX_RETRIES, **work.options, "name": work.name}
    if without_cpu:
        options["num_cpus"] = 0
    if outputs:
        options["num_returns"] = outputs + 1
    else:
        options.update(num_returns="streaming", _generator_backpressure_num_objects=ahead, _generator_lends_cpu=True)
    return remote(**loaded(**options))(run)
