"""An actor in its process: plain, threaded or async.

A plain actor runs its calls in the main loop, one after the other. A threaded one (max_concurrency above 1, or concurrency
groups) hands them to pools of threads, while the main thread reads. An async one runs them on an event loop in the main
thread, which also reads: no call ever changes threads.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..client.errors import pack_error
from ..client.metering import PROCESS
from ..client.waist import TaskContext
from ..wire import messages as m
from ..wire.groups import group_of
from ..wire.labels import without
from . import execute
from .execute import Caller, ExitActor, Function, Received

if TYPE_CHECKING:
    from .async_calls import AsyncCalls
    from .process import Worker


class ActorHost:
    """The actor that this worker has become."""

    def __init__(self, worker: Worker, message: m.BeActor) -> None:
        self.worker = worker
        self.spec = spec = message.spec
        self.restarts = message.restarts
        self.instance: Any = None
        self.takes_over = False
        self._pools: dict[str, _Pool] = {}
        self._async: AsyncCalls | None = None
        self.running: dict[int, tuple[Caller, m.Task, Function, float]] = {}
        """What each thread of a threaded actor runs, and since when."""
        error = self._construct()
        with worker.runtime.lock:
            worker.runtime.settle()
            worker.runtime.send(m.ActorReady(error))
        if error:
            worker.leave("its __init__ raised", intended=True)
        if spec.is_async:
            from .async_calls import AsyncCalls

            self._async = AsyncCalls(self)
            self.takes_over = True
        elif spec.max_concurrency > 1 or spec.concurrency_groups:
            self._pools[""] = _Pool(self, max(1, spec.max_concurrency))
            for name, count in spec.concurrency_groups.items():
                self._pools[name] = _Pool(self, count)

    def _construct(self) -> bytes:
        """Make the instance; the packed error if that fails."""
        worker, spec = self.worker, self.spec
        worker.actor = self
        group, captures = group_of(spec.resources)
        worker.runtime.tasks.capture = group if captures else ""
        task = m.Task(0, 0, spec.body.data, spec.dependencies, None, spec.body.refs)
        if spec.body.kind == m.SHARED:
            task.shared = spec.body
        try:
            cls = worker._code(spec.definition)
            if not isinstance(cls, type):
                cls()  # raises: it could not be loaded
            args, kwargs = execute.arguments(worker, None, task, Received())
            self.instance = cls(*args, **kwargs)
        except BaseException as error:
            return pack_error(error, function_name=f"{spec.class_name}.__init__", pid=os.getpid(), task_id="")
        return b""

    # ------------------------------------------------------------ methods

    def method(self, name: str) -> Callable[..., Any]:
        """The method of that name; the three that every actor has are ours."""
        if name == "__ray_ready__":
            return lambda: True
        if name == "__ray_terminate__":
            return self._terminate
        if name == "__ray_call__":
            return lambda function, *args, **kwargs: function(self.instance, *args, **kwargs)
        method: Callable[..., Any] = getattr(self.instance, name)
        return method

    def _terminate(self) -> None:
        raise ExitActor

    def dispatch(self, caller: Caller, tasks: list[m.Task]) -> bool:
        """Hand calls to threads or the event loop; False when the main loop is to run them."""
        if self._async is not None:
            for task in tasks:
                self._async.begin(caller, task)
            return True
        if self._pools:
            self.worker.runtime.pump.start_thread()
            for task in tasks:
                function = caller.functions[task.no]
                self._pools.get(function.group, self._pools[""]).put(caller, task, function)
            return True
        return False

    def serve(self) -> None:
        """Run the event loop until the actor ends."""
        assert self._async is not None
        self._async.run()

    def add_caller(self, caller: Caller) -> None:
        """A new caller of an async actor."""
        assert self._async is not None
        self._async.add_caller(caller)

    def wake(self) -> None:
        """The worker is to end when it has nothing more to do: look whether that is so."""
        if self._async is not None and self._async.started:
            self._async.wake()

    def running_call(self) -> Any:
        """The call that runs in this asyncio task, if any."""
        return self._async.running() if self._async is not None else None

    def describe(self, context: TaskContext) -> None:
        """Fill in what a runtime context says of the actor."""
        context.actor_id = self.spec.id.hex()
        context.actor_name = self.spec.name
        context.restarted = self.restarts > 0
        context.resources = without(self.spec.resources)
        context.actor_ref = self._own_reference

    def _own_reference(self) -> tuple[Any, bytes]:
        runtime = self.worker.runtime
        with runtime.lock:
            return runtime.objects.adopt(self.spec.id), self.spec.meta

    @property
    def is_threaded(self) -> bool:
        """Whether calls run in threads of their own."""
        return bool(self._pools)

    def idle(self) -> bool:
        """Whether no call runs or waits in threads."""
        return all(pool.idle() for pool in self._pools.values())


class _Pool:
    """Threads that run the calls of one concurrency group, started as they are needed."""

    def __init__(self, host: ActorHost, size: int) -> None:
        self._host = host
        self._size = size
        self._queue: queue.SimpleQueue[tuple[Caller, m.Task, Function]] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._lock = threading.Lock()

    def put(self, caller: Caller, task: m.Task, function: Function) -> None:
        """Queue a call."""
        with self._lock:
            self._busy += 1
            if self._threads < self._size and self._busy > self._threads:
                self._threads += 1
                threading.Thread(target=self._work, daemon=True, name=f"skate-call-{self._threads}").start()
        self._queue.put((caller, task, function))

    def _work(self) -> None:
        worker = self._host.worker
        while True:
            caller, task, function = self._queue.get()
            if worker.was_cancelled(caller, task):
                reply = m.Reply(task.seq, m.CANCELLED)
            else:
                reply = self._run(worker, caller, task, function)
            worker.flush_with(caller, reply)
            with self._lock:
                self._busy -= 1
            with worker.out_lock:
                function.tally[reply.kind] += 1
            PROCESS.changed = True
            if worker.draining and self._host.idle():
                worker.runtime.pump.wake()

    def _run(self, worker: Worker, caller: Caller, task: m.Task, function: Function) -> m.Reply:
        thread = threading.get_ident()
        self._host.running[thread] = caller, task, function, time.perf_counter()
        try:
            return worker.execute(caller, task, function)
        except ExitActor:
            raise
        finally:
            worker.running = None
            del self._host.running[thread]

    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self._busy
