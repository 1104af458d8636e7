"""How aggregations are carried out: of each block first, where it is, and then of the partial results of all with the same keys.

What all of them have in common is one call of Arrow's `group_by`. Those that Arrow does not merge by itself get, for each row,
the number of its group, and work on whole columns with that.

INV-1: a partial column is named by the aggregation's place in the list, so that two on the same column do not meet.
INV-2: `group_by` numbers the groups of the same keys in the same way each time, so that its columns and those of `Groups` fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from .. import block as blocks
from ..block import Block
from ..compute import pc
from ..exchange import is_each_alone, sort_block
from ..hashing import hash_rows
from ..keys import check_columns, normal_keys, told, why
from ..nested import Lists, Numbers
from .base import AggregateFn, Arrow, First

Call = tuple[str, str, Any]
"""A column of partial results: its name, Arrow's function, and options."""
ALL = "\0all"
"""The key when there is none."""
ROW = "\0row"
GROUP, VALUE = "group", "value"
SEEN_ROWS = 1000
SHARE_ALONE = 0.9
"""A block of at least so many rows of which so many have a key of their own tells that it does not pay to look for others."""
SAMPLE_ONE_IN = 64
SAMPLE_SHIFT = 20
"""Not the bits that say which part of an exchange a row is in, which are alike in a part."""
OF_ROW = frozenset({"sum", "min", "max"})
"""Functions that make of a single value the value."""
SCALAR = frozenset({"sum", "min", "max", "mean", "variance", "count"})
"""Functions that Arrow computes of a whole column, too, which is faster than with one group."""


class Groups:
    """The rows of a block by their keys.

    Args:
        block: with the columns `keys`.
        keys: none means a single group.
    """

    def __init__(self, block: Block, keys: Sequence[str]) -> None:
        self.block = block
        self.keys = list(keys)

    @cached_property
    def _rows(self) -> Lists:
        if not self.keys:
            rows = pa.array([list(range(self.block.num_rows))] if self.block.num_rows else [], pa.list_(pa.int64()))
            return Lists(pa.chunked_array([rows]))
        numbered = self.block.select(self.keys).append_column(ROW, pa.array(np.arange(self.block.num_rows)))
        return Lists(numbered.group_by(self.keys, use_threads=False).aggregate([(ROW, "list")]).column(f"{ROW}_list"))

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._rows.first)

    @cached_property
    def ids(self) -> Numbers:
        """The number of each row's group."""
        found = np.empty(self.block.num_rows, np.int64)
        found[np.asarray(self._rows.flat.take(pa.array(self._rows.places())))] = self._rows.rows()
        return found

    def parts(self) -> Iterator[tuple[Any, Block]]:
        """The key and the rows of each group. A single key is a value, several are a tuple; without keys it is None."""
        for first, last in zip(self._rows.first, self._rows.last, strict=True):
            part = self.block.take(self._rows.flat.slice(first, last - first))
            key = tuple(blocks.to_values(part.column(name).slice(0, 1))[0] for name in self.keys)
            yield (key[0] if len(key) == 1 else key or None), part

    def gather(self, lists: Any) -> tuple[pa.Array, Numbers]:
        """The values of lists, one list for each row, group after group, and the number of the group of each."""
        found = Lists(lists)
        ids = self.ids[found.rows()]
        order = np.argsort(ids, kind="stable")
        return found.flat.take(pa.array(found.places()[order])), ids[order]


