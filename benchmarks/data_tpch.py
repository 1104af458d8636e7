"""TPC-H queries 1, 3, 6 and 9 on skate.data and on DuckDB, over the same Parquet files.

The tables have the columns that these queries need, of random values with the distributions that matter for them: how many rows
pass each filter, and how many partners each join finds. They are not those of the TPC's own generator, so figures of others do
not compare. Run it with `python -m benchmarks.data_tpch [scale factor]`.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skate.data import plan, read_parquet
from skate.data.aggregate import AggregateFn, Count, Mean, Sum
from skate.data.expressions import Expr, col, lit

Tables = dict[str, "Rows"]
FIRST_DAY = np.datetime64("1992-01-01")
SEGMENTS = ["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"]
COLOURS = [
    "almond",
    "blue",
    "coral",
    "forest",
    "green",
    "ivory",
    "lemon",
    "navy",
    "olive",
    "peach",
    "plum",
    "red",
    "tan",
]


# ---------------------------------------------------------------- data


def generate(folder: Path, scale: float, seed: int = 1) -> None:
    """Write the tables, a folder of two Parquet files for each."""
    rng = np.random.default_rng(seed)
    orders, parts, suppliers, customers = (max(10, int(scale * each)) for each in (1_500_000, 200_000, 10_000, 150_000))
    days = rng.integers(0, 2400, orders)
    lines = rng.integers(1, 8, orders)
    order = np.repeat(np.arange(orders), lines)
    part = rng.integers(0, parts, len(order))
    shipped = days[order] + rng.integers(1, 122, len(order))
    quantity = rng.integers(1, 51, len(order))
    late = shipped > 1262
    tables: dict[str, dict[str, Any]] = {
        "lineitem": {
            "l_orderkey": order,
            "l_partkey": part,
            "l_suppkey": (part + rng.integers(0, 4, len(order)) * (suppliers // 4 + 1)) % suppliers,
            "l_quantity": quantity.astype(np.float64),
            "l_extendedprice": quantity * (900 + part % 1000).astype(np.float64),
            "l_discount": rng.integers(0, 11, len(order)) / 100,
            "l_tax": rng.integers(0, 9, len(order)) / 100,
            "l_returnflag": np.where(late, "N", np.where(rng.random(len(order)) < 0.5, "A", "R")),
            "l_linestatus": np.where(late, "O", "F"),
            "l_shipdate": FIRST_DAY + shipped,
        },
        "orders": {
            "o_orderkey": np.arange(orders),
            "o_custkey": rng.integers(0, customers, orders),
            "o_orderdate": FIRST_DAY + days,
            "o_shippriority": np.zeros(orders, np.int32),
        },
        "customer": {
            "c_custkey": np.arange(customers),
            "c_mktsegment": np.asarray(SEGMENTS)[rng.integers(0, 5, customers)],
        },
        "part": {
            "p_partkey": np.arange(parts),
            "p_name": [" ".join(rng.choice(COLOURS, 2)) for _ in range(parts)],
        },
        "supplier": {"s_suppkey": np.arange(suppliers), "s_nationkey": rng.integers(0, 25, suppliers)},
        "partsupp": {
            "ps_partkey": np.repeat(np.arange(parts), 4),
            "ps_suppkey": (np.repeat(np.arange(parts), 4) + np.tile(np.arange(4), parts) * (suppliers // 4 + 1))
            % suppliers,
            "ps_supplycost": rng.integers(100, 100_000, 4 * parts) / 100,
        },
        "nation": {"n_nationkey": np.arange(25), "n_name": [f"NATION {number:02}" for number in range(25)]},
    }
    for name, columns in tables.items():
        (folder / name).mkdir(parents=True)
        table = pa.table(columns)
        half = -(-table.num_rows // 2)
        for number in range(2):
            pq.write_table(
                table.slice(number * half, half), folder / name / f"{number}.parquet", row_group_size=1 << 18
            )


def tables(folder: Path) -> Tables:
    """The tables that were written."""
    return {each.name: Rows(read_parquet(str(each))._node) for each in sorted(folder.iterdir())}


# ---------------------------------------------------------------- queries


class Rows:
    """A plan that is being written."""

    def __init__(self, node: plan.Node) -> None:
        self.node = node

    def where(self, predicate: Expr) -> Rows:
        """The rows for which it is true."""
        return Rows(plan.FilterExpr(self.node, predicate))

    def add(self, **columns: Expr) -> Rows:
        """More columns."""
        return Rows(plan.Project(self.node, tuple(columns.items()), keep=True))

    def select(self, *names: str) -> Rows:
        """These columns."""
        return Rows(plan.Project(self.node, tuple((name, col(name)) for name in names)))

    def join(self, other: Rows, left: list[str], right: list[str], how: str = "inner") -> Rows:
        """With the rows of the same keys."""
        return Rows(plan.Join(self.node, other.node, how, tuple(left), tuple(right)))

    def by(self, keys: list[str], *aggregates: AggregateFn) -> Rows:
        """A row for each key."""
        return Rows(plan.Aggregate(self.node, tuple(keys), aggregates))

    def sort(self, *keys: str) -> Rows:
        """In order; a minus before a name turns it."""
        return Rows(plan.Sort(self.node, tuple(key.lstrip("-") for key in keys), tuple(key[0] == "-" for key in keys)))

    def limit(self, rows: int) -> Rows:
        """The first rows."""
        return Rows(plan.Limit(self.node, rows))


REVENUE = col("l_extendedprice") * (lit(1) - col("l_discount"))


def query_1(at: Tables) -> Rows:
    """Pricing summary: a scan of nearly all rows into four groups."""
    sums = [Sum(name, alias_name=alias) for name, alias in {
        "l_quantity": "sum_qty", "l_extendedprice": "sum_base_price", "disc_price": "sum_disc_price", "charge": "sum_charge",
    }.items()]  # fmt: skip
    means = [Mean(name, alias_name=alias) for name, alias in {
        "l_quantity": "avg_qty", "l_extendedprice": "avg_price", "l_discount": "avg_disc",
    }.items()]  # fmt: skip
    rows = at["lineitem"].where(col("l_shipdate") <= dt.date(1998, 9, 2))
    rows = rows.add(disc_price=REVENUE, charge=REVENUE * (1 + col("l_tax")))
    rows = rows.by(["l_returnflag", "l_linestatus"], *sums, *means, Count(alias_name="count_order"))
    return rows.sort("l_returnflag", "l_linestatus")


def query_3(at: Tables) -> Rows:
    """Shipping priority: two joins, many groups, the first ten."""
    day = dt.date(1995, 3, 15)
    rows = at["customer"].where(col("c_mktsegment") == "BUILDING")
    rows = rows.join(at["orders"].where(col("o_orderdate") < day), ["c_custkey"], ["o_custkey"])
    rows = at["lineitem"].join(rows, ["l_orderkey"], ["o_orderkey"]).where(col("l_shipdate") > day)
    rows = rows.add(revenue=REVENUE).by(
        ["l_orderkey", "o_orderdate", "o_shippriority"], Sum("revenue", alias_name="revenue")
    )
    return rows.sort("-revenue", "o_orderdate", "l_orderkey").limit(10).select("l_orderkey", "revenue", "o_orderdate")


def query_6(at: Tables) -> Rows:
    """Forecast of revenue: a filter and a sum."""
    rows = at["lineitem"].where((col("l_shipdate") >= dt.date(1994, 1, 1)) & (col("l_shipdate") < dt.date(1995, 1, 1)))
    rows = rows.where(col("l_discount").between(0.049, 0.071) & (col("l_quantity") < 24))
    return rows.add(gain=col("l_extendedprice") * col("l_discount")).by([], Sum("gain", alias_name="revenue"))


def query_9(at: Tables) -> Rows:
    """Profit by nation and year: five joins."""
    parts = at["part"].where(col("p_name").str.contains("green"))
    rows = at["lineitem"].join(parts, ["l_partkey"], ["p_partkey"]).join(at["supplier"], ["l_suppkey"], ["s_suppkey"])
    rows = rows.join(at["partsupp"], ["l_partkey", "l_suppkey"], ["ps_partkey", "ps_suppkey"])
    rows = rows.join(at["orders"], ["l_orderkey"], ["o_orderkey"]).join(at["nation"], ["s_nationkey"], ["n_nationkey"])
    rows = rows.add(year=col("o_orderdate").dt.year(), profit=REVENUE - col("ps_supplycost") * col("l_quantity"))
    return rows.by(["n_name", "year"], Sum("profit", alias_name="sum_profit")).sort("n_name", "-year")


QUERIES: dict[int, tuple[Callable[[Tables], Rows], str]] = {
    1: (query_1, """
        select l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), sum(l_extendedprice * (1 - l_discount)),
            sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), avg(l_quantity), avg(l_extendedprice), avg(l_discount),
            count(*)
        from lineitem where l_shipdate <= date '1998-09-02' group by all order by all"""),
    3: (query_3, """
        select l_orderkey, sum(l_extendedprice * (1 - l_discount)) as revenue, o_orderdate
        from customer, orders, lineitem where c_mktsegment = 'BUILDING' and c_custkey = o_custkey and l_orderkey = o_orderkey
            and o_orderdate < date '1995-03-15' and l_shipdate > date '1995-03-15'
        group by l_orderkey, o_orderdate, o_shippriority order by revenue desc, o_orderdate, l_orderkey limit 10"""),
    6: (query_6, """
        select sum(l_extendedprice * l_discount) from lineitem where l_shipdate >= date '1994-01-01'
            and l_shipdate < date '1995-01-01' and l_discount between 0.049 and 0.071 and l_quantity < 24"""),
    9: (query_9, """
        select n_name, year(o_orderdate) as y, sum(l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity)
        from part, supplier, lineitem, partsupp, orders, nation
        where s_suppkey = l_suppkey and ps_suppkey = l_suppkey and ps_partkey = l_partkey and p_partkey = l_partkey
            and o_orderkey = l_orderkey and s_nationkey = n_nationkey and p_name like '%green%'
        group by all order by n_name, y desc"""),
}  # fmt: skip


def duck(folder: Path) -> Any:
    """A connection to DuckDB that knows the tables."""
    import duckdb

    connection = duckdb.connect()
    for each in sorted(folder.iterdir()):
        connection.execute(f"create view {each.name} as select * from '{each}/*.parquet'")
    return connection


def main(scale: float) -> None:
    """Run each query on both, three times; print the shortest."""
    import skate
    from skate.data.context import DataContext
    from skate.data.run import blocks_of

    skate.init()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, scale)
        print(f"scale factor {scale}\n{'query':<8}{'skate, s':>10}{'DuckDB, s':>11}")
        for number, (query, sql) in QUERIES.items():
            connection = duck(folder)
            runs: list[tuple[float, float]] = []
            for _ in range(3):
                start = time.perf_counter()
                list(blocks_of(query(tables(folder)).node, DataContext()))
                middle = time.perf_counter()
                connection.execute(sql).fetchall()
                runs.append((middle - start, time.perf_counter() - middle))
            print(f"{number:<8}{min(run[0] for run in runs):>10.2f}{min(run[1] for run in runs):>11.2f}", flush=True)
    skate.shutdown()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
