"""Cut connections of other processes, as a network does that forgets them: both ends see an end in the middle."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import psutil

_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


def cut_connections(
    pid: int, port: int | None = None, choose: Callable[[list[int]], list[int]] = lambda fds: fds
) -> tuple[int, int]:
    """Shut down TCP connections of a process.

    Args:
        pid: the process; a descendant of this one, or of the same user where the machine allows it.
        port: only connections to or from this port; None is all.
        choose: which of the descriptors to take.

    Returns:
        How many were cut, and how many there were.

    Raises:
        PermissionError: the machine does not let this process take a descriptor of that one.
    """
    fds = _connections(pid, port)
    return sum(_shut_down(pid, fd) for fd in choose(fds)) if fds else 0, len(fds)


def _connections(pid: int, port: int | None) -> list[int]:
    try:
        found = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return []

    def fits(each: Any) -> bool:
        ports = (each.laddr.port, each.raddr.port) if each.raddr else ()
        return each.status == psutil.CONN_ESTABLISHED and each.fd > 0 and (port is None or port in ports)

    return [each.fd for each in found if fits(each)]


def _shut_down(pid: int, fd: int) -> bool:
    """Shut down a connection of another process; False when it is gone already."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        copy = _libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        if ctypes.get_errno() == errno.EPERM:
            raise PermissionError(f"this process may not take a descriptor of process {pid} (ptrace)")
        return False
    with socket.socket(fileno=copy) as sock:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return False  # the number is another descriptor's by now
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True
