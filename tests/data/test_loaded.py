"""Workers that were forked from a process which has imported Arrow and pandas: they share it, and it works in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import skate
import skate.data
from skate.data import ActorPoolStrategy
from skate.data.execution.loaded import loaded

HEAVY = "libarrow", "pandas", "openblas"


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    skate.init(num_cpus=2)
    yield
    skate.shutdown()


def mapped(pid: int | str) -> set[str]:
    """Which of the heavy libraries a process has."""
    text = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in HEAVY if name in text}


def look(batch: dict[str, Any]) -> dict[str, Any]:
    parent = os.getppid()
    threads = len(os.listdir(f"/proc/{parent}/task"))
    return {"parent": [parent], "threads": [threads], "has": [",".join(sorted(mapped(parent)))]}


def compute(batch: dict[str, Any]) -> dict[str, Any]:
    """What uses the threads of Arrow, of numpy's BLAS, and of Polars."""
    import polars as pl
    import pyarrow.csv

    count = 200_000
    text = "a,b\n" + "".join(f"{n},{n % 7}\n" for n in range(count))
    table = pyarrow.csv.read_csv(
        pa.BufferReader(text.encode()), pyarrow.csv.ReadOptions(use_threads=True, block_size=1 << 16)
    )
    groups = table.group_by("b", use_threads=True).aggregate([("a", "sum")])
    frame = table.to_pandas().groupby("b").a.sum()
    lazy = pl.from_arrow(table).lazy().group_by("b").agg(pl.col("a").sum()).collect()  # type: ignore[union-attr]
    square = np.ones((512, 512))
    sums = sum(groups["a_sum"].to_pylist()), int(frame.sum()), int(lazy["a"].sum()), int((square @ square)[0, 0])
    return {"sums": [list(sums)], "threads": [pa.cpu_count()], "pid": [os.getpid()]}


@pytest.mark.parametrize("how", [{}, {"compute": ActorPoolStrategy(size=2)}], ids=["tasks", "actors"])
def test_workers_are_forks_of_one_that_has_it_and_has_no_threads(how: dict[str, Any]) -> None:
    rows = skate.data.range(8, override_num_blocks=4).map_batches(look, **how).take_all()
    assert len({row["parent"] for row in rows}) == 1
    assert {row["has"] for row in rows} == {",".join(sorted(HEAVY))}
    assert {row["threads"] for row in rows} == {1}, "who forks must be alone"


def test_what_uses_threads_works_in_such_workers() -> None:
    rows = skate.data.range(8, override_num_blocks=4).map_batches(compute).take_all()
    count = 200_000
    assert [row["sums"] for row in rows] == [[count * (count - 1) // 2] * 3 + [512]] * 4


def test_who_runs_no_dataset_pays_nothing() -> None:
    @skate.remote
    def has() -> tuple[set[str], bool]:
        return mapped("self") | mapped(os.getppid()), "pandas" in sys.modules

    assert skate.get(has.remote()) == (set(), False)


def test_an_environment_of_ones_own_is_kept() -> None:
    def shown(batch: dict[str, Any]) -> dict[str, Any]:
        return {"mode": [os.environ.get("MODE", "")], "has": ["pandas" in sys.modules]}

    source = skate.data.range(4, override_num_blocks=2)
    rows = source.map_batches(shown, runtime_env={"env_vars": {"MODE": "mine"}}).take_all()
    assert rows == [{"mode": "mine", "has": True}] * 2
    found = loaded(num_cpus=2, runtime_env={"imports": ["json", "pandas"]})
    assert found == {"num_cpus": 2, "runtime_env": {"imports": ["json", "pandas", "skate.data"]}}
