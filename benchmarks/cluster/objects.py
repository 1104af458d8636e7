"""Large objects from node to node, beside a socket copy of as many bytes into the same kind of memory."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..framework import NAME, ray
from ..lines import MACHINE, SKATE, Bench, at_least, at_most, line
from . import networks
from .nodes import Cluster, close_shared, shared
from .yardsticks import COPY_FIRST, COPY_LARGE, COPY_SMALL, LARGE_BYTES, QUICK_BYTES, SMALL_BYTES

RECEIVERS, RECEIVERS_QUICK = 8, 2
ONE, ALL = "cluster: 1 GiB to one node", "cluster: 1 GiB to eight nodes"
FIRST = ", into fresh memory"
LINK_MEGABITS = 1000
LINK_BYTES = 128 << 20
ONE_LINK, ALL_LINK = "cluster: 128 MiB to one node over 1 Gbit/s", "cluster: 128 MiB to eight nodes over 1 Gbit/s"
"""All nodes of a host share its processors, so eight copies cost eight times as much there; machines have links of their own."""


def two_nodes(quick: bool) -> Cluster:
    cluster = Cluster()
    cluster.add(1, _store(quick))
    cluster.add(1, _store(quick), resources='{"far": 1}')
    return cluster


def many_nodes(quick: bool) -> Cluster:
    """One that has the object, and those that get it: the last of them for the copy that is alone."""
    cluster = Cluster()
    cluster.add(1, _store(quick))
    for number in range(_receivers(quick) + 1):
        cluster.add(1, _store(quick), resources=f'{{"receiver{number}": 1}}')
    return cluster


class _Switched(Cluster):
    """As `many_nodes`, every node on a link of its own."""

    def __init__(self, quick: bool) -> None:
        super().__init__()
        self._networks = ExitStack()
        found = self._networks.enter_context(networks.switched(_receivers(quick) + 2, LINK_MEGABITS))
        self.add(1, _store(quick), network=found[0])
        for number, network in enumerate(found[1:]):
            self.add(1, _store(quick), network=network, resources=f'{{"receiver{number}": 1}}')

    def close(self) -> None:
        super().close()
        self._networks.close()


def _receivers(quick: bool) -> int:
    return RECEIVERS_QUICK if quick else RECEIVERS


def _store(quick: bool) -> str:
    """Room for the object and a bit."""
    return f"--object-store-memory={(100 << 20) if quick else (1300 << 20)}"


def size_of(bench: Bench, full: int) -> int:
    return bench.size(full, QUICK_BYTES)


@ray.remote(num_cpus=0, resources={"far": 0.01})
def make(size: int) -> Any:
    return np.ones(size, dtype=np.uint8)


@ray.remote(num_cpus=0)
def last_byte(array: Any) -> int:
    return int(array[-1])


def _pull(size: int) -> float:
    """GB/s of the first get here of an object that another node has made."""
    ref = make.remote(size)
    ray.wait([ref], fetch_local=False)
    begin = time.perf_counter()
    array = ray.get(ref)
    seconds = time.perf_counter() - begin
    if len(array) != size or array[-1] != 1:
        raise AssertionError("the array came back changed")
    return size / 1e9 / seconds


def _first_pull(bench: Bench) -> float:
    """By nodes that have never had an object."""
    close_shared()
    shared(two_nodes, bench.quick)
    return _pull(size_of(bench, LARGE_BYTES))


@line("cluster: 1 GiB from another node" + FIRST, "cluster objects", "GB/s", goal=at_least(0.7, (MACHINE, COPY_FIRST)))
def pull_first(bench: Bench) -> list[float]:
    return [_first_pull(bench) for _ in range(bench.size(3, 1) if NAME == SKATE else 1)]


@line("cluster: 1 GiB from another node", "cluster objects", "GB/s", goal=at_least(0.7, (MACHINE, COPY_LARGE)))
def pull_large(bench: Bench) -> list[float]:
    shared(two_nodes, bench.quick)
    return bench.times(lambda: _pull(size_of(bench, LARGE_BYTES)))


@line("cluster: 256 MiB from another node", "cluster objects", "GB/s", goal=at_least(0.7, (MACHINE, COPY_SMALL)))
def pull_small(bench: Bench) -> list[float]:
    shared(two_nodes, bench.quick)
    return bench.times(lambda: _pull(size_of(bench, SMALL_BYTES)))


class _Broadcast:
    """Seconds until so many nodes have read an object; measured once, read by several lines."""

    first: dict[str, list[float]] = {}
    later: dict[str, list[float]] = {ONE: [], ALL: []}

    @classmethod
    def run(cls, bench: Bench) -> None:
        if cls.first:
            return
        shared(many_nodes, bench.quick)
        eight = list(range(_receivers(bench.quick)))
        alone = [len(eight)]
        _to([*eight, *alone], 1)  # every node has a worker from here on
        size = size_of(bench, LARGE_BYTES)
        cls.first = {ONE: [_to(alone, size)], ALL: [_to(eight, size)]}
        for _ in range(bench.size(5, 2) if NAME == SKATE else 1):
            cls.later[ONE].append(_to(alone, size))
            cls.later[ALL].append(_to(eight, size))


def _to(receivers: list[int], size: int) -> float:
    ref = ray.put(np.ones(size, dtype=np.uint8))
    begin = time.perf_counter()
    tasks = [last_byte.options(resources={f"receiver{number}": 0.01}).remote(ref) for number in receivers]
    if ray.get(tasks) != [1] * len(receivers):
        raise AssertionError("a node got another object")
    return time.perf_counter() - begin


@line(ONE + FIRST, "cluster broadcast", "s")
def one_first(bench: Bench) -> list[float]:
    _Broadcast.run(bench)
    return _Broadcast.first[ONE]


@line(ALL + FIRST, "cluster broadcast", "s", goal=at_most(3, (SKATE, ONE + FIRST)))
def all_first(bench: Bench) -> list[float]:
    _Broadcast.run(bench)
    return _Broadcast.first[ALL]


@line(ONE, "cluster broadcast", "s")
def one_later(bench: Bench) -> list[float]:
    _Broadcast.run(bench)
    return _Broadcast.later[ONE]


@line(ALL, "cluster broadcast", "s", goal=at_most(3, (SKATE, ONE)))
def all_later(bench: Bench) -> list[float]:
    _Broadcast.run(bench)
    return _Broadcast.later[ALL]


class _OverLinks:
    """As `_Broadcast`, over links."""

    times: dict[str, list[float]] = {}

    @classmethod
    def run(cls, bench: Bench) -> None:
        if cls.times:
            return
        shared(_Switched, bench.quick)
        eight = list(range(_receivers(bench.quick)))
        _to([*eight, len(eight)], 1)
        size = size_of(bench, LINK_BYTES)
        cls.times = {ONE_LINK: [], ALL_LINK: []}
        for _ in range(bench.size(3, 1)):
            cls.times[ONE_LINK].append(_to([len(eight)], size))
            cls.times[ALL_LINK].append(_to(eight, size))


def one_over_links(bench: Bench) -> list[float]:
    _OverLinks.run(bench)
    return _OverLinks.times[ONE_LINK]


def all_over_links(bench: Bench) -> list[float]:
    _OverLinks.run(bench)
    return _OverLinks.times[ALL_LINK]


if networks.possible():
    line(ONE_LINK, "cluster broadcast", "s", systems=(SKATE,))(one_over_links)
    line(ALL_LINK, "cluster broadcast", "s", systems=(SKATE,), goal=at_most(3, (SKATE, ONE_LINK)))(all_over_links)
