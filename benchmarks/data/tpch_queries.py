"""Queries of TPC-H as skate and Ray are asked them: the same program for both."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..framework import NAME

data: Any = importlib.import_module(f"{NAME}.data")
aggregate: Any = importlib.import_module(f"{NAME}.data.aggregate")
expressions: Any = importlib.import_module(f"{NAME}.data.expressions")
Count, Mean, Sum = aggregate.Count, aggregate.Mean, aggregate.Sum
col, lit = expressions.col, expressions.lit
Tables = dict[str, Any]
PARTS = 4
"""Ray wants to be told into how many parts a join cuts."""


def tables(folder: Path) -> Tables:
    """The tables that were written, as datasets of the framework that is measured."""
    return {each.name: data.read_parquet(str(each)) for each in sorted(folder.iterdir())}


def rows_of(dataset: Any) -> list[tuple[Any, ...]]:
    """The rows of a result, as tuples."""
    return [tuple(row.values()) for row in dataset.take_all()]


def _join(left: Any, right: Any, on: list[str], right_on: list[str]) -> Any:
    return left.join(right, join_type="inner", num_partitions=PARTS, on=tuple(on), right_on=tuple(right_on))


def _add(rows: Any, **columns: Any) -> Any:
    for name, expr in columns.items():
        rows = rows.with_column(name, expr)
    return rows


def _revenue() -> Any:
    return col("l_extendedprice") * (lit(1) - col("l_discount"))


def query_1(at: Tables) -> Any:
    """Pricing summary: a scan of nearly all rows into four groups."""
    sums = [Sum(name, alias_name=f"sum_{name}") for name in ("l_quantity", "l_extendedprice", "disc", "charge")]
    means = [Mean(name, alias_name=f"avg_{name}") for name in ("l_quantity", "l_extendedprice", "l_discount")]
    rows = at["lineitem"].filter(expr=col("l_shipdate") <= lit(dt.date(1998, 9, 2)))
    rows = _add(rows, disc=_revenue(), charge=_revenue() * (lit(1) + col("l_tax")))
    rows = rows.groupby(["l_returnflag", "l_linestatus"]).aggregate(*sums, *means, Count(alias_name="count"))
    return rows.sort(["l_returnflag", "l_linestatus"])


def query_3(at: Tables) -> Any:
    """Shipping priority: two joins, many groups, the first ten."""
    day = lit(dt.date(1995, 3, 15))
    rows = at["customer"].filter(expr=col("c_mktsegment") == lit("BUILDING"))
    rows = _join(rows, at["orders"].filter(expr=col("o_orderdate") < day), ["c_custkey"], ["o_custkey"])
    rows = _join(at["lineitem"].filter(expr=col("l_shipdate") > day), rows, ["l_orderkey"], ["o_orderkey"])
    rows = _add(rows, revenue=_revenue()).groupby(["l_orderkey", "o_orderdate", "o_shippriority"])
    rows = rows.aggregate(Sum("revenue", alias_name="revenue"))
    rows = rows.sort(["revenue", "o_orderdate", "l_orderkey"], descending=[True, False, False]).limit(10)
    return rows.select_columns(["l_orderkey", "revenue", "o_orderdate"])


def query_6(at: Tables) -> Any:
    """Forecast of revenue: a filter and a sum."""
    day, discount = col("l_shipdate"), col("l_discount")
    rows = at["lineitem"].filter(expr=(day >= lit(dt.date(1994, 1, 1))) & (day < lit(dt.date(1995, 1, 1))))
    rows = rows.filter(expr=(discount >= lit(0.049)) & (discount <= lit(0.071)) & (col("l_quantity") < lit(24)))
    rows = _add(rows, gain=col("l_extendedprice") * discount)
    return rows.groupby(None).aggregate(Sum("gain", alias_name="revenue"))


def query_9(at: Tables) -> Any:
    """Profit by nation and year: five joins."""
    parts = at["part"].filter(expr=col("p_name").str.contains("green"))
    rows = _join(at["lineitem"], parts, ["l_partkey"], ["p_partkey"])
    rows = _join(rows, at["supplier"], ["l_suppkey"], ["s_suppkey"])
    rows = _join(rows, at["partsupp"], ["l_partkey", "l_suppkey"], ["ps_partkey", "ps_suppkey"])
    rows = _join(rows, at["orders"], ["l_orderkey"], ["o_orderkey"])
    rows = _join(rows, at["nation"], ["s_nationkey"], ["n_nationkey"])
    profit = _revenue() - col("ps_supplycost") * col("l_quantity")
    rows = _add(rows, year=col("o_orderdate").dt.year(), profit=profit)
    rows = rows.groupby(["n_name", "year"]).aggregate(Sum("profit", alias_name="profit"))
    return rows.sort(["n_name", "year"], descending=[False, True])


QUERIES: dict[int, Callable[[Tables], Any]] = {1: query_1, 3: query_3, 6: query_6, 9: query_9}
