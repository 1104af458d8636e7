"""What it costs to keep a history, and how soon one of many tasks is found in it."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from .framework import psutil, ray
from .lines import SKATE, Bench, at_most, line

MANY_TASKS, MANY_TASKS_QUICK = 1_000_000, 50_000
AT_ONCE = 1000


@ray.remote
def answer() -> bytes:
    return b"ok"


@ray.remote
def fails() -> None:
    raise ValueError("the one that is looked for")


def _processor_s(tasks: int, history: bool) -> float:
    """Seconds of processor that driver and node take for so many tasks, in a session of its own."""
    ray.shutdown()
    ray.init(num_cpus=2, _system_config={"history_enabled": history})
    from skate.client import current, observing

    runtime: Any = current.runtime
    processes = [psutil.Process(), psutil.Process(runtime.node_process.pid)]
    for _ in range(20):
        ray.get([answer.remote() for _ in range(AT_ONCE)])
    before = sum(sum(process.cpu_times()[:2]) for process in processes)
    for _ in range(tasks // AT_ONCE):
        ray.get([answer.remote() for _ in range(AT_ONCE)])
    observing.tell_all(
        observing.require(), "tasks", {"limit": 0}
    )  # what is to be recorded has been when this is answered
    return sum(sum(process.cpu_times()[:2]) for process in processes) - before


@line(
    "history on / off: processor time of driver and node per task",
    "history",
    "ratio",
    systems=(SKATE,),
    goal=at_most(1.05),
)
def history_cost(bench: Bench) -> list[float]:
    """Paired, as rates on a busy machine differ by more than what is looked for."""
    tasks = bench.size(150_000, 20_000)
    ratios = []
    for turn in range(bench.size(7, 1)):
        order = (True, False) if turn % 2 else (False, True)
        spent = {on: _processor_s(tasks, on) for on in order}
        ratios.append(spent[True] / spent[False])
    ray.shutdown()
    ray.init(num_cpus=2)
    return ratios


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
