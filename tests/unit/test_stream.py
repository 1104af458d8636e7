"""Messages over a TCP stream: whole, in order, and no memory for what was only announced."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, strategies as st

from skate.wire import stream
from skate.wire.channel import MESSAGE_BYTES_MAX, ChannelClosed, MessageTooLarge
from skate.wire.stream import StreamChannel


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        a = socket.create_connection(listener.getsockname())
        b, _ = listener.accept()
    return a, b


@given(st.lists(st.binary(max_size=300), max_size=30), st.integers(0, 3))
def test_messages_arrive_whole_and_in_order(messages, large):
    a, b = map(StreamChannel, connected())
    try:
        messages = [*messages, *(bytes([i]) * 700_000 for i in range(large))]
        for message in messages:
            a.send(message)
        got = []
        while len(got) < len(messages):
            received = b.receive()
            if received is None:
                a.flush()
            else:
                assert received[1] == []
                got.append(received[0])
        assert got == messages
        assert b.receive() is None and not b.more
    finally:
        a.close()
        b.close()


def test_more_says_that_a_message_is_in_memory():
    a, b = connected()
    with a:
        channel = StreamChannel(b)
        a.sendall(b"\x01\x00\x00\x00x\x02\x00\x00\x00yz\x03\x00\x00\x00p")
        while (first := channel.receive_into()) is None:
            continue
        assert first == b"x" and channel.more
        assert channel.receive_into() == b"yz" and not channel.more
        channel.close()


def test_what_was_read_before_counts():
    a, b = connected()
    with a:
        channel = StreamChannel(b, b"\x03\x00\x00\x00abc\x01\x00")
        assert channel.more
        assert channel.receive_into() == b"abc"
        a.sendall(b"\x00\x00d")
        while (last := channel.receive_into()) is None:
            continue
        assert last == b"d"
        channel.close()


def test_an_absurd_length_ends_the_connection():
    a, b = connected()
    with a:
        channel = StreamChannel(b)
        a.sendall((MESSAGE_BYTES_MAX + 1).to_bytes(4, "little"))
        with pytest.raises(ChannelClosed, match="announced"):
            while True:
                channel.receive()
        channel.close()


def test_a_peer_that_does_not_read_is_given_up(monkeypatch):
    monkeypatch.setattr(stream, "BACKLOG_BYTES_MAX", 1 << 20)
    a, b = map(StreamChannel, connected())
    with pytest.raises(ChannelClosed, match="does not read"):
        for _ in range(1000):
            a.send(b"x" * 100_000)
    a.close()
    b.close()


def test_too_large_is_an_error_and_end_of_file_is_one(monkeypatch):
    a, b = map(StreamChannel, connected())
    monkeypatch.setattr(stream, "MESSAGE_BYTES_MAX", 10)
    with pytest.raises(MessageTooLarge):
        a.send(b"x" * 11)
    a.close()
    with pytest.raises(ChannelClosed):
        while True:
            b.receive()
    b.close()
