"""Values and errors of inline mode: what a reference holds, and how arguments are copied.

A reference in state VALUE has its pickle in `_value` and the references inside it in `_contained`; in state PLAIN the
value itself; in state ERROR a `Failure`.
"""

from __future__ import annotations

import contextvars
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..client.errors import pack_error, to_raise, unpack_error
from ..client.refs import ERROR, PENDING, PLAIN, VALUE, ObjectRef
from ..client.serialization import deserialize, is_plain, serialize
from ..client.waist import TaskContext
from ..exceptions import RayError, RayTaskError

if TYPE_CHECKING:
    from .runtime import InlineRuntime

running: contextvars.ContextVar[TaskContext | None] = contextvars.ContextVar("skate_inline_task", default=None)
"""The task that runs: by thread, and on an event loop by asyncio task."""


class Failure(NamedTuple):
    """The error of a task: packed as it would travel, and the traceback with the frames of the user's code."""

    packed: bytes
    traceback: TracebackType | None


def is_interrupt(error: BaseException) -> bool:
    """Ctrl-C, or quitting the debugger: it ends the program and not the task."""
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "BdbQuit"


def failure_of(error: BaseException, name: str, task_id: str) -> Failure:
    """The failure of a task that raised `error`."""
    packed = pack_error(error, function_name=name, pid=os.getpid(), task_id=task_id)
    return Failure(packed, _skip_own_frames(error.__traceback__))


def system_failure(error: RayError) -> Failure:
    """The failure for an error of skate itself, such as a dead actor: it arrives as it is."""
    return Failure(pack_error(error, function_name="", pid=0, task_id=""), None)


def _skip_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of the user's code on; a debugger's `post_mortem` starts there."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    at = traceback
    while at is not None and at.tb_frame.f_code.co_filename.startswith(own):
        at = at.tb_next
    return at if at is not None else traceback


def error_to_raise(failure: Failure) -> BaseException:
    """A fresh exception for the failure."""
    error = to_raise(unpack_error(failure.packed))
    return error.with_traceback(failure.traceback)


def matches(failure: Failure, classes: tuple[type[BaseException], ...]) -> bool:
    """True if the failure is of one of the classes, by its cause."""
    error = unpack_error(failure.packed)
    cause = error.cause if isinstance(error, RayTaskError) else error
    return isinstance(cause, classes)


def copy_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function that makes a fresh copy of (args, kwargs), as each attempt of a task gets one.

    Raises:
        TypeError: a part of them cannot be pickled.
    """
    if all(map(is_plain, args)) and all(map(is_plain, kwargs.values())):
        return lambda: (args, dict(kwargs))
    packed = serialize((args, kwargs))
    data, refs = packed.to_bytes(), packed.refs
    return lambda: deserialize(data, refs)


def dependencies(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[ObjectRef[Any]]:
    """The references that stand for arguments."""
    return [value for value in (*args, *kwargs.values()) if type(value) is ObjectRef]


def resolve(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with the values of references in their place; the references are done."""
    new = tuple(load(value) if type(value) is ObjectRef else value for value in args)
    return new, {name: load(value) if type(value) is ObjectRef else value for name, value in kwargs.items()}


def store(ref: ObjectRef[Any], value: Any) -> None:
    """Give a pending reference its value; whoever waits is told by the caller."""
    if is_plain(value):
        ref._value, ref._state = value, PLAIN
        return
    packed = serialize(value)
    ref._contained = packed.refs or None
    ref._value, ref._state = packed.to_bytes(), VALUE


def load(ref: ObjectRef[Any]) -> Any:
    """The value of a reference that is done, a fresh copy; raises its error."""
    if ref._state == PLAIN:
        return ref._value
    if ref._state == VALUE:
        return deserialize(ref._value, ref._contained)
    assert ref._state == ERROR and ref._state != PENDING
    raise error_to_raise(ref._value)


def task_context(runtime: InlineRuntime, **fields: Any) -> TaskContext:
    """A context of this process with some fields of its own."""
    base = runtime.base_context
    return TaskContext(
        job_id=base.job_id,
        node_id=base.node_id,
        worker_id=base.worker_id,
        namespace=base.namespace,
        session=base.session,
        session_dir=base.session_dir,
        is_driver=False,
        **fields,
    )