def lists_of(values: Any, ids: Numbers, count: int) -> Any:
    """Values that come group after group as one list for each group."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=count))])
    return pa.chunked_array([pa.LargeListArray.from_arrays(pa.array(offsets), blocks.column(values))])


class Aggregation:
    """Several aggregations by the same keys.

    Args:
        keys: columns; none means a single row for all.
        aggregates: what is computed.

    Raises:
        ValueError: two results, or a result and a key, would have one name.
    """

    def __init__(self, keys: Sequence[str], aggregates: Sequence[AggregateFn]) -> None:
        self.keys = list(keys)
        self.aggregates = list(aggregates)
        names = [*self.keys, *(each.name for each in self.aggregates)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two columns of the result would be called {', '.join(map(repr, twice))}: give an alias_name"
            )

    # ------------------------------------------------------------ of each block

    def first(self, source: Iterator[Block]) -> Iterator[Block]:
        """The partial results of each block. Where nearly each row has a key of its own, `last` is to find the others."""
        alone: pa.Schema | None = None
        for block in source:
            check_columns(block, [*self.keys, *(each.on for each in self.aggregates if each.on is not None)])
            block = normal_keys(block, self.keys)
            found = self._first(block) if alone is None else self._of_rows(block, alone)
            if self.keys and self._is_plain and found.num_rows > max(SEEN_ROWS, SHARE_ALONE * block.num_rows):
                alone = found.schema
            yield found

    @property
    def _is_plain(self) -> bool:
        """Whether the partial results of a row are its values, and Arrow merges all of them."""
        return all(
            type(each).first_of_groups is Arrow.first_of_groups
            and type(each).merge_groups is Arrow.merge_groups
            and all(function in OF_ROW for function, _ in each.merge().values())
            for each in self.aggregates
        )

    def _calls(self, block: Block) -> tuple[dict[str, Any], list[Call]]:
        columns: dict[str, Any] = {}
        calls: list[Call] = []
        for at, each in enumerate(self.aggregates):
            for part, values, function, options in self._checked(each, block):
                columns[f"{at}\0{part}"] = block.column(each.on) if values is None and each.on is not None else values
                calls.append((f"{at}\0{part}", function, options))
        return columns, calls

    def _of_rows(self, block: Block, schema: pa.Schema) -> Block:
        """The partial results of each row, as if it had its key alone."""
        columns, calls = self._calls(block)
        made = [block.column(key) for key in self.keys]
        for name, function, options in calls:
            values = columns[name]
            if function == "count":
                counts_all = options == pc.CountOptions("all")
                values = pa.array(np.ones(block.num_rows, np.int64)) if counts_all else pc.is_valid(values)
            made.append(pc.cast(values, schema.field(name).type))
        return pa.table(made, schema.names)

    def _first(self, block: Block) -> Block:
        columns, calls = self._calls(block)
        found = self._grouped(block, columns, calls)
        groups = Groups(block, self.keys)
        parts = _parts(found)
        for at, each in enumerate(self.aggregates):
            had = {part: found.column(f"{at}\0{part}") for part in parts.get(at, ())}
            for part, values in each.first_of_groups(groups, had).items():
                found = _set(found, f"{at}\0{part}", values)
        return found

    def _checked(self, each: AggregateFn, block: Block) -> list[First]:
        try:
            return each.first(block)
        except (TypeError, pa.ArrowNotImplementedError) as error:
            kind = "" if each.on is None else f" of {told(block.column(each.on))}"
            raise TypeError(f"cannot compute {each.name}{kind}{why(error)}") from error

    def _grouped(self, block: Block, columns: Mapping[str, Any], calls: list[Call]) -> Block:
        """Arrow's functions on columns, by keys: the keys, and then a column for each call."""
        data = block.select(self.keys)
        plan: list[tuple[Any, str, Any]] = []
        same: dict[Any, int] = {}
        places: list[int] = []
        """Of each call in the plan: what several aggregations need of a column is computed once."""
        for name, function, options in calls:
            key = _identity(columns[name], function, options)
            if key not in same:
                same[key] = len(plan)
                data = data.append_column(name, columns[name])
                plan.append((name, function, options))
            places.append(same[key])
        keys = self.keys
        scalar = calls and block.num_rows and all(function in SCALAR for _, function, _ in calls)
        if not keys and scalar:  # Arrow's module of groups takes long to import
            try:
                return pa.table(
                    {name: pa.repeat(pc.call_function(what, [columns[name]], how), 1) for name, what, how in calls}
                )
            except pa.ArrowNotImplementedError as error:
                raise self._explained(block, error) from error
        if not keys:
            keys = [ALL]
            data = data.append_column(ALL, pa.array(np.ones(block.num_rows, bool)))
        try:
            found = data.group_by(keys, use_threads=False).aggregate(plan)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
            raise self._explained(block, error) from error
        first = found.column_names[: len(keys)] == keys  # Arrow put the keys last, once
        made = found.columns[len(keys) :] if first else found.columns[: len(plan)]
        values = [made[place] for place in places]
        names = [name for name, _, _ in calls]
        return pa.table([*(found.column(key) for key in self.keys), *values], [*self.keys, *names])

    def _explained(self, block: Block, error: Exception) -> Exception:
        what = [f"{key!r} ({told(block.column(key))})" for key in self.keys]
        on = [
            f"{each.name} of {told(block.column(each.on))}"
            for each in self.aggregates
            if each.on is not None and each.on in block.column_names
        ]
        by = f" by {', '.join(what)}" if what else ""
        return TypeError(f"cannot compute {', '.join(on) or 'groups'}{by}{why(error)}")

    # ------------------------------------------------------------ of all

    def last(self, block: Block) -> Iterator[Block]:
        """The result, of the partial results of all blocks with these keys; in the order of the keys."""
        if not block.num_columns:  # nobody knows the columns of what has no rows
            yield block
            return
        merged = self._sorted(block) if self.keys else self._merged(block)
        nothing = not self.keys and not merged.num_rows
        if nothing:
            merged = merged.take(pa.array([None], pa.int64()))
        columns = {key: merged.column(key) for key in self.keys}
        names = _parts(merged)
        for at, each in enumerate(self.aggregates):
            parts = {part: merged.column(f"{at}\0{part}") for part in names.get(at, ())}
            columns[each.name] = each.of_nothing(parts) if nothing else each.last(parts)
        yield pa.table(columns)

    def _sorted(self, block: Block) -> Block:
        """The merged results, in the order of the keys. If there is little to merge, what has to be is found by sorting."""
        up = [False] * len(self.keys)
        if not self._is_plain or not are_mostly_alone(block, self.keys):
            return sort_block(self._merged(block), self.keys, up)
        ordered = sort_block(block, self.keys, up)
        if is_each_alone(ordered, self.keys):
            return ordered
        return sort_block(
            self._merged(ordered), self.keys, up
        )  # Arrow's groups mostly keep the order of their first rows

    def _merged(self, block: Block) -> Block:
        calls: list[Call] = []
        columns: dict[str, Any] = {}
        for at, each in enumerate(self.aggregates):
            for part, (function, options) in each.merge().items():
                columns[f"{at}\0{part}"] = each.to_merge(block.column(f"{at}\0{part}"))
                calls.append((f"{at}\0{part}", function, options))
        merged = self._grouped(block, columns, calls)
        groups = Groups(block, self.keys)
        parts = _parts(block)
        for at, each in enumerate(self.aggregates):
            had = {part: block.column(f"{at}\0{part}") for part in parts.get(at, ())}
            for part, values in each.merge_groups(groups, had).items():
                merged = _set(merged, f"{at}\0{part}", values)
        return merged


