"""A cluster of three nodes on loopback, with a token and a folder of its own, and the proof that nothing of it is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import skate
from skate.client import sessions
from skate.client.init_options import InitOptions
from skate.testing import eventually

HOST = "127.0.0.1"
STORE_BYTES = 200 << 20


class Nodes:
    """The nodes of one test."""

    def __init__(self) -> None:
        self.started: list[sessions.Session] = []

    def add(self, cpus: int, **resources: float) -> sessions.Session:
        """Start the head first, then nodes that join it."""
        head = self.started[0] if self.started else None
        wish = sessions.Wish(True, HOST) if head is None else sessions.Wish(False, HOST, 0, head.host, head.port)
        options = InitOptions(num_cpus=cpus, resources=resources, object_store_memory=STORE_BYTES)
        self.started.append(sessions.start_node(options, wish))
        return self.started[-1]

    @property
    def address(self) -> str:
        return self.started[0].address

    def kill(self, node: sessions.Session) -> None:
        """End a node's process alone, at once: its zygote and workers have to notice."""
        os.kill(node.pid, signal.SIGKILL)

    def processes(self) -> list[psutil.Process]:
        """All processes of all nodes that live."""
        found = []
        for node in self.started:
            if sessions.began(node.pid) == node.began:
                process = psutil.Process(node.pid)
                found += [process, *process.children(recursive=True)]
        return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temp folder and a token of this file's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("nodes")
        patch.setenv("SKATE_TEMP_DIR", str(folder))
        patch.setenv("SKATE_TOKEN_PATH", str(folder / "token"))
        patch.delenv("SKATE_TOKEN", raising=False)
        patch.delenv("RAY_AUTH_TOKEN", raising=False)
        patch.delenv("SKATE_ADDRESS", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield folder


def _run(nodes: Nodes) -> Iterator[Nodes]:
    yield nodes
    skate.shutdown()
    processes = nodes.processes()
    sessions.stop(nodes.started)
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive, f"left over: {alive}"
    assert sessions.running() == []
    assert not [node.folder for node in nodes.started if os.path.exists(node.folder)]


@pytest.fixture(scope="module")
def three(home: Path) -> Iterator[Nodes]:
    """A head with 2 CPUs and "bob", and nodes with "alice" and "ming"; this program is attached to the head's node."""
    skate.shutdown()
    nodes = Nodes()
    nodes.add(2, bob=5)
    nodes.add(2, alice=2)
    nodes.add(1, ming=1)
    skate.init(address=nodes.address, namespace="tests")
    yield from _run(nodes)


@pytest.fixture
def nodes(home: Path) -> Iterator[Nodes]:
    """An empty cluster for a test that breaks it."""
    skate.shutdown()
    yield from _run(Nodes())


@pytest.fixture
def at_rest(three: Nodes) -> Iterator[None]:
    """After a test everything is free again on every node."""
    yield
    total = {name: amount for name, amount in skate.cluster_resources().items() if amount}
    eventually(lambda: skate.available_resources() == total, 10, "all resources are free")


def on(resource: str) -> dict[str, Any]:
    """The option that puts a task or actor on the node that has a resource."""
    return {"resources": {resource: 0.01}}


Add = Callable[..., sessions.Session]
