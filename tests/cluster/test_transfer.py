"""Large objects between nodes: passed on by those who get them, and whole, whoever is killed or stands still in the middle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import asking, sessions
from skate.exceptions import ObjectLostError
from skate.testing import eventually

from . import conftest
from .conftest import Nodes, on

MB = 1 << 20
LARGE = 128 * MB
GET_S = 25
TRIES = 8


@skate.remote(num_cpus=0)
class Peer:
    """Makes objects on its node, and reads those of others."""

    def ready(self) -> bool:
        return True

    def make(self, seed: int, size: int) -> np.ndarray:
        return pattern(seed, size)

    def read(self, refs: list[Any], seed: int) -> bool:
        self.kept = skate.get(refs[0])
        return bool((self.kept == pattern(seed, self.kept.nbytes)).all())

    def drop(self) -> None:
        self.kept = None


def pattern(seed: int, size: int) -> np.ndarray:
    """Numbers that tell where they belong, and to which object."""
    return np.arange(seed << 40, (seed << 40) + size // 8, dtype=np.int64)


def transfers(node: sessions.Session) -> dict[str, Any]:
    found: dict[str, Any] = asking.ask(node, "store")["transfers"]
    return found


def nothing_moves(node: sessions.Session) -> bool:
    state = transfers(node)
    return not any(state[key] for key in ("pulling", "receiving", "sending", "dying"))


class Ring:
    """A node for the driver, and nodes that are numbered, with a peer on each."""

    def __init__(self, nodes: Nodes, count: int) -> None:
        nodes.add(1)
        self.nodes = [nodes.add(1, **{f"n{number}": 1}) for number in range(count)]
        skate.init(address=nodes.address)
        self.peers = [Peer.options(**on(f"n{number}")).remote() for number in range(count)]
        skate.get([peer.ready.remote() for peer in self.peers], timeout=GET_S)
        self.frozen: set[int] = set()

    def make(self, number: int, seed: int, size: int = LARGE) -> Any:
        ref = self.peers[number].make.remote(seed, size)
        skate.wait([ref], timeout=GET_S, fetch_local=False)
        return ref

    def freeze(self, number: int) -> None:
        os.kill(self.nodes[number].pid, signal.SIGSTOP)
        self.frozen.add(number)

    def thaw(self, number: int) -> None:
        os.kill(self.nodes[number].pid, signal.SIGCONT)
        self.frozen.discard(number)

    def begin(self, ref: Any, seed: int, readers: list[int]) -> list[Any]:
        """Have readers read an object; returns when it is on its way to all of them, or has come to one."""
        answers = [self.peers[reader].read.remote([ref], seed) for reader in readers]
        until = time.monotonic() + 10
        while not skate.wait(answers, num_returns=1, timeout=0)[0] and time.monotonic() < until:
            if all(self.is_receiving(reader) for reader in readers):
                break
        return answers

    def is_receiving(self, number: int) -> bool:
        return bool(transfers(self.nodes[number])["receiving"])

    def over(self, answers: list[Any]) -> None:
        """The fault came too late: another try."""
        for number in list(self.frozen):
            self.thaw(number)
        assert all(skate.get(answers, timeout=GET_S))
        skate.get([peer.drop.remote() for peer in self.peers], timeout=GET_S)

    def at_rest(self, *numbers: int) -> None:
        for number in numbers:
            eventually(partial(nothing_moves, self.nodes[number]), 10, "nothing moves")
            assert asking.ask(self.nodes[number], "validate")


@pytest.fixture
def ring(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Ring]]:
    monkeypatch.setattr(conftest, "STORE_BYTES", 2 * LARGE)
    made: list[Ring] = []

    def make(count: int) -> Ring:
        made.append(Ring(nodes, count))
        return made[0]

    yield make
    for number in list(made[0].frozen) if made else ():
        made[0].thaw(number)


def test_many_readers_pass_an_object_on(ring: Callable[[int], Ring]) -> None:
    cluster = ring(5)
    ref = cluster.make(0, 1, 64 * MB)
    answers = [peer.read.remote([ref], 1) for peer in cluster.peers[1:]]
    assert skate.get(answers, timeout=GET_S) == [True] * 4
    cluster.at_rest(*range(5))
    states = [transfers(node) for node in cluster.nodes]
    assert [state["received_bytes"] // MB for state in states] == [0, 64, 64, 64, 64]
    assert sum(state["sent_bytes"] for state in states) // MB == 4 * 64
    assert states[0]["sent_bytes"] // MB <= 2 * 64, "the others pass it on"
    assert states[0]["sent_elsewhere"] >= 2


def test_a_node_in_the_middle_of_the_chain_is_killed(ring: Callable[[int], Ring]) -> None:
    cluster = ring(3)
    for seed in range(TRIES):
        answers = cluster.begin(cluster.make(0, seed), seed, [1, 2])
        cluster.freeze(0)  # nothing gets on now, for as long as this looks who is who
        states = [transfers(cluster.nodes[number]) for number in (1, 2)]
        middle = [bool(state["receiving"] and state["sending"]) for state in states]
        if any(middle):
            break
        cluster.over(answers)
    else:
        raise AssertionError("nobody was ever caught in the middle")
    killed = 1 + middle.index(True)
    os.kill(cluster.nodes[killed].pid, signal.SIGKILL)
    cluster.thaw(0)
    assert skate.get(answers[2 - killed], timeout=GET_S) is True
    cluster.at_rest(0, 3 - killed)
    last = transfers(cluster.nodes[3 - killed])
    assert last["received_bytes"] // MB % (LARGE // MB) == 0, "what it had was not sent again"


def test_the_source_is_killed_and_another_has_it(ring: Callable[[int], Ring]) -> None:
    cluster = ring(4)
    for seed in range(TRIES):
        ref = cluster.make(0, seed)
        assert skate.get(cluster.peers[1].read.remote([ref], seed), timeout=GET_S)
        answers = cluster.begin(ref, seed, [2, 3])  # one of them is sent to node 1, the other is not
        cluster.freeze(0)
        if any(cluster.nodes[0].node_no in transfers(cluster.nodes[reader])["givers"] for reader in (2, 3)):
            break
        cluster.over(answers)
    else:
        raise AssertionError("the source was never caught in the middle")
    os.kill(cluster.nodes[0].pid, signal.SIGKILL)
    cluster.frozen.clear()
    assert skate.get(answers, timeout=GET_S) == [True, True]
    cluster.at_rest(1, 2, 3)
    assert sum(transfers(cluster.nodes[number])["resumed"] for number in (2, 3)) >= 1


@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_f20_a_peer_stands_still_in_the_middle(ring: Callable[[int], Ring], who: str) -> None:
    """Nobody else has the object: its reader gets a typed error. Both ends let go of all that belongs to the transfer."""
    cluster = ring(2)
    still, other = (0, 1) if who == "sender" else (1, 0)
    for seed in range(TRIES):
        ref = cluster.make(0, seed)
        answers = cluster.begin(ref, seed, [1])
        cluster.freeze(still)
        began = time.monotonic()
        if transfers(cluster.nodes[other])["sending" if other == 0 else "receiving"]:
            break
        cluster.over(answers)
    else:
        raise AssertionError("nothing was ever caught in the middle")
    eventually(partial(nothing_moves, cluster.nodes[other]), 10, "it is given up")
    assert time.monotonic() - began < 5
    if who == "sender":
        with pytest.raises(ObjectLostError):
            skate.get(answers[0], timeout=GET_S)
    else:
        assert skate.get(cluster.peers[0].read.remote([ref], seed), timeout=GET_S), "the object itself is whole"
    assert asking.ask(cluster.nodes[other], "validate")


def test_f11_a_source_that_does_not_answer_is_no_hang(ring: Callable[[int], Ring]) -> None:
    cluster = ring(3)
    ref = cluster.make(0, 1, 32 * MB)
    assert skate.get(cluster.peers[1].read.remote([ref], 1), timeout=GET_S)
    cluster.freeze(0)
    began = time.monotonic()
    assert skate.get(cluster.peers[2].read.remote([ref], 1), timeout=GET_S), "another node has it"
    assert time.monotonic() - began < 10
    cluster.at_rest(1, 2)
