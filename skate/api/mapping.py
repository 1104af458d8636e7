"""`f.map(...)`: a remote function over many items, in chunks whose size follows from measurement.

A task costs tens of microseconds; an item may cost less. So items travel in chunks, and a chunk should take some tens
of milliseconds: long enough to make the cost of a task vanish, short enough to share the work evenly. The
first chunks hold one item; every chunk that comes back tells what an item costs; chunks grow by a bounded
factor, so that a cheap beginning cannot lead to a huge chunk of expensive items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec.structs import replace

from ..client import current
from ..client.errors import to_raise, unpack_error
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
"""When the number of items is known: at least this many chunks per CPU, so that the last ones end together;"""
_PART_SECONDS = 0.001
"""but none that take less than this."""


class ChunkSizer:
    """How many items go into the next chunk, and how many chunks may be in flight. Pure arithmetic.

    Args:
        fixed: the chunk size the user asked for, or 0.
        cpus: how many chunks run at the same time.
        total: the number of items if it is known.
        in_flight: the bound the user asked for, or 0.
        per_item: seconds that an item took when the same function was mapped before, or 0.
    """

    def __init__(self, fixed: int, cpus: int, total: int | None, in_flight: int, per_item: float = 0.0) -> None:
        self._fixed = fixed
        self._cpus = cpus
        self._in_flight = in_flight
        self._total = total
        self.per_item = per_item
        self._size = max(1, min(self._wanted() // GROWTH, self._most())) if per_item else 1

    def measured(self, items: int, seconds: float) -> None:
        """A chunk came back."""
        if not items:
            return
        cost = seconds / items
        self.per_item = cost if not self.per_item else 0.5 * (self.per_item + cost)
        self._size = max(1, min(self._wanted(), self._size * GROWTH, self._most()))

    def _wanted(self) -> int:
        return int(TARGET_SECONDS / max(self.per_item, 1e-9))

    def _most(self) -> int:
        """Items in the largest chunk: there should be several for each CPU, unless all of them are soon done."""
        if self._total is None:
            return CHUNK_ITEMS_MAX
        seconds = self._total * self.per_item / self._cpus
        parts = max(1, min(_PARTS_PER_CPU, int(seconds / _PART_SECONDS)))
        return max(1, min(CHUNK_ITEMS_MAX, -(-self._total // (self._cpus * parts))))

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
        seconds = self.per_item * self.size
        if not seconds or (not self._fixed and self._size < min(self._wanted(), self._most())):
            return least  # chunks still grow: many small ones ahead would only be in the way
        return max(least, min(IN_FLIGHT_MAX, int(AHEAD_SECONDS * self._cpus / seconds)))


class _Source:
    """Cuts the iterables into chunks of arguments, each ready to be submitted."""

    def __init__(self, iterables: tuple[Iterable[Any], ...]) -> None:
        self._width = len(iterables)
        first = iterables[0]
        # A slice of a range is a range: it is made, pickled and sent in no time.
        self._range = first if self._width == 1 and type(first) is range else None
        self._items: Iterator[Any] = iter(first) if self._width == 1 else zip(*iterables, strict=False)

    def take(self, size: int) -> tuple[Any, ...]:
        """The arguments of a `ChunkFunction` for up to `size` items; () at the end."""
        if self._range is not None:
            items, self._range = self._range[:size], self._range[size:]
            return (0, items) if items else ()
        chunk = list(islice(self._items, size))
        if not chunk:
            return ()
        if self._width == 1:
            return (1, *chunk) if ObjectRef in set(map(type, chunk)) else (0, chunk)
        if any(ObjectRef in map(type, row) for row in chunk):
            return (self._width, *chain.from_iterable(chunk))
        return (-1, chunk)

    def stop(self) -> None:
        """Give no more items."""
        self._range, self._items = None, iter(())


class _Chunks:
    """The chunks under way: submits, reads, and cancels those not read when it is dropped."""

    def __init__(self, runtime: Runtime, spec: FunctionSpec, sizer: ChunkSizer, source: _Source, ordered: bool) -> None:
        self._runtime = runtime
        self._spec = spec
        self._sizer = sizer
        self._source = source
        self._ordered = ordered
        self._in_flight: deque[ObjectRef[ChunkResult]] = deque()
        self._submit()

    def results(self) -> Iterator[list[Any]]:
        """The results, chunk by chunk; raises the error of the first item that failed."""
        while self._in_flight:
            try:
                result = self._read()
                self._sizer.measured(len(result.values), result.seconds)
                _cost(self._spec).per_item = self._sizer.per_item
                if result.error is None:
                    self._submit()
            except BaseException:
                self.close()
                raise
            yield result.values
            if result.error is not None:
                self.close()
                raise to_raise(unpack_error(result.error))

    def _read(self) -> ChunkResult:
        if self._ordered:
            ref = self._in_flight.popleft()
        else:
            (ref,), rest = self._runtime.wait(list(self._in_flight), 1, None, True)
            self._in_flight = deque(rest)
        result: ChunkResult = self._runtime.get((ref,), None)[0]
        return result

    def _submit(self) -> None:
        while len(self._in_flight) < self._sizer.window:
            args = self._source.take(self._sizer.size)
            if not args:
                return
            self._in_flight.append(self._runtime.submit(self._spec, args, {}))

    def close(self) -> None:
        """Take no more items, and cancel what is under way."""
        self._source.stop()
        while self._in_flight:
            self._runtime.cancel(self._in_flight.popleft(), False, True)

    def __del__(self) -> None:
        if getattr(self, "_in_flight", None) and current.runtime is self._runtime:
            self.close()


class MapIterator(Generic[R]):
    """The results of `f.map(...)`. `close()` or dropping it cancels what has been started and not read.

    The items come out of a C iterator over the chunks, which `iter()` hands out, so that reading a result costs
    nothing in Python. It holds the chunks, and nothing holds it but this object and a loop over it: so the chunks know
    at once when nobody reads any more.
    """

    def __init__(
        self,
        function: RemoteFunction[..., R],
        iterables: tuple[Iterable[Any], ...],
        chunk_size: int | str,
        ordered: bool,
        max_in_flight: int | None,
    ) -> None:
        fixed = _check_chunk_size(chunk_size)
        if max_in_flight is not None:
            if isinstance(max_in_flight, bool) or not isinstance(max_in_flight, int):
                raise TypeError(f"max_in_flight must be an int or None, not {max_in_flight!r}.")
            if max_in_flight < 1:
                raise ValueError(f"max_in_flight must be 1 or more, not {max_in_flight!r}.")
        if not iterables:
            raise TypeError("map() needs at least one iterable.")
        arity = function._arity
        if not arity.low <= len(iterables) <= arity.high:
            arity.check(function.__name__, tuple(iterables), {})
        runtime = function._prepare()
        cpus = max(1, int(runtime.cluster_resources().get("CPU", 1)))
        spec = _chunk_spec(function)
        sizer = ChunkSizer(fixed, cpus, _length(iterables), max_in_flight or 0, _cost(spec).per_item)
        self._chunks = _Chunks(runtime, spec, sizer, _Source(iterables), ordered)
        self._results: Iterator[R] = chain.from_iterable(self._chunks.results())

    def __iter__(self) -> Iterator[R]:
        return self._results

    def __next__(self) -> R:
        return next(self._results)

    def close(self) -> None:
        """Cancel the tasks whose results have not been read; the iteration ends with what is at hand."""
        self._chunks.close()

    def __enter__(self) -> MapIterator[R]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _chunk_spec(function: RemoteFunction[..., Any]) -> FunctionSpec:
    spec: FunctionSpec | None = getattr(function, "_chunk_spec", None)
    if spec is None:
        own = function._spec
        body = ChunkFunction(own.function, function.__name__, bool(own.options.retry_exceptions))
        spec = FunctionSpec(body, replace(own.options, num_returns=1))
        function._chunk_spec = spec  # type: ignore[attr-defined]
    return spec


def _cost(spec: FunctionSpec) -> ChunkFunction:
    """What remembers the cost of an item from one `map` to the next."""
    assert isinstance(spec.function, ChunkFunction)
    return spec.function


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
