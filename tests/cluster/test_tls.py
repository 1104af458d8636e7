"""A cluster with TLS: everything works over it, nothing can be read on the way, and whoever lacks a certificate stays outside."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from integration import scrape
from integration.scrape import value

import skate
from skate.client import asking, sessions
from skate.client.init_options import InitOptions
from skate.exceptions import AuthenticationError, RaySystemError
from skate.testing import eventually
from skate.wire.tls import Tls

from . import certificates
from .conftest import HOST, STORE_BYTES, Nodes, on
from .test_head import Counter, kill_head

CA = trustme.CA()
NAMES = ("SKATE_TLS_CERT", "SKATE_TLS_KEY", "SKATE_TLS_CA")


@pytest.fixture
def files(tmp_path: Path) -> Tls:
    return certificates.make(tmp_path / "own", CA)


@pytest.fixture
def secure(nodes: Nodes, files: Tls, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """An empty cluster whose nodes will find their files in the environment."""
    use(files, monkeypatch)
    return nodes


def use(files: Tls | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in zip(NAMES, (files.cert, files.key, files.ca) if files else ("", "", ""), strict=True):
        monkeypatch.setenv(name, path)


@skate.remote
class Far(Counter):
    def holds(self, size: int) -> bytes:
        return bytes(range(256)) * (size // 256)

    def counts(self, end: int) -> Iterator[int]:
        yield from range(end)

    async def passes(self, value: bytes) -> int:
        return len(value)


@skate.remote
def length(value: bytes) -> tuple[int, str]:
    return len(value), skate.get_runtime_context().get_node_id()


def test_everything_works_with_tls(secure: Nodes) -> None:
    head = secure.add(1, here=1)
    there = secure.add(1, there=1)
    skate.init(address=secure.address, namespace="tls")
    far = Far.options(name="far", **on("there")).remote()
    assert skate.get([far.add.remote() for _ in range(500)], timeout=20)[-1][0] == 500
    large = far.holds.remote(50_000_000)
    assert skate.get(length.options(**on("here")).remote(large), timeout=20) == (49_999_872, head.node_id)
    assert skate.get(large) == bytes(range(256)) * (50_000_000 // 256), "brought here, byte for byte"
    assert value(scrape.read(HOST, there.port), "skate_actors", state="alive") == 1, "metrics are served as ever"
    own = skate.put(bytes(50_000_000))
    assert skate.get(length.options(**on("there")).remote(own), timeout=20) == (50_000_000, there.node_id)
    items = far.counts.options(num_returns="streaming").remote(100)
    assert [skate.get(item, timeout=20) for item in items] == list(range(100))
    assert skate.get(far.passes.remote(b"12"), timeout=20) == 2
    kill_head(head)
    assert skate.get(skate.get_actor("far").add.remote(), timeout=20)[0] == 501
    assert skate.get(length.options(**on("there")).remote(b"123"), timeout=20)[0] == 3
    assert all(node["Alive"] for node in skate.nodes())


def test_what_dies_comes_back_with_tls(secure: Nodes) -> None:
    secure.add(1)
    secure.add(1, there=1)
    skate.init(address=secure.address)
    keeper = Far.options(max_restarts=-1, max_task_retries=1, **on("there")).remote()
    for _ in range(5):
        pid = skate.get(keeper.add.remote(), timeout=20)[1]
        os.kill(pid, signal.SIGKILL)
        assert skate.get(keeper.add.remote(), timeout=20)[1] != pid
    tasks = [length.options(**on("there")).remote(b"1") for _ in range(100)]
    assert {skate.get(task, timeout=20)[0] for task in tasks} == {1}
    lost = secure.started[-1]
    secure.kill(lost)
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(False) == 1, 5, "the loss is known")
    secure.add(1, there=1)
    assert skate.get(keeper.add.remote(), timeout=20)[0] == 1


def test_a_driver_without_a_node_uses_the_environment(secure: Nodes, tmp_path: Path) -> None:
    secure.add(1)
    program = f"""
