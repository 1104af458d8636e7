"""Network namespaces: nodes on one host that meet over a link, each with an address of its own.

A namespace has no name: a process holds it, and it goes with the last process in it. So nothing is left behind, whatever is
killed. Needs root and the commands `unshare`, `nsenter`, `ip` and `tc`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

COMMANDS = ("unshare", "nsenter", "ip", "tc")
CLONE_NEWNET = 0x40000000
HOLD_S = "3600"
LIMIT_S = 10.0


@cache
def possible() -> bool:
    """Whether namespaces can be made here."""
    if os.geteuid() != 0 or not all(shutil.which(name) for name in COMMANDS):
        return False
    return (
        subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False, timeout=LIMIT_S).returncode == 0
    )


class Network:
    """One namespace."""

    def __init__(self, address: str) -> None:
        self.address = address
        # It says so when it is inside, so that nothing is set up outside.
        command = ["unshare", "--net", "sh", "-c", f"echo; exec sleep {HOLD_S}"]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        stdout = self._holder.stdout
        if stdout is None or not stdout.readline():
            raise RuntimeError("a network namespace could not be made")
        stdout.close()

    @property
    def pid(self) -> int:
        """A process in it."""
        return self._holder.pid

    def command(self, command: list[str]) -> list[str]:
        """The command that runs another one inside."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]

    def run(self, *command: str) -> None:
        subprocess.run(self.command(list(command)), check=True, timeout=LIMIT_S)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread makes its sockets there."""
        with open("/proc/self/ns/net") as home, open(f"/proc/{self.pid}/ns/net") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


def _enter(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns failed")


@contextmanager
def linked() -> Iterator[tuple[Network, Network]]:
    """Two namespaces with a link between them."""
    networks: list[Network] = []
    try:
        for address in ("10.77.0.1", "10.77.0.2"):
            networks.append(Network(address))
        near, far = networks
        near.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(far.pid))
        for network in networks:
            network.run("ip", "address", "add", f"{network.address}/24", "dev", "eth0")
            network.run("ip", "link", "set", "eth0", "up")
            network.run("ip", "link", "set", "lo", "up")
            network.run("ip", "route", "add", "default", "dev", "eth0")
        yield near, far
    finally:
        for network in networks:
            network.close()


@contextmanager
def switched(count: int, megabits: int) -> Iterator[list[Network]]:
    """Namespaces on one switch; what each sends leaves it at so many megabits per second."""
    networks: list[Network] = []
    try:
        switch = Network("")
        networks.append(switch)
        switch.run("ip", "link", "add", "switch", "type", "bridge")
        switch.run("ip", "link", "set", "switch", "up")
        for number in range(1, count + 1):
            network = Network(f"10.78.0.{number}")
            networks.append(network)
            port = f"port{number}"
            switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(network.pid))
            switch.run("ip", "link", "set", port, "master", "switch", "up")
            network.run("ip", "address", "add", f"{network.address}/24", "dev", "eth0")
            network.run("ip", "link", "set", "eth0", "up")
            network.run("ip", "link", "set", "lo", "up")
            limit = ["rate", f"{megabits}mbit", "burst", "256k", "latency", "50ms"]
            network.run("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *limit)
        yield networks[1:]
    finally:
        for network in networks:
            network.close()
