"""Expressions, aggregations, joins and sorts in tasks of a cluster give the rows that they give in one process."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.data.tpch import SQL, duck, generate
from benchmarks.data.tpch_queries import QUERIES, tables
from skate.data import block as blocks, plan
from skate.data.aggregate import AggregateFn, ApproximateTopK, CountDistinct, Quantile, Std
from skate.data.context import DataContext
from skate.data.dataset import Dataset
from skate.data.expressions import col, monotonically_increasing_id, random, udf

from .helpers import parts_of, run

pytestmark = pytest.mark.usefixtures("cluster")
DATA = pa.table({"k": [at % 7 for at in range(2000)], "v": [at * 37 % 101 for at in range(2000)]})


def on_cluster(node: plan.Node, **settings: int) -> pa.Table:
    return Dataset(node, DataContext(inline_bytes=0, local_bytes=0, **settings)).to_arrow()


def test_generated_columns_know_their_task() -> None:
    columns = ("id", monotonically_increasing_id()), ("r", random(seed=1, reseed_after_execution=False))
    node = plan.Project(plan.FilterExpr(parts_of(DATA, 4), col("v") >= 0), columns, keep=True)
    found = on_cluster(node)
    assert found.equals(run(node)) and len(set(found.column("id").to_pylist())) == 2000


def test_exchanges_give_the_same_rows() -> None:
    own = AggregateFn(lambda key: 0, lambda a, b: a + b, "own", accumulate_row=lambda a, row: a + row["v"])
    aggregates = (Std("v"), Quantile("v"), CountDistinct("v"), ApproximateTopK("v", 2), own)
    grouped = plan.Aggregate(parts_of(DATA, 4), ("k",), aggregates)
    joined = plan.Join(parts_of(DATA, 4), grouped, "left_outer", ("k",), ("k",))
    node = plan.Limit(plan.Sort(joined, ("v", "k"), (True, False)), 500)
    for settings in ({"shuffle_partitions": 3, "broadcast_bytes": 0}, {"shuffle_partitions": 3}):
        assert on_cluster(node, **settings).equals(run(node, **settings))


def test_users_functions_in_expressions() -> None:
    @udf(return_dtype=pa.int64())
    class Plus:
        def __init__(self, number: int) -> None:
            self.number = number

        def __call__(self, values: pa.Array) -> list[int]:
            return [value + self.number for value in values.to_pylist()]

    found = on_cluster(plan.Project(parts_of(DATA, 3), (("w", Plus(3)(col("v"))),)))
    assert found.column("w").to_pylist() == [value + 3 for value in DATA.column("v").to_pylist()]


@pytest.mark.parametrize("number", [3, 9])
def test_queries_of_tpch(tmp_path: Path, number: int) -> None:
    generate(tmp_path, 0.002)
    rows = blocks.to_rows(
        on_cluster(QUERIES[number](tables(tmp_path))._node, shuffle_partitions=2, broadcast_bytes=1000)
    )
    wanted = duck(tmp_path).execute(SQL[number]).fetchall()
    assert len(rows) == len(wanted) > 0
    for row, expected in zip(rows, wanted, strict=True):
        for value, other in zip(row.values(), expected, strict=True):
            assert value == (pytest.approx(other, rel=1e-9) if isinstance(other, float) else other)
