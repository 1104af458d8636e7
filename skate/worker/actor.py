"""An actor in its process: plain, threaded or async.

A plain actor runs its calls in the main loop, one after the other. A threaded one (max_concurrency above 1, or concurrency
groups) hands them to pools of threads, while the main thread reads. An async one runs them on an event loop in the main
thread, which also reads: no call ever changes threads.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..client.errors import pack_error
from ..client.serialization import serialize
from ..client.waist import TaskContext
from ..wire import messages as m
from ..wire.channel import ChannelClosed
from . import execute
from .execute import Caller, ExitActor, Function, Received

if TYPE_CHECKING:
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
        self._async: _AsyncCalls | None = None
        error = self._construct()
        with worker.runtime.lock:
            worker.runtime.settle()
            worker.runtime.send(m.ActorReady(error))
        if error:
            return
        if spec.is_async:
            self._async = _AsyncCalls(self)
            self.takes_over = True
        elif spec.max_concurrency > 1 or spec.concurrency_groups:
            self._pools[""] = _Pool(self, max(1, spec.max_concurrency))
            for name, count in spec.concurrency_groups.items():
                self._pools[name] = _Pool(self, count)

    def _construct(self) -> bytes:
        """Make the instance; the packed error if that fails."""
        worker, spec = self.worker, self.spec
        worker.actor = self
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
        return getattr(self.instance, name)

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

    def running_call(self) -> Any:
        """The call that runs in this asyncio task, if any."""
        return self._async.running() if self._async is not None else None

    def describe(self, context: TaskContext) -> None:
        """Fill in what a runtime context says of the actor."""
        context.actor_id = self.spec.id.hex()
        context.actor_name = self.spec.name
        context.restarted = self.restarts > 0
        context.resources = self.spec.resources
        context.actor_ref = self._own_reference

    def _own_reference(self) -> tuple[Any, bytes]:
        runtime = self.worker.runtime
        with runtime.lock:
            return runtime.objects.adopt(self.spec.id), self.spec.meta

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
            if worker.draining and self._host.idle():
                worker.runtime.pump.wake()

    def _run(self, worker: Worker, caller: Caller, task: m.Task, function: Function) -> m.Reply:
        try:
            return worker.execute(caller, task, function)
        except ExitActor:
            raise
        finally:
            worker.running = None

    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self._busy


class _AsyncCalls:
    """The event loop of an async actor: reads, runs and replies in the main thread."""

    def __init__(self, host: ActorHost) -> None:
        self._host = host
        self._worker = host.worker
        self._limits: dict[str, asyncio.Semaphore] = {}
        self._live: dict[tuple[bytes, int], asyncio.Task[Any]] = {}
        self._by_task: dict[Any, Any] = {}
        self._ready: dict[Caller, None] = {}
        self.loop = asyncio.new_event_loop()
        spec = host.spec
        self._limits[""] = asyncio.Semaphore(max(1, spec.max_concurrency))
        for name, count in spec.concurrency_groups.items():
            self._limits[name] = asyncio.Semaphore(count)
        self._flush_due = False
        self.started = False

    def run(self) -> None:
        """Serve until the process ends."""
        worker = self._worker
        loop = self.loop
        asyncio.set_event_loop(loop)
        self.started = True
        for caller in worker.callers.values():
            self.add_caller(caller)
        loop.add_reader(worker.inner, self._control)
        loop.run_forever()

    def add_caller(self, caller: Caller) -> None:
        """Read this caller's channel, once the loop runs."""
        if not self.started:
            return
        self.loop.add_reader(caller.channel.fd, self._read, caller)

    def _control(self) -> None:
        worker = self._worker
        worker.runtime.pump.try_turn()
        self._after_turn()

    def _after_turn(self) -> None:
        worker = self._worker
        worker.runtime.pump.between()
        if worker.draining and not self._live:
            self._drain()

    def _drain(self) -> None:
        worker = self._worker
        for caller in list(worker.callers.values()):
            self._read(caller)
        if not self._live:
            worker.leave("all handles to it were dropped", True)

    def _read(self, caller: Caller) -> None:
        worker = self._worker
        for _ in range(16):
            if caller.channel.closed:
                return
            try:
                raw = caller.channel.receive_into(worker._buffer, worker._view)
            except ChannelClosed:
                self.loop.remove_reader(caller.channel.fd)
                worker._caller_gone(caller)
                return
            if raw is None:
                return
            message = m.decode_batch(raw)
            if type(message) is m.Batch:
                worker._run_batch(caller, message)
            else:
                worker.note(caller, message)
                live = self._live.get((caller.id, message.seq)) if type(message) is m.Forget else None
                if live is not None:
                    live.cancel()

    def begin(self, caller: Caller, task: m.Task) -> None:
        """Start a call as an asyncio task."""
        function = caller.functions[task.no]
        coroutine = self._call(caller, task, function)
        if sys.version_info >= (3, 12):
            live = asyncio.Task(coroutine, loop=self.loop, eager_start=True)
            if live.done():
                return
        else:
            live = self.loop.create_task(coroutine)
        self._live[caller.id, task.seq] = live
        self._by_task[live] = (caller, task, function)

    async def _call(self, caller: Caller, task: m.Task, function: Function) -> None:
        worker = self._worker
        limit = self._limits.get(function.group, self._limits[""])
        try:
            async with limit:
                received = Received()
                if worker.was_cancelled(caller, task):
                    raise asyncio.CancelledError
                args, kwargs = execute.arguments(worker, caller, task, received)
                result = function.run(*args, **kwargs)
                if inspect.isawaitable(result):
                    result = await result
                if inspect.isasyncgen(result):
                    reply = await self._stream(caller, task, function, result)
                else:
                    reply = execute.success(worker, caller, task, function, result)
        except asyncio.CancelledError:
            reply = m.Reply(task.seq, m.CANCELLED)
        except ExitActor:
            from .process import NONE_DATA

            worker.flush_with(caller, m.Reply(task.seq, m.DONE, NONE_DATA))
            worker.leave("exit_actor() was called", True)
            return
        except BaseException as error:
            reply = execute.failure(worker, caller, task, function, error)
        live = asyncio.current_task()
        self._by_task.pop(live, None)
        self._live.pop((caller.id, task.seq), None)
        if received.blocks:
            args = kwargs = result = None
            worker._note_kept(caller, received)
        caller.replies.append(reply)
        self._ready[caller] = None
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        ready, self._ready = self._ready, {}
        for caller in ready:
            self._worker.flush(caller)
        self._after_turn()

    async def _stream(self, caller: Caller, task: m.Task, function: Function, items: Any) -> m.Reply:
        worker = self._worker
        limit = function.backpressure
        sent = 0
        async for item in items:
            value = worker.runtime.objects.give_value(serialize(item), caller.id)
            worker.send_reply(caller, m.Reply(task.seq, m.ITEM, b"", [value], sent))
            sent += 1
            while limit and caller.credits.get(task.seq, 0) < sent - limit + 1:
                await asyncio.sleep(0.001)
        return m.Reply(task.seq, m.END, b"", None, sent)

    def running(self) -> Any:
        """The call of the current asyncio task."""
        try:
            return self._by_task.get(asyncio.current_task())
        except RuntimeError:
            return None
