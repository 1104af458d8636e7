"""Numbers over all rows of a dataset: sums, means, quantiles, and a summary of every column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import aggregate as functions, plan
from .base import names_of
from .consumption import Consumption
from .schema import Schema
from .summary import DatasetSummary, Mapped, measures

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
        if not isinstance(column, str):
            raise TypeError(f"unique: name one column, not {column!r}; for several, use groupby(names).count()")
        self._check_columns([column])
        distinct = plan.Aggregate(self._node, (column,), (functions.Count(alias_name="\0rows"),))
        found = [value for block in self._tables(distinct) for value in block.column(column).to_pylist()]
        return [value for value in found if value is not None] if ignore_nulls else found

    def summary(
        self, columns: Sequence[str] | None = None, override_dtype_agg_mapping: Mapped | None = None
    ) -> DatasetSummary:
        """Some numbers about each column: how many rows, how much is missing, and, by its type, mean, standard deviation (with
        `ddof=0`), extremes, median and the most frequent values.

        Args:
            columns: only these.
            override_dtype_agg_mapping: from types to functions that, given the name of a column, return aggregations for it.

        Example:
            >>> import skate.data
            >>> skate.data.range(3).summary().get_column_stats("id").to_dict("records")[:2]
            [{'statistic': 'approx_quantile[0]', 'value': 1.0}, {'statistic': 'count', 'value': 3.0}]
        """
        schema = self.schema() or Schema(pa.schema([]))
        wanted = list(names_of("summary", columns)) if columns is not None else schema.names
        self._check_columns(wanted)
        kinds = dict(zip(schema.names, schema.types, strict=True))
        chosen = {name: measures(name, kinds[name], override_dtype_agg_mapping) for name in wanted}
        found = self.aggregate(*(each for made in chosen.values() for each in made)) if wanted else {}
        return DatasetSummary(
            schema,
            {name: {each.name.removesuffix(f"({name})"): found[each.name] for each in chosen[name]} for name in wanted},
        )

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
