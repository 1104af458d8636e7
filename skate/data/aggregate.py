"""Aggregations: one row for each key.

An aggregation that can be combined is computed of each block first, where the block is, and what is left is a few rows. It says
which partial columns it needs of a block, how partial columns of the same name are merged, and what the result is. The others
(distinct values, quantiles, lists) get all values of a key in one place.

INV-1: a partial column is named by the aggregation's place in the list, so that two on the same column do not meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .block import Block, concat, from_columns, to_values
from .errors import no_column

Grouped = Callable[[str, str, Any], pa.ChunkedArray]

ALL = "\0all"
"""The key when there is none."""


class AggregateFn:
    """One aggregation.

    Args:
        on: the column.
        alias_name: what the result is called.
        ignore_nulls: leave nulls out; otherwise a null makes the result null.
    """

    function = ""
    """Arrow's name of it, for those that are computed of all values of a key."""
    combines = True

    def __init__(self, on: str | None = None, *, alias_name: str | None = None, ignore_nulls: bool = True) -> None:
        self.on = on
        self.ignore_nulls = ignore_nulls
        label = self.function or type(self).__name__.lower()
        self.name = alias_name or (f"{label}({on})" if on is not None else f"{label}()")

    def options(self) -> Any:
        """Of Arrow's function."""
        return pc.ScalarAggregateOptions(skip_nulls=self.ignore_nulls, min_count=1)

    def first(self) -> list[tuple[str, str, Any]]:
        """Partial columns of a block: what each is called, and Arrow's function and options that compute it."""
        return [("", self.function, self.options())]

    def merge(self) -> dict[str, tuple[str, Any]]:
        """How each partial column is merged."""
        return {"": (self.function, self.options())}

    def last(self, partial: Callable[[str], pa.ChunkedArray]) -> pa.ChunkedArray:
        """The result of the merged partial columns."""
        return partial("")


class Count(AggregateFn):
    """The number of rows, or with a column (and `ignore_nulls`) of its values."""

    function = "count"

    def __init__(self, on: str | None = None, *, alias_name: str | None = None, ignore_nulls: bool = False) -> None:
        super().__init__(on, alias_name=alias_name, ignore_nulls=ignore_nulls)

    def options(self) -> Any:
        return pc.CountOptions("only_valid" if self.ignore_nulls and self.on is not None else "all")

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {"": ("sum", None)}


class Sum(AggregateFn):
    """The sum."""

    function = "sum"


class Min(AggregateFn):
    """The smallest."""

    function = "min"


class Max(AggregateFn):
    """The largest."""

    function = "max"


class AbsMax(AggregateFn):
    """The largest absolute value."""

    def __init__(self, on: str, *, alias_name: str | None = None, ignore_nulls: bool = True) -> None:
        super().__init__(on, alias_name=alias_name or f"abs_max({on})", ignore_nulls=ignore_nulls)

    def first(self) -> list[tuple[str, str, Any]]:
        return [("low", "min", self.options()), ("high", "max", self.options())]

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {"low": ("min", self.options()), "high": ("max", self.options())}

    def last(self, partial: Callable[[str], pa.ChunkedArray]) -> pa.ChunkedArray:
        return pc.max_element_wise(pc.abs(partial("low")), pc.abs(partial("high")), skip_nulls=self.ignore_nulls)


class Mean(AggregateFn):
    """The mean."""

    function = "mean"

    def first(self) -> list[tuple[str, str, Any]]:
        return [("sum", "sum", self.options()), ("count", "count", pc.CountOptions("only_valid"))]

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {"sum": ("sum", self.options()), "count": ("sum", None)}

    def last(self, partial: Callable[[str], pa.ChunkedArray]) -> pa.ChunkedArray:
        return pc.divide(partial("sum").cast(pa.float64()), partial("count").cast(pa.float64()))


class Std(AggregateFn):
    """The standard deviation. Parts are merged by the formula of Chan, Golub and LeVeque (1979), which does not cancel.

    Args:
        ddof: what is subtracted from the count: 1 for a sample, 0 for all there is.
    """

    function = "std"

    def __init__(self, on: str, ddof: int = 1, *, alias_name: str | None = None, ignore_nulls: bool = True) -> None:
        super().__init__(on, alias_name=alias_name, ignore_nulls=ignore_nulls)
        self.ddof = ddof

    combines = True

    def first(self) -> list[tuple[str, str, Any]]:
        variance = pc.VarianceOptions(ddof=0, skip_nulls=self.ignore_nulls, min_count=1)
        return [
            ("mean", "mean", self.options()),
            ("m2", "variance", variance),
            ("n", "count", pc.CountOptions("only_valid")),
        ]


