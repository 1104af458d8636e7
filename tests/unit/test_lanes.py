"""Threads that move bytes: whole, cut in the middle, and with a peer that says nothing, or nonsense."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from skate.node import lanes
from skate.node.lanes import AT_ONCE_BYTES, Copy, Lane, Movers
from skate.node.pulls import CHUNK_BYTES, Chunks
from skate.node.reports import Reports
from skate.store import arena
from skate.testing import eventually
from skate.wire.transfer import FRAME, GONE, REQUEST, TAKE, WAIT

SIZE = 3 * CHUNK_BYTES + 12345
OFFSET = 1 << 20


class World:
    """Two arenas, and threads."""

    def __init__(self) -> None:
        self.reports = Reports()
        self.movers = Movers(self.reports)
        self.fds = [arena.create(OFFSET + SIZE), arena.create(OFFSET + SIZE)]
        self.arenas = [arena.Arena(fd, OFFSET + SIZE) for fd in self.fds]
        self.data = os.urandom(SIZE)
        os.pwrite(self.fds[0], self.data, OFFSET)
        self.ended: list[Lane] = []
        self.sockets: list[socket.socket] = []
        self.views: list[memoryview] = []

    def pair(self) -> tuple[socket.socket, socket.socket]:
        two = socket.socketpair()
        self.sockets += two
        return two

    def send(self, sock: socket.socket, copy: Copy) -> Lane:
        lane = Lane(sock, copy, 2, b"x")
        self.movers.start(lane, partial(lane.send, self.arenas[0]), self.ended.append)
        return lane

    def receive(self, sock: socket.socket, copy: Copy) -> Lane:
        lane = Lane(sock, copy, 1, b"x")
        self.movers.start(lane, partial(lane.receive, self.fds[1]), self.ended.append)
        return lane

    def join(self, *lanes: Lane) -> None:
        def all_ended() -> bool:
            self.reports.on_event(0)
            return all(lane in self.ended for lane in lanes)

        eventually(all_ended, 10, "the lanes end")

    def received(self) -> bool:
        return os.pread(self.fds[1], SIZE, OFFSET) == self.data


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(lanes, "STALL_S", 0.2)
    monkeypatch.setattr(lanes, "TELL_S", 0.05)
    monkeypatch.setattr(lanes, "SEARCH_S", 0.5)
    world = World()
    yield world
    for sock in world.sockets:
        sock.close()
    world.movers.close()
    for each in world.arenas:
        each.close(unmap=True)
    world.reports.close()


def coming() -> Copy:
    return Copy(OFFSET, SIZE, Chunks(SIZE))


def peer(sock: socket.socket, *answers: Callable[[int, int], bytes]) -> threading.Thread:
    """The other end of a lane: an answer for each request, then the end."""

    def run() -> None:
        asked = b""
        while len(asked) < REQUEST.size * lanes.AHEAD:
            asked += sock.recv(100)
        for answer in answers:
            sock.sendall(answer(*REQUEST.unpack_from(asked)))
            asked = asked[REQUEST.size :]
        sock.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_the_same_bytes_arrive_on_one_lane_or_two(world: World) -> None:
    for count in (1, 2):
        os.ftruncate(world.fds[1], 0)
        os.ftruncate(world.fds[1], OFFSET + SIZE)
        copy = coming()
        running = []
        for _ in range(count):
            one, other = world.pair()
            running += [world.send(one, Copy(OFFSET, SIZE)), world.receive(other, copy)]
        world.join(*running)
        assert copy.whole and not copy.lanes and world.received()
        assert [lane.reason for lane in running] == [""] * len(running)
        assert sum(lane.moved_bytes for lane in running) == 2 * SIZE


def test_a_small_object_comes_without_being_asked_for(world: World) -> None:
    one, other = world.pair()
    copy = coming()
    sender, receiver = Lane(one, Copy(OFFSET, SIZE), 2, b"x", unasked=True), Lane(other, copy, 1, b"x", unasked=True)
    world.movers.start(sender, partial(sender.send, world.arenas[0]), world.ended.append)
    world.movers.start(receiver, partial(receiver.receive, world.fds[1]), world.ended.append)
    world.join(sender, receiver)
    assert copy.whole and world.received() and not sender.reason


@pytest.mark.parametrize("size", [100_000, AT_ONCE_BYTES * 4])
def test_a_small_object_needs_no_thread(world: World, size: int) -> None:
    """Unless the connection takes only a part of it."""
    one, other = world.pair()
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
    sender = Lane(one, Copy(OFFSET, size), 2, b"x", unasked=True)
    whole = sender.send_at_once(world.arenas[0])
    assert whole is (size == 100_000)
    copy = Copy(OFFSET, size, Chunks(size))
    receiver = Lane(other, copy, 1, b"x", unasked=True)
    world.movers.start(receiver, partial(receiver.receive, world.fds[1]), world.ended.append)
    if not whole:
        world.movers.start(sender, partial(sender.send, world.arenas[0]), world.ended.append)
        world.join(sender)
    world.join(receiver)
    assert copy.whole and os.pread(world.fds[1], size, OFFSET) == world.data[:size]


def test_what_came_before_the_cut_is_not_sent_again(world: World) -> None:
    one, other = world.pair()
    copy = coming()

    def chunk(at: int, size: int) -> bytes:
        return FRAME.pack(TAKE, size) + world.data[at : at + size]

    thread = peer(one, chunk, lambda at, size: chunk(at, size)[: size // 2])
    first = world.receive(other, copy)
    world.join(first)
    thread.join()
    assert "closed the connection in the middle" in first.reason or "ended" in first.reason
    assert copy.moved == 1 and not copy.whole
    one, other = world.pair()
    sender, second = world.send(one, Copy(OFFSET, SIZE)), world.receive(other, copy)
    world.join(sender, second)
    assert copy.whole and world.received() and second.moved_bytes == SIZE - CHUNK_BYTES


def test_what_is_still_arriving_is_passed_on(world: World) -> None:
    """Through a node in the middle, whose arena is the sender's: what it does not have yet is waited for."""
    middle, end = coming(), coming()
    one, other = world.pair()
    sender, receiver = world.send(one, middle), world.receive(other, end)
    for _ in range(middle.chunks.count if middle.chunks else 0):
        piece = middle.take()
        assert piece is not None and not end.whole
        middle.done(piece[0])
    world.join(sender, receiver)
    assert end.whole and world.received()


