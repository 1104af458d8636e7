"""Several nodes on this machine, for one test: added, ended or killed, and nothing of them left afterwards.

The nodes are those that `skate start` makes, on loopback. `private` gives them a folder and a token of their own: so no
test meets the cluster of another one that runs at the same time, or the user's.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

from ..client import sessions
from ..client.init_options import InitOptions
from .leaks import TIMEOUT_S, assert_ended, eventually

if TYPE_CHECKING:
    from ..api.context import RayContext

HOST = "127.0.0.1"
STORE_BYTES = 200 << 20
"""Of each node, unless a test says otherwise. Only what is used takes memory."""
PRIVATE = "SKATE_TEMP_DIR", "SKATE_TOKEN_PATH", "SKATE_TOKEN", "RAY_AUTH_TOKEN", "SKATE_ADDRESS", "RAY_ADDRESS"
"""Where the environment says what a cluster is, and with which token."""


class Nodes:
    """The nodes of one test; the first has the head."""

    def __init__(self) -> None:
        self.started: list[sessions.Session] = []

    def add_node(
        self,
        num_cpus: int | None = 1,
        num_gpus: int | None = None,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        object_store_memory: int = STORE_BYTES,
    ) -> sessions.Session:
        """Start the node with the head, or one that joins it; it is a member when this returns.

        Args:
            num_cpus, num_gpus, resources, labels, object_store_memory: as for `skate.init`.

        Returns:
            The node, with its `pid`, `node_id` and `node_no`.
        """
        head = self.started[0] if self.started else None
        wish = sessions.Wish(True, HOST) if head is None else sessions.Wish(False, HOST, 0, head.host, head.port)
        options = InitOptions(
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            resources=dict(resources or {}),
            labels=dict(labels or {}),
            object_store_memory=object_store_memory,
        )
        self.started.append(sessions.start_node(options, wish))
        return self.started[-1]

    @property
    def address(self) -> str:
        """Of the head, as `skate.init` takes it.

        Raises:
            RuntimeError: there is no node yet.
        """
        if not self.started:
            raise RuntimeError("the cluster has no node yet: call add_node() first")
        return self.started[0].address

    def connect(self, **options: Any) -> RayContext:
        """Make this process a driver of the cluster; `options` go to `skate.init`."""
        from ..api.lifecycle import init

        return init(address=self.address, **options)

    def kill_node(self, node: sessions.Session) -> None:
        """Kill a node's own process, at once; its workers have to notice. Returns when it is gone."""
        if is_alive(node):
            os.kill(node.pid, signal.SIGKILL)
        eventually(lambda: not is_alive(node), what=f"node {node.node_no} is gone")

    def remove_node(self, node: sessions.Session) -> None:
        """Have a node end in order. What only it has is lost: `skate drain-node` saves it."""
        sessions.stop([node])

    def processes(self) -> list[psutil.Process]:
        """All processes of all nodes that live."""
        return [process for node in self.started for process in processes_of(node)]

    def end(self) -> None:
        """End all nodes.

        Raises:
            AssertionError: a process or a folder of them is left, also of those that were killed.
        """
        processes = self.processes()
        sessions.stop(self.started)
        _, alive = psutil.wait_procs(processes, timeout=TIMEOUT_S)
        assert not alive, f"left over: {alive}"
        for node in self.started:  # also what has lost its node
            assert_ended(node.folder)


def is_alive(node: sessions.Session) -> bool:
    """Whether a node's own process runs."""
    return sessions.began(node.pid) == node.began


def processes_of(node: sessions.Session) -> list[psutil.Process]:
    """The processes of a node: its own, its head's, its zygote and its workers; none when it is dead."""
    if not is_alive(node):
        return []
    process = psutil.Process(node.pid)
    return [process, *process.children(recursive=True)]


def head_process(node: sessions.Session) -> psutil.Process | None:
    """The process of the head, which runs beside the first node; None while there is none."""
    try:
        children = psutil.Process(node.pid).children()
        return next((child for child in children if _is_head(child)), None)
    except psutil.NoSuchProcess:
        return None


def workers_of(node: sessions.Session) -> list[psutil.Process]:
    """The workers of a node: children of its zygote."""
    try:
        zygotes = [child for child in psutil.Process(node.pid).children() if not _is_head(child)]
        return [worker for zygote in zygotes for worker in zygote.children()]
    except psutil.NoSuchProcess:
        return []


def _is_head(process: psutil.Process) -> bool:
    return any("head_process" in word for word in process.cmdline())


@contextmanager
def private(folder: str | None = None) -> Iterator[str]:
    """Until it ends, clusters of this process and its children have a folder and a token of their own.

    Args:
        folder: where; None is a new one, which is removed at the end. A short path: sockets are made in it.
    """
    own = folder is None
    folder = folder or tempfile.mkdtemp(prefix="skate-test-")
    before = {name: os.environ.pop(name, None) for name in PRIVATE}
    os.environ.update(SKATE_TEMP_DIR=folder, SKATE_TOKEN_PATH=os.path.join(folder, "token"))
    try:
        yield folder
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if own:
            shutil.rmtree(folder, ignore_errors=True)
