"""What the machine allows between nodes: TCP with pickles, a socket copy into shared memory, and a pool that sleeps."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from ..lines import Bench
from ..yardsticks import yardstick
from . import networks

WHERE = "two network namespaces" if networks.possible() else "loopback"
TCP_SYNC = f"pickle ping-pong over TCP, {WHERE}"
TCP_ASYNC = f"1,000 pickles in flight over TCP, {WHERE}"
COPY_SMALL = "socket copy of 256 MiB into warm shared memory"
COPY_LARGE = "socket copy of 1 GiB into warm shared memory"
COPY_FIRST = "socket copy of 1 GiB into fresh shared memory"
POOL_NAPS = "Pool(60).imap_unordered, tasks of 10 ms"

SMALL_BYTES, LARGE_BYTES, QUICK_BYTES = 256 << 20, 1 << 30, 8 << 20
IN_FLIGHT = 1000
CHUNK = 4 << 20


@contextmanager
def child(
    target: Callable[[socket.socket], None], near: networks.Network | None, far: networks.Network | None
) -> Iterator[socket.socket]:
    """A TCP connection to another process, which runs `target` with its end."""
    with far.inside() if far else nullcontext():
        listener = socket.create_server((far.address if far else "127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        try:
            target(_quick(listener.accept()[0]))
        finally:
            os._exit(0)
    with near.inside() if near else nullcontext():
        sock = socket.create_connection(listener.getsockname(), 10)
    sock.settimeout(None)
    listener.close()
    try:
        yield _quick(sock)
    finally:
        sock.close()
        os.waitpid(pid, 0)


def _quick(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


@contextmanager
def between_networks(target: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    if not networks.possible():
        with child(target, None, None) as sock:
            yield sock
        return
    with networks.linked() as (near, far), child(target, near, far) as sock:
        yield sock


MESSAGE = pickle.dumps(("no_op", 1, ()))


def _echo(sock: socket.socket) -> None:
    """Open each message, and answer it; what has come together goes together."""
    pending = b""
    while data := sock.recv(65536):
        pending += data
        whole = len(pending) // len(MESSAGE)
        messages = [pending[i * len(MESSAGE) : (i + 1) * len(MESSAGE)] for i in range(whole)]
        pending = pending[whole * len(MESSAGE) :]
        sock.sendall(b"".join(pickle.dumps(pickle.loads(message)) for message in messages))


@yardstick(TCP_SYNC, "cluster calls")
def tcp_sync(bench: Bench) -> list[float]:
    with between_networks(_echo) as sock:

        def once() -> None:
            sock.sendall(pickle.dumps(("no_op", 1, ())))
            pickle.loads(sock.recv(4096))

        return bench.rate(once)


@yardstick(TCP_ASYNC, "cluster calls")
def tcp_async(bench: Bench) -> list[float]:
    """A write for each message, as they become known one by one; answers are read when all are sent."""
    with between_networks(_echo) as sock:

        def once() -> None:
            for _ in range(IN_FLIGHT):
                sock.sendall(pickle.dumps(("no_op", 1, ())))
            left = IN_FLIGHT
            while left:
                data = sock.recv(len(MESSAGE) * left, socket.MSG_WAITALL)
                for at in range(0, len(data), len(MESSAGE)):
                    pickle.loads(data[at : at + len(MESSAGE)])
                left -= len(data) // len(MESSAGE)

        return bench.rate(once, IN_FLIGHT)


def memory(size: int) -> mmap.mmap:
    """Fresh shared memory, reserved and not yet touched by this process."""
    fd = os.memfd_create("yardstick")
    os.posix_fallocate(fd, 0, size)
    mapped = mmap.mmap(fd, size)
    os.close(fd)
    return mapped


def copies(bench: Bench, full: int, fresh: bool) -> list[float]:
    """GB/s from another process's shared memory into this one's."""
    size = bench.size(full, QUICK_BYTES)

    def send(sock: socket.socket) -> None:
        source = memory(size)
        view = memoryview(source)
        view[:] = bytes(size)
        while sock.recv(1):
            sock.sendall(view)

    with child(send, None, None) as sock:
        target = memory(size)

        def once() -> float:
            nonlocal target
            begin = time.perf_counter()
            if fresh:
                target = memory(size)
            view, got = memoryview(target), 0
            sock.sendall(b"x")
            while got < size:
                got += sock.recv_into(view[got : got + CHUNK])
            return size / 1e9 / (time.perf_counter() - begin)

        return bench.times(once)


@yardstick(COPY_SMALL, "cluster objects", "GB/s")
def copy_small(bench: Bench) -> list[float]:
    return copies(bench, SMALL_BYTES, False)


@yardstick(COPY_LARGE, "cluster objects", "GB/s")
def copy_large(bench: Bench) -> list[float]:
    return copies(bench, LARGE_BYTES, False)


@yardstick(COPY_FIRST, "cluster objects", "GB/s")
def copy_first(bench: Bench) -> list[float]:
    return copies(bench, LARGE_BYTES, True)


def _nap(_: int) -> float:
    begin = time.perf_counter()
    time.sleep(0.01)
    return time.perf_counter() - begin


@yardstick(POOL_NAPS, "cluster work", "% busy")
def pool_naps(bench: Bench) -> list[float]:
    processes, waves = bench.size(60, 9), bench.size(100, 20)
    with multiprocessing.get_context("fork").Pool(processes) as pool:

        def once() -> float:
            begin = time.perf_counter()
            worked_s = sum(pool.imap_unordered(_nap, range(processes * waves)))
            return worked_s / (processes * (time.perf_counter() - begin)) * 100

        return bench.times(once)
