"""The node's shell, in this process: a driver's and a zygote's ends of channels are in the test's hands."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skate import __version__
from skate.node import memory
from skate.node.directory import Directory, Effects
from skate.node.exporter import REQUEST_S, Exporter
from skate.node.reports import Reports
from skate.node.service import Node
from skate.node.spilling import File
from skate.store.arena import HEADER_BYTES, create
from skate.wire import channel as wire, messages as m
from skate.wire.channel import Channel, pair

ROOM = 1 << 20
HELLO = m.Hello(__version__, 1, "space", "job", True, [], "/", False, "")


class Driver:
    """The other end of a driver's channel."""

    def __init__(self, node: Node) -> None:
        mine, theirs = pair()
        self.channel = Channel(mine)
        self.node = node
        self.client = node.add_client(theirs)
        self.send(HELLO)
        node.round()
        self.received()

    def send(self, message: Any, fds: tuple[int, ...] = ()) -> None:
        self.channel.send_fds(m.encode(message), fds)

    def received(self) -> list[Any]:
        found = []
        while (received := self.channel.receive()) is not None:
            for fd in received[1]:
                os.close(fd)
            found.append(m.decode_from_node(received[0]))
        return found


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Of the zygote's channel: the node's, and the zygote's."""
    mine, theirs = pair()
    yield mine, theirs
    theirs.close()


@pytest.fixture
def node(tmp_path: Path, ends: tuple[socket.socket, socket.socket]) -> Iterator[Node]:
    (tmp_path / "logs").mkdir()
    arena_fd = create(ROOM + HEADER_BYTES)
    made = Node({"CPU": 1.0}, arena_fd, ROOM + HEADER_BYTES, tmp_path, Channel(ends[0]))
    yield made
    for client in [*made.by_fd.values()]:
        client.channel.close()
    made.close()
    made.epoll.close()
    os.close(arena_fd)


@pytest.fixture
def driver(node: Node) -> Iterator[Driver]:
    made = Driver(node)
    yield made
    made.channel.close()


def test_descriptors_that_nobody_takes_are_closed(node: Node, driver: Driver) -> None:
    read, write = os.pipe()
    driver.send(m.Hold(b"x" * 16, 1), (write,))
    os.close(write)
    node.round()
    assert os.read(read, 1) == b""  # no copy of the other end is open
    os.close(read)
    assert driver.client.id in node.clients


@pytest.mark.parametrize("count", [0, 2])
def test_a_channel_to_an_actor_is_one_descriptor(node: Node, driver: Driver, count: int) -> None:
    ends = [os.pipe() for _ in range(count)]
    driver.send(m.ConnectActor(b"x" * 16), tuple(write for _, write in ends))
    for _, write in ends:
        os.close(write)
    node.round()
    for read, _ in ends:
        assert os.read(read, 1) == b""
        os.close(read)
    assert driver.client.id not in node.clients


def test_memory_is_asked_for_now_and_then_and_not_in_every_round(node: Node, driver: Driver) -> None:
    driver.send(m.WantMemory(1, ROOM, 60.0))
    driver.send(m.WantMemory(2, ROOM, 60.0))
    node.round()
    for number in range(100):
        driver.send(m.Hold(number.to_bytes(16, "big"), 1))
        node.round()
    asked = [message for message in driver.received() if isinstance(message, m.GiveBackMemory)]
    assert 1 <= len(asked) <= 20
    driver.send(m.ReturnMemory([(HEADER_BYTES, ROOM)]))
    node.round()
    assert m.Memory(2, HEADER_BYTES, ROOM) in driver.received()


def test_memory_is_refused_when_patience_ends(node: Node, driver: Driver) -> None:
    driver.send(m.WantMemory(1, ROOM + 1, 60.0))
    driver.send(m.WantMemory(2, ROOM, 60.0))
    driver.send(m.WantMemory(3, 64, 0.0))
    node.round()
    answers = {message.request: message for message in driver.received() if isinstance(message, m.Memory)}
    assert "holds 1048576 bytes in all" in answers[1].reason
    assert answers[2].size == ROOM
    assert "of 1048576 bytes is full (0 are free)" in answers[3].reason


