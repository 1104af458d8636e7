"""Many of everything: arguments, results, objects, recursion."""

from __future__ import annotations

import time
from typing import Any

import pytest

import skate
from skate.client import current

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote
def one() -> int:
    return 1


def test_ten_thousand_arguments() -> None:
    @skate.remote
    def total(*args: int) -> int:
        return sum(args)

    refs = [skate.put(i) for i in range(10_000)]
    assert skate.get(total.remote(*refs)) == sum(range(10_000))
    assert skate.get(total.remote(*range(10_000))) == sum(range(10_000))


def test_ten_thousand_pending_arguments() -> None:
    @skate.remote
    def total(*args: int) -> int:
        return sum(args)

    assert skate.get(total.remote(*[one.remote() for _ in range(10_000)])) == 10_000


def test_three_thousand_results() -> None:
    @skate.remote(num_returns=3000)
    def many() -> Any:
        return range(3000)

    refs = many.remote()
    assert len(set(refs)) == 3000
    assert skate.get(refs) == list(range(3000))


def test_ten_thousand_objects_in_one_get() -> None:
    assert skate.get([skate.put([i]) for i in range(10_000)]) == [[i] for i in range(10_000)]
    assert sum(skate.get([one.remote() for _ in range(10_000)])) == 10_000


def test_ten_thousand_references_in_one_object() -> None:
    ref = skate.put([skate.put(i) for i in range(10_000)])
    assert sum(skate.get(skate.get(ref))) == sum(range(10_000))


def test_a_long_chain() -> None:
    @skate.remote
    def inc(x: int) -> int:
        return x + 1

    ref: Any = 0
    for _ in range(3000):
        ref = inc.remote(ref)
    assert skate.get(ref) == 3000


def test_submitted_and_dropped() -> None:
    for _ in range(20_000):
        one.remote()
    assert skate.get(one.remote()) == 1


def test_recursion_with_get_at_every_level() -> None:
    @skate.remote
    def tree(depth: int) -> int:
        if not depth:
            return 1
        return sum(skate.get([tree.remote(depth - 1) for _ in range(4)]))

    start = time.monotonic()
    ref = tree.remote(6)
    most = 0
    runtime: Any = current.runtime
    while not skate.wait([ref], timeout=0.2)[0]:
        most = max(most, len(runtime.ask("workers")))
    assert skate.get(ref) == 4**6
    assert time.monotonic() - start < 30
    assert most < 40, f"{most} workers for a recursion 6 deep on 2 CPUs"


def test_a_long_queue_holds_no_other_kind_of_task_up() -> None:
    @skate.remote
    def common() -> None:
        time.sleep(0.05)

    @skate.remote(num_cpus=1, resources={"blue": 0.1})
    def rare() -> float:
        return time.monotonic()

    @skate.remote
    class Actor:
        def now(self) -> float:
            return time.monotonic()

    many = [common.remote() for _ in range(600)]
    skate.wait(many, num_returns=4)
    began = time.monotonic()
    assert skate.get(rare.remote(), timeout=20) - began < 2
    assert skate.get(Actor.remote().now.remote(), timeout=20) - began < 4
    left = skate.wait(many, num_returns=len(many), timeout=0)[1]
    assert left, "the others have still something to do"
    for ref in left:
        skate.cancel(ref)