class _Whole(AggregateFn):
    """Needs all values of a key in one place."""

    combines = False


class Quantile(_Whole):
    """A quantile, between neighbours where it falls between them."""

    def __init__(self, on: str, q: float = 0.5, *, alias_name: str | None = None, ignore_nulls: bool = True) -> None:
        if not 0 <= q <= 1:
            raise ValueError(f"q={q!r}: a quantile is between 0 and 1")
        super().__init__(on, alias_name=alias_name or f"quantile({on})", ignore_nulls=ignore_nulls)
        self.q = q

    def of(self, values: pa.Array) -> Any:
        """Of the values of one key."""
        return pc.quantile(values, q=self.q, skip_nulls=self.ignore_nulls)[0].as_py()


class Unique(_Whole):
    """The distinct values, as a list."""

    def of(self, values: pa.Array) -> Any:
        """Of the values of one key."""
        return pc.unique(values.drop_null() if self.ignore_nulls else values).to_pylist()


class CountDistinct(_Whole):
    """The number of distinct values."""

    def __init__(self, on: str, *, alias_name: str | None = None, ignore_nulls: bool = True) -> None:
        super().__init__(on, alias_name=alias_name or f"count_distinct({on})", ignore_nulls=ignore_nulls)

    def of(self, values: pa.Array) -> Any:
        """Of the values of one key."""
        return pc.count_distinct(values, mode="only_valid" if self.ignore_nulls else "all").as_py()


class AsList(_Whole):
    """All values, as a list, in the order of the rows."""

    def __init__(self, on: str, *, alias_name: str | None = None, ignore_nulls: bool = False) -> None:
        super().__init__(on, alias_name=alias_name or f"list({on})", ignore_nulls=ignore_nulls)

    def of(self, values: pa.Array) -> Any:
        """Of the values of one key."""
        return (values.drop_null() if self.ignore_nulls else values).to_pylist()


