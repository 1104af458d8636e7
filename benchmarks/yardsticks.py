"""What the machine allows: the same work by the standard library, and raw memory. Measured in the same run.

These lines belong to the groups whose goals they set, and run just before them.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import pickle
import socket
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from .lines import MACHINE, Bench, Measure, line

PING_PONG = "pickle ping-pong over a socketpair"
POOL_ASYNC = "Pool.apply_async, 1,000 no-ops in flight"
POOL_MAP = "Pool.map, best chunk size"
MEMCPY = "copy 100 MB into warm memory, one thread"
TOUCH = "touch 100 MB of fresh shared memory"

HUNDRED_MB = 100_000_000
MAP_ITEMS = 20_000


def yardstick(name: str, group: str, unit: str = "/s") -> Callable[[Measure], Measure]:
    return line(name, group, unit, systems=(MACHINE,))


def no_op() -> bytes:
    return b"ok"


def identity(x: int) -> int:
    return x


def _echo(sock: socket.socket) -> None:
    while data := sock.recv(4096):
        sock.sendall(pickle.dumps(pickle.loads(data)))


@yardstick(PING_PONG, "calls")
def ping_pong(bench: Bench) -> list[float]:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _echo(theirs)
        os._exit(0)
    theirs.close()
    message = ("no_op", 1, ())

    def once() -> None:
        ours.sendall(pickle.dumps(message))
        pickle.loads(ours.recv(4096))

    samples = bench.rate(once)
    ours.close()
    os.waitpid(child, 0)
    return samples


def _pool() -> Any:
    return multiprocessing.get_context("fork").Pool(os.cpu_count())


@yardstick(POOL_ASYNC, "calls")
def pool_async(bench: Bench) -> list[float]:
    with _pool() as pool:
        return bench.rate(lambda: [r.get() for r in [pool.apply_async(no_op) for _ in range(1000)]], 1000)


@yardstick(POOL_MAP, "calls")
def pool_map(bench: Bench) -> list[float]:
    """Items per second with the chunk size that turns out best."""
    items = range(MAP_ITEMS)

    def with_chunk(pool: Any, size: int) -> list[float]:
        return bench.rate(lambda: pool.map(identity, items, chunksize=size), MAP_ITEMS)

    with _pool() as pool:
        runs = [with_chunk(pool, size) for size in (100, 500, 2000, MAP_ITEMS // (os.cpu_count() or 1))]
    return max(runs, key=lambda samples: sorted(samples)[len(samples) // 2])


@yardstick("ProcessPoolExecutor.submit, one at a time", "calls")
def executor_sync(bench: Bench) -> list[float]:
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork")) as executor:
        return bench.rate(lambda: executor.submit(no_op).result())


@yardstick(MEMCPY, "large objects", "GB/s")
def memcpy(bench: Bench) -> list[float]:
    source = np.ones(HUNDRED_MB, dtype=np.uint8)
    target = np.ones(HUNDRED_MB, dtype=np.uint8)
    to, of = target.ctypes.data, source.ctypes.data
    return bench.rate(lambda: ctypes.memmove(to, of, HUNDRED_MB), HUNDRED_MB / 1e9)


@yardstick(TOUCH, "large objects", "GB/s")
def touch_pages(bench: Bench) -> list[float]:
    def once() -> float:
        fd = os.memfd_create("yardstick")
        os.ftruncate(fd, HUNDRED_MB)
        with mmap.mmap(fd, HUNDRED_MB) as memory:
            pages = np.frombuffer(memory, dtype=np.uint8)[:: mmap.PAGESIZE]
            begin = time.perf_counter()
            pages[:] = 1
            seconds = time.perf_counter() - begin
            del pages
        os.close(fd)
        return HUNDRED_MB / 1e9 / seconds

    return bench.times(once)
