"""Three nodes started one after the other, by the commands of a shell script, and what a program can do right then."""

from __future__ import annotations

import time

from ..framework import NAME, ray
from ..lines import SKATE, Bench, at_most, line
from .nodes import Cluster

TINY_TASKS = 100


class _Start:
    """Started and used once, read by two lines."""

    started_s: list[float] = []
    tasks_s: list[float] = []

    @classmethod
    def run(cls, bench: Bench) -> None:
        if cls.started_s:
            return
        for _ in range(bench.size(5, 1) if NAME == SKATE else 1):
            cls._once()

    @classmethod
    def _once(cls) -> None:
        cluster = Cluster()
        try:
            begin = time.perf_counter()
            cluster.add(5, resources='{"first": 5}')
            cluster.add(2, resources='{"second": 2}')
            cluster.add(2, resources='{"third": 1, "other": 1}')
            cls.started_s.append(time.perf_counter() - begin)
            cluster.connect()
            square = ray.remote(lambda x: x * x)
            begin = time.perf_counter()
            answers = ray.get([square.remote(i) for i in range(TINY_TASKS)])
            cls.tasks_s.append(time.perf_counter() - begin)
            if answers != [i * i for i in range(TINY_TASKS)]:
                raise AssertionError("the tasks gave wrong answers")
        finally:
            cluster.close()


@line("cluster: three nodes started, one after the other", "cluster start", "s", goal=at_most(1.5))
def three_nodes(bench: Bench) -> list[float]:
    _Start.run(bench)
    return _Start.started_s


@line("cluster: then the first 100 tiny tasks", "cluster start", "s", goal=at_most(0.1))
def first_tasks(bench: Bench) -> list[float]:
    _Start.run(bench)
    return _Start.tasks_s
