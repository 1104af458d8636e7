"""Memory and CPU of a system that is up, has answered once, and does nothing.

PSS counts a page that n processes share as 1/n in each of them, so its sum is the memory that the system takes.
USS is what a process has alone.
"""

from __future__ import annotations

import os
import time

from .framework import psutil, ray
from .lines import Bench, at_most, line

SETTLE_S = 1.5


@ray.remote
def worker_pid() -> int:
    return os.getpid()


def system_processes() -> list[psutil.Process]:
    """All processes of the system but the driver: its descendants."""
    descendants: list[psutil.Process] = psutil.Process().children(recursive=True)
    return descendants


def _settled_worker() -> psutil.Process:
    worker = psutil.Process(ray.get(worker_pid.remote()))
    time.sleep(SETTLE_S)  # what start-up has left to do is not idling
    return worker


def _sum_mb(kind: str) -> float:
    _settled_worker()
    total = 0
    for process in system_processes():
        try:
            total += getattr(process.memory_full_info(), kind)
        except psutil.NoSuchProcess:
            continue  # an idle worker may leave while we count
    return total / 1e6


@line("idle system, PSS", "idle", "MB", goal=at_most(45))
def idle_pss(bench: Bench) -> list[float]:
    return [_sum_mb("pss")]


@line("idle system, USS", "idle", "MB")
def idle_uss(bench: Bench) -> list[float]:
    return [_sum_mb("uss")]


@line("idle system, processes", "idle", "processes")
def idle_processes(bench: Bench) -> list[float]:
    return [float(len(system_processes()))]


@line("a worker's own memory, USS", "idle", "MB", goal=at_most(4))
def worker_uss(bench: Bench) -> list[float]:
    return [_settled_worker().memory_full_info().uss / 1e6]


@line("idle CPU, all processes with the driver", "idle", "% of a core", goal=at_most(0.5))
def idle_cpu(bench: Bench) -> list[float]:
    _settled_worker()
    watched = [psutil.Process(), *system_processes()]
    span_s = bench.size(6, 3)

    def used() -> float:
        total = 0.0
        for process in watched:
            try:
                total += sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return total

    before = used()
    time.sleep(span_s)
    return [max(0.0, used() - before) / span_s * 100]
