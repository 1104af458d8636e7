"""Queries of TPC-H over Parquet files, against DuckDB over the same files."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data.tpch import SQL, duck, generate
from benchmarks.data.tpch_queries import QUERIES, tables

from .helpers import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tpch")
    generate(found, 0.01)
    return found


@pytest.mark.parametrize("number", sorted(QUERIES))
@pytest.mark.parametrize("broadcast", [0, 1 << 25])
def test_queries_are_answered_as_by_duckdb(folder: Path, number: int, broadcast: int) -> None:
    found = run(QUERIES[number](tables(folder))._node, shuffle_partitions=3, broadcast_bytes=broadcast)
    rows = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
    wanted = duck(folder).execute(SQL[number]).fetchall()
    assert len(rows) == len(wanted) > 0
    for row, expected in zip(rows, wanted, strict=True):
        for value, other in zip(row, expected, strict=True):
            assert value == (pytest.approx(other, rel=1e-9) if isinstance(other, float) else other)
