"""Around every fault: health before it, a limit on its time, and fresh tasks, quiescence and nothing left after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import skate

from .drivers import Driver

LIMIT_S = 30
FRESH = 20


def check_health() -> None:
    """Fresh tasks run, in other processes than this one."""

    def fresh(number: int) -> tuple[int, int]:
        return number, os.getpid()

    made = skate.remote(fresh)
    found = skate.get([made.remote(i) for i in range(FRESH)], timeout=10)
    assert [number for number, _ in found] == list(range(FRESH))
    assert os.getpid() not in {pid for _, pid in found}


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """No test of a fault may hang: after `LIMIT_S` it fails, wherever it is."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"the test has taken more than {LIMIT_S} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture
def healthy(cluster: None, limited: None, quiescent: None) -> Iterator[None]:
    """The file's cluster, healthy before the test and after it."""
    check_health()
    yield
    check_health()


@pytest.fixture
def drive(tmp_path: Path, limited: None) -> Iterator[Callable[..., Driver]]:
    """A function that runs a script as a driver of its own; whatever becomes of it, it is ended after the test."""
    drivers: list[Driver] = []

    def begin(body: str, *arguments: str) -> Driver:
        drivers.append(Driver(tmp_path, body, *arguments))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.close()
