"""A head that knows a thousand actors: how soon it is back after a kill, and the memory that it and a node take."""

from __future__ import annotations

import time
from typing import Any

from ..framework import psutil, ray
from ..lines import SKATE, Bench, at_most, line
from .nodes import Cluster, shared, until

ACTORS, ACTORS_QUICK = 1000, 20
TASKS, TASKS_QUICK = 100_000, 2_000
LIMIT_S = 60.0
MEGABYTE = 1e6


def two_nodes(_: bool) -> Cluster:
    cluster = Cluster()
    cluster.add(2)
    cluster.add(2, resources='{"far": 100000}')
    return cluster


class _Crowd:
    """The actors, half of them on each node; made once."""

    actors: list[Any] = []

    @classmethod
    def make(cls, bench: Bench) -> Cluster:
        cluster = shared(two_nodes, bench.quick)
        if not cls.actors:

            @ray.remote(num_cpus=0)
            class Member:  # here, so that it travels by value: this program's imports are not what is measured
                def answer(self, number: int) -> int:
                    return number

            count = bench.size(ACTORS, ACTORS_QUICK)
            near, far = Member.options(), Member.options(resources={"far": 1})
            cls.actors = [(far if i % 2 else near).options(name=f"member{i}").remote() for i in range(count)]
            if ray.get([actor.answer.remote(i) for i, actor in enumerate(cls.actors)]) != list(range(count)):
                raise AssertionError("the actors did not answer with their own numbers")
        return cluster


def head_process(cluster: Cluster) -> psutil.Process:
    """The head's own process, a child of the first node."""
    children = psutil.Process(cluster.nodes[0].pid).children()
    return next(child for child in children if any("head_process" in word for word in child.cmdline()))


def _uss_mb(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss) / MEGABYTE


def _after_tasks(bench: Bench) -> Cluster:
    cluster = _Crowd.make(bench)
    if not _finished:
        nothing = ray.remote(lambda: None)
        count = bench.size(TASKS, TASKS_QUICK)
        ray.get([nothing.remote() for _ in range(count)])
        _finished.append(count)
    return cluster


_finished: list[int] = []


@line("cluster: the head's memory with 1,000 actors, 100,000 tasks done", "cluster head", "MB", systems=(SKATE,))
def head_memory(bench: Bench) -> list[float]:
    return [_uss_mb(head_process(_after_tasks(bench)))]


@line("cluster: a node's memory with 500 of them", "cluster head", "MB", systems=(SKATE,))
def node_memory(bench: Bench) -> list[float]:
    return [_uss_mb(psutil.Process(_after_tasks(bench).nodes[1].pid))]


@line("cluster: the driver's memory with all of them", "cluster head", "MB", systems=(SKATE,))
def driver_memory(bench: Bench) -> list[float]:
    _after_tasks(bench)
    return [_uss_mb(psutil.Process())]


@line(
    "cluster: the head of 1,000 actors killed, until one is found and one made",
    "cluster head",
    "s",
    systems=(SKATE,),
    goal=at_most(1),
)
def head_restart(bench: Bench) -> list[float]:
    """From SIGKILL until a named actor has been looked up and answers, and a new one answers."""
    cluster = _Crowd.make(bench)

    @ray.remote(num_cpus=0)
    class New:
        def answer(self) -> int:
            return 1

    def once() -> float:
        process = head_process(cluster)
        process.kill()
        begin = time.perf_counter()
        known: Any = ray.get_actor("member1")
        new = New.remote()
        if ray.get([known.answer.remote(7), new.answer.remote()], timeout=LIMIT_S) != [7, 1]:
            raise AssertionError("the actors gave wrong answers")
        seconds = time.perf_counter() - begin
        until(lambda: head_process(cluster).pid != process.pid, LIMIT_S)
        time.sleep(1)  # a head that dies at once again is another matter
        return seconds

    return bench.times(once)
