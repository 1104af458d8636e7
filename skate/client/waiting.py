"""`get` and `wait`: waiting for references, and saying so when it takes long.

A task that waits lends its CPU: after `BLOCK_AFTER_S`, so that short waits cost the node nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..exceptions import GetTimeoutError
from ..wire import messages as m
from .pump import Waiter
from .reasons import why_ref
from .refs import FAR, REMOTE, VALUE, ObjectRef
from .stream import Stream

if TYPE_CHECKING:
    from .runtime import ClientRuntime

SLOW_GET_S = 5.0
"""A `get` that waits this long says on stderr what it waits for."""
BRING_AHEAD = 32
"""So many objects of other nodes are asked for at once by a `get` of many."""
ASK_WHY_S = 0.1
"""A `get` that has waited this long asks others for the reason when its time is over, and for no longer than `WHY_S`."""
WHY_S = 1.0
BLOCK_AFTER_S = 0.001
"""A task that waits this long in `get` lends its CPU."""


class Wait:
    """What one thread of a worker waits for."""

    __slots__ = ("gives_up", "task", "waiter")

    def __init__(self, task: tuple[bytes, int] | None, waiter: Waiter, gives_up: bool) -> None:
        self.task = task
        """The task that it runs: the caller's id, and the number there."""
        self.waiter = waiter
        self.gives_up = gives_up
        """It waits no longer than for a time that was given."""


