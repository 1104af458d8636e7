"""Tables that are keyed by what users make: option variants, closures, method options. None may grow without end."""

from __future__ import annotations

import gc
import os
from typing import Any

import psutil
import pytest

import skate
from skate.client import current
from skate.client.arguments import DEFINED_MAX

pytestmark = pytest.mark.usefixtures("cluster")

VARIANTS = 50_000
BYTES_EACH_MAX = 200


def memory() -> int:
    return int(psutil.Process().memory_info().rss)


@skate.remote
def worker_memory() -> tuple[int, int]:
    return os.getpid(), memory()


@skate.remote
class Echo:
    def say(self, value: Any = 0) -> Any:
        return value

    def pair(self) -> list[int]:
        return [1, 2]

    def functions_known(self) -> int:
        import sys

        frame = sys._getframe()
        while frame is not None and "caller" not in frame.f_locals:
            frame = frame.f_back  # type: ignore[assignment]
        return len(frame.f_locals["caller"].functions)


def grown(run: Any, rounds: int = 10) -> tuple[float, float]:
    """What each of many variants costs this process and the largest worker, in bytes, once the tables are full."""
    run(range(5_000))
    gc.collect()
    here = memory()
    there = dict(skate.get([worker_memory.remote() for _ in range(20)]))
    step = VARIANTS // rounds
    for n in range(rounds):
        run(range(10_000 + n * step, 10_000 + (n + 1) * step))
    gc.collect()
    mine = (memory() - here) / VARIANTS
    after = dict(skate.get([worker_memory.remote() for _ in range(20)]))
    theirs = [(after[pid] - there[pid]) / VARIANTS for pid in after if pid in there]
    return mine, max(theirs, default=0.0)


def test_option_variants() -> None:
    @skate.remote
    def f() -> int:
        return 1

    def run(numbers: range) -> None:
        for start in range(numbers.start, numbers.stop, 500):
            refs = [f.options(name=f"x{i}").remote() for i in range(start, start + 500)]
            assert sum(skate.get(refs)) == 500

    mine, theirs = grown(run)
    assert mine < BYTES_EACH_MAX and theirs < BYTES_EACH_MAX, (mine, theirs)


def test_closures() -> None:
    def run(numbers: range) -> None:
        for start in range(numbers.start, numbers.stop, 500):
            refs = [skate.remote(lambda i=i: i).remote() for i in range(start, start + 500)]
            assert skate.get(refs) == list(range(start, start + 500))

    mine, theirs = grown(run)
    assert mine < BYTES_EACH_MAX and theirs < BYTES_EACH_MAX, (mine, theirs)


def test_equal_options_are_one_function() -> None:
    @skate.remote
    def f() -> int:
        return 1

    runtime: Any = current.runtime
    skate.get(f.options(resources={"blue": 0.1}).remote())
    before = runtime.tasks._functions
    for _ in range(10):
        skate.get(f.options(resources={"blue": 0.1}).remote())
        skate.get(skate.remote(f.__wrapped__).options(resources={"blue": 0.1}).remote())
    assert runtime.tasks._functions == before


def test_old_functions_are_defined_again() -> None:
    functions = [skate.remote(lambda i=i: i) for i in range(3 * DEFINED_MAX)]
    for _ in range(2):
        assert skate.get([f.remote() for f in functions]) == list(range(3 * DEFINED_MAX))
        assert skate.get([f.remote() for f in reversed(functions)]) == list(reversed(range(3 * DEFINED_MAX)))


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 4}])
def test_method_options(options: dict[str, Any]) -> None:
    echo = Echo.options(**options).remote()
    runtime: Any = current.runtime
    client = runtime.actors.client(echo._skate_ref)
    for _ in range(2_000):
        a, b = echo.pair.options(num_returns=2).remote()
    assert skate.get([a, b]) == [1, 2]
    assert client._last_no <= 2
    first = echo.say.options(max_task_retries=7)
    assert skate.get(first.remote(1)) == 1
    refs = [echo.say.options(max_task_retries=i).remote(i) for i in range(5 * DEFINED_MAX)]
    assert skate.get(refs) == list(range(5 * DEFINED_MAX))
    assert skate.get(first.remote(2)) == 2
    assert len(client.methods) < 1000 and len(client.defined) <= DEFINED_MAX
    if not options:
        assert skate.get(echo.functions_known.remote()) <= 2 * DEFINED_MAX + 100


def test_calls_in_flight_survive_being_forgotten() -> None:
    """Numbers are forgotten in the order of the channel: never before the calls that were made by them."""

    @skate.remote
    class Stream:
        def items(self, n: int) -> Any:
            yield from range(n)

        def say(self, value: int) -> int:
            return value

    actor = Stream.remote()
    items = actor.items.options(_generator_backpressure_num_objects=1).remote(3)
    refs = [actor.say.options(max_task_retries=i).remote(i) for i in range(3 * DEFINED_MAX)]
    assert [skate.get(ref) for ref in items] == [0, 1, 2]
    assert skate.get(refs) == list(range(3 * DEFINED_MAX))
