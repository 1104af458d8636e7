"""One dataset as several: in pieces that lie there, or as streams for several consumers."""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..exceptions import UnsupportedError
from . import plan
from .base import Base, whole
from .block import Block, BlockMeta, compact, meta_of
from .exchange import cut
from .execution.loaded import loaded
from .expr import Column, Expr, as_column
from .hashing import hash_rows

if TYPE_CHECKING:
    from .dataset import Dataset, MaterializedDataset
    from .iterator import DataIterator

MARK = "\0test"
"""The column that says which rows are for testing, while they are being divided."""

Piece = tuple[Any, BlockMeta]


class Splitting(Base):
    """The methods of `Dataset` that divide it."""

    def split(self, n: int, *, equal: bool = False, locality_hints: Sequence[Any] | None = None) -> list[Any]:
        """Carry the plan out, and divide the rows into `n` datasets, in order, whose lengths differ by one row at the most.

        Args:
            n: how many.
            equal: they have exactly the same length; up to n - 1 rows are left out.

        Raises:
            UnsupportedError: `locality_hints` is given: blocks stay where they are.
        """
        whole("n", n, 1)
        if locality_hints is not None:
            raise UnsupportedError("split(locality_hints=...): the blocks stay where they are")
        pieces = self._pieces()
        rows = sum(meta.rows for _, meta in pieces)
        if equal:
            cuts = [rows // n * at for at in range(1, n + 1)]
            return self._divided(pieces, cuts)[:n]
        return self._divided(pieces, [rows * at // n for at in range(1, n)])

    def split_at_indices(self, indices: Sequence[int]) -> list[MaterializedDataset]:
        """Carry the plan out, and divide the rows before each of these numbers of rows.

        Example:
            >>> import skate.data
            >>> [part.count() for part in skate.data.range(10).split_at_indices([2, 9])]
            [2, 7, 1]
        """
        cuts = [whole("indices", index) for index in indices]
        if not cuts:
            raise ValueError("split_at_indices: give at least one index")
        if cuts != sorted(cuts):
            raise ValueError(f"split_at_indices: the indices must be in order: {cuts}")
        return self._divided(self._pieces(), cuts)

    def split_proportionately(self, proportions: Sequence[float]) -> list[MaterializedDataset]:
        """Carry the plan out, and divide the rows: one dataset for each proportion, and one more for the rest.

        Raises:
            ValueError: a proportion is not above 0, or together they are not below 1.
        """
        if not proportions or any(each <= 0 for each in proportions) or sum(proportions) >= 1:
            raise ValueError(f"proportions={list(proportions)!r}: they must be above 0, and their sum below 1")
        pieces = self._pieces()
        rows = sum(meta.rows for _, meta in pieces)
        return self._divided(pieces, [int(rows * share + 1e-9) for share in itertools.accumulate(proportions)])

    def train_test_split(
        self, test_size: float, *, shuffle: bool = False, seed: int | None = None, stratify: str | None = None
    ) -> tuple[MaterializedDataset, MaterializedDataset]:
        """Carry the plan out, and divide the rows into some for training and some for testing, which come last.

        Args:
            test_size: the part of all (between 0 and 1), or the number of rows.
            shuffle: mix the rows before.
            seed: of the mixing.
            stratify: a column; each of its values is divided in the same proportion. The rows are then in its order.

        Raises:
            ValueError: `test_size` is out of range, or a number of rows together with `stratify`.
        """
        whole_number = isinstance(test_size, int) and not isinstance(test_size, bool)
        if not (test_size >= 1 if whole_number else 0 < test_size < 1):
            raise ValueError(f"test_size={test_size!r}: it must lie between 0 and 1, or be a number of rows")
        node: plan.Node = plan.Shuffle(self._node, seed) if shuffle else self._node
        dataset = self._on_top(node)
        if stratify is not None:
            if whole_number:
                raise ValueError("train_test_split: with stratify, test_size is a part of all, between 0 and 1")
            self._check_columns([stratify])
            return _stratified(dataset, stratify, test_size)
        pieces = dataset._pieces()
        rows = sum(meta.rows for _, meta in pieces)
        if whole_number and test_size >= rows:
            raise ValueError(f"test_size={test_size!r}: the dataset has only {rows} rows")
        test = int(test_size) if whole_number else -int(-rows * test_size // 1)
        train, held_out = dataset._divided(pieces, [rows - test])
        return train, held_out

    def streaming_train_test_split(
        self,
        test_size: float,
        *,
        split_type: str = "random",
        hash_column: str | None = None,
        seed: int | None = None,
        **ray_remote_args: Any,
    ) -> tuple[Dataset, Dataset]:
        """Divide the rows into some for training and some for testing, without carrying the plan out: both carry it out for
        themselves, and leave out the rows of the other.

        Args:
            test_size: about this part of all is for testing, between 0 and 1.
            split_type: "random": by chance and the number of a row, so the plan must give its rows in the same order each time;
                "hash": by the value of a column, so that rows with the same value stay together.
            hash_column: the column.
            seed: of chance.

        Raises:
            ValueError: an argument is wrong, or the plan mixes rows, so that they do not keep their numbers.

        Example:
            >>> import skate.data
            >>> train, test = skate.data.range(1000).streaming_train_test_split(0.25, split_type="hash", hash_column="id")
            >>> train.count() + test.count(), 200 < test.count() < 300
            (1000, True)
        """
        if not 0 < test_size < 1:
            raise ValueError(f"test_size={test_size!r}: it must lie between 0 and 1")
        if ray_remote_args:
            raise UnsupportedError(
                f"streaming_train_test_split({', '.join(ray_remote_args)}): it has no tasks of its own"
            )
        if split_type == "hash":
            if hash_column is None:
                raise ValueError('streaming_train_test_split: split_type="hash" needs hash_column')
            self._check_columns([hash_column])
            predicate = HashedBelow(Column(hash_column), test_size)
            train, test = ~predicate, predicate
            return self._on_top(plan.FilterExpr(self._node, train)), self._on_top(plan.FilterExpr(self._node, test))
        if split_type != "random":
            raise ValueError(f'split_type={split_type!r}: it must be "random" or "hash"')
        if hash_column is not None:
            raise ValueError('streaming_train_test_split: hash_column is for split_type="hash"')
        mixing = next((each.label for each in plan.walk(self._node) if _mixes(each)), None)
        if mixing is not None:
            raise ValueError(
                f"streaming_train_test_split: {mixing} may give other rows each time, so that one could be in both: "
                'materialize() the dataset before, or use split_type="hash"'
            )
        seed = int.from_bytes(os.urandom(6), "little") if seed is None else whole("seed", seed)
        parts = [self._on_top(plan.Draw(self._node, test_size, seed, drawn)) for drawn in (False, True)]
        return parts[0], parts[1]

    def streaming_split(
        self, n: int, *, equal: bool = False, locality_hints: Sequence[Any] | None = None
    ) -> list[DataIterator]:
        """Iterators for `n` consumers, usually actors, that share one execution: each row goes to one of them.

        Every `iter_batches()` of an iterator is an epoch. The plan is carried out once for each epoch, when all consumers have
        begun it: one that is done waits for the others. See `streaming.py`.

        Args:
            n: how many consumers.
            equal: all get exactly the same number of rows; up to n - 1 rows are left out. Otherwise, who is fast gets more.
            locality_hints: the id of the node of each consumer, or None: blocks that are there go to it, as far as that leaves
                the numbers of rows as they would be. The order of the blocks then is not kept.

        Raises:
            ValueError: an argument is out of range, or there is no such node.
        """
        from .streaming import split

        return list(split(self._node, self._context, whole("n", n, 1), equal, locality_hints))

    # ------------------------------------------------------------ pieces

    def _pieces(self) -> list[Piece]:
        if isinstance(self._node, plan.Blocks):
            return list(self._node.blocks)
        return [(bundle.block, bundle.meta) for bundle in self._bundles(self._node)]

    def _divided(self, pieces: list[Piece], cuts: list[int]) -> list[MaterializedDataset]:
        """A dataset for the rows before the first cut, one for those between it and the second, and so on."""
        from .dataset import MaterializedDataset

        parts: list[list[Piece]] = [[] for _ in range(len(cuts) + 1)]
        at = 0
        for block, meta in pieces:
            inside = [place - at for place in cuts if at < place < at + meta.rows]
            for piece in _cut(block, meta, inside):
                parts[bisect.bisect_right(cuts, at)].append(piece)
                at += piece[1].rows
        for part in parts:
            if not part and pieces:
                part.append(_empty(pieces[0][1]))
        return [MaterializedDataset(plan.Blocks(part), self._context) for part in parts]


class HashedBelow(Expr):
    """Whether the hash of a value is among the lowest ones.

    Args:
        expr: the value.
        share: this part of all hashes is.
    """

    def __init__(self, expr: Expr, share: float) -> None:
        self.expr = expr
        self.share = share

    def children(self) -> Sequence[Expr]:
        return (self.expr,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return HashedBelow(children[0], self.share)

    def evaluate(self, block: Block) -> Any:
        values = pa.table({"value": as_column(self.expr.evaluate(block), block.num_rows)})
        return pa.chunked_array([pa.array(hash_rows(values, ["value"]) < np.uint64(int(self.share * 2**64)))])

    def __str__(self) -> str:
        return f"hashed_below({self.expr}, {self.share})"


def _mixes(node: plan.Node) -> bool:
    """Whether it may give its rows in another order each time, or other ones."""
    if isinstance(node, plan.Read):
        return getattr(getattr(node.source, "where", None), "shuffle", None) is not None
    return isinstance(node, (plan.Shuffle, plan.ShuffleBlocks, plan.Sample))


def _empty(meta: BlockMeta) -> Piece:
    block = meta.schema.empty_table()
    return block, meta_of(block)


def _cut(block: Any, meta: BlockMeta, places: list[int]) -> list[Piece]:
    """The pieces of a block between these places; they are cut where the block is."""
    if not places:
        return [(block, meta)]
    ranges = list(itertools.pairwise([0, *places, meta.rows]))
    if isinstance(block, pa.Table):
        tables = _slices(block, ranges)
        return [(table, meta_of(table, meta.files)) for table in tables]
    from ..api.decorator import remote

    each = max(1, meta.size_bytes // max(1, meta.rows))
    refs = remote(**loaded(num_returns=len(ranges)))(_slices).remote(block, ranges)
    metas = [BlockMeta(stop - start, each * (stop - start), meta.schema, meta.files) for start, stop in ranges]
    return list(zip(refs, metas, strict=True))


def _slices(block: Block, ranges: list[tuple[int, int]]) -> list[Block]:
    return [compact(piece) for each in ranges for piece in cut(each, block)]


def _stratified(dataset: Dataset, column: str, test_size: float) -> tuple[MaterializedDataset, MaterializedDataset]:
    from .expressions import col

    def mark(group: Block) -> Block:
        train = group.num_rows - round(group.num_rows * test_size)
        return group.append_column(MARK, pa.array(np.arange(group.num_rows) >= train))

    marked = dataset.groupby(column).map_groups(mark, batch_format="pyarrow").materialize()
    train = marked.filter(expr=~col(MARK)).drop_columns([MARK]).materialize()
    return train, marked.filter(expr=col(MARK)).drop_columns([MARK]).materialize()
