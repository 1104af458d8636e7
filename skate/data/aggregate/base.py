"""What an aggregation is: its partial results of a block, how they are merged, and its result.

Users make their own of functions, or as a class: their accumulators are any Python objects, and they are called for each key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .. import block as blocks
from ..block import Block
from ..compute import pc

if TYPE_CHECKING:
    from .engine import Groups

First = tuple[str, Any, str, Any]
"""A partial column: its name, the values (None: those of the column), Arrow's function, and options."""


class AggregateFn:
    """An aggregation of one's own, from functions; accumulators may be any Python objects.

    Args:
        init: the accumulator to begin with, of a key (a tuple if there are several, None if there is none).
        merge: one accumulator of two.
        name: what the result is called.
        accumulate_row: the accumulator after a row, of the accumulator before.
        accumulate_block: the accumulator after an Arrow table of rows. One of the two must be given.
        finalize: the result, of the last accumulator; None: it is the result.
    """

    on: str | None = None
    """The column."""
    ignore_nulls = True
    needs: Sequence[str] | None = None
    """The columns that it looks at; None: any."""

    def __init__(
        self,
        init: Callable[[Any], Any],
        merge: Callable[[Any, Any], Any],
        name: str,
        accumulate_row: Callable[[Any, dict[str, Any]], Any] | None = None,
        accumulate_block: Callable[[Any, Block], Any] | None = None,
        finalize: Callable[[Any], Any] | None = None,
    ) -> None:
        if (accumulate_row is None) == (accumulate_block is None):
            raise ValueError("give either accumulate_row or accumulate_block")
        if not isinstance(name, str) or not name:
            raise TypeError(f"name={name!r}: it must be a string")
        self.name = name
        self._init = init
        self._merge = merge
        self._row = accumulate_row
        self._block = accumulate_block
        self._finalize = finalize

    def first(self, block: Block) -> list[First]:
        """Partial columns that Arrow computes of a block."""
        return []

    def first_of_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        """Partial columns that are computed of groups, and of the partial columns that there are already."""
        return {"": blocks.objects([self._accumulate(self._init(key), part) for key, part in groups.parts()])}

    def merge(self) -> dict[str, tuple[str, Any]]:
        """Which partial columns Arrow merges, and by which function and options."""
        return {}

    def to_merge(self, values: Any) -> Any:
        """A partial column as Arrow can merge it."""
        return values

    def merge_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        """Partial columns, merged by group."""
        merged: dict[int, Any] = {}
        for at, value in zip(groups.ids.tolist(), blocks.to_values(had[""]), strict=True):
            merged[at] = self._merge(merged[at], value) if at in merged else value
        return {"": blocks.objects([merged[at] for at in range(groups.count)])}

    def last(self, parts: Mapping[str, Any]) -> Any:
        """The result, of merged partial columns."""
        found = blocks.to_values(parts[""])
        return blocks.column(found if self._finalize is None else [self._finalize(value) for value in found])

    def of_nothing(self, parts: Mapping[str, Any]) -> Any:
        """The result when there are no rows and no keys, of partial columns of one null."""
        return self.last({"": pa.chunked_array([blocks.objects([self._init(None)])])})

    def _accumulate(self, value: Any, part: Block) -> Any:
        if self._block is not None:
            return self._block(value, part)
        assert self._row is not None
        for row in blocks.to_rows(part):
            value = self._row(value, row)
        return value


class AggregateFnV2(AggregateFn):
    """An aggregation of one's own, as a class with `aggregate_block`, `combine` and perhaps `finalize`.

    Args:
        name: what the result is called.
        zero_factory: the accumulator of no rows, if nulls are not ignored.
        on: the column that it is about; None: all.
        ignore_nulls: partial results that are None are left out; otherwise, one makes the result None.
    """

    def __init__(self, name: str, zero_factory: Callable[[], Any], *, on: str | None, ignore_nulls: bool) -> None:
        super().__init__(
            lambda key: None if ignore_nulls else zero_factory(),
            self._combine,
            name,
            accumulate_block=lambda value, part: self.aggregate_block(part),
            finalize=lambda value: None if value is None else self.finalize(value),
        )
        self.on = on
        self.ignore_nulls = ignore_nulls

    def aggregate_block(self, block: Block) -> Any:
        """The accumulator of an Arrow table of rows of one key."""
        raise NotImplementedError

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """One accumulator of two."""
        raise NotImplementedError

    def finalize(self, accumulator: Any) -> Any:
        """The result."""
        return accumulator

    def get_target_column(self) -> str | None:
        """The column that it is about."""
        return self.on

    def get_agg_name(self) -> str:
        """The name without the column: "sum" of "sum(x)"."""
        return self.name.partition("(")[0]

    def _combine(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            left = one if other is None else other
            return left if self.ignore_nulls else None
        return self.combine(one, other)


class VectorizedAggregateFnV2(AggregateFnV2):
    """As `AggregateFnV2`, with a method `_combine_column` in place of `combine`: it gets all accumulators of a key at once."""

    def _combine_column(self, accumulator_col: Any) -> Any:
        """One accumulator of an Arrow array of them."""
        raise NotImplementedError

    def merge_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        found: list[list[Any]] = [[] for _ in range(groups.count)]
        for at, value in zip(groups.ids.tolist(), blocks.to_values(had[""]), strict=True):
            if value is not None or not self.ignore_nulls:
                found[at].append(value)
        return {"": blocks.objects([self._of(values) for values in found])}

    def _of(self, values: list[Any]) -> Any:
        if not values or (None in values and not self.ignore_nulls):
            return None
        return self._combine_column(blocks.column(values))


class Arrow(AggregateFn):
    """An aggregation that Arrow computes and merges: one function is enough for both."""

    function = ""

    def __init__(self, on: str | None, ignore_nulls: bool, alias_name: str | None, label: str) -> None:
        if on is not None and not isinstance(on, str):
            raise TypeError(f"on={on!r}: it must be the name of a column")
        self.on = on
        self.ignore_nulls = ignore_nulls
        self.needs = () if on is None else (on,)
        self.name = alias_name or f"{label}({on or ''})"

    def options(self) -> Any:
        """Of Arrow's function."""
        return pc.ScalarAggregateOptions(skip_nulls=self.ignore_nulls, min_count=1)

    def first(self, block: Block) -> list[First]:
        return [("", None, self.function, self.options())]

    def first_of_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def merge(self) -> dict[str, tuple[str, Any]]:
        return {"": (self.function, self.options())}

    def merge_groups(self, groups: Groups, had: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def last(self, parts: Mapping[str, Any]) -> Any:
        return parts[""]

    def of_nothing(self, parts: Mapping[str, Any]) -> Any:
        return self.last(parts)


def floats(values: Any) -> Any:
    """Numbers as floats.

    Raises:
        TypeError: they are no numbers.
    """
    kind = values.type
    if pa.types.is_floating(kind):
        return values if kind.bit_width > 16 else pc.cast(values, pa.float32())
    if pa.types.is_boolean(kind):
        values = pc.cast(values, pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)):
        raise TypeError("these are no numbers")
    return pc.cast(values, pa.float64(), safe=False)
