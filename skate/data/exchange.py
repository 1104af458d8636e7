"""All-to-all operations: how blocks are split into parts, and how parts are merged.

Everything here runs in tasks, on tables. Random numbers come from seeds that are arguments, so that a task that is run again
makes the same blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from . import block as blocks
from .block import Block
from .compute import pc
from .functions import HERE, Transform
from .hashing import GOLDEN, hash_rows, mix
from .keys import check_columns, no_order, normal_keys

SAMPLES_PER_BLOCK = 200
COUNTED = 1 << 16
"""Whole numbers that differ by no more than this Arrow counts, which is as fast as it can be."""
LEAST_ROWS, MOST_ROWS = 1 << 12, 1 << 31
"""Of a block whose order numpy finds: fewer are no work, and of more their places, as pairs, would not fit into 64 bits."""


def cut(extra: tuple[int, int], block: Block) -> list[Block]:
    """Rows `start` to `stop` of a block."""
    start, stop = extra
    return [block.slice(start, stop - start)]


def gather(ranges: Sequence[tuple[int, int]], *inputs: Block) -> Iterator[Block]:
    """Pieces of blocks, one after the other, as one block."""
    pieces = [block.slice(start, stop - start) for (start, stop), block in zip(ranges, inputs, strict=True)]
    yield blocks.concat(pieces)


def in_turns(extra: tuple[list[float], list[tuple[int, int, int, int]]], *inputs: Block) -> Iterator[Block]:
    """Pieces of the blocks of several inputs, row by row in the order of their times; see `mixing.py`."""
    weights, pieces = extra
    times = [(first + 1 + np.arange(stop - start)) / weights[port] for port, first, start, stop in pieces]
    ports = [np.full(stop - start, port) for port, _, start, stop in pieces]
    together = blocks.concat(
        [block.slice(start, stop - start) for (_, _, start, stop), block in zip(pieces, inputs, strict=True)]
    )
    yield together.take(np.lexsort((np.concatenate(ports), np.concatenate(times))))


def zip_pieces(ranges: Sequence[tuple[int, int]], left: Block, *right: Block) -> Iterator[Block]:
    """A block, and beside it pieces of others."""
    yield beside(left, next(gather(ranges, *right)))


def beside(left: Block, right: Block) -> Block:
    """The columns of both. Those on the right whose names are taken get a number."""
    for name, values in zip(right.column_names, right.columns, strict=True):
        new, number = name, 0
        while new in left.column_names:
            number += 1
            new = f"{name}_{number}"
        left = left.append_column(new, values)
    return left


# ---------------------------------------------------------------- random order


def draw(share: float, seed: int, drawn: bool) -> Callable[..., Iterator[Block]]:
    """The rows that chance gives to a share of all, or the others. The extra argument is the number of the first row: so they are
    the same, however they lie in blocks."""

    def run(first: int, *inputs: Block) -> Iterator[Block]:
        for block in inputs:
            values = np.arange(first, first + block.num_rows, dtype=np.uint64)
            first += block.num_rows
            chances = np.random.default_rng(seed).integers(1 << 63, dtype=np.uint64) + values * GOLDEN
            mix(chances)
            yield block.filter((chances < np.uint64(int(share * 2**64))) == drawn)

    return run


def split_random(seed: int) -> Callable[..., list[Block]]:
    """Each row goes to a random part."""

    def split(extra: tuple[int, int, int], block: Block) -> list[Block]:
        parts, number, _ = extra
        order = np.random.default_rng((seed, number)).permutation(block.num_rows)
        cuts = [block.num_rows * at // parts for at in range(parts + 1)]
        # The parts that get one row more are other ones for every block.
        turn = number % parts
        pieces = [block.take(order[first:last]) for first, last in itertools.pairwise(cuts)]
        return pieces[turn:] + pieces[:turn]

    return split


def merge_random(seed: int) -> Callable[..., Iterator[Block]]:
    """The rows of a part in random order."""

    def merge(extra: tuple[int, list[int]], *pieces: Block) -> Iterator[Block]:
        block = blocks.concat(pieces)
        yield block.take(np.random.default_rng((seed, extra[0], 1)).permutation(block.num_rows))

    return merge


# ---------------------------------------------------------------- order


def sort_block(block: Block, keys: Sequence[str], descending: Sequence[bool]) -> Block:
    """A block in order; nulls come last."""
    if blocks.says_nothing(block):
        return block
    order = [(key, "descending" if down else "ascending") for key, down in zip(keys, descending, strict=True)]
    return block.take(stable_order(block, order))


def stable_order(block: Block, order: Sequence[tuple[str, str]]) -> pa.Array:
    """The places of the rows in order. Equal rows stay as they were."""
    names = [key for key, _ in order]
    check_columns(block, names)
    keys = normal_keys(block.select(names), names)
    if len(order) == 1 and LEAST_ROWS <= block.num_rows < MOST_ROWS:
        found = _order_of_numbers(keys.column(0), order[0][1] == "descending")
        if found is not None:
            return found
    try:
        return pc.sort_indices(keys, sort_keys=list(order))  # Arrow's sorts are stable
    except (pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise no_order(keys, names, HERE.files) from error


def _order_of_numbers(values: pa.ChunkedArray, descends: bool) -> pa.Array | None:
    """The places of whole numbers in order, in a third of Arrow's time; None: Arrow is as fast, or they are something else."""
    if not pa.types.is_integer(values.type) or values.null_count:
        return None
    ends = pc.min_max(values).as_py()
    if ends["max"] - ends["min"] <= COUNTED:
        return None
    numbers = values.to_numpy()
    numbers = ~numbers if descends else numbers  # the other way round, whatever sign they have
    order = np.argsort(numbers)
    numbers = numbers[order]
    new = numbers[1:] != numbers[:-1]
    if not new.all():  # equal ones, which may stand in any order by now, are put back into theirs
        runs = np.zeros(len(order), np.int64)
        np.cumsum(new, out=runs[1:])
        runs *= len(order)
        order += runs
        order.sort()
        order -= runs
    return pa.array(order)


