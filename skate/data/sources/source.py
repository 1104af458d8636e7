"""Where rows come from: what a source must say, and what it may do better than reading everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from ..block import Block, BlockMeta

if TYPE_CHECKING:
    from ..expressions import Expr

NO_SCHEMA = pa.schema([])
SHOWN = 10
"""Of more columns than these, plans show the number."""


class ReadTask(NamedTuple):
    """A part of a source. `meta` is what is known before reading: -1 rows, and no columns, if nothing is."""

    read: Callable[[], Iterator[Block]]
    meta: BlockMeta


class Source:
    """A source of rows. Subclasses are picklable, and cheap to make: nothing is read before `tasks`."""

    name = "Source"

    def tasks(self, wanted: int) -> list[ReadTask]:
        """The parts that can be read on their own, about `wanted` of them if the source can be cut."""
        raise NotImplementedError

    def schema(self) -> pa.Schema | None:
        """The columns, if they can be known without reading rows."""
        return None

    def count(self) -> int | None:
        """The number of rows, if it can be known without reading them."""
        return None

    def count_at_most(self) -> int | None:
        """A bound on the number of rows that costs nothing to tell; None: there is none."""
        return None

    @property
    def can_select(self) -> bool:
        """Whether `with_columns` is of use and its schema is cheap to get."""
        return type(self).with_columns is not Source.with_columns

    def size_bytes(self) -> int | None:
        """About how many bytes the blocks will take, if that is known."""
        return None

    @property
    def is_local(self) -> bool:
        """Whether it reads files of this machine, by code that lets other threads run meanwhile, or has its rows itself."""
        return False

    def files(self) -> Sequence[str]:
        """The files that it reads."""
        return ()

    def left_out(self) -> list[str]:
        """What it does not read although it is there, as plans show it: "columns=[...]", "filter=..."."""
        return []

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        """The source with only these columns, in this order; None: it has to read all."""
        return None

    def with_filter(self, predicate: Expr) -> Source | None:
        """The source with only the rows for which the predicate is true, exactly; None: it has to read all."""
        return None

    def with_limit(self, rows: int) -> Source | None:
        """The source with at least the first `rows` rows, if there are so many, and perhaps more; None: no use."""
        return None


def shown(names: Sequence[str]) -> str:
    """Names of columns, of which there may be very many, for people."""
    rest = len(names) - SHOWN
    return f"[{', '.join(map(repr, names[:SHOWN]))}{f', and {rest} more' if rest > 0 else ''}]"


def read_all(source: Iterator[ReadTask]) -> Iterator[Block]:
    """The first transform of a task that reads."""
    for task in source:
        yield from task.read()
