"""Sums, counts and what is made of them: all that a block needs to pass on is a number for each key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ..block import Block
from ..compute import pc
from .base import Arrow, First, floats
from .engine import Groups

INT_LIMIT = 1 << 63
WIDE = pa.decimal256(76, 0)
"""What integers are summed as whose sum might not fit into 64 bits; nobody else's columns have this type."""


class Count(Arrow):
    """The number of rows; with `ignore_nulls`, of those that have a value in a column."""

    def __init__(self, on: str | None = None, ignore_nulls: bool = False, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, "count")

    def first(self, block: Block) -> list[First]:
        if self.on is None or not self.ignore_nulls:
            return [("", pa.nulls(block.num_rows), "count", pc.CountOptions("all"))]
        return [("", None, "count", pc.CountOptions("only_valid"))]

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {"": ("sum", None)}

    def last(self, parts: Mapping[str, Any]) -> Any:
        found = parts[""]
        return pc.fill_null(found, 0) if found.null_count else found  # the constant would have Arrow import pandas


class Sum(Arrow):
    """The sum. One of integers that does not fit into 64 bits is an error."""

    function = "sum"

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, "sum")

    def first(self, block: Block) -> list[First]:
        return [("", self.to_merge(block.column(self.on)), self.function, self.options())]

    def to_merge(self, values: Any) -> Any:
        if not pa.types.is_integer(values.type) or values.null_count == len(values):
            return values
        ends = pc.min_max(values).as_py()
        fits = max(abs(ends["min"]), abs(ends["max"])) * len(values) < INT_LIMIT
        return values if fits else pc.cast(values, WIDE)

    def last(self, parts: Mapping[str, Any]) -> Any:
        try:
            return pc.cast(parts[""], pa.int64()) if parts[""].type.equals(WIDE) else parts[""]
        except pa.ArrowInvalid:
            raise OverflowError(
                f"{self.name}: the sum does not fit into 64 bits: cast the column to float64 before"
            ) from None


class Min(Arrow):
    """The smallest."""

    function = "min"

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, "min")


class Max(Arrow):
    """The largest."""

    function = "max"

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, "max")


class AbsMax(Arrow):
    """The largest absolute value."""

    function = "max"

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, "abs_max")

    def first(self, block: Block) -> list[First]:
        return [("", pc.abs_checked(block.column(self.on)), self.function, self.options())]


class Mean(Arrow):
    """The mean."""

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, "mean")

    def first(self, block: Block) -> list[First]:
        values = floats(block.column(self.on))
        return [("sum", values, "sum", self.options()), ("n", values, "count", pc.CountOptions("only_valid"))]

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {"sum": ("sum", self.options()), "n": ("sum", None)}

    def last(self, parts: Mapping[str, Any]) -> Any:
        return pc.divide(parts["sum"], pc.cast(parts["n"], pa.float64()))


class Std(Arrow):
    """The standard deviation. Parts are merged by the formula of Chan, Golub and LeVeque (1979), which does not cancel.

    Args:
        ddof: what is subtracted from the count: 1 for a sample, 0 for all there is. The result is null if nothing is left.
    """

    def __init__(self, on: str, ddof: int = 1, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, "std")
        self.ddof = ddof

    def first(self, block: Block) -> list[First]:
        values = floats(block.column(self.on))
        variance = pc.VarianceOptions(ddof=0, skip_nulls=self.ignore_nulls, min_count=1)
        return [
            ("n", values, "count", pc.CountOptions("only_valid")),
            ("mean", values, "mean", self.options()),
            ("m2", values, "variance", variance),
        ]

    def first_of_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        return {"m2": pc.multiply(had["m2"], pc.cast(had["n"], pa.float64()))}

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {}

    def merge_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        n, mean, m2 = (np.asarray(pc.fill_null(had[part], 0)).astype(np.float64) for part in ("n", "mean", "m2"))
        total = np.bincount(groups.ids, n, groups.count)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.bincount(groups.ids, n * mean, groups.count) / total
            apart = np.where(n > 0, m2 + n * (mean - means[groups.ids]) ** 2, 0.0)
        unknown = np.zeros(groups.count, bool)
        if not self.ignore_nulls:
            unknown[groups.ids[np.asarray(pc.is_null(had["m2"]))]] = True
        return {"n": pa.array(total), "m2": pa.array(np.bincount(groups.ids, apart, groups.count), mask=unknown)}

    def last(self, parts: Mapping[str, Any]) -> Any:
        left = pc.subtract(parts["n"], float(self.ddof))
        return pc.sqrt(pc.divide(parts["m2"], pc.if_else(pc.greater(left, 0), left, None)))


class Share(Arrow):
    """How many of the rows have something, in percent."""

    def first(self, block: Block) -> list[First]:
        values = block.column(self.on)
        hits = pc.cast(pc.fill_null(self.hit(values), False), pa.int64())
        return [("hits", hits, "sum", None), ("n", values, "count", self.counted())]

    def hit(self, values: Any) -> Any:
        """Which rows have it."""
        raise NotImplementedError

    def counted(self) -> Any:
        """Of which rows."""
        return pc.CountOptions("only_valid" if self.ignore_nulls else "all")

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {"hits": ("sum", None), "n": ("sum", None)}

    def last(self, parts: Mapping[str, Any]) -> Any:
        n = pc.cast(pc.if_else(pc.greater(parts["n"], 0), parts["n"], None), pa.float64())
        return pc.multiply(pc.divide(pc.cast(parts["hits"], pa.float64()), n), 100.0)


class MissingValuePercentage(Share):
    """How many of the values are null or NaN, in percent."""

    def __init__(self, on: str, alias_name: str | None = None) -> None:
        super().__init__(on, False, alias_name, "missing_pct")

    def hit(self, values: Any) -> Any:
        return pc.is_null(values, nan_is_null=True)


class ZeroPercentage(Share):
    """How many of the values are zero, in percent. With `ignore_nulls`, nulls are not counted at all."""

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(on, ignore_nulls, alias_name, "zero_pct")

    def hit(self, values: Any) -> Any:
        return pc.invert(values) if pa.types.is_boolean(values.type) else pc.equal(values, 0)
