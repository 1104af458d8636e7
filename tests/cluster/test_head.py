"""The head is killed, frozen, moved and lost: what runs goes on, and nothing that was promised is forgotten."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import pytest

import skate
from skate.client import sessions
from skate.client.init_options import InitOptions
from skate.exceptions import RayActorError, RayError, RaySystemError
from skate.testing import eventually, nodes as nodes_of_tests

from .conftest import HOST, STORE_BYTES, Nodes, on


@skate.remote
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> tuple[int, int]:
        self.count += 1
        return self.count, os.getpid()


@skate.remote
def later(value: int, seconds: float = 0.01) -> int:
    time.sleep(seconds)
    return value


def head_process(head: sessions.Session) -> psutil.Process:
    """The head's own process."""
    found = nodes_of_tests.head_process(head)
    assert found is not None
    return found


def kill_head(head: sessions.Session) -> None:
    """Kill the head's process; the node of its machine starts it again."""
    process = head_process(head)
    process.kill()
    eventually(lambda: _other(head, process.pid), 5, "the head runs again")


def _other(head: sessions.Session, pid: int) -> bool:
    found = nodes_of_tests.head_process(head)
    return found is not None and found.pid != pid


def test_f6_actors_and_tasks_go_on_while_the_head_is_killed(nodes: Nodes) -> None:
    head = nodes.add(2)
    nodes.add(1, there=1)
    skate.init(address=nodes.address, namespace="f6")
    near = Counter.remote()
    far = Counter.options(name="far", max_restarts=0, **on("there")).remote()
    pids = {pid for _, pid in skate.get([near.add.remote(), far.add.remote()], timeout=20)}
    for round_ in range(1, 5):
        refs = [later.remote(number) for number in range(100)]
        kill_head(head)
        counts = [count for count, _ in skate.get([near.add.remote(), far.add.remote()], timeout=10)]
        assert counts == [round_ + 1, 2 * round_], "no call was lost or done twice"
        assert skate.get(refs, timeout=20) == list(range(100))
        assert skate.get(skate.get_actor("far").add.remote(), timeout=20)[0] == 2 * round_ + 1
    assert {skate.get(actor.add.remote())[1] for actor in (near, far)} == pids, "the same processes, with their state"
    assert all(node["Alive"] for node in skate.nodes())


@pytest.mark.parametrize("seed", [1, 2])
def test_f6_an_actor_is_made_once_whenever_the_head_dies(nodes: Nodes, tmp_path: Path, seed: int) -> None:
    """The head is killed at a random moment around a creation: it is answered, and the constructor runs once."""
    moment = random.Random(seed)
    head = nodes.add(2)
    nodes.add(1, there=1)
    skate.init(address=nodes.address, namespace="f6")

    @skate.remote(num_cpus=0)
    class Written:
        def __init__(self, path: str) -> None:
            with open(path, "a") as file:
                file.write("x")

        def pid(self) -> int:
            return os.getpid()

    for number in range(6):
        path = tmp_path / str(number)
        actor = Written.options(name=f"a{number}", **(on("there") if number % 2 else {})).remote(str(path))
        time.sleep(moment.uniform(0, 0.06))
        kill_head(head)
        pid = skate.get(actor.pid.remote(), timeout=20)
        assert path.read_text() == "x"
        assert skate.get(skate.get_actor(f"a{number}").pid.remote(), timeout=20) == pid
        skate.kill(actor)
        if number % 3 == 0:
            kill_head(head)
        with pytest.raises(RayActorError):
            skate.get(actor.pid.remote(), timeout=20)


def test_f6_an_actor_that_dies_while_there_is_no_head_is_restarted(nodes: Nodes) -> None:
    head = nodes.add(1)
    nodes.add(1, there=1)
    skate.init(address=nodes.address)
    actor = Counter.options(max_restarts=-1, max_task_retries=-1, **on("there")).remote()
    _, pid = skate.get(actor.add.remote(), timeout=20)
    process = head_process(head)
    process.suspend()  # it hears of nothing
    os.kill(pid, signal.SIGKILL)
    process.kill()
    count, new = skate.get(actor.add.remote(), timeout=20)
    assert (count, new != pid) == (1, True)


def test_a_head_that_is_frozen_is_replaced(nodes: Nodes) -> None:
    head = nodes.add(1)
    nodes.add(1, there=1)
    skate.init(address=nodes.address)
    actor = Counter.options(**on("there")).remote()
    _, pid = skate.get(actor.add.remote(), timeout=20)
    process = head_process(head)
    process.suspend()
    assert skate.get(actor.add.remote(), timeout=1) == (2, pid)
    eventually(lambda: _other(head, process.pid), 8, "another head runs")
    other = Counter.options(**on("there")).remote()
    assert skate.get(other.add.remote(), timeout=20)[0] == 1
    assert skate.get(actor.add.remote(), timeout=1) == (3, pid)


