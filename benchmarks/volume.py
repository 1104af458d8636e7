"""Very many tasks, arguments, returns and bytes at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .extras import IN_FLIGHT
from .framework import psutil, ray
from .lines import DONE, SKATE, Bench, at_least, at_most, line
from .probe import fresh

MANY_TASKS, MANY_TASKS_QUICK = 1_000_000, 200_000


@ray.remote
def nothing() -> None:
    return None


@ray.remote
def identity(x: int) -> int:
    return x


@ray.remote
def total(*numbers: int) -> int:
    return sum(numbers)


def _expect(what: str, got: Any, wanted: Any) -> None:
    if got != wanted:
        raise AssertionError(f"{what}: got {str(got)[:60]}, expected {str(wanted)[:60]}")


def _seconds(call: Callable[[], None]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


class _Flood:
    """Submit very many tasks, then get them all: measured once, read by two lines."""

    bytes_per_task = 0.0
    rate = 0.0

    @classmethod
    def run(cls, bench: Bench) -> None:
        if cls.rate:
            return
        ray.get([nothing.remote() for _ in range(1000)])
        count = bench.size(MANY_TASKS, MANY_TASKS_QUICK)
        driver = psutil.Process()
        before = driver.memory_info().rss
        begin = time.perf_counter()
        refs = [nothing.remote() for _ in range(count)]
        cls.bytes_per_task = (driver.memory_info().rss - before) / count
        ray.get(refs)
        cls.rate = count / (time.perf_counter() - begin)


@line(
    "1,000,000 tasks before the first get: driver memory", "volume", "bytes/task", systems=(SKATE,), goal=at_most(1024)
)
def flood_memory(bench: Bench) -> list[float]:
    _Flood.run(bench)
    return [_Flood.bytes_per_task]


@line(
    "1,000,000 tasks before the first get: rate",
    "volume",
    systems=(SKATE,),
    goal=at_least(0.5, (SKATE, IN_FLIGHT)),
)
def flood_rate(bench: Bench) -> list[float]:
    _Flood.run(bench)
    return [_Flood.rate]


@line("10,000 references as arguments of one task", "volume", "s", goal=DONE)
def many_arguments(bench: Bench) -> list[float]:
    refs = [ray.put(i) for i in range(10_000)]
    return [_seconds(lambda: _expect("the sum", ray.get(total.remote(*refs)), sum(range(10_000))))]


@line("3,000 returns of one task", "volume", "s", goal=DONE)
def many_returns(bench: Bench) -> list[float]:
    split = ray.remote(lambda: list(range(3000))).options(num_returns=3000)
    return [_seconds(lambda: _expect("the returns", ray.get(split.remote()), list(range(3000))))]


@line("one get of 10,000 objects", "volume", "s", goal=DONE)
def many_objects(bench: Bench) -> list[float]:
    refs = [identity.remote(i) for i in range(10_000)]
    ray.wait(refs, num_returns=len(refs))
    return [_seconds(lambda: _expect("the objects", ray.get(refs), list(range(10_000))))]


@line("100 tasks of 50 MB each through a 1 GB store", "volume", "s", goal=DONE)
def small_store(bench: Bench) -> list[float]:
    return [fresh("small_store", str(bench.size(100, 40)))]
