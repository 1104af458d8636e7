"""`f.map(...)`: a remote function over many items, in chunks whose size follows from measurement.

A task costs tens of microseconds; an item may cost less. So items travel in chunks, and a chunk should take some tens
of milliseconds: long enough to make the cost of a task vanish, short enough to share the work evenly. The
first chunks hold one item; every chunk that comes back tells what an item costs; chunks grow by a bounded
factor, so that a cheap beginning cannot lead to a huge chunk of expensive items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..client.refs import ObjectRef
from ..client.specs import FunctionSpec
from .chunk import ChunkFunction, ChunkResult

if TYPE_CHECKING:
    from ..client.waist import Runtime
    from .functions import RemoteFunction

R = TypeVar("R")

TARGET_SECONDS = 0.03
"""What a chunk should take."""
AHEAD_SECONDS = 0.1
"""How much work per CPU should be in flight, so that no worker waits for the driver."""
GROWTH = 8
CHUNK_ITEMS_MAX = 10_000
"""Bounds the size of a message and the loss when a worker dies."""
IN_FLIGHT_MAX = 1000
_PARTS_PER_CPU = 4
"""When the number of items is known: at least this many chunks per CPU, so that the last ones end together."""


class ChunkSizer:
    """How many items go into the next chunk, and how many chunks may be in flight. Pure arithmetic.

    Args:
        fixed: the chunk size the user asked for, or 0.
        cpus: how many chunks run at the same time.
        total: the number of items if it is known.
        in_flight: the bound the user asked for, or 0.
    """

    def __init__(self, fixed: int, cpus: int, total: int | None, in_flight: int) -> None:
        self._fixed = fixed
        self._cpus = cpus
        self._in_flight = in_flight
        self._most = CHUNK_ITEMS_MAX
        if total is not None:
            self._most = max(1, min(CHUNK_ITEMS_MAX, total // (cpus * _PARTS_PER_CPU)))
        self._per_item = 0.0
        self._size = 1

    def measured(self, items: int, seconds: float) -> None:
        """A chunk came back."""
        if not items:
            return
        cost = seconds / items
        self._per_item = cost if not self._per_item else 0.5 * (self._per_item + cost)
        wanted = int(TARGET_SECONDS / max(self._per_item, 1e-9))
        self._size = max(1, min(wanted, self._size * GROWTH, self._most))

    @property
    def size(self) -> int:
        """Items for the next chunk."""
        return self._fixed or self._size

    @property
    def window(self) -> int:
        """Chunks that may be started and not yet read."""
        if self._in_flight:
            return self._in_flight
        least = 3 * self._cpus + 1
        seconds = self._per_item * self.size
        if not seconds:
            return least
        return max(least, min(IN_FLIGHT_MAX, int(AHEAD_SECONDS * self._cpus / seconds)))


class MapIterator(Generic[R]):
    """The results of `f.map(...)`. `close()` or dropping it cancels what has been started and not read."""

    def __init__(
        self,
        function: RemoteFunction[..., R],
        iterables: tuple[Iterable[Any], ...],
        chunk_size: int | str,
        ordered: bool,
        max_in_flight: int | None,
    ) -> None:
        self._in_flight: deque[ObjectRef[ChunkResult]] = deque()
        self._runtime: Runtime | None = None
        fixed = _check_chunk_size(chunk_size)
        if max_in_flight is not None and (isinstance(max_in_flight, bool) or not isinstance(max_in_flight, int)):
            raise TypeError(f"max_in_flight must be an int or None, not {max_in_flight!r}.")
        if max_in_flight is not None and max_in_flight < 1:
            raise ValueError(f"max_in_flight must be 1 or more, not {max_in_flight!r}.")
        if not iterables:
            raise TypeError("map() needs at least one iterable.")
        arity = function._arity
        if not arity.low <= len(iterables) <= arity.high:
            arity.check(function.__name__, tuple(iterables), {})
        self._runtime = function._prepare()
        self._spec = _chunk_spec(function)
        cpus = max(1, int(self._runtime.cluster_resources().get("CPU", 1)))
        self._sizer = ChunkSizer(fixed, cpus, _length(iterables), max_in_flight or 0)
        self._rows: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        self._width = len(iterables)
        self._ordered = ordered
        self._ready: deque[R] = deque()
        self._error: bytes | None = None
        self._fill()

    def __iter__(self) -> MapIterator[R]:
        return self

    def __next__(self) -> R:
        ready = self._ready
        while not ready:
            if self._error is not None:
                self._raise(self._error)
            if not self._in_flight:
                raise StopIteration
            self._read()
        return ready.popleft()

    def _read(self) -> None:
        """Take the results of the next chunk."""
        assert self._runtime is not None
        if self._ordered:
            ref = self._in_flight.popleft()
        else:
            (ref,), rest = self._runtime.wait(list(self._in_flight), 1, None, True)
            self._in_flight = deque(rest)
        try:
            result: ChunkResult = self._runtime.get((ref,), None)[0]
        except BaseException:
            self.close()
            raise
        self._ready.extend(result.values)
        self._error = result.error
        self._sizer.measured(len(result.values), result.seconds)
        if result.error is None:
            self._fill()

    def _fill(self) -> None:
        assert self._runtime is not None
        while len(self._in_flight) < self._sizer.window:
            try:
                rows = list(islice(self._rows, self._sizer.size))
            except BaseException:
                self.close()
                raise
            if not rows:
                return
            args: tuple[Any, ...] = (0, rows)
            if any(type(item) is ObjectRef for row in rows for item in row):
                args = (self._width, *(item for row in rows for item in row))
            self._in_flight.append(self._runtime.submit(self._spec, args, {}))

    def _raise(self, packed: bytes) -> None:
        from ..client.errors import to_raise, unpack_error

        self._error = None
        self.close()
        raise to_raise(unpack_error(packed))

    def close(self) -> None:
        """Cancel the tasks whose results have not been read; the iteration ends."""
        self._rows = iter(())
        runtime = self._runtime
        while self._in_flight:
            ref = self._in_flight.popleft()
            if runtime is not None:
                runtime.cancel(ref, False, True)

    def __enter__(self) -> MapIterator[R]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        from ..client import current

        if self._in_flight and current.runtime is self._runtime:
            self.close()


def _chunk_spec(function: RemoteFunction[..., Any]) -> FunctionSpec:
    spec: FunctionSpec | None = getattr(function, "_chunk_spec", None)
    if spec is None:
        own = function._spec
        body = ChunkFunction(own.function, function.__name__, bool(own.options.retry_exceptions))
        spec = FunctionSpec(body, replace(own.options, num_returns=1))
        function._chunk_spec = spec  # type: ignore[attr-defined]
    return spec


def _check_chunk_size(chunk_size: int | str) -> int:
    """The size, 0 for "auto"."""
    if chunk_size == "auto":
        return 0
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int):
        raise TypeError(f'chunk_size must be an int or "auto", not {chunk_size!r}.')
    if chunk_size < 1:
        raise ValueError(f'chunk_size must be 1 or more, or "auto", not {chunk_size!r}.')
    return chunk_size


def _length(iterables: tuple[Iterable[Any], ...]) -> int | None:
    lengths = [len(each) for each in iterables if hasattr(each, "__len__")]  # type: ignore[arg-type]
    return min(lengths) if lengths else None
