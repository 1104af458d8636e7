"""The event loop of an async actor: reads, runs and replies in the main thread.

Each call is an asyncio task. Which call that is stands in a context variable, so that tasks which the user's code starts,
and threads that it asks for, know it too. Apart from `actor.py` so that only async actors import asyncio.

INV-1: `_live` holds every call that was read and is not answered, from before its first step on.
INV-2: a stream whose caller is gone is cancelled: nobody takes its items. Other calls run to their end, as in any actor.
INV-3: nothing is kept of a call that has ended: no credit, no cancellation.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from ..client.metering import PROCESS
from ..client.serialization import serialize
from ..wire import messages as m
from ..wire.channel import ChannelClosed
from . import execute
from .execute import Caller, ExitActor, Function, Received

if TYPE_CHECKING:
    from .actor import ActorHost

SPIN_S = 100e-6
SPIN_BACKOFF = 20
TURN_S = 0.001
"""A generator that never waits lets the loop look at its messages this often."""
_clock = time.perf_counter
_running: contextvars.ContextVar[tuple[Caller, m.Task, Function]] = contextvars.ContextVar("skate_call")


class AsyncCalls:
    """The event loop of an async actor: reads, runs and replies in the main thread."""

    def __init__(self, host: ActorHost) -> None:
        self._host = host
        self._worker = host.worker
        self._limits: dict[str, asyncio.Semaphore] = {}
        self._live: dict[tuple[bytes, int], asyncio.Task[Any]] = {}
        self._streams: dict[tuple[bytes, int], asyncio.Task[Any]] = {}
        self._credits: dict[tuple[bytes, int], asyncio.Event] = {}
        """Streams that wait until their consumer has taken more."""
        self._ready: dict[Caller, None] = {}
        self.loop = asyncio.new_event_loop()
        spec = host.spec
        self._limits[""] = asyncio.Semaphore(max(1, spec.max_concurrency))
        for name, count in spec.concurrency_groups.items():
            self._limits[name] = asyncio.Semaphore(count)
        self._flush_due = False
        self._due: asyncio.TimerHandle | None = None
        """When there is something to do also if nothing comes any more."""
        self.started = False
        self._misses = 0
        self._context = contextvars.copy_context()
        """Where callbacks run: what a call has set in its context must not reach the calls that are read after it."""

    def run(self) -> None:
        """Serve until the process ends."""
        worker = self._worker
        loop = self.loop
        asyncio.set_event_loop(loop)
        self.started = True
        for caller in list(worker.callers.values()):
            self._add_reader(caller)
        loop.add_reader(worker.inner, self._control)
        worker.runtime.pump.start_thread()  # it answers whoever asks, whatever the calls do with the loop
        loop.run_forever()

    def add_caller(self, caller: Caller) -> None:
        """Read this caller's channel, once the loop runs. The message may have been read by another thread."""
        if self.started:
            self.loop.call_soon_threadsafe(self._add_reader, caller, context=self._context)

    def wake(self) -> None:
        """Something has changed that the loop's thread is to look at: another thread has read the message."""
        self.loop.call_soon_threadsafe(self._after_turn, context=self._context)

    def _add_reader(self, caller: Caller) -> None:
        self.loop.add_reader(caller.channel.fd, self._read, caller)
        self._worker.watch(caller)

    def _control(self) -> None:
        worker = self._worker
        worker.runtime.pump.try_turn()
        self._after_turn()

    def _after_turn(self) -> None:
        worker = self._worker
        self._again_in(worker.runtime.pump.between())
        if worker.draining and not self._live:
            self._drain()

    def _again_in(self, seconds: float | None) -> None:
        """Look again then, if not before: what was counted and has ended is told also if no call comes any more."""
        if seconds is None:
            return
        at = self.loop.time() + seconds
        if self._due is not None:
            if self._due.when() <= at:
                return
            self._due.cancel()
        self._due = self.loop.call_at(at, self._on_due, context=self._context)

    def _on_due(self) -> None:
        self._due = None
        self._after_turn()

    def _drain(self) -> None:
        worker = self._worker
        for caller in list(worker.callers.values()):
            self._read(caller)
        if not self._live:
            worker.leave(worker.why_drained, True)

    def _read(self, caller: Caller) -> None:
        worker = self._worker
        for _ in range(16):
            if caller.channel.closed:
                return
            try:
                raw = caller.channel.receive_into(worker._buffer, worker._view)
            except ChannelClosed:
                self._gone(caller)
                return
            if raw is None:
                return
            message = m.decode_batch(raw)
            if type(message) is m.Batch:
                worker._run_batch(caller, message)
            else:
                self._note(caller, message)
        if caller.channel.more:  # read from the kernel already: no event will tell of it
            self.loop.call_soon(self._read, caller, context=self._context)

    def _note(self, caller: Caller, message: m.Credit | m.Forget | m.Part) -> None:
        """A message about a call; what comes too late for it is dropped."""
        key = caller.id, message.seq
        live = self._live.get(key)
        if live is None and type(message) is not m.Part:
            return
        self._worker.note(caller, message)
        if type(message) is m.Credit:
            waiting = self._credits.get(key)
            if waiting is not None:
                waiting.set()
        elif live is not None and type(message) is m.Forget:
            live.cancel()

    def _gone(self, caller: Caller) -> None:
        """The caller has ended: so do the streams that only it reads."""
        self.loop.remove_reader(caller.channel.fd)
        self._worker._caller_gone(caller)
        for (ident, _), live in list(self._streams.items()):
            if ident == caller.id:
                live.cancel()

    def begin(self, caller: Caller, task: m.Task) -> None:
        """Start a call as an asyncio task."""
        function = caller.functions[task.no]
        coroutine = self._call(caller, task, function)
        if sys.version_info >= (3, 12):
            asyncio.Task(coroutine, loop=self.loop, eager_start=True)  # it puts itself into `_live`
            return
        live = self.loop.create_task(coroutine)
        self._live[caller.id, task.seq] = live
        live.add_done_callback(lambda live: self._never_began(caller, task) if live.cancelled() else None)

    def _never_began(self, caller: Caller, task: m.Task) -> None:
        """A call that was cancelled before its first step: nothing of `_call` has run."""
        self._forget(caller, task)
        self._worker.flush_with(caller, m.Reply(task.seq, m.CANCELLED))

    def _forget(self, caller: Caller, task: m.Task) -> None:
        key = caller.id, task.seq
        self._live.pop(key, None)
        caller.credits.pop(task.seq, None)
        self._worker.cancelled.discard(key)

    async def _call(self, caller: Caller, task: m.Task, function: Function) -> None:
        worker = self._worker
        live = asyncio.current_task()
        assert live is not None
        self._live[caller.id, task.seq] = live
        _running.set((caller, task, function))
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
                began = _clock()  # noqa: F841  (`doing.py` looks for it)
                run = function.run if task.trace is None else execute.traced(worker, caller, task, function)
                result = run(*args, **kwargs)
                if inspect.isawaitable(result):
                    result = await result
                if inspect.isasyncgen(result) or (execute.is_streaming(function) and hasattr(result, "__next__")):
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
        self._forget(caller, task)
        if received.blocks:
            args = kwargs = result = None
            worker._note_kept(caller, received)
        with worker.out_lock:
            caller.replies.append(reply)
            function.tally[reply.kind] += 1
        PROCESS.changed = True
        self._ready[caller] = None
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush, context=self._context)

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

    async def _stream(
        self, caller: Caller, task: m.Task, function: Function, items: AsyncIterator[Any] | Iterator[Any]
    ) -> m.Reply:
        worker = self._worker
        limit = function.backpressure
        sent = 0
        turn = _clock()
        self._streams[caller.id, task.seq] = self._live[caller.id, task.seq]
        try:
            while True:
                try:
                    item = next(items) if isinstance(items, Iterator) else await anext(items)
                except (StopIteration, StopAsyncIteration):
                    break
                value = worker.runtime.objects.give_value(serialize(item), caller.id, task.site or function.site)
                worker.send_reply(caller, m.Reply(task.seq, m.ITEM, b"", [value], sent))
                sent += 1
                if limit:
                    await self._credit(caller, task.seq, sent - limit + 1)
                if _clock() - turn > TURN_S:
                    await asyncio.sleep(0)
                    turn = _clock()
        finally:
            self._streams.pop((caller.id, task.seq), None)
            await _close(items)
        return m.Reply(task.seq, m.END, b"", None, sent)

    async def _credit(self, caller: Caller, seq: int, taken: int) -> None:
        """Wait until the consumer has taken so many items. When it is gone, the call is cancelled."""
        if caller.credits.get(seq, 0) >= taken:
            return
        key = caller.id, seq
        event = self._credits[key] = asyncio.Event()
        try:
            while caller.credits.get(seq, 0) < taken:
                event.clear()
                await event.wait()
        finally:
            del self._credits[key]

    def running(self) -> Any:
        """The call that this code belongs to."""
        return _running.get(None)


async def _close(items: Any) -> None:
    """End a generator now: its `finally` must not wait for the garbage collector."""
    if inspect.isasyncgen(items):
        await items.aclose()
    elif inspect.isgenerator(items):
        items.close()
