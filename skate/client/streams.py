"""Streaming tasks: references that come one after the other.

The producer sends items as they are made; the stream keeps their references until the consumer takes them. With
back-pressure the producer stops when `backpressure` items are not taken yet, and each taken item is a credit.

A generator that is passed on while its task runs is published (`publish.py`). One whose task has ended is passed on as the
list of what is left in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import GetTimeoutError
from ..wire import messages as m
from .objects import Contained
from .publish import Publisher
from .pump import Waiter
from .refs import ERROR, VALUE, ObjectRef, ObjectRefGenerator
from .remote_streams import RemoteStreams
from .serialization import plain_dumps, serialize
from .specs import MethodOptions
from .stream import ITEMS_MAX, RemoteStream, Replay, Stream

if TYPE_CHECKING:
    from .runtime import ClientRuntime

AHEAD_MAX = 1000
"""So many items a stream makes in advance when its consumer may be waiting for what comes after it; some have no end."""


class Streams:
    """The streams of one client."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.publisher = Publisher(runtime, self._stop)
        self.remote = RemoteStreams(runtime)

    def new(self, record: Any) -> Stream:
        """The stream of a task that is about to be sent. Needs the lock."""
        runtime = self.runtime
        return Stream(ObjectRef(runtime, runtime.next_id()), record, runtime.next_ids(ITEMS_MAX))

    # ------------------------------------------------------------ from the producer

    def item(self, stream: Stream, reply: m.Reply) -> None:
        """An item has come; one that was there before a retry is dropped."""
        if isinstance(stream, Replay):
            self.runtime.rebuild.replays.item(stream, reply)
            return
        values = reply.values or []
        if reply.at < stream.made or stream.total is not None:
            for value in values:
                if value.id:
                    self.runtime.tell(m.Hold(value.id, -1))
            self._credit(stream)  # a new attempt begins without
            return
        ref: ObjectRef[Any] = ObjectRef(self.runtime, stream.first + stream.made)
        self.runtime.objects.set_value(ref, values[0], given=True)
        if self.runtime.node_no:
            self.runtime.rebuild.replays.keep(stream, ref)
        self._append(stream, ref)

    def _append(self, stream: Stream, ref: ObjectRef[Any]) -> None:
        stream.made += 1
        if stream.public is not None:
            self.publisher.item(stream, stream.made - 1, ref)
        if stream.ahead:
            self._credit(stream)
        if not stream.unread:
            stream.items.append(ref)
            stream.notify()

    def _credit(self, stream: Stream) -> None:
        """Tell the producer how far the consumer is, if it waits for him."""
        record = stream.record
        if record is not None and record.worker is not None and record.function.options.backpressure:
            passed = stream.public is not None  # how far its readers are is not known here
            self.runtime.send_credit(record, stream.made if passed else min(stream.made, stream.taken + stream.ahead))

    def hurry(self, stream: Stream) -> None:
        """The consumer may be waiting for what its producer can do only afterwards, so that it goes on. Needs the lock."""
        if not isinstance(stream, Replay):
            stream.ahead = AHEAD_MAX
            self._credit(stream)

    def end(self, stream: Stream, total: int) -> None:
        """The producer has made its last item."""
        if isinstance(stream, Replay):
            self.runtime.rebuild.replays.end(stream, total)
            return
        self._finish(stream, VALUE, plain_dumps(None))

    def fail(self, stream: Stream, error: Any, contained: Contained | None = None) -> None:
        """The producer has failed: one last reference carries the error."""
        if isinstance(stream, Replay):
            self.runtime.rebuild.replays.fail(stream, error)
            return
        if stream.total is not None:
            return
        ref: ObjectRef[Any] = ObjectRef(self.runtime, stream.first + stream.made, ERROR, error)
        ref._contained = stream.completed._contained = contained
        self._append(stream, ref)
        self._finish(stream, ERROR, error)

    def _finish(self, stream: Stream, state: int, value: Any) -> None:
        stream.total = stream.made
        stream.record = stream.recipe = None
        completed = stream.completed
        completed._value = value
        completed._state = state
        if stream.public is not None:
            self.publisher.end(stream)
        self.runtime.objects.finish(completed)
        stream.notify()

    # ------------------------------------------------------------ nobody reads any more

    def dropped(self, stream: Stream) -> None:
        """The generator is gone here. Needs the lock."""
        if isinstance(stream, RemoteStream):
            self.remote.dropped(stream)
            return
        stream.unread = True
        stream.items.clear()
        stream.anchor = None
        if stream.public is None:
            self.abandon(stream)

    def abandon(self, stream: Stream) -> None:
        """Nobody has the generator any more: the producer may stop. Needs the lock."""
        stream.abandoned = True
        if stream.completed._callbacks or stream.completed._hold is not None:
            return  # somebody waits for the end of the task
        self._stop(stream, False)

    def stop(self, stream: Stream) -> None:
        """Nobody needs more of it. Needs the lock."""
        self._stop(stream, False)

    def _stop(self, stream: Stream, force: bool) -> None:
        record = stream.record
        if record is None:
            return
        if isinstance(record.function.options, MethodOptions):
            self.runtime.actors.cancel(record.worker, record)
        else:
            self.runtime.tasks.cancel(record, force=force, recursive=True)

    # ------------------------------------------------------------ to the consumer

    def is_ready(self, stream: Stream) -> bool:
        """Whether `next` would not wait. Needs the lock."""
        if isinstance(stream, RemoteStream):
            return self.remote.is_ready(stream)
        return bool(stream.items) or stream.total is not None

    def next(self, stream: Stream, timeout: float | None) -> ObjectRef[Any] | None:
        """The next item's reference; see `Runtime.stream_next`."""
        runtime = self.runtime
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            waiter = Waiter()
            if stream.completed is not None:
                waiter.refs = (stream.completed,)
            with runtime.lock:
                if self.is_ready(stream):
                    return self._take(stream)
                if left != 0:
                    stream.callbacks.append(waiter.notify)
            if left == 0 or not self._wait(stream, waiter, left):
                raise GetTimeoutError("the stream had no further item in time")

    def _wait(self, stream: Stream, waiter: Waiter, timeout: float | None) -> bool:
        try:
            return self.runtime.wait_for(waiter, timeout, lambda: "the next item of a stream")
        finally:
            with self.runtime.lock:
                stream.forget(waiter.notify)

    def _take(self, stream: Stream) -> ObjectRef[Any] | None:
        if isinstance(stream, RemoteStream):
            return self.remote.take(stream)
        if not stream.items:
            return None
        ref = stream.items.popleft()
        stream.taken += 1
        self._credit(stream)
        return ref

    def on_item(self, stream: Stream, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when `next` would not wait; returns what takes the wish back."""
        with self.runtime.lock:
            ready = self.is_ready(stream)
            if not ready:
                stream.callbacks.append(callback)
                self.runtime.pump.start_thread()  # the thread that asks may run an event loop, and never lead
        if ready:
            callback()
        return partial(self._forget, stream, callback)

    def _forget(self, stream: Stream, callback: Callable[[], None]) -> None:
        with self.runtime.lock:
            stream.forget(callback)

    def prefetch(self, stream: Stream) -> None:
        """Ask for the next item of a stream that is made elsewhere. Needs the lock."""
        if isinstance(stream, RemoteStream):
            self.remote.peek(stream)

    def finished(self, stream: Stream) -> bool:
        """True when everything was handed out."""
        if isinstance(stream, RemoteStream):
            return self.remote.finished(stream)
        return stream.total is not None and not stream.items

    def completed(self, stream: Stream) -> ObjectRef[Any]:
        """See `Runtime.stream_completed`."""
        if isinstance(stream, RemoteStream):
            return self.remote.completed(stream)
        completed: ObjectRef[Any] = stream.completed
        return completed

    def cancel(self, stream: Stream, force: bool) -> bool:
        """Stop the task of a stream that is made elsewhere; False if it is made here. Needs the lock."""
        if not isinstance(stream, RemoteStream):
            return False
        self.remote.ask_to_stop(stream, force)
        return True

    def dynamic(self, stream: Stream) -> ObjectRef[Any]:
        """One reference to a generator over all items, done when the task is."""
        runtime = self.runtime
        ref: ObjectRef[Any] = ObjectRef(runtime, runtime.next_id())
        ref._task = stream.record

        def done(completed: ObjectRef[Any]) -> None:
            if completed._state == ERROR:
                ref._value, ref._state = completed._value, ERROR
            else:
                packed = serialize(ObjectRefGenerator(runtime, stream))
                ref._contained = contained = Contained([], None)
                contained.refs = packed.refs
                ref._value = packed.to_bytes()
                ref._state = VALUE
            runtime.objects.finish(ref)

        runtime.when_done(stream.completed, done)
        return ref

    # ------------------------------------------------------------ passing on

    def reduce(self, stream: Stream) -> tuple[Any, ...]:
        """How its generator is pickled. Needs the lock."""
        if isinstance(stream, RemoteStream):
            return restore_generator, (stream.origin, stream.taken)
        if stream.total is not None:
            return restore_finished, (list(stream.items), stream.completed)
        return restore_generator, (self.publisher.publish(stream), stream.taken)


def restore_generator(origin: ObjectRef[Any], position: int) -> ObjectRefGenerator[Any]:
    """Unpickle a generator whose task another process has started."""
    return ObjectRefGenerator(_runtime(), RemoteStream(origin, position))


def restore_finished(items: list[ObjectRef[Any]], completed: ObjectRef[Any]) -> ObjectRefGenerator[Any]:
    """Unpickle a generator whose task has ended: it has its own list of what is left."""
    stream = Stream(completed, None)
    stream.items.extend(items)
    stream.made = stream.total = len(items)
    return ObjectRefGenerator(_runtime(), stream)


def _runtime() -> Any:
    from . import current

    return current.runtime
