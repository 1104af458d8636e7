"""How a machine is: its processors, its memory, and the store; one small answer, for those who look again and again.

Processor time is counted since the machine was started, so that whoever asks twice knows what was used in between, and the node
has to remember nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..store.arena import HEADER_BYTES
from .memory_monitor import machine_usage, private_bytes
from .resources import from_units

if TYPE_CHECKING:
    from .service import Node

IDLE_FIELDS = (3, 4)
"""Of the times in /proc/stat: idle, and waiting for a disk."""
FIELDS = 8
"""The others say again what is in these."""


def vitals(node: Node, argument: dict[str, Any] | None) -> dict[str, Any]:
    """The state of the machine now; with `{"workers": True}` also the memory of each worker, which takes 10 µs for each.

    `cpu_busy_s` and `cpu_s` are seconds of all processors since the machine was started; 0 where they are not known.
    """
    each = node.workers.values() if (argument or {}).get("workers") else ()
    usage = machine_usage()
    try:
        busy, total = processors()
    except OSError:
        busy = total = 0.0
    states = [node.actors.is_actor(number) for number in node.workers]
    capacity = node.arena_bytes - HEADER_BYTES
    return {
        "cpu_busy_s": busy,
        "cpu_s": total,
        "cpu_count": os.cpu_count() or 1,
        "memory_used": usage.used if usage is not None else 0,
        "memory_total": usage.limit if usage is not None else 0,
        "store_used": capacity - node.directory.free.total,
        "store_total": capacity,
        "spilled": node.spills.logic.disk_bytes,
        "objects": len(node.directory.entries),
        "workers": len(states),
        "actors": sum(states),
        "memory_of": [[client.pid, private_bytes(client.pid)] for client in each if client.pid],
        "total": node.total,
        "free": {name: max(0.0, amount) for name, amount in from_units(node.scheduler.pool.free).items()},
    }


def processors() -> tuple[float, float]:
    """Seconds of all processors since the machine was started: those in which they have worked, and all.

    Raises:
        OSError: the machine does not say.
    """
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1 : FIELDS + 1]]
    second = os.sysconf("SC_CLK_TCK")
    idle = sum(ticks[field] for field in IDLE_FIELDS)
    return (sum(ticks) - idle) / second, sum(ticks) / second
