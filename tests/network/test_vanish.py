"""A machine that is off the net from one moment to the next: no packet says so."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import skate
from skate.client import asking
from skate.exceptions import ActorDiedError, ActorUnavailableError, RayError
from skate.testing import eventually

from .conftest import Machine, Network, dead, on

RELEASED_S = 5.0
"""How long after a node was declared dead something of it may be held elsewhere."""


@skate.remote
class Busy:
    """Uses another machine: its CPU, its memory, its connection."""

    def use(self, there: dict[str, Any], block: list[Any]) -> int:
        nap = skate.remote(time.sleep).options(num_cpus=1, **there).remote(60)
        data = skate.get(block[0])
        skate.get(nap)
        return len(data)

    def hold(self, block: list[Any]) -> None:
        self.block = block

    def nap(self, seconds: float) -> None:
        time.sleep(seconds)


@skate.remote
def make(size: int) -> bytes:
    return bytes(size)


def towards(machine: Machine, other: Machine) -> list[str]:
    """The TCP connections of one machine to another. One that was closed may go on trying to say so."""
    words = ["ss", "-N", machine.name, "-Htn", "state", "established", "dst", other.host]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()


def store(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = asking.ask(machine.session, "store")
    return found


def test_f20_a_machine_vanishes_in_mid_transfer_and_mid_call(net: Network) -> None:
    head, one, two = net.add(0), net.add(1, one=1), net.add(1, two=1)
    net.attach(head)
    busy = Busy.options(**on("one")).remote()
    net.narrow(two, 80)
    block = make.options(num_cpus=0, **on("two")).remote(60_000_000)
    skate.wait([block], timeout=20, fetch_local=False)
    call = busy.use.remote(on("two"), [block])
    eventually(lambda: skate.available_resources().get("CPU", 0) <= 1, 10, "a task of it runs on the other machine")
    eventually(lambda: store(one)["free"] < store(one)["capacity"] - 60_000_000, 10, "the transfer has begun")
    processes = one.processes()
    began = time.monotonic()
    net.unplug(one)
    dead()
    noticed = time.monotonic()
    assert noticed - began < 4.5
    with pytest.raises((ActorDiedError, ActorUnavailableError)):
        skate.get(call, timeout=10)
    eventually(lambda: skate.available_resources().get("CPU") == 1, RELEASED_S, "the lease has ended")
    eventually(
        lambda: not [1 for machine in (head, two) if towards(machine, one)], RELEASED_S, "connections are closed"
    )
    print(f"noticed after {noticed - began:.2f} s, released {time.monotonic() - noticed:.2f} s later")
    gone = [process for process in processes if process.pid != one.session.pid]
    eventually(lambda: not any(process.is_running() for process in gone), RELEASED_S, "what ran there has ended")
    net.plug(one)
    del block, call
    eventually(lambda: store(two)["objects"] == 0, 10, "nobody holds the object that was on its way")
    assert asking.ask(two.session, "validate") is True
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(True) == 3, 15, "it joins anew")


def test_f20_a_machine_vanishes_while_nothing_is_on_its_way(net: Network) -> None:
    head, one = net.add(1), net.add(1, one=1)
    net.attach(head)
    keeper = Busy.options(**on("one")).remote()
    skate.get(keeper.nap.remote(0), timeout=20)
    ref = skate.put(bytes(1_000_000))
    skate.get(keeper.hold.remote([ref]), timeout=20)
    del ref
    assert towards(head, one)
    net.unplug(one)
    dead()
    began = time.monotonic()
    eventually(lambda: not towards(head, one), RELEASED_S, "connections are closed")
    eventually(lambda: store(head)["objects"] == 0, RELEASED_S, "what it held is let go")
    print(f"released after {time.monotonic() - began:.2f} s")
    assert asking.ask(head.session, "validate") is True
    with pytest.raises(ActorDiedError):
        skate.get(keeper.nap.remote(0), timeout=10)


def test_a_death_is_noticed_in_time(net: Network) -> None:
    """Figures for the promise: 50 ms for a worker, 1 s for a node, 3 s for silence; with room for a busy machine."""
    head, one = net.add(1), net.add(1, one=1)
    net.attach(head)

    def until(ref: skate.ObjectRef[Any], fault: Callable[[], None]) -> float:
        began = time.monotonic()
        fault()
        with pytest.raises(RayError):
            skate.get(ref, timeout=20)
        return time.monotonic() - began

    nap = skate.remote(time.sleep).options(max_retries=0)
    here = skate.remote(os.getpid)
    worker = skate.get([here.remote(), here.options(**on("one")).remote()], timeout=20)
    tasks = [nap.remote(60), nap.options(**on("one")).remote(60)]
    eventually(lambda: skate.available_resources().get("CPU", 0) == 0, 10, "both run")
    times = [until(ref, partial(os.kill, pid, signal.SIGKILL)) for ref, pid in zip(tasks, worker, strict=True)]
    eventually(lambda: skate.available_resources().get("CPU", 0) == 2, 10, "all is free")
    task = nap.options(**on("one")).remote(60)
    eventually(lambda: skate.available_resources().get("CPU", 0) == 1, 10, "it runs")
    began = time.monotonic()
    killed = until(task, partial(os.kill, one.session.pid, signal.SIGKILL))
    dead()
    known = time.monotonic() - began
    print("noticed after", [f"{each * 1000:.0f} ms" for each in (*times, killed, known)])
    assert max(times) < 0.5 and killed < 2 and known < 2
