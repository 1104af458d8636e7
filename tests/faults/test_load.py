"""F27, F34: recursion, submission without end, thousands of everything: few workers, bounded memory, linear time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import current
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("healthy")

GET_S = 28
WORKERS_MAX = 60
"""Far more than a depth-first order needs on 2 CPUs, and far below one per task."""


def ask(what: str) -> Any:
    runtime: Any = current.runtime
    return runtime.ask(what)


def resident_bytes() -> int:
    """What this process has in memory, shared memory left out."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


@skate.remote
def noop(_: int = 0) -> None:
    return None


@skate.remote
def tree(depth: int, width: int) -> int:
    if depth == 0:
        return 1
    return int(sum(skate.get([tree.remote(depth - 1, width) for _ in range(width)])))


def test_f27_recursion_with_get_at_every_level() -> None:
    """4^5 leaves below 341 tasks that wait: done, and with few workers."""
    ref = tree.remote(5, 4)
    most = 0
    end = time.monotonic() + GET_S
    while not skate.wait([ref], timeout=0.05)[0]:
        assert time.monotonic() < end, skate.why(ref)
        most = max(most, len(ask("workers")))
    assert skate.get(ref, timeout=GET_S) == 4**5
    assert 2 <= most <= WORKERS_MAX


def test_f27_a_deep_chain() -> None:
    """Every task waits for the one below it: there must be as many workers, and they go again."""
    assert skate.get(tree.remote(30, 1), timeout=GET_S) == 1
    eventually(lambda: len(ask("workers")) <= 3, 15, "the workers of the chain end")


def test_f27_actors_in_tasks_in_actors() -> None:
    @skate.remote(num_cpus=0)
    class Node:
        def grow(self, depth: int) -> int:
            if depth == 0:
                return 1
            kids = [Node.remote() for _ in range(2)]
            return int(sum(skate.get([kid.grow.remote(depth - 1) for kid in kids])))

    assert skate.get(Node.remote().grow.remote(4), timeout=GET_S) == 16
    eventually(lambda: not ask("actors"), 10, "the actors end")


def test_f27_submission_without_end() -> None:
    """A program that drops what it submits: everything runs, and what is done is forgotten."""
    for _ in range(5_000):
        noop.remote()
    before = resident_bytes()
    end = time.monotonic() + 4
    count = 0
    while time.monotonic() < end:
        for _ in range(1000):
            noop.remote()
        count += 1000
    skate.get(noop.remote(), timeout=GET_S)
    grown = resident_bytes() - before
    assert count >= 20_000
    assert grown < 1500 * count, f"{grown / count:.0f} bytes for each of {count} tasks"
    assert len(ask("workers")) <= 6


def test_f27_a_task_that_submits_without_waiting(tmp_path: Path) -> None:
    @skate.remote
    def floods(count: int) -> list[skate.ObjectRef[int]]:
        return [tree.remote(0, 0) for _ in range(count)]

    refs = skate.get(floods.remote(3000), timeout=GET_S)
    assert sum(skate.get(refs, timeout=GET_S)) == 3000
    assert len(ask("workers")) <= 6


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def test_f34_200_000_queued_tasks() -> None:
    """Under 1 KB each in the driver, in linear time, to submit and to get."""

    def run(count: int) -> tuple[float, float, float]:
        before = resident_bytes()
        refs: list[Any] = []
        submitting = seconds(lambda: refs.extend(noop.remote() for _ in range(count)))
        grown = (resident_bytes() - before) / count
        getting = seconds(lambda: skate.get(refs, timeout=GET_S))
        return submitting / count, getting / count, grown

    small = run(20_000)
    large = run(200_000)
    assert large[2] < 1024, f"{large[2]:.0f} bytes per queued task"
    assert sum(large[:2]) < 4 * sum(small[:2]) + 20e-6, f"not linear: seconds per task {small} and {large}"


def test_f34_10_000_objects_in_one_get() -> None:
    def run(count: int) -> float:
        refs = [skate.put((number, "x" * 200)) for number in range(count)]
        made = [tree.remote(0, 0) for _ in range(count)]
        took = seconds(lambda: check(skate.get(refs, timeout=GET_S), skate.get(made, timeout=GET_S)))
        return took / count

    def check(values: list[Any], ones: list[int]) -> None:
        assert [number for number, _ in values] == list(range(len(values)))
        assert set(ones) == {1}

    small, large = run(1000), run(10_000)
    assert large < 5 * small + 100e-6, f"not linear: {small} and {large} s per object"


def test_f34_10_000_references_in_one_object() -> None:
    refs = [skate.put(number) for number in range(10_000)]
    holder = skate.put(refs)
    found = skate.get(holder, timeout=GET_S)
    assert skate.get(found, timeout=GET_S) == list(range(10_000))


def test_f34_300_actors() -> None:
    @skate.remote(num_cpus=0)
    class Small:
        def __init__(self, number: int) -> None:
            self.number = number

        def tell(self) -> int:
            return self.number

    def run(count: int) -> float:
        start = time.perf_counter()
        actors = [Small.remote(number) for number in range(count)]
        assert skate.get([actor.tell.remote() for actor in actors], timeout=GET_S) == list(range(count))
        took = time.perf_counter() - start
        assert len([actor for actor in ask("actors") if actor["state"] == "ALIVE"]) == count
        del actors
        eventually(lambda: not ask("actors") and len(ask("workers")) < 10, 15, "all actors end")
        return took / count

    small, large = run(30), run(300)
    assert large < 4 * small + 0.01, f"not linear: {small} and {large} s per actor"