def _identity(values: Any, function: str, options: Any) -> Any:
    """What is equal for calls that give the same: the same memory, or only its number of rows, and the same function."""
    if function == "count" and (not values.null_count or options == pc.CountOptions("all")):
        return function
    values = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    if not pa.types.is_primitive(values.type):
        return object()  # buffers are not all there is to other columns
    places = [
        (chunk.offset, len(chunk), *(None if each is None else each.address for each in chunk.buffers()))
        for chunk in values.chunks
    ]
    return function, str(options), values.type, tuple(places)


def are_mostly_alone(block: Block, keys: Sequence[str]) -> bool:
    """Whether most rows have keys of their own, judged by rows with certain bits in their hashes: equal ones are all there."""
    hashes = hash_rows(block, keys) >> np.uint64(SAMPLE_SHIFT)
    sample = hashes[hashes % np.uint64(SAMPLE_ONE_IN) == 0]
    return len(np.unique(sample)) > SHARE_ALONE * len(sample)


def _parts(block: Block) -> dict[int, list[str]]:
    """The names of the partial columns of each aggregation, by its number."""
    found: dict[int, list[str]] = {}
    for name in block.column_names:
        at, mark, part = name.partition("\0")
        if mark and at.isdigit():
            found.setdefault(int(at), []).append(part)
    return found


def _set(block: Block, name: str, values: Any) -> Block:
    where = block.schema.get_field_index(name)
    if where >= 0:
        return block.set_column(where, name, values)
    return block.append_column(name, values) if block.num_columns else pa.table({name: values})
