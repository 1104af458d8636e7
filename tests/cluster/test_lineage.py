"""Objects whose bytes were on a node that is lost are made again, by whoever has submitted their tasks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import sessions
from skate.exceptions import (
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectReconstructionFailedMaxAttemptsExceededError,
)
from skate.testing import eventually

from .conftest import Nodes, on

SIZE = 200_000


def note(path: str, name: str) -> None:
    with open(path, "a") as file:
        file.write(name + "\n")


@skate.remote
def make(path: str, name: str, *given: bytes) -> bytes:
    note(path, name)
    return name.encode().ljust(SIZE, b".") + b"".join(each[:2] for each in given)


@skate.remote
def first(data: bytes) -> bytes:
    return data[:2]


def lose(nodes: Nodes, lost: sessions.Session) -> sessions.Session:
    """Kill a node, and start another with the same resource."""
    nodes.kill(lost)
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(False) >= 1, 5, "the loss is known")
    return nodes.add(2, there=1)


@pytest.fixture
def lost(nodes: Nodes) -> sessions.Session:
    """A head's node, where this program is, and the node that is to be lost."""
    nodes.add(2)
    node = nodes.add(2, there=1)
    skate.init(address=nodes.address)
    return node


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def ran(log: Path) -> dict[str, int]:
    names = log.read_text().split()
    return {name: names.count(name) for name in sorted(set(names))}


