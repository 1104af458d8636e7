"""The tables of TPC-H, its queries 1, 3, 6 and 9 in SQL, and their answers, which DuckDB gives.

The tables have the columns that these queries need, of random values with the distributions that matter for them: how many rows
pass each filter, and how many partners each join finds. They are not those of the TPC's own generator, so figures of others do
not compare.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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


# ---------------------------------------------------------------- queries

SQL: dict[int, str] = {
    1: """
        select l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), sum(l_extendedprice * (1 - l_discount)),
            sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), avg(l_quantity), avg(l_extendedprice), avg(l_discount),
            count(*)
        from lineitem where l_shipdate <= date '1998-09-02' group by all order by all""",
    3: """
        select l_orderkey, sum(l_extendedprice * (1 - l_discount)) as revenue, o_orderdate
        from customer, orders, lineitem where c_mktsegment = 'BUILDING' and c_custkey = o_custkey and l_orderkey = o_orderkey
            and o_orderdate < date '1995-03-15' and l_shipdate > date '1995-03-15'
        group by l_orderkey, o_orderdate, o_shippriority order by revenue desc, o_orderdate, l_orderkey limit 10""",
    6: """
        select sum(l_extendedprice * l_discount) from lineitem where l_shipdate >= date '1994-01-01'
            and l_shipdate < date '1995-01-01' and l_discount between 0.049 and 0.071 and l_quantity < 24""",
    9: """
        select n_name, year(o_orderdate) as y, sum(l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity)
        from part, supplier, lineitem, partsupp, orders, nation
        where s_suppkey = l_suppkey and ps_suppkey = l_suppkey and ps_partkey = l_partkey and p_partkey = l_partkey
            and o_orderkey = l_orderkey and s_nationkey = n_nationkey and p_name like '%green%'
        group by all order by n_name, y desc""",
}


def duck(folder: Path) -> Any:
    """A connection to DuckDB that knows the tables."""
    import duckdb

    connection = duckdb.connect()
    for each in sorted(folder.iterdir()):
        connection.execute(f"create view {each.name} as select * from '{each}/*.parquet'")
    return connection


def is_answer(folder: Path, number: int, rows: list[tuple[Any, ...]]) -> bool:
    """Whether rows are what DuckDB says; it is asked once for each query."""
    kept = folder.parent / f"tpch_{number}.json"
    if not kept.exists():
        found = duck(folder).execute(SQL[number]).fetchall()
        kept.write_text(json.dumps(found, default=str))
    wanted = json.loads(kept.read_text())
    return len(rows) == len(wanted) and all(map(_same, rows, wanted))


def _same(row: tuple[Any, ...], wanted: list[Any]) -> bool:
    pairs = zip(row, wanted, strict=True)
    return all(math.isclose(a, b, rel_tol=1e-6) if isinstance(b, float) else str(a) == str(b) for a, b in pairs)
