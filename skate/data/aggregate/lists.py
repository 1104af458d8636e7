"""Aggregations that need the values themselves, or many of them: what a block passes on is a list for each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...exceptions import UnsupportedError
from .. import block as blocks, nested
from ..block import Block
from ..compute import pc
from ..nested import Lists, Numbers
from .base import Arrow, First, floats
from .engine import GROUP, VALUE, Groups, lists_of


class OfLists(Arrow):
    """Needs the values themselves: partial results are lists."""

    function = "list"

    def options(self) -> Any:
        return None

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {}

    def merge_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        return {"": lists_of(*groups.gather(had[""]), groups.count)}

    def last(self, parts: Mapping[str, Any]) -> Any:
        lists = Lists(parts[""])
        flat, rows = lists.flat.take(pa.array(lists.places())), lists.rows()
        if self.ignore_nulls and flat.null_count:
            valid = np.asarray(flat.is_valid())
            flat, rows = flat.drop_null(), rows[valid]
        return self.result(flat, rows, len(lists.first))

    def result(self, values: pa.Array, rows: Numbers, count: int) -> Any:
        """Of the values, and for each the number of its group."""
        raise NotImplementedError


class AsList(OfLists):
    """All values, as a list, in the order of the rows."""

    def __init__(self, on: str, alias_name: str | None = None, ignore_nulls: bool = False) -> None:
        super().__init__(on, ignore_nulls, alias_name, "list")

    def result(self, values: pa.Array, rows: Numbers, count: int) -> Any:
        return lists_of(values, rows, count)


class Quantile(OfLists):
    """A quantile, between neighbours where it falls between them.

    Args:
        q: which, from 0 to 1.
    """

    def __init__(self, on: str, q: float = 0.5, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        if not 0 <= q <= 1:
            raise ValueError(f"q={q!r}: a quantile is between 0 and 1")
        super().__init__(on, ignore_nulls, alias_name, "quantile")
        self.q = q

    def first(self, block: Block) -> list[First]:
        return [("", floats(block.column(self.on)), self.function, None)]

    def result(self, values: pa.Array, rows: Numbers, count: int) -> Any:
        missing = np.bincount(rows, np.asarray(values.is_null()), count) > 0
        numbers = np.asarray(pc.fill_null(values, 0.0))
        ordered = numbers[np.lexsort((numbers, rows))]
        n = np.bincount(rows, minlength=count)
        first = np.cumsum(n) - n
        at = self.q * np.maximum(n - 1, 0)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(n - 1, 0))
        if not len(ordered):
            return pa.nulls(count, pa.float64())
        last = len(ordered) - 1
        below, above = (ordered[np.minimum(first + place, last)] for place in (low, high))
        found = np.where(at > low, below + (above - below) * (at - low), below)
        return pa.array(found, mask=missing | (n == 0))


class Unique(OfLists):
    """The distinct values, as a list, in no particular order."""

    function = "distinct"

    def __init__(
        self,
        on: str,
        ignore_nulls: bool = False,
        alias_name: str | None = None,
        encode_lists: Any = None,
        *,
        label: str = "unique",
    ) -> None:
        if encode_lists:
            raise UnsupportedError("Unique(encode_lists=True) is not there: flatten the lists into rows first")
        super().__init__(on, ignore_nulls, alias_name, label)

    def options(self) -> Any:
        return pc.CountOptions("only_valid" if self.ignore_nulls else "all")

    def result(self, values: pa.Array, rows: Numbers, count: int) -> Any:
        return lists_of(*counted(values, rows)[:2], count)


class CountDistinct(Unique):
    """The number of distinct values."""

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, label="count_distinct")

    def result(self, values: pa.Array, rows: Numbers, count: int) -> Any:
        return pa.array(np.bincount(counted(values, rows)[1], minlength=count))


class ValueCounter(OfLists):
    """How often each value comes: a struct of `values`, in the order in which they come, and `counts`. Null is a value."""

    def __init__(self, on: str, alias_name: str | None = None) -> None:
        super().__init__(on, False, alias_name, "value_counter")

    def first(self, block: Block) -> list[First]:
        return []

    def first_of_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        return self.lists(blocks.column(groups.block.column(self.on)), groups.ids, None, groups.count)

    def merge_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        values, ids = groups.gather(had["values"])
        return self.lists(values, ids, np.asarray(groups.gather(had["counts"])[0]), groups.count)

    def lists(self, values: Any, ids: Numbers, weights: Any, count: int) -> dict[str, Any]:
        """The partial columns of values that come with a weight each."""
        distinct, rows, counts = counted(values, ids, weights)
        return {"values": lists_of(distinct, rows, count), "counts": lists_of(pa.array(counts), rows, count)}

    def last(self, parts: Mapping[str, Any]) -> Any:
        values, counts = (_filled(parts[part]) for part in ("values", "counts"))
        return pa.StructArray.from_arrays([values, counts], ["values", "counts"])


class ApproximateTopK(ValueCounter):
    """The most frequent values with their counts. Nulls are not counted.

    A block passes on its most frequent values only, so that memory is bounded: what comes in more than `2 ** -log_capacity` of
    the rows is found for sure, and no count is lower than the true one by more than this.

    Args:
        k: how many.
        log_capacity: two to the power of it is the number of values that a block passes on for a key.
    """

    def __init__(
        self, on: str, k: int, log_capacity: int = 15, alias_name: str | None = None, encode_lists: bool = False
    ) -> None:
        if encode_lists:
            raise UnsupportedError("ApproximateTopK(encode_lists=True) is not there: flatten the lists into rows first")
        if k < 1 or log_capacity < 1:
            raise ValueError(f"k={k}, log_capacity={log_capacity}: both must be 1 or more")
        super().__init__(on, alias_name or f"approx_topk({on})")
        self.k = k
        self.capacity = 1 << log_capacity

    def lists(self, values: Any, ids: Numbers, weights: Any, count: int) -> dict[str, Any]:
        valid = np.asarray(values.is_valid())
        weights = None if weights is None else weights[valid]
        distinct, rows, counts = counted(values.drop_null(), ids[valid], weights)
        order = np.lexsort((-counts, rows))
        number = np.arange(len(rows)) - np.searchsorted(rows, rows)
        order = order[number < self.capacity]
        rows = rows[order]
        return {
            "values": lists_of(distinct.take(pa.array(order)), rows, count),
            "counts": lists_of(pa.array(counts[order]), rows, count),
        }

    def last(self, parts: Mapping[str, Any]) -> Any:
        values, counts = (nested.cut(_filled(parts[part]), 0, self.k, None) for part in ("values", "counts"))
        lists = Lists(values)
        flat = [each.flat.take(pa.array(each.places())) for each in (lists, Lists(counts))]
        return lists.again(pa.StructArray.from_arrays(flat, [str(self.on), "count"]), lists.lengths)


class ApproximateQuantile(OfLists):
    """Some quantiles, as a list: values that are there, at most `1 / quantile_precision` of the ranks away from the true ones.

    A block passes on for each key so many of its values in order, evenly spread, with a weight.

    Args:
        quantiles: which, from 0 to 1.
        quantile_precision: how many values.
    """

    def __init__(
        self, on: str, quantiles: Sequence[float], quantile_precision: int = 800, alias_name: str | None = None
    ) -> None:
        if not quantiles or not all(0 <= q <= 1 for q in quantiles):
            raise ValueError(f"quantiles={quantiles!r}: they must be between 0 and 1")
        super().__init__(on, True, alias_name, "approx_quantile")
        self.quantiles = list(quantiles)
        self.precision = quantile_precision

    def first(self, block: Block) -> list[First]:
        return []

    def first_of_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        column = pc.cast(blocks.column(floats(groups.block.column(self.on))), pa.float64())
        valid = np.asarray(column.is_valid())
        values, ids = np.asarray(column.drop_null()), groups.ids[valid]
        order = np.lexsort((values, ids))
        values, ids = values[order], ids[order]
        n = np.bincount(ids, minlength=groups.count)
        kept = np.minimum(n, self.precision)
        weights = np.repeat(n / np.maximum(kept, 1), kept)
        rows = np.repeat(np.arange(groups.count), kept)
        number = np.arange(len(rows)) - np.repeat(np.cumsum(kept) - kept, kept)
        places = (np.cumsum(n) - n)[rows] + np.floor((number + 0.5) * weights).astype(np.int64)
        points = pa.array(values[places]), pa.array(weights)
        return {
            part: lists_of(each, rows, groups.count) for part, each in zip(("values", "weights"), points, strict=True)
        }

    def merge_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        return {part: lists_of(*groups.gather(had[part]), groups.count) for part in ("values", "weights")}

    def last(self, parts: Mapping[str, Any]) -> Any:
        lists, weighted = Lists(_filled(parts["values"])), Lists(_filled(parts["weights"]))
        values, weights = (np.asarray(each.flat.take(pa.array(each.places()))) for each in (lists, weighted))
        rows, count = lists.rows(), len(lists.first)
        order = np.lexsort((values, rows))
        values, weights = values[order], weights[order]
        total = np.bincount(rows, weights, count)
        # How much of its group comes up to each value: whole numbers for the groups before make all one growing line.
        reached = rows + (np.cumsum(weights) - (np.cumsum(total) - total)[rows]) / total[rows]
        wanted = (np.arange(count)[:, None] + np.asarray(self.quantiles)[None, :]).ravel()
        places = np.searchsorted(reached, wanted - 1e-12)
        first, last = (np.repeat(each, len(self.quantiles)) for each in (lists.first, lists.last - 1))
        offset = np.repeat(np.cumsum(lists.lengths) - lists.lengths, len(self.quantiles))
        places = np.clip(places, offset, offset + np.maximum(last - first, 0))
        found = values[np.minimum(places, max(len(values) - 1, 0))] if len(values) else np.zeros(len(wanted))
        offsets = pa.array(np.arange(count + 1) * len(self.quantiles))
        return pa.LargeListArray.from_arrays(offsets, pa.array(found), mask=pa.array(lists.lengths == 0))


def _filled(lists: Any) -> Any:
    """With an empty list in place of none."""
    found = Lists(lists)
    offsets = np.concatenate([[0], np.cumsum(found.lengths)])
    return pa.LargeListArray.from_arrays(pa.array(offsets), found.flat.take(pa.array(found.places())))


def counted(values: pa.Array, rows: Numbers, weights: Any = None) -> tuple[Any, Numbers, Numbers]:
    """The distinct values of each group as they come, group after group, with the number of the group, and how often it comes."""
    n = np.ones(len(rows), np.int64) if weights is None else weights
    data = pa.table({GROUP: rows, VALUE: values, "n": n, "row": np.arange(len(rows))})
    found = data.group_by([GROUP, VALUE], use_threads=False).aggregate([("n", "sum"), ("row", "min")])
    groups, first = (np.asarray(found.column(name)).astype(np.int64) for name in (GROUP, "row_min"))
    order = np.lexsort((first, groups))
    return found.column(VALUE).take(order), groups[order], np.asarray(found.column("n_sum"))[order]
