"""Ports for servers that cannot be told to take any port that is free, and say which.

The kernel gives ports of its own range to whoever asks for any, and to each connection that is made: a port of that range which
was free a moment ago may be taken when the server comes to it. So these are below, and each process begins somewhere else.
"""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

FIRST = 10_000
"""Below are those of well-known servers."""
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_count = itertools.count(os.getpid() * 37)


def free_port() -> int:
    """A port of the loopback interface that nobody has, and that nobody is given by chance; another one each time."""
    ports = range(FIRST, max(FIRST + 1000, int(_RANGE.read_text().split()[0])))
    for _ in ports:
        port = ports[next(_count) % len(ports)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is only remembered by the kernel is free
            if _is_free(probe, port):
                return port
    raise OSError(f"no port from {ports.start} to {ports.stop} is free")


def _is_free(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
