"""References that travel: in values, closures, actors and errors; while pending; and after their maker has died."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import time
from typing import Any

import numpy as np
import pytest

import skate
from skate.exceptions import RayActorError
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")

LARGE = 300_000


def payload(large: bool, fill: int = 1) -> Any:
    return np.full(LARGE if large else 10, fill, np.uint8)


@skate.remote
def make(large: bool, after_s: float = 0.0) -> Any:
    time.sleep(after_s)
    return payload(large)


@skate.remote
def read(box: Any) -> int:
    return int(skate.get(box["ref"]).sum())


@skate.remote
def echo(value: Any) -> Any:
    return value


both = pytest.mark.parametrize("large", [False, True], ids=["small", "large"])


def size(large: bool) -> int:
    return LARGE if large else 10


@both
def test_inside_a_value(large: bool) -> None:
    assert skate.get(read.remote({"ref": skate.put(payload(large))})) == size(large)
    assert skate.get(read.remote({"ref": make.remote(large)})) == size(large)


@both
def test_dropped_here_while_the_task_has_it(large: bool) -> None:
    results = [read.remote({"ref": make.remote(large, 0.01)}) for _ in range(10)]
    gc.collect()
    assert skate.get(results) == [size(large)] * 10


@both
def test_pending_references_are_passed_on(large: bool) -> None:
    ref = make.remote(large, 0.1)
    assert skate.get([read.remote({"ref": ref}), read.remote({"ref": ref})]) == [size(large)] * 2


@both
def test_deeply_nested(large: bool) -> None:
    inner = skate.put(payload(large))
    middle = skate.put([inner])
    outer = skate.put({"middle": middle})
    del inner, middle
    gc.collect()

    @skate.remote
    def dig(box: Any) -> int:
        return int(skate.get(skate.get(skate.get(box[0])["middle"])[0]).sum())

    assert skate.get(dig.remote([outer])) == size(large)
    del outer


@pytest.mark.keeps_objects
@both
def test_in_a_closure(large: bool) -> None:
    ref = skate.put(payload(large))
    task = skate.remote(lambda: int(skate.get(ref).sum()))
    assert skate.get(task.remote()) == size(large)


@pytest.mark.keeps_objects
def test_in_a_closure_of_a_function_that_outlives_it() -> None:
    def build() -> Any:
        ref = skate.put(payload(True))
        return skate.remote(lambda: int(skate.get(ref).sum()))

    task = build()
    gc.collect()
    assert skate.get([task.remote() for _ in range(5)]) == [LARGE] * 5


@both
def test_there_and_back_again(large: bool) -> None:
    ref = make.remote(large)
    (back,) = skate.get(echo.remote([ref]))
    assert back is ref, "within a process an object has one reference"
    del ref
    gc.collect()
    assert skate.get(back).sum() == size(large)


@both
def test_made_in_a_task_and_returned(large: bool) -> None:
    @skate.remote
    def parent() -> Any:
        return [make.remote(large), skate.put(payload(large))]

    refs = skate.get(parent.remote())
    assert [int(value.sum()) for value in skate.get(refs)] == [size(large)] * 2


@both
def test_a_pending_child_handed_out_by_its_parent(large: bool) -> None:
    @skate.remote
    class Parent:
        def child(self) -> Any:
            return [make.remote(large, 0.1)]

    parent = Parent.remote()
    (ref,) = skate.get(parent.child.remote())
    assert skate.get(ref).sum() == size(large)


@both
def test_through_a_chain_of_tasks(large: bool) -> None:
    @skate.remote
    def forward(box: Any, depth: int) -> Any:
        return skate.get(forward.remote(box, depth - 1)) if depth else box

    ref = make.remote(large, 0.05)
    (back,) = skate.get(forward.remote([ref], 4))
    assert back is ref
    assert skate.get(back).sum() == size(large)


@both
def test_survives_the_death_of_its_maker(large: bool) -> None:
    @skate.remote
    class Maker:
        def pid(self) -> int:
            return os.getpid()

        def put(self) -> Any:
            return [skate.put(payload(large, 5))]

        def result(self) -> Any:
            return payload(large, 5)

    maker = Maker.remote()
    pid = skate.get(maker.pid.remote())
    (put,) = skate.get(maker.put.remote())
    result = maker.result.remote()
    skate.wait([result])
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RayActorError):
        skate.get(maker.pid.remote())
    assert skate.get(put).sum() == 5 * size(large)
    assert skate.get(result).sum() == 5 * size(large)
    assert skate.get(read.remote({"ref": put})) == 5 * size(large)


@both
def test_given_to_an_actor_by_one_that_died(large: bool) -> None:
    @skate.remote
    class Keeper:
        def keep(self, box: Any) -> None:
            self.ref = box[0]

        def read(self) -> int:
            return int(skate.get(self.ref).sum())

    @skate.remote(max_retries=0)
    def give(keeper: Any) -> int:
        skate.get(keeper.keep.remote([skate.put(payload(large))]))
        return os.getpid()

    keeper = Keeper.remote()
    os.kill(skate.get(give.remote(keeper)), signal.SIGKILL)
    assert skate.get(keeper.read.remote()) == size(large)


@pytest.mark.keeps_objects
def test_inside_an_exception() -> None:
    class WithRef(Exception):
        def __init__(self, ref: Any) -> None:
            super().__init__(ref)
            self.ref = ref

    @skate.remote
    def fail() -> None:
        raise WithRef(skate.put(payload(True)))

    with pytest.raises(WithRef) as caught:
        skate.get(fail.remote())
    ref = getattr(caught.value, "ref", None) or caught.value.cause.ref
    assert skate.get(ref).sum() == LARGE


@pytest.mark.keeps_objects
def test_out_of_band() -> None:
    ref = skate.put([1, 2])
    data = pickle.dumps(ref)
    assert skate.get(pickle.loads(data)) == [1, 2]
    assert skate.get(echo.remote(data)) == data
    assert copy.copy(ref) is ref or skate.get(copy.copy(ref)) == [1, 2]


def test_identity_hash_and_text() -> None:
    one, two = skate.put(1), skate.put(1)
    assert one != two
    assert len({one, two, one}) == 2
    assert one.hex() in repr(one)
    assert bytes.fromhex(one.hex()) == one.binary()
    assert len(one.binary()) == 16


def test_future() -> None:
    assert make.remote(False).future().result(10).sum() == 10

    @skate.remote
    def fail() -> None:
        raise KeyError("x")

    assert isinstance(fail.remote().future().exception(10), KeyError)


def test_many_references_in_one_object() -> None:
    refs = [skate.put(i) for i in range(3000)]

    @skate.remote
    def check(box: list[Any]) -> int:
        return sum(skate.get(box))

    assert skate.get(check.remote(refs)) == sum(range(3000))
    boxed = skate.put(refs)
    del refs
    gc.collect()
    assert sum(skate.get(skate.get(boxed))) == sum(range(3000))


def test_borrowers_come_and_go() -> None:
    ref = skate.put(payload(True))
    for _ in range(20):
        skate.get([read.remote({"ref": ref}) for _ in range(5)])
    assert skate.get(ref).sum() == LARGE


def test_an_actor_that_drops_its_references() -> None:
    @skate.remote
    class Cache:
        def __init__(self) -> None:
            self.kept: list[Any] = []

        def fill(self, box: list[Any]) -> None:
            self.kept += box

        def clear(self) -> None:
            self.kept.clear()

    cache = Cache.remote()
    skate.get(cache.fill.remote([skate.put(payload(True)) for _ in range(10)]))
    runtime: Any = skate.put(0)._runtime
    assert runtime.ask("store")["objects"] >= 10
    skate.get(cache.clear.remote())
    eventually(lambda: runtime.ask("store")["objects"] < 10, what="the end of objects that an actor dropped")
