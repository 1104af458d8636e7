"""The handshake between machines: both know the token, or nothing happens."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from skate.wire import handshake as hs
from skate.wire.handshake import Client, HandshakeError, Server, refusal

TOKEN = "t" * 64


def talk(client: Client, server: Server, cuts: list[int]) -> None:
    """Carry the bytes of both sides, a few at a time."""
    to_server, to_client = bytearray(client.feed(b"")), bytearray()
    at = 0
    while to_server or to_client:
        size = cuts[at % len(cuts)] if cuts else 1 << 16
        at += 1
        part, to_server = bytes(to_server[:size]), to_server[size:]
        to_client += server.feed(part)
        part, to_client = bytes(to_client[:size]), to_client[size:]
        to_server += client.feed(part)


@given(st.lists(st.integers(1, 80), max_size=8), st.binary(max_size=100))
def test_any_split_of_the_bytes_gives_the_same_result(cuts, payload):
    client, server = Client(TOKEN, "data", payload, "1.0"), Server(TOKEN, "1.0")
    talk(client, server, cuts)
    assert client.done and server.done
    assert (server.purpose, server.payload) == ("data", payload)
    assert client.rest == server.rest == b""


def test_what_comes_after_it_is_kept():
    client, server = Client(TOKEN, "data", b"", "1.0"), Server(TOKEN, "1.0")
    asked = client.feed(server.feed(client.feed(b"")))
    answer = server.feed(asked + b"more")
    client.feed(answer + b"words")
    assert server.rest == b"more" and client.rest == b"words"


def test_a_wrong_token_is_refused_by_both():
    client, server = Client("x" * 64, "node", b"", "1.0"), Server(TOKEN, "1.0")
    asked = client.feed(server.feed(client.feed(b"")))
    with pytest.raises(HandshakeError, match="SKATE_TOKEN"):
        server.feed(asked)
    with pytest.raises(HandshakeError, match="no, because"):
        client.feed(refusal("no, because"))
    assert not server.done and not client.done


def test_versions_are_compared_before_the_token():
    client, server = Client("x" * 64, "node", b"", "1.0"), Server(TOKEN, "2.0")
    with pytest.raises(HandshakeError, match=r"2\.0.*1\.0.*same version"):
        server.feed(client.feed(b""))
    client, server = Client(TOKEN, "node", b"", "1.0"), Server(TOKEN, "1.0")
    hello = bytearray(client.feed(b""))
    hello[6] ^= 1  # the protocol's number
    with pytest.raises(HandshakeError, match="same version"):
        server.feed(bytes(hello))


def test_a_recorded_exchange_is_of_no_use_again():
    client, server = Client(TOKEN, "node", b"", "1.0"), Server(TOKEN, "1.0")
    hello = client.feed(b"")
    asked = client.feed(server.feed(hello))
    server.feed(asked)
    assert server.done
    again = Server(TOKEN, "1.0")
    again.feed(hello)
    with pytest.raises(HandshakeError, match="token"):
        again.feed(asked)


def test_an_exchange_cannot_be_reflected():
    """A peer without the token sends back what it is sent."""
    client = Client(TOKEN, "node", b"", "1.0")
    hello = client.feed(b"")
    asked = client.feed(hello)
    with pytest.raises(HandshakeError):
        client.feed(bytes((hs._YES,)) + asked[: hs.PROOF_BYTES])


@given(st.data())
def test_a_changed_byte_is_refused_or_waited_for(data):
    client, server = Client(TOKEN, "transfer", b"payload", "1.0"), Server(TOKEN, "1.0")
    hello = client.feed(b"")
    asked = bytearray(client.feed(server.feed(hello)))
    at = data.draw(st.integers(0, len(asked) - 1))
    asked[at] ^= data.draw(st.integers(1, 255))
    try:
        server.feed(bytes(asked))
    except HandshakeError:
        pass
    assert not server.done


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"\x00" * 100, b"skate\n", b"SKATE\n" + b"\xff" * 200],
)
def test_strangers_are_told_apart_at_once(garbage):
    with pytest.raises(HandshakeError):
        Server(TOKEN, "1.0").feed(garbage)


def test_lengths_are_bounded():
    with pytest.raises(ValueError, match="too long"):
        Client(TOKEN, "data", b"x" * (hs.PAYLOAD_BYTES_MAX + 1), "1.0")
    client, server = Client(TOKEN, "data", b"", "1.0"), Server(TOKEN, "1.0")
    client.feed(server.feed(client.feed(b"")))
    with pytest.raises(HandshakeError, match="too long"):
        server.feed(b"p" * hs.PROOF_BYTES + hs._ASK.pack(hs.PURPOSE_BYTES_MAX + 1, 0))


@pytest.mark.parametrize("listens", [True, False])
def test_a_difference_in_tls_is_refused_before_the_token_is_looked_at(listens):
    client, server = Client("x" * 64, "node", b"", "1.0", not listens), Server(TOKEN, "1.0", listens)
    says = (
        "uses TLS, and the end that connects does not: start it with --tls-cert" if listens else "leave out --tls-cert"
    )
    with pytest.raises(HandshakeError, match=says) as caught:
        server.feed(client.feed(b""))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).encode()) < hs.REFUSAL_BYTES_MAX, "the other end hears all of it"


def test_nobody_in_between_can_talk_an_end_out_of_tls():
    client, server = Client(TOKEN, "node", b"", "1.0", True), Server(TOKEN, "1.0", False)
    hello = bytearray(client.feed(b""))
    hello[-1] = 0
    answer = bytearray(server.feed(bytes(hello)))
    with pytest.raises(HandshakeError, match="TLS"):
        Client(TOKEN, "node", b"", "1.0", True).feed(bytes(answer))
    answer[-1] = 1
    asked = client.feed(bytes(answer))
    with pytest.raises(HandshakeError, match="token"):
        server.feed(asked)
    assert not client.done and not server.done


def test_a_peer_of_a_protocol_without_flags_hears_which_version_to_install():
    hello = hs._HELLO.pack(hs.MAGIC, 1, 3) + b"0.9" + bytes(hs.NONCE_BYTES)
    with pytest.raises(HandshakeError, match=r"0\.9.*same version"):
        Server(TOKEN, "1.0").feed(hello)
