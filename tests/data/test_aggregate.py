"""Aggregations, against DuckDB and pandas: over any cut into blocks and parts, with nulls, NaN and no rows."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from skate.data import block as blocks, plan
from skate.data.aggregate import (
    AbsMax,
    AggregateFn,
    AggregateFnV2,
    ApproximateQuantile,
    ApproximateTopK,
    AsList,
    Count,
    CountDistinct,
    Max,
    Mean,
    Min,
    MissingValuePercentage,
    Quantile,
    Std,
    Sum,
    Unique,
    ValueCounter,
    VectorizedAggregateFnV2,
    ZeroPercentage,
)
from skate.data.errors import ColumnNotFoundError

from .helpers import parts_of, run

KEYS = st.one_of(st.none(), st.integers(0, 3))
VALUES = st.one_of(st.none(), st.integers(-5, 5))
ROWS = st.lists(st.tuples(KEYS, st.sampled_from(["x", "y", None]), VALUES), max_size=25)
CUTS = st.tuples(st.integers(1, 4), st.integers(1, 3))

SQL: dict[str, AggregateFn] = {
    "count(*)": Count(),
    "count(v)": Count("v", ignore_nulls=True),
    "sum(v)": Sum("v"),
    "min(v)": Min("v"),
    "max(v)": Max("v"),
    "avg(v)": Mean("v"),
    "stddev_samp(v)": Std("v"),
    "stddev_pop(v)": Std("v", ddof=0, alias_name="population"),
    "max(abs(v))": AbsMax("v"),
    "quantile_cont(v, 0.3)": Quantile("v", 0.3),
    "count(distinct v)": CountDistinct("v"),
    "list(v order by i)": AsList("v"),
    "coalesce(list_sort(list(distinct v) filter (v is not null)), [])": Unique("v", ignore_nulls=True),
    "100.0 * count(*) filter (v is null) / nullif(count(*), 0)": MissingValuePercentage("v"),
    "100.0 * count(*) filter (v = 0) / nullif(count(v), 0)": ZeroPercentage("v"),
    "case when count(v) = count(*) then sum(v) end": Sum("v", ignore_nulls=False, alias_name="whole"),
    "case when count(v) = count(*) then stddev_samp(v) end": Std("v", ignore_nulls=False, alias_name="whole std"),
    "case when count(v) = count(*) then quantile_cont(v, 0.5) end": Quantile("v", ignore_nulls=False, alias_name="m"),
}
UNIQUE = list(SQL).index("coalesce(list_sort(list(distinct v) filter (v is not null)), [])")
LIST = list(SQL).index("list(v order by i)")


def table_of(rows: list[tuple[Any, Any, Any]]) -> pa.Table:
    k, s, v = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    names = {"k": pa.array(k, pa.int32()), "s": pa.array(s, pa.string()), "v": pa.array(v, pa.int64())}
    return pa.table({**names, "i": range(len(rows))})


def near(found: Any, wanted: Any) -> bool:
    return bool(found == pytest.approx(wanted, rel=1e-9, abs=1e-9) if isinstance(wanted, float) else found == wanted)


@pytest.mark.parametrize("keys", [(), ("k",), ("s", "k")])
@settings(max_examples=12, deadline=None)
@given(rows=ROWS, cuts=CUTS)
def test_aggregations_are_those_of_sql(
    keys: tuple[str, ...], rows: list[tuple[Any, Any, Any]], cuts: tuple[int, int]
) -> None:
    data = table_of(rows)
    found = run(plan.Aggregate(parts_of(data, cuts[0]), keys, tuple(SQL.values())), shuffle_partitions=cuts[1])
    assert found.column_names == [*keys, *(each.name for each in SQL.values())]
    by = f"group by {', '.join(keys)}" if keys else ""
    wanted = duckdb.sql(f"select {', '.join([*keys, *SQL])} from data {by}").fetchall()
    rest = len(keys)
    key = lambda row: repr(row[:rest])  # noqa: E731
    got = sorted(zip(*(column.to_pylist() for column in found.columns), strict=True), key=key)
    assert len(got) == len(wanted)
    for row, expected in zip(got, sorted(wanted, key=key), strict=True):
        plain = list(row)
        plain[rest + UNIQUE] = sorted(plain[rest + UNIQUE])
        other = list(expected)
        other[rest + LIST] = other[rest + LIST] or []  # of no rows at all
        for name, one, two in zip([*keys, *SQL], plain, other, strict=True):
            assert near(one, two), name


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([0.0, -0.0, math.nan, 1.5, None]), min_size=1, max_size=12), CUTS)
def test_there_is_one_zero_and_one_nan_among_keys(keys: list[float | None], cuts: tuple[int, int]) -> None:
    found = run(
        plan.Aggregate(parts_of(pa.table({"k": keys}), cuts[0]), ("k",), (Count(),)), shuffle_partitions=cuts[1]
    )
    wanted = pd.Series(keys, dtype=object).map(lambda key: "nan" if key != key and key is not None else key)
    counts = wanted.value_counts(dropna=False)
    assert sorted(found.column("count()").to_pylist()) == sorted(counts.tolist())


def test_standard_deviations_do_not_cancel() -> None:
    values = 1e9 + np.random.default_rng(1).random(1000)
    found = run(plan.Aggregate(parts_of(pa.table({"v": values}), 7), (), (Std("v"),)), shuffle_partitions=1)
    assert found.column("std(v)")[0].as_py() == pytest.approx(values.std(ddof=1), rel=1e-6)


def test_a_sum_that_does_not_fit_is_an_error() -> None:
    large = [2**62, 2**62 - 1]
    for cuts in (1, 2):
        data = parts_of(pa.table({"v": large}), cuts)
        assert run(plan.Aggregate(data, (), (Sum("v"),))).column(0).to_pylist() == [2**63 - 1]
        with pytest.raises(OverflowError, match=r"sum\(v\): the sum does not fit into 64 bits"):
            run(plan.Aggregate(parts_of(pa.table({"v": [*large, 1]}), cuts), (), (Sum("v"),)))
    mixed = parts_of(pa.table({"v": [2**62, 2**62, -(2**62)]}), 1)
    assert run(plan.Aggregate(mixed, (), (Mean("v"),))).column(0).to_pylist() == [pytest.approx(2**62 / 3)]


def test_what_cannot_be_aggregated_says_so() -> None:
    tensors = parts_of(blocks.from_columns({"k": [1, 2], "t": np.zeros((2, 3)), "s": ["a", "b"]}), 1)
    with pytest.raises(TypeError, match=r"sum\(t\).* of extension<arrow.fixed_shape_tensor"):
        run(plan.Aggregate(tensors, ("k",), (Sum("t"),)))
    with pytest.raises(TypeError, match=r"cannot compute mean\(s\) of string: these are no numbers"):
        run(plan.Aggregate(tensors, ("k",), (Mean("s"),)))
    with pytest.raises(ColumnNotFoundError, match="no column 'kk'"):
        run(plan.Aggregate(tensors, ("kk",), (Count(),)))
    with pytest.raises(ValueError, match=r"called 'sum\(k\)'"):
        run(plan.Aggregate(tensors, (), (Sum("k"), Sum("k"))))
    with pytest.raises(ValueError, match="between 0 and 1"):
        Quantile("v", 2)


@settings(max_examples=15, deadline=None)
@given(ROWS, CUTS)
def test_values_are_counted(rows: list[tuple[Any, Any, Any]], cuts: tuple[int, int]) -> None:
    data = table_of(rows)
    node = plan.Aggregate(parts_of(data, cuts[0]), ("k",), (ValueCounter("v"), ApproximateTopK("s", 1)))
    for row in run(node, shuffle_partitions=cuts[1]).to_pylist():
        mine = [(s, v) for k, s, v in rows if k == row["k"]]
        values = [v for _, v in mine]
        distinct = list(dict.fromkeys(values))
        assert row["value_counter(v)"] == {"values": distinct, "counts": [values.count(value) for value in distinct]}
        texts = [s for s, _ in mine if s is not None]
        top = row["approx_topk(s)"]
        assert len(top) == (1 if texts else 0)
        assert all(texts.count(each["s"]) == each["count"] == max(map(texts.count, texts)) for each in top)


def test_approximate_quantiles_are_near() -> None:
    rng = np.random.default_rng(3)
    keys, values = rng.integers(0, 3, 60_000), rng.normal(size=60_000)
    wanted = [0.0, 0.01, 0.5, 0.99, 1.0]
    data = parts_of(pa.table({"k": keys, "v": values}), 5)
    found = run(plan.Aggregate(data, ("k",), (ApproximateQuantile("v", wanted),))).to_pylist()
    for row in found:
        mine = np.sort(values[keys == row["k"]])
        ranks = np.searchsorted(mine, row["approx_quantile(v)"]) / len(mine)
        assert np.abs(ranks - wanted).max() < 1 / 800
    small = parts_of(pa.table({"v": [20, 40, 60, 80, 100]}), 2)
    assert run(plan.Aggregate(small, (), (ApproximateQuantile("v", [0.1, 0.5, 0.9]),))).to_pylist() == [
        {"approx_quantile(v)": [20.0, 60.0, 100.0]}
    ]


class Longest(AggregateFnV2):
    def __init__(self, on: str, ignore_nulls: bool) -> None:
        super().__init__(f"longest({on})", str, on=on, ignore_nulls=ignore_nulls)

    def aggregate_block(self, block: pa.Table) -> str | None:
        texts = block.column(self.on).to_pylist()
        if None in texts and not self.ignore_nulls:
            return None
        return max((text for text in texts if text is not None), key=len, default=None)

    def combine(self, current_accumulator: str, new: str) -> str:
        return max(current_accumulator, new, key=len)

    def finalize(self, accumulator: str) -> str:
        return accumulator.upper()


@pytest.mark.parametrize("cuts", [1, 3])
def test_users_aggregations(cuts: int) -> None:
    data = parts_of(pa.table({"k": [1, 2, 1, 2, 3], "s": ["a", "bb", "ccc", None, None]}), cuts)
    count = AggregateFn(
        init=lambda key: {"key": key, "n": 0},
        accumulate_row=lambda has, row: {**has, "n": has["n"] + 1},
        merge=lambda one, other: {**one, "n": one["n"] + other["n"]},
        finalize=lambda has: f"{has['key']}: {has['n']}",
        name="mine",
    )
    aggregates = (count, Longest("s", True), Count())
    found = run(plan.Aggregate(data, ("k",), aggregates), shuffle_partitions=2)
    rows = sorted(zip(*(column.to_pylist() for column in found.columns), strict=True))
    assert rows == [(1, "1: 2", "CCC", 2), (2, "2: 2", "BB", 2), (3, "3: 1", None, 1)]
    strict = run(plan.Aggregate(data, ("k",), (Longest("s", False),)), shuffle_partitions=2).to_pylist()
    assert sorted(strict, key=lambda row: row["k"])[1] == {"k": 2, "longest(s)": None}
    assert run(plan.Aggregate(data, (), (count,))).column("mine").to_pylist() == ["None: 5"]
    nothing = parts_of(pa.table({"s": pa.array([], pa.string())}), 1)
    assert run(plan.Aggregate(nothing, (), (count,))).column("mine").to_pylist() == ["None: 0"]


@pytest.mark.parametrize("groups", [40_000, 20_000, 50])
def test_nearly_as_many_groups_as_rows(groups: int) -> None:
    random = np.random.default_rng(3)
    keys = random.permutation(np.arange(40_000) % groups)
    values = pa.array(random.integers(-1000, 1000, 40_000), mask=random.random(40_000) < 0.1)
    whole = pa.table({"key": pa.array(keys, mask=keys == 3), "value": values})
    aggregates = [Sum("value"), Mean("value"), Min("value"), Count("value", ignore_nulls=True, alias_name="n"), Count()]
    found = run(plan.Aggregate(parts_of(whole, 4), ("key",), tuple(aggregates)), shuffle_partitions=3)
    calls: list[Any] = [("value", "sum"), ("value", "mean"), ("value", "min"), ("value", "count"), ([], "count_all")]
    wanted = whole.group_by("key").aggregate(calls).sort_by("key")
    assert sorted(map(str, found.to_pylist())) == sorted(
        str(dict(zip(found.column_names, row.values(), strict=True))) for row in wanted.to_pylist()
    )


class LongestOfAll(VectorizedAggregateFnV2):
    """The longest text; all accumulators of a key are merged at once."""

    def __init__(self, on: str) -> None:
        super().__init__(f"longest({on})", lambda: "", on=on, ignore_nulls=True)

    def aggregate_block(self, block: pa.Table) -> str | None:
        return max((value for value in block.column(self.on).to_pylist() if value), key=len, default=None)

    def _combine_column(self, accumulator_col: Any) -> str:
        return max(accumulator_col.to_pylist(), key=len)


def test_accumulators_that_are_merged_as_a_column() -> None:
    whole = pa.table({"k": [1, 2, 1, 2, 3, 1], "s": ["a", "bb", "cccc", "d", None, "ee"]})
    node = plan.Aggregate(parts_of(whole, 3), ("k",), (LongestOfAll("s"),))
    assert run(node, shuffle_partitions=2).sort_by("k").column("longest(s)").to_pylist() == ["cccc", "bb", None]
    assert LongestOfAll("s").get_agg_name() == "longest" and LongestOfAll("s").get_target_column() == "s"


def test_groups_come_in_order_if_hardly_any_has_two_rows() -> None:
    """Arrow's groups do not always come in the order of their first rows."""
    floats = [None, math.nan, -0.0, 0.0, 1.5, -2.0, math.inf, -math.inf, 3.0]
    whole = {"f": [floats[at * 7 % 9] for at in range(36)], "i": [None if at % 7 == 0 else at % 5 for at in range(36)]}
    found = run(plan.Aggregate(parts_of(pa.table(whole), 3), ("f", "i"), (Sum("i", alias_name="sum"),)))
    keys = [
        [(2, 0) if x is None else (1, 0) if x != x else (0, x) for x in row]
        for row in zip(*(found[name].to_pylist() for name in "fi"), strict=True)
    ]
    assert len(keys) == 33 and keys == sorted(keys)
