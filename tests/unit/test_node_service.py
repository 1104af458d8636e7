"""The node's shell, in this process: a driver's and a zygote's ends of channels are in the test's hands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skate import __version__
from skate.node import memory
from skate.node.directory import Directory, Effects
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
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "logs").mkdir()
    arena_fd = create(ROOM + HEADER_BYTES)
    mine, theirs = pair()
    made = Node({"CPU": 1.0}, arena_fd, ROOM + HEADER_BYTES, tmp_path, Channel(mine))
    yield made
    for client in [*made.by_fd.values()]:
        client.channel.close()
    made.close()
    made.epoll.close()
    theirs.close()
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
