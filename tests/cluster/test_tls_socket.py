"""TLS over real sockets: the manners of a socket, who is refused and what that says, and where the files come from."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from skate.client import tls_files
from skate.exceptions import AuthenticationError
from skate.wire.stream import StreamChannel
from skate.wire.tls import Tls
from skate.wire.tls_socket import READ_BYTES, TlsError, TlsSocket, check, wrap

from . import certificates

CA = trustme.CA()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return certificates.make(tmp_path_factory.mktemp("tls") / "own", CA)


def connect() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def shake(client: TlsSocket, server: TlsSocket) -> None:
    """Carry on with both handshakes until they are done; raises what either raises."""
    left = {client, server}
    while left:
        left = {side for side in left if side.step()}
        if left:
            select.select([client, server], [], [], 0.1)


@pytest.fixture
def ends(files: Tls) -> Iterator[tuple[TlsSocket, TlsSocket]]:
    raw_client, raw_server = connect()
    client, server = wrap(raw_client, files, b"", False), wrap(raw_server, files, b"", True)
    with client, server:
        shake(client, server)
        yield client, server


def receive(channel: StreamChannel) -> bytes:
    while (found := channel.receive()) is None:
        assert select.select([channel.sock], [], [], 5)[0], "nothing comes"
    return found[0]


def test_messages_arrive_whole_and_in_order_also_through_full_buffers(ends: tuple[TlsSocket, TlsSocket]) -> None:
    one, other = map(StreamChannel, ends)
    sent = [os.urandom(size) for size in (0, 1, 100, 16_384, 300_000, 5_000_000, 7, 40_000_000, 3)]
    waits = [not one.send(message) for message in sent]
    assert any(waits), "the kernel has taken all: this does not test what it says"
    found = []
    while len(found) < len(sent):
        one.flush()
        while (message := other.receive()) is not None:
            found.append(message[0])
            if len(found) == len(sent):
                break
    assert found == sent
    assert other.send(b"back") and receive(one) == b"back"


def test_small_reads_leave_nothing_behind(ends: tuple[TlsSocket, TlsSocket]) -> None:
    client, server = ends
    sent = os.urandom(100_000)
    assert client.send(sent) == len(sent)
    assert select.select([server], [], [], 5)[0]
    found = server.recv(8)
    assert found == sent[:8]
    buffer = bytearray(1000)
    while len(found) < len(sent):
        try:
            found += buffer[: server.recv_into(buffer)]
        except BlockingIOError:
            assert select.select([server], [], [], 5)[0], "what was read from the kernel was left behind"
    assert found == sent
    with pytest.raises(BlockingIOError):
        server.recv(8)


def test_what_was_not_taken_may_come_again_in_other_pieces(ends: tuple[TlsSocket, TlsSocket]) -> None:
    client, server = ends
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = os.urandom(2_000_000)
    found, at, waited = bytearray(), 0, 0
    pieces = (100_000, 7, 3000, 40_000, 1)
    while len(found) < len(sent):
        try:
            piece = sent[at : at + pieces[waited % len(pieces)]]
            at += (client.sendmsg([piece[:5], piece[5:]]) if waited % 2 else client.send(piece)) if piece else 0
        except BlockingIOError:
            waited += 1
            try:
                found += server.recv(READ_BYTES)
            except BlockingIOError:
                continue
        if at == len(sent):
            try:
                found += server.recv(READ_BYTES)
            except BlockingIOError:
                continue
    assert waited > 3 and found == sent


def test_a_thread_may_wait_for_it(ends: tuple[TlsSocket, TlsSocket]) -> None:
    client, server = ends
    for end in ends:
        end.settimeout(0.05)
    with pytest.raises(TimeoutError):
        server.recv_into(bytearray(10))
    sent, at = os.urandom(20_000_000), 0
    with pytest.raises(TimeoutError):
        while True:
            at += client.send(sent[at:])
    for end in ends:
        end.settimeout(5)
    found = bytearray(len(sent))

    def read() -> None:
        view = memoryview(found)
        while view:
            view = view[server.recv_into(view) :]

    reader = threading.Thread(target=read)
    reader.start()
    while at < len(sent):
        at += client.send(sent[at:])
    reader.join(10)
    assert found == sent


def test_nothing_goes_past_tls(ends: tuple[TlsSocket, TlsSocket]) -> None:
    client, _ = ends
    for call in (client.sendall, client.sendfile, client.sendto, client.recvmsg, client.makefile):
        with pytest.raises(TypeError, match="TLS"):
            call(b"in the clear")
    with pytest.raises(TypeError):
        StreamChannel(client).send_fds(b"", [0])


def test_the_end_is_an_end(ends: tuple[TlsSocket, TlsSocket]) -> None:
    client, server = ends
    client.shutdown(socket.SHUT_RDWR)
    assert select.select([server], [], [], 5)[0]
    assert server.recv() == b"" == client.recv()
    with pytest.raises(OSError):
        client.send(b"more")


def refused(client: Tls, server: Tls) -> tuple[str, str]:
    """What the client says, and what the server."""
    raw_client, raw_server = connect()
    said = ["", ""]
    with wrap(raw_client, client, b"", False) as one, wrap(raw_server, server, b"", True) as other:
        for _ in range(20):
            for at, side in enumerate((one, other)):
                try:
                    if not said[at]:
                        side.step()
                except TlsError as error:
                    said[at] = str(error)
            if all(said):
                break
            select.select([one, other], [], [], 0.05)
    assert "\n" not in "".join(said) and all(text.startswith("TLS: ") for text in said)
    return said[0], said[1]


def test_who_is_refused_hears_why(files: Tls, tmp_path: Path) -> None:
    """By both: the alert is not lost, as the client sends nothing before the server has said yes."""
    remedy = "one that the cluster's CA has signed"
    foreign = certificates.make(tmp_path / "foreign", trustme.CA(), trusted=CA)
    client, server = refused(foreign, files)
    assert "does not accept this one's certificate (tlsv1 alert unknown ca)" in client and remedy in client
    assert "certificate is not accepted here" in server and remedy in server
    expired = certificates.make(tmp_path / "expired", CA, expired=True)
    client, server = refused(expired, files)
    assert "alert certificate expired" in client and "has expired" in server
    client, server = refused(files, expired)
    assert "has expired" in client and "alert certificate expired" in server


def test_nothing_is_believed_that_came_before_tls(files: Tls) -> None:
    """What somebody puts in front of it is taken for TLS, and is none."""
    client, raw_server = connect()
    server = wrap(raw_server, files, b"GET / HTTP/1.1\r\n\r\n", True)
    with client, server, pytest.raises(TlsError, match="http request"):
        server.step()


def test_an_end_that_cannot_begin_says_so(files: Tls, tmp_path: Path) -> None:
    raw_client, raw_server = connect()
    with wrap(raw_client, files, b"", False) as client:
        client.step()
        with pytest.raises(TlsError, match="No such file"):
            wrap(raw_server, Tls(files.cert, str(tmp_path / "none.pem"), files.ca), b"", True)
        assert select.select([client], [], [], 5)[0]
        with pytest.raises(TlsError, match="the other end cannot begin"):
            client.step()


def test_new_connections_use_renewed_files(tmp_path: Path) -> None:
    old = certificates.make(tmp_path / "node", CA)
    check(old)
    new = certificates.make(tmp_path / "new", trustme.CA())
    for path, source in zip((old.cert, old.key, old.ca), (new.cert, new.key, new.ca), strict=True):
        os.replace(source, path)
        os.utime(path, (1, 1))
    check(old)


# ---------------------------------------------------------------- where the files come from


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SKATE_TLS_CERT", "SKATE_TLS_KEY", "SKATE_TLS_CA", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)


def test_options_and_both_kinds_of_variables_are_understood(files: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tls_files.find() is None
    assert tls_files.find(files.cert, files.key, files.ca) == files
    rays = {"SERVER_CERT": files.cert, "SERVER_KEY": files.key, "CA_CERT": files.ca}
    for name, path in rays.items():
        monkeypatch.setenv(f"RAY_TLS_{name}", path)
    assert tls_files.find() is None, "Ray reads them only with RAY_USE_TLS"
    monkeypatch.setenv("RAY_USE_TLS", "1")
    assert tls_files.find() == files
    monkeypatch.delenv("RAY_USE_TLS")
    for name, path in zip(("CERT", "KEY"), (files.cert, files.key), strict=True):
        monkeypatch.setenv(f"SKATE_TLS_{name}", path)
    with pytest.raises(AuthenticationError, match=r"needs a CA, too: give --tls-ca, or set SKATE_TLS_CA"):
        tls_files.find()
    monkeypatch.chdir(Path(files.ca).parent)
    monkeypatch.setenv("SKATE_TLS_CA", "ca.pem")
    assert tls_files.find() == files, "the paths are absolute: other processes have other folders"


def one_line(files: Tls) -> str:
    with pytest.raises(AuthenticationError) as caught:
        tls_files.find(files.cert, files.key, files.ca)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_of_no_use_are_refused_at_the_start(files: Tls, tmp_path: Path) -> None:
    loose = certificates.make(tmp_path / "loose", CA)
    os.chmod(loose.key, 0o644)
    assert f"chmod 600 {loose.key}" in one_line(loose)
    assert "none.pem" in one_line(Tls(files.cert, str(tmp_path / "none.pem"), files.ca))
    assert "none.pem" in one_line(Tls(str(tmp_path / "none.pem"), files.key, files.ca))
    assert "not a certificate and its key" in one_line(Tls(loose.cert, files.key, files.ca))
    assert "not a file of CA certificates" in one_line(Tls(files.cert, files.key, files.key))
    assert "has expired" in one_line(certificates.make(tmp_path / "expired", CA, expired=True))
    foreign = one_line(certificates.make(tmp_path / "foreign", trustme.CA(), trusted=CA))
    assert "cluster's CA" in foreign and str(tmp_path / "foreign") in foreign