@pytest.mark.parametrize("where", ["disk", "grace"])
def test_memory_that_is_on_its_way_is_waited_for(
    node: Node, driver: Driver, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    coming = File(0, ROOM, {b"x" * 16})
    if where == "disk":
        node.spills.logic.files[1] = coming
    else:
        node.objects._grace[b"x" * 16] = time.monotonic() + 60.0
    driver.send(m.WantMemory(1, ROOM, 60.0))
    driver.send(m.WantMemory(2, 64, 0.0))
    node.round()
    node.round()
    assert [message.request for message in driver.received() if isinstance(message, m.Memory)] == [1]
    monkeypatch.setattr(memory, "HOPE_S", 0.0)
    node.round()
    assert [message.request for message in driver.received() if isinstance(message, m.Memory)] == [2], "not for ever"


def test_a_driver_that_does_not_read_is_given_up(
    node: Node, driver: Driver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wire, "BACKLOG_BYTES_MAX", 100_000)
    for _ in range(30):
        node.send(driver.client, m.Answer(1, "x" * 50_000))
    driver.send(m.Hold(b"x" * 16, 1))
    node.round()
    assert not node.running and node.failed
    assert "process 1 is given up: it did not read its messages" in capfd.readouterr().err


def test_a_value_that_comes_after_its_objects_end_is_freed() -> None:
    directory = Directory(1 << 16)
    effects = Effects()
    ident = b"x" * 16
    directory.register(b"a", ident, None, b"", b"", effects)
    directory.hold(b"a", ident, -1, b"")
    directory.sweep(effects, m.Value(m.ERROR))
    assert ident not in directory.entries
    directory.deliver(b"a", ident, m.Value(m.SHARED, b"", ident, 0, 64), effects)
    directory.sweep(effects, m.Value(m.ERROR))
    assert effects.freed == {b"a": [ident]}
    assert not directory.entries


def test_whoever_does_not_ask_for_metrics_is_not_waited_for(node: Node) -> None:
    exporter = Exporter(node)
    address = "127.0.0.1", exporter.listen("127.0.0.1", 0)
    with socket.create_connection(address) as silent, socket.create_connection(address) as slow:
        slow.sendall(b"GET /metrics HT")
        while len(exporter._open) < 2 or not any(request.have for request in exporter._open.values()):
            node.round()
        now = time.monotonic()
        exporter.on_time(now + REQUEST_S - 1)
        assert len(exporter._open) == 2 and 0 < (exporter.next_due(now) or 0) <= REQUEST_S
        exporter.on_time(now + REQUEST_S)
        assert not exporter._open and exporter.next_due(now) is None
        assert silent.recv(1) == slow.recv(1) == b""
    assert exporter._listening is not None
    exporter._listening.close()


def test_a_worker_that_has_not_begun_is_asked_nothing(node: Node) -> None:
    mine, theirs = pair()
    worker = node.add_client(theirs, 7)
    said: list[Any] = []
    node.inquiries.begin("metrics", None, said.append, {worker.id.hex()}, 10.0, busy=True)
    assert said == [[]], "it waits for who it is, and takes no other message for that"
    worker.began = True
    node.inquiries.begin("metrics", None, said.append, {worker.id.hex()}, 10.0, busy=True)
    received = Channel(mine).receive()
    assert received is not None and type(m.decode_from_node(received[0])) is m.Question and len(said) == 1
    mine.close()


# ---------------------------------------------------------------- faults of the node's own code


class Failing:
    """In the place of a part's `on_time` or a handler: fails as often as it is told to."""

    def __init__(self, times: int = 1) -> None:
        self.left = times
        self.calls = 0

    def __call__(self, *_: Any) -> bool:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise RuntimeError("on purpose")
        return True


def test_a_minor_part_that_fails_rests_and_goes_on(node: Node, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(2)
    monkeypatch.setattr(node.monitor, "on_time", failing)
    before = list(node.parts)
    for rest in (1.0, 2.0):
        began = time.monotonic()
        if node.monitor not in node.parts:
            node.parts[before.index(node.monitor)].on_time(began + 100)
            assert node.parts == before, "it goes on"
        driver.send(m.Ask(1, "head", None))
        node.round()
        assert node.monitor not in node.parts and len(node.parts) == len(before)
        (resting,) = [part for part in node.parts if part not in before]
        assert rest - 0.1 < (resting.next_due(began) or 0) < rest + 1
    assert failing.calls == 2 and node.faults.counts == {"MemoryMonitor": 2}
    resting.on_time(began + 100)
    assert node.parts == before
    node.round()
    assert failing.calls == 3 and node.running
    events = str(node.history.answer("history_events", {}))
    assert events.count("a fault in the node's own code, in MemoryMonitor: RuntimeError: on purpose") == 2
    driver.received()
    driver.send(m.Ask(2, "validate", None))
    node.round()
    (answer,) = driver.received()
    assert "{'MemoryMonitor': 2}" in answer.error
    assert 'skate_node_faults_total{part="MemoryMonitor"} 2' in "".join(node.metrics.text())


@pytest.mark.parametrize("part", ["pool", "memory", "objects", "spills", "environments", "jobs_here", "abroad"])
def test_the_node_ends_when_a_part_fails_that_others_wait_for(
    node: Node, driver: Driver, part: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(getattr(node, part), "on_time", Failing())
    driver.send(m.Ask(1, "head", None))
    node.run()
    assert node.failed and not node.running
    *_, last = driver.received()
    assert isinstance(last, m.Refused) and "a fault of its own: RuntimeError: on purpose (see " in last.reason
    assert "Traceback" in capfd.readouterr().err


def test_the_node_ends_when_what_decides_fails_and_a_head_fails_as_it_is(
    node: Node, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.scheduler, "decide", Failing(2))
    node.leasing.dirty = True
    driver.send(m.Ask(1, "head", None))
    node.run()
    assert isinstance(driver.received()[-1], m.Refused) and node.failed
    node.running, node.head = True, SimpleNamespace(view={})  # type: ignore[assignment]
    node.leasing.dirty = True
    driver.send(m.Ask(1, "nodes", None))
    with pytest.raises(RuntimeError, match="on purpose"):
        node.run()


def test_a_connection_whose_handler_fails_is_lost_for_both_sides(node: Node) -> None:
    mine, theirs = pair()
    heard: list[bytes] = []

    class Owner:
        def on_event(self, _: int) -> bool:
            data = theirs.recv(100)
            heard.append(data)
            if data == b"poison":
                raise RuntimeError("on purpose")
            if not data:
                node.unwatch(theirs.fileno())
                theirs.close()
            return True

    node.watch(theirs.fileno(), Owner().on_event)
    for word in (b"poison", b"what came after it"):
        mine.send(word)
    for _ in range(3):
        node.round()
    assert heard == [b"poison", b"what came after it", b""] and mine.recv(100) == b""
    assert list(node.faults.counts.values()) == [1] and node.running
    mine.close()


def test_the_node_ends_when_what_fails_is_no_connection(node: Node, driver: Driver) -> None:
    reports = Reports()
    heard: list[int] = []
    reports.add(lambda: Failing()() and None)
    reports.add(lambda: heard.append(1))
    node.watch(reports.wake, reports.on_event)
    node.run()
    assert node.failed and "on purpose" in driver.received()[-1].reason
    reports.on_event(0)
    assert heard == [1], "who reported after it is heard nevertheless"
    node.unwatch(reports.wake)
    reports.close()


def test_the_node_says_that_it_ends_with_its_zygote(
    node: Node, driver: Driver, ends: tuple[socket.socket, socket.socket]
) -> None:
    ends[1].close()
    node.run()
    assert "the process that starts its workers has ended" in driver.received()[-1].reason and node.failed
