"""A cluster of three nodes on loopback, with a token and a folder of its own, and the proof that nothing of it is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate import testing
from skate.client import sessions
from skate.testing import eventually
from skate.testing.nodes import HOST as HOST, private

STORE_BYTES = 200 << 20


class Nodes(testing.Nodes):
    """The nodes of one test."""

    def add(self, cpus: int, **resources: float) -> sessions.Session:
        """Start the head first, then nodes that join it."""
        return self.add_node(cpus, resources=resources, object_store_memory=STORE_BYTES)

    def kill(self, node: sessions.Session) -> None:
        """End a node's process alone, at once: its zygote and workers have to notice."""
        os.kill(node.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temp folder and a token of this file's own."""
    with private(str(tmp_path_factory.mktemp("nodes"))) as folder:
        yield Path(folder)


def _run(nodes: Nodes) -> Iterator[Nodes]:
    yield nodes
    skate.shutdown()
    nodes.end()
    assert sessions.running() == []


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
def there(nodes: Nodes) -> sessions.Session:
    """A node that this program is not attached to."""
    nodes.add(2)
    node = nodes.add(2, there=1)
    skate.init(address=nodes.address)
    return node


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
