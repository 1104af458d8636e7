"""Functions of lists, maps and arrays, on the flat values and the offsets that Arrow keeps: no list is made in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from .block import TensorType, column
from .compute import pc

Numbers = np.ndarray[Any, np.dtype[np.int64]]

ROW, VALUE, MISSING = "row", "value", "missing"


class Lists:
    """A column of lists as one flat array, and where in it each list begins and ends; null lists are empty.

    Raises:
        TypeError: it is no column of lists.
    """

    def __init__(self, values: Any) -> None:
        array = pa.array([values.as_py()], values.type) if isinstance(values, pa.Scalar) else column(values)
        kind = array.type
        if pa.types.is_map(kind):
            entries = array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
            array, kind = entries, entries.type
        if pa.types.is_fixed_size_list(kind):
            array = array.cast(pa.large_list(kind.value_type))
        elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise TypeError(f"{kind} is no type of lists")
        self.missing = np.asarray(array.is_null())
        offsets = np.asarray(array.offsets).astype(np.int64)
        self.first = offsets[:-1]
        self.last = np.where(self.missing, offsets[:-1], offsets[1:])
        self.flat: pa.Array = array.values

    @property
    def lengths(self) -> Numbers:
        """How many values each list has."""
        return self.last - self.first

    def rows(self) -> Numbers:
        """For each value, whose it is."""
        return np.repeat(np.arange(len(self.first)), self.lengths)

    def places(self) -> Numbers:
        """Where in the flat array the values are, list by list."""
        return spread(self.first, self.lengths)

    def table(self) -> pa.Table:
        """The number of the list, and the value, of each value."""
        return pa.table({ROW: self.rows(), VALUE: self.flat.take(pa.array(self.places()))})

    def again(self, flat: pa.Array, lengths: Numbers) -> pa.ChunkedArray:
        """Lists of other values; those that were null are null."""
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        mask = pa.array(self.missing) if self.missing.any() else None
        return pa.chunked_array([pa.LargeListArray.from_arrays(pa.array(offsets), flat, mask=mask)])


def spread(first: Numbers, lengths: Numbers, step: int = 1) -> Numbers:
    """The numbers `first`, `first + step`, ..., so many for each."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(first - step * before, lengths) + step * np.arange(int(lengths.sum()))


def length(values: Any) -> Any:
    """Of each list."""
    return pc.list_value_length(values)


def get(values: Any, index: int) -> Any:
    """The value at a place, counted from the end if it is negative; null where there is none."""
    lists = Lists(values)
    at = lists.first + index if index >= 0 else lists.last + index
    outside = (at < lists.first) | (at >= lists.last)
    return pa.chunked_array([lists.flat.take(pa.array(at, mask=outside))])


def cut(values: Any, start: int | None, stop: int | None, step: int | None) -> Any:
    """Parts of the lists, as Python's slices are; backwards there are none."""
    step = 1 if step is None else step
    lists = Lists(values)
    first = _bound(lists, 0 if start is None else start)
    last = lists.last if stop is None else _bound(lists, stop)
    lengths = np.maximum(0, -((first - last) // step))
    return lists.again(lists.flat.take(pa.array(spread(first, lengths, step))), lengths)


def _bound(lists: Lists, at: int) -> Numbers:
    found = lists.first + at if at >= 0 else lists.last + at
    return np.clip(found, lists.first, lists.last)


def ordered(values: Any, order: str, null_placement: str) -> Any:
    """The values of each list in order."""
    lists = Lists(values)
    table = lists.table()
    table = table.append_column(MISSING, table.column(VALUE).is_null())
    nulls = "ascending" if null_placement == "at_end" else "descending"
    places = pc.sort_indices(table, sort_keys=[(ROW, "ascending"), (MISSING, nulls), (VALUE, order)])
    return lists.again(column(table.column(VALUE).take(places)), lists.lengths)


def flatten(values: Any) -> Any:
    """Lists of lists as lists."""
    outer = Lists(values)
    inner = Lists(outer.flat)
    totals = np.concatenate([[0], np.cumsum(inner.lengths)])
    flat = inner.flat.take(pa.array(inner.places()))
    kept = spread(totals[outer.first], totals[outer.last] - totals[outer.first])
    return outer.again(flat.take(pa.array(kept)), totals[outer.last] - totals[outer.first])


def aggregate(values: Any, function: str) -> Any:
    """Of the values of each list; null where there are none."""
    lists = Lists(values)
    found = lists.table().group_by(ROW, use_threads=False).aggregate([(VALUE, function)])
    at = np.full(len(lists.first), -1)
    at[np.asarray(found.column(ROW))] = np.arange(found.num_rows)
    return found.column(f"{VALUE}_{function}").take(pa.array(at, mask=at < 0))


def contains(values: Any, value: Any) -> Any:
    """Whether a list has a value."""
    lists = Lists(values)
    hits = np.asarray(pc.fill_null(pc.equal(lists.flat.take(pa.array(lists.places())), value), False))
    found = np.bincount(lists.rows(), hits, len(lists.first)) > 0
    return pa.chunked_array([pa.array(found, mask=lists.missing)])


def map_part(values: Any, part: int) -> Any:
    """The keys (0) or the values (1) of maps, or of lists of pairs."""
    lists = Lists(values)
    if not pa.types.is_struct(lists.flat.type) or lists.flat.type.num_fields != 2:
        raise TypeError(f"{values.type} is no type of maps")
    return lists.again(pc.struct_field(lists.flat.take(pa.array(lists.places())), [part]), lists.lengths)


def array_to_list(values: Any) -> Any:
    """Arrays of one dimension as lists."""
    kind = values.type
    if isinstance(kind, pa.FixedShapeTensorType) and len(kind.shape) == 1:
        values = column(values).storage
    elif isinstance(kind, TensorType):
        storage = column(values).storage
        if any(size not in (1, None) for size in pc.unique(pc.list_value_length(storage.field("shape"))).to_pylist()):
            raise TypeError("arrays of more than one dimension are no lists")
        values = pc.struct_field(storage, "data")
    elif isinstance(kind, pa.BaseExtensionType):
        raise TypeError(f"{kind} is not of arrays of one dimension")
    lists = Lists(values)
    return lists.again(lists.flat.take(pa.array(lists.places())), lists.lengths)
