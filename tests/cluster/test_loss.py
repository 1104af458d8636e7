"""What happens when nodes, drivers and secrets are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import skate
from skate.exceptions import ActorDiedError, ActorUnavailableError, AuthenticationError, ObjectLostError, RaySystemError
from skate.testing import eventually

from .conftest import HOST, Nodes, on


@skate.remote
def where(seconds: float = 0.0) -> str:
    time.sleep(seconds)
    return skate.get_runtime_context().get_node_id()


@skate.remote
class Keeper:
    def place(self) -> tuple[str, int]:
        return skate.get_runtime_context().get_node_id(), os.getpid()


def test_tasks_of_a_killed_node_run_elsewhere(nodes: Nodes) -> None:
    nodes.add(1)
    lost = nodes.add(2)
    skate.init(address=nodes.address)
    refs = [where.remote(0.2) for _ in range(12)]
    eventually(lambda: skate.available_resources().get("CPU", 0) == 0, 10, "all nodes work")
    began = time.monotonic()
    nodes.kill(lost)
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(False) == 1, 3, "the loss is known")
    assert time.monotonic() - began < 3
    places = skate.get(refs, timeout=20)
    assert len(places) == 12 and nodes.started[0].node_id in places


def test_workers_end_with_their_node(nodes: Nodes) -> None:
    nodes.add(1)
    lost = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    skate.get(where.options(**on("there")).remote(), timeout=20)
    children = psutil.Process(lost.pid).children(recursive=True)
    assert len(children) >= 2
    nodes.kill(lost)
    _, alive = psutil.wait_procs(children, timeout=2)
    assert not alive


def test_an_actor_of_a_killed_node_restarts_elsewhere_or_dies(nodes: Nodes) -> None:
    nodes.add(1)
    lost = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    mortal = Keeper.options(**on("there")).remote()
    assert skate.get(mortal.place.remote(), timeout=20)[0] == lost.node_id
    nodes.kill(lost)

    def how_it_ended() -> str:
        try:
            skate.get(mortal.place.remote(), timeout=20)
        except ActorDiedError as error:
            return str(error)
        except ActorUnavailableError:  # the connection has ended, and why is not known yet
            return ""
        return ""

    assert "node" in eventually(how_it_ended, 10)


def test_a_restartable_actor_comes_back_when_its_resource_does(nodes: Nodes) -> None:
    nodes.add(1)
    lost = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    keeper = Keeper.options(max_restarts=1, max_task_retries=-1, **on("there")).remote()
    assert skate.get(keeper.place.remote(), timeout=20)[0] == lost.node_id
    nodes.kill(lost)
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(False) == 1, 5, "the loss is known")
    call = keeper.place.remote()
    assert skate.wait([call], timeout=0.5)[0] == []
    new = nodes.add(1, there=1)
    assert skate.get(call, timeout=20)[0] == new.node_id


def test_what_was_on_a_lost_node_is_an_error_and_not_a_hang(nodes: Nodes) -> None:
    nodes.add(1)
    lost = nodes.add(1, there=1)
    skate.init(address=nodes.address)

    @skate.remote
    def large() -> bytes:
        return b"x" * 1_000_000

    ref = large.options(max_retries=0, **on("there")).remote()
    skate.wait([ref], timeout=20)
    nodes.kill(lost)
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(False) == 1, 5)
    with pytest.raises(ObjectLostError):
        skate.get(ref, timeout=20)


def test_a_frozen_node_is_fenced(nodes: Nodes) -> None:
    nodes.add(1)
    frozen = nodes.add(1, there=1)
    skate.init(address=nodes.address)
    skate.get(where.options(**on("there")).remote(), timeout=20)
    children = psutil.Process(frozen.pid).children(recursive=True)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        eventually(lambda: [node["Alive"] for node in skate.nodes()].count(False) == 1, 6, "it is declared dead")
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, "what ran on a node that was declared dead ends"
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(True) == 2, 10, "its machine joins anew")
    assert skate.get(where.options(**on("there")).remote(), timeout=20) != frozen.node_id


def test_what_is_pulled_from_a_frozen_node_fails_once(nodes: Nodes) -> None:
    """Its memory is given back when the node is declared dead, and not once more when the connection ends, too."""
    import numpy as np

    home = nodes.add(1)
    frozen = nodes.add(1, there=1)
    nodes.add(1, third=1)
    skate.init(address=nodes.address)

    @skate.remote(max_retries=0)
    def large(number: int) -> Any:
        return np.full(10_000_000, number, np.uint8)

    lost = large.options(**on("there")).remote(1)
    others = [large.options(**on("third")).remote(number) for number in (2, 3)]
    skate.wait([lost, *others], num_returns=3, timeout=20)

    def connected() -> bool:
        connections = psutil.Process(home.pid).net_connections("tcp")
        return any(each.raddr and each.raddr.port == frozen.port for each in connections)

    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ObjectLostError):
            skate.get(lost, timeout=20)
        two = skate.get(others[0], timeout=20)  # has the memory that was meant for the first
        assert connected()
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    eventually(lambda: not connected(), 10, "the connection has ended")
    three = skate.get(others[1], timeout=20)
    assert (two == 2).all() and (three == 3).all()
    del two, three, others
    assert skate.get(where.remote(), timeout=20) == home.node_id, "the node goes on"


def test_a_driver_that_is_killed_leaves_nothing(nodes: Nodes) -> None:
    nodes.add(1)
    nodes.add(1, there=1)
    program = f"""
