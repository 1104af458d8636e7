"""The lines about datasets. Each asks every system the same question about the same files, and checks the answer.

A time is that of one run, with everything from opening the files to the answer; what only an interpreter's first run has to do
(imports, the first workers) is left out by a run before. The systems that have no way to do something are left out of its line.
"""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Callable
from typing import Any

from ..lines import DASK, DUCKDB, POLARS, RAY, SKATE, Bench, Measure, line
from .files import GROUPS, Files, files
from .memory import peak_mb

GROUP, MEMORY = "data", "data memory"
NAME = os.environ.get("BENCH_FRAMEWORK", SKATE)
"""The system that is measured."""
ALL = (SKATE, RAY, DASK, POLARS, DUCKDB)
HEAVY_ROUNDS = 12
MODULES = {SKATE: "on_ray_api", RAY: "on_ray_api", POLARS: "on_polars", DUCKDB: "on_duckdb", DASK: "on_dask"}
REPEATS = 3
BUDGET_S = 8.0


def heavy_values(x: Any) -> Any:
    """Some work for a processor."""
    import numpy as np

    for _ in range(HEAVY_ROUNDS):
        x = np.sin(x) + np.sqrt(np.abs(x))
    return x


def engine() -> Any:
    """The answers of the system that is measured."""
    return importlib.import_module(f".{MODULES[NAME]}", __package__)


def check(found: Any, expected: float) -> None:
    """Raise if an answer is wrong."""
    if not math.isclose(found, expected, rel_tol=1e-6):
        raise AssertionError(f"the answer is {found}, and should be {expected}")


def question(
    name: str, expected: Callable[[Files], float], systems: tuple[str, ...] = ALL
) -> Callable[[Callable[[Any, Files], Any]], Measure]:
    """A line that takes the time of one question; the function asks it."""

    def register(ask: Callable[[Any, Files], Any]) -> Measure:
        def measure(bench: Bench) -> list[float]:
            at, system = files(bench.quick), engine()
            wanted = expected(at)
            check(ask(system, at), wanted)
            samples: list[float] = []
            until = time.perf_counter() + BUDGET_S
            while len(samples) < REPEATS and (not samples or time.perf_counter() < until):
                begin = time.perf_counter()
                found = ask(system, at)
                samples.append(time.perf_counter() - begin)
                check(found, wanted)
            return samples

        return line(f"data: {name}", GROUP, "s", systems=systems)(measure)

    return register


def _rows(at: Files) -> float:
    return at.rows


@question("first batch of a large CSV", lambda at: 256)
def first_batch(system: Any, at: Files) -> Any:
    return system.first_batch(at)


@question("count of a CSV of 1,000 rows", lambda at: 1000)
def small_csv(system: Any, at: Files) -> Any:
    return system.small_csv(at)


@question("count and sum of a CSV", lambda at: at.answers["sum"] + at.rows)
def csv_sum(system: Any, at: Files) -> Any:
    return system.csv_sum(at)


@question("count and sum of Parquet", lambda at: at.answers["sum"] + at.rows)
def parquet_sum(system: Any, at: Files) -> Any:
    return system.parquet_sum(at)


@question("map_batches, a cheap function", lambda at: at.answers["cheap"], (SKATE, RAY, DASK, POLARS))
def cheap(system: Any, at: Files) -> Any:
    return system.cheap(at)


@question("map_batches, a heavy function", lambda at: at.answers["heavy"], (SKATE, RAY, DASK, POLARS))
def heavy(system: Any, at: Files) -> Any:
    return system.heavy(at)


@question(f"groupby with {GROUPS:,} groups", lambda at: GROUPS)
def groupby(system: Any, at: Files) -> Any:
    return system.groupby(at, "group")


@question("groupby with a group for each row", _rows, (SKATE, RAY, POLARS, DUCKDB))
def groupby_all(system: Any, at: Files) -> Any:
    return system.groupby(at, "key")


@question("sort", _rows)
def sort(system: Any, at: Files) -> Any:
    return system.sort(at)


@question("random shuffle", _rows, (SKATE, RAY, POLARS, DUCKDB))
def shuffle(system: Any, at: Files) -> Any:
    return system.shuffle(at)


@question("join with a tenth of the keys, and a sum", lambda at: at.answers["join"])
def join(system: Any, at: Files) -> Any:
    return system.join(at)


@question("pictures, resized to 224 x 224", lambda at: at.count, (SKATE, RAY, DASK))
def pictures(system: Any, at: Files) -> Any:
    return system.pictures(at)


def _query(number: int) -> None:
    @question(f"TPC-H query {number}", lambda at: 1, (SKATE, RAY, POLARS, DUCKDB))
    def tpch(system: Any, at: Files) -> Any:
        from .tpch import is_answer

        return is_answer(at.tpch, number, system.tpch(at, number))


for _number in (1, 3, 6, 9):
    _query(_number)


@line("data: peak memory of the sort", MEMORY, "MB", systems=ALL)
def sort_memory(bench: Bench) -> list[float]:
    at, system = files(bench.quick), engine()
    path = at.parquet  # made before anything is measured
    return [peak_mb(lambda: system.sort(at))] if path else []


@line("data: peak memory of map_batches", MEMORY, "MB", systems=(SKATE, RAY, DASK, POLARS))
def map_memory(bench: Bench) -> list[float]:
    at, system = files(bench.quick), engine()
    path = at.parquet
    return [peak_mb(lambda: system.cheap(at))] if path else []
