"""Bringing objects here: which piece, from whom, which object first. And a broadcast in virtual time, with nodes that die."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from skate.node.pulls import OTHERS_MAX, PATIENCE_S, PULLS_MAX, SOURCE_TRIES, Chunks, Dial, Queue, Route
from skate.node.seeds import HOLDERS_MAX, OBJECTS_MAX, Seeds

ME = 1
SOURCE = 2

# ---------------------------------------------------------------- chunks


@given(st.integers(1, 400), st.integers(1, 50), st.integers(0, 1 << 32))
def test_every_byte_comes_once_however_lanes_fail(size: int, chunk: int, seed: int) -> None:
    chance = random.Random(seed)
    chunks = Chunks(size, chunk)
    there = bytearray(size)
    lanes: list[list[tuple[int, int]]] = [[], [], []]
    while not chunks.complete:
        taken = lanes[chance.randrange(3)]
        step = chance.random()
        if step < 0.5:
            piece = chunks.take()
            if piece is not None:
                taken.append(piece)
        elif step < 0.85 and taken:
            at, length = taken.pop(0)
            assert not chunks.has(at, length)
            assert not any(there[at : at + length])
            there[at : at + length] = bytes([1]) * length
            chunks.done(at)
            assert chunks.has(at, length)
        elif step >= 0.85:
            for at, _ in taken:
                chunks.give_back(at)
            taken.clear()
    assert all(there) and not any(lanes) and chunks.take() is None
    assert chunks.has(0, size)


def test_what_has_come_is_not_asked_for_again() -> None:
    chunks = Chunks(100, 10)
    for _ in range(4):
        piece = chunks.take()
        assert piece is not None
        chunks.done(piece[0])
    lost = [chunks.take(), chunks.take()]
    for piece in lost:
        assert piece is not None
        chunks.give_back(piece[0])
    assert chunks.take() == (40, 10), "whoever goes on begins where the last one came to"


# ---------------------------------------------------------------- routes


def test_the_source_is_asked_first_and_sends_on() -> None:
    route = Route(ME, SOURCE)
    assert route.next([ME, SOURCE, 3]) == Dial(SOURCE)
    route.sent_to(3)
    assert route.next([ME, SOURCE, 3]) == Dial(3, direct=True)
    route.failed(3, "has closed the connection", denied=False, gained=True)
    assert route.next([ME, SOURCE, 3]) == Dial(SOURCE, avoid=(3,))


def test_when_the_source_dies_others_are_asked_for_what_they_have() -> None:
    route = Route(ME, SOURCE)
    route.sent_to(3)
    route.failed(3, "x", denied=False, gained=True)
    assert route.next([ME, 3, 4]) == Dial(3, direct=True, whole=True)
    route.failed(3, "x", denied=True, gained=False)
    assert route.next([ME, 3, 4]) == Dial(4, direct=True, whole=True)
    route.failed(4, "x", denied=True, gained=False)
    assert route.next([ME, 3, 4]) is None
    assert route.reason == f"node {SOURCE}, which had it, is gone"


def test_f11_a_source_that_cannot_be_reached_is_reached_through_others() -> None:
    route = Route(ME, SOURCE)
    for _ in range(SOURCE_TRIES):
        assert route.next([ME, SOURCE, 3]) == Dial(SOURCE)
        route.failed(SOURCE, "cannot be reached", denied=False, gained=False)
    assert route.next([ME, SOURCE, 3]) == Dial(3, direct=True, whole=True, relay=True)
    route.failed(3, "cannot reach it either", denied=True, gained=False)
    assert route.next([ME, SOURCE, 3]) is None and route.reason == "cannot reach it either"


def test_a_source_that_does_not_have_it_any_more_is_believed() -> None:
    route = Route(ME, SOURCE, hints=[5])
    route.failed(SOURCE, "does not have it", denied=True, gained=False)
    assert route.next([ME, SOURCE, 3, 5]) == Dial(5, direct=True, whole=True), "only its home may know more"
    route.failed(5, "x", denied=True, gained=False)
    assert route.next([ME, SOURCE, 3, 5]) is None


@given(st.lists(st.integers(1, 14), unique=True), st.integers(0, 1 << 32))
def test_a_search_that_gains_nothing_ends(alive: list[int], seed: int) -> None:
    chance = random.Random(seed)
    route = Route(ME, SOURCE, hints=[chance.randrange(20)])
    asked = 0
    while (dial := route.next(alive)) is not None:
        assert dial.node != ME and dial.node in [*alive, 20]
        assert not dial.relay or SOURCE in alive
        asked += 1
        if not dial.direct and chance.random() < 0.4 and asked < 40:
            route.sent_to(20)
        else:
            route.failed(dial.node, "no", denied=chance.random() < 0.5, gained=False)
    assert asked <= 80 + SOURCE_TRIES + OTHERS_MAX
    assert route.reason or SOURCE in alive


def test_who_passes_it_on_has_it_from_the_source_itself() -> None:
    route = Route(ME, SOURCE, hints=[3], is_relay=True)
    for _ in range(SOURCE_TRIES):
        assert route.next([ME, SOURCE, 3]) == Dial(SOURCE, direct=True)
        route.failed(SOURCE, "x", denied=False, gained=False)
    assert route.next([ME, SOURCE, 3]) is None


# ---------------------------------------------------------------- the queue


def test_what_is_waited_for_goes_first() -> None:
    queue = Queue(1000)
    for ident, ahead in ((b"a", True), (b"b", True), (b"c", False), (b"d", False)):
        queue.add(ident, 1, ahead, 0.0)
    assert [ident for ident, _ in queue.candidates()] == [b"c", b"d", b"a", b"b"]
    queue.hurry(b"b")
    assert [ident for ident, _ in queue.candidates()] == [b"c", b"d", b"b", b"a"]


def test_objects_on_their_way_use_a_part_of_the_store() -> None:
    queue = Queue(1000)
    for number in range(3):
        queue.add(bytes([number]), 400, False, 0.0)
    assert len(queue.candidates()) == 3, "one may always come, however large"
    queue.begin(b"\0", 0.0)
    assert queue.candidates() == []
    queue.add(b"small", 50, False, 0.0)
    assert queue.candidates() == [(b"small", 50)]
    queue.end(b"\0", 1.0)
    assert len(queue.candidates()) == 3


def test_only_who_waits_for_memory_in_vain_is_late() -> None:
    queue = Queue(1000)
    queue.add(b"a", 400, False, 0.0)
    queue.add(b"b", 400, False, 0.0)
    queue.begin(b"a", 10.0)
    assert queue.late(10 + 2 * PATIENCE_S) == [], "the first has not ended"
    queue.end(b"a", 200.0)
    assert queue.late(201.0) == []
    assert queue.late(200 + PATIENCE_S) == [b"b"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(1, 700), st.booleans()), max_size=120))
def test_the_queue_in_any_order(steps: list[tuple[int, int, int, bool]]) -> None:
    queue = Queue(1000)
    known: set[bytes] = set()
    for step, number, size, ahead in steps:
        ident = bytes([number])
        if step == 0 and ident not in known:
            queue.add(ident, size, ahead, 0.0)
            known.add(ident)
        elif step == 1 and (found := queue.candidates()):
            queue.begin(found[0][0], 0.0)
        elif step == 2:
            queue.hurry(ident)
        elif step == 3:
            queue.end(ident, 0.0)
            known.discard(ident)
        queue.validate()
        assert len(queue.active) + queue.waiting == len(known)
        assert len(queue.active) <= 1 or queue.active_bytes <= 500
        assert queue.active or not queue.waiting or queue.candidates()
        assert len(queue.active) <= PULLS_MAX


# ---------------------------------------------------------------- who gives to whom


def test_those_who_come_at_once_form_a_chain() -> None:
    seeds = Seeds(ME)
    everybody = range(1, 20)
    assert [seeds.assign(b"x", node, [], everybody) for node in range(2, 10)] == [1, 2, 3, 4, 5, 6, 7, 8]
    seeds.validate()


def test_whoever_has_it_gives_it_and_who_fails_is_not_sent_to() -> None:
    seeds = Seeds(ME)
    everybody = range(1, 20)
    assert seeds.assign(b"x", 2, [], everybody) == 1
    seeds.whole(b"x", 2)
    assert seeds.assign(b"x", 3, [], everybody) == 2, "a node that has it goes before this one"
    assert seeds.assign(b"x", 4, [], everybody) == 1
    assert seeds.assign(b"x", 3, [2], everybody) != 2
    assert seeds.assign(b"x", 5, [], everybody) != 2, "it was said not to give it"
    seeds.validate()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(2, 9), st.integers(2, 9)), max_size=80))
def test_nobody_waits_for_himself(steps: list[tuple[int, int, int]]) -> None:
    seeds = Seeds(ME)
    dead: set[int] = set()
    for step, node, other in steps:
        if step <= 1 and node not in dead:
            giver = seeds.assign(b"x", node, [other] if step else [], set(range(2, 10)) - dead)
            assert giver != node and giver not in dead and (not step or giver != other)
        elif step == 2:
            seeds.whole(b"x", node)
        elif step == 3:
            seeds.failed(b"x", node)
        elif step == 4:
            dead.add(node)
            seeds.node_died(node)
        seeds.validate()


def test_what_is_remembered_is_bounded() -> None:
    seeds = Seeds(0)
    for number in range(OBJECTS_MAX + 10):
        seeds.assign(number.to_bytes(4, "big"), 1, [], [1])
    for node in range(1, HOLDERS_MAX + 10):
        seeds.assign(b"x", node, [], range(1000))
    seeds.validate()
    seeds.forget(b"x")
    assert b"x" not in seeds.objects


# ---------------------------------------------------------------- a broadcast in virtual time


class Network:
    """Nodes that send one chunk and receive one in a tick, and may die."""

    def __init__(self, nodes: int, chunks: int) -> None:
        self.seeds = Seeds(1)
        self.alive = set(range(1, nodes + 2))
        self.chunks = {node: Chunks(chunks, 1) for node in range(2, nodes + 2)}
        self.routes = {node: Route(node, 1) for node in self.chunks}
        self.giver: dict[int, int] = {}
        self.lost: set[int] = set()
        self.received = 0

    def find(self, node: int) -> None:
        route = self.routes[node]
        while (dial := route.next(self.alive)) is not None:
            if dial.node == 1 and not dial.direct:
                route.sent_to(self.seeds.assign(b"x", node, dial.avoid, self.alive))
                continue
            other = self.chunks.get(dial.node)
            comes = dial.node in self.giver and not dial.whole
            if dial.node in self.alive and (other is None or other.complete or comes):
                self.giver[node] = dial.node
                return
            route.failed(dial.node, "no", denied=dial.node in self.alive, gained=False)
        self.lost.add(node)
        self.seeds.failed(b"x", node)
        self.cut(node, denied=True)

    def kill(self, node: int) -> None:
        self.alive.discard(node)
        self.giver.pop(node, None)
        self.seeds.node_died(node)
        self.cut(node, denied=False)

    def cut(self, node: int, denied: bool) -> None:
        for other, giver in list(self.giver.items()):
            if giver == node:
                del self.giver[other]
                gained = self.chunks[other].left < self.chunks[other].count
                self.routes[other].failed(node, "is gone", denied, gained)

    def tick(self) -> None:
        for node in sorted(self.alive & self.chunks.keys()):
            if node not in self.giver and node not in self.lost and not self.chunks[node].complete:
                self.find(node)
        sent: set[int] = set()
        came = []
        for node, giver in self.giver.items():
            piece = self.chunks[node].take()
            if piece is None:
                continue
            if giver not in sent and (giver == 1 or self.chunks[giver].has(*piece)):
                sent.add(giver)
                came.append((node, piece[0]))
            else:
                self.chunks[node].give_back(piece[0])
        for node, at in came:
            self.received += 1
            self.chunks[node].done(at)
            if self.chunks[node].complete:
                del self.giver[node]
                self.seeds.whole(b"x", node)
        self.seeds.validate()

    @property
    def done(self) -> bool:
        return all(self.chunks[node].complete or node in self.lost for node in self.alive if node != 1)


@pytest.mark.parametrize("nodes", [8, 50])
def test_a_broadcast_takes_hardly_longer_than_one_copy(nodes: int) -> None:
    network = Network(nodes, 256)
    ticks = 0
    while not network.done:
        network.tick()
        ticks += 1
    assert not network.lost
    assert ticks <= 256 + nodes, "one copy takes 256"


@given(st.integers(1, 9), st.integers(1, 30), st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), max_size=6))
def test_a_broadcast_goes_on_when_nodes_die(nodes: int, chunks: int, deaths: list[tuple[int, int]]) -> None:
    network = Network(nodes, chunks)
    for ticks in range(40 * chunks + 400):
        for at, node in deaths:
            if at == ticks and node in network.alive:
                network.kill(node)
        if network.done:
            break
        network.tick()
    assert network.done, "nobody hangs"
    if 1 in network.alive:
        assert not network.lost
        assert network.received <= nodes * chunks, "nothing comes twice"
    elif any(network.chunks[node].complete for node in network.alive):
        assert not network.lost, "somebody who lives has it"
