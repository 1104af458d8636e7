"""Streaming tasks: references that come one after the other.

The producer sends items as they are made; the stream keeps their references until the consumer takes them. With
back-pressure the producer stops when `backpressure` items are not taken yet, and each taken item is a credit.

A generator that is passed on is published under an id of its own: item `n` is then the object `id + n + 1`, at the node,
and the end is an object too, so that any process can follow the stream with the means it has for objects.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..exceptions import GetTimeoutError
from ..wire import messages as m
from .pump import Waiter
from .refs import ERROR, PENDING, REMOTE, VALUE, ObjectRef, ObjectRefGenerator
from .serialization import plain_dumps, serialize
from .specs import MethodOptions

if TYPE_CHECKING:
    from .runtime import ClientRuntime

ITEMS_MAX = 1 << 32
END_MARK = b"\x00end"
"""The value of the object that stands after the last item of a published stream."""


class Stream:
    """A stream as its consumer sees it."""

    __slots__ = (
        "__weakref__",
        "abandoned",
        "anchor",
        "callbacks",
        "completed",
        "items",
        "made",
        "public",
        "record",
        "taken",
        "total",
    )

    def __init__(self, completed: ObjectRef[Any], record: Any) -> None:
        self.completed = completed
        self.record = record
        self.abandoned = False
        self.items: deque[ObjectRef[Any]] = deque()
        self.made = 0
        self.taken = 0
        self.total: int | None = None
        self.callbacks: list[Callable[[], None]] = []
        self.public: bytes | None = None
        self.anchor: weakref.ref[ObjectRef[Any]] | None = None
        """What stands for a published stream, as long as anybody can still ask for its items. It holds the stream."""


class Streams:
    """The streams of one client."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime

    def new(self, record: Any) -> Stream:
        """The stream of a task that is about to be sent."""
        return Stream(ObjectRef(self.runtime, self.runtime.next_id()), record)

    # ------------------------------------------------------------ from the producer

    def item(self, stream: Stream, reply: m.Reply) -> None:
        """An item has come; one that was there before a retry is dropped."""
        values = reply.values or []
        if reply.at < stream.made or stream.total is not None:
            for value in values:
                if value.id:
                    self.runtime.send(m.Hold(value.id, -1))
            record = stream.record
            if record is not None and record.worker is not None and record.function.options.backpressure:
                self.runtime.send_credit(record, stream.taken)  # a new attempt begins without credit
            return
        ref: ObjectRef[Any] = ObjectRef(self.runtime, self.runtime.next_id())
        self.runtime.objects.set_value(ref, values[0], given=True)
        self._append(stream, ref)

    def dropped(self, stream: Stream) -> None:
        """Nobody will take further items: the producer may stop. Needs the lock."""
        if isinstance(stream, RemoteStream) or self._anchor(stream) is not None or stream.completed._hold is not None:
            return
        stream.abandoned = True
        stream.items.clear()
        record = stream.record
        if record is None or stream.completed._callbacks:
            return
        if isinstance(record.function.options, MethodOptions):
            self.runtime.actors.cancel(record.worker, record)
        else:
            self.runtime.tasks.cancel(record, force=False, recursive=True)

    def _append(self, stream: Stream, ref: ObjectRef[Any]) -> None:
        if stream.abandoned:
            stream.made += 1
            return
        stream.items.append(ref)
        stream.made += 1
        if self._anchor(stream) is not None:
            self._publish_item(stream, stream.made - 1, ref)
        self._notify(stream)

    def _notify(self, stream: Stream) -> None:
        callbacks, stream.callbacks = stream.callbacks, []
        for callback in callbacks:
            callback()

    def end(self, stream: Stream, total: int) -> None:
        """The producer has made its last item."""
        self._finish(stream, VALUE, plain_dumps(None))

    def fail(self, stream: Stream, error: Any) -> None:
        """The producer has failed: one last reference carries the error."""
        if stream.total is not None:
            return
        ref: ObjectRef[Any] = ObjectRef(self.runtime, self.runtime.next_id(), ERROR, error)
        self._append(stream, ref)
        self._finish(stream, ERROR, error)

    def _finish(self, stream: Stream, state: int, value: Any) -> None:
        stream.total = stream.made
        stream.record = None
        completed = stream.completed
        completed._value = value
        completed._state = state
        self.runtime.objects.finish(completed)
        if self._anchor(stream) is not None:
            self._publish_end(stream)
        self._notify(stream)

    # ------------------------------------------------------------ to the consumer

    def next(self, stream: Stream, timeout: float | None) -> ObjectRef[Any] | None:
        """The next item's reference; see `Runtime.stream_next`."""
        runtime = self.runtime
        while True:
            with runtime.lock:
                if stream.items:
                    return self._take(stream)
                if stream.total is not None and not isinstance(stream, RemoteStream):
                    return None
                if isinstance(stream, RemoteStream):
                    step = self._next_remote(stream)
                    if step is not None:
                        return step[0]
                waiter = Waiter()
                stream.callbacks.append(waiter.notify)
            if timeout == 0 or not runtime.wait_for(waiter, timeout, lambda: "the next item of a stream"):
                raise GetTimeoutError("the stream had no further item in time")

    def _take(self, stream: Stream) -> ObjectRef[Any]:
        ref = stream.items.popleft()
        stream.taken += 1
        record = stream.record
        if record is not None and record.function.options.backpressure and record.worker is not None:
            self.runtime.send_credit(record, stream.taken)
        return ref

    def on_item(self, stream: Stream, callback: Callable[[], None]) -> None:
        """Call back when `next` would not wait."""
        with self.runtime.lock:
            if isinstance(stream, RemoteStream) and not stream.items:
                self._peek_remote(stream)
            if (
                stream.items
                or (stream.total is not None and not isinstance(stream, RemoteStream))
                or (isinstance(stream, RemoteStream) and stream.peeked is not None and stream.peeked._state >= VALUE)
            ):
                ready = True
            else:
                ready = False
                stream.callbacks.append(callback)
        if ready:
            callback()

    def finished(self, stream: Stream) -> bool:
        """True when everything was handed out."""
        return stream.total is not None and not stream.items

    def dynamic(self, stream: Stream) -> ObjectRef[Any]:
        """One reference to a generator over all items, done when the task is."""
        runtime = self.runtime
        ref: ObjectRef[Any] = ObjectRef(runtime, runtime.next_id())
        ref._task = stream.record

        def done(completed: ObjectRef[Any]) -> None:
            if completed._state == ERROR:
                ref._value, ref._state = completed._value, ERROR
            else:
                ref._contained = None
                packed = serialize(ObjectRefGenerator(runtime, stream))
                from .objects import Contained

                contained = Contained([], None)
                contained.refs = packed.refs
                ref._contained = contained
                ref._value = packed.to_bytes()
                ref._state = VALUE
            runtime.objects.finish(ref)

        runtime.when_done(stream.completed, done)
        return ref

    # ------------------------------------------------------------ passing on

    def publish(self, stream: Stream) -> ObjectRef[Any]:
        """Make the stream readable by others; the reference that keeps it so. Needs the lock."""
        if isinstance(stream, RemoteStream):
            return stream.origin
        anchor = self._anchor(stream)
        if anchor is not None:
            return anchor
        runtime = self.runtime
        first = runtime.next_ids(ITEMS_MAX)
        anchor = ObjectRef(runtime, runtime.client_id + first.to_bytes(8, "big"), VALUE, plain_dumps(None))
        stream.public = anchor.binary()
        anchor._task = stream
        stream.anchor = weakref.ref(anchor)
        self._announce(stream, stream.taken)
        for number, ref in enumerate(list(stream.items)):
            self._publish_item(stream, stream.taken + number, ref)
        if stream.total is not None:
            self._publish_end(stream)
        return anchor

    @staticmethod
    def _anchor(stream: Stream) -> ObjectRef[Any] | None:
        return None if stream.anchor is None else stream.anchor()

    def _publish_item(self, stream: Stream, number: int, ref: ObjectRef[Any]) -> None:
        runtime = self.runtime
        assert stream.public is not None
        self._announce(stream, number + 1)  # first: whoever has read this item asks for the next one at once
        runtime.send(m.Deliver(item_id(stream.public, number), runtime.objects.to_value(ref)))
        record = stream.record
        if record is not None and record.worker is not None and record.function.options.backpressure:
            runtime.send_credit(record, stream.made)  # how far its consumers are is not known here

    def _announce(self, stream: Stream, number: int) -> None:
        """The node knows of an item before it is there, so that a consumer who is faster waits for it."""
        assert stream.public is not None
        ident = item_id(stream.public, number)
        anchor = self._anchor(stream)
        if anchor is not None:
            self.runtime.send(m.Register(ident, None))
            self.runtime.stream_holds(anchor, ident)

    def _publish_end(self, stream: Stream) -> None:
        assert stream.public is not None and stream.total is not None
        self.runtime.send(m.Deliver(item_id(stream.public, stream.total), m.Value(m.INLINE, END_MARK)))

    def remote(self, anchor: ObjectRef[Any], position: int) -> RemoteStream:
        """The stream of a generator that arrived."""
        return RemoteStream(self.runtime, anchor, position)

    def prefetch(self, stream: Stream) -> None:
        """Ask for the next item of a stream that is made elsewhere. Needs the lock."""
        if isinstance(stream, RemoteStream):
            self._peek_remote(stream)

    def _peek_remote(self, stream: RemoteStream) -> ObjectRef[Any] | None:
        if stream.total is not None:
            return None
        if stream.peeked is None:
            assert stream.public is not None
            ref = self.runtime.objects.adopt(item_id(stream.public, stream.taken))
            stream.peeked = ref
            self.runtime.when_done(ref, lambda _: self._notify(stream))
            self.runtime.objects.fetch(ref)
        return stream.peeked

    def _next_remote(self, stream: RemoteStream) -> tuple[ObjectRef[Any] | None] | None:
        ref = self._peek_remote(stream)
        if ref is None:
            return (None,)
        if ref._state in (PENDING, REMOTE):
            return None
        if ref._state == VALUE and ref._value == END_MARK:
            stream.total = stream.taken
            stream.peeked = None
            return (None,)
        stream.peeked = None
        stream.taken += 1
        return (ref,)


class RemoteStream(Stream):
    """A stream whose producer answers to another process."""

    __slots__ = ("origin", "peeked")

    def __init__(self, runtime: ClientRuntime, anchor: ObjectRef[Any], position: int) -> None:
        super().__init__(ObjectRef(runtime, runtime.next_id()), None)
        self.origin = anchor
        self.public = anchor.binary()
        self.taken = position
        self.peeked: ObjectRef[Any] | None = None


def item_id(public: bytes, number: int) -> bytes:
    """The object id of item `number` of a published stream."""
    return public[:8] + (int.from_bytes(public[8:], "big") + number + 1).to_bytes(8, "big")


def restore_generator(anchor: ObjectRef[Any], position: int) -> ObjectRefGenerator[Any]:
    """Unpickle a generator."""
    from . import current

    runtime: Any = current.runtime
    return ObjectRefGenerator(runtime, runtime.streams.remote(anchor, position))
