"""Errors on their way from the process where they happen to the `get` that raises them.

A task may raise anything: a class that only its worker can import, an `__init__` with required arguments, an
attribute that holds a socket. None of that may lose the error or break the driver. So the packed form is two
pickles, one inside the other: the outer one holds only strings and numbers and always loads; the inner one is
the cause. Three ways to pickle the cause are tried, and each is checked by loading it back: as it is; as a
snapshot that is restored without its `__init__`, and without the attributes that cannot be pickled; not at all.
In the snapshot of an exception group each member is treated like that, and what is left has a stand-in.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

from ..exceptions import RayError, RayTaskError, UnserializableException, members_of, restore_exception, restore_group

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

_MAX_TRACEBACK_CHARS = 200_000
"""A recursion error with huge reprs must not fill the driver."""


def pack_error(
    error: BaseException, *, function_name: str, pid: int, task_id: str, traceback_str: str | None = None
) -> bytes:
    """Pack the error of a task, in the worker.

    Args:
        error: what the function raised.
        function_name: for the message. "" says that no function failed but the system, as when a worker died:
            then the error is shipped as it is.
        pid: of this process.
        task_id: hexadecimal.
        traceback_str: instead of the traceback that `error` carries.
    """
    if not function_name and isinstance(error, RayError):
        if isinstance(error, RayTaskError):
            function_name, pid, task_id = error.function_name, error.pid, error.task_id
            traceback_str = error.traceback_str
        else:
            return _dumps(_Snapshot(error))
    text = traceback_str if traceback_str is not None else format_remote_traceback(error)
    if len(text) > _MAX_TRACEBACK_CHARS:
        half = _MAX_TRACEBACK_CHARS // 2
        text = f"{text[:half]}\n  [... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    cause = _innermost(error)
    name = cause.cause_type if isinstance(cause, RayTaskError) else _type_name(type(cause))
    packed = b"" if isinstance(cause, RayTaskError) else _pickle_cause(cause)
    return pickle.dumps((function_name, text, packed, pid, task_id, name), protocol=5)


def _dumps(value: Any) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(value, protocol=5)
    return data


def make_task_error(error: BaseException, *, function_name: str, pid: int, task_id: str) -> RayTaskError:
    """The `RayTaskError` for an error that happened in this process, with the very exception as its cause."""
    cause = _innermost(error)
    name = cause.cause_type if isinstance(cause, RayTaskError) else _type_name(type(cause))
    kept = None if isinstance(cause, RayTaskError) else cause
    return RayTaskError(function_name, format_remote_traceback(error), kept, pid, task_id, name)


def unpack_error(data: bytes | bytearray | memoryview) -> BaseException:
    """Make the exception from its packed form. Never raises: what cannot be loaded is described."""
    try:
        content = pickle.loads(data)
    except BaseException as problem:
        return _undecodable(problem)
    if isinstance(content, BaseException):
        return content
    try:
        function_name, text, packed, pid, task_id, name = content
        cause, trouble = _load_cause(packed)
        if trouble:
            text = f"{text.rstrip()}\n[{name} could not be unpickled in this process: {trouble}]"
        return RayTaskError(function_name, text, cause, pid, task_id, name)
    except Exception as problem:
        return _undecodable(problem)


def describe_packed(data: bytes | bytearray | memoryview) -> tuple[str, str]:
    """The type of a packed error and the end of its traceback, without making the exception that a user has raised."""
    try:
        content = pickle.loads(data)
        if isinstance(content, BaseException):
            return type(content).__name__, str(content)
        _, text, _, _, _, name = content
        kind = str(name).rpartition(".")[2]
        return kind, _message_in(str(text), kind)
    except Exception as problem:
        return "", f"the error cannot be read: {type(problem).__name__}"


def _message_in(text: str, kind: str) -> str:
    """What stands below the frames of a traceback: the exception, perhaps in several lines."""
    lines = text.rstrip().splitlines() or [""]
    below = next((at for at in range(len(lines) - 1, -1, -1) if lines[at].startswith("  File ")), 0)
    for at in range(below, len(lines)):
        line = lines[at].lstrip(" |")  # of a group, the traceback has a border
        if line.partition(":")[0].rpartition(".")[2] == kind:
            return "\n".join(lines[at:]) if line == lines[at] else line
    return lines[-1]


def to_raise(error: BaseException) -> BaseException:
    """The exception to raise for `error`, which may be raised more than once: a copy with no traceback yet."""
    if isinstance(error, RayTaskError):
        return error.as_instanceof_cause()
    if isinstance(error, RayError):
        rebuild, args = RayError.__reduce__(error)
        copy: BaseException = rebuild(*args)
        return copy
    try:
        return restore_exception(type(error), error.args, dict(error.__dict__), members_of(error))
    except Exception:
        return error.with_traceback(None)


def format_remote_traceback(error: BaseException) -> str:
    """The traceback with the frames of the user's code only.

    When there are none, it has all frames: something is wrong in skate. But an error that skate itself raises, such as about
    what a function has returned, says all in its message, and has no frames.
    """
    import traceback

    try:
        report = traceback.TracebackException.from_exception(error)
        _drop_own_frames(report, set())
        report.__notes__ = None  # the error has them still, and whoever prints it prints them
        return "".join(report.format())
    except Exception as problem:  # a broken __str__, or source that cannot be read
        return f"{type(error).__name__} (its traceback cannot be shown: {type(problem).__name__})"


def _drop_own_frames(report: Any, seen: set[int]) -> None:
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    kept = [frame for frame in report.stack if not frame.filename.startswith(_PACKAGE)]
    if kept or (report.stack and (report.stack[-1].line or "").lstrip().startswith("raise ")):
        report.stack[:] = kept
    _drop_own_frames(report.__cause__, seen)
    _drop_own_frames(report.__context__, seen)
    for inner in getattr(report, "exceptions", None) or ():
        _drop_own_frames(inner, seen)


def _innermost(error: BaseException) -> BaseException:
    """What a chain of tasks that passed an error on started with: its type is the one that must be catchable."""
    while isinstance(error, RayTaskError) and error.cause is not None:
        error = error.cause
    return error


def _type_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


def _pickle_cause(cause: BaseException) -> bytes:
    """The cause's pickle, checked to load; b"" when there is no way."""
    if type(cause).__module__ == "builtins" and _is_plain(cause.args) and not cause.__dict__:
        return pickle.dumps(cause, protocol=5)
    for form in (lambda: cause, lambda: _Snapshot(cause)):
        try:
            data = _dumps(form())
            if isinstance(pickle.loads(data), type(cause)):
                return data
        except Exception:
            continue  # the next form
    return b""


