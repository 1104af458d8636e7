"""What a line of the table is, what it is held against, and how a rate is measured.

A line is a function that takes a `Bench` and returns samples, registered with `@line`. It names its group (lines of
one group run in one process), the systems it can run on, and its goal. A goal is a number, or a multiple of
another line measured in the same run, so that it means the same on every machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

MACHINE, SKATE, RAY = "machine", "skate", "ray"
DASK, POLARS, DUCKDB = "dask", "polars", "duckdb"
PEERS = (DASK, POLARS, DUCKDB)
"""What datasets are held against besides."""
BOTH = (SKATE, RAY)

CLUSTER_GROUPS: dict[str, str] = {
    "cluster start": "benchmarks.cluster.start",
    "cluster work": "benchmarks.cluster.work",
    "cluster calls": "benchmarks.cluster.calls",
    "cluster objects": "benchmarks.cluster.objects",
    "cluster broadcast": "benchmarks.cluster.objects",
    "cluster faults": "benchmarks.cluster.faults",
    "cluster head": "benchmarks.cluster.head",
}
"""Groups that bring up clusters of their own; the others run with plain `init()`."""

DATA_GROUPS: dict[str, str] = {
    "data": "benchmarks.data.lines",
    "data memory": "benchmarks.data.lines",
    "data big": "benchmarks.data.big",
}

GROUPS: dict[str, str] = {
    "objects": "benchmarks.micro",
    "gigabytes": "benchmarks.micro",
    "tasks": "benchmarks.micro",
    "actors": "benchmarks.micro",
    "placement groups": "benchmarks.micro",
    "async actors": "benchmarks.micro",
    "calls": "benchmarks.extras",
    "large objects": "benchmarks.extras",
    "start": "benchmarks.startup",
    "idle": "benchmarks.footprint",
    "volume": "benchmarks.volume",
    "history": "benchmarks.looking",
    "dashboard": "benchmarks.viewing",
    **CLUSTER_GROUPS,
    **DATA_GROUPS,
}
"""Each group of lines and the module that holds them, in the order in which they run."""

YARDSTICKS, CLUSTER_YARDSTICKS = "benchmarks.yardsticks", "benchmarks.cluster.yardsticks"

UNAVAILABLE: dict[str, str] = {
    f"client: {name}": "not applicable: skate has no separate client protocol"
    for name in (
        "get calls",
        "tasks and get batch",
        "put calls",
        "tasks and put batch",
        "put gigabytes",
        "1:1 actor calls sync",
        "1:1 actor calls async",
        "1:1 actor calls concurrent",
    )
}
"""Lines of `ray microbenchmark` that are not measured, and why."""

WITHOUT_RAY: dict[str, str] = {
    "restart of the head": "without a Redis server Ray keeps its head's state in memory, and nothing starts the head again",
    "128 MiB over links of 1 Gbit/s": "they show how skate passes an object on; the lines without links compare the systems",
    "memory with 1,000 actors": "each of them is a process of 60 MB in Ray: more than this machine has",
}
"""Lines about clusters that are not measured on Ray, and why."""


@dataclass(frozen=True)
class Goal:
    """What a line should reach.

    Attributes:
        sense: "min" (at least), "max" (at most) or "done" (no error is enough).
        value: the bound, or the multiple of `of`.
        of: (system, line name) that the bound is a multiple of; None for a bound in the line's own unit.
    """

    sense: str
    value: float = 0.0
    of: tuple[str, str] | None = None


def at_least(value: float, of: tuple[str, str] | None = None) -> Goal:
    return Goal("min", value, of)


def at_most(value: float, of: tuple[str, str] | None = None) -> Goal:
    return Goal("max", value, of)


DONE = Goal("done")


Measure = Callable[["Bench"], list[float]]


@dataclass
class Line:
    """One line of the table. `micro` marks the lines of `ray microbenchmark`; `bound` those bound by memory bandwidth."""

    name: str
    group: str
    unit: str
    measure: Measure
    systems: tuple[str, ...] = BOTH
    goal: Goal | None = None
    micro: bool = False
    bound: bool = False
    big: bool = False

    @property
    def more_is_better(self) -> bool:
        return self.unit in ("/s", "GB/s", "% busy")


@dataclass
class Result:
    """The samples of one line on one system, or the error that it ended with."""

    name: str
    group: str
    unit: str
    system: str
    samples: list[float] = field(default_factory=list)
    error: str = ""
    goal: Goal | None = None
    micro: bool = False
    bound: bool = False
    more_is_better: bool = True

    @property
    def value(self) -> float | None:
        return median(self.samples) if self.samples else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Result:
        goal = data.pop("goal")
        if goal:
            of = tuple(goal["of"]) if goal["of"] else None
            goal = Goal(goal["sense"], goal["value"], of)
        return cls(**data, goal=goal)


REGISTRY: list[Line] = []


def line(name: str, group: str, unit: str = "/s", **options: Any) -> Callable[[Measure], Measure]:
    """Register a function as the program of a line; `options` are the further attributes of `Line`."""

    def register(measure: Measure) -> Measure:
        REGISTRY.append(Line(name, group, unit, measure, **options))
        return measure

    return register


@dataclass(frozen=True)
class Bench:
    """How thoroughly to measure.

    Attributes:
        quick: smaller sizes and shorter runs, to see that everything works; its figures are rough.
        seconds: length of one sample of a rate.
        repeats: samples of a line; its figure is their median.
        budget: a line that has used this many seconds takes no further sample.
    """

    quick: bool = False
    seconds: float = 1.0
    repeats: int = 5
    budget: float = 20.0

    @classmethod
    def of(cls, quick: bool) -> Bench:
        return cls(quick=True, seconds=0.15, repeats=3, budget=3.0) if quick else cls()

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def rate(self, call: Callable[[], object], per_call: float = 1.0) -> list[float]:
        """Call it over and over; samples of `per_call` units per second, after a warm-up of one sample's length."""
        begin = time.perf_counter()
        warmed = self._sample(call)
        samples = []
        for _ in range(self.repeats):
            samples.append(self._sample(call) * per_call)
            if time.perf_counter() - begin > self.budget:
                break
        return samples or [warmed * per_call]

    def _sample(self, call: Callable[[], object]) -> float:
        """Calls per second over `seconds`, or over one call if that takes longer."""
        count, step = 0, 1
        begin = now = time.perf_counter()
        while now - begin < self.seconds:
            for _ in range(step):
                call()
            count += step
            now = time.perf_counter()
            if now - begin < self.seconds / 20:  # read the clock seldom, so that it does not count
                step *= 2
        return count / (now - begin)

    def times(self, once: Callable[[], float]) -> list[float]:
        """Samples of a function that measures itself; the first is a warm-up and is left out."""
        begin = time.perf_counter()
        once()
        samples = []
        for _ in range(self.repeats):
            samples.append(once())
            if time.perf_counter() - begin > self.budget:
                break
        return samples
