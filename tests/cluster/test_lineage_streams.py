"""Items of streams whose bytes were on a node that is lost: the generator runs again, for those that are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import sessions
from skate.exceptions import ObjectReconstructionFailedError
from skate.testing import eventually

from .conftest import Nodes, on

SIZE = 300_000
ITEMS = 12


def note(path: str, name: str) -> None:
    with open(path, "a") as file:
        file.write(name + "\n")


@skate.remote
def stream(path: str, count: int = ITEMS) -> Iterator[bytes]:
    note(path, "run")
    for number in range(count):
        yield bytes([number]) * SIZE


@skate.remote
def total(*items: bytes) -> list[int]:
    return [len(item) * item[0] for item in items]


@skate.remote
class Maker:
    def stream(self, path: str) -> Iterator[bytes]:
        note(path, "run")
        for number in range(ITEMS):
            yield bytes([number]) * SIZE


def wanted(numbers: Any) -> list[bytes]:
    return [bytes([number]) * SIZE for number in numbers]


def lose(nodes: Nodes, lost: sessions.Session) -> None:
    """Kill a node, and start another with the same resource."""
    nodes.kill(lost)
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(False) >= 1, 5, "the loss is known")
    nodes.add(2, there=1)


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


def runs(log: Path) -> int:
    return log.read_text().count("run")


@pytest.mark.parametrize("backpressure", [-1, 2])
def test_items_come_again(nodes: Nodes, lost: sessions.Session, log: Path, backpressure: int) -> None:
    options: dict[str, Any] = {**on("there"), "_generator_backpressure_num_objects": backpressure}
    generator = stream.options(**options).remote(str(log))
    refs = list(generator)
    lose(nodes, lost)
    assert skate.get(refs[3:5]) == wanted(range(3, 5))
    assert skate.get(total.remote(*refs)) == [SIZE * number for number in range(ITEMS)]
    assert skate.get(refs) == wanted(range(ITEMS))
    assert runs(log) <= 4, "one run makes all that is asked for at a time"


def test_those_that_are_left_come_again(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    generator = stream.options(**on("there")).remote(str(log))
    refs = [ref for number, ref in enumerate(generator) if number in (2, 9)]
    lose(nodes, lost)
    assert skate.get(refs) == wanted((2, 9))
    assert runs(log) == 2


def test_while_the_stream_still_runs(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    """The stream itself goes on in a new attempt; what had been taken of it is made again."""
    options: dict[str, Any] = {**on("there"), "_generator_backpressure_num_objects": 2}
    generator = stream.options(**options).remote(str(log))
    first = [next(generator) for _ in range(3)]
    lose(nodes, lost)
    assert skate.get(first) == wanted(range(3))
    assert skate.get(list(generator)) == wanted(range(3, ITEMS))


def test_in_another_process(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    @skate.remote
    class Reader:
        def take(self, generator: Any, ref: list[Any]) -> int:
            self.refs = [*generator, *ref]
            return len(self.refs)

        def read(self) -> list[int]:
            return [skate.get(ref)[0] for ref in self.refs]

    reader = Reader.remote()
    generator = stream.options(**on("there")).remote(str(log))
    first = next(generator)
    assert skate.get(reader.take.remote(generator, [first])) == ITEMS
    lose(nodes, lost)
    assert skate.get(reader.read.remote()) == [*range(1, ITEMS), 0]


def test_an_actors_stream(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    actor = Maker.options(**on("there"), max_restarts=-1, max_task_retries=-1).remote()
    refs = list(actor.stream.options(num_returns="streaming").remote(str(log)))
    lose(nodes, lost)
    assert skate.get(refs) == wanted(range(ITEMS))


def test_a_rerun_behind_a_stream_that_waits_for_its_consumer(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    """The consumer waits for the rerun, so the stream does not wait for the consumer."""
    actor = Maker.options(**on("there"), max_restarts=-1, max_task_retries=-1).remote()
    method = actor.stream.options(num_returns="streaming", _generator_backpressure_num_objects=2)
    refs = list(method.remote(str(log)))
    second = method.remote(str(log))
    first = next(second)
    lose(nodes, lost)
    assert skate.get(refs, timeout=20) == wanted(range(ITEMS))
    assert skate.get([first, *second], timeout=20) == wanted(range(ITEMS))


def test_without_retries(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    refs = list(stream.options(**on("there"), max_retries=0).remote(str(log)))
    lose(nodes, lost)
    with pytest.raises(ObjectReconstructionFailedError, match=r"made by stream, .*no retries"):
        skate.get(refs[0])


def test_a_generator_that_makes_fewer(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    @skate.remote
    def once(path: str) -> Iterator[bytes]:
        note(path, "run")
        for number in range(4 // Path(path).read_text().count("run")):
            yield bytes([number]) * SIZE

    refs = list(once.options(**on("there")).remote(str(log)))
    lose(nodes, lost)
    with pytest.raises(ObjectReconstructionFailedError, match=r"generator \S*once has made only 2 items"):
        skate.get(refs[3], timeout=20)
    assert skate.get(refs[1]) == wanted([1])[0]


def test_a_chain(nodes: Nodes, lost: sessions.Session, log: Path) -> None:
    @skate.remote(num_returns=1)
    def twice(data: bytes) -> bytes:
        return data * 2

    @skate.remote
    def spread(data: bytes) -> Iterator[bytes]:
        for number in range(3):
            yield data[number:] * 1

    given = twice.options(**on("there")).remote(next(stream.options(**on("there")).remote(str(log), 1)))
    refs = list(spread.options(**on("there")).remote(given))
    skate.wait(refs, num_returns=3)
    del given
    lose(nodes, lost)
    assert [len(data) for data in skate.get(refs, timeout=25)] == [2 * SIZE - number for number in range(3)]
