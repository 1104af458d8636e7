"""What all parts of `Dataset` build on: the plan, the settings, and how the plan is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import plan
from .block import Block
from .context import DataContext
from .errors import no_column
from .execution.executor import Execution
from .execution.operators import Bundle
from .knowledge import missing
from .of_ray import METHODS, instead
from .run import execute, table
from .schemas import schema as known_columns

if TYPE_CHECKING:
    from .dataset import Dataset
    from .iterator import Stream


class Base:
    """A plan with its settings. Parts of `Dataset` add methods to it."""

    def __init__(self, node: plan.Node, context: DataContext | None = None) -> None:
        self._node = node
        self._context = context or DataContext.get_current().copy()
        self._name: str | None = None
        self._schema: pa.Schema | None = None
        self._count: int | None = None
        self._last: Execution | None = None
        """The latest execution, for `stats()`."""

    def _on_top(self, node: plan.Node) -> Dataset:
        from .dataset import Dataset

        made = Dataset(node, self._context)
        made._name = self._name
        return made

    def _begin(self, node: plan.Node) -> Execution:
        self._last = execute(node, self._context)
        return self._last

    def _bundles(self, node: plan.Node) -> Iterator[Bundle]:
        from .progress import watched

        return watched(self._begin(node), self._context, self._name)

    def _tables(self, node: plan.Node) -> Iterator[Block]:
        return blocks_in(self._bundles(node))

    def _stream(self) -> Stream:
        """The blocks of the plan, as they are made, and what ends them from another thread."""
        from .iterator import Stream
        from .progress import watched

        execution = self._begin(self._node)
        return Stream(blocks_in(watched(execution, self._context, self._name)), execution.stop)

    def _known_columns(self) -> pa.Schema | None:
        """The columns, if they can be known before anything runs."""
        return self._schema if self._schema is not None else known_columns(self._node)

    def _check_columns(self, names: Iterable[str]) -> None:
        """Raise an error for a column that is not there, if that can be known before anything runs."""
        names = list(names)
        schema = self._known_columns()
        wrong = missing(names, schema)
        if wrong is not None:
            assert schema is not None
            raise no_column(wrong, schema.names)

    def __getattr__(self, name: str) -> Any:
        """Raise an error for what is not there; for Ray's methods, it says what to do instead."""
        raise instead(type(self).__name__, name, METHODS)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


def blocks_in(bundles: Iterator[Bundle]) -> Iterator[Block]:
    """The tables of bundles. Closing it closes the execution that they come from, too."""
    with closing(bundles):  # type: ignore[type-var]  # a generator
        for bundle in bundles:
            yield table(bundle)


def names_of(what: str, value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of columns, given as one or several.

    Raises:
        TypeError: they are not strings.
        ValueError: a name comes twice.
    """
    if value is None:
        return ()
    names = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what}: the name of a column must be a string, not {type(name).__name__}: {name}")
    if len(set(names)) < len(names):
        raise ValueError(f"{what}: a column is named twice in {list(names)}")
    return names


def wanted_blocks(parallelism: int, override_num_blocks: int | None) -> int | None:
    """Into how many blocks a source is to be cut. `parallelism` is an older name of it; -1 is None."""
    if override_num_blocks is not None:
        return whole("override_num_blocks", override_num_blocks, 1)
    return None if parallelism == -1 else whole("parallelism", parallelism, 1)


def tasks_at_once(concurrency: int | None) -> int | None:
    """How many tasks are to run at a time; None: as many as there is room for."""
    return None if concurrency is None else whole("concurrency", concurrency, 1)


def whole(what: str, value: Any, low: int = 0) -> int:
    """A whole number from `low`.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{what}={value!r}: it must be a whole number from {low}")
    return value
