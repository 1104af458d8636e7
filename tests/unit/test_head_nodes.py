"""Which nodes live, and where work goes: the pure parts of the head."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.head import policy
from skate.head.nodes import DEAD_AFTER_S, Nodes
from skate.head.service import Head
from skate.node.resources import Pool, to_units
from skate.testing.simulation.stand_ins import MemoryStore
from skate.wire import cluster as c
from skate.wire.cluster import ALIVE, DEAD, DRAINING, DrainOrder, NodeInfo, encode
from skate.wire.stream import StreamChannel

decode = msgspec.msgpack.Decoder(NodeInfo).decode


def info(ident: str = "a", no: int = 0, free: dict[str, int] | None = None, **total: int) -> NodeInfo:
    return NodeInfo(no, ident, ident, ident, "127.0.0.1", 1, total, dict(total) if free is None else free)


class NodesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.nodes = Nodes()
        self.now = 0.0
        self.given: set[int] = set()

    @rule(name=st.sampled_from("abcd"))
    def join(self, name: str) -> None:
        old = self.nodes.incarnation(name)
        if old is not None:
            assert self.nodes.lost(old, "joined again")
        number = self.nodes.join(info(name, CPU=10), self.now)
        assert number not in self.given
        self.given.add(number)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        self.nodes.beat(data.draw(st.sampled_from(sorted(self.given))), self.now)

    @precondition(lambda self: self.given)
    @rule(data=st.data(), free=st.integers(0, 10))
    def report(self, data: st.DataObject, free: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.given)))
        living = number in self.nodes.heard
        self.nodes.report(number, {"CPU": free}, [], self.now)
        if not living and number in self.nodes.by_no:
            assert self.nodes.by_no[number].free == {}, "nothing is believed of a dead incarnation"

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for number in self.nodes.silent(self.now):
            assert self.now >= self.nodes.heard[number] + DEAD_AFTER_S
            assert self.nodes.lost(number, "silent")
            assert not self.nodes.lost(number, "again")
        assert not self.nodes.silent(self.now)
        assert self.nodes.silent_from() > self.now

    @precondition(lambda self: self.nodes.heard)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.nodes.heard)))
        self.nodes.drain(number, DrainOrder("maintenance"))
        assert [each.no for each in self.nodes.take_changes() if each.drain] and not self.nodes.take_changes()

    @rule()
    def head_is_started_again(self) -> None:
        """What it had written of its nodes it knows again, and they come back as what they were."""
        written = [decode(encode(each)) for each in self.nodes.by_no.values()]
        self.nodes = Nodes()
        self.nodes.restore(written, self.now)
        for each in written:
            if each.state != DEAD:
                back = info(each.id, each.no, CPU=10)
                assert self.nodes.rejoin(back, self.now)

    @rule()
    def changes_are_told_once(self) -> None:
        self.nodes.take_changes()
        assert not self.nodes.has_changes and not self.nodes.take_changes()

    @invariant()
    def valid(self) -> None:
        self.nodes.validate()
        for each in self.nodes.by_no.values():
            assert each.state == (DEAD if each.no not in self.nodes.heard else DRAINING if each.drain else ALIVE)
            assert policy.feasible(each, {}) == (each.state == ALIVE)


TestNodes = NodesMachine.TestCase

amounts = st.dictionaries(st.sampled_from(["CPU", "GPU", "x"]), st.integers(0, 8), max_size=3)


@st.composite
def views(draw: st.DrawFn) -> dict[int, NodeInfo]:
    view = {}
    for number in range(1, draw(st.integers(1, 5)) + 1):
        total = draw(amounts)
        free = {name: draw(st.integers(0, units)) for name, units in total.items()}
        view[number] = info(str(number), number, free, **total)
        view[number].state = draw(st.sampled_from([ALIVE, ALIVE, DEAD]))
        view[number].brought = draw(st.sampled_from([False, False, True]))
    return view


def able(view, request):
    """The nodes that can take what comes from node 1."""
    return [no for no, node in view.items() if policy.feasible(node, request) and (no == 1 or not node.brought)]


@given(views(), amounts)
def test_an_actor_goes_where_it_could_ever_run(view, request):
    chosen = policy.place(view, 1, request)
    could = able(view, request)
    assert (chosen is None) == (not could)
    if chosen is not None:
        assert chosen in could
        with_room = [no for no in could if policy.room(view[no].free, request)]
        assert not with_room or chosen in with_room


@given(views(), st.lists(st.tuples(amounts, st.integers(1, 6)), max_size=4))
def test_what_goes_elsewhere_fits_there(view, wanted):
    taken: dict[int, dict[str, int]] = {}
    placed = dict.fromkeys(range(len(wanted)), 0)
    places = policy.elsewhere(view, 1, wanted)
    for at, number, count, share in places:
        request, asked = wanted[at]
        assert number != 1 and (count or share)
        assert policy.feasible(view[number], request)
        placed[at] += count
        used = taken.setdefault(number, {})
        for name, units in request.items():
            used[name] = used.get(name, 0) + units * count
            assert units == 0 or used[name] <= view[number].free.get(name, 0)
    for at, (request, asked) in enumerate(wanted):
        assert placed[at] <= asked
        could = {no for no in able(view, request) if no != 1}
        shares = {number: share for i, number, _, share in places if i == at and share}
        assert set(shares) == (could if placed[at] < asked else set()), (
            "what finds no room waits everywhere, else nowhere"
        )
        for number, share in shares.items():
            most = policy.room(view[number].total, request)
            assert share <= (most if not policy.feasible(view[1], request) else max(1, most // 2))


def test_a_node_that_a_program_has_brought_takes_what_names_it():
    view = {1: info("1", 1, None, CPU=1), 2: info("2", 2, None, **{"node:there": 1})}
    view[2].brought = True
    assert policy.place(view, 1, {"node:there": 1}) == 2 and policy.place(view, 1, {}) == 1
    assert policy.place(policy.lasting(view), 1, {"node:there": 1}) is None, "nothing that may outlive the program"


@given(views(), amounts, st.integers(0, 40), st.integers(0, 9))
def test_spread_fills_rooms_evenly(view, request, count, turn):
    shares, rest = policy.spread(view, 1, request, count, turn)
    rooms = {no: policy.room(view[no].free, request) for no in able(view, request)}
    assert sum(shares.values()) + rest == count
    assert all(0 < share <= rooms[no] for no, share in shares.items())
    assert not rest or all(shares.get(no, 0) == room for no, room in rooms.items()), "there was room"
    open_ = [shares.get(no, 0) for no, room in rooms.items() if shares.get(no, 0) < room]
    assert not open_ or max(shares.values(), default=0) - min(open_) <= 1, "one has two more than another with room"


def test_spread_takes_turns():
    view = {no: info(str(no), no, CPU=4) for no in (1, 2, 3)}
    assert [next(iter(policy.spread(view, 1, {"CPU": 1}, 1, turn)[0])) for turn in range(4)] == [1, 2, 3, 1]


def test_a_ten_thousandth_is_the_smallest_amount():
    pool, request = Pool({"bob": 5}), to_units({"bob": 0.0001})
    for fitting in range(50_000, 0, -1):
        assert policy.room(pool.free, request) == fitting and pool.fits(request)
        pool.take(request)
    assert not pool.fits(request) and not policy.room(pool.free, request)


def test_a_bundle_in_use_does_not_make_its_node_full():
    bundle = "CPU_group_0_" + 32 * "a"
    node = info("1", 1, {"CPU": 7, bundle: 0}, **{"CPU": 8, bundle: 1})
    assert policy.fullness(node) == 1 / 8


def test_work_stays_together_and_then_spreads():
    view = {
        1: info("1", 1, {"CPU": 0}, CPU=4),
        2: info("2", 2, {"CPU": 3}, CPU=4),
        3: info("3", 3, {"CPU": 4}, CPU=4),
    }
    assert policy.place(view, 1, {"CPU": 1}) == 2, "below half: filled in the order of numbers"
    view[2].free = {"CPU": 1}
    assert policy.place(view, 1, {"CPU": 1}) == 3
    assert policy.elsewhere(view, 1, [({"CPU": 1}, 5)]) == [(0, 3, 4, 0), (0, 2, 1, 0)]
    assert policy.elsewhere(view, 1, [({"CPU": 1}, 10)]) == [(0, 3, 4, 2), (0, 2, 1, 2)], (
        "half of each may be waited for"
    )
    assert policy.elsewhere(view, 1, [({"GPU": 1}, 1)]) == []


class Loop:
    """The loop of a head: what there is to read is read when the test says so."""

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}

    def watch(self, fd: int, handler: Any, mask: int = select.EPOLLIN) -> None:
        self.handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        self.handlers.pop(fd, None)


def test_what_a_node_has_said_while_the_head_was_stopped_counts_as_said_now(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    loop = Loop()
    died: list[int] = []
    head = Head(loop, MemoryStore(), lambda no, _: died.append(no), lambda _: None, *[lambda *_: None] * 3)
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    node = StreamChannel(mine)
    head.accept("node", b"", theirs, b"", "")
    node.send(c.encode(c.Join(info(), 1)))
    (read,) = loop.handlers.values()
    read(select.EPOLLIN)
    head.on_time(now)
    node.send(c.encode(c.Beat(1.0)))
    now += 2 * DEAD_AFTER_S  # the process did not run
    read(select.EPOLLIN)
    head.on_time(now)
    assert not died
    now += 2 * DEAD_AFTER_S
    head.on_time(now)
    assert died == [1], "silence is the end all the same"
    head.close("")
    node.close()
