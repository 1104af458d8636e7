"""Every exception that skate raises on its own account, under the names that Ray programs catch.

The error of a task has to arrive as two things at once: as `RayTaskError` (alias `TaskError`), which carries
the traceback of the process where it happened, and as the type that the user's code raised, so that
`except ValueError` works across processes. `RayTaskError.as_instanceof_cause` makes a class with both bases,
once per cause class; where Python refuses such a class (a final class, a conflicting metaclass or layout) the
plain `RayTaskError` is raised, with the original in `.cause`.

INV-1: every exception survives pickling with its attributes, whatever its `__init__` looks like: `__reduce__`
rebuilds from `args` and `__dict__` and never calls `__init__`.
INV-2: the text is complete in `args[0]`, made when the error is made; `str()` looks nothing up.

This module is imported by every process, so it imports nothing heavy.
"""

from __future__ import annotations

from typing import Any

_HEAP_TYPE = 1 << 9
"""The flag that marks classes made at run time; the others are CPython's own static types."""
_OF_SHELL = 128
"""A shell's own exit code is this and the number of the signal that has ended what it ran."""

_OWN_MEMBERS = frozenset(
    {"__dict__", "__weakref__", "__traceback__", "__cause__", "__context__", "__suppress_context__"}
)


def restore_exception(
    cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any], members: dict[str, Any] | None = None
) -> BaseException:
    """Rebuild an exception without running its `__init__`."""
    error = static_base(cls).__new__(cls, *args)
    object.__setattr__(error, "args", args)
    if members:
        copy_members(members, error)
    error.__dict__.update(state)
    return error


def restore_group(
    cls: type[BaseExceptionGroup[Any]], message: str, exceptions: list[BaseException], state: dict[str, Any]
) -> BaseExceptionGroup[Any]:
    """Rebuild an exception group without running its `__new__` and `__init__`, which may have arguments of their own."""
    group: BaseExceptionGroup[Any] = BaseExceptionGroup.__new__(cls, message, exceptions)
    group.__dict__.update(state)
    return group


def static_base(cls: type[BaseException]) -> type[BaseException]:
    """The first base that CPython implements in C: only its `__new__` may allocate the object."""
    for base in cls.__mro__:
        if not base.__flags__ & _HEAP_TYPE:
            return base
    return BaseException


def describe_death(
    exit_signal: int | str | None, exit_code: int | None, memory_bytes: int | None, last_output: list[str] | None
) -> str:
    """What is known of how a process ended, as a text to append to a message; "" if nothing is."""
    parts = []
    if exit_signal:
        parts.append(f"signal {describe_signal(exit_signal)}")
    if exit_code is not None:
        parts.append(f"exit code {describe_code(exit_code)}")
    if memory_bytes:
        parts.append(f"{memory_bytes / 1e6:.0f} MB of memory in use")
    text = f" ({', '.join(parts)})" if parts else ""
    if last_output:
        text += "\nIts last lines of output:\n" + "\n".join(f"    {line}" for line in last_output)
    return text


def describe_code(code: int) -> str:
    """An exit code, with what a shell means by it: 128 and the number of the signal that has ended what it ran.

    Example:
        >>> describe_code(139), describe_code(3)
        ('139 (128 + 11: SIGSEGV)', '3')
    """
    name = signal_name(code - _OF_SHELL) if code > _OF_SHELL else ""
    return str(code) + (f" ({_OF_SHELL} + {code - _OF_SHELL}: {name})" if name else "")


def describe_signal(number: int | str) -> str:
    """A signal by number and name: "11 (SIGSEGV)"."""
    name = signal_name(number) if isinstance(number, int) else ""
    return f"{number} ({name})" if name else str(number)


def signal_name(number: int) -> str:
    """The name of a signal; "": there is none."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


class RayError(Exception):
    """The base of all errors that skate raises on its own account (alias `SkateError`)."""

    def __reduce__(self) -> tuple[Any, ...]:
        return restore_exception, (type(self), self.args, self.__dict__)


class UnsupportedError(RayError, NotImplementedError):
    """The program asks for something of Ray's interface that skate does not do."""


class CrossLanguageError(RayError):
    """A call into a program of another language failed."""


class TaskCancelledError(RayError):
    """The task was cancelled, before or while it ran.

    Attributes:
        task_id: hexadecimal id of the task, or "".
    """

    def __init__(self, task_id: Any = "", error_message: str | None = None) -> None:
        if isinstance(task_id, bytes):
            task_id = task_id.hex()
        self.task_id: str = str(task_id or "")
        name = f"Task {self.task_id}" if self.task_id else "The task"
        super().__init__(error_message or f"{name} was cancelled.")


