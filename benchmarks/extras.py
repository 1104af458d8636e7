"""Tasks, actors, maps and large objects beside what the machine allows (`yardsticks.py`)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .framework import ray
from .lines import MACHINE, SKATE, Bench, at_least, at_most, line
from .probe import fresh
from .yardsticks import HUNDRED_MB, MAP_ITEMS, MEMCPY, PING_PONG, POOL_ASYNC, POOL_MAP, TOUCH

IN_FLIGHT = "1,000 no-op tasks in flight"


@ray.remote
def answer() -> bytes:
    return b"ok"


@ray.remote
def identity(x: int) -> int:
    return x


@ray.remote
def make_array(size: int) -> Any:
    return np.ones(size, dtype=np.uint8)


@ray.remote
def last_byte(array: Any) -> int:
    return int(array[-1])


@ray.remote(num_cpus=0)
class Server:
    def answer(self) -> bytes:
        return b"ok"


@line("task call, one at a time", "calls", goal=at_least(0.5, (MACHINE, PING_PONG)))
def task_sync(bench: Bench) -> list[float]:
    return bench.rate(lambda: ray.get(answer.remote()))


@line("actor call, one at a time", "calls", goal=at_least(0.5, (MACHINE, PING_PONG)))
def actor_sync(bench: Bench) -> list[float]:
    server = Server.remote()
    return bench.rate(lambda: ray.get(server.answer.remote()))


@line(IN_FLIGHT, "calls", goal=at_least(3, (MACHINE, POOL_ASYNC)))
def tasks_in_flight(bench: Bench) -> list[float]:
    return bench.rate(lambda: ray.get([answer.remote() for _ in range(1000)]), 1000)


@line("f.map over 20,000 items", "calls", systems=(SKATE,), goal=at_least(1, (MACHINE, POOL_MAP)))
def function_map(bench: Bench) -> list[float]:
    items = range(MAP_ITEMS)
    if list(identity.map(items)) != list(items):
        raise AssertionError("f.map did not return the items in order")
    return bench.rate(lambda: list(identity.map(items)), MAP_ITEMS)


@line("put 100 MB, warm", "large objects", "GB/s", goal=at_least(1, (MACHINE, MEMCPY)), bound=True)
def put_warm(bench: Bench) -> list[float]:
    array = np.ones(HUNDRED_MB, dtype=np.uint8)
    return bench.rate(lambda: ray.put(array), HUNDRED_MB / 1e9)


@line("put 100 MB, first in a new session", "large objects", "GB/s", goal=at_least(0.5, (MACHINE, TOUCH)), bound=True)
def put_first(bench: Bench) -> list[float]:
    return [HUNDRED_MB / 1e9 / fresh("first_put") for _ in range(bench.size(5, 1))]


def _get_seconds(ref: Any) -> float:
    ray.wait([ref])
    begin = time.perf_counter()
    array = ray.get(ref)
    seconds = time.perf_counter() - begin
    if len(array) != HUNDRED_MB or array[-1] != 1:
        raise AssertionError("the array came back changed")
    return seconds * 1e3


@line("get of a 100 MB array put here", "large objects", "ms", goal=at_most(0.2))
def get_own(bench: Bench) -> list[float]:
    array = np.ones(HUNDRED_MB, dtype=np.uint8)
    return bench.times(lambda: _get_seconds(ray.put(array)))


@line("get of a 100 MB array made by a task", "large objects", "ms", goal=at_most(0.2))
def get_returned(bench: Bench) -> list[float]:
    return bench.times(lambda: _get_seconds(make_array.remote(HUNDRED_MB)))


@line("task with a 100 MB reference, added", "large objects", "ms", goal=at_most(1))
def reference_argument(bench: Bench) -> list[float]:
    """Milliseconds that the large argument adds to a call, large and small calls alternating."""
    large, small = ray.put(np.ones(HUNDRED_MB, dtype=np.uint8)), ray.put(np.ones(1, dtype=np.uint8))

    def call(ref: Any) -> float:
        begin = time.perf_counter()
        ray.get(last_byte.remote(ref))
        return time.perf_counter() - begin

    def once() -> float:
        pairs = sorted(call(large) - call(small) for _ in range(9))
        return pairs[4] * 1e3

    return bench.times(once)
