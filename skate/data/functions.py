"""The functions of users, as they are given to `map`, `map_batches`, `flat_map` and `filter`, and as tasks run them.

A function may be a plain one, an `async def` one, a generator, or a class: that is constructed once per worker process.
What it raises keeps its type and gets a note: which operator, which rows, and from which files.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from . import block as blocks
from .batches import from_batch, rebatch, to_batch
from .block import Block

Transform = Callable[[Iterator[Block]], Iterator[Block]]
"""What a task does with its blocks."""

ROWS = "the function must return a list of rows, dicts from column to value, or yield them"
ROWS_AT_ONCE = 1024
"""So many rows become Python objects at a time."""


class UserFunction:
    """A user's callable with its extra arguments.

    Args:
        fn: the callable, or a class of them.
        args, kwargs: for each call, after the row or batch.
        constructor_args, constructor_kwargs: for the class.
        copies: it changes its batches in place, so that it needs copies of them.

    Raises:
        TypeError: it is not callable, or there are constructor arguments without a class.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        constructor_args: Iterable[Any] = (),
        constructor_kwargs: Mapping[str, Any] | None = None,
        copies: bool = False,
    ) -> None:
        self.fn = fn
        self.copies = copies
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self.constructor_args = tuple(constructor_args)
        self.constructor_kwargs = dict(constructor_kwargs or {})
        self._instance: Any = None
        if not callable(fn):
            raise TypeError(f"fn must be a function or a class with __call__, not {type(fn).__name__}")
        if self.is_class and not callable(getattr(fn, "__call__", None)):  # noqa: B004  # of its instances
            raise TypeError(f"instances of {self.name} cannot be called: it needs a method __call__")
        if not self.is_class and (self.constructor_args or self.constructor_kwargs):
            raise TypeError("fn_constructor_args are for a class; fn is a function")

    @property
    def is_class(self) -> bool:
        """Whether it has to be constructed."""
        return inspect.isclass(self.fn)

    @property
    def name(self) -> str:
        """What it is called."""
        return getattr(self.fn, "__name__", None) or type(self.fn).__name__

    def ready(self) -> Callable[[Any], Any]:
        """The function of one argument. A class is constructed at the first call of this in a process."""
        fn = self.fn
        if self.is_class:
            if self._instance is None:
                self._instance = fn(*self.constructor_args, **self.constructor_kwargs)
            fn = self._instance
        if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
            import asyncio

            inner = fn
            fn = lambda *args, **kwargs: asyncio.run(inner(*args, **kwargs))  # noqa: E731
        if not self.args and not self.kwargs:
            return fn
        return lambda value: fn(value, *self.args, **self.kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_instance": None}


class Here(threading.local):
    """Where in the data a task is, for the errors of users' functions."""

    def __init__(self) -> None:
        self.files: tuple[str, ...] = ()
        self.task = 0
        """The number of the task among those of its operator."""
        self.row = 0
        """The number of a block's first row in what the operator of the task has seen."""

    def __reduce__(self) -> str:
        return "HERE"  # functions that are sent to workers find the one of their process and thread


HERE = Here()
"""Of this thread: a task runs one transform at a time, and datasets that are small run in the threads that ask for them."""


def explain(error: BaseException, what: str, first: int, block: Block) -> None:
    """Say in the error where it happened: at these rows, which begin with `first`. The innermost operator says it; those around
    it do not. If the error is about a key that is no column, it says which there are."""
    if getattr(error, "__skate_data__", False):
        return
    count = block.num_rows
    rows = f"row {first}" if count == 1 else f"rows {first} to {first + count - 1}"
    files = f", from {', '.join(HERE.files[:3])}" if HERE.files else ""
    error.add_note(f"raised in {what}, {rows} of the block{files}")
    if isinstance(error, KeyError) and error.args and error.args[0] not in block.column_names:
        error.add_note(f"the columns are {', '.join(map(repr, block.column_names)) or 'none'}")
    if isinstance(error, ValueError) and str(error).endswith("is read-only"):
        error.add_note("it may be a view of shared memory: copy it, or pass zero_copy_batch=False to map_batches")
    try:
        error.__skate_data__ = True  # type: ignore[attr-defined]
    except AttributeError:
        return  # it has no place for that: at worst it gets two notes


def batch_transform(function: UserFunction, size: int | None, batch_format: str, what: str) -> Transform:
    """What `map_batches` does in a task."""

    def run(source: Iterator[Block]) -> Iterator[Block]:
        fn = function.ready()
        first = 0
        for block in rebatch(source, size):
            try:
                found = fn(to_batch(block, batch_format, function.copies))
                for batch in found if inspect.isgenerator(found) else (found,):
                    yield from_batch(batch)
            except GeneratorExit:
                raise
            except Exception as error:
                explain(error, what, first, block)
                raise
            first += block.num_rows

    return run


def row_transform(function: UserFunction, kind: str, what: str) -> Transform:
    """What `map` (kind "map"), `flat_map` and `filter` do in a task."""

    def run(source: Iterator[Block]) -> Iterator[Block]:
        fn = function.ready()
        first = 0
        for whole in source:
            for at in range(0, whole.num_rows, ROWS_AT_ONCE):
                piece = whole.slice(at, ROWS_AT_ONCE)
                yield _rows(fn, kind, piece, what, first + at)
            first += whole.num_rows

    return run


def _rows(fn: Callable[[Any], Any], kind: str, block: Block, what: str, first: int) -> Block:
    out: list[Any] = []
    at = 0
    try:
        for at, row in enumerate(blocks.to_rows(block)):  # noqa: B007  # for the error
            found = fn(row)
            if kind == "filter":
                out.append(_truth(found))
            elif kind == "map":
                out.append(_checked(found))
            else:
                out.extend(_several(found))
    except Exception as error:
        explain(error, what, first + at, block.slice(at, 1))
        raise
    if kind == "filter":
        return block.filter(pa.array(out, pa.bool_()))
    try:
        made = blocks.from_rows(out)
        if out and not made.num_columns:
            raise ValueError("the function returned rows without any column: there would be nothing to count them by")
    except Exception as error:
        explain(error, what, first, block)
        raise
    return made


def _truth(found: Any) -> bool:
    try:
        return bool(found)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the function must return whether a row stays, True or False, not {type(found).__name__}: {error}"
        ) from error


