"""How DuckDB answers: one process, all cores. Large results are handed out as Arrow tables."""

from __future__ import annotations

from typing import Any

import duckdb

from .files import Files


def _one(sql: str) -> float:
    return float(duckdb.execute(sql).fetchall()[0][0])


def _rows(sql: str) -> int:
    relation = duckdb.sql(sql)
    assert relation is not None, "it is a query"
    return int(relation.to_arrow_table().num_rows)


def csv_sum(at: Files) -> float:
    return _one(f"select count(*) + sum(x) from '{at.csv}'")


def parquet_sum(at: Files) -> float:
    return _one(f"select count(*) + sum(x) from '{at.parquet}/*.parquet'")


def small_csv(at: Files) -> float:
    return _one(f"select count(*) from '{at.small_csv}'")


def first_batch(at: Files) -> int:
    return _rows(f"select * from '{at.csv}' limit 256")


def groupby(at: Files, key: str) -> int:
    return _rows(f"select \"{key}\", sum(x), avg(y), max(y) from '{at.parquet}/*.parquet' group by all")


def sort(at: Files) -> int:
    return _rows(f"select * from '{at.parquet}/*.parquet' order by key")


def shuffle(at: Files) -> int:
    return _rows(f"select * from '{at.parquet}/*.parquet' order by random()")


def join(at: Files) -> float:
    return _one(f"select sum(y) from '{at.parquet}/*.parquet' join '{at.dimension}' using (key)")


def tpch(at: Files, number: int) -> list[tuple[Any, ...]]:
    from .tpch import SQL, duck

    return list(duck(at.tpch).execute(SQL[number]).fetchall())
