"""Numbers on another scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from ..aggregate import AbsMax, ApproximateQuantile, Max, Mean, Min, Std
from ..expressions import Column, Expr, when
from ..preprocessor import Columns

if TYPE_CHECKING:
    from ..dataset import Dataset


def _number(name: str) -> Expr:
    return Column(name).cast("float64")


class StandardScaler(Columns):
    """Each column minus its mean, by its standard deviation (of all there is). A column of one value becomes zeros.

    Example:
        >>> import skate.data
        >>> from skate.data.preprocessors import StandardScaler
        >>> ds = skate.data.from_items([{"x": -2}, {"x": 0}, {"x": 2}])
        >>> [round(row["x"], 3) for row in StandardScaler(["x"]).fit_transform(ds).take_all()]
        [-1.225, 0.0, 1.225]
    """

    def _fit(self, dataset: Dataset) -> None:
        self.stats_ = _learnt(
            self, dataset, [each for name in self.columns for each in (Mean(name), Std(name, ddof=0))]
        )

    def _column(self, name: str) -> Expr:
        mean, std = float(self.stats_[f"mean({name})"]), float(self.stats_[f"std({name})"])
        return (_number(name) - mean) / (std or 1.0)


class MinMaxScaler(Columns):
    """Each column from 0, its minimum, to 1, its maximum. A column of one value becomes zeros."""

    def _fit(self, dataset: Dataset) -> None:
        self.stats_ = _learnt(self, dataset, [each for name in self.columns for each in (Min(name), Max(name))])

    def _column(self, name: str) -> Expr:
        low, high = self.stats_[f"min({name})"], self.stats_[f"max({name})"]
        return (_number(name) - float(low)) / _width(low, high)


def _width(low: Any, high: Any) -> float:
    """The distance between two values, to divide by."""
    return float(high - low) or 1.0


def _learnt(scaler: Columns, dataset: Dataset, wanted: list[Any]) -> dict[str, Any]:
    """What is to be known of the columns."""
    found = dataset.aggregate(*wanted)
    for each in wanted:
        if found[each.name] is None:
            raise ValueError(f"{type(scaler).__name__}: there are no values to learn {each.name} from")
    return found


class MaxAbsScaler(Columns):
    """Each column by the greatest of its absolute values. A column of zeros stays."""

    def _fit(self, dataset: Dataset) -> None:
        self.stats_ = _learnt(self, dataset, list(map(AbsMax, self.columns)))

    def _column(self, name: str) -> Expr:
        return _number(name) / (float(self.stats_[f"abs_max({name})"]) or 1.0)


class RobustScaler(Columns):
    """Each column minus its median, by the distance between two quantiles, which far-off values do not change.

    Args:
        quantile_range: which, from 0 to 1.
        quantile_precision: how many values stand for those of a block; see `ApproximateQuantile`.
    """

    def __init__(
        self,
        columns: Sequence[str],
        quantile_range: tuple[float, float] = (0.25, 0.75),
        output_columns: Sequence[str] | None = None,
        quantile_precision: int = 800,
    ) -> None:
        super().__init__(columns, output_columns)
        self.quantile_range = quantile_range
        self.quantile_precision = quantile_precision

    def _fit(self, dataset: Dataset) -> None:
        low, high = self.quantile_range
        wanted = [ApproximateQuantile(name, [low, 0.5, high], self.quantile_precision) for name in self.columns]
        found = _learnt(self, dataset, wanted)
        self.stats_ = {}
        for name, each in zip(self.columns, wanted, strict=True):
            names = f"low_quantile({name})", f"median({name})", f"high_quantile({name})"
            self.stats_.update(zip(names, found[each.name], strict=True))

    def _column(self, name: str) -> Expr:
        low, median, high = (self.stats_[f"{what}({name})"] for what in ("low_quantile", "median", "high_quantile"))
        return (_number(name) - float(median)) / _width(low, high)


class Normalizer(Columns):
    """Each row so that the norm of its columns is 1. A row of zeros stays.

    Args:
        norm: "l1" (the sum of absolute values), "l2" (the root of the sum of squares) or "max" (the greatest absolute value).
    """

    _is_fittable = False

    def __init__(
        self, columns: Sequence[str], norm: str = "l2", *, output_columns: Sequence[str] | None = None
    ) -> None:
        super().__init__(columns, output_columns)
        if norm not in ("l1", "l2", "max"):
            raise ValueError(f'norm={norm!r}: it must be "l1", "l2" or "max"')
        self.norm = norm

    def _made(self, names: Sequence[str]) -> tuple[Mapping[str, Expr], Sequence[str]]:
        values = [_number(name) for name in self.columns]
        if self.norm == "l2":
            length = reduce(lambda one, other: one + other, (value * value for value in values)).sqrt()
        elif self.norm == "l1":
            length = reduce(lambda one, other: one + other, map(abs, values))
        else:
            length = reduce(
                lambda one, other: when(abs(other) > one).then(abs(other)).otherwise(one), values[1:], abs(values[0])
            )
        divisor = when(length == 0).then(1.0).otherwise(length)
        return {new: value / divisor for new, value in zip(self.output_columns, values, strict=True)}, ()


class PowerTransformer(Columns):
    """Each column by a power transform, which makes many distributions more like the normal one.

    Args:
        power: its parameter.
        method: "yeo-johnson", or "box-cox" for values above 0.
    """

    _is_fittable = False

    def __init__(
        self,
        columns: Sequence[str],
        power: float,
        method: str = "yeo-johnson",
        *,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        if method not in ("yeo-johnson", "box-cox"):
            raise ValueError(f'method={method!r}: it must be "yeo-johnson" or "box-cox"')
        self.power = power
        self.method = method

    def _column(self, name: str) -> Expr:
        value = _number(name)
        if self.method == "box-cox":
            return _power(value, self.power)
        return when(value < 0).then(-_power(1.0 - value, 2.0 - self.power)).otherwise(_power(value + 1.0, self.power))


def _power(value: Expr, power: float) -> Expr:
    found: Expr = value.ln() if power == 0 else (value**power - 1.0) / float(power)
    return found
