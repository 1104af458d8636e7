"""Why something waits, what runs and what was printed, across the nodes of a cluster: from a driver, and with the commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import GetTimeoutError, RuntimeEnvSetupError
from skate.testing import eventually

from .conftest import Nodes, on

pytestmark = pytest.mark.usefixtures("at_rest")


def command(*words: str) -> str:
    """What `skate` says on this machine."""
    run = subprocess.run(
        [sys.executable, "-m", "skate.cli", *words], capture_output=True, text=True, timeout=30, check=True
    )
    return run.stdout.strip()


def said(what: Any, *parts: str) -> str:
    """The reason, once it has all these parts."""
    texts = [""]

    def there() -> bool:
        texts.append(skate.why(what))
        return all(part in texts[-1] for part in parts)

    try:
        eventually(there, 10)
    except AssertionError:
        raise AssertionError(f"{parts} not in: {texts[-1]}") from None
    return texts[-1]


@skate.remote
class Peer:
    """Calls another, and keeps what it is given."""

    def meet(self, other: Any) -> int:
        self.other = other
        return os.getpid()

    def call(self) -> None:
        skate.get(self.other.call.remote())

    def read(self, refs: list[Any]) -> None:
        skate.get(refs)

    def spin(self, path: str) -> None:
        print("spinning", flush=True)
        while not os.path.exists(path):
            sum(range(100))


@skate.remote
def hold(path: str) -> None:
    """Until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)


def test_who_holds_a_resource_on_another_node(three: Nodes) -> None:
    keeper: Any = Peer.options(resources={"ming": 1}, num_cpus=0, name="keeper").remote()  # type: ignore[attr-defined]
    pid = skate.get(keeper.meet.remote(None))
    ref = hold.options(resources={"ming": 1}, num_cpus=0).remote("/")
    text = said(ref, f"held by actor Peer 'keeper' (pid {pid}) on node 3")
    assert "node 3" in text and "0 of 1 ming free" in text and "DEADLOCK" not in text
    assert f"actor Peer 'keeper' (pid {pid}) on node 3" in command("why", ref.task_id())
    skate.kill(keeper)
    skate.get(ref, timeout=20)


def test_an_environment_that_is_set_up_on_another_node_is_named(three: Nodes, tmp_path: Path) -> None:
    """For a task, and for an actor."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 3\n")
    slow.chmod(0o755)
    environment = {"py_executable": str(slow), "pip": ["spam_why"]}
    ref = hold.options(**on("alice"), runtime_env=environment).remote("/")
    actor: Any = Peer.options(**on("alice"), runtime_env=environment).remote()  # type: ignore[attr-defined]
    setting_up = f"has room: its runtime environment is being set up (pip: spam_why; py_executable: {slow})"
    said(ref, "0.01 alice", "and its runtime environment", f"node 2 ({three.started[1].name}) {setting_up}")
    said(actor.meet.remote(None), "actor Peer (", "is pending: it needs 0.01 alice; node 2", setting_up)
    assert setting_up in command("why", ref.task_id())
    (tmp_path / "go").touch()
    with pytest.raises(RuntimeEnvSetupError, match="failed with code 3"):
        skate.get(ref, timeout=20)


def test_a_circle_over_three_nodes(three: Nodes) -> None:
    peers: list[Any] = [Peer.options(**on(name)).remote() for name in ("bob", "alice", "ming")]  # type: ignore[attr-defined]
    skate.get([peer.meet.remote(other) for peer, other in zip(peers, [*peers[1:], peers[0]], strict=True)])
    ref = peers[0].call.remote()
    text = said(ref, "DEADLOCK: Peer.call")
    assert text.count("Peer.call (") == 5 and "none of them can go on until one is cancelled or killed; " in text
    assert "DEADLOCK: Peer.call" in command("why", ref.task_id())
    assert "DEADLOCK: Peer.call" in command("why", "--address", three.started[2].address)
    with pytest.raises(GetTimeoutError, match="DEADLOCK"):
        skate.get(ref, timeout=1)
    for peer in peers:
        skate.kill(peer)


def test_what_another_process_makes(three: Nodes, tmp_path: Path) -> None:
    """An actor on one node waits for a task that this program has started on another."""
    reader: Any = Peer.options(**on("alice")).remote()  # type: ignore[attr-defined]
    made = hold.options(**on("ming")).remote(str(tmp_path / "go"))
    ref = reader.read.remote([made])
    text = said(
        ref, "Peer.read runs on actor process", "and waits for 1 object -> hold runs on worker process", "of node 3"
    )
    assert "DEADLOCK" not in text
    (tmp_path / "go").touch()
    skate.get(ref, timeout=20)


def test_stacks_and_lines_of_other_nodes(three: Nodes, tmp_path: Path) -> None:
    peer: Any = Peer.options(**on("ming")).remote()  # type: ignore[attr-defined]
    pid = skate.get(peer.meet.remote(None))
    ref = peer.spin.remote(str(tmp_path / "go"))
    ident = peer._actor_id.hex()
    eventually(lambda: "spin  " in command("stack", ident), 15)
    text = command("stack", "--node", "3")
    assert re.search(rf"^actor Peer, process {pid} on node 3 \((by a signal|it looked itself)\):$", text, re.MULTILINE)
    assert f"process {pid}" not in command("stack", "--node", "2") and f"process {pid}" in command("stack")
    assert command("logs", "--actor", ident) == f"(Peer pid={pid}, node 3) spinning"
    (tmp_path / "go").touch()
    skate.get(ref, timeout=20)
    os.kill(pid, signal.SIGKILL)
    said(peer, "is dead: killed by signal 9 (SIGKILL)", "its last output: spinning")
    assert command("logs", "--worker", f"3:{pid}") == f"(Peer pid={pid}, node 3) spinning"
    assert f"actor Peer, process {pid}, died" in command("why", f"3:{pid}")
