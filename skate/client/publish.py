"""A stream whose generator was passed on while its task runs, in the process that started the task.

What the readers need are objects of the node (`stream.py` has their ids). This process announces each item before it is
there, so that a reader who is faster waits for it, and learns from the node, by waiting for two more objects that it does not
make itself, when a reader asks for the task to be stopped, and when nobody has the generator any more.

INV-1: `stream.public` is set from the first time the generator is passed on until nobody has it any more.
INV-2: an item is announced before the one in front of it is delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..wire import messages as m
from .objects import Held
from .refs import VALUE, ObjectRef
from .serialization import plain_dumps
from .stream import END_MARK, ITEMS_MAX, Stream, done_id, item_id, stop_id

if TYPE_CHECKING:
    from .runtime import ClientRuntime


class Publisher:
    """Publishes the streams of one client. Every method needs the lock."""

    def __init__(self, runtime: ClientRuntime, stop: Callable[[Stream, bool], None]) -> None:
        """`stop(stream, force)` cancels the task, if it still runs."""
        self.runtime = runtime
        self._stop = stop

    def publish(self, stream: Stream) -> ObjectRef[Any]:
        """Make the stream readable by others; the reference that stands for its generator."""
        if stream.anchor is not None:
            return stream.anchor
        runtime = self.runtime
        first = runtime.next_ids(ITEMS_MAX)
        public = stream.public = runtime.client_id + first.to_bytes(8, "big")
        anchor = stream.anchor = ObjectRef(runtime, public, VALUE, plain_dumps(None))
        anchor._hold = self._register(public)
        runtime.objects.known[public] = anchor
        runtime.objects.watch(public, partial(self._nobody_left, stream))
        stream.holds.append(self._register(done_id(public)))
        stream.holds.append(self._register(stop_id(public)))
        runtime.objects.watch(stop_id(public), partial(self._asked_to_stop, stream))
        self._announce(stream, stream.taken)
        for number, ref in enumerate(list(stream.items)):
            self.item(stream, stream.taken + number, ref)
        return anchor

    def item(self, stream: Stream, number: int, ref: ObjectRef[Any]) -> None:
        """An item of a published stream is there."""
        runtime = self.runtime
        assert stream.public is not None
        self._announce(stream, number + 1)
        ident = item_id(stream.public, number)
        runtime.send(m.Deliver(ident, runtime.objects.to_value(ref)))
        runtime.rebuild.replays.published(ident, number, ref)
        record = stream.record
        if record is not None and record.worker is not None and record.function.options.backpressure:
            runtime.send_credit(record, stream.made)  # how far its readers are is not known here

    def end(self, stream: Stream) -> None:
        """The task of a published stream is over."""
        assert stream.public is not None and stream.total is not None
        runtime = self.runtime
        runtime.objects.unwatch(stop_id(stream.public))
        runtime.send(m.Deliver(item_id(stream.public, stream.total), m.Value(m.INLINE, END_MARK)))
        runtime.send(m.Deliver(done_id(stream.public), runtime.objects.to_value(stream.completed)))

    def _announce(self, stream: Stream, number: int) -> None:
        assert stream.public is not None
        stream.holds.append(self._register(item_id(stream.public, number)))

    def _register(self, ident: bytes) -> Held:
        self.runtime.send(m.Register(ident, None))
        return Held(self.runtime, ident)

    def _asked_to_stop(self, stream: Stream, asked: ObjectRef[Any]) -> None:
        if asked._state == VALUE and stream.record is not None:
            self._stop(stream, asked._value == FORCE)

    def _nobody_left(self, stream: Stream, _: ObjectRef[Any]) -> None:
        if stream.public is not None:
            self.runtime.objects.unwatch(stop_id(stream.public))
        stream.public = None
        stream.holds.clear()
        if stream.unread:
            self.runtime.streams.abandon(stream)


GENTLY = b"\x00"
FORCE = b"\x01"
"""What a reader gives the object that asks for the task to be stopped."""
