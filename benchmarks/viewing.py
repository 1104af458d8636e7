"""What an open dashboard costs whom it shows, and what it takes itself.

A viewer is a process that does what a page does: it follows the stream, and reads the table of tasks once a second.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .framework import psutil, ray
from .lines import SKATE, Bench, at_most, line

VIEWERS = 2
AT_ONCE = 1000
TURN_S, TURN_QUICK_S = 4.0, 0.3
LISTS = ("rows/tasks?limit=500", "rows/tasks?filter=state=FAILED", "rows/actors", "rows/workers", "timeline", "logs")
_VIEWER = """
import sys, threading, time, urllib.request
def follow():
    for line in urllib.request.urlopen(sys.argv[1] + "/api/ui/live"):
        if line.startswith(b"data") and not there.is_set():
            there.set()
there = threading.Event()
threading.Thread(target=follow, daemon=True).start()
print("there" if there.wait(30) else "", flush=True)
while True:
    with urllib.request.urlopen(sys.argv[1] + "/api/ui/rows/tasks?limit=100") as answer:
        answer.read()
    time.sleep(1)
"""


@ray.remote
def answer() -> bytes:
    return b"ok"


@ray.remote
def sleeps() -> None:
    time.sleep(600)


class Shown:
    """This program with a dashboard."""

    def __init__(self) -> None:
        from skate.client import current

        ray.shutdown()
        self.url = ray.init(num_cpus=2, include_dashboard=True, dashboard_port=0).dashboard_url
        runtime: Any = current.runtime
        mine = psutil.Process().children()
        (self.process,) = [each for each in mine if "skate.dashboard.serve" in " ".join(each.cmdline())]
        self.shown = [psutil.Process(), psutil.Process(runtime.node_process.pid)]

    def spent_s(self) -> float:
        """Processor time of driver and node."""
        return float(sum(sum(process.cpu_times()[:2]) for process in self.shown))

    @contextmanager
    def viewers(self, count: int) -> Iterator[None]:
        """They look, from when this begins."""
        started = [
            subprocess.Popen([sys.executable, "-c", _VIEWER, self.url], stdout=subprocess.PIPE) for _ in range(count)
        ]
        try:
            for each in started:
                if each.stdout is None or each.stdout.readline() != b"there\n":
                    raise RuntimeError("a viewer sees nothing")
            yield
        finally:
            for each in started:
                each.kill()
                each.communicate()

    def read_all(self) -> None:
        """Open every page once."""
        for each in LISTS:
            with urllib.request.urlopen(f"{self.url}/api/ui/{each}", timeout=60) as found:
                found.read()


@contextmanager
def _shown() -> Iterator[Shown]:
    try:
        yield Shown()
    finally:
        ray.shutdown()
        ray.init(num_cpus=2)


def _record(bench: Bench) -> None:
    for _ in range(bench.size(1_000_000, 20_000) // AT_ONCE):
        ray.get([answer.remote() for _ in range(AT_ONCE)])


def _per_task_s(shown: Shown, turn_s: float) -> float:
    """Processor time of driver and node for one task."""
    before, tasks, until = shown.spent_s(), 0, time.monotonic() + turn_s
    while time.monotonic() < until:
        ray.get([answer.remote() for _ in range(AT_ONCE)])
        tasks += AT_ONCE
    return (shown.spent_s() - before) / tasks


@line(
    "dashboard with two viewers / none: processor time of driver and node per task",
    "dashboard",
    "ratio",
    systems=(SKATE,),
    goal=at_most(1.02),
)
def viewers_cost(bench: Bench) -> list[float]:
    """Paired, in one program, as rates on a busy machine differ by more than what is looked for."""
    turn_s = TURN_QUICK_S if bench.quick else TURN_S
    ratios = []
    with _shown() as shown:
        _per_task_s(shown, turn_s)
        for turn in range(bench.size(12, 2)):
            spent = {}
            for on in (turn % 2 == 0, turn % 2 == 1):
                with shown.viewers(VIEWERS * on):
                    spent[on] = _per_task_s(shown, turn_s)
            ratios.append(spent[True] / spent[False])
    return ratios


@line("dashboard with two viewers: its own share of a processor", "dashboard", "% of a CPU", systems=(SKATE,))
def own_share(bench: Bench) -> list[float]:
    with _shown() as shown, shown.viewers(VIEWERS):
        before, begin = sum(shown.process.cpu_times()[:2]), time.monotonic()
        _per_task_s(shown, TURN_QUICK_S if bench.quick else 10.0)
        return [100 * (sum(shown.process.cpu_times()[:2]) - before) / (time.monotonic() - begin)]


@line(
    "two viewers, 1,000,000 tasks recorded and 1,000 unfinished: driver and node spend on them",
    "dashboard",
    "% of a CPU",
    systems=(SKATE,),
    goal=at_most(2),
)
def viewers_share(bench: Bench) -> list[float]:
    """What viewers take is asked for by the clock, not by the task: beside a driver that waits it is seen without noise."""
    with _shown() as shown:
        _record(bench)
        held = [sleeps.remote() for _ in range(AT_ONCE)]
        turns = []
        for viewers in (0, VIEWERS):
            with shown.viewers(viewers):
                before, begin = shown.spent_s(), time.monotonic()
                time.sleep(TURN_QUICK_S if bench.quick else 10.0)
                turns.append(100 * (shown.spent_s() - before) / (time.monotonic() - begin))
        for ref in held:
            ray.cancel(ref, force=True)
        return [turns[1] - turns[0]]


@line(
    "dashboard after 1,000,000 recorded tasks and all pages, PSS", "dashboard", "MB", systems=(SKATE,), goal=at_most(80)
)
def memory(bench: Bench) -> list[float]:
    with _shown() as shown, shown.viewers(1):
        _record(bench)
        shown.read_all()
        return [shown.process.memory_full_info().pss / 1e6]
