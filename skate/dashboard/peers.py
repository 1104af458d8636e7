"""Whose process is at the other end of a connection on loopback: the kernel's table of sockets has the user of each.

On a machine of many users a port on loopback is open to all of them, and who may submit a job may run programs as the user
who has started the cluster.
"""

from __future__ import annotations

import os
from pathlib import Path

_TABLES = {4: "/proc/net/tcp", 6: "/proc/net/tcp6"}
_REMOTE, _LOCAL, _USER = 2, 1, 7


def is_own(peer_port: int, own_port: int, root: str = "/") -> bool:
    """Whether the process that has connected from `peer_port` to `own_port` of this machine is of the same user, or of root.

    Where the kernel does not say, as without /proc, it is not. Sockets of other addresses may have the same ports: then all of
    them have to be.
    """
    users = {os.getuid(), 0}
    found = set()
    for table in _TABLES.values():
        try:
            lines = Path(root, table.lstrip("/")).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if _port(words[_LOCAL]) == peer_port and _port(words[_REMOTE]) == own_port:
                found.add(int(words[_USER]))
    return bool(found) and found <= users


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
