"""Numbers over all rows of a dataset: sums, means, quantiles, and a summary of every column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import aggregate as functions, plan
from .base import names_of
from .consumption import Consumption

if TYPE_CHECKING:
    from .aggregate import AggregateFn

On = str | Sequence[str] | None


class Totals(Consumption):
    """The aggregations of `Dataset`.

    With the name of one column they return a value; with several, or None (all columns), a dict from "sum(a)" and so on to value.
    Without rows, the value is None.
    """

    def sum(self, on: On = None, ignore_nulls: bool = True) -> Any:
        """The sum of one column, or of several.

        Example:
            >>> import skate.data
            >>> skate.data.range(10).sum("id")
            45
        """
        return self._total(on, lambda name: functions.Sum(name, ignore_nulls=ignore_nulls))

    def min(self, on: On = None, ignore_nulls: bool = True) -> Any:
        """The smallest value."""
        return self._total(on, lambda name: functions.Min(name, ignore_nulls=ignore_nulls))

    def max(self, on: On = None, ignore_nulls: bool = True) -> Any:
        """The largest value."""
        return self._total(on, lambda name: functions.Max(name, ignore_nulls=ignore_nulls))

    def mean(self, on: On = None, ignore_nulls: bool = True) -> Any:
        """The mean."""
        return self._total(on, lambda name: functions.Mean(name, ignore_nulls=ignore_nulls))

    def std(self, on: On = None, ddof: int = 1, ignore_nulls: bool = True) -> Any:
        """The standard deviation.

        Args:
            ddof: what is subtracted from the count: 1 for a sample, 0 for all there is.
        """
        return self._total(on, lambda name: functions.Std(name, ddof=ddof, ignore_nulls=ignore_nulls))

    def quantile(self, on: On = None, q: float = 0.5, ignore_nulls: bool = True) -> Any:
        """The value below which a part `q` of the values lies; between neighbours where it falls between them."""
        return self._total(on, lambda name: functions.Quantile(name, q=q, ignore_nulls=ignore_nulls))

    def aggregate(self, *aggs: AggregateFn) -> dict[str, Any]:
        """Several aggregations in one go; a dict from their names to their values.

        Example:
            >>> import skate.data
            >>> from skate.data.aggregate import Max, Min
            >>> skate.data.range(10).aggregate(Min("id"), Max("id"))
            {'min(id)': 0, 'max(id)': 9}
        """
        check_aggregates(aggs)
        self._check_columns(each.on for each in aggs if each.on is not None)
        rows = [row for block in self._tables(plan.Aggregate(self._node, (), aggs)) for row in _rows(block)]
        if rows:
            return rows[0]
        return {each.name: 0 if isinstance(each, functions.Count) else None for each in aggs}

    def unique(self, column: str, ignore_nulls: bool = False) -> list[Any]:
        """The distinct values of a column, in their order; null is one of them unless nulls are ignored."""
        self._check_columns(names_of("unique", column))
        distinct = plan.Aggregate(self._node, (column,), (functions.Count(alias_name="\0rows"),))
        found = [value for block in self._tables(distinct) for value in block.column(column).to_pylist()]
        return [value for value in found if value is not None] if ignore_nulls else found

    def summary(self, columns: Sequence[str] | None = None) -> DatasetSummary:
        """Counts, means, extremes and how much is missing, for each column."""
        schema = self.schema()
        if schema is None:
            return DatasetSummary([])
        wanted = list(names_of("summary", columns)) if columns is not None else schema.names
        self._check_columns(wanted)
        kinds = dict(zip(schema.names, schema.types, strict=True))
        chosen = {name: _measures(name, kinds[name]) for name in wanted}
        found = self.aggregate(*(each for measures in chosen.values() for each in measures))
        return DatasetSummary([_line(name, kinds[name], found) for name in wanted])

    def _total(self, on: On, make: Callable[[str], AggregateFn]) -> Any:
        names = names_of("on", on) if on is not None else tuple(self.columns() or ())
        if not names:
            return None
        found = self.aggregate(*(make(name) for name in names))
        return next(iter(found.values())) if isinstance(on, str) else found


def check_aggregates(aggs: Sequence[Any]) -> None:
    """Raise an error for what is no aggregation.

    Raises:
        ValueError: there is none.
        TypeError: one is something else.
    """
    if not aggs:
        raise ValueError("aggregate: give at least one aggregation, such as Sum('x')")
    for each in aggs:
        if not isinstance(each, functions.AggregateFn):
            raise TypeError(f"aggregate: {each!r} is no aggregation, such as Sum('x')")


def _rows(block: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = block.to_pylist()
    return rows


def _measures(name: str, kind: pa.DataType) -> list[AggregateFn]:
    every: list[AggregateFn] = [
        functions.Count(name, ignore_nulls=True, alias_name=f"{name}\0count"),
        functions.Count(alias_name=f"{name}\0rows"),
    ]
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if numeric or pa.types.is_temporal(kind):
        every += [functions.Min(name, alias_name=f"{name}\0min"), functions.Max(name, alias_name=f"{name}\0max")]
    if numeric:
        every += [functions.Mean(name, alias_name=f"{name}\0mean"), functions.Std(name, alias_name=f"{name}\0std")]
    return every


def _line(name: str, kind: pa.DataType, found: dict[str, Any]) -> dict[str, Any]:
    rows = found[f"{name}\0rows"] or 0
    count = found[f"{name}\0count"] or 0
    line = {"column": name, "type": str(kind), "count": count}
    line["missing_pct"] = 100.0 * (rows - count) / rows if rows else None
    return {**line, **{each: found.get(f"{name}\0{each}") for each in ("mean", "std", "min", "max")}}


class DatasetSummary:
    """What `summary()` has found: a line for each column."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self.lines = lines

    def to_pandas(self) -> Any:
        """As a frame with a row for each column."""
        import pandas

        return pandas.DataFrame(self.lines)

    def get_column_stats(self, column: str) -> dict[str, Any]:
        """The line of one column.

        Raises:
            KeyError: it is not in the summary.
        """
        for line in self.lines:
            if line["column"] == column:
                return line
        raise KeyError(column)

    def __repr__(self) -> str:
        return self.to_pandas().to_string(index=False) if self.lines else "DatasetSummary(no rows)"
