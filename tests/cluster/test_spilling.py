"""F33: stores of 64 MiB on two nodes, filled with copies and originals: nothing hangs, and every value is whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import asking, current

from . import conftest
from .conftest import Nodes, on

MB = 1 << 20
COUNT = 25
GET_S = 60


@pytest.fixture
def two(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Two nodes with small stores."""
    monkeypatch.setattr(conftest, "STORE_BYTES", 64 * MB)
    nodes.add(2)
    nodes.add(2, there=1)
    skate.init(address=nodes.address)
    yield nodes
    for node in nodes.started:
        assert asking.ask(node, "validate")


def value(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, 10 * MB, np.uint8)


@skate.remote(**on("there"))
def make(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, 10 * MB, np.uint8)


@skate.remote(**on("there"))
def check(number: int, array: np.ndarray) -> bool:
    return bool((array == np.random.default_rng(number).integers(0, 256, 10 * MB, np.uint8)).all())


@skate.remote(**on("there"))
class Reader:
    """Holds references to more copies than its node's store has room for."""

    def __init__(self) -> None:
        self.refs: list[Any] = []

    def read(self, refs: list[Any]) -> bool:
        self.refs = self.refs or refs
        for number, ref in enumerate(self.refs):
            same = np.random.default_rng(number).integers(0, 256, 10 * MB, np.uint8)
            if not (skate.get(ref) == same).all():
                return False
        return True


def test_f33_a_store_full_of_copies(two: Nodes) -> None:
    refs = [skate.put(value(number)) for number in range(COUNT)]
    reader: Any = Reader.remote()  # type: ignore[attr-defined]
    for _ in range(2):
        assert skate.get(reader.read.remote(refs), timeout=GET_S)
    state = asking.ask(two.started[1], "store")
    assert state["dropped_copies"] >= COUNT and not state["spilled_bytes"], "copies are dropped, and never written"
    assert all(skate.get([check.remote(number, ref) for number, ref in enumerate(refs)], timeout=GET_S))


def test_f33_copies_make_room_for_results(two: Nodes) -> None:
    refs = [skate.put(value(number)) for number in range(COUNT)]
    reader: Any = Reader.remote()  # type: ignore[attr-defined]
    assert skate.get(reader.read.remote(refs), timeout=GET_S)
    made = [make.remote(number) for number in range(COUNT)]
    for number, ref in enumerate(made):
        assert (skate.get(ref, timeout=GET_S) == value(number)).all(), "from the disk of the other node"
    assert asking.ask(two.started[1], "store")["spilled_bytes"] > 100 * MB
    assert all(skate.get([check.remote(number, ref) for number, ref in enumerate(made)], timeout=GET_S))
    assert current.runtime is not None
