"""Break a running cluster on purpose: kill, freeze, cut. Each fault has happened when its method returns.

The cluster is that of this process, on this machine: which processes it has, its nodes are asked (`client/observing.py`).
What was frozen is woken by `thaw`, which the fixture `skate_faults` calls at the end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psutil

from ..client import current, observing, sessions
from .cuts import cut_connections
from .leaks import TIMEOUT_S, eventually, session_processes
from .nodes import Nodes, head_process, processes_of

HEAD_BACK_S = 8.0
"""When a head that was killed must run again."""


class Faults:
    """Faults for the cluster that this process is a driver of.

    A target is an actor's handle, a node of `Nodes`, or the id of a process: of the cluster, or that this process, or one of the
    cluster, has started. No other process can be hit.
    """

    def __init__(self, nodes: Nodes | None = None) -> None:
        """`nodes`: the cluster, if its nodes and its head are to be hit, too."""
        self._nodes = nodes
        self._frozen: list[tuple[int, str]] = []

    def workers(self) -> list[int]:
        """The process ids of the workers that run tasks, or are about to."""
        return [worker["pid"] for worker in _ask("workers") if worker["state"] == "leased"]

    def pid_of(self, target: Any) -> int:
        """The process id of a target.

        Raises:
            ValueError: it has no process now, or the process is not one of the cluster.
            TypeError: it is no target.
        """
        if isinstance(target, int) and not isinstance(target, bool):
            self._check(target)
            return target
        if isinstance(target, sessions.Session):
            return target.pid
        ident = getattr(target, "_actor_id", None)
        if not isinstance(ident, bytes):
            raise TypeError(f"a fault needs a process id, an actor's handle or a node, not {target!r}")
        pid = next((actor["pid"] for actor in _ask("actors") if actor["actor_id"] == ident.hex()), 0)
        if not pid:
            raise ValueError(f"{target!r} has no process now: wait until it has answered a call")
        return int(pid)

    # ------------------------------------------------------------ kill

    def kill_worker(self, target: Any = None) -> int:
        """Kill the process of a worker or an actor; None is a worker that runs tasks, as soon as there is one.

        A task that had not begun there runs elsewhere, and that is no retry: wait first for something that the task does.

        Returns:
            Its process id.

        Raises:
            AssertionError: no task runs within five seconds, or it does not die.
        """
        if target is None:
            target = eventually(self.workers, what="a worker that runs tasks")[0]
        return _kill(self.pid_of(target))

    def kill_node(self, node: sessions.Session) -> None:
        """Kill a node's own process; what runs on it ends by itself."""
        self._cluster().kill_node(node)

    def kill_head(self) -> None:
        """Kill the process of the head; returns when it was started again.

        Raises:
            AssertionError: it was not.
        """
        first = self._cluster().started[0]
        process = eventually(lambda: head_process(first), what="the head runs")
        _kill(process.pid)

        def is_back() -> bool:
            now = head_process(first)
            return now is not None and now.pid != process.pid

        eventually(is_back, HEAD_BACK_S, "the head was started again")

    # ------------------------------------------------------------ freeze

    def freeze(self, target: Any) -> None:
        """Stop a process where it is; of a node also its workers, as when a machine sleeps. Until `thaw`.

        Raises:
            ValueError: it has ended.
        """
        pids = [each.pid for each in processes_of(target)] if isinstance(target, sessions.Session) else []
        for pid in pids or [self.pid_of(target)]:
            began = sessions.began(pid)
            if not began:
                if pids:
                    continue  # a worker that waits to be collected, by a zygote that stands still now
                raise ValueError(f"process {pid} has ended")
            os.kill(pid, signal.SIGSTOP)
            self._frozen.append((pid, began))
            eventually(partial(_is_stopped, pid, began), what=f"process {pid} is stopped")

    def thaw(self) -> None:
        """Wake all that is frozen."""
        while self._frozen:
            pid, began = self._frozen.pop()
            if sessions.began(pid) == began:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def frozen(self, target: Any) -> Iterator[None]:
        """Freeze a target for the length of a `with` block."""
        self.freeze(target)
        try:
            yield
        finally:
            self.thaw()

    # ------------------------------------------------------------ cut

    def cut(self, target: Any) -> int:
        """Cut all TCP connections of a process, as a network does that forgets them; both ends see an end.

        Returns:
            How many. On one node there are none: its processes use sockets of the machine.

        Raises:
            PermissionError: this machine does not let one process do that to another.
        """
        return cut_connections(self.pid_of(target))[0]

    def _check(self, pid: int) -> None:
        """Refuse what a fault must never hit: 0 and -1 are many processes to the kernel, and 1 is not of the cluster."""
        folders = [node.folder for node in self._nodes.started] if self._nodes is not None else []
        if current.runtime is not None:
            folders.append(current.runtime.context().session_dir)
        own = {each for folder in folders if folder for each in session_processes(folder)}
        try:
            parents = {parent.pid for parent in psutil.Process(pid).parents()} if pid > 0 else set()
        except psutil.NoSuchProcess:
            raise ValueError(f"process {pid} has ended") from None
        if pid not in own and not parents & {*own, os.getpid()}:
            raise ValueError(f"process {pid} does not belong to this cluster, nor has this process started it")

    def _cluster(self) -> Nodes:
        if self._nodes is None:
            raise ValueError("this cluster has one node, which ends with this process: use the fixture skate_cluster")
        return self._nodes


def _ask(what: str) -> list[dict[str, Any]]:
    """What all nodes answer, as one list.

    Raises:
        ConnectionError: a node does not answer.
    """
    words = observing.ask_all(observing.require(), what)
    silent = [word.error for word in words if word.error]
    if silent:
        raise ConnectionError("; ".join(silent))
    return [each for word in words for each in word.value]


def _kill(pid: int) -> int:
    began = sessions.began(pid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: sessions.began(pid) != began, TIMEOUT_S, f"process {pid} is gone")
    return pid


def _is_stopped(pid: int, began: str) -> bool:
    """Whether a process stands still, or has ended."""
    if sessions.began(pid) != began:
        return True
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "Tt"
    except (FileNotFoundError, ProcessLookupError):
        return True