def test_f4_a_chain_is_made_again(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    there: Any = make.options(**on("there"))
    a = there.remote(str(log), "a")
    b = there.remote(str(log), "b", a)
    c = there.remote(str(log), "c", b)
    skate.wait([c], timeout=20)
    lose(nodes, lost)
    assert skate.get(c, timeout=20)[:1] == b"c"
    assert skate.get(c, timeout=20)[-2:] == b"b."
    assert ran(log) == {"a": 2, "b": 2, "c": 2}
    assert skate.get(a, timeout=20)[:1] == b"a" and ran(log)["a"] == 2


def test_f4_what_was_dropped_is_made_again_for_those_that_need_it(
    nodes: Nodes, lost: sessions.Session, log: Path
) -> None:
    there: Any = make.options(**on("there"))
    c = there.remote(str(log), "c", there.remote(str(log), "b", there.remote(str(log), "a")))
    skate.wait([c], timeout=20)
    lose(nodes, lost)
    assert skate.get(first.remote(c), timeout=20) == b"c."
    assert ran(log) == {"a": 2, "b": 2, "c": 2}


def test_f4_only_what_is_lost_is_made_again(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    here: Any = make.options(**on(f"node:{nodes.started[0].host}"))
    there: Any = make.options(**on("there"))
    a = make.options(scheduling_strategy=skate.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        nodes.started[0].node_id, False)).remote(str(log), "a")  # fmt: skip
    b = there.remote(str(log), "b", a)
    skate.wait([a, b], num_returns=2, timeout=20)
    del here
    lose(nodes, lost)
    assert skate.get(b, timeout=20)[-2:] == b"a."
    assert ran(log) == {"a": 1, "b": 2}


def test_f4_one_output_of_several(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    @skate.remote(num_returns=3)
    def three(path: str) -> Any:
        note(path, "three")
        return b"x" * SIZE, 7, b"z" * SIZE

    x, seven, z = three.options(**on("there")).remote(str(log))
    skate.wait([x, seven, z], num_returns=3, timeout=20)
    assert skate.get(x, timeout=20)[:1] == b"x"  # there is a copy here now
    lose(nodes, lost)
    assert skate.get([x, seven], timeout=20)[1] == 7
    assert ran(log) == {"three": 1}
    assert skate.get(z, timeout=20) == b"z" * SIZE
    assert ran(log) == {"three": 2}


def test_f4_outputs_that_are_missed_one_by_one_are_made_again_at_once(
    nodes: Nodes, lost: sessions.Session, log: Path
) -> None:
    """More outputs than the task has retries, and nobody asks for the next before he has the one before."""

    @skate.remote(num_returns=5, max_retries=1)
    def five(path: str) -> list[bytes]:
        note(path, "five")
        return [bytes([65 + number]) * SIZE for number in range(5)]

    refs = five.options(**on("there")).remote(str(log))
    skate.wait(refs, num_returns=5, timeout=20)
    lose(nodes, lost)
    for number, ref in enumerate(refs):
        assert skate.get(first.options(**on("there")).remote(ref), timeout=20) == bytes([65 + number]) * 2
    assert ran(log) == {"five": 2}


def test_f4_one_loss_is_charged_once(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    """What was dropped is made again for each of those that were made of it, whenever these are missed."""

    @skate.remote(num_returns=4, max_retries=1)
    def four(path: str) -> list[bytes]:
        note(path, "four")
        return [bytes([65 + number]) * SIZE for number in range(4)]

    @skate.remote(num_returns="streaming", max_retries=1)
    def stream(path: str) -> Any:
        note(path, "stream")
        for number in range(4):
            yield bytes([65 + number]) * SIZE

    @skate.remote(max_retries=1)
    def same(data: bytes) -> bytes:
        return bytes(data)

    there = on("there")
    made = [same.options(**there).remote(ref) for ref in four.options(**there).remote(str(log))]
    made += [same.options(**there).remote(ref) for ref in stream.options(**there).remote(str(log))]
    skate.wait(made, num_returns=8, timeout=20)
    lose(nodes, lost)
    for number, ref in enumerate(made):
        assert skate.get(ref, timeout=20)[:1] == bytes([65 + number % 4])
    assert ran(log)["four"] > 2 and ran(log)["stream"] > 2


def test_f4_many_readers_cause_one_run(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    ref = make.options(**on("there")).remote(str(log), "a")
    skate.wait([ref], timeout=20)
    lose(nodes, lost)
    assert skate.get([first.remote(ref) for _ in range(10)], timeout=20) == [b"a."] * 10
    assert ran(log) == {"a": 2}


def test_f4_a_borrower_has_it_made_again(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    """An actor was handed the reference; whoever has submitted the task has dropped it."""

    @skate.remote
    class Borrower:
        def take(self, refs: list[Any]) -> None:
            self.ref = refs[0]

        def read(self) -> bytes:
            return bytes(skate.get(self.ref, timeout=20)[:2])

    nodes.add(1, third=1)
    borrower = Borrower.options(**on("third")).remote()
    ref = make.options(**on("there")).remote(str(log), "a")
    skate.get(borrower.take.remote([ref]), timeout=20)
    skate.wait([ref], timeout=20)
    del ref
    lose(nodes, lost)
    assert skate.get(borrower.read.remote(), timeout=20) == b"a."
    assert ran(log) == {"a": 2}
    del borrower
    from skate.client import current

    runtime: Any = current.runtime
    eventually(lambda: not runtime.rebuild.lineage.published, 20, "nothing is kept for nobody")


def test_f4_nested_in_an_argument(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    @skate.remote
    def inside(path: str, refs: list[Any]) -> bytes:
        note(path, "inside")
        return bytes(skate.get(refs[0], timeout=20)[:2]) * SIZE

    inner = make.options(**on("there")).remote(str(log), "a")
    outer = inside.options(**on("there")).remote(str(log), [inner])
    skate.wait([outer], timeout=20)
    del inner
    lose(nodes, lost)
    assert skate.get(outer, timeout=20)[:2] == b"a."
    assert ran(log) == {"a": 2, "inside": 2}


def test_f4_an_argument_of_an_actors_call_is_made_again(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    @skate.remote
    class Reader:
        def read(self, data: bytes) -> bytes:
            return data[:2]

    nodes.add(1, third=1)
    reader = Reader.options(**on("third")).remote()
    assert skate.get(reader.read.remote(b"xx"), timeout=20) == b"xx"
    ref = make.options(**on("there")).remote(str(log), "a")
    skate.wait([ref], timeout=20)
    lose(nodes, lost)
    assert skate.get(reader.read.remote(ref), timeout=20) == b"a."
    assert ran(log) == {"a": 2}


def test_f4_results_of_an_actor_are_made_again_if_it_may_be_called_again(nodes: Nodes, lost: sessions.Session) -> None:
    @skate.remote(max_restarts=-1)
    class Maker:
        def make(self) -> bytes:
            return b"m" * SIZE

    maker = Maker.options(**on("there")).remote()
    again = maker.make.options(max_task_retries=1).remote()
    once = maker.make.remote()
    skate.wait([again, once], num_returns=2, timeout=20)
    lose(nodes, lost)
    assert skate.get(again, timeout=20) == b"m" * SIZE
    with pytest.raises(ObjectReconstructionFailedError, match=r"made by make, .*max_task_retries"):
        skate.get(once, timeout=20)


def test_f4_what_was_put_is_lost(nodes: Nodes, lost: sessions.Session) -> None:
    @skate.remote
    def puts() -> list[Any]:
        return [skate.put(b"p" * SIZE)]

    inner = skate.get(puts.options(**on("there")).remote(), timeout=20)[0]
    lose(nodes, lost)
    with pytest.raises(ObjectLostError, match="node"):
        skate.get(inner, timeout=20)


def test_f4_no_retries_no_second_life(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    never = make.options(max_retries=0, **on("there")).remote(str(log), "never")
    once = make.options(max_retries=1, **on("there")).remote(str(log), "once")
    skate.wait([never, once], num_returns=2, timeout=20)
    lost = lose(nodes, lost)
    with pytest.raises(ObjectReconstructionFailedError, match=r"made by make, .*no retries"):
        skate.get(never, timeout=20)
    skate.get(first.options(**on("there")).remote(once), timeout=20)
    assert ran(log) == {"never": 1, "once": 2}
    lose(nodes, lost)
    with pytest.raises(ObjectReconstructionFailedMaxAttemptsExceededError, match="no retries"):
        skate.get(once, timeout=20)


def test_f4_an_argument_that_is_lost_while_its_task_waits(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    ref = make.options(**on("there")).remote(str(log), "a")
    skate.wait([ref], timeout=20)
    waiting = [first.options(resources={"later": 1}).remote(ref) for _ in range(3)]
    lose(nodes, lost)
    nodes.add(1, later=3)
    assert skate.get(waiting, timeout=20) == [b"a."] * 3
    assert ran(log) == {"a": 2}


def test_f4_a_hundred_objects_come_back(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    refs = [make.options(**on("there")).remote(str(log), f"{number:02}") for number in range(100)]
    skate.wait(refs, num_returns=100, timeout=20)
    lose(nodes, lost)
    began = time.monotonic()
    values = skate.get(refs, timeout=25)
    print(f"100 lost objects are back after {time.monotonic() - began:.2f} s")
    assert [bytes(value[:2]) for value in values] == [b"%02d" % number for number in range(100)]
    assert set(ran(log).values()) == {2}


def test_recipes_end_with_what_needs_them(lost: sessions.Session, log: Path) -> None:
    from skate.client import current

    runtime: Any = current.runtime
    lineage = runtime.rebuild.lineage
    a = make.options(**on("there")).remote(str(log), "a")
    b = make.options(**on("there")).remote(str(log), "b", a)
    skate.wait([a, b], num_returns=2, timeout=20)
    lineage.settle()
    both = lineage.used
    del a
    lineage.settle()
    assert lineage.used == both > 0, "b needs it"
    del b
    eventually(lambda: (lineage.settle(), lineage.used)[1] == 0, 5, "nothing is kept")
