"""A sort of ten times what the store holds: `python -m benchmarks --big --only 'data: a sort of'`.

It runs in an interpreter of its own, as its store is smaller than the default. The rows are made by tasks, so that nothing but
the shuffle itself is on the disk, and every batch of the answer is looked at.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

from ..framework import NAME, ray
from ..lines import DONE, RAY, SKATE, Bench, line
from .memory import peak_mb

GROUP = "data big"
ROW_BYTES, COLUMNS = 128, 16
BLOCK_ROWS = 200_000
LIMIT_S = 1800.0


def make(batch: dict[str, Any]) -> dict[str, Any]:
    """Rows with random keys."""
    random = np.random.default_rng(int(batch["id"][0]))
    count = len(batch["id"])
    return {"key": random.integers(0, 1 << 62, count)} | {f"c{n}": random.random(count) for n in range(COLUMNS - 1)}


def sort(rows: int) -> None:
    """Sort so many rows, and check the order of all."""
    data: Any = importlib.import_module(f"{NAME}.data")
    dataset = data.range(rows, override_num_blocks=max(2, rows // BLOCK_ROWS)).map_batches(make, batch_size=BLOCK_ROWS)
    last, seen = -1, 0
    for batch in dataset.sort("key").iter_batches(batch_size=100_000, batch_format="numpy"):
        keys = batch["key"]
        if keys[0] < last or (np.diff(keys) < 0).any():
            raise AssertionError(f"the rows after {seen:,} are not in order")
        last, seen = keys[-1], seen + len(keys)
    if seen != rows:
        raise AssertionError(f"{seen:,} rows came back of {rows:,}")


class _Big:
    """Done once, read by two lines."""

    found: dict[str, float] | None = None

    @classmethod
    def run(cls, bench: Bench) -> dict[str, float]:
        if cls.found is None:
            gigabytes = bench.size(10, 1)
            command = [sys.executable, "-m", __name__, str(gigabytes)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
            if done.returncode:
                raise RuntimeError(" | ".join(done.stderr.strip().splitlines()[-3:]))
            cls.found = json.loads(done.stdout.splitlines()[-1])
        return cls.found


@line("data: a sort of 10 GB in a store of 1 GB", GROUP, "s", systems=(SKATE, RAY), goal=DONE, big=True)
def big_sort(bench: Bench) -> list[float]:
    return [_Big.run(bench)["seconds"]]


@line("data: peak memory of a sort of 10 GB", GROUP, "MB", systems=(SKATE, RAY), goal=DONE, big=True)
def big_sort_memory(bench: Bench) -> list[float]:
    return [_Big.run(bench)["peak_mb"]]


def main(gigabytes: int) -> None:
    """Print the time and the memory as JSON."""
    ray.init(object_store_memory=gigabytes * 100_000_000)
    begin = time.perf_counter()
    peak = peak_mb(lambda: sort(gigabytes * 1_000_000_000 // ROW_BYTES))
    print(json.dumps({"seconds": time.perf_counter() - begin, "peak_mb": peak}), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
