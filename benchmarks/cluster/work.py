"""One submitter that keeps many CPUs of several nodes busy, and placement groups over these nodes."""

from __future__ import annotations

import time
from typing import Any

from ..framework import ray
from ..lines import Bench, at_least, line
from .nodes import Cluster, shared

NODES = 3
CPUS, CPUS_QUICK = 20, 3
TASK_S = 0.01
WAVES, WAVES_QUICK = 100, 20
GROUPS_AT_ONCE = 100
RAY_GROUPS_RATE = 765
"""What Ray's own figures say for one machine with 64 cores."""


def three_nodes(quick: bool) -> Cluster:
    cluster = Cluster()
    for _ in range(NODES):
        cluster.add(CPUS_QUICK if quick else CPUS)
    return cluster


@line("cluster: 60 CPUs on three nodes, tasks of 10 ms", "cluster work", "% busy", goal=at_least(80))
def sixty_cpus(bench: Bench) -> list[float]:
    """The tasks sleep, so that 60 of them run at once on any machine."""
    shared(three_nodes, bench.quick)
    cpus = NODES * bench.size(CPUS, CPUS_QUICK)
    count = cpus * bench.size(WAVES, WAVES_QUICK)

    @ray.remote
    def nap() -> float:
        begin = time.perf_counter()
        time.sleep(TASK_S)
        return time.perf_counter() - begin

    def once() -> float:
        begin = time.perf_counter()
        worked_s = sum(ray.get([nap.remote() for _ in range(count)]))
        return worked_s / (cpus * (time.perf_counter() - begin)) * 100

    return bench.times(once)


def make_and_remove(bundles: list[dict[str, float]], strategy: str) -> None:
    """A hundred groups: made, waited for, removed."""
    from_util: Any = ray.util
    groups = [from_util.placement_group(bundles, strategy=strategy) for _ in range(GROUPS_AT_ONCE)]
    for group in groups:
        if not group.wait(timeout_seconds=30):
            raise TimeoutError("a placement group was not ready within 30 s")
    for group in groups:
        from_util.remove_placement_group(group)


@line("cluster: placement groups of one bundle", "cluster work", goal=at_least(RAY_GROUPS_RATE))
def small_groups(bench: Bench) -> list[float]:
    shared(three_nodes, bench.quick)
    return bench.rate(lambda: make_and_remove([{"CPU": 0.001}], "PACK"), GROUPS_AT_ONCE)


@line("cluster: placement groups of a bundle per node", "cluster work", goal=at_least(RAY_GROUPS_RATE))
def spread_groups(bench: Bench) -> list[float]:
    shared(three_nodes, bench.quick)
    return bench.rate(lambda: make_and_remove([{"CPU": 0.001}] * NODES, "STRICT_SPREAD"), GROUPS_AT_ONCE)