def _is_plain(args: tuple[Any, ...]) -> bool:
    return all(type(arg) in (str, int, float, bool, type(None), bytes) for arg in args)


def _load_cause(packed: bytes) -> tuple[BaseException | None, str]:
    if not packed:
        return None, ""
    try:
        cause = pickle.loads(packed)
    except BaseException as problem:
        return None, f"{type(problem).__name__}: {problem}"
    return (cause, "") if isinstance(cause, BaseException) else (None, f"it became a {type(cause).__name__}")


def _undecodable(problem: BaseException) -> RayTaskError:
    return RayTaskError("unknown", f"the error of the task could not be decoded: {type(problem).__name__}: {problem}")


class _Snapshot:
    """Pickles as the exception, rebuilt without `__init__`, less what cannot be pickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self.error
        if isinstance(error, BaseExceptionGroup):
            return _reduce_group(error)
        args = tuple(_picklable(arg) for arg in error.args)
        state = {name: _picklable(value) for name, value in error.__dict__.items()}
        members = {name: _picklable(value) for name, value in members_of(error).items()}
        return restore_exception, (type(error), args, state, members)


def _reduce_group(group: BaseExceptionGroup[Any]) -> tuple[Any, ...]:
    state = {name: _picklable(value) for name, value in group.__dict__.items()}
    return restore_group, (type(group), group.message, [_Member(each) for each in group.exceptions], state)


class _Member:
    """Pickles as a member of a group, in the best form that loads; at worst as its description."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_member, (_pickle_cause(self.error), _type_name(type(self.error)), _describe(self.error))


def _load_member(packed: bytes, name: str, text: str) -> BaseException:
    cause, trouble = _load_cause(packed)
    if cause is not None:
        return cause
    standin = UnserializableException(text)
    standin.add_note(f"It stands for a {name} of the group" + (f": {trouble}" if trouble else ""))
    return standin


def _describe(error: BaseException) -> str:
    text = format_remote_traceback(error)
    return text if len(text) <= _MAX_TRACEBACK_CHARS else text[:_MAX_TRACEBACK_CHARS] + " ..."


def _picklable(value: Any) -> Any:
    """The value, or its `repr` when it cannot be pickled and loaded."""
    try:
        pickle.loads(_dumps(value))
    except Exception:
        try:
            return repr(value)
        except Exception:
            return f"<{type(value).__name__}>"
    return value
