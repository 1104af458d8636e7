"""Joins of two blocks that have the same keys in the same place.

Arrow matches keys and row numbers only. The columns are taken by the numbers of the matching rows, so that they may have any
type, and so that the order is known: that of the left rows, for each of them that of the right ones; then right rows without a
match.

A null matches nothing. Keys of different types are compared as the wider one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from . import block as blocks
from .block import Block
from .compute import pc
from .keys import normal_keys

HOW = {
    "inner": "inner",
    "left_outer": "left outer",
    "right_outer": "right outer",
    "full_outer": "full outer",
    "left_semi": "left semi",
    "right_semi": "right semi",
    "left_anti": "left anti",
    "right_anti": "right anti",
}
"""The kinds of joins, and what Arrow calls them."""
BROADCAST_LEFT = frozenset({"inner", "right_outer", "right_semi", "right_anti"})
"""Those for which each block on the right may be joined alone, with all of the left side."""
BROADCAST_RIGHT = frozenset({"inner", "left_outer", "left_semi", "left_anti"})
LEFT, RIGHT = "\0left", "\0right"


def join(
    how: str, left_keys: Sequence[str], right_keys: Sequence[str], suffixes: tuple[str, str], left: Block, right: Block
) -> Block:
    """The joined rows: the keys once, under their left names, and the other columns of both sides.

    Columns of the same name on both sides get the suffixes.

    Raises:
        ColumnNotFoundError: a key is not there.
        TypeError: keys have types that cannot be compared.
        ValueError: two columns would have the same name.
    """
    left, right = (
        normal_keys(pa.table({key: pa.nulls(0) for key in keys}) if blocks.says_nothing(side) else side, keys)
        for side, keys in ((left, left_keys), (right, right_keys))
    )
    names = [] if how.endswith(("semi", "anti")) else _names(left, right, left_keys, right_keys, suffixes)
    left_rows, right_rows = _matches(
        how, _keys(left, left_keys, right, right_keys), _keys(right, right_keys, left, left_keys)
    )
    if how in ("left_semi", "left_anti"):
        return left.take(left_rows)
    if how in ("right_semi", "right_anti"):
        return right.take(right_rows)
    rest = [name for name in right.column_names if name not in right_keys]
    columns = [*left.take(left_rows).columns, *right.select(rest).take(right_rows).columns]
    if how in ("right_outer", "full_outer"):
        for key, other in zip(left_keys, right_keys, strict=True):
            at = left.column_names.index(key)
            columns[at] = _coalesced(columns[at], right.column(other).take(right_rows))
    return pa.table(columns, names)


def _names(
    left: Block, right: Block, left_keys: Sequence[str], right_keys: Sequence[str], suffixes: tuple[str, str]
) -> list[str]:
    rest = [name for name in right.column_names if name not in right_keys]
    both = set(left.column_names) & set(rest)
    if both and not any(suffixes):
        raise ValueError(
            f"both sides have columns {', '.join(map(repr, sorted(both)))}: give left_suffix or right_suffix, or rename them"
        )
    names = [name + (suffixes[0] if name in both and name not in left_keys else "") for name in left.column_names]
    names += [name + (suffixes[1] if name in both else "") for name in rest]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"two columns would be called {', '.join(map(repr, twice))}: give other suffixes, or rename them"
        )
    return names


def _keys(block: Block, keys: Sequence[str], other: Block, others: Sequence[str]) -> Block:
    """The keys of one side in the types of both; null for what the other side cannot have."""
    columns = []
    for number, (key, opposite) in enumerate(zip(keys, others, strict=True)):
        name = str(number)
        types = [block.schema.field(key).type, other.schema.field(opposite).type]
        try:
            kind = blocks.unify([pa.schema([(name, each)]) for each in types]).field(0).type
        except TypeError:
            raise TypeError(
                f"keys of a join cannot be compared: {key!r} is {types[0]}, {opposite!r} is {types[1]}"
            ) from None
        values = block.column(key)
        if pa.types.is_uint64(types[0]) and pa.types.is_int64(kind):  # what is too large would be a negative number
            values = pc.if_else(pc.less(values, pa.scalar(1 << 63, pa.uint64())), values, None)
        columns.append(pc.cast(values, kind, safe=False))
    return pa.table(columns, [str(number) for number in range(len(keys))])


def _matches(how: str, left: Block, right: Block) -> tuple[Any, Any]:
    """The numbers of the rows on both sides, in order; null where one side has none."""
    if not left.num_rows and not right.num_rows and all(map(_is_simple, left.schema.types)):
        nothing = pa.array([], pa.int64())
        return nothing, nothing  # as when only the columns of a join are wanted, of each of many
    names = left.column_names
    left = left.append_column(LEFT, pa.array(np.arange(left.num_rows)))
    right = right.append_column(RIGHT, pa.array(np.arange(right.num_rows)))
    try:
        found = left.join(right, keys=names, join_type=HOW[how], use_threads=False)
    except pa.ArrowInvalid as error:
        raise TypeError(f"cannot join by {', '.join(map(str, left.schema.types[:-1]))}: {error}") from error
    sides = [name for name in (LEFT, RIGHT) if name in found.column_names]
    if not _is_rising(found.column(sides[0])):
        found = found.take(pc.sort_indices(found, sort_keys=[(name, "ascending") for name in sides]))
    rows = [found.column(name) if name in sides else None for name in (LEFT, RIGHT)]
    return rows[0], rows[1]


def _is_simple(kind: pa.DataType) -> bool:
    """Whether Arrow is known to join by a type."""
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_date(kind))


def _is_rising(rows: Any) -> bool:
    """Whether numbers are in order, each once. Most joins by the key of a small table come out so: sorting would cost as much."""
    if rows.null_count:
        return False
    numbers = np.asarray(rows)
    return bool((numbers[1:] > numbers[:-1]).all())


def _coalesced(values: Any, others: Any) -> Any:
    kind = blocks.unify([pa.schema([("key", each.type)]) for each in (values, others)]).field(0).type
    return pc.coalesce(pc.cast(values, kind), pc.cast(others, kind))
