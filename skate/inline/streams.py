"""Streaming tasks of inline mode.

A generator runs ahead of its consumer as in the real runtime, but only so far: it runs in the thread that calls
`.remote()`, so an endless one has to stop somewhere. From there on it is advanced by whoever asks for the next
item.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..client.refs import ObjectRef, ObjectRefGenerator
from ..exceptions import TaskCancelledError
from .values import Failure, failure_of, is_interrupt, store, system_failure

if TYPE_CHECKING:
    from .runtime import InlineRuntime

AHEAD_MAX = 1000
"""Items made before anybody asks, when the task has no back-pressure of its own."""


class InlineStream:
    """The state of one stream.

    Attributes:
        task_id: hexadecimal id of the task.
        items: made and not yet handed out.
        completed: done when the generator has ended; its `get` raises the task's error.
        ended: no more items will be made.
    """

    def __init__(self, runtime: InlineRuntime, task_id: str, name: str, ahead: int) -> None:
        self._runtime = runtime
        self.task_id = task_id
        self._name = name
        self._ahead = ahead or AHEAD_MAX
        self.items: deque[ObjectRef[Any]] = deque()
        self.completed: ObjectRef[None] = runtime.new_ref(task_id)
        self.ended = False
        self._source: Iterator[Any] | None = None
        self._context: contextvars.Context | None = None
        self._callbacks: list[Callable[[], None]] = []
        self.cancel_hook: Callable[[], None] | None = None

    def run(self, source: Iterator[Any]) -> None:
        """Start on a generator, in the context that it shall run in."""
        self._source = source
        self._context = contextvars.copy_context()
        while not self.ended and len(self.items) < self._ahead:
            self.advance()

    def advance(self) -> None:
        """Make one item, if the generator is at hand to be advanced."""
        if self.ended or self._source is None or self._context is None:
            return
        source = self._source
        try:
            value = self._context.run(next, source)
        except StopIteration:
            self.end()
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.fail(failure_of(error, self._name, self.task_id))
        else:
            self.add(value)

    def add(self, value: Any) -> None:
        """The generator yielded a value."""
        ref: ObjectRef[Any] = self._runtime.new_ref(self.task_id)
        try:
            store(ref, value)
        except Exception as error:
            self.fail(failure_of(error, self._name, self.task_id))
            return
        self.items.append(ref)
        self._tell()

    def end(self) -> None:
        """The generator returned."""
        self.ended = True
        self._source = None
        self._runtime.finish(self.completed, None)
        self._tell()

    def fail(self, failure: Failure) -> None:
        """The generator raised: one last reference has the error."""
        if self.ended:
            return
        ref: ObjectRef[Any] = self._runtime.new_ref(self.task_id)
        self._runtime.finish_error(ref, failure)
        self.items.append(ref)
        self.ended = True
        self._source = None
        self._runtime.finish_error(self.completed, failure)
        self._tell()

    def cancel(self) -> None:
        """Stop the generator; items that exist stay."""
        if self.ended:
            return
        if self.cancel_hook is not None:
            self.cancel_hook()
            return
        source, self._source = self._source, None
        close = getattr(source, "close", None)
        if close is not None:
            close()
        self.fail(system_failure(TaskCancelledError(self.task_id)))

    def has_item(self) -> bool:
        """True when `next` would not block; makes an item if that is what it takes."""
        if not self.items:
            self.advance()
        return bool(self.items) or self.ended

    def on_item(self, callback: Callable[[], None]) -> None:
        """Call back when there is an item, or no more will come."""
        if self.has_item():
            callback()
        else:
            self._callbacks.append(callback)
            if self.has_item():
                self._tell()

    def _tell(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        self._runtime.changed()


def restore_stream(key: str) -> ObjectRefGenerator[Any]:
    """Unpickle a generator in the process that it belongs to."""
    from .runtime import current_inline

    runtime = current_inline()
    return ObjectRefGenerator(runtime, runtime.streams[key])


def restore_finished(refs: list[ObjectRef[Any]], completed: ObjectRef[None], task_id: str) -> ObjectRefGenerator[Any]:
    """Unpickle a generator whose items all exist: a copy of its own, to be read from the start."""
    from .runtime import current_inline

    runtime = current_inline()
    stream = InlineStream(runtime, task_id, "", 0)
    stream.items.extend(refs)
    stream.completed = completed
    stream.ended = True
    return ObjectRefGenerator(runtime, stream)
