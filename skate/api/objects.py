"""`get`, `put`, `wait` and what else is done to references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from ..client import current
from ..client.refs import ObjectRef, ObjectRefGenerator
from ..exceptions import GetTimeoutError
from .lifecycle import get_runtime

if TYPE_CHECKING:
    from .actors import ActorHandle

T = TypeVar("T")
ID_DIGITS = 32
_W = TypeVar("_W", bound="ObjectRef[Any] | ObjectRefGenerator[Any]")


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(refs: list[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...
@overload
def get(refs: Sequence[ObjectRef[Any]], *, timeout: float | None = None) -> list[Any]: ...
@overload
def get(refs: ObjectRefGenerator[T], *, timeout: float | None = None) -> ObjectRefGenerator[T]: ...
def get(refs: Any, *, timeout: float | None = None) -> Any:
    """Wait for objects and return their values.

    Args:
        refs: one reference, or a list of them; the same one may stand in the list twice.
        timeout: seconds to wait; None waits without limit, 0 does not wait.

    Returns:
        The value, or the list of values in the order of the references.

    Raises:
        GetTimeoutError: they were not all there in time.
        Exception: what the task raised, as its own type and as `RayTaskError`. The first error found is
            raised at once, without waiting for the rest of the list.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> skate.get([skate.put(1), skate.put(2)])
        [1, 2]
        >>> skate.shutdown()
    """
    if timeout is not None:
        timeout = _seconds(timeout)
    if type(refs) is ObjectRef:
        return refs._runtime.get((refs,), timeout)[0]
    if type(refs) is list:
        for ref in refs:
            if type(ref) is not ObjectRef:
                _not_a_ref(ref, "get", "a list with")
        return refs[0]._runtime.get(refs, timeout) if refs else []
    if isinstance(refs, ObjectRefGenerator):
        return refs
    if isinstance(refs, list):
        return get(list(refs), timeout=timeout)
    raise ValueError(f"get() needs an ObjectRef or a list of them, not {_describe(refs)}.")


def put(value: T) -> ObjectRef[T]:
    """Store a value; pass the reference to many tasks to send the value once.

    Args:
        value: anything that can be pickled; it is copied.

    Raises:
        TypeError: the value is a reference already, or cannot be pickled.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> skate.get(skate.put("x"))
        'x'
        >>> skate.shutdown()
    """
    if type(value) is ObjectRef:
        raise TypeError("put() of an ObjectRef: its value is stored already. Pass the reference itself.")
    runtime = current.runtime
    if runtime is None:
        runtime = get_runtime()
    return runtime.put(value)


def wait(
    ray_waitables: list[_W], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[_W], list[_W]]:
    """Wait until some of the references are done.

    Args:
        ray_waitables: a list of references and generators, each once. A generator is done when it has an item.
        num_returns: how many to wait for, and the most that the first list holds.
        timeout: seconds to wait; None waits without limit, 0 does not wait.
        fetch_local: wait until the values are on this node too.

    Returns:
        (done, rest), both in the order of the argument. A task that failed is done.

    Raises:
        TypeError: something else than a list of references.
        ValueError: a reference stands in the list twice, or `num_returns` is not between 1 and its length.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> done, rest = skate.wait([skate.put(1), skate.put(2)])
        >>> len(done), len(rest)
        (1, 1)
        >>> skate.shutdown()
    """
    if not isinstance(ray_waitables, list):
        raise TypeError(f"wait() needs a list of ObjectRefs and ObjectRefGenerators, not {_describe(ray_waitables)}.")
    if timeout is not None:
        timeout = _seconds(timeout, "wait")
    if not ray_waitables:
        return [], []
    if list(map(type, ray_waitables)).count(ObjectRef) != len(ray_waitables):  # the fastest way to look at all of them
        for each in ray_waitables:
            if type(each) is not ObjectRef and not isinstance(each, ObjectRefGenerator):
                _not_a_ref(each, "wait", "a list with")
    if len(set(ray_waitables)) != len(ray_waitables):
        raise ValueError("wait() needs each reference once, but one stands in the list twice.")
    if isinstance(num_returns, bool) or not isinstance(num_returns, int):
        raise TypeError(f"num_returns must be an int, not {num_returns!r}.")
    if not 1 <= num_returns <= len(ray_waitables):
        raise ValueError(
            f"num_returns must be between 1 and the number of references, {len(ray_waitables)}, not {num_returns}."
        )
    return ray_waitables[0]._runtime.wait(ray_waitables, num_returns, timeout, fetch_local)


def cancel(
    ray_waitable: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True
) -> None:
    """Cancel a task or an actor call; nothing happens when it is done.

    Args:
        ray_waitable: what its `.remote()` returned.
        force: kill the worker that runs it, rather than raise KeyboardInterrupt in it.
        recursive: cancel the tasks that it started, too.

    Raises:
        TypeError: something else than a reference.
        ValueError: `force` for an actor's call.
    """
    if type(ray_waitable) is not ObjectRef and not isinstance(ray_waitable, ObjectRefGenerator):
        _not_a_ref(ray_waitable, "cancel", "")
    ray_waitable._runtime.cancel(ray_waitable, bool(force), bool(recursive))


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """End an actor at once; its unfinished calls raise `ActorDiedError`.

    Args:
        actor: a handle.
        no_restart: False starts it again if its `max_restarts` allows that.

    Raises:
        ValueError: something else than a handle.
    """
    from .actors import ActorHandle, actor_ref

    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill() needs an actor's handle, not {_describe(actor)}. Tasks are ended with cancel().")
    ref = actor_ref(actor)
    ref._runtime.kill(ref, bool(no_restart))


def as_completed(refs: Iterable[ObjectRef[T]], timeout: float | None = None) -> Iterator[ObjectRef[T]]:
    """The references in the order in which they get done, each once.

    Args:
        refs: references.
        timeout: seconds from the first `next()` until the last is done; None is without limit.

    Raises:
        GetTimeoutError: not all were done in time.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> sorted(skate.get(ref) for ref in skate.as_completed([skate.put(1), skate.put(2)]))
        [1, 2]
        >>> skate.shutdown()
    """
    unique = list(dict.fromkeys(refs))
    for ref in unique:
        if type(ref) is not ObjectRef:
            _not_a_ref(ref, "as_completed", "a list with")
    return _as_completed(unique, None if timeout is None else _seconds(timeout, "as_completed"))


def _as_completed(unique: list[ObjectRef[T]], timeout: float | None) -> Iterator[ObjectRef[T]]:
    import queue
    import time

    done: queue.SimpleQueue[ObjectRef[T]] = queue.SimpleQueue()
    deadline = None if timeout is None else time.monotonic() + timeout
    for ref in unique:
        ref._runtime.on_done(ref, done.put, quick=True)
    for left in range(len(unique), 0, -1):
        try:
            yield done.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise GetTimeoutError(f"{left} of {len(unique)} references were not done within {timeout} s.") from None


def why(what: ObjectRef[Any] | ObjectRefGenerator[Any] | ActorHandle[Any] | str) -> str:
    """Why something is not done, in one line: what it waits for, what that waits for, and so on, on whatever node that is.

    A circle is named as a deadlock, with its members. Of what is dead the line says how it ended.

    Args:
        what: a reference, a generator, an actor, or the id of a task, an object or an actor, in hexadecimal.

    Raises:
        TypeError: it is none of these.
        ValueError: it is no id.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> "done" in skate.why(skate.put(1))
        True
        >>> skate.shutdown()
    """
    if type(what) is ObjectRef:
        return what._runtime.why(what)
    if type(what) is ObjectRefGenerator:
        return what._runtime.why(what.completed())
    actor = getattr(what, "_actor_id", None)
    ident = actor.hex() if isinstance(actor, bytes) else what
    if not isinstance(ident, str):
        _not_a_ref(what, "why", "")
    if len(ident) != ID_DIGITS or not set(ident) <= set("0123456789abcdef"):
        raise ValueError(f"why() needs an id of {ID_DIGITS} hexadecimal digits, not {ident!r}.")
    return get_runtime().why(str(ident))  # an id may be of a class of ours


def _seconds(timeout: Any, caller: str = "get") -> float | None:
    if not isinstance(timeout, bool) and isinstance(timeout, (int, float)):
        seconds = float(timeout)
    else:
        try:
            seconds = float(timeout)  # numpy numbers
        except (TypeError, ValueError):
            raise TypeError(f"The timeout of {caller}() is a number of seconds or None, not {timeout!r}.") from None
    if seconds == -1 and caller == "get":
        return None  # Ray's older way to say "no limit"
    if seconds < 0 or seconds != seconds:
        raise ValueError(f"The timeout of {caller}() must be 0 or more, not {timeout!r}.")
    return seconds


def _not_a_ref(value: Any, caller: str, container: str) -> NoReturn:
    place = f"{container} " if container else ""
    raise TypeError(f"{caller}() needs ObjectRefs, not {place}{_describe(value)}.")


def _describe(value: Any) -> str:
    kind = type(value).__name__
    hints = {
        "RemoteFunction": "call its .remote() first",
        "ActorMethod": "call its .remote() first",
        "ActorHandle": "call one of its methods with .remote()",
        "ActorClass": "make an actor with .remote() and call its methods",
        "coroutine": "await it instead",
        "tuple": "make it a list",
        "set": "make it a list",
        "list": "flatten it",
        "generator": "make it a list",
    }
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    return f"{article} {kind}" + (f" ({hints[kind]})" if kind in hints else "")
