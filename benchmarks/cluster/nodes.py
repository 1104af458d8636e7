"""A cluster of nodes on this host, made by the commands that a user types: `skate start`, or `ray start`.

Its session folder, token and ports are its own. Whatever it has started carries a mark in its environment, by which it is found
and killed, also when the command that should stop it does not, or this process was killed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..framework import NAME, psutil, ray
from ..lines import SKATE
from ..sweep import MARK, marked, sweep
from .networks import Network

HOST = "127.0.0.1"
COMMAND_LIMIT_S = 90.0
END_LIMIT_S = 3.0
POLL_S = 0.002


class Node:
    """One node: its process, and the address that it listens on."""

    def __init__(self, pid: int, host: str) -> None:
        self.pid = pid
        self.host = host

    def kill(self) -> None:
        """End its process alone, at once."""
        os.kill(self.pid, signal.SIGKILL)


class Cluster:
    """A cluster; the first node that is added has the head."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.port = _free_port()
        self._network: Network | None = None
        self.folder = tempfile.mkdtemp(prefix="b")
        self._before = dict(os.environ)
        os.environ.setdefault(MARK, self.folder)
        os.environ |= {
            "HOME": self.folder,
            "SKATE_TEMP_DIR": self.folder,
            "RAY_AUTH_MODE": "disabled",  # with its token Ray's nodes do not find each other by these commands
        }
        for name in ("SKATE_ADDRESS", "RAY_ADDRESS", "SKATE_TOKEN", "SKATE_TOKEN_PATH"):
            os.environ.pop(name, None)

    @property
    def address(self) -> str:
        return f"{self.nodes[0].host}:{self.port}"

    def add(self, cpus: float, *more: str, network: Network | None = None, resources: str = "{}") -> Node:
        """Start a node, and wait until its command has ended."""
        host = network.address if network else HOST
        command = [*_program(), "start", f"--num-cpus={cpus:g}", f"--resources={resources}", "--disable-usage-stats"]
        command += [f"--node-ip-address={host}", *more]
        if self.nodes:
            command += [f"--address={self.address}"]
        else:
            command += ["--head", f"--port={self.port}", "--include-dashboard=False"]
            if NAME != SKATE:
                command += [f"--temp-dir={self.folder}/r"]
            self._network = network
        known = set() if NAME == SKATE else set(_raylets())
        said = _run(network.command(command) if network else command)
        pid = _pid(said) if NAME == SKATE else next(iter(set(_raylets()) - known))
        self.nodes.append(Node(pid, host))
        return self.nodes[-1]

    def connect(self) -> None:
        """Make this process a driver, on the head's machine, and wait until all nodes are there."""
        options: dict[str, Any] = {"address": self.address}
        if NAME != SKATE:
            options |= {"log_to_driver": False, "_node_ip_address": self.nodes[0].host}
        if self._network is not None:
            with self._network.inside():
                ray.init(**options)
        else:
            ray.init(**options)
        until(lambda: sum(node["Alive"] for node in ray.nodes()) == len(self.nodes), 60)

    def close(self) -> None:
        """End everything."""
        ray.shutdown()
        left: list[int] = []
        if NAME == SKATE:
            _run([*_program(), "stop"])
            left = _left_behind()
        sweep(os.environ[MARK])
        os.environ.clear()
        os.environ.update(self._before)
        shutil.rmtree(self.folder, ignore_errors=True)
        if left:
            raise RuntimeError(f"`skate stop` has left processes behind: {left}")


def until(condition: Callable[[], Any], limit_s: float) -> float:
    """Wait until something is true; the seconds that it took."""
    begin = time.perf_counter()
    while not condition():
        if time.perf_counter() - begin > limit_s:
            raise TimeoutError(f"it has not happened within {limit_s:g} s")
        time.sleep(POLL_S)
    return time.perf_counter() - begin


def alive() -> int:
    """How many nodes the cluster believes to live."""
    return sum(bool(node["Alive"]) for node in ray.nodes())


_shared: list[tuple[object, Cluster]] = []


def shared(make: Callable[[bool], Cluster], quick: bool) -> Cluster:
    """The cluster that `make` makes, connected: the same one until another is asked for, or the process ends."""
    if _shared and _shared[0][0] is make:
        return _shared[0][1]
    close_shared()
    cluster = make(quick)
    _shared.append((make, cluster))
    cluster.connect()
    return cluster


def close_shared() -> None:
    while _shared:
        _shared.pop()[1].close()


def _program() -> list[str]:
    return [sys.executable, "-m", "skate.cli"] if NAME == SKATE else [str(Path(sys.executable).with_name("ray"))]


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True, timeout=COMMAND_LIMIT_S
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}: {done.stdout.strip()[-300:]}")
    return done.stdout


def _pid(said: str) -> int:
    found = re.search(r"^node \d+ .* pid (\d+)$", said, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"`skate start` did not say which process it has started: {said[:300]}")
    return int(found[1])


def _raylets() -> list[int]:
    return [pid for pid in marked(os.environ[MARK]) if _name(pid) == "raylet"]


def _left_behind() -> list[int]:
    """What lives on when everything should have ended; the holders of namespaces are `sleep`."""
    deadline = time.monotonic() + END_LIMIT_S
    while left := [pid for pid in marked(os.environ[MARK]) if _name(pid) not in ("sleep", "")]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    return left


def _name(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
