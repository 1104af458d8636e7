"""Reading a stream whose task was started by another process, which has published it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..wire import messages as m
from .publish import FORCE, GENTLY
from .refs import ERROR, REMOTE, VALUE, ObjectRef
from .stream import END_MARK, RemoteStream, done_id, item_id, stop_id

if TYPE_CHECKING:
    from .runtime import ClientRuntime


class RemoteStreams:
    """The streams that this client was passed."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime

    def peek(self, stream: RemoteStream) -> ObjectRef[Any] | None:
        """The reference of the next item, there or not; None after the last. Needs the lock."""
        if stream.total is not None:
            return None
        ref = stream.peeked
        if ref is None:
            assert stream.public is not None
            ref = stream.peeked = self.runtime.objects.adopt(item_id(stream.public, stream.taken))
            if ref._state < VALUE:
                self.runtime.when_done(ref, stream.notify)
        if ref._state == VALUE and ref._value == END_MARK:
            stream.total = stream.taken
            stream.peeked = None
            return None
        return ref

    def is_ready(self, stream: RemoteStream) -> bool:
        """Whether the next item is there, or there is none. Needs the lock."""
        ref = self.peek(stream)
        return ref is None or ref._state >= VALUE

    def take(self, stream: RemoteStream) -> ObjectRef[Any] | None:
        """The next item, which is ready; None after the last. Needs the lock."""
        ref = self.peek(stream)
        if ref is not None:
            stream.peeked = None
            stream.taken += 1
            if ref._state == ERROR:
                stream.total = stream.taken  # an error is the last item, also when it says that the process is lost
        return ref

    def finished(self, stream: RemoteStream) -> bool:
        """Whether every item was taken and no more will come, by what the node knows now."""
        with self.runtime.lock:
            if self.is_ready(stream) or self.runtime.closed:
                return stream.total is not None
        self.runtime.ask("total")  # had the node known the next item, it would have told before it answers this
        with self.runtime.lock:
            return self.peek(stream) is None

    def completed(self, stream: RemoteStream) -> ObjectRef[Any]:
        """A reference that is done when the task is. Whoever has it keeps the task from being cancelled."""
        assert stream.public is not None
        with self.runtime.lock:
            if stream.completed is None:
                ref = stream.completed = self.runtime.objects.adopt(done_id(stream.public))
                if ref._state == REMOTE:
                    ref._callbacks = [*(ref._callbacks or ()), partial(_keep, stream.origin)]
            completed: ObjectRef[Any] = stream.completed
            return completed

    def ask_to_stop(self, stream: RemoteStream, force: bool) -> None:
        """Have the process that started the task cancel it. Needs the lock."""
        assert stream.public is not None
        self.runtime.tell(m.Deliver(stop_id(stream.public), m.Value(m.INLINE, FORCE if force else GENTLY)))

    def dropped(self, stream: RemoteStream) -> None:
        """The generator is gone here. Needs the lock."""
        ref, stream.peeked = stream.peeked, None
        if ref is not None and ref._callbacks is not None:
            if stream.notify in ref._callbacks:
                ref._callbacks.remove(stream.notify)
            if not ref._callbacks:
                ref._callbacks = None
                self.runtime.objects.unwatch(ref.binary())


def _keep(_: ObjectRef[Any], __: ObjectRef[Any]) -> None:
    """A callback that does nothing but hold a reference until then."""
