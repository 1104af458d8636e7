"""`wait`, `get` with time limits, `as_completed`, and what they say when they wait."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest

import skate
from skate.exceptions import GetTimeoutError

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
def nap(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)
    return value


@skate.remote
def fail() -> None:
    raise ValueError("bad")


def test_the_first_of_many() -> None:
    slow, fast = nap.remote(0.5), nap.remote(0.0)
    ready, rest = skate.wait([slow, fast])
    assert ready == [fast]
    assert rest == [slow]
    skate.get(slow)


def test_order_is_that_of_the_argument() -> None:
    refs = [skate.put(i) for i in range(10)]
    ready, rest = skate.wait(refs, num_returns=4)
    assert ready == refs[:4]
    assert rest == refs[4:]
    assert skate.wait(refs, num_returns=10) == (refs, [])


def test_all_of_a_thousand() -> None:
    rest = [nap.remote(0, i) for i in range(1000)]
    seen = []
    while rest:
        ready, rest = skate.wait(rest)
        seen += skate.get(ready)
    assert sorted(seen) == list(range(1000))


def test_time_limits() -> None:
    ref = nap.remote(1.0)
    start = time.monotonic()
    assert skate.wait([ref], timeout=0.1) == ([], [ref])
    assert 0.09 < time.monotonic() - start < 0.6
    assert skate.wait([ref], timeout=0) == ([], [ref])
    with pytest.raises(GetTimeoutError):
        skate.get(ref, timeout=0.1)
    with pytest.raises(TimeoutError):
        skate.get(ref, timeout=0)
    assert skate.get(ref, timeout=10) is None
    assert skate.get(ref, timeout=0) is None


def test_a_time_limit_says_what_it_waited_for() -> None:
    ref = nap.remote(0.5)
    with pytest.raises(GetTimeoutError, match="nap"):
        skate.get(ref, timeout=0.05)
    assert "nap" in skate.why(ref)
    skate.get(ref)
    assert "done" in skate.why(ref)


def test_a_failed_task_is_ready() -> None:
    ref = fail.remote()
    assert skate.wait([ref], timeout=10) == ([ref], [])


def test_the_first_error_is_raised_at_once() -> None:
    slow = nap.remote(3)
    start = time.monotonic()
    with pytest.raises(ValueError, match="bad"):
        skate.get([fail.remote(), slow])
    assert time.monotonic() - start < 2
    skate.cancel(slow)
    skate.wait([slow])


def test_wait_in_a_task() -> None:
    @skate.remote
    def parent() -> list[int]:
        refs = [nap.remote(0.01 * i, i) for i in range(3)]
        seen = []
        while refs:
            ready, refs = skate.wait(refs)
            seen += skate.get(ready)
        return sorted(seen)

    assert skate.get(parent.remote()) == [0, 1, 2]


def test_wait_on_what_others_make() -> None:
    @skate.remote
    def waiter(box: list[Any]) -> int:
        ready, _ = skate.wait(box, num_returns=2, timeout=10)
        return len(ready)

    assert skate.get(waiter.remote([nap.remote(0.05), skate.put(1)])) == 2


def test_wait_takes_generators_too() -> None:
    @skate.remote
    def items() -> Any:
        yield 1

    generator, slow = items.remote(), nap.remote(0.3)
    ready, rest = skate.wait([slow, generator])
    assert ready == [generator]
    assert skate.get(next(generator)) == 1
    skate.get(rest)


def test_as_completed() -> None:
    slow, fast = nap.remote(0.3, "slow"), nap.remote(0, "fast")
    assert [skate.get(ref) for ref in skate.as_completed([slow, fast])] == ["fast", "slow"]
    ref = nap.remote(0.3)
    with pytest.raises(GetTimeoutError, match="1 of 1"):
        next(iter(skate.as_completed([ref], timeout=0.02)))
    skate.get(ref)


def test_wrong_arguments() -> None:
    ref = skate.put(1)
    with pytest.raises(ValueError, match="twice"):
        skate.wait([ref, ref])
    with pytest.raises(TypeError, match="list"):
        skate.wait(ref)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_returns"):
        skate.wait([ref], num_returns=2)
    with pytest.raises(ValueError, match="num_returns"):
        skate.wait([ref], num_returns=0)
    with pytest.raises(ValueError, match="timeout"):
        skate.wait([ref], timeout=-1)
    with pytest.raises(ValueError, match="timeout"):
        skate.get(ref, timeout=-2)
    with pytest.raises((TypeError, ValueError), match="ObjectRef"):
        skate.get(1)  # type: ignore[call-overload]
    with pytest.raises((TypeError, ValueError), match="ObjectRef"):
        skate.get([ref, 1])  # type: ignore[list-item]
    with pytest.raises((TypeError, ValueError), match="remote"):
        skate.get([nap])  # type: ignore[list-item]
    assert skate.wait([]) == ([], [])
    assert skate.get([]) == []


SLOW_GET = """
import sys, time
import skate
from skate.client import waiting
waiting.SLOW_GET_S = 0.2

@skate.remote
def sluggish():
    time.sleep(0.7)

skate.init(num_cpus=1)
skate.get(sluggish.remote())
"""


def test_a_slow_get_says_what_it_waits_for() -> None:
    done = subprocess.run([sys.executable, "-c", SLOW_GET], capture_output=True, text=True, timeout=30, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "still waiting" in done.stderr
    assert "sluggish" in done.stderr