def test_what_does_not_come_is_told_to_those_who_wait_for_it(world: World) -> None:
    middle, end = coming(), coming()
    one, other = world.pair()
    sender, receiver = world.send(one, middle), world.receive(other, end)
    middle.cancel()
    world.join(sender, receiver)
    assert receiver.reason and not end.whole and end.take() == (0, CHUNK_BYTES)


@pytest.mark.parametrize("side", ["receives", "sends"])
def test_f20_a_peer_that_has_vanished_is_given_up(world: World, side: str) -> None:
    one, _ = world.pair()
    if side == "sends":
        _.sendall(REQUEST.pack(0, CHUNK_BYTES))
        lane = world.send(one, Copy(OFFSET, SIZE))
    else:
        lane = world.receive(one, coming())
    world.join(lane)
    assert "nothing has moved" in lane.reason and lane.sock.fileno() == -1 and not lane.copy.lanes


def test_somebody_who_lives_and_has_nothing_is_given_up_too(world: World) -> None:
    """Two that wait for each other would do so for ever."""
    one, other = world.pair()
    sender, receiver = world.send(one, coming()), world.receive(other, coming())
    world.join(sender, receiver)
    assert "has got nothing itself" in receiver.reason


def test_a_cut_ends_a_lane_at_once(world: World) -> None:
    one, _ = world.pair()
    lane = world.send(one, coming())
    lane.cut()
    world.join(lane)
    assert not lane.moved_bytes


@pytest.mark.parametrize("at, size", [(0, CHUNK_BYTES + 1), (SIZE - 1, 2), (1 << 63, 1), (0, 0)])
def test_nobody_reads_what_is_not_the_objects(world: World, at: int, size: int) -> None:
    one, other = world.pair()
    other.sendall(REQUEST.pack(at, size))
    lane = world.send(one, Copy(OFFSET, SIZE))
    world.join(lane)
    assert "asks for" in lane.reason
    assert other.recv(10) == b""


@pytest.mark.parametrize("answer", [FRAME.pack(GONE, 0), FRAME.pack(TAKE, 5), FRAME.pack(77, CHUNK_BYTES), b""])
def test_a_wrong_answer_is_no_bytes(world: World, answer: bytes) -> None:
    one, other = world.pair()
    copy = coming()
    thread = peer(one, lambda at, size: FRAME.pack(WAIT, 0) + answer)
    lane = world.receive(other, copy)
    world.join(lane)
    thread.join()
    assert lane.reason and lane.denied is bool(answer) and not copy.moved and copy.take() == (0, CHUNK_BYTES)


def test_f16_a_machine_without_memory_is_an_error(world: World) -> None:
    one, other = world.pair()
    world.fds[1] = os.open("/dev/full", os.O_WRONLY)
    sender, receiver = world.send(one, Copy(OFFSET, SIZE)), world.receive(other, coming())
    world.join(sender, receiver)
    os.close(world.fds[1])
    assert receiver.broken and "no memory" in receiver.reason
