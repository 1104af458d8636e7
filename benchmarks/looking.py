"""What it costs to keep a history, and how soon one of many tasks is found in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

from .framework import ray
from .lines import SKATE, Bench, at_most, line

MANY_TASKS, MANY_TASKS_QUICK = 1_000_000, 50_000
AT_ONCE = 1000


@ray.remote
def answer() -> bytes:
    return b"ok"


@ray.remote
def fails() -> None:
    raise ValueError("the one that is looked for")


def _processor_s(*pids: int) -> float:
    """Seconds of processor that these processes have had, by the scheduler's own count: that of `times` has steps of 10 ms."""
    threads = [each for pid in pids for each in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9


class _Cost:
    """Sessions with and without a history, in pairs, as rates on a busy machine differ by more than what is looked for. Measured
    once, for several lines."""

    ratios: ClassVar[list[tuple[float, ...]]] = []

    @classmethod
    def of(cls, bench: Bench, which: int) -> list[float]:
        """With a history by without: 0: a task of many in flight, 1: a task alone, 2: processor time of driver and node."""
        if not cls.ratios:
            for turn in range(bench.size(15, 1)):
                order = (True, False) if turn % 2 else (False, True)
                took = {on: cls._took(on, bench) for on in order}
                cls.ratios.append(tuple(on / off for on, off in zip(took[True], took[False], strict=True)))
            ray.shutdown()
            ray.init(num_cpus=2)
        return [ratios[which] for ratios in cls.ratios]

    @staticmethod
    def _took(history: bool, bench: Bench) -> tuple[float, ...]:
        ray.shutdown()
        ray.init(num_cpus=2, _system_config={"history_enabled": history})
        from skate.client import current, observing

        def many() -> None:
            ray.get([answer.remote() for _ in range(AT_ONCE)])

        def alone() -> None:
            for _ in range(AT_ONCE // 4):
                ray.get(answer.remote())

        def seconds(work: Callable[[], None], times: int) -> list[float]:
            begins = [time.perf_counter()]
            for _ in range(times):
                work()
                begins.append(time.perf_counter())
            return [end - begin for begin, end in pairwise(begins)]

        runtime: Any = current.runtime
        seconds(many, 20)
        before = _processor_s(os.getpid(), runtime.node_process.pid)
        in_flight = median(seconds(many, bench.size(150, 20)))
        # what is to be recorded has been when this is answered
        observing.tell_all(observing.require(), "tasks", {"limit": 0})
        spent = _processor_s(os.getpid(), runtime.node_process.pid) - before
        seconds(alone, 4)
        return in_flight, median(seconds(alone, bench.size(40, 4))), spent


@line("history on / off: a task of 1,000 in flight", "history", "ratio", systems=(SKATE,), goal=at_most(1.05))
def history_in_flight(bench: Bench) -> list[float]:
    return _Cost.of(bench, 0)


@line("history on / off: a task alone", "history", "ratio", systems=(SKATE,), goal=at_most(1.05))
def history_alone(bench: Bench) -> list[float]:
    return _Cost.of(bench, 1)


@line(
    "history on / off: processor time of driver and node per task",
    "history",
    "ratio",
    systems=(SKATE,),
    goal=at_most(1.05),
)
def history_processor(bench: Bench) -> list[float]:
    return _Cost.of(bench, 2)


class _Million:
    """Very many recorded tasks, one of which has failed early: made once, read by several lines."""

    made = 0

    @classmethod
    def make(cls, bench: Bench) -> None:
        if cls.made:
            return
        cls.made = bench.size(MANY_TASKS, MANY_TASKS_QUICK)
        for at in range(cls.made // AT_ONCE):
            ray.get([answer.remote() for _ in range(AT_ONCE)])
            if at == 10:
                ray.wait([fails.remote()])


def _seconds(bench: Bench, wanted: int, **question: Any) -> list[float]:
    from skate.util import state

    _Million.make(bench)
    samples = []
    for _ in range(bench.repeats):
        begin = time.perf_counter()
        found = state.list_tasks(**question)
        samples.append(time.perf_counter() - begin)
        if len(found) != wanted:
            raise AssertionError(f"{question}: {len(found)} tasks, not {wanted}")
    return [median(samples)]


@line("list 100 of 1,000,000 recorded tasks", "history", "s", systems=(SKATE,), goal=at_most(1))
def list_last(bench: Bench) -> list[float]:
    return _seconds(bench, 100)


@line("list the one that failed of 1,000,000 recorded tasks", "history", "s", systems=(SKATE,), goal=at_most(1))
def list_failed(bench: Bench) -> list[float]:
    return _seconds(bench, 1, filters=[("state", "=", "FAILED")])


@line("look through all of 1,000,000 recorded tasks", "history", "s", systems=(SKATE,), goal=at_most(1))
def list_none(bench: Bench) -> list[float]:
    return _seconds(bench, 0, filters=[("worker_pid", "=", "1")])
