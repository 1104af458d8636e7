"""A `concurrent.futures.Executor` whose calls run as tasks of the cluster."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as _Executor, Future, wait
from typing import Any, ParamSpec, TypeVar

from ..client.refs import ObjectRef
from .decorator import make_remote
from .functions import RemoteFunction
from .lifecycle import get_runtime

P = ParamSpec("P")
T = TypeVar("T")

_MAX_FUNCTIONS = 256
"""Remote functions remembered by an executor; one made of a lambda in a loop must not pile up."""


class TaskFuture(Future[T]):
    """The future of a submitted call. `cancel` also cancels a task that runs."""

    _ref: ObjectRef[Any] | None = None

    def cancel(self) -> bool:
        """Cancel the call; False if it is done."""
        cancelled = super().cancel()
        ref = self._ref
        if cancelled and ref is not None:
            ref._runtime.cancel(ref, False, True)
        return cancelled


class Executor(_Executor):
    """Runs calls as tasks.

    Args:
        max_workers: calls at the same time; None leaves that to the cluster.
        options: options of the tasks, as for `skate.remote`.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> with skate.Executor() as executor:
        ...     executor.submit(pow, 2, 5).result()
        32
        >>> skate.shutdown()
    """

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        if max_workers is not None and (isinstance(max_workers, bool) or not isinstance(max_workers, int)):
            raise TypeError(f"max_workers must be an int or None, not {max_workers!r}.")
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be 1 or more, not {max_workers!r}.")
        if options.get("num_returns", 1) != 1:
            raise ValueError("An Executor's calls have one result each: num_returns is not an option of it.")
        self._max_workers = max_workers
        self._options = options
        self._functions: dict[Any, RemoteFunction[..., Any]] = {}
        self._lock = threading.RLock()
        self._waiting: deque[tuple[TaskFuture[Any], Any, tuple[Any, ...], dict[str, Any]]] = deque()
        self._unfinished: set[TaskFuture[Any]] = set()
        self._running = 0
        self._closed = False
        make_remote(_check_options, options)  # wrong options fail here, not at the first call
        get_runtime()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` as a task.

        Raises:
            RuntimeError: the executor was shut down.
            TypeError: the arguments don't fit the function.
        """
        function = self._remote(fn)
        future: TaskFuture[T] = TaskFuture()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._unfinished.add(future)
            if self._max_workers is not None and self._running >= self._max_workers:
                self._waiting.append((future, function, args, kwargs))
                return future
            self._running += 1
        try:
            self._start(future, function, args, kwargs)
        except BaseException:
            with self._lock:
                self._unfinished.discard(future)
                self._running -= 1
            raise
        return future

    def _remote(self, fn: Callable[..., Any]) -> RemoteFunction[..., Any]:
        if isinstance(fn, RemoteFunction):
            return fn.options(**self._options) if self._options else fn
        try:
            function = self._functions.get(fn)
        except TypeError:  # a callable that cannot be hashed
            return RemoteFunction(fn, self._options)
        if function is None:
            if len(self._functions) >= _MAX_FUNCTIONS:
                self._functions.clear()
            function = self._functions[fn] = RemoteFunction(fn, {**self._options, "num_returns": 1})
        return function

    def _start(
        self, future: TaskFuture[Any], function: RemoteFunction[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        ref: ObjectRef[Any] = function.remote(*args, **kwargs)
        future._ref = ref
        ref._runtime.on_done(ref, lambda ref: self._finish(future, ref))

    def _finish(self, future: TaskFuture[Any], ref: ObjectRef[Any]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                value = ref._runtime.get((ref,), None)[0]
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)
        future._ref = None
        self._next(future)

    def _next(self, finished: TaskFuture[Any]) -> None:
        """A call has ended: start one that waits."""
        with self._lock:
            self._unfinished.discard(finished)
            self._running -= 1
            while self._waiting:
                future, function, args, kwargs = self._waiting.popleft()
                if future.cancelled():
                    future.set_running_or_notify_cancel()
                    self._unfinished.discard(future)
                    continue
                self._running += 1
                break
            else:
                return
        try:
            self._start(future, function, args, kwargs)
        except BaseException as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            self._next(future)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **later: Any,
    ) -> Iterator[T]:
        """As the built-in `map`, with calls started at once.

        Args:
            fn, iterables: the function, and one iterable per parameter.
            timeout: seconds for all results together, from now; None is without limit.
            chunksize: items per task.
            later: arguments that newer Pythons have, such as `buffersize`.

        Raises:
            TimeoutError: from `next()`, when a result is not there in time.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **later)
        rows = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(rows, chunksize)), [])
        name = str(getattr(fn, "__name__", type(fn).__name__))
        body = fn.__wrapped__ if isinstance(fn, RemoteFunction) else fn
        results = super().map(_ChunkCall(body, name), chunks, timeout=timeout, **later)
        return itertools.chain.from_iterable(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        Args:
            wait: return when all calls have ended.
            cancel_futures: cancel those that have not ended.
        """
        with self._lock:
            self._closed = True
            unfinished = list(self._unfinished)
        if cancel_futures:
            for future in unfinished:
                future.cancel()
        if wait:
            _wait([future for future in unfinished if not future.cancelled()])


class _ChunkCall:
    """`fn` over a list of argument tuples."""

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        self.fn = fn
        self.__name__ = name

    def __call__(self, rows: list[tuple[Any, ...]]) -> list[Any]:
        return [self.fn(*row) for row in rows]

    def __hash__(self) -> int:
        return hash(self.fn)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ChunkCall) and self.fn == other.fn


def _wait(futures: list[TaskFuture[Any]]) -> None:
    wait(futures)


def _check_options() -> None:
    """Stands for the functions to come while the options are checked."""
