"""Channels: messages of any size, descriptors, and readers that never wait for a slow sender."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, strategies as st

from skate.wire import channel as wire
from skate.wire.channel import PACKET_BYTES, Channel, ChannelClosed, MessageTooLarge, pair


@pytest.fixture
def ends():
    a, b = (Channel(sock) for sock in pair())
    yield a, b
    a.close()
    b.close()


def exchange(sender: Channel, receiver: Channel, messages: list[bytes]) -> list[bytes]:
    got = []
    for message in messages:
        sender.send(message)
    while len(got) < len(messages):
        received = receiver.receive()
        if received is None:
            sender.flush()
        else:
            got.append(received[0])
    return got


@given(st.lists(st.integers(0, 3 * PACKET_BYTES), min_size=1, max_size=6))
def test_messages_arrive_whole_and_in_order(sizes):
    a, b = (Channel(sock) for sock in pair())
    try:
        messages = [bytes([i % 251]) * size for i, size in enumerate(sizes)]
        assert exchange(a, b, messages) == messages
    finally:
        a.close()
        b.close()


def test_a_sender_that_stops_in_the_middle_blocks_nobody(ends):
    a, b = ends
    read, write = os.pipe()
    a._queue(bytes((wire._PART,)) + b"first ", (read,))
    a.flush()
    assert b.receive() is None
    assert b.receive() is None
    a._queue(bytes((wire._LAST,)) + b"second", ())
    a.flush()
    received = b.receive()
    assert received is not None
    data, fds = received
    assert data == b"first second" and len(fds) == 1
    os.write(write, b"x")
    assert os.read(fds[0], 1) == b"x"
    for fd in (read, write, *fds):
        os.close(fd)


def test_descriptors_of_half_a_message_are_closed_with_the_channel(ends):
    a, b = ends
    before = len(os.listdir("/proc/self/fd"))
    read, write = os.pipe()
    a._queue(bytes((wire._PART,)) + b"half", (read,))
    a.flush()
    assert b.receive() is None
    os.close(read)
    os.close(write)
    b.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1  # b's own


def test_the_backlog_ends_with_a_whole_message(ends, monkeypatch):
    a, b = ends
    monkeypatch.setattr(wire, "BACKLOG_BYTES_MAX", 4 * PACKET_BYTES)
    sent = 0
    with pytest.raises(ChannelClosed, match="does not read"):
        for _ in range(100):
            a.send(b"m" * 3 * PACKET_BYTES)
            sent += 1
    for _ in range(sent):
        while (received := b.receive()) is None:
            a.flush()
        assert received[0] == b"m" * 3 * PACKET_BYTES
    assert b.receive() is None and not a.backlog


def test_too_large_is_an_error_and_the_channel_lives(ends, monkeypatch):
    a, b = ends
    monkeypatch.setattr(wire, "MESSAGE_BYTES_MAX", 2 * PACKET_BYTES)
    with pytest.raises(MessageTooLarge):
        a.send(b"m" * 3 * PACKET_BYTES)
    assert exchange(a, b, [b"next"]) == [b"next"]


def test_end_of_file(ends):
    a, b = ends
    a.send(b"last")
    a.close()
    assert b.receive() == (b"last", [])
    with pytest.raises(ChannelClosed):
        b.receive()