import skate, time
skate.init(address={nodes.address!r})
@skate.remote
class Keeper:
    def ok(self): return 1
@skate.remote
def nap(): time.sleep(100)
keepers = [Keeper.options(resources={{"there": 0.1}}).remote() for _ in range(2)]
skate.get([k.ok.remote() for k in keepers])
refs = [nap.options(resources={{"there": 0.1}}).remote(), nap.remote()]
print("busy", flush=True)
time.sleep(100)
"""
    driver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None and driver.stdout.readline() == "busy\n"
    driver.kill()
    driver.wait()
    driver.stdout.close()
    skate.init(address=nodes.address)
    total = skate.cluster_resources()
    eventually(lambda: skate.available_resources() == total, 10, "everything is free again")


def test_a_wrong_token_is_refused_with_the_remedy(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.add(1)
    monkeypatch.setenv("SKATE_TOKEN", "0" * 64)
    with pytest.raises(RaySystemError, match="token is not this cluster's"):
        nodes.add(1)
    monkeypatch.setenv("SKATE_TOKEN_PATH", "/nonexistent/token")
    monkeypatch.delenv("SKATE_TOKEN")
    with pytest.raises(AuthenticationError, match="SKATE_TOKEN"):
        nodes.add(1)


def test_the_token_is_on_no_command_line_and_in_no_log(nodes: Nodes, home: Path) -> None:
    nodes.add(1)
    nodes.add(1)
    secret = (home / "token").read_text().strip()
    assert len(secret) == 64 and os.stat(home / "token").st_mode & 0o777 == 0o600
    for process in nodes.processes():
        assert secret not in " ".join(process.cmdline())
        assert secret not in str(process.environ())
    for node in nodes.started:
        for path in Path(node.folder).rglob("*"):
            if path.is_file():
                assert secret not in path.read_text(errors="replace"), path


def test_f22_another_version_is_refused_at_once_with_both_versions(nodes: Nodes, home: Path) -> None:
    import socket

    from skate.version import __version__
    from skate.wire.handshake import Client, HandshakeError

    head = nodes.add(1)
    other = Client((home / "token").read_text().strip(), "node", b"", "0.0.1")
    with socket.create_connection((HOST, head.port), 1.0) as sock:
        sock.sendall(other.feed(b""))
        with pytest.raises(HandshakeError, match=rf"skate {__version__}, the other 0\.0\.1: install the same version"):
            other.feed(sock.recv(4096))
        assert sock.recv(1) == b"", "and that is all"
    log = Path(head.folder, "logs", "node.log")
    eventually(lambda: "install the same version" in log.read_text(), 5, "the node says so, too")


def test_strangers_disturb_nobody(nodes: Nodes) -> None:
    import socket

    head = nodes.add(1)
    strangers = []
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", os.urandom(200), b"SKATE\n", b""):
        stranger = socket.create_connection((HOST, head.port))
        stranger.sendall(words)
        strangers.append(stranger)
    skate.init(address=nodes.address)
    nodes.add(1, there=1)
    assert skate.get(where.options(**on("there")).remote(), timeout=20)
    for stranger in strangers:
        stranger.close()


def test_a_driver_without_a_node_brings_one(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add(1)
    program = f"""
