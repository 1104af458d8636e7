"""Small programs that need a fresh interpreter: `python -m benchmarks.probe NAME` prints one number.

`fresh(NAME)` runs one in a subprocess, on the same interpreter and framework as the caller.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

LIMIT_S = 120.0


def fresh(name: str, *arguments: str) -> float:
    """Run a probe in a fresh interpreter and return its number.

    Raises:
        RuntimeError: the probe failed; the message carries the end of its output.
    """
    command = [sys.executable, "-m", "benchmarks.probe", name, *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=LIMIT_S)
    found = [line for line in done.stdout.splitlines() if line.startswith("@probe ")]
    if done.returncode != 0 or not found:
        tail = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise RuntimeError(f"the probe {name!r} ended with code {done.returncode}: {' | '.join(tail)}")
    return float(found[-1].split()[1])


def import_time() -> float:
    """Seconds that `import skate` (or `import ray`) takes, up to a first remote function: what is imported late counts."""
    name = os.environ.get("BENCH_FRAMEWORK", "skate")
    begin = time.perf_counter()
    module = __import__(name)
    module.remote(import_time)
    return time.perf_counter() - begin


def init_time() -> float:
    """Seconds from `init()` until the first task has answered."""
    from .framework import ray

    def answer() -> int:
        return 7

    begin = time.perf_counter()
    ray.init()
    if ray.get(ray.remote(answer).remote()) != 7:
        raise AssertionError("the first task gave a wrong answer")
    seconds = time.perf_counter() - begin
    ray.shutdown()
    return seconds


def first_put() -> float:
    """Seconds that the first put of 100 MB takes, in a session that is up but has stored nothing large."""
    import numpy as np

    from .framework import ray

    array = np.ones(100_000_000, dtype=np.uint8)
    ray.init()
    ray.get(ray.remote(lambda: 0).remote())
    begin = time.perf_counter()
    ref = ray.put(array)
    seconds = time.perf_counter() - begin
    if ray.get(ref)[-1] != 1:
        raise AssertionError("the array came back changed")
    ray.shutdown()
    return seconds


def small_store(tasks: str = "100") -> float:
    """Seconds for tasks that return 50 MB each, through a store of 1 GB, each result dropped once it is read."""
    import numpy as np

    from .framework import ray

    ray.init(object_store_memory=1_000_000_000)
    make = ray.remote(lambda i: np.full(50_000_000, i, dtype=np.uint8))
    begin = time.perf_counter()
    pending = [make.remote(i) for i in range(int(tasks))]
    seen: list[int] = []
    while pending:
        (ready,), pending = ray.wait(pending)
        array = ray.get(ready)
        seen.append(int(array[-1]))
        del array, ready
    seconds = time.perf_counter() - begin
    if sorted(seen) != list(range(int(tasks))):
        raise AssertionError(f"expected {tasks} different arrays, got {len(set(seen))}")
    ray.shutdown()
    return seconds


PROBES: dict[str, Callable[..., float]] = {f.__name__: f for f in (import_time, init_time, first_put, small_store)}


if __name__ == "__main__":
    print("@probe", PROBES[sys.argv[1]](*sys.argv[2:]), flush=True)
