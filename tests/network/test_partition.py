"""Machines that do not hear each other: for long, for a moment, or only these two."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import skate
from skate.exceptions import ActorUnavailableError, GetTimeoutError, RayError
from skate.testing import eventually

from .conftest import Journal, Network, dead, note, on


@skate.remote
def where() -> str:
    return skate.get_runtime_context().get_node_id()


@skate.remote
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def large(self) -> bytes:
        return bytes(5_000_000)


@skate.remote(max_retries=2)
def first_long_then_short(path: str) -> int:
    return note(path, 0.3 if os.path.exists(path) else 10.0)


def alive() -> int:
    return [node["Alive"] for node in skate.nodes()].count(True)


@pytest.mark.parametrize("one_way", [False, True])
def test_f9_no_task_runs_twice_at_a_time(net: Network, tmp_path: Path, one_way: bool) -> None:
    head = net.add(0)
    away, other = net.add(1, there=1), net.machine()
    net.attach(head)
    journal = Journal(tmp_path / "journal")
    task = first_long_then_short.remote(str(journal.path))
    eventually(journal.spans, 10, "it runs")
    net.start(other, 1)
    old = away.session.node_id
    net.cut(away, head, one_way)
    began = time.monotonic()
    pid = skate.get(task, timeout=20)
    spans = journal.spans()
    assert len(spans) == 2 and pid != 0
    assert spans[0][1] < spans[1][0], f"two attempts ran at a time: {spans}"
    assert spans[0][1] > began, "it ran when it was cut off"
    dead()
    net.heal(away, head)
    eventually(lambda: alive() == 3, 15, "the machine joins anew")
    assert skate.get(where.options(**on("there")).remote(), timeout=20) != old


def test_f10_a_blip_kills_nobody(net: Network, tmp_path: Path) -> None:
    """TCP alone would not do: after 1.8 s its next try comes 3 s after the first that was lost."""
    machines = [net.add(1, one=1), net.add(1, two=1), net.add(1, three=1)]
    net.attach(machines[0])
    numbers = [f"task-{number}" for number in range(30)]
    counters = [Counter.options(**on(name)).remote() for name in ("one", "two", "three")]
    skate.get([counter.add.remote() for counter in counters], timeout=20)
    tasks = [skate.remote(mark).options(**on("two")).remote(str(tmp_path / number), 0.1) for number in numbers]
    calls = [counter.add.remote() for counter in counters for _ in range(200)]
    eventually(lambda: (tmp_path / numbers[0]).exists(), 10, "tasks run")
    for machine in machines[1:]:
        net.unplug(machine)
    more = [counter.add.remote() for counter in counters for _ in range(200)]
    _pass(1.8)
    for machine in machines[1:]:
        net.plug(machine)
    assert sorted(skate.get(calls + more, timeout=20)) == sorted(list(range(2, 402)) * 3)
    assert skate.get([counter.add.remote() for counter in counters], timeout=20) == [402] * 3
    skate.get(tasks, timeout=20)
    assert [(tmp_path / number).read_text() for number in numbers] == ["x"] * len(numbers)
    assert alive() == 3 and len(skate.nodes()) == 3


def mark(path: str, seconds: float) -> None:
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)


def _pass(seconds: float) -> None:
    """Let time pass: it is what the fault consists of."""
    time.sleep(seconds)


def _outcome(ref: skate.ObjectRef[object]) -> object:
    """What comes of it within 20 s: a value, or an error that says why."""
    try:
        return skate.get(ref, timeout=20)
    except GetTimeoutError:
        raise
    except RayError as error:
        return error


def test_f11_two_nodes_that_hear_only_the_head(net: Network) -> None:
    head, one, two = net.add(0), net.add(1, one=1), net.add(1, two=1)
    net.attach(one)
    counter = Counter.options(**on("two")).remote()
    assert skate.get(counter.add.remote(), timeout=20) == 1
    near = counter.large.remote()
    skate.wait([near], timeout=20, fetch_local=False)
    net.cut(one, two)
    late = where.options(**on("two")).remote()
    assert isinstance(_outcome(counter.add.remote()), RayError)
    bytes_or_why = _outcome(near)
    assert isinstance(bytes_or_why, RayError) or bytes_or_why == bytes(5_000_000)
    began = time.monotonic()
    error = _outcome(counter.add.remote())
    assert isinstance(error, ActorUnavailableError) and "cannot be reached" in str(error), error
    assert time.monotonic() - began < 12
    assert skate.get(where.remote(), timeout=20) == one.session.node_id
    assert alive() == 3, "nobody is dead: both hear the head"
    net.heal(one, two)
    assert skate.get(late, timeout=20) == two.session.node_id
    assert eventually(lambda: isinstance(value := _outcome(counter.add.remote()), int) and value, 20) in (2, 3)
    assert head.session.node_id not in {one.session.node_id, two.session.node_id}
