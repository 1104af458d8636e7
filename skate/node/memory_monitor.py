"""The memory monitor: kills a worker before the kernel has to kill something.

It looks every `refresh_ms` while anybody works. The limit is that of the machine, or of the container (cgroup v2 or v1) if that
is nearer, or one of our own on all workers together. Pages that the kernel can drop at once do not count as used.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..wire import messages as m
from ..wire.config import MemoryConfig
from .faults import Minor
from .memory_policy import Candidate, Usage, allowed, culprit

if TYPE_CHECKING:
    from .service import Node

PAGE = os.sysconf("SC_PAGE_SIZE")
UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2^63 where there is no limit."""


class MemoryMonitor(Minor):
    """What a node does about its memory."""

    def __init__(self, node: Node, config: MemoryConfig) -> None:
        self.node = node
        self.config = config
        self._due = 0.0
        self.killed: dict[int, int] = {}
        """Workers that were killed for their memory, and have not ended yet: how much they used."""
        self.kills = 0
        node.parts.append(self)

    def _candidates(self) -> list[Candidate]:
        node = self.node
        out = []
        for number, client in node.workers.items():
            is_actor = node.actors.is_actor(number)
            if client.pid and (is_actor or number in node.scheduler.leases):
                out.append(Candidate(number, private_bytes(client.pid), client.since, is_actor))
        return out

    def on_time(self, now: float) -> None:
        """Look, and kill one worker if too much is used."""
        if not self.config.refresh_ms or now < self._due:
            return
        self._due = now + self.config.refresh_ms / 1000
        if not self._works() or any(worker in self.node.workers for worker in self.killed):
            return
        candidates = None
        if self.config.limit_bytes:
            candidates = self._candidates()
            used = sum(each.used for each in candidates)
            usage: Usage | None = Usage(used, self.config.limit_bytes, "this node's workers")
        else:
            usage = machine_usage()
        if usage is None:
            return
        most = allowed(usage.limit, self.config.usage_threshold, self.config.min_free_bytes)
        if usage.used > most:
            self._kill(culprit(candidates or self._candidates()), usage, most)

    def _kill(self, found: Candidate | None, usage: Usage, most: int) -> None:
        if found is None:
            return
        client = self.node.workers[found.worker]
        reason = (
            f"it was killed because memory ran out: it used {_megabytes(found.used)}, and {usage.whose} "
            f"{usage.used / 1e6:.0f} of {_megabytes(usage.limit)}, which is over the limit of {_megabytes(most)} "
            f"(memory_usage_threshold={self.config.usage_threshold:g}); take less at a time, or ask for it with memory=, "
            "so that fewer run at once"
        )
        print(f"worker process {client.pid}: {reason}", file=sys.stderr, flush=True)
        client.leaving = m.Leaving(reason, intended=False)
        self.kills += 1
        self.killed[found.worker] = found.used
        self.node.pool.kill(found.worker, signal.SIGKILL)

    def explain(self, worker: int, death: m.Death) -> None:
        """A worker has ended: say so if this was the reason."""
        used = self.killed.pop(worker, None)
        if used is not None:
            death.out_of_memory = True
            death.memory_bytes = used
            death.oom_retries = self.config.task_oom_retries

    def _works(self) -> bool:
        return bool(self.node.scheduler.leases)

    def next_due(self, now: float) -> float | None:
        """Seconds until it looks again."""
        if not self.config.refresh_ms or not self._works():
            return None
        return max(0.0, self._due - now)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def private_bytes(pid: int) -> int:
    """The memory of a process that nobody shares; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            fields = file.read().split()
    except OSError:
        return 0
    return max(0, int(fields[1]) - int(fields[2])) * PAGE


def machine_usage(root: str = "/") -> Usage | None:
    """What the machine or its container uses; None where neither says so."""
    known = [each for each in (_of_machine(root), _of_container(root)) if each is not None]
    return max(known, key=lambda each: each.used / each.limit, default=None)


def _of_machine(root: str) -> Usage | None:
    fields = _fields(Path(root, "proc/meminfo"))
    if "MemTotal:" not in fields or "MemAvailable:" not in fields:
        return None
    total = fields["MemTotal:"] * 1024
    return Usage(total - fields["MemAvailable:"] * 1024, total, "the machine")


def _of_container(root: str) -> Usage | None:
    for folder, limit_name, used_name, cache_name in (
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        path = Path(root, folder)
        limit, used = _number(path / limit_name), _number(path / used_name)
        if limit is not None and used is not None and 0 < limit < UNLIMITED:
            cache = _fields(path / "memory.stat").get(cache_name, 0)
            return Usage(max(0, used - cache), limit, "the container")
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # no such file, or "max"


def _fields(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {word[0]: int(word[1]) for word in words if len(word) > 1 and word[1].isdigit()}