def test_a_node_joins_though_the_head_dies_before_it_answers(nodes: Nodes) -> None:
    head = nodes.add(1)
    head_process(head).suspend()  # its machine's node sees that, and starts another
    nodes.add(1, there=1)
    skate.init(address=nodes.address)
    assert skate.get(later.options(**on("there")).remote(7), timeout=20) == 7


def test_a_head_that_starts_slowly_is_not_killed_for_it(nodes: Nodes) -> None:
    head = nodes.add(1)
    nodes.add(1, there=1)
    skate.init(address=nodes.address)
    kill_head(head)
    new = head_process(head)
    new.suspend()
    with pytest.raises(AssertionError):
        eventually(lambda: _other(head, new.pid), 3, "another is started")
    new.resume()
    assert skate.get(Counter.options(**on("there")).remote().add.remote(), timeout=20)[0] == 1
    assert all(node["Alive"] for node in skate.nodes())


def _start(wish: sessions.Wish, cpus: int = 1, **resources: float) -> sessions.Session:
    options = InitOptions(num_cpus=cpus, resources=resources, object_store_memory=STORE_BYTES)
    return sessions.start_node(options, wish)


@pytest.mark.parametrize("kind", ["file", "valkey"])
def test_f6_the_machine_of_the_head_is_lost_and_comes_back(
    nodes: Nodes, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """With a file, at the same address; with a server that has the state, at another one."""
    store = (
        str(tmp_path / "head.db") if kind == "file" else f"{request.getfixturevalue('valkey')}?cluster={tmp_path.name}"
    )
    head = _start(sessions.Wish(True, HOST, store=store))
    nodes.started.append(head)
    worker = nodes.add(2, there=1)
    skate.init(address=f"{HOST}:{worker.port}", namespace="f6")
    keeper = Counter.options(name="keeper", lifetime="detached", **on("there")).remote()
    on_head = Counter.options(max_restarts=1, max_task_retries=1, num_cpus=1, **on(f"node:{HOST}")).remote()
    assert skate.get(keeper.add.remote(), timeout=20)[0] == 1
    pid = skate.get(keeper.add.remote(), timeout=20)[1]
    del on_head
    refs = [later.options(**on("there")).remote(number, 0.05) for number in range(20)]
    nodes.kill(head)
    eventually(lambda: not psutil.pid_exists(head.pid) or sessions.began(head.pid) != head.began, 5)
    assert skate.get(keeper.add.remote(), timeout=5) == (3, pid), "an actor needs no head"
    port = head.port if kind == "file" else 0
    new = _start(sessions.Wish(True, HOST, port, store=store))
    nodes.started[0] = new
    assert (new.port == head.port) == (kind == "file")
    assert skate.get(refs, timeout=20) == list(range(20))
    assert skate.get(skate.get_actor("keeper").add.remote(), timeout=20) == (4, pid)
    eventually(lambda: sorted(node["Alive"] for node in skate.nodes()) == [False, True, True], 15, "a new head's node")
    third = nodes.add(1, more=1)
    assert skate.get(later.options(**on("more")).remote(7), timeout=20) == 7
    assert third.node_no > new.node_no
    skate.kill(keeper)
    with pytest.raises(ValueError):
        eventually(lambda: skate.get_actor("keeper") is None, 5)


def test_f7_a_damaged_store_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "head.db"
    first = _start(sessions.Wish(True, HOST, store=str(path)))
    nodes.started.append(first)
    skate.init(address=first.address, namespace="f7")
    Counter.options(name="kept", lifetime="detached").remote()
    skate.shutdown()
    nodes.kill(first)
    eventually(lambda: sessions.began(first.pid) != first.began, 5)
    nodes.started.clear()
    with sqlite3.connect(path) as db:
        changed = db.execute("UPDATE rows SET value = zeroblob(20) WHERE kind = 'actor'").rowcount
    db.close()
    assert changed == 1
    with pytest.raises(RaySystemError, match=r"store .*head.db is damaged: actor [0-9a-f]+ is not what was written"):
        _start(sessions.Wish(True, HOST, store=str(path)))


def test_f8_when_the_head_is_gone_for_good_all_ends_by_itself(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKATE_HEAD_PATIENCE_S", "1")
    head = nodes.add(1)
    other = nodes.add(1, there=1)
    skate.init(address=f"{HOST}:{other.port}")
    nodes.kill(head)
    waits = later.options(resources={"nobody": 1}).remote(1)
    with pytest.raises(RayError, match="head"):
        skate.get(waits, timeout=20)
    eventually(lambda: sessions.began(other.pid) != other.began, 5, "the node ends by itself")


def test_an_orderly_stop_forgets_the_cluster(home: Path) -> None:
    with_port = _start(sessions.Wish(True, HOST))
    sessions.stop([with_port])
    again = _start(sessions.Wish(True, HOST, with_port.port))
    path = Path(again.folder).parent / f"head-{HOST}-{again.port}.db"
    assert path.exists()
    sessions.stop([again])
    assert not path.exists()
