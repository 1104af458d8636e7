"""`Dataset`: what users hold. Each method adds to a plan; what shows or writes rows carries it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from . import block as blocks, plan
from .batches import check_format, rebatch, to_batch
from .context import DataContext
from .functions import UserFunction
from .run import blocks_of, execute, table
from .writing import Writing


class Dataset(Writing):
    """Rows in blocks, read and computed when they are needed.

    Made by the functions of `skate.data`, such as `range` and `read_csv`, and by the methods of other datasets. It is never
    changed: every method returns a new one.

    Example:
        >>> import skate.data
        >>> skate.data.range(1000).filter(lambda row: row["id"] % 2 == 0).take(2)
        [{'id': 0}, {'id': 2}]
    """

    def __init__(self, node: plan.Node, context: DataContext | None = None) -> None:
        self._node = node
        self._context = context or DataContext.get_current().copy()
        self._schema: pa.Schema | None = None
        self._count: int | None = None

    def _on_top(self, node: plan.Node) -> Dataset:
        return Dataset(node, self._context)

    # ------------------------------------------------------------ transformations

    def map_batches(
        self,
        fn: Callable[..., Any],
        *,
        batch_size: int | None = None,
        batch_format: str | None = "default",
        fn_args: Iterable[Any] = (),
        fn_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Dataset:
        """Apply a function to batches of rows.

        Args:
            fn: given a batch, returns one, or yields several.
            batch_size: rows in each, but for the last of a block; None: a block is a batch.
            batch_format: "numpy" (a dict of arrays), "pandas", "pyarrow" or "polars".
            fn_args, fn_kwargs: further arguments of `fn`.
            options: of the tasks.
        """
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"batch_size={batch_size!r}: it must be a whole number from 1, or None")
        function = UserFunction(fn, fn_args, fn_kwargs)
        return self._on_top(
            plan.MapFunction(
                self._node, "map_batches", function, batch_size, check_format(batch_format), None, None, options
            )
        )

    def map(self, fn: Callable[..., Mapping[str, Any]], **options: Any) -> Dataset:
        """Apply a function to each row."""
        return self._on_top(plan.MapFunction(self._node, "map", UserFunction(fn), options=options))

    def flat_map(self, fn: Callable[..., Iterable[Mapping[str, Any]]], **options: Any) -> Dataset:
        """Apply a function that makes any number of rows of each."""
        return self._on_top(plan.MapFunction(self._node, "flat_map", UserFunction(fn), options=options))

    def filter(self, fn: Callable[..., bool], **options: Any) -> Dataset:
        """Keep the rows for which a function returns true."""
        return self._on_top(plan.MapFunction(self._node, "filter", UserFunction(fn), options=options))

    def limit(self, rows: int) -> Dataset:
        """The first rows. Nothing is read beyond what they need."""
        if rows < 0:
            raise ValueError(f"limit({rows}): it must not be negative")
        return self._on_top(plan.Limit(self._node, rows))

    def repartition(self, num_blocks: int | None = None, *, shuffle: bool = False) -> Dataset:
        """The same rows in so many blocks."""
        return self._on_top(plan.Repartition(self._node, num_blocks))

    def random_shuffle(self, *, seed: int | None = None, num_blocks: int | None = None) -> Dataset:
        """The rows in random order; the same for the same seed and blocks."""
        return self._on_top(plan.Shuffle(self._node, seed, num_blocks))

    def sort(self, key: str | Sequence[str], descending: bool | Sequence[bool] = False) -> Dataset:
        """The rows in the order of one or more columns; nulls come last, equal rows stay as they were."""
        keys = (key,) if isinstance(key, str) else tuple(key)
        down = (descending,) * len(keys) if isinstance(descending, bool) else tuple(descending)
        return self._on_top(plan.Sort(self._node, keys, down))

    def union(self, *others: Dataset) -> Dataset:
        """The rows of this and then of the others."""
        return self._on_top(plan.Union((self._node, *(other._node for other in others))))

    def zip(self, other: Dataset) -> Dataset:
        """The columns of both side by side."""
        return self._on_top(plan.Zip(self._node, other._node))

    # ------------------------------------------------------------ consumption

    def take(self, limit: int = 20) -> list[dict[str, Any]]:
        """The first rows, as dicts."""
        return blocks.to_rows(blocks.concat(list(blocks_of(plan.Limit(self._node, limit), self._context))))

    def take_all(self) -> list[dict[str, Any]]:
        """All rows, as dicts."""
        return [row for block in blocks_of(self._node, self._context) for row in blocks.to_rows(block)]

    def count(self) -> int:
        """The number of rows."""
        if self._count is None:
            if isinstance(self._node, plan.Read):
                self._count = self._node.source.count()
            if self._count is None:
                self._count = sum(bundle.meta.rows for bundle in execute(self._node, self._context))
        return self._count

    def iter_batches(
        self, *, batch_size: int | None = 256, batch_format: str | None = "default", drop_last: bool = False
    ) -> Iterator[Any]:
        """The rows in batches."""
        name = check_format(batch_format)
        for block in rebatch(blocks_of(self._node, self._context), batch_size, drop_last):
            yield to_batch(block, name)

    def materialize(self) -> Dataset:
        """Carry the plan out, and keep the blocks."""
        found = [(bundle.block, bundle.meta) for bundle in execute(self._node, self._context)]
        return self._on_top(plan.Blocks(found))

    def to_arrow(self) -> pa.Table:
        """All rows as one table."""
        return blocks.concat([table(bundle) for bundle in execute(self._node, self._context)])
