"""Where a node sends its clients: what it says of other nodes, when it says it again, and when it does not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from skate import __version__
from skate.node.abroad import AVOID_S
from skate.node.resources import to_units
from skate.node.service import Node
from skate.store.arena import HEADER_BYTES, create
from skate.wire import messages as m
from skate.wire.channel import Channel, pair
from skate.wire.cluster import ALIVE, DEAD, DRAINING, NodeInfo

ROOM = 1 << 20
ONE = {"CPU": 1.0}


class Program:
    """A driver of node 1, whose CPU is taken; nodes 2 and 3 have 4 CPUs each."""

    def __init__(self, folder: Path) -> None:
        self.arena_fd = create(ROOM + HEADER_BYTES)
        zygote, self.zygote = pair()
        self.node = node = Node({"CPU": 1.0}, self.arena_fd, ROOM + HEADER_BYTES, folder, Channel(zygote))
        node.node_no = 1
        self.view = {
            no: NodeInfo(no, f"id{no}", "", "", "", 1, to_units({"CPU": 4}), to_units({"CPU": 4})) for no in (2, 3)
        }
        self.view[1] = NodeInfo(1, node.node_id, "", "", "", 1, node.scheduler.pool.total, {})
        self.asked: list[Callable[[], None]] = []
        node.cluster = SimpleNamespace(  # type: ignore[assignment]
            view=self.view,
            send_to_head=lambda message: None,
            when_fresh=lambda then, patience_s=0.0: self.asked.append(then),
        )
        node.scheduler.pool.take(to_units(ONE))
        mine, theirs = pair()
        self.channel = Channel(mine)
        self.client = node.add_client(theirs)
        self.hears(m.Hello(__version__, 1, "", "", True, [], "/", False, ""))

    def hears(self, *messages: Any) -> list[Any]:
        """What the driver is told after it has sent this."""
        for message in messages:
            self.channel.send_fds(m.encode(message), ())
        self.node.decide_again()
        if not messages:
            self.node.leasing.decide()
        else:
            self.node.round()
        found = []
        while (received := self.channel.receive()) is not None:
            for fd in received[1]:
                os.close(fd)
            found.append(m.decode_from_node(received[0]))
        return [message for message in found if not isinstance(message, m.Welcome)]

    def head_answers(self) -> list[Any]:
        """What the driver is told when the head has said all that it knows."""
        asked, self.asked[:] = self.asked[:], []
        for then in asked:
            then()
        return self.hears()

    def changes(self, number: int, **now: Any) -> list[Any]:
        """What the driver is told when a node has changed."""
        for name, value in now.items():
            setattr(self.view[number], name, value)
        self.node.abroad.changed(number)
        return self.hears()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "logs").mkdir()
    made = Program(tmp_path)
    yield made
    made.channel.close()
    for client in [*made.node.by_fd.values()]:
        client.channel.close()
    made.node.close()
    made.node.epoll.close()
    made.zygote.close()
    os.close(made.arena_fd)


def test_room_elsewhere_is_said_once_until_something_changes(program: Program) -> None:
    assert program.hears(m.WantWorkers(0, 2, ONE)) == [m.Elsewhere(0, 2, 2)]
    assert program.hears() == []
    assert program.hears(m.WantWorkers(0, 2, ONE)) == [m.Elsewhere(0, 2, 2)], (
        "it may have let go of what it had asked for"
    )
    assert program.changes(2, free={"CPU": 0}) == [m.Elsewhere(0, 3, 2)]
    assert program.changes(3, free={"CPU": 0}) == [m.Elsewhere(0, 2, 0, 2), m.Elsewhere(0, 3, 0, 2)], (
        "it may wait there"
    )
    assert program.changes(2, free=to_units(ONE)) == [m.Elsewhere(0, 2, 1, 2)]
    assert program.hears(m.WantWorkers(0, 0, ONE)) == []
    program.node.close_client(program.client)
    assert not program.node.abroad._told


def test_nobody_is_sent_to_a_node_that_cannot_be_reached(program: Program) -> None:
    abroad = program.node.abroad
    abroad._avoid[2] = time.monotonic() + AVOID_S
    assert program.hears(m.WantWorkers(0, 2, ONE)) == [m.Elsewhere(0, 3, 2)]
    assert program.hears(m.WantWorkers(1, 1, ONE, 0, "id2")) == []
    program.changes(3, free={"CPU": 0})
    due = abroad.next_due(time.monotonic())
    assert due is not None and 0 < due <= AVOID_S
    abroad.on_time(time.monotonic() + AVOID_S)
    assert program.hears() == [m.Elsewhere(1, 2, 1, 1), m.Elsewhere(0, 2, 2)]


@pytest.mark.parametrize("soft", [False, True])
def test_a_demand_for_one_node(program: Program, soft: bool) -> None:
    wanted = m.WantWorkers(0, 6, ONE, 0, "id3", soft)
    assert program.hears(wanted) == [m.Elsewhere(0, 3, 6, 6)]
    assert program.changes(2) == [], "and for no other"
    program.view[3].state = DEAD
    found = program.hears(wanted)
    if soft:
        assert found == [m.Elsewhere(0, 2, 4, 2)]
    else:
        assert not found, "the head is asked first"
        found = program.head_answers()
        assert [type(message) for message in found] == [m.Unschedulable] and "id3" in found[0].reason


@pytest.mark.parametrize("soft", [False, True])
def test_a_demand_for_a_node_of_which_only_the_head_knows(program: Program, soft: bool) -> None:
    assert program.hears(m.WantWorkers(0, 1, ONE, 0, "id4", soft)) == []
    assert program.hears(m.WantWorkers(0, 6, ONE, 0, "id4", soft)) == []
    assert program.hears(m.WantWorkers(1, 2, ONE, 0, "id4", soft)) == []
    assert program.hears(m.WantWorkers(1, 0, ONE, 0, "id4", soft)) == [], "of these none is wanted any more"
    lost = replace(
        program.view[3], no=4, id="id4", state=DEAD
    )  # it has joined twice, as the head died over the first time
    program.view.update({4: lost, 5: replace(lost, no=5, state=ALIVE)})
    assert program.head_answers() == [m.Elsewhere(0, 5, 6, 6)]
    assert not program.node.abroad._doubted


def test_nothing_is_said_to_who_has_gone_meanwhile(program: Program) -> None:
    program.hears(m.WantWorkers(0, 1, ONE, 0, "id4"), m.Dial(1, 4, "client", b""))
    assert len(program.asked) == 2
    program.node.close_client(program.client)
    for then in program.asked:
        then()
    assert not program.node.abroad._doubted and not program.node.scheduler.demands


def test_a_node_is_dialled_of_which_only_the_head_knows(program: Program) -> None:
    dialled = []
    program.node.gate = SimpleNamespace(dial=lambda *args, **how: dialled.append(args[:3]))  # type: ignore[assignment]
    program.hears(m.Dial(7, 4, "client", b""), m.Dial(8, 5, "client", b""))
    program.view[4] = replace(program.view[3], no=4, host="there", port=44)
    found = program.head_answers()
    assert dialled == [("there", 44, "client")]
    assert [(told.request, told.error) for told in found] == [(8, "there is no node 5")]
    program.node.gate = None


def test_a_demand_that_prefers_a_node(program: Program) -> None:
    wanted = m.WantWorkers(0, 6, ONE)
    wanted.prefers = 3
    assert program.hears(wanted) == [m.Elsewhere(0, 3, 4, 6)], "it says for how many there is room, and lets all wait"
    program.view[3].free = {"CPU": 0}
    assert program.hears(wanted) == [m.Elsewhere(0, 3, 0, 6)]
    for state in (DRAINING, DEAD):
        program.view[3].state = state
        assert program.hears(wanted) == [m.Elsewhere(0, 2, 4, 2)], "then anywhere"


def test_a_demand_that_is_spread_grows_evenly(program: Program) -> None:
    program.node.scheduler.pool.give(to_units(ONE))
    levels: dict[int, int] = {}
    for count in (1, 2, 3, 5, 9):
        for told in program.hears(m.WantWorkers(0, count, ONE, 0, "SPREAD", True)):
            levels[told.node] = told.share
        own = program.node.scheduler.demands[program.client.id, 0].count
        assert own + sum(levels.values()) == count
        assert own <= 1 and abs(levels.get(2, 0) - levels.get(3, 0)) <= 1


def test_a_question_about_the_cluster_is_answered_when_all_is_heard_that_the_head_knows(program: Program) -> None:
    program.view[4] = replace(program.view[3], no=4, id="id4", state=DEAD)
    at_once = [("node_state", "id3"), ("store", None)]
    later = [("nodes", None), ("total", None), ("why", {"CPU": 9.0}), ("node_state", "id5"), ("node_state", "id4")]
    asked = [m.Ask(number, *question) for number, question in enumerate([*at_once, *later])]
    assert [told.request for told in program.hears(*asked)] == [0, 1]
    program.view[5] = replace(program.view[3], no=5, id="id5", total=to_units({"CPU": 9}))
    nodes, total, why, joined, dead = (told.value for told in program.head_answers())
    assert {node["NodeID"] for node in nodes} >= {"id3", "id5"}
    assert total == {"CPU": 18.0}
    assert why["nodes"] == [5]
    assert (joined, dead) == (ALIVE, DEAD)
