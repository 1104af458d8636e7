"""How Polars answers: one process, all cores, lazily."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl

from .files import Files
from .lines import heavy_values


def _count_and_sum(frame: Any) -> float:
    found = frame.select(n=pl.len(), sum=pl.col("x").sum()).collect()
    return float(found["n"][0] + found["sum"][0])


def _parquet(at: Files) -> Any:
    return pl.scan_parquet(f"{at.parquet}/*.parquet")


def csv_sum(at: Files) -> float:
    return _count_and_sum(pl.scan_csv(at.csv))


def parquet_sum(at: Files) -> float:
    return _count_and_sum(_parquet(at))


def small_csv(at: Files) -> int:
    return int(pl.scan_csv(at.small_csv).select(pl.len()).collect().item())


def first_batch(at: Files) -> int:
    return pl.scan_csv(at.csv).head(256).collect().height


def cheap(at: Files) -> float:
    def run(batch: Any) -> Any:
        x, y = (batch.struct.field(name).to_numpy() for name in ("x", "y"))
        return pl.Series(x * 2 + y)

    out = pl.struct("x", "y").map_batches(run, return_dtype=pl.Float64)
    return float(_parquet(at).select(out.alias("out")).sum().collect().item())


def heavy(at: Files) -> float:
    out = pl.col("x").map_batches(lambda x: pl.Series(heavy_values(x.to_numpy())), return_dtype=pl.Float64)
    return float(_parquet(at).select(out.alias("out")).sum().collect().item())


def groupby(at: Files, key: str) -> int:
    sums = pl.col("x").sum(), pl.col("y").mean().alias("mean"), pl.col("y").max().alias("max")
    return _parquet(at).group_by(key).agg(*sums).collect().height


def sort(at: Files) -> int:
    return _parquet(at).sort("key").collect().height


def shuffle(at: Files) -> int:
    return _parquet(at).collect().sample(fraction=1.0, shuffle=True).height


def join(at: Files) -> float:
    joined = _parquet(at).join(pl.scan_parquet(at.dimension), on="key")
    return float(joined.select(pl.col("y").sum()).collect().item())


# ---------------------------------------------------------------- TPC-H

REVENUE = pl.col("l_extendedprice") * (1 - pl.col("l_discount"))


def _query_1(at: dict[str, Any]) -> Any:
    sums = [pl.col("l_quantity", "l_extendedprice").sum().name.prefix("sum_"), pl.col("disc", "charge").sum()]
    means = pl.col("l_quantity", "l_extendedprice", "l_discount").mean().name.prefix("mean_")
    rows = at["lineitem"].filter(pl.col("l_shipdate") <= dt.date(1998, 9, 2))
    rows = rows.with_columns(disc=REVENUE, charge=REVENUE * (1 + pl.col("l_tax")))
    return (
        rows.group_by("l_returnflag", "l_linestatus").agg(*sums, means, pl.len()).sort("l_returnflag", "l_linestatus")
    )


def _query_3(at: dict[str, Any]) -> Any:
    day = dt.date(1995, 3, 15)
    rows = at["customer"].filter(pl.col("c_mktsegment") == "BUILDING")
    rows = rows.join(at["orders"].filter(pl.col("o_orderdate") < day), left_on="c_custkey", right_on="o_custkey")
    lines = at["lineitem"].filter(pl.col("l_shipdate") > day)
    rows = lines.join(rows, left_on="l_orderkey", right_on="o_orderkey").with_columns(revenue=REVENUE)
    rows = rows.group_by("l_orderkey", "o_orderdate", "o_shippriority").agg(pl.col("revenue").sum())
    rows = rows.sort("revenue", "o_orderdate", "l_orderkey", descending=[True, False, False]).head(10)
    return rows.select("l_orderkey", "revenue", "o_orderdate")


def _query_6(at: dict[str, Any]) -> Any:
    rows = at["lineitem"].filter(
        pl.col("l_shipdate") >= dt.date(1994, 1, 1),
        pl.col("l_shipdate") < dt.date(1995, 1, 1),
        pl.col("l_discount").is_between(0.049, 0.071),
        pl.col("l_quantity") < 24,
    )
    return rows.select((pl.col("l_extendedprice") * pl.col("l_discount")).sum())


def _query_9(at: dict[str, Any]) -> Any:
    rows = at["part"].filter(pl.col("p_name").str.contains("green", literal=True))
    rows = at["lineitem"].join(rows, left_on="l_partkey", right_on="p_partkey")
    rows = rows.join(at["supplier"], left_on="l_suppkey", right_on="s_suppkey")
    rows = rows.join(at["partsupp"], left_on=["l_partkey", "l_suppkey"], right_on=["ps_partkey", "ps_suppkey"])
    rows = rows.join(at["orders"], left_on="l_orderkey", right_on="o_orderkey")
    rows = rows.join(at["nation"], left_on="s_nationkey", right_on="n_nationkey")
    profit = REVENUE - pl.col("ps_supplycost") * pl.col("l_quantity")
    rows = rows.with_columns(year=pl.col("o_orderdate").dt.year(), profit=profit)
    rows = rows.group_by("n_name", "year").agg(pl.col("profit").sum())
    return rows.sort("n_name", "year", descending=[False, True])


QUERIES = {1: _query_1, 3: _query_3, 6: _query_6, 9: _query_9}


def tpch(at: Files, number: int) -> list[tuple[Any, ...]]:
    tables = {each.name: pl.scan_parquet(f"{each}/*.parquet") for each in Path(at.tpch).iterdir()}
    return list(QUERIES[number](tables).collect().rows())