import skate
skate.init(address={nodes.address!r})
@skate.remote
def f(x): return x + 1
assert skate.get(f.remote(1), timeout=20) == 2
print(len(skate.nodes()), sorted(n["Resources"].get("CPU", 0) for n in skate.nodes()))
"""
    environment: dict[str, Any] = {**os.environ, "SKATE_TEMP_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout == "2 [0, 1.0]\n", done.stdout + done.stderr
    skate.init(address=nodes.address)
    eventually(lambda: [node["Alive"] for node in skate.nodes()] == [True, False], 10, "its node ends with it")


def test_a_connection_that_is_cut_costs_an_attempt_and_nothing_else(nodes: Nodes, tmp_path: Path) -> None:
    import socket

    from skate.client import current
    from skate.client.pipe import FarPipe

    nodes.add(1)
    nodes.add(1, there=1)
    skate.init(address=nodes.address)

    @skate.remote(max_retries=1)
    def slow(path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        time.sleep(0.5)
        return os.getpid()

    begun = tmp_path / "begun"
    task = slow.options(**on("there")).remote(str(begun))
    keeper = Keeper.options(max_task_retries=1, **on("there")).remote()
    first = skate.get(keeper.place.remote(), timeout=20)
    eventually(lambda: begun.exists() and begun.read_text() == "x", 10)
    runtime: Any = current.runtime
    with runtime.lock:
        channels = [worker.channel for worker in runtime.tasks.submitter.workers.values()]
        channels += [actor.channel for actor in runtime.actors.by_id.values()]
        cut = [channel for channel in channels if isinstance(channel, FarPipe)]
    assert len(cut) == 2
    for channel in cut:
        channel.sock.shutdown(socket.SHUT_RDWR)
    assert skate.get(task, timeout=20) > 0
    assert begun.read_text() == "xx"
    assert skate.get(keeper.place.remote(), timeout=20) == first, "the actor lives: only its connection has ended"


def test_one_death_of_an_actor_costs_a_call_one_retry(nodes: Nodes) -> None:
    """The caller is told of the death late: it connects again to what is dead already, as often as it takes."""
    nodes.add(1)
    nodes.add(1, there=1)
    skate.init(address=nodes.address)
    keeper = Keeper.options(max_restarts=-1, max_task_retries=1, **on("there")).remote()
    for _ in range(15):
        pid = skate.get(keeper.place.remote(), timeout=20)[1]
        os.kill(pid, signal.SIGKILL)
        assert skate.get(keeper.place.remote(), timeout=20)[1] != pid


def test_what_was_to_run_on_a_lost_node_runs_elsewhere_or_fails(nodes: Nodes) -> None:
    """Also what is submitted between the death and the word of it, such as tasks that make lost objects again."""
    from skate.exceptions import TaskUnschedulableError
    from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes.add(1)
    lost = nodes.add(2)
    skate.init(address=nodes.address)
    soft = NodeAffinitySchedulingStrategy(lost.node_id, soft=True)
    hard = NodeAffinitySchedulingStrategy(lost.node_id, soft=False)
    large = skate.remote(lambda number: bytes([number]) * 200_000).options(scheduling_strategy=soft)
    refs = [large.remote(number) for number in range(10)]
    skate.wait(refs, num_returns=len(refs), timeout=20)
    held = [where.options(scheduling_strategy=hard).remote(60) for _ in range(4)]
    eventually(lambda: skate.available_resources().get("CPU", 0) == 1, 10, "two of them run")
    nodes.kill(lost)
    assert skate.get(refs, timeout=20) == [bytes([number]) * 200_000 for number in range(10)]
    for ref in held:
        with pytest.raises(TaskUnschedulableError, match=lost.node_id):
            skate.get(ref, timeout=20)
