"""Machines of one test: network namespaces behind a bridge, each with a node and a folder of its own.

All traffic stays inside the namespaces; nothing of the machine that runs the tests is touched. This process is in none of
them: it attaches to a node by its Unix socket, and is then a driver of that machine, because it is nodes that dial.

A cut is silent, as a firewall's or a dead switch's is: a neighbour that is given a hardware address that nobody has gets no
packet, and no error comes back. That needs `ip` and nothing else of the kernel.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import skate
from skate.client import sessions
from skate.client.init_options import InitOptions
from skate.testing import eventually

STORE_BYTES = 200 << 20
NOBODY = "02:00:00:00:00:01"
PORT = 6379
_CLONE_NEWNET = 0x40000000
_names = itertools.count()


def ip(*words: str, namespace: str = "", check: bool = True) -> None:
    """Run `ip`, in a namespace if one is named."""
    where = ["-n", namespace] if namespace else []
    done = subprocess.run(["ip", *where, *words], capture_output=True, text=True, timeout=20)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join([*where, *words])}: {done.stderr}")


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, and what it starts, is in a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), _CLONE_NEWNET) == 0


class Machine:
    """One machine: its namespace, its address, and the node that runs on it, if any."""

    def __init__(self, number: int, hub: str, folder: Path) -> None:
        self.number = number
        self.name = f"{hub}-{number}"
        self.host = f"10.77.0.{number}"
        self.folder = folder
        self.node: sessions.Session | None = None

    @property
    def session(self) -> sessions.Session:
        """Its node."""
        assert self.node is not None
        return self.node

    def program(self, text: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a Python program on this machine."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-c", text, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SKATE_TEMP_DIR": str(self.folder), **environment},
        )

    def processes(self) -> list[psutil.Process]:
        """The node and all that it has started."""
        node = self.node
        if node is None or sessions.began(node.pid) != node.began:
            return []
        process = psutil.Process(node.pid)
        return [process, *process.children(recursive=True)]


class Network:
    """The machines of one test, and the switch between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = f"sk{os.getpid()}x{next(_names)}"
        self.machines: list[Machine] = []
        ip("netns", "add", self.hub)
        ip("link", "add", "bridge", "type", "bridge", namespace=self.hub)
        ip("link", "set", "bridge", "up", namespace=self.hub)

    def machine(self) -> Machine:
        """A machine more, on which nothing runs."""
        number = len(self.machines) + 1
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        machine = Machine(number, self.hub, folder)
        port = f"p{number}"
        ip("netns", "add", machine.name)
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", machine.name, namespace=self.hub)
        ip("link", "set", port, "master", "bridge", "up", namespace=self.hub)
        ip("link", "set", "lo", "up", namespace=machine.name)
        ip("address", "add", f"{machine.host}/24", "dev", "eth0", namespace=machine.name)
        ip("link", "set", "eth0", "up", namespace=machine.name)
        self.machines.append(machine)
        return machine

    def add(self, cpus: int, **resources: float) -> Machine:
        """A machine more, with a node. The first has the head."""
        machine = self.machine()
        self.start(machine, cpus, **resources)
        return machine

    def start(self, machine: Machine, cpus: int, **resources: float) -> None:
        """Start a node on a machine."""
        head = self.machines[0]
        is_head = machine is head
        wish = sessions.Wish(is_head, machine.host, PORT, *(("", 0) if is_head else (head.host, PORT)))
        options = InitOptions(
            num_cpus=cpus, resources=resources, object_store_memory=STORE_BYTES, temp_dir=str(machine.folder)
        )
        with inside(machine.name):
            machine.node = sessions.start_node(options, wish)

    def attach(self, machine: Machine, **options: Any) -> None:
        """Be a driver on a machine."""
        skate.init(address=machine.session.address, _temp_dir=str(machine.folder), **options)

    # ------------------------------------------------------------ faults

    def cut(self, one: Machine, other: Machine, one_way: bool = False) -> None:
        """Nothing that these two send each other arrives, without a word; with `one_way`, only what `one` sends."""
        _lose(one, other)
        if not one_way:
            _lose(other, one)

    def heal(self, one: Machine, other: Machine) -> None:
        """They hear each other again."""
        _find(one, other)
        _find(other, one)

    def unplug(self, machine: Machine) -> None:
        """A machine is off the net."""
        ip("link", "set", f"p{machine.number}", "down", namespace=self.hub)

    def plug(self, machine: Machine) -> None:
        """It is back."""
        ip("link", "set", f"p{machine.number}", "up", namespace=self.hub)

    def narrow(self, machine: Machine, megabits: int) -> None:
        """What a machine sends leaves it slowly."""
        words = ["tc", "-n", machine.name, "qdisc", "replace", "dev", "eth0", "root", "tbf"]
        words += ["rate", f"{megabits}mbit", "burst", "64k", "latency", "50ms"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
        if done.returncode:
            pytest.skip(f"this kernel cannot limit a rate: {done.stderr.strip()}")

    def guard(self, machine: Machine, serves: bool = True) -> None:
        """A firewall: what comes from others is dropped, but for what answers, by its ports, and what is for skate's port, if the
        machine `serves`."""
        ports = [("dport", "32768-60999"), ("dport", str(PORT))] if serves else [("sport", str(PORT))]
        for at, (side, port) in enumerate(ports):
            words = ["iif", "eth0", "ipproto", "tcp", side, port, "lookup", "local", "priority", str(10 + at)]
            ip("rule", "add", *words, namespace=machine.name)
        ip("rule", "add", "iif", "eth0", "ipproto", "tcp", "priority", "20", "blackhole", namespace=machine.name)
        ip("rule", "add", "lookup", "local", "priority", "30", namespace=machine.name)
        ip("rule", "delete", "lookup", "local", "priority", "0", namespace=machine.name)

    # ------------------------------------------------------------ end

    def close(self) -> None:
        """End all nodes, prove that nothing of them is left, and take the network down."""
        with ExitStack() as last:  # it comes down, whatever fails
            last.callback(self._take_down)
            last.callback(self._end_nodes)
            skate.shutdown()

    def _end_nodes(self) -> None:
        processes = [process for machine in self.machines for process in machine.processes()]
        running = [machine.session for machine in self.machines if machine.node is not None]
        try:
            sessions.stop(running)
        finally:
            _, alive = psutil.wait_procs(processes, timeout=5)
            for process in alive:
                process.kill()
        left = [session.folder for session in running if os.path.exists(session.folder)]
        strangers = [pid for machine in self.machines for pid in _inhabitants(machine.name)]
        assert not alive, f"left over: {alive}"
        assert not left and not strangers, f"left over: {left} {strangers}"

    def _take_down(self) -> None:
        for machine in self.machines:
            ip("netns", "delete", machine.name, check=False)
        ip("netns", "delete", self.hub, check=False)


def _lose(one: Machine, other: Machine) -> None:
    ip("neigh", "replace", other.host, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent", namespace=one.name)


def _find(one: Machine, other: Machine) -> None:
    ip("neigh", "delete", other.host, "dev", "eth0", namespace=one.name, check=False)


def _inhabitants(namespace: str) -> list[str]:
    done = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, timeout=20)
    return done.stdout.split()


def _missing() -> str:
    """Why there can be no namespaces here; "" if there can."""
    if os.geteuid():
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "network namespaces need iproute2"
    name = f"sk{os.getpid()}probe"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=20)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)
    return f"there are no network namespaces here: {done.stderr.strip()}" if done.returncode else ""


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skip where there are none."""
    reason = _missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def net(
    namespaces: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Network]:
    """An empty network."""
    skate.shutdown()
    folder = tmp_path_factory.mktemp("net")  # a short name: Unix sockets lie in it
    monkeypatch.setenv("SKATE_TOKEN_PATH", str(folder / "token"))
    for name in ("SKATE_TOKEN", "RAY_AUTH_TOKEN", "SKATE_ADDRESS", "RAY_ADDRESS", "SKATE_TEMP_DIR"):
        monkeypatch.delenv(name, raising=False)
    network = Network(folder)
    try:
        yield network
    finally:
        network.close()


def on(resource: str) -> dict[str, Any]:
    """The option that puts a task or actor on the machine that has a resource."""
    return {"resources": {resource: 0.01}}


def dead(number: int = 1) -> None:
    """Wait until the cluster knows of so many lost nodes."""
    eventually(lambda: [node["Alive"] for node in skate.nodes()].count(False) == number, 8, "the loss is known")


class Journal:
    """Which attempts ran when: each writes a line when it begins, and one every 10 ms while it lives."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def spans(self) -> list[tuple[float, float]]:
        """For each process, from when until when it ran, in seconds of the machine's monotonic clock."""
        seen: dict[str, list[float]] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            pid, at = line.split()
            seen.setdefault(pid, []).append(float(at))
        return sorted((min(times), max(times)) for times in seen.values())


def note(path: str, seconds: float) -> int:
    """Run so long, and leave a trace of it."""
    until = time.monotonic() + seconds
    with open(path, "a", buffering=1) as file:
        while (now := time.monotonic()) < until:
            file.write(f"{os.getpid()} {now}\n")
            time.sleep(0.01)
    return os.getpid()