class RayTaskError(RayError):
    """The function of a task or the method of an actor raised an exception.

    Attributes:
        function_name: what ran.
        traceback_str: the traceback of the process in which it ran.
        cause: the exception itself; None when it could not be brought here.
        pid: the process in which it ran, 0 if unknown.
        task_id: hexadecimal id of the task, or "".
        cause_type: name of the exception's type, also when `cause` is None.
    """

    function_name: str
    traceback_str: str
    cause: BaseException | None
    pid: int
    task_id: str
    cause_type: str

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException | None = None,
        pid: int = 0,
        task_id: str = "",
        cause_type: str = "",
    ) -> None:
        where = ", ".join(([f"pid={pid}"] if pid else []) + ([f"task {task_id}"] if task_id else []))
        super().__init__(f"{function_name}() failed{f' ({where})' if where else ''}:\n{traceback_str.rstrip()}")
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.pid = pid
        self.task_id = task_id
        self.cause_type = cause_type or (type(cause).__name__ if cause is not None else "")

    def __str__(self) -> str:
        # A dual instance has the cause's `args`, so the text is kept beside them.
        text = self.__dict__.get("_text")
        return text if isinstance(text, str) else str(self.args[0] if self.args else "")

    def as_instanceof_cause(self) -> RayTaskError:
        """A new exception with the same content that is also an instance of the cause's class, where possible."""
        cause = self.cause
        if cause is None or isinstance(cause, RayTaskError) or not isinstance(cause, Exception):
            return self._plain_copy()
        dual = _dual_class(type(cause))
        if dual is None:
            return self._plain_copy()
        try:
            return _fill_dual(dual, self, cause)
        except Exception:
            return self._plain_copy()

    def _plain_copy(self) -> RayTaskError:
        return _make_task_error(self._content(), False)

    def _content(self) -> tuple[Any, ...]:
        state = self.__dict__
        return (
            state["function_name"],
            state["traceback_str"],
            state["cause"],
            state["pid"],
            state["task_id"],
            state["cause_type"],
            list(state.get("__notes__", ())),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_task_error, (self._content(), type(self) is not RayTaskError)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return RayTaskError.__reduce__(self)


def _make_task_error(content: tuple[Any, ...], dual: bool) -> RayTaskError:
    *fields, notes = content
    error = RayTaskError(*fields)
    if dual:
        error = error.as_instanceof_cause()
    known = error.__dict__.get("__notes__", ())
    for note in notes:
        if note not in known:
            error.add_note(note)
    return error


_dual_classes: dict[type, type[RayTaskError] | None] = {}
"""Cause class to the class with both bases; None where there can be none."""

_MAX_DUAL_CLASSES = 1000
"""A task may raise a class that it defines anew each time; those must not pile up in the driver."""


def _dual_class(cause_class: type[Exception]) -> type[RayTaskError] | None:
    try:
        return _dual_classes[cause_class]
    except KeyError:
        pass
    dual: type[RayTaskError] | None
    try:
        namespace = {"__module__": __name__, "__doc__": f"A task raised {cause_class.__name__}."}
        metaclass: Any = type(cause_class)
        dual = metaclass(f"RayTaskError({cause_class.__name__})", (RayTaskError, cause_class), namespace)
    except Exception:
        dual = None
    if len(_dual_classes) >= _MAX_DUAL_CLASSES:
        _dual_classes.clear()
    _dual_classes[cause_class] = dual
    return dual


def _fill_dual(dual: type[RayTaskError], error: RayTaskError, cause: Exception) -> RayTaskError:
    """An instance of `dual` with the cause's state and the task error's, made without running any `__init__`."""
    made = static_base(dual).__new__(dual, *cause.args)
    assert isinstance(made, RayTaskError)
    object.__setattr__(made, "args", cause.args)
    copy_members(members_of(cause), made)
    state = made.__dict__
    state.update(cause.__dict__)
    state.update({name: value for name, value in error.__dict__.items() if name != "__notes__"})
    state["_text"] = str(error)
    return made


def copy_members(members: dict[str, Any], target: BaseException) -> None:
    """Set what lies in C fields and `__slots__` (`errno`, `filename`, ...) rather than in `__dict__`."""
    for name, value in members.items():
        try:
            object.__setattr__(target, name, value)
        except (AttributeError, TypeError, ValueError):
            continue  # a read-only field, filled by `__new__`


def members_of(error: BaseException) -> dict[str, Any]:
    """The values of an exception's C fields and `__slots__`, by name."""
    members: dict[str, Any] = {}
    for base in type(error).__mro__:
        if base is BaseException or base is object:
            continue
        for name, descriptor in vars(base).items():
            if name in _OWN_MEMBERS or type(descriptor).__name__ not in ("member_descriptor", "getset_descriptor"):
                continue
            try:
                members.setdefault(name, descriptor.__get__(error))
            except Exception:
                continue  # a slot that was never set
    return members


class LocalRayletDiedError(RayError):
    """The node process of this machine died."""


class WorkerCrashedError(RayError):
    """The worker that ran the task died: killed by a signal, out of memory, or by `os._exit`.

    Attributes:
        cause: what happened, in words.
        exit_signal: the signal that ended it, or None.
        exit_code: its exit code, or None.
        memory_bytes: its memory at death, or None.
        last_output: the last lines that it printed.
    """

    def __init__(
        self,
        cause: str = "The worker that ran the task died.",
        exit_signal: int | str | None = None,
        exit_code: int | None = None,
        memory_bytes: int | None = None,
        last_output: list[str] | None = None,
    ) -> None:
        super().__init__(cause + describe_death(exit_signal, exit_code, memory_bytes, last_output))
        self.cause = cause
        self.exit_signal = exit_signal
        self.exit_code = exit_code
        self.memory_bytes = memory_bytes
        self.last_output = list(last_output or ())


class OutOfMemoryError(WorkerCrashedError):
    """The worker was killed because its machine, or the limit of its container, ran out of memory."""


class RayActorError(RayError):
    """A call could not be completed because its actor is dead or cannot be reached (alias `ActorError`).

    Attributes:
        actor_id: hexadecimal id of the actor, or "".
        actor_init_failed: True when its `__init__` raised.
        preempted: True when its node was taken away.
    """

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = "The actor could not complete the call.",
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        super().__init__(error_msg)
        self.actor_id = actor_id or ""
        self.actor_init_failed = actor_init_failed
        self.preempted = preempted
        self.error_msg = error_msg


class ActorDiedError(RayActorError):
    """The actor is dead and will not be started again.

    Args:
        cause: why, in words; or the error that its `__init__` raised.
        actor_id: hexadecimal id of the actor.
        class_name: the actor's class.
        exit_signal, exit_code, memory_bytes, last_output: as in `WorkerCrashedError`.
    """

    def __init__(
        self,
        cause: str | BaseException | None = None,
        *,
        actor_id: str = "",
        class_name: str = "",
        exit_signal: int | str | None = None,
        exit_code: int | None = None,
        memory_bytes: int | None = None,
        last_output: list[str] | None = None,
    ) -> None:
        name = " ".join(part for part in (class_name, actor_id) if part)
        name = f"Actor {name}" if name else "The actor"
        if isinstance(cause, BaseException):
            text = f"{name} died: its __init__ raised an exception.\n{cause}"
        else:
            text = f"{name} died: {cause}" if cause else f"{name} died."
        text += describe_death(exit_signal, exit_code, memory_bytes, last_output)
        super().__init__(actor_id, text, actor_init_failed=isinstance(cause, BaseException))
        self.cause = cause
        self.class_name = class_name
        self.exit_signal = exit_signal
        self.exit_code = exit_code
        self.memory_bytes = memory_bytes
        self.last_output = list(last_output or ())


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached just now; a later call may succeed. Whether the call ran is not known."""

    def __init__(self, error_message: str = "The actor is unavailable.", actor_id: Any = "") -> None:
        super().__init__(actor_id.hex() if isinstance(actor_id, bytes) else actor_id, error_message)


class RaySystemError(RayError):
    """Something went wrong inside skate itself."""

    def __init__(self, client_exc: Any = "", traceback_str: str | None = None) -> None:
        super().__init__(f"{client_exc}\n{traceback_str}" if traceback_str else str(client_exc))
        self.traceback_str = traceback_str


class NotRunningError(RaySystemError, RuntimeError):
    """skate was shut down, or a reference or handle belongs to a session that has ended."""


class ClusterConnectionError(RayError, ConnectionError):
    """There is no cluster to connect to at the address."""


class AuthenticationError(RayError):
    """A peer did not prove that it knows the cluster's token."""


class UserCodeException(RayError):
    """The user's code raised an exception."""


class ObjectStoreFullError(RayError):
    """The object store has no room for an object, and nothing in it may be dropped."""


class OutOfDiskError(RayError):
    """The disk for spilled objects is full."""


class NodeDiedError(RayError):
    """The node that ran the task or held the object died."""


class RpcError(RayError):
    """A message between processes could not be delivered."""

    def __init__(self, message: str = "", rpc_code: int | None = None) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code


class ObjectLostError(RayError):
    """No copy of the object is left, and it cannot be made again.

    Attributes:
        object_ref_hex: hexadecimal id of the object, or "".
        reason: what happened, in words.
    """

    _default_reason = "every copy of it is lost"

    def __init__(self, object_ref_hex: str = "", reason: str = "") -> None:
        self.object_ref_hex = object_ref_hex
        self.reason = reason or self._default_reason
        super().__init__(f"Object {object_ref_hex or '(unknown)'} cannot be read: {self.reason}.")


class ObjectFetchTimedOutError(ObjectLostError):
    """The object exists, but could not be brought to this node in time."""

    _default_reason = "it could not be brought to this node in time"


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was dropped although a reference to it exists: a bug in skate."""

    _default_reason = "it was dropped although a reference exists, which is a bug in skate"


class ObjectFreedError(ObjectLostError):
    """The object was freed by request."""

    _default_reason = "it was freed by request"


class OwnerDiedError(ObjectLostError):
    """The process that was responsible for the object died."""

    _default_reason = "the process that was responsible for it died"


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost, and running its task again did not bring it back."""

    _default_reason = "it was lost, and running its task again did not bring it back"


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """The object was lost again and again, more often than its task may be retried."""

    _default_reason = "it was lost more often than its task may be retried"


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """The object was lost, and how it was made is no longer known."""

    _default_reason = "it was lost, and how it was made is no longer known"


class GetTimeoutError(RayError, TimeoutError):
    """The objects were not there within the timeout of `get`."""


class PlasmaObjectNotAvailable(RayError):
    """The object is not in the store of this node."""


class AsyncioActorExit(RayError):
    """Raised to end an async actor; not seen by users."""


class RuntimeEnvSetupError(RayError):
    """The runtime environment of a task or an actor could not be set up."""

    def __init__(self, error_message: str | None = None) -> None:
        super().__init__(f"The runtime environment could not be set up: {error_message or 'no reason is known'}")
        self.error_message = error_message


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""


class ActorPlacementGroupRemoved(RayError):
    """The placement group of the actor was removed."""


class PendingCallsLimitExceeded(RayError):
    """The handle has `max_pending_calls` unfinished calls already."""


class TaskUnschedulableError(RayError):
    """No node could ever run the task: the message says what it asks for and what exists."""

    def __init__(self, error_message: str = "") -> None:
        super().__init__(error_message)
        self.error_message = error_message


class ActorUnschedulableError(RayError):
    """No node could ever run the actor: the message says what it asks for and what exists."""

    def __init__(self, error_message: str = "") -> None:
        super().__init__(error_message)
        self.error_message = error_message


class ObjectRefStreamEndOfStreamError(RayError):
    """There are no more items in the stream."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator that was run again yielded other items than the first time."""


class OutOfBandObjectRefSerializationError(RayError):
    """A reference was pickled outside of a task, where nobody can keep its object alive."""


class RayChannelError(RaySystemError):
    """A channel between actors failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel between actors did not answer in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has too many executions in flight."""


class RayDirectTransportError(RaySystemError):
    """A direct transfer between devices failed."""


class UnserializableException(RayError):
    """The error of a task could not be brought here; the text is its traceback."""

    def __init__(self, original_stack_trace: str = "") -> None:
        super().__init__(f"The task's exception could not be unpickled. Its traceback:\n{original_stack_trace}")
        self.original_stack_trace = original_stack_trace


class ActorAlreadyExistsError(ValueError, RayError):
    """There is an actor of that name in the namespace already."""

    __reduce__ = RayError.__reduce__


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to another session, or its actor was never created."""

    __reduce__ = RayError.__reduce__


SkateError = RayError
TaskError = RayTaskError
ActorError = RayActorError
OufOfBandObjectRefSerializationException = OutOfBandObjectRefSerializationError  # Ray's spelling

RAY_EXCEPTION_TYPES = [
    each for each in list(globals().values()) if isinstance(each, type) and issubclass(each, RayError)
]