class Waits:
    """What one client waits for."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self._blocked = 0
        self.now: dict[int, Wait] = {}
        """What each thread of a worker waits for that has waited for longer than a moment."""

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """See `Runtime.get`."""
        if self.runtime.closed:
            self.runtime.check_open()
        objects = self.runtime.objects
        out: list[Any] = []
        deadline = None if timeout is None else time.monotonic() + timeout
        for ref in refs:
            if ref._state < VALUE:
                self._await(ref, refs, deadline)
            if ref._state == FAR:
                objects.bring_soon(refs[len(out) : len(out) + BRING_AHEAD])
            out.append(objects.load(ref, deadline))
        return out

    def await_done(self, ref: ObjectRef[Any], deadline: float | None = None) -> None:
        """Wait until a reference is done.

        Raises:
            GetTimeoutError: it was not at `deadline`, on the monotonic clock.
        """
        while ref._state < VALUE:
            self._await(ref, (ref,), deadline)

    def _await(self, ref: ObjectRef[Any], refs: Sequence[ObjectRef[Any]], deadline: float | None) -> None:
        waiter = Waiter()
        waiter.refs = (ref,)
        with self.runtime.lock:
            if ref._state >= VALUE:
                return
            self.runtime.when_done(ref, waiter.notify)
            self.runtime.actors.flush_dirty()
            for other in refs if len(refs) > 1 else ():
                if other._state == REMOTE:
                    self.runtime.objects.fetch(other)
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not self.wait_for(waiter, timeout, lambda: self._why(ref)):
            self._unwatch([ref], waiter)
            if ref._state < VALUE:
                raise GetTimeoutError(f"get timed out: {self._why(ref, timeout)}")

    def _why(self, ref: ObjectRef[Any], timeout: float | None = None) -> str:
        """Why it is not done. Who has waited for a moment only does not wait for others to say so."""
        if timeout is not None and timeout < ASK_WHY_S:
            with self.runtime.lock:
                return why_ref(self.runtime, ref).text
        from .why import of_runtime

        return of_runtime(self.runtime, ref, WHY_S if timeout is None else min(timeout, WHY_S))

    def wait_for(self, waiter: Waiter, timeout: float | None, why: Callable[[], str]) -> bool:
        """Wait, lending the CPU of a worker and telling the user when it takes long."""
        if waiter.left <= 0:
            return True
        if self.runtime.before_block is not None:
            return self._wait_in_worker(waiter, timeout, why)
        return self._wait_telling(waiter, timeout, why)

    def wait_keeping(
        self, waiter: Waiter, why: Callable[[], str], keep_s: float | None = None, deadline: float | None = None
    ) -> bool:
        """Wait for memory. A worker keeps its CPU, for `keep_s` at least: those who would run on it need memory, too, and all
        would have a part of what they need, and none enough. False if `deadline` has come."""
        pump = self.runtime.pump
        if pump.wait(waiter, BLOCK_AFTER_S):
            return True
        if self.runtime.before_block is not None:
            self.runtime.before_block()
        if keep_s is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            return self._wait_telling(waiter, left, why)
        return pump.wait(waiter, keep_s) or self.wait_for(waiter, None, why)

    def _wait_in_worker(self, waiter: Waiter, timeout: float | None, why: Callable[[], str]) -> bool:
        first = BLOCK_AFTER_S if timeout is None else min(timeout, BLOCK_AFTER_S)
        if self.runtime.pump.wait(waiter, first):
            return True
        if timeout is not None and timeout <= BLOCK_AFTER_S:
            return False
        assert self.runtime.before_block is not None
        self.runtime.before_block()
        thread = threading.get_ident()
        outer = self.now.get(thread)
        if waiter.refs:
            self.now[thread] = Wait(self.runtime.running_task(), waiter, timeout is not None)
        try:
            with self.lending():
                return self._wait_telling(waiter, None if timeout is None else timeout - first, why)
        finally:
            if outer is None:
                self.now.pop(thread, None)
            else:  # it was asked why it takes so long, and had to wait for the answer
                self.now[thread] = outer

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Others may have the CPU of this worker."""
        with self.runtime.lock:
            self._blocked += 1
            if self._blocked == 1:
                self.runtime.send(m.Blocked(True))
        try:
            yield
        finally:
            with self.runtime.lock:
                self._blocked -= 1
                if self._blocked == 0:
                    self.runtime.send(m.Blocked(False))

    def _wait_telling(self, waiter: Waiter, timeout: float | None, why: Callable[[], str]) -> bool:
        limit = SLOW_GET_S if timeout is None else min(SLOW_GET_S, timeout)
        if self.runtime.pump.wait(waiter, limit):
            return True
        began = time.monotonic() - limit
        tell_at = SLOW_GET_S
        while timeout is None or limit < timeout:
            print(f"skate: still waiting after {limit:.0f} s: {why()}", file=sys.stderr, flush=True)
            tell_at *= 4
            limit = limit + tell_at if timeout is None else min(limit + tell_at, timeout)
            if self.runtime.pump.wait(waiter, max(0.0, began + limit - time.monotonic())):
                return True
        return False

    def wait(self, refs: Sequence[Any], num_returns: int, timeout: float | None) -> tuple[list[Any], list[Any]]:
        """See `Runtime.wait`."""
        ready = self._ready(refs, num_returns)
        if len(ready) < num_returns:
            with self.runtime.lock:
                self.runtime.actors.flush_dirty()
                for ref in refs:
                    if type(ref) is ObjectRef:
                        self.runtime.objects.fetch(ref)
                    else:
                        self.runtime.streams.prefetch(ref._stream)
            self.runtime.pump.try_turn()
            ready = self._ready(refs, num_returns)
        if len(ready) < num_returns and timeout != 0:
            waiter, watched = self._watch(refs, num_returns)
            self.wait_for(waiter, timeout, lambda: self._why_wait(refs))
            self._unwatch(watched, waiter)
            ready = self._ready(refs, num_returns)
        if len(ready) == 1:
            at = ready[0]
            rest = list(refs)
            del rest[at]
            return [refs[at]], rest
        chosen = set(ready)
        return [refs[at] for at in ready], [ref for at, ref in enumerate(refs) if at not in chosen]

    def _ready(self, refs: Sequence[Any], limit: int) -> list[int]:
        """The places of the first `limit` references that are done."""
        ready: list[int] = []
        for at, ref in enumerate(refs):
            if ref._state >= VALUE if type(ref) is ObjectRef else self._has_item(ref._stream):
                ready.append(at)
                if len(ready) == limit:
                    break
        return ready

    @staticmethod
    def _has_item(stream: Stream) -> bool:
        peeked = getattr(stream, "peeked", None)
        return bool(stream.items) or stream.total is not None or (peeked is not None and peeked._state >= VALUE)

    def _watch(self, refs: Sequence[Any], num_returns: int) -> tuple[Waiter, list[Any]]:
        """A waiter that is met when `num_returns` references are done, and those that it watches."""
        watched: list[Any] = []
        waiter = Waiter(num_returns)
        waiter.refs = refs
        notify = waiter.notify
        with self.runtime.lock:
            for ref in refs:
                if type(ref) is not ObjectRef:
                    self.runtime.streams.on_item(ref._stream, notify)
                    watched.append(ref)
                elif ref._state < VALUE:
                    self.runtime.when_done(ref, notify)
                    watched.append(ref)
                else:
                    waiter.left -= 1
        return waiter, watched

    def _unwatch(self, watched: list[Any], waiter: Waiter) -> None:
        notify = waiter.notify
        with self.runtime.lock:
            for ref in watched:
                if type(ref) is not ObjectRef:
                    ref._stream.forget(notify)
                    continue
                callbacks = ref._callbacks
                if callbacks is not None:
                    if notify in callbacks:
                        callbacks.remove(notify)
                    if not callbacks:
                        ref._callbacks = None

    def _why_wait(self, refs: Sequence[Any]) -> str:
        for ref in refs:
            if type(ref) is ObjectRef and ref._state < VALUE:
                return self._why(ref)
        return "a stream"
