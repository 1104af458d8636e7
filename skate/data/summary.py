"""`Dataset.summary()`: some numbers about each column, chosen by its type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import aggregate as functions
from .schema import Schema

if TYPE_CHECKING:
    from .aggregate import AggregateFn
    from .datatype import DataType

Mapped = Mapping["DataType", Callable[[str], Sequence["AggregateFn"]]]
MOST_FREQUENT = 10


def measures(column: str, kind: pa.DataType, mapped: Mapped | None = None) -> list[AggregateFn]:
    """The aggregations for a column.

    Args:
        mapped: others, by the type.
    """
    for wanted, make in (mapped or {}).items():
        if wanted.to_arrow_dtype() == kind:
            return list(make(column))
    missing = functions.MissingValuePercentage(column)
    count = functions.Count(column)
    if _is_number(kind):
        return [
            count,
            functions.Mean(column),
            functions.Min(column),
            functions.Max(column),
            functions.Std(column, ddof=0),
            functions.ApproximateQuantile(column, [0.5]),
            missing,
            functions.ZeroPercentage(column),
        ]
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or isinstance(kind, pa.BaseExtensionType):
        return [count, missing]
    if pa.types.is_temporal(kind):
        return [count, functions.Min(column), functions.Max(column), missing]
    return [count, missing, functions.ApproximateTopK(column, MOST_FREQUENT)]


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )


class DatasetSummary:
    """What `summary()` has found.

    Args:
        schema: the columns of the dataset.
        found: for each column in the summary, its statistics by name.
    """

    STATISTIC_COLUMN = "statistic"

    def __init__(self, schema: Schema, found: Mapping[str, Mapping[str, Any]]) -> None:
        self.dataset_schema = schema
        self.columns = list(found)
        self._found = {name: dict(_flat(values)) for name, values in found.items()}

    def to_pandas(self) -> Any:
        """A frame with a row for each statistic and a column for each column; None where there is no such statistic."""
        import pandas

        names = sorted({name for values in self._found.values() for name in values})
        columns = {column: [values.get(name) for name in names] for column, values in self._found.items()}
        return pandas.DataFrame({self.STATISTIC_COLUMN: names, **columns})

    def get_column_stats(self, column: str) -> Any:
        """The statistics of one column: a frame with columns "statistic" and "value".

        Raises:
            ValueError: it is not in the summary.
        """
        if column not in self._found:
            raise ValueError(f"there is no column {column!r} in the summary; there are {', '.join(self.columns)}")
        import pandas

        values = self._found[column]
        names = sorted(values)
        return pandas.DataFrame({self.STATISTIC_COLUMN: names, "value": [values[name] for name in names]})

    def __repr__(self) -> str:
        return str(self.to_pandas().to_string(index=False)) if self.columns else "DatasetSummary(no columns)"


def _flat(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Each entry of a list as a statistic of its own."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, list):
            found += [(f"{name}[{at}]", each) for at, each in enumerate(value)]
        else:
            found.append((name, value))
    return found