import skate
skate.init(address={secure.address!r})
print(skate.get(skate.remote(lambda x: x + 1).remote(1), timeout=20))
"""
    environment = {**os.environ, "SKATE_TEMP_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout == "2\n", done.stdout + done.stderr
    for name in NAMES:
        del environment[name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert "this cluster uses TLS" in done.stderr.strip().splitlines()[-1]
    skate.init(address=secure.address)
    eventually(lambda: [node["Alive"] for node in skate.nodes()] == [True, False], 10, "its node ends with it")


# ---------------------------------------------------------------- who stays outside


def joins(nodes: Nodes, tls: Tls | None) -> str:
    """What a node hears that should not get in; `tls` is not checked before."""
    head = nodes.started[0]
    wish = sessions.Wish(False, HOST, 0, head.host, head.port, tls=tls)
    options = InitOptions(num_cpus=1, object_store_memory=STORE_BYTES)
    with pytest.raises(RaySystemError) as caught:
        nodes.started.append(sessions.start_node(options, wish))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_who_has_no_right_certificate_stays_outside(
    secure: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = secure.add(1)
    remedy = "each end needs one that the cluster's CA has signed"
    said = joins(secure, certificates.make(tmp_path / "foreign", trustme.CA(), trusted=CA))
    assert "does not accept this one's certificate (tlsv1 alert unknown ca)" in said and remedy in said
    said = joins(secure, certificates.make(tmp_path / "strange", trustme.CA()))
    assert "the other end's certificate is not accepted here" in said and remedy in said
    said = joins(secure, certificates.make(tmp_path / "expired", CA, expired=True))
    assert "certificate expired" in said and remedy in said
    use(certificates.make(tmp_path / "old", CA, expired=True), monkeypatch)
    with pytest.raises(AuthenticationError, match="has expired"):
        secure.add(1)
    use(None, monkeypatch)
    said = joins(secure, None)
    assert "this cluster uses TLS" in said and "start it with --tls-cert, --tls-key and --tls-ca" in said
    log = Path(head.folder, "logs", "node.log").read_text()
    assert f"a connection from {HOST} was refused: TLS: the other end's certificate is not accepted here" in log
    assert asking.ask(head, "cluster_status")["nodes"][0]["No"] == 1, "the head has not noticed otherwise"


def test_a_node_whose_files_are_gone_is_of_use_again_when_they_are_back(secure: Nodes, tmp_path: Path) -> None:
    head = secure.add(1)
    own = certificates.make(tmp_path / "there", CA)
    wish = sessions.Wish(False, HOST, 0, head.host, head.port, tls=own)
    options = InitOptions(num_cpus=1, resources={"there": 1}, object_store_memory=STORE_BYTES)
    secure.started.append(sessions.start_node(options, wish))
    os.rename(own.key, f"{own.key}.away")
    skate.init(address=secure.address)
    task = length.options(**on("there")).remote(b"12")
    log = Path(secure.started[1].folder, "logs", "node.log")
    eventually(lambda: f"refused: TLS: {own.key}: No such file" in log.read_text(), 10, "connections are refused")
    assert skate.wait([task], timeout=0.1)[0] == []
    os.rename(f"{own.key}.away", own.key)
    assert skate.get(task, timeout=20) == (2, secure.started[1].node_id)
    key = os.environ["SKATE_TLS_KEY"]
    os.rename(key, f"{key}.away")
    assert "the other end cannot begin: its log says why" in joins(secure, own)
    os.rename(f"{key}.away", key)
    secure.add(1)


def test_a_node_with_tls_does_not_join_a_cluster_without(nodes: Nodes, files: Tls) -> None:
    nodes.add(1)
    assert "this cluster does not use TLS" in joins(nodes, files)


# ---------------------------------------------------------------- what can be read on the way


class Tap:
    """Listens at one loopback address for what a node says and hears at another, and passes it on."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: dict[socket.socket, socket.socket] = {}
        self._over, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._over, self._listener, *self._ends], [], [])
            if self._over in ready:
                return
            for sock in ready:
                if sock is self._listener:
                    client = self._listener.accept()[0]
                    server = socket.create_connection(("127.0.0.2", self.port))
                    self._ends |= {client: server, server: client}
                elif sock in self._ends:
                    self._carry(sock)

    def _carry(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(1 << 16)
            self._ends[sock].sendall(data)
        except OSError:
            data = b""
        self.seen += data
        if not data:
            other = self._ends.pop(sock)
            del self._ends[other]
            sock.close()
            other.close()

    def close(self) -> None:
        self._stop.send(b"x")
        self._thread.join(5)
        for sock in (*self._ends, self._listener, self._over, self._stop):
            sock.close()


@pytest.fixture
def tap() -> Iterator[Tap]:
    tap = Tap()
    yield tap
    tap.close()


@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "tls"])
def test_nothing_can_be_read_on_the_way_with_tls(
    nodes: Nodes, files: Tls, tap: Tap, encrypted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, results, code, objects and errors of a node whose every connection is listened to."""
    use(files if encrypted else None, monkeypatch)
    head = nodes.add(1)
    wish = sessions.Wish(False, HOST, tap.port, head.host, head.port, listen="127.0.0.2")
    options = InitOptions(num_cpus=1, resources={"there": 1}, object_store_memory=STORE_BYTES)
    nodes.started.append(sessions.start_node(options, wish))
    skate.init(address=nodes.address)

    @skate.remote(**on("there"))
    class Spy:
        def turns(self, value: bytes) -> bytes:
            return value[::-1]

        def large(self, mark: bytes) -> bytes:
            return mark[::-1] * 100_000

    @skate.remote(max_retries=0, **on("there"))
    def fails(value: bytes) -> int:
        raise ValueError(value[::-1].decode())

    spy = Spy.remote()
    assert skate.get(spy.turns.remote(b"ARGUMENT"), timeout=20) == b"TNEMUGRA"
    assert len(skate.get(spy.large.remote(b"OBJECT"), timeout=20)) == 600_000
    with pytest.raises(ValueError, match="MELBORP"):
        skate.get(fails.remote(b"PROBLEM"), timeout=20)
    secrets = (b"ARGUMENT", b"TNEMUGRA", b"TCEJBOTCEJBO", b"MELBORP", b"turns")
    assert [secret in tap.seen for secret in secrets] == [not encrypted] * len(secrets)
    assert b"SKATE\n" in tap.seen, "the handshake is in the clear"
