"""The event loop of an async actor: reads, runs and replies in the main thread.

Apart from `actor.py` so that only async actors import asyncio.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from typing import TYPE_CHECKING, Any

from ..client.serialization import serialize
from ..wire import messages as m
from ..wire.channel import ChannelClosed
from . import execute
from .execute import Caller, ExitActor, Function, Received

if TYPE_CHECKING:
    from .actor import ActorHost

SPIN_S = 100e-6
SPIN_BACKOFF = 20
_clock = time.perf_counter


class AsyncCalls:
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
        self._misses = 0

    def run(self) -> None:
        """Serve until the process ends."""
        worker = self._worker
        loop = self.loop
        asyncio.set_event_loop(loop)
        self.started = True
        for caller in list(worker.callers.values()):
            self._add_reader(caller)
        loop.add_reader(worker.inner, self._control)
        loop.run_forever()

    def add_caller(self, caller: Caller) -> None:
        """Read this caller's channel, once the loop runs. The message may have been read by another thread."""
        if self.started:
            self.loop.call_soon_threadsafe(self._add_reader, caller)

    def wake(self) -> None:
        """Something has changed that the loop's thread is to look at: another thread has read the message."""
        self.loop.call_soon_threadsafe(self._after_turn)

    def _add_reader(self, caller: Caller) -> None:
        self.loop.add_reader(caller.channel.fd, self._read, caller)
        self._worker.watch(caller)

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
        live.add_done_callback(lambda live: self._never_began(caller, task) if live.cancelled() else None)

    def _never_began(self, caller: Caller, task: m.Task) -> None:
        """A call that was cancelled before its first step: nothing of `_call` has run."""
        self._by_task.pop(self._live.pop((caller.id, task.seq), None), None)
        self._worker.flush_with(caller, m.Reply(task.seq, m.CANCELLED))

    async def _call(self, caller: Caller, task: m.Task, function: Function) -> None:
        worker = self._worker
        limit = self._limits.get(function.group, self._limits[""])
        received = Received()
        args: Any = None
        kwargs: Any = None
        result: Any = None
        try:
            async with limit:
                if worker.was_cancelled(caller, task):
                    raise asyncio.CancelledError
                args, kwargs = execute.arguments(worker, caller, task, received)
                worker.note_reading(received)
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
        with worker.out_lock:
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
        if not self._live:
            self._spin()

    def _spin(self) -> None:
        """Look for the next call for a short while before the event loop sleeps; see `pump.py` for what that saves."""
        if self._misses >= 4:
            self._misses = (self._misses + 1) % SPIN_BACKOFF
            return
        worker = self._worker
        poll = worker.epoll.poll
        end = _clock() + SPIN_S
        while _clock() < end:
            for fd, _ in poll(0):
                self._misses = 0
                caller = worker.callers.get(fd)
                if caller is not None:
                    self._read(caller)
                return
        self._misses += 1

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
