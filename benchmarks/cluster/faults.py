"""How soon the death of a worker or node is noticed, and how soon what was lost with a node is there again."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

from ..framework import NAME, ray
from ..lines import SKATE, Bench, at_most, line
from .nodes import Cluster, Node, alive, close_shared, shared, until

LIMIT_S = 90.0
LOST_OBJECTS, LOST_OBJECTS_QUICK = 100, 20
LOST_BYTES = 1 << 20
SETTLE_S = 0.3

_numbers = itertools.count(1)


def two_nodes(_: bool) -> Cluster:
    """One for this program, and one that stays; those that are to die join it."""
    cluster = Cluster()
    cluster.add(2)
    cluster.add(2, resources='{"stays": 1}')
    return cluster


def _victim(cluster: Cluster, cpus: int = 2) -> tuple[Node, str]:
    """A node that will die, and the resource that only it has."""
    name, before = f"victim{next(_numbers)}", alive()
    node = cluster.add(cpus, resources=f'{{"{name}": {cpus}}}')
    until(lambda: alive() == before + 1, LIMIT_S)
    return node, name


@line("cluster: a killed worker of another node is noticed", "cluster faults", "ms", goal=at_most(50))
def worker_killed(bench: Bench) -> list[float]:
    """From SIGKILL until the program has the error."""
    cluster = shared(two_nodes, bench.quick)

    @ray.remote(max_retries=0, resources={"stays": 0.1})
    def hang(path: str) -> None:
        Path(path + ".new").write_text(str(os.getpid()))
        os.replace(path + ".new", path)
        time.sleep(LIMIT_S)

    def once() -> float:
        path = Path(cluster.folder, f"pid{next(_numbers)}")
        ref = hang.remote(str(path))
        until(path.exists, LIMIT_S)
        time.sleep(SETTLE_S)
        os.kill(int(path.read_text()), signal.SIGKILL)
        begin = time.perf_counter()
        _expect_error(ref)
        return (time.perf_counter() - begin) * 1e3

    return bench.times(once)


def _expect_error(ref: Any) -> None:
    try:
        ray.get(ref, timeout=LIMIT_S)
    except ray.exceptions.GetTimeoutError:
        raise
    except ray.exceptions.RayError:
        return
    raise AssertionError("what was killed has returned something")


def _noticed(bench: Bench, how: signal.Signals) -> float:
    """Seconds until a node that was stopped so is dead for the others."""
    cluster = shared(two_nodes, bench.quick)
    before = alive()
    node, _ = _victim(cluster)
    os.kill(node.pid, how)
    seconds = until(lambda: alive() == before, LIMIT_S)
    if how == signal.SIGSTOP:
        node.kill()
    return seconds


@line("cluster: a killed node is noticed", "cluster faults", "s", goal=at_most(1))
def node_killed(bench: Bench) -> list[float]:
    return [_noticed(bench, signal.SIGKILL) for _ in range(bench.size(5, 1) if NAME == SKATE else 1)]


@line("cluster: a silent (SIGSTOP) node is noticed", "cluster faults", "s", goal=at_most(3))
def node_silent(bench: Bench) -> list[float]:
    return [_noticed(bench, signal.SIGSTOP) for _ in range(bench.size(5, 1) if NAME == SKATE else 1)]


@line("cluster: 100 objects of 1 MiB are back after their node was killed", "cluster faults", "s", goal=at_most(3))
def objects_back(bench: Bench) -> list[float]:
    """From SIGKILL of the node until the program has all of them: noticing it included, and making them again elsewhere."""
    count = bench.size(LOST_OBJECTS, LOST_OBJECTS_QUICK)

    def once() -> float:
        cluster = shared(two_nodes, bench.quick)
        node, name = _victim(cluster)
        where = ray.remote(lambda: str(ray.get_runtime_context().get_node_id())).options(resources={name: 0.1})
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get(where.remote()), soft=True)
        make = ray.remote(lambda number: bytes([number]) * LOST_BYTES).options(scheduling_strategy=there)
        refs = [make.remote(number) for number in range(count)]
        ray.wait(refs, num_returns=count, timeout=LIMIT_S, fetch_local=False)
        node.kill()
        begin = time.perf_counter()
        values = ray.get(refs, timeout=LIMIT_S)
        seconds = time.perf_counter() - begin
        if values != [bytes([number]) * LOST_BYTES for number in range(count)]:
            raise AssertionError("the objects came back changed")
        return seconds

    try:
        return [once() for _ in range(bench.size(3, 1) if NAME == SKATE else 1)]
    finally:
        close_shared()