def top_rows(keys: Sequence[str], descending: Sequence[bool], rows: int) -> Transform:
    """The first rows of all blocks of a task, in order."""

    def run(source: Iterator[Block]) -> Iterator[Block]:
        have: Block | None = None
        for block in source:
            first = sort_block(block, keys, descending).slice(0, rows)
            have = first if have is None else sort_block(blocks.concat([have, first]), keys, descending).slice(0, rows)
        if have is not None:
            yield have

    return run


def sample(keys: Sequence[str]) -> Callable[..., list[Block]]:
    """Some keys of a block, evenly spread over its rows."""

    def look(extra: None, block: Block) -> list[Block]:
        if blocks.says_nothing(block):
            return [block]
        check_columns(block, keys)
        count = min(SAMPLES_PER_BLOCK, block.num_rows)
        places = np.linspace(0, block.num_rows - 1, count).astype(np.int64)
        return [block.select(list(keys)).take(places)]

    return look


def boundaries(samples: Block, keys: Sequence[str], descending: Sequence[bool], parts: int) -> Block:
    """The first keys of parts 1, 2, ..., so that all parts have about the same number of rows."""
    ordered = sort_block(samples, keys, descending)
    places = [ordered.num_rows * part // parts for part in range(1, parts)]
    return ordered.take(places)


def given_boundaries(key: str, values: Sequence[Any], kinds: Collection[pa.DataType]) -> Block:
    """Boundaries that a user has given, with the type of the key if they fit into it."""
    found = pa.array(values)
    if len(kinds) == 1:
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # those between whole numbers stay as they are
            found = found.cast(next(iter(kinds)))
    return pa.table({key: found})


def split_sorted(keys: Sequence[str], descending: Sequence[bool]) -> Callable[..., list[Block]]:
    """Each row goes to the part whose keys it has; the pieces are in order.

    Keys that very many rows have are the limits of several parts. The rows of the first splits go to the first of these parts,
    and so on: they are divided, and stay in their order.
    """

    def split(extra: tuple[Block, int, int], block: Block) -> list[Block]:
        limits, number, splits = extra
        if blocks.says_nothing(block):
            return [block] * (limits.num_rows + 1)
        limits = limits.select(list(keys))
        found = _parts_of(block, limits, keys, descending)
        if found is not None:
            return _pieces(block, found, limits.num_rows + 1)
        ordered = sort_block(block, keys, descending)
        cuts = _places(ordered, limits, keys, descending)
        same = [run for run in _runs(limits, keys) if run[1] - run[0] > 1]
        after = _places(ordered, limits, keys, descending, after=True) if same else []
        for first, last in same:
            mine = first + (last - first) * number // splits
            cuts[mine + 1 : last] = after[mine + 1 : last]
        return [ordered.slice(a, b - a) for a, b in itertools.pairwise([0, *cuts, ordered.num_rows])]

    return split


def _parts_of(block: Block, limits: Block, keys: Sequence[str], descending: Sequence[bool]) -> Any:
    """The part of each row, if that can be told faster than by sorting: for a key of whole numbers. The rows of a part are not in
    order then, and need not be: the part is sorted as a whole."""
    if len(keys) != 1 or descending[0] or not block.num_rows:
        return None
    if len(_runs(limits, keys)) < limits.num_rows:
        return None
    values, ends = block.column(keys[0]), limits.column(keys[0])
    if not pa.types.is_integer(values.type) or values.type != ends.type or values.null_count or ends.null_count:
        return None
    return np.searchsorted(np.asarray(ends), np.asarray(values), side="right")


def _places(
    block: Block, limits: Block, keys: Sequence[str], descending: Sequence[bool], after: bool = False
) -> list[int]:
    """For each limit, how many rows of a sorted block come before it: limits and rows are put in order together.

    Args:
        after: rows that are equal to it, too.
    """
    rows = block.select(list(keys))
    both = blocks.concat([rows, limits] if after else [limits, rows])
    order = [(key, "descending" if down else "ascending") for key, down in zip(keys, descending, strict=True)]
    places = np.asarray(stable_order(both, order))  # equal ones: those that stand first
    at = np.flatnonzero(places >= rows.num_rows if after else places < limits.num_rows)
    return [int(place) - number for number, place in enumerate(at)]


def merge_sorted(keys: Sequence[str], descending: Sequence[bool]) -> Callable[..., Iterator[Block]]:
    """The pieces of a part as one block in order."""

    def merge(extra: tuple[int, list[int]], *pieces: Block) -> Iterator[Block]:
        yield sort_block(blocks.concat(pieces), keys, descending)

    return merge


# ---------------------------------------------------------------- by key


def split_by_key(keys: Sequence[str]) -> Callable[..., list[Block]]:
    """Rows with the same keys go to the same part."""

    def split(extra: tuple[int, int, int], block: Block) -> list[Block]:
        parts, *_ = extra
        if blocks.says_nothing(block):
            return [block] * parts
        check_columns(block, keys)
        if not block.num_rows:
            return [block] * parts
        return _pieces(block, hash_rows(block, keys) % np.uint64(parts), parts)

    return split


def _pieces(block: Block, part: Any, parts: int) -> list[Block]:
    """The rows of each part, in the order that they have."""
    part = part.astype(np.uint16 if parts <= 1 << 16 else np.uint64)  # numbers of 16 bits are sorted by counting them
    ordered = block.take(np.argsort(part, kind="stable"))
    cuts = np.concatenate([[0], np.cumsum(np.bincount(part.astype(np.int64), minlength=parts))])
    return [ordered.slice(first, last - first) for first, last in itertools.pairwise(cuts)]


def merge_with(run: Callable[[Block], Iterator[Block]]) -> Callable[..., Iterator[Block]]:
    """All pieces of a part as one block, and then `run`."""

    def merge(extra: tuple[int, list[int]], *pieces: Block) -> Iterator[Block]:
        yield from run(blocks.concat(pieces))

    return merge


def merge_whole(extra: tuple[int, list[int]], *pieces: Block) -> Iterator[Block]:
    """All pieces of a part as one block."""
    yield blocks.concat(pieces)


def merge_join(join: Callable[[Block, Block], Block]) -> Callable[..., Iterator[Block]]:
    """The pieces of both inputs as one block each, and then joined."""

    def merge(extra: tuple[int, list[int]], *pieces: Block) -> Iterator[Block]:
        left = extra[1][0]
        yield join(blocks.concat(pieces[:left]), blocks.concat(pieces[left:]))

    return merge


def join_broadcast(join: Callable[[Block, Block], Block], small: int) -> Callable[..., Iterator[Block]]:
    """Some blocks of one input, joined with all of the other, which is number `small`. The extra argument says how many."""

    def run(extra: int, *inputs: Block) -> Iterator[Block]:
        block, other = blocks.concat(inputs[:extra]), blocks.concat(inputs[extra:])
        yield join(block, other) if small else join(other, block)

    return run


def groups(block: Block, keys: Sequence[str]) -> Iterator[Block]:
    """The rows of each key, in the order of the keys."""
    if block.num_rows:
        ordered = sort_block(block, keys, [False] * len(keys))
        for first, last in _runs(ordered, keys):
            yield ordered.slice(first, last - first)


def is_each_alone(ordered: Block, keys: Sequence[str]) -> bool:
    """Whether no two rows of a sorted block have the same keys."""
    return not ordered.num_rows or len(_runs(ordered, keys)) == ordered.num_rows


def _runs(block: Block, keys: Sequence[str]) -> list[tuple[int, int]]:
    """The first row, and the one after the last, of neighbours with the same keys."""
    changes = np.zeros(max(0, block.num_rows - 1), dtype=bool)
    for key in keys:
        values = blocks.column(normal_keys(block.select([key]), [key]).column(key))
        changes |= _changes(values.slice(0, len(values) - 1), values.slice(1))
    return list(itertools.pairwise([0, *(np.flatnonzero(changes) + 1).tolist(), block.num_rows]))


def _changes(before: pa.Array, after: pa.Array) -> Any:
    """Where values are others than those before. Null is null, and NaN is NaN."""
    differs = pc.fill_null(pc.not_equal(before, after), False)
    if pa.types.is_floating(before.type):
        nan = pc.and_(pc.is_nan(before), pc.is_nan(after))
        differs = pc.and_not(differs, pc.fill_null(nan, False))
    return np.asarray(pc.or_(differs, pc.not_equal(pc.is_null(before), pc.is_null(after))))
