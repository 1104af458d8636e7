"""Hand work to whichever actor of a group is free."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ..api.objects import get, wait
from ..client.refs import ObjectRef
from ..exceptions import GetTimeoutError

V = TypeVar("V")


class ActorPool(Generic[V]):
    """A group of actors that do the same work.

    Args:
        actors: handles.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> @skate.remote
        ... class Doubler:
        ...     def double(self, x):
        ...         return 2 * x
        >>> pool = ActorPool([Doubler.remote(), Doubler.remote()])
        >>> list(pool.map(lambda actor, x: actor.double.remote(x), [1, 2, 3]))
        [2, 4, 6]
        >>> skate.shutdown()
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: list[Any] = list(actors)
        self._running: dict[ObjectRef[Any], tuple[int, Any]] = {}
        self._by_number: dict[int, ObjectRef[Any]] = {}
        self._waiting: deque[tuple[Callable[[Any, V], Any], V]] = deque()
        self._submitted = 0
        self._next = 0

    def submit(self, fn: Callable[[Any, V], Any], value: V) -> None:
        """Call `fn(actor, value)` with a free actor, now or when there is one.

        Args:
            fn: starts the work and returns its reference: `lambda actor, value: actor.work.remote(value)`.
            value: passed to `fn`.
        """
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        try:
            ref = fn(actor, value)
        except BaseException:
            self._idle.append(actor)
            raise
        self._running[ref] = (self._submitted, actor)
        self._by_number[self._submitted] = ref
        self._submitted += 1

    def has_next(self) -> bool:
        """True when there are results to get."""
        return bool(self._running)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submission.

        Args:
            timeout: seconds; None is without limit.
            ignore_if_timedout: skip the result when it is not there in time: its actor gets other work.

        Raises:
            StopIteration: there are no results left.
            TimeoutError: it was not there in time.
        """
        if not self.has_next():
            raise StopIteration("The pool has no more results to get.")
        while self._next not in self._by_number:  # taken by get_next_unordered
            self._next += 1
        ref = self._by_number[self._next]
        late = not wait([ref], timeout=timeout)[0]
        if late and not ignore_if_timedout:
            raise GetTimeoutError(f"The next result of the pool was not there within {timeout} s.")
        self._take(ref)
        if late:
            raise GetTimeoutError(f"The next result of the pool was not there within {timeout} s, and is skipped.")
        return get(ref)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The result that is done first.

        Args:
            timeout: seconds; None is without limit.
            ignore_if_timedout: as for `get_next`: one of the running calls is given up.

        Raises:
            StopIteration: there are no results left.
            TimeoutError: none was there in time.
        """
        if not self.has_next():
            raise StopIteration("The pool has no more results to get.")
        done, rest = wait(list(self._running), num_returns=1, timeout=timeout)
        if not done:
            if ignore_if_timedout:
                self._take(rest[0])
            raise GetTimeoutError(f"No result of the pool was there within {timeout} s.")
        self._take(done[0])
        return get(done[0])

    def _take(self, ref: ObjectRef[Any]) -> None:
        """The result is read: its actor is free."""
        number, actor = self._running.pop(ref)
        del self._by_number[number]
        self._free(actor)

    def _free(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())

    def map(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """The results of `fn(actor, value)` for all values, in their order. Earlier results are dropped."""
        self._drain()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """The results of `fn(actor, value)` for all values, as they get done. Earlier results are dropped."""
        self._drain()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    def _results(self, following: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield following()

    def _drain(self) -> None:
        """Let the work of an earlier map end, and drop its results."""
        while self.has_next():
            (ref,), _ = wait(list(self._running), num_returns=1)
            self._take(ref)

    def has_free(self) -> bool:
        """True when an actor is free and no work waits."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Take a free actor out of the pool; None when there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor.

        Raises:
            ValueError: it is in the pool already.
        """
        if actor in self._idle or any(actor == busy for _, busy in self._running.values()):
            raise ValueError("The actor is in the pool already.")
        self._free(actor)
