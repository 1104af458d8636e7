"""F27, F34 at full size: a recursion of 87,381 tasks, a million queued tasks, a thousand actors."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import current
from skate.testing import eventually
from skate.testing.leaks import session_processes

pytestmark = pytest.mark.usefixtures("healthy")

LONG = "SKATE_LONG_TESTS"
GET_S = 28
LONG_S = 150
WORKERS_MAX = 60
MEMORY_MAX = 400 << 20


def ask(what: str) -> Any:
    runtime: Any = current.runtime
    return runtime.ask(what)


def anonymous_bytes(pid: int) -> int:
    """What a process has in memory of its own; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines[1:])
    return sum(int(fields[name].split()[0]) for name in ("Private_Dirty", "Private_Clean")) * 1024


@skate.remote(max_retries=0)
def tree(depth: int) -> int:
    """Without retries: a worker that dies on the way is seen."""
    return 1 if depth == 0 else int(sum(skate.get([tree.remote(depth - 1) for _ in range(4)])))


@pytest.fixture
def time_for_it(request: pytest.FixtureRequest) -> Iterator[None]:
    """The largest one may take longer than a test of a fault may, and runs when it is asked for."""
    import signal

    if request.node.callspec.params["depth"] > 7:
        if not os.environ.get(LONG):
            pytest.skip(f"takes about a minute: set {LONG}=1 to run it")
        signal.alarm(LONG_S)
    yield


@pytest.mark.parametrize("depth", [6, 8])
def test_f27_recursion_to_the_full_depth(depth: int, time_for_it: None) -> None:
    """4^8 leaves, a `get` at every level: few workers, bounded memory, nobody dies."""
    assert current.runtime is not None
    folder = current.runtime.context().session_dir
    ref = tree.remote(depth)
    workers = memory = 0
    end = time.monotonic() + (LONG_S if depth > 7 else GET_S)
    while not skate.wait([ref], timeout=0.5)[0]:
        assert time.monotonic() < end, skate.why(ref)
        workers = max(workers, len(ask("workers")))
        memory = max(memory, sum(anonymous_bytes(pid) for pid in session_processes(folder)))
    assert skate.get(ref) == 4**depth
    assert 2 < workers <= WORKERS_MAX
    assert 0 < memory < MEMORY_MAX, f"{memory >> 20} MiB in {workers} workers"


@skate.remote
def noop() -> None:
    return None


def test_f34_a_million_queued_tasks() -> None:
    """Under 1 KB for each, and as fast as the first hundred thousand."""

    def run(count: int) -> tuple[float, float]:
        before = anonymous_bytes(os.getpid())
        start = time.perf_counter()
        refs = [noop.remote() for _ in range(count)]
        grown = anonymous_bytes(os.getpid()) - before
        skate.get(refs, timeout=GET_S)
        return (time.perf_counter() - start) / count, grown / count

    small, _ = run(100_000)
    large, size = run(1_000_000)
    assert size < 1024, f"{size:.0f} bytes per queued task"
    assert large < 2 * small + 10e-6, f"not linear: {small} and {large} s per task"


def test_f34_a_thousand_actors() -> None:
    @skate.remote(num_cpus=0)
    class Small:
        def __init__(self, number: int) -> None:
            self.number = number

        def tell(self) -> int:
            return self.number

    def run(count: int) -> float:
        start = time.perf_counter()
        actors = [Small.remote(number) for number in range(count)]
        assert skate.get([actor.tell.remote() for actor in actors], timeout=GET_S) == list(range(count))
        took = time.perf_counter() - start
        assert len([actor for actor in ask("actors") if actor["state"] == "ALIVE"]) == count
        del actors
        eventually(lambda: not ask("actors") and len(ask("workers")) < 10, 15, "all actors end")
        return took / count

    small, large = run(200), run(1000)
    assert large < 4 * small + 0.005, f"not linear: {small} and {large} s per actor"