class Aggregation:
    """Several aggregations by the same keys.

    Args:
        keys: columns; none means a single row for all.
        aggregates: what is computed.
    """

    def __init__(self, keys: Sequence[str], aggregates: Sequence[AggregateFn]) -> None:
        self.keys = list(keys)
        self.aggregates = list(aggregates)
        self.combines = all(each.combines for each in aggregates)

    # ------------------------------------------------------------ of each block

    def first(self, source: Iterator[Block]) -> Iterator[Block]:
        """What goes on of each block: partial results, or, if those will not do, the columns that are needed."""
        for block in source:
            for name in (*self.keys, *(each.on for each in self.aggregates if each.on is not None)):
                if name not in block.column_names:
                    raise no_column(name, block.column_names)
            needed = dict.fromkeys([*self.keys, *(each.on for each in self.aggregates if each.on is not None)])
            if not self.combines:
                yield block.select(list(needed))
            else:
                yield self._first(block)

    def _first(self, block: Block) -> Block:
        plan = []
        names = []
        for at, each in enumerate(self.aggregates):
            for part, function, options in each.first():
                plan.append(([] if each.on is None else each.on, "count_all" if each.on is None else function, options))
                names.append(f"{at}\0{part}")
        found = self._grouped(block, plan, names)
        for at, each in enumerate(self.aggregates):
            if isinstance(each, Std):
                found = self._to_m2(found, at)
        return found

    def _to_m2(self, found: Block, at: int) -> Block:
        where = found.column_names.index(f"{at}\0m2")
        return found.set_column(where, f"{at}\0m2", pc.multiply(found.column(where), found.column(f"{at}\0n")))

    def _grouped(self, block: Block, plan: list[tuple[Any, str, Any]], names: list[str]) -> Block:
        keys = self.keys or [ALL]
        if not self.keys:
            block = block.append_column(ALL, pa.repeat(pa.scalar(True), block.num_rows))
        grouped = block.group_by(keys, use_threads=False).aggregate(plan)
        columns = (
            grouped.columns[len(keys) :] if grouped.column_names[: len(keys)] == keys else grouped.columns[: len(plan)]
        )
        table = pa.table([*(grouped.column(key) for key in keys), *columns], names=[*keys, *names])
        return table if self.keys else table.drop_columns([ALL])

    # ------------------------------------------------------------ of all

    def last(self, block: Block) -> Iterator[Block]:
        """The result: of the partial results of all blocks with these keys, or of all their rows."""
        if not self.combines:
            yield self._whole(block)
            return
        merged = self._merged(block)
        columns = {key: merged.column(key) for key in self.keys}
        for at, each in enumerate(self.aggregates):
            columns[each.name] = (
                _std(each, merged, at)
                if isinstance(each, Std)
                else each.last(lambda part, at=at: merged.column(f"{at}\0{part}"))  # type: ignore[misc]
            )
        out = pa.table(columns)
        yield out.sort_by([(key, "ascending") for key in self.keys]) if self.keys else out

    def _merged(self, block: Block) -> Block:
        plan, names = [], []
        for at, each in enumerate(self.aggregates):
            if isinstance(each, Std):
                continue
            for part, (function, options) in each.merge().items():
                plan.append((f"{at}\0{part}", function, options))
                names.append(f"{at}\0{part}")
        merged = self._grouped(block, plan, names) if plan else self._grouped(block, [], [])
        for at, each in enumerate(self.aggregates):
            if isinstance(each, Std):
                merged = self._merge_std(block, merged, at)
        return merged

    def _merge_std(self, block: Block, merged: Block, at: int) -> Block:
        place = self._places(block, merged)
        n = np.asarray(pc.fill_null(block.column(f"{at}\0n"), 0)).astype(np.float64)
        mean = np.asarray(pc.fill_null(block.column(f"{at}\0mean"), 0.0)).astype(np.float64)
        m2 = np.asarray(pc.fill_null(block.column(f"{at}\0m2"), 0.0)).astype(np.float64)
        count = merged.num_rows if self.keys or not block.num_rows else 1
        total = np.bincount(place, n, count)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.bincount(place, n * mean, count) / total
        all_m2 = np.bincount(place, m2 + n * (mean - means[place]) ** 2, count)
        if not self.keys and not merged.num_rows and not merged.num_columns:
            merged = pa.table({})
        return merged.append_column(f"{at}\0n", pa.array(total)).append_column(f"{at}\0m2", pa.array(all_m2))

    def _places(self, block: Block, merged: Block) -> np.ndarray[Any, Any]:
        """For each row of `block`, which row of `merged` has its keys."""
        if not self.keys:
            return np.zeros(block.num_rows, dtype=np.int64)
        index = {key: at for at, key in enumerate(_key_tuples(merged, self.keys))}
        return np.fromiter((index[key] for key in _key_tuples(block, self.keys)), np.int64, block.num_rows)

    def _whole(self, block: Block) -> Block:
        from .exchange import groups

        out: dict[str, list[Any]] = {name: [] for name in (*self.keys, *(each.name for each in self.aggregates))}
        for group in groups(block, self.keys) if self.keys else (block,):
            for key in self.keys:
                out[key].append(to_values(group.column(key).slice(0, 1))[0])
            part = Aggregation([], [each for each in self.aggregates if each.combines])
            combined = next(part.last(concat(list(part.first(iter((group,))))))) if part.aggregates else None
            for each in self.aggregates:
                if isinstance(each, _Whole):
                    out[each.name].append(each.of(group.column(each.on).combine_chunks()))  # type: ignore[attr-defined]
                else:
                    assert combined is not None
                    out[each.name].append(combined.column(each.name)[0].as_py())
        found = from_columns(out)
        for key in self.keys:
            at = found.column_names.index(key)
            found = found.set_column(at, key, found.column(key).cast(block.schema.field(key).type))
        return found


def _key_tuples(block: Block, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(block.column(key).to_pylist() for key in keys), strict=True))


def _std(each: Std, merged: Block, at: int) -> pa.ChunkedArray:
    n = np.asarray(merged.column(f"{at}\0n"))
    m2 = np.asarray(merged.column(f"{at}\0m2"))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.sqrt(m2 / (n - each.ddof))
    return pa.chunked_array([pa.array(values, mask=n <= each.ddof)])