def _several(found: Any) -> list[Mapping[str, Any]]:
    """What `flat_map` was given of one row."""
    rows: list[Any] = found
    if type(found) is not list:
        one = isinstance(found, (Mapping, str, bytes))
        if one or not isinstance(found, Iterable) or hasattr(found, "columns"):
            raise TypeError(f"{ROWS}; not {type(found).__name__}")
        rows = list(found)
    for row in rows:
        if not isinstance(row, (dict, Mapping)):
            raise TypeError(f"{ROWS}; not {type(found).__name__} of {type(row).__name__}")
    return rows


def _checked(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise TypeError(f"the function must return a row, a dict from column to value, not {type(row).__name__}")
    return row


def chain(transforms: list[Transform]) -> Transform:
    """Transforms one after the other, as one: what each makes goes on at once."""
    if len(transforms) == 1:
        return transforms[0]

    def run(source: Iterator[Block]) -> Iterator[Block]:
        for transform in transforms:
            source = transform(source)
        return source

    return run


def sized(source: Iterator[Block], target_bytes: int) -> Iterator[Block]:
    """Small blocks together, and large ones in pieces, so that blocks have about the size that is wished. None is empty, but for
    a single one when there are no rows at all, which has the columns."""
    have: list[Block] = []
    size = 0
    made = False
    empty = blocks.from_columns({})
    for block in source:
        if not block.num_rows:
            empty = block if block.num_columns else empty
            continue
        made = True
        for piece in _pieces(block, target_bytes):
            if have and size + piece.nbytes > target_bytes + target_bytes // 2:
                yield blocks.concat(have)
                have, size = [], 0
            have.append(piece)
            size += piece.nbytes
            if size >= target_bytes:
                yield blocks.concat(have)
                have, size = [], 0
    if have:
        yield blocks.concat(have)
    elif not made:
        yield empty


def _pieces(block: Block, target_bytes: int) -> Iterator[Block]:
    size = block.nbytes
    if size <= target_bytes + target_bytes // 2:
        yield block
        return
    rows = max(1, -(-block.num_rows // -(-size // target_bytes)))
    yield from (block.slice(at, rows) for at in range(0, block.num_rows, rows))
